"""Bad pictures: read rightly or named, in bounded memory and time; training stops or skips."""

import logging
import multiprocessing
import os
import re
import resource
import socket
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bad_pictures import EITHER, EPS, NAMES, REFUSED, Case, Expected, encode, flat, make_corpus
from helpers import TINY, as_arguments, load_tool, write_images
from mmengine.logging import MMLogger
from PIL import EpsImagePlugin, Image
from torch.utils.data import DataLoader

from ugatit_mm.datasets import (
    ImageReadError,
    LoadRGBImage,
    PairIndex,
    UGATITDataset,
    UnpairedSampler,
    read_rgb,
)
from ugatit_mm.datasets.bad_pictures import BadPictures
from ugatit_mm.datasets.loading import find_images, list_images
from ugatit_mm.hooks import BadPicturesHook

PATIENCE = 60  # seconds for a picture, which takes a few milliseconds, on a busy machine
CORPUS_MEMORY = 128 << 20  # bytes at the peak; Pillow lets a PNG have 64 MiB of text
PIXEL_MEMORY = 19  # bytes per pixel, the result's 3 among them


@pytest.fixture(scope='module')
def corpus(tmp_path_factory) -> list[Case]:
    return make_corpus(tmp_path_factory.mktemp('corpus'))


def memory(field: str) -> int:
    """``VmRSS`` or its peak ``VmHWM`` of this process in bytes."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def watch_memory() -> int:
    """Reset the peak, and bound what may be allocated; returns what is allocated now."""
    Path('/proc/self/clear_refs').write_text('5')
    taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (2 << 30), -1))
    return memory('VmRSS')


def read_all(paths: list[str], connection) -> None:
    """Send the result of reading each: pixels, or type and message; at the end the growth."""
    before = watch_memory()
    for path in paths:
        try:
            connection.send(read_rgb(path))
        except BaseException as error:
            connection.send((type(error).__name__, str(error), getattr(error, 'path', None)))
    connection.send(memory('VmHWM') - before)


def in_a_process(target, *args) -> tuple:
    context = multiprocessing.get_context('fork')
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*args, there))
    process.start()
    there.close()
    return process, here


def test_corpus(corpus):
    assert len(corpus) >= 200
    process, results = in_a_process(read_all, [case.path for case in corpus])
    wrong = []
    try:
        for case in corpus:
            assert results.poll(PATIENCE), f'reading does not end: {case}'
            try:
                result = results.recv()
            except EOFError:
                pytest.fail(f'reading ended the process: {case}')
            if problem := judge(case, result):
                wrong.append(f'{case.kind}: {case.path!r}: {problem}')
        assert results.poll(PATIENCE)
        growth = results.recv()
    finally:
        process.kill()
        process.join()
    assert wrong == []
    assert growth < CORPUS_MEMORY


def judge(case: Case, result: np.ndarray | tuple[str, str, str]) -> str | None:
    """What is wrong with a result, None if nothing is."""
    if isinstance(result, tuple):
        kind, message, path = result
        if kind != 'ImageReadError':
            return f'{kind}: {message}'
        if path != case.path or not message.startswith(repr(case.path)):
            return f'does not name the file: {message}'
        if not message.isprintable():
            return f'breaks a line of the log: {message!r}'
        sound = isinstance(case.outcome, Expected) and not case.outcome.or_refused
        return f'refused: {message}' if sound else None
    if result.dtype != np.uint8 or result.ndim != 3 or result.shape[2] != 3 or not result.size:
        return f'{result.dtype} {result.shape}'
    if case.outcome == REFUSED:
        return f'read as {result.shape}'
    if case.outcome == EITHER:
        return None
    if result.shape != case.outcome.pixels.shape:
        return f'shape {result.shape}, not {case.outcome.pixels.shape}'
    distance = np.abs(result.astype(int) - case.outcome.pixels).max()
    return f'off by {distance}' if distance > case.outcome.tolerance else None


def read_one(path: str, connection) -> None:
    before = watch_memory()
    picture = read_rgb(path)
    connection.send((memory('VmHWM') - before, picture.shape))


@pytest.mark.parametrize('kind', ['WEBP', 'RGBA', 'F'])
def test_memory_for_a_large_picture(tmp_path, kind):
    side = 2000
    mode, suffix = ('RGB', 'WEBP') if kind == 'WEBP' else (kind, 'TIFF')
    Image.new(mode, (side, side)).save(tmp_path / 'large', suffix)
    process, results = in_a_process(read_one, str(tmp_path / 'large'))
    try:
        assert results.poll(PATIENCE)
        growth, shape = results.recv()
    finally:
        process.kill()
        process.join()
    assert shape == (side, side, 3)
    assert growth < PIXEL_MEMORY * side**2 + (8 << 20)


def test_a_picture_starts_no_program(tmp_path, monkeypatch):
    program, traces = tmp_path / 'gs', tmp_path / 'traces'
    program.write_text(f'#!/bin/sh\necho "$@" >> {traces}\n')
    program.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', str(program))
    (tmp_path / 'photo.jpg').write_bytes(EPS)
    with pytest.raises(ImageReadError, match=r"photo\.jpg' is a PostScript file, which"):
        read_rgb(tmp_path / 'photo.jpg')
    assert not traces.exists()
    with pytest.raises(OSError), Image.open(tmp_path / 'photo.jpg') as image:
        image.load()  # what Pillow by itself makes of it
    assert traces.exists()


def test_rights(tmp_path, monkeypatch):
    # By a stand-in, as root may read everything.
    def refuse(path, *_):
        raise PermissionError(13, 'Permission denied', path)

    path = tmp_path / 'secret.png'
    Image.fromarray(flat((1, 2, 3))).save(path)
    monkeypatch.setattr(os, 'open', refuse)
    with pytest.raises(ImageReadError, match=r"secret\.png' cannot be opened \(Permission denied"):
        read_rgb(path)


def test_folders_with_links_in_a_loop_end(tmp_path):
    for name in ('1.png', 'in/2.png', 'other/3.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'in' / 'up').symlink_to('..')
    (tmp_path / 'in' / 'self').symlink_to('self')
    (tmp_path / 'in' / 'dangling').symlink_to('nowhere')
    (tmp_path / 'in' / 'there').symlink_to('../other')
    (tmp_path / 'other' / 'back').symlink_to('../in')
    assert [Path(name).name for name in list_images(tmp_path)] == ['1.png', '2.png', '3.png']
    # Two links in each of 30 folders to the next one: a thousand million ways to the last.
    for i in range(30):
        (tmp_path / f'bomb{i}').mkdir()
        for link in 'ab':
            (tmp_path / f'bomb{i}' / link).symlink_to(f'../bomb{i + 1}')
    assert len(list_images(tmp_path)) == 3


def test_what_is_no_file_is_listed_so_that_it_is_named(tmp_path):
    (tmp_path / 'dangling.png').symlink_to('nowhere.png')
    (tmp_path / 'self.png').symlink_to('self.png')
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'folder.png').mkdir()
    paths = find_images(tmp_path)
    assert [Path(path).name for path in paths] == ['dangling.png', 'pipe.png', 'self.png']
    for path, reason in zip(
        paths, ("a link to 'nowhere.png', which", 'a pipe', 'Too many levels of symbolic links')
    ):
        with pytest.raises(ImageReadError, match=reason):
            read_rgb(path)


# Training


def train_set(root: Path, count_a: int = 12, count_b: int = 7, bad: tuple[str, ...] = ()) -> Path:
    """Each picture of one colour, which is its number; ``bad`` names those that are cut."""
    for domain, count in (('A', count_a), ('B', count_b)):
        (root / f'train{domain}').mkdir(parents=True)
        for i in range(count):
            name = f'train{domain}/{i:02}.png'
            data = encode(flat((i, i, i) if domain == 'A' else (99, i, i)), 'PNG')
            (root / name).write_bytes(data[:48] if name in bad else data)
    return root


BAD = ('trainA/03.png', 'trainA/07.png', 'trainB/02.png')


def dataset_of(root: Path, *steps, **fields) -> UGATITDataset:
    pipeline = [LoadRGBImage(f'img_{domain}') for domain in 'AB']
    return UGATITDataset(root, [*pipeline, *steps], **fields)


def draw(results: dict) -> dict:
    return {**results, 'draw': float(np.random.rand())}


def shown(sample: dict) -> tuple:
    """Names and pixels of A and B, and what was drawn for the augmentation."""
    return (
        *(Path(sample[f'img_{domain}_path']).name for domain in 'AB'),
        int(sample['img_A'][0, 0, 0]),
        int(sample['img_B'][0, 0, 1]),
        sample.get('draw'),
    )


def samples_of(dataset: UGATITDataset, count: int, workers: int = 0, start: int = 0) -> list:
    sampler = UnpairedSampler(dataset, seed=5, start=start)
    loader = DataLoader(dataset, sampler=sampler, num_workers=workers, collate_fn=list)
    iterator = iter(loader)
    try:
        return [shown(batch[0]) for batch in islice(iterator, count)]
    finally:
        if workers:  # after an error, the garbage collector waits five seconds for each
            iterator._shutdown_workers()


@pytest.fixture
def log(tmp_path) -> Path:
    """The file that the current logger writes."""
    logger = MMLogger.get_instance('test', log_file=str(tmp_path / 'run.log'))
    yield tmp_path / 'run.log'
    for handler in logger.handlers:
        handler.close()


def named(log: Path) -> list[str]:
    """Files that the log says training goes on without, in the order of the folders."""
    return sorted(re.findall(r"goes on without a picture: '[^']*/(train[^']*)'", log.read_text()))


@pytest.mark.parametrize('workers', [0, 2])
def test_stop_names_the_file(tmp_path, workers):
    name = 'trainA/new\nline \udcff.png'
    root = train_set(tmp_path / 'data')
    (root / name).write_bytes(b'no picture')
    with pytest.raises(ImageReadError) as info:
        samples_of(dataset_of(root), 100, workers)
    said = str(info.value)  # one line, without the traceback of a worker
    assert said.startswith(
        f"'{root}/trainA/new\\nline \\udcff.png' is not an image of a known format"
    )
    assert said.isprintable() and said.isascii()  # fits any terminal


@pytest.mark.slow
def test_skip_takes_another_picture_of_the_domain(tmp_path, log):
    bad = dataset_of(train_set(tmp_path / 'bad', bad=BAD), draw, on_error='skip')
    good = dataset_of(train_set(tmp_path / 'good'), draw)
    names = {domain: {f'{i:02}.png' for i in range(count)} for domain, count in zip('AB', (12, 7))}
    for path in BAD:
        names[path[5]].remove(Path(path).name)
    pairs = list(islice(UnpairedSampler(bad, seed=5), 300))
    replaced = {domain: set() for domain in 'AB'}
    for pair in pairs:
        one, other = shown(bad[pair]), shown(good[pair])
        assert one[0] in names['A'] and one[1] in names['B']
        assert one[:2] == (f'{one[2]:02}.png', f'{one[3]:02}.png')  # path and pixels agree
        if other[0] in names['A'] and other[1] in names['B']:
            assert one == other
        else:
            for i, domain in enumerate('AB'):
                if other[i] in names[domain]:
                    assert one[i] == other[i]
                else:
                    replaced[domain].add(one[i])
    assert replaced == names  # none is preferred
    assert named(log) == sorted(BAD)


@pytest.mark.slow
def test_skip_gives_the_same_samples_to_any_workers_and_after_a_resume(tmp_path, log):
    root = train_set(tmp_path / 'data', bad=BAD)
    whole = samples_of(dataset_of(root, draw, on_error='skip'), 60)
    for workers, start in ((2, 0), (1, 0), (0, 30), (2, 30)):
        np.random.seed(workers), torch.manual_seed(workers)
        dataset = dataset_of(root, draw, on_error='skip')
        assert samples_of(dataset, 60 - start, workers, start) == whole[start:]


@pytest.mark.slow
def test_skip_names_a_file_once_among_workers(tmp_path, log):
    dataset = dataset_of(train_set(tmp_path / 'data', bad=BAD), on_error='skip')
    samples_of(dataset, 400, workers=2)  # each worker meets each file several times
    assert named(log) == sorted(BAD)
    samples_of(dataset, 100, workers=2)  # other workers of the same run
    samples_of(dataset, 100)
    assert named(log) == sorted(BAD)
    assert 'WARNING' in log.read_text()


def test_names_do_not_break_the_log(tmp_path, log):
    root = train_set(tmp_path / 'data', 40, 1)
    paths = [os.path.join(root, 'trainA', os.fsdecode(name)) for name in NAMES]
    for path in paths:
        Path(path).write_bytes(b'no picture')
    samples_of(dataset_of(root, on_error='skip'), 70)
    lines = log.read_text(encoding='utf-8').splitlines()
    for path in paths:
        assert sum(f'without a picture: {path!r} is not' in line for line in lines) == 1
    assert len([line for line in lines if line]) == len(paths)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ('count', 'bad', 'ends'),
    [(1, 1, True), (2, 1, False), (7, 3, False), (7, 4, True), (7, 7, True)],
)
def test_skip_ends_when_most_of_a_folder_is_bad(tmp_path, log, count, bad, ends):
    files = tuple(f'trainB/{i:02}.png' for i in range(bad))
    root = train_set(tmp_path / 'data', 9, count, bad=files)
    if not ends:
        assert len(samples_of(dataset_of(root, on_error='skip'), 50)) == 50
        return
    least = count // 2 + 1
    most = f"{least} of the {count} pictures in '.*trainB' cannot be read, more than 50%"
    with pytest.raises(ImageReadError, match=most + r".*trainB/\d\d\.png' is damaged"):
        samples_of(dataset_of(root, on_error='skip'), 50)
    assert len(named(log)) == least


def test_skip_without_a_pair_index(tmp_path, log):
    root = train_set(tmp_path / 'data', bad=BAD)
    dataset = dataset_of(root, on_error='skip', seed=3)
    samples = [shown(dataset[i]) for i in range(12)]
    assert samples == [shown(dataset[i]) for i in range(12)]
    assert [name for name, *_ in samples if int(name[:2]) in (3, 7)] == []


def test_other_errors_are_not_skipped(tmp_path, log):
    def fail(results):
        raise ImageReadError('of something else', 'elsewhere.png')

    dataset = dataset_of(train_set(tmp_path / 'data'), fail, on_error='skip')
    with pytest.raises(ImageReadError, match='of something else'):
        dataset[PairIndex(0, 0, 0)]
    assert named(log) == []


def test_on_error_is_checked(tmp_path):
    root = train_set(tmp_path / 'data')
    with pytest.raises(ValueError, match="on_error must be 'stop' or 'skip', got 'ignore'"):
        dataset_of(root, on_error='ignore')
    for domain in 'AB':
        (root / f'train{domain}').rename(root / f'test{domain}')
    with pytest.raises(ValueError, match='for training only.*fewer files'):
        dataset_of(root, test_mode=True, on_error='skip')


def test_testing_stops_at_a_bad_file(tmp_path):
    root = train_set(tmp_path / 'data', bad=BAD)
    for domain in 'AB':
        (root / f'train{domain}').rename(root / f'test{domain}')
    dataset = dataset_of(root, test_mode=True)
    with pytest.raises(ImageReadError, match=r"testB/02\.png' is damaged"):
        [dataset[i] for i in range(len(dataset))]


def test_a_cache_keeps_no_bad_picture(tmp_path, log):
    root = train_set(tmp_path / 'data', bad=BAD)
    plain, cached = (
        UGATITDataset(
            root,
            [LoadRGBImage(f'img_{domain}', scale=(4, 4)) for domain in 'AB'],
            on_error='skip',
            cache=cache,
        )
        for cache in (None, tmp_path / 'cache')
    )
    for _ in range(2):
        assert samples_of(cached, 60) == samples_of(plain, 60)
    assert len(os.listdir(tmp_path / 'cache')) == 12 + 7 - len(BAD)


def rank_of_two(rank: int, port: int, folder: Path, paths: list[str], connection) -> None:
    """Meet some bad pictures on this rank, then let the hook inform the other."""
    store = torch.distributed.TCPStore('127.0.0.1', port, 2, rank == 0)
    torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
    MMLogger._instance_dict.clear()
    logger = MMLogger.get_instance('run', log_file=str(folder / f'{rank}.log'))
    bad = BadPictures({'trainA': paths})
    loader = SimpleNamespace(dataset=SimpleNamespace(bad_pictures=bad))
    runner = SimpleNamespace(distributed=True, train_dataloader=loader, iter=0)
    hook = BadPicturesHook(interval=2)
    for runner.iter in range(6):
        # Rank 0 meets pictures 0 and 1, rank 1 meets 1, 2 and 3, each twice.
        path = paths[rank * (1 + runner.iter // 2) + runner.iter % 2 * (1 - rank)]
        bad.add(ImageReadError(f'{path!r} is bad', path))
        hook.after_train_iter(runner, runner.iter)
    bad.add(ImageReadError(f'{paths[4]!r} is bad', paths[4]))
    hook.after_train(runner)
    for handler in logger.handlers:
        handler.flush()
    connection.send(list(bad._met))
    torch.distributed.destroy_process_group()
    logging.shutdown()


def test_two_ranks_name_a_file_once(tmp_path):
    paths = [f'/x/trainA/{i}.png' for i in range(12)]
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    ranks = [in_a_process(rank_of_two, rank, port, tmp_path, paths) for rank in range(2)]
    try:
        for _, results in ranks:
            assert results.poll(PATIENCE)
            assert results.recv() == [1] * 5 + [0] * 7
    finally:
        for process, _ in ranks:
            process.join(PATIENCE)
            process.kill()
    assert named(tmp_path / '0.log') == [f'trainA/{i}.png' for i in range(5)]
    assert not (tmp_path / '1.log').exists()  # MMEngine: only the first rank writes


@pytest.mark.slow
def test_the_training_tool(tmp_path, capsys):
    """``skip`` trains to the end and names the file once, ``stop`` ends with its name."""
    root = tmp_path / 'data'
    write_images(root)
    bad = root / 'trainA' / 'b\nad.png'
    bad.write_bytes(b'')
    train = load_tool('train').main
    options = TINY | {
        'data_root': str(root),
        'train_dataloader.num_workers': 2,
        'train_cfg.max_iters': 8,
        'train_cfg.val_interval': 100,
        'default_hooks.sheets.interval': 100,
    }
    start = ['ugatit_custom', '--work-dir']
    skip = as_arguments(options | {'train_dataloader.dataset.on_error': 'skip'})
    assert train([*start, str(tmp_path / 'skip'), '--cfg-options', *skip]) == 0
    (log,) = (tmp_path / 'skip').glob('*/*.log')
    text = log.read_text()
    assert text.count(f'goes on without a picture: {str(bad)!r} is empty') == 1
    assert (tmp_path / 'skip' / 'iter_8.pth').is_file()
    capsys.readouterr()
    assert train([*start, str(tmp_path / 'stop'), '--cfg-options', *as_arguments(options)]) == 1
    (said,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert said.startswith(f'error: {str(bad)!r} is empty')
