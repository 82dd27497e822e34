"""Weights of any file: ours, or an official program's as it is."""

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
    """Read a checkpoint, or a file of an official program, which is converted, and said.

    Args:
        path: A file of ours; of a program of ``PROGRAMS``, with the names of the networks in it or
            in the file's own; or an ``.npz`` of the variables of the official TensorFlow program of
            U-GAT-IT, or of AGGAN's.
        digest: See :func:`read_checkpoint`.

    Returns:
        dict: As :func:`read_checkpoint`; of an official file ``state_dict`` under our names.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read safely, or only a converter can read it, or it is not
            what the official program writes.
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
            f'{path} is of an official program, and is converted first: '
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
    """Say whose weights a file has.

    Returns:
        In words, and the converter of an official program, ``''`` of ours; ``None`` if it is not
        known.
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
    """The converter of what is no single file of weights."""
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
