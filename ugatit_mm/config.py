"""Loading a config, and the options that are set in several places of it."""

import difflib
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .cli import root
from .datasets import apply_channels, apply_deep_range, apply_img_size
from .fields import (
    MISSING,
    MMENGINE_HOOKS,
    READ,
    VARIABLES,
    ConfigError,
    check_config,
    check_top,
    place,
    places,
)
from .messages import first_line, printable
from .values import Typed, literal

# Given as options, these are set in every place that needs them.
SHORTCUTS = (
    'data_root',
    'img_size',
    'load_size',
    'crop_size',
    'channels',
    'deep_range',
    'domains',
)
NUMBERS = ('img_size', 'load_size', 'crop_size', 'channels', 'deep_range')  # the rest is text
GONE = ('GatherShardsHook',)  # hooks that configs of earlier versions name


def load_config(path: str | os.PathLike, options: dict[str, Any] | None = None) -> Config:
    """Load a config file and merge options into it, as all tools do.

    Args:
        path: A config file; a name such as ``ugatit_selfie2anime`` or
            ``light/ugatit_light_selfie2anime.py`` that is not a file is looked up among the configs
            of the package, with or without its folder.
        options: Dotted keys and values, as MMEngine's ``--cfg-options``. Besides,
            ``data_root=DIR`` sets the root of all data sets, ``img_size=N`` (and
            ``load_size=N``, ``crop_size=N``) the size in all pipelines and the model
            (:func:`apply_img_size`, also where the file says so), ``channels=N`` the number of
            channels in the same places (:func:`apply_channels`), ``deep_range=LOW,HIGH`` the values
            that are black and white in pictures of more than 8 bits (:func:`apply_deep_range`),
            ``domains.A=NAME domains.B=NAME`` the names of the domains. An option for a single place
            takes precedence.
            ``load_from.PART=FILE`` loads the weights of one part, such as ``generators.B``, from a
            file.

    Returns:
        Config: Resolved; dumping it gives a file that needs no options.

    Raises:
        FileNotFoundError: There is no such config; the message names the nearest of the package's.
        ConfigError: The file cannot be read, nothing takes a field or an option, or a value does
            not fit; the message is a line.
    """
    cfg = read_config(find_config(path))
    if not isinstance(cfg.get('model'), Mapping):
        raise ConfigError(f'{cfg.filename}: it has no model: give the config of a training')
    before = cfg.to_dict()
    options = dict(options or {})
    _check_contradictions(options)
    if parts := [key for key in options if key.startswith('load_from.')]:
        files = {key.partition('.')[2]: str(options.pop(key)) for key in parts}
        cfg.load_from = {part: os.path.expanduser(file) for part, file in files.items()}
    _check_options(options, cfg)
    shortcuts = {
        key: _shortcut(key, options.pop(key))
        for key in list(options)
        if key.split('.')[0] in SHORTCUTS
    }
    cfg.merge_from_dict(shortcuts)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = place(cfg, [loader, 'dataset'])
        if 'data_root' in shortcuts and isinstance(dataset, Mapping):
            cfg[loader].dataset.data_root = cfg.data_root
    try:
        apply_img_size(cfg)
        apply_channels(cfg)
        apply_deep_range(cfg)
    except (TypeError, ValueError) as error:
        typed = {key.split('.')[0] for key in shortcuts} & {*NUMBERS}
        named = '' if typed else f'{cfg.filename}: '
        raise ConfigError(f'{named}{first_line(error)}') from error
    if domains := cfg.pop('domains', None):
        cfg.merge_from_dict({'model.domains': domains})
    cfg.merge_from_dict(options)
    given = [*options, *(f'model.{key}' for key in shortcuts if key.startswith('domains'))]
    check_top(cfg, before, given)
    _count_hooks_once(cfg)
    _leave_out_gone_fields(cfg)
    _list_metrics(cfg)
    check_config(cfg, before, given)
    return cfg


def read_config(path: str | os.PathLike) -> Config:
    """Read a config file and its bases.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: A base is missing, or a file is not a config or cannot be run.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program
        files = _files_of(error) or [os.fspath(path)]
        if isinstance(error, FileNotFoundError) and not os.path.exists(path):
            raise
        file, reason = files[-1], first_line(error)
        line = error.lineno if isinstance(error, SyntaxError) else None
        if isinstance(error, SyntaxError):
            reason = error.msg
        elif isinstance(error, FileNotFoundError) and not os.path.exists(file) and files[1:]:
            file, reason = files[-2], f'its _base_ {os.path.normpath(file)} does not exist'
        elif isinstance(error, ImportError) and error.__cause__:  # MMEngine's names its search path
            reason = f'custom_imports: {first_line(error.__cause__)}'
        elif isinstance(error, UnicodeDecodeError):
            reason = 'it is not UTF-8 text'
        for frame in traceback.extract_tb(error.__traceback__):
            line = frame.lineno if frame.filename == file else line
        at = '' if line is None else f'line {line}: '
        raise ConfigError(f'{file}: {at}{printable(reason, 300)}') from error


def _files_of(error: Exception) -> list[str]:
    """The config files that were being read at an error, the innermost last."""
    files = [
        frame.f_locals['filename']
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name in ('fromfile', '_file2dict', '_parse_lazy_import')
        and 'filename' in frame.f_locals
    ]
    return list(dict.fromkeys(os.path.abspath(file) for file in files))


def _check_contradictions(options: Mapping[str, Any]) -> None:
    """Refuse an option that sets a field whose own fields are set, too: one would be lost."""
    for option, value in options.items():
        if isinstance(literal(value) if isinstance(value, Typed) else value, Mapping):
            continue
        if inner := next((other for other in options if other.startswith(f'{option}.')), None):
            raise ConfigError(f'options {option} and {inner} contradict each other: give one')


def _check_options(options: Mapping[str, Any], cfg: Config) -> None:
    """Check that each option sets something that is read; MMEngine adds it in any case."""
    read = {key: cfg[key] for key in cfg if key in READ}
    known = {*cfg, *SHORTCUTS, *READ} - {*VARIABLES}
    for option in options:
        first, *rest = option.split('.')
        if first in cfg and first not in {*READ, *SHORTCUTS}:
            _check_variable(first, rest, cfg[first], read)
        elif first not in known:
            near = [*places(read, lambda key, _, option=option: key == option)][:3]
            near = near or difflib.get_close_matches(first, known, 1)
            there = f'there are {", ".join(sorted(known))}'
            hint = f'is it {" or ".join(near)}?' if near else there
            raise ConfigError(f'unknown option {option}: {hint}')
        elif first == 'domains' and rest not in (['A'], ['B']) and isinstance(options[option], str):
            raise ConfigError(f'unknown option {option}: there are domains.A and domains.B')
        node = cfg.get(first, MISSING)
        for depth, word in enumerate(rest, 1):
            if node is MISSING:
                break
            if not isinstance(node, (Mapping, list)):
                has = f'is {printable(repr(node))} and has no fields'
            elif isinstance(node, list) and place(node, [word]) is MISSING:
                has = f'is a list of {len(node)}, counted from 0'
            else:
                node = place(node, [word])
                continue
            parent = '.'.join([first, *rest[: depth - 1]])
            raise ConfigError(f'unknown option {option}: {parent} {has}')


def _check_variable(name: str, rest: list[str], value: Any, read: dict[str, Any]) -> None:
    """Refuse an option for a variable that the file has used before options are set."""
    used = []
    if value and isinstance(value, (Mapping, list, tuple)):
        used = [*places(read, lambda _, other: other == value)]
    if used or name in VARIABLES:
        hint = f': set {" or ".join(".".join([each, *rest]) for each in used[:3])}' if used else ''
        raise ConfigError(
            f'option {".".join([name, *rest])} changes nothing, {name} is a variable of the config '
            f'file, which has used it by then{hint}'
        )


def _shortcut(key: str, value: Any) -> Any:
    """The value of an option that is set in several places, with numbers converted."""
    if key.split('.')[0] in NUMBERS:
        return literal(value) if isinstance(value, Typed) else value
    if key != 'data_root' or not isinstance(value, str):
        return str(value) if isinstance(value, Typed) else value
    if not value:
        raise ConfigError('data_root is empty: give a folder')
    return os.path.expanduser(str(value))


def keep_mmengine_hooks(cfg: Config) -> None:
    """Take all hooks but MMEngine's own and the console out of a config, in place."""
    named = cfg.get('default_hooks') or {}
    kept = (*MMENGINE_HOOKS, 'console')
    cfg.default_hooks = {name: named[name] for name in named if name in kept}
    cfg.custom_hooks = []


def _count_hooks_once(cfg: Config) -> None:
    """Leave out named hooks of a type that ``custom_hooks`` has, too.

    Older configs, in work dirs and of users, list the project's hooks there.
    """
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if place(hook, ['type']) not in GONE]
    types = [place(hook, ['type']) for hook in hooks]
    named = cfg.get('default_hooks') or {}
    for name in set(named) - set(MMENGINE_HOOKS):
        if place(named, [name, 'type']) in types:
            named.pop(name)


def _list_metrics(cfg: Config) -> None:
    """Put metrics in a list, also a single one, or those of an ``Evaluator``.

    MMEngine would take MMagic's class of that name, which its own loops cannot call.
    """
    for name, loop in (('val_evaluator', 'ValLoop'), ('test_evaluator', 'TestLoop')):
        evaluator = cfg.get(name)
        if not isinstance(evaluator, Mapping):
            continue
        plain = {*evaluator} <= {'type', 'metrics'} and evaluator.get('type') in (None, 'Evaluator')
        loops = place(cfg, [f'{name.partition("_")[0]}_cfg', 'type']) == loop
        if 'metrics' not in evaluator or (plain and loops):
            cfg[name] = metrics_of(evaluator)


def metrics_of(evaluator: Any) -> Any:
    """The metrics of an evaluator's config: one, a list, or an ``Evaluator`` with either."""
    inside = isinstance(evaluator, Mapping) and 'metrics' in evaluator
    metrics = evaluator['metrics'] if inside else evaluator
    return [metrics] if isinstance(metrics, Mapping) else metrics


def _leave_out_gone_fields(cfg: Config) -> None:
    """Leave out fields of older configs that nothing reads any more: LeanAdam has only 8 bits."""
    for wrapper in (cfg.get('optim_wrapper') or {}).values():
        optimizer = place(wrapper, ['optimizer'])
        kept = {'type': 'LeanAdam', 'state_dtype': 'uint8'}
        if isinstance(optimizer, Mapping) and kept.items() <= dict(optimizer).items():
            optimizer.pop('state_dtype')


def configs_dir() -> Path:
    """Return the folder of the configs: in the source tree, or inside the installed package."""
    return root() / 'configs'


def data_set(name: str) -> Config:
    """Return the base config of a data set of the paper.

    Args:
        name: The direction A to B, as in ``configs/_base_/datasets/NAME.py``.

    Returns:
        Config: ``data_root``, ``domain_names`` (of A and B), ``paper_images`` (the paper's counts
            by folder) and ``epoch_iters`` (iterations of an epoch at batch size 1).
    """
    return Config.fromfile(configs_dir() / '_base_' / 'datasets' / f'{name}.py')


def config_names() -> dict[str, Path]:
    """Return the configs of the package: file by name, as ``light/ugatit_light_selfie2anime``."""
    root = configs_dir()
    files = {path.relative_to(root).with_suffix(''): path for path in sorted(root.rglob('*.py'))}
    return {name.as_posix(): path for name, path in files.items() if '_base_' not in name.parts}


def find_config(path: str | os.PathLike) -> str:
    """Return the file that ``path`` names, see :func:`load_config`."""
    path = os.path.expanduser(path)
    if os.path.isfile(path):
        return path
    name = path.removesuffix('.py').removeprefix('configs/')
    known = config_names()
    stems = {file.stem: file for file in known.values()}
    if found := known.get(name) or stems.get(name):
        return str(found)
    if near := difflib.get_close_matches(name.rpartition('/')[2], stems, 3):
        raise FileNotFoundError(f'no config {path}: is it {" or ".join(near)}?')
    raise FileNotFoundError(f'no config {path}: give a file, or one of {", ".join(known)}')
