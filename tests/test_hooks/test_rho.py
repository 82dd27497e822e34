"""rho while training: what is logged, and what is drawn of it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from matplotlib.axes import Axes
from mmengine.visualization import Visualizer
from PIL import Image

from ugatit_mm.models.ugatit.rho import RhoHook, mean_rho, plot_rho
from ugatit_mm.visualization import read_scalars

LAYERS = [
    *(f'blocks.{block}.norm{norm}' for block in (0, 1) for norm in (1, 2)),
    *('decoder.0.norm', 'decoder.1.norm'),
]


def set_rho(layer: torch.nn.Module, values: list[float]) -> None:
    layer.rho.data.copy_(torch.tensor(values).repeat(layer.num_features // 4)[None, :, None, None])


@pytest.mark.parametrize(('recipe', 'mean'), [('tensorflow', 1.55 / 4), ('pytorch', 1.9 / 4)])
def test_mean_is_of_rho_as_it_is_used(tiny, recipe, mean):
    """The TensorFlow program uses clip(rho - 0.1, 0, 1) in AdaLIN, and rho itself in LIN."""
    generators = tiny(recipe=recipe).generators
    set_rho(generators['B'].blocks[1].norm2, [0.05, 0.55, 1.0, 0.3])
    set_rho(generators['A'].decoder[0].norm, [0.05, 0.55, 1.0, 0.3])
    means = mean_rho(generators)
    assert list(means) == [f'{domain}.{layer}' for domain in 'AB' for layer in LAYERS]
    assert means.pop('B.blocks.1.norm2') == pytest.approx(mean)
    assert means.pop('A.decoder.0.norm') == pytest.approx(1.9 / 4)
    for name, value in means.items():
        assert value == pytest.approx(0.9 if 'blocks' in name else 0), name


@pytest.fixture
def run(tmp_path: Path):
    """A run of 7 iterations that the hook watches; returns its work dir."""

    def train(model: torch.nn.Module, interval: int = 2) -> Path:
        start = tmp_path / 'start'
        backend = {'type': 'LocalVisBackend'}
        visualizer = Visualizer(vis_backends=[backend], save_dir=str(start))
        hook = RhoHook(interval)
        for step in range(7):
            set_rho(model.generators['B'].blocks[0].norm1, [0.1 + step / 10] * 4)
            hook.after_train_iter(
                SimpleNamespace(model=model, visualizer=visualizer, iter=step), step
            )
        return tmp_path

    return train


def test_scalars_reach_the_log_at_the_interval(tiny, run, capsys):
    scalars = read_scalars(run(tiny()))
    assert sorted(scalars) == sorted(f'rho/{d}.{layer}' for d in 'AB' for layer in LAYERS)
    steps, values = zip(*scalars['rho/B.blocks.0.norm1'], strict=True)
    assert steps == (2, 4, 6) and values == pytest.approx([0.1, 0.3, 0.5])
    assert [value for _, value in scalars['rho/A.decoder.1.norm']] == [0, 0, 0]
    assert capsys.readouterr().out == ''


def test_other_ranks_and_networks_without_rho_write_nothing(tiny, run, monkeypatch):
    model = tiny()
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda: False)
    monkeypatch.setattr('ugatit_mm.models.ugatit.rho.mean_rho', None)  # not even computed
    assert not list(run(model).glob('*/vis_data/scalars.json'))
    monkeypatch.undo()
    assert mean_rho(tiny({'norm': 'in'}).generators) == {}
    with pytest.raises(ValueError, match='interval must be 1 or more'):
        RhoHook(0)


def test_plot_has_both_directions_and_all_layers(tiny, run, monkeypatch, tmp_path):
    work_dir = run(tiny())
    drawn, bars, titles = [], [], []

    def note(name, keep):
        method = getattr(Axes, name)

        def noted(axes, *args, **fields):
            keep(args, fields)
            return method(axes, *args, **fields)

        monkeypatch.setattr(Axes, name, noted)

    note('plot', lambda args, fields: drawn.append((*args, fields['label'])))
    note('barh', lambda args, fields: bars.append(args))
    note('set_title', lambda args, fields: titles.append(args[0]))
    plot_rho(work_dir, tmp_path / 'rho.png', {'A': 'red', 'B': '$blue$'})
    assert titles[::7] == ['red → $blue$', '$blue$ → red']
    assert titles[1] == 'at iteration 6'
    assert [line[2] for line in drawn] == LAYERS * 2
    first = drawn[0]  # into B
    assert first[0] == (2, 4, 6) and first[1] == pytest.approx([0.1, 0.3, 0.5])
    assert bars[0] == (0, pytest.approx(0.5)) and bars[6] == (0, pytest.approx(0.9))
    assert Image.open(tmp_path / 'rho.png').size[0] == 1100


def test_plot_says_what_logs_rho(tmp_path):
    (tmp_path / 'start' / 'vis_data').mkdir(parents=True)
    log = tmp_path / 'start' / 'vis_data' / 'scalars.json'
    log.write_text(json.dumps({'loss_g': 1.0, 'step': 1}) + '\n')
    with pytest.raises(ValueError, match=r"dict\(type='RhoHook'\)"):
        plot_rho(tmp_path, tmp_path / 'rho.png')
