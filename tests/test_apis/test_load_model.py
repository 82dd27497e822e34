"""Files of weights name their model; older ones, which name none, still load."""

import copy
import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from helpers import assert_same, saved_weights, tiny_config, write_images
from mmengine.config import Config

from ugatit_mm import cli
from ugatit_mm.apis import TranslationInferencer, load_model, run_test, run_training
from ugatit_mm.apis.loading import DEFAULT_WEIGHTS, open_weights
from ugatit_mm.converters import CheckpointError, read_checkpoint, write_checkpoint
from ugatit_mm.converters.files import save
from ugatit_mm.models import UGATIT, UnpairedCycleGAN
from ugatit_mm.provenance import sha256

QUICK = {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 100}
IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The config of a training of two iterations."""
    root = tmp_path_factory.mktemp('loading')
    write_images(root / 'data')
    cfg = tiny_config(root / 'data', root / 'work', **QUICK)
    run_training(copy.deepcopy(cfg))
    return cfg


@pytest.mark.slow
def test_a_checkpoint_of_before_there_were_several_models(trained, tmp_path):
    """It does not name its model, and is the same otherwise."""
    new = Path(trained.work_dir) / 'iter_2.pth'
    content = read_checkpoint(new)
    assert content['meta']['networks'].pop('type') == 'UGATIT'
    assert content['meta']['networks'] == {
        'recipe': 'tensorflow',
        'domains': {'A': 'A', 'B': 'B'},
        'default_domain': 'B',
        'generator': {
            'type': 'UGATITGenerator',
            **dict(in_channels=3, out_channels=3, base_channels=4, num_blocks=1, img_size=32),
            **dict(light=True, norm='adalin', cam=True),
        },
        'discriminator': {
            'type': 'UGATITDiscriminator',
            **dict(in_channels=3, base_channels=4, num_layers=(5, 4), cam=True),
        },
    }
    assert list(content['ugatit']) == [
        *('position', 'seed', 'random', 'counts', 'split', 'optimizers', 'domains'),
        'settings',
    ]
    work = tmp_path / 'old'
    work.mkdir()
    old = work / 'iter_2.pth'
    save(old, content)
    models = [load_model(path, device='cpu')[0] for path in (old, new)]
    assert type(models[0]) is UGATIT and models[0].discriminators is not None
    with torch.no_grad():
        assert_same(*(model.translation(IMAGE, 'B') for model in models))
    assert_same(*(run_test(trained, path) for path in (old, new)))
    states = []
    for path in (old, new):
        cfg = copy.deepcopy(trained)
        cfg.work_dir, cfg.experiment_name = str(tmp_path / path.parent.name), f'{path.parent.name}3'
        cfg.resume, cfg.load_from, cfg.train_cfg.max_iters = True, str(path), 3
        run_training(cfg)
        states.append(read_checkpoint(Path(cfg.work_dir) / 'iter_3.pth'))
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'ugatit'):
        assert_same(*(state[part] for state in states))


def test_the_sample_pair():
    content = read_checkpoint(DEFAULT_WEIGHTS)
    assert content['meta']['networks']['domains'] == {'A': 'photo', 'B': 'drawing'}
    model, meta = load_model(device='cpu')
    assert type(model) is UGATIT and meta == content['meta']
    assert_same(
        {key: value.float() for key, value in content['state_dict'].items()},
        {key: model.state_dict()[key] for key in content['state_dict']},
    )


def test_a_file_that_names_no_model(tmp_path):
    """As all were written before there were several."""
    content = read_checkpoint(DEFAULT_WEIGHTS)
    assert content['meta']['networks'].pop('type') == 'UGATIT'
    write_checkpoint(tmp_path / 'old.safetensors', content['state_dict'], content['meta'])
    model, meta = load_model(tmp_path / 'old.safetensors', device='cpu')
    assert type(model) is UGATIT and 'type' not in meta['networks']
    assert_same(model.state_dict(), load_model(device='cpu')[0].state_dict())


def test_a_file_names_its_model(trained, tmp_path):
    cfg = tiny_config(trained.data_root, tmp_path / 'work', 'cyclegan', **QUICK)
    runner = run_training(copy.deepcopy(cfg))
    path = tmp_path / 'work' / 'iter_2.pth'
    model, meta = load_model(path, device='cpu')
    assert type(model) is UnpairedCycleGAN and meta['networks']['type'] == 'UnpairedCycleGAN'
    with torch.no_grad():
        expected = runner.model.eval().translation(IMAGE, 'B')
        assert torch.equal(model.translation(IMAGE, 'B'), expected)
    content = read_checkpoint(path)
    for name, said in (
        ('UGATIT', r'UGATIT|generator'),
        ('CycleGAN', "must be one of .*'UnpairedCycleGAN'.*, got 'CycleGAN'"),
        (3, 'must be one of .*, got 3'),
        (['UGATIT'], r"must be one of .*, got \['UGATIT'\]"),
    ):
        content['meta']['networks']['type'] = name
        save(tmp_path / 'odd.pth', content)
        with pytest.raises(CheckpointError, match=rf'odd\.pth: .*({said})'):
            load_model(tmp_path / 'odd.pth', device='cpu')
    with pytest.raises(CheckpointError, match=r'iter_2\.pth: .*Check model.recipe'):
        run_test(trained, path)
    with pytest.raises(CheckpointError, match=r'iter_2\.pth: .*Check model.img_size'):
        load_model(Path(trained.work_dir) / 'iter_2.pth', cfg)


def test_half_weights_are_loaded_as_what_they_are(trained, tmp_path):
    state = saved_weights(Path(trained.work_dir) / 'iter_2.pth')
    half = {key: value.half() for key, value in state.items() if key.startswith('generators.')}
    save(tmp_path / 'half.pth', half)
    for config in (None, trained):
        model, _ = load_model(tmp_path / 'half.pth', config, 'cpu')
        assert model.discriminators is None
        loaded = model.state_dict()
        assert_same({k: loaded[k] for k in half}, {k: v.float() for k, v in half.items()})


def test_a_trainings_folder_is_its_last_whole_checkpoint(tiny, tmp_path, monkeypatch, capsys):
    """And it is said which."""
    told = []
    monkeypatch.setattr('ugatit_mm.apis.loading.print_log', lambda text, *_: told.append(text))
    work = tmp_path / 'work'
    work.mkdir()
    states = []
    for step in (1, 2, 3):
        torch.manual_seed(step)
        states.append(tiny().state_dict())
        write_checkpoint(work / f'iter_{step}.pth', states[-1], {})
        os.utime(work / f'iter_{step}.pth', (step, step))
    assert_same(load_model(work, device='cpu')[0].state_dict(), states[2])
    content = (work / 'iter_3.pth').read_bytes()
    (work / 'iter_3.pth').write_bytes(content[: len(content) // 2])
    inferencer = TranslationInferencer(f'{work}/', device='cpu')
    assert_same(inferencer.model.state_dict(), states[1])
    assert inferencer.checkpoint == str(work / 'iter_2.pth')
    (said,) = told
    assert said.startswith(f'passed over: {work}/iter_3.pth is not a checkpoint')
    digest, expected = hashlib.sha256(), hashlib.sha256((work / 'iter_2.pth').read_bytes())
    assert open_weights(work, digest)[0] == inferencer.checkpoint
    assert digest.digest() == expected.digest()
    for step in (1, 2):
        (work / f'iter_{step}.pth').write_bytes(b'no weights')
    words = ['--ckpt', str(work)]
    assert cli.main(['translate', '--example', *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f'error: none of the checkpoints in {work} is whole: ')
    assert said.count('\n') == 1
    for file in work.glob('*.pth'):
        file.unlink()
    for command in (['translate', '--example'], ['export', '--format', 'torchscript'], ['web']):
        assert cli.main([*command, *words]) == 1
        assert capsys.readouterr().err == (
            f'error: {work} is a folder without a checkpoint (iter_N.pth): name a file of weights, '
            'or the work dir of a training\n'
        )


@pytest.mark.slow
def test_a_test_of_a_trainings_folder(trained):
    work = Path(trained.work_dir)
    of_folder = run_test(trained, work)
    results = json.loads((work / 'results_iter_2.json').read_text())
    assert results['checkpoint']['name'] == 'iter_2.pth'
    assert results['checkpoint']['sha256'] == sha256(work / 'iter_2.pth')
    assert_same(of_folder, run_test(trained, work / 'iter_2.pth'))
