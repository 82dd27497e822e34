"""The five data sets: found in every packing, split, counted, written once, and safely."""

import hashlib
import http.server
import io
import json
import os
import shutil
import stat
import tarfile
import threading
import zipfile
from collections import Counter
from functools import partial, partialmethod
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from urllib3.connectionpool import HTTPConnectionPool

from ugatit_mm.config import data_set
from ugatit_mm.datasets.formats import FORMATS
from ugatit_mm.datasets.preparation import download as download_module
from ugatit_mm.datasets.preparation import prepare as module
from ugatit_mm.datasets.preparation.archives import ArchiveError, Limits, iter_entries
from ugatit_mm.datasets.preparation.download import DownloadError, download
from ugatit_mm.datasets.preparation.paper_sets import PAPER_SETS, find_paper_set
from ugatit_mm.datasets.preparation.prepare import prepare, verify

FOLDERS = ('trainA', 'trainB', 'testA', 'testB')
# Stands in for the paper: small, and in the same relations.
SMALL = {
    'selfie2anime': (3, 3, 2, 2),
    'horse2zebra': (4, 5, 2, 3),
    'cat2dog': (6, 8, 2, 3),
    'photo2portrait': (7, 4, 2, 1),
    'photo2vangogh': (6, 3, 2, 3),
}


@pytest.fixture(autouse=True)
def small_paper(monkeypatch, tmp_path):
    def load(name: str) -> SimpleNamespace:
        images = dict(zip(FOLDERS, SMALL[name]))
        return SimpleNamespace(data_root=str(tmp_path / 'data' / name), paper_images=images)

    monkeypatch.setattr(module, 'data_set', load)


def picture(text: str, size: tuple[int, int] = (5, 4)) -> bytes:
    """A PNG that depends only on the text."""
    colour = tuple(hashlib.sha256(text.encode()).digest()[:3])
    buffer = io.BytesIO()
    Image.new('RGB', size, colour).save(buffer, 'PNG')
    return buffer.getvalue()


def contents(counts: tuple[int, ...], root: str = '', names: str = '{}.png') -> dict[str, bytes]:
    return {
        f'{root}{folder}/{names.format(i)}': picture(f'{folder}/{i}')
        for folder, count in zip(FOLDERS, counts)
        for i in range(count)
    }


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = 'w:gz') -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def images(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in tree(folder).items() if path != 'manifest.json'}


def counts(folder: Path) -> tuple[int, ...]:
    found = Counter(path.split('/')[0] for path in images(folder))
    return tuple(found[name] for name in FOLDERS)


# What is known of the sets


def test_numbers_and_names_of_the_paper():
    numbers = {
        'selfie2anime': (3400, 3400, 100, 100),
        'horse2zebra': (1067, 1334, 120, 140),
        'cat2dog': (871, 1364, 120, 140),
        'photo2portrait': (6452, 1811, 751, 400),
        'photo2vangogh': (6287, 400, 751, 400),
    }
    assert set(PAPER_SETS) == set(numbers)
    for name, paper_set in PAPER_SETS.items():
        known = data_set(name)
        assert tuple(known.paper_images[folder] for folder in FOLDERS) == numbers[name]
        assert paper_set.domains == tuple(known.domain_names[domain] for domain in 'AB')
        assert find_paper_set(name) is find_paper_set(paper_set.reverse) is paper_set
    with pytest.raises(ValueError, match='cat2mouse.*selfie2anime, anime2selfie.*vangogh2photo'):
        find_paper_set('cat2mouse')


# Layouts


@pytest.mark.parametrize(
    ('write', 'root'),
    [
        (partial(write_zip), ''),  # Google Drive
        (partial(write_zip), 'horse2zebra/'),  # CycleGAN, DRIT
        (partial(write_tar), './a/b/'),
        (partial(write_tar, mode='w'), ''),
        (partial(write_tar, mode='w:xz'), ''),
        (partial(write_tar, mode='w:bz2'), ''),
        (write_folder, 'deep/er/'),
    ],
)
def test_packings(tmp_path, write, root):
    files = contents((4, 5, 2, 3))
    junk = {
        '__MACOSX/trainA/._0.png': b'x',
        f'{root}trainA/Thumbs.db': b'x',
        f'{root}.DS_Store': b'x',
        f'{root}ATTRIBUTION.txt': b'x',
        f'{root}sample.png': picture('sample'),
        f'{root}more.zip': b'x',
    }
    source = write(tmp_path / 'source', {root + name: x for name, x in files.items()} | junk)
    prepared = prepare('horse2zebra', source, tmp_path / 'out')
    assert images(tmp_path / 'out') == files
    assert prepared.written and prepared.as_in_paper
    manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
    assert manifest == prepared.manifest
    assert manifest['counts'] == manifest['paper'] == dict(zip(FOLDERS, (4, 5, 2, 3)))
    assert manifest['images'][0] == {
        'path': 'testA/0.png',
        'member': f'{root}testA/0.png'.removeprefix('./'),
        'bytes': len(files['testA/0.png']),
        'width': 5,
        'height': 4,
        'sha256': hashlib.sha256(files['testA/0.png']).hexdigest(),
    }
    described = prepared.describe()
    assert 'trainB       5       5   as in the paper' in described
    assert 'Left out: 3 other files (.db 1, .txt 1, .zip 1).' in described
    assert '1 images outside the four folders are left out' in described
    assert f'not opened: {root}more.zip'.replace('./', '') in described


def test_folder_names_in_any_case_and_sub_folders(tmp_path):
    # After its namesake whatever the order in the archive.
    files = {'traina/sub/0.PNG': picture('sub')}
    files |= {name.lower(): data for name, data in contents((4, 5, 2, 3)).items()}
    prepare('horse2zebra', write_zip(tmp_path / 'a.zip', files), tmp_path / 'out')
    assert counts(tmp_path / 'out') == (5, 5, 2, 3)
    assert images(tmp_path / 'out')['trainA/0_2.PNG'] == picture('sub')


def test_links_in_a_folder_are_followed_once(tmp_path):
    files = contents((4, 5, 2, 3))
    write_folder(tmp_path / 'elsewhere', files)
    source = tmp_path / 'source'
    source.mkdir()
    for folder in FOLDERS:
        (source / folder).symlink_to(tmp_path / 'elsewhere' / folder)
    (source / 'circle').symlink_to(source)
    prepare('horse2zebra', source, tmp_path / 'out')
    assert images(tmp_path / 'out') == files
    (source / 'broken.png').symlink_to('nothing')
    with pytest.raises(ArchiveError, match=r"broken\.png' is a broken link"):
        prepare('horse2zebra', source, tmp_path / 'new')


def test_one_of_several_sets_is_chosen_by_name(tmp_path):
    files = contents((4, 5, 2, 3), 'x/horse2zebra/') | contents((1, 1, 1, 1), 'x/other/')
    source = write_folder(tmp_path / 'source', files)
    prepared = prepare('horse2zebra', source, tmp_path / 'out')
    assert counts(tmp_path / 'out') == (4, 5, 2, 3)
    assert '4 images outside' in prepared.describe()
    with pytest.raises(ValueError, match=r"several data sets, in 'x/horse2zebra', 'x/other'"):
        prepare('selfie2anime', source, tmp_path / 'new')


def test_what_is_missing_is_said(tmp_path):
    source = write_zip(tmp_path / 'a.zip', {'inner.zip': b'', 'pictures/0.png': picture('0')})
    with pytest.raises(ValueError, match=r"a\.zip' has no images in folders.*'inner\.zip': unpack"):
        prepare('horse2zebra', source, tmp_path / 'out')
    source = write_zip(tmp_path / 'b.zip', contents((4, 5, 0, 3)))
    with pytest.raises(ValueError, match=r"b\.zip' has no images in testA$"):
        prepare('horse2zebra', source, tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='there is no .*nowhere'):
        prepare('horse2zebra', tmp_path / 'nowhere', tmp_path / 'out')
    assert not (tmp_path / 'out').exists() and not (tmp_path / 'out.partial').exists()


# Which domain is which


@pytest.mark.parametrize(
    ('name', 'source', 'packed', 'swapped'),
    [
        ('photo2vangogh', 'archive', (3, 6, 3, 2), True),  # counts
        ('photo2vangogh', 'vangogh2photo', (6, 3, 2, 3), False),  # counts against name
        ('photo2vangogh', 'vangogh2photo (1)', (2, 2, 2, 2), True),  # name
        ('photo2vangogh', 'photo2vangogh', (2, 2, 2, 2), False),
        ('vangogh2photo', 'vangogh2photo', (3, 6, 3, 2), True),  # the direction does not matter
        ('photo2portrait', 'portrait', (4, 6, 0, 1), True),  # counts of all images
        ('photo2portrait', 'portrait', (6, 3, 1, 1), False),
        ('selfie2anime', 'archive', (3, 3, 2, 2), False),  # counts say nothing
        ('selfie2anime', 'anime2selfie', (3, 3, 2, 2), True),
        ('cat2dog', 'archive', (3, 3, 2, 2), False),
    ],
)
def test_swapped_domains(tmp_path, name, source, packed, swapped):
    files = contents(packed)
    archive = write_zip(tmp_path / f'{source}.zip', files)
    sizes = (1, 1) if PAPER_SETS[find_paper_set(name).name].random_test else None
    prepared = prepare(name, archive, tmp_path / 'out', test_sizes=sizes)
    assert prepared.manifest['swapped'] is swapped
    for image in prepared.manifest['images']:
        assert (image['path'].split('/')[0][-1] != image['member'].split('/')[0][-1]) is swapped
        assert (tmp_path / 'out' / image['path']).read_bytes() == files[image['member']]
    note = f"The source's trainA is {prepared.manifest['domains']['B']}, our domain B ("
    assert (note in prepared.describe()) is swapped
    # The user's word wins.
    forced = prepare(name, archive, tmp_path / 'forced', swap=not swapped, test_sizes=sizes)
    assert forced.manifest['swapped'] is not swapped


def test_the_name_of_the_folder_inside_counts_before_that_of_the_archive(tmp_path):
    files = contents((2, 2, 2, 2), 'vangogh2photo/')
    archive = write_zip(tmp_path / 'photo2vangogh.zip', files)
    assert prepare('photo2vangogh', archive, tmp_path / 'out').manifest['swapped']


@pytest.mark.parametrize('name', ['photo2vangogh', 'photo2portrait'])
def test_unknown_order_is_asked_for(tmp_path, name):
    archive = write_zip(tmp_path / 'portrait.zip', contents((2, 2, 2, 2)))
    with pytest.raises(
        ValueError, match=r'whether trainA in .*portrait\.zip.* is photo or .*--swap'
    ):
        prepare(name, archive, tmp_path / 'out')


# Splits


def test_random_split_is_drawn_from_all_images_and_keeps_namesakes(tmp_path):
    files = contents((4, 5, 2, 3))  # trainA/0.png and testA/0.png are two pictures
    prepared = prepare('cat2dog', write_zip(tmp_path / 'a.zip', files), tmp_path / 'out')
    found = images(tmp_path / 'out')
    assert counts(tmp_path / 'out') == (4, 5, 2, 3)
    assert sorted(found.values()) == sorted(files.values())
    for domain in 'AB':
        names = [path.split('/')[1] for path in found if path.split('/')[0].endswith(domain)]
        assert len(set(names)) == len(names)
        ranked = sorted(
            (member for member in files if member[-7:].startswith(f'{domain}/')),
            key=lambda member: hashlib.sha256(f'0/{member}'.encode()).hexdigest(),
        )
        size = {'A': 2, 'B': 3}[domain]
        test = {x['member'] for x in prepared.manifest['images'] if f'test{domain}' in x['path']}
        assert test == set(ranked[:size])
    assert {'trainA/0_2.png', 'testA/0_2.png'} & set(found)
    assert prepared.as_in_paper
    described = prepared.describe()
    assert 'trainA       4       6   as in the paper, which counts the 2 of testA in' in described
    assert 'The paper contradicts itself: its 6 + 8 training images are all' in described
    assert 'drawn at random with seed 0' in described


def test_split_depends_only_on_seed_and_names(tmp_path):
    files = contents((8, 8, 2, 2))

    def split(source: Path, **options) -> dict[str, str]:
        out = tmp_path / f'out{len(list(tmp_path.iterdir()))}'
        found = prepare('cat2dog', source, out, **options).manifest['images']
        return {image['path']: image['member'] for image in found}

    def test_members(paths: dict[str, str]) -> set[str]:
        return {member for path, member in paths.items() if path.startswith('test')}

    drawn = split(write_zip(tmp_path / 'a.zip', files))
    backwards = dict(reversed(files.items()))
    assert split(write_tar(tmp_path / 'b.tar', backwards)) == drawn
    assert split(write_folder(tmp_path / 'c', backwards)) == drawn
    assert split(tmp_path / 'a.zip', seed=0) == drawn
    assert test_members(split(tmp_path / 'a.zip', seed=1)) != test_members(drawn)
    # One more image takes a place among the test images or leaves them as they are.
    more = split(write_zip(tmp_path / 'd.zip', files | {'trainA/new.png': picture('new')}))
    assert len(test_members(drawn) - test_members(more)) <= 1


def test_other_sizes_and_the_split_of_the_source(tmp_path):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    prepare('cat2dog', source, tmp_path / 'sizes', test_sizes=(1, 4))
    assert counts(tmp_path / 'sizes') == (5, 4, 1, 4)
    kept = prepare('cat2dog', source, tmp_path / 'kept', keep_split=True)
    assert images(tmp_path / 'kept') == contents((4, 5, 2, 3))
    assert kept.manifest['split'] == {'rule': 'of the source'}
    with pytest.raises(ValueError, match='6 test images cannot be drawn from the 6 of domain A'):
        prepare('cat2dog', source, tmp_path / 'out', test_sizes=(6, 1))
    with pytest.raises(ValueError, match='either them or keep_split'):
        prepare('cat2dog', source, tmp_path / 'out', seed=1, keep_split=True)
    for options in ({'seed': 0}, {'test_sizes': (1, 1)}, {'keep_split': True}):
        with pytest.raises(ValueError, match='horse2zebra keeps the split of its source'):
            prepare('horse2zebra', source, tmp_path / 'out', **options)


@pytest.mark.parametrize('with_test', [True, False])
def test_van_goghs_are_trained_and_tested_on(tmp_path, with_test):
    files = contents((3, 6, 0, 2))
    if with_test:
        files |= {n.replace('train', 'test'): x for n, x in files.items() if 'trainA' in n}
    archive = write_zip(tmp_path / 'vangogh2photo.zip', files)
    prepared = prepare('photo2vangogh', archive, tmp_path / 'out')
    found = images(tmp_path / 'out')
    assert counts(tmp_path / 'out') == (6, 3, 2, 3)
    for i in range(3):
        assert found[f'testB/{i}.png'] == found[f'trainB/{i}.png'] == files[f'trainA/{i}.png']
    described = prepared.describe()
    assert '3 test images of B are, byte for byte, training images too' in described
    assert 'The 3 van Goghs of training are the 3 test images too' in described
    assert ('The source has no testB: it is a copy of trainB' in described) is not with_test
    assert prepared.as_in_paper


def test_counts_that_differ_are_reported(tmp_path):
    source = write_zip(tmp_path / 'a.zip', contents((3, 7, 2, 3)))
    rows = prepare('horse2zebra', source, tmp_path / 'horse').count_rows()
    assert [row[3] for row in rows] == [False, False, True, True]
    assert rows[0] == ('trainA', 3, 4, False, '1 fewer than in the paper')
    assert rows[1][4] == '2 more than in the paper'
    prepared = prepare('cat2dog', source, tmp_path / 'cat')
    assert not prepared.as_in_paper
    assert prepared.count_rows()[0][1:4] == (3, 6, False)
    assert prepared.count_rows()[0][4].startswith('1 fewer')


# Files


def test_unreadable_images_are_put_aside_and_named(tmp_path):
    files = contents((7, 8, 0, 0))
    broken = sorted(
        (f'trainA/{i}.png' for i in range(7)),
        key=lambda name: hashlib.sha256(f'0/{name}'.encode()).hexdigest(),
    )[0]  # would be a test image
    files[broken] = files[broken][:50]
    prepared = prepare('cat2dog', write_zip(tmp_path / 'a.zip', files), tmp_path / 'out')
    assert counts(tmp_path / 'out') == (4, 5, 2, 3)
    [entry] = prepared.manifest['unreadable']
    assert entry['member'] == broken and 'damaged or truncated' in entry['reason']
    assert f"1 images cannot be read and are left out: '{broken}'" in prepared.describe()
    assert all(row[3] for row in prepared.count_rows()) and not prepared.as_in_paper


def test_pictures_by_suffix_or_content(tmp_path):
    """As training finds them; what is left out is counted, hidden files are not."""
    files = contents((2, 5, 2, 3))
    strange = {f'trainA/{name}': picture(name) for name in ('IMG_1', 'con', 'photo 12.30')}
    lost = {'trainA/LICENSE': b'x', 'trainA/a.HEIC': b'x', 'trainA/b.psd': b'x', 'trainA/.c': b'x'}
    for write, name in ((write_folder, 'folder'), (write_zip, 'a.zip')):
        source = write(tmp_path / name, files | strange | lost)
        prepared = prepare('horse2zebra', source, tmp_path / f'out of {name}')
        safe = {'trainA/_con' if path == 'trainA/con' else path: d for path, d in strange.items()}
        assert images(tmp_path / f'out of {name}') == files | safe
        said = 'Left out: 2 pictures of formats not read (.heic 1, .psd 1; HEIC needs pillow-heif'
        heic = 'HEIF' in FORMATS  # the extra is installed
        assert (said in prepared.describe()) is not heic
        assert '1 other file (without a suffix 1).' in prepared.describe()
    (tmp_path / 'out of folder' / 'trainA' / 'IMG_2').write_bytes(picture('new'))
    (tmp_path / 'out of folder' / 'trainA' / 'README').write_bytes(b'no picture')
    assert verify(tmp_path / 'out of folder') == ['trainA/IMG_2 is not in the manifest']


def test_names_are_made_safe_and_stay_apart(tmp_path):
    names = {
        'A_.png': 'A_.png',
        'a*.png': 'a__2.png',
        'a?.png': 'a__3.png',
        'grüße (1).png': 'grüße (1).png',
        'e\u0301.png': '\u00e9.png',
        'con.png': '_con.png',
        'ä' * 120 + '.png': 'ä' * 98 + '.png',
        'q"\n.png': 'q__.png',
        os.fsdecode(b'\xff.png'): '_.png',
    }
    files = contents((0, 5, 2, 3)) | {f'trainA/{name}': picture(ascii(name)) for name in names}
    prepare('horse2zebra', write_folder(tmp_path / 'source', files), tmp_path / 'out')
    found = {path: data for path, data in images(tmp_path / 'out').items() if 'trainA' in path}
    assert found == {f'trainA/{safe}': picture(ascii(name)) for name, safe in names.items()}


def test_two_runs_give_equal_bytes(tmp_path):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    prepare('cat2dog', source, tmp_path / 'one')
    prepare('cat2dog', source, tmp_path / 'two')
    assert tree(tmp_path / 'one') == tree(tmp_path / 'two')
    text = (tmp_path / 'one' / 'manifest.json').read_text()
    assert str(tmp_path) not in text
    source_hash = hashlib.sha256(source.read_bytes()).hexdigest()
    assert json.loads(text)['source'] == {'name': 'a.zip', 'sha256': source_hash}


def test_default_folder_is_that_of_the_config(tmp_path):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    assert prepare('zebra2horse', source).out == tmp_path / 'data' / 'horse2zebra'


# Stopping, going on, and what is there already


def test_a_stopped_run_goes_on_without_writing_again(tmp_path, monkeypatch):
    source = write_tar(tmp_path / 'a.tar', contents((4, 5, 2, 3)))
    prepare('horse2zebra', source, tmp_path / 'whole')
    written = []
    real = module._write

    def write(folder: Path, path: str, data: bytes) -> None:
        if len(written) == 6:
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data[:10])  # the plug is pulled in the middle
            raise KeyboardInterrupt
        written.append(path)
        real(folder, path, data)

    monkeypatch.setattr(module, '_write', write)
    with pytest.raises(KeyboardInterrupt):
        prepare('horse2zebra', source, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    partial = tmp_path / 'out.partial'
    first, *rest = written
    (partial / first).write_bytes(b'half')  # as a crash of the machine may leave it
    before = {path: (partial / path).stat().st_ino for path in rest}
    again = []
    monkeypatch.setattr(module, '_write', lambda *args: (again.append(args[1]), real(*args)))
    prepare('horse2zebra', source, tmp_path / 'out')
    assert tree(tmp_path / 'out') == tree(tmp_path / 'whole')
    assert first in again and not set(again) & set(rest)
    assert {path: (tmp_path / 'out' / path).stat().st_ino for path in rest} == before
    assert not partial.exists()


def test_a_stopped_run_is_not_mixed_with_another(tmp_path, monkeypatch):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    with monkeypatch.context() as patch:
        patch.setattr(module, '_copy', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare('cat2dog', source, tmp_path / 'out')
    with pytest.raises(FileExistsError, match=r'out\.partial.*differs in: split, notes, images'):
        prepare('cat2dog', source, tmp_path / 'out', seed=5)
    write_folder(tmp_path / 'out.partial', {'trainA/mine.png': picture('mine')})
    with pytest.raises(FileExistsError, match=r'trainA/mine\.png is not in the manifest'):
        prepare('cat2dog', source, tmp_path / 'out')
    assert (tmp_path / 'out.partial/trainA/mine.png').read_bytes() == picture('mine')
    (tmp_path / 'out.partial/trainA/mine.png').unlink()
    assert prepare('cat2dog', source, tmp_path / 'out').written


def test_complete_is_kept_and_anything_else_is_refused(tmp_path, monkeypatch):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    out = tmp_path / 'out'
    prepare('cat2dog', source, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    monkeypatch.setattr(module, '_write', None)  # writing would fail
    assert prepare('cat2dog', source, out).written is False
    with pytest.raises(FileExistsError, match=r'differs in: split, notes, images.*--out'):
        prepare('cat2dog', source, out, seed=1)
    with pytest.raises(FileExistsError, match='differs in: set'):
        prepare('horse2zebra', source, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before
    mine = write_folder(tmp_path / 'mine', {'note.txt': b'keep'})
    for folder in (mine, mine / 'note.txt'):
        with pytest.raises(FileExistsError, match='was not written by this tool'):
            prepare('cat2dog', source, folder)
    write_folder(tmp_path / 'new.partial', {'note.txt': b'keep'})
    with pytest.raises(FileExistsError, match=r"new\.partial' exists"):
        prepare('cat2dog', source, tmp_path / 'new')
    assert tree(mine) == tree(tmp_path / 'new.partial') == {'note.txt': b'keep'}


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    # Stopped while the manifest was written.
    write_folder(tmp_path / 'big.partial', {'.unfinished-x/manifest.json': b'{'})
    (tmp_path / 'big').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'big')
    prepare('horse2zebra', source, tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink() and counts(tmp_path / 'big') == (4, 5, 2, 3)


@pytest.mark.parametrize('out', ['source', 'source/out', '.'])
def test_source_and_output_must_not_overlap(tmp_path, out):
    source = write_folder(tmp_path / 'source', contents((4, 5, 2, 3)))
    with pytest.raises(ValueError, match='overlap: choose another place'):
        prepare('horse2zebra', source, tmp_path / out)
    assert images(source) == contents((4, 5, 2, 3))


def test_verify_names_each_difference(tmp_path):
    out = prepare(
        'horse2zebra', write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3))), tmp_path / 'out'
    ).out
    write_folder(out, {'notes.txt': b'', '.DS_Store': b''})
    assert verify(out) == []
    (out / 'trainA/0.png').unlink()
    (out / 'trainB/1.png').write_bytes((out / 'trainB/2.png').read_bytes())
    shutil.copy(out / 'trainB/2.png', out / 'trainB/mine.png')
    assert verify(out) == [
        'trainA/0.png is missing',
        'trainB/1.png has changed',
        'trainB/mine.png is not in the manifest',
    ]
    with pytest.raises(FileExistsError, match=r'has changed since: trainA/0\.png is missing \(3'):
        prepare('horse2zebra', tmp_path / 'a.zip', out)
    with pytest.raises(ValueError, match=r'holds no manifest\.json'):
        verify(tmp_path)


def test_a_source_that_changes_meanwhile_is_noticed(tmp_path, monkeypatch):
    source = write_folder(tmp_path / 'source', contents((4, 5, 2, 3)))
    real = module._copy

    def copy(*args) -> None:
        (source / 'testB/1.png').write_bytes(picture('new'))
        real(*args)

    monkeypatch.setattr(module, '_copy', copy)
    with pytest.raises(OSError, match=r"'testB/1\.png' in .* changed while it was read"):
        prepare('horse2zebra', source, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_no_room_is_noticed_before_writing(tmp_path, monkeypatch):
    source = write_zip(tmp_path / 'a.zip', contents((4, 5, 2, 3)))
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: SimpleNamespace(free=100))
    with pytest.raises(OSError, match='has 100 bytes free, .* are needed'):
        prepare('horse2zebra', source, tmp_path / 'out')
    assert list(tree(tmp_path / 'out.partial')) == ['manifest.json']


# Hostile archives


HOSTILE_NAMES = {
    '/trainA/x.png': 'absolute path',
    '../x.png': r"by '\.\.'",
    'trainA/../../x.png': r"by '\.\.'",
    'C:/x.png': 'absolute path',
    'C:x.png': 'absolute path',
    '..\\x.png': 'backslash',
    'trainA\\x.png': 'backslash',
}


def refuse(source: Path, reason: str, tmp_path: Path) -> None:
    """The source is refused with its name and nothing is written, here or one level up."""

    def there() -> list[Path]:
        return sorted(tmp_path.rglob('*')) + sorted(tmp_path.parent.iterdir())

    before = there()
    with pytest.raises(ArchiveError, match=rf"{source.name}'.*{reason}"):
        prepare('horse2zebra', source, tmp_path / 'out')
    assert there() == before


@pytest.mark.parametrize('name', HOSTILE_NAMES)
@pytest.mark.parametrize('write', [write_zip, write_tar])
def test_hostile_names(tmp_path, write, name):
    source = write(tmp_path / 'evil', contents((4, 5, 2, 3)) | {name: picture('evil')})
    with pytest.raises(ArchiveError) as error:
        list(iter_entries(source))
    assert repr(name) in str(error.value)
    refuse(source, HOSTILE_NAMES[name], tmp_path)


def test_name_that_ends_at_a_nul(tmp_path):
    source = write_zip(tmp_path / 'evil.zip', contents((4, 5, 2, 3)) | {'trainA/xyz.png': b'x'})
    source.write_bytes(source.read_bytes().replace(b'trainA/xyz.png', b'trainA/x.png\0a'))
    refuse(source, 'NUL', tmp_path)


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path, kind):
    source = write_zip(tmp_path / 'evil.zip', contents((4, 5, 2, 3)))
    info = zipfile.ZipInfo('trainA/x.png')
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(source, 'a') as archive:
        archive.writestr(info, '/etc/passwd')
    refuse(source, "entry 'trainA/x.png' is a link or a device", tmp_path)


@pytest.mark.parametrize(
    'kind',
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_and_devices_in_a_tar(tmp_path, kind):
    source = tmp_path / 'evil.tar'
    with tarfile.open(source, 'w') as archive:
        info = tarfile.TarInfo('trainA/x.png')
        info.type, info.linkname = kind, '/etc/passwd'
        archive.addfile(info)
    refuse(source, "entry 'trainA/x.png' is a link, a device or a sparse file", tmp_path)


@pytest.mark.parametrize('write', [zipfile.ZipFile, tarfile.open])
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_doubled_entries(tmp_path, write):
    source = tmp_path / 'evil'
    (tmp_path / 'x.png').write_bytes(picture('x'))
    with write(source, 'w') as archive:
        add = archive.write if write is zipfile.ZipFile else archive.add
        add(tmp_path / 'x.png', 'trainA/x.png')
        add(tmp_path / 'x.png', 'trainA/./x.png')
    refuse(source, "entry 'trainA/x.png' is in it twice", tmp_path)


def test_encrypted_zip(tmp_path):
    source = write_zip(tmp_path / 'evil.zip', {'trainA/x.png': b'x'})
    data = bytearray(source.read_bytes())
    data[data.index(b'PK\x01\x02') + 8] |= 1
    source.write_bytes(data)
    refuse(source, "entry 'trainA/x.png' is encrypted", tmp_path)


def test_limits(tmp_path):
    files = {f'trainA/{i}.png': bytes(1000) for i in range(10)}
    packed = tmp_path / 'packed.zip'
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    for source in (packed, write_tar(tmp_path / 'packed.tgz', files)):
        assert len(list(iter_entries(source))) == 10
        for limits, reason in (
            (Limits(entries=9), r"'trainA/9\.png' is one of more than 9 entries"),
            (Limits(total_bytes=4500), r"'trainA/4\.png' brings it to over 4,500 bytes"),
            (Limits(ratio=2, ratio_from_bytes=3500), r'over 2 times its size, as a bomb'),
        ):
            with pytest.raises(ArchiveError, match=reason):
                list(iter_entries(source, limits))
        first = next(iter_entries(source, Limits(file_bytes=999)))
        with pytest.raises(ArchiveError, match=r"'trainA/0\.png' has 1,000 bytes"):
            first.read()
    # A large file that nobody reads does no harm in a folder.
    folder = write_folder(tmp_path / 'folder', files)
    assert len(list(iter_entries(folder, Limits(9, 999, 999, 1, 1)))) == 10


def test_zip_that_lies_about_a_size(tmp_path):
    source = tmp_path / 'evil.zip'
    with zipfile.ZipFile(source, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in (contents((0, 5, 2, 3)) | {'trainA/x.png': bytes(100_000)}).items():
            archive.writestr(name, content)
    data = source.read_bytes()
    for declared in (10, 200_000):
        source.write_bytes(
            data.replace((100_000).to_bytes(4, 'little'), declared.to_bytes(4, 'little'))
        )
        refuse(source, r"entry 'trainA/x\.png'", tmp_path)


def test_tar_header_that_claims_a_huge_name(tmp_path):
    info = tarfile.TarInfo('././@LongLink')
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    source = tmp_path / 'evil.tar'
    source.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    # Python 3.14.8 reads it in parts and finds the end of the file.
    refuse(source, '(a header asks for 1,099,511,627,776 bytes|ReadError)', tmp_path)


def test_tar_headers_without_end(tmp_path):
    info = tarfile.TarInfo('././@LongLink')
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10
    source = tmp_path / 'evil.tar'
    source.write_bytes((info.tobuf(tarfile.GNU_FORMAT) + bytes(512)) * 3000 + bytes(10240))
    refuse(source, 'RecursionError', tmp_path)


def test_tar_header_that_claims_a_huge_file(tmp_path):
    info = tarfile.TarInfo('trainA/x.txt')
    info.size = 1 << 50
    source = tmp_path / 'evil.tar'
    source.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    refuse(source, r"'trainA/x\.txt' brings it to over", tmp_path)


def test_damaged_archives_are_named(tmp_path):
    files = contents((40, 50, 20, 30))
    packed, plain = write_tar(tmp_path / 'a.tgz', files), write_tar(tmp_path / 'b.tar', files, 'w')
    for source, size in (
        (packed, 3000),
        (plain, 1024 * 30),
        (plain, 1024 * 30 + 512),
        (plain, 700),
    ):
        cut = tmp_path / f'cut{size}'
        cut.write_bytes(source.read_bytes()[:size])
        refuse(cut, 'ends in the middle|damaged', tmp_path)
    damaged = write_zip(tmp_path / 'c.zip', files)
    data = bytearray(damaged.read_bytes())
    data[60] ^= 255
    damaged.write_bytes(data)
    refuse(damaged, "entry 'trainA/0.png'.*BadZipFile", tmp_path)
    damaged.write_bytes(data[:2000])
    refuse(damaged, 'damaged', tmp_path)


@pytest.mark.parametrize(
    ('start', 'reason'),
    [
        (b'\n<!DOCTYPE html><title>Google Drive', 'a web page, not an archive'),
        (b'<HTML>', 'a web page'),
        (b"7z\xbc\xaf'\x1c", 'a 7z archive: unpack it'),
        (b'Rar!\x1a\x07\0', 'a RAR archive'),
        (b'', 'cannot be read as a zip or a tar'),
        (b'hello', 'cannot be read as a zip or a tar'),
    ],
)
def test_files_that_are_no_archives(tmp_path, start, reason):
    source = tmp_path / 'x.zip'
    source.write_bytes(start)
    refuse(source, reason, tmp_path)


# Download, from a server of our own


class Server(http.server.BaseHTTPRequestHandler):
    data = b'PK' + bytes(range(256)) * 2000
    requests: list = []
    cut_after: int | None = None
    ranges = True
    shift = 0  # of the part that is sent

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get('Range')
        Server.requests.append((self.path, asked))
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if self.path == '/page':
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'<!DOCTYPE html>Too many users')
            return
        if self.path != '/set.zip':
            self.send_error(404)
            return
        if start >= len(self.data):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(self.data)}')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                'Content-Range',
                f'bytes {start + self.shift}-{len(self.data) - 1}/{len(self.data)}',
            )
        self.send_header('Content-Length', str(len(self.data) - start))
        self.end_headers()
        self.wfile.write(self.data[start:][: self.cut_after])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr(download_module, 'CHUNK', 10_000)
    for name, value in (('requests', []), ('cut_after', None), ('ranges', True), ('shift', 0)):
        monkeypatch.setattr(Server, name, value)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()
        thread.join()


def test_download_goes_to_the_next_address(server, tmp_path):
    urls = [f'{server}/page', f'{server}/gone', 'http://127.0.0.1:9/x', f'{server}/set.zip']
    target = tmp_path / 'cache' / 'set.zip'
    download(urls, target, 'use a browser')
    assert tree(tmp_path) == {'cache/set.zip': Server.data}
    with pytest.raises(FileExistsError, match=r'set\.zip'):
        download(urls, target, '')


def test_download_that_fails_everywhere_says_why_and_what_to_do(server, tmp_path):
    with pytest.raises(DownloadError) as error:
        download([f'{server}/page', f'{server}/gone'], tmp_path / 'x.zip', 'use a browser')
    for part in ('/page: answers with a web page', '/gone: 404', 'By hand: use a browser'):
        assert part in str(error.value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize('noticed', [True, False])
def test_cut_download_goes_on_where_it_was(server, tmp_path, monkeypatch, noticed):
    if not noticed:  # by urllib3, as before its version 2
        request = partialmethod(HTTPConnectionPool._make_request, enforce_content_length=False)
        monkeypatch.setattr(HTTPConnectionPool, '_make_request', request)
    monkeypatch.setattr(Server, 'cut_after', 200_000)
    download([f'{server}/set.zip'], tmp_path / 'set.zip', '')
    assert tree(tmp_path) == {'set.zip': Server.data}
    starts = [0 if asked is None else int(asked[6:-1]) for _, asked in Server.requests]
    assert starts[0] == 0 and len(starts) == 3 and 0 < starts[1] < starts[2] < len(Server.data)


def test_partial_file_stays_for_the_next_run(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, 'cut_after', 60_000)
    monkeypatch.setattr(download_module, 'ATTEMPTS', 2)
    with pytest.raises(DownloadError):
        download([f'{server}/set.zip'], tmp_path / 'set.zip', '')
    [part] = tmp_path.iterdir()
    size = part.stat().st_size
    assert 0 < size < len(Server.data) and part.read_bytes() == Server.data[:size]
    monkeypatch.setattr(Server, 'cut_after', None)
    download([f'{server}/set.zip'], tmp_path / 'set.zip', '')
    assert Server.requests[-1] == ('/set.zip', f'bytes={size}-')
    assert tree(tmp_path) == {'set.zip': Server.data}


@pytest.mark.parametrize('state', ['whole', 'too long', 'no ranges'])
def test_partial_files_that_need_no_or_another_start(server, tmp_path, monkeypatch, state):
    url = f'{server}/set.zip'
    part = tmp_path / f'set.zip.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part'
    part.write_bytes({'whole': Server.data, 'too long': Server.data + b'x'}.get(state, b'old'))
    monkeypatch.setattr(Server, 'ranges', state != 'no ranges')
    download([url], tmp_path / 'set.zip', '')
    assert tree(tmp_path) == {'set.zip': Server.data}
    assert len(Server.requests) == (2 if state == 'too long' else 1)


def test_a_wrong_part_is_not_put_after_a_right_one(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, 'cut_after', 60_000)
    monkeypatch.setattr(Server, 'shift', 1)
    with pytest.raises(DownloadError, match=r'answers with the wrong part of the file \(bytes'):
        download([f'{server}/set.zip'], tmp_path / 'set.zip', '')
    [part] = tmp_path.iterdir()
    assert part.read_bytes() == Server.data[: part.stat().st_size]


def test_download_that_does_not_fit_the_disk(server, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=100)
    monkeypatch.setattr(download_module.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(OSError, match=r'has 100 bytes free, .*set\.zip. needs 512,002'):
        download([f'{server}/set.zip'], tmp_path / 'set.zip', '')
    assert tree(tmp_path) == {}


def test_an_address_that_gives_nothing_more_is_left(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, 'cut_after', 60_000)
    monkeypatch.setattr(Server, 'ranges', False)
    with pytest.raises(DownloadError, match='IncompleteRead'):
        download([f'{server}/set.zip'], tmp_path / 'set.zip', '')
    assert len(Server.requests) == 2
