"""Reading and writing weights; what is read may come from anywhere."""

import json
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

META = 'ugatit'  # entry of a safetensors file's header that holds the JSON of ``meta``


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Args:
        path: A file that ``torch.save`` wrote, or one of safetensors.

    Returns:
        dict: Its content, on the CPU; of safetensors ``state_dict`` and ``meta``.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, is damaged, or holds more than tensors and plain
            data.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no checkpoint file {path}')
    if os.fspath(path).endswith('.safetensors'):
        return _read_safetensors(path)
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


def _read_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    try:
        with safe_open(path, 'pt') as file:
            meta = json.loads((file.metadata() or {}).get(META, '{}'))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f'{path} is not a safetensors file: {error}') from error
    if not isinstance(meta, dict):
        raise CheckpointError(f'{path}: its description must be a dict, got {meta!r}')
    return {'state_dict': state, 'meta': meta}


def write_checkpoint(
    path: str | os.PathLike, state: Mapping[str, Tensor], meta: dict[str, Any]
) -> None:
    """Write weights, whole or not at all.

    Args:
        path: ``.safetensors`` gives that format, anything else that of ``torch.save``.
        state: Weights by name.
        meta: Plain data beside them, which :func:`read_checkpoint` gives back.

    Raises:
        OSError: The file cannot be written.
    """
    with whole(path) as building:
        if building.suffix == '.safetensors':
            tensors = {key: value.contiguous() for key, value in state.items()}
            save_file(tensors, building, {META: json.dumps(meta)})
        else:
            torch.save({'state_dict': dict(state), 'meta': meta}, building)


def save(path: str | os.PathLike, content: Any) -> None:
    """``torch.save``, whole or not at all."""
    with whole(path) as building:
        torch.save(content, building)


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """A place to write to, which takes the name ``path`` when the block ends well."""
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        building = Path(folder) / path.name
        yield building
        building.chmod(0o644)  # safetensors makes it 0o600
        os.replace(building, path)
