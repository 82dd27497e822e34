"""Translations a second of our generator in each setting, in turns, against the official network.

`python tools/benchmarks/translate.py` times one image and, on a GPU, a batch of 32, with the same
weights everywhere. `--onnx FILE` times an exported network in ONNX Runtime too, where there is one.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bench import Row, add_arguments, append_rows, seconds
from official_order import OfficialOrder
from torch import Tensor

from ugatit_mm.converters.pytorch import from_official
from ugatit_mm.models import UGATITGenerator

BASELINE = 'official network'


def settings(
    official: OfficialOrder, light: bool, image: Tensor, compiled: bool, widths: dict
) -> dict[str, Callable[[], Tensor]]:
    """The ways to translate ``image`` with the weights of ``official``."""
    weights = from_official({k: v for k, v in official.state_dict().items() if k.startswith('gen')})
    prefix = 'generators.B.'
    generator = UGATITGenerator(img_size=image.size(2), light=light, recipe='pytorch', **widths)
    generator.load_state_dict(
        {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    )
    generator.to(image.device, memory_format=torch.channels_last).eval()

    halved = copy.deepcopy(generator).bfloat16()
    narrow = image.bfloat16()
    found = {
        BASELINE: lambda: official.translate(image),
        'float32': lambda: generator(image),
        'bfloat16': lambda: halved(narrow),
    }
    if compiled:
        for name, mode in (('compile', 'default'), ('CUDA graphs', 'reduce-overhead')):
            if mode != 'default' and image.device.type != 'cuda':
                continue
            for kind, base, pixels in (
                ('float32', generator, image),
                ('bfloat16', halved, narrow),
            ):
                network = copy.deepcopy(base)
                network.compile(mode=mode)
                found[f'{kind}, {name}'] = partial(network, pixels)
    return found


def onnx(path: Path, image: Tensor) -> Callable[[], object]:
    """An exported network in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    pixels = {session.get_inputs()[0].name: image.cpu().numpy()}
    return lambda: session.run(None, pixels)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument(
        '--variant', nargs='+', choices=['light', 'full'], default=['light', 'full']
    )
    parser.add_argument('--batch', type=int, nargs='+', help='default: 1, and 32 on a GPU')
    parser.add_argument('--img-size', type=int, default=256)
    parser.add_argument('--base-channels', type=int, default=64)
    parser.add_argument('--rounds', type=int, help='5 on a CPU, 50 on a GPU')
    parser.add_argument('--compile', action='store_true', help='on a CPU too')
    parser.add_argument('--onnx', type=Path, help='exported network, float32, of the same size')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args(argv)


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
        official = OfficialOrder(light, args.img_size, device=device, **widths)
        for batch in args.batch or ([1, 32] if on_gpu else [1]):
            image = torch.rand(batch, 3, args.img_size, args.img_size, device=device) * 2 - 1
            ways = settings(official, light, image, on_gpu or args.compile, widths)
            if args.onnx:
                ways['ONNX Runtime'] = onnx(args.onnx, image)
            times: dict[str, list[float]] = {name: [] for name in ways}
            for name, way in ways.items():
                # The official program leaves cuDNN's search off; our configs turn it on.
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
