"""The paper's Tables 1 and 3 with our measurements next to its own, and the same for own data."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

from ..converters.networks import kind_of
from ..models.base import TRANSLATION_MODELS
from ..pixels import size_words
from .diversity import DIVERSITY
from .measurements import (
    CLASS_SHARES,
    PROTOCOLS,
    REMARKS,
    Measurement,
    in_order,
    plus_minus,
    untranslated_of,
    verdict,
)
from .paper import DIRECTIONS, TABLE_1, TABLE_3
from .results import read_results

KIDS = ('kid', 'kid_blocks', 'kid_with_source')
NOT_TRAINED = 'not trained'
INCEPTION = 'inception'
SOURCES = 'source images, not translated'


class Cell(NamedTuple):
    """One measurement of ours and where it belongs."""

    row: str | None  # the model in TABLE_3; None for one that is only an ablation's
    ablation: str | None  # a key of TABLE_1
    variant: str
    measurement: Measurement
    test: dict[str, Any]


class Results:
    """Measurements of many tests, and where they come from.

    Args:
        paths: Files of results, or folders that are searched for ``results_*.json``.

    Raises:
        FileNotFoundError: A path does not exist, or a folder holds no results.
        ResultsError: A file holds something else.
    """

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        tests = [read_results(file) for path in paths for file in _files(Path(path))]
        # Of two tests of the same thing the later one counts.
        tests.sort(key=lambda test: test['evaluated']['date'])
        self.cells: list[Cell] = []
        self.left_out: list[str] = []
        self._sources: dict[tuple[str, str, str], Measurement] = {}
        self.diversity = [line for test in tests for line in _diversity(test)]
        self.classes = [line for test in tests for line in _classes(test)]
        for test in tests:
            try:
                self.cells += _cells(test)
                for measurement in test['untranslated']:
                    key = (_seen_as(test, measurement), measurement.direction, measurement.protocol)
                    self._sources[key] = measurement
            except ValueError as error:
                self.left_out.append(f'- {test["config"]}, {test["evaluated"]["date"]}: {error}')

    def variants(self, row: str | None = None) -> list[str]:
        """Kinds of runs that were measured, such as ``full, 256 px, ...``.

        Args:
            row: A model of Table 3; the ablations of Table 1 if not given.
        """
        wanted = (c.variant for c in self.cells if (c.row == row if row else c.ablation))
        return list(dict.fromkeys(wanted))

    def sources(self, directions: Sequence[str]) -> list[str]:
        """Sizes and features, in words, with which untranslated sources were measured."""
        return list(dict.fromkeys(key[0] for key in self._sources if key[1] in directions))

    def of_sources(self, words: str, direction: str, protocol: str) -> Measurement | None:
        """The measurement of the sources in place of translations; ``None`` if not tested."""
        return self._sources.get((words, direction, protocol))

    def features(self) -> str:
        """What the measurements were made with, in words."""
        used = dict.fromkeys((c.measurement.features, c.measurement.weights) for c in self.cells)
        remarks = [f' {said}.' for name, _ in used for said in REMARKS.get(name, ())]
        named = [
            f'{name} ({"no weights" if weights == "none" else f"weights {weights}"}'
            f'{"" if name == INCEPTION else _NOT_INCEPTION})'
            for name, weights in used
        ]
        if not named:
            return 'Features: nothing was measured yet.'
        return f'Features: {"; ".join(named)}.{"".join(dict.fromkeys(remarks))}'

    def verdicts(
        self, cells: Iterable[Cell], row_of: Callable[[Cell], str] = lambda cell: cell.test['row']
    ) -> list[str]:
        """Paragraphs that say which translations are nearer to the target than the sources.

        Those that are not come first. Of two tests of the same thing the later one counts.

        Args:
            cells: Cells of a table.
            row_of: Gives the name of a cell's row.
        """
        last = {
            (c.row, c.ablation, c.variant, c.measurement.direction): c
            for c in cells
            if c.measurement.protocol == 'kid'
        }
        said = []
        for cell in last.values():
            if copies := untranslated_of(cell.measurement, cell.test['untranslated']):
                gained, words = verdict(cell.measurement, copies)
                said.append((gained, f'- {row_of(cell)}, {cell.variant}: {words}'))
        return ['\n'.join(in_order(said))] if said else []

    def of_row(self, row: str, variant: str, direction: str, protocol: str) -> Measurement | None:
        """The measurement of a cell of Table 3; ``None`` where nothing was trained."""
        return self._last((c.row == row for c in self.cells), variant, direction, protocol)

    def of_ablation(
        self, key: str, variant: str, direction: str, protocol: str
    ) -> Measurement | None:
        """The measurement of a cell of Table 1; ``None`` where nothing was trained."""
        return self._last((c.ablation == key for c in self.cells), variant, direction, protocol)

    def _last(
        self, fits: Iterable[bool], variant: str, direction: str, protocol: str
    ) -> Measurement | None:
        found = [
            c.measurement
            for c in compress(self.cells, fits)
            if (c.variant, c.measurement.direction, c.measurement.protocol)
            == (variant, direction, protocol)
        ]
        return found[-1] if found else None

    def origins(self, cells: Iterable[Cell]) -> list[str]:
        """Paragraphs that say for each test what was trained and where, and what is left out."""
        lines = []
        for test in {id(cell.test): cell.test for cell in cells}.values():
            trained, evaluated = test['trained'] or {}, test['evaluated']
            line = (
                f'- {test["row"]}, {test["config"]} on {test["data"]}, '
                f'{_known(test["iterations"])} iterations, seed {_known(test["seed"])}: trained at '
                f'{_where(trained)}; measured at {_where(evaluated)}, {evaluated["date"]}; '
                f'checkpoint {test["checkpoint"]["name"]}, '
                f'SHA-256 {test["checkpoint"]["sha256"][:12]}'
            )
            if test.get('style'):
                line += f'; each picture in one style, {test["style"]}'
            for measurement in [f for f in test['measurements'] if f.protocol == 'kid_with_source']:
                counts = ', '.join(f'{count} {what}' for what, count in measurement.images.items())
                line += f'; {measurement.direction}: {counts} images'
            # Sets that are too small for the protocols as they are asked for.
            adapted = [f.settings for f in test['measurements'] if 'do not fit' in f.settings]
            line += ''.join(f'; {settings}' for settings in dict.fromkeys(adapted))
            for used in dict.fromkeys(
                (f.features, f.weights, f.resize) for f in test['measurements']
            ):
                line += '; features {}, weights {}, resize {}'.format(*used)
            lines.append(line)
        said = (
            ['Where the measurements come from:', '\n'.join(dict.fromkeys(lines))] if lines else []
        )
        return said + (['Left out:', '\n'.join(self.left_out)] if self.left_out else [])


def table_1(results: Results) -> tuple[str, str]:
    """The ablation of U-GAT-IT: the eight rows, the paper's measurements and ours.

    Returns:
        Markdown, with a table for each kind of run (one that says "not trained" if there is
        none), and CSV with a line for each cell.
    """
    parts, rows = [], []
    variants = results.variants() or [NOT_TRAINED]
    for variant in variants:
        cells = [c for c in results.cells if c.ablation and c.variant == variant]
        measured = list(dict.fromkeys(c.measurement.direction for c in cells))
        ours = measured or ['selfie2anime', 'anime2selfie']
        header = ['model', 'paper: selfie2anime', 'paper: anime2selfie']
        header += [f'{direction}: {_SHORT[protocol]}' for direction in ours for protocol in KIDS]
        lines = []
        for key, (name, paper) in TABLE_1.items():
            line = [name, *(_pair(paper[direction]) for direction in paper)]
            for direction in ours:
                for protocol in KIDS:
                    measurement = results.of_ablation(key, variant, direction, protocol)
                    line.append(_cell(measurement))
                    rows.append(_csv_row(1, name, variant, direction, protocol, paper, measurement))
            lines.append(line)
        parts.append(f'### {_capital(variant)}\n\n{_markdown(header, lines)}')
    of_ablation = [c for c in results.cells if c.ablation]
    said = results.verdicts(of_ablation, _row_of_ablation)
    before = [_LEGEND, results.features(), *said]
    parts = ['## Table 1, ablation', *before, *parts, *results.origins(of_ablation)]
    return '\n\n'.join(parts), _csv(rows)


def _row_of_ablation(cell: Cell) -> str:
    assert cell.ablation is not None
    return TABLE_1[cell.ablation][0]


def table_3(results: Results) -> tuple[str, str]:
    """The ten directions (and those of other data): the paper's models and ours.

    Returns:
        Markdown, and CSV with a line for each cell.
    """
    rows: list[dict[str, object]] = []
    blocks = [_block(results, some, rows) for some in (DIRECTIONS[:5], DIRECTIONS[5:])]
    blocks.append(_block(results, _of_other_data(results), rows))
    parts = ['## Table 3, five data sets in both directions', _LEGEND, results.features()]
    of_rows = [c for c in results.cells if c.row]
    parts += [*results.verdicts(of_rows), *filter(None, blocks), *_others(results)]
    parts += results.origins(of_rows)
    return '\n\n'.join(parts), _csv(rows)


def table_own(results: Results) -> tuple[str, str]:
    """Table 3 for own data, without the paper's measurements: every model.

    Returns:
        As :func:`table_3`.
    """
    directions = _of_other_data(results)
    rows: list[dict[str, object]] = []
    block = _block(results, directions, rows, own=True)
    title = f'## Translation models, {" and ".join(directions) or "nothing measured yet"}'
    cells = [c for c in results.cells if c.measurement.direction in directions]
    parts = [title, _LEGEND_OWN, results.features(), *results.verdicts(cells)]
    parts += [*filter(None, [block]), *_others(results)]
    parts += results.origins(cells)
    return '\n\n'.join(parts), _csv(rows)


def _of_other_data(results: Results) -> list[str]:
    """Directions that were measured and are not in the paper."""
    measured = dict.fromkeys(c.measurement.direction for c in results.cells if c.row)
    return [direction for direction in measured if direction not in DIRECTIONS]


def _block(
    results: Results,
    directions: Sequence[str],
    rows: list[dict[str, object]],
    own: bool = False,
) -> str:
    """A table of some directions: the sources as they are, then each model.

    Args:
        results: Our measurements.
        directions: The columns.
        rows: Receives the lines of the CSV.
        own: Include the models that were not trained and are in no table of the paper.

    Returns:
        Markdown; empty for no direction or no line.
    """
    lines = []
    for words in results.sources(directions):
        for protocol in KIDS:
            measurements = [results.of_sources(words, d, protocol) for d in directions]
            name = f'{SOURCES}: {words}; {_SHORT[protocol]}'
            lines.append([name, *(_cell(measurement, '-') for measurement in measurements)])
            rows += [
                _csv_row(3, SOURCES, words, d, protocol, {}, measurement)
                for d, measurement in zip(directions, measurements, strict=True)
            ]
    of_ours = {model.ROW: model for model in TRANSLATION_MODELS.values()}
    for model in dict.fromkeys([*TABLE_3, *of_ours]):
        paper = TABLE_3.get(model, {})
        known = bool(paper.keys() & set(directions))
        if known:
            lines.append([f'{model}, paper', *(_pair(paper.get(d)) for d in directions)])
        variants = [v for v in results.variants(model) if _has(results, model, v, directions)]
        if not variants and directions and (known or own):
            lines.append([f'{model}, ours', *[NOT_TRAINED] * len(directions)])
            rows += [_csv_row(3, model, '', d, '', paper, None) for d in directions]
        missing = NOT_TRAINED if len(of_ours[model].TARGETS) > 1 else '-'  # no direction back
        for variant in variants:
            for protocol in KIDS:
                measurements = [results.of_row(model, variant, d, protocol) for d in directions]
                name = f'{model}, ours: {variant}; {_SHORT[protocol]}'
                lines.append([name, *(_cell(measurement, missing) for measurement in measurements)])
                rows += [
                    _csv_row(3, model, variant, d, protocol, paper, measurement)
                    for d, measurement in zip(directions, measurements, strict=True)
                ]
    return _markdown(['model', *directions], lines) if lines else ''


_SHORT = {'kid': 'target', 'kid_blocks': 'target, blocks', 'kid_with_source': 'with source'}
_SPREAD = {
    'kid': '± is the population std over the subsets',
    'kid_blocks': '± is the standard error over the blocks',
    'kid_with_source': '± is the mean of the two standard errors',
}
_PROTOCOLS = '\n'.join(f'- {_SHORT[key]}: {PROTOCOLS[key]}; {_SPREAD[key]}' for key in KIDS)
_LEGEND = (
    'KID times 100, lower is better. The paper does not state its protocol; most likely it is the '
    'mean with the source, on which an untranslated copy scores well. Ours, each on its own:\n\n'
    + _PROTOCOLS
)
_LEGEND_OWN = (
    'KID times 100, lower is better. "With source" rewards an untranslated copy, as the row of the '
    f'sources shows: it must not stand by itself. Each on its own:\n\n{_PROTOCOLS}'
)
_NOT_INCEPTION = ", not Inception's: not comparable to any paper"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f'no results at {path}: give results_*.json or a folder of them')
    files = sorted(path.rglob('results_*.json'))
    if not files:
        raise FileNotFoundError(f'{path} holds no results_*.json; ugatit test --kid writes them')
    return files


def _cells(test: dict[str, Any]) -> list[Cell]:
    """The measurements of a test, and where they belong.

    Raises:
        ValueError: The model that was tested is unknown, or its config is incomplete.
    """
    model = test['model']
    kind = kind_of(model)
    try:
        ablation, words = kind.ablation(model), kind.variant(model)
    except (KeyError, TypeError) as error:
        raise ValueError(f'its config of {kind.__name__} lacks {error}') from error
    # A model that has ablations is in Table 3 as the row of the one that has its name.
    ablated = {name for name, _ in TABLE_1.values()}
    name = TABLE_1[ablation][0] if ablation else None
    row = kind.ROW if kind.ROW not in ablated or name == kind.ROW else None
    words += [size_words(test['img_size']), *_parts_and_averages(test)]
    words += _rates(test['optimizers'], kind.RATES)
    return [
        Cell(row, ablation, ', '.join([*words, *_run(test, measurement)]), measurement, test)
        for measurement in test['measurements']
        if measurement.protocol in KIDS
    ]


def _others(results: Results) -> list[str]:
    """Paragraphs about styles and classes, where they were measured."""
    said = {
        'Diversity, the mean LPIPS distance between two styles of a picture; 0 is one style:': (
            results.diversity
        ),
        "Pictures that ImageNet's classifier calls by a name:": results.classes,
    }
    return [part for title, of in said.items() if of for part in (title, '\n'.join(of))]


def _diversity(test: dict[str, Any]) -> list[str]:
    """A line for each direction whose styles were measured."""
    return [
        f'- {test["row"]}, {each.direction}: {each.value:.4f}'
        + (f' ± {each.spread:.4f}, the {each.spread_kind}' if each.spread is not None else '')
        + f'; {each.settings}, {each.images["source"]} pictures; {_known(test["iterations"])} '
        f'iterations, seed {_known(test["seed"])}; {each.features}, {each.weights}'
        for each in test['measurements']
        if each.protocol == DIVERSITY
    ]


def _classes(test: dict[str, Any]) -> list[str]:
    """A line for each direction and class that was looked for."""
    shares: dict[tuple[str, str], list[str]] = {}
    for each in test['measurements']:
        if each.protocol in CLASS_SHARES:
            name, _, probability = each.settings.partition(', ')
            shares.setdefault((each.direction, f'{name}; {each.features}'), []).append(
                f'{100 * each.value:.1f} % of the {CLASS_SHARES[each.protocol]} ({probability})'
            )
    return [
        f'- {test["row"]}, {direction}, {name}: {", ".join(of)}; '
        f'{_known(test["iterations"])} iterations, seed {_known(test["seed"])}'
        for (direction, name), of in shares.items()
    ]


def _seen_as(test: dict[str, Any], measurement: Measurement) -> str:
    """How the pictures of a test were resized and measured, in words."""
    words = [size_words(test['img_size']), kind_of(test['model']).INTERPOLATION]
    return ', '.join([*words, *_measured(measurement)])


def _measured(measurement: Measurement) -> list[str]:
    """What a measurement was made with, if not with Inception."""
    return (
        []
        if measurement.features == INCEPTION
        else [f"{measurement.features} features, not Inception's"]
    )


def _parts_and_averages(test: dict[str, Any]) -> list[str]:
    """Training on parts of pictures and averaged weights, in words; older results say neither."""
    words = []
    if (crop := test.get('crop_size')) is not None:
        words.append(f'trained on parts of {size_words(crop)}')
    if test.get('ema') is not None:
        words.append('averaged weights')
    return words


def _rates(optimizers: dict[str, dict], papers: dict[str, float]) -> list[str]:
    """Learning rates that are not the paper's, in words."""
    rates = {name: optimizer.get('lr') for name, optimizer in optimizers.items()}
    rates = {name: rate for name, rate in rates.items() if rate not in (None, papers.get(name))}
    if len(set(rates.values())) == 1 and len(rates) == len(optimizers):
        return [f'learning rate {next(iter(rates.values())):g}']
    return [f'learning rate of {name} {rate:g}' for name, rate in rates.items()]


def _run(test: dict[str, Any], measurement: Measurement) -> list[str]:
    """How long and from which seed it was trained, what it was measured with if not Inception."""
    pairs = f' of {test["batch_size"]} pairs' if test['batch_size'] > 1 else ''
    words = [f'{_known(test["iterations"])} iterations{pairs}', f'seed {_known(test["seed"])}']
    return [*words, *_measured(measurement)]


def _has(results: Results, row: str, variant: str, directions: Sequence[str]) -> bool:
    return any(
        (c.row, c.variant) == (row, variant) and c.measurement.direction in directions
        for c in results.cells
    )


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


def _cell(measurement: Measurement | None, missing: str = NOT_TRAINED) -> str:
    return missing if measurement is None else plus_minus(measurement, 100)


def _csv_row(
    table: int,
    model: str,
    variant: str,
    direction: str,
    protocol: str,
    paper: dict[str, tuple[float, float]],
    measurement: Measurement | None,
) -> dict[str, object]:
    value, spread = paper.get(direction, ('', ''))
    entry = measurement.to_dict() if measurement else {}
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
    header = _csv_row(0, '', '', '', '', {}, None)
    writer = csv.DictWriter(stream, list(header), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _markdown(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ['---'] * len(header), *lines]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
