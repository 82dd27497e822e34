"""Diversity of styles, with AlexNet's weights drawn at random, against the package lpips itself."""

import json
import warnings
from itertools import pairwise
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from helpers import load_tool, tiny_config, write_images
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope
from PIL import Image
from styled_model import NETWORKS, write_styled
from torchvision.models import alexnet

from ugatit_mm.evaluation import StyleDiversity, WeightsError, diversity
from ugatit_mm.evaluation.results import read_results
from ugatit_mm.provenance import sha256


@pytest.fixture(scope='module')
def trunk(tmp_path_factory) -> Path:
    """What LPIPS takes of torchvision's file."""
    torch.manual_seed(0)
    with torch.random.fork_rng():
        network = alexnet(weights=None).features
    path = tmp_path_factory.mktemp('weights') / 'alexnet.pth'
    state = {f'features.{name}': value for name, value in network.state_dict().items()}
    torch.save(state, path)
    return path


@pytest.fixture
def known(trunk, monkeypatch) -> Path:
    monkeypatch.setattr(diversity, 'ALEXNET_SHA256', (sha256(trunk)[:8],))
    return trunk


@pytest.fixture(scope='module')
def distance(trunk) -> lpips.LPIPS:
    """The package's own, on that trunk."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        network = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)
    features = torch.load(trunk)
    for name, weight in network.net.named_parameters():
        weight.data.copy_(features['features.' + name.split('.', 1)[1]])
    return network.eval()


@torch.no_grad()
def mean_of_pairs(distance: lpips.LPIPS, pictures: list[np.ndarray]) -> float:
    """One pair at a time."""
    images = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for p in pictures]
    return np.mean([float(distance(a, b)) for a, b in pairwise(images)])


def test_the_metric_is_the_packages(known, distance):
    state = torch.get_rng_state()
    metric = StyleDiversity(known, styles=4)
    assert torch.equal(torch.get_rng_state(), state)  # a run's draws stay as they are
    assert metric.weights == f'alexnet.pth, SHA-256 {sha256(known)[:8]}'
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, 48, 40, 3), np.uint8))
    (found,) = metric.measure(pictures)
    assert found == pytest.approx(mean_of_pairs(distance, pictures), rel=1e-5)
    assert metric.measure(pictures[:1] * 4) == [0]
    grey = [picture[..., :1] for picture in pictures]
    (found,) = metric.measure(grey)
    wanted = mean_of_pairs(distance, [p.repeat(3, 2) for p in grey])
    assert found == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match='LPIPS knows grey and RGB pictures, these have 4'):
        metric.check_channels(4)
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    sample = {'domains': {'A': 'a', 'B': 'b'}, 'img_A_path': 'x', 'fake_B': pixels}
    with pytest.raises(ValueError, match='there is no fake_B_2: run ugatit test --diversity'):
        metric.process({}, [sample])


def test_weights_that_are_not_there_are_a_line(trunk, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    folder = tmp_path / 'checkpoints'
    for given, place in (
        (None, folder / 'alexnet-owt-7be5be79.pth'),
        (tmp_path / 'none.pth', tmp_path / 'none.pth'),
    ):
        with pytest.raises(WeightsError) as error:
            StyleDiversity(given)
        said = str(error.value)
        assert 'no AlexNet weights: ' in said and f'{place}' in said
        assert ' is not there. Download https://download.pytorch.org/models/alex' in said
        assert f'into {folder}, or give the file by --lpips-weights FILE' in said
        assert '\n' not in said
    with pytest.raises(WeightsError, match=r'alexnet\.pth: SHA-256 is \w+ instead of 7be5be79, so'):
        StyleDiversity(trunk)
    # In torch's cache it is found.
    folder.mkdir()
    (folder / 'alexnet-owt-4df8aa71.pth').write_bytes(trunk.read_bytes())
    monkeypatch.setattr(diversity, 'ALEXNET_SHA256', (sha256(trunk)[:8],))
    assert StyleDiversity().weights.startswith('alexnet-owt-4df8aa71.pth, SHA-256 ')
    with pytest.raises(ValueError, match='pairs must be 1 or more, got 0'):
        StyleDiversity(trunk, styles=1)


@pytest.mark.slow
def test_the_tool_measures_it_and_the_table_prints_it(
    known, distance, styled, tmp_path, capsys, monkeypatch
):
    """Of the styles that it would write."""
    write_images(tmp_path / 'data', (32, 32))
    cfg = tiny_config(tmp_path / 'data', tmp_path / 'work', 'cyclegan')
    cfg.model = NETWORKS
    cfg.optim_wrapper = dict(generators=dict(optimizer=dict(type='Adam', lr=1e-4)))
    cfg.dump(tmp_path / 'config.py')
    weights = write_styled(tmp_path / 'w.pth', styled)
    words = [str(tmp_path / 'config.py'), weights, '--work-dir', str(tmp_path / 'work')]
    lpips_words = ['--diversity', '3', '--lpips-weights', str(known)]
    out = ['--out-dir', str(tmp_path / 'out'), '--styles', '3', '--style', '5']
    assert load_tool('test').main([*words, *lpips_words, *out]) == 0
    results = read_results(tmp_path / 'work' / 'results_w.json')
    measurements = {measurement.direction: measurement for measurement in results['measurements']}
    for direction, count in (('red2blue', 3), ('blue2red', 2)):
        folder, measurement = tmp_path / 'out' / direction, measurements[direction]
        means = [
            mean_of_pairs(
                distance,
                [np.asarray(Image.open(folder / f'{name}_{k}.png')) for k in (1, 2, 3)],
            )
            for name in range(count)
        ]
        assert measurement.value == pytest.approx(np.mean(means), rel=1e-5)
        assert measurement.spread == pytest.approx(np.std(means, ddof=1) / np.sqrt(count), rel=1e-3)
        assert results['metrics'][f'{direction}/lpips_diversity'] == measurement.value
        assert measurement.settings == '2 pairs of each picture, of 3 styles'
        assert (measurement.features, measurement.images) == (
            'LPIPS 0.1, AlexNet',
            {'source': count},
        )
        assert measurement.weights == f'alexnet.pth, SHA-256 {sha256(known)[:8]}'
    assert results['style'] == "drawn by seed 5 and the file's name"
    # Without more to write, one picture of each is written, under the plain name.
    assert load_tool('test').main([*words, *lpips_words, '--out-dir', str(tmp_path / 'one')]) == 0
    assert len(list((tmp_path / 'one' / 'red2blue').iterdir())) == 3
    capsys.readouterr()
    assert load_tool('analysis/paper_table').main([str(tmp_path / 'work')]) == 0
    value = json.loads((tmp_path / 'work' / 'results_w.json').read_text())['metrics']
    said = f'- Styled, red2blue: {value["red2blue/lpips_diversity"]:.4f} ± '
    assert said in capsys.readouterr().out
    for more, said in (
        (['--diversity'], 'no AlexNet weights: '),
        ([*lpips_words, '--style', str(tmp_path / 'data/testA/0.png')], 'StyleDiversity, --div'),
    ):
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
        assert load_tool('test').main([*words, *more]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f'error: {said}')
    for more, said in (
        (['--lpips-weights', 'x'], '--lpips-weights needs --diversity'),
        (['--diversity', '1'], '--diversity must be 2 to 1000 styles, got 1'),
    ):
        with pytest.raises(SystemExit):
            load_tool('test').main([*words, *more])
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_without_styles_has_none(known, tmp_path, capsys):
    write_images(tmp_path / 'data')
    cfg = tiny_config(tmp_path / 'data', tmp_path / 'work', 'cyclegan')
    cfg.dump(tmp_path / 'config.py')
    init_default_scope('mmagic')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'w.pth')
    words = [str(tmp_path / 'config.py'), str(tmp_path / 'w.pth'), '--diversity']
    for more in ([], ['--lpips-weights', str(known)]):  # whether AlexNet's are there, or not
        assert load_tool('test').main([*words, *more]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error == 'error: CycleGAN has no styles: leave out StyleDiversity, --diversity'
