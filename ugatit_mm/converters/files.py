"""Reading and writing weights; files may come from untrusted sources."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files import whole
from ..messages import first_line
from ..provenance import update
from .inspection import check_header, check_tensors, check_written, load

# Entries of a safetensors file's header: the JSON of ``meta``, a checksum of the tensors.
META, DIGEST = 'ugatit', 'ugatit_sha256'


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the reason."""


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Context manager that adds the file's name to errors about its weights.

    Raises:
        CheckpointError: Instead of a ValueError in the block.
    """
    try:
        yield
    except ValueError as error:
        raise CheckpointError(f'{os.fspath(path)}: {error}') from error


def read_checkpoint(
    path: str | os.PathLike, digest: 'hashlib._Hash | None' = None
) -> dict[str, Any]:
    """Read a checkpoint once, without running code from it.

    Its checksums are verified (torch's own reader ignores them), it may name only tensors and plain
    data, and its tensors may not be larger than the file. Log histories and NumPy numbers, which
    MMEngine's own runner also saves, are replaced by an
    :class:`~ugatit_mm.converters.inspection.Omitted`.

    Args:
        path: A file of ``torch.save`` or of safetensors.
        digest: Hash of :mod:`hashlib`; updated with all bytes of the file.

    Returns:
        dict: Its content, on the CPU; for safetensors ``state_dict`` and ``meta``.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: It is not a checkpoint, is damaged, or holds more than tensors and plain
            data.
    """
    path = os.path.expanduser(path)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f'no checkpoint file {path}') from error
    except (OSError, ValueError) as error:  # permissions, a loop of links, a NUL in the name
        raise CheckpointError(f'{path} cannot be opened: {error}') from error
    if stat.S_ISDIR(status.st_mode):
        raise CheckpointError(
            f'{path} is a folder without a checkpoint (iter_N.pth): name a file of weights, or the '
            'work dir of a training'
        )
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f'{path} is not a file')
    if os.fspath(path).endswith('.safetensors'):
        checkpoint = _read_safetensors(path)
        if digest is not None:
            update(digest, path)
        return checkpoint
    try:
        checkpoint = load(path, digest)
        if not isinstance(checkpoint, dict):
            raise ValueError(f'a dict of weights is expected, not {type(checkpoint).__name__}')
        check_tensors(checkpoint, status.st_size)
    except (OSError, MemoryError) as error:
        raise CheckpointError(f'{path} cannot be read: {error}') from error
    except Exception as error:
        # In a damaged or hostile pickle any operation may raise any error.
        raise CheckpointError(
            f'{path} is not a checkpoint that can be read safely: {first_line(error)}'
        ) from error
    return checkpoint


def _read_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    try:
        check_header(path)
        with safe_open(path, 'pt') as file:
            header = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        meta = json.loads(header.get(META, '{}'))
        if not isinstance(meta, dict):
            raise ValueError(f'its description must be a dict, got {type(meta).__name__}')
        if DIGEST in header and header[DIGEST] != digest(state):
            raise ValueError('the checksum of its tensors is wrong: the file is damaged')
    except Exception as error:
        raise CheckpointError(
            f'{path} is not a safetensors file that can be read: {first_line(error)}'
        ) from error
    return {'state_dict': state, 'meta': meta}


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names, which the format lacks."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        total.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        total.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_checkpoint(
    path: str | os.PathLike, state: Mapping[str, Tensor], meta: dict[str, Any]
) -> None:
    """Write weights, atomically.

    Args:
        path: ``.safetensors`` selects that format, any other suffix that of ``torch.save``.
        state: Weights by name.
        meta: Further plain data, which :func:`read_checkpoint` returns.

    Raises:
        OSError: The file cannot be written.
    """
    with whole(path) as building:
        if building.suffix == '.safetensors':
            tensors = {key: value.contiguous() for key, value in state.items()}
            try:
                header = {META: json.dumps(meta), DIGEST: digest(tensors)}
                save_file(tensors, building, header)
                building.chmod(0o644)  # safetensors writes with 0o600
            except SafetensorError as error:  # also on a full disk
                raise OSError(f'{path} cannot be written: {error}') from error
        else:
            _save({'state_dict': dict(state), 'meta': meta}, building)


def save(path: str | os.PathLike, content: Any) -> None:
    """``torch.save``, atomically.

    Raises:
        OSError: The file cannot be written.
        TypeError: Something in it is neither a tensor nor plain data.
    """
    with whole(path) as building:
        _save(content, building)


def _save(content: Any, path: Path) -> None:
    with open(path, 'wb') as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch says "unexpected pos" on a full disk
                raise error.__context__ from error
            raise
    check_written(path)  # finds now what cannot be read again
