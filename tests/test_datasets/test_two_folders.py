"""Two folders become a data set, once."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ugatit_mm.datasets import two_folders
from ugatit_mm.datasets.folders import list_images
from ugatit_mm.datasets.two_folders import SplitError, check_test, names_of, share_of, split_folders


@pytest.fixture
def folders(tmp_path) -> dict[str, str]:
    """Twenty pictures of A, two in their own folder, and twelve of B."""
    for name, count in (('daisies', 18), ('sunflowers', 12)):
        (tmp_path / name / 'deep').mkdir(parents=True)
        for index in range(count):
            Image.new('RGB', (8, 8), (index, 0, 0)).save(tmp_path / name / f'{index:02}.PNG')
    for index in range(2):
        Image.new('RGB', (8, 8)).save(tmp_path / 'daisies' / 'deep' / f'{index}.jpg')
    (tmp_path / 'work').mkdir()
    return {'a': str(tmp_path / 'daisies'), 'b': str(tmp_path / 'sunflowers')}


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / 'work' / 'data'


def files(data: Path) -> dict[str, list[str]]:
    return {path.name: list_images(path) for path in sorted(data.iterdir()) if path.is_dir()}


def test_a_share_of_each_folder_is_kept_to_test_on(folders, data):
    assert split_folders(**folders, data=data, test='10%') == []
    found = files(data)
    assert {part: len(names) for part, names in found.items()} == {
        **{'testA': 2, 'testB': 1, 'trainA': 18, 'trainB': 11}
    }
    for domain, folder in zip('AB', folders.values(), strict=True):
        together = sorted(found[f'train{domain}'] + found[f'test{domain}'])
        assert together == list_images(folder)  # each once, with its folder
        for part in (f'train{domain}', f'test{domain}'):
            for name in found[part]:
                assert os.readlink(data / part / name) == os.path.join(folder, name)
    split = json.loads((data / 'split.json').read_text())
    assert {part: split[part] for part in found} == found
    assert {key: split[key] for key in ('seed', 'test', 'links', 'A', 'B')} == {
        **{'seed': 0, 'test': '10%', 'links': 'symbolic links'},
        **{'A': folders['a'], 'B': folders['b']},
    }


def test_the_split_is_drawn_by_the_seed(folders, data, tmp_path):
    split_folders(**folders, data=data, test='25%')
    split_folders(**folders, data=tmp_path / 'again', test='25%')
    assert files(data) == files(tmp_path / 'again')
    assert files(data)['testA'] != list_images(folders['a'])[:5]  # not the first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_folders, 'SEED', 1)
        split_folders(**folders, data=tmp_path / 'other', test='25%')
    assert files(data)['testA'] != files(tmp_path / 'other')['testA']


@pytest.mark.parametrize(
    ('test', 'counts'),
    [('3', (3, 3)), ('0', (0, 0)), ('0%', (0, 0)), ('1%', (1, 1)), ('12.5%', (2, 2))],
)
def test_numbers_and_shares(folders, data, test, counts):
    split_folders(**folders, data=data, test=test)
    found = files(data)
    assert (len(found.get('testA', ())), len(found.get('testB', ()))) == counts
    assert len(found['trainA']) == 20 - counts[0]
    assert ('testA' in found) == bool(counts[0])


@pytest.mark.parametrize('test', ['100%', '-1', 'some', '1.5', '%', '', '1e3', '10 %'])
def test_other_numbers_are_refused(test):
    with pytest.raises(SplitError, match='^--test must be a share below 100% or a number of '):
        check_test(test)


def test_what_is_written_is_taken_again(folders, data, tmp_path):
    assert share_of(data, None) == '10%'
    split_folders(**folders, data=data, test='3')
    before = files(data), (data / 'split.json').stat().st_mtime_ns
    assert (share_of(data, None), share_of(data, '10%')) == ('3', '10%')
    assert split_folders(**folders, data=data, test='3') == []
    os.symlink(folders['a'], tmp_path / 'link')  # the same folder by another name
    assert split_folders(str(tmp_path / 'link'), folders['b'], data, '3') == []
    assert (files(data), (data / 'split.json').stat().st_mtime_ns) == before

    choose = 'choose another --work-dir'
    with pytest.raises(SplitError, match=rf'^{data} was split with --test 3, not 10%: .*{choose}$'):
        split_folders(**folders, data=data, test='10%')
    other = shutil.copytree(folders['b'], tmp_path / 'other')
    with pytest.raises(SplitError, match=rf"^{data} is a split of '{folders['a']}' and .*{choose}"):
        split_folders(folders['a'], str(other), data, '3')
    with pytest.raises(SplitError, match=f'^{data} is a split of '):  # the other way round
        split_folders(folders['b'], folders['a'], data, '3')

    shutil.copy(Path(folders['b'], '00.PNG'), Path(folders['b'], 'new.png'))
    (note,) = split_folders(**folders, data=data, test='3')
    assert note == f"1 picture came to '{folders['b']}' after the split: it is left out"
    Path(folders['a'], '04.PNG').unlink()
    with pytest.raises(
        SplitError, match=r"^1 of the pictures in .* gone from .*, such as '04.PNG'"
    ):
        split_folders(**folders, data=data, test='3')
    (data / 'split.json').write_text('{}')
    with pytest.raises(SplitError, match=rf'split.json is not a split .*{choose}'):
        split_folders(**folders, data=data, test='3')


def test_where_links_are_refused(folders, data, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, 'a required privilege is not held by the client')

    monkeypatch.setattr(two_folders.os, 'symlink', refuse)
    (note,) = split_folders(**folders, data=data, test='10%')
    assert note == f'{data} has hard links, as this system refuses symbolic links'
    assert os.path.samefile(
        data / 'trainA' / files(data)['trainA'][0], Path(folders['a'], files(data)['trainA'][0])
    )
    monkeypatch.setattr(two_folders.os, 'link', refuse)
    (note,) = split_folders(**folders, data=tmp_path / 'copies', test='10%')
    assert note.startswith(f'{tmp_path}/copies has copies, ')
    assert files(tmp_path / 'copies') == files(data)
    name = files(data)['trainA'][0]
    copy = tmp_path / 'copies' / 'trainA' / name
    assert copy.read_bytes() == Path(folders['a'], name).read_bytes() and copy.stat().st_nlink == 1
    assert json.loads((tmp_path / 'copies' / 'split.json').read_text())['links'] == 'copies'


def test_what_is_no_picture_is_said_and_left_out(folders, data):
    Path(folders['a'], 'notes.txt').write_text('x')
    Path(folders['a'], '.hidden.png').write_text('x')
    (note,) = split_folders(**folders, data=data, test='10%')
    assert note == f"left out of '{folders['a']}': 1 other file (.txt 1)"
    assert sum(map(len, files(data).values())) == 32


def refused(data: Path, a, b, test: str = '10%') -> str:
    with pytest.raises(SplitError) as caught:
        split_folders(str(a), str(b), data, test)
    assert not data.exists() and '\n' not in str(caught.value)
    return str(caught.value)


def test_folders_that_cannot_be_split_are_refused_in_a_line(folders, data, tmp_path):
    a, b = folders.values()
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'one').mkdir()
    shutil.copy(Path(a, '00.PNG'), tmp_path / 'one')
    assert refused(data, a, tmp_path / 'none') == (
        f"--b '{tmp_path}/none' does not exist: give a folder of pictures"
    )
    assert "--a '" in refused(data, Path(a, '00.PNG'), b)
    assert refused(data, a, tmp_path / 'empty') == f"'{tmp_path}/empty' holds no picture"
    assert refused(data, tmp_path / 'one', b) == (
        f"'{tmp_path}/one' has one picture, and --test 10% leaves none to train on: add pictures, "
        'or give a smaller --test (0 for none)'
    )
    assert "sunflowers' has 12 pictures, and --test 12 leaves none" in refused(data, a, b, '12')
    assert refused(data, a, f'{a}/../daisies') == f"--a and --b are one folder, '{a}': give two"
    assert refused(data, a, Path(a, 'deep')).startswith(f"'{a}/deep' lies inside of '{a}', whose ")
    assert refused(data, Path(a, 'deep'), a).startswith(f"'{a}/deep' lies inside of '{a}', whose ")
    assert 'what training writes would be trained on' in refused(Path(a, 'data'), a, b)
    split_folders(str(tmp_path / 'one'), b, data, '0')  # one picture trains
    assert files(data)['trainA'] == ['00.PNG']


def test_other_files_in_the_way_stay(folders, data):
    data.mkdir()
    (data / 'mine.txt').write_text('keep')
    with pytest.raises(SplitError, match=r'data exists and has no split.json: choose another'):
        split_folders(**folders, data=data, test='10%')
    assert [path.name for path in data.iterdir()] == ['mine.txt']


def test_a_split_that_fails_leaves_nothing(folders, data, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    for name in ('symlink', 'link'):
        monkeypatch.setattr(two_folders.os, name, full)
    monkeypatch.setattr(two_folders.shutil, 'copy2', full)
    with pytest.raises(OSError, match='No space left'):
        split_folders(**folders, data=data, test='10%')
    assert list(data.parent.iterdir()) == []


def test_names_are_those_of_the_folders_unless_given(tmp_path, monkeypatch):
    assert names_of('x/daisies/', 'y/sunflowers', {}) == {'A': 'daisies', 'B': 'sunflowers'}
    assert names_of('x/p', 'y/p', {'B': 'q'}) == {'A': 'p', 'B': 'q'}
    monkeypatch.chdir(tmp_path)
    assert names_of('.', 'b', {})['A'] == tmp_path.name
    hint = ': name the domains, --cfg-options domains.A=NAME domains.B=NAME'
    with pytest.raises(SplitError, match=f"^both folders are called 'p'{hint}$"):
        names_of('x/p', 'y/p', {})
    with pytest.raises(SplitError, match=f'^domains must have different names, .*{hint}$'):
        names_of('x/P', 'y/p', {})
    with pytest.raises(SplitError, match=f'must be a name that can be part .*{hint}$'):
        names_of('x/a:b', 'y/p', {})
