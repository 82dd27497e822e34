"""Export of a generator as a file that runs without this package, ONNX or TorchScript."""

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ..apis.styles import Style, StyleError, choose_styles
from ..domains import other
from ..files import whole
from ..models.base import UnpairedTranslation
from ..models.base.images import check_img_size
from ..pixels import normalise, sides_in_words, sides_of, size_words, to_uint8
from ..provenance import commit
from ..version import __version__
from .static import simplify

FORMATS = {'onnx': '.onnx', 'torchscript': '.pt'}
PIXELS = ('uint8', 'normalised')
OPSETS = range(18, 24)
ONNX_PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
META = 'ugatit.json'  # extra file in a TorchScript archive
ONNX_LIMIT = 2**31 - 2**24  # bytes; a protobuf message is limited to 2 GiB

ImgSize = int | Sequence[int]
Runner = Callable[[np.ndarray], list[np.ndarray]]


class Translator(nn.Module):
    """The function of a file: a translation with the user's pixel format on input and output.

    Args:
        model: The translation model.
        target: Letter of the domain to translate into.
        pixels: ``'uint8'`` or ``'normalised'``, see :func:`export_model`.
        heatmap: Return the heatmap, too.
        half: Compute the networks in float16.
        style: See :func:`export_model`.
    """

    def __init__(
        self,
        model: UnpairedTranslation,
        target: str,
        pixels: str,
        heatmap: bool,
        half: bool = False,
        style: Style | None = None,
    ) -> None:
        super().__init__()
        only = model.only(target)
        self.model = copy.deepcopy(only).half() if half else only
        self.target = target
        self.pixels = pixels
        self.heatmap = heatmap
        self.dtype = torch.float16 if half else torch.float32
        styles = choose_styles(model, style, None, target).of(model, [''], target)
        if len(styles) != 1:
            raise StyleError(f'a file has one style, got {len(styles)}')
        self.register_buffer('style', None if styles[0] is None else styles[0].to(self.dtype))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Translate pixels (N, H, W, C) or (N, C, H, W); the heatmap is (N, 1, h, w)."""
        if self.pixels == 'uint8':  # only at both ends, as TensorRT requires
            x = normalise(x.float().permute(0, 3, 1, 2))
        style = None
        if self.style is not None:  # x.size, not len(): tracing would make len() a constant
            style = self.style.expand(x.size(0), *self.style.shape[1:])
        image, heatmap = self.model.translate(
            x.to(self.dtype), self.target, heatmap=self.heatmap, style=style
        )
        image = to_uint8(image.permute(0, 2, 3, 1)) if self.pixels == 'uint8' else image.float()
        return (image, heatmap.float()) if self.heatmap else image


def export_model(
    model: UnpairedTranslation,
    target_domain: str | None,
    path: str | os.PathLike,
    format: str = 'onnx',
    *,
    pixels: str = 'uint8',
    heatmap: bool = False,
    half: bool = False,
    img_size: int | Sequence[int] | None = None,
    opset: int | None = None,
    static: bool = False,
    style: Style | None = None,
) -> dict[str, str]:
    """Write the generator of one direction as a file, atomically.

    Its input is ``pixels``, its outputs are ``image`` and, if requested, ``heatmap``. The batch may
    have any size; height and width are those of the training or, for a model that takes any size,
    any multiples of its ``STRIDE`` from twice that up. ``static`` fixes all three.

    Args:
        model: Trained networks.
        target_domain: Letter or name; by default the model's.
        path: File to write.
        format: ``'onnx'`` or ``'torchscript'``.
        pixels: ``'uint8'``: 0 to 255, (N, H, W, C), in and out; C is 3, RGB, or the channels of the
            networks. ``'normalised'``: [-1, 1], float32, (N, C, H, W).
        heatmap: Return the model's attention too, float32, (N, 1, h, w), unbounded, larger where it
            looks more.
        half: Weights and convolutions in float16; statistics of norms, input and output keep their
            dtypes.
        img_size: Side of the file's pictures, or (height, width); by default that of the training.
        opset: Version of ONNX's operators, by default 18.
        static: One picture of ``img_size`` at a time, with operators that OpenCV reads too; ONNX
            only.
        style: The one style of the file, for a model with styles: the seed that draws it for an
            empty name, by default 0; a picture whose style to use; or the style itself, (1,
            *style_shape).

    Returns:
        The file's metadata (ONNX: ``metadata_props``, TorchScript: ``ugatit.json``).

    Raises:
        ValueError: An option is unknown or does not match the network.
        ModuleNotFoundError: The packages that write ONNX are not installed.
        OSError: The file cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f'format must be one of {list(FORMATS)}, got {format!r}')
    if pixels not in PIXELS:
        raise ValueError(f'pixels must be one of {list(PIXELS)}, got {pixels!r}')
    if format == 'onnx':
        opset = OPSETS[0] if opset is None else opset
        if opset not in OPSETS:
            raise ValueError(f'opset must be {OPSETS[0]} to {OPSETS[-1]}, got {opset}')
        need_onnx()
    elif opset is not None:
        raise ValueError('opset belongs to ONNX; TorchScript has none')
    elif static:
        raise ValueError('static belongs to ONNX; TorchScript takes any batch')
    target = model.target(target_domain)
    if heatmap and not model.has_attention:
        raise ValueError('heatmap: these networks have no attention')
    img_size = _img_size(model, img_size)
    meta = {
        'source': model.domain_names[other(target)],
        'target': model.domain_names[target],
        'img_size': sides_in_words(img_size),  # '256', or '192x256'
        'channels': f'{model.in_channels} to {model.out_channels}',
        'size': f'multiples of {model.STRIDE}' if model.takes_any_size and not static else 'fixed',
        'batch': '1' if static else 'any',
        'resize': model.INTERPOLATION,
        'model': model.ROW,
        'pixels': pixels,
        'heatmap': 'yes' if heatmap else 'no',
        'precision': 'float16' if half else 'float32',
        'version': __version__,
        'commit': commit() or 'unknown',
    }
    if model.style_shape is not None:
        meta['style'] = _style_in_words(style)
    network = Translator(model, target, pixels, heatmap, half, style)
    with whole(path) as building, torch.no_grad(), network.model.eager():
        if format == 'onnx':
            meta['opset'] = str(opset)
            _write_onnx(network, img_size, building, opset, meta, static)
        else:
            _write_torchscript(network, img_size, building, meta)
    return meta


def _write_onnx(
    network: Translator,
    img_size: ImgSize,
    path: Path,
    opset: int,
    meta: dict[str, str],
    static: bool,
) -> None:
    import onnx
    import onnx_ir

    if (size := sum(w.nbytes for w in network.state_dict().values())) > ONNX_LIMIT:
        raise ValueError(
            f'the weights take {size / 1e9:.1f} GB, and an ONNX file holds 2: choose --half, or '
            '--format torchscript'
        )
    batch = torch.export.Dim('batch')
    axes: dict[int, Any] = {0: batch}
    stride = network.model.STRIDE
    parts = [f'{side}_over_{stride}' for side in ('height', 'width')]
    if network.model.takes_any_size:
        for axis, name in zip(_axes(network.pixels), parts):
            axes[axis] = stride * torch.export.Dim(name, min=2)
    # With 1, the exporter makes the batch a constant.
    example = _example(network, img_size, 1 if static else 2)
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=None if static else (axes,),
            input_names=['pixels'],
            output_names=['image', 'heatmap'][: 1 + network.heatmap],
            opset_version=opset,
            verbose=False,
        )
        if static:
            simplify(program.model)
    # The exporter records for every node its source file on this machine.
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    if (
        network.heatmap and network.model.takes_any_size and not static
    ):  # the exporter generates names
        heatmap = network(example)[1]
        if tuple(stride * side for side in heatmap.shape[2:]) == sides_of(img_size):
            program.model.graph.outputs[1].shape = onnx_ir.Shape(['batch', 1, *parts])
    program.model.metadata_props.update(meta)
    program.save(path, external_data=False)
    onnx.checker.check_model(path)


def _write_torchscript(
    network: Translator, img_size: ImgSize, path: Path, meta: dict[str, str]
) -> None:
    with _quiet():
        traced = torch.jit.trace(network, _example(network, img_size, 1), check_trace=False)
    traced.save(path, _extra_files={META: json.dumps(meta)})


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings on constants, on compared sizes, and on TorchScript's deprecation."""
    log = logging.getLogger('onnxscript')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        log.setLevel(level)


def _img_size(model: UnpairedTranslation, img_size: ImgSize | None) -> ImgSize:
    own = model.img_size
    if img_size is None:
        return own
    if not model.takes_any_size and sides_of(img_size) != sides_of(own):
        raise ValueError(
            f'img_size: these networks take only {size_words(own)}, got {size_words(img_size)}'
        )
    return check_img_size(img_size, model.STRIDE)


def _style_in_words(style: Style | None) -> str:
    if style is None or isinstance(style, int):
        return f'seed {style or 0}'
    return f'of {os.path.basename(style)}' if isinstance(style, (str, os.PathLike)) else 'given'


def _axes(pixels: str) -> tuple[int, int]:
    """Return the axes of height and width."""
    return (1, 2) if pixels == 'uint8' else (2, 3)


def _example(network: Translator, img_size: ImgSize, batch: int) -> Tensor:
    shape, dtype = [batch, *3 * [network.model.in_channels]], torch.float32
    if network.pixels == 'uint8':
        dtype = torch.uint8
    for axis, side in zip(_axes(network.pixels), sides_of(img_size), strict=True):
        shape[axis] = side
    device = next(network.model.parameters()).device
    return torch.zeros(shape, dtype=dtype, device=device)


def open_in_opencv(path: str | os.PathLike, heatmap: bool) -> Runner:
    """Open a static ONNX file in OpenCV's module ``dnn``, on the CPU.

    Args:
        path: File that :func:`export_model` wrote with ``static``.
        heatmap: Whether it has a heatmap.

    Returns:
        Its runner, as in :func:`open_exported`.

    Raises:
        ValueError: OpenCV does not read it.
    """
    try:
        network = cv2.dnn.readNetFromONNX(os.fspath(path))
    except cv2.error as error:
        raise ValueError(f'OpenCV {cv2.__version__} does not read it: {error.err}') from error

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        network.setInput(pixels)
        image, *rest = network.forward(names)
        return [image.astype(pixels.dtype), *rest]  # float32 there; uint8 not yet truncated

    names = ['image', 'heatmap'][: 1 + heatmap]
    return run


def open_exported(path: str | os.PathLike, format: str) -> tuple[Runner, dict[str, str]]:
    """Open a file that :func:`export_model` wrote, on the CPU.

    Returns:
        Its runner, from pixels to a list of image and, if it has one, heatmap; and its metadata.
    """
    if format == 'torchscript':
        extra = {META: ''}
        with _quiet():
            module = torch.jit.load(path, 'cpu', _extra_files=extra)

        @torch.inference_mode()
        def run(pixels: np.ndarray) -> list[np.ndarray]:
            return [part.numpy() for part in outputs(module(torch.from_numpy(pixels)))]

        return run, json.loads(extra[META])
    need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only: no warning that a CPU lacks float16
    session = onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    return lambda pixels: session.run(None, {'pixels': pixels}), meta


def outputs(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def need_onnx() -> None:
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise ModuleNotFoundError(
            f'ONNX needs packages that are not installed ({", ".join(missing)}): '
            "pip install 'ugatit_mm[export]'"
        )
