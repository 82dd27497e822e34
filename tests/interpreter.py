"""Triton's interpreter, made quicker, and whether it works."""

import dataclasses
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch

from ugatit_mm.kernels.support import tl


def make_quicker() -> None:
    """Let it replace the functions of its language once per launch, and remember NumPy's dtypes.

    By default it replaces them again for each call that a kernel makes, builds a table of all
    dtypes for each value, and looks for an overflow in each sum of integers.
    """
    try:
        from triton import language
        from triton.runtime import interpreter
    except ImportError:
        return
    patch = getattr(interpreter, '_patch_lang', None)
    look_up = getattr(interpreter, '_get_np_dtype', None)
    if not hasattr(interpreter, '_LangPatchScope') or look_up is None or hasattr(patch, 'once'):
        return  # another version of Triton, or done

    dtypes: dict[str, np.dtype] = {}

    def np_dtype(kind: tl.dtype) -> np.dtype:
        if kind.name not in dtypes:  # pointers cannot be hashed
            dtypes[kind.name] = look_up(kind)
        return dtypes[kind.name]

    interpreter._get_np_dtype = np_dtype
    builder = getattr(interpreter, 'interpreter_builder', None)
    if hasattr(getattr(builder, 'options', None), 'sanitize_overflow'):
        # The compiler checks no sums either.
        builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
    patched = set()  # since the launch began: the language's modules that a function sees

    @cache
    def modules_of(function: FunctionType) -> set[int]:
        found = {id(each) for each in function.__globals__.values()}
        return found & {id(language), id(language.core)}

    def patch_lang(function: FunctionType) -> Any:
        seen = modules_of(function)
        if patched and seen <= patched:
            return interpreter._LangPatchScope()
        scope = patch(function)
        if not patched:  # the launch itself, which restores them at its end
            restore = scope.restore
            scope.restore = lambda: (patched.clear(), restore())
        patched.update(seen)
        return scope

    patch_lang.once = True
    interpreter._patch_lang = patch_lang


@cache
def broken() -> str | None:
    """Why Triton's interpreter does not work here, such as Triton 3.6 with NumPy 2.5."""
    triton = pytest.importorskip('triton', reason='triton comes with torch for CUDA on Linux only')
    out = torch.empty(4)
    try:
        triton.jit(_multiply)[(2,)](torch.arange(4.0), out, 2.0, 4, BLOCK=2)
    except Exception as error:
        versions = f'Triton {triton.__version__}, NumPy {np.__version__}'
        return f'the interpreter of {versions} does not work: {type(error).__name__}'
    assert out.tolist() == [0, 2, 4, 6]
    return None


def _multiply(x, out, factor, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + place, mask=place < count, other=0.0)
    sums = tl.zeros((BLOCK,), tl.float32)
    for _ in range(tl.cdiv(count, BLOCK * 2)):
        sums += factor * value
    tl.store(out + place, sums, mask=place < count)
