"""Generator and discriminator: sizes, ablations, gradients, errors."""

import pytest
import torch
from torch import nn

from ugatit_mm.models import UGATITDiscriminator, UGATITGenerator
from ugatit_mm.models.layers import CAM, LIN, AdaLIN

GEN = {'base_channels': 8, 'num_blocks': 2, 'img_size': 32}
NORMS = ('adalin', 'in', 'ln', 'adain', 'gn')


def test_published_parameter_counts():
    """Light 10.6M, full 279M (268M of them in one layer), together 134.0M and 670.8M."""
    with torch.device('meta'):
        light = UGATITGenerator(light=True, recipe='pytorch')
        full = UGATITGenerator(recipe='pytorch')
    dis = UGATITDiscriminator(recipe='pytorch')
    size = {net: sum(p.numel() for p in net.parameters()) for net in (light, full, dis)}
    assert full.mlp.fc1.weight.numel() == 1_048_576 * 256
    assert round(size[light] / 1e6, 1) == 10.6
    assert round(size[full] / 1e6) == 279
    assert round(2 * (size[light] + size[dis]) / 1e6, 1) == 134.0
    assert round(2 * (size[full] + size[dis]) / 1e6, 1) == 670.8


@pytest.mark.parametrize('recipe', ['tensorflow', 'pytorch'])
@pytest.mark.parametrize('light', [True, False])
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('cam', [True, False])
def test_every_parameter_of_every_generator_learns(recipe, light, norm, cam):
    torch.manual_seed(0)
    gen = UGATITGenerator(**GEN, recipe=recipe, light=light, norm=norm, cam=cam, norm_groups=4)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    image, cam_logit, heatmap = gen(x, return_cam=True)
    assert torch.equal(image, gen(x))
    assert image.shape == x.shape and image.abs().max() <= 1
    loss = image.square().mean()
    if cam:
        assert cam_logit.shape == (2, 2) and heatmap.shape == (2, 1, 8, 8)
        loss = loss + cam_logit.square().mean()
    else:
        assert cam_logit is None and heatmap is None
    loss.backward()
    for name, parameter in gen.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    # Biases before an instance norm have no effect, as in the TensorFlow program.
    dead = [name for name, p in gen.named_parameters() if not p.grad.any()]
    assert all(name.endswith('.bias') for name in dead), dead


@pytest.mark.parametrize('recipe', ['tensorflow', 'pytorch'])
@pytest.mark.parametrize('cam', [True, False])
def test_every_parameter_of_every_discriminator_learns(recipe, cam):
    torch.manual_seed(0)
    dis = UGATITDiscriminator(base_channels=4, num_layers=(5, 4), recipe=recipe, cam=cam)
    out = dis(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert len(out) == 2
    loss = sum(scale.logit.square().mean() for scale in out)
    if cam:
        loss = loss + sum(scale.cam_logit.square().mean() for scale in out)
    else:
        assert all(scale.cam_logit is None and scale.heatmap is None for scale in out)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in dis.parameters())


def count(net: nn.Module, kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in net.modules())


@pytest.mark.parametrize(
    ('norm', 'adalin', 'lin', 'instance', 'group', 'mlp'),
    [
        ('adalin', 4, 2, 7, 0, True),
        ('in', 0, 0, 7 + 6, 0, False),
        ('ln', 0, 0, 7, 6, False),
        ('gn', 0, 0, 7, 6, False),
        ('adain', 4, 0, 7 + 2, 0, True),
    ],
)
def test_norms_of_the_ablation(norm, adalin, lin, instance, group, mlp):
    """Two blocks: four norms in the decoder's blocks and two in up-sampling; seven before."""
    gen = UGATITGenerator(**GEN, norm=norm, norm_groups=4)
    assert count(gen, AdaLIN) == adalin and count(gen, LIN) == lin
    assert count(gen, nn.InstanceNorm2d) == instance and count(gen, nn.GroupNorm) == group
    assert (gen.mlp is not None) is mlp
    if norm in ('ln', 'gn'):
        groups = {layer.num_groups for layer in gen.modules() if isinstance(layer, nn.GroupNorm)}
        assert groups == {1 if norm == 'ln' else 4}
    if norm == 'adain':
        assert all(
            layer.rho.eq(1).all() and not layer.rho_smoothing
            for layer in gen.modules()
            if isinstance(layer, AdaLIN)
        )


def test_without_cam_there_is_no_1x1_convolution():
    for net in (
        UGATITGenerator(**GEN, cam=False),
        UGATITDiscriminator(base_channels=4, num_layers=(5, 4), cam=False),
    ):
        assert count(net, CAM) == 0
        assert not [
            m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
        ]


def test_spectral_norm_can_be_left_out_and_spares_the_1x1_convolution():
    fields = {'base_channels': 4, 'num_layers': (5, 4)}
    with_norm = UGATITDiscriminator(**fields).state_dict()
    normalised = {key.split('.parametrizations')[0] for key in with_norm if '.original' in key}
    # global: 5 - 1 convolutions, CAM classifier, logits; local: one convolution less
    assert len(normalised) == 6 + 5 and not any('conv1x1' in key for key in normalised)
    without = UGATITDiscriminator(**fields, spectral_norm=False).state_dict()
    assert not any('parametrizations' in key for key in without)


def test_light_takes_any_size_and_full_only_its_own():
    light = UGATITGenerator(**GEN, light=True)
    assert light(torch.zeros(1, 3, 16, 44)).shape == (1, 3, 16, 44)
    full = UGATITGenerator(**GEN)
    with pytest.raises(ValueError, match='tied to img_size=32, got 36x32'):
        full(torch.zeros(1, 3, 36, 32))
    # Without the MLP (ablation) any size works.
    assert UGATITGenerator(**GEN, norm='in')(torch.zeros(1, 3, 36, 32)).shape == (1, 3, 36, 32)


def test_channels_are_fields():
    gen = UGATITGenerator(**GEN, in_channels=1, out_channels=4)
    assert gen(torch.zeros(1, 1, 32, 32)).shape == (1, 4, 32, 32)
    dis = UGATITDiscriminator(in_channels=1, base_channels=4, num_layers=(5, 4))
    assert dis(torch.zeros(1, 1, 32, 32))[0].logit.shape[:2] == (1, 1)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match='img_size must be a multiple of 4'):
        UGATITGenerator(img_size=30)
    with pytest.raises(ValueError, match='norm_groups=32 does not divide the 16 channels'):
        UGATITGenerator(**GEN, norm='gn')
    light = UGATITGenerator(**GEN, light=True)
    with pytest.raises(ValueError, match='multiples of 4 from 8 on, got 33x32'):
        light(torch.zeros(1, 3, 33, 32))
    with pytest.raises(ValueError, match=r'takes \(N, 3, H, W\), got \(1, 1, 32, 32\)'):
        light(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match='num_layers takes one number for each'):
        UGATITDiscriminator(num_layers=(5,))
    with pytest.raises(ValueError, match='num_layers must be 4 or more'):
        UGATITDiscriminator(num_layers=(5, 3))
    dis = UGATITDiscriminator(base_channels=4)
    with pytest.raises(ValueError, match='64x64 are too small.*needs 96'):
        dis(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize('recipe', ['tensorflow', 'pytorch'])
def test_the_smallest_size_is_the_one_named(recipe):
    dis = UGATITDiscriminator(base_channels=2, recipe=recipe)
    assert all(scale.logit.numel() for scale in dis(torch.zeros(1, 3, 96, 96)))
