"""Which pictures belong together, in which order, and what a browser gets."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study_helpers import METHODS, SOURCES, write_study

from ugatit_mm.datasets import ImageReadError
from ugatit_mm.user_study import collect


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_study(tmp_path)
    return tmp_path


def gather(root: Path, **options):
    methods = {method: root / method for method in METHODS}
    return collect(root / 'sources', methods, 'selfie2anime', 'Which?', **options)


def picture(path: Path, colour=(1, 2, 3), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), colour).save(path, **options)
    return path


# -- pairs ---------------------------------------------------------------------------------------


def test_pairs_by_name_whatever_the_suffix(root):
    (root / 'ours' / 'face1.png').unlink()
    other = picture(root / 'ours' / 'face1.webp')
    picture(root / 'ours' / 'not asked.png')
    study = gather(root)
    assert tuple(study.sources) == SOURCES and study.methods == METHODS
    assert study.sources['face2'].path == root / 'sources' / 'face2.jpg'
    assert study.results['face1']['ours'].path == other
    assert study.results['face3']['munit'].path == root / 'munit' / 'face3.png'


def test_sub_folders_and_sources_that_differ_in_their_suffix(root):
    # as tools/test.py writes them
    picture(root / 'sources' / 'a' / 'x.png')
    picture(root / 'sources' / 'a' / 'x.bmp')
    for method in METHODS:
        picture(root / method / 'a' / 'x.png.png')
        picture(root / method / 'a' / 'x.bmp.png')
    study = gather(root)
    assert study.sources['a/x.bmp'].path == root / 'sources' / 'a' / 'x.bmp'
    assert study.results['a/x.bmp']['ours'].path == root / 'ours' / 'a' / 'x.bmp.png'


def test_hidden_files_are_not_pictures(root):
    picture(root / 'sources' / '.trash' / 'x.png')
    picture(root / 'sources' / '.y.png')
    assert tuple(gather(root).sources) == SOURCES


def test_a_missing_result_names_method_and_files(root):
    (root / 'munit' / 'face1.png').unlink()
    (root / 'munit' / 'face3.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"'munit' lacks 2 of 4 .*: face1\.png, face3\.png"):
        gather(root)


def test_two_results_of_one_source(root):
    picture(root / 'ours' / 'face1.jpg')
    with pytest.raises(ValueError, match=r"'ours' has several .*face1\.jpg.*face1\.png"):
        gather(root)


def test_a_damaged_picture_is_found_at_once(root):
    path = root / 'ours' / 'face1.png'
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(ImageReadError, match=r'face1\.png'):
        gather(root)


def test_links_inside_are_followed_and_links_outside_refused(root):
    link = root / 'ours' / 'face1.png'
    link.rename(root / 'ours' / 'elsewhere.png')
    link.symlink_to('elsewhere.png')
    data, _ = gather(root).results['face1']['ours'].for_browser()
    assert data == (root / 'ours' / 'elsewhere.png').read_bytes()

    link.unlink()
    link.symlink_to(picture(root / 'secret' / 'face1.png'))
    with pytest.raises(ValueError, match=r"ours/face1\.png' leads to .*secret"):
        gather(root)

    link.unlink()
    (root / 'ours' / 'elsewhere.png').rename(link)
    (root / 'ours' / 'more').symlink_to(root / 'secret')
    with pytest.raises(ValueError, match=r"ours/more/face1\.png' leads to .*secret"):
        gather(root)


def test_the_given_folder_may_be_a_link_itself(root):
    (root / 'ours').rename(root / 'real')
    (root / 'ours').symlink_to('real')
    assert gather(root).results['face0']['ours'].path == root / 'real' / 'face0.png'


@pytest.mark.parametrize(
    ('methods', 'message'),
    [
        (('ours',), '2 to 9 methods, got 1'),
        ([f'm{i}' for i in range(10)], '2 to 9 methods, got 10'),
        (('ours', 'nowhere'), "no folder '.*nowhere'"),
        (('ours', 'empty'), "empty' holds no image"),
        (('ours', '../{}/ours'), 'the same folder'),
    ],
)
def test_folders_that_cannot_be_used(root, methods, message):
    (root / 'empty').mkdir()
    folders = {method: root / method.format(root.name) for method in methods}
    with pytest.raises((OSError, ValueError), match=message):
        collect(root / 'sources', folders, 'd', 'q')


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('dataset', ' ', 'empty'),
        ('question', 'one\ntwo', 'one line'),
        ('seed', -1, 'seed'),
        ('per_person', 0, 'from 1 to the 4 sources'),
        ('per_person', 5, 'from 1 to the 4 sources'),
    ],
)
def test_fields_that_cannot_be(study, field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(study, **{field: value})


def test_the_digest_is_of_names_and_contents_not_of_places(root, tmp_path_factory):
    study = gather(root)
    moved = tmp_path_factory.mktemp('moved') / 'here'
    write_study(moved)
    assert gather(moved).digest == study.digest
    picture(moved / 'ours' / 'face1.png', (9, 9, 9))
    assert gather(moved).digest != study.digest
    for name in ('sources/face1.jpg', *(f'{method}/face1.png' for method in METHODS)):
        (root / name).rename((root / name).with_stem('other'))
    assert gather(root).digest != study.digest


# -- orders --------------------------------------------------------------------------------------


def test_orders_are_recorded(study):
    # a person who returns after an update must find the same
    assert study.questions('Ann') == ['face0', 'face2', 'face3', 'face1']
    assert study.slots('Ann', 'face0') == ['cyclegan', 'ours', 'munit']


def test_orders_depend_on_person_seed_and_source(study):
    people = [str(i) for i in range(24)]
    assert len({tuple(study.questions(person)) for person in people}) > 10
    assert len({tuple(study.slots(person, 'face0')) for person in people}) == 6
    assert len({tuple(study.slots('Ann', source)) for source in SOURCES}) > 1
    other = replace(study, seed=1)
    assert [other.questions(person) for person in people] != [
        study.questions(person) for person in people
    ]


def test_every_method_is_in_every_slot_equally_often(study):
    counts = Counter(
        (slot, method)
        for person in range(3000)
        for slot, method in enumerate(study.slots(str(person), 'face0'))
    )
    assert len(counts) == 9
    # 1000 expected, standard deviation 26
    assert all(abs(count - 1000) < 4 * 26 for count in counts.values())


def test_per_person_is_a_part_of_the_persons_order(study):
    part = replace(study, per_person=2)
    assert part.questions('Ann') == study.questions('Ann')[:2]
    drawn = Counter(name for person in range(200) for name in part.questions(str(person)))
    assert set(drawn) == set(SOURCES) and min(drawn.values()) > 70  # 100 expected


# -- what a browser gets -------------------------------------------------------------------------


def served(root: Path, path: Path):
    """The picture instead of the method's face0."""
    (root / 'ours' / 'face0.png').unlink()
    path.rename(root / 'ours' / f'face0{path.suffix}')
    return gather(root).results['face0']['ours'].for_browser()


@pytest.mark.parametrize(('suffix', 'media_type'), [('png', 'image/png'), ('jpg', 'image/jpeg')])
def test_png_and_jpeg_go_as_they_are(root, suffix, media_type):
    path = picture(root / f'x.{suffix}')
    data = path.read_bytes()
    assert served(root, path) == (data, media_type)


@pytest.mark.parametrize('suffix', ['tif', 'bmp', 'webp'])
def test_other_formats_become_png(root, suffix):
    data, media_type = served(root, picture(root / f'x.{suffix}', lossless=True))
    assert media_type == 'image/png'
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == 'PNG' and (np.asarray(image) == (1, 2, 3)).all()


def test_transparency_is_white_whatever_the_page(root):
    Image.new('RGBA', (8, 8), (200, 0, 0, 0)).save(root / 'x.png')
    data, _ = served(root, root / 'x.png')
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == 'RGB' and (np.asarray(image) == 255).all()


def test_a_file_that_changed_is_not_served(root):
    study = gather(root)
    path = root / 'ours' / 'face0.png'
    path.unlink()
    path.symlink_to(picture(root / 'secret' / 'x.png'))
    with pytest.raises(ValueError, match=r'face0\.png.* has changed'):
        study.results['face0']['ours'].for_browser()
