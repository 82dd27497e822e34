"""``ugatit web``: a page in the browser that translates pictures."""

from typing import Any

from .command import main

__all__ = ['build_app', 'main']


def __getattr__(name: str) -> Any:
    if name == 'build_app':  # needs the extra packages, which main asks for by name
        from .app import build_app

        return build_app
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
