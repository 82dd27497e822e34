"""Photographs against drawings of others, from any folder of photographs."""

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers import load_tool
from PIL import Image

from ugatit_mm.datasets.drawings import STYLES, charcoal_drawing, ink_drawing, make_drawings

TOOL = 'dataset_converters/make_drawings'


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten, each of another grey, wide, in sub-folders, with a band at the sides that is cut off."""
    folder = tmp_path / 'photos'
    for index in range(10):
        image = np.full((16, 24, 3), 20 * index + 30, np.uint8)
        image[:, :4] = image[:, -4:] = (255, 0, 0)
        path = folder / str(index % 2) / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.mark.parametrize('style', list(STYLES))
def test_photographs_against_drawings_of_others(photos, tmp_path, style):
    assert make_drawings(photos, tmp_path / 'set', style, size=16, num_test=2) == 3
    counts = {p.name: len(list(p.iterdir())) for p in (tmp_path / 'set').iterdir() if p.is_dir()}
    assert counts == {'trainA': 3, 'trainB': 3, 'testA': 2, 'testB': 2, 'ideal': 2}

    with open(tmp_path / 'set/sources.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    sources = [row['source'] for row in rows if not row['file'].startswith('ideal')]
    assert len(set(sources)) == 10  # no photograph is in two folders
    for row in rows:
        # the middle square has no red band
        photo = np.full((16, 16, 3), read(photos / row['source'])[0, 12], np.uint8)
        folder = row['file'].split('/')[0]
        expected = photo if folder in ('trainA', 'testA') else STYLES[style](photo)
        np.testing.assert_array_equal(read(tmp_path / 'set' / row['file']), expected)
    of = {row['file']: row['source'] for row in rows}
    assert all(of[f'ideal/000{i}.png'] == of[f'testA/000{i}.png'] for i in range(2))


def test_the_seed_decides_where_a_photograph_goes(photos, tmp_path):
    tables = []
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        make_drawings(photos, tmp_path / name, size=16, num_test=1, seed=seed)
        tables.append((tmp_path / name / 'sources.csv').read_text())
    assert tables[0] == tables[1] != tables[2]


def test_drawing_of_a_flat_photo_is_paper_and_of_an_edge_a_dark_line():
    white = charcoal_drawing(np.full((64, 64, 3), 255, np.uint8))
    # The closed form: the lines of a flat picture are the logistic of 2.2, its shade that of 9 *
    # (1 - 0.38).
    light = 1 / (1 + np.exp(-2.2)) * (0.35 + 0.65 / (1 + np.exp(-9 * 0.62)))
    paper, ink = np.array([250, 245, 233]), np.array([46, 44, 50])
    np.testing.assert_allclose(white[32, 32], ink + (paper - ink) * light, atol=1)
    edge = np.full((64, 64, 3), 230, np.uint8)
    edge[:, 32:] = 120
    light = charcoal_drawing(edge).mean(axis=(0, 2))
    assert light[32] < 100  # the dark side of the edge
    assert light[20:28].mean() > 200


def test_ink_is_charcoal_in_black_and_white_with_more_contrast():
    photo = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    charcoal, ink = charcoal_drawing(photo).astype(float), ink_drawing(photo).astype(float)
    assert (ink == ink[..., :1]).all() and ink.min() == 0 and ink.max() == 255
    light = (charcoal - [46, 44, 50]) / [204, 201, 183]  # from the charcoal to the paper
    np.testing.assert_allclose(ink / 255, (1.15 * light - 0.05).clip(0, 1), atol=0.007)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--test', '5'], 'has 10 photographs'),
        (['--test', '0'], 'num_test must be 1 or more'),
        (['--size', '8'], 'size must be 16 or more'),
        (['--seed', '-1'], 'seed 0 or more'),
    ],
)
def test_what_cannot_be_is_said_in_a_line(photos, tmp_path, capsys, options, said):
    assert load_tool(TOOL).main([str(photos), str(tmp_path / 'set'), *options]) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not (tmp_path / 'set').exists()


def test_a_damaged_photograph_is_named_and_nothing_is_left(photos, tmp_path, capsys):
    (photos / '0/broken.jpg').write_bytes(b'\xff\xd8\xff')
    assert load_tool(TOOL).main([str(photos), str(tmp_path / 'set'), '--test', '1']) == 1
    assert 'broken.jpg' in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['photos']


def test_nothing_is_overwritten(photos, tmp_path, capsys):
    (tmp_path / 'set').mkdir()
    assert load_tool(TOOL).main([str(photos), str(tmp_path / 'set')]) == 1
    assert 'name a new folder' in capsys.readouterr().err


def test_the_tool_says_what_it_made(photos, tmp_path, capsys):
    options = ['--test', '1', '--size', '16']
    assert load_tool(TOOL).main([str(photos), str(tmp_path / 'set'), *options]) == 0
    assert '4 and 4 pictures to train, 1 and 1 to test' in capsys.readouterr().out
