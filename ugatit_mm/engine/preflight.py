"""Checks at the start of a run of what would end it late: sizes, counts, disk space, metrics."""

import copy
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from ..datasets import ImageReadError
from ..datasets.img_size import CROPS
from ..datasets.random_state import seeded
from ..domains import other
from ..evaluation import TransEvaluator, TransMetric
from ..models.base import TRANSLATION_MODELS, UnpairedTranslation, unwrap
from ..models.base.images import check_size
from .terminal import SHOWN

TOGETHER = (
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
LOOP = 'UGATITTrainLoop'
SIZES = (*CROPS, 'Resize', 'LoadRGBImage')  # steps that set the size of pictures
KEEP_SIZE = ('Flip', 'PackInputs', 'SmoothEdges')
MMENGINE_LOOPS = ('EpochBasedTrainLoop', 'IterBasedTrainLoop')


class PreflightError(ValueError):
    """A run that would fail; the message names the field and says what to do."""


@contextmanager
def refusing(begin: str = '') -> Iterator[None]:
    """Turn a ValueError of the block into a PreflightError.

    Args:
        begin: What the message begins with.

    Raises:
        PreflightError: In place of a ValueError in the block.
    """
    try:
        yield
    except ValueError as error:
        raise PreflightError(f'{begin}{error}') from error


class CheckedRunner(Runner):
    """MMEngine's runner, which refuses at its start what would fail later.

    - A config: see :func:`prepare`, before anything is built or logged.
    - A training: see :func:`check_training`, which its loop calls.
    - A validation and a test: the metrics check the numbers of pictures.
    """

    @classmethod
    def from_cfg(cls, cfg: Any) -> Runner:
        """Build a runner from a config.

        Raises:
            PreflightError: See :func:`prepare`.
        """
        return super().from_cfg(prepare(cfg))

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """Build an evaluator in which a metric that fails does not affect the others."""
        if isinstance(evaluator, dict) and 'metrics' in evaluator:
            return super().build_evaluator({'type': 'TransEvaluator', **evaluator})
        if isinstance(evaluator, (dict, list)):
            return TransEvaluator(evaluator)
        return super().build_evaluator(evaluator)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, and let its metrics check the numbers of pictures."""
        built = super().build_val_loop(loop)
        self._check_metrics(built)
        return built

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, and let its metrics check the numbers of pictures."""
        built = super().build_test_loop(loop)
        self._check_metrics(built)
        return built

    def _check_metrics(self, loop: Any) -> None:
        counts, model = images_of(loop.dataloader.dataset), unwrap(self.model)
        tested = tested_directions(model, counts)
        if not tested:
            raise PreflightError(
                'the pictures to test on are of the domain that the networks translate into, '
                f'{" and ".join(map(model.domain_names.get, model.targets()))}: add those of the '
                'other'
            )
        for domain in (domain for domain, count in counts.items() if not count):
            self.logger.warning(
                f'there are no pictures of {model.domain_names[domain]} to test on: only '
                f'{tested[0]} is tested'
            )
        for metric in getattr(loop.evaluator, 'metrics', ()):
            if not isinstance(metric, TransMetric):
                continue
            with refusing():
                metric.check_channels(model.out_channels)
            if counts:
                metric.check(counts, model.domain_names)


def prepare(cfg: Any) -> Any:
    """Return a copy of a run's config that can be built.

    A validation or a test that lacks one of its three fields is switched off. Loops of MMEngine
    become :class:`UGATITTrainLoop`, which can count epochs, too.

    Raises:
        PreflightError: Its training cannot start.
    """
    cfg = copy.deepcopy(cfg)
    for fields in TOGETHER:
        if any(cfg.get(field) is None for field in fields):
            for field in fields:
                cfg[field] = None
    if cfg.get('train_cfg') and cfg.get('train_dataloader'):
        init_default_scope(cfg.get('default_scope', 'mmagic'))
        cfg.train_cfg = _train_cfg(cfg.train_cfg)
        _check_batches(cfg)
    return cfg


def _train_cfg(given: Mapping[str, Any]) -> ConfigDict:
    loop = ConfigDict(given)
    loop.pop('by_epoch', None)
    kind = loop.get('type') or LOOP
    if isinstance(kind, str) and kind.rpartition('.')[2] in MMENGINE_LOOPS:
        kind = LOOP
    loop.type = kind
    if kind != LOOP:
        return loop
    if loop.get('max_iters') is not None and loop.get('max_epochs') is not None:
        raise PreflightError(
            f'train_cfg has max_iters={loop.max_iters} and max_epochs={loop.max_epochs}: set '
            'train_cfg.max_iters=None to count in epochs (val_interval then, too), or '
            'train_cfg.max_epochs=None'
        )
    for name in ('max_iters', 'max_epochs', 'val_interval'):
        value = loop.get(name)
        if isinstance(value, (int, float)) and value < 1:
            hint = ' (for no validation: val_cfg=None)' if name == 'val_interval' else ''
            raise PreflightError(f'train_cfg.{name} must be 1 or more, got {value}{hint}')
    return loop


def _check_batches(cfg: Any) -> None:
    """Check that the model takes the training's batches and the size of its pictures."""
    kind = TRANSLATION_MODELS.get(cfg.model.get('type'))
    count = cfg.train_dataloader.get('batch_size')
    if kind is not None and kind.BATCH_SIZE is not None and count != kind.BATCH_SIZE:
        raise PreflightError(
            f'train_dataloader.batch_size={count}: {kind.ROW} trains on batches of '
            f'{kind.BATCH_SIZE} pictures of each domain only, set it to {kind.BATCH_SIZE}'
        )
    size = training_size(cfg.train_dataloader.get('dataset', {}).get('pipeline') or ())
    if kind is None or size is None:
        return
    for part, field in kind.PARTS.items():
        if part in kind.TRANSLATES or cfg.model.get(field) is None:
            continue
        with torch.device('meta'):  # takes no time and no memory
            network = MODELS.build(cfg.model[field])
        with refusing():
            option = 'img_size' if cfg.get('crop_size') is None else 'crop_size'
            check_size(network, field, *size, option)


def training_size(pipeline: Iterable[Any]) -> tuple[int, int] | None:
    """Height and width of the pictures that a training's pipeline gives; ``None`` if unknown."""
    for step in reversed(list(pipeline)):
        if not isinstance(step, dict):
            return None
        size = step.get('crop_size')
        if size is None and isinstance(step.get('scale'), (tuple, list)):
            size = step['scale'][::-1]  # (width, height), MMCV's order
        if size is None and 'scale' not in step and step.get('type') in KEEP_SIZE:
            continue
        known = step.get('type') in SIZES and not step.get('keep_ratio')
        if known and isinstance(size, (tuple, list)) and [type(side) for side in size] == [int] * 2:
            return size[0], size[1]
        return None
    return None


def check_training(runner: Any) -> None:
    """Check a training before it starts; all its ranks must call it.

    One sample is loaded, with its own random state.

    Args:
        runner: The runner, with all of it built.

    Raises:
        PreflightError: It would fail.
    """
    _check_counting(runner)
    _tell_frozen(runner)
    _check_images(runner)
    _check_watched_metrics(runner)
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            _check_room(runner, hook)


def _check_counting(runner: Any) -> None:
    """Refuse what counts epochs: it would never come, as MMEngine sees all of training as one."""
    length = epoch_length(runner.train_dataloader)
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.by_epoch:
            raise PreflightError(
                'default_hooks.checkpoint counts epochs, this training iterations: set '
                f'default_hooks.checkpoint.by_epoch=False and interval={hook.interval * length} '
                f'(an epoch is {length} iterations)'
            )
    schedulers = runner.param_schedulers or {}
    if isinstance(schedulers, Mapping):
        schedulers = [each for several in schedulers.values() for each in several]
    for scheduler in schedulers:
        if scheduler.by_epoch:
            raise PreflightError(
                f'param_scheduler {type(scheduler).__name__} counts epochs, this training '
                'iterations: set param_scheduler.by_epoch=False and its numbers in iterations, or '
                f'convert_to_iter_based=True (an epoch is {length} iterations)'
            )
    if runner.log_processor.by_epoch:
        raise PreflightError(
            'log_processor counts epochs, this training iterations: set log_processor.by_epoch='
            'False'
        )


def epoch_length(loader: DataLoader) -> int:
    """Iterations in which all ranks together see as many samples as a data set has."""
    pictures: Any = loader.dataset
    return -(-len(pictures) // (loader.batch_size * get_world_size()))


def _tell_frozen(runner: Any) -> None:
    model = unwrap(runner.model)
    if not model.frozen:
        return
    counts = {False: 0, True: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    said = f'{", ".join(model.frozen)}: {counts[False]:,} of {sum(counts.values()):,} weights'
    runner.logger.info(f'frozen: {said}', extra=SHOWN)
    drawn = [n for n in model.frozen if not any(k.startswith(f'{n}.') for k in runner.loaded)]
    if drawn:
        runner.logger.warning(
            f'frozen, but drawn at random, as no file gave their weights: {", ".join(drawn)} (set '
            'load_from)'
        )


def _check_images(runner: Any) -> None:
    """Check the first pictures of the training, and of the validation if there is one."""
    model = unwrap(runner.model)
    for loop in (runner.train_loop, runner.val_loop):
        if loop is None:
            continue
        try:
            with seeded(0):
                sample = loop.dataloader.dataset[0]
        except ImageReadError:  # the run reports it when it reaches this picture
            continue
        inputs = sample.get('inputs') if isinstance(sample, dict) else None
        if not isinstance(inputs, dict):
            continue
        training = loop is runner.train_loop
        missing = [f'img_{x}' for x in model.PICTURES if training and f'img_{x}' not in inputs]
        if missing:
            raise PreflightError(
                f'{model.ROW} trains on {missing[0]}, which the training pipeline does not give: '
                'name it in the keys of its PackInputs, and add the step that makes it'
            )
        with refusing('' if training else 'validation: '):
            for key, image in inputs.items():
                model.check_images(key.removeprefix('img_'), tuple(image.shape), training)


def _check_watched_metrics(runner: Any) -> None:
    """Check that the validation gives the metrics that hooks need."""
    known = metric_names(runner)
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best is not None:
            field, wanted = 'default_hooks.checkpoint.save_best', hook.key_indicators
        elif isinstance(hook, EarlyStoppingHook):
            field, wanted = 'EarlyStoppingHook.monitor', [hook.monitor]
        else:
            continue
        if runner.val_loop is None:
            raise PreflightError(f'{field}={wanted[0]!r} needs a validation, and there is none')
        if known is None:
            continue
        if list(wanted) == ['auto'] and hook.rules == [None]:
            raise PreflightError(
                f"{field}='auto' does not know whether more or less is better: name one of "
                f"{', '.join(known)}, and default_hooks.checkpoint.rule='greater' or 'less'"
            )
        if missing := [name for name in wanted if name not in ('auto', *known)]:
            raise PreflightError(
                f'{field}: the validation gives no {missing[0]!r}; it gives {", ".join(known)}'
            )


def metric_names(runner: Any) -> list[str] | None:
    """Names of all metrics that a validation gives; ``None`` where one does not declare them."""
    if runner.val_loop is None:
        return None
    model = unwrap(runner.model)
    counts = images_of(runner.val_loop.dataloader.dataset)
    names: list[str] = []
    for metric in getattr(runner.val_loop.evaluator, 'metrics', ()):
        if not isinstance(metric, TransMetric) or not counts:
            return None
        given = metric.names_of(counts, model.domain_names, model.targets())
        if given is None:
            return None
        names += given
    return names or None


def images_of(dataset: Any) -> dict[str, int]:
    """Numbers of pictures by domain; empty for a data set that does not give them."""
    lengths = {'A': getattr(dataset, 'len_a', None), 'B': getattr(dataset, 'len_b', None)}
    return {domain: length for domain, length in lengths.items() if length is not None}


def tested_directions(model: UnpairedTranslation, counts: Mapping[str, int]) -> list[str]:
    """The directions that have pictures to test on, such as ``selfie2anime``.

    Args:
        model: The unwrapped model.
        counts: See :func:`images_of`.
    """
    return [model.direction(x) for x in model.targets() if counts.get(other(x), 1)]


def _check_room(runner: Any, hook: CheckpointHook) -> None:
    """Check that a checkpoint has a folder and disk space."""
    folder = os.fspath(runner.work_dir)
    if hook.out_dir is not None and hook.out_dir != folder:
        if not isinstance(get_file_backend(hook.out_dir, backend_args=None), LocalBackend):
            return
        folder = os.path.join(hook.out_dir, os.path.basename(folder.rstrip(os.sep)))
    there = nearest(folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise PreflightError(
            f'checkpoints go to {folder}, but {there} '
            f'{"may not be written to" if there.is_dir() else "is not a folder"}: set --work-dir'
        )
    needed, free = checkpoint_size(runner, hook), shutil.disk_usage(there).free
    if needed > free:
        raise PreflightError(
            f'a checkpoint takes about {gigabytes(needed)}, and {there} has {gigabytes(free)} '
            'free: make room, or set --work-dir to another disk'
        )


def nearest(folder: str) -> Path:
    """The folder, or the nearest of its parents that exists."""
    place = Path(folder).absolute()
    return next(path for path in (place, *place.parents) if path.exists())


def checkpoint_size(runner: Any, hook: CheckpointHook) -> int:
    """Approximate bytes of a checkpoint: weights, averages, states of the optimisers."""
    return kept_size(runner) + (moments_size(runner) if hook.save_optimizer else 0)


def kept_size(runner: Any) -> int:
    """Bytes of weights, buffers and averages."""
    model = unwrap(runner.model)
    total = sum(tensor.nbytes for tensor in model.state_dict().values())
    for each in runner.hooks:  # averages of weights
        if hasattr(each, 'averaged'):
            total += sum(weight.nbytes for weight in each.averaged(model).values())
    return total


def moments_size(runner: Any) -> int:
    """Approximate bytes of the optimisers' states for all trained weights."""
    total = 0
    for wrapper in runner.optim_wrapper.values():
        group = wrapper.optimizer.param_groups[0]
        # Adam has two moments, of a byte each in LeanAdam; others have a momentum.
        moments = 2 if 'betas' in group else int(bool(group.get('momentum')))
        width = 1 if group.get('state_dtype') == 'uint8' else 4
        parameters = (p for each in wrapper.optimizer.param_groups for p in each['params'])
        total += moments * width * sum(p.numel() for p in parameters if p.requires_grad)
    return total


def gigabytes(count: int) -> str:
    """Bytes in words: ``'3.2 GB'``, ``'41 MB'``."""
    return f'{count / 1e9:.1f} GB' if count >= 1e9 else f'{count / 1e6:.0f} MB'
