"""Figures of folders of pictures, whoever made them."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..datasets.deep import Range
from ..datasets.loading import ImageReadError, find_images, read_rgb
from ..pixels import resize, sides_in_words, sides_of
from .extractors import Extractor, build_extractor
from .figures import Figure, Protocol


class Pictures(Dataset):
    """The pictures of a folder as uint8 RGB (3, H, W), resized as a test pipeline does."""

    def __init__(
        self,
        paths: list[str],
        size: int | Sequence[int] | None,
        deep_range: Range | None = None,
    ) -> None:
        self.paths = paths
        self.size = size
        self.deep_range = deep_range

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor | ImageReadError:
        try:
            image = read_rgb(self.paths[index], deep_range=self.deep_range)
        except ImageReadError as error:
            return error  # raised in a worker it would come as a traceback
        if self.size is not None:
            image = resize(image, *sides_of(self.size))
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def folder_features(
    folder: str | os.PathLike,
    extractor: Extractor,
    size: int | Sequence[int] | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    progress: bool = False,
    deep_range: Range | None = None,
) -> np.ndarray:
    """Features of all pictures under a folder, in the order of their paths.

    Args:
        folder: Searched recursively, as the data sets.
        extractor: Makes the features.
        size: Pictures are first resized to a square of this side, or to (height, width) (Pillow's
            bilinear, as the test pipeline); ``None`` leaves them as they are.
        batch_size: Pictures in a pass of the extractor. Those of different sizes go one by one.
        num_workers: Processes that decode.
        progress: Show a bar on stderr.
        deep_range: Of pictures of more than 8 bits, see :func:`~ugatit_mm.datasets.decode_rgb`.

    Returns:
        (N, d).

    Raises:
        OSError: There is no such folder, or it cannot be read.
        ValueError: It holds no picture.
        ImageReadError: A picture cannot be read.
    """
    pictures = Pictures(find_images(folder), size, deep_range)
    loader = DataLoader(pictures, batch_size=batch_size, num_workers=num_workers, collate_fn=list)
    features = []
    with tqdm(total=len(pictures), desc=str(folder), unit='img', disable=not progress) as bar:
        for batch in loader:
            if error := next((each for each in batch if isinstance(each, ImageReadError)), None):
                raise error
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
    **reading: Any,
) -> list[Figure]:
    """Measure the translations of one folder against the real images of another.

    Args:
        fake_dir: Translations.
        target_dir: Real images of the target domain.
        source_dir: The sources; without them the mean with the source is left out.
        extractor: A config or built; see :func:`~ugatit_mm.evaluation.extractors.build_extractor`.
        protocol: Subsets, blocks, seed.
        name: Stands as the direction of the figures; the fake folder's name if not given.
        reading: ``size``, ``batch_size``, ``num_workers``, ``progress``, ``deep_range``, as in
            :func:`folder_features`.

    Returns:
        Figures of all protocols.

    Raises:
        As :func:`folder_features` and :meth:`Protocol.measure`.
    """
    extractor = build_extractor(extractor)
    fake, target = (folder_features(x, extractor, **reading) for x in (fake_dir, target_dir))
    source = folder_features(source_dir, extractor, **reading) if source_dir else None
    size = reading.get('size')
    return (protocol or Protocol()).measure(
        name or os.path.basename(os.path.abspath(fake_dir)),
        extractor,
        fake,
        target,
        source,
        resize=None if size is None else f'Pillow bilinear to {sides_in_words(size)}',
    )
