"""A buffer of earlier translations for the discriminators."""

import random

import torch
from torch import Tensor


class ImagePool:
    """Translations of earlier steps, which the discriminators see half of the time.

    For each image of a batch, in order: while the pool is not full, the image is stored and
    returned. A full pool draws: with probability 0.5 it returns the image and does not change, else
    it returns a stored one, drawn uniformly, and stores the new one in its place (Shrivastava et
    al., CVPR 2017, section 2.3, as in the official CycleGAN program).

    :meth:`keep` commits a step's changes or undoes them: images that are not finite never stay.

    Images stay on their device. The host draws from Python's ``random``, whose state an exact
    resume restores. Only a pool that is not full yet waits for the device, to know whether the last
    step's images stay: its next place depends on it.

    Args:
        size: Number of images to keep; with 0 every image is returned unchanged.

    Raises:
        ValueError: ``size`` is negative.
    """

    def __init__(self, size: int = 50) -> None:
        if size < 0:
            raise ValueError(f'pool_size must be 0 or more, got {size}')
        self.size = size
        self._clear()

    def _clear(self) -> None:
        # Each image is a row, in its memory order: NHWC stays NHWC.
        self._rows = torch.empty(0, 0)
        self._like = torch.empty(0)  # an image, for its shape and strides
        self._count = 0
        # Rows that were written, or their places, and the old values.
        self._undo: list[tuple[Tensor, Tensor]] = []
        self._before = 0  # number of images at the last keep()
        self._verdict: Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether every step does the same: the pool is full, or its size is 0."""
        return self._count == self.size and self._verdict is None

    @property
    def images(self) -> list[Tensor]:
        """Copies of the images, (1, C, H, W) each, in the order of their places."""
        state = self.state()
        return [] if state is None else list(state.split(1))

    def draw(self, count: int, device: torch.device) -> Tensor:
        """Draw what :meth:`query` does with a batch.

        Args:
            count: Number of images in the batch.
            device: Of the images.

        Returns:
            For each image the place whose image replaces it, or -1 for the image itself; int64,
            (count,).
        """
        self._settle()
        fill = min(count, self.size - self._count)
        places: list[int | None] = [None] * fill
        places += [self._draw() if self.size else None for _ in range(count - fill)]
        drawn = torch.tensor([-1 if place is None else place for place in places])
        if device.type == 'cuda':
            drawn = drawn.pin_memory()
        return drawn.to(device, non_blocking=True)

    def query(self, images: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Return as many images, some of them from earlier steps.

        Args:
            images: Translations, (N, C, H, W); detached.
            drawn: Result of :meth:`draw`, which is called if not given.

        Raises:
            ValueError: The images of the pool have another size.
        """
        images = images.detach()
        if not self.size:
            return images
        if drawn is None:
            drawn = self.draw(len(images), images.device)
        self._make_room(images)
        out = torch.empty_like(images)
        given, returned = _rows_of(images), _rows_of(out)
        for i in range(len(images)):
            new, result = given[i : i + 1], returned[i : i + 1]
            if self._count < self.size:
                place = self._rows[self._count : self._count + 1]
                self._undo.append((place, place.clone()))
                place.copy_(new)
                result.copy_(new)
                self._count += 1
                continue
            index, swap = drawn[i : i + 1].clamp(min=0), drawn[i : i + 1, None] >= 0
            old = self._rows.index_select(0, index)
            torch.where(swap, old.to(new.dtype), new, out=result)
            self._undo.append((index, old))
            self._rows.index_copy_(0, index, torch.where(swap, new.to(old.dtype), old))
        return out

    def keep(self, taken: Tensor | bool = True) -> None:
        """Commit the changes since the last call, or undo them; random draws are not undone.

        Args:
            taken: Whether to commit; a 0-dim bool stays on the device.
        """
        flag = torch.as_tensor(taken, device=self._rows.device)
        for place, old in reversed(self._undo):
            if place.is_floating_point():  # the row itself
                torch.where(flag, place, old, out=place)
            else:
                now = self._rows.index_select(0, place)
                self._rows.index_copy_(0, place, torch.where(flag, now, old))
        self._undo.clear()
        if self._count != self._before:
            self._verdict = flag

    def abandon(self) -> None:
        """Discard the changes of a step that was interrupted before it ran."""
        self._undo.clear()

    def _draw(self) -> int | None:
        """Draw the place of the image to return, or ``None`` for the new one."""
        return random.randint(0, self.size - 1) if random.uniform(0, 1) > 0.5 else None

    def _settle(self) -> None:
        """Find out whether the images that filled the pool were committed."""
        if self._verdict is not None:
            if not self._verdict:
                self._count = self._before
            self._before, self._verdict = self._count, None

    def _make_room(self, images: Tensor) -> None:
        shape, strides = (1, *images.shape[1:]), images.stride()
        if self._rows.numel():
            if self._like.shape != shape:
                raise ValueError(
                    f'the image pool holds images of {tuple(self._like.shape[1:])}, these are of '
                    f'{shape[1:]}: resume with the img_size of the training'
                )
            if self._like.stride()[1:] == strides[1:]:
                if self._rows.device != images.device:
                    self._rows = self._rows.to(images.device)
                return
        kept = self.images
        self._like = torch.empty_like(images[:1], device='meta')
        count = images[0].numel()
        self._rows = torch.zeros(self.size, count, dtype=images.dtype, device=images.device)
        for row, image in zip(self._rows, kept):
            row.copy_(_rows_of(torch.empty_like(images[:1]).copy_(image))[0])

    def state(self) -> Tensor | None:
        """Return the images, (n, C, H, W), on the CPU; ``None`` if there are none."""
        self._settle()
        if not self._count:
            return None
        rows = self._rows[: self._count].to('cpu', copy=True)
        return rows.as_strided((self._count, *self._like.shape[1:]), self._like.stride())

    def load_state(self, state: Tensor | None) -> None:
        """Restore what :meth:`state` returned.

        Raises:
            ValueError: It is not a stack of images, or holds more of them than the pool keeps.
        """
        if state is not None and (not isinstance(state, Tensor) or state.dim() != 4):
            raise ValueError("the checkpoint's image pool is not a stack of images")
        count = 0 if state is None else len(state)
        if count > self.size:
            raise ValueError(
                f'the checkpoint has an image pool of {count} images, pool_size is '
                f'{self.size}: resume with the pool_size of the training'
            )
        self._clear()
        if state is not None and count:
            state = state.detach()
            self._make_room(state)
            self._rows[:count] = _rows_of(state)
            self._count = self._before = count


def _rows_of(images: Tensor) -> Tensor:
    """View dense images as rows, (N, C * H * W), in their memory order."""
    count = images[0].numel()
    return images.as_strided((len(images), count), (count, 1))
