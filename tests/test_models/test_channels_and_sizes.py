"""Every model with pictures of one to eight channels, and with rectangles, end to end."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from helpers import BATCH_OF, TINY_OF
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm import cli
from ugatit_mm.apis import TranslationInferencer, load_model, run_test, run_training
from ugatit_mm.apis.video import translate_video
from ugatit_mm.config import load_config
from ugatit_mm.converters import write_checkpoint
from ugatit_mm.engine import PreflightError, UGATITOptimWrapperConstructor
from ugatit_mm.export import export_model, open_exported, verify
from ugatit_mm.models.base import UnpairedTranslation
from ugatit_mm.pixels import displayed, normalise, resize, swap_colours, to_uint8, write_picture
from ugatit_mm.visualization import attention_figure, translation_sheet

every_model = pytest.mark.parametrize('name', list(TINY_OF))
FULL = {'model.generator.light': False}
METRIC = {'type': 'TransKID', 'subset_size': 2, 'extractor': {'type': 'ColourHOGFeatures'}}


def config(name: str, **options: Any) -> Config:
    tiny = TINY_OF[name] | {'domains.A': 'red', 'domains.B': 'blue'}
    return load_config(f'{name}_custom', tiny | options)


def build(name: str, **options: Any) -> UnpairedTranslation:
    init_default_scope('mmagic')
    torch.manual_seed(0)
    model = MODELS.build(config(name, **options).model)
    model.init_weights()
    return model


def saved(model: UnpairedTranslation, cfg: Config, folder: Path) -> TranslationInferencer:
    """The inferencer of a file with the model's weights."""
    networks = model.networks_of(cfg.model.to_dict())
    write_checkpoint(folder / 'w.safetensors', model.state_dict(), {'networks': networks})
    return TranslationInferencer(folder / 'w.safetensors', device='cpu')


def optimisers(model: UnpairedTranslation):
    adam = {'optimizer': {'type': 'Adam', 'lr': 1e-3, 'fused': True}}
    return UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, adam))(model)


def batch(
    channels: int,
    size: tuple[int, int] = (32, 32),
    count: int = 1,
    pictures: Sequence[str] = ('A', 'B'),
) -> dict:
    """As the loader returns it, RGB if there are colours."""
    rng = torch.Generator().manual_seed(channels)
    shape = (count, channels, *size)
    images = {f'img_{x}': torch.randint(0, 256, shape, generator=rng) for x in pictures}
    orders = {f'{key}_channel_order': 'RGB' for key in images}
    return {'inputs': images, 'data_samples': [DataSample(metainfo=orders)] * count}


def by_hand(
    model: UnpairedTranslation, picture: np.ndarray, target: str, name: str = ''
) -> np.ndarray:
    """The model's output for a picture of its own size, (H, W, C)."""
    with torch.no_grad():
        pixels = normalise(torch.from_numpy(picture).permute(2, 0, 1)[None].float())
        out = model.translate(pixels, target, style=model.styles([name], target))
        return to_uint8(out.image)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    'channels', [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8)), 4]
)
@every_model
def test_a_model_of_any_channels(name: str, channels: int):
    model = build(name, channels=channels)
    assert (model.in_channels, model.out_channels) == (channels, channels)
    data = batch(channels, pictures=model.PICTURES, **BATCH_OF.get(name, {}))
    log = model.train().train_step(data, optimisers(model))
    assert log.not_finite == [] and all(log.updates.values())
    model.eval()
    (sample,) = model.val_step(batch(channels))
    source = data['inputs']['img_A'][0]
    assert torch.equal(sample.img_A, swap_colours(source.to(torch.uint8)))
    wanted = by_hand(model, source.permute(1, 2, 0).numpy().astype(np.uint8), 'B')
    assert torch.equal(swap_colours(sample.fake_B), torch.from_numpy(wanted).permute(2, 0, 1))
    image = normalise(source.float())[None]
    style = model.styles([''], 'B')
    seen = model.forward_test(image, 'B', style=style)  # MMagic's, which shows three
    assert seen['source'].shape == (1, 3, 32, 32)
    assert np.array_equal(to_uint8(seen['target'].flip(1))[0].permute(1, 2, 0), displayed(wanted))
    sheet, picture = translation_sheet(model, image, 'B'), np.uint8(source.permute(1, 2, 0))
    assert np.array_equal(sheet[24 : 24 + 128 : 4, 4 : 4 + 128 : 4], displayed(picture))
    if style is not None:
        return
    figure = attention_figure(model, picture, 'B')
    assert np.array_equal(figure[24 : 24 + 160 : 5, -164:-4:5], displayed(wanted))


@every_model
def test_titles_say_which_channels_are_shown(name: str, monkeypatch):
    titles = []
    monkeypatch.setattr(
        'ugatit_mm.visualization.sheet.make_sheet', lambda rows, words, zoom: titles.append(words)
    )
    for channels in (1, 5):
        translation_sheet(build(name, channels=channels), torch.zeros(1, channels, 32, 32), 'B')
    grey, five = titles
    assert grey[0] == 'source' and five[0] == 'source (channels 1 to 3 of 5)'
    assert len(grey) == len(five) and [title.split(' (')[0] for title in five] == grey
    assert ('attention' in five) == build(name).has_attention


@every_model
def test_channels_that_differ_cannot_train(name: str):
    kind = type(build(name))
    first, last = (kind.PARTS[kind.TRANSLATES[place]] for place in (0, -1))
    made = inspect.signature(kind.NETWORKS[last]).parameters
    field = 'out_channels' if 'out_channels' in made else 'in_channels'  # of both
    model = build(name, **{f'model.{last}.{field}': 4, 'model.discriminator.in_channels': 4})
    message = (
        rf'one number of channels for both domains, got model\.{first}\.in_channels=3, '
        rf'model\.{last}\.out_channels=4, .*model\.discriminator\.in_channels=4: give channels=N'
    )
    with pytest.raises(ValueError, match=message):
        optimisers(model)


def test_weights_of_one_direction_may_make_other_channels(tmp_path: Path):
    """For example, a network that colours grey pictures."""
    fields = {'generator': {'in_channels': 1}, 'discriminator': None, 'targets': ['B']}
    cfg = config('cyclegan')
    cfg.merge_from_dict({'model': fields})
    model = MODELS.build(cfg.model)
    inferencer = saved(model, cfg, tmp_path)
    grey = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    (result,) = inferencer(grey)
    assert np.array_equal(result.image, by_hand(inferencer.model, grey[..., None], 'B'))
    (wide,) = inferencer(np.tile(grey, (1, 2)))
    assert wide.image.shape == (32, 64, 3) and wide.source.shape == (32, 64, 1)
    with pytest.raises(ValueError, match='size=crop leaves .* these networks make 3 channels of 1'):
        inferencer(grey, size='crop')


@pytest.mark.parametrize(
    ('name', 'options'), [('ugatit', {}), ('ugatit', FULL), ('cyclegan', {})], ids=str
)
def test_a_rectangle(name: str, options: dict, tmp_path: Path):
    fields = {'img_size': (32, 48), 'load_size': None, **options}
    model = build(name, **fields)
    assert model.img_size == (32, 48)
    log = model.train().train_step(batch(3, (32, 48)), optimisers(model))
    assert log.not_finite == [] and all(log.updates.values())
    model.eval()
    if options:
        with pytest.raises(ValueError, match=r'tied to img_size=\(32, 48\), got 48x32'):
            model.train_step(batch(3, (48, 32)), optimisers(model))
    inferencer = saved(model, config(name, **fields), tmp_path)
    assert inferencer.img_size == (32, 48)
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    (result,) = inferencer(picture, 'B', restore=False)
    fitted = resize(picture, 32, 48, model.INTERPOLATION)
    assert np.array_equal(result.image, by_hand(inferencer.model, fitted, 'B'))
    for size in ('resize', 'crop', 'pad'):
        assert inferencer(picture, 'B', size=size)[0].image.shape == (60, 60, 3)
    if options:
        with pytest.raises(ValueError, match='these take 32x48 px only: choose resize'):
            inferencer(picture, size='keep')


def write_data(root: Path, channels: int) -> None:
    rng = np.random.default_rng(channels)
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (root / folder).mkdir(parents=True)
        for index in range(2):
            picture = rng.integers(0, 256, (40, 36, channels), dtype=np.uint8)
            write_picture(picture, root / folder / f'{index}.{"png" if channels < 5 else "tif"}')


GREY, FIVE = (1, (32, 32)), (5, (32, 48))
IN_CI = [('ugatit', *GREY), ('munit', *GREY), *((name, *FIVE) for name in TINY_OF)]
NOT_IN_CI = [
    ('ugatit', 4, (32, 32)),
    *((name, *GREY) for name in TINY_OF if name not in ('ugatit', 'munit')),
]


@pytest.mark.parametrize(
    ('name', 'channels', 'size'),
    [
        *(pytest.param(*row, marks=pytest.mark.slow) for row in IN_CI),
        *(pytest.param(*row, marks=pytest.mark.long) for row in NOT_IN_CI),
    ],
    ids=str,
)
def test_from_training_to_export(name: str, channels: int, size: tuple[int, int], tmp_path: Path):
    data, out = tmp_path / 'data', tmp_path / 'out'
    write_data(data, channels)
    options = {
        'channels': channels,
        'img_size': size,
        'load_size': None,
        'data_root': str(data),
        'train_cfg.max_iters': 2,
    }
    cfg = config(name, **options)
    cfg.work_dir = str(tmp_path / 'work')
    run_training(cfg)
    sheets = list((tmp_path / 'work' / 'sheets').glob('*_2.png'))

    checkpoint = tmp_path / 'work' / 'iter_2.pth'
    cfg = config(name, **options)
    cfg.work_dir = str(tmp_path / 'test')
    if channels == 1:
        cfg.test_evaluator = [{'type': 'TransStats'}, METRIC]
    metrics = run_test(cfg, checkpoint, out, sheet=True)
    assert ('red2blue/colour_hog_kid' in metrics) == (channels == 1)
    assert np.isfinite(metrics['red2blue/edges']) and 'red2blue/colour' not in metrics

    model, meta = load_model(checkpoint, device='cpu')
    assert len(sheets) == len(model.targets())
    first = model.PARTS[model.TRANSLATES[0]]
    assert meta['networks'][first]['in_channels'] == channels
    assert model.img_size == (size[0] if size[0] == size[1] else size)
    suffix = '.png' if channels < 5 else '.tif'
    source = data / 'testA' / f'0{suffix}'
    picture = read_raw(source, channels)
    fitted = resize(picture, *size, model.INTERPOLATION)
    wanted = by_hand(model, fitted, 'B', source.name)
    assert np.array_equal(read_raw(out / 'red2blue' / source.name, channels), wanted)
    translated = tmp_path / 'translated'
    words = ['--ckpt', str(checkpoint), '--to', 'blue', '--out', str(translated)]
    words += ['--network-size', *['--figure'] * model.has_attention]
    assert cli.main(['translate', str(source.parent), *words]) == 0
    (found,) = translated.rglob(f'0{suffix}')
    assert np.array_equal(read_raw(found, channels), wanted)
    assert len(list(translated.rglob('0_figure.png'))) == model.has_attention
    if channels == 1:
        with Image.open(found) as image:
            assert image.mode == 'L'

    exported = export_model(model, 'B', tmp_path / 'b.pt', 'torchscript')
    assert exported['channels'] == f'{channels} to {channels}'
    list(verify(tmp_path / 'b.pt', 'torchscript', model, [picture]))
    run, _ = open_exported(tmp_path / 'b.pt', 'torchscript')
    (image,) = run(fitted[None])
    assert np.abs(image[0].astype(int) - by_hand(model, fitted, 'B')).max() <= 1


def read_raw(path: Path, channels: int) -> np.ndarray:
    """Read a picture only with the libraries."""
    if path.suffix == '.tif':
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.array(image).reshape(image.height, image.width, channels)


def test_a_video_through_grey_networks(tmp_path: Path):
    inferencer = saved(build('ugatit', channels=1), config('ugatit', channels=1), tmp_path)
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    video = cv2.VideoWriter(str(tmp_path / 'a.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (32, 32))
    for _ in range(2):
        video.write(frame)
    video.release()
    assert list(translate_video(inferencer, tmp_path / 'a.avi', tmp_path / 'b.avi')) == [1, 2]
    read, out = cv2.VideoCapture(str(tmp_path / 'b.avi')).read()
    assert read and out.shape == (32, 32, 3)
    assert np.abs(out.astype(int) - out[..., :1]).max() <= 8  # grey, up to the video's compression
    inferencer.model = build('ugatit', channels=4)
    with pytest.raises(ValueError, match='frames of a video are RGB, these networks take 4'):
        list(translate_video(inferencer, tmp_path / 'a.avi', tmp_path / 'c.avi'))


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            {'val_dataloader.dataset.pipeline.0.channels': 3},
            'validation: the pictures of red have 3 channels, and model.generator.in_channels is '
            '1: set channels=1 to read them so, or channels=3 for networks that take them',
        ),
        (
            {'train_dataloader.dataset.pipeline.1.channels': 3},
            'the pictures of blue have 3 channels, and model.generator.in_channels is 1: set '
            'channels=1 to read them so, or channels=3 for networks that take them',
        ),
        (
            {'channels': 4, 'val_evaluator': [METRIC]},
            'TransKID measures grey or RGB pictures, these have 4 channels: leave it (--kid) out; '
            'TransStats takes any',
        ),
    ],
    ids=['validation', 'training', 'metric'],
)
def test_what_does_not_fit_is_said_at_the_start(options: dict, said: str, tmp_path: Path):
    write_data(tmp_path / 'data', 1)
    plain = {'channels': 1, 'data_root': str(tmp_path / 'data')}
    cfg = config('cyclegan', **(plain | options))
    cfg.work_dir = str(tmp_path / 'work')
    with pytest.raises(PreflightError) as caught:
        run_training(cfg)
    assert str(caught.value) == said


@every_model
def test_a_pipeline_of_another_rectangle(name: str):
    model = build(name, **FULL if name == 'ugatit' else {})
    model.check_images('A', (3, 32, 32))
    if name == 'ugatit':
        message = r'come as 32x64, .* take 32x32 only: set "model\.generator\.img_size=\(32,64\)"'
        with pytest.raises(ValueError, match=message):
            model.check_images('A', (3, 32, 64))
    else:
        model.check_images('A', (3, 32, 64))
