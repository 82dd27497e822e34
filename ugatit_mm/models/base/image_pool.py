"""A history of translations for the discriminators."""

import random

import torch
from torch import Tensor


class ImagePool:
    """Translations of earlier steps, of which the discriminators get one half of the time.

    For each image of a batch, in order: while the pool is not full, the image is kept and returned.
    A full pool draws: with probability 0.5 it returns the image and stays as it is, else it returns
    one that it has, drawn uniformly, and keeps the new one in its place (Shrivastava et al., CVPR
    2017, section 2.3, as the official CycleGAN program has it).

    What a step did to the pool becomes final by :meth:`keep`, after an update that was taken, and
    is taken back by :meth:`undo` otherwise: images that are not finite never stay.

    Images stay on their device, and what is drawn is drawn by the host from Python's ``random``,
    which an exact resume keeps: nothing waits for the device.

    Args:
        size: Images that it keeps; 0 returns every image as it is.

    Raises:
        ValueError: ``size`` is negative.
    """

    def __init__(self, size: int = 50) -> None:
        if size < 0:
            raise ValueError(f'pool_size must be 0 or more, got {size}')
        self.size = size
        self.images: list[Tensor] = []
        self._final: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Return as many images as there are, some of them older.

        Args:
            images: Translations, (N, C, H, W); no gradient goes through.

        Raises:
            ValueError: Those of the pool have another size.
        """
        if not self.size:
            return images.detach()
        if self.images and (has := self.images[0].shape[1:]) != images.shape[1:]:
            raise ValueError(
                f'the image pool holds images of {tuple(has)}, these are of '
                f'{tuple(images.shape[1:])}: resume with the img_size of the training'
            )
        out = []
        for image in images.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(_kept(image))
            elif (place := self._draw()) is not None:
                self.images[place], image = _kept(image), self.images[place].to(image.device)
            out.append(image)
        return torch.cat(out)

    def _draw(self) -> int | None:
        """Draw the place of the image to return, or ``None`` for the new one."""
        return random.randint(0, self.size - 1) if random.uniform(0, 1) > 0.5 else None

    def keep(self) -> None:
        """Make what was done since the last time final."""
        self._final = self.images.copy()

    def undo(self) -> None:
        """Take back what was done since the last :meth:`keep`; draws stay drawn."""
        self.images = self._final.copy()

    def state(self) -> Tensor | None:
        """Return the images, (n, C, H, W), on the CPU; ``None`` if there are none."""
        return torch.cat(self.images).cpu() if self.images else None

    def load_state(self, state: Tensor | None) -> None:
        """Continue with what :meth:`state` returned.

        Raises:
            ValueError: It is no stack of images, or has more of them than the pool keeps.
        """
        if state is not None and (not isinstance(state, Tensor) or state.dim() != 4):
            raise ValueError("the checkpoint's image pool is no stack of images")
        images = [] if state is None else list(state.split(1))
        if len(images) > self.size:
            raise ValueError(
                f'the checkpoint has an image pool of {len(images)} images, pool_size is '
                f'{self.size}: resume with the pool_size of the training'
            )
        self.images = images
        self.keep()


def _kept(image: Tensor) -> Tensor:
    """A copy: a part of a batch would keep all of it, and a CUDA graph overwrites its results."""
    return image.clone()
