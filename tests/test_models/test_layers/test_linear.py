"""A weight's gradient computed once is the sum of the uses' gradients."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ugatit_mm.models.layers import JointLinear, joint_gradients


@pytest.fixture
def layers() -> tuple[JointLinear, nn.Linear]:
    torch.manual_seed(0)
    joint, plain = JointLinear(5, 3).double(), nn.Linear(5, 3).double()
    plain.load_state_dict(joint.state_dict())
    return joint, plain


def chained(layer: nn.Module) -> torch.Tensor:
    """Two uses, the second on the output of the first, and a third in parallel."""
    x = torch.arange(10.0, dtype=torch.float64).view(2, 5)
    lift = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5)
    first = layer(x).tanh()
    return layer(first @ lift).square().sum() + layer(x[:1]).sin().sum()


def assert_same_gradients(layers: tuple[nn.Module, nn.Module]) -> None:
    for got, expected in zip(*(layer.parameters() for layer in layers), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, atol=1e-12, rtol=1e-12)


def test_gradients_are_those_of_a_plain_layer(layers):
    for layer in layers:
        for _ in range(2):  # and they accumulate
            with joint_gradients(layer):
                chained(layer).backward()
    assert_same_gradients(layers)


def test_one_gradient_for_all_uses_of_a_block(layers):
    """The weight's gradient is one product; a plain layer has one for each use."""
    made = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if function is torch.ops.aten.mm.default and out.shape in ((3, 5), (5, 3)):
                made.append(args[0].numel() // 3)
            return out

    def rows(layer: nn.Module, block: nn.Module) -> list[int]:
        made.clear()
        with joint_gradients(block):
            loss = chained(layer)
            with Count():
                loss.backward()
        return sorted(made)

    joint, plain = layers
    assert rows(joint, nn.Sequential(joint)) == [5]  # 2 + 2 + 1 rows in one product
    assert rows(plain, plain) == [1, 2, 2]
    assert rows(joint, plain) == [1, 2, 2]  # outside of its block it is a plain layer


def test_uses_without_gradient_do_not_count(layers):
    for layer in layers:
        with joint_gradients(layer):
            with torch.no_grad():
                chained(layer)
            chained(layer).backward()
    assert_same_gradients(layers)


def test_a_use_that_is_not_part_of_the_loss_is_an_error(layers):
    """Outside a block it is not an error, and a block leaves no state."""
    joint = layers[0]
    x = torch.ones(2, 5, dtype=torch.float64)

    @joint_gradients(joint)
    def step() -> None:
        kept = joint(x)
        chained(joint).backward()
        assert kept.requires_grad

    with pytest.raises(RuntimeError, match=r'1 use\(s\) .* not part of the loss'):
        step()
    assert joint.weight.grad is None
    for layer in layers:
        kept = layer(x)
        layer.zero_grad()
        chained(layer).backward()
        assert kept.requires_grad
    assert_same_gradients(layers)


def test_frozen_weight_and_gradient_of_the_input(layers):
    results = []
    for layer in layers:
        layer.requires_grad_(False)
        x = torch.ones(2, 5, dtype=torch.float64, requires_grad=True)
        with joint_gradients(layer):
            layer(x).square().sum().backward()
        results.append(x.grad)
        assert layer.weight.grad is None
    torch.testing.assert_close(*results)
