"""Training steps as CUDA graphs: captured once, then replayed by one call."""

import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from torch import Tensor

from ...messages import first_line
from .step import Step
from .update import takes_found_inf

if TYPE_CHECKING:
    from .unpaired import UnpairedTranslation

WARM_UP = 3  # eager steps of a kind: optimiser states are created, cuDNN chooses its kernels
MOST = 8  # graphs to keep


class CudaRecorder:
    """Runs functions on its own stream, and captures them as CUDA graphs.

    All its graphs share one memory pool: the next replay overwrites the results of the last.

    Args:
        device: A GPU.
    """

    kind = 'cuda'

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], Any]) -> Any:
        """Run a function on the capture stream: libraries keep a state for each stream."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result

    def capture(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Record a function's kernel launches without running them.

        Returns:
            The function's result, whose tensors a replay fills, and the replay.
        """
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU during the capture: the data loader's pins memory.
        mode = 'thread_local'
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode=mode),
        ):
            result = function()

        def replay() -> None:
            with torch.cuda.device(self.device):
                graph.replay()

        return result, replay

    def memory(self) -> int:
        """Return the bytes that torch has reserved on the device."""
        return torch.cuda.memory_reserved(self.device)


class _Captured:
    """A captured step: its tensors, and its effects on the host."""

    def __init__(self, real: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> None:
        self.inputs = [dict(real), dict(drawn)]
        for tensors in self.inputs:
            for name, tensor in tensors.items():
                tensors[name] = torch.empty_like(tensor)
        self.rates: list[tuple[dict, Tensor]] = []
        self.counts: dict[str, int] = {}
        self.step: Step
        self.vector: Tensor | None
        self.replay: Callable[[], None]

    def load(self, real: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> None:
        """Copy the batch and the learning rates into the graph's inputs."""
        for own, given in zip(self.inputs, (real, drawn), strict=True):
            for name, tensor in own.items():
                tensor.copy_(given[name])
        for group, rate in self.rates:
            rate.fill_(group['lr'])


class StepGraphs:
    """Replays each kind of training step that has run ``WARM_UP`` times.

    A kind is all that the kernel launches depend on: shapes of the batch, whose turn it is, address
    and ``requires_grad`` of each parameter, options of the optimisers. The learning rate is a
    tensor on the device, so a schedule needs no new capture. Steps that cannot be captured run
    eagerly, and one line says why: several ranks (DDP tracks on the host which gradients are
    ready), accumulated gradients (they outlive the step), compiled networks, clipped gradients,
    other optimisers than fused Adam and :class:`LeanAdam`.

    Args:
        recorder: Creates the recorder from a device; by default :class:`CudaRecorder`.

    Attributes:
        off: Why no step is captured; ``None`` while steps may be captured.
    """

    def __init__(self, recorder: Callable[[torch.device], Any] = CudaRecorder) -> None:
        self._make = recorder
        self._recorder: Any = None
        self._seen: Counter = Counter()
        self._captured: dict[Any, _Captured] = {}
        self.off: str | None = None

    def __deepcopy__(self, _: dict) -> 'StepGraphs':
        """Return a new object: a copy of the model has other tensors and captures its own steps."""
        return StepGraphs(self._make)

    def run(
        self,
        model: 'UnpairedTranslation',
        optims: OptimWrapperDict,
        real: dict[str, Tensor],
        drawn: dict[str, Tensor],
    ) -> tuple[Step, Tensor | None]:
        """Run a step; see :meth:`UnpairedTranslation.iterate`.

        Returns:
            The step, with the names of its terms, and its :meth:`Step.vector`.
        """

        def plain() -> tuple[Step, Tensor | None]:
            return run_step(model, optims, real, drawn)

        if self.off is None and self._recorder is None:
            self.off = refusal(model, optims, self._make)
            if self.off is None:
                self._recorder = self._make(real['A'].device)
        if self.off is not None or not model.steady:
            return plain()
        key = _kind(model, optims, real, drawn)
        if key not in self._captured:
            self._seen[key] += 1
            if self._seen[key] <= WARM_UP:
                return self._recorder.warm_up(plain)
            try:
                self._captured[key] = self._capture(model, optims, real, drawn)
            except Exception as error:  # any operation that a capture does not allow
                self.off = f'{type(error).__name__}: {first_line(error)}'
                self._captured.clear()
                model.abandon()
                print_log(
                    f'the training step cannot be captured ({self.off}): it runs as it is',
                    'current',
                    logging.WARNING,
                )
                return plain()
            while len(self._captured) > MOST:
                self._captured.pop(next(iter(self._captured)))
        one = self._captured[key]
        one.load(real, drawn)
        one.replay()
        for name, count in one.counts.items():
            optims[name]._inner_count += count
        return one.step, one.vector

    def _capture(
        self,
        model: 'UnpairedTranslation',
        optims: OptimWrapperDict,
        real: dict[str, Tensor],
        drawn: dict[str, Tensor],
    ) -> _Captured:
        one = _Captured(real, drawn)
        one.load(real, drawn)
        before = {name: optim._inner_count for name, optim in optims.items()}
        memory = self._recorder.memory()
        try:
            with _rates_on_device(optims, real['A'].device) as one.rates:
                (one.step, one.vector), one.replay = self._recorder.capture(
                    lambda: run_step(model, optims, *one.inputs)
                )
            one.counts = {name: optim._inner_count - before[name] for name, optim in optims.items()}
        finally:
            for name, optim in optims.items():
                optim._inner_count = before[name]
                optim.optimizer.zero_grad()
        gc.collect()
        memory = self._recorder.memory() - memory
        print_log(f'the training step is replayed as a CUDA graph ({memory >> 20} MiB)', 'current')
        return one


def run_step(
    model: 'UnpairedTranslation',
    optims: OptimWrapperDict,
    real: dict[str, Tensor],
    drawn: Mapping[str, Tensor],
) -> tuple[Step, Tensor | None]:
    """Run a step eagerly; return it and its :meth:`Step.vector`."""
    step = Step(model, optims, drawn)
    model.iterate(step, real)
    return step, step.vector()


def refusal(
    model: 'UnpairedTranslation', optims: OptimWrapperDict, recorder: Any = CudaRecorder
) -> str | None:
    """Return why the steps of a training cannot be captured; ``None`` if they can."""
    device = next(model.parameters()).device.type
    if device != recorder.kind:
        return f'the model is on {device}'
    if get_world_size() > 1:
        return 'several ranks train together'
    if any(network._compiled_call_impl is not None for network in model.networks()):
        return 'the networks are compiled'
    for name, optim in optims.items():
        where = f'optim_wrapper.{name}'
        scaler = getattr(optim, 'loss_scaler', None)
        if optim._accumulative_counts > 1:
            return f'{where}.accumulative_counts is {optim._accumulative_counts}'
        if optim.clip_grad_kwargs:
            return f'{where}.clip_grad reads its norm on the host'
        if not takes_found_inf(optim.optimizer):
            return f'{where}.optimizer is {type(optim.optimizer).__name__} without fused=True'
        if scaler is not None and not hasattr(optim, 'step_where'):
            return f'{where}.type is {type(optim).__name__}'
    return None


def _kind(
    model: 'UnpairedTranslation',
    optims: OptimWrapperDict,
    real: Mapping[str, Tensor],
    drawn: Mapping[str, Tensor],
) -> tuple:
    """Return all that the kernel launches of a step depend on."""
    shapes = tuple(
        (name, tensor.shape, tensor.stride(), tensor.dtype)
        for tensors in (real, drawn)
        for name, tensor in tensors.items()
    )
    turns = tuple(model.is_turn(name, optims) for name, _ in optims.items())
    options = tuple(
        (id(optim.optimizer.state), *(repr({**group, 'params': 0, 'lr': 0}) for group in groups))
        for optim in optims.values()
        for groups in [optim.optimizer.param_groups]
    )
    parameters = tuple((p.data_ptr(), p.requires_grad) for p in model.parameters())
    losses = tuple(model.loss_config.items())
    return shapes, turns, options, parameters, model.training, losses, model.phase


@contextmanager
def _rates_on_device(
    optims: OptimWrapperDict, device: torch.device
) -> Iterator[list[tuple[dict, Tensor]]]:
    """Let the optimisers read their learning rates from tensors while a step is captured."""
    groups = [group for optim in optims.values() for group in optim.optimizer.param_groups]
    own = [{key: group[key] for key in ('lr', 'capturable') if key in group} for group in groups]
    rates = [(group, torch.full((), group['lr'], device=device)) for group in groups]
    try:
        for group, rate in rates:
            group['lr'] = rate
            if 'capturable' in group:
                group['capturable'] = True
        yield rates
    finally:
        for group, fields in zip(groups, own, strict=True):
            group.update(fields)
