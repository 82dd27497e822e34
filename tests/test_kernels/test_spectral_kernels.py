"""The spectral norm of many kernels at once, against float64 and one by one."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ugatit_mm.kernels import spectral
from ugatit_mm.kernels.spectral import NORMALISE, NORMALISE_GRAD, Place
from ugatit_mm.models.layers import SpectralNorm, raw_weight, spectral_norm
from ugatit_mm.models.layers.spectral_norm import prepared

# Each kernel is compared with its formula in the fast tier, too: test_first_use.py.
pytestmark = pytest.mark.slow

# Several slices of rows, several tiles of channels, a 5x5 kernel, sizes that are not multiples of
# anything, one row, one column.
SHAPES = ((130, 3, 2, 2), (5, 200, 1, 1), (3, 4, 5, 5), (2, 16, 4, 4), (1, 70), (7, 1))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def case(device: torch.device) -> tuple:
    weights = tuple(random(*shape).to(device) for shape in SHAPES)
    places, start = [], 0
    for weight in weights:
        rows, columns = weight.flatten(1).shape
        places.append(Place(start, start + rows, weight.dim() == 2))
        start += rows + columns
    return random(start).to(device), weights, tuple(places)


def formula(vectors, weight, place, move):
    """W / sigma, u and v in float64."""
    matrix = weight.double().flatten(1)
    rows, columns = matrix.shape
    u, v = (vectors.double()[at : at + n] for at, n in ((place.u, rows), (place.v, columns)))
    if move:
        v = matrix.t() @ u / (matrix.t() @ u).norm()
        u = matrix @ v / (matrix @ v).norm()
    sigma = u @ matrix @ v
    return weight.double() / sigma, u, v, sigma


@pytest.mark.parametrize('move', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_weights_and_vectors(kernels, move, dtype):
    vectors, weights, places = case(kernels)
    before = vectors.clone()
    out, used, sigma = NORMALISE(vectors, weights, places, dtype, move, 1e-12)
    assert torch.equal(vectors, used) and (move or torch.equal(vectors, before))
    for i, (weight, place) in enumerate(zip(weights, places, strict=True)):
        expected, u, v, size = formula(before, weight, place, move)
        kind = torch.float32 if place.wide else dtype
        assert out[i].dtype == kind and out[i].shape == weight.shape
        form = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
        assert out[i].is_contiguous(memory_format=form)
        rtol = 1e-5 if kind == torch.float32 else 2**-7
        assert_close(out[i].double(), expected, rtol=rtol, atol=1e-5 * expected.abs().max().item())
        assert_close(used[place.u : place.u + len(u)].double(), u, rtol=1e-5, atol=1e-6)
        assert_close(used[place.v : place.v + len(v)].double(), v, rtol=1e-5, atol=1e-6)
        assert_close(sigma[i].double(), size, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'dtype', [torch.float32, pytest.param(torch.float16, marks=pytest.mark.slow)]
)
def test_gradients(kernels, monkeypatch, dtype):
    monkeypatch.setattr(spectral, 'LEAST', 3)  # several slices
    spectral._table.cache_clear()
    vectors, weights, places = case(kernels)
    grads = [
        random(*shape, seed=1).to(kernels).to(torch.float32 if place.wide else dtype)
        for shape, place in zip(SHAPES, places, strict=True)
    ]
    grads[2] = None
    grads[3] = grads[3].to(memory_format=torch.channels_last)
    _, used, sigma = NORMALISE(vectors, weights, places, dtype, True, 1e-12)
    out = NORMALISE_GRAD(used, tuple(grads), weights, places, sigma)
    assert out[2] is None
    for grad, weight, place, ours in zip(grads, weights, places, out, strict=True):
        if grad is None:
            continue
        leaf = weight.double().requires_grad_()
        matrix = leaf.flatten(1)
        u, v = (
            used.double()[at : at + n]
            for at, n in zip((place.u, place.v), matrix.shape, strict=True)
        )
        (leaf / (u @ matrix @ v)).backward(grad.double())
        assert ours.dtype == torch.float32 and ours.stride() == weight.stride()
        size = leaf.grad.abs().max().item()
        assert_close(ours.double(), leaf.grad, rtol=1e-5, atol=1e-5 * size)


def test_nan_reaches_its_layer_only(kernels):
    vectors, weights, places = case(kernels)
    weights[0][0, 0, 0, 0] = torch.nan
    out, _, sigma = NORMALISE(vectors, weights, places, torch.float32, True, 1e-12)
    assert [weight.isnan().all().item() for weight in out] == [True] + [False] * 5
    assert sigma.isnan().tolist() == [True] + [False] * 5
    assert not any(weight.isnan().any() for weight in out[1:])


def test_the_checks_at_the_first_use_pass(kernels):
    assert NORMALISE._check(kernels) and NORMALISE_GRAD._check(kernels)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = spectral_norm(nn.Conv2d(2, 3, 2))
        self.linear = spectral_norm(nn.Linear(5, 1))
        self.other = nn.Conv2d(1, 1, 1)


def test_a_prepared_weight_is_handed_out_once(kernels):
    layers, plain = Layers().to(kernels), Layers().to(kernels)
    norm: SpectralNorm = layers.conv.parametrizations.weight[0]
    with prepared(layers):
        with prepared(layers.conv):  # was prepared for the larger part
            weight, linear = layers.conv.weight, layers.linear.weight
        assert norm.prepared is None
        again = layers.conv.weight  # one by one
    for ours, theirs in (
        (weight, plain.conv.weight),
        (linear, plain.linear.weight),
        (again, plain.conv.weight),
    ):
        assert_close(ours, theirs)
    with prepared(layers):
        pass
    assert norm.prepared is None  # it was not used, and is not kept


def test_what_cannot_be_prepared_is_normalised_one_by_one(kernels):
    layers = Layers().to(kernels)
    for spoil in (lambda: layers.conv.eval(), lambda: layers.double()):
        spoil()
        with prepared(layers):
            assert layers.conv.parametrizations.weight[0].prepared is None
            assert layers.conv.weight.shape == (3, 2, 2, 2)


def test_a_weight_that_was_not_used_gets_no_gradient(kernels):
    layers = Layers().to(kernels)
    with prepared(layers):
        layers.conv.weight.square().sum().backward()
    assert raw_weight(layers.conv).grad.any()
    assert raw_weight(layers.linear).grad is None
