"""Loss curves of a run."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

STYLES = ('-', '--', ':', '-.')
PANELS = {
    'discriminators': ('loss_gan_d_A', 'loss_gan_d_B'),
    'generators, adversarial': ('loss_gan_g_A', 'loss_gan_g_B'),
    'cycle and identity (L1)': (
        'loss_cycle_A',
        'loss_cycle_B',
        'loss_identity_A',
        'loss_identity_B',
    ),
    'generators, CAM': ('loss_cam_A', 'loss_cam_B'),
}


def read_scalars(work_dir: str | os.PathLike) -> dict[str, list[tuple[int, float]]]:
    """Read what a run logged, over all its resumes.

    Args:
        work_dir: Folder of the run, with a folder for each start inside.

    Returns:
        Pairs (iteration, value) by name, in the order of iterations. What was trained again after
        a resume counts as it was the last time.

    Raises:
        FileNotFoundError: Nothing was logged there.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'no vis_data/scalars.json under {work_dir}: is it a work dir?')
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for file in files:
        # A line without its end is still being written, or its run was killed.
        for line in file.read_text().split('\n')[:-1]:
            row = json.loads(line)
            step = row.get('step', row.get('iter'))
            for name, value in row.items():
                if isinstance(value, (int, float)) and name not in ('step', 'iter'):
                    values[name][step] = value
    return {name: sorted(points.items()) for name, points in values.items()}


def plot_losses(
    work_dirs: str | os.PathLike | Mapping[str, str | os.PathLike], path: str | os.PathLike
) -> None:
    """Draw the loss terms, before weighting, against the iteration.

    Args:
        work_dirs: As for :func:`read_scalars`; or several by name, drawn in one colour a term and
            another line style each.
        path: Picture to write; the suffix chooses the format.

    Raises:
        FileNotFoundError: Nothing was logged in a work dir.
        ValueError: More runs than line styles.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: half a second
    from matplotlib.figure import Figure

    if not isinstance(work_dirs, Mapping):
        work_dirs = {'': work_dirs}
    if len(work_dirs) > len(STYLES):
        raise ValueError(f'at most {len(STYLES)} runs fit into one picture, got {len(work_dirs)}')
    runs = {name: read_scalars(work_dir) for name, work_dir in work_dirs.items()}
    figure = Figure(figsize=(10, 6), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
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
        if axes.lines:
            axes.legend(fontsize='x-small', ncols=2, framealpha=0.6)
    figure.savefig(path, dpi=110)
