"""The Triton kernels against torch's own gradients in float64.

Triton decides at its import whether it interprets or compiles, so each way has a process of its
own: this file, run as a script, makes all checks and prints what failed as JSON.
"""

import importlib.util
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

FILE = Path(__file__).parents[3] / 'ugatit_mm/models/layers/norm_triton.py'


def load() -> ModuleType:
    """The kernels alone: the package imports MMagic, which takes longer than all the checks."""
    spec = importlib.util.spec_from_file_location('norm_triton', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_format(x: Tensor, name: str) -> Tensor:
    if name == 'expanded':  # as the gradient of a sum
        return x[:, :, :1, :1].expand_as(x)
    if name == 'odd strides':  # of axes of one element, where they mean nothing
        strides = (99 if n == 1 else s for n, s in zip(x.shape, x.stride(), strict=True))
        return x.as_strided(x.shape, tuple(strides))
    if name.startswith('gaps'):  # a cut-out of a larger map
        x = torch.nn.functional.pad(x, (1, 2, 1, 0))
    last = name.endswith('channels last')
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    return x[:, :, 1:, 1:-2] if name.startswith('gaps') else x


def check(
    kernels: ModuleType,
    device: str,
    shape: tuple[int, ...],
    x_format: str = 'contiguous',
    grad_format: str | None = None,
    dtype: torch.dtype = torch.float32,
    relu: bool = True,
    mean: float = 0.0,
    tile: int | None = None,
    programs: int | None = None,
) -> None:
    """All four functions on random numbers of one kind."""
    kernels.TILE, kernels.PROGRAMS = tile or TILE, programs or PROGRAMS
    rng = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=rng)

    x = as_format((random(*shape) + mean).to(dtype), x_format).to(device)
    grad = as_format(random(*shape).to(dtype), grad_format or x_format).to(device)
    scale, shift, slope, offset = random(4, *shape[:2]).to(device)
    assert kernels.available(x)
    # Results of float32 sums; of the type of x they are rounded once more.
    close = partial(assert_close, rtol=1e-5, atol=1e-5, check_dtype=False)
    rounded = partial(assert_close, rtol=torch.finfo(dtype).eps, atol=1e-5, check_dtype=False)

    wide = x.double()
    expected = torch.var_mean(wide, (2, 3), correction=0)
    centre, variance = kernels.channel_stats(x)
    assert centre.dtype == variance.dtype == torch.float32
    assert_close(centre.double(), expected[1], rtol=3e-7, atol=1e-6)
    assert_close(variance.double(), expected[0], rtol=1e-5, atol=1e-7)

    leaves = [tensor.double().requires_grad_() for tensor in (wide, scale, shift)]
    centred = leaves[0] - centre[..., None, None]
    y = leaves[1][..., None, None] * centred + leaves[2][..., None, None]
    y = y.relu() if relu else y
    grad_x, grad_scale, grad_shift = torch.autograd.grad(y, leaves, grad.double())

    out = kernels.affine(x, centre, scale, shift, relu)
    rounded(out.double(), y.detach())
    sums, products = kernels.affine_grad_sums(grad, x, centre, scale, shift, relu)
    size = (grad.double().abs() * (1 + centred.detach().abs())).sum((2, 3)).max().item()
    close(sums.double(), grad_shift, atol=1e-6 * size)
    close(products.double(), grad_scale, atol=1e-6 * size)
    rest = slope[..., None, None] * centred.detach() + offset[..., None, None]
    result = kernels.affine_grad_input(grad, x, centre, scale, shift, relu, slope, offset)
    rounded(result.double(), grad_x + rest)
    for tensor in (out, result):
        assert tensor.dtype == dtype
        if x_format in ('contiguous', 'channels last'):
            assert tensor.stride() == x.stride()
        elif x_format == 'odd strides':
            assert tensor.is_contiguous()
        elif 'last' in x_format:
            assert tensor.is_contiguous(memory_format=torch.channels_last)


def check_nan(kernels: ModuleType, device: str) -> None:
    """A NaN passes ReLU, and stays in its channel."""
    x, ones = torch.ones(1, 2, 3, 3, device=device), torch.ones(1, 2, device=device)
    x[0, 1, 1, 1] = torch.nan
    mean, variance = kernels.channel_stats(x)
    assert mean.isnan().tolist() == variance.isnan().tolist() == [[False, True]]
    out = kernels.affine(x, 0 * ones, ones, ones, True)
    assert out.isnan().sum() == 1 and out[0, 1, 1, 1].isnan()
    sums, products = kernels.affine_grad_sums(x, x, 0 * ones, ones, ones, True)
    assert sums.isnan().tolist() == products.isnan().tolist() == [[False, True]]
    assert (sums[0, 0], products[0, 0]) == (9, 9)


def check_offsets(kernels: ModuleType, device: str, strides: tuple[int, int, int, int]) -> None:
    """Elements 2^31 apart, with strides below it; the memory between them is never touched."""
    memory = torch.empty(2**31 + 64, dtype=torch.float16, device=device)
    x = memory.as_strided((3, 3, 1, 3), strides)
    x.copy_(torch.arange(27, device=device).view(3, 3, 1, 3))
    mean, variance = kernels.channel_stats(x)
    assert mean.tolist() == [[1, 4, 7], [10, 13, 16], [19, 22, 25]]
    assert_close(variance, torch.full_like(mean, 2 / 3))
    zeros, ones = torch.zeros_like(mean), torch.ones_like(mean)
    assert torch.equal(kernels.affine(x, zeros, ones, ones, False), x.contiguous() + 1)
    sums, products = kernels.affine_grad_sums(x, x, mean, ones, zeros, False)
    assert_close(sums, 3 * mean)
    assert_close(products, torch.full_like(mean, 2))
    result = kernels.affine_grad_input(x, x, mean, ones, zeros, False, zeros, ones)
    assert torch.equal(result, x.contiguous() + 1)


def check_function(
    kernels: ModuleType, device: str, memory_format: str, dtype: torch.dtype
) -> None:
    """The autograd function uses the kernels, and gives the gradients of the formula."""
    package = ModuleType('layers')
    package.__path__ = [str(FILE.parent)]
    sys.modules['layers'] = package
    fused_norm = importlib.import_module('layers.fused_norm')
    kernels = importlib.import_module('layers.norm_triton')
    rng = torch.Generator().manual_seed(0)
    x, grad = (2 * torch.randn((2, *SMALL), generator=rng) + 3).to(dtype)
    x, grad = (as_format(tensor, memory_format).to(device) for tensor in (x, grad))
    rho = torch.rand((1, SMALL[1]), generator=rng).to(device)
    gamma, beta = torch.randn((2, *SMALL[:2]), generator=rng).to(device)
    inputs = [tensor.requires_grad_() for tensor in (x, rho, gamma, beta)]
    names = ('channel_stats', 'affine', 'affine_grad_sums', 'affine_grad_input')
    with ExitStack() as stack:
        spies = [
            stack.enter_context(mock.patch.object(kernels, name, wraps=getattr(kernels, name)))
            for name in names
        ]
        y = fused_norm.InstanceLayerNorm.apply(*inputs, 1e-5, True, True)
        values = (y, *torch.autograd.grad(y, inputs, grad))
    assert [spy.call_count for spy in spies] == [1, 1, 1, 1]
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    features, *factors = wide
    rho, gamma, beta = (factor[..., None, None] for factor in factors)
    norms = []
    for dims in ((2, 3), (1, 2, 3)):
        variance, mean = torch.var_mean(features, dims, keepdim=True)
        norms.append((features - mean) / (variance + 1e-5).sqrt())
    y = (gamma * (rho * norms[0] + (1 - rho) * norms[1]) + beta).relu()
    expected = (y, *torch.autograd.grad(y, wide, grad.double()))
    for value, number, kind in zip(values, expected, (dtype, dtype, *[torch.float32] * 3)):
        assert value.dtype == kind
        assert_close(value.double(), number, rtol=max(1e-5, torch.finfo(kind).eps), atol=3e-5)


SMALL, LONG, WIDE, LARGE = (2, 5, 7, 9), (1, 2, 13, 15), (1, 130, 3, 5), (1, 2, 256, 256)
SLICES = {'tile': 64, 'programs': 4}  # several slices of several tiles, as a large map has
CASES: dict[str, Callable[[ModuleType, str], None]] = {
    'nan': check_nan,
    'offsets of samples': partial(check_offsets, strides=(2**30, 3, 3, 1)),
    'offsets of channels': partial(check_offsets, strides=(3, 2**30, 3, 1)),
    'offsets of positions': partial(check_offsets, strides=(3, 1, 9, 2**30)),
    'one position': partial(check, shape=(2, 3, 1, 1), dtype=torch.float16),
    'one column': partial(check, shape=(1, 1, 37, 1), relu=False),
    'one row': partial(check, shape=(1, 1, 1, 37), x_format='channels last'),
    'odd stride of a column': partial(check, shape=(2, 3, 7, 1), x_format='odd strides'),
    'odd stride of a row': partial(check, shape=(2, 3, 1, 7), x_format='odd strides'),
    'gaps': partial(check, shape=SMALL, x_format='gaps'),
    'gaps, channels last': partial(check, shape=SMALL, x_format='gaps, channels last'),
    'expanded': partial(check, shape=SMALL, grad_format='expanded'),
    'mixed': partial(check, shape=WIDE, grad_format='channels last', tile=256),
    'mixed back': partial(
        check, shape=LONG, x_format='channels last', grad_format='contiguous', **SLICES
    ),
}
for name in ('contiguous', 'channels last'):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        case = {'x_format': name, 'dtype': dtype}
        CASES[f'{name}, {dtype}'] = partial(check, shape=SMALL, **case)
        CASES[f'{name}, {dtype}, function'] = partial(
            check_function, memory_format=name, dtype=dtype
        )
        CASES[f'{name}, {dtype}, no relu'] = partial(check, shape=SMALL, relu=False, **case)
    CASES |= {
        f'{name}, many channels': partial(check, shape=WIDE, x_format=name),
        f'{name}, slices, large mean': partial(
            check, shape=LONG, x_format=name, mean=1e3, **SLICES
        ),
        f'{name}, 65536 positions': partial(
            check, shape=LARGE, x_format=name, mean=1e3, tile=1 << 14
        ),
    }


def run_cases(device: str) -> dict[str, str]:
    """Which cases failed, and how."""
    failures = {}
    for name, case in CASES.items():
        try:
            case(kernels, device)
        except Exception:
            failures[name] = traceback.format_exc()
    return failures


def compile_cases() -> dict[str, str]:
    """Compile for a GPU that is not here: what the interpreter takes, the compiler may not."""
    import triton
    from triton.backends.compiler import GPUTarget

    class Driver:
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)
        get_current_target = staticmethod(lambda: GPUTarget('cuda', 80, 32))

    triton.runtime.driver.set_active(Driver())
    run, compiled = triton.JITFunction.run, []

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        compiled.append((self.__name__, kernel.asm['ptx']))

    triton.JITFunction.run = compile_only
    memory = torch.empty(2**31 + 64, dtype=torch.float16)
    tensors = {
        'float32': torch.empty(2, 256, 64, 64),
        'bfloat16, channels last': torch.empty(1, 64, 256, 256, dtype=torch.bfloat16).to(
            memory_format=torch.channels_last
        ),
        'offsets': memory.as_strided((2, 3, 2, 4), (2**31, 8, 4, 1)),
        'one element': torch.empty(1, 1, 1, 1, dtype=torch.float16),
    }
    problems = {}
    for name, x in tensors.items():
        vector = torch.empty(x.shape[:2])
        compiled.clear()
        try:
            kernels.channel_stats(x)
            kernels.affine(x, vector, vector, vector, True)
            kernels.affine_grad_sums(x, x, vector, vector, vector, True)
            kernels.affine_grad_input(x, x, vector, vector, vector, True, vector, vector)
            if x.numel() > 100:  # the sizes of the generator: 16 bytes with each load
                narrow = {kernel for kernel, ptx in compiled if 'ld.global.v4.b32' not in ptx}
                assert narrow <= {'_merge_kernel'}, narrow
        except Exception:
            problems[name] = traceback.format_exc()
    return problems


@pytest.fixture(scope='module')
def failures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    pytest.importorskip('triton', reason='triton is not installed: it comes with torch for CUDA')
    known: dict[str, dict[str, str]] = {}

    def get(mode: str) -> dict[str, str]:
        if mode not in known:
            environment = os.environ | {
                'UGATIT_MM_TRITON': '1',
                'TRITON_INTERPRET': str(int(mode == 'interpreter')),
                'TRITON_CACHE_DIR': str(tmp_path_factory.mktemp('triton')),
            }
            process = subprocess.run(
                [sys.executable, __file__, mode],
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert process.returncode == 0, process.stderr
            known[mode] = json.loads(process.stdout.splitlines()[-1])
        return known[mode]

    return get


@pytest.mark.parametrize('name', CASES)
def test_interpreter(failures, name):
    assert failures('interpreter').get(name, '') == ''


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_cuda(failures):
    assert failures('cuda') == {}


@pytest.mark.slow
def test_compiles_without_gpu(failures):
    assert failures('compile') == {}


def test_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    kernels = load()
    assert kernels.triton is None and not kernels.available(torch.ones(1, 1, 2, 2))


def test_not_available_on_cpu(monkeypatch):
    monkeypatch.setenv('UGATIT_MM_TRITON', '1')
    assert not load().available(torch.ones(1, 1, 2, 2))


if __name__ == '__main__':
    torch.set_num_threads(1)
    kernels = load()
    TILE, PROGRAMS = kernels.TILE, kernels.PROGRAMS
    mode = sys.argv[1]
    if mode == 'compile':
        print(json.dumps(compile_cases()))
    else:
        print(json.dumps(run_cases('cuda' if mode == 'cuda' else 'cpu')))
