"""Measurements of folders of pictures, made by any program."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..datasets.deep import Range
from ..datasets.loading import ImageReadError, find_images, read_rgb
from ..messages import listed
from ..pixels import resize, sides_in_words, sides_of, size_words
from .class_share import class_names, class_shares
from .extractors import EfficientNetLite0Features, Extractor, build_extractor
from .ideal import in_grey, share_closed, to_the_ideal
from .measurements import Measurement, Protocol


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
            return error  # raised in a worker, it would print a traceback
        if self.size is not None:
            image = resize(image, *sides_of(self.size))
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class Sizes(Pictures):
    """Heights and widths of the pictures of a folder, as they are read."""

    def __getitem__(self, index: int) -> Any:
        image = super().__getitem__(index)
        return image if isinstance(image, ImageReadError) else tuple(image.shape[1:])


class Compared(NamedTuple):
    """What :func:`compare_folders` found.

    Attributes:
        measurements: Of the translations, by all protocols.
        untranslated: The same of the sources in their place; empty without sources.
    """

    measurements: list[Measurement]
    untranslated: list[Measurement]

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """For JSON."""
        return {name: [each.to_dict() for each in those] for name, those in self._asdict().items()}


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
        batch_size: Pictures in a pass of the extractor. Those of different sizes go one by one;
            features depend on the size, too, see :func:`compare_folders`.
        num_workers: Processes that decode.
        progress: Show a bar on stderr.
        deep_range: For pictures of more than 8 bits, see :func:`~ugatit_mm.datasets.decode_rgb`.

    Returns:
        (N, d).

    Raises:
        OSError: There is no such folder, or it cannot be read.
        ValueError: It holds no picture.
        ImageReadError: A picture cannot be read.
    """
    pictures = Pictures(find_images(folder), size, deep_range)
    features = []
    for batch in _batches(pictures, batch_size, num_workers, progress and str(folder)):
        if len({image.shape for image in batch}) == 1:
            features.append(extractor(torch.stack(batch)))
        else:
            features += [extractor(image[None]) for image in batch]
    return np.concatenate(features)


def compare_folders(
    fake_dir: str | os.PathLike,
    target_dir: str | os.PathLike,
    source_dir: str | os.PathLike | None = None,
    extractor: dict | Extractor | Sequence[dict | Extractor] | None = None,
    protocol: Protocol | None = None,
    name: str | None = None,
    classes: Sequence[str | int] = (),
    size: int | Sequence[int] | None = None,
    ideal_dir: str | os.PathLike | None = None,
    **reading: Any,
) -> Compared:
    """Measure the translations of one folder against the real images of another.

    All pictures are resized to one size before their features are computed, as features depend on
    the size, too; ``resize`` of the measurements says which.

    Args:
        fake_dir: Translations.
        target_dir: Real images of the target domain.
        source_dir: The sources; without them the mean with the source and the measurements of the
            sources themselves are left out.
        extractor: A config or an extractor, or several; see
            :func:`~ugatit_mm.evaluation.extractors.build_extractor`.
        protocol: Subsets, blocks, seed.
        name: Direction of the measurements; the fake folder's name if not given.
        classes: Classes of ImageNet, see :class:`~ugatit_mm.evaluation.ClassShare`; their shares
            come after the other measurements of the first extractor.
        size: As in :func:`folder_features`. Without it, pictures of one size in all folders
            stay as they are; others are resized to that of the translations.
        ideal_dir: Ideal translations, one of the same name for each, where they are known: adds
            SSIM and L1 to them, the same of the grey sources, and with sources the share of the way
            from these that is closed (:mod:`.ideal`).
        reading: ``batch_size``, ``num_workers``, ``progress``, ``deep_range``, as in
            :func:`folder_features`.

    Raises:
        ValueError: No size is given, and the translations have several; or a class is unknown; or
            the ideal translations have other names than the others; or as
            :func:`folder_features` and :meth:`Protocol.measure` say.
    """
    wanted = class_names(classes) if classes else {}
    given = extractor if isinstance(extractor, Sequence) else [extractor]
    extractors = [build_extractor(each) for each in given]
    folders = {'fake': fake_dir, 'target': target_dir}
    if source_dir:
        folders['source'] = source_dir
    if ideal_dir:
        folders['ideal'] = ideal_dir
        _check_names(folders)
    size, resized = _one_size(folders, size, **reading)
    name = name or os.path.basename(os.path.abspath(fake_dir))
    judged = [what for what in ('fake', 'source', 'ideal') if what in folders]
    features: list[dict[str, np.ndarray]] = []  # by extractor
    each: list[Compared] = []
    for one in extractors:
        found = {what: folder_features(x, one, size, **reading) for what, x in folders.items()}
        measured = {
            what: (protocol or Protocol()).measure(
                name, one, found[what], found['target'], found.get('source'), resized
            )
            for what in judged
        }
        measurements = measured['fake']
        if source_dir and ideal_dir:  # the first measurement is the one to the target only
            measurements.append(
                share_closed(*(measured[x][0] for x in ('fake', 'source', 'ideal')))
            )
        features.append(found)
        each.append(Compared(measurements, measured.get('source', [])))

    first = each[0]
    if ideal_dir:
        pictures = {what: _pictures(folders[what], size, **reading) for what in judged}
        first.measurements.extend(to_the_ideal(name, pictures['fake'], pictures['ideal'], resized))
        if source_dir:
            greys = [in_grey(picture) for picture in pictures['source']]
            first.untranslated.extend(to_the_ideal(name, greys, pictures['ideal'], resized))
    if wanted:
        classifiers = (
            (one, found)
            for one, found in zip(extractors, features, strict=True)
            if isinstance(one, EfficientNetLite0Features)
        )
        classifier, found = next(classifiers, (None, {}))
        if classifier is None:
            classifier = EfficientNetLite0Features()
            found = {
                what: folder_features(x, classifier, size, **reading)
                for what, x in folders.items()
                if what != 'ideal'
            }
        sets = [found.get(what, np.empty(0)) for what in ('fake', 'source', 'target')]
        first.measurements.extend(class_shares(name, classifier, wanted, sets, resized))
    return Compared(*(list(chain.from_iterable(those)) for those in zip(*each, strict=True)))


def _check_names(folders: Mapping[str, str | os.PathLike]) -> None:
    """Check that sources and ideal translations have the names of the translations.

    Raises:
        ValueError: They have others.
    """
    names = {
        what: {os.path.splitext(os.path.relpath(path, folder))[0] for path in find_images(folder)}
        for what, folder in folders.items()
        if what != 'target'
    }
    for what, found in names.items():
        if odd := found ^ names['fake']:
            raise ValueError(
                f"'{folders[what]}' and '{folders['fake']}' are compared one by one and must hold "
                f'pictures of the same names: only one of them has {listed(sorted(odd), 3)}'
            )


def _pictures(folder: str | os.PathLike, size: int | Sequence[int] | None, **reading: Any) -> list:
    """The pictures of a folder, uint8 (H, W, 3)."""
    pictures = Pictures(find_images(folder), size, reading.get('deep_range'))
    batches = _batches(pictures, 32, reading.get('num_workers', 0), None)
    return [image.permute(1, 2, 0).numpy() for batch in batches for image in batch]


def _one_size(
    folders: dict[str, str | os.PathLike], size: int | Sequence[int] | None, **reading: Any
) -> tuple[int | Sequence[int] | None, str]:
    """The size to which all pictures are resized, ``None`` if they have it, and both in words.

    Raises:
        ValueError: See :func:`compare_folders`.
    """
    if size is not None:
        return size, f'Pillow bilinear to {sides_in_words(size)}'
    sizes = {}
    for what, folder in folders.items():
        pictures = Sizes(find_images(folder), None, reading.get('deep_range'))
        progress = reading.get('progress') and f'sizes of {folder}'
        batches = _batches(pictures, 32, reading.get('num_workers', 0), progress)
        sizes[what] = {sides for batch in batches for sides in batch}
    if len(every := set().union(*sizes.values())) == 1:
        return None, f'all are {size_words(every.pop())}'
    if len(sizes['fake']) > 1:
        found = listed(map(sides_in_words, sorted(sizes['fake'])))
        raise ValueError(
            f"the translations in '{folders['fake']}' have several sizes ({found}): give --size, a "
            'side or height and width, to which all pictures are resized'
        )
    (own,) = sizes['fake']
    return own, f'Pillow bilinear to {sides_in_words(own)}, the size of the translations'


def _batches(
    pictures: Pictures, batch_size: int, num_workers: int, progress: str | bool | None
) -> Iterator[list]:
    """Read the pictures of a folder; ``progress`` is the title of a progress bar, if any.

    Raises:
        ImageReadError: One cannot be read.
    """
    loader = DataLoader(pictures, batch_size=batch_size, num_workers=num_workers, collate_fn=list)
    with tqdm(total=len(pictures), desc=progress or None, unit='img', disable=not progress) as bar:
        for batch in loader:
            if error := next((each for each in batch if isinstance(each, ImageReadError)), None):
                raise error
            yield batch
            bar.update(len(batch))
