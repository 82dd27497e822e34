"""Weights of other networks that their authors publish: found, checked, never downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from .provenance import sha256


class WeightsError(RuntimeError):
    """Published weights are missing or wrong; the message says what to do."""


def cache_folder() -> Path:
    """Where torch and packages on it cache such files, ``~/.cache/torch/hub/checkpoints``."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def find_weights(
    network: str, path: str | os.PathLike | None, names: Sequence[str], about: str
) -> Path:
    """Return the file at ``path``, or the first of these names in :func:`cache_folder`.

    Args:
        network: Its name, for an error.
        path: ``None`` looks in the cache.
        names: Possible names of the file there.
        about: End of the error message, after the places.

    Raises:
        WeightsError: There is no such file.
    """
    places = [cache_folder() / name for name in names] if path is None else [Path(path)]
    for file in places:
        if file.is_file():
            return file
    said = ' or '.join(map(str, places))
    raise WeightsError(f'no {network} weights: {said} is not there. {about}')


def check_sha256(file: Path, wanted: str, about: str, digest: str | None = None) -> str:
    """Return the SHA-256 of a file, which must begin with the digits ``wanted``.

    Args:
        file: A file of weights.
        wanted: Hexadecimal digits, all 64 or the first ones.
        about: End of the error message, after the digits.
        digest: The SHA-256 where it is known already.

    Raises:
        WeightsError: It is another file, or damaged.
    """
    digest = digest or sha256(file)
    if not digest.startswith(wanted):
        raise WeightsError(f'{file}: SHA-256 is {digest} instead of {wanted}{about}')
    return digest
