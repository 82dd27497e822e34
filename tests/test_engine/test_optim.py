"""Weight decay of the recipes, types of the forward pass."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ugatit_mm.engine import AutocastOptimWrapper, UGATITOptimWrapperConstructor
from ugatit_mm.engine.optim import parameter_groups
from ugatit_mm.models import UGATIT

ADAM = dict(type='Adam', lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4)


def build(model, **fields):
    cfg = {name: dict(optimizer=ADAM) for name in ('generators', 'discriminators')}
    return UGATITOptimWrapperConstructor(cfg | fields)(model)


def decayed(model, wrapper) -> set[str]:
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]
        for group in wrapper.optimizer.param_groups
        if group['weight_decay']
        for p in group['params']
    }


@pytest.mark.parametrize('name', ['generators', 'discriminators'])
def test_tensorflow_decays_kernels_only(tiny, name):
    model = tiny()
    wrapper = build(model)[name]
    got = decayed(model, wrapper)
    everything = {n for n, _ in getattr(model, name).named_parameters(prefix=name)}
    by_name = {
        n for n in everything if n.endswith(('weight', 'weight.original')) and 'norm' not in n
    }
    assert got == by_name
    optimised = {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}
    assert optimised == {id(p) for p in getattr(model, name).parameters()}
    for group in wrapper.optimizer.param_groups:
        assert group['lr'] == 1e-4 and group['betas'] == (0.5, 0.999)
        assert group['weight_decay'] in (0, 1e-4)


def test_pytorch_decays_all_and_the_field_wins(tiny):
    model = tiny(recipe='pytorch')
    everything = {n for n, _ in model.generators.named_parameters(prefix='generators')}
    assert decayed(model, build(model)['generators']) == everything
    kernels = decayed(model, build(model, weight_decay_scope='kernels')['generators'])
    assert kernels < everything and not any('rho' in n for n in kernels)


def test_decay_is_the_gradient_of_the_l2_term():
    """Adam's decay adds 1e-4 w to the gradient, that of TensorFlow's 1e-4 / 2 * sum(w^2)."""
    torch.manual_seed(0)
    layer, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(4, 3)
    adam = torch.optim.Adam(parameter_groups([layer], 'kernels'), lr=0.1, weight_decay=0.01)
    plain = torch.optim.Adam(twin.parameters(), lr=0.1)
    for _ in range(3):
        adam.zero_grad(), plain.zero_grad()
        layer(x).square().mean().backward(), adam.step()
        (twin(x).square().mean() + 0.01 / 2 * twin.weight.square().sum()).backward(), plain.step()
    torch.testing.assert_close(layer.weight, twin.weight)
    torch.testing.assert_close(layer.bias, twin.bias)


def test_errors(tiny):
    with pytest.raises(ValueError, match='takes discriminators, generators and weight_decay_scope'):
        UGATITOptimWrapperConstructor({'generators': {}})(tiny())
    with pytest.raises(ValueError, match='paramwise_cfg is not supported'):
        UGATITOptimWrapperConstructor({}, paramwise_cfg={})
    with pytest.raises(ValueError, match="weight_decay_scope must be one of .*'biases'"):
        build(tiny(), weight_decay_scope='biases')
    slim = UGATIT(dict(type='UGATITGenerator', base_channels=4, num_blocks=1, img_size=32))
    with pytest.raises(ValueError, match=r'training needs model\.discriminator'):
        build(slim)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_autocast_wrapper_casts_features_only(tiny, dtype):
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AutocastOptimWrapper(dtype=dtype, optimizer=optimizer)
    generator, image = model.generators['A'], torch.zeros(1, 3, 32, 32)
    with wrapper.optim_context(model):
        assert generator.encoder[0](image).dtype is getattr(torch, dtype)
        _, cam_logit, _ = generator(image, return_cam=True)
        gamma, beta = generator.mlp(torch.zeros(1, 16, 8, 8, dtype=getattr(torch, dtype)))
    assert {t.dtype for t in (cam_logit, gamma, beta)} == {torch.float32}
    with pytest.raises(ValueError, match=r"one of \['bfloat16', 'float16'\]"):
        AutocastOptimWrapper(dtype='float64', optimizer=optimizer)


def test_float16_scales_the_loss_and_leaves_overflowed_steps_out():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    wrapper = AutocastOptimWrapper(dtype='float16', loss_scale=8.0, optimizer=optimizer)
    wrapper.backward((weight * torch.tensor([1.0, 3.0])).sum())
    assert weight.grad.tolist() == [8.0, 24.0]
    wrapper.step()
    assert weight.tolist() == [0.5, -0.5]
    wrapper.zero_grad()
    wrapper.backward((weight * torch.tensor([1.0, float('inf')])).sum())
    wrapper.step()
    assert weight.tolist() == [0.5, -0.5]
    assert wrapper.loss_scaler.get_scale() == 4.0
    again = AutocastOptimWrapper(dtype='float16', optimizer=optimizer)
    again.load_state_dict(wrapper.state_dict())
    assert again.loss_scaler.get_scale() == 4.0
    again.load_state_dict(OptimWrapper(optimizer=optimizer).state_dict())  # a run in float32 before
