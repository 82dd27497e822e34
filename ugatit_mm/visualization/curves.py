"""Loss curves of a run."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

STYLES = ('-', '--', ':', '-.')
# Terms of each panel; sums of an update (loss_d) and parts of a term are left out.
PANELS = {
    'discriminators': r'loss_gan_d_[AB]',
    'generators, adversarial': r'loss_gan_g_[AB]',
    'cycle and identity (L1)': r'loss_(cycle|identity)_[AB]',
    'further terms': r'loss_(?!gan_[dg]_|cycle_|identity_|[dg]$)\w+',
}

# In MMEngine's text log; the remaining time ('eta: 0:01:02') is not a number.
LINE = re.compile(r'Iter\(train\) +\[ *(\d+)/\d+\](.*)')
TERM = re.compile(r'(?<!\S)(?!eta:)(\S+): ([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan))(?!\S)')


def read_scalars(work_dir: str | os.PathLike) -> dict[str, list[tuple[int, float]]]:
    """Read a run's log, over all its resumes.

    A start without ``vis_data/scalars.json`` (TensorBoard or a server only) is read from MMEngine's
    text log, which has the training terms with four digits.

    Args:
        work_dir: Folder of the run, which contains a folder for each start.

    Returns:
        Pairs (iteration, value) by name, ordered by iteration. For iterations repeated after a
        resume the last value counts.

    Raises:
        FileNotFoundError: The folder holds no log.
    """
    logs = {file.parent: file for file in sorted(Path(work_dir).glob('*/*.log'))}
    starts = {file.parents[1]: file for file in Path(work_dir).glob('*/vis_data/scalars.json')}
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for _, file in sorted((logs | starts).items()):
        for row in _rows(file):
            step = row.get('step', row.get('iter'))
            for name, value in row.items():
                if isinstance(value, (int, float)) and name not in ('step', 'iter'):
                    values[name][step] = value
    if not (starts or values):
        raise FileNotFoundError(
            f'no vis_data/scalars.json and no log of a training under {work_dir}: is it a work dir?'
        )
    return {name: sorted(points.items()) for name, points in values.items()}


def _rows(file: Path) -> Iterator[dict]:
    """Yield the log's rows; an incomplete line is still being written, or its run was killed."""
    for line in file.read_text(errors='replace').split('\n')[:-1]:
        if file.suffix == '.json':
            yield json.loads(line)
        elif found := LINE.search(line):
            terms = {name: float(value) for name, value in TERM.findall(found[2])}
            yield terms | {'step': int(found[1])}


def plot_losses(
    work_dirs: str | os.PathLike | Mapping[str, str | os.PathLike], path: str | os.PathLike
) -> None:
    """Draw the loss terms, before weighting, against the iteration.

    Panels without terms in any run are left out.

    Args:
        work_dirs: As for :func:`read_scalars`; or several by name, drawn with one colour per term
            and one line style per run.
        path: Picture to write; the suffix chooses the format.

    Raises:
        FileNotFoundError: A work dir holds no log.
        ValueError: More runs than line styles, or no loss term was logged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported late: it takes 0.5 s
    from matplotlib.figure import Figure

    if not isinstance(work_dirs, Mapping):
        work_dirs = {'': work_dirs}
    if len(work_dirs) > len(STYLES):
        raise ValueError(f'at most {len(STYLES)} runs fit into one picture, got {len(work_dirs)}')
    runs = {name: read_scalars(work_dir) for name, work_dir in work_dirs.items()}
    logged = sorted({name for scalars in runs.values() for name in scalars})
    panels = {
        title: names
        for title, terms in PANELS.items()
        if (names := [name for name in logged if re.fullmatch(terms, name)])
    }
    if not panels:
        folders = ' or '.join(map(str, work_dirs.values()))
        raise ValueError(f'no loss term was logged under {folders}')
    rows, columns = -(-len(panels) // 2), min(len(panels), 2)
    figure = Figure(figsize=(10, 3 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in places[len(panels) :]:
        axes.remove()
    for axes, (title, names) in zip(places, panels.items(), strict=False):
        for colour, name in enumerate(names):
            for style, (run, scalars) in zip(STYLES, runs.items(), strict=False):
                if name in scalars:
                    axes.plot(
                        *zip(*scalars[name], strict=True),
                        label=f'{name}, {run}' if run else name,
                        color=f'C{colour}',
                        linestyle=style,
                    )
        axes.set_title(title)
        axes.set_xlabel('iteration')
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize='x-small', ncols=2, framealpha=0.6)
    figure.savefig(path, dpi=110)
