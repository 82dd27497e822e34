"""CartoonGAN's official files both ways, from a file to a picture."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from cartoongan_helpers import plain_discriminator, plain_generator, tiny_cartoongan
from cyclegan_helpers import pixels, recorded, tiny_cyclegan
from helpers import as_before_0_4, load_tool
from torch import Tensor

from ugatit_mm.apis import load_model
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.converters.cartoongan import from_official, to_official

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')

# Places of the convolutions, with two blocks: sections 1 and 2 of the reference.
PLACES = {
    'G': (
        *(f'down_convs.{layer}' for layer in (0, 3, 4, 7, 8)),
        *(f'resnet_blocks.{block}.conv{conv}' for block in (0, 1) for conv in (1, 2)),
        *(f'up_convs.{layer}' for layer in (0, 1, 4, 5, 8)),
    ),
    'D': tuple(f'convs.{layer}' for layer in (0, 2, 4, 7, 9, 12, 15)),
}


def networks() -> dict[str, torch.nn.Module]:
    """Networks of torch's own layers, with random weights that have an effect."""
    torch.manual_seed(0)
    plain = {'G': plain_generator(4, 2, False, False), 'D': plain_discriminator(4, False)}
    with torch.no_grad():
        for network in plain.values():
            for parameter in network.parameters():
                parameter.normal_(0, 0.1)
    return plain


def official() -> dict[str, OrderedDict]:
    """Their state dicts with the program's names."""
    states = {}
    for name, network in networks().items():
        keys = [f'{place}.{end}' for place in PLACES[name] for end in ('weight', 'bias')]
        weights = [parameter.detach().clone() for parameter in network.parameters()]
        states[name] = OrderedDict(zip(keys, weights, strict=True))
    return states


def convert(*words: str | Path) -> int:
    return load_tool('model_converters/cartoongan').main([str(word) for word in words])


def picture() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def translate(path: Path, image: Tensor) -> Tensor:
    model, _ = load_model(path, device='cpu')
    with torch.no_grad():
        return model.translation(image)


def test_official_file_to_the_recorded_picture(tmp_path):
    """Through the converter, and unconverted."""
    record = recorded('cartoongan_steps.npz')
    source, ours = tmp_path / 'cartoon.pt', tmp_path / 'ours.pth'
    torch.save(recorded('cartoongan_init.pt'), source)
    assert convert(source, ours) == 0
    for file in (source, ours):
        image = translate(file, pixels(record['step0_x']))
        np.testing.assert_allclose(image, record['forward_G'], atol=1e-5, rtol=0)
    model, meta = load_model(ours, device='cpu')
    assert meta['networks']['type'] == 'CartoonGAN' and model.targets() == ('B',)
    judged = torch.sigmoid(model.discriminators['B'](pixels(record['step0_x'])))
    np.testing.assert_allclose(judged.detach(), record['forward_D'], atol=1e-5, rtol=0)


@pytest.mark.parametrize('torch_of', ['today', 'before 0.4'])
def test_file_to_the_picture_of_torchs_layers(tmp_path, capsys, monkeypatch, torch_of):
    source, ours = tmp_path / 'both.pkl', tmp_path / 'ours.pth'
    with monkeypatch.context() as patched:
        if torch_of == 'before 0.4':
            patched.setattr(torch.Tensor, '__reduce_ex__', as_before_0_4)
        torch.save(official(), source, _use_new_zipfile_serialization=torch_of == 'today')
    assert convert(source, ours, '--domains', 'selfie', 'anime') == 0
    said = capsys.readouterr().out
    for words in (
        'CartoonGAN, generators and discriminators, in_channels=3',
        'model.generator.num_blocks=2',
        'model.discriminator.base_channels=4',
        'domains.B=anime',
    ):
        assert words in said, words
    model, _ = load_model(ours, device='cpu')
    plain = networks()
    with torch.no_grad():
        for found, name in ((model.translation, 'G'), (model.discriminators['B'], 'D')):
            expected = plain[name](picture())
            torch.testing.assert_close(found(picture()), expected, atol=1e-5, rtol=1e-4)
            assert expected.std() > 0.02


@pytest.mark.parametrize('name', ['generator_latest.pkl', 'G.pth'])
def test_a_file_of_the_generator_only(tmp_path, name):
    states = official()
    torch.save({f'module.{key}': value for key, value in states['G'].items()}, tmp_path / name)
    torch.save(states['D'], tmp_path / 'discriminator_latest.pkl')
    assert convert(tmp_path / name, tmp_path / 'one.pth') == 0
    both = ['--discriminator', tmp_path / 'discriminator_latest.pkl']
    assert convert(tmp_path / name, tmp_path / 'both.pth', *both) == 0
    assert convert(tmp_path / name, tmp_path / 'half.pth', *both, '--generator-only', '--half') == 0
    one, two = (read_checkpoint(tmp_path / f'{n}.pth') for n in ('one', 'both'))
    assert 'discriminator' in two['meta']['networks'] and len(two['state_dict']) == 28 + 14
    assert 'discriminator' not in one['meta']['networks'] and len(one['state_dict']) == 28
    expected = translate(tmp_path / 'both.pth', picture())
    assert torch.equal(translate(tmp_path / 'one.pth', picture()), expected)
    half = translate(tmp_path / 'half.pth', picture())
    torch.testing.assert_close(half, expected, atol=2e-2, rtol=0)


def test_back_is_exact(tmp_path):
    states = official()
    torch.save(states, tmp_path / 'both.pt')
    assert convert(tmp_path / 'both.pt', tmp_path / 'ours.safetensors') == 0
    assert convert(tmp_path / 'ours.safetensors', tmp_path / 'back.pt', '--reverse') == 0
    again = torch.load(tmp_path / 'back.pt', weights_only=True)
    assert {name: list(state) for name, state in again.items()} == {
        name: list(state) for name, state in states.items()
    }
    assert all(torch.equal(again[n][k], v) for n, state in states.items() for k, v in state.items())
    assert convert(tmp_path / 'ours.safetensors', tmp_path / 'back.pt', '--reverse') == 1  # exists


def test_every_weight_of_a_model_has_a_place():
    model = tiny_cartoongan(generator={'num_blocks': 12})
    state, left = from_official(to_official(model.state_dict()))
    assert left == [] and state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.describe(state)['generator']['num_blocks'] == 12


@pytest.mark.parametrize(
    ('network', 'key'),
    [('G', 'down_convs.1.weight'), ('G', 'resnet_blocks.2.conv3.weight'), ('D', 'convs.1.bias')],
)
def test_unknown_keys_are_named(network, key):
    states = official()
    states[network][key] = torch.zeros(4)
    with pytest.raises(ValueError, match=f'not a key of .*: {network}.{key}'):
        from_official(states)


def test_wrong_sources_get_one_line(tmp_path, capsys):
    states = official()
    less = dict(states['G'])
    del less['up_convs.4.bias']
    files = {
        'judge.pkl': states['D'],
        'less.pth': less,
        'short.pth': {'G': states['G'], 'D': dict(list(states['D'].items())[:-1])},
        'nan.pth': {key: value * torch.nan for key, value in states['G'].items()},
        'both.pth': states,
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    judge = ['--discriminator', tmp_path / 'judge.pkl']
    for name, words, said in (
        ('judge.pkl', [], 'not a key of the CartoonGAN program'),
        ('less.pth', [], 'generators.B.decoder.2.bias'),
        ('short.pth', [], 'discriminators.B.convs.15.bias'),
        ('nan.pth', [], 'is not finite'),
        ('both.pth', judge, 'it has a discriminator already: leave out --discriminator'),
        ('gone.pth', [], 'no checkpoint file'),
    ):
        assert convert(tmp_path / name, tmp_path / 'ours.pth', *words) == 1
        error = capsys.readouterr().err
        assert error.count('\n') == 1 and error.startswith('error: ') and said in error, error
    assert not (tmp_path / 'ours.pth').exists()


def test_only_the_programs_networks_go_back(tmp_path, capsys):
    torch.save(tiny_cyclegan().state_dict(), tmp_path / 'other.pth')
    assert convert(tmp_path / 'other.pth', tmp_path / 'back', '--reverse') == 1
    assert 'has no convolution of stride 1 after a strided one' in capsys.readouterr().err
    affine = tiny_cartoongan(generator={'affine': True}).state_dict()
    with pytest.raises(ValueError, match=r'has no such weights: generators\.B\.encoder\.0\.norm'):
        to_official(affine)
    for option in ('--half', '--generator-only', '--discriminator=x'):
        with pytest.raises(SystemExit):
            convert('a', 'b', '--reverse', option)
        assert '--reverse takes neither' in capsys.readouterr().err
