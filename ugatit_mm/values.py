"""Values of a config: how a typed one is read, and whether it has a field's type."""

import ast
import os
import types
import warnings
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

NoneType = type(None)
PLAIN = (NoneType, bool, int, float, str, list, tuple, dict)
CONSTANTS = {'true': True, 'false': False, 'none': None}
WORDS = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    NoneType: 'None',
    os.PathLike: 'a path',
}


class Typed(str):
    """A value as it was typed; :func:`read` converts it where its field is known."""


def literal(text: str) -> Any:
    """Read a Python literal; anything else is text.

    ``5,4`` is a list, as ``[5,4]``; words need no quotes in it, ``[img_A,img_B]``. True, False and
    None may have any case.
    """
    text = text.strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Python's, of text that looks like code
            tree = ast.parse(text, mode='eval')
        value = ast.literal_eval(_Words().visit(tree))
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return str(text)
    body = tree.body
    if isinstance(body, ast.Tuple) and [e.col_offset for e in body.elts[:1]] == [body.col_offset]:
        value = list(value)  # there are no brackets around it
    return value if type(value) in PLAIN else str(text)


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Constant:
        word = ast.Constant(CONSTANTS.get(node.id.lower(), node.id))
        return ast.copy_location(word, node)


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type hint."""
    if get_origin(hint) in (Union, types.UnionType):
        return get_args(hint)  # Python has flattened nested ones
    return (NoneType if hint is None else hint,)


def outermost(hint: Any) -> Any:
    """A type hint without the types of its elements."""
    return Union[tuple(_origin(kind) for kind in members(hint))]  # noqa: UP007


def read(text: str, hint: Any, verbatim: bool = False) -> Any:
    """Convert what was typed for a field of a type.

    Args:
        text: What was typed.
        hint: Type of the field.
        verbatim: Keep quotes as part of text.
    """
    kinds = members(hint)
    value = literal(text)
    if not {str, os.PathLike} & {*kinds}:
        return value
    if text == 'None' and NoneType in kinds:
        return None
    if isinstance(value, str) and not verbatim:
        return value
    others = [kind for kind in kinds if kind not in (str, os.PathLike, NoneType)]
    return value if any(_fits(value, kind) for kind in others) else str(text)


def fitted(value: Any, hint: Any) -> Any:
    """Convert a value to a field's type: 1e5 to a whole number, a list to a tuple.

    Raises:
        TypeError: It is of another type.
    """
    kinds = members(hint)
    if any(_fits(value, kind) for kind in kinds):
        sequences = [kind for kind in map(_origin, kinds) if kind in (list, tuple)]
        if isinstance(value, (list, tuple)) and sequences and type(value) not in sequences:
            return sequences[0](value)
        return value
    if type(value) is float and value.is_integer() and int in kinds:
        return int(value)
    raise TypeError


def type_of(value: Any) -> Any:
    """The type of a field without an annotation, from its value: ``Any`` for ``None``."""
    for kind in (bool, int, float, str, list):
        if isinstance(value, kind):
            return kind
    return list if isinstance(value, tuple) else dict if isinstance(value, Mapping) else Any


def in_words(hint: Any) -> str:
    """Describe what a field of a type takes."""
    said = []
    for kind in members(hint):
        origin, args = _origin(kind), get_args(kind)
        if origin is Literal:
            said += map(repr, args)
        elif origin in WORDS:
            said.append(WORDS[origin])
        elif _is_sequence(origin):
            count = f' of {len(args)}' if origin is tuple and args and Ellipsis not in args else ''
            each = in_words(args[0]) if args else ''
            said.append(f'a list{count}' + f' (each {each})' * bool(each))
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            said.append('a dict')
    # A class is described by its config.
    return ' or '.join(dict.fromkeys(said)) or 'a dict'


def _origin(hint: Any) -> Any:
    return get_origin(hint) or hint


def _is_sequence(kind: Any) -> bool:
    if not isinstance(kind, type) or kind is object:
        return False
    return kind is tuple or issubclass(list, kind)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of one kind; an unknown kind accepts everything."""
    origin, args = _origin(kind), get_args(kind)
    if origin is Literal:
        return value in args
    if origin in (bool, NoneType):
        return type(value) is origin
    if origin in (int, float):
        numbers = (int,) if origin is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if origin is os.PathLike:
        return isinstance(value, (str, os.PathLike))
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in members(kind))
    if origin in (Any, object) or not isinstance(origin, type):
        return True
    if _is_sequence(origin):
        if not isinstance(value, (list, tuple)):
            return False
        if origin is tuple and args and Ellipsis not in args:
            return len(value) == len(args) and all(map(_fits, value, args))
        return all(_fits(each, args[0]) for each in value) if args else True
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and (
            len(args) < 2 or all(_fits(each, args[1]) for each in value.values())
        )
    if issubclass(origin, (str, bytes)):
        return isinstance(value, origin)
    return isinstance(value, (origin, Mapping))  # an object, or its config
