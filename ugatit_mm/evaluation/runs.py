"""The trainings of a table: where their translations and source pictures are."""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..converters.networks import kind_of
from ..domains import direction, domain_names, other
from ..messages import listed
from .paper import TABLE_3

STATED = 'run_paper.json'
"""File in the folder of each training that says what it is."""
TRANSLATIONS = 'translations'
"""Folder in that of each training, with a folder for each direction."""


class Methods(NamedTuple):
    """Translations of the same pictures by several models.

    Attributes:
        direction: Such as ``selfie2anime``.
        sources: Folder of the source pictures.
        results: Folder of the translations by the model's row in the paper's tables, in that order.
    """

    direction: str
    sources: str
    results: dict[str, str]


def add_run(parser: argparse.ArgumentParser, dataset: str | None = None) -> None:
    """Add ``--run`` and ``--dataset``, in place of sources and methods.

    Args:
        parser: Parser of a tool.
        dataset: What ``--dataset`` means without ``--run``, for its help.
    """
    parser.add_argument(
        '--run',
        type=os.path.expanduser,
        metavar='DIR',
        help='folder of ugatit paper: its sources, and a method for each model',
    )
    also = f'; without --run, {dataset}' if dataset else ''
    parser.add_argument(
        '--dataset',
        metavar='DIRECTION',
        help=f'of --run, such as horse2zebra or zebra2horse (that of its only data set){also}',
    )


def described(cfg: Config) -> dict[str, Any]:
    """Describe a training for :func:`methods_of`.

    Returns:
        dict: ``row``, and ``sources``: the folder of the source pictures by direction.
    """
    kind, names = kind_of(cfg.model), domain_names(cfg.model.get('domains'))
    root = Path(cfg.test_dataloader.dataset.data_root).absolute()
    return {
        'row': kind.ROW,
        'sources': {
            direction(names, target): str(root / f'test{other(target)}')
            for target in reversed(kind.check_targets(cfg.model.get('targets')))  # into B first
        },
    }


def methods_of(run: str | os.PathLike, wanted: str | None = None) -> Methods:
    """Find the translations of a direction below a folder of ``tools/run_paper.py``.

    Args:
        run: The folder: a training in each folder of it.
        wanted: The direction; the first one where the trainings are of one data set.

    Raises:
        FileNotFoundError: There are no trainings, or one has no translations of the direction.
        ValueError: There is no such direction, or none is chosen of several, or a file is damaged.
    """
    run = Path(run)
    trainings = {file.parent: _read(file) for file in sorted(run.glob(f'*/{STATED}'))}
    if not trainings:
        raise FileNotFoundError(f"'{run}' holds no trainings of ugatit paper")
    known = list(dict.fromkeys(name for said in trainings.values() for name in said['sources']))
    if wanted is None:
        folders = (path for said in trainings.values() for path in said['sources'].values())
        if len({Path(path).parent for path in folders}) > 1:
            raise ValueError(f"say which --dataset of '{run}': {listed(known)}")
        wanted = known[0]
    if wanted not in known:
        raise ValueError(f"no --dataset {wanted} in '{run}': there are {listed(known)}")
    order = list(TABLE_3)
    found = {path: said for path, said in trainings.items() if wanted in said['sources']}
    found = dict(sorted(found.items(), key=lambda item: _place(order, item[1]['row'])))
    sources = {said['sources'][wanted] for said in found.values()}
    if len(sources) > 1:
        raise ValueError(
            f"the trainings in '{run}' translate {wanted} from several folders, {listed(sources)}"
        )
    rows = [said['row'] for said in found.values()]
    results = {}
    for path, said in found.items():
        # Two trainings of one model are named by their folders.
        name = said['row'] if rows.count(said['row']) == 1 else path.name
        results[name] = str(path / TRANSLATIONS / wanted)
        if not os.path.isdir(results[name]):
            raise FileNotFoundError(
                f"no translations in '{results[name]}': run the same ugatit paper again"
            )
    return Methods(wanted, sources.pop(), results)


def _place(order: list[str], row: str) -> int:
    """Place of a row in the paper's table; others come last."""
    return order.index(row) if row in order else len(order)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(file.read_text())
        return {'row': said['row'], 'sources': dict(said['sources'])}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{file} has no sources ({type(error).__name__}): run the same ugatit paper again'
        ) from error
