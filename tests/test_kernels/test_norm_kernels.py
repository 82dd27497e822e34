"""The norm's kernels against torch's own gradients of the formula in float64."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ugatit_mm.kernels import maps, norm
from ugatit_mm.kernels.maps import NO_PADDING, Padding, reflection, replication
from ugatit_mm.kernels.norm import (
    Factors,
    Norm,
    gradients,
    normalise,
    plain_gradients,
    plain_normalise,
    triton_gradients,
    triton_normalise,
)
from ugatit_mm.models.layers.adalin import plain_instance_layer_norm
from ugatit_mm.models.layers.fused_norm import InstanceLayerNorm

SMALL, LONG, WIDE, LARGE = (2, 5, 7, 9), (1, 2, 13, 15), (1, 130, 3, 5), (1, 2, 256, 256)
SLICES = {'TILE': 64, 'PROGRAMS': 4}  # several slices of several tiles, as a large map has
SAME = Padding(1, 2, 1, 2)


def as_format(x: Tensor, name: str) -> Tensor:
    if name == 'expanded':  # as the gradient of a sum
        return x[:, :, :1, :1].expand_as(x)
    if name == 'odd strides':  # of axes of one element, where they have no meaning
        strides = (99 if n == 1 else s for n, s in zip(x.shape, x.stride(), strict=True))
        return x.as_strided(x.shape, tuple(strides))
    if name.startswith('gaps'):  # a view into a larger map
        x = torch.nn.functional.pad(x, (1, 2, 1, 0))
    last = name.endswith('channels last')
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    return x[:, :, 1:, 1:-2] if name.startswith('gaps') else x


def factors_of(kind: str, batch: int, channels: int, rng: torch.Generator) -> Factors:
    """Instance norm with and without style, LIN, AdaLIN."""

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=rng)

    bias, rho = random(channels), 1.2 * torch.rand((1, channels), generator=rng)
    if kind in ('instance', 'no bias'):
        return Factors(bias if kind == 'instance' else None)
    rows = batch if kind == 'adalin' else 1
    style = random(rows, 2 * channels).chunk(2, 1)  # as from one product
    return Factors(bias, None if kind == 'affine' else rho, *style)


def both_ways(
    shape: tuple[int, ...],
    options: Norm,
    kind: str,
    x_format: str,
    grad_format: str | None,
    dtype: torch.dtype,
    mean: float,
    device: torch.device,
) -> tuple:
    """Arguments of the forward function, and a gradient of its result."""
    rng = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=rng)

    x = as_format((random(*shape) + mean).to(dtype), x_format).to(device)
    around = options.padding.around(x.shape)
    grad = as_format(random(*around).to(dtype), grad_format or x_format).to(device)
    residual = as_format(random(*around).to(dtype), grad_format or x_format).to(device)
    factors = factors_of(kind, *shape[:2], rng)
    return x, Factors(*(f if f is None else f.to(device) for f in factors)), residual, grad


def expected_of(x, factors, residual, options, grad) -> list[Tensor]:
    """The formula in float64 and its gradients, by torch."""
    leaves = [t if t is None else t.double().requires_grad_() for t in (x, *factors, residual)]
    y = plain_instance_layer_norm(leaves[0], Factors(*leaves[1:5]), options, leaves[5])
    given = [t for t in leaves if t is not None]
    return [y.detach(), *torch.autograd.grad(y, given, grad.double())]


def check(
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...] = SMALL,
    options: Norm = Norm(slope=0.0),  # noqa: B008, immutable
    kind: str = 'adalin',
    x_format: str = 'contiguous',
    grad_format: str | None = None,
    dtype: torch.dtype = torch.float32,
    mean: float = 0.0,
    small_tiles: bool = False,
    tolerance: float = 2e-5,
) -> None:
    """Both functions on random numbers of one kind."""
    if small_tiles:
        monkeypatch.setattr(maps, 'TILE', SLICES['TILE'])
        monkeypatch.setattr(norm, 'PROGRAMS', SLICES['PROGRAMS'])
    args = both_ways(shape, options, kind, x_format, grad_format, dtype, mean, device)
    x, factors, residual, grad = args
    out, numbers = triton_normalise(x, factors, residual, options)
    grad_x, of_factors = triton_gradients(grad, x, factors, numbers, options)
    expected = expected_of(x, factors, residual, options, grad)
    found = [out, grad_x, *(g for g in of_factors if g is not None), grad]
    for value, number in zip(found, expected, strict=True):
        # Float32 sums; rounded once more to the dtype of x.
        scale = number.abs().max().clamp(min=1).item()
        atol = max(tolerance, torch.finfo(value.dtype).eps if value.dtype != torch.float32 else 0)
        assert_close(value.double(), number, rtol=0, atol=atol * scale)
    assert out.dtype == grad_x.dtype == dtype
    for result in (out, grad_x):
        if 'last' in x_format:
            assert result.is_contiguous(memory_format=torch.channels_last)
        else:
            assert result.is_contiguous()
    plain, plain_numbers = plain_normalise(x, factors, residual, options)
    plain_x, plain_factors = plain_gradients(grad, x, factors, plain_numbers, options)
    theirs = [plain, plain_x, *(g for g in plain_factors if g is not None)]
    for ours, other in zip(found, theirs, strict=False):
        scale = max(1, other.abs().max().item())
        atol = max(tolerance, 2 * torch.finfo(dtype).eps if dtype != torch.float32 else 0)
        assert ours.shape == other.shape and ours.dtype == other.dtype
        assert_close(ours / scale, other / scale, rtol=0, atol=atol)


PADDINGS = (NO_PADDING, reflection(1), reflection(3), replication(), SAME)
CASES = {
    'one position': {'shape': (2, 3, 1, 1), 'dtype': torch.float16, 'options': Norm(eps=0.1)},
    'one column': {'shape': (1, 1, 37, 1), 'options': Norm()},
    'one row': {'shape': (1, 1, 1, 37), 'x_format': 'channels last'},
    'odd stride of a column': {'shape': (2, 3, 7, 1), 'x_format': 'odd strides'},
    'odd stride of a row': {'shape': (2, 3, 1, 7), 'x_format': 'odd strides'},
    'gaps': {'x_format': 'gaps'},
    'gaps, padded': {'x_format': 'gaps', 'options': Norm(slope=0.2, padding=SAME)},
    'gaps, channels last': {'x_format': 'gaps, channels last'},
    'gaps, channels last, padded': {
        'x_format': 'gaps, channels last',
        'options': Norm(slope=0.0, padding=reflection(2)),
    },
    'expanded': {'grad_format': 'expanded'},
    'mixed': {'shape': WIDE, 'grad_format': 'channels last', 'small_tiles': True},
    'mixed back': {
        'shape': LONG,
        'x_format': 'channels last',
        'grad_format': 'contiguous',
        'small_tiles': True,
        'options': Norm(slope=0.0, padding=reflection(1)),
    },
    'smoothed': {'options': Norm(smoothing=0.1, padding=reflection(1))},
    'unbiased': {'options': Norm(unbiased=True, slope=0.2)},
    'eps on the deviation': {
        'kind': 'lin',
        'options': Norm(eps=0.1, unbiased=True, slope=0.0, eps_on_std=True),
    },
}
for name in ('contiguous', 'channels last'):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        CASES[f'{name}, {dtype}'] = {'x_format': name, 'dtype': dtype}
        CASES[f'{name}, {dtype}, padded'] = {
            'x_format': name,
            'dtype': dtype,
            'options': Norm(slope=0.0, smoothing=0.1, padding=reflection(1)),
        }
    for padding in PADDINGS:
        CASES[f'{name}, {padding}'] = {
            'shape': LONG,
            'x_format': name,
            'kind': 'lin',
            'small_tiles': True,
            'options': Norm(slope=0.2, padding=padding),
        }
    for kind in ('instance', 'no bias', 'affine', 'lin'):
        CASES[f'{name}, {kind}'] = {'x_format': name, 'kind': kind}
    CASES |= {
        f'{name}, many channels': {'shape': WIDE, 'x_format': name},
        f'{name}, slices, large mean': {
            'shape': LONG,
            'x_format': name,
            'mean': 1e3,
            'small_tiles': True,
            'tolerance': 1e-3,  # of x, whose last digit is 6e-5
        },
    }


# The interpreter takes seconds for each padding.
SOME = [pytest.param(name, marks=pytest.mark.slow if 'Padding' in name else ()) for name in CASES]


@pytest.mark.parametrize('name', SOME)
def test_kernels_are_the_formula(kernels, monkeypatch, name):
    check(kernels, monkeypatch, **CASES[name])


def test_statistics_of_65536_positions_far_from_zero(kernels, monkeypatch):
    monkeypatch.setattr(maps, 'TILE', 1 << 14)
    for form in ('contiguous', 'channels last'):
        x = as_format(torch.randn(LARGE, generator=torch.Generator().manual_seed(0)) + 1e3, form)
        _, numbers = triton_normalise(x.to(kernels), Factors(), None, Norm(eps=1e-9))
        var, mean = torch.var_mean(x.double(), (2, 3), correction=0)
        assert_close(numbers.mean.double().cpu(), mean, rtol=3e-7, atol=1e-6)
        assert_close(numbers.inv_i.double().cpu(), var**-0.5, rtol=1e-5, atol=0)


@pytest.mark.parametrize('functions', ['triton', 'plain'])
@pytest.mark.parametrize('slope', [0.0, 0.2, 1.0])
def test_nan_passes_the_activation_and_stays_in_its_channel(kernels, functions, slope):
    forwards, backwards = (
        (triton_normalise, triton_gradients)
        if functions == 'triton'
        else (plain_normalise, plain_gradients)
    )
    x = torch.randn(1, 2, 3, 3, device=kernels)
    x[0, 1, 1, 1] = torch.nan
    options = Norm(slope=slope, padding=reflection(1))
    out, numbers = forwards(x, Factors(), None, options)
    assert out.isnan().all((2, 3)).tolist() == out.isnan().any((2, 3)).tolist() == [[False, True]]
    grad, _ = backwards(torch.ones_like(out), x, Factors(), numbers, options)
    assert grad.isnan().any((2, 3)).tolist() == [[False, True]]


def test_nan_of_the_features_leaves_a_place_that_is_cut(kernels):
    """The store does not hide a NaN, as a maximum would."""
    x = torch.ones(1, 1, 2, 2, device=kernels)
    ones = torch.ones(1, 1, device=kernels)
    out, _ = triton_normalise(x, Factors(None, None, ones * torch.nan, ones), None, Norm(slope=0.0))
    assert out.isnan().all()


@pytest.mark.parametrize(
    'strides', [(2**30, 3, 3, 1), (3, 2**30, 3, 1), (3, 1, 9, 2**30), (9, 3, 2**30, 1)], ids=str
)
def test_offsets_beyond_31_bits(kernels, strides):
    """Elements 2^31 apart, with strides below it; the memory between them is never touched."""
    memory = torch.empty(2**31 + 64, dtype=torch.float16, device=kernels)
    shape = (3, 3, 3, 1) if strides[2] == 2**30 else (3, 3, 1, 3)
    x = memory.as_strided(shape, strides)
    x.copy_(torch.arange(27, device=kernels).view(shape))
    out, numbers = triton_normalise(x, Factors(), x, Norm(eps=1e-9))
    assert numbers.mean.tolist() == [[1, 4, 7], [10, 13, 16], [19, 22, 25]]
    assert_close(numbers.inv_i, torch.full_like(numbers.mean, 1.5**0.5))
    y = x.float().contiguous() + torch.tensor([-1.0, 0, 1]).to(kernels).view(shape[2:]) * 1.5**0.5
    assert_close(out.float(), y, rtol=1e-3, atol=1e-3)
    grad, _ = triton_gradients(x, x, Factors(), numbers, Norm(eps=1e-9))
    assert_close(grad.float(), torch.zeros(shape, device=kernels), rtol=0, atol=2e-3)


def test_the_bias_of_an_instance_norm_has_a_gradient_of_zero(kernels):
    rng = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, *SMALL, generator=rng).to(kernels)
    bias = torch.randn(5, generator=rng).to(kernels)
    for forwards, backwards in (
        (triton_normalise, triton_gradients),
        (plain_normalise, plain_gradients),
    ):
        _, numbers = forwards(x, Factors(bias), None, Norm())
        _, of_factors = backwards(grad, x, Factors(bias), numbers, Norm())
        assert torch.equal(of_factors.bias, torch.zeros_like(bias))
        assert of_factors[1:] == (None, None, None)


def test_rho_learns_inside_its_bounds_and_at_them(kernels):
    """As torch.clamp: 1 inside and at the bounds, 0 outside."""
    rng = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 2, 4, 3, 3, generator=rng).to(kernels)
    rho = torch.tensor([[0.25, 0.125, 1.125, 1.25]], device=kernels)
    style = torch.ones(2, 1, 4, device=kernels)
    options = Norm(smoothing=0.125)
    for forwards, backwards in (
        (triton_normalise, triton_gradients),
        (plain_normalise, plain_gradients),
    ):
        factors = Factors(None, rho, *style)
        _, numbers = forwards(x, factors, None, options)
        _, of_factors = backwards(grad, x, factors, numbers, options)
        assert (of_factors.rho != 0).tolist() == [[True, True, True, False]]


def test_the_same_bits_each_time(kernels, monkeypatch):
    monkeypatch.setattr(maps, 'TILE', 64)
    x, factors, residual, grad = both_ways(
        LONG, Norm(), 'lin', 'contiguous', None, torch.float32, 0.0, kernels
    )
    results = []
    for _ in range(2):
        out, numbers = triton_normalise(x, factors, residual, Norm())
        results.append((out, *triton_gradients(grad, x, factors, numbers, Norm())[1]))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_three_launches_each_way(kernels, monkeypatch):
    launched = []
    launch = norm.launch
    monkeypatch.setattr(
        norm,
        'launch',
        lambda kernel, *args, **kinds: (
            launched.append(kernel.fn.__name__),
            launch(kernel, *args, **kinds),
        ),
    )
    monkeypatch.setattr(normalise, 'sound', {kernels: True, torch.device('cuda', 0): True})
    monkeypatch.setattr(gradients, 'sound', {kernels: True, torch.device('cuda', 0): True})
    options = Norm(smoothing=0.1, slope=0.0, padding=reflection(1))
    x, factors, residual, grad = both_ways(
        SMALL, options, 'adalin', 'channels last', None, torch.float32, 0.0, kernels
    )
    leaves = [t.clone().requires_grad_() for t in (x, *factors, residual)]
    y = InstanceLayerNorm.apply(*leaves, options)
    assert launched == ['_stats_kernel', '_numbers_kernel', '_write_kernel']
    found = torch.autograd.grad(y, leaves, grad)
    assert launched[3:] == ['_grad_sums_kernel', '_coefficients_kernel', '_grad_input_kernel']
    expected = expected_of(x, factors, residual, options, grad)[1:]
    for ours, other in zip(found, expected, strict=True):
        assert_close(ours.double(), other, rtol=1e-4, atol=1e-4)
