"""Hostile and broken files of weights: none of their code is run, and each gets an error."""

import random
from collections.abc import Callable
from pathlib import Path

import hostile
import pytest
import torch
from hostile import (
    ARRAYS,
    BROKEN,
    CODE,
    CONTENT,
    MEMORY,
    NOTHING,
    SAFETENSORS,
    canary,
    contained,
)
from safetensors.torch import load_file

from ugatit_mm.apis import UGATITInferencer
from ugatit_mm.apis.loading import load_model
from ugatit_mm.converters import (
    describe,
    read_checkpoint,
    read_variables,
    read_weights,
    write_checkpoint,
)

MOST = 64  # MiB that may be taken to refuse a file
LONGEST = 700  # characters of a message, without the path


def attempt(read: Callable, path: Path) -> tuple[tuple[str, ...], str]:
    """The exception's classes and its message; none if there is no error."""
    try:
        read(path)
    except Exception as error:
        return tuple(kind.__name__ for kind in type(error).__mro__), str(error)
    return (), ''


def refuse_all(read: Callable, writes: dict[str, Callable], folder: Path, suffix: str) -> list[str]:
    """Offer files and return what is wrong with the answers."""
    wrong = []
    for i, (name, write) in enumerate(writes.items()):
        path = folder / f'file{i}{suffix}'
        write(path)
        if fault := fault_of(*attempt(read, path), path):
            wrong.append(f'{name}: {fault}')
    return wrong


def fault_of(error: tuple[str, ...], message: str, path: Path) -> str | None:
    if canary(path).exists():
        return 'its code was run'
    if not error:
        return 'it was read'
    if not {'CheckpointError', 'OSError'} & set(error):
        return f'{error[0]}: {message[:200]}'
    if str(path) not in message:
        return f'the file is not named: {message[:200]}'
    if len(message) > LONGEST + len(str(path)) or not message.isprintable():
        return f'a message of {len(message)} characters: {message[:200]}'
    return None


def refused(read: Callable, write: Callable, path: Path) -> None:
    """Offer one file to a process that may not take much memory or time."""
    write(path)
    outcome = contained(read, path, seconds=8)
    assert outcome.ended == 'well'
    assert fault_of(outcome.error, outcome.message, path) is None
    assert not outcome.greedy, f'more than is allowed was asked for: {outcome.message}'
    assert outcome.memory < MOST


# -- what they would do --------------------------------------------------------------------------


def load_carelessly(path: Path) -> None:
    torch.load(path, weights_only=False)


def run_by_the_careless(folder: Path) -> list[str]:
    """Names of the files whose code does not run and which would prove nothing."""
    tame = []
    for i, (name, write) in enumerate(CODE.items()):
        write(folder / f'{i}.pth')
        attempt(load_carelessly, folder / f'{i}.pth')
        if not canary(folder / f'{i}.pth').exists():
            tame.append(name)
    return tame


def test_the_code_in_the_files_is_alive(tmp_path):
    """Read without care, the code of each runs: what passes below was really refused."""
    outcome = contained(run_by_the_careless, tmp_path, allowed=4096)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), [])


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('writes', 'suffix'),
    [(CODE, '.pth'), (BROKEN, '.pth'), (SAFETENSORS, '.safetensors')],
    ids=['code', 'broken', 'safetensors'],
)
def test_nothing_is_run_and_the_file_is_named(writes, suffix, tmp_path):
    outcome = contained(refuse_all, read_checkpoint, writes, tmp_path, suffix)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), [])
    assert outcome.memory < MOST and not outcome.greedy


@pytest.mark.slow
@pytest.mark.parametrize('name', MEMORY)
def test_memory_and_time_are_bounded(name, tmp_path):
    refused(read_checkpoint, MEMORY[name], tmp_path / 'file.pth')


@pytest.mark.parametrize('name', NOTHING)
def test_nothing_is_made_of_a_history_or_an_array(name, tmp_path):
    NOTHING[name](tmp_path / 'file.pth')
    outcome = contained(read_checkpoint, tmp_path / 'file.pth', seconds=8)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), 'dict')
    assert outcome.memory < MOST and not outcome.greedy


@pytest.mark.parametrize('name', ['a file of 20 GB with nothing in it.safetensors'])
def test_an_empty_file_of_20_gb_is_no_safetensors(name, tmp_path):
    write = MEMORY[name.removesuffix('.safetensors')]
    refused(read_checkpoint, write, tmp_path / 'file.safetensors')


@pytest.mark.slow
@pytest.mark.parametrize('name', ARRAYS)
def test_arrays_of_the_tensorflow_converter(name, tmp_path):
    for read in (read_variables, read_weights):
        refused(read, ARRAYS[name], tmp_path / f'{read.__name__}.npz')


def damaged(path: Path, contents: list[bytes], good: dict[str, torch.Tensor]) -> list[str]:
    """Offer changed contents; either an error, or exactly the same weights."""
    wrong = []
    for i, content in enumerate(contents):
        path.write_bytes(content)
        try:
            state = read_checkpoint(path)['state_dict']
        except Exception as error:
            names = tuple(kind.__name__ for kind in type(error).__mro__)
            if fault := fault_of(names, str(error), path):
                wrong.append(f'{i}: {fault}')
        else:
            if state.keys() != good.keys() or not all(
                torch.equal(state[key], good[key]) and state[key].dtype == good[key].dtype
                for key in good
            ):
                wrong.append(f'{i}: other weights')
    return wrong


def flipped(data: bytes, count: int, seed: int) -> list[bytes]:
    """Copies of ``data``, each with one bit changed; a third of them in the first kilobyte."""
    draw, copies = random.Random(seed), []
    for i in range(count):
        copy = bytearray(data)
        copy[draw.randrange(min(len(data), 1024) if i % 3 == 0 else len(data))] ^= (
            1 << draw.randrange(8)
        )
        copies.append(bytes(copy))
    return copies


@pytest.mark.parametrize('suffix', [pytest.param('.pth', marks=pytest.mark.slow), '.safetensors'])
def test_damage_is_noticed(suffix, weights, tmp_path):
    """Cut at 40 places, one of 200 bits changed: an error, or the same weights."""
    path = tmp_path / f'some{suffix}'
    content = read_checkpoint(weights)
    write_checkpoint(path, content['state_dict'], content['meta'])
    data, good = path.read_bytes(), read_checkpoint(path)['state_dict']
    cuts = [data[: len(data) * i // 40] for i in range(40)]
    outcome = contained(damaged, path, cuts + flipped(data, 200, seed=1), good)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), [])
    assert outcome.memory < MOST and not outcome.greedy


def test_files_of_others_are_still_read(weights, tmp_path):
    """Nothing that an honest program writes is refused."""
    state = read_checkpoint(weights)['state_dict']
    contents = {
        'bare': state,
        'half': {'state_dict': {key: value.half() for key, value in state.items()}},
        'parameters': {'x': torch.nn.ParameterDict({'a': torch.ones(2)}).state_dict()},
        'views of one storage': {'a': (both := torch.arange(6.0))[:3], 'b': both[3:]},
        'numbers': {'lr': 0.5, 'seed': 2**32 - 1, 'betas': (0.5, 0.999)},
    }
    for name, content in contents.items():
        for new in (True, False) if name != 'numbers' else (True,):
            torch.save(content, tmp_path / 'x.pth', _use_new_zipfile_serialization=new)
            read = read_checkpoint(tmp_path / 'x.pth')
            assert read.keys() == content.keys(), name
            torch.testing.assert_close(read, content, rtol=0, atol=0)


# -- building a model ----------------------------------------------------------------------------


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize('name', CONTENT)
def test_contents_that_are_no_model(name, weights, tmp_path):
    content = read_checkpoint(weights)
    path = tmp_path / 'file.pth'
    state, networks = content['state_dict'], content['meta']['networks']

    def write(path: Path) -> None:
        torch.save(CONTENT[name](state, networks), path)

    refused(load_model, write, path)


def test_a_model_of_spread_weights_is_not_built(weights, tmp_path):
    content = read_checkpoint(weights)
    state, networks = content['state_dict'], content['meta']['networks']
    refused(
        UGATITInferencer,
        lambda path: hostile.spread_model(state, networks, path),
        tmp_path / 'file.pth',
    )


def test_a_good_file_passes_all_that(weights, tmp_path):
    """The bounds of these tests refuse nothing that is valid."""
    outcome = contained(load_model, weights)
    assert (outcome.ended, outcome.error, outcome.greedy) == ('well', (), False)
    write_checkpoint(tmp_path / 'x.safetensors', load_model(weights)[0].state_dict(), {})
    assert describe(load_file(tmp_path / 'x.safetensors'))['generator']['light'] is True
