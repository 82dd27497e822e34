"""Loss curves: which terms of which run are drawn."""

import json
from pathlib import Path

import pytest
from helpers import load_tool
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


@pytest.mark.parametrize(
    ('terms', 'panels'),
    [
        (
            ('gan_d_A', 'gan_d_A_global', 'gan_g_B', 'cycle_B', 'cam_A', 'd', 'g'),
            {
                'discriminators': ['loss_gan_d_A'],
                'generators, adversarial': ['loss_gan_g_B'],
                'cycle and identity (L1)': ['loss_cycle_B'],
                'further terms': ['loss_cam_A'],
            },
        ),
        (
            ('gan_d_B', 'content', 'kl_A', 'kl_B'),
            {
                'discriminators': ['loss_gan_d_B'],
                'further terms': ['loss_content', 'loss_kl_A', 'loss_kl_B'],
            },
        ),
        (
            ('gan_d_B', 'gan_g_B', 'identity_A'),
            {
                'discriminators': ['loss_gan_d_B'],
                'generators, adversarial': ['loss_gan_g_B'],
                'cycle and identity (L1)': ['loss_identity_A'],
            },
        ),
    ],
)
def test_a_panel_for_each_kind_of_term_that_a_model_has(terms, panels, tmp_path, monkeypatch):
    (tmp_path / 'start' / 'vis_data').mkdir(parents=True)
    row = {f'loss_{name}': 0.5 for name in terms}
    for more in ({'step': 1}, {'step': 2}):
        with (tmp_path / 'start' / 'vis_data' / 'scalars.json').open('a') as file:
            file.write(json.dumps(row | {'time': 1.0, 'lr': 1e-4} | more) + '\n')
    drawn = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *_, **__: drawn.extend(figure.axes))
    plot_losses(tmp_path, tmp_path / 'x.png')
    got = {axes.get_title(): [line.get_label() for line in axes.lines] for axes in drawn}
    assert got == panels


def test_without_a_term_there_is_nothing_to_draw(tmp_path):
    (tmp_path / 'start' / 'vis_data').mkdir(parents=True)
    (tmp_path / 'start' / 'vis_data' / 'scalars.json').write_text('{"loss_g": 1.0, "step": 1}\n')
    with pytest.raises(ValueError, match='no loss term was logged under .*without_a_term'):
        plot_losses(tmp_path, tmp_path / 'x.png')


def test_the_tool_draws_and_refuses(runs, tmp_path, capsys):
    tool = load_tool('analysis/plot_losses')
    words = [f'{name}={path}' for name, path in runs.items()]
    assert tool.main([*words, '--out', str(tmp_path / 'x.png')]) == 0
    assert (tmp_path / 'x.png').stat().st_size > 1000
    for wrong, said in (
        (['one'], 'NAME=WORK_DIR'),
        ([words[0], words[0]], 'its own name'),
        ([f'a={tmp_path}/none'], 'is it a work dir'),
        ([f'{i}={runs["one"]}' for i in range(5)], 'at most 4 runs'),
    ):
        with pytest.raises(SystemExit):
            tool.main(wrong)
        assert said in capsys.readouterr().err
