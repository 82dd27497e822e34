"""The paper's Tables 1 and 3 with our figures beside its own."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .figures import PROTOCOLS, Figure, plus_minus
from .paper import DIRECTIONS, TABLE_1, TABLE_3
from .results import read_results

KIDS = ('kid', 'kid_blocks', 'kid_with_source')
NOT_TRAINED = 'not trained'
PAPER_LOSSES = {'gan': 1, 'cycle': 10, 'identity': 10, 'cam': 1000}
PAPER_RATE = 1e-4
_ABLATIONS = {
    ('adalin', True, True): 'adalin',
    ('in', True, True): 'in',
    ('ln', True, True): 'ln',
    ('adain', True, True): 'adain',
    ('gn', True, True): 'gn',
    ('adalin', False, False): 'no_cam',
    ('adalin', False, True): 'no_g_cam',
    ('adalin', True, False): 'no_d_cam',
}


class Cell(NamedTuple):
    """One figure of ours and where it belongs."""

    ablation: str  # a key of TABLE_1, or '' for a model that is no row of it
    variant: str
    figure: Figure


class Results:
    """Figures of many tests, and where they come from.

    Args:
        paths: Files of results, or folders that are searched for ``results_*.json``.

    Raises:
        FileNotFoundError: A path does not exist, or a folder holds no results.
        ResultsError: A file holds something else.
    """

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        tests = [read_results(file) for path in paths for file in _files(Path(path))]
        # Of two tests of the same thing the later one counts.
        self.tests = sorted(tests, key=lambda test: test['evaluated']['date'])
        self.cells = [
            Cell(_ablation(test), _variant(test, figure), figure)
            for test in self.tests
            for figure in test['figures']
            if figure.protocol in KIDS
        ]

    def variants(self, ablation: str | None = None) -> list[str]:
        """Kinds of runs that there are figures of, such as ``full, 256 px, ...``."""
        return list(dict.fromkeys(c.variant for c in self.cells if ablation in (None, c.ablation)))

    def find(self, ablation: str, variant: str, direction: str, protocol: str) -> Figure | None:
        """The figure of a cell; ``None`` where nothing was trained."""
        found = [
            c.figure
            for c in self.cells
            if (c.ablation, c.variant) == (ablation, variant)
            and (c.figure.direction, c.figure.protocol) == (direction, protocol)
        ]
        return found[-1] if found else None

    def origins(self) -> list[str]:
        """Paragraphs that say of each test what was trained and where; none without tests."""
        lines = []
        for test in self.tests:
            trained, evaluated = test['trained'] or {}, test['evaluated']
            line = (
                f'- {test["config"]} on {test["data"]}, {_known(test["iterations"])} iterations, '
                f'seed {_known(test["seed"])}: trained at {_where(trained)}; measured at '
                f'{_where(evaluated)}, {evaluated["date"]}; checkpoint '
                f'{test["checkpoint"]["name"]}, SHA-256 {test["checkpoint"]["sha256"][:12]}'
            )
            for figure in [f for f in test['figures'] if f.protocol == 'kid_with_source']:
                counts = ', '.join(f'{count} {what}' for what, count in figure.images.items())
                line += f'; {figure.direction}: {counts} images'
            for used in dict.fromkeys((f.features, f.weights, f.resize) for f in test['figures']):
                line += '; features {}, weights {}, resize {}'.format(*used)
            lines.append(line)
        return ['Where the figures come from:', '\n'.join(dict.fromkeys(lines))] if lines else []


def table_1(results: Results) -> tuple[str, str]:
    """The ablation: the eight rows, the paper's figures and ours.

    Returns:
        Markdown, with a table for each kind of run (one that says "not trained" if there is
        none), and CSV with a line for each cell.
    """
    parts, rows = [], []
    variants = results.variants() or [NOT_TRAINED]
    for variant in variants:
        measured = dict.fromkeys(c.figure.direction for c in results.cells if c.variant == variant)
        ours = list(measured) or list(TABLE_1['adalin'][1])
        header = ['model', 'paper: selfie2anime', 'paper: anime2selfie']
        header += [f'{direction}: {_SHORT[protocol]}' for direction in ours for protocol in KIDS]
        lines = []
        for key, (name, paper) in TABLE_1.items():
            line = [name, *(_pair(paper[direction]) for direction in paper)]
            for direction in ours:
                for protocol in KIDS:
                    figure = results.find(key, variant, direction, protocol)
                    line.append(_cell(figure))
                    rows.append(_csv_row(1, name, variant, direction, protocol, paper, figure))
            lines.append(line)
        parts.append(f'### {_capital(variant)}\n\n{_markdown(header, lines)}')
    parts = ['## Table 1, ablation', _LEGEND, *parts, *results.origins()]
    return '\n\n'.join(parts), _csv(rows)


def table_3(results: Results) -> tuple[str, str]:
    """The ten directions (and those of other data): the paper's models and ours.

    Returns:
        Markdown, and CSV with a line for each cell.
    """
    variants = results.variants('adalin')
    others = [c.figure.direction for c in results.cells if c.ablation == 'adalin']
    others = [direction for direction in dict.fromkeys(others) if direction not in DIRECTIONS]
    blocks, rows = [], []
    for directions in (DIRECTIONS[:5], DIRECTIONS[5:], others):
        if not directions:
            continue
        lines = []
        for model, paper in TABLE_3.items():
            if paper.keys() & set(directions):
                lines.append([f'{model}, paper', *(_pair(paper.get(d)) for d in directions)])
        if not variants:
            lines.append(['U-GAT-IT, ours', *[NOT_TRAINED] * len(directions)])
            paper = TABLE_3['U-GAT-IT']
            rows += [_csv_row(3, 'U-GAT-IT', '', d, '', paper, None) for d in directions]
        for variant in variants:
            for protocol in KIDS:
                figures = [results.find('adalin', variant, d, protocol) for d in directions]
                name = f'U-GAT-IT, ours: {variant}; {_SHORT[protocol]}'
                lines.append([name, *(_cell(figure) for figure in figures)])
                rows += [
                    _csv_row(3, 'U-GAT-IT', variant, d, protocol, TABLE_3['U-GAT-IT'], figure)
                    for d, figure in zip(directions, figures, strict=True)
                ]
        blocks.append(_markdown(['model', *directions], lines))
    parts = ['## Table 3, five data sets in both directions', _LEGEND, *blocks, *results.origins()]
    return '\n\n'.join(parts), _csv(rows)


_SHORT = {'kid': 'target', 'kid_blocks': 'target, blocks', 'kid_with_source': 'with source'}
_SPREAD = {
    'kid': '± is the population std over the subsets',
    'kid_blocks': '± is the standard error over the blocks',
    'kid_with_source': '± is the mean of the two standard errors',
}
_LEGEND = (
    'KID times 100, lower is better. The paper does not state its protocol; most likely it is the '
    'mean with the source, on which an untranslated copy scores well. Ours, each on its own:\n\n'
    + '\n'.join(f'- {_SHORT[key]}: {PROTOCOLS[key]}; {_SPREAD[key]}' for key in KIDS)
)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f'no results at {path}: give results_*.json or a folder of them')
    files = sorted(path.rglob('results_*.json'))
    if not files:
        raise FileNotFoundError(f'{path} holds no results_*.json; tools/test.py --kid writes them')
    return files


def _ablation(test: dict[str, Any]) -> str:
    generator, discriminator = test['model']['generator'], test['model']['discriminator']
    return _ABLATIONS.get((generator['norm'], generator['cam'], discriminator['cam']), '')


def _variant(test: dict[str, Any], figure: Figure) -> str:
    """What must agree between two runs for their figures to share a table, in words."""
    model = test['model']
    generator, discriminator = model['generator'], model['discriminator']
    words = ['light' if generator['light'] else 'full', f'{test["img_size"]} px']
    # What differs from the paper's.
    if (g := generator['base_channels'], d := discriminator['base_channels']) != (64, 64):
        words.append(f'{g} channels' if g == d else f'{g} and {d} channels')
    if generator['num_blocks'] != 4:
        words.append(f'{generator["num_blocks"]} blocks')
    if (layers := tuple(discriminator['num_layers'])) != (7, 5):
        words.append(f'{layers[0]} and {layers[1]} discriminator layers')
    if model['recipe'] != 'tensorflow':
        words.append(f'{model["recipe"]} recipe')
    for name, weight in PAPER_LOSSES.items():
        if model['loss_config'][name] != weight:
            words.append(f'{name} loss {model["loss_config"][name]:g}')
    if (rate := test['optimizer'].get('lr', PAPER_RATE)) != PAPER_RATE:
        words.append(f'learning rate {rate:g}')
    words += [f'{_known(test["iterations"])} iterations', f'seed {_known(test["seed"])}']
    if figure.features != 'inception':
        words.append(f"{figure.features} features, not Inception's")
    return ', '.join(words)


def _where(origin: dict[str, Any]) -> str:
    processes = origin.get('processes') or 1
    times = f'{processes} processes, ' if processes > 1 else ''
    return f'commit {_known(origin.get("commit"))} on {times}{_known(origin.get("hardware"))}'


def _known(value: object) -> str:
    if value is None:
        return 'unknown'
    return f'{value:,}' if isinstance(value, int) else str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pair(pair: tuple[float, float] | None) -> str:
    return '-' if pair is None else f'{pair[0]:.2f} ± {pair[1]:.2f}'


def _cell(figure: Figure | None) -> str:
    return NOT_TRAINED if figure is None else plus_minus(figure, 100)


def _csv_row(
    table: int,
    model: str,
    variant: str,
    direction: str,
    protocol: str,
    paper: dict[str, tuple[float, float]],
    figure: Figure | None,
) -> dict[str, object]:
    value, spread = paper.get(direction, ('', ''))
    entry = figure.to_dict() if figure else {}
    return {
        'table': table,
        'model': model,
        'run': variant,
        'direction': direction,
        'protocol': protocol,
        'paper_x100': value,
        'paper_spread_x100': spread,
        'ours_x100': entry.get('value_x100', NOT_TRAINED),
        'ours_spread_x100': entry.get('spread_x100', ''),
        'spread_kind': entry.get('spread_kind', ''),
        'settings': entry.get('settings', ''),
        'features': entry.get('features', ''),
    }


def _csv(rows: list[dict[str, object]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ['---'] * len(header), *lines]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
