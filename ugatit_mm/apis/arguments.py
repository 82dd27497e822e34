"""Arguments that the tools' command lines share."""

import argparse
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config

from ..config import load_config, metrics_of
from ..converters.networks import kind_of
from ..engine.optim import AUTOCAST_DTYPES
from ..evaluation.extractors import default_extractor
from ..fields import ConfigError, check_config
from ..values import Typed


class OptionsAction(argparse.Action):
    """Collects words ``KEY=VALUE`` in a dict; :func:`load_config` reads the values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the words to the earlier ones."""
        options = dict(getattr(namespace, self.dest) or {})
        for word in values or ():
            key, equals, value = word.partition('=')
            if not equals or not all(key.split('.')):
                raise argparse.ArgumentError(
                    self, f'{word!r} is not KEY=VALUE (a value with spaces needs quotes)'
                )
            options[key] = Typed(value)
        setattr(namespace, self.dest, options)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override the config; data_root=DIR, img_size=128 and domains.A=NAME domains.B=NAME '
        'reach every place that needs them. Paths and names are text as typed, other values Python '
        'literals (a list as 5,4, too) or text',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every tool that starts a runner."""
    parser.add_argument(
        '--work-dir',
        type=os.path.expanduser,
        help='folder for logs and checkpoints (work_dirs/CONFIG)',
    )
    add_options_argument(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how several ranks are started; tools/dist_train.sh sets it (%(default)s)',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help='set by the launcher'
    )


def config_of(args: argparse.Namespace) -> Config:
    """Load ``args.config`` with the options of :func:`add_run_arguments`."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if 'launcher' in args.cfg_options:
        raise ConfigError('launcher is not a config option: give --launcher')
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('work_dirs', name)
    return cfg


def add_kid(cfg: Config, extractors: Sequence[str] = (), subset_size: int | None = None) -> None:
    """Let the test compute :class:`TransKID`, once for each extractor.

    Args:
        cfg: Config of the test; the extractors of its TransKID are replaced.
        extractors: Their types; that of
            :func:`~ugatit_mm.evaluation.extractors.default_extractor` if there is none.
        subset_size: Field of TransKID.

    Raises:
        ConfigError: There is no such extractor.
        WeightsError: No extractor is named, and no weights are found.
    """
    with _metrics(cfg, 'TransKID') as kids:
        known = [dict(kid.get('extractor') or {}) for kid in kids]
        if not extractors:
            inception = (of for of in known if of.get('type') in (None, 'InceptionFeatures'))
            extractors = [default_extractor(next(inception, {}).get('weights'))]
        kids[:] = [
            {
                **kids[0],
                'extractor': next((of for of in known if of.get('type') == name), {'type': name}),
            }
            for name in dict.fromkeys(extractors)
        ]
        for kid in kids:
            if subset_size is not None:
                kid['subset_size'] = subset_size


def add_class_share(cfg: Config, classes: Sequence[str | int]) -> None:
    """Let the test compute :class:`ClassShare` of these classes, in place of the config's.

    Raises:
        ConfigError: Another field of the config does not fit.
    """
    with _metrics(cfg, 'ClassShare') as (share, *_):
        share['classes'] = list(classes)


def add_diversity(
    cfg: Config, weights: str | os.PathLike | None = None, styles: int | None = None
) -> None:
    """Let the test compute :class:`StyleDiversity`; what is given replaces the config's fields.

    Raises:
        ConfigError: A field of the config does not fit.
    """
    with _metrics(cfg, 'StyleDiversity') as (diversity, *_):
        given = {'weights': weights and os.fspath(weights), 'styles': styles}
        diversity |= {name: value for name, value in given.items() if value is not None}


@contextmanager
def _metrics(cfg: Config, kind: str) -> Iterator[list[dict]]:
    """Edit the test's metrics of a kind; one is added where there is none."""
    evaluator = cfg.get('test_evaluator') or []
    inside = isinstance(evaluator, Mapping) and 'metrics' in evaluator
    metrics = metrics_of(evaluator)
    found = [dict(metric) for metric in metrics if metric['type'] == kind] or [{'type': kind}]
    yield found
    metrics = [*(metric for metric in metrics if metric['type'] != kind), *found]
    cfg.test_evaluator = {**evaluator, 'metrics': metrics} if inside else metrics
    check_config(cfg)


AMP_REPLACES = ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper')
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune')


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the switches for speed and memory in training."""
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=AUTOCAST_DTYPES,
        help='forward passes in bfloat16 (or float16, with loss scaling)',
    )
    parser.add_argument(
        '--lean',
        action='store_true',
        help="save memory: Adam's moments in 8 bits and, without --amp, features recomputed in the "
        'backward pass',
    )
    parser.add_argument(
        '--compile',
        nargs='?',
        const='default',
        choices=COMPILE_MODES,
        help='compile the networks; reduce-overhead adds CUDA graphs',
    )
    parser.add_argument(
        '--graph',
        action=argparse.BooleanOptionalAction,
        help='on a GPU, launch each training step by one call, as a CUDA graph (on by default)',
    )


def apply_speed(
    cfg: Config,
    amp: str | None = None,
    lean: bool = False,
    compile: str | None = None,
    graph: bool | None = None,
) -> None:
    """Apply the options of :func:`add_speed_arguments` to a config.

    Args:
        cfg: Config of a training; it is changed.
        amp: Dtype of the forward passes, see :class:`AutocastOptimWrapper`.
        lean: :class:`LeanAdam`, and in float32 ``with_cp`` of the networks that have it.
        compile: Mode of ``torch.compile``.
        graph: Replay training steps as CUDA graphs; ``None`` leaves the config as it is.

    Raises:
        ValueError: The config has nothing that a switch could change.
    """
    wrappers = {
        name: wrapper
        for name, wrapper in (cfg.get('optim_wrapper') or {}).items()
        if isinstance(wrapper, dict) and 'optimizer' in wrapper
    }
    if (amp or lean) and not wrappers:
        raise ValueError('--amp and --lean change optim_wrapper.NAME; the config has no optimizer')
    for name, wrapper in wrappers.items():
        if amp:
            kind = wrapper.get('type', 'OptimWrapper')
            if kind not in AMP_REPLACES:
                raise ValueError(
                    f'--amp replaces {" or ".join(AMP_REPLACES)}, but '
                    f'optim_wrapper.{name}.type is {kind}'
                )
            wrapper.type, wrapper.dtype = 'AutocastOptimWrapper', amp
        if lean:
            if wrapper.optimizer.type not in ('Adam', 'LeanAdam'):
                raise ValueError(
                    f'--lean stores the moments of Adam, but optim_wrapper.{name}.optimizer is '
                    f'{wrapper.optimizer.type}: leave out --lean'
                )
            wrapper.optimizer.type = 'LeanAdam'
            wrapper.optimizer.pop('fused', None)
    if lean and not amp:  # 16-bit features take a gigabyte, recomputing them many launches
        for field, network in kind_of(cfg.model).NETWORKS.items():
            if cfg.model.get(field) and 'with_cp' in inspect.signature(network).parameters:
                cfg.model[field].with_cp = True
    if compile:
        cfg.model.compile = dict(mode=compile)
    if graph is not None:
        cfg.model.graph = graph
