"""The package decides nothing by a model's name: a model declares its own properties."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import ugatit_mm
from ugatit_mm.models.base import TRANSLATION_MODELS

PACKAGE = Path(ugatit_mm.__file__).parent
HOMES = {Path(inspect.getfile(model)).parent for model in TRANSLATION_MODELS.values()}
NAMES = {
    name
    for model in TRANSLATION_MODELS.values()
    for name in (
        *(model.__name__, model.NAME, model.ROW),
        *(network.__name__ for network in model.NETWORKS.values()),
    )
}
# They translate between the official programs' names and one model's.
CONVERTERS = {'pytorch.py', 'tensorflow.py', *(f'{m.NAME}.py' for m in TRANSLATION_MODELS.values())}


def is_general(path: Path) -> bool:
    if path.parent == PACKAGE / 'converters' and path.name in CONVERTERS:
        return False
    return not HOMES & set(path.parents)


def decisions(tree: ast.AST) -> Iterator[ast.AST]:
    """Operands of comparisons, classes of isinstance calls, and the cases of a match."""
    for node in ast.walk(tree):
        asks = isinstance(node, ast.Call) and ast.unparse(node.func) in ('isinstance', 'issubclass')
        if asks or isinstance(node, (ast.Compare, ast.MatchValue, ast.MatchClass)):
            yield node


def named(node: ast.AST) -> set[str]:
    """Names, attributes and strings in it."""
    found = set()
    for part in ast.walk(node):
        for field in ('id', 'attr', 'value'):
            if isinstance(word := getattr(part, field, None), str):
                found.add(word)
    return found


def imported(tree: ast.AST, path: Path) -> Iterator[Path]:
    """Modules of the package that it imports, as paths without suffix."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or '').split('.'))
            yield base
            yield from (base / alias.name for alias in node.names)


def broken(source: str, path: Path) -> list[str]:
    tree = ast.parse(source)
    wrong = [
        f'{path}:{node.lineno}: {ast.unparse(node)}'
        for node in decisions(tree)
        if named(node) & NAMES
    ]
    wrong += [
        f'{path} imports {module}'
        for module in imported(tree, path)
        if any(home == module or home in module.parents for home in HOMES)
    ]
    return wrong


def test_nothing_is_decided_by_a_models_name():
    files = [path for path in sorted(PACKAGE.rglob('*.py')) if is_general(path)]
    assert len(files) > 60 and PACKAGE / 'models' / 'base' / 'unpaired.py' in files
    files.remove(PACKAGE / 'models' / '__init__.py')  # which registers them
    assert [line for path in files for line in broken(path.read_text(), path)] == []


@pytest.mark.parametrize(
    'source',
    [
        "if name == 'ugatit': pass",
        "x = 1 if cfg.model.type in ('UGATIT', 'Other') else 2",
        "y = [m for m in models if m.ROW != 'U-GAT-IT']",
        'assert isinstance(model, (Other, models.UGATIT))',
        'z = issubclass(kind, UGATITGenerator)',
        'w = kind is UGATIT',
        "match name:\n    case 'ugatit': pass",
        'from ..models.ugatit.rho import plot_rho',
        'from ..models import ugatit',
    ],
)
def test_each_way_to_do_so_is_found(source):
    assert len(broken(source, PACKAGE / 'apis' / 'x.py')) >= 1


def test_other_words_are_not():
    source = "x = name == 'ugatit_custom'\ny = isinstance(a, dict)\nfrom ..models.base import Step"
    assert broken(source, PACKAGE / 'apis' / 'x.py') == []
