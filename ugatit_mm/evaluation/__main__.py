"""KID and FID of two folders: ``python -m ugatit_mm.evaluation FAKE_DIR REAL_DIR``."""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..datasets.loading import find_images, read_rgb
from . import kid
from .extractors import Extractor, WeightsError, build_extractor
from .figures import Figure, Protocol, table


class Pictures(Dataset):
    """The pictures of a folder as uint8 RGB (3, H, W), resized as a test pipeline does."""

    def __init__(self, paths: list[str], size: int | None) -> None:
        self.paths = paths
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = read_rgb(self.paths[index])
        if self.size is not None and image.shape[:2] != (self.size, self.size):
            resized = Image.fromarray(image).resize((self.size, self.size), Image.BILINEAR)
            image = np.asarray(resized)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def folder_features(
    folder: str | os.PathLike,
    extractor: Extractor,
    size: int | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    progress: bool = False,
) -> np.ndarray:
    """Features of all pictures under a folder, in the order of their paths.

    Args:
        folder: Searched recursively, as the data sets.
        extractor: Makes the features.
        size: Pictures are first resized to size x size (Pillow's bilinear, as the test pipeline);
            ``None`` leaves them as they are.
        batch_size: Pictures in a pass of the extractor. Those of different sizes go one by one.
        num_workers: Processes that decode.
        progress: Show a bar on stderr.

    Returns:
        (N, d).

    Raises:
        OSError: There is no such folder, or it cannot be read.
        ValueError: It holds no picture.
        ImageReadError: A picture cannot be read.
    """
    pictures = Pictures(find_images(folder), size)
    loader = DataLoader(pictures, batch_size=batch_size, num_workers=num_workers, collate_fn=list)
    features = []
    with tqdm(total=len(pictures), desc=str(folder), unit='img', disable=not progress) as bar:
        for batch in loader:
            if len({image.shape for image in batch}) == 1:
                features.append(extractor(torch.stack(batch)))
            else:
                features += [extractor(image[None]) for image in batch]
            bar.update(len(batch))
    return np.concatenate(features)


def compare_folders(
    fake_dir: str | os.PathLike,
    target_dir: str | os.PathLike,
    source_dir: str | os.PathLike | None = None,
    extractor: dict | Extractor | None = None,
    protocol: Protocol | None = None,
    name: str | None = None,
    **reading,
) -> list[Figure]:
    """Measure the translations of one folder against the real images of another.

    Args:
        fake_dir: Translations.
        target_dir: Real images of the target domain.
        source_dir: The sources; without them the mean with the source is left out.
        extractor: A config or built; Inception if not given.
        protocol: Subsets, blocks, seed.
        name: Stands as the direction of the figures; the fake folder's name if not given.
        reading: ``size``, ``batch_size``, ``num_workers``, ``progress``, as in
            :func:`folder_features`.

    Returns:
        Figures of all protocols.

    Raises:
        As :func:`folder_features` and :meth:`Protocol.measure`.
    """
    extractor = build_extractor(extractor)
    folders = [fake_dir, target_dir] + ([source_dir] if source_dir else [])
    features = [folder_features(folder, extractor, **reading) for folder in folders]
    size = reading.get('size')
    return (protocol or Protocol()).measure(
        name or os.path.basename(os.path.abspath(fake_dir)),
        extractor,
        *features,
        resize=None if size is None else f'Pillow bilinear to {size}',
    )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m ugatit_mm.evaluation',
        description='KID by three protocols, and FID, of a folder of translations (of any program) '
        'against a folder of real images of the target domain. Folders are searched recursively; '
        'blocks follow the sorted paths.',
    )
    parser.add_argument('fake_dir', help='translations')
    parser.add_argument('real_dir', help='real images of the target domain')
    parser.add_argument('--source', help='the sources, for the mean with the source')
    parser.add_argument(
        '--extractor',
        default='InceptionFeatures',
        help='registered extractor (InceptionFeatures; ColourHOGFeatures needs no weights)',
    )
    parser.add_argument('--weights', help="file of Inception's weights, if not in torch's cache")
    parser.add_argument(
        '--size', type=int, help='resize all pictures to SIZE x SIZE first, as tools/test.py does'
    )
    parser.add_argument('--subset-size', type=int, default=kid.SUBSET_SIZE, help='(%(default)s)')
    parser.add_argument('--num-subsets', type=int, default=kid.NUM_SUBSETS, help='(%(default)s)')
    parser.add_argument('--block-size', type=int, default=kid.BLOCK_SIZE, help='(%(default)s)')
    parser.add_argument('--seed', type=int, default=kid.SEED, help='of the subsets (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=32, help='(%(default)s)')
    parser.add_argument(
        '--num-workers', type=int, default=min(4, os.cpu_count() or 1), help='(%(default)s)'
    )
    parser.add_argument('--json', help='write the figures to this file, too')
    args = parser.parse_args(argv)
    if args.size is not None and args.size < 1:
        parser.error(f'--size {args.size} must be 1 or more')
    if args.weights and args.extractor != 'InceptionFeatures':
        parser.error(f'--weights are those of Inception, not of {args.extractor}')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    extractor = dict(type=args.extractor)
    if args.weights:
        extractor['weights'] = args.weights
    try:
        figures = compare_folders(
            args.fake_dir,
            args.real_dir,
            args.source,
            extractor,
            Protocol(args.subset_size, args.num_subsets, args.block_size, args.seed),
            size=args.size,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            progress=sys.stderr.isatty(),
        )
    except (OSError, ValueError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(table(figures))
    if args.json:
        Path(args.json).write_text(json.dumps([f.to_dict() for f in figures], indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
