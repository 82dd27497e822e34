"""U-GAT-IT from end to end on the embedded default: data, training, translation, pictures.

Nothing is downloaded: the photographs are those that scikit-image and scikit-learn carry. An
interrupted run goes on where it stopped when it is started again.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from mmagic.registry import METRICS, RUNNERS
from mmengine.runner import Runner
from PIL import Image

from ugatit_mm.apis import add_options_argument, run_test
from ugatit_mm.config import ConfigError, load_config
from ugatit_mm.datasets.demo_data import make_demo_data
from ugatit_mm.engine.runner import to_train
from ugatit_mm.engine.work_dir import WorkDirError, checkpoints_of
from ugatit_mm.fields import building
from ugatit_mm.hooks.sheets import first_images
from ugatit_mm.models import UGATIT
from ugatit_mm.visualization import plot_losses, translation_sheet


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--work-dir',
        type=os.path.expanduser,
        default='work_dirs/demo',
        help='folder for everything',
    )
    parser.add_argument('--iters', type=int, help='iterations (see the config)')
    parser.add_argument(
        '--restart', action='store_true', help='set what was trained aside, do not go on'
    )
    add_options_argument(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    work_dir = Path(args.work_dir)
    options = {'data_root': str(work_dir / 'data'), **args.cfg_options}
    if args.iters:
        options['train_cfg.max_iters'] = args.iters
    try:
        cfg = load_config('demo/ugatit_demo', options)
    except ConfigError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    # One core is left to the data; with small pictures a busy core costs more than it brings.
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    print('1/4  data: photographs (A) and pencil drawings of other photographs (B)')
    make_demo_data(work_dir / 'data', size=96)
    run = work_dir / 'run'
    cfg.work_dir = str(run)
    cfg.resume = not args.restart and bool(checkpoints_of(run))
    cfg.restart = not cfg.resume  # what was killed before its first checkpoint is set aside, too

    print(f'2/4  training: {cfg.train_cfg.max_iters} iterations of the light model')
    started = time.time()
    try:
        with building(cfg):
            with to_train():
                runner = RUNNERS.build(cfg)
            before = start_figures(runner, run / 'start.json')
            runner.train()
    except (ConfigError, WorkDirError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; the same command goes on', file=sys.stderr)
        return 130
    minutes = (time.time() - started) / 60

    print('3/4  translating the test images in both directions')
    run_test(cfg, checkpoints_of(run)[0], work_dir / 'translations', sheet=True)
    after = evaluate(runner)
    write_sheet(runner, work_dir / 'sheet.png')
    plot_losses(run, work_dir / 'losses.png')

    print(f'4/4  what was learned ({minutes:.1f} minutes of training)\n')
    print(table(before, after))
    print(f'\npictures: {work_dir}/sheet.png, losses.png, translations/')
    (work_dir / 'figures.json').write_text(json.dumps({'start': before, 'end': after}, indent=1))
    return 0


def start_figures(runner: Runner, path: Path) -> dict[str, float]:
    """Measure the untrained model once; a resumed demo reads what the first start wrote."""
    if not path.is_file():
        runner.model.init_weights()
        path.write_text(json.dumps(evaluate(runner)))
    return json.loads(path.read_text())


@torch.no_grad()
def evaluate(runner: Runner) -> dict[str, float]:
    """Measure the translations of the test images, and the way there and back.

    Returns:
        The figures of the config's metrics, and ``cycle/A``, ``cycle/B``: L1 between the images
        and what comes back after two translations, in [-1, 1] units.
    """
    model: UGATIT = runner.model
    model.eval()
    metrics = [METRICS.build(metric) for metric in runner.cfg.test_evaluator]
    errors: dict[str, list[float]] = {'A': [], 'B': []}
    loader = runner.build_dataloader(runner.cfg.test_dataloader)
    for batch in loader:
        samples = [sample.to_dict() for sample in model.test_step(batch)]
        for metric in metrics:
            metric.process(batch, samples)
        inputs = model.data_preprocessor(batch, False)['inputs']
        for source, target in ('AB', 'BA'):
            image = inputs[f'img_{source}']
            back = model.translation(model.translation(image, target), source)
            errors[source].append((back - image).abs().mean().item())
    figures = {f'cycle/{domain}': float(np.mean(values)) for domain, values in errors.items()}
    for metric in metrics:
        figures |= metric.evaluate(len(loader.dataset))
    return figures


def write_sheet(runner: Runner, path: Path) -> None:
    """Write one picture with four test images in each direction."""
    images = first_images(runner.val_loop.dataloader.dataset, runner.model, 4)
    sheets = [translation_sheet(runner.model, images[x], y) for x, y in ('AB', 'BA')]
    Image.fromarray(np.concatenate(sheets, axis=1)).save(path)


def table(before: dict[str, float], after: dict[str, float]) -> str:
    """Put the figures side by side."""
    names = {
        'cycle/A': 'cycle error, photo -> pencil -> photo (L1, 0 is perfect)',
        'cycle/B': 'cycle error, pencil -> photo -> pencil',
        'photo2pencil/colour_gap': 'colourfulness, photo -> pencil: share of the gap closed',
        'photo2pencil/edges_gap': 'edge strength, photo -> pencil: share of the gap closed',
        'pencil2photo/colour_gap': 'colourfulness, pencil -> photo: share of the gap closed',
        'pencil2photo/edges_gap': 'edge strength, pencil -> photo: share of the gap closed',
        'photo2pencil/colour_hog_kid': 'KID, colour_hog features, photo -> pencil (0 is perfect)',
        'pencil2photo/colour_hog_kid': 'KID, colour_hog features, pencil -> photo',
    }
    lines = [f'{"":58}{"start":>8}{"end":>8}']
    lines += [f'{text:58}{before[key]:8.2f}{after[key]:8.2f}' for key, text in names.items()]
    lines.append('a share of 0 is the untranslated image, of 1 the other domain')
    lines.append("colour_hog needs no weights; its KID is not Inception's and no paper's")
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
