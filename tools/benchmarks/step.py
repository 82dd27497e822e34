"""A training step in each setting, in turns, against a plain restatement of the official order.

`python tools/benchmarks/step.py` times both variants at 256 px, batch 1; `--quick` a small one.
Each setting is built, warmed up, timed and taken down before the next, so that its peak memory is
its own, and the rounds go over all settings again. Times are the fastest of all rounds: what other
programs do on the machine only ever adds to them.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from bench import PeakMemory, Row, add_arguments, append_rows, release, seconds
from mmagic.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict
from official_order import OfficialOrder
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ugatit_mm.apis import apply_speed
from ugatit_mm.config import load_config

BASELINE = 'official order'
# Names of settings: what to give to apply_speed, that is to tools/train.py, and the recipe.
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
    """What was seen of a setting: seconds of each step, peak bytes, operations of a step."""

    times: list[float] = field(default_factory=list)
    peak: int | None = None
    flop: int = 0


@dataclass
class Training:
    """A training's step: a call makes it."""

    model: BaseModel
    optim: OptimWrapperDict
    batch: dict

    def __call__(self) -> dict:
        """Make a step, return the loss terms."""
        return self.model.train_step(self.batch, self.optim)


def build_official(light: bool, images: dict[str, Tensor], widths: dict) -> Callable[[], object]:
    """Return the official step."""
    device = images['A'].device
    with device:
        step = OfficialOrder(light, images['A'].size(2), device=device, **widths).step
    return lambda: step(images['A'], images['B'])


def build_ours(
    light: bool, images: dict[str, Tensor], widths: dict, recipe: str = 'pytorch', **speed: object
) -> Training:
    """Return our step, from the config, in a setting of :func:`apply_speed`."""
    size = images['A'].size(2)
    options = {'img_size': size, 'model.recipe': recipe, 'model.generator.light': light}
    for part in ('generator', 'discriminator'):
        options[f'model.{part}.base_channels'] = widths['base_channels']
    cfg = load_config('ugatit_selfie2anime', options)
    apply_speed(cfg, **{'graph': False, **speed})
    return build_step(cfg, images)


def build_step(cfg: Config, images: dict[str, Tensor]) -> Training:
    """Return the step of a config with networks of its own, which are built on the device.

    Args:
        cfg: Of a training.
        images: By domain, RGB in [-1, 1], (N, 3, H, W).
    """
    device = images['A'].device
    with device:  # weights drawn on a CPU take half a minute of a full model
        model: BaseModel = MODELS.build(cfg.model)
        model.to(device).train().init_weights()
    constructor = cfg.optim_wrapper.pop('constructor')
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(constructor)
    optim = build(cfg.optim_wrapper)(model)
    # As the data loader gives it: uint8, BGR.
    pixels = {f'img_{k}': (v.flip(1) + 1).mul(127.5).round().byte() for k, v in images.items()}
    return Training(model, optim, {'inputs': pixels})


def measure(
    build: Callable[[], Callable], steps: int, warm_up: int, device: torch.device, into: Measured
) -> None:
    """Build a setting, warm it up, time it, take it down."""
    with PeakMemory(device) as peak:
        step = build()
        for _ in range(warm_up):
            step()
        into.times += [seconds(step, device) for _ in range(steps)]
    into.peak = peak.bytes
    if not into.flop:
        into.flop = count_flop(step)
    del step
    release()


def count_flop(step: Callable) -> int:
    """Products and sums of the convolutions and matrices of a step; 0 where it is compiled."""
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            step()
    except Exception:  # a compiled step cannot be looked into
        return 0
    return counter.get_total_flops()


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the generator's most frequent convolution, forwards, in NHWC."""
    x = torch.randn(2, 256, 66, 66, device=device, dtype=dtype)
    weight = torch.randn(256, 256, 3, 3, device=device, dtype=dtype)
    x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    calls = 200 if device.type == 'cuda' else 1

    def run() -> None:
        for _ in range(calls):
            torch.nn.functional.conv2d(x, weight)

    run()
    best = min(seconds(run, device) for _ in range(5)) / calls
    return 2 * 2 * 64 * 64 * 256 * 256 * 9 / best


def profile(build: Callable[[], Callable], device: torch.device, rows: int = 20) -> str:
    """Table of the operators of one step that took the most time themselves."""
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
    """Turn what was measured into rows."""
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
    parser.add_argument(
        '--variant', nargs='+', choices=['light', 'full'], default=['light', 'full']
    )
    parser.add_argument(
        '--settings', nargs='+', choices=list(SETTINGS), help='default: all that suit'
    )
    parser.add_argument('--img-size', type=int, default=256)
    parser.add_argument('--base-channels', type=int, default=64)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--steps', type=int, help='timed steps a round (2 on a CPU, 20 on a GPU)')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--compile', action='store_true', help='on a GPU the compiled settings too: minutes more'
    )
    parser.add_argument(
        '--profile', metavar='SETTING', choices=list(SETTINGS), help='profile it too'
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
    widths = {'base_channels': args.base_channels}
    steps = args.steps or (20 if device.type == 'cuda' else 2)
    warm_up = 5 if device.type == 'cuda' else 1  # a graph is captured meanwhile
    names = args.settings or default_settings(device, args.compile)
    kinds = {'16 bits': torch.bfloat16, 'float32': torch.float32}
    peaks = dict.fromkeys(kinds, 0.0)
    for variant in args.variant:
        light = variant == 'light'
        images = {
            k: torch.rand(args.batch, 3, args.img_size, args.img_size, device=device) * 2 - 1
            for k in 'AB'
        }

        def builder(name: str, light: bool = light, images: dict = images) -> Callable:
            if name == BASELINE:
                return build_official(light, images, widths)
            return build_ours(light, images, widths, **SETTINGS[name])

        results = {name: Measured() for name in [BASELINE, *names]}
        for _ in range(args.rounds):
            # As the times: the best of all rounds.
            peaks = {kind: max(peaks[kind], ceiling(device, kinds[kind])) for kind in kinds}
            for name, seen in results.items():
                # The official program leaves cuDNN's search off; our configs turn it on.
                torch.backends.cudnn.benchmark = name != BASELINE
                measure(lambda name=name: builder(name), steps, warm_up, device, seen)
                print(f'{variant}: {name}: {min(seen.times[-steps:]):.4f} s', flush=True)
        case = f'{variant}, {args.base_channels} channels, {args.img_size} px, batch {args.batch}'
        rows = rows_of(case, results, peaks)
        print(
            '\nceiling:', *(f'{peak / 1e9:.0f} GFLOP/s in {kind}' for kind, peak in peaks.items())
        )
        print(f'\n{case}\n\n{table(results, rows)}\n')
        if not args.no_write:
            append_rows(rows, args.out)
        if args.profile:
            print(profile(lambda: builder(args.profile), device))
    return 0


if __name__ == '__main__':
    sys.exit(main())
