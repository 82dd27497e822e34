"""Loading a config, and the options that stand in several places of it."""

import difflib
import inspect
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from .datasets import apply_img_size

# Given as options, these are carried to every place that needs them.
SHORTCUTS = ('data_root', 'img_size', 'load_size', 'domains')
# What MMEngine's runner reads besides the fields that it is built from.
EXTRAS = ('activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'runner_type')
# MMEngine's own names in default_hooks; it takes others, too.
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
GONE = ('GatherShardsHook',)  # hooks that configs of earlier versions name


def load_config(path: str | os.PathLike, options: dict[str, Any] | None = None) -> Config:
    """Load a config file and merge options into it, as all tools do.

    Args:
        path: A config file; a name such as ``ugatit_selfie2anime`` or
            ``light/ugatit_light_selfie2anime.py`` that is no file here is looked for among the
            configs of the package, with or without its folder.
        options: Dotted keys and values, as MMEngine's ``--cfg-options``. Besides,
            ``data_root=DIR`` sets the root of all data sets, ``img_size=N`` (and
            ``load_size=N``) the size in all pipelines and the model (:func:`apply_img_size`, also
            where the file says so), ``domains.A=NAME domains.B=NAME`` the names of the domains. A
            single place given beside them wins.

    Returns:
        Config: Resolved; dumping it gives a file that needs no options.

    Raises:
        FileNotFoundError: There is no such config; the message lists those of the package.
        ValueError: An option begins with a word that is nothing in the config.
    """
    cfg = Config.fromfile(find_config(path))
    options = dict(options or {})
    _check_options(options, cfg)
    shortcuts = {key: options.pop(key) for key in list(options) if key.split('.')[0] in SHORTCUTS}
    cfg.merge_from_dict(shortcuts)
    if 'data_root' in shortcuts:
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if cfg.get(loader):
                cfg[loader].dataset.data_root = cfg.data_root
    apply_img_size(cfg)
    if domains := cfg.pop('domains', None):
        cfg.merge_from_dict({'model.domains': domains})
    cfg.merge_from_dict(options)
    _count_hooks_once(cfg)
    _leave_out_gone_fields(cfg)
    return cfg


def _check_options(options: dict[str, Any], cfg: Config) -> None:
    """MMEngine would add an option that nobody reads."""
    known = {*cfg, *SHORTCUTS, *inspect.signature(Runner.__init__).parameters, *EXTRAS}
    for option in options:
        word = option.split('.')[0]
        if word not in known:
            near = difflib.get_close_matches(word, known, 1)
            hint = f': is it {near[0]}?' if near else f': there are {", ".join(sorted(known))}'
            raise ValueError(f'unknown option {option}{hint}')


def keep_mmengine_hooks(cfg: Config) -> None:
    """Take all hooks but MMEngine's own out of a config, in place."""
    named = cfg.get('default_hooks') or {}
    cfg.default_hooks = {name: named[name] for name in named if name in MMENGINE_HOOKS}
    cfg.custom_hooks = []


def _count_hooks_once(cfg: Config) -> None:
    """Leave out named hooks of a type that ``custom_hooks`` has, too.

    Configs of before the names, in work dirs and of users, list the project's hooks there.
    """
    listed = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] not in GONE]
    cfg.custom_hooks = listed
    types = {hook['type'] for hook in listed}
    named = cfg.get('default_hooks') or {}
    for name in set(named) - set(MMENGINE_HOOKS):
        if named[name] and named[name].get('type') in types:
            named.pop(name)


def _leave_out_gone_fields(cfg: Config) -> None:
    """Leave out what configs of before say and nobody asks any more: LeanAdam has only 8 bits."""
    for wrapper in (cfg.get('optim_wrapper') or {}).values():
        optimizer = wrapper.get('optimizer') if isinstance(wrapper, dict) else None
        kept = {'type': 'LeanAdam', 'state_dtype': 'uint8'}
        if optimizer and kept.items() <= dict(optimizer).items():
            optimizer.pop('state_dtype')


def configs_dir() -> Path:
    """Return the folder of the configs: in the source tree, or inside the installed package."""
    package = Path(__file__).resolve().parent
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'


def data_set(name: str) -> Config:
    """Return what is known of a data set of the paper: its base config.

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
    if os.path.isfile(path):
        return os.fspath(path)
    name = os.fspath(path).removesuffix('.py').removeprefix('configs/')
    known = config_names()
    for config, file in known.items():
        if name in (config, file.stem):
            return str(file)
    raise FileNotFoundError(f'no config {path}: give a file, or one of {", ".join(known)}')
