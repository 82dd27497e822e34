"""Two folders of unpaired images."""

from __future__ import annotations

import logging
import os
import os.path as osp
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from mmagic.datasets import UnpairedImageDataset
from mmagic.registry import DATASETS
from mmengine.dataset import Compose
from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import backends
from mmengine.logging import print_log
from torch import Tensor

from ..messages import check_choice
from .bad_pictures import BadPictures
from .cache import PictureCache
from .folders import describe_left_out, is_visible, list_folder, shown, suffix_of
from .loading import IMAGE_SUFFIXES, ImageReadError, LoadRGBImage
from .random_state import seeded
from .sampler import PairIndex


@DATASETS.register_module()
class UGATITDataset(UnpairedImageDataset):
    """Unpaired images in ``trainA``, ``trainB`` or ``testA``, ``testB`` under ``data_root``.

    MMagic's ``UnpairedImageDataset`` with more image formats, messages that say what is wrong with
    a folder, and samples that can be reproduced:

    - ``dataset[PairIndex(a, b, seed)]``, as :class:`UnpairedSampler` draws it, runs the pipeline
      on image a of A and b of B with all CPU random generators seeded from ``seed`` and restored
      afterwards. The sample depends on nothing else: not on the number of workers, not on what
      was loaded before.
    - ``dataset[idx]`` works as in MMagic. In training, B is drawn at random. In testing, the
      length is that of the longer domain and the shorter one starts again from its beginning, so
      its images repeat: code that counts or writes them must use ``img_A_path``, ``img_B_path``.
      One of the two folders may be absent: the samples then hold the other domain only.

    Folders are searched recursively, links followed, hidden files and folders left out; the order
    is that of the sorted paths. A folder that several links lead to is entered once. The suffix
    of a file says whether it is an image, or, in a local folder, the content of a file without one;
    files that are left out are reported in one line of the log, with counts.

    Args:
        data_root: Folder that holds the four (in testing, two) folders of images.
        pipeline: Transforms; they find ``img_{domain_a}_path`` and ``img_{domain_b}_path``.
        io_backend: MMEngine's storage backend; None infers it from ``data_root``.
        test_mode: Read ``testA``, ``testB`` rather than ``trainA``, ``trainB``.
        domain_a: Name of the first domain in the keys of a sample.
        domain_b: Name of the second.
        seed: With a seed, ``dataset[idx]`` is a function of (seed, idx) too, for example where a
            test pipeline has random steps. In training this fixes image idx's partner and
            augmentation for good; leave it None there.
        cache: Folder in which the pipeline's ``LoadRGBImage`` steps keep resized pictures, so that
            epochs after the first neither decode nor resize: for photographs of several megapixels
            on few cores; at 256 px one worker suffices without it. See :class:`PictureCache`.
        on_error: What training does with a picture that cannot be read. ``'stop'``: it ends and
            names the file. ``'skip'``: another picture of the same domain takes its place, drawn
            from the sample's seed, so that a sample depends only on its PairIndex and on which
            files are bad; each bad file is logged once (over several ranks, with
            :class:`BadPicturesHook`), and training ends when more than half of a folder was found
            bad. In testing a bad file always ends the run: metrics over fewer files than were
            given would pass for metrics over all.
        shared_augmentation: Random steps of the pipeline draw the same for both pictures of a
            sample, as AGGAN's program flips and crops them.

    Raises:
        FileNotFoundError: ``data_root`` or a folder is missing (in testing, both).
        NotADirectoryError: One of them is a file.
        PermissionError: There is no permission to list a folder.
        ValueError: A folder holds no image, ``cache`` finds no ``LoadRGBImage`` with a scale,
            ``io_backend`` is unknown, or ``on_error`` is neither of the two, or 'skip' in testing.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        pipeline: Sequence[dict | Callable],
        io_backend: str | None = None,
        test_mode: bool = False,
        domain_a: str = 'A',
        domain_b: str = 'B',
        seed: int | None = None,
        cache: str | os.PathLike | None = None,
        on_error: str = 'stop',
        shared_augmentation: bool = False,
    ) -> None:
        if domain_a == domain_b:
            raise ValueError(f"domain_a and domain_b must differ, both are '{domain_a}'.")
        if on_error not in ('stop', 'skip'):
            raise ValueError(f"on_error must be 'stop' or 'skip', got {on_error!r}.")
        if io_backend is not None:
            check_choice('io_backend', io_backend, backends)
        if test_mode and on_error == 'skip':
            raise ValueError(
                "on_error='skip' is for training only: in testing, metrics over fewer files than "
                "were given would pass for metrics over all. Leave it at 'stop', and fix or "
                'delete the files that cannot be read.'
            )
        self.seed = seed
        super().__init__(
            data_root=os.fspath(data_root),
            pipeline=pipeline,
            io_backend=io_backend,
            test_mode=test_mode,
            domain_a=domain_a,
            domain_b=domain_b,
        )
        if 0 in (self.len_a, self.len_b):
            absent = self.domain_b if self.len_a else self.domain_a
            self.pipeline = Compose(without_key(pipeline, f'img_{absent}'))
        elif shared_augmentation:
            self.pipeline = AlikePipeline(pipeline, (f'img_{domain_a}', f'img_{domain_b}'))
        if cache is not None:
            self._keep_pictures(cache)
        self.bad_pictures: BadPictures | None = None
        if on_error == 'skip':
            folders = {self.dataroot_a: self.data_infos_a, self.dataroot_b: self.data_infos_b}
            self.bad_pictures = BadPictures(
                {folder: [info['path'] for info in infos] for folder, infos in folders.items()}
            )

    def __getitem__(self, idx: int | PairIndex) -> dict:
        """The sample after the pipeline; see the class for the two kinds of index."""
        with self._random_state(idx):
            return super().__getitem__(idx)

    def prepare_data(self, idx: int | PairIndex) -> dict | None:
        """The sample after the pipeline, with other pictures for those that cannot be read.

        Raises:
            ImageReadError: A picture cannot be read, and another one must not take its place.
        """
        info = self.get_data_info(idx)
        if 0 in (self.len_a, self.len_b):
            return self._of_one_domain(info)
        if self.bad_pictures is None:
            return self.pipeline(info)
        others = {
            f'img_{self.domain_a}_path': self._shuffled(self.data_infos_a),
            f'img_{self.domain_b}_path': self._shuffled(self.data_infos_b),
        }
        while True:
            try:
                return self.pipeline(dict(info))
            except ImageReadError as error:
                key = next((key for key in others if info[key] == error.path), None)
                if key is None:
                    raise
                self.bad_pictures.add(error)  # raises before all of a domain were tried
                info[key] = next(path for path in others[key] if path != error.path)

    def get_data_info(self, idx: int | PairIndex) -> dict:
        """The two paths of a sample, before the pipeline.

        Raises:
            IndexError: A PairIndex points outside its domain.
        """
        if 0 in (self.len_a, self.len_b):
            domain, infos = self.domain_b, self.data_infos_b
            if self.len_a:
                domain, infos = self.domain_a, self.data_infos_a
            return {f'img_{domain}_path': infos[idx]['path']}
        if not isinstance(idx, PairIndex):
            return super().get_data_info(idx)
        if not (0 <= idx.a < self.len_a and 0 <= idx.b < self.len_b):
            raise IndexError(f'{idx} is outside {self.len_a} images of A, {self.len_b} of B.')
        return {
            f'img_{self.domain_a}_path': self.data_infos_a[idx.a]['path'],
            f'img_{self.domain_b}_path': self.data_infos_b[idx.b]['path'],
        }

    def scan_folder(self, path: str) -> list[str]:
        """Paths of all images under ``path``, sorted."""
        try:
            if isinstance(self.file_backend, LocalBackend):
                names, left_out = list_folder(path)
            else:
                found = self.file_backend.list_dir_or_file(path, list_dir=False, recursive=True)
                found = sorted(filter(is_visible, found))
                names = [name for name in found if suffix_of(name) in IMAGE_SUFFIXES]
                left_out = [name for name in found if suffix_of(name) not in IMAGE_SUFFIXES]
        except FileNotFoundError as error:
            raise FileNotFoundError(self._explain(path, 'does not exist')) from error
        except NotADirectoryError as error:
            raise NotADirectoryError(self._explain(path, 'is a file, not a folder')) from error
        except PermissionError as error:
            reason = f'may not be read ({error})'
            raise PermissionError(self._explain(path, reason)) from error
        said = describe_left_out(left_out)
        if not names:
            has = f' but {said}' if said else ''
            raise ValueError(self._explain(path, f'holds no image{has}'))
        if said:
            print_log(f'left out of {shown(path)}: {said}', 'current', logging.WARNING)
        return [self.file_backend.join_path(path, name) for name in names]

    def load_data_list(self) -> list[list[dict]]:
        """The files of both domains; in testing none for a folder that is absent."""
        there = [self.file_backend.exists(root) for root in (self.dataroot_a, self.dataroot_b)]
        tested = self.test_mode and any(there)
        self.data_infos_a, self.data_infos_b = (
            self._load_domain_data_list(root) if found or not tested else []
            for root, found in zip((self.dataroot_a, self.dataroot_b), there, strict=True)
        )
        return [self.data_infos_a, self.data_infos_b]

    def _of_one_domain(self, info: dict) -> dict:
        sample = self.pipeline(info)
        if isinstance(sample['inputs'], Tensor):  # PackInputs' way with a single picture
            key = next(iter(info)).removesuffix('_path')
            sample['inputs'] = {key: sample['inputs']}
        return sample

    @staticmethod
    def _shuffled(infos: list[dict]) -> Iterator[str]:
        """Each path once; the order is drawn, from the sample's seed, when the first is taken."""
        for index in np.random.permutation(len(infos)):
            yield infos[index]['path']

    def _keep_pictures(self, folder: str | os.PathLike) -> None:
        steps = [step for step in self.pipeline.transforms if isinstance(step, LoadRGBImage)]
        if not steps or any(step.scale is None or step.backend_args is not None for step in steps):
            raise ValueError(
                'cache keeps what LoadRGBImage has resized: every such step of the pipeline needs '
                f'a scale and local files (no backend_args), got {steps}.'
            )
        for step in steps:
            step.cache = PictureCache(folder)

    def _random_state(self, idx: int | PairIndex) -> AbstractContextManager:
        if isinstance(idx, PairIndex):
            return seeded(idx.seed)
        if self.seed is not None:
            mixed = np.random.SeedSequence([self.seed, idx % len(self)])
            return seeded(int(mixed.generate_state(1)[0]))
        return nullcontext()

    def _explain(self, path: str, reason: str) -> str:
        wanted = 'testA and testB' if self.test_mode else 'trainA and trainB'
        if osp.isdir(self.data_root):
            names = sorted(entry.name for entry in os.scandir(self.data_root) if entry.is_dir())
            folders = [repr(name)[1:-1] for name in names]
            shown = ', '.join(folders[:8]) + (', ...' if len(folders) > 8 else '')
            found = f'it holds the folders: {shown}' if folders else 'it holds no folder'
        else:
            found = 'there is no such folder'
        # This may be the validation of a training, which needs no test pictures.
        without = ' A training without validation needs neither: val_cfg=None.'
        without = without if self.test_mode and osp.isdir(self.data_root) else ''
        return (
            f'The image folder {path!r} {reason}. data_root must hold {wanted} '
            f'(training needs trainA and trainB, testing testA and testB) with images inside, '
            f'in any sub-folders ({" ".join(IMAGE_SUFFIXES)}, upper or lower case). '
            f'data_root is {self.data_root!r}; {found}.{without}'
        )


class AlikePipeline(Compose):
    """A pipeline whose random steps draw the same for both pictures of a sample.

    Args:
        pipeline: Configs of steps; the last one packs both pictures.
        keys: Keys of the pictures.
    """

    def __init__(self, pipeline: Sequence[dict | Callable], keys: tuple[str, str]) -> None:
        *steps, pack = pipeline
        self.of_key = {
            key: Compose(without_key(steps, other))
            for key, other in zip(keys, reversed(keys), strict=True)
        }
        self.pack = Compose([pack])
        parts = (*self.of_key.values(), self.pack)
        self.transforms = [step for part in parts for step in part.transforms]

    def __call__(self, data: dict) -> dict | None:
        """Run the steps for each picture from the same random state, then pack."""
        seed = int(np.random.randint(2**32, dtype=np.int64))
        results: dict = {}
        for key, steps in self.of_key.items():
            with seeded(seed):
                results |= steps({f'{key}_path': data[f'{key}_path']})
        return self.pack(results)


def without_key(pipeline: Sequence[dict | Callable], key: str) -> list[dict | Callable]:
    """Return the steps of a pipeline that are left when a sample has no ``key``.

    Args:
        pipeline: Configs of steps; others stay as they are.
        key: Such as ``'img_B'``.
    """
    left: list[dict | Callable] = []
    for step in pipeline:
        if not isinstance(step, dict):
            left.append(step)
            continue
        step = dict(step)
        for field in ('keys', 'data_keys'):
            if key in step.get(field, ()):
                step[field] = [name for name in step[field] if name != key]
        if step.get('key') != key and step.get('keys') != []:
            left.append(step)
    return left
