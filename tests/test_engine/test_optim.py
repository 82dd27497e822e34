"""Weight decay of the recipes."""

import pytest
import torch
from helpers import batch
from torch import nn

from ugatit_mm.engine import AutocastOptimWrapper, UGATITOptimWrapperConstructor
from ugatit_mm.engine.optim import parameter_groups

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
def test_tensorflow_decays_kernels_alone(tiny, name):
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
    adam = torch.optim.Adam(parameter_groups(layer, 'kernels'), lr=0.1, weight_decay=0.01)
    plain = torch.optim.Adam(twin.parameters(), lr=0.1)
    for _ in range(3):
        adam.zero_grad(), plain.zero_grad()
        layer(x).square().mean().backward(), adam.step()
        (twin(x).square().mean() + 0.01 / 2 * twin.weight.square().sum()).backward(), plain.step()
    torch.testing.assert_close(layer.weight, twin.weight)
    torch.testing.assert_close(layer.bias, twin.bias)


def test_errors(tiny):
    with pytest.raises(ValueError, match='takes generators, discriminators and weight_decay_scope'):
        UGATITOptimWrapperConstructor({'generators': {}})
    with pytest.raises(ValueError, match='paramwise_cfg is not supported'):
        UGATITOptimWrapperConstructor({}, paramwise_cfg={})
    with pytest.raises(ValueError, match="weight_decay_scope must be one of .*'biases'"):
        build(tiny(), weight_decay_scope='biases')


def test_autocast_wrapper_takes_bfloat16_alone(tiny):
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AutocastOptimWrapper(optimizer=optimizer)
    with wrapper.optim_context(model):
        assert model.generators['A'].encoder[0](torch.zeros(1, 3, 8, 8)).dtype is torch.bfloat16
    assert batch()['inputs']['img_A'].dtype is torch.float32
    with pytest.raises(ValueError, match='use AmpOptimWrapper'):
        AutocastOptimWrapper(dtype='float16', optimizer=optimizer)
