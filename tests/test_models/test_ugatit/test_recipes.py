"""Every field of the recipes has an effect, and a field given with a recipe overrides it."""

import copy

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from ugatit_mm.models import UGATITDiscriminator, UGATITGenerator
from ugatit_mm.models.layers import AdaLIN, raw_weight
from ugatit_mm.models.ugatit.recipes import RECIPES, resolve

GEN = {'base_channels': 4, 'num_blocks': 2, 'img_size': 32, 'light': True}
DIS = {'base_channels': 4, 'num_layers': (5, 4)}


def outputs(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        if isinstance(net, UGATITGenerator):
            return list(net(x, return_cam=True))
        return [tensor for scale in net(x) for tensor in scale]


def same(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks from one seed give the same result, including with trained weights."""
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    one, two = outputs(first, x), outputs(second, x)
    return len(one) == len(two) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, two, strict=True)
    )


def build(cls, **fields) -> nn.Module:
    torch.manual_seed(0)
    return cls(**(GEN if cls is UGATITGenerator else DIS), **fields).eval()


def perturb(net: nn.Module) -> nn.Module:
    """Move every parameter from its initial value, so that no 0 or 1 hides an effect."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(net.named_parameters()):
            if not name.endswith('rho'):
                parameter.add_(0.1 * torch.rand(parameter.shape, generator=rng))
    return net


@pytest.mark.parametrize('cls', [UGATITGenerator, UGATITDiscriminator])
@pytest.mark.parametrize('recipe', RECIPES)
def test_each_field_changes_the_network(cls, recipe):
    part = 'generator' if cls is UGATITGenerator else 'discriminator'
    other = next(name for name in RECIPES if name != recipe)
    for field, value in RECIPES[other][part].items():
        if field == 'mlp_width':  # 4 blocks make the two widths equal; GEN has 2
            assert GEN['num_blocks'] != 4
        base, changed = build(cls, recipe=recipe), build(cls, recipe=recipe, **{field: value})
        if field == 'init':
            torch.manual_seed(0), base.init_weights()
            torch.manual_seed(0), changed.init_weights()
        else:
            base, changed = perturb(base), perturb(changed)
        assert not same(base, changed), field


@pytest.mark.parametrize('cls', [UGATITGenerator, UGATITDiscriminator])
@pytest.mark.parametrize('recipe', RECIPES)
def test_fields_of_the_other_recipe_make_the_other_recipe(cls, recipe):
    part = 'generator' if cls is UGATITGenerator else 'discriminator'
    other = next(name for name in RECIPES if name != recipe)
    assert same(build(cls, recipe=recipe, **RECIPES[other][part]), build(cls, recipe=other))


@pytest.mark.parametrize(
    ('recipe', 'rho', 'smoothing', 'unbiased', 'affine', 'bias'),
    [('tensorflow', 1.0, 0.1, False, True, True), ('pytorch', 0.9, 0.0, True, False, False)],
)
def test_generator_of_a_recipe(recipe, rho, smoothing, unbiased, affine, bias):
    gen = build(UGATITGenerator, recipe=recipe)
    norms = [layer for layer in gen.modules() if isinstance(layer, AdaLIN)]
    assert len(norms) == 2 * GEN['num_blocks']
    for norm in norms:
        torch.testing.assert_close(norm.rho, torch.full_like(norm.rho, rho))
        assert (norm.rho_smoothing, norm.unbiased) == (smoothing, unbiased)
    for norm in gen.modules():
        if isinstance(norm, nn.InstanceNorm2d):
            assert norm.affine is affine
    for name, layer in gen.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert (layer.bias is not None) is (bias or name == 'cam.conv1x1')
    assert hasattr(gen.cam, 'fc') is (recipe == 'tensorflow')
    assert gen.mlp.fc2.out_features == (8 if recipe == 'tensorflow' else 16)


@pytest.mark.parametrize(('recipe', 'size'), [('tensorflow', 4), ('pytorch', 2)])
def test_padding_keeps_the_size_or_loses_a_pixel_twice(recipe, size):
    dis = build(UGATITDiscriminator, recipe=recipe)
    first, second = dis(torch.zeros(1, 3, 32, 32))
    assert first.logit.shape == (1, 1, size, size)
    assert second.logit.shape == (1, 1, 2 * size + (recipe == 'pytorch') * 2, second.logit.size(3))


def test_published_sizes():
    """Logits of 8 and 32 (TensorFlow), 6 and 30 (PyTorch) pixels at 256 px."""
    for recipe, sizes in (('tensorflow', [8, 32]), ('pytorch', [6, 30])):
        dis = UGATITDiscriminator(base_channels=1, recipe=recipe)
        with torch.no_grad():
            assert [scale.logit.size(2) for scale in dis(torch.zeros(1, 3, 256, 256))] == sizes


@pytest.mark.parametrize('cls', [UGATITGenerator, UGATITDiscriminator])
def test_normal_init_is_that_of_the_paper(cls):
    torch.manual_seed(0)
    net = cls(base_channels=16)
    net.init_weights()
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            weight = raw_weight(layer).detach()
            if weight.numel() > 5000:
                assert abs(weight.std().item() - 0.02) < 1e-3
                assert abs(weight.mean().item()) < 1e-3
            assert layer.bias is None or not layer.bias.any()


def test_default_init_is_that_of_pytorch():
    torch.manual_seed(0)
    gen = UGATITGenerator(recipe='pytorch', base_channels=16, light=True)
    drawn_by_layers = copy.deepcopy(gen.state_dict())
    gen.init_weights()
    for name, value in gen.state_dict().items():
        if value.dim() > 1 and value.numel() > 2000:
            before = drawn_by_layers[name]
            assert not torch.equal(value, before)
            bound = value[0].numel() ** -0.5  # kaiming_uniform with a = sqrt(5)
            assert value.abs().max() <= bound and value.abs().max() > 0.98 * bound
            assert before.abs().max() <= bound


def test_unknown_values_name_the_known_ones():
    with pytest.raises(ValueError, match=r"recipe must be one of \['pytorch', 'tensorflow'\]"):
        resolve('keras', 'generator')
    for cls, field, value in (
        (UGATITGenerator, 'norm', 'bn'),
        (UGATITGenerator, 'init', 'xavier'),
        (UGATITGenerator, 'mlp_width', 'wide'),
        (UGATITDiscriminator, 'padding', 'valid'),
        (UGATITDiscriminator, 'init', 'xavier'),
    ):
        with pytest.raises(ValueError, match=rf'{field} must be one of .*{value}'):
            build(cls, **{field: value})


def test_registered_under_their_names():
    for name in ('UGATIT', 'UGATITGenerator', 'UGATITDiscriminator', 'AdaLIN', 'LIN', 'CAMLoss'):
        assert MODELS.get(name).__name__ == name
