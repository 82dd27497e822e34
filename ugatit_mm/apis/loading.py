"""A model from a file of weights, with or without a config."""

import argparse
import copy
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import Tensor

from ..config import load_config
from ..converters import (
    CheckpointError,
    build_model,
    describe,
    load_weights,
    naming,
    read_weights,
    weights_of,
)
from ..engine.runner import newest_whole
from ..fields import building
from ..messages import first_line
from ..models.base import TRANSLATION_MODELS, UnpairedTranslation
from ..provenance import update

DEFAULT_WEIGHTS = Path(__file__).parents[1] / 'weights' / 'photo2drawing.safetensors'


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the weights and the domain to translate into."""
    parser.add_argument(
        '--ckpt',
        type=os.path.expanduser,
        help='weights: .pth of a training, its folder for the last whole one, or a converted file',
    )
    parser.add_argument(
        '--config',
        type=os.path.expanduser,
        help='config of the training, for weights that do not describe their networks',
    )
    parser.add_argument('--to', metavar='DOMAIN', help='target domain: its name, or A or B')


def open_weights(
    checkpoint: str | os.PathLike | None, digest: 'hashlib._Hash | None' = None
) -> tuple[str, dict[str, Any]]:
    """Read a file of weights, or the last whole checkpoint of a training's folder.

    Newer ones that are not whole are passed over, with a warning.

    Args:
        checkpoint: The file, or the work dir of a training; ``None`` for the pair that comes with
            the package.
        digest: See :func:`read_weights`.

    Returns:
        The path of the file, and its content as :func:`read_weights` gives it.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be read, or the folder has no whole checkpoint.
    """
    checkpoint = os.path.expanduser(DEFAULT_WEIGHTS if checkpoint is None else checkpoint)
    if not os.path.isdir(checkpoint):
        return checkpoint, read_weights(checkpoint, digest)
    path, content, broken = newest_whole(checkpoint)
    if path is None or content is None:
        if broken:
            raise CheckpointError(
                f'none of the checkpoints in {checkpoint} is whole: {broken[0]} (name another file '
                'of weights)'
            )
        return checkpoint, read_weights(checkpoint)  # raises, or names an official file's converter
    for error in broken:
        print_log(f'passed over: {error}', 'current', logging.WARNING)
    if digest is not None:
        update(digest, path)
    return path, content


def load_model(
    checkpoint: str | os.PathLike | None = None,
    config: str | os.PathLike | Config | None = None,
    device: str | torch.device | None = None,
) -> tuple[UnpairedTranslation, dict[str, Any]]:
    """Build a model for trained weights and load them, all or none.

    A file of weights describes its networks: training and the converters write that, else it is
    inferred from the weights. A config, whose code runs, is needed only for networks that cannot be
    described so.

    Args:
        checkpoint: ``.pth`` or ``.safetensors``, also an official file as it is (see
            :func:`read_weights`), or the work dir of a training (see :func:`open_weights`); the
            pair that comes with the package if not given.
        config: Config of the training: a file, a name of the package's, or a :class:`Config`.
        device: The first GPU, or the CPU, if not given.

    Returns:
        The model in evaluation mode, with discriminators if the file has them, and the file's
        ``meta``.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be read, or its weights do not fit.
        ConfigError: The config is wrong.
        ValueError: There is no such device.
    """
    path, content = open_weights(checkpoint)
    return model_of(path, content, config, device)


def model_of(
    checkpoint: str,
    content: dict[str, Any],
    config: str | os.PathLike | Config | None = None,
    device: str | torch.device | None = None,
) -> tuple[UnpairedTranslation, dict[str, Any]]:
    """Build a model from the result of :func:`open_weights`; see :func:`load_model`."""
    if config is not None and not isinstance(config, Config):
        config = load_config(config)
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    with naming(checkpoint):
        state = weights_of(content)
        if config is None:
            networks = meta.get('networks')
            if networks is None and 'cfg' in meta:
                raise ValueError('it does not describe its networks: give its config, too')
            model = build_model(networks or describe(state), state)
    if config is not None:
        model = _from_config(copy.deepcopy(config), state)
        with naming(checkpoint):
            load_weights(model, state)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        return model.to(device).eval(), meta
    except (AssertionError, RuntimeError) as error:  # unknown, not available, or out of memory
        raise ValueError(f'device {str(device)!r} cannot be used: {first_line(error)}') from error


def _from_config(cfg: Config, state: Mapping[str, Tensor]) -> UnpairedTranslation:
    """Build the model of a config for the parts that weights have."""
    init_default_scope('mmagic')
    kind = TRANSLATION_MODELS.get(cfg.model.type)
    if kind is None:
        raise ValueError(
            f'the config is of a {cfg.model.type}, not one of {sorted(TRANSLATION_MODELS)}'
        )
    for part, field in kind.PARTS.items():
        if part not in kind.TRANSLATES and not any(key.startswith(f'{part}.') for key in state):
            cfg.model[field] = None
    with building(cfg):
        return MODELS.build(cfg.model)
