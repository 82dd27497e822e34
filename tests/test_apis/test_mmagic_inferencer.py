"""MMagic's inferencer with our models: nothing is guessed, any number of pictures."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, TINY_OF
from mmagic.apis import MMagicInferencer
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm.apis import TranslationInferencer
from ugatit_mm.config import load_config
from ugatit_mm.converters import CheckpointError, write_checkpoint


def written(name: str, folder: Path) -> tuple[Path, Path]:
    """A config and weights for it."""
    cfg = load_config(f'{name}_custom', {**TINY_OF[name], 'data_root': 'none'})
    cfg.dump(folder / 'config.py')
    init_default_scope('mmagic')
    torch.manual_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    write_checkpoint(folder / 'w.pth', state, {})
    return folder / 'config.py', folder / 'w.pth'


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return written('ugatit', tmp_path)


@pytest.fixture
def editor(files) -> MMagicInferencer:
    config, weights = map(str, files)
    return MMagicInferencer('ugatit', model_config=config, model_ckpt=weights, device='cpu')


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    (folder / 'more').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ('a.png', 'a.bmp', 'more/b.png'):
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize('name', ['ugatit', 'unpaired_cyclegan'])
def test_without_weights_there_is_no_picture(name):
    with pytest.raises(ValueError, match=r"^\w+ needs trained weights: give model_ckpt='FILE'"):
        MMagicInferencer(name, device='cpu')
    with pytest.raises(FileNotFoundError, match=r'^no checkpoint file none\.pth$'):
        MMagicInferencer(name, model_ckpt='none.pth', device='cpu')


def test_weights_that_do_not_fit_are_refused(files, tmp_path, capsys):
    config, weights = files
    other = load_config('ugatit_custom', {**TINY, 'model.generator.base_channels': 8})
    other.dump(tmp_path / 'other.py')
    said = r'w\.pth: the weights do not fit the networks: \d+ of another shape \(.*\)\. Check model'
    with pytest.raises(CheckpointError, match=said) as error:
        MMagicInferencer('ugatit', model_config=str(tmp_path / 'other.py'), model_ckpt=str(weights))
    assert '\n' not in str(error.value)
    (tmp_path / 'bad.pth').write_bytes(b'no weights')
    with pytest.raises(CheckpointError, match=r'bad\.pth is not a checkpoint'):
        MMagicInferencer(
            'ugatit', model_config=str(config), model_ckpt=str(tmp_path / 'bad.pth'), device='cpu'
        )
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(
    'option', [{'config_name': 'ugatit_selfi2anime'}, {'model_setting': 20}, {'model_setting': -1}]
)
def test_unknown_settings_are_refused(option):
    """MMagic's own takes its first one for a name that it does not know."""
    ((field, value),) = option.items()
    with pytest.raises(ValueError, match=rf'^{field} must be one of .*, got {value!r}$'):
        MMagicInferencer('ugatit', **option, device='cpu')


@pytest.mark.parametrize('name', ['ugatit', 'cyclegan'])
def test_slim_files_are_silent(name, photos, tmp_path, capsys):
    config, weights = written(name, tmp_path)
    state = torch.load(weights)['state_dict']
    slim = {key: value for key, value in state.items() if key.startswith('generators.')}
    assert len(slim) < len(state)
    write_checkpoint(tmp_path / 'slim.safetensors', slim, {})
    capsys.readouterr()
    pixels = []
    for file in (weights, tmp_path / 'slim.safetensors'):
        editor = MMagicInferencer(
            {'cyclegan': 'unpaired_cyclegan'}.get(name, name),
            model_config=str(config),
            model_ckpt=str(file),
            device='cpu',
        )
        result, picture = editor.infer(img=str(photos / 'a.png'))
        assert result['infer_results'].shape == (3, 32, 32) and picture.shape == (1, 3, 32, 32)
        pixels.append(picture)
    assert torch.equal(*pixels)
    assert capsys.readouterr() == ('', '')


def test_a_trainings_folder_and_capitals(files, photos, tmp_path):
    config, weights = files
    cfg = load_config(str(config), {'model.domains.A': 'red', 'model.default_domain': 'RED'})
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'work').mkdir()
    shutil.copy(weights, tmp_path / 'work' / 'iter_2.pth')
    words = {'model_config': str(tmp_path / 'config.py'), 'device': 'cpu'}
    editor = MMagicInferencer('ugatit', model_ckpt=str(tmp_path / 'work'), **words)
    editor.infer(img=str(photos / 'a.png'), result_out_dir=str(tmp_path / 'a.png'))
    ours = TranslationInferencer(tmp_path / 'work', str(config), device='cpu')
    (wanted,) = ours(photos / 'a.png', 'A', restore=False)
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'a.png')), wanted.image)


def test_folders_and_lists(editor, files, photos, tmp_path, monkeypatch):
    """In: a folder, a list, a pattern. Out: a folder, made where there is none; or nowhere."""
    ours = TranslationInferencer(files[1], str(files[0]), device='cpu')
    names = {'a.png': 'a.bmp', 'a_2.png': 'a.png', 'more/b.png': 'more/b.png'}
    out = tmp_path / 'new' / 'out'
    results, pictures = editor.infer(img=str(photos), result_out_dir=str(out))
    assert len(results) == 3 and pictures.shape == (3, 3, 32, 32)
    assert {str(f.relative_to(out)) for f in out.rglob('*.png')} == set(names)
    for result, source in names.items():
        (wanted,) = ours(photos / source, restore=False)
        assert np.array_equal(np.asarray(Image.open(out / result)), wanted.image)
    one = str(photos / 'a.png')
    for inputs, place, made in (
        ([one, photos / 'more' / 'b.png'], 'list', ['a.png', 'b.png']),
        ((one,), 'tuple/', ['a.png']),
        (f'{photos}/*.png', 'pattern', ['a.png']),
        (one, 'folder', ['a.png']),
        (one, 'file.png', None),
        (one, 'below/file.jpg', None),
        ([one], 'list.png', None),
    ):
        results, pictures = editor.infer(img=inputs, result_out_dir=os.path.join(tmp_path, place))
        assert isinstance(results, dict) == (inputs is one) and len(pictures) == len(made or 'x')
        if made is None:
            assert Image.open(tmp_path / place).size == (32, 32)
        else:
            assert sorted(f.name for f in (tmp_path / place).iterdir()) == made
    monkeypatch.setenv('HOME', str(tmp_path))
    editor.infer(img=one, result_out_dir='~/home')
    assert [f.name for f in (tmp_path / 'home').iterdir()] == ['a.png']
    before = sorted(tmp_path.rglob('*'))
    assert editor.infer(img=[one, one])[1].shape == (2, 3, 32, 32)
    assert sorted(tmp_path.rglob('*')) == before


def test_what_cannot_be_is_refused_before_the_run(editor, photos, tmp_path):
    one, two, rgb = str(photos / 'a.png'), str(photos / 'more/b.png'), np.zeros((8, 8, 3), np.uint8)
    (tmp_path / 'notes').write_text('mine')
    shutil.copy(one, tmp_path / 'b.png')
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    for kind, inputs, out, said in (
        (ValueError, [one, two], 'r.png', 'OUT is one file, and 2 are to be translated: name a fo'),
        (ValueError, str(photos), 'r.jpg', 'OUT is one file, and 3 are to be translated: name a f'),
        (ValueError, one, 'r.mp4', 'OUT: this type of file cannot be written: name one that ends'),
        (ValueError, one, 'r.psd', 'OUT: this type of file cannot be written: name one that ends'),
        (ValueError, one, 'notes', 'OUT is a file: name a folder, or a file that ends in .png'),
        (ValueError, one, 'photos', 'DIR/photos/a.png is itself an input: choose another'),
        (ValueError, one, 'photos/a.png', 'DIR/photos/a.png is itself an input: choose'),
        (ValueError, [two, str(tmp_path / 'b.png')], '', 'DIR/b.png is itself an input'),
        (FileNotFoundError, [one, 'none.png'], 'x', 'img none.png is not a file'),
        (FileNotFoundError, 'none*', 'x', 'no file fits this pattern'),
        (ValueError, None, 'x', 'there is nothing to translate: give img'),
        (ValueError, [], 'x', 'there is nothing to translate: give img'),
        (TypeError, rgb, 'x', 'img must be a path or a list of paths, got ndarray: pictures in'),
        (TypeError, [one, 3], 'x', 'img must be a path or a list of paths, got int'),
    ):
        place = os.path.join(tmp_path, out)
        with pytest.raises(kind) as error:
            editor.infer(img=inputs, result_out_dir=place)
        said = said.replace('OUT', f'result_out_dir={place!r}').replace('DIR', str(tmp_path))
        assert said in str(error.value) and '\n' not in str(error.value)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before
