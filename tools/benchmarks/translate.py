"""Time translations by our generator in each setting, in turns, and by the official network.

`python tools/benchmarks/translate.py` times one image and, on a GPU, a batch of 32, with the same
weights everywhere; "graph" is what `ugatit translate` does on a GPU with pictures of one size.
`--onnx` also times exported networks in ONNX Runtime on the CPU, and prints the size of their files
and the difference of their images from torch's.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bench import Row, add_arguments, add_variant_argument, append_rows, seconds
from official.ugatit import OfficialOrder
from torch import Tensor

from ugatit_mm.converters.pytorch import from_official
from ugatit_mm.engine.replay import LARGEST, Replay
from ugatit_mm.export import export_model, open_exported
from ugatit_mm.models import UGATIT

BASELINE = 'official network'


def settings(
    official: OfficialOrder, light: bool, image: Tensor, compiled: bool, widths: dict
) -> dict[str, Callable[[], Tensor]]:
    """The ways to translate ``image`` with the weights of ``official``."""
    model = ours(official, light, image, widths)
    halved = copy.deepcopy(model).bfloat16()
    narrow = image.bfloat16()
    found = {
        BASELINE: lambda: official.translate(image),
        'float32': lambda: model.translate(image, 'B').image,
        'bfloat16': lambda: halved.translate(narrow, 'B').image,
    }
    if image.is_cuda and image[:, 0].numel() <= LARGEST:
        wide, short = Replay(model), Replay(halved)
        found['float32, graph'] = lambda: wide(image, 'B').image
        found['bfloat16, graph'] = lambda: short(narrow, 'B').image
    if compiled:
        for name, mode in (('compile', 'default'), ('CUDA graphs', 'reduce-overhead')):
            if mode != 'default' and image.device.type != 'cuda':
                continue
            for kind, base, pixels in (
                ('float32', model, image),
                ('bfloat16', halved, narrow),
            ):
                network = copy.deepcopy(base.generators['B'])
                network.compile(mode=mode)
                found[f'{kind}, {name}'] = partial(network, pixels)
    return found


def ours(official: OfficialOrder, light: bool, image: Tensor, widths: dict) -> UGATIT:
    """Our generators with the weights of ``official``."""
    generator = {'type': 'UGATITGenerator', 'img_size': image.size(2), 'light': light, **widths}
    with image.device:
        model = UGATIT(generator, None, recipe='pytorch').to(image.device)
    weights = {k: v for k, v in official.state_dict().items() if k.startswith('gen')}
    model.load_state_dict(from_official(weights))
    return model.eval()


def onnx(model: UGATIT, image: Tensor) -> dict[str, Callable[[], object]]:
    """Exported networks in ONNX Runtime; prints their sizes and differences."""
    found, wanted = {}, model.translation(image, 'B')
    for name in ('float32', 'float16'):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'network.onnx'
            export_model(model, 'B', path, pixels='normalised', half=name == 'float16')
            run, _ = open_exported(path, 'onnx')
            size = path.stat().st_size
        off = (torch.from_numpy(run(image.numpy())[0]) - wanted).abs()
        print(
            f'ONNX, {name}: {size / 1e6:.1f} MB, off by {off.max():.1e} at most, '
            f'{off.mean():.1e} on average'
        )
        found[f'ONNX Runtime, {name}'] = partial(run, image.numpy())
    return found


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    add_variant_argument(parser)
    parser.add_argument('--batch', type=int, nargs='+', help='batch sizes (1, and 32 on a GPU)')
    parser.add_argument(
        '--img-size', type=int, default=256, help='side of the images (%(default)s)'
    )
    parser.add_argument('--base-channels', type=int, default=64, help='width (%(default)s)')
    parser.add_argument('--rounds', type=int, help='timed rounds (5 on a CPU, 50 on a GPU)')
    parser.add_argument('--compile', action='store_true', help='also the compiled settings')
    parser.add_argument('--onnx', action='store_true', help='also ONNX Runtime; only on a CPU')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='cpu, cuda, cuda:1, ... (a GPU where there is one)',
    )
    args = parser.parse_args(argv)
    if args.onnx and args.device != 'cpu':
        parser.error('--onnx is measured on the CPU: add --device cpu')
    return args


@torch.no_grad()
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    device = torch.device(args.device)
    on_gpu = device.type == 'cuda'
    if args.quick:
        args.variant, args.img_size, args.batch, args.base_channels = ['light'], 128, [1], 16
    widths = {'base_channels': args.base_channels}
    rounds = args.rounds or (50 if on_gpu else 5)
    for variant in args.variant:
        light = variant == 'light'
        with device:
            official = OfficialOrder(args.img_size, device=device, light=light, **widths)
        for batch in args.batch or ([1, 32] if on_gpu else [1]):
            image = torch.rand(batch, 3, args.img_size, args.img_size, device=device) * 2 - 1
            ways = settings(official, light, image, args.compile, widths)
            if args.onnx:
                ways |= onnx(ours(official, light, image, widths), image)
            times: dict[str, list[float]] = {name: [] for name in ways}
            for name, way in ways.items():
                # The official program leaves cudnn.benchmark off; our configs turn it on.
                torch.backends.cudnn.benchmark = name != BASELINE
                for _ in range(3):
                    way()
            for _ in range(rounds):
                for name, way in ways.items():
                    torch.backends.cudnn.benchmark = name != BASELINE
                    times[name].append(seconds(way, device))
            case = f'{variant}, {args.base_channels} channels, {args.img_size} px, batch {batch}'
            print(f'\n{case}\n\n| setting | speed, x {BASELINE} | ms (slowest) | images/s |')
            print('|---|---|---|---|')
            rows = []
            for name, seen in times.items():
                best, speed = min(seen), min(times[BASELINE]) / min(seen)
                print(
                    f'| {name} | {speed:.2f} | {best * 1e3:.2f} ({max(seen) * 1e3:.2f}) '
                    f'| {batch / best:.1f} |'
                )
                for quantity, value, unit in (
                    ('time', best * 1e3, 'ms/batch'),
                    ('speed', speed, f'x {BASELINE}'),
                    ('rate', batch / best, 'images/s'),
                ):
                    rows.append(Row('translate', case, name, quantity, value, unit))
            if not args.no_write:
                append_rows(rows, args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
