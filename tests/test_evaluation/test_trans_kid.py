"""The metric, the extractors and the command line."""

import hashlib
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import batch
from mmagic.registry import METRICS, MODELS
from mmagic.structures import DataSample
from PIL import Image
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ugatit_mm.evaluation import (
    ColourHOGFeatures,
    TransEvaluator,
    TransKID,
    TransStats,
    WeightsError,
    compare_folders,
    extractors,
    feature_metric,
    kid,
)
from ugatit_mm.evaluation.__main__ import main
from ugatit_mm.evaluation.extractors import Extractor, build_extractor, default_extractor
from ugatit_mm.evaluation.measurements import Measurement, Protocol, table
from ugatit_mm.pixels import resize

PROTOCOL = dict(subset_size=4, num_subsets=5, block_size=4)


class Means(Extractor):
    """Mean colours: three features that a test can compute."""

    name, weights, resize = 'means', 'none', 'none'

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        self.calls.append(len(images))
        return images.double().mean((2, 3)).numpy() / 100


def pictures(count: int, seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def samples(a: np.ndarray, b: np.ndarray, fake_a: np.ndarray, fake_b: np.ndarray) -> list[dict]:
    """Data samples as the model gives them, the shorter domain starting again."""

    def bgr(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))

    return [
        {
            'img_A_path': f'a{i % len(a):02}',
            'img_B_path': f'b{i % len(b):02}',
            'domains': {'A': 'cat', 'B': 'dog'},
            'img_A': bgr(a[i % len(a)]),
            'img_B': bgr(b[i % len(b)]),
            'fake_B': bgr(fake_b[i % len(a)]),
            'fake_A': bgr(fake_a[i % len(b)]),
        }
        for i in range(max(len(a), len(b)))
    ]


@pytest.fixture
def domains() -> tuple[np.ndarray, ...]:
    """7 of A, 5 of B, their translations."""
    return pictures(7, 0), pictures(5, 1) // 2, pictures(5, 2), pictures(7, 3) // 3


def features(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float64).mean((1, 2)) / 100


def test_measurements_of_both_directions(domains):
    a, b, fake_a, fake_b = domains
    metric = TransKID(Means(), **PROTOCOL)
    assert metric.protocol.seed == 2020
    for sample in samples(a, b, fake_a, fake_b):
        metric.process(None, [sample])
    got = metric.evaluate(size=7)
    for direction, fake, target, source in (('cat2dog', fake_b, b, a), ('dog2cat', fake_a, a, b)):
        f, t, s = features(fake), features(target), features(source)
        subsets = kid.kid(f, t, 4, 5)
        blocks = kid.kid_blocks(f, t, 4)
        both = kid.mean_with_source(blocks, kid.kid_blocks(f, s, 4))
        assert got[f'{direction}/means_kid'] == pytest.approx(subsets.value)
        assert got[f'{direction}/means_kid_std'] == pytest.approx(subsets.spread)
        assert got[f'{direction}/means_kid_blocks'] == pytest.approx(blocks.value)
        assert got[f'{direction}/means_kid_blocks_stderr'] == pytest.approx(blocks.spread)
        assert got[f'{direction}/means_kid_with_source'] == pytest.approx(both.value)
        assert got[f'{direction}/means_kid_with_source_stderr'] == pytest.approx(both.spread)
        assert got[f'{direction}/means_fid'] == pytest.approx(kid.fid(f, t))
        copies = {x.protocol: x.value for x in metric.untranslated if x.direction == direction}
        mean = kid.mean_with_source(kid.kid_blocks(s, t, 4), kid.kid_blocks(s, s, 4))
        assert copies == {
            'kid': pytest.approx(kid.kid(s, t, 4, 5).value),
            'kid_blocks': pytest.approx(kid.kid_blocks(s, t, 4).value),
            'kid_with_source': pytest.approx(mean.value),
            'fid': pytest.approx(kid.fid(s, t)),
        }
    assert len(got) == 14
    counts = {(f.direction, f.protocol): f.images for f in metric.measurements}
    assert counts['cat2dog', 'kid'] == {'fake': 7, 'target': 5}
    assert counts['dog2cat', 'kid_with_source'] == {'fake': 5, 'target': 7, 'source': 5}
    assert {f.resize for f in metric.measurements} == {'pipeline to 16x16, then none'}


def test_a_model_of_one_direction(domains):
    """Its measurements are those of the direction that it has; nothing is said of the other."""
    everything = samples(*domains)
    one_way = [{k: v for k, v in sample.items() if k != 'fake_A'} for sample in everything]
    both, one = TransKID(Means(), **PROTOCOL), TransKID(Means(), **PROTOCOL)
    both.process(None, everything)
    one.process(None, one_way)
    expected = {k: v for k, v in both.evaluate(size=7).items() if k.startswith('cat2dog/')}
    assert one.evaluate(size=7) == expected and len(expected) == 7
    assert {measurement.direction for measurement in one.measurements} == {'cat2dog'}
    assert one.extractor.calls == [7 + 5 + 7]


def test_a_file_is_measured_once_and_again_in_the_next_test(domains):
    everything = samples(*domains)
    extractor = Means()
    metric = TransKID(extractor, **PROTOCOL)
    metric.process(None, everything[:4])
    metric.process(None, everything[4:])
    assert extractor.calls == [16, 8]  # 2 x (4 + 4), then 2 x (3 of A and b04)
    first = metric.evaluate(size=7)
    metric.process(None, everything)
    assert metric.evaluate(size=7) == first


def test_several_ranks_equal_one(domains):
    """What MMEngine gathers from ranks: interleaved, padded with repeats, cut to the set's size."""
    everything = samples(*domains)
    one = TransKID(Means(), **PROTOCOL)
    one.process(None, everything)
    expected = one.compute_metrics(one.results)
    ranks = [TransKID(Means(), **PROTOCOL) for _ in range(2)]
    padded = [*everything, everything[0]]
    for rank, metric in enumerate(ranks):
        for sample in padded[rank::2]:
            metric.process(None, [sample])
    gathered = [row for rows in zip(*(m.results for m in ranks), strict=True) for row in rows][:7]
    assert TransKID(Means(), **PROTOCOL).compute_metrics(gathered) == expected


def test_inceptions_names_are_plain_and_others_carry_theirs(domains):
    extractor = Means()
    extractor.name = 'inception'
    metric = TransKID(extractor, **PROTOCOL)
    metric.process(None, samples(*domains))
    assert 'cat2dog/kid' in metric.evaluate(size=7)


def test_registered_and_through_val_step(tiny):
    """Built from a config, fed with what the model gives: RGB to the extractor."""
    model = tiny(domains={'A': 'cat', 'B': 'dog'})
    extractor = dict(type='ColourHOGFeatures')
    metric = METRICS.build(dict(type='TransKID', extractor=extractor, **PROTOCOL))
    for seed in range(6):
        data = batch(seed=seed)
        paths = {f'img_{domain}_path': f'{domain}{seed}' for domain in 'AB'}
        data['data_samples'] = [DataSample(metainfo=paths)]
        metric.process(data, [sample.to_dict() for sample in model.val_step(data)])
    bgr = torch.cat([batch(seed=seed)['inputs']['img_B'] for seed in range(6)])
    real = ColourHOGFeatures()(bgr.flip(1).to(torch.uint8))
    assert np.allclose([row['B']['real'].features for row in metric.results], real, atol=1e-6)
    assert set(metric.evaluate(size=6)) >= {'cat2dog/colour_hog_kid', 'dog2cat/colour_hog_fid'}


def test_one_size_that_is_not_square_is_measured_and_named(domains):
    metric = TransKID(Means(), **PROTOCOL)
    _, b, _, fake_b = domains
    metric.process(None, samples(*(np.repeat(each, 2, axis=2) for each in domains)))
    got = metric.evaluate(size=7)  # each column twice: the same means
    assert {measurement.resize for measurement in metric.measurements} == {
        'pipeline to 32x16, then none'
    }
    expected = kid.kid(features(fake_b), features(b), 4, 5)
    assert got['cat2dog/means_kid'] == pytest.approx(expected.value)


def test_pictures_of_several_sizes_are_refused(domains):
    """Features depend on the size: of both, they would not measure the translations."""
    a, b, fake_a, fake_b = domains
    metric = TransKID(Means(), **PROTOCOL)
    wide = (np.repeat(each, 2, axis=2) for each in (b, fake_a))
    metric.process(None, samples(a, *wide, fake_b))
    with pytest.raises(ValueError, match=r'^cat2dog: the pictures have several sizes \(16'):
        metric.evaluate(size=7)
    assert metric.measurements == []


def test_the_log_says_where_nothing_was_gained(domains, monkeypatch):
    """Before the measurements, next to which are those of the sources."""
    said = []
    logger = SimpleNamespace(info=said.append)
    monkeypatch.setattr(feature_metric.MMLogger, 'get_current_instance', lambda: logger)
    metric = TransKID(Means(), **PROTOCOL)
    a, b, _, fake_b = domains
    metric.process(None, samples(a, b, b // 2, fake_b))
    metric.evaluate(size=7)
    built, logged = said
    assert built == 'TransKID with means (weights: none)'
    measurements = {(f.direction, f.protocol): f for f in metric.measurements}
    copies = {(f.direction, f.protocol): f for f in metric.untranslated}
    head, lost, gained, _, columns, _, *rows = logged.strip().splitlines()
    assert head.startswith('Features: means (weights: none; resize: pipeline to 16x16, then none)')
    for line, direction, words, sign in (
        (lost, 'dog2cat', 'no nearer', '>='),
        (gained, 'cat2dog', 'nearer', '<'),
    ):
        ours, theirs = (100 * each[direction, 'kid'].value for each in (measurements, copies))
        assert line == (
            f'{direction}: the translations are {words} to the target than the untranslated '
            f'sources (means, KID x 100 {ours:.2f} {sign} {theirs:.2f})'
        )
    assert columns.split(' | ')[3:5] == ['raw', 'untranslated sources']
    cells = [row.split(' | ') for row in rows]
    value = copies['cat2dog', 'kid'].value
    assert cells[0][4].startswith(f'{100 * value:.2f} ± ')
    assert cells[3][4] == f'{copies["cat2dog", "fid"].value:.2f}' and len(cells) == 8


def test_subsets_are_as_large_as_the_smaller_set(domains):
    """The measurement is that of such subsets, and it says so."""
    a, b, fake_a, fake_b = domains
    metric = TransKID(Means(), subset_size=6, num_subsets=9, block_size=2)
    metric.process(None, samples(a, b, fake_a, fake_b))
    got = metric.evaluate(size=7)
    expected = kid.kid(features(fake_b), features(b), 5, 9)
    assert got['cat2dog/means_kid'] == pytest.approx(expected.value)
    assert got['cat2dog/means_kid_std'] == pytest.approx(expected.spread)
    blocks = kid.kid_blocks(features(fake_b), features(b), 4)  # 2 blocks: 5 images hold no more
    assert got['cat2dog/means_kid_blocks'] == pytest.approx(blocks.value)
    said = {f.protocol: f.settings for f in metric.measurements if f.direction == 'cat2dog'}
    assert said == {
        'kid': '9 subsets of 5 (6 do not fit), seed 2020',
        'kid_blocks': 'blocks of at most 4 (2 do not fit)',
        'kid_with_source': 'blocks of at most 4 (2 do not fit)',
        'fid': 'all images',
    }
    assert '9 subsets of 5 (6 do not fit), seed 2020' in table(metric.measurements)
    assert metric.protocol.adapted(7, 5) == (
        '9 subsets of 5 (6 do not fit), seed 2020, blocks of at most 4 (2 do not fit): there are 7 '
        'and 5 images'
    )
    assert Protocol(subset_size=5).adapted(7, 5) == ''


@pytest.mark.parametrize('sizes', [(3, 3, 3), (20, 3, 3), (3, 20, 5), (2, 2, 2), (4, 4, 40)])
def test_any_sets_of_two_images_or_more_are_measured(sizes):
    fake, target, source = (features(pictures(n, seed)) for seed, n in enumerate(sizes))
    measurements = Protocol().measure('x', Means(), fake, target, source)
    assert [f.protocol for f in measurements] == ['kid', 'kid_blocks', 'kid_with_source', 'fid']
    assert all(np.isfinite(f.value) for f in measurements)
    if sizes == (3, 3, 3):  # one subset there is: no spread of several
        assert measurements[0].settings == '1 subset of 3 (50 do not fit), all images'
        assert measurements[0].spread is None
        assert measurements[0].value == pytest.approx(kid.kid(fake, target, 3, 1).value)


def test_small_subsets_and_large_blocks_are_unbiased():
    """Of one distribution: the mean over many small sets is 0."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for _ in range(400):
        sets = [rng.normal(size=(n, 3)) for n in (7, 4, 3)]
        for measurement in Protocol(num_subsets=4).measure('x', Means(), *sets):
            found.setdefault(measurement.protocol, []).append(measurement.value)
    for protocol in ('kid', 'kid_blocks', 'kid_with_source'):
        values = np.array(found[protocol])
        assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values)), protocol


@pytest.mark.parametrize(
    ('field', 'least'), [('subset_size', 2), ('num_subsets', 1), ('block_size', 2)]
)
def test_settings_are_looked_at_before_anything_is_measured(field, least):
    with pytest.raises(ValueError, match=f'{field}={least - 1} must be {least} or more'):
        TransKID(Means(), **{field: least - 1})


def test_names_are_known_before(domains):
    for metric in (TransKID(Means(), **PROTOCOL), TransStats()):
        metric.process(None, samples(*domains))
        names = metric.names_of({'A': 7, 'B': 5}, {'A': 'cat', 'B': 'dog'}, 'AB')
        assert sorted(names) == sorted(metric.evaluate(size=7))


# Several metrics


class Failing(TransStats):
    """A metric that fails at a place."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def measure(self, images: list[np.ndarray]) -> list[dict]:
        if self.at == 'measure':
            raise RuntimeError('no memory\nmore words')
        return super().measure(images)

    def summarise(self, *words) -> dict[str, float]:
        raise ValueError('no sum')


@pytest.mark.parametrize(('at', 'why'), [('measure', 'no memory'), ('summarise', 'no sum')])
def test_a_metric_that_fails_takes_nothing_from_the_others(domains, at, why):
    evaluator = TransEvaluator([Failing(at), TransKID(Means(), **PROTOCOL)])
    one = TransKID(Means(), **PROTOCOL)
    for sample in samples(*domains):
        one.process(None, [sample])
    expected = one.evaluate(size=7)
    for _ in range(2):  # the next evaluation begins with all of them
        for sample in samples(*domains):
            evaluator.process([sample])
        assert evaluator.evaluate(size=7) == expected
        assert evaluator.failed == {'Failing': why}
        assert evaluator.working == evaluator.metrics[1:]
    evaluator.metrics[0] = TransStats()
    evaluator.process(samples(*domains))
    assert len(evaluator.evaluate(size=7)) == len(expected) + 8
    assert not evaluator.failed


def test_files_of_an_evaluation_that_failed_count_in_the_next(domains):
    stats = TransStats()
    evaluator, measure = TransEvaluator([stats]), stats.measure
    evaluator.process(samples(*domains))
    expected = evaluator.evaluate(size=7)

    first, *others = samples(*domains)
    evaluator.process([first])
    stats.measure = None
    evaluator.process(others)
    assert evaluator.evaluate(size=7) == {} and evaluator.failed
    stats.measure = measure
    evaluator.process(samples(*domains))
    assert evaluator.evaluate(size=7) == expected


def test_measurements_go_to_json_and_back(domains):
    metric = TransKID(Means(), **PROTOCOL)
    metric.process(None, samples(*domains))
    metric.evaluate(size=7)
    for measurement in metric.measurements:
        entry = json.loads(json.dumps(measurement.to_dict()))
        assert entry['value_x100'] == pytest.approx(100 * measurement.value)
        assert Measurement.from_dict(entry) == measurement


# Extractors


def test_colour_hog_of_flat_and_striped_pictures():
    flat = np.zeros((1, 64, 64, 3), np.uint8)
    flat[..., 0] = 255
    got = ColourHOGFeatures()(torch.from_numpy(flat).permute(0, 3, 1, 2))[0]
    assert got.shape == (352,)
    # red is level 3 of 0 to 3, the others 0: bin 3 * 16; no edges
    assert got[48] == pytest.approx(8) and np.count_nonzero(got) == 1
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::8] = 255
    across = ColourHOGFeatures()(torch.from_numpy(stripes).permute(0, 3, 1, 2))[0]
    along = ColourHOGFeatures()(torch.from_numpy(stripes).permute(0, 3, 2, 1))[0]
    assert np.allclose(across[:64], along[:64])  # the same colours
    assert (across[64:] ** 2).mean() == pytest.approx(1)
    directions = across[64:].reshape(-1, 8).sum(0), along[64:].reshape(-1, 8).sum(0)
    assert np.argmax(directions[0]) != np.argmax(directions[1])


@pytest.fixture(scope='session')
def inception_weights(tmp_path_factory):
    """Random weights in the form of the real file, and their SHA-256."""
    network = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, 'load', lambda *args, **kwargs: {})
        patch.setattr(torch.nn.Module, 'load_state_dict', lambda self, state: None)
        torch.manual_seed(0)
        network.__init__('inception', ['2048'], feature_extractor_weights_path='-')
    # Unscaled random layers would fade out; He's keeps the features apart.
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    path = tmp_path_factory.mktemp('weights') / 'inception.pth'
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def known(inception_weights, monkeypatch):
    """Take the random weights for the real ones."""
    digest = hashlib.sha256(inception_weights.read_bytes()).hexdigest()
    monkeypatch.setattr(extractors, 'INCEPTION_SHA256', digest)
    return inception_weights


def write(folder, images: np.ndarray) -> None:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f'{index:03}.png')


@pytest.mark.slow
def test_equals_torch_fidelity_from_folders_to_measurements(tmp_path, known):
    """An independent program on the same files and weights: features, KID and FID."""
    write(tmp_path / 'fake', pictures(4, 0, 48))
    write(tmp_path / 'real', pictures(5, 1, 48) // 2)
    theirs = calculate_metrics(
        input1=str(tmp_path / 'fake'),
        input2=str(tmp_path / 'real'),
        kid=True,
        fid=True,
        kid_subset_size=4,
        kid_subsets=5,
        feature_extractor_weights_path=str(known),
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
    )
    measurements, untranslated = compare_folders(
        tmp_path / 'fake',
        tmp_path / 'real',
        extractor=dict(type='InceptionFeatures', weights=known, device='cpu'),
        protocol=Protocol(**PROTOCOL),
    )
    ours = {measurement.protocol: measurement for measurement in measurements}
    assert untranslated == []
    assert set(ours) == {'kid', 'kid_blocks', 'fid'}
    mean, std = (theirs[f'kernel_inception_distance_{what}'] for what in ('mean', 'std'))
    assert ours['kid'].value == pytest.approx(mean, rel=1e-4) and mean > 0
    assert ours['kid'].spread == pytest.approx(std, rel=1e-3)  # theirs in float32
    assert ours['fid'].value == pytest.approx(theirs['frechet_inception_distance'], rel=1e-3)


def test_weights_are_found_in_torchs_cache(tmp_path, known, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(WeightsError, match=r'2015-12-05-6726825d\.pth or .*--weights FILE'):
        MODELS.build(dict(type='InceptionFeatures'))
    with monkeypatch.context() as patch:
        patch.setattr(extractors, 'find_spec', lambda name: None)
        with pytest.raises(WeightsError, match=r'ugatit_mm\[features\].* no Inception weights'):
            default_extractor()
    with pytest.raises(WeightsError, match='^no Inception weights: none.pth is not there'):
        build_extractor({'weights': 'none.pth'})  # what is given is not passed over
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)
    file = tmp_path / 'hub' / 'checkpoints' / 'pt_inception-2015-12-05-6726825d.pth'
    file.symlink_to(known)
    assert default_extractor() == 'InceptionFeatures'
    built = build_extractor({'device': 'cpu'})
    assert built.weights.startswith('pt_inception-2015-12-05-6726825d.pth, SHA-256 ')


def test_other_weights_are_refused(tmp_path):
    file = tmp_path / 'other.pth'
    file.write_bytes(b'not Inception')
    with pytest.raises(WeightsError, match='other.pth: SHA-256 is [0-9a-f]{64} instead of 67268'):
        MODELS.build(dict(type='InceptionFeatures', weights=file))


# The command line


def test_command_line(tmp_path, capsys):
    write(tmp_path / 'fake', pictures(12, 0))
    write(tmp_path / 'real', pictures(14, 1) // 2)
    write(tmp_path / 'source', pictures(12, 2))
    arguments = [str(tmp_path / 'fake'), str(tmp_path / 'real'), '--num-workers', '0']
    options = ['--extractor', 'ColourHOGFeatures', '--subset-size', '8']
    source = ['--source', str(tmp_path / 'source'), '--json', str(tmp_path / 'out.json')]
    assert main([*arguments, *options, *source]) == 0
    printed = capsys.readouterr().out
    assert (
        '(weights: none; resize: all are 16 px, then antialiased bilinear to 64). '
        "Not Inception's, so not comparable to papers. "
        'colour_hog sees colours and edges only and is not a measure of quality\n'
        'fake: the translations are '
    ) in printed
    assert '12 fake, 14 target, 12 source' in printed and '100 subsets of 8, seed 2020' in printed
    written = json.loads((tmp_path / 'out.json').read_text())
    entries = written['measurements']
    assert [entry['protocol'] for entry in entries] == [
        'kid',
        'kid_blocks',
        'kid_with_source',
        'fid',
    ]
    extract = ColourHOGFeatures()
    fake, real, sources = (
        extract(torch.from_numpy(images).permute(0, 3, 1, 2))
        for images in (pictures(12, 0), pictures(14, 1) // 2, pictures(12, 2))
    )
    copies = written['untranslated'][0]['value']
    assert copies == pytest.approx(kid.kid(sources, real, 8).value)
    assert f' | {100 * copies:.2f} ± ' in printed
    assert entries[0]['value'] == pytest.approx(kid.kid(fake, real, 8).value)
    assert f'{100 * entries[0]["value"]:.2f} ± {100 * entries[0]["spread"]:.2f}' in printed


def test_an_extractor_of_ones_own(tmp_path, monkeypatch, capsys):
    """Registered by a module that the command names; its name stands in the table."""
    (tmp_path / 'my_extractor.py').write_text(
        'from mmagic.registry import MODELS\n'
        'from ugatit_mm.evaluation.extractors import Extractor\n'
        '@MODELS.register_module(force=True)\n'
        'class MyExtractor(Extractor):\n'
        '    name, weights, resize = "mine", "none", "none"\n'
        '    def __call__(self, images):\n'
        '        return images.double().mean((2, 3)).numpy() / 100\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / 'fake', pictures(6, 0))
    write(tmp_path / 'real', pictures(6, 1) // 2)
    words = [str(tmp_path / 'fake'), str(tmp_path / 'real'), '--num-workers', '0']
    words += ['--subset-size', '4', '--extractor', 'MyExtractor']
    assert main([*words, '--import', 'my_extractor', '--json', str(tmp_path / 'out.json')]) == 0
    head = 'Features: mine (weights: none; resize: all are 16 px, then none). Not Inc'
    assert head in capsys.readouterr().out
    entries = json.loads((tmp_path / 'out.json').read_text())['measurements']
    expected = kid.kid(features(pictures(6, 0)), features(pictures(6, 1) // 2), 4)
    assert entries[0]['value'] == pytest.approx(expected.value)
    assert main([*words, '--import', 'no_such_module']) == 1
    assert "error: No module named 'no_such_module'" in capsys.readouterr().err


def test_folders_of_several_sizes_are_brought_to_one(tmp_path):
    """By one method, to that of the translations or the one that is given, and it is said."""
    write(tmp_path / 'fake', pictures(4, 0))
    write(tmp_path / 'real', pictures(4, 1, 32))
    write(tmp_path / 'source', pictures(4, 2, 24))
    Image.fromarray(pictures(1, 2, 24)[0][:16]).save(tmp_path / 'real' / 'wide.png')
    folders = [tmp_path / name for name in ('fake', 'real', 'source')]
    means = Means()

    def measured(**size) -> tuple[str, float, float]:
        protocol = Protocol(**PROTOCOL)
        measurements, untranslated = compare_folders(*folders, means, protocol, **size)
        assert means.calls == [4, 5, 4]
        means.calls.clear()
        return measurements[0].resize, measurements[0].value, untranslated[0].value

    own = measured()
    assert own[0] == 'Pillow bilinear to 16, the size of the translations, then none'
    assert measured(size=16) == ('Pillow bilinear to 16, then none', *own[1:])
    assert measured(size=(16, 12))[0] == 'Pillow bilinear to 16x12, then none'
    resized = [
        np.stack([resize(each, 16, 16) for each in images])
        for images in (pictures(4, 1, 32), pictures(1, 2, 24)[:, :16], pictures(4, 2, 24))
    ]
    target = features(np.concatenate(resized[:2]))
    assert own[1] == pytest.approx(kid.kid(features(pictures(4, 0)), target, 4, 5).value)
    assert own[2] == pytest.approx(kid.kid(features(resized[2]), target, 4, 5).value)

    Image.fromarray(pictures(1, 3, 20)[0]).save(tmp_path / 'fake' / 'other.png')
    with pytest.raises(ValueError, match=r"fake' have several sizes \(16, 20\): give --size"):
        measured()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['nowhere', 'real'], "error: There is no folder '.*nowhere'"),
        (['fake', 'empty'], "error: The folder '.*empty' holds no image"),
        (['fake', 'broken'], r"error: '.*broken/0.png' is not an image"),
        (
            ['fake', 'real', '--extractor', 'Vgg'],
            "error: no extractor 'Vgg' is registered; there",
        ),
        (
            ['fake', 'real', '--weights', 'none.pth'],
            r'error: no Inception weights: none.pth',
        ),
        (
            ['fake', 'one', '--extractor', 'ColourHOGFeatures'],
            'error: at least 2 images are needed of each, got 3 and 1',
        ),
        (['fake', 'real', '--subset-size', '1'], 'error: subset_size=1 must be 2 or more'),
    ],
)
def test_command_line_says_what_is_wrong(tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'fake', pictures(3, 0))
    write(tmp_path / 'real', pictures(3, 1))
    write(tmp_path / 'one', pictures(1, 2))
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / '0.png').write_bytes(b'text')
    if '--extractor' not in change and '--weights' not in change:
        change = [*change, '--extractor', 'ColourHOGFeatures']
    assert main([*change, '--num-workers', '0']) == 1
    assert re.match(message, capsys.readouterr().err)


def test_command_line_names_a_broken_picture_in_one_line(tmp_path, capsys):
    """Also where a worker meets it."""
    write(tmp_path / 'fake', pictures(3, 0))
    broken = tmp_path / 'fake' / 'z.png'
    broken.write_bytes(b'text')
    words = [str(tmp_path / 'fake'), str(tmp_path / 'fake'), '--num-workers', '1']
    assert main([*words, '--extractor', 'ColourHOGFeatures']) == 1
    assert capsys.readouterr().err == (
        f"error: '{broken}' is not an image of a known format (it may be a renamed or a text file, "
        'or a failed download): replace or delete it.\n'
    )
