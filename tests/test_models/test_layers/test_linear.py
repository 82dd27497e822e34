"""A weight's gradient made once is the sum of the uses' gradients."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ugatit_mm.models.layers import JointLinear


@pytest.fixture
def layers() -> tuple[JointLinear, nn.Linear]:
    torch.manual_seed(0)
    joint, plain = JointLinear(5, 3).double(), nn.Linear(5, 3).double()
    plain.load_state_dict(joint.state_dict())
    return joint, plain


def chained(layer: nn.Module, lift: torch.Tensor) -> torch.Tensor:
    """Two uses, the second of what the first gave, and a third beside them."""
    x = torch.arange(10.0, dtype=torch.float64).view(2, 5)
    first = layer(x).tanh()
    return layer(first @ lift).square().sum() + layer(x[:1]).sin().sum()


def grads(layer: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in layer.parameters()]


def test_gradients_are_those_of_a_plain_layer(layers):
    lift = torch.randn(3, 5, dtype=torch.float64)
    for layer in layers:
        for _ in range(2):  # and they accumulate
            chained(layer, lift).backward()
    for got, expected in zip(*map(grads, layers), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_one_gradient_for_all_uses(layers):
    """The weight's gradient comes from one node; of a plain layer from one for each use."""
    joint, plain = layers
    lift = torch.randn(3, 5, dtype=torch.float64)
    made = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if function is torch.ops.aten.mm.default and out.shape in ((3, 5), (5, 3)):
                made[-1].append(args[0].numel() // 3)
            return out

    for layer in (joint, plain):
        loss = chained(layer, lift)
        made.append([])
        with Count():
            loss.backward()
    assert made[0] == [5]  # 2 + 2 + 1 rows in one product
    assert sorted(made[1]) == [1, 2, 2]


def test_a_graph_without_a_backward_pass_does_not_count(layers):
    joint, plain = layers
    x = torch.ones(2, 5, dtype=torch.float64)
    dropped = joint(x)
    del dropped
    with torch.no_grad():
        joint(x)
    for layer in layers:
        layer(x).square().sum().backward()
    for got, expected in zip(grads(joint), grads(plain), strict=True):
        torch.testing.assert_close(got, expected)


def test_backward_passes_one_by_one_add_up(layers):
    x = torch.ones(2, 5, dtype=torch.float64)
    for layer in layers:
        one, two = layer(x).square().sum(), layer(2 * x).sin().sum()
        one.backward()
        two.backward(retain_graph=True)
        two.backward()
    for got, expected in zip(*map(grads, layers), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_frozen_weight_and_gradient_of_the_input(layers):
    results = []
    for layer in layers:
        layer.requires_grad_(False)
        x = torch.ones(2, 5, dtype=torch.float64, requires_grad=True)
        layer(x).square().sum().backward()
        results.append(x.grad)
        assert layer.weight.grad is None
    torch.testing.assert_close(*results)


def test_copies_and_pickles_are_layers_of_their_own(layers):
    joint = layers[0]
    x = torch.ones(1, 5, dtype=torch.float64)
    kept = joint(x)  # an open use of the first one alone
    for again in (copy.deepcopy(joint), pickle.loads(pickle.dumps(joint))):
        again(x).sum().backward()
        assert again.weight.grad.tolist() == torch.ones(3, 5).tolist()
    assert kept.requires_grad and joint.weight.grad is None
