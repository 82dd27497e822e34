"""Time a training step in each setting against a plain restatement of the official order.

`python tools/benchmarks/step.py` times both variants of U-GAT-IT at 256 px, batch 1; `--quick` a
small one; `--model all --launches` every model, and counts the launches of both sides.
Each setting is built, warmed up, timed and released before the next, so that its peak memory is its
own; each round goes over all settings. Times are the fastest of all rounds: other programs on the
machine only add to them.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from bench import PeakMemory, Row, add_arguments, append_rows, release, seconds
from building import (
    Case,
    add_model_arguments,
    batch_of,
    build_official,
    build_ours,
    cases_of,
    config_of,
    period_of,
    repeated,
    size_of,
    width_of,
)
from launches import of_both
from torch.utils.flop_counter import FlopCounterMode

BASELINE = 'official order'
# Names of settings: arguments of apply_speed, as of `ugatit train`, and the recipe.
SETTINGS: dict[str, dict] = {
    'float32': {},
    'float32, tensorflow recipe': {'recipe': 'tensorflow'},
    'bfloat16': {'amp': 'bfloat16'},
    'lean': {'lean': True},
    'lean, bfloat16': {'lean': True, 'amp': 'bfloat16'},
    'compile': {'compile': 'default'},
    'bfloat16, compile': {'amp': 'bfloat16', 'compile': 'default'},
    'bfloat16, CUDA graphs': {'amp': 'bfloat16', 'compile': 'reduce-overhead'},
    'float16, compile': {'amp': 'float16', 'compile': 'default'},
    'lean, bfloat16, compile': {'lean': True, 'amp': 'bfloat16', 'compile': 'default'},
}
ON_GPU = ('float32', 'bfloat16', 'lean, bfloat16')
SETTINGS |= {f'{name}, graph': SETTINGS[name] | {'graph': True} for name in ON_GPU}
ON_CPU = ('float32', 'float32, tensorflow recipe', 'bfloat16', 'lean')


@dataclass
class Measured:
    """Measurements of a setting: seconds of each step, peak bytes, operations of a step."""

    times: list[float] = field(default_factory=list)
    peak: int | None = None
    flop: float = 0


def measure(
    build: Callable[[], Callable],
    steps: int,
    warm_up: int,
    device: torch.device,
    into: Measured,
    period: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Build a setting, warm it up, time it, release it.

    Args:
        build: Returns the step.
        steps: Timed steps.
        warm_up: Steps before them.
        device: Device of the step.
        into: Receives the measurements, per step, averaged over the period.
        period: Number of different steps, which are timed together.
        clock: Returns seconds.
    """
    with PeakMemory(device) as peak:
        step = build()
        if device.type == 'cuda' and hasattr(step, 'settle'):
            step.settle()
        whole = repeated(step, period)
        for _ in range(-(-warm_up // period)):
            whole()
        into.times += [seconds(whole, device, clock) / period for _ in range(-(-steps // period))]
    into.peak = peak.bytes
    if not into.flop:
        into.flop = count_flop(whole) / period
    del step, whole
    release()


def count_flop(step: Callable) -> int:
    """Multiplications and additions of a step in convolutions and matrices; 0 if compiled."""
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            step()
    except Exception:  # a compiled step cannot be counted
        return 0
    return counter.get_total_flops()


def ceiling(
    device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Operations per second of the generator's most frequent convolution, forward, in NHWC."""
    x = torch.randn(2, 256, 66, 66, device=device, dtype=dtype)
    weight = torch.randn(256, 256, 3, 3, device=device, dtype=dtype)
    x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    calls = 200 if device.type == 'cuda' else 1

    def run() -> None:
        for _ in range(calls):
            torch.nn.functional.conv2d(x, weight)

    run()
    best = min(seconds(run, device, clock) for _ in range(5)) / calls
    return 2 * 2 * 64 * 64 * 256 * 256 * 9 / best


def profile(build: Callable[[], Callable], device: torch.device, rows: int = 20) -> str:
    """Table of the operators of one step with the most self time."""
    step = build()
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as record:
        step()
    key = 'self_cuda_time_total' if device.type == 'cuda' else 'self_cpu_time_total'
    return record.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=40)


def rows_of(case: str, results: dict[str, Measured], peaks: dict[str, float]) -> list[Row]:
    """Turn measurements into rows."""
    rows = []
    base = results[BASELINE]
    for name, seen in results.items():
        best = min(seen.times)

        def row(quantity: str, value: float, unit: str, name: str = name) -> None:
            rows.append(Row('step', case, name, quantity, value, unit))

        row('time', best, 's/step')
        row('speed', min(base.times) / best, f'x {BASELINE}')
        if seen.peak:
            row('peak memory', seen.peak / 2**30, 'GiB')
            row('peak memory', seen.peak / base.peak, f'x {BASELINE}')
        if seen.flop:
            row('rate', seen.flop / best / 1e9, 'GFLOP/s')
            kind = '16 bits' if 'float16' in name else 'float32'
            row('rate', seen.flop / best / peaks[kind], f'of the ceiling in {kind}')
    return rows


def table(results: dict[str, Measured], rows: list[Row]) -> str:
    """Markdown, a line for each setting."""
    lines = [
        f'| setting | speed, x {BASELINE} | s/step (slowest) | peak GiB | x | GFLOP/s | share |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, seen in results.items():
        found = {
            (row.quantity, row.unit.split(' in ')[0]): row.value
            for row in rows
            if row.setting == name
        }

        def cell(*key: str, digits: int = 2, found: dict = found) -> str:
            return f'{found[key]:.{digits}f}' if key in found else '-'

        cells = (
            cell('speed', f'x {BASELINE}'),
            f'{cell("time", "s/step", digits=4)} ({max(seen.times):.4f})',
            cell('peak memory', 'GiB'),
            cell('peak memory', f'x {BASELINE}'),
            cell('rate', 'GFLOP/s', digits=0),
            cell('rate', 'of the ceiling'),
        )
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument(
        '--settings', nargs='+', choices=list(SETTINGS), help='settings to measure (all that suit)'
    )
    parser.add_argument(
        '--img-size',
        type=int,
        default=256,
        help='side of the images, or the smallest that a model takes (%(default)s)',
    )
    parser.add_argument('--base-channels', type=int, help="width (the model's own; 64 for most)")
    parser.add_argument('--batch', type=int, help="batch size (the model's own; 1 for most)")
    parser.add_argument('--steps', type=int, help='timed steps per round (2 on a CPU, 20 on a GPU)')
    parser.add_argument(
        '--rounds', type=int, default=2, help='rounds over all settings (%(default)s)'
    )
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda, cuda:1, ... (a GPU where there is one)',
    )
    parser.add_argument(
        '--compile', action='store_true', help='on a GPU also the compiled settings: minutes more'
    )
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help='measure CPU time, not wall time: for a CPU that others use, with OMP_NUM_THREADS=1',
    )
    parser.add_argument(
        '--launches', action='store_true', help='also count the launches of a step, on both sides'
    )
    parser.add_argument(
        '--profile', metavar='SETTING', choices=list(SETTINGS), help='also profile this setting'
    )
    return parser.parse_args(argv)


def default_settings(device: torch.device, compiled: bool) -> list[str]:
    """Names of the settings that suit a device; compiled ones, which take minutes, if asked for."""
    if device.type != 'cuda':
        return list(ON_CPU)
    return [
        name
        for name, options in SETTINGS.items()
        if name.removesuffix(', graph') in ON_GPU or (compiled and 'compile' in options)
    ]


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    device = torch.device(args.device)
    if args.quick:
        args.variant, args.img_size, args.rounds, args.base_channels = ['light'], 128, 1, 8
    summary = Summary(device)
    for case in cases_of(args.model, args.variant):
        rows = compare(case, args, device)
        if args.launches:
            # On a CPU the width only costs time.
            width = 4 if device.type == 'cpu' else args.base_channels or width_of(case.model)
            side = size_of(case.model, args.img_size)
            batch = args.batch or batch_of(case.model)
            launches = of_both(case, side, width, batch, device, amp='bfloat16')
            for setting, value in zip((BASELINE, 'bfloat16'), launches, strict=True):
                rows.append(Row('step', rows[0].case, setting, 'launches', value, 'a step'))
        summary.add(case, rows)
        if not args.no_write:
            append_rows(rows, args.out)
    if len(summary.lines) > 1 or args.launches:
        print(summary)
    return 0


def compare(case: Case, args: argparse.Namespace, device: torch.device) -> list[Row]:
    """Measure the settings of a model and its official order, and print their table."""
    steps = args.steps or (20 if device.type == 'cuda' else 2)
    warm_up = 5 if device.type == 'cuda' else 1  # a graph is captured in these steps
    names = args.settings or default_settings(device, args.compile)
    names = [name for name in names if suits(case, SETTINGS[name])]
    width = args.base_channels or width_of(case.model)
    kinds = {'16 bits': torch.bfloat16, 'float32': torch.float32}
    peaks = dict.fromkeys(kinds, 0.0)
    batch = args.batch or batch_of(case.model)
    side = size_of(case.model, args.img_size)
    images = {k: torch.rand(batch, 3, side, side, device=device) * 2 - 1 for k in 'AB'}

    def builder(name: str) -> Callable:
        if name == BASELINE:
            return build_official(case, images, width)
        speed = dict(SETTINGS[name])
        recipe = speed.pop('recipe', None)
        options = {'model.recipe': recipe} if recipe else {}
        return build_ours(case, images, width, options, **speed)

    clock = time.process_time if args.cpu_time else time.perf_counter
    results = {name: Measured() for name in [BASELINE, *names]}
    for _ in range(args.rounds):
        # Like the times, the best of all rounds.
        peaks = {kind: max(peaks[kind], ceiling(device, kinds[kind], clock)) for kind in kinds}
        for name, seen in results.items():
            # The official program leaves cudnn.benchmark off; our configs turn it on.
            torch.backends.cudnn.benchmark = name != BASELINE
            before = len(seen.times)
            period = period_of(case.model)
            measure(lambda name=name: builder(name), steps, warm_up, device, seen, period, clock)
            print(f'{case}: {name}: {min(seen.times[before:]):.4f} s', flush=True)
    said = f'{case}, {width} channels, {side} px, batch {batch}' + ', CPU time' * args.cpu_time
    rows = rows_of(said, results, peaks)
    print('\nceiling:', *(f'{peak / 1e9:.0f} GFLOP/s in {kind}' for kind, peak in peaks.items()))
    print(f'\n{said}\n\n{table(results, rows)}\n')
    if args.profile:
        print(profile(lambda: builder(args.profile), device))
    return rows


def suits(case: Case, setting: dict[str, Any]) -> bool:
    """Whether a model has the fields that a setting sets."""
    return 'recipe' not in setting or 'recipe' in config_of(case.model).model


class Summary:
    """A line for each model: our fastest setting relative to the official order.

    Args:
        device: Measured device. Cells of the other kind say "not measured".
    """

    COLUMNS = ('speed', 'peak memory', 'launches')
    KINDS = {'cpu': 'CPU', 'cuda': 'GPU'}

    def __init__(self, device: torch.device) -> None:
        self.kind = device.type
        self.lines: list[str] = []

    def add(self, case: Case, rows: list[Row]) -> None:
        """Add a model's rows."""
        same = [row for row in rows if 'recipe' not in SETTINGS.get(row.setting, {'recipe': ''})]
        fastest = max((row for row in same if row.quantity == 'speed'), key=lambda row: row.value)
        found = {
            row.quantity: f'{row.value:.2f}'
            for row in same
            if row.setting == fastest.setting and row.unit == f'x {BASELINE}'
        }
        if launched := [f'{row.value:g}' for row in rows if row.quantity == 'launches']:
            found['launches'] = ' → '.join(launched)
        cells = [
            found.get(name, '-') if kind == self.kind else 'not measured'
            for kind in self.KINDS
            for name in self.COLUMNS
        ]
        name = ', '.join(filter(None, case))
        self.lines.append(f'| {" | ".join([name, fastest.setting, *cells])} |')

    def __str__(self) -> str:
        """A table in Markdown."""
        header = [f'{kind}: {name}' for kind in self.KINDS.values() for name in self.COLUMNS]
        header = ['model', 'fastest setting', *header]
        return '\n'.join(
            [
                'Ours, x the official order at the same width; launches: official → ours in '
                'bfloat16. benchmarks/gpu.sh --models measures on a GPU.',
                '',
                f'| {" | ".join(header)} |',
                '|---' * len(header) + '|',
                *self.lines,
            ]
        )


if __name__ == '__main__':
    sys.exit(main())
