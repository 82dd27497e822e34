"""When a Triton kernel runs, and the check before its first use.

A kernel and its plain formula make one :class:`Fused` function. At its first use on a device the
kernel is compared with the formula on small tensors; if it differs or does not compile, the process
falls back to the formula, and one line says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..messages import first_line

try:
    import triton
    import triton.language as tl
except ImportError:  # Triton comes only with torch for CUDA on Linux
    triton = None
    tl = SimpleNamespace(constexpr=Any)

SWITCH = 'UGATIT_MM_TRITON'
# Most registers of a thread, for ``maxnreg``: a program of up to 8 warps may use this many. By
# default ptxas aims at more concurrent programs and spills registers to the stack.
REGISTERS = 255
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def jit(kernel: Callable) -> Any:
    """``triton.jit``; without Triton the function is unchanged, and never called."""
    return triton.jit(kernel) if triton else kernel


@jit
def _probe():
    pass


def usable(x: Tensor) -> bool:
    """Whether kernels run on the device of ``x``, for its dtype; see :func:`unusable`.

    False while a compiler or an exporter traces.
    """
    if triton is None or x.dtype not in TYPES or not x.numel():
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return unusable(x) is None


def unusable(x: Tensor) -> str | None:
    """Return why no kernel runs on the device of ``x``; ``None`` if kernels run.

    They are the default on a GPU of compute capability 8.0 or newer; ``UGATIT_MM_TRITON=0`` in the
    environment turns them off. On a CPU they run in Triton's interpreter, for tests and counts,
    with ``UGATIT_MM_TRITON=1``, and ``TRITON_INTERPRET=1`` before the import.
    """
    if x.device.type not in ('cuda', 'cpu') or (x.is_cpu and not interpreted()):
        return f'the device is {x.device.type}'
    if triton is None:
        return 'triton is not installed'
    switch = os.environ.get(SWITCH)
    if x.is_cpu:
        return None if switch == '1' else 'the device is cpu'
    if switch == '0':
        return f'{SWITCH}=0'
    return None if _modern(x.device.index) else 'older than compute capability 8.0'


def interpreted() -> bool:
    """Whether Triton interprets in this process, so that its kernels never run on a GPU."""
    return triton is not None and not isinstance(_probe, triton.JITFunction)


@cache
def _modern(device: int) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)  # the oldest that Triton supports


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Run a kernel on the device of its first tensor; all our launches go through here.

    Args:
        kernel: What :func:`jit` returned.
        grid: Numbers of programs, up to three dimensions.
        args: Arguments of the kernel.
        options: Its constants by name, and Triton's ``num_warps`` and ``num_stages``.
    """
    first = next(arg for arg in args if isinstance(arg, Tensor))
    with torch.cuda.device_of(first):
        kernel[grid](*args, **options)


def cut(tiles: int, most: int) -> tuple[int, int]:
    """Divide tiles into slices of equal length.

    Args:
        tiles: Number of tiles, 1 or more.
        most: Largest number of slices.

    Returns:
        Number of slices, and of tiles in each but the last.
    """
    steps = triton.cdiv(tiles, most)
    return triton.cdiv(tiles, steps), steps


class Example(NamedTuple):
    """Small arguments of a fused function, and the tolerance between its two forms.

    Attributes:
        args: The arguments.
        rtol: Relative tolerance; for 16-bit results that of their dtype if it is larger.
        atol: Absolute tolerance.
    """

    args: tuple
    rtol: float = 1e-4
    atol: float = 1e-5


class Fused:
    """A function with an equivalent Triton form and plain form.

    Args:
        name: For messages.
        plain: The formula in torch's operators; returns tensors, ``None``, or nests of them.
        kernel: The Triton form.
        examples: Returns small instances of :class:`Example` on a device, for the check at first
            use.

    The first tensor among the arguments selects the form.
    """

    known: dict[str, Fused] = {}

    def __init__(
        self,
        name: str,
        plain: Callable,
        kernel: Callable,
        examples: Callable[[torch.device], Iterable[Example]],
    ) -> None:
        self.name = name
        self.plain = plain
        self.kernel = kernel
        self.examples = examples
        self.sound: dict[torch.device, bool] = {}
        self.known[name] = self

    def __call__(self, *args: Any) -> Any:
        """Compute the function."""
        return self.kernel(*args) if self.uses_kernel(args) else self.plain(*args)

    def uses_kernel(self, args: Iterable[Any]) -> bool:
        """Whether the kernel runs for these arguments."""
        first = next(arg for arg in args if isinstance(arg, Tensor))
        if not usable(first):
            return False
        device = first.device
        if device not in self.sound:
            self.sound[device] = True  # the check itself may call it
            self.sound[device] = self._check(device)
        return self.sound[device]

    def _check(self, device: torch.device) -> bool:
        problem = None
        try:
            with torch.no_grad(), _own_random(device), torch.autocast(device.type, enabled=False):
                for example in self.examples(device):
                    results = [
                        _tensors(f(*_copied(example.args))) for f in (self.kernel, self.plain)
                    ]
                    problem = problem or _difference(*results, example)
        except Exception as error:  # a compiler may raise any class
            problem = f'{type(error).__name__}: {first_line(error)}'
        if problem is None:
            return True
        print_log(
            f"Triton's kernel for {self.name} is not used on {device} ({problem}): the plain "
            f'formula takes its place, more slowly; {SWITCH}=0 turns all kernels off',
            'current',
            logging.WARNING,
        )
        return False


@contextmanager
def _own_random(device: torch.device):
    """Context manager that restores the random state of the training."""
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(0)
        yield


def _copied(args: Any) -> Any:
    """Copy the arguments for each form: a function may write into them."""
    if isinstance(args, Tensor):
        return args.clone()
    if isinstance(args, (tuple, list)):
        made = [_copied(arg) for arg in args]
        return type(args)(*made) if hasattr(args, '_fields') else type(args)(made)
    return args


def _tensors(result: Any) -> list[Tensor]:
    """Return the tensors of a nested structure, in order."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [tensor for part in result for tensor in _tensors(part)]
    return []


def _difference(ours: list[Tensor], plain: list[Tensor], example: Example) -> str | None:
    """Describe the error of the kernel's results; ``None`` if they agree."""
    if [(t.shape, t.dtype) for t in ours] != [(t.shape, t.dtype) for t in plain]:
        return 'its results have other shapes or types than the plain formula'
    for number, (a, b) in enumerate(zip(ours, plain, strict=True)):
        if a.is_floating_point():
            # Two roundings to 16 bits may give neighbouring values; a formula that rounds at each
            # addition is off by the same fraction of its summands.
            eps = 0.0 if a.dtype == torch.float32 else 2 * torch.finfo(a.dtype).eps
            largest = b.float().nan_to_num(0, 0, 0).abs().max().item() if b.numel() else 0.0
            rtol, atol = max(example.rtol, eps), max(example.atol, eps * largest)
        else:  # codes may be neighbours, too
            rtol, atol = 0, 1
        if not torch.allclose(a.float(), b.float(), rtol, atol, equal_nan=True):
            worst = (a.float() - b.float()).abs().max().item()
            return f'result {number} is off by {worst:.2g}'
    return None
