"""Does a GPU compute what the CPU does? `python tools/benchmarks/parity.py kernels steps resume`.

`kernels` checks each of our Triton kernels against its plain formula on the device, as a training
does at first use. `steps` makes six steps with the same weights and pictures on the CPU and
on the device, in each setting, and compares the loss terms; TF32 is off. Steps of a graph, captured
in the fourth, are also compared with the plain steps of the device. `resume` trains a small model
by `ugatit train`, resumes from the checkpoint in the middle, and compares the weights.
Without a GPU the CPU is compared with itself.
"""

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from bench import Row, add_arguments, add_variant_argument, append_rows, seconds
from building import Case, Training, build_ours

from ugatit_mm.converters import read_checkpoint
from ugatit_mm.datasets.demo_data import make_demo_data
from ugatit_mm.kernels import support

sys.path.insert(0, str(Path(__file__).parents[1]))
import train

STEPS = 6
# Largest difference of a term of the first step, relative to the CPU's.
LIMITS = {'float32': 1e-4, 'bfloat16': 3e-2}
# Largest difference of any term of any step of a graph, relative to the step without one.
REPLAYED = 0.1
# Largest difference of the weights, relative to their change after the checkpoint: on a GPU the
# order of sums may vary.
RESUMED = 0.05


# -- kernels -------------------------------------------------------------------------------------


def check_kernels(device: torch.device) -> bool:
    """Check each kernel as at first use; return whether all may be used."""
    x = torch.zeros(1, device=device)
    with kernels(True):
        if not support.usable(x):
            print(f'kernels: none can run on {device}')
            return device.type != 'cuda'
        times = {
            name: seconds(lambda fused=fused: fused.uses_kernel([x]), device)
            for name, fused in support.Fused.known.items()
        }
    bad = [name for name in times if not support.Fused.known[name].sound[x.device]]
    for name, time in times.items():
        print(f'{"fell back" if name in bad else "right"}: {name} ({time:.2f} s)')
    print(f'kernels: {len(times)} checked in {sum(times.values()):.1f} s, {len(bad)} fell back')
    return not bad


def kernels(on: bool):
    """Switch our kernels on or off in a block."""
    return patch.dict(os.environ, {support.SWITCH: str(int(on))})


# -- steps ---------------------------------------------------------------------------------------

Losses = list[dict[str, float]]


def settings(device: torch.device) -> dict[str, tuple[bool, dict]]:
    """Names of what is compared with the CPU: whether kernels run, and the options of a step."""
    found = {
        'float32, formulas': (False, {}),
        'bfloat16, formulas': (False, {'amp': 'bfloat16'}),
    }
    if device.type == 'cuda':
        found |= {
            'float32': (True, {}),
            'bfloat16': (True, {'amp': 'bfloat16'}),
            'float32, graph': (True, {'graph': True}),
            'bfloat16, graph': (True, {'amp': 'bfloat16', 'graph': True}),
        }
    return found


def compare_steps(args: argparse.Namespace, light: bool) -> tuple[list[Row], bool]:
    """Print the differences of the loss terms; return rows, and whether they are small enough."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    shape = (1, 3, args.img_size, args.img_size)
    images = {domain: torch.rand(shape) * 2 - 1 for domain in 'AB'}
    variant = Case('ugatit', 'light' if light else 'full')
    first = build_ours(variant, images, args.base_channels)
    weights = {name: value.clone() for name, value in first.model.state_dict().items()}
    with kernels(False):
        expected = losses(first)
    case = f'{variant}, {args.base_channels} channels, {args.img_size} px'
    rows, good = [], True
    there = {domain: image.to(device) for domain, image in images.items()}
    found: dict[str, Losses] = {}
    for name, (own, options) in settings(device).items():
        with kernels(own):
            step = build_ours(variant, there, args.base_channels, **options)
            step.model.load_state_dict(weights)
            found[name] = losses(step)
        worst = worst_of(found[name], expected)
        limit = LIMITS[name.split(',')[0]]
        good &= worst[0] <= limit  # NaN fails
        print(f'{case}: {name}: off by', *(f'{value:.1e}' for value in worst), f'(1st: {limit:g})')
        for number, value in enumerate(worst, 1):
            quantity = f'largest difference of a loss term, step {number}'
            rows.append(Row('parity', case, name, quantity, value, 'x CPU, float32'))
        plain = found.get(name.removesuffix(', graph'), [])
        if plain is not found[name] and plain:
            replayed = max(worst_of(found[name], plain))
            good &= replayed <= REPLAYED
            print(f'{case}: {name}: off the plain steps by {replayed:.1e} ({REPLAYED:g})')
            quantity = f'largest difference of a loss term in {STEPS} steps'
            rows.append(Row('parity', case, name, quantity, replayed, 'x without a graph'))
    print(
        f'\n| loss term of step 1 | CPU | {" | ".join(found)} |',
        '|---' * (2 + len(found)) + '|',
        sep='\n',
    )
    for term, value in expected[0].items():
        cells = (f'{off(made[0], expected[0])[term]:.1e}' for made in found.values())
        print(f'| {term} | {value:.6f} | {" | ".join(cells)} |')
    print()
    return rows, good


def losses(step: Training) -> Losses:
    """The loss terms of some steps."""
    return [{name: float(value) for name, value in step().items()} for _ in range(STEPS)]


def worst_of(made: Losses, expected: Losses) -> list[float]:
    """The largest difference of a term, by step."""
    return [max(off(*pair).values()) for pair in zip(made, expected, strict=True)]


def off(made: dict[str, float], expected: dict[str, float]) -> dict[str, float]:
    """Relative differences of terms; infinite where one is missing or NaN."""
    found = {}
    for name, value in expected.items():
        difference = abs(made.get(name, math.inf) - value) / max(abs(value), 1e-6)
        found[name] = math.inf if math.isnan(difference) else difference
    return found


# -- resume --------------------------------------------------------------------------------------


def check_resume(*switches: str) -> bool:
    """Train four iterations, and two from the middle checkpoint; return whether they agree.

    Args:
        switches: Options of ``ugatit train``.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_demo_data(root / 'data', 72, 8, 2)
        half = root / 'whole/iter_2.pth'
        for work_dir, more in (('whole', ()), ('resumed', ('--resume', str(half)))):
            words = ['ugatit_demo', '--work-dir', str(root / work_dir), *switches, *more]
            options = {
                'data_root': root / 'data',
                'experiment_name': '_'.join((work_dir, *switches)),
                'train_cfg.max_iters': 4,
                'train_cfg.val_interval': 4,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'default_hooks.checkpoint.interval': 2,
                'default_hooks.sheets.interval': 4,
            }
            pairs = [f'{key}={value}' for key, value in options.items()]
            if code := train.main([*words, '--cfg-options', *pairs]):
                print(f'resume: ugatit train ended with {code}')
                return False
        whole = root / 'whole/iter_4.pth'
        changed, differ = difference(whole, half), difference(whole, root / 'resumed/iter_4.pth')
    share = differ / changed
    print(
        f'{" ".join(("resume", *switches))}: the weights differ from those of the uninterrupted '
        f'run by {share:.2%} of their change (on average; at most {RESUMED:.0%})'
    )
    return share <= RESUMED


def difference(one: Path, other: Path) -> float:
    """Mean difference of the weights of two checkpoints."""
    ours, theirs = (read_checkpoint(path)['state_dict'] for path in (one, other))
    differences = [
        (value - theirs[name]).abs().flatten()
        for name, value in ours.items()
        if value.is_floating_point()
    ]
    return torch.cat(differences).mean().item()


# -- command -------------------------------------------------------------------------------------


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument(
        'what', nargs='+', choices=['kernels', 'steps', 'resume'], help='what to check'
    )
    add_variant_argument(parser)
    parser.add_argument(
        '--img-size', type=int, default=128, help='side of the images (%(default)s)'
    )
    parser.add_argument('--base-channels', type=int, default=16, help='width (%(default)s)')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda, cuda:1, ... (a GPU where there is one)',
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.variant, args.img_size, args.base_channels = ['light'], 96, 4
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    device = torch.device(args.device)
    good, rows = True, []
    if 'kernels' in args.what:
        good &= check_kernels(device)
    if 'steps' in args.what:
        with torch.backends.cudnn.flags(allow_tf32=False):
            for variant in args.variant:
                more, right = compare_steps(args, variant == 'light')
                rows += more
                good &= right
    if 'resume' in args.what:
        for switches in ((),) if args.quick else ((), ('--amp', '--graph')):
            good &= check_resume(*switches)
    if rows and not args.no_write:
        append_rows(rows, args.out)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
