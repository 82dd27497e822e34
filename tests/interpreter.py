"""Triton's interpreter in two thirds of its time."""

from types import FunctionType
from typing import Any


def patch_once_a_launch() -> None:
    """Let it replace the functions of its language once for each launch.

    It does so again for each call that a kernel makes, where they are replaced already.
    """
    try:
        from triton import language
        from triton.runtime import interpreter
    except ImportError:
        return
    patch = getattr(interpreter, '_patch_lang', None)
    if not hasattr(interpreter, '_LangPatchScope') or hasattr(patch, 'once'):
        return  # another version of Triton, or done

    patched = set()  # since the launch began: the language's modules that a function sees

    def patch_lang(function: FunctionType) -> Any:
        seen = {id(each) for each in function.__globals__.values()}
        seen &= {id(language), id(language.core)}
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
