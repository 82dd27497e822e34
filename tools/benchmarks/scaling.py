"""Training on several ranks: strong and weak scaling, and what the gradients' all-reduce costs.

    python tools/benchmarks/scaling.py [--ranks 1 2] [--quick]

Each rank is a process, started as ``tools/dist_train.sh`` does it, with a GPU of its own, or with
its share of the cores and gloo. The jobs are run in turns, so are the variants inside them; times
are the fastest of all rounds, and of the slowest rank. The table for many GPUs is computed from
bytes and bandwidths, not measured.
"""

import argparse
import functools
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
import torch.distributed as dist
from bench import PeakMemory, Row, add_arguments, append_rows, release, synchronize
from mmagic.registry import MODEL_WRAPPERS, MODELS
from mmengine.config import Config
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from ugatit_mm.apis import add_speed_arguments, apply_speed
from ugatit_mm.config import load_config
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.hooks import InterruptHook
from ugatit_mm.models.base import unwrap

PAIRS = ('discriminators', 'generators')
CONFIGURED = 'as configured'
LOCAL = 'no all-reduce'
NOT_SENT = 'filled, not sent'
UNEQUAL = (LOCAL, NOT_SENT)  # ranks part with these, so they are good for timing alone
# Lines over the config's model_wrapper_cfg; what no line says is here as DDP has it by default.
PLAIN = {'gradient_as_bucket_view': False, 'static_graph': False, 'bucket_cap_mb': 25}
VARIANTS: dict[str, dict] = {
    CONFIGURED: {},
    LOCAL: {},
    NOT_SENT: {},
    'plain': PLAIN,
    'bucket views': PLAIN | {'gradient_as_bucket_view': True},
    'static graph': PLAIN | {'static_graph': True},
    'buckets of 100 MB': PLAIN | {'bucket_cap_mb': 100},
    'buffers broadcast': PLAIN | {'broadcast_buffers': True},
    'bfloat16 gradients': PLAIN,
}

# Share of a step from the first full bucket to the end of the backward pass, in which all-reduces
# can hide: measured by this program (light, 64 channels, 128 px, two CPU cores). A gradient is
# complete where its parameter is used for the last time in the backward pass, which for the
# generators is in the passes that made translation and identity, after those of the cycle.
WINDOWS = {'discriminators': 0.16, 'generators': 0.26}


class Job(NamedTuple):
    """A number of processes and what each of them does."""

    ranks: int
    threads: int
    batch: int


@dataclass
class Task:
    """What all jobs of a case have in common.

    Attributes:
        light: Light or full.
        channels: ``base_channels`` of all networks.
        size: Height and width of the images.
        steps: Timed steps of each variant in a round.
        amp, lean, compile: See :func:`apply_speed`.
    """

    light: bool
    channels: int
    size: int
    steps: int
    amp: str | None = None
    lean: bool = False
    compile: str | None = None

    def name(self) -> str:
        """The case, in words."""
        speed = [x for x in (self.amp, self.lean and 'lean', self.compile) if x]
        kind = 'light' if self.light else 'full'
        return ', '.join([kind, f'{self.channels} channels', f'{self.size} px', *speed])

    def config(self) -> Config:
        """The config of such a training."""
        options = {
            'img_size': self.size,
            'model.generator.light': self.light,
            'model.generator.base_channels': self.channels,
            'model.discriminator.base_channels': self.channels,
        }
        if self.size < 128:  # as many layers as the image has room for
            options['model.discriminator.num_layers'] = (5, 4)
        cfg = load_config('ugatit_custom', options)
        apply_speed(cfg, self.amp, self.lean, self.compile)
        return cfg


# -- inside a rank ---------------------------------------------------------------------------------


def rank() -> tuple[int, int]:
    """Number of this rank, and of all."""
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def start() -> torch.device:
    """Join the other ranks, if there are any; the device of this one."""
    local = int(os.environ.get('LOCAL_RANK', 0))
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local)
    if rank()[1] > 1:
        dist.init_process_group('nccl' if gpu else 'gloo')
    return torch.device('cuda', local) if gpu else torch.device('cpu')


Mark = float | torch.cuda.Event


def mark(device: torch.device) -> Mark:
    """A moment: of the clock, or of the work that a GPU has been given."""
    if device.type == 'cpu':
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(begin: Mark, end: Mark) -> float:
    """Seconds from one moment to another; a GPU must have passed both."""
    return end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1e3


class Training:
    """A model with its optimizers, wrapped as the config says, and one batch.

    Args:
        cfg: The config.
        variant: One of ``VARIANTS``.
        batch: Pairs of images.
        device: Where to.
    """

    def __init__(self, cfg: Config, variant: str, batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        model.train().to(device)
        self.device = device
        self.pairs = [getattr(model, name) for name in PAIRS]
        # By pair: when each bucket was full with how many numbers, when the backward pass ended.
        self.buckets: dict[str, list[tuple[Mark, int]]] = {name: [] for name in PAIRS}
        self.ended: dict[str, Mark] = {}
        self.local = variant == LOCAL
        if rank()[1] > 1:
            ids = [device.index] if device.type == 'cuda' else None
            lines = {**cfg.model_wrapper_cfg, 'device_ids': ids, **VARIANTS[variant]}
            model = MODEL_WRAPPERS.build(lines | {'module': model})
            self.pairs = [getattr(model.module, name) for name in PAIRS]
            for name, pair in zip(PAIRS, self.pairs, strict=True):
                if variant == NOT_SENT:
                    pair.register_comm_hook(self.buckets[name], not_sent)
                elif variant == 'bfloat16 gradients':
                    pair.register_comm_hook(None, bf16_compress_hook)
        self.model = model
        optim = cfg.optim_wrapper.copy()
        optim.pop('constructor')
        self.optim = UGATITOptimWrapperConstructor(optim)(model)
        for name in PAIRS:
            self.optim[name].backward = functools.partial(
                self._backward, name, self.optim[name].backward
            )
        random = torch.Generator().manual_seed(rank()[0])
        shape = (batch, 3, cfg.img_size, cfg.img_size)
        self.batch = {
            'inputs': {
                f'img_{domain}': torch.randint(256, shape, generator=random, dtype=torch.uint8)
                for domain in 'AB'
            }
        }

    def _backward(self, name: str, backward: Callable[..., None], *args: object) -> None:
        backward(*args)
        self.ended[name] = mark(self.device)

    def windows(self) -> dict[str, float]:
        """Seconds of the last step from the first full bucket to the end of the backward pass."""
        return {
            name: between(buckets[0][0], self.ended[name])
            for name, buckets in self.buckets.items()
            if buckets
        }

    def step(self) -> None:
        """One iteration."""
        for buckets in self.buckets.values():
            buckets.clear()
        with ExitStack() as stack:
            if self.local and rank()[1] > 1:
                for pair in self.pairs:
                    stack.enter_context(pair.no_sync())
            self.model.train_step(self.batch, self.optim)

    def digest(self) -> str:
        """Of all weights and buffers, to the bit."""
        digest = hashlib.sha256()
        for value in unwrap(self.model).state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()


def not_sent(
    buckets: list[tuple[Mark, int]], bucket: dist.GradBucket
) -> torch.futures.Future[Tensor]:
    """In the place of an all-reduce: note when it could start, and how many numbers it has."""
    buckets.append((mark(bucket.buffer().device), bucket.buffer().numel()))
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def together(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call that all ranks begin at one time, until the last has ended it."""
    if rank()[1] > 1:
        dist.barrier()
    synchronize(device)
    begin = time.perf_counter()
    function()
    synchronize(device)
    taken = torch.tensor(time.perf_counter() - begin, device=device)
    if rank()[1] > 1:
        dist.all_reduce(taken, dist.ReduceOp.MAX)
    return taken.item()


def all_reduce(buffers: list[Tensor]) -> None:
    """Send what a step sends, with nothing else to do."""
    for work in [dist.all_reduce(buffer, async_op=True) for buffer in buffers]:
        work.wait()


def measure(task: Task, batch: int, variants: list[str]) -> dict:
    """Time the variants once each.

    Returns:
        dict: ``times`` and ``peak`` (bytes) by variant; ``equal``: variants after whose steps all
        ranks had the same weights and buffers to the bit; ``sent``: numbers in each all-reduce, by
        pair; ``windows``: see :meth:`Training.windows`; ``alone``: seconds of those all-reduces
        and nothing else; ``interrupt``: seconds of :class:`InterruptHook`'s question.
    """
    device = start()
    cfg = task.config()
    torch.backends.cudnn.benchmark = True
    seen: dict = {'times': {}, 'peak': {}, 'equal': [], 'sent': {}}
    Training(cfg, CONFIGURED, batch, device).step()  # what is loaded once is loaded here
    release()
    for variant in variants:
        with PeakMemory(device) as peak:
            training = Training(cfg, variant, batch, device)
            for _ in range(2):  # DDP lays its buckets out anew after the first step
                together(training.step, device)
            seen['times'][variant] = [together(training.step, device) for _ in range(task.steps)]
        seen['peak'][variant] = peak.bytes
        if variant == NOT_SENT:
            for name, buckets in training.buckets.items():
                seen['sent'][name] = [size for _, size in buckets]
            seen['windows'] = training.windows()
        if rank()[1] > 1:
            digests = [None] * rank()[1]
            dist.all_gather_object(digests, training.digest())
            if len(set(digests)) == 1:
                seen['equal'].append(variant)
        del training
        release()
    if seen['sent']:
        sizes = itertools.chain(*seen['sent'].values())
        buffers = [torch.zeros(size, device=device) for size in sizes]
        all_reduce(buffers)
        seen['alone'] = min(together(lambda: all_reduce(buffers), device) for _ in range(5))
        hook, runner = InterruptHook(), SimpleNamespace(distributed=True)

        def ask() -> None:
            for _ in range(100):
                hook._asked_anywhere(runner)

        seen['interrupt'] = together(ask, device) / 100
    return seen


def work(out: str, task: str, batch: str, *variants: str) -> None:
    """Be a rank: measure, and let the first write a JSON file."""
    seen = measure(Task(**json.loads(task)), int(batch), list(variants))
    if rank()[0] == 0:
        Path(out).write_text(json.dumps(seen))
    if dist.is_initialized():
        dist.destroy_process_group()


# -- outside ---------------------------------------------------------------------------------------


def run(job: Job, task: Task, variants: list[str]) -> dict:
    """Start the ranks of a job; what :func:`measure` gave in the first.

    Raises:
        RuntimeError: A rank failed; its words are told.
    """
    words = [sys.executable]
    if job.ranks > 1:
        words += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={job.ranks}']
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'seen.json'
        words += [__file__, '--work', str(out), json.dumps(asdict(task)), str(job.batch), *variants]
        env = {**os.environ, 'OMP_NUM_THREADS': str(job.threads)}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f'{job} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}')
        return json.loads(out.read_text())


def plan(ranks: list[int], cores: int | None) -> dict[str, list[Job]]:
    """Choose the jobs.

    Args:
        ranks: Numbers of processes.
        cores: Cores that they share; ``None`` where each has a GPU.

    Returns:
        dict: Jobs of ``'weak'`` (batch 1 each) and of ``'strong'`` (a pair for each of the most
        ranks, divided among them) scaling. On cores, one process is there with the threads that
        each of the most ranks has, and with all of them.

    Raises:
        ValueError: Numbers that do not divide the largest.
    """
    most = max(ranks)
    if bad := [count for count in ranks if count < 1 or most % count]:
        raise ValueError(f'--ranks: {bad} do not divide {most}, so the batch cannot be shared')
    jobs: dict[str, list[Job]] = {'weak': [], 'strong': []}
    for count in sorted({1, *ranks}):
        threads = {1} if cores is None else {max(1, cores // count)}
        if cores is not None and count == 1:
            threads.add(max(1, cores // most))
        for each in sorted(threads):
            jobs['weak'].append(Job(count, each, 1))
            jobs['strong'].append(Job(count, each, most // count))
    return jobs


def parameters(light: bool, channels: int = 64, size: int = 256) -> dict[str, list[int]]:
    """Sizes of the parameters of each pair of networks, without their memory."""
    cfg = Task(light, channels, size, 0).config()
    cfg.model.channels_last = False  # nothing to lay out
    with FakeTensorMode():
        model = MODELS.build(cfg.model)
    return {name: [p.numel() for p in getattr(model, name).parameters()] for name in PAIRS}


def ring_seconds(size: float, ranks: int, bandwidth: float) -> float:
    """Seconds of an all-reduce: each rank sends and receives 2 (N - 1) / N of it.

    Args:
        size: Bytes of the gradients.
        ranks: N.
        bandwidth: Bytes a second, of the bus (as NCCL's tests define it).
    """
    return 2 * (ranks - 1) / ranks * size / bandwidth


def expected(
    gradients: dict[str, float], ranks: int, bandwidth: float, step: float
) -> tuple[float, float, float]:
    """Compute a step on many GPUs.

    Args:
        gradients: Bytes by pair of networks.
        ranks: GPUs.
        bandwidth: Bytes a second.
        step: Seconds of a step on one.

    Returns:
        Seconds of the all-reduces, of a step in which nothing hides them, and of a step in which
        ``WINDOWS`` hide all that has room in them.
    """
    d, g = (ring_seconds(gradients[name], ranks, bandwidth) for name in PAIRS)
    best = step
    for sent, name in zip((d, g), PAIRS, strict=True):
        best += max(0.0, sent - WINDOWS[name] * step)
    return d + g, step + d + g, best


def computed(ranks: int, bandwidths: list[float], step: float) -> Iterator[Row]:
    """What to expect of many GPUs, see :func:`expected`; every row says that it is computed."""
    for light in (True, False):
        sizes = parameters(light)
        case = f'{"light" if light else "full"}, 256 px, batch 1 each, {ranks} GPUs'
        for number, width in (('float32', 4), ('bfloat16', 2)):
            gradients = {name: width * sum(values) for name, values in sizes.items()}
            for bandwidth in bandwidths:
                sent, worst, best = expected(gradients, ranks, bandwidth * 1e9, step)
                row = functools.partial(
                    Row, 'scaling, computed', case, f'{number} gradients, {bandwidth:g} GB/s'
                )
                yield row('all-reduce', sum(gradients.values()) / 1e6, 'MB/step')
                yield row('all-reduce', sent * 1e3, 'ms/step')
                yield row('weak efficiency, nothing hidden', step / worst, f'of {step * 1e3:g} ms')
                yield row('weak efficiency, hidden', step / best, f'of {step * 1e3:g} ms')


def scaling_rows(
    name: str, jobs: dict[str, list[Job]], times: dict[Job, float], unit: str
) -> list[Row]:
    """Turn the jobs' times into rows: seconds, and efficiency against each single process."""
    rows = []
    for kind, of_kind in jobs.items():
        for job in of_kind:
            setting = f'{kind}: {job.ranks} x {job.threads} {unit}, batch {job.batch} each'
            rows.append(Row('scaling', name, setting, 'time', times[job], 's/step'))
            for one in of_kind:
                if one.ranks == 1 and one != job and job.ranks > 1:
                    pairs = job.ranks * job.batch / times[job]
                    speed = pairs / (one.batch / times[one])
                    to = f'x 1 process, {one.threads} {unit}'
                    rows.append(Row('scaling', name, setting, 'speed', speed, to))
                    used = job.ranks * job.threads / one.threads
                    rows.append(Row('scaling', name, setting, 'efficiency', speed / used, to))
    return rows


def communication_rows(name: str, job: Job, rounds: list[dict]) -> list[Row]:
    """Turn the variants' times into rows.

    With the seconds of a step as configured ``a``, without all-reduces ``l``, with buckets filled
    but not sent ``f``, and of the all-reduces alone ``s``: data parallel takes the share
    ``(a - l) / a`` of a step, the backward pass hides ``1 - (a - f) / s`` of the all-reduces.
    """
    time_of = {v: min(t for seen in rounds for t in seen['times'][v]) for v in rounds[0]['times']}
    sent = {name: 4 * sum(numbers) for name, numbers in rounds[0]['sent'].items()}
    alone = min(seen['alone'] for seen in rounds)
    interrupt = min(seen['interrupt'] for seen in rounds)
    step = time_of[CONFIGURED]
    row = functools.partial(Row, 'scaling', f'{name}, {job.ranks} ranks, batch {job.batch} each')
    rows = []
    for variant, value in time_of.items():
        rows.append(row(variant, 'time', value, 's/step'))
        rows.append(row(variant, 'time', value / step, f'x {CONFIGURED}'))
        if peaks := [seen['peak'][variant] for seen in rounds if seen['peak'][variant]]:
            rows.append(row(variant, 'peak memory', max(peaks) / 2**20, 'MiB a rank'))
        equal = all(variant in seen['equal'] for seen in rounds)
        rows.append(row(variant, 'ranks equal to the bit', float(equal), 'yes = 1'))
    row = functools.partial(row.func, 'scaling', f'communication: {row.args[1]}')
    hidden = 1 - (step - time_of[NOT_SENT]) / alone
    for name, size in sent.items():
        rows.append(row(name, 'size', size / 1e6, 'MB/step'))
        window = min(seen['windows'][name] for seen in rounds)
        rows.append(row(name, 'window', window / time_of[NOT_SENT], 'of a step'))
    rows += [
        row('all-reduces', 'size', sum(sent.values()) / 1e6, 'MB/step'),
        row('all-reduces', 'number', sum(map(len, rounds[0]['sent'].values())), 'a step'),
        row('all-reduces', 'rate alone', sum(sent.values()) / alone / 1e9, 'GB/s'),
        row('all-reduces', 'time', alone, 's/step'),
        row('all-reduces', 'share', alone / step, 'of a step'),
        row('all-reduces', 'hidden', hidden, 'of their time'),
        row('data parallel in all', 'time', step - time_of[LOCAL], 's/step'),
        row('data parallel in all', 'share', 1 - time_of[LOCAL] / step, 'of a step'),
        row("InterruptHook's question", 'time', interrupt, 's/step'),
        row("InterruptHook's question", 'share', interrupt / step, 'of a step'),
    ]
    return rows


def tables(rows: list[Row]) -> str:
    """Markdown: a table for each case, a line for each setting, a column for each quantity."""
    cases: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        cases[row.case][row.setting][f'{row.quantity}, {row.unit}'] = row.value
    lines = []
    for case, settings in cases.items():
        columns = list(dict.fromkeys(name for cells in settings.values() for name in cells))
        lines += [f'\n| {case} | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 1) + '|']
        for setting, cells in settings.items():
            values = [f'{cells[name]:.4g}' if name in cells else '' for name in columns]
            lines.append(f'| {setting} | ' + ' | '.join(values) + ' |')
    return '\n'.join(lines)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_speed_arguments(parser)
    gpus = torch.cuda.device_count()
    parser.add_argument(
        '--ranks', type=int, nargs='+', help='numbers of processes (1 2; 1 2 4 ... on GPUs)'
    )
    parser.add_argument('--variant', choices=['light', 'full'], default='light')
    parser.add_argument('--channels', type=int, default=64 if gpus else 32)
    parser.add_argument('--size', type=int, default=256 if gpus else 128, help='of the images')
    parser.add_argument('--steps', type=int, default=20 if gpus else 2, help='timed, a round')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument(
        '--bandwidth-gb-s',
        type=float,
        nargs='+',
        default=[400.0, 22.0],
        help='bus bandwidths of an all-reduce that the computed table assumes',
    )
    parser.add_argument('--gpus', type=int, default=8, help='of the computed table')
    parser.add_argument('--step-ms', type=float, default=25.0, help='on one, that it assumes')
    parser.add_argument('--computed', action='store_true', help='the computed table alone')
    args = parser.parse_args(argv)
    if args.quick:
        args.channels, args.size, args.rounds = 8, 64, 1
    args.ranks = args.ranks or [count for count in (1, 2, 4, 8) if count <= max(2, gpus)]
    if gpus and max(args.ranks) > gpus:
        parser.error(f'--ranks {max(args.ranks)}: this machine has {gpus} GPUs')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    rows = []
    if not args.computed:
        task = Task(
            *(args.variant == 'light', args.channels, args.size, args.steps),
            *(args.amp, args.lean, args.compile),
        )
        gpu = torch.cuda.is_available()
        cores = None if gpu else len(os.sched_getaffinity(0))
        jobs = plan(args.ranks, cores)
        variants = list(VARIANTS)
        if args.quick:
            jobs, variants = {'weak': jobs['weak']}, [CONFIGURED, LOCAL, NOT_SENT]
        widest = Job(max(args.ranks), 1 if gpu else max(1, cores // max(args.ranks)), 1)
        seen: dict[Job, list[dict]] = defaultdict(list)
        for _ in range(args.rounds):
            for job in dict.fromkeys(job for of_kind in jobs.values() for job in of_kind):
                several = job == widest and job.ranks > 1
                seen[job].append(run(job, task, variants if several else [CONFIGURED]))
                print(f'{job}: {min(seen[job][-1]["times"][CONFIGURED]):.4f} s', flush=True)
        times = {
            job: min(t for one in rounds for t in one['times'][CONFIGURED])
            for job, rounds in seen.items()
        }
        rows = scaling_rows(task.name(), jobs, times, 'GPU' if gpu else 'threads')
        if widest.ranks > 1:
            rows += communication_rows(task.name(), widest, seen[widest])
    rows += computed(args.gpus, args.bandwidth_gb_s, args.step_ms / 1e3)
    print(tables(rows))
    if not args.no_write:
        append_rows(rows, args.out)
    return 0


if __name__ == '__main__':
    if sys.argv[1:2] == ['--work']:
        work(*sys.argv[2:])
    else:
        sys.exit(main())
