"""The lines of a run on the terminal: rows of numbers, times, its setup, where it writes."""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from ..datasets.two_folders import SPLIT
from ..engine.preflight import (
    checkpoint_size,
    gigabytes,
    images_of,
    kept_size,
    moments_size,
    nearest,
    training_size,
)
from ..engine.speed import how_it_runs, width_options, widths_of
from ..engine.work_dir import checkpoints_of
from ..models.base import unwrap
from .checkpoint import checkpoint_hook
from .sheets import TranslationSheetHook, sheets_folder

DAY = 86_400.0
TERM = re.compile(r'loss_([a-z0-9_]+?)(_[AB])?')
TOTAL = re.compile(r'([dg])(_.+)?')


def short_terms(log: Mapping[str, float]) -> dict[str, float]:
    """The numbers of a row: totals of the updates, then terms by their names in ``loss_config``.

    ``D`` and ``G`` are the weighted totals ``loss_d`` and ``loss_g`` of both domains; further
    updates have further names (``D_content``, ``G_random`` of DRIT). The other numbers are not
    weighted: each is the mean of the term over the domains that have it, where a term of several
    scales is the sum over these. ``gan`` is the generators' adversarial term, ``id`` the identity.
    The discriminators' parts are left out, as D is made of nothing else.

    Args:
        log: Terms by the names of the log, such as ``loss_cycle_A``.
    """
    found: dict[str, list[float]] = {}
    for key, value in log.items():
        if (match := TERM.fullmatch(key)) is None:
            continue
        name, domain = match.groups()
        if TOTAL.fullmatch(name):
            if domain is None:
                found.setdefault(name.capitalize(), []).append(value)
        elif not name.startswith('gan_d'):
            name = 'id' if name == 'identity' else name.replace('gan_g', 'gan')
            found.setdefault(name, []).append(value)
    totals = sorted(name for name in found if name[0].isupper())
    return {
        name: sum(found[name]) / len(found[name])
        for name in [*totals, *(name for name in found if name not in totals)]
    }


def number(value: float) -> str:
    """A number in about three digits: ``'2839'``, ``'12.3'``, ``'1.45'``, ``'.42'``, ``'4e-5'``."""
    size = abs(value)
    if not size:
        return '0'
    if size >= 1e6 or size < 5e-4:
        return f'{value:.0e}'.replace('e-0', 'e-').replace('e+0', 'e')
    text = f'{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}'
    return text.replace('0.', '.', 1) if size < 1 else text


def numbers(values: Mapping[str, float]) -> str:
    """Names and numbers in a line."""
    return ' '.join(f'{name} {number(value)}' for name, value in values.items())


def row(done: int, total: int, left: float | None, log: Mapping[str, float]) -> str:
    """A row of training: ``iter 200/400 eta 0:20 | D 1.45 G 1.65 cycle .42``.

    Args:
        done: Iterations that are done.
        total: Iterations of the training.
        left: Seconds to its end; ``None`` where they are not known yet.
        log: See :func:`short_terms`.
    """
    eta = '' if left is None else f' eta {clock(left)}'
    return f'iter {done}/{total}{eta} | {numbers(short_terms(log))}'


def metric_rows(metrics: Mapping[str, float]) -> list[str]:
    """A line for each direction with its metrics."""
    rows: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        direction, _, name = key.rpartition('/')
        rows.setdefault(direction, {})[name] = value
    return [f'{direction} | {numbers(values)}' for direction, values in rows.items()]


def clock(seconds: float) -> str:
    """A time in clock form: ``'0:20'``, ``'1:02:03'``, ``'16 d 4:00'``."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    if seconds >= DAY:
        return f'{hour // 24} d {hour % 24}:{minute:02}'
    return f'{hour}:{minute:02}:{second:02}' if hour else f'{minute}:{second:02}'


def duration(seconds: float) -> str:
    """A time in words: ``'45 s'``, ``'12 min'``, ``'8 h 37 min'``, ``'1.5 days'``."""
    if seconds < 59.5:
        return f'{seconds:.0f} s'
    if seconds < 3570:
        return f'{seconds / 60:.0f} min'
    if seconds < DAY:
        return '{} h {} min'.format(*divmod(round(seconds / 60), 60))
    return f'{seconds / DAY:.{0 if seconds >= 10 * DAY else 1}f} days'


def estimate(seconds: float, iterations: int) -> str:
    """How long iterations take: ``'14 s an iteration: 100,000 end in 16 days'``."""
    return f'{seconds:.3g} s an iteration: {iterations:,} end in {duration(seconds * iterations)}'


def advice(cfg: Any, device: str, types: Iterable[str] = ('float32',)) -> str:
    """Ways to a faster training that are not in use: ``'try img_size=128, or a GPU'``.

    Args:
        cfg: Its config.
        device: ``'cpu'``, or another type of device.
        types: Dtypes of its forward passes.

    Returns:
        Options as they are typed; fewer iterations where all else is in use.
    """
    ways = []
    size = training_size(cfg.train_dataloader.dataset.get('pipeline') or ())
    if size is not None and min(size) > 128:
        ways.append('img_size=128')
    if next(iter(widths_of(cfg).values()), 0) > 32:
        ways.append(' '.join(f'{key}={value}' for key, value in width_options(cfg, 32).items()))
    if (cfg.model.get('generator') or {}).get('light') is False:
        ways.append('model.generator.light=True')
    if device == 'cpu':
        ways.append('a GPU')
    elif set(types) == {'float32'}:
        ways.append('--amp')
    ways = ways or [f'train_cfg.max_iters={cfg.train_cfg.get("max_iters", 0) // 10}']
    return f'try {", or ".join(filter(None, (", ".join(ways[:-1]), ways[-1])))}'


def peak_memory(device: torch.device) -> str:
    """Peak memory: on a GPU that of torch, else that of the whole process."""
    if device.type == 'cuda':
        return f'peak memory {gigabytes(torch.cuda.max_memory_allocated(device))} of the GPU'
    try:
        import resource
    except ImportError:  # Windows
        return 'peak memory not measured'
    unit = 1 if sys.platform == 'darwin' else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f'peak memory {gigabytes(peak)}, all of the process'


# ------------------------------------------------------------------------------------ a training


def labelled(lines: Mapping[str, str]) -> list[str]:
    """Lines with their labels in a column."""
    return [f'{label:12}{text}' for label, text in lines.items() if text]


def about_training(runner: Runner) -> list[str]:
    """Lines before the first iteration."""
    cfg, model = runner.cfg, unwrap(runner.model)
    device = next(model.parameters()).device
    return labelled(
        {
            'model': _model(runner),
            'data': _data(runner),
            'pictures': _pictures(cfg),
            'networks': _networks(model),
            'device': f'{_device(device)}; {how_it_runs(model, runner.optim_wrapper)}',
            'memory': _memory(runner),
            'checkpoints': _checkpoints(runner),
            'iterations': _iterations(runner),
            'log': log_file(runner),
            'sheets': str(sheets_folder(runner)) if _has_sheets(runner) else '',
            'stop': f'Ctrl-C saves a checkpoint; to go on: {go_on(runner)}',
        }
    )


def about_test(runner: Runner) -> list[str]:
    """Lines before the first picture of a test."""
    model = unwrap(runner.model)
    counts = images_of(runner.test_loop.dataloader.dataset)
    root = getattr(runner.test_loop.dataloader.dataset, 'data_root', None)
    names = ', '.join(f'{model.domain_names[x]} {count:,}' for x, count in counts.items())
    return labelled(
        {
            'model': _model(runner),
            'data': f'{names}; in {root}' if counts else '',
            'device': _device(next(model.parameters()).device),
            'log': log_file(runner),
        }
    )


def where(runner: Runner, ended: bool) -> list[str]:
    """Where the results of a training are, and what to do with them.

    Args:
        runner: The runner.
        ended: Whether it came to its end; else it was stopped.
    """
    model, newest = unwrap(runner.model), checkpoints_of(runner.work_dir)[:1]
    folder, target = shlex.quote(str(runner.work_dir)), model.domain_names[model.target()]
    translate = f'ugatit translate PICTURE --ckpt {folder} --to {shlex.quote(target)}'
    return labelled(
        {
            'checkpoint': str(newest[0]) if newest else '',
            'sheets': str(sheets_folder(runner)) if _has_sheets(runner) else '',
            'log': log_file(runner),
            'go on': go_on(runner) if newest and not ended else '',
            'translate': translate if newest else '',
            'report': f'ugatit report {folder}',
        }
    )


def go_on(runner: Runner) -> str:
    """The command that resumes a training."""
    if not runner.cfg.filename or get_world_size() > 1:
        return 'the same command with --resume'
    folder = str(runner.work_dir)
    config = os.path.join(folder, os.path.basename(runner.cfg.filename))
    return f'ugatit train {shlex.quote(config)} --work-dir {shlex.quote(folder)} --resume'


def log_file(runner: Runner) -> str:
    """The text log of this start."""
    return os.path.join(runner.log_dir, f'{runner.timestamp}.log')


def _model(runner: Runner) -> str:
    model = unwrap(runner.model)
    variant = ', '.join(model.variant(runner.cfg.model))
    names = ' and '.join(model.domain_names.values())
    return f'{model.ROW}{f" ({variant})" if variant else ""}: {names}'


def _data(runner: Runner) -> str:
    model, dataset = unwrap(runner.model), runner.train_loop.dataloader.dataset
    counts = images_of(dataset)
    if not counts:
        return f'{len(dataset):,} samples'
    tested = {} if runner.val_loop is None else images_of(runner.val_loop.dataloader.dataset)
    said = [
        f'{model.domain_names[x]} {count:,}'
        + (f' and {tested[x]:,} to test' if x in tested else '')
        for x, count in counts.items()
    ]
    root = str(getattr(dataset, 'data_root', ''))
    return f'{", ".join(said)}; in {root}{_split(root)}'


def _split(root: str) -> str:
    """Where the pictures come from, if two folders were split."""
    try:
        split = json.loads(Path(root, SPLIT).read_text(encoding='utf-8'))
        return f' ({split["links"]} of {split["A"]} and {split["B"]}; {SPLIT})'
    except (OSError, ValueError, KeyError, TypeError):
        return ''


def _pictures(cfg: Any) -> str:
    size = training_size(cfg.train_dataloader.dataset.get('pipeline') or ())
    batch, ranks = cfg.train_dataloader.get('batch_size', 1), get_world_size()
    words = ['{}x{} px'.format(*size)] if size else []
    words += [f'batch {batch}' + (f' on each of {ranks} ranks' if ranks > 1 else '')]
    return ', '.join(words)


def _networks(model: Any) -> str:
    counts = {
        part.replace('_', ' '): sum(p.numel() for p in unwrap(getattr(model, part)).parameters())
        for part in model.PARTS
    }
    said = ', '.join(f'{part} {millions(count)}' for part, count in counts.items())
    return f'{millions(sum(counts.values()))} weights: {said}'


def millions(count: int) -> str:
    """A number of weights: ``'670M'``, ``'1.04M'``."""
    return f'{count / 1e6:.{0 if count >= 1e8 else 1 if count >= 1e7 else 2}f}M'


def _device(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f'cpu, {threads} thread{"s" * (threads > 1)}' if device.type == 'cpu' else str(device)


def _memory(runner: Runner) -> str:
    model = unwrap(runner.model)
    gradients = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    known = kept_size(runner) + gradients + moments_size(runner)
    return (
        f'{gigabytes(known)} for weights, gradients and moments, and activations (measured after '
        'the first iterations)'
    )


def _checkpoints(runner: Runner) -> str:
    hook = checkpoint_hook(runner)
    if hook is None:
        return 'none are written'
    size, total = checkpoint_size(runner, hook), -(-runner.max_iters // hook.interval)
    kept = min(total, hook.max_keep_ckpts) if hook.max_keep_ckpts > 0 else total
    keeps = f'the last {kept} kept' if kept < total else f'all {kept} kept'
    free = shutil.disk_usage(nearest(hook.out_dir)).free
    return (
        f'each {hook.interval:,} iterations, {gigabytes(size)} each, {keeps}: '
        f'{gigabytes(kept * size)}; {gigabytes(free)} free'
    )


def _iterations(runner: Runner) -> str:
    said = f'{runner.max_iters:,}'
    if runner.iter:
        said += f', from {runner.iter:,} on'
    if runner.val_loop is not None:
        said += f'; a validation each {runner.val_interval:,}'
    return said


def _has_sheets(runner: Runner) -> bool:
    return any(isinstance(hook, TranslationSheetHook) for hook in runner.hooks)
