"""Training and testing from a config, as the tools, the demo and the tests do it."""

import atexit
import copy
import gc
import hashlib
import os
from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
from mmagic.registry import RUNNERS
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from ..config import keep_mmengine_hooks
from ..converters import load_weights, naming, weights_of
from ..datasets.two_folders import SplitError
from ..engine.preflight import images_of, tested_directions
from ..engine.replay import Replay
from ..engine.runner import to_train
from ..engine.terminal import SHOWN, warnings_in_log
from ..engine.warm_start import tell_domains
from ..engine.work_dir import LOCK, WorkDirError, unlock
from ..evaluation import MetricError, StyleDiversity
from ..evaluation.evaluator import measured
from ..evaluation.results import results_of, with_metrics, write_results
from ..fields import ConfigError, building
from ..models.base import StyleChoice, UnpairedTranslation, unwrap
from .inferencer import TranslationInferencer
from .loading import open_weights
from .styles import check_diversity, check_styles, choose_styles

PathLike = str | os.PathLike


def run_training(cfg: Config) -> Runner:
    """Train as the config says, and return the runner.

    Args:
        cfg: ``cfg.resume`` goes on from the newest checkpoint of the work dir, or from
            ``cfg.load_from``; ``cfg.restart`` sets a training that is in the work dir aside;
            ``cfg.two_folders``, arguments of
            :func:`~ugatit_mm.datasets.two_folders.split_folders`, are split.

    Raises:
        KeyboardInterrupt: The run was stopped; :class:`InterruptHook` has saved a checkpoint.
        ConfigError: A value of the config does not fit, or training lacks one.
        SplitError: The two folders cannot be split, or were split in another way.
        WorkDirError: The work dir holds a training and neither ``resume`` nor ``restart`` is set,
            another process trains there, or there is nothing to resume.
    """
    for field in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not cfg.get(field):
            raise ConfigError(f'{cfg.filename}: training needs {field}, got {cfg.get(field)}')
    is_new = not os.path.isdir(cfg.work_dir)
    # Pinned memory is copied to a GPU while it computes; without a GPU torch warns.
    cfg.train_dataloader.setdefault('pin_memory', torch.cuda.is_available())
    with _ranks(cfg), building(cfg), warnings_in_log(cfg):
        try:
            with to_train():
                runner = RUNNERS.build(cfg)
            runner.train()
        except (SplitError, WorkDirError):
            if is_new:  # a mistyped name leaves no folder
                with suppress(OSError):
                    Path(cfg.work_dir, LOCK).unlink()
                    os.rmdir(cfg.work_dir)
            raise
        finally:
            unlock(cfg.work_dir)
    return runner


def run_test(
    cfg: Config,
    checkpoint: PathLike,
    out_dir: PathLike | None = None,
    sheet: bool = False,
    style: int | PathLike | None = None,
    styles: int | None = None,
) -> dict[str, float]:
    """Translate the test set in both directions and compute the metrics.

    The results are written to ``results_<checkpoint>.json`` in the work dir
    (:mod:`ugatit_mm.evaluation.results`).

    Args:
        cfg: Config of the run; it is not changed.
        checkpoint: Weights, also an official file as it is; or the work dir of a training, for its
            last whole checkpoint.
        out_dir: Folder for the translations, see :class:`SaveTranslationsHook`; ``None`` writes
            none.
        sheet: Write a picture sheet for each direction as well.
        style: For models with styles: a seed, which draws each picture's style together with its
            file name (0 if not given, the protocol of the paper's table); or a picture whose style
            is used, read as one of the target domain.
        styles: Number of styles that are written for each picture, of that seed and those after it.
            The metrics are of the first.

    Returns:
        dict: The metrics.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        CheckpointError: The file is not a checkpoint, or its weights do not fit the config, or its
            domains are the config's in the other order.
        MetricError: A metric failed; the results of the others are written.
        TooFewImagesError: There are too few test pictures for a metric.
        ConfigError: A value of the config does not fit, or testing lacks one.
        StyleError: The model has no styles, or the two do not fit together, or the picture of a
            style cannot be read.
    """
    if not cfg.get('test_dataloader'):
        raise ConfigError(f'{cfg.filename}: testing needs test_dataloader, there is none')
    check_diversity(cfg, style)
    digest = hashlib.sha256()
    checkpoint, content = open_weights(checkpoint, digest)
    cfg = copy.deepcopy(cfg)
    cfg.load_from, cfg.resume = None, False
    cfg.test_cfg = cfg.get('test_cfg') or dict(type='TestLoop')
    cfg.test_evaluator = cfg.get('test_evaluator') or []
    keep_mmengine_hooks(cfg)  # the others belong to training
    if cfg.get('visualizer'):  # a test draws no curves: no empty ones in TensorBoard or on a server
        cfg.visualizer.vis_backends = cfg.vis_backends = [dict(type='LocalVisBackend')]
    if out_dir is not None:
        hook = dict(type='SaveTranslationsHook', out_dir=str(out_dir), sheet=sheet)
        hook['styles'] = styles or 1  # more may be measured
        cfg.custom_hooks.append(hook)
    # MMEngine keeps runners by name; a second one in a process needs its own name.
    cfg.experiment_name = f'{cfg.get("experiment_name", "ugatit")}_test_{id(cfg)}'
    with _ranks(cfg), building(cfg), warnings_in_log(cfg):
        runner = RUNNERS.build(cfg)
        model = unwrap(runner.model)
        with naming(checkpoint):
            load_weights(model, weights_of(content, model.TRANSLATES), model.TRANSLATES)
        tell_domains(model, content, os.fspath(checkpoint))
        wanted = runner.test_loop.evaluator.metrics
        runner.logger.info(f'weights     {checkpoint}', extra=SHOWN)
        model.chosen = _chosen(model, cfg, checkpoint, style, styles, wanted)
        model.translate = Replay(model)
        meta = content.get('meta')
        meta = meta if isinstance(meta, dict) else {}
        results = results_of(cfg, checkpoint, meta, digest.hexdigest())
        results['style'] = _in_words(model, style)
        if results['style']:
            said = f'each picture is measured in one style: {results["style"]}'
            runner.logger.info(said, extra=SHOWN)
        metrics = dict(runner.test())
        evaluator, path = runner.test_loop.evaluator, results_path(cfg, checkpoint)
        failed = getattr(evaluator, 'failed', {})
        if is_main_process():
            measurements, untranslated = measured(evaluator)
            directions = tested_directions(model, images_of(runner.test_dataloader.dataset))
            found = with_metrics(results, metrics, measurements, failed, directions, untranslated)
            write_results(path, found)
            runner.logger.info(f'results     {path}', extra=SHOWN)
            if out_dir is not None:
                runner.logger.info(f'pictures    {out_dir}', extra=SHOWN)
    if failed:
        said = '; '.join(f'{name} failed: {why}' for name, why in failed.items())
        raise MetricError(f'{said} (everything else is in {path})')
    return metrics


def results_path(cfg: Config, checkpoint: PathLike) -> Path:
    """Where :func:`run_test` writes its results."""
    return Path(cfg.work_dir) / f'results_{Path(checkpoint).stem}.json'


def _chosen(
    model: UnpairedTranslation,
    cfg: Config,
    checkpoint: PathLike,
    style: int | PathLike | None,
    styles: int | None,
    metrics: Sequence[BaseMetric],
) -> StyleChoice:
    """The styles of a test; a picture's style is read with all parts that the file has."""
    check_styles(model, style, styles)
    drawn = style is None or isinstance(style, int)
    for metric in metrics:
        if isinstance(metric, StyleDiversity):
            styles = max(styles or 1, metric.styles)
    if drawn:
        return choose_styles(model, style, styles, model.target())
    reader = TranslationInferencer(checkpoint, cfg)
    given = [reader.choose_styles(style, to=target).given for target in model.targets()]
    return StyleChoice(given=dict(ChainMap(*given)))


def _in_words(model: UnpairedTranslation, style: int | PathLike | None) -> str | None:
    """Which style was measured, for the results."""
    if model.style_shape is None:
        return None
    if style is None or isinstance(style, int):
        return f"drawn by seed {style or 0} and the file's name"
    return f'of {Path(style).name}'


@contextmanager
def _ranks(cfg: Config) -> Iterator[None]:
    """Join the ranks by gloo where there is no GPU: MMEngine's launcher would ask CUDA for devices.

    A process that joined leaves the group at the end. One that exits in the group may be killed by
    gloo's threads when its neighbour exits first. So may one that has left, after all is written:
    the threads live as long as the runner, which is in reference cycles, and may call Python after
    its shutdown. Collecting the runner before ends them in time.
    """
    joins = False
    if cfg.get('launcher', 'none') != 'none' and not torch.cuda.is_available():
        cfg.model_wrapper_cfg.device_ids = None
        joins = cfg.launcher == 'pytorch' and not torch.distributed.is_initialized()
    if joins:
        seconds = cfg.env_cfg.dist_cfg.get('timeout')  # without it torch's own
        timeout = None if seconds is None else timedelta(seconds=seconds)
        torch.distributed.init_process_group('gloo', timeout=timeout)
        atexit.register(gc.collect)
    try:
        yield
    finally:
        if joins:
            torch.distributed.destroy_process_group()
