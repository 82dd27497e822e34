"""Spectral norm against the singular value decomposition and PyTorch's hook."""

import copy
import warnings

import torch
from torch import nn

from ugatit_mm.models.layers import raw_weight, spectral_norm


def test_converges_to_the_largest_singular_value():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Conv2d(3, 5, 3))
    for _ in range(200):
        weight = layer.weight
    sigma = torch.linalg.svdvals(raw_weight(layer).detach().flatten(1))[0]
    torch.testing.assert_close(weight, raw_weight(layer) / sigma, atol=1e-5, rtol=1e-4)


def test_each_pass_is_that_of_the_official_hook():
    """The official program uses nn.utils.spectral_norm; its vectors start the same."""
    torch.manual_seed(0)
    plain = nn.Linear(6, 4)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        official = nn.utils.spectral_norm(copy.deepcopy(plain))
    ours = spectral_norm(plain)
    ours.parametrizations.weight[0].u.copy_(official.weight_u)
    ours.parametrizations.weight[0].v.copy_(official.weight_v)
    x = torch.randn(3, 6)
    for mode in (False, True, True, False):
        ours.train(mode), official.train(mode)
        torch.testing.assert_close(ours(x), official(x), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(ours.parametrizations.weight[0].u, official.weight_u)
    ours.train(), official.train()
    ours(x).sum().backward(), official(x).sum().backward()
    torch.testing.assert_close(raw_weight(ours).grad, official.weight_orig.grad)


def test_two_passes_can_share_a_graph():
    """The second pass updates the vectors that the first one's gradient needs."""
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(4, 4))
    x = torch.randn(2, 4)
    (layer(x).sum() + layer(2 * x).sum()).backward()
    assert raw_weight(layer).grad.abs().sum() > 0


def test_evaluation_moves_nothing():
    layer = spectral_norm(nn.Linear(4, 3)).eval()
    before = copy.deepcopy(layer.state_dict())
    layer(torch.randn(2, 4))
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())


def test_autocast_keeps_the_weight_in_float32():
    layer = spectral_norm(nn.Linear(4, 3)).eval()
    expected = layer.weight
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(layer.weight, expected, atol=0, rtol=0)
