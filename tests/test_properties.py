"""Properties that hold for whatever comes: pictures, options, names of domains, features."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import PIL
import pytest
from helpers import load_tool
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmagic.registry import MODELS
from mmengine.config import Config
from PIL import Image

from ugatit_mm.config import load_config
from ugatit_mm.datasets.loading import ImageReadError, decode_rgb
from ugatit_mm.domains import domain_names
from ugatit_mm.evaluation.kid import fid, kid, kid_blocks
from ugatit_mm.models import UGATIT
from ugatit_mm.values import literal

# The same examples each time; a database of failures would be a file in the tree.
some = settings(max_examples=40, derandomize=True, database=None, deadline=None)
few = settings(some, max_examples=15)

# -- pictures ------------------------------------------------------------------------------------

# Pillow 12 writes TIFFs of this mode that it cannot read.
YCBCR = ('YCbCr',) if int(PIL.__version__.split('.')[0]) >= 13 else ()
# Modes that a format without loss keeps, and what Pillow's own conversion does well.
KEPT = {
    'PNG': ('1', 'L', 'P', 'RGB'),
    'BMP': ('1', 'L', 'P', 'RGB'),
    'TIFF': ('1', 'L', 'P', 'RGB', 'CMYK', 'LAB', *YCBCR),
    'GIF': ('L', 'P'),
    'PPM': ('1', 'L', 'RGB'),
}
pairs = st.sampled_from([(kind, mode) for kind, modes in KEPT.items() for mode in modes])


def picture(mode: str, width: int, height: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    size = (height, width) if channels == 1 else (height, width, channels)
    pixels = rng.integers(0, 256, size).astype(np.uint8)
    if mode == '1':
        return Image.fromarray(pixels).convert('1')
    if channels == 1:
        image = Image.fromarray(pixels)
        if mode == 'P':
            image = Image.frombytes('P', (width, height), pixels.tobytes())
            image.putpalette(rng.integers(0, 256, 768).astype(np.uint8).tobytes())
        return image
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def as_file(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@some
@given(pairs, st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_whole_pictures_are_what_pillow_makes_of_them(pair, width, height, seed):
    kind, mode = pair
    image = picture(mode, width, height, seed)
    data = as_file(image, kind)
    decoded = decode_rgb(data)
    assert decoded.shape == (height, width, 3) and decoded.dtype == np.uint8
    with Image.open(io.BytesIO(data)) as stored:
        np.testing.assert_array_equal(decoded, np.asarray(stored.convert('RGB')))
    if mode in ('L', 'RGB'):
        np.testing.assert_array_equal(decoded, np.asarray(image.convert('RGB')))


@some
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_transparency_mixes_with_the_background(width, height, seed, grey):
    pixels = picture('RGBA', width, height, seed)
    decoded = decode_rgb(as_file(pixels, 'PNG'), background=grey).astype(float)
    values = np.asarray(pixels).astype(float)
    share = values[..., 3:] / 255
    wanted = values[..., :3] * share + grey * (1 - share)
    assert np.abs(decoded - wanted).max() <= 1


STARTS = (
    b'',
    b'\x89PNG\r\n\x1a\n',
    b'\xff\xd8\xff\xe0',
    b'GIF89a',
    b'BM',
    b'II*\0',
    b'RIFF',
    b'P6 ',
)


def read_or_refuse(data: bytes) -> None:
    """A picture, or the one documented error that names the file in a line."""
    try:
        decoded = decode_rgb(data, 'the file.png')
    except ImageReadError as error:
        message = str(error)
    else:
        message = 'the file.png'
        assert decoded.dtype == np.uint8 and decoded.ndim == 3 and decoded.shape[2] == 3
        assert decoded.flags.writeable and decoded.flags.c_contiguous
    assert 'the file.png' in message and '\n' not in message


@some
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(start, rest):
    read_or_refuse(start + rest)


@some
@given(pairs, st.integers(0, 2**32 - 1), st.data())
def test_damaged_pictures_are_read_or_refused(pair, seed, data):
    file = bytearray(as_file(picture(pair[1], 9, 7, seed), pair[0]))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(file[: data.draw(st.integers(1, len(file)))]))


# -- options -------------------------------------------------------------------------------------

PARSE = load_tool('train').parse_args
words = st.from_regex(r'[a-z_][a-z_/.]{2,12}', fullmatch=True).filter(
    lambda word: word not in ('true', 'false', 'nan', 'inf', 'infinity', 'none')
)
plain = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    words,
)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def written(value: Any) -> str:
    """A value as it is typed after ``KEY=``."""
    if isinstance(value, (list, tuple)):
        inner = [repr(each) if isinstance(each, str) else written(each) for each in value]
        inner = ','.join(inner) + (',' if len(value) == 1 else '')
        return f'({inner})' if isinstance(value, tuple) else f'[{inner}]'
    return str(value)


@pytest.fixture(scope='module')
def config() -> Config:
    return load_config('ugatit_custom')


@some
@given(values)
def test_options_arrive_as_they_were_meant(value):
    args = PARSE(['ugatit_custom', '--cfg-options', f'model.compile={written(value)}'])
    read = literal(args.cfg_options['model.compile'])
    assert read == value and type(read) is type(value)


@few
@given(st.text(min_size=1, max_size=30).filter(lambda text: text[0] != '~'))
def test_paths_and_names_arrive_as_they_were_typed(text):
    words = [f'data_root={text}', f'train_dataloader.dataset.cache={text}']
    options = PARSE(['ugatit_custom', '--cfg-options', *words]).cfg_options
    cfg = load_config('ugatit_custom', options)
    assert cfg.data_root == cfg.test_dataloader.dataset.data_root == text
    assert cfg.train_dataloader.dataset.cache == (None if text == 'None' else text)


@few
@given(st.integers(1, 10**6), st.integers(0, 2**32 - 1))
def test_options_change_their_place_and_nothing_else(config, most, seed):
    words = [f'train_cfg.max_iters={most}', f'randomness.seed={seed}']
    args = PARSE(['ugatit_custom', '--cfg-options', *words])
    changed = load_config('ugatit_custom', args.cfg_options)
    assert (changed.train_cfg.max_iters, changed.randomness.seed) == (most, seed)
    changed.train_cfg.max_iters = config.train_cfg.max_iters
    changed.randomness.seed = config.randomness.seed
    assert changed.to_dict() == config.to_dict()


FIELDS = ('light', 'base_channels', 'num_blocks', 'img_size', 'norm', 'cam', 'unbiased')


@few
@given(st.sampled_from(FIELDS), st.integers(0, 20), st.sampled_from('xyz'))
def test_fields_that_no_network_has_are_named(field, place, letter):
    wrong = field[: place % len(field)] + letter + field[place % len(field) :]
    with pytest.raises(TypeError, match=f"'{wrong}'"):
        MODELS.build(
            dict(type='UGATIT', generator={'type': 'UGATITGenerator', 'base_channels': 4, wrong: 1})
        )


# -- names of domains ----------------------------------------------------------------------------

names = st.text(min_size=0, max_size=25)  # 100 bytes of UTF-8 at most, no lone surrogates
names = names.map(lambda name: name.encode('utf-8', 'ignore').decode())


@pytest.fixture(scope='module')
def model() -> UGATIT:
    generator = dict(type='UGATITGenerator', base_channels=4, num_blocks=1, img_size=32, light=True)
    return UGATIT(generator)


def use(model: UGATIT, a: str, b: str) -> None:
    """Wherever a run uses the names: directions, folders of results, sheets, the command line."""

    try:
        model.domain_names = domain_names({'A': a, 'B': b})
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ''
    if refusal:
        assert 'domains' in refusal
        return
    assert model.direction(b) == model.direction('B') == f'{a}2{b}'
    assert model.direction(a) == model.direction('A') == f'{b}2{a}'
    with TemporaryDirectory() as folder:
        for direction in (model.direction('A'), model.direction('B')):
            path = Path(folder, 'translations', direction)
            path.mkdir(parents=True)
            Path(folder, f'sheet_{direction}.png').touch()
            assert path.parent == Path(folder, 'translations')
        made = {'sheet_' + model.direction(letter) + '.png' for letter in 'AB'}
        assert set(os.listdir(folder)) == made | {'translations'}
    from ugatit_mm.apis.translate import parse_args

    assert parse_args(['x.png', f'--to={a}']).to == a


@some
@given(names, names)
def test_any_names_of_domains_work_or_are_refused(model, a, b):
    use(model, a, b)


@pytest.mark.parametrize(
    ('a', 'b'),
    [('..', 'b'), ('.', 'b'), ('a/b', 'c'), ('/etc', 'b'), ('a\\b', 'c'), ('a\0', 'b'), ('', 'b')]
    + [
        ('a', 'a'),
        ('B', 'A'),
        ('a', 'A'),
        (1, 'b'),
        (None, 'b'),
        (['a'], 'b'),
        ('~', 'b'),
        ('-x', '--to'),
        ('a ', 'b'),
        ('b', 'c.'),
        ('Cat', 'cat'),
        ('a?', 'b'),
    ],
)
def test_special_names_of_domains(model, a, b):
    use(model, a, b)


@pytest.mark.parametrize(('a', 'b'), [('a' * 300, 'b'), ('é' * 130, 'b'), ('\ud800', 'b')])
def test_names_that_no_folder_can_have(model, a, b):
    use(model, a, b)


# -- KID and FID ---------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(4, 24)


def features(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, d))


def rotation(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(features(d, d, seed))[0]


def whole(x: np.ndarray, y: np.ndarray) -> float:
    """KID of all images, without a draw."""
    return kid(x, y, min(len(x), len(y)), 1).value


MEASURES: tuple[Callable[[np.ndarray, np.ndarray], float], ...] = (
    whole,
    lambda x, y: kid_blocks(x, y).value,
    fid,
)


@few
@given(sizes, st.integers(1, 8), seeds)
def test_measures_do_not_depend_on_the_axes_of_the_features(n, d, seed):
    """The kernel is made of dot products, FID of means and covariances: both turn along."""
    x, y, turn = features(n, d, seed), 0.5 + features(n, d, seed + 1), rotation(d, seed + 2)
    for measure in MEASURES:
        assert measure(x @ turn, y @ turn) == pytest.approx(measure(x, y), rel=1e-6, abs=1e-7)


@few
@given(sizes, st.integers(1, 8), seeds)
def test_kid_of_features_that_are_there_twice(n, d, seed):
    """k(x, y) = (x y / d + 1)^3: twice the features double x y and d."""
    x, y = features(n, d, seed), 0.5 + features(n, d, seed + 1)
    for measure in MEASURES[:2]:
        twice = measure(np.hstack([x, x]), np.hstack([y, y]))
        assert twice == pytest.approx(measure(x, y), rel=1e-9, abs=1e-11)


@few
@given(sizes, st.integers(1, 8), seeds, arrays.arrays(float, 8, elements=st.floats(-3, 3)))
def test_fid_forgets_where_the_features_lie(n, d, seed, shift):
    """KID does not: its kernel knows the origin."""
    x, y = features(n, d, seed), 0.5 + features(n, d, seed + 1)
    moved = fid(x + shift[:d], y + shift[:d])
    assert moved == pytest.approx(fid(x, y), rel=1e-6, abs=1e-6)
    assert fid(x + shift[:d], x) == pytest.approx(float(shift[:d] @ shift[:d]), abs=1e-6)


@few
@given(sizes, st.integers(1, 8), seeds)
def test_measures_of_sets_exchanged_and_in_another_order(n, d, seed):
    x, y = features(n, d, seed), 0.5 + features(n, d, seed + 1)
    order = np.random.default_rng(seed).permutation(n)
    for measure in (whole, fid):
        assert measure(y, x) == pytest.approx(measure(x, y), rel=1e-6, abs=1e-8)
        assert measure(x[order], y) == pytest.approx(measure(x, y), rel=1e-6, abs=1e-8)
