"""Reading checkpoints that may come from anywhere."""

import os
import pickle
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Args:
        path: A file that ``torch.save`` wrote.

    Returns:
        dict: Its content, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, is damaged, or holds more than tensors and plain
            data.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no checkpoint file {path}')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f'{path} is not a checkpoint that can be read safely: {reason}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{path}: a dict of weights is expected, not {type(checkpoint)}')
    return checkpoint
