"""What a folder of pictures holds: found by suffix or content, and what is lost is said."""

import os
from pathlib import Path

import numpy as np
import pytest
from bad_pictures import encode, noise
from mmengine.logging import MMLogger
from PIL import Image

from ugatit_mm.apis.sources import Failure, find_sources, read
from ugatit_mm.datasets import UGATITDataset
from ugatit_mm.datasets.folders import (
    describe_left_out,
    find_images,
    list_folder,
    list_images,
    suffix_of,
)
from ugatit_mm.datasets.formats import FORMATS, IMAGE_SUFFIXES
from ugatit_mm.datasets.loading import ImageReadError

HEIC = 'HEIF' in FORMATS
without_heic = pytest.mark.skipif(HEIC, reason='pillow-heif is installed: HEIC is read')


def encoded(kind: str) -> bytes:
    return encode(noise(), kind)


def write(folder: Path, **files: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [
        ('a.JPG', '.jpg'),
        ('x/b.tar.gz', '.gz'),
        ('a.jpg_original', '.jpg_original'),
        ('a.png~', '.png~'),
        ('film.mp4', '.mp4'),
        ('IMG_1', ''),
        ('x.y/IMG_1', ''),
        ('photo 12.30', ''),
        ('Mr. Smith', ''),
        ('frame.0001', ''),
        ('ends.', ''),
    ],
)
def test_suffixes(name, suffix):
    assert suffix_of(name) == suffix


@pytest.mark.parametrize('kind', [kind for kind in FORMATS if kind != 'HEIF'])
def test_pictures_without_a_suffix(tmp_path, kind):
    write(tmp_path, IMG_1=encoded(kind), **{'photo 12.30': encoded(kind), 'a.bak': encoded(kind)})
    assert list_folder(tmp_path) == (['IMG_1', 'photo 12.30'], ['a.bak'])
    assert read(tmp_path / 'IMG_1').shape == (24, 20, 3)


@pytest.mark.parametrize('suffix', IMAGE_SUFFIXES)
def test_suffixes_that_count(tmp_path, suffix):
    write(tmp_path, **{f'a{suffix}': b'', f'B{suffix.upper()}': b''})
    assert list_images(tmp_path) == [f'B{suffix.upper()}', f'a{suffix}']


def test_files_without_a_suffix_that_are_none(tmp_path):
    write(tmp_path, README=b'Pictures', BMP=b'BM is no picture', P5=b'P5', cut=encoded('PNG')[:9])
    write(tmp_path / 'more', GIF=encoded('GIF'), empty=b'')
    (tmp_path / 'dangling').symlink_to('nowhere')
    os.mkfifo(tmp_path / 'pipe')
    found = list_folder(tmp_path)
    assert found.images == ['more/GIF']
    assert found.left_out == ['BMP', 'P5', 'README', 'cut', 'dangling', 'more/empty', 'pipe']
    assert list_images(tmp_path, every_file=True) == sorted([*found.images, *found.left_out])


LOST = {'notes.txt': b'', 'b.TXT': b'', 'Thumbs.db': b'', 'README': b'', 'a.psd': b'', 'b.jp2': b''}
SAID = (
    '2 pictures of formats not read (.jp2 1, .psd 1), '
    '4 other files (.txt 2, without a suffix 1, .db 1)'
)


def test_what_is_left_out_is_counted_in_one_line(tmp_path, capsys):
    write(tmp_path, **LOST, **{'a.png': encoded('PNG'), '.hidden': b'', '.DS_Store': b''})
    write(tmp_path / '.cache', **LOST)
    assert find_images(tmp_path) == [str(tmp_path / 'a.png')]
    assert capsys.readouterr().err == f'left out of {str(tmp_path)!r}: {SAID}\n'
    find_images(tmp_path, lambda name: not name.endswith('.psd'))
    said = '1 picture of a format not read (.psd 1)'
    assert capsys.readouterr().err == f'left out of {str(tmp_path)!r}: {said}\n'
    write(tmp_path / 'films', **{'a.mp4': b''})
    assert find_images(tmp_path / 'films', lambda name: name.endswith('.mp4')) == []
    assert capsys.readouterr().err == ''
    assert describe_left_out([]) == ''
    assert describe_left_out(f'{i}.k{i}' for i in range(20)).endswith('.k15 1 and 12 more)')


def test_nothing_is_said_where_nothing_is_lost(tmp_path, capsys):
    write(tmp_path, **{'a.png': encoded('PNG'), '.hidden': b''})
    find_images(tmp_path)
    assert capsys.readouterr() == ('', '')


def test_a_folder_without_pictures_says_what_it_has(tmp_path):
    write(tmp_path, **LOST)
    with pytest.raises(ValueError, match=r'holds no image \(\.apng .*\): it has 2 pictures of for'):
        find_images(tmp_path)


def test_training_and_test_say_what_they_lose(tmp_path):
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        write(tmp_path / folder, **{'1.png': encoded('PNG')})
    write(tmp_path / 'trainA', **LOST)
    write(tmp_path / 'testB', **{'a.tga': b''})
    log = tmp_path / 'run.log'
    logger = MMLogger.get_instance('test', log_file=str(log))
    UGATITDataset(tmp_path, [])
    UGATITDataset(tmp_path, [], test_mode=True)
    for handler in logger.handlers:
        handler.close()
    said = [line.partition('WARNING - ')[2] for line in log.read_text().splitlines()]
    assert said == [
        f'left out of {str(tmp_path / "trainA")!r}: {SAID}',
        f'left out of {str(tmp_path / "testB")!r}: 1 picture of a format not read (.tga 1)',
    ]
    (tmp_path / 'testB' / '1.png').unlink()
    with pytest.raises(ValueError, match=r"testB' holds no image but 1 picture of a format not re"):
        UGATITDataset(tmp_path, [], test_mode=True)


def test_translation_says_what_it_loses(tmp_path, capsys):
    write(tmp_path, **LOST, IMG_1=encoded('PNG'), **{'a.avif': encoded('AVIF')})
    sources = list(find_sources(tmp_path))
    assert [source.relative for source in sources] == ['IMG_1', 'a']
    assert capsys.readouterr().err == f'left out of {str(tmp_path)!r}: {SAID}\n'
    write(tmp_path / 'films', **{'a.mp4': b'', 'b.txt': b''})
    (film,) = find_sources(tmp_path / 'films', videos=True)
    assert film.relative == 'a'
    said = capsys.readouterr().err
    assert said == f'left out of {str(tmp_path / "films")!r}: 1 other file (.txt 1)\n'
    write(tmp_path / 'none', **LOST)
    (failure,) = find_sources(tmp_path / 'none')
    assert isinstance(failure, Failure) and SAID in str(failure.error)


@without_heic
def test_heic_without_the_extra(tmp_path, capsys):
    data = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(99)
    write(tmp_path, **{'IMG_1.HEIC': data, 'IMG_2': data, 'a.png': encoded('PNG')})
    assert find_images(tmp_path) == [str(tmp_path / 'a.png')]
    assert capsys.readouterr().err == (
        f'left out of {str(tmp_path)!r}: 1 picture of a format not read (.heic 1; HEIC needs '
        "pillow-heif: pip install 'ugatit_mm[heic]'), 1 other file (without a suffix 1)\n"
    )
    with pytest.raises(ImageReadError) as error:
        read(tmp_path / 'IMG_1.HEIC')
    assert str(error.value) == (
        f"'{tmp_path / 'IMG_1.HEIC'}' is a HEIC picture, as phones take them. HEIC needs "
        "pillow-heif: pip install 'ugatit_mm[heic]', or save it as JPEG."
    )


@pytest.mark.skipif(not HEIC, reason="HEIC is read with the extra: pip install 'ugatit_mm[heic]'")
def test_heic_with_the_extra(tmp_path):
    colours = np.zeros((64, 96, 3), np.uint8)
    colours[:32], colours[32:, 48:] = (200, 30, 40), (20, 180, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # says nothing in HEIC, whose own box turns a picture when it is decoded
    for name in ('IMG_1.HEIC', 'IMG_2'):
        Image.fromarray(colours).save(tmp_path / name, 'HEIF', quality=100, exif=exif)
    assert list_images(tmp_path) == ['IMG_1.HEIC', 'IMG_2']
    for name in ('IMG_1.HEIC', 'IMG_2'):
        pixels = read(tmp_path / name)
        np.testing.assert_allclose(pixels, colours, atol=12)
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(read(opened), pixels)
    cut = (tmp_path / 'IMG_2').read_bytes()[:200]
    (tmp_path / 'IMG_2').write_bytes(cut)
    with pytest.raises(ImageReadError, match='is (a )?damaged or truncated'):
        read(tmp_path / 'IMG_2')
