"""CycleGAN's generator and discriminator: official numbers, MMagic's networks, sizes, errors."""

import numpy as np
import pytest
import torch
from cyclegan_helpers import (
    DIS,
    GEN,
    dead,
    pair_of_discriminators,
    pair_of_generators,
    pixels,
    recorded,
    with_weights,
)
from torch import nn

from ugatit_mm.models import CycleGANDiscriminator, CycleGANGenerator, layers
from ugatit_mm.models.base.init import init_networks
from ugatit_mm.models.cyclegan import cyclegan_discriminator
from ugatit_mm.models.layers import NO_PADDING, InstanceNorm, blocks

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')


def test_published_parameter_counts():
    with torch.device('meta'):
        networks = [CycleGANGenerator(), CycleGANGenerator(num_blocks=6), CycleGANDiscriminator()]
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert sizes == [11_378_179, 7_837_699, 2_764_737]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('nhwc', [True, False])
def test_official_forward_passes(training, nhwc):
    weights, numbers = recorded('cyclegan_init.pt'), recorded('cyclegan_steps.npz')
    x = pixels(numbers['step1_A'][:1])
    generator = with_weights(CycleGANGenerator(**GEN), weights['G_A']).train(training)
    discriminator = with_weights(CycleGANDiscriminator(**DIS), weights['D_A']).train(training)
    if nhwc:
        generator.to(memory_format=torch.channels_last)
        discriminator.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    with torch.no_grad():
        found = {
            'forward_G_A' if training else 'forward_G_A_eval': generator(x),
            'forward_G_A_48x64': generator(x[:, :, :48])[..., ::4, ::4],
            'forward_D_A': discriminator(x),
        }
    for name, image in found.items():
        np.testing.assert_allclose(image, numbers[name], atol=1e-5, rtol=0, err_msg=name)


def plain_norm(self, x, bias=None, slope=1.0, pad=NO_PADDING, residual=None):
    x = nn.functional.leaky_relu(nn.functional.instance_norm(x), slope)
    x = layers.pad(x, pad)
    return x if residual is None else x + residual


@pytest.mark.parametrize('pair', [pair_of_generators, pair_of_discriminators])
def test_mmagics_networks_are_the_same(pair, monkeypatch):
    """Bit-identical with torch's instance norm, whose arithmetic differs from our fused one."""
    torch.manual_seed(0)
    ours, theirs = pair()
    x = torch.rand(2, 3, 48, 64) * 2 - 1
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 0.05
        torch.testing.assert_close(ours(x), expected, atol=2e-6, rtol=0)
        nhwc = ours.to(memory_format=torch.channels_last)
        in_nhwc = nhwc(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(in_nhwc, expected, atol=2e-6, rtol=0)
        ours.to(memory_format=torch.contiguous_format)
        monkeypatch.setattr(InstanceNorm, 'forward', plain_norm)
        for module in (blocks, cyclegan_discriminator):
            monkeypatch.setattr(module, 'without_bias', lambda conv, x: conv(x))
        assert torch.equal(ours(x), expected)


def test_mmagics_discriminators_of_other_depths_are_the_same():
    torch.manual_seed(0)
    for depth in (1, 2, 4):
        ours, theirs = pair_of_discriminators(depth)
        x = torch.rand(1, 3, 64, 64) * 2 - 1
        torch.testing.assert_close(ours(x), theirs(x), atol=2e-6, rtol=0)


@pytest.mark.parametrize('with_cp', [True, False])
def test_gradients_are_those_of_mmagics_generator(with_cp):
    torch.manual_seed(0)
    ours, theirs = pair_of_generators(with_cp=with_cp)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    for network in (ours, theirs):
        network(x).square().mean().backward()
    expected = [parameter.grad for parameter in theirs.parameters()]
    for (name, parameter), grad in zip(ours.named_parameters(), expected, strict=True):
        if dead(name):
            assert (parameter.grad == 0).all(), name
        else:
            assert grad.abs().max() > 1e-6, name
            torch.testing.assert_close(
                parameter.grad / grad.abs().max(), grad / grad.abs().max(), atol=1e-4, rtol=0
            )


def test_gradients_are_those_of_mmagics_discriminator():
    torch.manual_seed(0)
    ours, theirs = pair_of_discriminators()
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    for network in (ours, theirs):
        network(x).square().mean().backward()
    for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if not dead(name):
            size = other.grad.abs().max()
            assert size > 1e-6, name
            torch.testing.assert_close(parameter.grad / size, other.grad / size, atol=1e-4, rtol=0)


def test_checkpointing_keeps_less():
    kept = []
    for with_cp in (False, True):
        sizes: dict[int, int] = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            CycleGANGenerator(**GEN, with_cp=with_cp)(torch.zeros(1, 3, 32, 32))
        kept.append(sum(sizes.values()))
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.parametrize('kind', [CycleGANGenerator, CycleGANDiscriminator])
def test_initial_weights(kind):
    """N(0, 0.02), transposed convolutions too; biases 0; the same in either memory format."""
    network = kind(base_channels=4)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7)
    torch.manual_seed(0)
    network.init_weights()
    first = {name: p.detach().clone() for name, p in network.named_parameters()}
    for name, parameter in first.items():
        if parameter.dim() == 1:
            assert not parameter.any(), name
        elif parameter.numel() > 500:
            assert parameter.std() == pytest.approx(0.02, rel=0.1), name
            assert abs(parameter.mean()) < 0.004, name
        else:
            assert 0.01 < parameter.std() < 0.03, name
    torch.manual_seed(0)
    network.to(memory_format=torch.channels_last).init_weights()
    assert all(torch.equal(p, first[name]) for name, p in network.named_parameters())


def test_default_weights_of_a_transposed_convolution_are_torchs():
    layer, weights = nn.ConvTranspose2d(4, 6, 3), []
    for draw in (layer.reset_parameters, lambda: init_networks(layer, 'default')):
        torch.manual_seed(0)
        draw()
        weights.append([p.detach().clone() for p in layer.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def test_any_multiple_of_4_and_any_channels():
    generator = CycleGANGenerator(1, 4, **GEN)
    for size in ((8, 8), (12, 44)):
        image = generator(torch.zeros(2, 1, *size))
        assert image.shape == (2, 4, *size) and image.abs().max() <= 1
    discriminator = CycleGANDiscriminator(1, **DIS)
    assert discriminator(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize('num_layers', [1, 3, 5])
def test_the_smallest_size_of_a_discriminator_is_the_one_named(num_layers):
    discriminator = CycleGANDiscriminator(base_channels=2, num_layers=num_layers)
    side = discriminator.min_size
    assert discriminator(torch.zeros(1, 3, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f'needs {side}: enlarge img_size or lower num_layers'):
        discriminator(torch.zeros(1, 3, side, side - 1))


def test_errors_say_what_to_do():
    generator, discriminator = CycleGANGenerator(**GEN), CycleGANDiscriminator(**DIS)
    with pytest.raises(ValueError, match='multiples of 4 from 8 on, got 30x32'):
        generator(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match='multiples of 4 from 8 on, got 4x8'):
        generator(torch.zeros(1, 3, 4, 8))
    for network in (generator, discriminator):
        with pytest.raises(ValueError, match=r'takes \(N, 3, H, W\), got \(1, 1, 32, 32\)'):
            network(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match='num_blocks must be 1 or more, got 0'):
        CycleGANGenerator(num_blocks=0)
    with pytest.raises(ValueError, match='num_layers must be 1 or more, got 0'):
        CycleGANDiscriminator(num_layers=0)
