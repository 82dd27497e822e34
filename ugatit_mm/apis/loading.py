"""A model from a file of weights, with or without a config."""

import argparse
import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from ..config import load_config
from ..converters import (
    build_model,
    describe,
    load_weights,
    naming,
    read_weights,
    weights_of,
)
from ..fields import building
from ..messages import first_line
from ..models.base import TRANSLATION_MODELS, UnpairedTranslation

DEFAULT_WEIGHTS = Path(__file__).parents[1] / 'weights' / 'photo2drawing.safetensors'


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which weights translate, and into which domain."""
    parser.add_argument(
        '--ckpt',
        type=os.path.expanduser,
        help='weights: .pth of a training, or what a converter wrote',
    )
    parser.add_argument(
        '--config',
        type=os.path.expanduser,
        help='of the training; for weights that do not say what networks they need',
    )
    parser.add_argument('--to', metavar='DOMAIN', help='translate to it: its name, or A or B')


def load_model(
    checkpoint: str | os.PathLike | None = None,
    config: str | os.PathLike | Config | None = None,
    device: str | torch.device | None = None,
) -> tuple[UnpairedTranslation, dict[str, Any]]:
    """Build a model for trained weights and load them, all or none.

    A file of weights says what networks it needs: training and the converters write that, else it
    is read off the weights. A config, which is code that runs, is needed for networks that no file
    describes.

    Args:
        checkpoint: ``.pth`` or ``.safetensors``, an official file as it is included (see
            :func:`read_weights`); the pair that comes with the package if not given.
        config: Of the training; a file, a name of the package's, or a :class:`Config`.
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
    checkpoint = DEFAULT_WEIGHTS if checkpoint is None else checkpoint
    if config is not None and not isinstance(config, Config):
        config = load_config(config)
    content = read_weights(checkpoint)
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    with naming(checkpoint):
        state = weights_of(content)
        if config is None:
            networks = meta.get('networks')
            if networks is None and 'cfg' in meta:
                raise ValueError('it does not say what networks it needs: give its config, too')
            model = build_model(networks or describe(state), state)
    if config is not None:
        model = _from_config(copy.deepcopy(config), state)
        with naming(checkpoint):
            load_weights(model, state)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        return model.to(device).eval(), meta
    except (AssertionError, RuntimeError) as error:  # no such kind, none here, or full
        raise ValueError(f'device {str(device)!r} cannot be used: {first_line(error)}') from error


def _from_config(cfg: Config, state: Mapping[str, Tensor]) -> UnpairedTranslation:
    """Build the model of a config for the parts that weights have."""
    init_default_scope('mmagic')
    kind = TRANSLATION_MODELS.get(cfg.model.type)
    if kind is None:
        raise ValueError(
            f'the config is of a {cfg.model.type}, none of {sorted(TRANSLATION_MODELS)}'
        )
    for part, field in kind.PARTS.items():
        if part not in kind.TRANSLATES and not any(key.startswith(f'{part}.') for key in state):
            cfg.model[field] = None
    with building(cfg):
        return MODELS.build(cfg.model)
