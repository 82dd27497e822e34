"""Loss curves: what is drawn of which run."""

import json
from pathlib import Path

import pytest
from helpers import load_tool
from matplotlib.axes import Axes

from ugatit_mm.visualization import plot_losses


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    for number, name in enumerate(('one', 'two')):
        folder = tmp_path / name / 'start' / 'vis_data'
        folder.mkdir(parents=True)
        rows = [{'step': step, 'loss_cam_A': step + number / 2} for step in (1, 2, 3)]
        lines = [json.dumps(row) + '\n' for row in rows]
        half = '{"step": 4, "loss_cam_A": 9'  # the run was killed while it wrote
        (folder / 'scalars.json').write_text(''.join(lines) + half)
    return {name: tmp_path / name for name in ('one', 'two')}


def test_every_run_has_its_line(runs, tmp_path, monkeypatch):
    drawn = []
    plot = Axes.plot

    def note(axes, x, y, **style):
        drawn.append((list(x), list(y), style['label'], style['linestyle']))
        return plot(axes, x, y, **style)

    monkeypatch.setattr(Axes, 'plot', note)
    plot_losses(runs, tmp_path / 'both.png')
    assert drawn == [
        ([1, 2, 3], [1.0, 2.0, 3.0], 'loss_cam_A, one', '-'),
        ([1, 2, 3], [1.5, 2.5, 3.5], 'loss_cam_A, two', '--'),
    ]
    drawn.clear()
    plot_losses(runs['two'], tmp_path / 'two.png')
    assert [line[2] for line in drawn] == ['loss_cam_A']


def test_the_tool_draws_and_refuses(runs, tmp_path, capsys):
    tool = load_tool('analysis/plot_losses')
    words = [f'{name}={path}' for name, path in runs.items()]
    assert tool.main([*words, '--out', str(tmp_path / 'x.png')]) == 0
    assert (tmp_path / 'x.png').stat().st_size > 1000
    for wrong, said in (
        (['one'], 'NAME=WORK_DIR'),
        ([words[0], words[0]], 'a name of its own'),
        ([f'a={tmp_path}/none'], 'is it a work dir'),
        ([f'{i}={runs["one"]}' for i in range(5)], 'at most 4 runs'),
    ):
        with pytest.raises(SystemExit):
            tool.main(wrong)
        assert said in capsys.readouterr().err
