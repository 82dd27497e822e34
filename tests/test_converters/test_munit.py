"""The official MUNIT's and UNIT's files both ways, from a folder to a picture."""

import os
from pathlib import Path

import pytest
import torch
from helpers import assert_same, load_tool
from munit_helpers import MUNIT, UNIT, pixels, recorded, tiny
from torch import Tensor

from ugatit_mm.apis import load_model
from ugatit_mm.converters import CheckpointError, read_checkpoint
from ugatit_mm.converters.munit import PROGRAMS, from_official, read_networks, to_official

KINDS = pytest.mark.parametrize('kind', [MUNIT, UNIT], ids=lambda kind: kind.NAME)
# Names of some official weights with two blocks, and ours: section 2 of the reference.
SOME = {
    'enc_content.model.0.conv.weight': 'encoders.A.layers.0.conv.weight',
    'enc_content.model.3.model.1.model.0.conv.bias': 'encoders.A.layers.4.conv1.bias',
    'enc_style.model.4.conv.weight': 'style_encoders.A.layers.4.weight',
    'enc_style.model.6.bias': 'style_encoders.A.style.bias',
    'dec.model.0.model.1.model.1.conv.weight': 'generators.A.blocks.1.conv2.weight',
    'dec.model.2.norm.gamma': 'generators.A.decoder.1.norm.gamma',
    'dec.model.4.conv.bias': 'generators.A.decoder.3.conv.bias',
    'dec.model.5.conv.weight': 'generators.A.decoder.4.weight',
    'mlp.model.2.fc.bias': 'generators.A.mlp.2.bias',
    'cnns.0.0.conv.weight': 'discriminators.A.scales.0.0.weight',
    'cnns.2.3.bias': 'discriminators.A.scales.2.3.bias',
}
STATISTICS = {
    MUNIT: ('enc_content.model.0.norm', 'enc_content.model.3.model.1.model.1.norm'),
    UNIT: ('enc.model.1.norm', 'dec.model.0.model.0.model.1.norm'),
}


def official(kind: type) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Files of random weights as the program writes them, by ``gen`` and ``dis``."""
    return to_official(tiny(kind, seed=1).state_dict(), kind.__name__)


def write(folder: Path, files: dict, iteration: int = 1_000_000) -> Path:
    folder.mkdir(exist_ok=True)
    for name, networks in files.items():
        torch.save(networks, folder / f'{name}_{iteration:08}.pt')
    return folder


def convert(kind: type, *words: str | Path) -> int:
    return load_tool(f'model_converters/{kind.NAME}').main([str(word) for word in words])


def translate(path: Path, target: str, image: Tensor, style: Tensor | None) -> Tensor:
    model, _ = load_model(path, device='cpu')
    with torch.no_grad():
        return model.translation(image, target, style=style)


@KINDS
def test_official_files_to_the_recorded_picture(kind, tmp_path):
    """Official files -> ours -> a model from the file only -> the official pictures."""
    networks, record = recorded(f'{kind.NAME}_init.pt'), recorded(f'{kind.NAME}_forward.npz')
    files = {f: {x: networks[f'{f}_{x}'] for x in 'ab'} for f in ('gen', 'dis')}
    folder = write(tmp_path / 'run', files)
    assert convert(kind, folder, tmp_path / 'ours.pth') == 0
    one = folder / 'gen_01000000.pt'  # without a converter, too
    torch.save(networks, tmp_path / 'all.pt')
    for path in (tmp_path / 'ours.pth', one, tmp_path / 'all.pt'):
        for source, target in ('ab', 'ba'):
            style = record[f's_{target}'] if kind is MUNIT else None
            image = pixels(record[f'x_{source}'])
            found = translate(path, target.upper(), image, style)
            wanted = record[f'x_{source}{target}']
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    back = tmp_path / 'back'
    assert convert(kind, tmp_path / 'ours.pth', back, '--reverse') == 0
    for name, of_file in files.items():
        again = torch.load(back / f'{name}_00000000.pt', weights_only=True)
        for x in 'ab':
            assert_same(dict(sorted(again[x].items())), dict(sorted(of_file[x].items())))


@KINDS
def test_names(kind):
    """Every weight has an official name, and some are those of the reference."""
    state = tiny(kind).state_dict()
    files = to_official(state, kind.__name__)
    merged = {x: files['gen'][x] | files['dis'][x] for x in 'ab'}
    back, dropped = from_official(merged, kind.__name__)
    assert_same(dict(sorted(back.items())), dict(sorted(state.items())))
    assert len(dropped) == (2 * 4 * 2 if kind is MUNIT else 0)  # two buffers of four AdaINs
    for theirs, ours in SOME.items():
        if kind is UNIT:
            theirs = theirs.replace('enc_content.', 'enc.')
        if ours in state:
            assert torch.equal(merged['a'][theirs], state[ours]), theirs
            theirs_b, ours_b = merged['b'][theirs], state[ours.replace('.A.', '.B.')]
            assert torch.equal(theirs_b, ours_b)
        else:
            assert kind is UNIT and theirs not in merged['a']
    if kind is MUNIT:
        assert merged['a']['enc_style.model.6.weight'].shape == (4, 16, 1, 1)
        zeros = merged['a']['dec.model.0.model.1.model.0.norm.running_mean']
        ones = merged['a']['dec.model.0.model.1.model.0.norm.running_var']
        assert torch.equal(zeros, torch.zeros(16)) and torch.equal(ones, torch.ones(16))


@KINDS
def test_a_folder_and_what_is_beside(kind, tmp_path, capsys):
    """The newest iteration; statistics from before July 2018 are dropped and counted."""
    files = official(kind)
    folder = write(tmp_path / 'run', {k: {x: {} for x in 'ab'} for k in files}, 999_999)
    for place in STATISTICS[kind]:
        files['gen']['a'][f'{place}.running_mean'] = torch.zeros(4)
        files['gen']['a'][f'{place}.running_var'] = torch.ones(4)
    write(folder, files)
    torch.save({'gen': {'param_groups': []}}, folder / 'optimizer.pt')
    assert convert(kind, folder, tmp_path / 'ours.pth', '--domains', 'cat', 'dog') == 0
    said = capsys.readouterr().out
    count = 20 if kind is MUNIT else 4
    for word in (
        f'left out: {count} running statistics',
        f'{kind.ROW}, encoders and ',
        'model.encoder.num_blocks=2',
        'model.discriminator.num_scales=3',
        'domains.A=cat',
    ):
        assert word in said, word
    meta = read_checkpoint(tmp_path / 'ours.pth')['meta']
    assert meta['networks']['type'] == kind.__name__
    one = folder / 'gen_01000000.pt'
    assert convert(kind, one, tmp_path / 'one.safetensors', '--half') == 0
    state = read_checkpoint(tmp_path / 'one.safetensors')['state_dict']
    assert {key.split('.')[0] for key in state} == {*kind.TRANSLATES}
    with pytest.raises(CheckpointError, match=rf'ugatit convert {kind.NAME} {folder} ours'):
        load_model(folder, device='cpu')


@KINDS
def test_what_is_not_of_the_program(kind, tmp_path, capsys):
    other = UNIT if kind is MUNIT else MUNIT
    files, ours = official(kind), tmp_path / 'ours.pth'
    folder = write(tmp_path / 'run', files)
    os.mkdir(tmp_path / 'empty')
    extra = {'a': files['gen']['a'] | {'dec.model.7.conv.weight': torch.ones(2, 2)}}
    torch.save(files['gen'] | extra, tmp_path / 'extra.pt')
    lone = {key: value for key, value in files['gen']['a'].items() if '.model.5.' not in key}
    torch.save({'a': lone, 'b': lone}, tmp_path / 'lacking.pt')
    torch.save({'a': files['gen']['a']}, tmp_path / 'one_domain.pt')
    torch.save(files['gen']['a'], tmp_path / 'lone.pt')
    torch.save({'state_dict': tiny(kind).state_dict(), 'meta': {}}, tmp_path / 'state.pt')
    for what, source, said in (
        (
            other,
            folder,
            f'of the official {kind.ROW} program: ugatit convert {kind.NAME}',
        ),
        (kind, tmp_path / 'empty', 'it has no generators: gen_01000000.pt or so is expected'),
        (kind, tmp_path / 'extra.pt', 'not a key of the official'),
        (kind, tmp_path / 'lacking.pt', 'there is no decoder'),
        (kind, folder / 'dis_01000000.pt', 'there is no decoder'),
        (kind, tmp_path / 'one_domain.pt', 'lack encoders.B.layers.0.conv.weight'),
        (kind, tmp_path / 'absent.pt', 'no checkpoint file'),
        (kind, tmp_path / 'lone.pt', 'its weights are of no named network: a, b are expected'),
        (kind, tmp_path / 'state.pt', f'weights of our {kind.ROW}, which need no converter'),
    ):
        assert convert(what, source, ours) == 1
        error = capsys.readouterr().err
        assert said in error and error.count('\n') == 1, error
        assert not ours.exists()
    odd = tmp_path / 'odd'
    odd.mkdir()
    (odd / 'gen_last.pt').touch()
    with pytest.raises(CheckpointError, match='odd: it has no generators: gen_01000000.pt'):
        load_model(odd)
    networks, left = read_networks(folder, kind.__name__)
    assert networks.keys() == {'a', 'b'} and not left
    assert PROGRAMS[kind.__name__].signed(files['gen'])
    with pytest.raises(ValueError, match='has no such weights: generators.A.cam'):
        to_official({'generators.A.cam': torch.ones(1)}, kind.__name__)


@KINDS
def test_a_file_and_the_discriminators_of_before_are_no_pair(kind, tmp_path):
    state, back = tiny(kind, seed=1).state_dict(), tmp_path / 'back'
    slim = {key: value for key, value in state.items() if key.startswith(tuple(kind.TRANSLATES))}
    for name, weights in (('whole', state), ('slim', slim)):
        torch.save({'state_dict': weights, 'meta': {}}, tmp_path / f'{name}.pth')
        assert convert(kind, tmp_path / f'{name}.pth', back, '--reverse', '--force') == 0
    assert os.listdir(back) == ['gen_00000000.pt']
