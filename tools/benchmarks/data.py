"""Time the data pipeline: `python tools/benchmarks/data.py [CONFIG] [--data-root DIR]`.

It measures for each data set: the milliseconds per pair in one process, of the config's pipeline,
of MMagic's steps one by one in the official order (`plain`) and with a warm cache, checked to give
the same pixels; the share of each step; and, for each number of workers, the pairs per second and
how long a training step of a given length waits for its batch, which MMEngine's IterTimerHook logs
as `data_time`. The step is a sleep: it leaves the cores to the workers, as a step on a GPU does.
"""

import argparse
import itertools
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from bench import Row, add_arguments, append_rows, seconds
from mmagic.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from ugatit_mm.apis import add_options_argument
from ugatit_mm.config import load_config
from ugatit_mm.datasets import LoadRGBImage, PairIndex, UGATITDataset, UnpairedSampler

# (width, height, pictures of a domain): the paper's size, photographs of 1 and of 12 megapixels.
SIZES = ((256, 256, 24), (1024, 1024, 8), (4000, 3000, 2))
PLAIN, CONFIG, CACHE = 'plain', 'config', 'config, cached'
# Seconds of a measurement, and rounds.
FULL, QUICK = (1.5, 5), (1.0, 1)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time the data pipeline of a config.')
    parser.add_argument(
        'config',
        nargs='?',
        default='ugatit_custom',
        help='config file, or name of a config of the package (%(default)s)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        help='folder with trainA, trainB, testA, testB (noise JPEGs with the spectrum of '
        'photographs, of 256 px, 1 and 12 megapixels; --quick: without the last)',
    )
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[0, 1, 2, 4], help='numbers of workers (0 1 2 4)'
    )
    parser.add_argument(
        '--step-ms',
        type=float,
        default=25.0,
        help='length of a training step in milliseconds (%(default)s)',
    )
    add_options_argument(parser)
    add_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker of the data loader
    cv2.setNumThreads(0)
    init_default_scope('mmagic')
    warnings.filterwarnings('ignore', 'This DataLoader will create')  # more workers than cores
    duration, rounds = QUICK if args.quick else FULL
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for case, root in data_sets(args, Path(folder)):
            print(case)
            cfg = load_config(args.config, {**args.cfg_options, 'data_root': str(root)})
            pair_ms = time_pipelines(cfg, Path(folder) / 'cache', duration)
            shares = time_steps(cfg, duration)
            loaders = time_loaders(cfg, args.workers, args.step_ms / 1e3, duration, rounds)
            batch_ms = cfg.train_dataloader.batch_size * pair_ms[CONFIG]
            needed = math.ceil(batch_ms / args.step_ms)
            rows += report(case, pair_ms, shares, loaders, args.step_ms, needed)
    torch.set_num_threads(threads)
    if not args.no_write:
        append_rows(rows, args.out)
    return 0


# -- pictures ------------------------------------------------------------------------------------


def data_sets(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and root of every data set to measure; pictures are made when they are needed."""
    if args.data_root:
        yield args.data_root.name, args.data_root
        return
    for width, height, count in SIZES[:2] if args.quick else SIZES:
        root = folder / f'{width}x{height}'
        make_data(root, width, height, count)
        yield f'JPEG {width}x{height}', root


def make_data(root: Path, width: int, height: int, count: int) -> None:
    """Write ``count`` JPEGs to ``trainA`` and the same to ``trainB``."""
    for domain in 'AB':
        (root / f'train{domain}').mkdir(parents=True)
    for index in range(count):
        picture = Image.fromarray(photograph(width, height, np.random.default_rng(index)))
        for domain in 'AB':
            picture.save(root / f'train{domain}' / f'{index}.jpg', quality=90)


def photograph(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with the amplitude spectrum of photographs, 1 / frequency; colours vary less.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(y, x, dtype=np.float32)
    frequency[0, 0] = np.inf  # no mean
    picture = np.empty((height, width, 3), np.float32)
    grey, *colours = (_noise(frequency, width, rng) for _ in range(4))
    for channel, colour in enumerate(colours):
        picture[..., channel] = 128 + 45 * grey + 12 * colour
    return picture.clip(0, 255).astype(np.uint8)


def _noise(frequency: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    shape = (frequency.shape[0], width)
    spectrum = np.fft.rfft2(rng.standard_normal(shape, np.float32)) / frequency
    noise = np.fft.irfft2(spectrum, shape)
    return noise / noise.std()


# -- one process ---------------------------------------------------------------------------------


def time_pipelines(cfg: Config, cache: Path, duration: float) -> dict[str, float]:
    """Milliseconds per pair: plain steps, the config's, and the config's with a warm cache.

    A pipeline that gives other pixels than the config's (a config may have its own steps), or that
    has nothing to cache, is left out.
    """
    dataset, pairs = training_set(cfg)
    others = {PLAIN: plain_set(cfg)}
    if all(step.scale for step in dataset.pipeline.transforms if isinstance(step, LoadRGBImage)):
        others[CACHE] = training_set(cfg, cache=str(cache))[0]
    sets = {CONFIG: dataset}
    for name, other in others.items():
        if all(same_pixels(dataset[pair], other[pair]) for pair in pairs):  # fills the cache
            sets[name] = other
    times: dict[str, list[float]] = {name: [] for name in sets}
    end = time.perf_counter() + len(sets) * duration
    while not all(times.values()) or time.perf_counter() < end:
        for name, data in sets.items():
            times[name].append(seconds(lambda d=data: [d[pair] for pair in pairs]) / len(pairs))
    return {name: 1e3 * median(values) for name, values in times.items()}


def training_set(cfg: Config, **fields: str | list) -> tuple[UGATITDataset, list[PairIndex]]:
    """The config's training set, with other fields if given, and its first pairs."""
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, **fields})
    sampler = UnpairedSampler(dataset, seed=0)
    return dataset, list(itertools.islice(sampler, min(len(dataset), 24)))


def plain_set(cfg: Config) -> UGATITDataset:
    """The training set with MMagic's steps one by one: load, flip, resize, crop, pack."""
    size = cfg.img_size
    side = cfg.get('load_size') or size + 30
    keys = ['img_A', 'img_B']
    pack = {'type': 'PackInputs', 'keys': keys, 'data_keys': keys, 'meta_keys': cfg.meta_keys}
    pipeline = [
        *({'type': 'LoadRGBImage', 'key': key} for key in keys),
        *({'type': 'Flip', 'keys': [key]} for key in keys),
        {'type': 'Resize', 'keys': keys, 'scale': (side, side), 'backend': 'pillow'},
        {'type': 'Crop', 'keys': keys, 'crop_size': (size, size)},
        pack,
    ]
    return training_set(cfg, pipeline=pipeline)[0]


def same_pixels(one: dict, other: dict) -> bool:
    """Whether two samples hold the same images."""
    return all(torch.equal(one['inputs'][key], other['inputs'][key]) for key in ('img_A', 'img_B'))


def time_steps(cfg: Config, duration: float) -> dict[str, float]:
    """Milliseconds per pair of each step of the config's pipeline, and of the rest."""
    dataset, pairs = training_set(cfg)
    steps = dataset.pipeline.transforms
    spent = dict.fromkeys((f'{i} {step_name(step)}' for i, step in enumerate(steps)), 0.0)

    def timed(step: Callable[[dict], dict], name: str) -> Callable[[dict], dict]:
        def call(results: dict) -> dict:
            start = time.perf_counter()
            results = step(results)
            spent[name] += time.perf_counter() - start
            return results

        return call

    dataset.pipeline.transforms = [timed(*pair) for pair in zip(steps, spent, strict=True)]
    count, start = 0, time.perf_counter()
    while count < len(pairs) or time.perf_counter() - start < duration:
        dataset[pairs[count % len(pairs)]]
        count += 1
    total = time.perf_counter() - start
    spent['random state, paths'] = total - sum(spent.values())
    return {name: 1e3 * value / count for name, value in spent.items()}


def step_name(step: object) -> str:
    """Class and keys of a step, for example ``'Flip img_A'``."""
    keys = getattr(step, 'keys', None) or [getattr(step, 'key', '')]
    return ' '.join([type(step).__name__, *keys])


# -- the data loader -----------------------------------------------------------------------------


def time_loaders(
    cfg: Config, workers: list[int], step: float, duration: float, rounds: int
) -> dict[int, tuple[float, float, float]]:
    """Pairs per second, mean and longest wait of a step in milliseconds, by number of workers.

    Args:
        cfg: Its ``train_dataloader`` is measured, with other numbers of workers.
        workers: These numbers, measured in turns.
        step: Length of a training step in seconds.
        duration: Seconds of a measurement.
        rounds: Rounds over them; the median is returned.
    """
    found: dict[int, list[tuple[float, float, float]]] = {count: [] for count in workers}
    loaders = {count: build_loader(cfg, count) for count in workers}
    batches = {count: iter(loader) for count, loader in loaders.items()}
    for _ in range(rounds):
        for count, loader in loaders.items():
            ahead = 1 + count * (
                loader.prefetch_factor or 0
            )  # batches that were ready before the clock started
            least = 2 + 2 * count  # batches come in bursts, one from each worker
            speed = loader.batch_size * per_second(batches[count], ahead, least, duration)
            waits = 1e3 * np.array(time_waits(batches[count], ahead, least, step, duration))
            found[count].append((speed, waits.mean(), waits.max()))
    return {count: tuple(np.median(values, axis=0)) for count, values in found.items()}


def build_loader(cfg: Config, workers: int) -> DataLoader:
    """The config's training loader with another number of workers."""
    loader = {**cfg.train_dataloader, 'num_workers': workers, 'persistent_workers': workers > 0}
    return Runner.build_dataloader(loader, seed=0)


def per_second(batches: Iterator, ahead: int, least: int, duration: float) -> float:
    """Batches per second without further work; skips ``ahead``, counts ``least`` or more."""
    for _ in range(ahead):
        next(batches)
    count, start = 0, time.perf_counter()
    while count < least or time.perf_counter() - start < duration:
        next(batches)
        count += 1
    return count / (time.perf_counter() - start)


def time_waits(
    batches: Iterator, ahead: int, least: int, step: float, duration: float
) -> list[float]:
    """Seconds that each step waits for its batch; skips ``ahead``, counts ``least`` or more."""
    waits: list[float] = []
    end = time.perf_counter() + duration
    while len(waits) < ahead + least or time.perf_counter() < end:
        waits.append(seconds(lambda: next(batches)))
        time.sleep(step)
    return waits[ahead:]


# -- report --------------------------------------------------------------------------------------


def report(
    case: str,
    pair_ms: dict[str, float],
    shares: dict[str, float],
    loaders: dict[int, tuple[float, float, float]],
    step_ms: float,
    needed: int,
) -> list[Row]:
    """Print the measurements of a data set and return them as rows.

    Args:
        case: Name of the data set.
        pair_ms: What :func:`time_pipelines` found.
        shares: What :func:`time_steps` found.
        loaders: What :func:`time_loaders` found.
        step_ms: Length of a training step.
        needed: Workers that suffice for a batch in every step, with a core each; computed.
    """
    rows = []
    base = pair_ms.get(PLAIN)
    for name in (PLAIN, CONFIG, CACHE):
        if name not in pair_ms:
            print(f'  {name}: other pixels, or nothing to cache: not compared')
            continue
        rows.append(Row('data', case, name, 'time, one process', pair_ms[name], 'ms/pair'))
        line = f'  {name:<15}{pair_ms[name]:11.2f} ms/pair'
        if base and name != PLAIN:
            ratio = base / pair_ms[name]
            rows.append(Row('data', case, name, 'ratio', ratio, 'x plain'))
            line += f', {ratio:.2f} x plain'
        print(line)
    total = sum(shares.values())
    for name, value in shares.items():
        rows.append(Row('data', case, name, 'share', 100 * value / total, '%'))
        print(f'    {name:<24}{value:9.2f} ms {100 * value / total:5.1f} %')
    for count, (speed, wait, longest) in loaders.items():
        setting = f'{count} workers'
        rows.append(Row('data', case, setting, 'throughput', speed, 'pairs/s'))
        setting += f', step {step_ms:g} ms'
        rows.append(Row('data', case, setting, 'data_time', wait, 'ms/step'))
        print(
            f'  {count} workers: {speed:7.1f} pairs/s; a step of {step_ms:g} ms waits '
            f'{wait:.2f} ms, at most {longest:.2f} ms'
        )
    setting = f'step {step_ms:g} ms, computed'
    rows.append(Row('data', case, setting, 'workers that suffice', needed, 'workers'))
    print(
        f'  workers that suffice for a step of {step_ms:g} ms, with a core each: {needed}, computed'
    )
    return rows


if __name__ == '__main__':
    sys.exit(main())
