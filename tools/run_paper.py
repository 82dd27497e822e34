"""Train and measure the models of a table of the paper, or on your own data; write the table.

Run the same command again to continue: it skips finished runs and resumes interrupted ones.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmagic.registry import MODELS as REGISTERED
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm.apis import add_run_arguments, config_of, results_path
from ugatit_mm.config import config_names, data_set, load_config
from ugatit_mm.datasets.preparation.layout import FOLDERS
from ugatit_mm.engine import length_options
from ugatit_mm.engine.speed import width_options
from ugatit_mm.engine.work_dir import checkpoints_of, iteration_of
from ugatit_mm.evaluation import WeightsError
from ugatit_mm.evaluation.extractors import build_extractor, default_extractor
from ugatit_mm.evaluation.paper import DIRECTIONS, TABLE_1
from ugatit_mm.evaluation.results import ResultsError, read_results
from ugatit_mm.evaluation.runs import STATED, TRANSLATIONS, described
from ugatit_mm.evaluation.tables import Results, table_1, table_3, table_own
from ugatit_mm.models.base import TRANSLATION_MODELS
from ugatit_mm.visualization import read_scalars

TOOLS = Path(__file__).resolve().parent
DATASETS = DIRECTIONS[:5]
MODELS = sorted(model.NAME for model in TRANSLATION_MODELS.values())
CUSTOM = 'custom'  # suffix of a model's config for own data
PROBE = 20  # timed iterations; the first quarter is left out
PROBE_OF_NOISE = 4  # the same, if the data is missing
NOISE = 4  # pictures of a domain in that case


class PlanError(ValueError):
    """The runs cannot be started; the message says why and what to do."""


class ProbeError(RuntimeError):
    """The timed iterations failed; the reason was printed."""


@dataclass
class Run:
    """One training and its test.

    Args:
        config: Name of the config.
        options: Words after ``--cfg-options``.
        work_dir: Folder of the run.
        iters: Iterations, if not the config's; phases and schedule scale with them.
        width: Channels of the first convolution, if not the config's.
        last: Words that override all before them.
    """

    config: str
    options: list[str]
    work_dir: Path
    iters: int | None = None
    width: int | None = None
    last: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Merge all options.

        Raises:
            PlanError: The config cannot be loaded with them.
        """
        found = {}
        if self.iters is not None or self.width is not None:
            cfg = self.load()
            found |= {} if self.iters is None else length_options(cfg, self.iters)
            found |= {} if self.width is None else width_options(cfg, self.width)
        self.options += [f'{key}={value}' for key, value in found.items()] + self.last

    def load(self) -> Config:
        """Resolve the config.

        Raises:
            PlanError: The config cannot be loaded.
        """
        parser = argparse.ArgumentParser()
        parser.add_argument('config')
        add_run_arguments(parser)
        words = [self.config, '--work-dir', str(self.work_dir), '--cfg-options', *self.options]
        try:
            return config_of(parser.parse_args(words))
        except ValueError as error:
            raise PlanError(f'{self.config}: {error}') from error

    @cached_property
    def cfg(self) -> Config:
        """The resolved config."""
        return self.load()

    @property
    def model(self) -> str:
        return self.cfg.model.type

    @property
    def iterations(self) -> int:
        return self.cfg.train_cfg.max_iters

    @property
    def checkpoint(self) -> Path:
        return self.work_dir / f'iter_{self.iterations}.pth'

    @property
    def results(self) -> Path:
        return results_path(self.cfg, self.checkpoint)

    @property
    def translations(self) -> Path:
        return self.work_dir / TRANSLATIONS

    def trained(self) -> int:
        """Iterations of the last checkpoint; 0 without one."""
        checkpoints = checkpoints_of(self.work_dir)
        return max(0, iteration_of(checkpoints[0])) if checkpoints else 0

    def lacks_data(self) -> str | None:
        """Which data is missing, and what to do."""
        root = Path(self.cfg.train_dataloader.dataset.data_root)
        if folders := [name for name in FOLDERS if not (root / name).is_dir()]:
            return (
                f'{self.config}: no folder {", ".join(folders)} in {root}. Prepare the data with '
                'ugatit prepare, give --data-dir, or choose --datasets; own '
                'pictures go into these four folders of --data-root.'
            )
        return None

    def lacks_weights(self) -> str | None:
        """Which weights of another network the training needs and lacks."""
        return TRANSLATION_MODELS[self.model].lacks(self.cfg.model)

    def lacks_checkpoint(self) -> str | None:
        """Which checkpoint of a started training is missing."""
        last = self.work_dir / 'last_checkpoint'
        if last.is_file() and not checkpoints_of(self.work_dir):
            return f'{self.config}: no file {last.read_text().strip()}, which {last} names.'
        return None

    def bytes_on_disk(self) -> tuple[int, int]:
        """Approximate size of a checkpoint, and how many are kept at most.

        Weights and the two moments of Adam, in 32 bits each.
        """
        init_default_scope('mmagic')
        with torch.device('meta'):  # takes no memory
            model = REGISTERED.build({**self.cfg.model, 'channels_last': False})
        hook = self.cfg.default_hooks.checkpoint
        written = self.iterations // hook.interval + 1
        kept = hook.get('max_keep_ckpts', -1)
        size = 4 * sum(value.numel() for value in model.state_dict().values())
        size += 8 * sum(value.numel() for value in model.parameters())
        return size, written if kept < 1 else min(kept, written)

    def is_done(self, features: list[str]) -> bool:
        """Whether the run is trained, measured with these features, and translated."""
        if not self.results.is_file():
            return False
        try:
            results = read_results(self.results)
        except ResultsError:
            return False
        translated = all((self.translations / name).is_dir() for name in results['directions'])
        return translated and {*features} <= {each.features for each in results['measurements']}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog='Examples: ugatit paper --what table3 --models all --gpus 4; on your own '
        'pictures ugatit paper --what table3 --models all --data-root flowers --domains daisy '
        'sunflower --iters 20000',
    )
    parser.add_argument(
        '--what',
        choices=['table3', 'ablation'],
        required=True,
        help='Table 3, or the ablation (Table 1)',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=[*MODELS, 'all'],
        metavar='NAME',
        help=f'models of table3: some of {", ".join(MODELS)}, or all (ugatit)',
    )
    parser.add_argument(
        '--datasets',
        nargs='+',
        choices=DATASETS,
        metavar='NAME',
        help=f'data sets of table3: some of {", ".join(DATASETS)} (all); each is trained once for '
        'both directions',
    )
    parser.add_argument(
        '--data-dir',
        type=os.path.expanduser,
        default='data',
        help='folder of the data sets (%(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=os.path.expanduser,
        metavar='DIR',
        help='your own data instead of the data sets: folder with trainA, trainB, testA, testB',
    )
    parser.add_argument(
        '--domains', nargs=2, metavar=('A', 'B'), help='names of the two domains of your own data'
    )
    parser.add_argument(
        '--iters',
        type=int,
        help='iterations of each run; phases and schedule scale with them (those of its config, '
        'iterations or epochs as its program counts)',
    )
    parser.add_argument(
        '--light', action='store_true', help='light generators, for models that have them'
    )
    parser.add_argument(
        '--base-channels',
        type=int,
        help="channels of the first convolution; all networks scale with it (its config's)",
    )
    parser.add_argument('--gpus', type=int, default=1, help='processes of a run (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of each run (%(default)s)')
    parser.add_argument(
        '--work-dir',
        type=os.path.expanduser,
        help='folder of the runs (work_dirs/paper/WHAT, for your own data work_dirs/paper/A2B)',
    )
    parser.add_argument(
        '--kid',
        nargs='+',
        metavar='EXTRACTOR',
        help='extractors for KID and FID (InceptionFeatures if its weights are there, else '
        'EfficientNetLite0Features)',
    )
    parser.add_argument(
        '--subset-size', type=int, help='images in a subset of KID, as in ugatit test'
    )
    parser.add_argument('--price', type=float, help='price of a GPU per hour, for the estimate')
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='print plan, estimates and what is missing; start only the timing',
    )
    parser.add_argument('--no-probe', action='store_true', help='skip the timing')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='options for all runs'
    )
    parser.add_argument(
        '--model-options',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'KEY=VALUE'),
        help='options for the runs of one model; may be given for several',
    )
    args = parser.parse_args(argv)
    if (args.datasets or args.models or args.data_root) and args.what == 'ablation':
        parser.error(
            '--models, --datasets and --data-root are for table3: the ablation is of ugatit on '
            'selfie2anime (other data by --cfg-options data_root=DIR domains.A=NAME domains.B=NAME)'
        )
    if bool(args.data_root) != bool(args.domains) or (args.data_root and args.datasets):
        parser.error('own data needs --data-root DIR and --domains A B, without --datasets')
    args.models = MODELS if 'all' in (args.models or ()) else args.models or ['ugatit']
    for name, *words in args.model_options:
        if name not in args.models:
            parser.error(f'--model-options {name}: the models are {", ".join(args.models)}')
        if not words:
            parser.error(f'--model-options {name}: give KEY=VALUE')
    for name in ('iters', 'gpus', 'base_channels'):
        if (number := getattr(args, name)) is not None and number < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    table = '2'.join(args.domains) if args.domains else args.what
    work_dir = Path(args.work_dir or f'work_dirs/paper/{table}')
    try:
        features, missing = names_of_features(args)
        runs = plan(args, work_dir)
        pending = [run for run in runs if not run.is_done(features)]
        missing += check(pending, args)
        if missing and not args.dry_run:
            raise PlanError(' '.join(missing[0].split()))
        missing += [lacking for run in pending if (lacking := run.lacks_checkpoint())]
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    describe(runs, pending, missing, args)
    if args.dry_run:
        return 0
    failed = []
    try:
        for number, run in enumerate(pending, 1):
            print(f'== {number}/{len(pending)}  {run.config} in {run.work_dir}', flush=True)
            if not carry_out(run, args):
                failed.append(run)
    except KeyboardInterrupt:
        print('interrupted: run the same command again to continue', file=sys.stderr)
        return 130
    write_table(args, [run for run in runs if run.is_done(features)], work_dir)
    for run in failed:
        print(f'error: {run.config} failed, see above and {run.work_dir}', file=sys.stderr)
    return 1 if failed else 0


def names_of_features(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Names of the features in the results, and the weights that they lack.

    If ``args.kid`` names none, it is set to the default extractor.

    Raises:
        ValueError: No extractor of that name is registered.
    """
    missing = []
    try:
        args.kid = args.kid or [default_extractor()]
    except WeightsError as error:
        args.kid, missing = ['InceptionFeatures'], [str(error)]
    names = []
    for extractor in args.kid:
        try:
            names.append(build_extractor({'type': extractor}).name)
        except WeightsError as error:
            names.append(REGISTERED.get(extractor).name)
            missing = missing or [str(error)]
    return names, missing


def plan(args: argparse.Namespace, work_dir: Path) -> list[Run]:
    """List the runs of a table.

    Of several models, those without a config for a data set are left out and printed.

    Raises:
        PlanError: The only model has none, or a config refuses the options.
    """
    common = [f'randomness.seed={args.seed}']
    if args.what == 'ablation':
        common += ['model.generator.light=True'] * args.light
        wanted = [
            ('ugatit', f'ablation/ugatit_{row}_selfie2anime', 'selfie2anime') for row in TABLE_1
        ]
    elif args.data_root:
        common += [f'domains.{letter}={name}' for letter, name in zip('AB', args.domains)]
        wanted = [(model, config_for(model, CUSTOM, False), CUSTOM) for model in args.models]
    else:
        wanted = []
        for model in args.models:
            for name in args.datasets or DATASETS:
                try:
                    wanted.append((model, config_for(model, name, args.light), name))
                except PlanError as error:
                    if len(args.models) == 1:
                        raise
                    print(f'left out: {error}')
    own = {name: [] for name in args.models}
    if args.light and args.data_root:  # one config for light and full
        for model, config, _ in wanted:
            if 'light' in load_config(config).model.get('generator', {}):
                own[model].append('model.generator.light=True')
    for name, *words in args.model_options:
        own[name] += words
    return [
        Run(
            config,
            [*common, f'data_root={data_root(args, name)}'],
            work_dir / Path(config).name,
            args.iters,
            args.base_channels,
            [*args.cfg_options, *own[model]],
        )
        for model, config, name in wanted
    ]


def config_for(model: str, name: str, light: bool) -> str:
    """Name of a model's config for a data set: the light one, if wanted and available.

    Raises:
        PlanError: There is no such config.
    """
    known = {Path(config).name: config for config in config_names()}
    wanted = [f'{model}_light_{name}'] * light + [f'{model}_{name}']
    for each in wanted:
        if each in known:
            return known[each]
    raise PlanError(f'no config {wanted[-1]} among those of the package: choose other --datasets')


def data_root(args: argparse.Namespace, name: str) -> Path:
    """Folder of a data set: one in ``--data-dir``, or ``--data-root``."""
    if name == CUSTOM:
        return Path(args.data_root)
    return Path(args.data_dir) / Path(data_set(name).data_root).name


def check(pending: list[Run], args: argparse.Namespace) -> list[str]:
    """Check, before days of training, what would stop them.

    Returns:
        Missing data and weights.

    Raises:
        PlanError: A folder belongs to a run with other options.
    """
    for run in pending:
        stated = run.work_dir / STATED
        if stated.is_file() and not statement(run, args).items() <= of_file(stated).items():
            raise PlanError(
                f'{run.work_dir} holds a run with other options ({stated}): give those, or another '
                '--work-dir.'
            )
    needed = [each for run in pending for each in (run.lacks_data(), run.lacks_weights())]
    return [*dict.fromkeys(filter(None, needed))]


def statement(run: Run, args: argparse.Namespace) -> dict:
    """What must be the same to resume a run."""
    return {'config': run.config, 'options': run.options, 'processes': args.gpus}


def of_file(stated: Path) -> dict:
    """Content of a run's file; empty, if it is damaged."""
    try:
        return dict(json.loads(stated.read_text()))
    except (TypeError, ValueError):
        return {}


def describe(
    runs: list[Run], pending: list[Run], missing: list[str], args: argparse.Namespace
) -> None:
    """Print the plan, what is missing, and the estimates."""
    for run in runs:
        state = 'done'
        if run in pending:
            state = f'to resume at iteration {run.trained():,}' if run.trained() else 'to start'
        print(f'{state:32} {run.config} -> {run.work_dir}')
    left = sum(run.iterations - run.trained() for run in pending)
    print(f'KID and FID with {", ".join(args.kid)}')
    print(f'{len(runs) - len(pending)} of {len(runs)} runs are done; {left:,} iterations are left')
    for each in missing:
        print(f'missing: {" ".join(each.split())}')
    if not left:
        return
    models = dict.fromkeys(run.model for run in pending)
    hours = []
    for name in models:
        try:
            hours.append(estimate(name, [run for run in pending if run.model == name], args))
        except ProbeError:
            if len(models) == 1:
                raise SystemExit(
                    'error: the timing failed, see above; nothing was started'
                ) from None
            print(f'{name}: the timing failed, see above')
            hours.append(None)
    if len(hours) > 1 and None not in hours:
        print(f'estimate of time, all: {cost(sum(hours), args)}', flush=True)


def estimate(model: str, runs: list[Run], args: argparse.Namespace) -> float | None:
    """Print the estimates for the runs of a model; return their hours, if known."""
    size, kept = runs[0].bytes_on_disk()
    print(
        f'estimate of size, {model}: {size / 1e9:.2g} GB a checkpoint, {kept} kept: '
        f'{size * kept * len(runs) / 1e9:.2g} GB for its pending runs',
        flush=True,
    )
    seconds = None
    for run in runs:
        seconds = seconds or seconds_per_iteration(run.work_dir)
    if seconds is None and not args.no_probe and not runs[0].lacks_weights():
        seconds = probe(next((run for run in runs if not run.lacks_data()), runs[0]), args)
    if seconds is None:
        print(f'{model}: no estimate of time, it has not run yet')
        return None
    hours = sum(run.iterations - run.trained() for run in runs) * seconds / 3600
    said = f'estimate of time, {model}: at {seconds:.3g} s an iteration: '
    print(f'{said}{cost(hours, args)}, plus the tests', flush=True)
    return hours


def cost(hours: float, args: argparse.Namespace) -> str:
    """Time and price in words."""
    said = (
        f'{hours:.1f} hours ({hours / 24:.1f} days)' if hours >= 1 else f'{60 * hours:.0f} minutes'
    )
    if args.gpus > 1:
        said += f', {hours * args.gpus:.1f} GPU-hours'
    if args.price is not None:
        said += f', price {hours * args.gpus * args.price:.2f}'
    return said


def seconds_per_iteration(work_dir: Path) -> float | None:
    """Mean of the logged times without the first quarter; ``None`` without logs.

    Iterations differ: every third of DRIT's is full, AGGAN and CartoonGAN have two phases.
    """
    try:
        times = [value for _, value in read_scalars(work_dir).get('time', [])]
    except FileNotFoundError:
        return None
    later = times[len(times) // 4 :]
    return sum(later) / len(later) if later else None


def probe(run: Run, args: argparse.Namespace) -> float | None:
    """Time a few iterations of a run in their own folder."""
    folder = run.work_dir.parent / f'probe_{run.work_dir.name}'
    missing = run.lacks_data() is not None
    count = PROBE_OF_NOISE if missing else PROBE
    of_noise = ' on noise images' if missing else ''
    print(f'timing {count} iterations of {run.config}{of_noise} in {folder}', flush=True)
    options = [
        *run.options,
        *(f'{key}={value}' for key, value in length_options(run.cfg, count).items()),
        'val_cfg=None',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        'default_hooks.checkpoint.save_last=False',
    ]
    with tempfile.TemporaryDirectory() as data:
        if missing:
            write_noise(Path(data))
            options.append(f'data_root={data}')
        words = [run.config, '--restart', '--work-dir', str(folder), '--cfg-options', *options]
        if call('train', words, args.gpus) != 0:
            raise ProbeError
    return seconds_per_iteration(folder)


def write_noise(folder: Path) -> None:
    """Write a data set of a few noise images, for a timing without the data."""
    draw = np.random.default_rng(0)
    for name in FOLDERS:
        (folder / name).mkdir()
        for index in range(NOISE):
            pixels = draw.integers(0, 256, (256, 256, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{index}.png')


def carry_out(run: Run, args: argparse.Namespace) -> bool:
    """Train or resume, then test; return whether it succeeded.

    Raises:
        KeyboardInterrupt: The training was interrupted; it has saved a checkpoint.
    """
    run.work_dir.mkdir(parents=True, exist_ok=True)
    stated = run.work_dir / STATED
    stated.write_text(json.dumps(statement(run, args) | described(run.cfg), indent=1) + '\n')
    options = ['--work-dir', str(run.work_dir), '--cfg-options', *run.options]
    if run.trained() < run.iterations:
        # A run killed before its first checkpoint has left logs.
        how = '--resume' if checkpoints_of(run.work_dir) else '--restart'
        status = call('train', [run.config, how, *options], args.gpus)
        if status:
            return False
    words = [run.config, str(run.checkpoint), '--kid', *args.kid]
    words += ['--out-dir', str(run.translations)]
    if args.subset_size:
        words += ['--subset-size', str(args.subset_size)]
    return call('test', [*words, *options], args.gpus) == 0


def call(tool: str, words: list[str], processes: int) -> int:
    """Run ``train.py`` or ``test.py`` in one or several processes.

    Returns:
        Its exit status.

    Raises:
        KeyboardInterrupt: It was interrupted.
    """
    script = [sys.executable, '-u', str(TOOLS / f'{tool}.py')]
    if processes > 1:
        split = 1 if tool == 'train' else 2  # CONFIG GPUS, CONFIG CHECKPOINT GPUS
        script = ['bash', str(TOOLS / f'dist_{tool}.sh')]
        words = [*words[:split], str(processes), *words[split:]]
    print('+', shlex.join([*script, *words]), flush=True)
    with subprocess.Popen([*script, *words], env={**os.environ, 'PYTHON': sys.executable}) as child:
        # Ctrl-C reaches the child directly: wait until it has saved a checkpoint.
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        asked = []
        signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
        signal.signal(
            signal.SIGTERM, lambda number, frame: (asked.append(number), child.terminate())
        )
        try:
            status = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if asked or status == 130:
        raise KeyboardInterrupt
    return status


def write_table(args: argparse.Namespace, done: list[Run], work_dir: Path) -> None:
    """Write the table of the finished runs and their times next to the runs."""
    make = table_1 if args.what == 'ablation' else table_own if args.data_root else table_3
    markdown, table = make(Results([run.results for run in done]))
    times = {run.config: seconds_per_iteration(run.work_dir) for run in done}
    if lines := [
        f'- {config}: {seconds:.3g} s an iteration' for config, seconds in times.items() if seconds
    ]:
        said = 'Training time, the mean of the log without its first quarter:'
        markdown += '\n\n' + '\n'.join([said, '', *lines])
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / 'table.md').write_text(markdown + '\n')
    (work_dir / 'table.csv').write_text(table)
    print(f'{markdown}\n\nwritten to {work_dir}/table.md and table.csv')


if __name__ == '__main__':
    sys.exit(main())
