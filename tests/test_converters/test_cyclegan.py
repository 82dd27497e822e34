"""The official CycleGAN's files both ways, from a folder to a picture."""

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from cyclegan_helpers import (
    drawn,
    official_networks,
    pair_of_generators,
    pixels,
    recorded,
    tiny_cyclegan,
    with_weights,
)
from helpers import as_before_0_4, load_tool

from ugatit_mm.apis import load_model
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.converters.cyclegan import PROGRAM, from_official, read_networks, to_official

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')

# Keys of the official networks with two blocks: section 1 and 2 of the reference.
CONVS = {
    'G': ('1', '4', '7', *(f'{10 + i}.conv_block.{k}' for i in (0, 1) for k in (1, 5))),
    'D': ('0', '2', '5', '8', '11'),
}
CONVS['G'] += ('12', '15', '19')
NORMS = {
    'G': ('2', '5', '8', *(f'{10 + i}.conv_block.{k}' for i in (0, 1) for k in (2, 6)), '13', '16'),
    'D': ('3', '6', '9'),
}


def keys(network: str) -> list[str]:
    return [f'model.{conv}.{end}' for conv in CONVS[network[0]] for end in ('weight', 'bias')]


def official(seed: int = 0) -> dict[str, OrderedDict]:
    """Four official state dicts of random weights, and metadata as torch adds it."""
    model, networks = tiny_cyclegan(), {}
    torch.manual_seed(seed)
    for name, network in official_networks(model).items():
        weights = drawn(network).values()
        networks[name] = OrderedDict(zip(keys(name), weights, strict=True))
        networks[name]._metadata = OrderedDict({'': {'version': 1}})
    return networks


def write(folder: Path, networks: dict, epoch: str = 'latest', **fields) -> Path:
    folder.mkdir(exist_ok=True)
    for name, weights in networks.items():
        torch.save(weights, folder / f'{epoch}_net_{name}.pth', **fields)
    return folder


def with_statistics(name: str, weights: dict) -> OrderedDict:
    """As saved before October 2018, with the running statistics of each instance norm."""
    weights = OrderedDict(weights)
    for norm in NORMS[name[0]]:
        weights[f'model.{norm}.running_mean'] = torch.zeros(4)
        weights[f'model.{norm}.running_var'] = torch.ones(4)
        weights[f'model.{norm}.num_batches_tracked'] = torch.tensor(7)
    return weights


def convert(*words: str | Path) -> int:
    return load_tool('model_converters/cyclegan').main([str(word) for word in words])


def picture(size: tuple[int, int] = (16, 24)) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def translate(path: Path, target: str, image: torch.Tensor) -> torch.Tensor:
    model, _ = load_model(path, device='cpu')
    with torch.no_grad():
        return model.translation(image, target)


def test_official_folder_to_the_recorded_picture(tmp_path):
    """Official files -> ours -> a model from the file only -> the official pictures."""
    record = recorded('cyclegan_steps.npz')
    source = write(tmp_path / 'official', recorded('cyclegan_init.pt'))
    assert convert(source, tmp_path / 'ours.pth') == 0
    for target, source_domain in (('B', 'A'), ('A', 'B')):
        image = translate(tmp_path / 'ours.pth', target, pixels(record[f'step1_{source_domain}']))
        np.testing.assert_allclose(image, record[f'step1_fake_{target}'], atol=1e-5, rtol=0)
    image = translate(tmp_path / 'ours.pth', 'B', pixels(record['step1_A'][:1]))
    np.testing.assert_allclose(image, record['forward_G_A'], atol=1e-5, rtol=0)


@pytest.mark.parametrize('torch_of', ['today', 'before 1.6', 'before 0.4'])
def test_folder_to_mmagics_picture(tmp_path, capsys, monkeypatch, torch_of):
    """MMagic's generator with the same weights, from files of any age."""
    networks = official()
    with monkeypatch.context() as patched:
        if torch_of == 'before 0.4':
            patched.setattr(torch.Tensor, '__reduce_ex__', as_before_0_4)
        new = torch_of == 'today'
        source = write(tmp_path / 'run', networks, _use_new_zipfile_serialization=new)
    if torch_of == 'before 0.4':
        content = (source / 'latest_net_G_A.pth').read_bytes()
        assert b'_rebuild_tensor\n' in content and b'_rebuild_tensor_v2' not in content
    (source / 'loss_log.txt').touch()
    assert convert(source, tmp_path / 'ours.pth', '--domains', 'horse', 'zebra') == 0
    said = capsys.readouterr().out
    for word in (
        'CycleGAN, generators and discriminators, in_channels=3',
        'model.generator.num_blocks=2',
        'model.discriminator.num_layers=3',
        'domains.A=horse',
    ):
        assert word in said, word
    meta = read_checkpoint(tmp_path / 'ours.pth')['meta']
    assert meta['networks']['type'] == 'UnpairedCycleGAN'
    for target, name in (('zebra', 'G_A'), ('horse', 'G_B')):
        theirs = with_weights(pair_of_generators()[1], networks[name])
        with torch.no_grad():
            expected = theirs(picture())
        ours = translate(tmp_path / 'ours.pth', target, picture())
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    model, _ = load_model(tmp_path / 'ours.pth', device='cpu')
    assert model.discriminators['B'].model[0].bias.equal(networks['D_A']['model.0.bias'])


def test_back_is_exact(tmp_path):
    networks = official()
    ours, back = tmp_path / 'ours.safetensors', tmp_path / 'back'
    assert convert(write(tmp_path / 'run', networks), ours) == 0
    assert convert(ours, back, '--reverse') == 0
    assert sorted(os.listdir(back)) == [f'latest_net_{name}.pth' for name in sorted(networks)]
    for name, weights in networks.items():
        again = torch.load(back / f'latest_net_{name}.pth', weights_only=True)
        assert list(again) == list(weights) == keys(name)
        assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert convert(ours, back, '--reverse') == 1  # exists
    assert convert(ours, back, '--reverse', '--force') == 0


def test_deeper_networks_and_other_widths():
    model = tiny_cyclegan({'base_channels': 2, 'num_blocks': 9}, {'num_layers': 4})
    networks = to_official(model.state_dict())
    assert list(networks['G_A'])[-2:] == ['model.26.weight', 'model.26.bias']
    assert list(networks['D_A'])[-2:] == ['model.14.weight', 'model.14.bias']
    state, dropped = from_official(networks)
    assert dropped == [] and state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    found = model.describe(state)
    assert found['generator']['num_blocks'] == 9 and found['discriminator']['num_layers'] == 4


@pytest.mark.parametrize('name', ['latest_net_G.pth', 'horse2zebra.pth', '200_net_G_A.pth'])
def test_one_generator_only_translates_into_its_domain(tmp_path, name):
    """Published single directions: from A to B, whatever the file's name."""
    networks = official()
    torch.save(networks['G_A'], tmp_path / name)
    ours = tmp_path / 'ours.pth'
    assert convert(tmp_path / name, ours) == 0
    torch.testing.assert_close(
        translate(ours, 'B', picture()),
        with_weights(tiny_cyclegan().generators['B'], networks['G_A'])(picture()).detach(),
    )
    model, meta = load_model(ours, device='cpu')
    assert model.targets() == ('B',) and meta['networks']['targets'] == ['B']
    with pytest.raises(ValueError, match="do not translate into 'A', only into B"):
        model.translation(picture(), 'A')
    back = tmp_path / 'back'
    assert convert(ours, back, '--reverse') == 0
    assert os.listdir(back) == ['latest_net_G_A.pth']


def test_the_other_generator_only(tmp_path):
    networks = official()
    folder = write(tmp_path / 'run', {'G_B': networks['G_B']})
    assert convert(folder / 'latest_net_G_B.pth', tmp_path / 'file.pth') == 0
    assert convert(folder, tmp_path / 'folder.pth') == 0
    for name in ('file.pth', 'folder.pth'):
        model, _ = load_model(tmp_path / name, device='cpu')
        assert model.targets() == ('A',)
        weight = model.generators['A'].encoder[0].conv.weight
        assert torch.equal(weight, networks['G_B']['model.1.weight'])


def test_generator_only_and_half(tmp_path):
    source = write(tmp_path / 'run', official())
    assert convert(source, tmp_path / 'all.pth') == 0
    assert convert(source, tmp_path / 'half.pth', '--generator-only', '--half') == 0
    content = read_checkpoint(tmp_path / 'half.pth')
    assert 'discriminator' not in content['meta']['networks']
    assert {value.dtype for value in content['state_dict'].values()} == {torch.float16}
    whole, half = (translate(tmp_path / f'{x}.pth', 'A', picture()) for x in ('all', 'half'))
    torch.testing.assert_close(whole, half, atol=5e-3, rtol=0)
    assert not torch.equal(whole, half)


@pytest.mark.parametrize('wrapped', [False, True])
def test_running_statistics_are_left_out_and_listed(tmp_path, capsys, wrapped):
    networks = official()
    old = {name: with_statistics(name, weights) for name, weights in networks.items()}
    count = sum(len(old[name]) - len(networks[name]) for name in networks)
    if wrapped:
        old = {n: {f'module.{key}': v for key, v in w.items()} for n, w in old.items()}
    state, dropped = from_official(PROGRAM.open(old, 'old.pth')[0])
    assert len(dropped) == count == 3 * (9 + 9 + 3 + 3)
    assert 'G_A.model.10.conv_block.2.running_var' in dropped
    assert all(torch.equal(state[key], v) for key, v in from_official(networks)[0].items())
    assert convert(write(tmp_path / 'run', old), tmp_path / 'ours.pth') == 0
    assert f'left out: {count} running statistics (G_A.model.2.running_mean' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ('network', 'key'),
    [
        ('G_A', 'model.2.weight'),  # a batch norm's
        ('G_A', 'model.1.running_mean'),
        ('G_B', 'model.10.conv_block.6.weight'),  # with dropout
        ('D_A', 'model.1.running_mean'),  # no norm after the first convolution
        ('D_B', 'model.12.running_mean'),
        ('D_A', 'model.3.running_sum'),
        ('G_A', 'model.model.0.weight'),  # a U-Net
    ],
)
def test_unknown_keys_are_named(network, key):
    networks = official()
    networks[network][key] = torch.zeros(4)
    with pytest.raises(ValueError, match=f'not a key of the official .*: {network}.{key}'):
        from_official(networks)


def test_missing_keys_are_named(tmp_path, capsys):
    networks = official()
    for network, key, said in (
        ('G_B', 'model.4.bias', 'generators.A.encoder.1.conv.bias'),
        ('G_A', 'model.12.weight', 'generators.B.decoder.0.conv.weight'),
        ('G_B', 'model.12.weight', 'generators.A has no decoder of transposed'),
        ('D_A', 'model.8.bias', 'discriminators.B.model.8.bias'),
    ):
        less = {name: dict(weights) for name, weights in networks.items()}
        del less[network][key]
        source = write(tmp_path / f'{network} {key}', less)
        assert convert(source, tmp_path / 'ours.pth') == 1
        error = capsys.readouterr().err
        assert error.startswith(f'error: {source}: ') and error.count('\n') == 1
        assert said in error, error
    del networks['D_B']
    assert convert(write(tmp_path / 'three', networks), tmp_path / 'ours.pth') == 1
    assert 'discriminators.A.model.0.weight' in capsys.readouterr().err
    assert not (tmp_path / 'ours.pth').exists()


def test_which_epoch_of_a_folder(tmp_path):
    """The latest; without it the largest number of an epoch, then of an iteration; or as asked."""
    folder = tmp_path / 'run'
    marks = {'latest': 1, '95': 2, '200': 3, 'iter_5000': 4}
    for epoch, seed in marks.items():
        write(folder, official(seed), epoch)

    def read(epoch: str | None = None) -> int:
        weight = read_networks(folder, epoch)[0]['G_A']['model.1.weight']
        return next(s for s in marks.values() if official(s)['G_A']['model.1.weight'].equal(weight))

    assert [read(epoch) for epoch in (None, *marks)] == [1, 1, 2, 3, 4]
    for epoch, expected in (('latest', 3), ('200', 2), ('95', 4)):
        for file in folder.glob(f'{epoch}_net_*'):
            file.unlink()
        assert read() == expected
    with pytest.raises(ValueError, match=r'no networks of epoch 95, only of iter_5000'):
        read_networks(folder, '95')


def test_wrong_sources_get_one_line(tmp_path, capsys):
    networks = official()
    empty = tmp_path / 'empty'
    empty.mkdir()
    pix2pix = write(tmp_path / 'pix2pix', {'G': networks['G_A'], 'D': networks['D_A']})
    twice = write(tmp_path / 'twice', {'G': networks['G_A'], 'G_A': networks['G_A']})
    judge = tmp_path / 'latest_net_D_A.pth'
    torch.save(networks['D_A'], judge)
    (tmp_path / 'page_net_G.pth').write_text('<html>')
    torch.save({'model.1.weight': 'a'}, tmp_path / 'text.pth')
    torch.save(networks | {'G': networks['G_A']}, tmp_path / 'nested.pth')
    torch.save({'vgg': networks['D_B']} | networks, tmp_path / 'more.pth')
    broken = dict(networks['G_A'])
    broken['model.1.weight'] = broken['model.1.weight'] * torch.nan
    torch.save(broken, tmp_path / 'nan.pth')
    for source, said in (
        (empty, 'it has no networks: latest_net_G_A.pth and so on are expected'),
        (pix2pix, 'latest_net_D.pth is of no network of CycleGAN: it has G_A, G_B, D_A, D_B, G'),
        (twice, 'are both from A to B: convert one of them'),
        (judge, 'there is no generator'),
        (tmp_path / 'gone', 'no checkpoint file'),
        (tmp_path / 'page_net_G.pth', 'is not a checkpoint that can be read safely'),
        (tmp_path / 'text.pth', 'generators.B.encoder.0.conv.weight is not a weight'),
        (tmp_path / 'nested.pth', 'G and G_A are both from A to B: convert one of them'),
        (tmp_path / 'more.pth', 'not of the official CycleGAN program: vgg.model.0.weight'),
        (tmp_path / 'nan.pth', 'is not finite'),
    ):
        assert convert(source, tmp_path / 'ours.pth') == 1
        error = capsys.readouterr().err
        assert error.count('\n') == 1 and error.startswith('error: ') and said in error, error
    assert not (tmp_path / 'ours.pth').exists()
    with pytest.raises(ValueError, match='an epoch is chosen from a folder, this is one file'):
        read_networks(judge, '200')


def test_only_cyclegans_weights_go_back(tmp_path, tiny, capsys):
    torch.save(tiny().state_dict(), tmp_path / 'ugatit.pth')
    assert convert(tmp_path / 'ugatit.pth', tmp_path / 'back', '--reverse') == 1
    assert 'no decoder of transposed' in capsys.readouterr().err
    state = tiny_cyclegan().state_dict() | {'generators.A.cam.weight': torch.zeros(1)}
    with pytest.raises(ValueError, match=r'has no such weights: generators\.A\.cam\.weight'):
        to_official(state)


def test_the_way_back_takes_no_options_of_the_way_here(capsys):
    for option in ('--half', '--generator-only', '--epoch=5', '--which=G_A'):
        with pytest.raises(SystemExit):
            convert('a', 'b', '--reverse', option)
        assert '--reverse takes neither' in capsys.readouterr().err
