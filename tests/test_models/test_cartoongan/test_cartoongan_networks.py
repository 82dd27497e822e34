"""CartoonGAN's generator and discriminator: official numbers, torch's layers, fields, errors."""

import numpy as np
import pytest
import torch
from cartoongan_helpers import (
    official_state,
    plain_discriminator,
    plain_generator,
    tiny_cartoongan,
)
from cyclegan_helpers import pixels, recorded
from torch import nn

from ugatit_mm.models import CartoonGANDiscriminator, CartoonGANGenerator

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')
SMALL = {'base_channels': 4, 'num_blocks': 2}


def test_official_parameter_counts():
    with torch.device('meta'):
        networks = [
            CartoonGANGenerator(),
            CartoonGANGenerator(num_blocks=16),
            CartoonGANDiscriminator(),
        ]
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert sizes == [11_120_195, 20_561_475, 1_128_385]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('nhwc', [True, False])
def test_official_forward_passes(training, nhwc):
    numbers = recorded('cartoongan_steps.npz')
    model = tiny_cartoongan(channels_last=nhwc)
    model.load_state_dict(official_state('cartoongan_init.pt'))
    model.train(training)
    x = pixels(numbers['step0_x'])
    with torch.no_grad():
        found = {
            'forward_G': model.generators['B'](x),
            'forward_D': torch.sigmoid(model.discriminators['B'](x)),
            'forward_G_48x64': model.generators['B'](x[:1, :, :48])[..., ::4, ::4],
        }
    for name, image in found.items():
        np.testing.assert_allclose(image, numbers[name], atol=1e-5, rtol=0, err_msg=name)
    assert numbers['forward_G_eval_diff'] == 0


def same_weights(ours: nn.Module, plain: nn.Module) -> None:
    """Random weights, with biases that have an effect, in both."""
    torch.manual_seed(0)
    pairs = list(zip(ours.parameters(), plain.parameters(), strict=True))
    with torch.no_grad():
        for one, two in pairs:
            assert one.shape == two.shape
            two.copy_(one.copy_(0.1 * torch.randn_like(one)))


def compare(ours: nn.Module, plain: nn.Module) -> None:
    """Results and gradients."""
    same_weights(ours, plain)
    x = torch.rand(2, 3, 24, 32) * 2 - 1
    found = []
    for network in (ours, plain):
        out = network(x)
        out.square().mean().backward()
        found.append((out.detach(), [p.grad for p in network.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
    assert found[1][0].std() > 0.02
    for one, two in zip(found[0][1], found[1][1], strict=True):
        size = two.abs().max()
        if size > 1e-6:  # the rest are biases before a norm, whose gradient is 0
            torch.testing.assert_close(one / size, two / size, atol=1e-4, rtol=0)


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize(('padding', 'affine'), [('zeros', False), ('reflect', True)])
def test_the_generator_is_torchs_layers(padding, affine, with_cp):
    ours = CartoonGANGenerator(**SMALL, padding=padding, affine=affine, with_cp=with_cp)
    compare(ours, plain_generator(4, 2, padding == 'reflect', affine))


@pytest.mark.parametrize('affine', [False, True])
def test_the_discriminator_is_torchs_layers(affine):
    compare(CartoonGANDiscriminator(base_channels=4, affine=affine), plain_discriminator(4, affine))


@pytest.mark.parametrize('kind', [CartoonGANGenerator, CartoonGANDiscriminator])
def test_initial_weights(kind):
    """N(0, 0.02), biases 0; scales of norms uniform in (0, 1), shifts 0."""
    network = kind(base_channels=8, affine=True)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7)
    torch.manual_seed(0)
    network.init_weights()
    scales = []
    for name, parameter in network.named_parameters():
        if parameter.dim() == 4:
            assert parameter.detach().std().item() == pytest.approx(0.02, rel=0.2), name
        elif name.endswith('bias'):
            assert not parameter.any(), name
        else:
            scales.append(parameter.detach())
    scales = torch.cat(scales)
    assert 0 <= scales.min() < 0.05 and 0.95 < scales.max() <= 1
    assert scales.mean() == pytest.approx(0.5, abs=0.06)


def test_sizes_and_channels():
    generator = CartoonGANGenerator(1, 4, **SMALL)
    for size in ((8, 8), (12, 44)):
        image = generator(torch.zeros(2, 1, *size))
        assert image.shape == (2, 4, *size) and image.abs().max() <= 1
    judge = CartoonGANDiscriminator(1, 2)
    assert judge(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 64, 64)
    assert judge(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 2, 2)


def test_errors_say_what_to_do():
    generator, judge = CartoonGANGenerator(**SMALL), CartoonGANDiscriminator(base_channels=2)
    with pytest.raises(ValueError, match='multiples of 4 from 8 on, got 30x32'):
        generator(torch.zeros(1, 3, 30, 32))
    for network in (generator, judge):
        with pytest.raises(ValueError, match=r'takes \(N, 3, H, W\), got \(1, 1, 32, 32\)'):
            network(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match='num_blocks must be 1 or more, got 0'):
        CartoonGANGenerator(num_blocks=0)
    with pytest.raises(ValueError, match=r"padding must be one of \['zeros', 'reflect'\]"):
        CartoonGANGenerator(padding='symmetric')
