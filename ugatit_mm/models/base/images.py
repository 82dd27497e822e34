"""Checks of the images that networks take; the errors name the images."""

from typing import Any

from torch import Tensor

from ...pixels import sides_of

MAX_IMG_SIZE = 8192  # a file of weights may set the size


def check_img_size(img_size: Any, stride: int) -> int | tuple[int, int]:
    """Check ``img_size`` of a config; return a side, or (height, width) if they differ.

    Raises:
        ValueError: Networks of this stride do not take this size.
    """
    several = isinstance(img_size, (tuple, list)) and len(img_size) == 2
    if not all(
        type(side) is int and side % stride == 0 and 2 * stride <= side <= MAX_IMG_SIZE
        for side in (img_size if several else [img_size])
    ):
        raise ValueError(
            f'img_size must be a multiple of {stride} from {2 * stride} to {MAX_IMG_SIZE}, got '
            f'{img_size!r}; a rectangle is (height, width)'
        )
    height, width = sides_of(img_size)
    return height if height == width else (height, width)


def check_channels(x: Tensor, channels: int, network: str) -> None:
    """Raise a ValueError, which names ``network``, unless ``x`` is (N, channels, H, W)."""
    if x.dim() != 4 or x.size(1) != channels:
        raise ValueError(f'the {network} takes (N, {channels}, H, W), got {tuple(x.shape)}')


def check_quarters(x: Tensor) -> None:
    """Raise a ValueError unless height and width can be halved twice."""
    height, width = x.shape[2:]
    if height % 4 or width % 4 or min(height, width) < 8:
        raise ValueError(f'height and width must be multiples of 4 from 8 on, got {height}x{width}')


def check_smallest(x: Tensor, smallest: int) -> None:
    """Raise a ValueError if the images are too small for a discriminator."""
    if min(x.shape[2:]) < smallest:
        raise ValueError(
            f'images of {x.size(2)}x{x.size(3)} are too small for the discriminator, which '
            f'needs {smallest}: enlarge img_size or lower num_layers'
        )


def check_size(network: Any, field: str, height: int, width: int, option: str = 'img_size') -> None:
    """Raise a ValueError, with the option to type, if images are too small for a network.

    Args:
        network: Has ``min_size`` and, if other numbers of layers take smaller images,
            ``fitting(side)``, which returns the fields for them (``None``: there are none).
        field: Its field in the model's config.
        height: Height of the images.
        width: Width of the images.
        option: The option that set their size.
    """
    smallest = getattr(network, 'min_size', 0)
    if min(height, width) >= smallest:
        return
    fields = network.fitting(min(height, width)) if hasattr(network, 'fitting') else None
    options = [
        f'"model.{field}.{name}={str(value).replace(" ", "")}"'
        for name, value in (fields or {}).items()
    ]
    least = -(-smallest // 4) * 4
    options.append(
        f'{option}={least}'
        if height == width
        else f'"{option}=({max(height, least)},{max(width, least)})"'
    )
    raise ValueError(
        f'images of {height}x{width} are too small for the {field}, which needs {smallest}: '
        f'--cfg-options {" or ".join(options)}'
    )
