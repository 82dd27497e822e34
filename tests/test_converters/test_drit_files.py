"""The official DRIT's checkpoints both ways, from a file to a picture."""

from functools import cache
from pathlib import Path

import pytest
import torch
from drit_helpers import fixtures, recorded, tiny_drit
from helpers import assert_same, load_tool

from ugatit_mm.apis import load_model
from ugatit_mm.converters import read_checkpoint, read_weights
from ugatit_mm.converters.drit import from_official, to_official

# Positions of the official networks' layers, for domain A if there are two: section "State-dict
# keys" of the reference.
HALVES = ('model.1', 'model.5')
CONTENT = ['convA.0.model.1', 'convA.1.model.1', 'convA.2.model.1']
CONTENT += [f'{block}.{half}' for block in ('convA.3', 'convA.4', 'convA.5') for half in HALVES]
PLACES = {
    'enc_c': [*(f'conv_share.0.{half}' for half in HALVES), *CONTENT],
    'enc_a': {
        True: [
            *('fc_A.0', 'fcVar_A.0', 'conv_A.1'),
            *(
                f'conv_A.{block}.{layer}'
                for block in (2, 3, 4)
                for layer in ('conv.2', 'conv.4.1', 'shortcut.1')
            ),
        ],
        False: [f'model_a.{layer}' for layer in (1, 4, 7, 10, 13, 16)],
    },
    'gen': {
        True: [
            *(f'dec_share.0.{half}' for half in HALVES),
            *(f'decA1.{block}.{half}' for block in range(3) for half in HALVES),
            *(f'decA{up}.0.model.{layer}' for up in (2, 3) for layer in (0, 1)),
            'decA4.0',
        ],
        False: [
            *(f'mlpA.{layer}' for layer in (0, 2, 4)),
            *(
                f'decA{block}.{layer}'
                for block in (1, 2, 3, 4)
                for layer in ('conv1.0.1', 'conv2.0.1', 'blk1.0', 'blk1.2', 'blk2.0', 'blk2.2')
            ),
            *(f'decA5.{up}.model.{layer}' for up in (0, 1) for layer in (0, 1)),
            'decA5.2',
        ],
    },
    'dis': [
        f'Diss.{scale}.{layer}'
        for scale in range(3)
        for layer in ('0.model.1', '1.model.1', '2.model.1', '3')
    ],
    'disContent': ['model.0.model.1', 'model.1.model.1', 'model.2'],
}
JUDGES = ('disA', 'disB', 'disA2', 'disB2')


def keys(network: str, concat: bool) -> set[str]:
    """Keys of an official network with three strided layers for images and one for contents."""
    found = PLACES['dis' if network in JUDGES else network]
    places = found[concat] if isinstance(found, dict) else found
    both = [place.replace('A', 'B').replace('_a.', '_b.') for place in places]
    places = {*places, *(both if network in ('enc_c', 'enc_a', 'gen') else [])}
    return {f'{place}.{end}' for place in places for end in ('weight', 'bias')}


@cache
def tiny() -> tuple[dict, torch.nn.Module]:
    return official(True)


def official(concat: bool, **fields) -> tuple[dict, torch.nn.Module]:
    """A checkpoint as the program saves it, and the model whose weights it has."""
    model = tiny_drit(concat, **fields)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    networks: dict = to_official(model.state_dict())
    for name in list(networks):
        step = {'step': 7, 'exp_avg': torch.zeros(3)}
        networks[f'{name}_opt'] = {'state': {0: step}, 'param_groups': [{'lr': 1e-4}]}
    return networks | {'ep': 3, 'total_it': 99}, model.eval()


def convert(*words: str | Path) -> int:
    return load_tool('model_converters/drit').main([str(word) for word in words])


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize('name', ['concat', pytest.param('feat', marks=pytest.mark.slow)])
def test_official_file_to_the_recorded_pictures(tmp_path, name):
    """Official file -> ours -> a model from the file only -> the official pictures."""
    numbers, ours = recorded('forward.npz'), tmp_path / 'ours.pth'
    assert convert(fixtures() / f'drit_init_{name}.pt', ours) == 0
    model, meta = load_model(ours, device='cpu')
    assert meta['networks']['generator']['concat'] is (name == 'concat')
    style = numbers['za'][:1]
    for key, image, target in (('a2b', 'xa', 'B'), ('b2a', 'xb', 'A')):
        found = model.translation(numbers[image][:1], target, style=style)[..., ::2, ::2]
        torch.testing.assert_close(found, numbers[f'{name}_test_{key}'], atol=2e-5, rtol=0)
    networks = recorded(f'init_{name}.pt')
    found = to_official(model.state_dict())
    assert found.keys() == networks.keys()
    for network, weights in networks.items():
        assert found[network].keys() == weights.keys()
        assert all(torch.equal(found[network][key], weights[key]) for key in weights)


@pytest.mark.parametrize('concat', [True, False])
def test_a_checkpoint_and_back(tmp_path, capsys, concat):
    content, model = tiny() if concat else official(False)
    for network in ('enc_c', 'enc_a', 'gen', *JUDGES, 'disContent'):
        assert set(content[network]) == keys(network, concat), network
    source, ours, back = (tmp_path / name for name in ('00099.pth', 'ours.pth', 'back.pth'))
    torch.save(content, source)
    assert convert(source, ours, '--domains', 'cat', 'dog') == 0
    said = capsys.readouterr().out
    for word in (
        'left out: 8 optimisers',
        '2 other entries (ep, total_it)',
        'DRIT, encoders and attribute_encoders and generators and discriminators',
        f'model.generator.concat={concat}',
        'model.content_discriminator.num_layers=2',
        'domains.A=cat',
    ):
        assert word in said, word
    loaded, meta = load_model(ours, device='cpu')
    assert meta['networks']['type'] == 'DRIT'
    assert_same(dict(loaded.state_dict()), dict(model.state_dict()))
    style = torch.randn(1, 8)
    for target, name in (('B', 'dog'), ('A', 'cat')):
        expected = model.translation(picture(), target, style=style)
        assert torch.equal(loaded.translation(picture(), name, style=style), expected)
        assert torch.equal(loaded.style_of(picture(), target), model.style_of(picture(), target))
    assert convert(ours, back, '--reverse') == 0
    again = read_checkpoint(back)
    assert again.keys() == {k for k in content if not k.endswith('_opt')}
    assert (again['ep'], again['total_it']) == (0, 0)
    assert_same(
        {k: again[k] for k in again if k not in ('ep', 'total_it')},
        {k: content[k] for k in again if k not in ('ep', 'total_it')},
    )


def test_a_file_is_read_as_it_is(tmp_path):
    content, model = tiny()
    torch.save(content, tmp_path / 'any.pth')
    state = read_weights(tmp_path / 'any.pth')['state_dict']
    assert_same(state, {key: model.state_dict()[key] for key in state})
    loaded, _ = load_model(tmp_path / 'any.pth', device='cpu')
    style = torch.randn(1, 8)
    expected = model.translation(picture(), 'B', style=style)
    assert torch.equal(loaded.translation(picture(), 'B', style=style), expected)


@pytest.mark.parametrize(
    'fields',
    [
        {'num_scales': 1, 'num_layers': 6, 'kernel_size': 3},
        {'spectral_norm': True},
        {'num_layers': 2},
    ],
    ids=str,
)
def test_other_discriminators(fields):
    _, model = official(True, discriminator=fields)
    networks = to_official(model.state_dict())
    first = 'model.0.model.1' if 'num_scales' in fields else 'Diss.0.0.model.1'
    ends = {'weight_orig', 'weight_u'} if 'spectral_norm' in fields else set()
    found = {key for key in networks['disB2'] if key.startswith(f'{first}.')}
    assert found == {f'{first}.{end}' for end in ends | {'weight', 'bias'}}
    state, follow = from_official(networks)
    assert bool(follow) is ('spectral_norm' in fields)
    described = model.describe(state)['discriminator']
    assert {key: described[key] for key in fields} == fields
    assert state.keys() == model.state_dict().keys()
    for key, value in state.items():
        if not key.endswith('.v'):  # computed from u
            assert torch.equal(value, model.state_dict()[key]), key


@pytest.mark.slow
def test_slim_and_half(tmp_path):
    """Only the networks that translate, and read styles from pictures."""
    content, model = tiny()
    torch.save(content, tmp_path / 'official.pth')
    for words, tolerance in (('--generator-only', 0), ('--half', 2e-2)):
        assert convert(tmp_path / 'official.pth', tmp_path / f'{words}.safetensors', words) == 0
        loaded, _ = load_model(tmp_path / f'{words}.safetensors', device='cpu')
        style = torch.randn(1, 8)
        found, expected = (m.translation(picture(), 'B', style=style) for m in (loaded, model))
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
        found, expected = (m.style_of(picture(), 'B') for m in (loaded, model))
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ('network', 'key', 'value', 'said'),
    [
        ('gen', 'decA6.0.weight', 0.0, 'not a key of the official DRIT: gen.decA6.0.weight'),
        ('enc_c', 'convA.1.model.2.weight', 0.0, 'enc_c.convA.1.model.2.weight'),
        ('disA', 'Diss.0.0.model.2.weight', 0.0, 'disA.Diss.0.0.model.2.weight'),
        ('gen', 'decA4.0.weight', None, 'there is no generators.A.last.weight'),
        ('enc_a', 'fc_B.0.bias', None, '1 missing (attribute_encoders.B.mean.bias)'),
        ('disB2', 'Diss.1.2.model.1.bias', None, 'random_discriminators.B.scales.1.2.bias'),
        ('gen', 'decB4.0.bias', 1.0, 'generators.B.last.bias (3, 3) instead of (3,)'),
        ('gen', 'decA2.0.model.1.weight', 1.0, 'generators.A.up.0.norm.gamma (3, 3) instead'),
        ('gen', 'decA2.0.model.1.weight', 'x', 'generators.A.up.0.norm.gamma is not a weight'),
        ('disA', 'Diss.0.3.weight_u', 1.0, 'scales.0.3.parametrizations.weight.0.u has no kernel'),
        ('enc_c', 'convB.0.model.1.bias', float('nan'), 'encoders.B.first.bias is not finite'),
    ],
)
def test_wrong_weights_get_one_line(tmp_path, capsys, network, key, value, said):
    content = dict(tiny()[0])
    weights = content[network] = dict(content[network])
    if value is None:
        del weights[key]
    elif isinstance(value, float):
        like = weights.get(key, torch.zeros(2))
        weights[key] = like * value if value != 1.0 else torch.ones(3, 3)
    else:
        weights[key] = value
    torch.save(content, tmp_path / 'wrong.pth')
    assert convert(tmp_path / 'wrong.pth', tmp_path / 'ours.pth') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and said in error, error
    assert not (tmp_path / 'ours.pth').exists()


def test_other_files_get_one_line(tmp_path, capsys):
    content, model = tiny()
    torch.save(content['gen'], tmp_path / 'one.pth')
    torch.save({key: content[key] for key in ('disA', 'enc_c')}, tmp_path / 'two.pth')
    torch.save(content | {'vgg': content['disA']}, tmp_path / 'more.pth')
    torch.save({'G_A': {'model.10.conv_block.1.weight': torch.ones(1)}}, tmp_path / 'other.pth')
    torch.save(model.state_dict(), tmp_path / 'ours.pth')
    for name, said in (
        ('one', 'its weights are of no named network: disA, disB, disA2, '),
        (
            'other',
            'It is of the official CycleGAN program: ugatit convert cyclegan',
        ),
        ('ours', 'It has weights of our DRIT, which need no converter'),
        ('two', 'there is no generator'),
        ('more', 'not of the official DRIT program: '),
        ('gone', 'no checkpoint file'),
    ):
        assert convert(tmp_path / f'{name}.pth', tmp_path / 'made.pth') == 1
        error = capsys.readouterr().err
        assert error.count('\n') == 1 and said in error, error
    torch.save(content, tmp_path / 'official.pth')
    assert convert(tmp_path / 'official.pth', tmp_path / 'made.pth', '--reverse') == 1
    assert 'It is of the official DRIT program: leave out --reverse' in capsys.readouterr().err
    state = dict(model.state_dict())
    del state['generators.A.last.bias']
    torch.save(state, tmp_path / 'less.pth')
    assert convert(tmp_path / 'less.pth', tmp_path / 'back.pth', '--reverse') == 1
    assert 'generators.A.last.bias' in capsys.readouterr().err
    with pytest.raises(ValueError, match='has no such weights: generators.A.cam'):
        to_official(model.state_dict() | {'generators.A.cam': torch.zeros(1)})
    with pytest.raises(SystemExit):
        convert('a', 'b', '--reverse', '--half')
