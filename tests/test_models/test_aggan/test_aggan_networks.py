"""AGGAN's networks: sizes, initial weights, the mask's decoder, errors."""

import pytest
import torch
import torch.nn.functional as F

from ugatit_mm.models import AGGANAttention, AGGANDiscriminator, AGGANGenerator

KINDS = (AGGANGenerator, AGGANAttention, AGGANDiscriminator)


def test_published_parameter_counts():
    """Those of the official program, minus the unused norms."""
    with torch.device('meta'):
        counts = [sum(p.numel() for p in kind().parameters()) for kind in KINDS]
    assert counts == [2_855_811, 104_001, 2_766_657]


def test_sides_of_the_discriminators_maps():
    network = AGGANDiscriminator(base_channels=2)
    sides = []
    for layer in [*network.convs, network.last]:
        layer.register_forward_hook(lambda *args: sides.append(args[2].size(2)))
    x, sides_of = torch.zeros(1, 3, 256, 256), [129, 65, 33, 34, 35]
    for conv in network.convs:
        x = conv(x)
    assert network.last(x).shape == (1, 1, 35, 35) and sides == sides_of
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 4, 4)


@pytest.mark.parametrize('kind', KINDS)
def test_initial_weights(kind):
    """Normals truncated at two standard deviations, in one order whatever the format."""
    network = kind(base_channels=16)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 7)
    torch.manual_seed(0)
    network.init_weights()
    first = {name: p.detach().clone() for name, p in network.named_parameters()}
    kernels = torch.cat([p.flatten() for p in first.values() if p.dim() == 4])
    norms = [name for name in first if 'norm' in name and name.endswith('weight')]
    scales = torch.cat([first[name] for name in norms])
    for values, mean in ((kernels, 0.0), (scales, 1.0)):
        assert values.mean() == pytest.approx(mean, abs=0.003)
        assert (values - mean).abs().max() <= 0.04 + 1e-6
        # A normal within [-2, 2] has a standard deviation of 0.8796.
        assert values.std() == pytest.approx(0.02 * 0.8796, rel=0.15)
    assert all(not p.any() for name, p in first.items() if name.endswith('bias'))
    torch.manual_seed(0)
    network.to(memory_format=torch.channels_last).init_weights()
    assert all(torch.equal(p, first[name]) for name, p in network.named_parameters())


def plain_mask(network: AGGANAttention, image: torch.Tensor) -> torch.Tensor:
    """Up-sampling before each convolution, as in the program."""
    x = network.encoder(F.pad(image, (3, 3, 3, 3), mode='reflect'))
    for layer in network.decoder[:2]:
        x = layer.conv(F.interpolate(x, scale_factor=2))
        norm = layer.norm
        x = F.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=1e-5).relu()
    return network.decoder[2](x).sigmoid()


@pytest.mark.parametrize('kernels', [(1, 1, 1), (3, 3, 7), (1, 3, 1), (3, 1, 1)])
def test_the_decoder_of_masks(kernels):
    """With kernels of 1 it is constant on 4x4 pixels, and computed once for each."""
    torch.manual_seed(0)
    network = AGGANAttention(base_channels=4, decoder_kernels=kernels).double()
    image = torch.rand(2, 3, 16, 24, dtype=torch.float64) * 2 - 1
    mask = network(image)
    torch.testing.assert_close(mask, plain_mask(network, image))
    assert mask.shape == (2, 1, 16, 24) and mask.std() > 1e-3
    blocks = mask.unflatten(3, (6, 4)).unflatten(2, (4, 4))
    constant = (blocks == blocks[:, :, :, :1, :, :1]).all().item()
    assert constant == (kernels == (1, 1, 1))


def test_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    plain, kept = AGGANGenerator(3, 2, 1), AGGANGenerator(3, 2, 1, with_cp=True)
    kept.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 16, 16)
    for network in (plain, kept):
        network(x).square().mean().backward()
    for one, two in zip(plain.parameters(), kept.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match='num_blocks must be 1 or more, got 0'):
        AGGANGenerator(num_blocks=0)
    for kernels in ((2, 1, 1), (1, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match='decoder_kernels must be three odd numbers'):
            AGGANAttention(decoder_kernels=kernels)
    with pytest.raises(ValueError, match='base_channels must be 1 or more'):
        AGGANDiscriminator(base_channels=0)
    for network in (AGGANGenerator(3, 2, 1), AGGANAttention(3, 2), AGGANDiscriminator(3, 2)):
        with pytest.raises(ValueError, match=r'takes \(N, 3, H, W\), got \(1, 1, 32, 32\)'):
            network(torch.zeros(1, 1, 32, 32))
    for network in (AGGANGenerator(3, 2, 1), AGGANAttention(3, 2)):
        with pytest.raises(ValueError, match='multiples of 4 from 8 on, got 30x32'):
            network(torch.zeros(1, 3, 30, 32))
