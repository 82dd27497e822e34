"""A corpus of bad and odd pictures, with the required outcome of reading each."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
BOMB = 60_000  # side that headers claim: 3.6 billion pixels

REFUSED = 'refused'
EITHER = 'either'  # a picture of any content, or refused


class Expected(NamedTuple):
    """Pixels that reading must give, up to ``tolerance``; or, if ``or_refused``, an error."""

    pixels: np.ndarray
    tolerance: int = 0
    or_refused: bool = False


class Case(NamedTuple):
    """One file of the corpus.

    Attributes:
        kind: What is odd about it, for counts and messages.
        path: The file.
        outcome: ``REFUSED``, ``EITHER`` or :class:`Expected`.
    """

    kind: str
    path: str
    outcome: str | Expected


def encode(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """A picture as the bytes of a file."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes], bits: int = 8, kind: int = 2):
    """A PNG of the chunks given between header and end, for what no program writes."""
    header = struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        for name, data in ((b'IHDR', header), *chunks, (b'IEND', b''))
    )


@cache
def zeros(count: int) -> bytes:
    """``count`` zero bytes, deflated two hundred to one."""
    return zlib.compress(bytes(count), 1)


def noise(height: int = 24, width: int = 20, channels: int = 3) -> np.ndarray:
    """Pixels that compress badly, so that every byte of a file counts."""
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def flat(colour: tuple[int, int, int], height: int = 4, width: int = 4) -> np.ndarray:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def whole_files() -> dict[str, bytes]:
    """A sound file of noise for each format and way to store it, by suffix and way."""
    rgb, deep = noise(), noise()[..., 0].astype(np.uint16) * 257
    return {
        'png': encode(rgb, 'PNG'),
        'deep.png': encode(deep, 'PNG'),
        'jpg': encode(rgb, 'JPEG'),
        'progressive.jpg': encode(rgb, 'JPEG', progressive=True),
        'gif': encode(Image.fromarray(rgb).quantize(16), 'GIF'),
        'bmp': encode(rgb, 'BMP'),
        'lossless.webp': encode(rgb, 'WEBP', lossless=True),
        'webp': encode(rgb, 'WEBP'),
        'tif': encode(rgb, 'TIFF'),
        'lzw.tif': encode(rgb, 'TIFF', compression='tiff_lzw'),
        'deflate.tif': encode(rgb, 'TIFF', compression='tiff_adobe_deflate'),
        'ppm': encode(rgb, 'PPM'),
        'pgm': b'P5 20 24 65535\n' + deep.astype('>u2').tobytes(),
    }


def make_corpus(folder: Path) -> list[Case]:
    """Write the corpus below ``folder``; some of it is not a file, or not even readable by name."""
    cases = []
    for kind, make in (
        ('truncated', _truncated),
        ('flipped bits', _flipped),
        ('empty', _empty),
        ('wrong suffix', _wrong_suffix),
        ('no picture', _no_picture),
        ('bomb', _bombs),
        ('many frames', _frames),
        ('shape', _shapes),
        ('mode', _modes),
        ('numbers', _numbers),
        ('EXIF', _exif),
        ('damaged', _damaged),
        ('name', _names),
    ):
        place = os.fsencode(folder / kind)
        os.mkdir(place)
        for name, data, outcome in make():
            path = os.path.join(place, os.fsencode(name))
            with open(path, 'wb') as file:
                file.write(data)
            cases.append(Case(kind, os.fsdecode(path), outcome))
    place = folder / 'no file'
    place.mkdir()
    return cases + [Case('no file', *case) for case in _no_files(place)]


Made = Iterator[tuple[str | bytes, bytes, str | Expected]]


def _truncated() -> Made:
    for name, data in whole_files().items():
        with Image.open(io.BytesIO(data)) as image:
            grey16 = image.mode.startswith('I')
            pixels = noise()[..., :1].repeat(3, 2) if grey16 else np.array(image.convert('RGB'))
        # The last bytes may be an end mark that decoders ignore: all of the picture, or none.
        outcome = Expected(pixels, or_refused=True)
        for left in (1, 9, *(len(data) * share // 100 for share in (10, 25, 50, 75, 95))):
            yield f'{left}.{name}', data[:left], REFUSED
        for missing in (1, 2, 5):
            yield f'-{missing}.{name}', data[:-missing], outcome


def _flipped() -> Made:
    rng = np.random.default_rng(1)
    for name, data in whole_files().items():
        for count in (1, 3, 30):
            broken = np.frombuffer(data, np.uint8).copy()
            broken[rng.integers(0, len(data), count)] ^= 1 << rng.integers(0, 8, count).astype('u1')
            yield f'{count}.{name}', broken.tobytes(), EITHER
        broken = bytearray(data)
        broken[8:24] = b'\xff' * 16  # lengths and sides as large as can be
        yield f'header.{name}', bytes(broken), EITHER


def _empty() -> Made:
    for suffix in ('png', 'jpg', 'gif', 'bmp', 'webp', 'tif', 'ppm'):
        yield f'nothing.{suffix}', b'', REFUSED
        yield f'zeros.{suffix}', bytes(500), REFUSED


def _wrong_suffix() -> Made:
    for kind, suffix in (
        ('PNG', 'jpg'),
        ('BMP', 'png'),
        ('TIFF', 'gif'),
        ('PPM', 'bmp'),
        ('GIF', 'tif'),
    ):
        yield f'{kind}.{suffix}', encode(flat(RED), kind), Expected(flat(RED))
    yield 'WEBP.png', encode(flat(RED), 'WEBP', lossless=True), Expected(flat(RED))
    yield 'AVIF.jpg', encode(flat(RED, 16, 16), 'AVIF'), Expected(flat(RED, 16, 16), 3)


def _no_picture() -> Made:
    for name, data in {
        'text': b'no picture\n',
        'page': b'<!DOCTYPE html><html><body>404</body></html>',
        'svg': b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        'zip': b'PK\x03\x04' + bytes(40),
        'gzip': b'\x1f\x8b\x08' + bytes(40),
        'json': b'{"image": null}',
        'pickle': b'\x80\x04cos\nsystem\n(S"true"\ntR.',
        'elf': b'\x7fELF' + bytes(60),
        'pdf': b'%PDF-1.7\n%%EOF\n',
        'eps': EPS,
        'ico': encode(flat(RED, 16, 16), 'ICO'),
        'lfs': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
        'utf16': '\ufeffno picture'.encode('utf-16'),
        'noise': noise().tobytes(),
    }.items():
        yield f'{name}.jpg', data, REFUSED


EPS = (
    b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n'
    b'(%pipe%true) (w) file\nshowpage\n%%EOF\n'
)
"""A picture as a program, which Pillow gives to Ghostscript by default."""


def _bombs() -> Made:
    side = BOMB
    raw = zeros(100_000)
    tiff = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: side, 279: 9}
    info = struct.pack('<IiiHHIIiiII', 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    canvas = struct.pack('<I', 0) + (2 * (16_383).to_bytes(3, 'little'))
    for name, data in {
        'size.png': png(side, side, (b'IDAT', raw)),
        'size.gif': b'GIF89a' + struct.pack('<HHBBB', side, side, 0, 0, 0) + b';',
        'frame.gif': gif(side, side),
        'size.tif': tiff_of(tiff),
        'lzw.tif': tiff_of(tiff | {259: 5}),
        'size.bmp': b'BM' + struct.pack('<IHHI', 54, 0, 0, 54) + info,
        'rle.bmp': b'BM' + struct.pack('<IHHI', 54, 0, 0, 54) + rle(side),
        'size.webp': riff(b'VP8X', canvas),
        'size.ppm': b'P6 %d %d 255\n' % (side, side) + bytes(99),
        'size.pgm': b'P5 %d %d 65535\n' % (side, side) + bytes(99),
        'size.pbm': b'P4 %d %d\n' % (side, side) + bytes(99),
        'digits.ppm': b'P6 ' + b'9' * 5000 + b' 1 255\n',
        'size.jpg': jpeg_of_size(65_500),
        'largest.png': png(2**31 - 1, 2**31 - 1, (b'IDAT', raw)),
        # Twice Pillow's limit is where it refuses by itself, the limit where it warns.
        'warned.png': png(10_000, 10_000, (b'IDAT', zeros(12_510_000)), bits=1, kind=0),
        'tall.png': png(1, 80_000_000, (b'IDAT', raw)),
        'wide.png': png(80_000_000, 1, (b'IDAT', raw)),
        'one too tall.png': png(1, 65_536, (b'IDAT', zeros(65_536 * 4))),
        'text.png': png(1, 1, (b'zTXt', b'k\0\0' + zeros(150_000_000)), PIXEL),
        'utf8.png': png(1, 1, (b'iTXt', b'k\0\1\0\0\0' + zeros(150_000_000)), PIXEL),
        'profile.png': png(1, 1, (b'iCCP', b'k\0\0' + zeros(150_000_000)), PIXEL),
        'scans.jpg': many_scans(5000),
    }.items():
        yield name, data, REFUSED
    # Text after the pixels is read while these are loaded.
    yield 'late.png', png(1, 1, PIXEL, (b'zTXt', b'k\0\0' + zeros(150_000_000))), EITHER
    texts = [(b'zTXt', b'k%d\0\0' % i + zeros(1_000_000)) for i in range(100)]
    yield 'texts.png', png(1, 1, *texts, PIXEL), REFUSED
    # More pixels than there is room for; fewer would be a truncated file.
    yield 'pixels.png', png(1, 1, (b'IDAT', zeros(150_000_000))), EITHER
    yield 'as many scans as allowed.jpg', many_scans(90), EITHER


PIXEL = (b'IDAT', zlib.compress(b'\0' + bytes(RED)))


def tiff_of(tags: dict[int, int], next_page: int = 0) -> bytes:
    """A TIFF of one directory of 32-bit numbers."""
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + struct.pack('<I', next_page)


def gif(width: int, height: int) -> bytes:
    """A frame of any size on a canvas of one pixel."""
    return (
        b'GIF89a' + struct.pack('<HHBBB', 1, 1, 0x80, 0, 0) + bytes(6)
        + b',' + struct.pack('<HHHHB', 0, 0, width, height, 0) + b'\x02\x02L\x01\0;'
    )  # fmt: skip


def riff(name: bytes, data: bytes) -> bytes:
    """A WebP of one chunk."""
    chunk = name + struct.pack('<I', len(data)) + data
    return b'RIFF' + struct.pack('<I', 4 + len(chunk)) + b'WEBP' + chunk


def rle(side: int) -> bytes:
    """Header and start of a run-length coded bitmap."""
    return struct.pack('<IiiHHIIiiII', 40, side, side, 1, 8, 1, 0, 0, 0, 0, 0) + b'\xff\0' * 9


def jpeg_of_size(side: int) -> bytes:
    data = bytearray(encode(flat(RED, 16, 16), 'JPEG'))
    start = data.index(b'\xff\xc0') + 5
    data[start : start + 4] = struct.pack('>HH', side, side)
    return bytes(data)


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encode(Image.new('L', (64, 64), 128), 'JPEG', progressive=True)
    last = data[data.rindex(b'\xff\xda') : -2]
    return data[:-2] + last * count + data[-2:]


def _frames() -> Made:
    colours = (RED, GREEN, BLUE)
    for kind, suffix, options in (
        ('GIF', 'gif', {}),
        ('PNG', 'png', {}),
        ('TIFF', 'tif', {}),
        ('WEBP', 'webp', {'lossless': True}),
    ):
        for count in (2, 60):
            # No two alike, or a writer makes one frame of them.
            images = [Image.fromarray(flat(colours[i % 3])) for i in range(count)]
            data = encode(images[0], kind, save_all=True, append_images=images[1:], **options)
            yield f'{count}.{suffix}', data, Expected(flat(RED))
    page = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    # The next page is this page; the pixel is the low byte of the directory's count of entries.
    yield 'loop.tif', tiff_of(page, next_page=8), Expected(flat((9, 9, 9), 1, 1))


def _shapes() -> Made:
    for height, width in ((1, 1), (1, 20_000), (20_000, 1), (3, 2)):
        expected = Expected(flat((7, 80, 200), height, width))
        for kind, suffix in (('PNG', 'png'), ('TIFF', 'tif'), ('PPM', 'ppm'), ('BMP', 'bmp')):
            yield f'{width}x{height}.{suffix}', encode(expected.pixels, kind), expected
        data = encode(expected.pixels, 'JPEG', quality=95)
        yield f'{width}x{height}.jpg', data, expected._replace(tolerance=4)
    longest = flat((9, 9, 9), 65_535, 1)
    yield 'longest.png', encode(longest, 'PNG'), Expected(longest)
    for width, height in ((0, 1), (1, 0), (0, 0)):
        yield f'{width}x{height}.png', png(width, height, PIXEL), REFUSED
        yield f'{width}x{height}.ppm', b'P6 %d %d 255\n' % (width, height), REFUSED
    for height in (0, -(2**31)):
        info = struct.pack('<IiiHHIIiiII', 40, 1, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f'{height}.bmp', b'BM' + struct.pack('<IHHI', 54, 0, 0, 54) + info, REFUSED


def _modes() -> Made:
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    grey = np.array([[0, 1, 128, 255]], np.uint8)[..., None].repeat(3, 2)  # v / 257
    yield 'grey 16.png', encode(deep, 'PNG'), Expected(grey)
    yield 'grey 16.tif', encode(deep, 'TIFF'), Expected(grey)
    yield 'grey 32.tif', encode(deep.astype(np.int32), 'TIFF'), Expected(grey)
    yield 'grey 16.pgm', b'P5 4 1 65535\n' + deep.astype('>u2').tobytes(), Expected(grey)
    row = b'\0' + np.array([65535, 32768, 257], '>u2').tobytes()
    data = png(1, 1, (b'IDAT', zlib.compress(row)), bits=16)
    yield 'colour 16.png', data, Expected(flat((255, 128, 1), 1, 1), 1)
    row = b'\0' + np.array([65535, 0, 0, 0], '>u2').tobytes()
    data = png(1, 1, (b'IDAT', zlib.compress(row)), bits=16, kind=6)
    yield 'colour 16 clear.png', data, Expected(flat((255, 255, 255), 1, 1))
    inks = Image.new('CMYK', (16, 16), (0, 255, 255, 0))
    for suffix, options in (('jpg', {'quality': 95}), ('tif', {})):
        data = encode(inks, 'JPEG' if options else 'TIFF', **options)
        yield f'cmyk.{suffix}', data, Expected(flat(RED, 16, 16), 3)
    palette = Image.new('P', (3, 1))
    palette.putpalette([*RED, *GREEN, *BLUE])
    palette.putdata([0, 1, 2])
    shown = Expected(np.array([[RED, (255, 255, 255), BLUE]], np.uint8))
    for suffix in ('png', 'gif'):
        yield f'clear.{suffix}', encode(palette, suffix, transparency=1), shown
    data = encode(palette, 'PNG', transparency=bytes([255, 0, 255]))
    yield 'clear each.png', data, shown
    for depth in (1, 2, 4):
        data = encode(palette.remap_palette([0, 1]) if depth == 1 else palette, 'PNG', bits=depth)
        yield (
            f'palette {depth}.png',
            data,
            EITHER if depth == 1 else Expected(np.array([[RED, GREEN, BLUE]], np.uint8)),
        )
    colours = np.array([[RED, GREEN]], np.uint8)
    yield (
        'clear colour.png',
        encode(colours, 'PNG', transparency=GREEN),
        Expected(np.array([[RED, (255, 255, 255)]], np.uint8)),
    )
    for mode, pixel, colour in (
        ('LA', (9, 0), (255, 255, 255)),
        ('RGBA', (*RED, 255), RED),
        ('1', 255, (255, 255, 255)),
        ('L', 77, (77, 77, 77)),
    ):
        for kind in ('PNG', 'TIFF'):
            data = encode(Image.new(mode, (4, 4), pixel), kind)
            yield f'{mode}.{kind[:3].lower()}', data, Expected(flat(colour))
    lab = ImageCms.createProfile('LAB')
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    for suffix, kind in (('png', 'PNG'), ('jpg', 'JPEG'), ('tif', 'TIFF')):
        outcome = Expected(flat((90, 90, 90), 16, 16), 1)
        picture = flat((90, 90, 90), 16, 16)
        yield f'foreign.{suffix}', encode(picture, kind, icc_profile=profile), outcome
        yield f'nonsense.{suffix}', encode(picture, kind, icc_profile=b'x' * 99), outcome


def _numbers() -> Made:
    right = np.array([[[0] * 3, [255] * 3]], np.uint8)
    yield 'unit.tif', encode(np.array([[0, 1]], np.float32), 'TIFF'), Expected(right)
    for value in (np.nan, np.inf, -np.inf, 1.5, -0.1, 255, 1e30, -1e-30, -np.nan):
        for place in (0, 1):
            pixels = np.full((1, 2), 0.5, np.float32)
            pixels[0, place] = value
            yield f'float {value} {place}.tif', encode(pixels, 'TIFF'), REFUSED
    yield 'tiny.tif', encode(np.full((4, 4), 1e-45, np.float32), 'TIFF'), Expected(flat((0, 0, 0)))
    yield 'nothing but NaN.tif', encode(np.full((4, 4), np.nan, np.float32), 'TIFF'), REFUSED
    for value in (65_536, 70_000, -1, 2**31 - 1, -(2**31)):
        yield f'int {value}.tif', encode(np.array([[0, value]], np.int32), 'TIFF'), REFUSED


# Where the stored greys [[0, 1, 2], [3, 4, 5]] belong, by EXIF orientation.
ORIENTED = {
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


def _exif() -> Made:
    stored = np.array(ORIENTED[1], np.uint8)[..., None].repeat(3, 2) * 40
    for orientation, places in ORIENTED.items():
        expected = Expected(np.array(places, np.uint8)[..., None].repeat(3, 2) * 40)
        for kind in ('PNG', 'TIFF', 'WEBP'):
            options = {'lossless': True} if kind == 'WEBP' else {}
            data = encode(stored, kind, exif=orientation_exif(orientation), **options)
            yield f'{orientation}.{kind.lower()}', data, expected
    same = Expected(stored)
    for orientation in (0, 9, 65_535):
        yield f'{orientation}.png', encode(stored, 'PNG', exif=orientation_exif(orientation)), same
    good = orientation_exif(6).tobytes()
    turned = Expected(np.array(ORIENTED[6], np.uint8)[..., None].repeat(3, 2) * 40)
    # Damage may cost the picture or, as in viewers, the orientation.
    for name, data in {
        'cut': good[:-3],
        'cut more': good[:12],
        'prefix': b'Exif\0\0',
        'noise': b'Exif\0\0' + noise().tobytes()[:99],
        'offset': b'Exif\0\0II*\0\xff\xff\xff\xff',
        'count': b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + good[16:],
        'huge': b'Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\xff\xff\xff\xff\6\0\0\0\0\0\0\0',
        'text': b'Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0six\0\0\0\0\0',
        'loop': b'Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0',
    }.items():
        for kind in ('PNG', 'JPEG', 'WEBP'):
            options = {'lossless': True} if kind == 'WEBP' else {}
            yield f'{name}.{kind.lower()}', encode(stored, kind, exif=data, **options), EITHER
    yield 'whole.png', encode(stored, 'PNG', exif=good), turned


def orientation_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _damaged() -> Made:
    good = png(1, 1, PIXEL)
    for name, data in {
        'no pixels.png': png(1, 1),
        'no palette.png': png(1, 1, (b'IDAT', zlib.compress(b'\0\1')), kind=3),
        'filter.png': png(1, 1, (b'IDAT', zlib.compress(b'\x09\1\2\3'))),
        'deflate.png': png(1, 1, (b'IDAT', b'no zlib')),
        'few pixels.png': png(9, 9, PIXEL),
        'kind.png': png(1, 1, PIXEL, kind=5),
        'bits.png': png(1, 1, PIXEL, bits=7),
        'checksum.png': good.replace(PIXEL[1], PIXEL[1][:-1] + b'?'),
        'length.png': good.replace(b'\0\0\0\x0dIHDR', b'\xff\xff\xff\xffIHDR'),
        'no header.png': good[:8] + good[33:],
        'no frame.gif': b'GIF89a\1\0\1\0\0\0\0;',
        'no code.gif': gif(4, 4),
        'no tags.tif': b'II*\0\x08\0\0\0\0\0\0\0\0\0',
        'far tags.tif': b'II*\0\xff\xff\xff\x7f',
        'strips.tif': tiff_of({256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 2**31, 279: 16}),
        'tag.tif': b'II*\0\x08\0\0\0\1\0' + struct.pack('<HHII', 256, 4, 2**31, 0) + bytes(4),
        'compression.tif': tiff_of({256: 1, 257: 1, 258: 8, 259: 999, 262: 1, 273: 8, 279: 1}),
        'chunk.webp': riff(b'VP8 ', b'\0' * 30),
        'negative.bmp': b'BM' + struct.pack('<IHHI', 54, 0, 0, 2**32 - 1) + bytes(40),
        'maximum.ppm': b'P6 1 1 99999\n' + bytes(9),
        'letters.ppm': b'P6 one 1 255\n' + bytes(9),
        'plain.ppm': b'P3 2 1 255\n1 2 3 4 5 x',
        'marks.jpg': b'\xff\xd8' + b'\xff\xe1\0\2' * 1000 + b'\xff\xd9',
        'no scan.jpg': encode(flat(RED), 'JPEG').split(b'\xff\xda')[0] + b'\xff\xd9',
    }.items():
        yield name, data, REFUSED


NAMES = (
    'with space.png',
    'new\nline.png',
    'tab\tand\rreturn.png',
    'colour \x1b[31m.png',
    'bell \x07 and delete \x7f.png',
    'c1 \x9b and separator \u2028.png',
    'emoji \U0001f600\U0001f469\u200d\U0001f680.png',
    'backwards \u202egnp.png',
    'Größe 画像.png',
    'e\u0301.png',
    '\u00e9.png',
    '\'single\' "double".png',
    'back\\slash.png',
    '-rf.png',
    '%s %d {0} {x}.png',
    '$HOME `id` $(id) ; rm & x | y.png',
    '~.png',
    'x' * 251 + '.png',
    'ü' * 125 + 'x.png',
    b'undecodable \xff\xfe\x80.png',
    b'\xc3.png',
    b'half \xf0\x9f\x98.png',
    b'\xed\xa0\x80 surrogate.png',
)


def _names() -> Made:
    sound = encode(flat(GREEN), 'PNG')
    for name in NAMES:
        assert len(os.fsencode(name)) <= 255
        yield name, sound, Expected(flat(GREEN))
        broken = b'bad' + os.fsencode(name)[-252:] if isinstance(name, bytes) else f'bad{name[3:]}'
        yield broken, sound[:50], REFUSED


def _no_files(folder: Path) -> Iterator[tuple[str, str | Expected]]:
    sound = folder / 'sound.png'
    sound.write_bytes(encode(flat(BLUE), 'PNG'))
    yield str(sound), Expected(flat(BLUE))
    for name, target, outcome in (
        ('link.png', sound.name, Expected(flat(BLUE))),
        ('dangling.png', 'nowhere.png', REFUSED),
        ('self.png', 'self.png', REFUSED),
        ('there.png', 'back.png', REFUSED),
        ('back.png', 'there.png', REFUSED),
        ('link to a folder.png', '.', REFUSED),
        ('link to a pipe.png', 'pipe.png', REFUSED),
        ('zero.png', '/dev/zero', REFUSED),  # without end
        ('terminal.png', '/dev/tty', REFUSED),
        ('null.png', '/dev/null', REFUSED),
    ):
        (folder / name).symlink_to(target)
        yield str(folder / name), outcome
    (folder / 'folder.png').mkdir()
    yield str(folder / 'folder.png'), REFUSED
    os.mkfifo(folder / 'pipe.png')
    yield str(folder / 'pipe.png'), REFUSED
    here = os.open(folder, os.O_RDONLY)
    try:  # by a short name: a socket's path may have 107 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f'/proc/self/fd/{here}/socket.png')
    finally:
        os.close(here)
    yield str(folder / 'socket.png'), REFUSED
    with open(folder / 'hole.png', 'wb') as file:
        file.truncate(1 << 40)  # a terabyte that takes no room
    yield str(folder / 'hole.png'), REFUSED
    yield str(folder / 'absent.png'), REFUSED
    yield str(folder / 'folder.png' / 'absent.png'), REFUSED
    yield str(sound / 'below a file.png'), REFUSED
    yield str(folder / ('x' * 256 + '.png')), REFUSED
    yield str(folder / 'nul\0.png'), REFUSED
    yield str(folder / 'lone \ud800.png'), REFUSED
    yield '', REFUSED
