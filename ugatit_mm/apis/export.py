"""``ugatit export``: a generator as a file that runs without this package, ONNX or TorchScript."""

import argparse
import copy
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..converters import CheckpointError
from ..converters.files import whole
from ..models import UGATIT
from ..models.ugatit.pairs import other
from ..models.ugatit.ugatit import to_uint8
from ..provenance import commit
from ..version import __version__
from .inferencer import LIGHT_SIZE
from .loading import load_model
from .sizes import STRIDE, fit
from .sources import Failure, find_sources, read

FORMATS = {'onnx': '.onnx', 'torchscript': '.pt'}
PIXELS = ('uint8', 'normalised')
OPSETS = range(18, 24)
ONNX_PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
META = 'ugatit.json'  # extra file of a TorchScript archive
ONNX_LIMIT = 2**31 - 2**24  # bytes; a protobuf message ends at 2 GiB
TOLERANCE = 1e-4  # of float32, on images in [-1, 1] and on heatmaps with a maximum of 1
HALF_TOLERANCE = 1e-2  # the same of float16, on average: beyond it, numbers have overflowed

Runner = Callable[[np.ndarray], list[np.ndarray]]


class Translator(nn.Module):
    """What a file computes: a generator with pixels as its user has them before and behind it.

    Args:
        generator: A :class:`UGATITGenerator`.
        pixels: ``'uint8'`` or ``'normalised'``, see :func:`export_model`.
        heatmap: Give the heatmap, too.
        half: The generator computes in float16.
    """

    def __init__(
        self, generator: nn.Module, pixels: str, heatmap: bool, half: bool = False
    ) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).half() if half else generator
        self.pixels = pixels
        self.heatmap = heatmap
        self.dtype = torch.float16 if half else torch.float32

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Translate pixels (N, H, W, 3) or (N, 3, H, W); the heatmap is (N, 1, H / 4, W / 4)."""
        if self.pixels == 'uint8':
            x = (x.permute(0, 3, 1, 2).float() - 127.5) / 127.5
        # Not through __call__, which may be compiled.
        image, _, heatmap = self.generator.forward(x.to(self.dtype), return_cam=True)
        image = to_uint8(image).permute(0, 2, 3, 1) if self.pixels == 'uint8' else image.float()
        return (image, heatmap.float()) if self.heatmap else image


def export_model(
    model: UGATIT,
    target_domain: str | None,
    path: str | os.PathLike,
    format: str = 'onnx',
    *,
    pixels: str = 'uint8',
    heatmap: bool = False,
    half: bool = False,
    img_size: int | None = None,
    opset: int | None = None,
) -> dict[str, str]:
    """Write the generator of one direction as a file, whole or not at all.

    Its input is ``pixels``, its outputs are ``image`` and, if asked for, ``heatmap``. The batch
    may have any size; height and width are those of the training or, where the network's weights
    do not depend on them (light), any multiples of 4 from 8 on.

    Args:
        model: Trained networks.
        target_domain: Letter or name; the model's default if not given.
        path: File to write.
        format: ``'onnx'`` or ``'torchscript'``.
        pixels: ``'uint8'``: RGB from 0 to 255, (N, H, W, 3), goes in and comes out.
            ``'normalised'``: RGB in [-1, 1], float32, (N, 3, H, W).
        heatmap: The generator's attention too, float32, (N, 1, H / 4, W / 4), as the network has
            it: unbounded, larger where it looks more.
        half: Weights and convolutions in float16; statistics of norms, input and output stay as
            they are.
        img_size: Side of the pictures that the file says it is for; of the training if not given.
        opset: Version of ONNX's operators, 18 if not given.

    Returns:
        What the file says of itself (ONNX: ``metadata_props``, TorchScript: ``ugatit.json``).

    Raises:
        ValueError: An option is unknown or does not fit the network.
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
        _need_onnx()
    elif opset is not None:
        raise ValueError('opset belongs to ONNX; TorchScript has none')
    target = model._letter(target_domain or model._default_domain)
    generator = model.get_module(model.generators)[target]
    if heatmap and generator.cam is None:
        raise ValueError('heatmap: this network was trained without attention (cam=False)')
    img_size = _img_size(generator, img_size)
    meta = {
        'source': model.domain_names[other(target)],
        'target': model.domain_names[target],
        'img_size': str(img_size),
        'size': 'multiples of 4' if _takes_any_size(generator) else 'fixed',
        'recipe': model.recipe,
        'pixels': pixels,
        'heatmap': 'yes' if heatmap else 'no',
        'precision': 'float16' if half else 'float32',
        'version': __version__,
        'commit': commit() or 'unknown',
    }
    network = Translator(generator, pixels, heatmap, half)
    with whole(path) as building, torch.no_grad():
        if format == 'onnx':
            meta['opset'] = str(opset)
            _write_onnx(network, img_size, building, opset, meta)
        else:
            _write_torchscript(network, img_size, building, meta)
    return meta


def _write_onnx(
    network: Translator, img_size: int, path: Path, opset: int, meta: dict[str, str]
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
    if _takes_any_size(network.generator):
        for axis, name in zip(_axes(network.pixels), ('quarter_height', 'quarter_width')):
            axes[axis] = STRIDE * torch.export.Dim(name, min=2)
    with _quiet():
        program = torch.onnx.export(
            network,
            (_example(network, img_size, 2),),  # of 1, the batch would be taken for a constant
            dynamo=True,
            dynamic_shapes=(axes,),
            input_names=['pixels'],
            output_names=['image', 'heatmap'][: 1 + network.heatmap],
            opset_version=opset,
            verbose=False,
        )
    # The exporter notes at every node where it stood in which file of this machine.
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    if network.heatmap and len(axes) == 3:  # the exporter invents names
        shape = onnx_ir.Shape(['batch', 1, 'quarter_height', 'quarter_width'])
        program.model.graph.outputs[1].shape = shape
    program.model.metadata_props.update(meta)
    program.save(path, external_data=False)
    onnx.checker.check_model(path)


def _write_torchscript(
    network: Translator, img_size: int, path: Path, meta: dict[str, str]
) -> None:
    with _quiet():
        traced = torch.jit.trace(network, _example(network, img_size, 1), check_trace=False)
    traced.save(path, _extra_files={META: json.dumps(meta)})


@contextmanager
def _quiet() -> Iterator[None]:
    """Without notes on constants that stay, on sizes compared, and that TorchScript is old."""
    log = logging.getLogger('onnxscript')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        log.setLevel(level)


def _takes_any_size(generator: nn.Module) -> bool:
    return generator.light or generator.mlp is None


def _img_size(generator: nn.Module, img_size: int | None) -> int:
    own = generator.img_size or LIGHT_SIZE
    if img_size is None or img_size == own:
        return own
    if not _takes_any_size(generator):
        raise ValueError(f'img_size: this full network takes {own} px alone, got {img_size}')
    if img_size % STRIDE or img_size < 2 * STRIDE:
        raise ValueError(f'img_size must be a multiple of 4 from 8 on, got {img_size}')
    return img_size


def _axes(pixels: str) -> tuple[int, int]:
    """Where height and width stand."""
    return (1, 2) if pixels == 'uint8' else (2, 3)


def _example(network: Translator, img_size: int, batch: int) -> Tensor:
    shape, dtype = [batch, 3, 3, 3], torch.float32
    if network.pixels == 'uint8':
        dtype = torch.uint8
    for axis in _axes(network.pixels):
        shape[axis] = img_size
    device = next(network.generator.parameters()).device
    return torch.zeros(shape, dtype=dtype, device=device)


def open_exported(path: str | os.PathLike, format: str) -> tuple[Runner, dict[str, str]]:
    """Open a file that :func:`export_model` wrote, on the CPU.

    Returns:
        What runs it, pixels to a list of image and, if it has one, heatmap; and what it says of
        itself.
    """
    if format == 'torchscript':
        extra = {META: ''}
        with _quiet():
            module = torch.jit.load(path, 'cpu', _extra_files=extra)

        @torch.inference_mode()
        def run(pixels: np.ndarray) -> list[np.ndarray]:
            return [part.numpy() for part in _parts(module(torch.from_numpy(pixels)))]

        return run, json.loads(extra[META])
    _need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; that a CPU has no float16 is none
    session = onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    return lambda pixels: session.run(None, {'pixels': pixels}), meta


def _parts(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


class Difference(NamedTuple):
    """How far a file's outputs lie from torch's.

    Attributes:
        largest: Of all values of the images; levels of 0 to 255 if they are uint8.
        mean: Likewise.
        apart: Share of the values that differ.
        heatmap: Largest of the heatmaps, each over its greatest value; 0 without them.
    """

    largest: float
    mean: float
    apart: float
    heatmap: float


def compare(run: Runner, network: Translator, batches: Iterable[np.ndarray]) -> Difference:
    """Compare what runs a file with the network in float32, on batches that the file takes."""
    largest = heatmap = total = 0.0
    count = apart = 0
    for pixels in batches:
        with torch.inference_mode():
            wanted = [part.numpy() for part in _parts(network(torch.from_numpy(pixels)))]
        found = run(pixels)
        image = np.abs(found[0].astype(np.float64) - wanted[0])
        largest = np.maximum(largest, image.max())  # max() would pass over NaN
        total, count = total + image.sum(), count + image.size
        apart += np.count_nonzero(image)
        for have, want in zip(found[1:], wanted[1:], strict=True):
            scale = np.abs(want).max((1, 2, 3), keepdims=True)
            heatmap = np.maximum(heatmap, (np.abs(have - want) / scale).max())
    return Difference(float(largest), float(total / count), apart / count, float(heatmap))


def verify(
    path: str | os.PathLike, format: str, model: UGATIT, pictures: Iterable[np.ndarray]
) -> Iterator[str]:
    """Compare a file with the model that it was made of, and say what came out.

    Random pictures come first, in batches of one and more and, where the file takes any size, of a
    second size; then ``pictures``, squeezed into the network's square.

    Args:
        path: What :func:`export_model` wrote.
        format: As there.
        model: As there, on the CPU.
        pictures: RGB, uint8, (H, W, 3), of any size.

    Yields:
        A line for each kind.

    Raises:
        ValueError: The file differs by more than 1e-4: in float32, or with ``uint8`` by more than
            a level, or in more values than 1e-4 explains. In float16: by more than 1e-2 on average.
    """
    run, meta = open_exported(path, format)
    generator = model.get_module(model.generators)[model._letter(meta['target'])]
    network = Translator(generator, meta['pixels'], meta['heatmap'] == 'yes')
    size = int(meta['img_size'])
    sizes = [(1, size, size), (3, size, size)]
    if _takes_any_size(generator):
        sizes.append((2, size + STRIDE, 2 * size))
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in sizes]
    fitted = [fit(picture, size, 'resize').image[None] for picture in pictures]
    for name, batches in (('random', noise), ('real', fitted)):
        if not batches:
            continue
        off = compare(run, network, [_as_input(batch, meta['pixels']) for batch in batches])
        yield f'{sum(map(len, batches))} {name} pictures: {_told(off, meta)}'
        levels = 127.5 if meta['pixels'] == 'uint8' else 1.0
        if meta['precision'] == 'float16':
            good = off.mean <= HALF_TOLERANCE * levels and off.heatmap <= HALF_TOLERANCE
        elif meta['pixels'] == 'uint8':
            # A difference d in levels moves a value across a rounding border with probability d.
            good = off.largest <= 1 and off.apart <= TOLERANCE * levels
            good = good and off.heatmap <= TOLERANCE
        else:
            good = off.largest <= TOLERANCE and off.heatmap <= TOLERANCE
        if not good:
            raise ValueError(
                f'the file does not compute what the network does on {name} pictures: '
                f'{_told(off, meta)}'
                + ('; try without --half' if meta['precision'] == 'float16' else '')
            )


def _told(off: Difference, meta: dict[str, str]) -> str:
    text = f'largest difference {off.largest:.1e} in [-1, 1], mean {off.mean:.1e}'
    if meta['pixels'] == 'uint8':
        text = (
            f'largest difference {off.largest:.0f} of 255, mean {off.mean:.1e}, '
            f'{off.apart:.3%} of the values differ'
        )
    if meta['heatmap'] == 'yes':
        text += f'; heatmap {off.heatmap:.1e} of its maximum'
    return text


def _as_input(pictures: np.ndarray, pixels: str) -> np.ndarray:
    if pixels == 'uint8':
        return pictures
    values = (pictures.astype(np.float32) - 127.5) / 127.5
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _need_onnx() -> None:
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise ModuleNotFoundError(
            f'ONNX needs packages that are not installed ({", ".join(missing)}): '
            "pip install 'ugatit_mm[export]'"
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the generator of one direction as a file that runs without this '
        'package, and compare it with torch. docs/export.md shows how to use it. Without --ckpt '
        'the small pair that comes with the package is taken.',
    )
    parser.add_argument('--ckpt', help='weights: .pth of a training, or what a converter wrote')
    parser.add_argument(
        '--config', help='of the training; for weights that do not say what networks they need'
    )
    parser.add_argument('--to', metavar='DOMAIN', help='translate to it: its name, or A or B')
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='(%(default)s)')
    parser.add_argument('--out', metavar='FILE', help='(DIRECTION.onnx or DIRECTION.pt)')
    parser.add_argument(
        '--pixels',
        choices=PIXELS,
        default='uint8',
        help='uint8: RGB from 0 to 255, (N, H, W, 3), in and out (the default); normalised: '
        'float32 in [-1, 1], (N, 3, H, W)',
    )
    parser.add_argument('--heatmap', action='store_true', help='the attention as a second output')
    parser.add_argument('--half', action='store_true', help='float16: half the size')
    parser.add_argument(
        '--img-size', type=int, metavar='PX', help='that the file is for (of the training)'
    )
    parser.add_argument('--opset', type=int, help=f"version of ONNX's operators ({OPSETS[0]})")
    parser.add_argument(
        '--check',
        nargs='+',
        metavar='PICTURE',
        help='to compare on, beside random ones (three that come with scikit-image)',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.format == 'onnx':
            _need_onnx()  # before weights are read
        model, about = load_model(args.ckpt, args.config, 'cpu')
        if args.ckpt is None:
            print(f'Without --ckpt: {about["about"]}')
        pictures = _pictures(args.check)
        out = Path(args.out or model.direction(args.to) + FORMATS[args.format])
        with whole(out) as building:
            meta = export_model(
                model,
                args.to,
                building,
                args.format,
                pixels=args.pixels,
                heatmap=args.heatmap,
                half=args.half,
                img_size=args.img_size,
                opset=args.opset,
            )
            for line in verify(building, args.format, model, pictures):
                print(f'compared with torch on {line}')
            size = building.stat().st_size
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{out}: {size / 1e6:.1f} MB; ' + ', '.join(f'{k} {v}' for k, v in meta.items()))
    return 0


def _pictures(paths: list[str] | None) -> list[np.ndarray]:
    """What to compare on."""
    if paths is None:
        from skimage import data

        return [data.astronaut(), data.chelsea(), data.coffee()]
    pictures = []
    for source in find_sources(paths):
        if isinstance(source, Failure):
            raise ValueError(f'--check {source.name}: {source.error}')
        pictures.append(read(source.picture))
    return pictures
