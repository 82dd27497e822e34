"""The tool for preparing data sets: what it prints, its exit codes, when it downloads."""

import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from helpers import load_tool, write_images

from ugatit_mm.datasets.preparation import prepare as module


@pytest.fixture
def tool(monkeypatch, tmp_path) -> ModuleType:
    tool = load_tool('dataset_converters/prepare')
    counts = {'trainA': 6, 'trainB': 5, 'testA': 3, 'testB': 2}  # what write_images makes

    def load(name: str) -> SimpleNamespace:
        return SimpleNamespace(data_root='data/set', paper_images=counts)

    monkeypatch.setattr(tool, 'data_set', load)
    monkeypatch.setattr(module, 'data_set', load)
    monkeypatch.chdir(tmp_path)
    return tool


@pytest.fixture
def source(tmp_path) -> Path:
    write_images(tmp_path / 'source')
    return tmp_path / 'source'


def test_writes_counts_and_verifies(tool, source, capsys):
    command = ['horse2zebra', '--source', str(source)]
    assert tool.main(command + ['--strict']) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('wrote data/set\nfolder   found   paper\n')
    assert 'trainA       6       6   as in the paper' in printed
    assert tool.main(command) == 0
    assert capsys.readouterr().out.startswith('already complete: data/set\n')
    assert tool.main(['zebra2horse', '--verify']) == 0
    assert capsys.readouterr().out == 'data/set: all as in the manifest\n'
    Path('data/set/testB/1.png').unlink()
    assert tool.main(['horse2zebra', '--verify']) == 1
    assert capsys.readouterr().out == 'testB/1.png is missing\n'
    assert tool.main(command) == 1
    assert capsys.readouterr().err.startswith("error: '")


def test_options_reach_the_work(tool, source):
    command = ['cat2dog', '--source', str(source)]
    options = ['--swap', 'yes', '--seed', '3', '--test-sizes', '2', '4', '--out', 'drawn']
    assert tool.main(command + options) == 0
    assert len(list(Path('drawn/testA').iterdir())) == 2
    assert len(list(Path('drawn/testB').iterdir())) == 4
    assert len(list(Path('drawn/trainB').iterdir())) == 6 + 3 - 4
    assert '"seed": 3' in Path('drawn/manifest.json').read_text()
    assert tool.main(command + ['--swap', 'no', '--keep-split', '--out', 'kept']) == 0
    assert len(list(Path('kept/testA').iterdir())) == 3


def test_strict_fails_where_the_paper_counts_otherwise(tool, source, capsys):
    (source / 'trainA' / '0.png').unlink()
    assert tool.main(['horse2zebra', '--source', str(source)]) == 0
    assert '1 fewer than in the paper' in capsys.readouterr().out
    assert tool.main(['horse2zebra', '--source', str(source), '--strict']) == 1


def test_mistakes_are_errors_of_one_line(tool, source, capsys):
    for command, message in (
        (['cat2mouse'], "error: unknown data set 'cat2mouse'; the paper's are selfie2anime, "),
        (['cat2dog'], 'error: give --source, an archive or a folder of cat2dog, or --download. By'),
        (['cat2dog', '--source', 'nowhere'], "error: there is no '"),
        (['cat2dog', '--verify'], "error: 'data/set' holds no manifest.json"),
    ):
        assert tool.main(command) == 1
        printed = capsys.readouterr().err
        assert printed.startswith(message) and printed.count('\n') == 1


def test_downloads_what_is_not_there(tool, source, monkeypatch):
    fetched = []

    def download(urls, target, by_hand):
        fetched.append((urls, Path(target)))
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, 'w') as archive:
            for path in source.rglob('*.png'):
                archive.write(path, path.relative_to(source))

    monkeypatch.setattr(tool, 'download', download)
    for place, target in (
        ([], 'data/portrait.zip'),
        (['--cache', 'cache'], 'cache/portrait.zip'),
        (['--source', 'mine.zip'], 'mine.zip'),
    ):
        command = ['photo2portrait', '--download', '--swap', 'no', *place]
        out = f'out{len(fetched)}'
        command += ['--out', f'data/{out}']
        assert tool.main(command) == 0
        assert fetched[-1] == (tool.PAPER_SETS['photo2portrait'].urls, Path(target))
        assert tool.main(command) == 0  # it is there now
    assert len(fetched) == 3


def test_ctrl_c_says_that_it_goes_on(tool, source, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, '_copy', interrupted)
        assert tool.main(['horse2zebra', '--source', str(source)]) == 130
    assert 'run the same command again to continue' in capsys.readouterr().err
    assert tool.main(['horse2zebra', '--source', str(source)]) == 0
