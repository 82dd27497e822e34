"""Every kind of image file comes in as the RGB that a viewer would show."""

import io
import pickle
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
from bad_pictures import ORIENTED, encode, orientation_exif
from bad_pictures import png as png_of
from cyclegan_helpers import recorded
from mmagic.registry import TRANSFORMS
from PIL import Image, ImageCms, ImageOps

from ugatit_mm.apis.sources import read
from ugatit_mm.datasets import ImageReadError, LoadRGBImage, decode_rgb, read_rgb
from ugatit_mm.pixels import INTERPOLATIONS, covering, normalise

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def png(
    bits: int, colour_type: int, rows: bytes, size: tuple[int, int], trns: bytes = b''
) -> bytes:
    """A PNG by hand, for the kinds that Pillow does not write; rows carry their filter bytes."""
    chunks = [(b'tRNS', trns)] if trns else []
    chunks.append((b'IDAT', zlib.compress(rows)))
    return png_of(*size, *chunks, bits=bits, kind=colour_type)


def check_form(image: np.ndarray) -> None:
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.writeable
    assert image.flags.c_contiguous


@pytest.mark.parametrize(
    ('kind', 'options'),
    [
        ('PNG', {}),
        ('BMP', {}),
        ('WEBP', {'lossless': True}),
        ('TIFF', {}),
        ('TIFF', {'compression': 'tiff_lzw'}),
        ('PPM', {}),
    ],
)
def test_lossless_formats_are_exact(rgb, kind, options):
    image = decode_rgb(encode(Image.fromarray(rgb), kind, **options))
    check_form(image)
    np.testing.assert_array_equal(image, rgb)


def test_jpeg_equals_pillow_and_keeps_channel_order():
    flat = np.full((16, 16, 3), (200, 100, 30), np.uint8)
    data = encode(Image.fromarray(flat), 'JPEG', quality=95)
    image = decode_rgb(data)
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(data))))
    assert np.abs(image.astype(int) - flat).max() <= 3


def test_gif_is_exact():
    image = Image.new('P', (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    np.testing.assert_array_equal(decode_rgb(encode(image, 'GIF')), [[RED, BLUE]])


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'TIFF', 'WEBP'])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new('RGB', (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode_rgb(data), np.full((4, 4, 3), RED))


def test_grey_and_bilevel():
    grey = np.array([[0, 77, 255]], np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_rgb(encode(Image.fromarray(grey), 'PNG')), expected)
    np.testing.assert_array_equal(decode_rgb(encode(Image.fromarray(grey), 'PPM')), expected)  # PGM
    bilevel = Image.fromarray(grey).point(lambda v: 255 * (v > 50), '1')
    np.testing.assert_array_equal(decode_rgb(encode(bilevel, 'PNG'))[0, :, 0], [0, 255, 255])


def test_grey_with_alpha_is_composited():
    pixels = np.array([[[0, 255], [0, 0], [100, 128]]], np.uint8)
    image = decode_rgb(encode(Image.fromarray(pixels, 'LA'), 'PNG'))
    half = round((100 * 128 + 255 * 127) / 255)
    np.testing.assert_allclose(image[0, :, 0], [0, 255, half], atol=1)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_alpha_hides_colours_and_mixes():
    pixels = np.array([[(*RED, 255), (*RED, 0), (*RED, 51)]], np.uint8)
    data = encode(Image.fromarray(pixels), 'PNG')
    white = decode_rgb(data)
    np.testing.assert_array_equal(white[0, :2], [RED, (255, 255, 255)])
    np.testing.assert_allclose(white[0, 2], (255, 204, 204), atol=1)
    tinted = decode_rgb(data, background=(0, 10, 200))
    np.testing.assert_array_equal(tinted[0, :2], [RED, (0, 10, 200)])
    np.testing.assert_allclose(tinted[0, 2], (51, 8, 160), atol=1)
    np.testing.assert_array_equal(decode_rgb(data, background=7)[0, 1], (7, 7, 7))


def test_webp_alpha():
    pixels = np.array([[(*RED, 255), (*GREEN, 0)]], np.uint8)
    data = encode(Image.fromarray(pixels), 'WEBP', lossless=True, exact=True)
    np.testing.assert_array_equal(decode_rgb(data), [[RED, (255, 255, 255)]])


@pytest.mark.parametrize('kind', ['PNG', 'GIF'])
def test_transparent_palette_entry(kind):
    image = Image.new('P', (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    data = encode(image, kind, transparency=1)
    np.testing.assert_array_equal(decode_rgb(data), [[RED, (255, 255, 255), BLUE]])


def test_palette_with_an_alpha_each():
    image = Image.new('P', (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    data = encode(image, 'PNG', transparency=bytes([255, 0, 102]))
    expected = [[RED, (255, 255, 255), (153, 153, 255)]]
    np.testing.assert_allclose(decode_rgb(data), expected, atol=1)


def test_transparent_colour_of_an_rgb_png():
    data = encode(Image.fromarray(np.array([[RED, GREEN]], np.uint8)), 'PNG', transparency=GREEN)
    np.testing.assert_array_equal(decode_rgb(data), [[RED, (255, 255, 255)]])


@pytest.mark.parametrize('kind', ['JPEG', 'TIFF'])
def test_cmyk(kind):
    # Inks (cyan, magenta, yellow, black) as shares of 255: plain red, and half black.
    pixels = np.zeros((16, 32, 4), np.uint8)
    pixels[:, :16] = (0, 255, 255, 0)
    pixels[:, 16:] = (0, 0, 0, 128)
    options = {'quality': 95} if kind == 'JPEG' else {}
    image = decode_rgb(encode(Image.fromarray(pixels, 'CMYK'), kind, **options)).astype(int)
    assert np.abs(image[8, 8] - RED).max() <= 3
    assert np.abs(image[8, 24] - (127, 127, 127)).max() <= 3


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    expected = [0, 1, 128, 255]
    for kind in ('PNG', 'TIFF'):
        image = decode_rgb(encode(Image.fromarray(values), kind))
        check_form(image)
        np.testing.assert_allclose(image[0, :, 1], expected, atol=1)
    pgm = b'P5 4 1 65535\n' + values.astype('>u2').tobytes()
    np.testing.assert_allclose(decode_rgb(pgm)[0, :, 1], expected, atol=1)
    wide = encode(Image.fromarray(values.astype(np.int32)), 'TIFF')  # mode I
    np.testing.assert_allclose(decode_rgb(wide)[0, :, 1], expected, atol=1)


def test_16_bit_colour_png():
    pixels = [(65535, 32768, 0), (0, 257, 65535)]
    row = b'\x00' + b''.join(struct.pack('>HHH', *pixel) for pixel in pixels)
    image = decode_rgb(png(16, 2, row, (2, 1)))
    np.testing.assert_allclose(image, [[(255, 128, 0), (0, 1, 255)]], atol=1)


def test_16_bit_colour_png_with_alpha():
    row = b'\x00' + struct.pack('>HHHH', 65535, 0, 0, 0) + struct.pack('>HHHH', 0, 0, 65535, 65535)
    np.testing.assert_array_equal(decode_rgb(png(16, 6, row, (2, 1))), [[(255, 255, 255), BLUE]])


def test_16_bit_colour_png_with_a_transparent_colour():
    row = b'\x00' + struct.pack('>HHH', 65535, 0, 0) + struct.pack('>HHH', 0, 65535, 0)
    data = png(16, 2, row, (2, 1), trns=struct.pack('>HHH', 0, 65535, 0))
    np.testing.assert_array_equal(decode_rgb(data), [[RED, (255, 255, 255)]])


def test_16_bit_grey_png_with_a_transparent_value():
    row = b'\x00' + struct.pack('>HHH', 0, 1000, 65535)
    image = decode_rgb(png(16, 0, row, (3, 1), trns=struct.pack('>H', 1000)), background=(1, 2, 3))
    np.testing.assert_array_equal(image, [[(0, 0, 0), (1, 2, 3), (255, 255, 255)]])


def test_float_in_unit_range():
    values = np.array([[0, 0.5, 1]], np.float32)
    image = decode_rgb(encode(Image.fromarray(values), 'TIFF'))
    np.testing.assert_allclose(image[0, :, 2], [0, 128, 255], atol=1)


@pytest.mark.parametrize('top', [1.5, 255, np.nan, np.inf, -0.1])
def test_float_of_unknown_scale_is_refused(top):
    data = encode(Image.fromarray(np.array([[0, top]], np.float32)), 'TIFF')
    with pytest.raises(ImageReadError, match=r"'depth\.tif' .*floating-point.*convert"):
        decode_rgb(data, 'depth.tif')


def test_integer_of_unknown_scale_is_refused():
    data = encode(Image.fromarray(np.array([[0, 70000]], np.int32)), 'TIFF')
    with pytest.raises(ImageReadError, match=r"'wide\.tif' .*70000.*convert"):
        decode_rgb(data, 'wide.tif')


def test_lab():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB'
    )
    lab = ImageCms.applyTransform(Image.new('RGB', (2, 2), (200, 100, 50)), to_lab)
    expected = np.broadcast_to((200, 100, 50), (2, 2, 3))
    np.testing.assert_allclose(decode_rgb(encode(lab, 'TIFF')), expected, atol=3)


@pytest.mark.parametrize('orientation', ORIENTED)
@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'JPEG', 'WEBP'])
def test_exif_orientation(kind, orientation):
    scale, block = 40, 16  # greys 0, 40, ... in blocks that survive JPEG
    stored = (np.array(ORIENTED[1], np.uint8) * scale).repeat(block, 0).repeat(block, 1)
    colour = Image.fromarray(np.repeat(stored[..., None], 3, axis=2))
    image = decode_rgb(encode(colour, kind, exif=orientation_exif(orientation)))
    centres = image[block // 2 :: block, block // 2 :: block, 0]
    np.testing.assert_allclose(centres, np.array(ORIENTED[orientation]) * scale, atol=3)


def test_exif_orientation_of_16_bit_grey():
    stored = np.array(ORIENTED[1], np.uint16) * 40 * 257
    image = decode_rgb(encode(Image.fromarray(stored), 'PNG', exif=orientation_exif(6)))
    np.testing.assert_array_equal(image[..., 0], np.array(ORIENTED[6]) * 40)


def test_16_bit_tiff_of_another_program(tmp_path):
    path = tmp_path / 'big_endian.tif'
    tifffile.imwrite(path, np.array([[0, 32768, 65535]], '>u2'), byteorder='>')
    np.testing.assert_allclose(read_rgb(path)[0, :, 0], [0, 128, 255], atol=1)


def test_missing_file(tmp_path):
    with pytest.raises(ImageReadError, match=r'gone\.png.* does not exist'):
        read_rgb(tmp_path / 'gone.png')


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(ImageReadError, match=re.escape(str(tmp_path)) + '.*cannot be opened'):
        read_rgb(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / 'empty.png').touch()
    with pytest.raises(ImageReadError, match=r'empty\.png.* is empty .*replace or delete'):
        read_rgb(tmp_path / 'empty.png')


def test_not_an_image(tmp_path):
    (tmp_path / 'page.jpg').write_text('<html>404</html>')
    with pytest.raises(ImageReadError, match=r'page\.jpg.* not an image .*replace or delete'):
        read_rgb(tmp_path / 'page.jpg')


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'GIF', 'PPM'])
@pytest.mark.parametrize('kept', [0.5, 0.9])
def test_truncated_file(kind, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(ImageReadError, match=r"'cut\.img' is (damaged|not an image)"):
        decode_rgb(data[: int(kept * len(data))], 'cut.img')


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('limit', [99, 40])  # Pillow itself only warns at up to twice its limit
def test_decompression_bomb(monkeypatch, limit):
    data = encode(Image.new('RGB', (10, 10)), 'PNG')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    with pytest.raises(ImageReadError, match=r"'bomb\.png' is too large .*Scale"):
        decode_rgb(data, 'bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    assert decode_rgb(data).shape == (10, 10, 3)


def test_error_survives_a_worker():
    error = ImageReadError('message')
    assert str(pickle.loads(pickle.dumps(error))) == 'message'
    assert str(type(error)('re-raised by torch')) == 're-raised by torch'


@pytest.mark.parametrize('background', [-1, 256, (0, 0), (0, 0, 300), (0.5, 0, 0)])
def test_background_must_be_a_colour(background):
    with pytest.raises(ValueError, match='background'):
        LoadRGBImage('img_A', background=background)


def test_transform_adds_what_mmagic_expects(tmp_path, rgb):
    path = tmp_path / 'a.png'
    Image.fromarray(rgb).save(path)
    transform = TRANSFORMS.build({'type': 'LoadRGBImage', 'key': 'img_A'})
    for given in (path, str(path)):
        results = transform({'img_A_path': given})
        np.testing.assert_array_equal(results.pop('img_A'), rgb)
        assert results == {
            'img_A_path': given,
            'ori_img_A_shape': (5, 7, 3),
            'img_A_channel_order': 'RGB',
            'img_A_color_type': 'color',
        }


def test_transform_keys_equal_those_of_mmagics_loader(tmp_path, rgb):
    path = tmp_path / 'a.png'
    Image.fromarray(rgb).save(path)
    stock = TRANSFORMS.build({'type': 'LoadImageFromFile', 'key': 'img_A', 'channel_order': 'rgb'})
    theirs = stock({'img_A_path': str(path)})
    ours = LoadRGBImage('img_A')({'img_A_path': str(path)})
    assert theirs.keys() == ours.keys()
    np.testing.assert_array_equal(theirs['img_A'], ours['img_A'])


def test_transform_uses_background_and_backend(tmp_path):
    path = tmp_path / 'clear.png'
    Image.new('RGBA', (1, 1), (*RED, 0)).save(path)
    transform = LoadRGBImage('x', background=(1, 2, 3), backend_args={'backend': 'local'})
    np.testing.assert_array_equal(transform({'x_path': str(path)})['x'], [[(1, 2, 3)]])
    with pytest.raises(ImageReadError, match=r'gone\.png.* does not exist'):
        transform({'x_path': str(tmp_path / 'gone.png')})


def test_transform_refuses_other_things_than_paths(rgb):
    with pytest.raises(TypeError, match=r'img_A_path.* ndarray'):
        LoadRGBImage('img_A')({'img_A_path': rgb})


def pictures_of_all_kinds(side: int = 31) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (side - 9, side, 4), dtype=np.uint8)
    rgb = Image.fromarray(noise[..., :3].copy())
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    return {
        'rgb': encode(rgb, 'PNG'),
        'turned': encode(rgb, 'PNG', exif=orientation_exif(6)),
        'jpeg': encode(rgb, 'JPEG'),
        'grey': encode(Image.fromarray(noise[..., 0].copy()), 'PNG'),
        '16 bit': encode(deep, 'PNG'),
        'alpha': encode(Image.fromarray(noise), 'PNG'),
        'palette': encode(rgb.quantize(16), 'PNG'),
    }


@pytest.mark.parametrize('kind', pictures_of_all_kinds())
@pytest.mark.parametrize('scale', [(46, 46), (12, 7), (31, 22), (22, 31)])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_scale_is_mmagics_resize_after_the_step(tmp_path, kind, scale, interpolation):
    path = tmp_path / 'picture'
    path.write_bytes(pictures_of_all_kinds()[kind])
    plain = LoadRGBImage('x')({'x_path': path})
    resize = {'type': 'Resize', 'keys': ['x'], 'scale': scale, 'backend': 'pillow'}
    expected = TRANSFORMS.build(resize | {'interpolation': interpolation})(dict(plain))
    ours = LoadRGBImage('x', scale=scale, interpolation=interpolation)({'x_path': path})
    check_form(ours['x'])
    np.testing.assert_array_equal(ours['x'], expected['x'])
    assert ours['x'].shape == (scale[1], scale[0], 3)
    for name in ours.keys() - {'x'}:
        assert ours[name] == plain[name]


@pytest.mark.parametrize('side', [46, 72, 158, 286])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_flipping_before_resizing_and_after_it_is_the_same(side, interpolation):
    """What lets LoadRGBImage resize: Pillow's weights of a mirrored row are the mirrored weights.

    By Pillow's formula every bilinear weight was compared for widths from 1 to 6000 and sides of
    46, 94, 158 and 286; here, pixels.
    """
    rng = np.random.default_rng(side)
    kind = INTERPOLATIONS[interpolation]
    for width in (1, 2, 45, 47, 64, 100, 255, 256, 300, 320, 333, 500, 641, 1000, 1024, 1333, 4000):
        rows = Image.fromarray(rng.integers(0, 256, (4, width, 3), dtype=np.uint8))
        after = np.asarray(rows.resize((side, 5), kind))[:, ::-1]
        mirrored = rows.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        np.testing.assert_array_equal(mirrored.resize((side, 5), kind), after)


def test_bicubic_pixels_by_hand(tmp_path):
    """Halving a row of 0, ..., 0, 255, ..., 255: Pillow's kernel of a = -0.5, twice as wide."""
    row = np.zeros((2, 16, 3), np.uint8)
    row[:, 8:] = 240
    Image.fromarray(row).save(tmp_path / 'edge.png')
    fields = {'scale': (8, 2), 'interpolation': 'bicubic'}
    found = LoadRGBImage('x', **fields)({'x_path': tmp_path / 'edge.png'})['x'][0, :, 0]

    def kernel(x):
        x = abs(x)
        return (1.5 * x - 2.5) * x * x + 1 if x < 1 else ((-0.5 * x + 2.5) * x - 4) * x + 2

    distances = (np.arange(16) + 0.5) / 2 - 3.5  # of the sources from the fourth result
    weights = np.array([kernel(d) if abs(d) < 2 else 0 for d in distances])
    expected = 240 * weights[8:].sum() / weights.sum()
    assert found[3] == round(max(expected, 0)) and found[4] == round(240 - expected)
    assert found[0] == 0 and found[7] == 240
    plain = LoadRGBImage('x', scale=(8, 2))({'x_path': tmp_path / 'edge.png'})['x'][0, :, 0]
    assert plain[3] != found[3]


def test_official_bicubic_pixels(tmp_path):
    record = recorded('preprocess.npz')
    Image.fromarray(record['source']).save(tmp_path / 'source.png')
    step = LoadRGBImage('x', scale=(36, 36), interpolation='bicubic')
    resized = step({'x_path': tmp_path / 'source.png'})['x']
    np.testing.assert_array_equal(resized, record['resized_36_bicubic'])
    crop = resized[1:33, 3:35][:, ::-1]
    np.testing.assert_array_equal(crop, record['crop_x3_y1_32_flipped'])
    tensor = normalise(crop.astype(np.float32)).transpose(2, 0, 1)
    np.testing.assert_allclose(tensor, record['tensor'].reshape(3, 32, 32), atol=1e-6)


def test_interpolation_must_be_known():
    with pytest.raises(ValueError, match=r"interpolation must be one of .*'bicubic'.*got 'area'"):
        LoadRGBImage('img_A', interpolation='area')
    assert "interpolation='bicubic'" in repr(LoadRGBImage('img_A', interpolation='bicubic'))


@pytest.mark.parametrize('scale', [256, (256,), (256, 0), (-1, 256), (256.0, 256), (1, 2, 3)])
def test_scale_must_be_a_size(scale):
    with pytest.raises(ValueError, match='scale must be'):
        LoadRGBImage('img_A', scale=scale)


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    picture.getexif()[0x0112] = orientation
    return picture


def gradient(mode: str) -> Image.Image:
    """Colours of all bands in a mode of Pillow's, 9 x 6, transparency from 0 to 255."""
    rng = np.random.default_rng(0)
    if mode == 'F':
        return Image.fromarray(rng.random((6, 9), dtype=np.float32))
    if mode.startswith('I'):
        greys = rng.integers(0, 65536, (6, 9))
        return Image.fromarray(greys.astype({'I': '<i4', 'I;16B': '>u2'}.get(mode, '<u2')))
    bands = len(Image.new(mode, (1, 1)).getbands())
    raw = rng.integers(0, 256, (6, 9, bands), dtype=np.uint8)
    if mode in ('La', 'RGBa'):  # premultiplied
        raw[..., :-1] = raw[..., :-1].astype(int) * raw[..., -1:] // 255
    if mode == 'RGBX':
        raw[..., 3] = 255  # nothing: a fourth band that is a picture is refused
    if mode == '1':
        return Image.fromarray(raw[..., 0]).convert('1')
    picture = Image.frombytes(mode, (9, 6), raw.tobytes())
    if mode in ('P', 'PA'):
        picture.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    return picture


MODES = {  # mode of Pillow: a format that keeps it
    **dict.fromkeys(('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'), 'PNG'),
    **dict.fromkeys(('CMYK', 'LAB', 'YCbCr', 'RGBX', 'PA', 'I', 'F', 'I;16B'), 'TIFF'),
    **dict.fromkeys(('HSV', 'RGBa', 'La', 'I;16L'), None),  # Pillow writes them to no file
}


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('orientation', [1, 6])
def test_pictures_of_every_mode_are_read_as_files_of_them(tmp_path, mode, orientation):
    picture = gradient(mode)
    before = (picture.mode, picture.tobytes(), dict(picture.info))
    upright = read(picture)
    check_form(upright)
    if MODES[mode]:
        path = tmp_path / 'picture'
        exif = {'exif': orientation_exif(orientation)} if orientation > 1 else {}
        # Plain TIFFs that are turned, Pillow itself maps into memory with their sides exchanged.
        options = {'compression': 'tiff_lzw'} if MODES[mode] == 'TIFF' else {}
        picture.save(path, MODES[mode], **options, **exif)
        with Image.open(path) as opened:
            np.testing.assert_array_equal(read(opened), read(path))
        expected = ImageOps.exif_transpose(turned(Image.fromarray(upright), orientation))
        np.testing.assert_allclose(read(path).astype(int), np.asarray(expected), atol=1)
    else:
        if mode in ('RGBa', 'La'):  # on black: on white they gain what alpha leaves
            raw = np.asarray(picture).astype(int)
            plain = raw[..., :-1] + 255 - raw[..., -1:]
        elif mode == 'I;16L':
            plain = np.rint(np.asarray(picture)[..., None] / 257)
        else:
            plain = np.asarray(picture.convert('RGB'))
        np.testing.assert_allclose(upright, np.broadcast_to(plain, upright.shape), atol=2)
        read(turned(picture, orientation))
    assert (picture.mode, picture.tobytes()) == before[:2]
    assert dict(picture.info).items() >= before[2].items()


@pytest.mark.parametrize('orientation', ORIENTED)
def test_orientation_of_a_picture_in_memory(orientation):
    stored = np.array(ORIENTED[1], np.uint8)
    picture = turned(Image.fromarray(stored), orientation)
    np.testing.assert_array_equal(read(picture)[..., 0], ORIENTED[orientation])
    np.testing.assert_array_equal(np.asarray(picture), stored)  # it stays the caller's
    np.testing.assert_array_equal(read(ImageOps.exif_transpose(picture)), read(picture))


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP', 'JPEG', 'AVIF'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_a_path_and_what_pillow_opens_of_it(tmp_path, kind, orientation):
    gradient('RGB').save(tmp_path / 'picture', kind, exif=orientation_exif(orientation))
    pixels = read(tmp_path / 'picture')
    assert pixels.shape == ((9, 6, 3) if orientation == 6 else (6, 9, 3))
    with Image.open(tmp_path / 'picture') as opened:
        np.testing.assert_array_equal(read(opened), pixels)
        np.testing.assert_array_equal(read(opened), pixels)  # decoded by now
        np.testing.assert_array_equal(read(opened.copy()), pixels)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'CMYK', 'I;16'])
@pytest.mark.parametrize('orientation', [3, 5, 6, 7, 8])
def test_plain_tiffs_that_are_stored_turned(tmp_path, mode, orientation):
    """Pillow would map the file into memory."""
    grey = gradient('RGB').convert('L')
    wide = Image.fromarray(np.asarray(grey, np.uint16) * 257) if mode == 'I;16' else None
    picture = wide or gradient('RGB').convert(mode)
    picture.save(path := tmp_path / 'picture.tif', exif=orientation_exif(orientation))
    pixels = read(path)
    assert pixels.shape == ((6, 9, 3) if orientation == 3 else (9, 6, 3))
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read(opened), pixels)
        np.testing.assert_array_equal(read(opened), pixels)  # decoded by now
        assert opened.filename == str(path)


def test_transparent_palettes_and_colours_in_memory():
    palette = Image.new('P', (3, 1))
    palette.putpalette([*RED, *GREEN, *BLUE])
    palette.putdata([0, 1, 2])
    for hidden in (1, bytes([255, 0, 255])):
        palette.info['transparency'] = hidden
        np.testing.assert_array_equal(read(palette), [[RED, (255, 255, 255), BLUE]])
    colours = Image.fromarray(np.array([[RED, GREEN]], np.uint8))
    colours.info['transparency'] = GREEN
    np.testing.assert_array_equal(read(colours), [[RED, (255, 255, 255)]])
    deep = Image.fromarray(np.array([[0, 1000]], np.uint16))
    deep.info['transparency'] = 1000
    np.testing.assert_array_equal(read(deep)[..., 0], [[0, 255]])


def test_pictures_in_memory_that_cannot_be_read(tmp_path):
    with pytest.raises(ImageReadError, match=r"^'the PIL image' has no pixels"):
        read(Image.new('RGB', (0, 5)))
    with pytest.raises(ImageReadError, match='holds floating-point greys from 0 to 255;'):
        read(Image.fromarray(np.array([[0, 255]], np.float32)))
    gradient('RGB').save(tmp_path / 'a.png')
    with Image.open(tmp_path / 'a.png') as closed:
        pass
    with pytest.raises(ImageReadError, match=r"^'the PIL image' .*closed"):
        read(closed)
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'a.png').read_bytes()[:-40])
    with Image.open(tmp_path / 'cut.png') as cut:
        for picture in (cut, tmp_path / 'cut.png'):
            with pytest.raises(ImageReadError, match='is damaged or truncated'):
                read(picture)


# More than 8 bits


def tiff(array: np.ndarray, **options) -> bytes:
    """As other programs write it; ``extra`` bands beyond the colours are of no stated meaning."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


TWELVE = np.array([[0, 1024, 2048, 4095]], np.uint16)
AS_GREY = [0, 64, 128, 255]  # v * 255 / 4095, rounded: 63.77, 127.53


@pytest.mark.parametrize(
    'data',
    [
        encode(Image.fromarray(TWELVE), 'PNG'),
        encode(Image.fromarray(TWELVE), 'TIFF'),
        tiff(TWELVE.astype('>u2'), byteorder='>'),
        tiff(TWELVE.astype(np.int16)),  # signed
        encode(Image.fromarray(TWELVE.astype(np.int32)), 'TIFF'),
        encode(Image.fromarray(TWELVE.astype(np.float32)), 'TIFF'),
        b'P5 4 1 65535\n' + TWELVE.astype('>u2').tobytes(),
    ],
    ids=['png', 'tiff', 'big endian', 'signed', '32 bits', 'float', 'pgm'],
)
def test_12_bits_in_deeper_files(data):
    grey = decode_rgb(data, deep_range=(0, 4095))
    check_form(grey)
    np.testing.assert_array_equal(grey, np.repeat(np.array([AS_GREY])[..., None], 3, axis=2))
    # What lies beyond is black or white.
    np.testing.assert_array_equal(
        decode_rgb(data, deep_range=(1024, 2048))[0, :, 0], [0, 0, 255, 255]
    )
    shifted = decode_rgb(data, deep_range=(-4095, 4095))[0, :, 1]
    np.testing.assert_array_equal(shifted, np.rint((TWELVE[0].astype(int) + 4095) * 255 / 8190))


def test_signed_values_of_scanners():
    hounsfield = tiff(np.array([[-1024, 0, 3071]], np.int16))
    grey = decode_rgb(hounsfield, deep_range=(-1024, 3071))
    np.testing.assert_array_equal(grey[0, :, 0], [0, 64, 255])
    with pytest.raises(ImageReadError) as error:
        decode_rgb(hounsfield, 'ct.tif')
    assert str(error.value) == (
        "'ct.tif' holds integer greys from -1024 to 3071; only 0 to 65535 has a known brightness: "
        'say which values are black and white (deep_range=-1024,3071 for these), or convert it to '
        '8 bits.'
    )


def test_the_whole_range_is_what_comes_without_one():
    for picture, whole in ((gradient('I;16'), (0, 65535)), (gradient('F'), (0, 1))):
        data = encode(picture, 'TIFF')
        np.testing.assert_array_equal(decode_rgb(data, deep_range=whole), decode_rgb(data))
        np.testing.assert_array_equal(read(picture, whole), read(picture))
    for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA'):  # of 8 bits: as they are
        data = encode(gradient(mode), 'PNG')
        np.testing.assert_array_equal(decode_rgb(data, deep_range=(0, 4095)), decode_rgb(data))


def test_files_that_say_what_is_white():
    pgm = b'P5 4 1 4095\n' + TWELVE.astype('>u2').tobytes()
    # A TIFF of 12 bits, two values in three bytes.
    packed = bytes([0, 0x04, 0, 0x80, 0x0F, 0xFF])
    entries = [(256, 4, 4), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    entries += [(273, 4, 8), (278, 4, 1), (279, 4, len(packed))]
    ifd = struct.pack('<H', len(entries))
    for tag, kind, value in sorted(entries):
        ifd += struct.pack('<HHII', tag, kind, 1, value)
    own = b'II*\0' + struct.pack('<I', 8 + len(packed)) + packed + ifd + bytes(4)
    for data in (pgm, own):
        for deep_range in (None, (0, 1000)):
            grey = decode_rgb(data, deep_range=deep_range)[0, :, 0]
            np.testing.assert_array_equal(grey, AS_GREY)


def deep_colours(kind: str, values: np.ndarray, orientation: int = 1) -> bytes:
    if kind == 'TIFF':
        return tiff(values, photometric='rgb', extratags=[(0x0112, 'H', 1, orientation, True)])
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
    exif = orientation_exif(orientation).tobytes().removeprefix(b'Exif\0\0')
    chunks = (b'eXIf', exif), (b'IDAT', zlib.compress(rows))
    return png_of(*values.shape[1::-1], *chunks, bits=16, kind={3: 2, 4: 6}[values.shape[2]])


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
@pytest.mark.parametrize('orientation', ORIENTED)
def test_12_bits_in_colours_of_16(kind, orientation):
    values = np.random.default_rng(0).integers(0, 4096, (2, 3, 3), dtype=np.uint16)
    found = decode_rgb(deep_colours(kind, values, orientation), deep_range=(0, 4095))
    expected = np.rint(values * (255 / 4095)).reshape(6, 3)[np.array(ORIENTED[orientation])]
    np.testing.assert_array_equal(found, expected)


def test_12_bits_in_colours_with_transparency():
    values = np.array([[[4095, 0, 2048, 65535], [9, 9, 9, 0]]], np.uint16)
    data = deep_colours('PNG', values)
    expected = [[(255, 0, 128), (255, 255, 255)]]
    np.testing.assert_array_equal(decode_rgb(data, deep_range=(0, 4095)), expected)
    row = b'\0' + values[..., :3].astype('>u2').tobytes()
    data = png(16, 2, row, (2, 1), trns=struct.pack('>HHH', 9, 9, 9))
    np.testing.assert_array_equal(decode_rgb(data, deep_range=(0, 4095)), expected)
    ppm = b'P6 2 1 65535\n' + values[..., :3].astype('>u2').tobytes()
    np.testing.assert_array_equal(decode_rgb(ppm, deep_range=(0, 4095))[0, 0], (255, 0, 128))


def test_colours_of_16_bits_that_are_not_all_there(tmp_path):
    inks = tiff(np.zeros((2, 2, 4), np.uint16), photometric='separated')
    decode_rgb(inks)
    with pytest.raises(
        ImageReadError, match=r"'x\.tif' has colours of 16 bits of which 8 are read"
    ):
        decode_rgb(inks, 'x.tif', deep_range=(0, 4095))
    (tmp_path / 'x.tif').write_bytes(deep_colours('TIFF', np.zeros((2, 2, 3), np.uint16)))
    with Image.open(tmp_path / 'x.tif') as opened:
        for _ in range(2):  # not decoded yet, and decoded
            with pytest.raises(ImageReadError, match='of which Pillow keeps 8: .* give the path'):
                read(opened, (0, 4095))
        read(opened)


@pytest.mark.parametrize(
    'value', [5, (1,), (1, 1), (2, 1), (0, 1, 2), ('0', '1'), (0, np.nan), 'full']
)
def test_deep_range_must_be_a_range(value):
    with pytest.raises(ValueError, match=r'deep_range must be two numbers.*\(0, 4095\)'):
        LoadRGBImage('img_A', deep_range=value)
    with pytest.raises(ValueError, match='deep_range must be'):
        decode_rgb(encode(gradient('L'), 'PNG'), deep_range=value)


def test_the_loader_takes_a_deep_range(tmp_path):
    Image.fromarray(TWELVE).save(tmp_path / 'ct.png')
    step = TRANSFORMS.build({'type': 'LoadRGBImage', 'key': 'x', 'deep_range': [0, 4095]})
    np.testing.assert_array_equal(step({'x_path': tmp_path / 'ct.png'})['x'][0, :, 0], AS_GREY)
    assert 'deep_range=(0, 4095), ' in repr(step)


@pytest.mark.parametrize('bands', [4, 5, 6])
def test_bands_are_not_left_out_silently(bands):
    values = np.random.default_rng(0).integers(0, 256, (8, 9, bands), dtype=np.uint8)
    layout = {'photometric': 'rgb', 'extrasamples': ['unspecified'] * (bands - 3)}
    with pytest.raises(ImageReadError) as error:
        decode_rgb(tiff(values, **layout), 'field.tif')
    remedy = f'Networks trained with channels={bands} read all of them; for others write'
    assert str(error.value) == (
        f"'field.tif' is a TIFF of 9x8 pixels with {bands} bands of 8-bit integers, of which 3 "
        f'would be read. {"Write" if bands == 4 else remedy} the bands to be seen to an RGB or '
        'grey file of 8 or 16 bits.'
    )
    planes = values.transpose(2, 0, 1).copy()
    with pytest.raises(ImageReadError, match=rf'is a TIFF of 9x8 pixels with {bands} bands of 8'):
        decode_rgb(tiff(planes, planarconfig='separate', **layout), 'field.tif')
    values[..., 3] = 7
    if bands == 4:  # it fills words of 32 bits: nothing is lost
        np.testing.assert_array_equal(decode_rgb(tiff(values, **layout)), values[..., :3])


@pytest.mark.parametrize(
    ('data', 'what'),
    [
        (
            tiff(np.zeros((9, 8, 5), np.uint16), planarconfig='contig'),
            '5 bands of 16-bit integers',
        ),
        (
            tiff(np.zeros((9, 8, 3), np.float32), photometric='rgb'),
            '3 bands of 32-bit floating-point',
        ),
        (tiff(np.zeros((9, 8), np.float64)), '1 band of 64-bit floating-point numbers'),
        (tiff(np.zeros((9, 8), np.uint64), bigtiff=True), '1 band of 64-bit integers'),
        (
            tiff(np.zeros((9, 8, 2), '>i2'), byteorder='>', planarconfig='contig'),
            '2 bands of 16-bit signed integers',
        ),
        (tiff(np.zeros((9, 8), np.complex64)), '1 band of 64-bit complex numbers'),
    ],
)
def test_tiffs_that_are_not_read_are_described(data, what):
    with pytest.raises(ImageReadError) as error:
        decode_rgb(data, 'field.tif')
    said = str(error.value)
    assert said.startswith(f"'field.tif' is a TIFF of 8x9 pixels with {what}")
    remedy = 'Networks trained with channels=5 ' if what.startswith('5') else 'Write the bands'
    assert f'only colours and greys of 8 or 16 bits, and greys of 32, are read. {remedy}' in said


@pytest.mark.parametrize(
    ('start', 'what'),
    [
        (b'\0\0\0\x18ftypcrx \0\0\0\0', 'a Canon raw file'),
        (
            b'\0\0\0\x0cjP  \r\n\x87\n',
            'a JPEG 2000 file, which is not read: save it as PNG or JPEG.',
        ),
        (b'8BPS\0\1', 'a Photoshop file'),
        (bytes(128) + b'DICM', 'a DICOM file'),
        (b'II*\0\x08\0\0\0', 'damaged or truncated (a TIFF without a size)'),
        (b'hello', 'not an image of a known format'),
    ],
)
def test_other_files_are_named(start, what):
    with pytest.raises(ImageReadError, match=rf"^'x' is {re.escape(what)}"):
        decode_rgb(start + bytes(90), 'x')


@pytest.mark.parametrize(
    ('scale', 'size', 'found'),
    [
        ((256, 256), (640, 480), (341, 256)),  # the longer side rounded down, as torchvision
        ((256, 256), (480, 640), (256, 341)),
        ((256, 256), (100, 100), (256, 256)),
        ((128, 64), (100, 100), (128, 128)),
        ((128, 64), (300, 100), (192, 64)),
        ((8, 8), (1, 1000), (8, 8000)),
    ],
)
def test_the_smallest_size_that_covers_another(scale, size, found):
    assert covering(scale, size) == found
