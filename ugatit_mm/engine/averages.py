"""Averaged weights in a checkpoint, in the entries of MMEngine's ``EMAHook``.

``state_dict`` holds the averages, so that whatever reads weights from a file reads them;
``ema_state_dict`` holds the training weights, under ``module.NAME``, and the number of averaged
``steps``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..messages import listed, printable

FIELD, BEGIN, STEPS = 'ema_state_dict', 'module.', 'steps'


class Average(NamedTuple):
    """Averaged weights.

    Attributes:
        weights: The averages by their names in a checkpoint.
        steps: Number of updates of the averages.
    """

    weights: dict[str, Tensor]
    steps: int


def put_average(
    checkpoint: dict[str, Any], average: Average, training: Mapping[str, Tensor]
) -> None:
    """Write averages into a checkpoint, in place.

    Args:
        checkpoint: With a ``state_dict``.
        average: Replaces the weights of the same names.
        training: The training weights, by the same names.
    """
    checkpoint['state_dict'].update(average.weights)
    checkpoint[FIELD] = {f'{BEGIN}{name}': value for name, value in training.items()}
    checkpoint[FIELD][STEPS] = torch.tensor(average.steps)


def take_average(checkpoint: dict[str, Any]) -> Average | None:
    """Move averages out of a checkpoint; its ``state_dict`` then holds the training weights.

    Args:
        checkpoint: Changed in place; written by :func:`put_average` or MMEngine's ``EMAHook``.

    Returns:
        The averages; ``None`` where there are none.

    Raises:
        ValueError: The entry does not hold averages.
    """
    if (ema := checkpoint.pop(FIELD, None)) is None:
        return None
    state = checkpoint.get('state_dict')
    if not isinstance(ema, Mapping) or not isinstance(state, Mapping):
        raise ValueError(f'{FIELD} must hold weights by name, got {type(ema).__name__}')
    keys = [key for key in ema if isinstance(key, str) and key.startswith(BEGIN)]
    names = {key.removeprefix(BEGIN): key for key in keys}
    if unknown := names.keys() - state.keys():
        raise ValueError(f'{FIELD} has weights that state_dict lacks: {listed(unknown, 3)}')
    steps = ema.get(STEPS)
    if isinstance(steps, Tensor) and steps.numel() == 1 and steps.dtype == torch.int64:
        steps = steps.item()
    if type(steps) is not int or steps < 0:
        raise ValueError(f'{FIELD}.{STEPS} must be a number of steps, got {printable(repr(steps))}')
    checkpoint['state_dict'] = {**state, **{name: ema[key] for name, key in names.items()}}
    return Average({name: state[name] for name in names}, steps)
