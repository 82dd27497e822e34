"""The fuzz run: its seeds are read, its inputs answered, and its findings are kept."""

import os

import pytest
from helpers import load_tool

pytestmark = pytest.mark.slow  # a fuzz run starts processes
fuzz = load_tool('fuzz')


@pytest.mark.parametrize('what', ['checkpoints', 'pictures'])
def test_mutated_files_are_read_or_refused(what, tmp_path, capsys):
    out = tmp_path / 'found'
    assert fuzz.main([what, '--minutes', '0.03', '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert ' 0 wrong' in said and int(said.split()[0]) > 5
    assert not out.exists()


@pytest.mark.parametrize(
    ('fault', 'answer'),
    [
        (lambda path: 1 / 0, 'ZeroDivisionError: division by zero'),
        (lambda path: os._exit(7), 'crashed: exit code 7'),
        (lambda path: bytearray(2**31), 'MemoryError'),
        (lambda path: fuzz.time.sleep(30), 'hung: no answer in 1 s'),
    ],
)
def test_what_is_wrong_is_kept(fault, answer, tmp_path, capsys, monkeypatch):
    """Only inputs are wrong here: the seeds are read."""
    read = fuzz.TRY['pictures']
    tries = {'pictures': lambda path: fault(path) if 'input' in path.name else read(path)}
    monkeypatch.setattr(fuzz, 'TRY', tries)
    out = tmp_path / 'found'
    words = ['pictures', '--minutes', '0.002', '--seconds', '1', '--out', str(out)]
    assert fuzz.main(words) == 1
    kept = sorted(out.iterdir())
    said = capsys.readouterr().out
    assert f'{kept[0]}: {answer}' in said and ' 0 read' in said
    assert fuzz.main(['pictures', '--again', str(kept[0])]) == 0  # without the fault
