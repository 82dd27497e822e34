"""The same file gives the same pixels through every entry point."""

from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
import yaml
from mmagic.apis import MMagicInferencer
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm import cli
from ugatit_mm.apis import UGATITInferencer, run_test
from ugatit_mm.config import configs_dir, load_config
from ugatit_mm.converters import CheckpointError
from ugatit_mm.datasets import UGATITDataset
from ugatit_mm.models.base import TRANSLATION_MODELS
from ugatit_mm.pixels import to_uint8

OPTIONS = {
    'img_size': 32,
    'domains.A': 'red',
    'domains.B': 'blue',
    'model.generator.light': True,
    'model.generator.base_channels': 4,
    'model.generator.num_blocks': 1,
    'model.discriminator.base_channels': 4,
    'model.discriminator.num_layers': (5, 4),
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'visualizer.vis_backends': [],
}


@pytest.fixture
def trained(data_root: Path, tmp_path: Path):
    """A config, a model with strong weights, and its checkpoint."""
    cfg = load_config('ugatit_custom', {**OPTIONS, 'data_root': str(data_root)})
    cfg.work_dir = str(tmp_path / 'work')
    init_default_scope('mmagic')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()  # PyTorch's own initial weights: far from grey
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'weights.pth')
    return cfg, model, tmp_path / 'weights.pth'


@pytest.mark.slow
def test_one_path_for_pixels(trained, data_root: Path, tmp_path: Path):
    cfg, model, checkpoint = trained
    run_test(cfg, checkpoint, tmp_path / 'out')
    config = tmp_path / 'config.py'
    cfg.dump(config)

    dataset = UGATITDataset(data_root, cfg.test_pipeline, test_mode=True)
    for target, folder, source in (('B', 'red2blue', 'A'), ('A', 'blue2red', 'B')):
        cfg.model.default_domain = target
        cfg.dump(config)
        inferencer = MMagicInferencer(
            model_name='ugatit', model_config=str(config), model_ckpt=str(checkpoint), device='cpu'
        )
        files = sorted((data_root / f'test{source}').iterdir())
        assert sorted(f.name for f in (tmp_path / 'out' / folder).iterdir()) == [
            f.name for f in files
        ]
        for index, file in enumerate(files):
            by_test = np.asarray(Image.open(tmp_path / 'out' / folder / file.name))

            sample = dataset[index]
            batch = {key: [value] for key, value in sample.items()}
            by_validation = model.val_step(batch)[0].get(f'fake_{target}')
            assert np.array_equal(by_test, by_validation.flip(0).permute(1, 2, 0).numpy())

            inferencer.infer(img=str(file), result_out_dir=str(tmp_path / 'x' / 'inferred.png'))
            by_inferencer = np.asarray(Image.open(tmp_path / 'x' / 'inferred.png'))
            assert np.array_equal(by_test, by_inferencer)

            ours = UGATITInferencer(checkpoint, cfg, device='cpu')
            (result,) = ours(file, target, restore=False)
            assert np.array_equal(by_test, result.image)
            words = ['--ckpt', str(checkpoint), '--config', str(config), '--network-size']
            out = tmp_path / 'by_command'
            assert cli.main(['translate', str(file), *words, '--out', str(out)]) == 0
            assert np.array_equal(by_test, np.asarray(Image.open(out / folder / file.name)))

            # And they are what the network makes of the file's RGB.
            picture = Image.open(file).convert('RGB').resize((32, 32), Image.BILINEAR)
            rgb = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float()
            expected = to_uint8(model.translation((rgb[None] - 127.5) / 127.5, target)[0])
            assert np.array_equal(by_test, expected.permute(1, 2, 0).detach().numpy())
            # No channel order would go unnoticed here.
            assert np.abs(by_test[..., 0].astype(int) - by_test[..., 2]).mean() > 5


def test_ugatit_is_in_the_lists_of_mmagic():
    assert 'ugatit' in MMagicInferencer.get_inference_supported_models()
    assert 'ugatit' in MMagicInferencer.get_task_supported_models('Image2Image')
    assert 'cyclegan' in MMagicInferencer.get_task_supported_models('Image2Image')
    names = [
        setting['Name']
        for setting in MMagicInferencer.inference_supported_models_cfg['ugatit']['settings']
    ]
    directions = {path.stem for path in configs_dir().glob('ugatit_*2*.py')}
    light = {path.stem for path in (configs_dir() / 'light').glob('*.py')}
    assert names[0] == 'ugatit_selfie2anime' and len(directions) == 10
    assert set(names) == directions | light and len(names) == 20
    assert 'Weights' not in str(MMagicInferencer.inference_supported_models_cfg['ugatit'])


def test_every_model_with_an_entry_in_the_metafile_is_in_mmagics_list():
    """By its name, which is not MMagic's own of another model; its settings are of its row."""
    MMagicInferencer.init_inference_supported_models_cfg()
    entries = yaml.safe_load((configs_dir() / 'metafile.yml').read_text())['Models']
    listed = MMagicInferencer.get_inference_supported_models()
    assert len(set(listed)) == len(listed)
    for model in TRANSLATION_MODELS.values():
        if not (wanted := [e['Name'] for e in entries if e['In Collection'] == model.ROW]):
            continue
        (name,) = {model.NAME, f'unpaired_{model.NAME}'} & set(listed[-len(TRANSLATION_MODELS) :])
        known = MMagicInferencer.inference_supported_models_cfg[name]['settings']
        assert [setting['Name'] for setting in known] == wanted
    mmagics = MMagicInferencer.inference_supported_models_cfg['cyclegan']['settings']
    assert 'cyclegan_lsgan' in str(mmagics) and 'selfie2anime' not in str(mmagics)


@pytest.mark.parametrize('index', range(20))
def test_settings_are_found_by_number(index):
    """``model_setting`` counts the metafile's models."""
    MMagicInferencer.init_inference_supported_models_cfg()
    setting = MMagicInferencer.inference_supported_models_cfg['ugatit']['settings'][index]
    inferencer = object.__new__(MMagicInferencer)
    kwargs = inferencer._get_inferencer_kwargs('ugatit', index, None, None, None, None)
    assert Path(kwargs['config']).resolve().stem == setting['Name']
    assert 'ckpt' not in kwargs


def test_configs_are_found_through_mmagic():
    """MMagic joins the config to its own folder; what it gets must be our file."""
    MMagicInferencer.init_inference_supported_models_cfg()
    inferencer = object.__new__(MMagicInferencer)
    kwargs = inferencer._get_inferencer_kwargs(
        'ugatit', None, 'ugatit_anime2selfie', None, None, None
    )
    assert kwargs['task'] == 'Image2Image'
    assert Path(kwargs['config']).resolve() == configs_dir() / 'ugatit_anime2selfie.py'


def test_the_trainings_config_stays_as_it_is(trained, tmp_path: Path):
    """A resumed training takes it from the work dir, with all its hooks."""
    cfg, _, checkpoint = trained
    config = Path(cfg.work_dir) / 'ugatit_custom.py'
    config.parent.mkdir()
    cfg.dump(config)
    before = config.read_text()
    assert 'InterruptHook' in before
    run_test(load_config(config), checkpoint)
    assert config.read_text() == before
    assert [path.name for path in config.parent.glob('*.py')] == ['ugatit_custom.py']


def test_missing_checkpoint(trained):
    cfg, _, checkpoint = trained
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file .*other\.pth'):
        run_test(cfg, checkpoint.with_name('other.pth'))


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        (
            {'model.generator.base_channels': 8},
            r'another shape \(generators.A.encoder.0.conv.weight \(4, 3',
        ),
        (
            {'model.recipe': 'pytorch'},
            r'missing \(generators.A.cam.gap_fc.weight, .*unknown \(generators.A.encoder',
        ),
        ({'model.generator.num_blocks': 2}, 'missing'),
    ],
)
def test_weights_that_do_not_fit_are_refused(trained, data_root: Path, option, said):
    """MMEngine's own loading would go on with what fits."""
    cfg, _, checkpoint = trained
    other = load_config('ugatit_custom', {**OPTIONS, 'data_root': str(data_root), **option})
    other.work_dir = cfg.work_dir
    with pytest.raises(CheckpointError, match=said) as error:
        run_test(other, checkpoint)
    assert 'weights.pth' in str(error.value) and 'Check model.recipe' in str(error.value)


def test_mmcv_reads_what_was_written(trained, tmp_path: Path):
    """A PNG of ours is RGB on disk: mmcv's BGR reader sees it reversed."""
    cfg, _, checkpoint = trained
    run_test(cfg, checkpoint, tmp_path / 'out', sheet=True)
    file = tmp_path / 'out' / 'red2blue' / '0.png'
    assert np.array_equal(mmcv.imread(file)[..., ::-1], np.asarray(Image.open(file)))
    assert Image.open(tmp_path / 'out' / 'sheet_red2blue.png').size == (
        4 * 132 + 4,
        20 + 3 * 132 + 4,
    )
