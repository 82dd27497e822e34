"""VGG19's features: torchvision's layers, the recorded ones, files and their errors."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from cartoongan_helpers import NARROW, stand_in, torchs, written
from cyclegan_helpers import pixels, recorded
from helpers import as_before_0_4, load_tool
from torch import nn

from ugatit_mm.converters import CheckpointError, read_checkpoint
from ugatit_mm.models import VGG19Features
from ugatit_mm.models.losses import vgg
from ugatit_mm.published import WeightsError

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
CAFFE = torch.tensor([103.939, 116.779, 123.68])


def images(channels: int = 3, count: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, 32, 40, generator=draw) * 2 - 1


def test_recorded_features(tmp_path):
    found = stand_in(tmp_path)(pixels(recorded('cartoongan_steps.npz')['step0_x']))
    wanted = recorded('cartoongan_steps.npz')['forward_VGG']
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('layer', 'index'), [('conv1_1', 0), ('relu2_1', 6), ('conv4_4', 25), ('pool4', 27)]
)
def test_layers_are_torchvisions(tmp_path, layer, index):
    theirs = torchs()
    file = written(tmp_path, theirs.state_dict())
    ours = VGG19Features(layer, weights=file, widths=NARROW)
    expected = theirs['features'][: index + 1]((images() + 1) / 2)
    torch.testing.assert_close(ours(images()), expected, atol=1e-6, rtol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize('input', list(vgg.INPUTS))
def test_inputs(tmp_path, input):
    theirs = torchs()
    file = written(tmp_path, theirs.state_dict())
    x = (images() + 1) / 2
    seen = {
        'unit': x,
        'imagenet': (x - MEAN[:, None, None]) / STD[:, None, None],
        'caffe': 255 * x.flip(1) - CAFFE[:, None, None],
    }
    ours = VGG19Features(input=input, weights=file, widths=NARROW)
    expected = theirs['features'][:26](seen[input])
    torch.testing.assert_close(ours(images()), expected, atol=1e-5, rtol=1e-4)


def test_other_channels():
    """Grey stays grey, and of more than three channels the first three are RGB."""
    ours = VGG19Features(weights='random', widths=NARROW)
    grey = images(1)
    assert torch.equal(ours(grey), ours(grey.expand(-1, 3, -1, -1)))
    assert torch.equal(ours(torch.cat([grey, images(1)], 1)), ours(grey))
    assert torch.equal(ours(images(5)), ours(images(5)[:, :3]))


def test_gradient_is_autograds_and_autocast_changes_nothing(tmp_path):
    theirs = torchs()
    ours = VGG19Features(weights=written(tmp_path, theirs.state_dict()), widths=NARROW)
    gradients = []
    for features in (ours, lambda x: theirs['features'][:26]((x + 1) / 2)):
        x = images().requires_grad_()
        with torch.autocast('cpu', torch.bfloat16, enabled=features is ours):
            found = features(x)
        assert found.dtype is torch.float32
        found.square().mean().backward()
        gradients.append(x.grad)
    size = gradients[1].abs().max()
    torch.testing.assert_close(gradients[0] / size, gradients[1] / size, atol=1e-5, rtol=0)


def test_a_model_that_holds_it_has_nothing_of_it():
    model = nn.Linear(1, 1)
    model.vgg = VGG19Features(weights='random', widths=NARROW)
    model.vgg(images())
    assert list(model.state_dict()) == ['weight', 'bias']
    assert len(list(model.parameters())) == 2
    assert torch.equal(copy.deepcopy(model).vgg(images()), model.vgg(images()))


def test_random_weights_are_the_same_each_time():
    one, two = (VGG19Features(weights='random', widths=NARROW) for _ in range(2))
    torch.manual_seed(5)
    found = one(images())
    assert torch.equal(found, two(images())) and found.shape == (2, 12, 4, 5) and found.std() > 0.01


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'weights': 'random'}, 'is for tests: give vgg.widths below'),
        ({'widths': (4, 6)}, r'vgg.widths must be the channels of five blocks, got \(4, 6\)'),
        ({'input': 'caffe'}, 'give theirs by vgg.weights=FILE'),
        ({'input': 'bgr'}, r"vgg.input must be one of \['unit', 'imagenet', 'caffe'\], got 'bgr'"),
        ({'layer': 'conv4_5'}, r"vgg.layer must be one of \['conv1_1', .*got 'conv4_5'"),
    ],
)
def test_fields_that_cannot_be(fields, said):
    with pytest.raises(ValueError, match=said):
        VGG19Features(**fields)


def test_without_the_file_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', None)
    with pytest.raises(WeightsError) as error:
        VGG19Features().load()
    (line,) = str(error.value).splitlines()
    folder = tmp_path / 'hub' / 'checkpoints'
    for word in (f'{folder}/vgg19-dcbb9e9d.pth', vgg.URL, f'into {folder}', 'model.vgg.weights='):
        assert word in line, word


def test_files_in_torchs_cache(tmp_path, monkeypatch):
    """A slim file takes precedence over the whole one."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    whole = written(tmp_path, torchs().state_dict())
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    monkeypatch.setattr(vgg, 'SHA256', digest[:8])
    monkeypatch.setattr(vgg, 'FILES', (f'vgg19-{digest[:8]}.safetensors', whole.name))
    whole.rename(folder / whole.name)
    features = []
    for name in reversed(vgg.FILES):
        words = [str(folder / whole.name), str(folder / name)]
        if name.endswith('safetensors'):
            assert load_tool('model_converters/vgg19').main(words) == 0
            (folder / whole.name).unlink()
        features.append(VGG19Features(widths=NARROW)(images()))
    assert torch.equal(*features)


def test_slim_file(tmp_path, capsys):
    """The twelve convolutions, and the SHA-256 of their file."""
    convert = load_tool('model_converters/vgg19').main
    whole, slim = written(tmp_path, torchs().state_dict()), tmp_path / 'slim.safetensors'
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    assert convert([str(whole), str(slim)]) == 0
    content = read_checkpoint(slim)
    assert len(content['state_dict']) == 24 and content['meta'] == {'sha256': digest}
    assert f'SHA-256 {digest[:8]}, up to conv4_4' in capsys.readouterr().out
    assert convert([str(whole), str(slim)]) == 1 and 'give --force' in capsys.readouterr().err
    named = slim.rename(tmp_path / f'vgg19-{digest[:8]}.safetensors')
    again = tmp_path / 'again.safetensors'
    assert convert([str(named), str(again), '--layer', 'conv2_1']) == 0
    assert read_checkpoint(again)['meta'] == {'sha256': digest}
    named.write_bytes(again.read_bytes())
    with pytest.raises(WeightsError, match=r'features.7.weight of VGG19 is \(6, 6, 3, 3\), .*None'):
        VGG19Features(weights=named, widths=NARROW).load()


def test_other_files_are_refused(tmp_path):
    whole = written(tmp_path, torchs().state_dict())
    other = tmp_path / 'other.pth'
    other.write_bytes(whole.read_bytes())
    with pytest.raises(WeightsError, match='other.pth: SHA-256 is .* instead of dcbb9e9d...'):
        VGG19Features(weights=other, widths=NARROW).load()
    with pytest.raises(WeightsError, match=r'features.0.weight of VGG19 is \(64, 3, 3, 3\)'):
        VGG19Features(weights=whole).load()
    damaged = tmp_path / whole.name.replace('vgg19', 'other')
    damaged.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(WeightsError, match='or it is damaged. Download https://download.pytorch'):
        VGG19Features(weights=damaged, widths=NARROW).load()


@pytest.mark.parametrize('torch_of', ['before 1.6', 'before 0.4'])
def test_files_of_any_age(tmp_path, monkeypatch, torch_of):
    """Torchvision's is of January 2017."""
    state = torchs().state_dict()
    with monkeypatch.context() as patched:
        if torch_of == 'before 0.4':
            patched.setattr(torch.Tensor, '__reduce_ex__', as_before_0_4)
        file = written(tmp_path, dict(state), _use_new_zipfile_serialization=False)
    assert (b'_rebuild_tensor\n' in file.read_bytes()) == (torch_of == 'before 0.4')
    ours = VGG19Features(weights=file, widths=NARROW)(images())
    expected = VGG19Features(weights=written(tmp_path, state), widths=NARROW)(images())
    assert torch.equal(ours, expected)


def test_a_file_that_is_not_a_checkpoint(tmp_path):
    content = b'<html>not found</html>'
    file = tmp_path / f'vgg19-{hashlib.sha256(content).hexdigest()[:8]}.pth'
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match='is not a checkpoint that can be read safely'):
        VGG19Features(weights=file, widths=NARROW).load()
