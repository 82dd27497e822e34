"""Weights from any file: ours, or an official program's, unconverted."""

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from ..domains import DOMAINS
from ..messages import printable
from ..models.base import TRANSLATION_MODELS
from ..provenance import update
from . import aggan, cartoongan, cyclegan, drit, munit, pytorch, tensorflow
from .files import CheckpointError, naming, read_checkpoint
from .networks import describe, kind_of, weights_of
from .official import Left, said

PROGRAMS = (
    pytorch.PROGRAM,
    cyclegan.PROGRAM,
    cartoongan.PROGRAM,
    drit.PROGRAM,
    *munit.PROGRAMS.values(),
)


def read_weights(path: str | os.PathLike, digest: 'hashlib._Hash | None' = None) -> dict[str, Any]:
    """Read a checkpoint, or a file of an official program, which is converted and logged.

    Args:
        path: Our file; a file of a program in ``PROGRAMS``, with the networks' names inside or in
            the file name; or an ``.npz`` of the variables of the official TensorFlow program of
            U-GAT-IT or AGGAN.
        digest: See :func:`read_checkpoint`.

    Returns:
        dict: As :func:`read_checkpoint`; for an official file ``state_dict`` with our names.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: It cannot be read safely, only a converter can read it, or the official
            program does not write such files.
    """
    if os.fspath(path).endswith('.npz'):
        variables = tensorflow.read_variables(path)
        if digest is not None:
            update(digest, path)
        of_arrays = aggan if aggan.signed(variables) else tensorflow
        with naming(path):
            state, left = of_arrays.from_variables(variables)
        return _converted(path, of_arrays.NAME, state, left)
    if (tool := _converter(Path(path))) is not None:
        name = printable(shlex.quote(os.fspath(path)), 1000)
        or_else = f' (of AGGAN {aggan.TOOL})' if tool == tensorflow.TOOL else ''
        raise CheckpointError(
            f'{path} is of an official program; convert it first: '
            f'ugatit convert {tool} {name} ours.pth{or_else}'
        )
    content = read_checkpoint(path, digest)
    if _is_ours(content):
        return content
    with naming(path):
        for program in PROGRAMS:
            if program.signed(content):
                networks, left = program.open(content, path)
                state = program.convert(networks, left)
                return _converted(path, program.name, state, left)
    return content


def belonging(path: str | os.PathLike) -> tuple[str, str] | None:
    """Identify whose weights a file holds.

    Returns:
        Name in words, and converter of the official program (``''`` for ours); ``None`` if unknown.
    """
    try:
        if os.path.isdir(path):
            tool = _converter(Path(path))
            return next(((p.name, p.tool) for p in PROGRAMS if p.tool == tool), None)
        if os.fspath(path).endswith('.npz'):
            of_arrays = aggan if aggan.signed(tensorflow.read_variables(path)) else tensorflow
            return of_arrays.NAME, of_arrays.TOOL
        content = read_checkpoint(path)
        if _is_ours(content):
            return kind_of(describe(weights_of(content))).ROW, ''
        signed = (program for program in PROGRAMS if program.signed(content))
        return next(((program.name, program.tool) for program in signed), None)
    except (OSError, ValueError):
        return None


def _is_ours(content: Mapping[str, Any]) -> bool:
    state = content.get('state_dict', content)
    parts = tuple(f'{part}.' for kind in TRANSLATION_MODELS.values() for part in kind.PARTS)
    return not isinstance(state, Mapping) or any(
        isinstance(key, str) and key.startswith(parts) for key in state
    )


def _converter(path: Path) -> str | None:
    """Return the converter of a path that is not a single file of weights."""
    if path.is_dir():
        if any(path.glob('*_net_G*')):
            return cyclegan.PROGRAM.tool
        if any(path.glob('gen_*.pt')):
            with naming(path):
                return munit.tool_of(path)
        return tensorflow.TOOL if any(path.glob('*.index')) else None
    return tensorflow.TOOL if tensorflow.prefix_of(path) is not None else None


def _converted(
    path: str | os.PathLike, program: str, state: dict[str, Tensor], left: Left
) -> dict[str, Any]:
    into = [x for x in DOMAINS if any(key.startswith(f'generators.{x}.') for key in state)]
    text = f'{path} is read as weights of {program}, generators into {" and ".join(into)}'
    print_log(f'{text}; {said(left)}' if left else text, 'current')
    return {'state_dict': state, 'meta': {}}
