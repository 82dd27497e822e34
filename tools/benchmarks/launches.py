"""Count what a training step launches on a GPU, by phase and by module, on a CPU.

`python tools/benchmarks/launches.py` counts torch's operators, except views and
allocations, and the launches of our Triton kernels. The number does not depend on the width, so
four channels are enough. `--plain` counts the formulas without Triton; `--max N` fails above N;
`--model all --official` counts every model's step and its official order's.

The number of kernels on a GPU differs somewhat from the operators counted here: a convolution's
backward pass is one operator and two or three kernels, a bias is one kernel more, an operator on
many tensors takes as many launches as its tables need, cuDNN and cuBLAS add their own helper
kernels (other memory formats, split products), autocast casts other operators there, and layers
with a CPU path take the other one. The last column estimates what can be estimated. With
`--device cuda` the profiler counts. (`--lean` keeps small layers as they are, so its number depends
on the width.)
"""

import argparse
import json
import os
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from bench import Row, append_rows
from building import (
    Case,
    add_model_arguments,
    batch_of,
    build_official,
    build_ours,
    build_step,
    cases_of,
    of_same_width,
    period_of,
    repeated,
    size_of,
    width_of,
)
from torch import Tensor
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ugatit_mm.apis import add_options_argument, apply_speed
from ugatit_mm.kernels import support
from ugatit_mm.models.base.step import Step

# Operators that launch nothing.
ALLOCATIONS = {'empty', 'empty_like', 'new_empty', 'empty_strided', 'new_empty_strided'}
VIEWS = {
    *('view', '_unsafe_view', 'reshape', '_reshape_alias', 'flatten', 'unflatten', 'expand'),
    *('t', 'transpose', 'permute', 'squeeze', 'unsqueeze', 'as_strided', 'detach', 'alias'),
    *('slice', 'select', 'narrow', 'split', 'split_with_sizes', 'chunk', 'unbind'),
    *('lift_fresh', 'is_same_size'),
}
# Counted, so that older counts stay comparable, but not a kernel.
NO_KERNEL = {'promote_types', '_record_function_enter_new', '_record_function_exit'}
QUESTION = '_local_scalar_dense'
# Tensors per launch of an operator on many tensors, by its number of lists (torch 2.11).
TENSORS_OF_A_LAUNCH = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
OUTSIDE = 'outside of modules'
ELSEWHERE = 'batch and log'


@dataclass
class Launches:
    """Counts of a step.

    Attributes:
        operators: Number of operators, by phase, place and name.
        kernels: Number of launches of our kernels, by the same.
        estimate: Estimated kernels of the operators on a GPU, by phase and place.
        questions: Number of host-device synchronisations, by phase and place.
    """

    operators: Counter = field(default_factory=Counter)
    kernels: Counter = field(default_factory=Counter)
    estimate: Counter = field(default_factory=Counter)
    questions: Counter = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Operators and launches of our kernels."""
        return self.operators.total() + self.kernels.total()

    def by(self, part: int) -> list[tuple[str, int, int, int]]:
        """Sums by phase (0) or by place (1): name, operators, our kernels, estimate on a GPU."""
        names = [Counter(), Counter(), Counter()]
        counted = (self.operators, self.kernels, self.estimate + self.own())
        for sums, counter in zip(names, counted, strict=True):
            for key, count in counter.items():
                sums[key[part]] += count
        order = list(dict.fromkeys(key[part] for counter in counted for key in counter))
        if part:
            order.sort(key=lambda name: -names[0][name] - names[1][name])
        return [(name, *(sums[name] for sums in names)) for name in order]

    def own(self) -> Counter:
        """Our kernels by phase and place: each launch is one kernel."""
        sums: Counter = Counter()
        for key, count in self.kernels.items():
            sums[key[:2]] += count
        return sums

    def names(self) -> Counter:
        """Operators and kernels by name."""
        sums: Counter = Counter()
        for counter in (self.operators, self.kernels):
            for (*_, name), count in counter.items():
                sums[name] += count
        return sums


class Places:
    """Current phase of the step, and current module or function of ours.

    Forward and backward passes are separate. An operator of a backward pass counts for the module
    whose forward pass created its node: autograd numbers its nodes in the order of creation.
    """

    def __init__(self) -> None:
        self.phases: list[str] = [ELSEWHERE]
        self.stack: list[str] = []
        self.starts: list[int] = []  # numbers of the first nodes created in ...
        self.labels: list[str] = []  # ... these places

    def now(self) -> tuple[str, str]:
        """Phase and place."""
        phase, backward = self.phases[-1], torch._C._current_graph_task_id() != -1
        if backward:
            phase = f'{phase.split(":")[0]}: backward'
        if self.stack:  # in a backward pass: recomputed features
            return phase, self.stack[-1]
        if not backward:
            return phase, OUTSIDE
        node = torch._C._current_autograd_node()
        if node is None:
            return phase, 'sums of gradients'
        if node.name().endswith('AccumulateGrad'):
            return phase, 'gradients of parameters'
        index = bisect_right(self.starts, node._sequence_nr()) - 1
        return phase, self.labels[index] if index >= 0 else OUTSIDE

    def enter(self, label: str) -> None:
        self.stack.append(label)
        self._mark()

    def leave(self) -> None:
        self.stack.pop()
        self._mark()

    def _mark(self) -> None:
        self.starts.append(torch._C._autograd._get_sequence_nr())
        self.labels.append(self.stack[-1] if self.stack else OUTSIDE)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.phases.append(name)
        try:
            yield
        finally:
            self.phases.pop()

    @contextmanager
    def watching(self) -> Iterator['Places']:
        """Follow the step: its phases, modules, our autograd functions, optimisers."""
        forward, update = Step.forward, Step.update
        apply = torch.autograd.Function.__dict__['apply']  # Python's or C's

        @wraps(forward)
        def seen_forward(step: Step, part: str, *inputs: Any) -> Any:
            with self.phase(f'{part}: forward'):
                return forward(step, part, *inputs)

        @wraps(update)
        def seen_update(step: Step, name: str, compute: Callable, *more: Any, **named: Any) -> Any:
            def seen_compute() -> Any:
                with self.phase(f'{name}: losses'):
                    return compute()

            with self.phase(f'{name}: around the update'):
                return update(step, name, seen_compute, *more, **named)

        def seen_apply(cls: type, *args: Any, **named: Any) -> Any:
            bound = apply.__get__(None, cls)
            if not cls.__module__.startswith('ugatit_mm.'):
                return bound(*args, **named)
            self.enter(cls.__name__)
            try:
                return bound(*args, **named)
            finally:
                self.leave()

        def before_optimizer(*_: Any) -> None:
            self.phases.append(f'{self.phases[-1].split(":")[0]}: optimiser')

        hooks = (
            register_module_forward_pre_hook(lambda module, *_: self.enter(type(module).__name__)),
            register_module_forward_hook(lambda *_: self.leave(), always_call=True),
            register_optimizer_step_pre_hook(before_optimizer),
            register_optimizer_step_post_hook(lambda *_: self.phases.pop() and None),
        )
        with (
            patch.object(Step, 'forward', seen_forward),
            patch.object(Step, 'update', seen_update),
            patch.object(torch.autograd.Function, 'apply', classmethod(seen_apply)),
        ):
            try:
                yield self
            finally:
                for hook in hooks:
                    hook.remove()


class Count(TorchDispatchMode):
    """Count the operators and launches of its block.

    Args:
        places: Gives their phase and place.
        run: Run our kernels. Otherwise their outputs keep the value 1 that allocations get here,
            which takes a tenth of the time and changes no count.
    """

    def __init__(self, places: Places, run: bool = False) -> None:
        super().__init__()
        self.places = places
        self.run = run
        self.seen = Launches()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ALLOCATIONS:
            if not self.run:
                result.fill_(1)
        elif name == QUESTION:
            self.seen.questions[self.places.now()] += 1
        elif name not in VIEWS:
            place = self.places.now()
            self.seen.operators[(*place, name)] += 1
            self.seen.estimate[place] += kernels_of(name, args)
        return result

    def launch(self, kernel: Any, grid: tuple, *args: Any, **options: Any) -> None:
        """Replaces :func:`ugatit_mm.kernels.support.launch`."""
        self.seen.kernels[(*self.places.now(), kernel.fn.__name__)] += 1
        if self.run:
            with _disable_current_modes():  # the interpreter's operators are not launches
                _LAUNCH(kernel, grid, *args, **options)


_LAUNCH = support.launch


def kernels_of(name: str, args: tuple) -> int:
    """Estimate the number of kernels of an operator on a GPU."""
    if name in NO_KERNEL:
        return 0
    if name == 'convolution':
        return 1 if args[2] is None else 2
    if name == 'convolution_backward':
        return sum(args[-1])
    if name.startswith(('_foreach_', '_fused_')):
        lists = [arg for arg in args if isinstance(arg, (list, tuple)) and _tensors(arg)]
        return -(-len(lists[0]) // TENSORS_OF_A_LAUNCH[min(len(lists), 5)])
    return 1


def _tensors(values: list | tuple) -> bool:
    return bool(values) and isinstance(values[0], Tensor)


@contextmanager
def kernel_switch(on: bool) -> Iterator[None]:
    """Switch our kernels on or off in the block."""
    with patch.dict(os.environ, {support.SWITCH: str(int(on))}):
        yield


def count(step: Callable[[], Any], rounds: int = 1, run: bool = False) -> Launches:
    """Count the launches of a step on a CPU, after two warm-up steps.

    Args:
        step: Runs one step.
        rounds: Counted steps; the one with the most launches is returned.
        run: See :class:`Count`; for the counted steps.
    """
    for fused in support.Fused.known.values():
        fused.uses_kernel([torch.zeros(1)])  # the check at first use must run the kernels
    found = []
    for number in range(2 + rounds):
        places = Places()
        with places.watching(), Count(places, run and number > 1) as counter, _counted(counter):
            step()
        found.append(counter.seen)
    return max(found[2:], key=lambda launches: launches.total)


@contextmanager
def _counted(counter: Count) -> Iterator[None]:
    """Replace every module's ``launch`` by the counter's in the block."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith('ugatit_mm.') and vars(module).get('launch') is _LAUNCH:
                stack.enter_context(patch.object(module, 'launch', counter.launch))
        yield


# -- on a GPU ------------------------------------------------------------------------------------


def profile(step: Callable[[], Any]) -> list[tuple[str, str, float]]:
    """GPU events of one step after two warm-up steps: kind, name, microseconds of each."""
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as record:
        step()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json'
        record.export_chrome_trace(str(path))
        return ran(json.loads(path.read_text()))


KINDS = {'kernel': 'kernels', 'gpu_memcpy': 'copies', 'gpu_memset': 'fills'}


def ran(trace: dict) -> list[tuple[str, str, float]]:
    """GPU events in a profiler's trace: kind, name, microseconds."""
    return [
        (KINDS[event['cat']], event['name'], float(event['dur']))
        for event in trace['traceEvents']
        if event.get('cat') in KINDS
    ]


# -- tables --------------------------------------------------------------------------------------


def table_of_counts(launches: Launches, rows: int) -> str:
    """Markdown: by phase, by module, by name."""
    lines = []
    for part, title in ((0, 'phase'), (1, 'module or function')):
        lines += [
            '',
            f'| {title} | operators | Triton launches | launches | kernels on a GPU (estimate) |',
            '|---|---|---|---|---|',
        ]
        for name, operators, kernels, estimate in launches.by(part)[: None if part == 0 else rows]:
            lines.append(
                f'| {name} | {operators} | {kernels} | {operators + kernels} | {estimate} |'
            )
    lines += ['', '| operator or kernel | launches |', '|---|---|']
    lines += [f'| {name} | {number} |' for name, number in launches.names().most_common(rows)]
    return '\n'.join(lines)


def table_of_profile(events: list[tuple[str, str, float]], rows: int) -> str:
    """Markdown: the kernels that took the most time."""
    times, numbers = Counter(), Counter()
    for _, name, duration in events:
        times[name] += duration
        numbers[name] += 1
    lines = ['', '| kernel | ms | number |', '|---|---|---|']
    for name, duration in times.most_common(rows):
        lines.append(f'| {name[:90]} | {duration / 1e3:.3f} | {numbers[name]} |')
    return '\n'.join(lines)


# -- command -------------------------------------------------------------------------------------


def build(args: argparse.Namespace, case: Case, device: torch.device) -> Callable[[], Any]:
    """Build the step that the arguments ask for."""
    width = args.base_channels or width_of(case.model)
    side = size_of(case.model, args.img_size)
    cfg = of_same_width(case, side, width, **args.cfg_options)
    apply_speed(cfg, amp=args.amp, lean=args.lean)
    batch = args.batch or batch_of(case.model)
    return build_step(cfg, pictures(side, batch, device))


def pictures(img_size: int, batch: int, device: torch.device) -> dict[str, Tensor]:
    """Random images of both domains, in [-1, 1], (N, 3, H, W)."""
    torch.manual_seed(0)
    shape = (batch, 3, img_size, img_size)
    return {domain: torch.rand(shape, device=device) * 2 - 1 for domain in 'AB'}


def of_both(
    case: Case,
    img_size: int,
    base_channels: int,
    batch: int,
    device: torch.device,
    plain: bool = False,
    **speed: Any,
) -> tuple[float, float]:
    """Launches per iteration, the official order's and ours, averaged over their period.

    Args:
        case: Model and variant.
        img_size: Side of the random images.
        base_channels: Width, which does not change the count.
        batch: Pairs of images.
        device: On a CPU operators are counted, on a GPU the profiler counts.
        plain: Ours without our kernels.
        speed: Ours in this setting of :func:`apply_speed`.
    """
    images = pictures(img_size, batch, device)
    period = period_of(case.model)

    def launches_of(step: Callable) -> float:
        whole = repeated(step, period)
        return (len(profile(whole)) if device.type == 'cuda' else count(whole).total) / period

    with kernel_switch(not plain):
        official = launches_of(build_official(case, images, base_channels))
        return official, launches_of(build_ours(case, images, base_channels, **speed))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument(
        '--official',
        action='store_true',
        help='print a table of the models: launches of the official order and of ours',
    )
    add_options_argument(parser)
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='as in ugatit train',
    )
    parser.add_argument('--lean', action='store_true', help='as in ugatit train')
    parser.add_argument('--plain', action='store_true', help='count the formulas without Triton')
    parser.add_argument(
        '--img-size',
        type=int,
        default=256,
        help='side of the images, or the smallest that a model takes (%(default)s)',
    )
    parser.add_argument(
        '--base-channels', type=int, help="width (4 on a CPU, the model's own on a GPU)"
    )
    parser.add_argument('--batch', type=int, help="batch size (the model's own; 1 for most)")
    parser.add_argument(
        '--rounds',
        type=int,
        default=1,
        help='counted steps, the most launches of which are taken (%(default)s)',
    )
    parser.add_argument('--rows', type=int, default=25, help='rows of a table (%(default)s)')
    parser.add_argument('--max', type=int, metavar='N', help='fail if a step has more launches')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument('--out', type=Path, help='CSV file to append to')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda, cuda:1, ... (a GPU where there is one)',
    )
    args = parser.parse_args(argv)
    on_gpu = args.device != 'cpu'
    if not (on_gpu or args.plain or support.interpreted()):
        parser.error(
            'on a CPU the kernels need Triton and its interpreter: install triton and set '
            'TRITON_INTERPRET=1, or count the formulas with --plain'
        )
    if args.official and args.cfg_options:
        parser.error('--official compares the same mathematics: leave --cfg-options out')
    if not on_gpu:
        args.base_channels = args.base_channels or 4
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    device = torch.device(args.device)
    if args.official:
        return compare(args, device)
    found: dict[str, Any] = {}
    rows: list[Row] = []
    for each in cases_of(args.model, args.variant):
        words = [*each, args.amp or 'float32']
        words += [f'{key}={value}' for key, value in args.cfg_options.items()]
        words += ['lean'] * args.lean + ['plain'] * args.plain
        width = args.base_channels or width_of(each.model)
        batch = args.batch or batch_of(each.model)
        words += [f'{width} channels, {size_of(each.model, args.img_size)} px, batch {batch}']
        case = ', '.join(word for word in words if word)
        with kernel_switch(not args.plain):
            step = build(args, each, device)
            if device.type == 'cuda':
                number, seen, tables = of_gpu(step, args)
            else:
                number, seen, tables = of_cpu(step, args)
        found[case] = {'launches': number, **seen}
        rows += [
            Row('launches', case, device.type, name, value, 'a step')
            for name, value in found[case].items()
            if isinstance(value, (int, float))
        ]
        if not args.json:
            said = ', '.join(f'{value} {name}' for name, value in seen.items() if name != 'phases')
            print(f'{case}: {number} launches a step ({said})')
            print(tables, end='\n\n', flush=True)
    if args.json:
        print(json.dumps(found, indent=1))
    if args.out:
        append_rows(rows, args.out)
    return told([x for x, seen in found.items() if args.max and seen['launches'] > args.max], args)


def compare(args: argparse.Namespace, device: torch.device) -> int:
    """Print a table of the models, and append its rows; return the exit status."""
    words = [args.amp or 'float32', *['lean'] * args.lean, *['plain'] * args.plain]
    setting = ', '.join(words)
    print(f'| model | official order | {setting} | ratio |', '|---|---|---|---|', sep='\n')
    over, rows = [], []
    for case in cases_of(args.model, args.variant):
        width = args.base_channels or width_of(case.model)
        batch = args.batch or batch_of(case.model)
        side = size_of(case.model, args.img_size)
        found = of_both(case, side, width, batch, device, args.plain, amp=args.amp, lean=args.lean)
        name = ', '.join(filter(None, case))
        print(f'| {name} | {found[0]:g} | {found[1]:g} | {found[1] / found[0]:.2f} |', flush=True)
        said = f'{name}, {width} channels, {side} px, batch {batch}'
        for who, value in zip(('official order', setting), found, strict=True):
            rows.append(Row('launches', said, f'{who}, {device.type}', 'launches', value, 'a step'))
        over += [name] * bool(args.max and found[1] > args.max)
    if args.out:
        append_rows(rows, args.out)
    return told(over, args)


def told(over: list[str], args: argparse.Namespace) -> int:
    """Print which cases have too many launches; return the exit status."""
    for name in over:
        print(f'{name}: more than {args.max} launches', file=sys.stderr)
    return int(bool(over))


def of_cpu(step: Callable, args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """Launches of a step, other counts, and tables."""
    launches = count(step, args.rounds)
    fallen = [name for name, fused in support.Fused.known.items() if False in fused.sound.values()]
    told = {
        'operators': launches.operators.total(),
        'Triton launches': launches.kernels.total(),
        'kernels on a GPU (estimate)': sum(row[-1] for row in launches.by(0)),
        'questions to the host': launches.questions.total(),
        **({'fell back': fallen} if fallen else {}),
        'phases': {name: operators + own for name, operators, own, _ in launches.by(0)},
    }
    return launches.total, told, table_of_counts(launches, args.rows)


def of_gpu(step: Callable, args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """The same, from the profiler."""
    events = profile(step)
    kinds = Counter(kind for kind, *_ in events)
    told = {**kinds, 'ms of GPU time': round(sum(duration for *_, duration in events) / 1e3, 3)}
    return len(events), told, table_of_profile(events, args.rows)


if __name__ == '__main__':
    sys.exit(main())
