"""Extract the layers that the content loss needs (42 MB) from torchvision's VGG19 (575 MB)."""

import argparse
import sys
from pathlib import Path

from ugatit_mm.converters import write_checkpoint
from ugatit_mm.models.losses.vgg import LAYERS, name_of, read_vgg19
from ugatit_mm.published import WeightsError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the convolutions of VGG19 up to a layer, and the SHA-256 of the source '
        "file, to a small file for model.vgg.weights=TARGET; in torch's cache, name it "
        'vgg19-dcbb9e9d.safetensors.'
    )
    parser.add_argument('source', help='vgg19-dcbb9e9d.pth')
    parser.add_argument('target', help='file to write, .safetensors')
    parser.add_argument(
        '--layer', default='conv4_4', choices=LAYERS, help='last layer (%(default)s)'
    )
    parser.add_argument('--force', action='store_true', help='overwrite the target')
    args = parser.parse_args(argv)
    if not args.target.endswith('.safetensors'):
        parser.error(f'the target must end with .safetensors, got {args.target}')
    return args


def convert(args: argparse.Namespace) -> None:
    if Path(args.target).exists() and not args.force:
        raise ValueError(f'{args.target} exists: choose another name, or give --force')
    weights, file, digest = read_vgg19(args.source)
    layers = LAYERS[: LAYERS.index(args.layer) + 1]
    names = [
        f'{name_of(layer)}.{end}'
        for layer in layers
        if layer.startswith('conv')
        for end in ('weight', 'bias')
    ]
    if missing := [name for name in names if name not in weights]:
        raise ValueError(f'{file} has no {missing[0]}')
    write_checkpoint(args.target, {name: weights[name] for name in names}, {'sha256': digest})
    size = Path(args.target).stat().st_size / 1e6
    print(f'{args.target}: {size:.1f} MB of VGG19, SHA-256 {digest[:8]}, up to {args.layer}')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        convert(args)
    except (OSError, ValueError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
