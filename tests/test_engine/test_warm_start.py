"""A training that starts from given weights: of one direction, of other domains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, TINY_OF, saved_weights, tiny_config
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.config import load_config
from ugatit_mm.converters import CheckpointError, write_checkpoint
from ugatit_mm.converters.pytorch import to_official
from ugatit_mm.engine import PreflightError
from ugatit_mm.engine.warm_start import flat, load_parts
from ugatit_mm.models.base import UnpairedTranslation


def model_of(name: str, seed: int, **fields: Any) -> UnpairedTranslation:
    init_default_scope('mmagic')
    options = {f'model.{key}': value for key, value in fields.items()}
    cfg = load_config(f'{name}_custom', {**TINY_OF[name], **options})
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def equal(one: dict, two: dict, begin: str) -> bool:
    keys = [key for key in one if key.startswith(begin)]
    assert keys
    return all(torch.equal(one[key], two[key]) for key in keys)


@pytest.mark.parametrize('name', list(TINY_OF))
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_one_generator_of_a_slim_file(name: str, suffix: str, tmp_path: Path):
    source, model = model_of(name, 1), model_of(name, 0)
    slim = {k: v for k, v in source.state_dict().items() if k.startswith('generators.B.')}
    file = str(tmp_path / f'slim{suffix}')
    write_checkpoint(file, slim, {})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert load_parts(model, {'generators.B': file}) == slim.keys()
    after = model.state_dict()
    assert equal(after, source.state_dict(), 'generators.B.')
    assert equal(after, before, 'discriminators.')
    assert 'A' not in model.targets() or equal(after, before, 'generators.A.')


def test_one_generator_of_an_official_file(tmp_path: Path):
    source, model = model_of('ugatit', 1, recipe='pytorch'), model_of('ugatit', 0, recipe='pytorch')
    file = str(tmp_path / 'official.pt')
    torch.save({'genA2B': to_official(source.state_dict())['genA2B']}, file)
    load_parts(model, {'generators.B': file})
    assert equal(model.state_dict(), source.state_dict(), 'generators.B.')


def test_parts_of_several_files(tmp_path: Path):
    """By nested names, by the domain's name, and a module in a network."""
    one, two = model_of('ugatit', 1), model_of('ugatit', 2)
    model = model_of('ugatit', 0, domains=dict(A='cat', B='dog'))
    files = [str(tmp_path / f'{index}.pth') for index in (1, 2)]
    for source, file in ((one, files[0]), (two, files[1])):
        write_checkpoint(file, source.state_dict(), {})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_parts(
        model,
        {'generators': {'dog': files[0], 'A.encoder': files[1]}, 'discriminators.B': files[1]},
    )
    after = model.state_dict()
    assert equal(after, one.state_dict(), 'generators.B.')
    assert equal(after, two.state_dict(), 'generators.A.encoder.')
    assert equal(after, two.state_dict(), 'discriminators.B.')
    assert equal(after, before, 'generators.A.decoder.')
    assert equal(after, before, 'discriminators.A.')


def test_what_does_not_fit_changes_nothing(tmp_path: Path):
    model = model_of('ugatit', 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    slim = {k: v for k, v in model_of('ugatit', 1).state_dict().items() if 'generators.A.' in k}
    wide = model_of('ugatit', 1, **{'generator.base_channels': 8}).state_dict()
    a, other = str(tmp_path / 'a.pth'), str(tmp_path / 'wide.pth')
    write_checkpoint(a, slim, {})
    write_checkpoint(other, wide, {})
    for sources, kind, said in (
        ({'generators.B': a}, CheckpointError, 'a.pth: it has no generators.B, only generators.A'),
        (
            {'generators.A': a, 'generators.B': other},
            CheckpointError,
            r'wide.pth: the weights do not fit the networks: \d+ of another shape',
        ),
        (
            {'generator.B': a},
            PreflightError,
            "load_from.generator.B: the model has no part 'generator.B': is it generators.B",
        ),
        (
            {'generators.A': a, 'generators.A.encoder': a},
            PreflightError,
            'load_from gives .* twice',
        ),
        ({'generators.A': 5}, PreflightError, 'load_from.generators.A must be a file, got 5'),
        ({'generators.A': str(tmp_path / 'no.pth')}, FileNotFoundError, 'no checkpoint file'),
    ):
        with pytest.raises(kind, match=said):
            load_parts(model, sources)
        assert equal(model.state_dict(), before, '')
    assert list(flat({'a': {'b': 1, 'c.d': 2}, 'e': 3})) == [('a.b', 1), ('a.c.d', 2), ('e', 3)]


@pytest.mark.slow
@pytest.mark.parametrize('name', list(TINY_OF))
def test_a_training_begins_with_one_direction_of_other_domains(
    name: str, data_root, tmp_path: Path
):
    """By an option; the log says what came from where, and the frozen part stays."""
    source = model_of(name, 1)
    inner = [x for x, y in source.generators['B'].named_children() if [*y.parameters()]]
    file = tmp_path / 'of selfies.pth'
    networks = {'domains': {'A': 'selfie', 'B': 'anime'}}
    write_checkpoint(file, source.state_dict(), {'networks': networks})
    options = {
        'domains.A': 'cat',
        'domains.B': 'dog',
        'train_cfg.max_iters': 2,
        'load_from.generators.B': str(file),
        'model.frozen': [f'generators.dog.{inner[0]}', 'discriminators.B'],
    }
    cfg = tiny_config(data_root, tmp_path / 'work', name, **options)
    run_training(cfg)
    weights = saved_weights(tmp_path / 'work' / 'iter_2.pth')
    assert equal(weights, source.state_dict(), f'generators.B.{inner[0]}.')
    assert not equal(weights, source.state_dict(), f'generators.B.{inner[-1]}.')
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    for said in (
        f'the weights of {file} are of selfie (now cat), anime (now dog)',
        f'generators.B is loaded from {file}: ',
        f'frozen: generators.B.{inner[0]}, discriminators.B: ',
        'frozen, but drawn at random, as no file gave their weights: discriminators.B (set load',
    ):
        assert said in log
    # A resume goes on from the checkpoint, and does not use the file.
    file.unlink()
    cfg.resume, cfg.train_cfg.max_iters = True, 3
    run_training(cfg)
    end = saved_weights(tmp_path / 'work' / 'iter_3.pth')
    assert equal(end, weights, f'generators.B.{inner[0]}.')
    assert not equal(end, weights, f'generators.B.{inner[-1]}.')


@pytest.mark.slow
def test_all_weights_of_other_domains(tmp_path: Path, data_root):
    source = model_of('ugatit', 1)
    file = tmp_path / 'all.pth'
    write_checkpoint(file, source.state_dict(), {'networks': {'domains': {'A': 'x', 'B': 'y'}}})
    options = {'train_cfg.max_iters': 1}
    cfg = tiny_config(data_root, tmp_path / 'work', **options)
    cfg.load_from = str(file)
    run_training(cfg)
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert f'the weights of {file} are of x (now A), y (now B)' in log
    # A test reports it, too, and takes none for the other direction.
    run_test(cfg, file)
    logs = ''.join(log.read_text() for log in tmp_path.glob('work/*/*.log'))
    assert logs.count(f'the weights of {file} are of x (now A), y (now B)') == 2
    options |= {'domains.A': 'y', 'domains.B': 'x'}
    swapped = tiny_config(data_root, tmp_path / 'swapped', **options)
    said = f'{file} was trained as x and y, the config has them the other way round: give domains'
    with pytest.raises(CheckpointError, match=f'{said}.A=x domains.B=y'):
        run_test(swapped, file)
    swapped.load_from = str(file)
    with pytest.raises(CheckpointError, match=said):
        run_training(swapped)


def test_a_config_file_names_parts_too(tmp_path: Path):
    base = ROOT / 'configs' / 'ugatit_custom.py'
    (tmp_path / 'tuned.py').write_text(
        f"_base_ = ['{base}']\nload_from = dict(_delete_=True, generators=dict(B='x.pth'))\n"
    )
    cfg = load_config(tmp_path / 'tuned.py')
    assert dict(flat(cfg.load_from)) == {'generators.B': 'x.pth'}
    cfg.dump(tmp_path / 'dumped.py')
    assert dict(flat(load_config(tmp_path / 'dumped.py').load_from)) == {'generators.B': 'x.pth'}
    options = {'load_from.generators.A': 'a.pth', 'load_from.discriminators': 'd.pth'}
    cfg = load_config('ugatit_custom', options)
    assert cfg.load_from == {'generators.A': 'a.pth', 'discriminators': 'd.pth'}
    assert options == {'load_from.generators.A': 'a.pth', 'load_from.discriminators': 'd.pth'}
