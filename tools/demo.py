"""Run U-GAT-IT end to end on photographs that come with it: data, training, translation, metrics.

Nothing is downloaded: the photographs come with this package, the classifier for the metrics with
another one. Start an interrupted run again to continue it.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.runner import Runner
from PIL import Image

from ugatit_mm.apis import add_options_argument, run_test, run_training
from ugatit_mm.config import ConfigError, load_config
from ugatit_mm.datasets.demo_data import make_demo_data
from ugatit_mm.datasets.drawings import IDEAL
from ugatit_mm.engine.work_dir import WorkDirError, checkpoints_of
from ugatit_mm.evaluation import Compared, Measurement, WeightsError, compare_folders
from ugatit_mm.evaluation.extractors import build_extractor
from ugatit_mm.evaluation.measurements import verdicts
from ugatit_mm.hooks.ema import averaged
from ugatit_mm.hooks.sheets import first_images
from ugatit_mm.visualization import plot_losses, translation_sheet

EXTRACTOR = dict(type='EfficientNetLite0Features')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--work-dir',
        type=os.path.expanduser,
        default='work_dirs/demo',
        help='folder for data, training and results (%(default)s)',
    )
    parser.add_argument('--iters', type=int, help="iterations of the training (the config's)")
    parser.add_argument(
        '--restart',
        action='store_true',
        help='start from iteration 0; set an earlier training aside, in a folder of its work dir',
    )
    add_options_argument(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    work_dir = Path(args.work_dir)
    data = work_dir / 'data'
    options = {'data_root': str(data), **args.cfg_options}
    if args.iters:
        options['train_cfg.max_iters'] = args.iters
    try:
        cfg = load_config('demo/ugatit_demo', options)
        extractor = build_extractor(EXTRACTOR)  # missing weights are reported before training
    except (ConfigError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    # One core is left to the data; with small pictures an oversubscribed core is slower.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    print('1/4  data: photographs (A) and ink drawings of other photographs (B)')
    try:
        make_demo_data(data)
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    run = work_dir / 'run'
    cfg.work_dir = str(run)
    cfg.resume = not args.restart and bool(checkpoints_of(run))
    cfg.restart = not cfg.resume  # also after a kill before the first checkpoint

    print(f'2/4  training: {cfg.train_cfg.max_iters} iterations of the light model')
    started = time.time()
    try:
        runner = run_training(cfg)
    except (ConfigError, WorkDirError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: run the same command again to continue', file=sys.stderr)
        return 130
    minutes = (time.time() - started) / 60

    print('3/4  translating the test images in both directions')
    translations = work_dir / 'translations'
    run_test(cfg, checkpoints_of(run)[0], translations, sheet=True)
    with averaged(runner):
        write_sheet(runner, work_dir / 'sheet.png')
    plot_losses(run, work_dir / 'losses.png')

    print(f'4/4  measuring the result ({minutes:.1f} minutes of training)\n')
    drawn = compare_folders(
        translations / 'photo2drawing',
        data / 'testB',
        data / 'testA',
        extractor,
        ideal_dir=data / IDEAL,
    )
    coloured = compare_folders(
        translations / 'drawing2photo', data / 'testA', data / 'testB', extractor
    )
    both = Compared(*(one + other for one, other in zip(coloured, drawn, strict=True)))
    print(table(*both))
    print(f'\npictures: {work_dir}/sheet.png, losses.png, translations/')
    (work_dir / 'measurements.json').write_text(json.dumps(both.to_dict(), indent=1))
    return 0


@torch.no_grad()
def write_sheet(runner: Runner, path: Path) -> None:
    """Write one picture with four test images in each direction."""
    images = first_images(runner.val_loop.dataloader.dataset, runner.model, 4)
    sheets = [translation_sheet(runner.model, images[x], y) for x, y in ('AB', 'BA')]
    Image.fromarray(np.concatenate(sheets, axis=1)).save(path)


def table(measurements: list[Measurement], untranslated: list[Measurement]) -> str:
    """Compare translations with the untranslated sources; what did not improve comes first."""
    found, copies = (
        {(f.direction, f.protocol): f.value for f in those}
        for those in (measurements, untranslated)
    )
    lines = [
        *verdicts(measurements, untranslated),
        '',
        f'{"":58}{"untranslated":>14}{"translated":>12}',
    ]
    for direction in ('drawing2photo', 'photo2drawing'):
        kid = (direction, 'kid')
        lines.append(
            f'{f"KID x 100, {direction} (0 is perfect)":58}'
            f'{100 * copies[kid]:14.2f}{100 * found[kid]:12.2f}'
        )
    for protocol, text, digits in (
        ('share_closed', 'share of the way to the ideal drawings, by that KID', 2),
        ('ssim', 'SSIM to the ideal drawings (1 is equal); untranslated: grey', 3),
        ('l1', 'L1 to the ideal drawings (0 to 255); untranslated: grey', 1),
    ):
        place = ('photo2drawing', protocol)
        lines.append(f'{text:58}{copies.get(place, 0):14.{digits}f}{found[place]:12.{digits}f}')
    first = measurements[0]
    lines.append(
        f'{first.images["fake"]} test pictures of each domain; features: {first.features}, not '
        "Inception's: not comparable to any paper"
    )
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
