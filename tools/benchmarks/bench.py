"""What the benchmarks share: timing in turns, peak memory, rows with their origin."""

import argparse
import contextlib
import csv
import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch

if not torch.cuda.is_available():
    os.environ.setdefault(
        'TRITON_INTERPRET', '1'
    )  # before Triton is imported: launches are counted

from ugatit_mm.provenance import provenance

RESULTS = Path('benchmarks/results.csv')
FIELDS = (
    'date',
    'commit',
    'hardware',
    'torch',
    'benchmark',
    'case',
    'setting',
    'quantity',
    'value',
    'unit',
)


class Row(NamedTuple):
    """One measurement; :func:`append_rows` adds its origin.

    Attributes:
        benchmark: Name of the benchmark, for example ``'step'``.
        case: What was measured, for example ``'light, 256 px, batch 1'``.
        setting: How it was measured, for example ``'official order'``.
        quantity: For example ``'time'``, ``'ratio'``, ``'peak memory'``.
        value: The number.
        unit: For example ``'s/step'``; a ratio names its base: ``'x official order'``.
    """

    benchmark: str
    case: str
    setting: str
    quantity: str
    value: float
    unit: str


def append_rows(rows: Iterable[Row], path: Path = RESULTS) -> None:
    """Add rows with date, commit and hardware to a CSV file, created with a header if absent."""
    origin = provenance()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        if new:
            writer.writerow(FIELDS)
        head = (date.today().isoformat(), origin['commit'], origin['hardware'], origin['torch'])
        for row in rows:
            writer.writerow((*head, *row[:4], f'{row.value:.4g}', row.unit))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every benchmark."""
    parser.add_argument('--quick', action='store_true', help='small case, under a minute')
    parser.add_argument(
        '--out', type=Path, default=RESULTS, help='CSV file to append to (%(default)s)'
    )
    parser.add_argument('--no-write', action='store_true', help='print only')


def add_variant_argument(parser: argparse.ArgumentParser) -> None:
    """Add the variants of U-GAT-IT that are measured."""
    parser.add_argument(
        '--variant',
        nargs='+',
        choices=['light', 'full'],
        default=['light', 'full'],
        help='variants of the model (both)',
    )


def synchronize(device: torch.device | str) -> None:
    """Wait for the GPU, where the device is one."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def seconds(
    function: Callable[[], Any],
    device: torch.device | str = 'cpu',
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Time one call by a clock."""
    synchronize(device)
    start = clock()
    function()
    synchronize(device)
    return clock() - start


def release() -> None:
    """Return freed memory to the system, so that the next peak is its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL('libc.so.6').malloc_trim(0)


class PeakMemory:
    """Peak memory of a ``with`` block in bytes: of the GPU, or of the process on a CPU.

    On a CPU the peak is the resident memory above what the process held at the beginning, read
    from ``/proc`` (Linux only; ``None`` elsewhere).
    """

    def __init__(self, device: torch.device | str = 'cpu') -> None:
        self.device = torch.device(device)
        self.bytes: int | None = None

    def __enter__(self) -> 'PeakMemory':
        release()
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self.device)
        elif _has_proc():
            self.start = _status('VmRSS')
            Path('/proc/self/clear_refs').write_text('5')
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == 'cuda':
            self.bytes = torch.cuda.max_memory_allocated(self.device)
        elif _has_proc():
            self.bytes = _status('VmHWM') - self.start


def _has_proc() -> bool:
    return Path('/proc/self/clear_refs').exists()


def _status(field: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}')
