"""Time AdaLIN and LIN at the generator's sizes: plain formula, hand-written backward, Triton.

    python tools/benchmarks/norm.py [--quick]

Settings are timed in turns and with empty caches; a figure is the median. On a GPU it is the GPU's
own time, launches not counted. GB/s are those of the passes over the features that the mathematics
needs, 3 forward (statistics read x; the affine map reads x, writes y) and 5 backward (the sums read
the gradient and x; the map reads both, writes one), whatever a setting does; beside them stands
their share of what a copy reaches on the machine.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from unittest import mock

import torch
from bench import Row, add_arguments, append_rows, release, seconds
from torch import Tensor

from ugatit_mm.models.layers import norm_triton
from ugatit_mm.models.layers.adalin import instance_layer_norm, plain_instance_layer_norm

SIZES = ((256, 64), (128, 128), (64, 256))  # channels, height and width at 256 px
FORMATS = {'contiguous': torch.contiguous_format, 'channels last': torch.channels_last}
PASSES = {'forward': 3, 'backward': 5}
BUFFER = 1 << 28  # bytes: more than any cache holds
PLAIN = 'plain formula'
OPTIONS = (1e-5, False, True)  # eps, unbiased, ReLU

Norm = Callable[..., Tensor]


def settings(device: torch.device) -> dict[str, Norm]:
    """The ways to compute the norm on ``device``."""
    ways = {PLAIN: plain_instance_layer_norm, 'Function': instance_layer_norm}
    os.environ['UGATIT_MM_TRITON'] = '1'
    if device.type == 'cuda' and norm_triton.available(torch.ones(1, 1, 1, 1, device=device)):
        ways |= {'Function, Triton': instance_layer_norm}
        ways |= {'compiled plain formula': torch.compile(plain_instance_layer_norm, dynamic=False)}
    return ways


@contextmanager
def primitives(setting: str) -> Iterator[None]:
    """Let the Function use Triton in its own setting alone."""
    if setting.endswith('Triton'):
        yield
    else:
        with mock.patch.object(norm_triton, 'available', return_value=False):
            yield


class Clock:
    """Times one call with empty caches, in seconds."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.buffer = torch.empty(BUFFER, dtype=torch.uint8, device=device)

    def __call__(self, call: Callable[[], object]) -> float:
        """Return the seconds that ``call`` takes."""
        self.buffer.zero_()
        if self.device.type != 'cuda':
            return seconds(call)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(2_000_000)  # about 1 ms, in which the CPU launches all that follows
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def copy_bandwidth(self, repeats: int = 10) -> float:
        """Bytes per second, read and written, of a copy."""
        target = torch.empty_like(self.buffer)
        times = [self(lambda: target.copy_(self.buffer)) for _ in range(repeats)]
        return 2 * BUFFER / statistics.median(times)


def run(norm: Norm, inputs: list[Tensor], grad: Tensor, clock: Clock) -> dict[str, float]:
    """Time one forward and one backward pass."""
    out: list[Tensor] = []
    forward = clock(lambda: out.append(norm(*inputs, *OPTIONS)))
    return {
        'forward': forward,
        'backward': clock(lambda: torch.autograd.grad(out[0], inputs, grad)),
    }


def check(norm: Norm, inputs: list[Tensor], grad: Tensor, setting: str) -> None:
    """Raise ``RuntimeError`` if ``norm`` does not give the plain formula's numbers."""
    values = []
    for function in (norm, plain_instance_layer_norm):
        out = function(*inputs, *OPTIONS)
        values.append((out, *torch.autograd.grad(out, inputs, grad)))
    names = ('result', 'gradient of x', 'of rho', 'of gamma', 'of beta')
    for name, value, expected in zip(names, *values, strict=True):
        error = (value.float() - expected.float()).norm() / expected.float().norm()
        # One value at the edge of ReLU that falls on the other side is an error of about 1e-3.
        if not error < 1e-2:
            raise RuntimeError(f'{setting}: {name} is off by {error:.1e}, relative')


def measure(
    ways: dict[str, Norm],
    size: tuple[int, int],
    batch: int,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    clock: Clock,
    repeats: int,
) -> dict[str, dict[str, float]]:
    """Median seconds of each pass of each setting."""
    channels, side = size
    torch.manual_seed(0)
    shape = (batch, channels, side, side)
    x, grad = (
        torch.randn(shape, device=clock.device).to(dtype).contiguous(memory_format=memory_format)
        for _ in range(2)
    )
    rho = torch.rand(1, channels, device=clock.device)
    gamma, beta = torch.randn(2, batch, channels, device=clock.device)
    inputs = [tensor.requires_grad_() for tensor in (x, rho, gamma, beta)]
    times: dict[str, list[dict[str, float]]] = {setting: [] for setting in ways}
    for setting, norm in ways.items():
        with primitives(setting):
            check(norm, inputs, grad, setting)  # compiles too
    for _ in range(repeats):
        for setting, norm in ways.items():
            with primitives(setting):
                times[setting].append(run(norm, inputs, grad, clock))
    return {
        setting: {part: statistics.median(one[part] for one in runs) for part in PASSES}
        for setting, runs in times.items()
    }


def main() -> int:
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add_arguments(parser)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--repeats', type=int, help='calls of each setting')
    args = parser.parse_args()
    device = torch.device(args.device)
    ways, clock = settings(device), Clock(device)
    repeats = args.repeats or (50 if device.type == 'cuda' else 7)
    batches, dtypes = (1, 2), (torch.float32, torch.bfloat16)
    if args.quick:
        batches, repeats = (1,), args.repeats or 3
        dtypes = dtypes[1:] if device.type == 'cuda' else dtypes[:1]

    copy = clock.copy_bandwidth()
    print(f'A copy reaches {copy / 1e9:.1f} GB/s, read and written.')
    rows = [Row('norm', 'copy of 256 MiB', '', 'bandwidth', copy / 1e9, 'GB/s')]
    for size, batch, dtype, (name, memory_format) in product(
        SIZES, batches, dtypes, FORMATS.items()
    ):
        torch.compiler.reset()
        release()
        case = f'{size[0]} x {size[1]} x {size[1]}, batch {batch}, {str(dtype)[6:]}, {name}'
        print(case)
        medians = measure(ways, size, batch, dtype, memory_format, clock, repeats)
        total = sum(medians[PLAIN].values())
        features = batch * size[0] * size[1] ** 2 * dtype.itemsize
        for setting, parts in medians.items():
            cells = []
            for part, time in parts.items():
                rate = PASSES[part] * features / time
                cells.append(
                    f'{part} {time * 1e3:8.3f} ms {rate / 1e9:7.1f} GB/s ({rate / copy:4.0%})'
                )
                rows.append(Row('norm', case, setting, part, time * 1e3, 'ms'))
            ratio = total / sum(parts.values())
            print(f'  {setting:24s}{"  ".join(cells)}  {ratio:5.2f} x {PLAIN}')
    if not args.no_write:
        append_rows(rows, args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
