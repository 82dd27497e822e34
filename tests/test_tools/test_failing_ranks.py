"""A rank that dies, hangs or fails; a missing machine; two machines and a cut link."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from helpers import (
    ROOT,
    TINY,
    as_arguments,
    assert_same_weights,
    family,
    free_port,
    in_ranks,
    saved_weights,
    started,
    wait_for,
    write_images,
)

from ugatit_mm.apis import run_training
from ugatit_mm.config import load_config

TIMEOUT = 10  # seconds that a rank waits for the others
KILLS = int(os.environ.get('UGATIT_RANK_KILLS', 1))
STATED = TIMEOUT + 60  # docs/reliability.md: until all processes have ended

# Imported by the config below; what happens to rank 1, once.
FAULT = """
import os, signal, subprocess
from pathlib import Path
from mmagic.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook

@HOOKS.register_module()
class Fault(Hook):
    priority = 'VERY_LOW'
    def __init__(self, kind, at, note):
        self.kind, self.at, self.note = kind, at, Path(note)
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if get_rank() != 1 or runner.iter + 1 != self.at or self.note.exists():
            return
        self.note.touch()
        if self.kind == 'memory':
            raise MemoryError('of rank 1')
        if self.kind == 'cut':
            link = next(Path('/sys/class/net').glob('u*')).name
            subprocess.run(['ip', 'link', 'set', link, 'down'], check=True)
            return
        os.kill(os.getpid(), {'killed': signal.SIGKILL, 'hung': signal.SIGSTOP}[self.kind])
"""
ENV = {**os.environ, 'PYTHON': sys.executable}


def chosen(data_root: Path) -> dict:
    """Options of a training of 6 iterations, a checkpoint every other."""
    return TINY | {
        'data_root': str(data_root),
        'train_cfg.max_iters': 6,
        'train_cfg.val_interval': 100,
        'default_hooks.sheets.interval': 100,
        'env_cfg.dist_cfg.timeout': TIMEOUT,
    }


def options(data_root: Path) -> list[str]:
    return ['--cfg-options', *as_arguments(chosen(data_root))]


def faulty(tmp_path: Path, kind: str, note: Path) -> Path:
    """A config with a fault in rank 1 at iteration 5."""
    (tmp_path / 'fault.py').write_text(FAULT)
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs/ugatit_custom.py")!r}\n'
        "custom_imports = dict(imports=['ugatit_mm', 'fault'], allow_failed_imports=False)\n"
        'default_hooks = dict.fromkeys(["provenance", "rho", "bad_pictures", "finite", "watch"])\n'
        f'custom_hooks = [dict(type="Fault", kind={kind!r}, at=5, note={str(note)!r})]\n'
    )
    return config


def train_a_rank(data: Path, work: Path) -> None:
    cfg = load_config('ugatit_custom', chosen(data))
    cfg.work_dir, cfg.launcher = str(work), 'pytorch'
    run_training(cfg)


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """A data set, and the checkpoint of two ranks without a fault."""
    root = tmp_path_factory.mktemp('ranks')
    write_images(root / 'data')
    in_ranks(train_a_rank, root, root / 'data', root / 'whole')
    return root / 'data', root / 'whole' / 'iter_6.pth'


@contextmanager
def fault_in(kind: str, data: Path, folder: Path) -> Iterator[Callable[[str], None]]:
    """Two ranks with a fault in the second; calling the result waits for their end."""
    config, log, note = (
        faulty(folder, kind, folder / 'happened'),
        folder / 'log',
        folder / 'happened',
    )
    words = [ROOT / 'tools/dist_train.sh', config, 2, '--work-dir', folder / 'work']
    env = ENV | {'PORT': free_port(), 'PYTHONPATH': f'{folder}:{ROOT}'}
    with started([*words, *options(data)], log, cwd=folder, env=env) as process:
        wait_for(process, log, note.exists)
        ranks = family(process.pid)[1:]

        def assert_end(said: str) -> None:
            since = note.stat().st_mtime
            assert process.wait(max(0, since + STATED - time.time())) != 0
            assert log.stat().st_mtime < since + STATED
            assert re.search(said, log.read_text()), log.read_text()[-3000:]
            assert not any(Path(f'/proc/{pid}').exists() for pid in ranks)
            newest = folder / 'work' / 'iter_4.pth'
            assert (folder / 'work' / 'last_checkpoint').read_text() == str(newest)

        yield assert_end


@pytest.fixture(scope='module')
def hung(whole, tmp_path_factory) -> Iterator[Callable[[str], None]]:
    """Started by the first test that needs it: the end takes 40 s of waiting."""
    with fault_in('hung', whole[0], tmp_path_factory.mktemp('hung')) as assert_end:
        yield assert_end


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_others_and_is_named(hung, whole, tmp_path):
    with fault_in('memory', whole[0], tmp_path) as assert_end:
        assert_end('MemoryError: of rank 1')


def ranks_of(process: subprocess.Popen) -> list[int]:
    try:
        words = {pid: Path(f'/proc/{pid}/cmdline').read_bytes() for pid in family(process.pid)[1:]}
    except (FileNotFoundError, ProcessLookupError):  # one of the launcher's own has just ended
        return []
    return [pid for pid in words if b'/train.py' in words[pid]]


@pytest.mark.long
@pytest.mark.parametrize('number', range(KILLS))
def test_a_rank_is_killed_at_a_random_moment(whole, tmp_path, number):
    """All ranks restart from the last whole checkpoint, with the same result."""
    data, expected = whole
    draw = random.Random(number)
    work, log = tmp_path / 'work', tmp_path / 'log'
    words = [ROOT / 'tools/dist_train.sh', 'ugatit_custom', 2, '--work-dir', work, *options(data)]
    env = ENV | {'PORT': free_port(), 'MAX_RESTARTS': '1', 'PYTHONPATH': str(ROOT)}
    with started(words, log, cwd=tmp_path, env=env) as process:
        wait_for(process, log, lambda: len(ranks_of(process)) == 2)
        if done := (4, 0, 1, 5, 2, 3, 6)[number % 7]:
            wait_for(process, log, lambda: f'iter {done}/6 ' in log.read_text())
        time.sleep(draw.uniform(0, 0.5 if done else 10))
        ranks = ranks_of(process)
        os.kill(draw.choice(ranks), signal.SIGKILL)
        code = process.wait(STATED + 120)
    assert code == 0, log.read_text()[-3000:]
    assert 'exitcode: -9' in log.read_text()
    assert not any(Path(f'/proc/{pid}').exists() for pid in ranks)
    assert_same_weights(expected, work / 'iter_6.pth')
    resumed = re.findall(r'(?:resumed from .*|nothing to resume.*)', log.read_text())
    print(f'killed at iteration {done}:', resumed)


AT_EXIT = """
import atexit, os, runpy, sys
from pathlib import Path

def threads(when):
    print(when, *(task.read_text() for task in Path('/proc/self/task').glob('*/comm')))

atexit.register(threads, 'at the end:')  # the first to be registered is the last to be called
import torch
destroy = torch.distributed.destroy_process_group
torch.distributed.destroy_process_group = lambda: (destroy(), threads('trained:'))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.slow
def test_no_thread_of_gloo_lives_when_python_ends(whole, tmp_path):
    """One that does may kill a rank that has trained to the end."""
    (tmp_path / 'at_exit.py').write_text(AT_EXIT)
    words = [sys.executable, tmp_path / 'at_exit.py', ROOT / 'tools/train.py', 'ugatit_custom']
    words += ['--launcher', 'pytorch', '--work-dir', tmp_path / 'work', *options(whole[0])]
    rank = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1'}
    env = ENV | rank | {'MASTER_PORT': free_port(), 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(list(map(str, words)), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, trained, ended = re.split('trained:|at the end:', done.stdout)
    assert 'gloo' in trained and 'gloo' not in ended


@pytest.mark.slow
def test_other_ranks_and_batches_go_on_at_the_same_sample(whole, tmp_path, capfd):
    """Two ranks with a picture each, resumed by one with two: the same steps, but for rounding."""
    data, expected = whole
    cfg = load_config('ugatit_custom', chosen(data) | {'train_dataloader.batch_size': 2})
    cfg.work_dir, cfg.resume = str(tmp_path / 'one'), True
    cfg.load_from = str(expected.with_name('iter_4.pth'))
    run_training(cfg)
    log = capfd.readouterr().err
    assert 'world_size was 2 and is 1: training goes on at the same sample' in log
    assert 'batch_size was 1 and is 2: ' in log
    ours, theirs = (saved_weights(path) for path in (tmp_path / 'one' / 'iter_6.pth', expected))
    before = saved_weights(expected.with_name('iter_4.pth'))
    # Biases before a normalisation have no gradient; Adam makes full steps of its rounding.
    kept = [key for key in ours if not re.search(r'encoder\.\d\.conv\d?\.bias', key)]
    assert len(kept) == len(ours) - 10
    for key in kept:
        assert torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-5), key
    moved = sum(not torch.equal(before[key], theirs[key]) for key in kept)
    assert moved > 0.9 * len(kept)  # a vector u of one number stays


@pytest.mark.parametrize(
    ('node', 'address', 'said'),
    [
        ('1', '127.0.0.1', r'no answer from 127\.0\.0\.1:\d+ in 2 s\. Is node 0 running there\?'),
        ('0', '192.0.2.1', r'MASTER_ADDR=192\.0\.2\.1( is not an address of this machine|, PORT=)'),
        ('0', 'none.invalid', r'MASTER_ADDR=none\.invalid, PORT=\d+: .*'),
    ],
)
def test_a_wrong_address_is_an_error_not_a_hang(node, address, said):
    where = {'NNODES': '2', 'NODE_RANK': node, 'MASTER_ADDR': address, 'PORT': free_port()}
    done = subprocess.run(
        [str(ROOT / 'tools/dist_train.sh'), 'ugatit_custom', '1'],
        env=ENV | where | {'JOIN_TIMEOUT': '2'},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert re.fullmatch(f'error: {said}.*\n', done.stderr), done.stderr


# ------------------------------------------------------------------------- two hosts


def ip(*words: str) -> None:
    subprocess.run(['ip', *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a link between them, 10.9.8.1 and 10.9.8.2."""
    names = tuple(f'ugatit{os.getpid()}{letter}' for letter in 'ab')
    links = [f'u{os.getpid() % 10**6}{letter}' for letter in 'ab']
    if shutil.which('ip') is None or os.geteuid():
        pytest.skip('network namespaces need root and ip')
    try:
        for name in names:
            ip('netns', 'add', name)
        ip('link', 'add', links[0], 'type', 'veth', 'peer', 'name', links[1])
    except subprocess.CalledProcessError as error:
        for name in names:
            subprocess.run(['ip', 'netns', 'del', name], capture_output=True)
        pytest.skip(f'no network namespaces here: {error.stderr.decode().strip()}')
    for number, (name, link) in enumerate(zip(names, links, strict=True), 1):
        ip('link', 'set', link, 'netns', name)
        ip('-n', name, 'addr', 'add', f'10.9.8.{number}/24', 'dev', link)
        for device in (link, 'lo'):
            ip('-n', name, 'link', 'set', device, 'up')
    yield names
    for name in names:
        ip('netns', 'del', name)


def link_of(host: str) -> str:
    out = subprocess.run(['ip', '-n', host, '-o', 'link'], capture_output=True, text=True).stdout
    return re.search(r'(u\d+[ab])@', out)[1]


def on_hosts(
    hosts: tuple[str, str], tmp_path: Path, words: list, **variables: str
) -> list[tuple[int, str]]:
    """Run a rank on each host; exit codes and logs."""
    port = free_port()
    with ExitStack() as stack:
        processes, logs = [], []
        for rank, host in enumerate(hosts):
            env = ENV | {
                'NNODES': '2',
                'NODE_RANK': str(rank),
                'MASTER_ADDR': '10.9.8.1',
                'PORT': port,
                'GLOO_SOCKET_IFNAME': link_of(host),
                'PYTHONPATH': f'{tmp_path}:{ROOT}',
                **variables,
            }
            logs.append(tmp_path / f'host{rank}.log')
            command = ['ip', 'netns', 'exec', host, *words]
            processes.append(stack.enter_context(started(command, logs[-1], cwd=tmp_path, env=env)))
        codes = [process.wait(STATED + 120) for process in processes]
    return [(code, log.read_text()[-3000:]) for code, log in zip(codes, logs, strict=True)]


@pytest.mark.slow
def test_two_hosts_equal_one_with_two_ranks_also_after_a_cut_link(hosts, whole, tmp_path):
    data, expected = whole
    config, work = faulty(tmp_path, 'cut', tmp_path / 'happened'), tmp_path / 'work'
    words = [ROOT / 'tools/dist_train.sh', config, 1, '--work-dir', work]
    for code, log in on_hosts(hosts, tmp_path, [*words, *options(data)]):
        assert code not in (0, None), log
    assert (work / 'last_checkpoint').read_text() == str(work / 'iter_4.pth')
    ip('-n', hosts[1], 'link', 'set', link_of(hosts[1]), 'up')
    for code, log in on_hosts(hosts, tmp_path, [*words, '--resume', *options(data)]):
        assert code == 0, log
    assert_same_weights(expected, work / 'iter_6.pth')


@pytest.mark.long
def test_two_hosts_start_anew(hosts, whole, tmp_path):
    """A rank killed on one host: the processes of both restart from the last checkpoint."""
    data, expected = whole
    config, work = faulty(tmp_path, 'killed', tmp_path / 'happened'), tmp_path / 'work'
    words = [ROOT / 'tools/dist_train.sh', config, 1, '--work-dir', work, *options(data)]
    for code, log in on_hosts(hosts, tmp_path, words, MAX_RESTARTS='1'):
        assert code == 0, log
    assert_same_weights(expected, work / 'iter_6.pth')


@pytest.mark.slow
def test_a_rank_that_hangs_is_waited_for_no_longer_than_is_stated(hung):
    hung(r'[Tt]imed out')
