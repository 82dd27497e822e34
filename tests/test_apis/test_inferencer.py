"""Pictures of any kind and size through the inferencer."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from ugatit_mm.apis import Failure, TranslationInferencer, UGATITInferencer, load_model
from ugatit_mm.apis.sizes import SIZE_MODES, fit, tiles
from ugatit_mm.apis.sources import find_sources, read
from ugatit_mm.converters import CheckpointError, describe, read_checkpoint, write_checkpoint
from ugatit_mm.pixels import to_uint8
from ugatit_mm.visualization import colour_heatmap


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def checkpoint(tiny, tmp_path: Path) -> Path:
    """Of training, as the hook writes it, with PyTorch's own strong weights."""
    torch.manual_seed(0)
    model = tiny(recipe='pytorch')
    networks = describe(model.state_dict())
    networks['generator']['img_size'] = 32
    networks['domains'] = {'A': 'red', 'B': 'blue'}
    write_checkpoint(tmp_path / 'weights.pth', model.state_dict(), {'networks': networks})
    return tmp_path / 'weights.pth'


@pytest.fixture
def inferencer(checkpoint: Path) -> UGATITInferencer:
    return UGATITInferencer(checkpoint, device='cpu')


def expected(inferencer: UGATITInferencer, image: np.ndarray, target: str) -> np.ndarray:
    """By the formula: RGB in [-1, 1] in, rounded out."""
    rgb = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        out = inferencer.model.translation((rgb - 127.5) / 127.5, target)[0]
    return to_uint8(out).permute(1, 2, 0).numpy()


@pytest.mark.parametrize('size', SIZE_MODES)
def test_the_networks_own_size_goes_through_as_it_is(inferencer, size):
    image = picture(32, 32)
    (result,) = inferencer(image, 'blue', size=size)
    assert np.array_equal(result.image, expected(inferencer, image, 'B'))
    assert np.array_equal(result.source, image)
    assert not np.array_equal(result.image, inferencer(image, 'red')[0].image)


@pytest.mark.parametrize('shape', [(40, 64), (64, 40), (21, 33), (100, 3), (1, 1)])
@pytest.mark.parametrize('size', SIZE_MODES)
def test_pictures_come_back_in_their_own_size(inferencer, size, shape):
    image = picture(*shape)
    (result,) = inferencer(image, size=size, return_heatmap=True)
    assert result.image.shape == image.shape and result.image.dtype == np.uint8
    assert result.heatmap.shape == shape
    assert result.heatmap.min() >= 0 and result.heatmap.max() <= 1


def test_resize_is_what_validation_sees(inferencer):
    image = picture(40, 64)
    squeezed = np.asarray(Image.fromarray(image).resize((32, 32), Image.BILINEAR))
    (result,) = inferencer(image, 'B', restore=False)
    assert np.array_equal(result.image, expected(inferencer, squeezed, 'B'))


def test_crop_leaves_what_is_around_as_it_was(inferencer):
    image = picture(32, 50)
    (result,) = inferencer(image, 'B', size='crop')
    part = expected(inferencer, image[:, 9:41], 'B')
    assert np.array_equal(result.image[:, 13:37], part[:, 4:28])
    assert np.array_equal(result.image[:, :9], image[:, :9])
    assert np.array_equal(result.image[:, 41:], image[:, 41:])
    # It goes over into the rest within an eighth of its side, here 4 columns.
    shares = np.sin(np.pi / 2 * np.array([1, 3, 5, 7]) / 8) ** 2
    for k, share in enumerate(shares):
        for x in (k, 31 - k):
            wanted = (1 - share) * image[:, 9 + x] + share * part[:, x]
            assert np.abs(result.image[:, 9 + x] - wanted).max() <= 0.501
    (whole,) = inferencer(image, 'B', size='crop', return_heatmap=True)
    assert whole.heatmap[:, :9].max() == 0 and whole.heatmap[:, 9:13].max() > 0
    (exact,) = inferencer(image, 'B', size='crop', restore=False)
    assert np.array_equal(exact.image, part)


def test_a_crop_has_no_hard_line():
    """White in black: no two neighbours differ by more than the steepest step of the rise."""
    black = np.zeros((64, 200, 3), np.uint8)
    fitted = fit(black, 64, 'crop')
    out = fitted.restore(np.full_like(fitted.image, 255), black)
    steps = np.abs(np.diff(out[0, :, 0].astype(int)))
    assert steps.max() <= 51  # 255 sin(pi/16), of 8 columns
    assert out[0, 68, 0] == 2 and out[0, 67, 0] == 0 and out[0, 76, 0] == 255
    assert np.array_equal(out, out[:, ::-1])
    assert np.array_equal(out, out[::-1])  # no edge where the picture ends


def test_scale_lets_the_network_see_more(inferencer):
    image = picture(64, 64)
    (result,) = inferencer(image, 'B', scale=2)
    assert np.array_equal(result.image, expected(inferencer, image, 'B'))
    (result,) = inferencer(picture(100, 80), 'B', scale=2, restore=False, return_heatmap=True)
    assert result.image.shape == (64, 64, 3) and result.heatmap.shape == (64, 64)


def test_tiles_blend_to_one():
    for size, tile in (((32, 32), (32, 32)), ((33, 90), (32, 40)), ((64, 200), (64, 32))):
        total, count, areas = np.zeros(size), np.zeros(size, int), 0
        for places, weights in tiles(size, tile):
            assert weights.shape == total[places].shape == tile and weights.min() > 0
            total[places] += weights
            count[places] += 1
            areas += weights.size
        np.testing.assert_allclose(total, 1, atol=1e-6)
        assert count.min() == 1
    # Of 4K in tiles of 256: 11 rows of 20, 1.74 times as many pixels.
    assert sum(1 for _ in tiles((2160, 3840), (256, 256))) == 220


def test_tiles_are_the_networks_own(inferencer):
    """Where one tile is, its very pixels; where two meet, their mean by the weights."""
    image = picture(32, 56)  # tiles at 0 and 24, with 8 columns in common
    (result,) = inferencer(image, 'B', size='tiles', return_heatmap=True)
    one, two = (expected(inferencer, image[:, x : x + 32], 'B').astype(float) for x in (0, 24))
    assert np.array_equal(result.image[:, :24], one[:, :24])
    assert np.array_equal(result.image[:, 32:], two[:, 8:])
    share = (np.sin(np.pi / 2 * (np.arange(8) + 0.5) / 8) ** 2)[:, None]
    wanted = (1 - share) * one[:, 24:] + share * two[:, :8]
    assert np.abs(result.image[:, 24:32] - wanted).max() <= 0.501
    assert result.heatmap.shape == (32, 56) and result.heatmap.min() == 0
    assert result.heatmap.max() == 1
    batched = inferencer(image, 'B', size='tiles', batch_size=2)[0].image
    assert np.abs(batched.astype(int) - result.image).max() <= 1
    small = picture(20, 44)  # is reflected to a tile's height
    assert np.array_equal(
        inferencer(small, 'B', size='tiles')[0].image,
        inferencer(np.pad(small, ((6, 6), (0, 0), (0, 0)), 'symmetric'), 'B', size='tiles')[
            0
        ].image[6:26],
    )


def test_tiles_go_through_few_at_a_time(inferencer, monkeypatch):
    """So memory does not grow with their number."""
    shapes, translate = [], inferencer.translate
    monkeypatch.setattr(
        inferencer,
        'translate',
        lambda image, *words, **options: (
            shapes.append(tuple(image.shape)) or translate(image, *words, **options)
        ),
    )
    inferencer(picture(200, 300), 'B', size='tiles', batch_size=3)
    assert sum(shape[0] for shape in shapes) == 8 * 13
    assert {shape[1:] for shape in shapes} == {(3, 32, 32)}
    assert max(shape[0] for shape in shapes) == 3


def test_pad_reflects_and_cuts(inferencer):
    image = picture(32, 20)
    padded = np.pad(image, ((0, 0), (6, 6), (0, 0)), 'symmetric')
    (result,) = inferencer(image, 'B', size='pad')
    assert np.array_equal(result.image, expected(inferencer, padded, 'B')[:, 6:26])


def test_keep_takes_light_networks_at_any_size(inferencer):
    image = picture(30, 41)
    padded = np.pad(image, ((1, 1), (2, 1), (0, 0)), 'symmetric')
    (result,) = inferencer(image, 'B', size='keep')
    assert np.array_equal(result.image, expected(inferencer, padded, 'B')[1:31, 2:43])


def test_keep_is_refused_by_full_networks(tiny, tmp_path):
    model = tiny(generator={'light': False})
    write_checkpoint(tmp_path / 'full.pth', model.state_dict(), {})
    full = UGATITInferencer(tmp_path / 'full.pth', device='cpu')
    assert full.img_size == 32
    with pytest.raises(ValueError, match='size=keep needs networks that take any size'):
        full(picture(32, 32), size='keep')
    with pytest.raises(ValueError, match=r'scale=2 needs networks .* these take 32 px only'):
        full(picture(32, 32), scale=2)
    (result,) = full(picture(40, 70), size='tiles', return_heatmap=True)
    assert result.image.shape == (40, 70, 3) and result.heatmap.shape == (40, 70)


def test_what_a_model_does_not_have_is_refused(tiny, tmp_path):
    """A heatmap without attention, a direction that is not there."""
    model = tiny(generator={'cam': False})
    write_checkpoint(tmp_path / 'w.pth', model.state_dict(), {})
    plain = UGATITInferencer(tmp_path / 'w.pth', device='cpu')
    assert plain(picture(32, 32))[0].heatmap is None
    with pytest.raises(ValueError, match='these networks have no attention: leave out heatmap'):
        plain(picture(32, 32), return_heatmap=True)
    plain.model = plain.model.only('A')
    with pytest.raises(ValueError, match="do not translate into 'B', only into A"):
        plain(picture(32, 32), 'B')
    assert plain(picture(32, 32), 'A')[0].image.shape == (32, 32, 3)


def test_resize_is_the_models(inferencer, monkeypatch):
    monkeypatch.setattr(type(inferencer.model), 'INTERPOLATION', 'bicubic')
    image = picture(40, 64)
    squeezed = np.asarray(Image.fromarray(image).resize((32, 32), Image.BICUBIC))
    (result,) = inferencer(image, 'B', restore=False)
    assert np.array_equal(result.image, expected(inferencer, squeezed, 'B'))


def test_keep_goes_by_the_models_stride():
    for shape, stride, fitted in (
        ((30, 41), 4, (32, 44)),
        ((30, 41), 16, (64, 64)),
        ((70, 100), 16, (80, 112)),
        ((1, 9), 1, (4, 9)),
    ):
        assert fit(picture(*shape), 8, 'keep', stride).image.shape == (*fitted, 3)


def test_the_old_name_stays():
    assert UGATITInferencer is TranslationInferencer


@pytest.mark.parametrize('size', SIZE_MODES)
def test_fit_and_restore_undo_each_other(size):
    """With an identity for a network: exactly, where nothing is resized."""
    for shape in ((48, 48), (30, 41), (16, 90)):
        image = picture(*shape)
        sides = {'resize': None, 'crop': min(shape), 'pad': max(shape), 'keep': 1, 'tiles': 60}
        side = sides[size]
        if side is None:
            continue
        fitted = fit(image, side, size)
        around = np.zeros_like(image) if size != 'crop' else image
        assert np.array_equal(fitted.restore(fitted.image, around), image)
    with pytest.raises(ValueError, match=r"size must be one of .*'crop'.*got 'stretch'"):
        fit(picture(8, 8), 8, 'stretch')


def test_batches_give_the_same_to_a_level(inferencer):
    images = [picture(32, 32, seed) for seed in range(3)] + [picture(20, 20), picture(32, 32, 9)]
    one = [result.image for result in inferencer(images, 'B', size='keep')]
    four = [result.image for result in inferencer(images, 'B', size='keep', batch_size=4)]
    for a, b in zip(one, four, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


def test_every_kind_of_source(inferencer, tmp_path):
    """A path, a folder, a pattern, an array and a PIL image of one picture: one result."""
    image = picture(32, 32)
    folder = tmp_path / 'pictures'
    (folder / 'below').mkdir(parents=True)
    file = folder / 'below' / 'one.png'
    Image.fromarray(image).save(file)
    (folder / 'notes.txt').write_text('no picture')
    ways = (file, str(file), folder, f'{folder}/**/*.png', image, Image.fromarray(image), [file])
    results = [inferencer(way, 'B') for way in ways]
    assert all(np.array_equal(found[0].image, results[0][0].image) for found in results)
    assert [len(found) for found in results] == [1] * len(ways)
    assert [found[0].relative for found in results[:4]] == ['one', 'one', 'below/one', 'one']
    assert len(inferencer([folder, image, file], 'B')) == 3


def test_it_goes_on_past_what_cannot_be_read(inferencer, tmp_path):
    good = tmp_path / 'good.png'
    Image.fromarray(picture(32, 32)).save(good)
    (tmp_path / 'bad.png').write_bytes(b'no picture')
    inputs = [
        *(tmp_path / 'bad.png', good, tmp_path / 'none.png', tmp_path / 'empty*'),
        *('https://example.org/a.png', np.zeros((4, 4), np.uint8), good),
    ]
    results = list(inferencer.iterate(inputs, batch_size=3))
    kinds = [isinstance(result, Failure) for result in results]
    assert kinds == [True, False, True, True, True, True, False]
    said = [str(result.error) for result in results if isinstance(result, Failure)]
    for words, error in zip(
        ('bad.png', 'none.png', 'no file fits', 'allow_url', 'uint8'), said, strict=True
    ):
        assert words in error
    with pytest.raises(OSError, match=r'bad\.png'):
        inferencer([good, tmp_path / 'bad.png'])
    with pytest.raises(TypeError, match='got int'):
        inferencer([3])


def test_floats_and_tensors(inferencer):
    image = picture(32, 32)
    wanted = expected(inferencer, image, 'B')
    rows = torch.from_numpy(image).permute(2, 0, 1)
    for given in (
        (image / 255).astype(np.float32),
        image / 255,
        rows,
        rows / 255,
        rows.double() / 255,
        (rows.float() / 255).requires_grad_(),
    ):
        assert np.array_equal(inferencer(given, 'B')[0].image, wanted)
    assert len(inferencer([rows, image], 'B')) == 2
    for wrong, said in (
        (image.astype(np.float32), r'an array of floats must lie in \[0, 1\], got 0 to 255'),
        (image / 255 - 0.1, r'must lie in \[0, 1\], got -0\.1 to 0\.9'),
        (np.full((4, 4, 3), np.nan), 'got nan to nan: scale it, or give uint8'),
        (image.astype(np.int64), r'must be RGB, uint8 or float32 in \[0, 1\], .* got int64'),
        (rows[None], r'got uint8 \(1, 3, 32, 32\)'),
        (rows.permute(1, 2, 0), r'\(H, W, 3\), got uint8 \(32, 3, 32\)'),
    ):
        with pytest.raises(ValueError, match=said) as error:
            inferencer(wrong)
        assert '\n' not in str(error.value)


def test_domains_and_their_capitals(inferencer):
    assert inferencer.domains == ('red', 'blue')
    image = picture(32, 32)
    (wanted,) = inferencer(image, to='red')
    for word in ('Red', 'RED', 'a', 'A'):
        assert np.array_equal(inferencer(image, to=word)[0].image, wanted.image)
    assert inferencer.model.is_domain_reachable('Red')
    assert not inferencer.model.is_domain_reachable('redd')


def test_a_result_is_saved_whole_or_not_at_all(inferencer, tmp_path, monkeypatch):
    (result,) = inferencer(picture(32, 32), 'B')
    assert np.array_equal(np.asarray(result.pil), result.image)
    for name in ('a.png', 'new/below/a.PNG', 'a.tif', 'a.webp', 'a.jpg'):
        result.save(tmp_path / name)
        saved = np.asarray(Image.open(tmp_path / name))
        assert saved.shape == (32, 32, 3)
        assert np.array_equal(saved, result.image) != name.endswith('jpg')
    for name in ('a.gif', 'a', 'a.png.txt'):
        said = r'a translation of 3 channels is written as \.png, .*\.jpeg: name a\.'
        with pytest.raises(ValueError, match=said) as error:
            result.save(str(tmp_path / name))
        assert '\n' not in str(error.value)
    before = (tmp_path / 'a.png').read_bytes()

    def full(picture, path):
        path.write_bytes(b'half')
        raise OSError('full')

    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(OSError, match='full'):
        result.save(tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes() == before
    assert not list(tmp_path.glob('.*'))


def test_results_of_other_channels(inferencer, tmp_path):
    (result,) = inferencer(picture(8, 8), 'B')
    clear = result._replace(alpha=np.full((8, 8), 7, np.uint8))
    assert clear.pil.mode == 'RGBA' and np.asarray(clear.pil)[0, 0, 3] == 7
    with pytest.raises(ValueError, match=r'of 4 channels is written as \.png, .*webp: name a\.png'):
        clear.save(tmp_path / 'a.jpg')
    assert result._replace(image=result.image[..., :1]).pil.mode == 'L'
    bands = result._replace(image=result.image.repeat(2, 2))
    bands.save(tmp_path / 'a.tif')
    assert np.array_equal(tifffile.imread(tmp_path / 'a.tif'), bands.image)
    with pytest.raises(ValueError, match=r'up to 4 channels, this one has 6: take \.image'):
        _ = bands.pil


def test_jupyter_shows_it(inferencer):
    def shown(result) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(result._repr_png_())))

    image = picture(32, 40)
    (result,) = inferencer(image, 'B')
    assert np.array_equal(shown(result), result.image)
    (result,) = inferencer(image, 'B', return_heatmap=True)
    row = shown(result)
    assert row.shape == (40, 4 + 3 * 44, 3)
    columns = [row[4:36, 4 + 44 * i : 44 + 44 * i] for i in range(3)]
    for column, wanted in zip(
        columns, (image, colour_heatmap(result.heatmap), result.image), strict=True
    ):
        assert np.array_equal(column, wanted)
    (small,) = inferencer(image, 'B', return_heatmap=True, restore=False)
    assert shown(small).shape == (40, 4 + 3 * 36, 3)
    wide = result._replace(image=np.zeros((10, 2048, 3), np.uint8), heatmap=None)
    assert shown(wide).shape == (5, 1024, 3)  # a notebook stays small


def test_addresses_are_fetched_where_they_are_allowed(monkeypatch, tmp_path):
    Image.fromarray(picture(8, 8)).save(tmp_path / 'a.png')
    data = (tmp_path / 'a.png').read_bytes()

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def raise_for_status(self):
            pass

        def iter_content(self, size):
            return (data[i : i + 7] for i in range(0, len(data), 7))

    from ugatit_mm.apis import sources

    monkeypatch.setattr(sources.requests, 'get', lambda url, **_: Answer())
    (source,) = find_sources('https://example.org/pictures/a%20b.png?size=1', allow_url=True)
    assert source.relative == 'a b'
    assert np.array_equal(read(source.picture), picture(8, 8))
    monkeypatch.setattr(sources, 'MAX_DOWNLOAD', 20)
    with pytest.raises(OSError, match='larger than'):
        read(source.picture)


def test_options_are_checked_before_anything_is_read(inferencer):
    for options, said in (
        ({'size': 'stretch'}, 'size must be one of'),
        ({'batch_size': 0}, 'batch_size must be 1 or more'),
        ({'to': 'green'}, "unknown domain 'green'"),
        ({'scale': 0}, 'scale must be a whole number, 1 or more, got 0'),
        ({'scale': 1.5}, r'scale must be a whole number, 1 or more, got 1\.5'),
        ({'scale': 2, 'size': 'keep'}, 'size=keep is the size of the picture: leave out scale'),
    ):
        with pytest.raises(ValueError, match=said):
            next(inferencer.iterate([], **options))


@pytest.mark.slow
def test_a_files_own_words_are_not_trusted(tiny, tmp_path):
    """Sizes that the weights do not have are refused before anything of that size is made."""
    state = tiny().state_dict()
    networks = describe(state)
    for part, field, value, said in (
        ('generator', 'base_channels', 10**9, r'base_channels must be 1 to 4096'),
        ('generator', 'num_blocks', 10**9, r'num_blocks must be 1 to 64'),
        ('generator', 'base_channels', 2048, 'of another shape'),
        ('generator', 'light', False, 'of another shape'),
        ('generator', 'type', 'EncoderDecoder', 'type must be UGATITGenerator'),
        ('generator', 'colour', 'red', 'colour'),
        ('discriminator', 'num_layers', (40, 5), 'num_layers'),
        ('discriminator', 'base_channels', '4', 'base_channels must be'),
    ):
        wrong = networks | {part: networks[part] | {field: value}}
        write_checkpoint(tmp_path / 'w.safetensors', state, {'networks': wrong})
        with pytest.raises(CheckpointError, match=said) as error:
            load_model(tmp_path / 'w.safetensors')
        assert 'w.safetensors' in str(error.value)
    for content in ({'state_dict': 3}, {'state_dict': {'generators.A.x': 'y'}}, {'meta': 5}):
        torch.save(content, tmp_path / 'odd.pth')
        with pytest.raises(CheckpointError, match=r'odd\.pth'):
            load_model(tmp_path / 'odd.pth')
    torch.save({'state_dict': state, 'meta': {'cfg': 'text'}}, tmp_path / 'old.pth')
    with pytest.raises(CheckpointError, match='give its config'):
        load_model(tmp_path / 'old.pth')


def test_the_range_of_deep_pictures(checkpoint, inferencer, tmp_path):
    """Of the domain that is translated, by the checkpoint; or the one that is given, of both."""
    values = np.random.default_rng(0).integers(0, 4096, (32, 32), np.uint16)
    Image.fromarray(values).save(tmp_path / 'ct.png')

    def of(top: int, target: str) -> np.ndarray:
        grey = np.rint(values * (255 / top)).clip(0, 255).astype(np.uint8)
        return expected(inferencer, np.repeat(grey[..., None], 3, axis=2), target)

    content = read_checkpoint(checkpoint)
    content['meta']['deep_range'] = {'A': [0, 4095]}
    write_checkpoint(tmp_path / 'deep.pth', content['state_dict'], content['meta'])
    deep = UGATITInferencer(tmp_path / 'deep.pth', device='cpu')
    for source in (tmp_path / 'ct.png', Image.fromarray(values)):
        assert np.array_equal(deep(source, 'B')[0].image, of(4095, 'B'))
        assert np.array_equal(deep(source, 'A')[0].image, of(65535, 'A'))
    given = UGATITInferencer(tmp_path / 'deep.pth', device='cpu', deep_range=(0, 2000))
    assert np.array_equal(given(tmp_path / 'ct.png', 'B')[0].image, of(2000, 'B'))
    assert np.array_equal(given(tmp_path / 'ct.png', 'A')[0].image, of(2000, 'A'))
    with pytest.raises(ValueError, match='deep_range must be two numbers'):
        UGATITInferencer(checkpoint, device='cpu', deep_range=(9, 1))
    for said in ([0, 1], {'C': [0, 1]}, {'A': 'x'}):
        content['meta']['deep_range'] = said
        write_checkpoint(tmp_path / 'bad.pth', content['state_dict'], content['meta'])
        with pytest.raises(CheckpointError, match=r'bad\.pth: deep_range must be'):
            UGATITInferencer(tmp_path / 'bad.pth', device='cpu')


def test_transparency_on_request(inferencer, tmp_path):
    """As it was, or fitted as the picture is; none of what has none, and none unless asked for."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 32, 4), np.uint8)
    source = Image.fromarray(pixels)
    source.save(tmp_path / 'a.png')
    for given in (source, tmp_path / 'a.png'):
        for size in SIZE_MODES:
            (result,) = inferencer(given, size=size, return_alpha=True)
            assert np.array_equal(result.alpha, pixels[..., 3])
    (result,) = inferencer(source, return_alpha=True, restore=False)
    squeezed = Image.fromarray(pixels[..., 3]).resize((32, 32), Image.BILINEAR)
    assert np.array_equal(result.alpha, np.asarray(squeezed))
    (result,) = inferencer(source, return_alpha=True, restore=False, size='crop')
    assert np.array_equal(result.alpha, pixels[8:40, :, 3])
    assert inferencer(source)[0].alpha is None
    assert inferencer(source.convert('RGB'), return_alpha=True)[0].alpha is None
    assert inferencer(pixels[..., :3], return_alpha=True)[0].alpha is None
    clear = Image.fromarray(np.array([[0, 1000]], np.uint16))
    clear.info['transparency'] = 1000
    assert inferencer(clear, return_alpha=True)[0].alpha.tolist() == [[255, 0]]
