"""Translation by CUDA graphs: one launch for all kernels of a network.

The translation of one picture is bound by kernel launches, not by arithmetic: on an H200 one
picture of 256 px takes 10.1 ms, and 1.2 ms as a graph (docs/performance.md).
"""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..messages import first_line
from ..models.base import Translated, UnpairedTranslation, unwrap
from ..models.base.graph import CudaRecorder

SWITCH = 'UGATIT_MM_GRAPHS'
MOST = 8  # kinds of calls that are cached
# 16 pictures of 256 px. More are bound by arithmetic: 32 took 29.4 ms instead of 30.2.
LARGEST = 16 * 256 * 256


class CudaGraphs:
    """Captures CUDA graphs of translations on one device."""

    def __init__(self) -> None:
        self.recorder: CudaRecorder | None = None

    def takes(self, image: Tensor) -> bool:
        """Whether operations on this tensor can be captured now."""
        return image.is_cuda and not torch.cuda.is_current_stream_capturing()

    def capture(self, image: Tensor, function: Callable[[], Translated]) -> tuple[Any, Callable]:
        """Capture the kernels that a function launches; see :meth:`CudaRecorder.capture`."""
        if self.recorder is None or self.recorder.device != image.device:
            self.recorder = CudaRecorder(image.device)
        self.recorder.warm_up(function)
        return self.recorder.capture(function)


class Replay:
    """A model's ``translate`` that replays CUDA graphs on a GPU; elsewhere it calls that method.

    A graph is captured at the second call of a kind: the same network, shapes, dtypes and mode. The
    latest :data:`MOST` kinds are cached. In-place changes of the weights take effect; where a
    network's tensors are replaced, its graphs are dropped. Batches of more than :data:`LARGEST`
    pixels, styles that a model would draw itself, compiled networks and calls with gradients run
    without graphs, and so does everything after a failed capture. Several threads may call it;
    their streams must be the same or wait for each other.

    ``UGATIT_MM_GRAPHS=0`` in the environment turns it off.

    Args:
        model: The translation model.
        graphs: Captures graphs; :class:`CudaGraphs` by default.
    """

    def __init__(self, model: UnpairedTranslation, graphs: Any = None) -> None:
        self.model = model
        self.plain = model.translate
        self.graphs = CudaGraphs() if graphs is None else graphs
        self.off = os.environ.get(SWITCH) == '0'
        self.lock = threading.Lock()
        # Captured graphs by kind; None after the first call.
        self.kept: OrderedDict[tuple, _Captured | None] = OrderedDict()
        self.weights: dict[str, Hashable] = {}  # by target, when its graphs were captured

    def __call__(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images; see :meth:`UnpairedTranslation.translate`."""
        if not self._suits(image, target, style):
            return self.plain(image, target, heatmap=heatmap, style=style)
        with self.lock:
            return self._replayed(image, target, heatmap, style)

    def _suits(self, image: Tensor, target: str, style: Tensor | None) -> bool:
        if self.off or torch.is_grad_enabled() or not self.graphs.takes(image):
            return False
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return False
        if image[:, 0].numel() > LARGEST or (
            style is None and self.model.styles([''] * len(image), target) is not None
        ):
            return False
        return not any(network._compiled_call_impl for network in self.model.networks())

    def _replayed(
        self, image: Tensor, target: str, heatmap: bool, style: Tensor | None
    ) -> Translated:
        weights = self._weights(target)
        if self.weights.get(target) != weights:
            for kind in [kind for kind in self.kept if kind[0] == target]:
                del self.kept[kind]
            self.weights[target] = weights
        kind = (
            target,
            heatmap,
            self._mode(image),
            _layout(image),
            None if style is None else _layout(style),
        )
        if kind not in self.kept:
            result = self.plain(image, target, heatmap=heatmap, style=style)
            self.kept[kind] = None
            if len(self.kept) > MOST:
                self.kept.popitem(last=False)
            return result
        self.kept.move_to_end(kind)
        captured = self.kept[kind]
        if captured is None:
            try:
                captured = _Captured(self.graphs, self.plain, image, target, heatmap, style)
            except Exception as error:  # CUDA's, Triton's or the model's
                self.off = True
                self.kept.clear()
                print_log(
                    'translations run without CUDA graphs, as capturing one failed '
                    f'({type(error).__name__}: {first_line(error)}); {SWITCH}=0 skips the attempt',
                    'current',
                    logging.WARNING,
                )
                return self.plain(image, target, heatmap=heatmap, style=style)
            self.kept[kind] = captured
        return captured(image, style)

    def _weights(self, target: str) -> Hashable:
        """Addresses, dtypes and strides of the weights that translate into a domain."""
        networks = [
            unwrap(getattr(self.model, part))[domain]
            for part, domains in self.model.needed(target).items()
            for domain in domains
        ]
        return tuple(
            (tensor.data_ptr(), tensor.dtype, tensor.stride())
            for network in networks
            for tensor in chain(network.parameters(), network.buffers())
        )

    def _mode(self, image: Tensor) -> Hashable:
        """What else the kernels depend on: training mode and autocast."""
        device = image.device.type
        cast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        return self.model.training, cast


class _Captured:
    """A graph with its input and output tensors."""

    def __init__(
        self,
        graphs: Any,
        translate: Callable[..., Translated],
        image: Tensor,
        target: str,
        heatmap: bool,
        style: Tensor | None,
    ) -> None:
        # Inference tensors cannot be changed in place outside inference mode.
        with torch.inference_mode(False), torch.no_grad():
            self.image = torch.empty_like(image).copy_(image)
            self.style = None if style is None else style.to(image.device, copy=True)
            self.results, self.replay = graphs.capture(
                self.image,
                lambda: translate(self.image, target, heatmap=heatmap, style=self.style),
            )

    def __call__(self, image: Tensor, style: Tensor | None) -> Translated:
        self.image.copy_(image)
        if self.style is not None and style is not None:
            self.style.copy_(style)
        self.replay()
        return Translated._make(x if x is None else x.clone() for x in self.results)


def _layout(tensor: Tensor) -> Hashable:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
