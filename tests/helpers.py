"""Functions that several tests call."""

import importlib.util
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ugatit_mm.config import load_config
from ugatit_mm.converters import read_checkpoint

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / 'data'
PATIENCE = 240  # seconds that a test waits for what a busy machine does late


# Options that make any training short.
SHORT = {
    'img_size': 32,
    'load_size': 36,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'train_cfg.max_iters': 4,
    'train_cfg.val_interval': 2,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.sheets.early': (),
    'default_hooks.sheets.interval': 4,
    'default_hooks.sheets.num_images': 1,
    'randomness.seed': 0,
}
# And networks tiny, by the model's NAME: seconds on one core.
TINY_OF = {
    'ugatit': SHORT
    | {
        'model.generator.light': True,
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.discriminator.base_channels': 4,
        'model.discriminator.num_layers': (5, 4),
    },
    'aggan': SHORT
    | {
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.attention.base_channels': 4,
        'model.discriminator.base_channels': 4,
        'model.pool_size': 2,
        'model.switch_iters': 3,
    },
    'cyclegan': SHORT
    | {
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.discriminator.base_channels': 4,
        'model.discriminator.num_layers': 2,
        'model.pool_size': 2,
    },
    'unit': SHORT
    | {
        'model.encoder.base_channels': 4,
        'model.encoder.num_blocks': 1,
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.discriminator.base_channels': 4,
        'model.discriminator.num_layers': 2,
    },
    'munit': SHORT
    | {
        'model.encoder.base_channels': 4,
        'model.encoder.num_blocks': 1,
        'model.style_encoder.base_channels': 4,
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.generator.mlp_channels': 8,
        'model.discriminator.base_channels': 4,
        'model.discriminator.num_layers': 2,
    },
    'cartoongan': SHORT
    | {
        'load_size': None,  # nothing is cropped
        'train_dataloader.batch_size': 1,
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.discriminator.base_channels': 4,
        'model.vgg.weights': 'random',
        'model.vgg.widths': (4, 6, 8, 12, 12),
        'model.init_iters': 0,
        'param_scheduler.milestones': [2, 3],
    },
    'drit': SHORT
    | {
        'model.encoder.base_channels': 2,
        'model.attribute_encoder.base_channels': 2,
        'model.generator.base_channels': 2,
        'model.discriminator.base_channels': 2,
        'model.discriminator.num_layers': 3,
        'model.content_discriminator.base_channels': 2,
        'model.content_discriminator.num_layers': 1,
        'model.d_iter': 1,  # everything learns at once
    },
}
TINY = TINY_OF['ugatit']
# What :func:`batch` takes for a model of these that trains on another one.
BATCH_OF = {'drit': {'count': 2}}


def tiny_config(root: str | Path, work: Path, name: str = 'ugatit', **options: Any) -> Config:
    """Of a tiny training on the pictures of ``root``, with options over it."""
    cfg = load_config(f'{name}_custom', {**TINY_OF[name], 'data_root': str(root), **options})
    cfg.work_dir = str(work)
    return cfg


def reference(folder: str, instead: str) -> Path:
    """The folder of numbers recorded from official programs, which a clone does not carry.

    Args:
        folder: Its name.
        instead: What the same is tested against where it is not there.
    """
    path = ROOT.parent / 'shared/reference/baselines' / folder / 'fixtures'
    if not path.is_dir():
        pytest.skip(f'no ../shared/reference: the same is tested against {instead}')
    return path


def assert_same(one: Any, two: Any, where: str = '') -> None:
    """Of nested data, to the last bit."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert list(one) == list(two), where
        for key in one:
            assert_same(one[key], two[key], f'{where}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f'{where}.{index}')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, two), where
    else:
        assert one == two, where


def read_bytes(function: Callable, *args: object) -> int:
    """Bytes that this process asks the system for while it runs a function."""

    def count() -> int:
        return int(Path('/proc/self/io').read_text().split()[1])

    before = count()
    function(*args)
    return count() - before


def saved_weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)['state_dict']


def assert_same_weights(one: Path, two: Path) -> None:
    """Of two checkpoints, to the last bit."""
    assert_same(saved_weights(one), saved_weights(two))


def same_weights(one: dict, two: dict) -> bool:
    return set(one) == set(two) and all(torch.equal(one[key], two[key]) for key in one)


def variables(numbers: Mapping, prefix: str) -> dict[str, np.ndarray]:
    """What is recorded under ``prefix``."""
    return {k.removeprefix(prefix): numbers[k] for k in numbers if k.startswith(prefix)}


def twins(numbers: Mapping, prefix: str) -> dict[str, np.ndarray]:
    """A checkpoint of TensorFlow's whose two generators are the one that was recorded."""
    found = variables(numbers, prefix)
    return found | {k.replace('generator_B', 'generator_A'): v for k, v in found.items()}


def recorded_checkpoint(numbers: Mapping, prefix: str) -> dict[str, dict[str, torch.Tensor]]:
    """The official PyTorch checkpoint that is recorded under ``prefix``."""
    networks: dict[str, dict] = {}
    for key, value in variables(numbers, prefix).items():
        network, name = key.split('.', 1)
        networks.setdefault(network, {})[name] = torch.from_numpy(value)
    return networks


def as_before_0_4(tensor: torch.Tensor, _: int) -> tuple:
    """How torch before 0.4 pickled a tensor."""
    storage = torch.storage.TypedStorage(
        wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True
    )
    place = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
    return torch._utils._rebuild_tensor, (storage, *place)


def as_arguments(options: dict) -> list[str]:
    """The options as words after ``--cfg-options``."""
    return [f'{key}={value}' for key, value in options.items()]


def batch(
    size: int = 32, count: int = 1, seed: int = 0, pictures: Sequence[str] = ('A', 'B')
) -> dict:
    """A batch as the data loader gives it: uint8, BGR (MMagic's default order)."""
    rng = torch.Generator().manual_seed(seed)
    return {
        'inputs': {
            f'img_{name}': torch.randint(0, 256, (count, 3, size, size), generator=rng).float()
            for name in pictures
        }
    }


def write_images(root: Path, size: tuple[int, int] = (40, 36)) -> None:
    rng = np.random.default_rng(0)
    for folder, count, channel in (
        ('trainA', 6, 0),
        ('trainB', 5, 2),
        ('testA', 3, 0),
        ('testB', 2, 2),
    ):
        os.makedirs(root / folder)
        for index in range(count):
            pixels = rng.integers(0, 120, (size[1], size[0], 3))
            pixels[..., channel] += 130
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f'{index}.png')


def load_tool(name: str) -> ModuleType:
    """Import a script of ``tools``, for example ``'model_converters/ugatit_pytorch'``."""
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as Python does for a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def family(pid: int) -> list[int]:
    """A process and those that it and they have started; of one that has just ended, none."""
    try:
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(number for child in children for number in family(int(child)))]


def run_code(code: str, *words: str) -> subprocess.CompletedProcess:
    """Run it in a Python of its own, which has imported nothing."""
    return subprocess.run(
        [sys.executable, '-c', code, *words], capture_output=True, text=True, cwd=ROOT
    )


@contextmanager
def started(words: list, log: Path, **options) -> Iterator[subprocess.Popen]:
    """A process that is killed with its children when the test fails."""
    with log.open('w') as file:
        process = subprocess.Popen(list(map(str, words)), stdout=file, stderr=file, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in family(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def wait_for(
    process: subprocess.Popen, log: Path, condition: Callable[[], bool], seconds: float = PATIENCE
) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline and process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.02)


def in_ranks(function: Callable, folder: Path, *words: object, count: int = 2) -> None:
    """Call a module's function in processes that are forked from one which has imported us.

    Those of torchrun would import everything again; a fork of this process, which may have made
    backward passes, could make none. What they print goes to ``rank0.log`` and so on. If one fails,
    the others end, too.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['pytest', 'ugatit_mm.apis'])
    place = {'WORLD_SIZE': str(count), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()}
    ranks = [
        context.Process(target=_rank, args=(function, folder, words, place, rank), daemon=True)
        for rank in range(count)
    ]
    with patch.dict(os.environ, {'CUDA_VISIBLE_DEVICES': ''}):
        for rank in ranks:
            rank.start()
    running, deadline = ranks, time.time() + PATIENCE
    while running and time.time() < deadline and not any(rank.exitcode for rank in ranks):
        wait([rank.sentinel for rank in running], timeout=1)
        running = [rank for rank in ranks if rank.exitcode is None]
    codes = [rank.exitcode for rank in ranks]
    for rank in running:
        rank.kill()
    logs = [folder / f'rank{rank}.log' for rank in range(count)]
    said = [log.read_text()[-3000:] for log in logs if log.is_file()]
    assert codes == [0] * count, '\n'.join([str(codes), *said])


def _rank(function: Callable, folder: Path, words: tuple, place: dict, rank: int) -> None:
    with open(folder / f'rank{rank}.log', 'w') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(place | {'RANK': str(rank), 'LOCAL_RANK': str(rank)})
    torch.set_num_threads(1)
    function(*words)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])
