"""Several methods' folders as one sheet."""

from pathlib import Path

import numpy as np
import pytest
from helpers import load_tool
from PIL import Image

SIZE, STEP, TOP = 32, 36, 24  # of a picture, from column to column, of the first row


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis/compare_folders')


def colour(method: int, source: int) -> tuple[int, int, int]:
    return 40 * method, 20 * source, 200


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Five sources and two methods' results, each of its own colour; the tool's arguments."""
    names = ['a', 'b', 'deep/c', 'd', 'e']
    for method, (folder, suffix) in enumerate((('src', 'bmp'), ('x', 'png'), ('y', 'webp'))):
        for source, name in enumerate(names):
            path = tmp_path / folder / f'{name}.{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new('RGB', (SIZE, SIZE), colour(method, source))
            picture.save(path, lossless=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'x' / 'without a source.png')
    paths = [str(tmp_path / 'src'), f'ours={tmp_path / "x"}', f'theirs={tmp_path / "y"}']
    return [*paths, '--size', str(SIZE), '--out', str(tmp_path / 'out.png')]


def tiles(path: Path, rows: int) -> list[list[tuple[int, ...]]]:
    """The colours of a page's pictures, each of one colour."""
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (TOP + rows * (STEP + 20), 3 * STEP + 4, 3)
    found = []
    for row in range(rows):
        y = TOP + row * (STEP + 20)
        cells = [sheet[y : y + SIZE, 4 + i * STEP : 4 + i * STEP + SIZE] for i in range(3)]
        assert all((cell == cell[0, 0]).all() for cell in cells)
        found.append([tuple(int(value) for value in cell[0, 0]) for cell in cells])
    titles = [sheet[: TOP - 4, 4 + i * STEP : (i + 1) * STEP] for i in range(3)]
    assert all((title < 100).any() for title in titles)
    return found


def row(source: int) -> list[tuple[int, int, int]]:
    return [colour(method, source) for method in range(3)]


def test_rows_are_sources_and_columns_methods(tool, words, tmp_path, capsys):
    assert tool.main([*words, '--count', '3']) == 0
    assert tiles(tmp_path / 'out.png', 3) == [row(0), row(1), row(3)]  # a, b, d; then deep/c, e
    assert tool.main([*words, '--names', 'deep/c', 'a']) == 0
    assert tiles(tmp_path / 'out.png', 2) == [row(2), row(0)]
    assert '2 sources' in capsys.readouterr().out


def test_many_sources_take_several_pages(tool, words, tmp_path):
    assert tool.main([*words, '--count', '0', '--rows', '2']) == 0
    pages = [tiles(tmp_path / f'out{end}.png', n) for end, n in (('', 2), ('_2', 2), ('_3', 1))]
    assert pages == [[row(0), row(1)], [row(3), row(2)], [row(4)]]
    assert not (tmp_path / 'out_4.png').exists()


def test_pictures_keep_their_shape(tool, words, tmp_path):
    Image.new('RGB', (64, 16), (255, 0, 0)).save(tmp_path / 'x' / 'a.png')
    assert tool.main([*words, '--names', 'a']) == 0
    cell = np.asarray(Image.open(tmp_path / 'out.png'))[
        TOP : TOP + SIZE, 4 + STEP : 4 + STEP + SIZE
    ]
    assert (cell[12:20] == (255, 0, 0)).all()
    assert (cell[:12] == 255).all() and (cell[20:] == 255).all()


def test_sources_that_differ_in_their_suffix(tool, words, tmp_path):
    """They are matched to the names that ``ugatit test`` writes."""
    Image.new('RGB', (8, 8)).save(tmp_path / 'src' / 'a.png')
    assert tool.main([*words, '--count', '1']) == 1
    for method in 'xy':
        for suffix in ('bmp', 'png'):
            Image.new('RGB', (8, 8)).save(tmp_path / method / f'a.{suffix}.png')
    assert tool.main([*words, '--names', 'a.png', 'a.bmp']) == 0


def test_what_is_missing_is_named(tool, words, tmp_path, capsys):
    (tmp_path / 'y' / 'b.webp').unlink()
    (tmp_path / 'y' / 'deep' / 'c.webp').unlink()
    assert tool.main(words) == 1
    assert f"'theirs' lacks 2 of 5 sources in '{tmp_path}/y': b, deep/c." in capsys.readouterr().err
    assert tool.main([*words, '--names', 'a', 'e']) == 0  # they are all there
    for wrong, said in (
        (['--names', 'a', 'z'], 'has no z; it has a, b'),
        ([f'third={tmp_path}/none', '--names', 'a'], f"no folder '{tmp_path}/none'"),
        (['--out', str(tmp_path / 'none' / 'x.png'), '--count', '1'], 'none/x.png'),
    ):
        assert tool.main([*words, *wrong]) == 1
        assert said in capsys.readouterr().err
    Image.new('RGB', (8, 8)).save(tmp_path / 'x' / 'a.jpg')
    assert tool.main(words) == 1
    assert 'several results of one' in capsys.readouterr().err
    (tmp_path / 'x' / 'e.png').write_bytes(b'no picture')
    assert tool.main([*words, '--names', 'e']) == 1
    assert 'x/e.png' in capsys.readouterr().err


def test_arguments_are_checked(tool, words, capsys):
    for wrong, said in (
        (['ours'], 'METHOD=DIR'),
        ([words[1]], 'its own name'),
        (['--out', 'sheet.txt'], '.png'),
        (['--size', '3'], '--size 16'),
        (['--rows', '0'], '--rows 1'),
    ):
        with pytest.raises(SystemExit):
            tool.main([*words, *wrong])
        assert said in capsys.readouterr().err
