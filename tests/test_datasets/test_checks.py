"""Checking data sets: every fault is found, nothing else is, and moving aside loses nothing."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from helpers import load_tool
from PIL import Image, ImageOps

from ugatit_mm.datasets import UGATITDataset
from ugatit_mm.datasets.formats import FORMATS
from ugatit_mm.datasets.preparation import checks
from ugatit_mm.datasets.preparation.checks import (
    KINDS,
    MOVED,
    check_dataset,
    describe,
    list_pictures,
)
from ugatit_mm.datasets.preparation.contact_sheet import contact_sheet
from ugatit_mm.datasets.preparation.set_aside import move_aside, move_back, planned_moves
from ugatit_mm.datasets.preparation.similarity import (
    NEAR,
    find_repeats,
    is_blank,
    is_monochrome,
    near_pairs,
    perceptual_hash,
)


def picture(seed: int, size: tuple[int, int] = (80, 80)) -> Image.Image:
    """A soft pattern in colours; another seed gives another one."""
    noise = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def fill(root: Path, counts: dict[str, int]) -> Path:
    """A data set of different pictures."""
    seed = 0
    for split, count in counts.items():
        (root / split).mkdir(parents=True)
        for i in range(count):
            picture(seed).save(root / split / f'{i}.png')
            seed += 1
    return root


@pytest.fixture
def clean(tmp_path) -> Path:
    return fill(tmp_path / 'data', {'trainA': 4, 'trainB': 3, 'testA': 2, 'testB': 2})


@pytest.fixture
def faulty(clean) -> Path:
    """The clean set and a fault of almost every kind."""
    train_a = clean / 'trainA'
    (train_a / 'cut.png').write_bytes((train_a / '0.png').read_bytes()[:400])
    (train_a / 'text.jpg').write_text('not an image')
    picture(50, (40, 90)).save(train_a / 'small.png')
    Image.new('RGB', (80, 80), (10, 200, 30)).save(clean / 'trainB' / 'flat.jpg')
    shutil.copy(train_a / '1.png', train_a / 'z_file.png')
    Image.open(train_a / '2.png').save(train_a / 'z_pixels.bmp')
    Image.open(train_a / '3.png').save(train_a / 'z_near.jpg', quality=50)
    shutil.copy(clean / 'testA' / '0.png', train_a / 'a_leak.png')
    Image.open(clean / 'testA' / '1.png').resize((160, 160)).save(train_a / 'a_near_leak.png')
    shutil.copy(clean / 'trainA' / '0.png', clean / 'testB' / 'of_a.png')
    return clean


FAULTS = {
    ('unreadable', 'trainA/cut.png', None),
    ('unreadable', 'trainA/text.jpg', None),
    ('tiny', 'trainA/small.png', None),
    ('blank', 'trainB/flat.jpg', None),
    ('leak', 'trainA/a_leak.png', 'testA/0.png'),
    ('near-leak', 'trainA/a_near_leak.png', 'testA/1.png'),
    ('duplicate', 'trainA/z_file.png', 'trainA/1.png'),
    ('duplicate', 'trainA/z_pixels.bmp', 'trainA/2.png'),
    ('near-duplicate', 'trainA/z_near.jpg', 'trainA/3.png'),
    ('overlap', 'testB/of_a.png', 'trainA/0.png'),
}


def found(report: checks.Report) -> set[tuple]:
    return {(finding.kind, finding.file, finding.other) for finding in report.findings}


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


# -- similarity ----------------------------------------------------------------------------------


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, 'JPEG', quality=quality)
    return Image.open(stream).convert('RGB')


def test_hash_knows_copies_from_strangers():
    images = [picture(seed, (128, 128)) for seed in range(20)]
    hashes = np.array([perceptual_hash(np.array(image)) for image in images])
    assert hashes.shape == (20, 256) and hashes.dtype == bool
    for image, own in zip(images, hashes):
        for copy in (jpeg(image, 40), image.resize((64, 64)), image.resize((300, 300))):
            assert (perceptual_hash(np.array(copy)) != own).sum() <= NEAR
    distances = (hashes[:, None] != hashes).sum(axis=-1)[~np.eye(20, dtype=bool)]
    assert distances.min() > 2 * NEAR and abs(np.median(distances) - 128) <= 4


def test_near_pairs_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2, (2100, 16)).astype(bool)  # more than two blocks
    pairs, distances = near_pairs(hashes, 1)
    i, j = np.triu_indices(len(hashes), 1)
    expected = (hashes[i] != hashes[j]).sum(axis=1)
    np.testing.assert_array_equal(pairs, np.stack([i, j], axis=1)[expected <= 1])
    np.testing.assert_array_equal(distances, expected[expected <= 1])
    assert set(distances) == {0, 1} and len(near_pairs(hashes, -1)[0]) == 0
    assert len(near_pairs(hashes[:0], 1)[0]) == 0


def test_repeats_are_compared_with_what_stays():
    film = np.zeros((5, 256), bool)
    for frame in range(5):
        film[frame, : 10 * frame] = True
    # 0 stays; 1 and 2 are within 24 of it; 3 is not, and stays; 4 is near 3.
    assert find_repeats(*near_pairs(film, 24)) == {1: (0, 10), 2: (0, 20), 4: (3, 10)}


def test_one_colour():
    colourful = picture(0)
    grey = colourful.convert('L')
    sepia = ImageOps.colorize(grey, (40, 20, 10), (255, 230, 200))
    rng = np.random.default_rng(0)
    grainy = Image.fromarray(rng.normal(128, 8, (320, 320, 3)).astype(np.uint8))
    flat = Image.new('RGB', (80, 80), (10, 200, 30))
    for image, monochrome, blank in (
        (colourful, False, False),
        (jpeg(grey.convert('RGB'), 30), True, False),
        (jpeg(sepia, 90), True, False),
        (grainy, True, True),
        (jpeg(flat, 30), True, True),
    ):
        pixels = np.array(image)
        assert (is_monochrome(pixels), is_blank(pixels)) == (monochrome, blank)


# -- what is found -------------------------------------------------------------------------------


def test_clean_set(clean):
    report = check_dataset(clean)
    assert report.findings == []
    assert [stats['images'] for stats in report.splits.values()] == [4, 3, 2, 2]
    assert describe(report).endswith('no problem found')


def test_every_fault_is_found_and_nothing_else(faulty):
    report = check_dataset(faulty)
    assert found(report) == FAULTS
    kinds = [finding.kind for finding in report.findings]
    assert kinds == sorted(kinds, key=list(KINDS).index)
    text = describe(report)
    assert 'trainA/text.jpg' in text and 'not an image of a known format' in text
    assert 'trainA/z_file.png: the same file as trainA/1.png' in text
    assert 'trainA/z_pixels.bmp: the same pixels as trainA/2.png' in text
    assert 'near-duplicate (1, moved by --fix)' in text and 'no problem found' not in text


def test_processes_find_the_same(faulty, monkeypatch):
    single = check_dataset(faulty, workers=1)
    monkeypatch.setattr(checks, '_PARALLEL_FROM', 0)
    assert check_dataset(faulty, workers=2) == single


def test_list_is_shortened(faulty):
    lines = describe(check_dataset(faulty), shown=1).splitlines()
    assert '  and 1 more' in lines and not any('z_pixels' in line for line in lines)


def test_thresholds(faulty):
    def kinds(**options) -> list[str]:
        return [finding.kind for finding in check_dataset(faulty, **options).findings]

    assert 'tiny' not in kinds(min_size=40)
    assert kinds(min_size=81).count('tiny') > 10
    assert not {'near-leak', 'near-duplicate'} & set(kinds(near=-1))
    assert kinds(near=-1).count('duplicate') == 2


def test_folders_are_listed_as_training_lists_them(clean):
    (clean / 'trainA' / 'sub').mkdir()
    picture(70).save(clean / 'trainA' / 'sub' / 'UPPER.JPG', 'JPEG')
    (clean / 'trainA' / '.hidden.png').write_bytes(b'')
    (clean / 'trainA' / '__MACOSX').mkdir()
    (clean / 'trainA' / '__MACOSX' / 'x.png').write_bytes(b'')
    (clean / 'trainA' / 'photo.heic').write_bytes(b'')
    (clean / 'trainA' / 'README').write_bytes(b'')
    picture(71).save(clean / 'trainA' / 'IMG_1', 'PNG')
    dataset = UGATITDataset(clean, [])
    read = [Path(info['path']).relative_to(clean).as_posix() for info in dataset.data_infos_a]
    names = [f'trainA/{name}' for name in list_pictures(clean / 'trainA').images]
    assert names == read and 'trainA/sub/UPPER.JPG' in read
    report = check_dataset(clean)
    expected = {('format', 'trainA/photo.heic', None), ('suffix', 'trainA/IMG_1', None)}
    if 'HEIF' in FORMATS:  # the extra is installed: an empty one is damaged
        expected = {('unreadable', 'trainA/photo.heic', None), ('suffix', 'trainA/IMG_1', None)}
    assert found(report) == expected
    assert report.splits['trainA']['images'] == len(read) == 6 + ('HEIF' in FORMATS)


@pytest.mark.skipif('HEIF' in FORMATS, reason='pillow-heif is installed: HEIC is read')
def test_what_a_folder_loses_is_said(clean, capsys):
    tool = load_tool('dataset_converters/check')
    (clean / 'trainA' / 'README').write_bytes(b'')
    (clean / 'trainA' / '.hidden').write_bytes(b'')
    assert tool.main([str(clean)]) == 0
    said = capsys.readouterr().out
    assert 'no problem found' not in said
    assert said.endswith(
        'the pictures that are read are sound; left out of trainA: 1 other file (without a suffix '
        '1)\n'
    )
    for name in ('a.HEIC', 'b.heic', 'c.psd', 'notes.txt'):
        (clean / 'trainA' / name).write_bytes(b'')
    assert tool.main([str(clean)]) == 1
    said = capsys.readouterr().out
    assert '    left out: 3 pictures of formats not read (.heic 2, .psd 1; HEIC needs p' in said
    assert 'format (3, problem): a picture in a format that is not read' in said
    assert report_of(clean)['other_files'] == {'.heic': 2, '.psd': 1, '.txt': 1, 'README': 1}


def report_of(root: Path) -> dict:
    return check_dataset(root).splits['trainA']


def test_counts_and_notes(clean):
    folder = clean / 'testB'
    picture(60, (200, 100)).convert('L').save(folder / 'grey.png')
    picture(61).convert('CMYK').save(folder / 'print.jpg')
    deep = np.array(picture(62)).astype(np.uint16) * 257
    cv2.imwrite(str(folder / 'deep.png'), deep)
    Image.fromarray(deep[..., 0]).save(folder / 'deep_grey.png')
    picture(63).save(folder / 'named.jpg', 'PNG')
    exif = Image.Exif()
    exif[0x112] = 6
    picture(64, (100, 70)).save(folder / 'turned.jpg', exif=exif)
    small = (64, 64)
    picture(65, small).save(
        folder / 'moving.gif', save_all=True, append_images=[picture(66, small)]
    )
    # As phones write them: a JPEG with a second one after it.
    picture(67).save(folder / 'phone.jpg', 'MPO', save_all=True, append_images=[picture(68)])
    report = check_dataset(clean)
    assert found(report) == {
        ('suffix', 'testB/named.jpg', None),
        ('rotated', 'testB/turned.jpg', None),
        ('animated', 'testB/moving.gif', None),
        ('animated', 'testB/phone.jpg', None),
    }
    stats = report.splits['testB']
    assert stats['modes'] == {'RGB': 5, 'L': 1, 'CMYK': 1, 'RGB;16': 1, 'I;16': 1, 'P': 1}
    assert stats['formats'] == {'PNG': 6, 'JPEG': 3, 'GIF': 1}
    assert (stats['smallest'], stats['median']) == ((64, 64), (80, 80))
    assert stats['largest'] == (200, 100)
    assert stats['not_square'] == 2 and stats['monochrome'] == 2
    assert describe(report).endswith('no problem found')  # notes are not problems


def deepened(seed: int, top: int) -> np.ndarray:
    """A pattern of 16 bits, grey, with values up to ``top``."""
    grey = np.asarray(picture(seed).convert('L')).astype(float)
    return np.rint((grey - grey.min()) / np.ptp(grey) * top).astype(np.uint16)


@pytest.mark.parametrize('bits', [10, 12, 14])
def test_small_part_of_a_deep_range(clean, bits, capsys):
    top = 2**bits - 1
    for i in range(2):
        Image.fromarray(deepened(80 + i, top - i)).save(clean / 'trainA' / f'ct{i}.png')
    colours = np.stack([deepened(82 + c, top) for c in range(3)], 2)
    cv2.imwrite(str(clean / 'trainB' / 'sensor.png'), colours)
    report = check_dataset(clean)
    texts = {finding.file: finding.text for finding in report.findings}
    option = f'deep_range=0,{top}'
    assert texts == {
        f'{file}': f'values 0 to {most} of 0 to 65535: --deep-range 0 {top} here and in '
        f'translation, --cfg-options {option} in training'
        for file, most in (
            ('trainA/ct0.png', top),
            ('trainA/ct1.png', top - 1),
            ('trainB/sensor.png', top),
        )
    }
    assert {finding.kind for finding in report.of(checks.PROBLEM)} == {'range'}
    tool = load_tool('dataset_converters/check')
    assert tool.main([str(clean)]) == 1
    assert 'no problem found' not in capsys.readouterr().out
    assert tool.main([str(clean), '--deep-range', '0', str(top)]) == 0
    assert capsys.readouterr().out.endswith('no problem found\n')


def test_deep_ranges_of_one_domain_and_of_single_pictures(clean):
    def save(file: str, array: np.ndarray) -> None:
        Image.fromarray(array).save(clean / file)

    save('trainA/ct.png', deepened(80, 4095))
    save('trainB/full.png', deepened(81, 65535))
    save('trainB/dim.png', deepened(82, 9000))
    save('testA/high.tif', deepened(83, 900) + 60000)
    save('testB/depth.tif', (deepened(84, 65535) / np.float32(65535)).astype(np.float32))
    (clean / 'testB' / 'own.pgm').write_bytes(
        b'P5 80 80 1023\n' + deepened(85, 1023).astype('>u2').tobytes()
    )
    report = check_dataset(clean)
    assert {(f.kind, f.file) for f in report.findings} == {('dark', 'trainB/dim.png')} | {
        ('dark', file) for file in ('trainA/ct.png', 'testA/high.tif')
    }
    (clean / 'testA' / 'high.tif').unlink()
    report = check_dataset(clean)
    (problem,) = report.of(checks.PROBLEM)
    assert problem.text.endswith('--cfg-options deep_range.A=0,4095 in training')
    report = check_dataset(clean, deep_range=(0, 4095))
    beyond = {f.file: f.text for f in report.findings if f.kind == 'beyond'}
    assert beyond['trainB/full.png'] == 'values 0 to 65535 of 0 to 4095'
    save('trainA/flat.tif', np.full((80, 80), -5, np.int32))
    (finding,) = check_dataset(clean).of(MOVED)
    assert (finding.kind, finding.file) == ('unreadable', 'trainA/flat.tif')


def test_bands_are_checked_with_their_number(tmp_path, tool, capsys):
    """Without it they are named, not moved."""
    rng = np.random.default_rng(0)
    for split, top in (('trainA', 65536), ('trainB', 4096)):
        (tmp_path / split).mkdir()
        for name in 'ab':
            values = rng.integers(0, top, (70, 80, 5), dtype=np.uint16)
            file = tmp_path / split / f'{name}.tif'
            tifffile.imwrite(file, values, photometric='minisblack', planarconfig='contig')
    shutil.copy(tmp_path / 'trainA' / 'a.tif', tmp_path / 'trainA' / 'c.tif')
    (tmp_path / 'trainB' / 'cut.tif').write_bytes((tmp_path / 'trainB' / 'a.tif').read_bytes()[:99])
    (tmp_path / 'trainB' / 'rgb.png').write_bytes(b'')
    report = check_dataset(tmp_path)
    assert {f.file for f in report.of(MOVED)} == {'trainB/cut.tif', 'trainB/rgb.png'}
    bands = [(f.file, f.text) for f in report.findings if f.kind == 'bands']
    assert bands == [(f'train{x}.tif', '5 bands') for x in ('A/a', 'A/b', 'A/c', 'B/a', 'B/b')]
    assert tool.main([str(tmp_path), '--channels', '5', '--sheet', str(tmp_path / 's.png')]) == 1
    out = capsys.readouterr().out
    assert 'trainA/c.tif: the same file as trainA/a.tif' in out
    assert 'bands (' not in out and 'modes: 5 bands 3' in out
    assert '--cfg-options deep_range.B=0,4095 in training' in out
    assert tool.main([str(tmp_path), '--channels', '9']) == 2
    assert capsys.readouterr().err == 'error: channels must be 1 to 8, got 9\n'


def test_turned_picture_is_measured_upright(clean):
    exif = Image.Exif()
    exif[0x112] = 6
    picture(64, (300, 70)).save(clean / 'testB' / 'turned.jpg', exif=exif)
    assert check_dataset(clean).splits['testB']['largest'] == (70, 300)


def test_missing_and_empty_folders(clean, tmp_path):
    shutil.rmtree(clean / 'testA')
    for path in (clean / 'testB').iterdir():
        path.unlink()
    report = check_dataset(clean)
    assert found(report) == {('missing', 'testA', None), ('empty', 'testB', None)}
    with pytest.raises(FileNotFoundError, match='trainA, trainB, testA, testB'):
        check_dataset(tmp_path)


def test_allowed_leak_is_none(clean):
    # photo2vangogh: the paintings are training and test set at once.
    for path in (clean / 'trainB').iterdir():
        shutil.copy(path, clean / 'testB' / f'same_{path.name}')
    leaks = [('leak', f'trainB/{i}.png', f'testB/same_{i}.png') for i in range(3)]
    assert found(check_dataset(clean)) == set(leaks)
    assert found(check_dataset(clean, allow_leak=['A'])) == set(leaks)
    assert found(check_dataset(clean, allow_leak=['B'])) == set()
    # Copies within a split are still found.
    shutil.copy(clean / 'trainB' / '0.png', clean / 'trainB' / 'again.png')
    repeated = {('duplicate', 'trainB/again.png', 'trainB/0.png')}
    assert found(check_dataset(clean, allow_leak=['B'])) == repeated


def test_copies_are_compared_with_what_stays():
    def one(file: str, bits: int) -> checks._Picture:
        return checks._Picture(file, content=file, pixels=file, hash=np.arange(256) < bits)

    film = [one('trainA/0', 0), one('trainA/1', 20), one('trainA/2', 30), one('trainA/3', 38)]
    repeated = checks._find_copies(film, NEAR, ())
    assert [(f.file, f.other) for f in repeated] == [
        ('trainA/1', 'trainA/0'),
        ('trainA/3', 'trainA/2'),  # 2 is near only 1, which goes
    ]
    # Of several that stay, the nearest is named.
    repeated = checks._find_copies(
        [one('testA/0', 0), one('testA/1', 30), one('trainA/2', 20)], 24, ()
    )
    assert [(f.kind, f.text) for f in repeated] == [('near-leak', 'nearly testA/1 (10 of 256)')]


def test_near_overlap_is_a_note(clean):
    Image.open(clean / 'trainA' / '0.png').convert('L').save(clean / 'trainB' / 'grey.png')
    report = check_dataset(clean)
    assert found(report) == {('near-overlap', 'trainB/grey.png', 'trainA/0.png')}
    assert report.of(MOVED, checks.PROBLEM) == []


# -- moving aside --------------------------------------------------------------------------------


def test_move_aside_and_back(faulty):
    before = contents(faulty)
    report = check_dataset(faulty)
    moves = move_aside(report)
    wanted = {(f, f'set_aside/{kind}/{f}') for kind, f, _ in FAULTS if kind != 'overlap'}
    assert {(source, target) for source, target, _ in moves} == wanted
    after = contents(faulty)
    log = after.pop('set_aside/moves.csv').decode()
    homes = {target: source for source, target in wanted}
    assert {homes.get(file, file): data for file, data in after.items()} == before
    assert not any((faulty / source).exists() for source, _ in wanted)
    rows = {row['from']: row for row in csv.DictReader(io.StringIO(log))}
    assert rows['trainA/a_leak.png'] == {
        'from': 'trainA/a_leak.png',
        'to': 'set_aside/leak/trainA/a_leak.png',
        'kind': 'leak',
        'reason': 'the same file as testA/0.png',
    }
    # What stays is clean but for what is left to the user, and a second run moves nothing.
    again = check_dataset(faulty)
    assert found(again) == {fault for fault in FAULTS if fault[0] == 'overlap'}
    assert move_aside(again) == []

    assert len(move_back(faulty)) == len(wanted)
    after = contents(faulty)
    del after['set_aside/moves.csv']
    assert after == before
    assert move_back(faulty) == []


def test_nothing_is_overwritten(clean):
    shutil.copy(clean / 'trainA' / '0.png', clean / 'trainA' / 'copy.png')
    move_aside(check_dataset(clean))
    picture(2).save(clean / 'trainA' / 'copy.png')  # another picture of the name, a copy again
    moves = move_aside(check_dataset(clean))
    assert [target for _, target, _ in moves] == ['set_aside/duplicate/trainA/copy~2.png']
    aside = clean / 'set_aside' / 'duplicate' / 'trainA'
    assert (aside / 'copy.png').read_bytes() == (clean / 'trainA' / '0.png').read_bytes()
    assert (aside / 'copy~2.png').read_bytes() == (clean / 'trainA' / '2.png').read_bytes()
    # Both want to go back to one place: the last one does, the other is not lost.
    with pytest.raises(FileExistsError, match=r'copy\.png'):
        move_back(clean)
    assert (aside / 'copy.png').exists() and not (aside / 'copy~2.png').exists()
    assert np.array_equal(Image.open(clean / 'trainA' / 'copy.png'), picture(2))


def test_link_goes_rather_than_its_file(clean):
    train = clean / 'trainA'
    os.symlink('3.png', train / '0_link.png')
    moves = planned_moves(check_dataset(clean))
    assert [source for source, _, _ in moves] == ['trainA/0_link.png']


def test_file_of_a_test_link_stays(clean):
    os.symlink('../trainA/0.png', clean / 'testA' / 'link.png')
    report = check_dataset(clean)
    assert found(report) == {('leak', 'trainA/0.png', 'testA/link.png')}
    assert planned_moves(report) == []


def test_no_log_no_way_back(clean):
    with pytest.raises(FileNotFoundError, match=r'moves\.csv'):
        move_back(clean)


# -- contact sheet -------------------------------------------------------------------------------


def test_contact_sheet(faulty):
    report = check_dataset(faulty)
    sheet = contact_sheet(report, columns=5)
    assert sheet == contact_sheet(report, columns=5)
    pixels = np.array(sheet)
    # The flat picture is shown with its problem; two unreadable ones are crossed out in red.
    flat = np.abs(pixels.astype(int) - (10, 200, 30)).max(axis=-1) < 4
    assert flat.sum() == pytest.approx(112 * 112, rel=0.01)
    red = (pixels == (178, 34, 34)).all(axis=-1)
    assert red.sum() > 2 * 2 * 112
    few = contact_sheet(report, columns=2)
    assert few.width < sheet.width
    assert few != contact_sheet(report, columns=2, seed=1)


# -- the tool ------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def tool():
    return load_tool('dataset_converters/check')


def test_tool_on_a_clean_set(tool, clean, tmp_path, capsys):
    json_file, sheet = tmp_path / 'report.json', tmp_path / 'sheet.png'
    assert tool.main([str(clean), '--json', str(json_file), '--sheet', str(sheet)]) == 0
    assert 'no problem found' in capsys.readouterr().out
    report = json.loads(json_file.read_text())
    assert report['splits']['trainA']['largest'] == [80, 80]
    assert report['findings'] == report['moved'] == []
    assert Image.open(sheet).width > 1000
    assert tool.main([str(clean), '--json', str(json_file)]) == 2  # is not overwritten
    assert 'exists' in capsys.readouterr().err


def test_tool_moves_only_when_asked(tool, faulty, tmp_path, capsys):
    before = contents(faulty)
    assert tool.main([str(faulty)]) == 1
    assert tool.main([str(faulty), '--dry-run']) == 1
    assert 'trainA/cut.png -> set_aside/unreadable/trainA/cut.png' in capsys.readouterr().out
    assert contents(faulty) == before

    json_file = tmp_path / 'report.json'
    assert tool.main([str(faulty), '--fix', '--json', str(json_file)]) == 1  # the overlap is left
    assert len(json.loads(json_file.read_text())['moved']) == len(FAULTS) - 1
    (faulty / 'testB' / 'of_a.png').unlink()
    assert tool.main([str(faulty)]) == 0
    assert tool.main([str(faulty), '--undo']) == 0
    assert tool.main([str(faulty)]) == 1
    assert tool.main([str(faulty), '--fix']) == 0  # all that was wrong is moved


def test_tool_passes_its_options_on(tool, clean):
    shutil.copy(clean / 'trainB' / '0.png', clean / 'testB' / 'same.png')
    Image.open(clean / 'trainA' / '0.png').save(clean / 'trainA' / 'near.jpg')
    assert tool.main([str(clean), '--allow-leak', 'B', '--near', '-1', '--workers', '1']) == 0
    assert tool.main([str(clean), '--allow-leak', 'B']) == 1
    assert tool.main([str(clean), '--near', '-1']) == 1
    assert tool.main([str(clean), '--allow-leak', 'B', '--near', '-1', '--min-size', '99']) == 1


def test_tool_without_a_data_set(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'nowhere')]) == 2
    assert 'holds none of the folders' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        tool.main([])
    assert stop.value.code == 2
