"""Setting image size and channels of a whole config in one place."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from ..pixels import check_channels, sides_in_words, sides_of

MARGIN = 30  # what the random crop takes off the shorter side, in the official PyTorch program
CROPS = ('Crop', 'FixedCrop')  # for each key separately, the same for all keys
Sides = tuple[int, int]


def apply_img_size(cfg: Config) -> None:
    """Copy ``img_size``, ``load_size``, ``crop_size`` into all pipelines and the model, in place.

    A Python config computes its pipelines before a child or a command line can change
    ``img_size``; this sets them afterwards, so that ``--cfg-options img_size=128``, or one line in
    a child config, is enough. In each pipeline a ``Resize``, or a ``LoadRGBImage`` that has a
    ``scale``, with a later ``Crop`` or ``FixedCrop`` goes to ``load_size``, any other to
    ``img_size``, and every crop to ``crop_size``; one that keeps the picture's proportions
    (``keep_ratio``) goes to ``img_size`` if there is no ``load_size``, and the crop takes off the
    rest. In the model each field named ``img_size`` is set. A config without
    ``img_size``, or with None, is left as it is.

    Args:
        cfg: ``img_size`` is what the networks see, in pixels: the side of a square, or (height,
            width). ``load_size`` is the size before the random crop: (height, width), or the
            shorter side, the longer one by the proportion of ``img_size``; None for the shorter
            side + 30 (the official PyTorch program). ``crop_size`` is what training sees of it,
            None for ``img_size``; with it ``load_size`` is ``img_size`` where it is None, so that
            training sees parts of pictures at the scale at which tests see the whole.

    Raises:
        TypeError: A size is neither an integer nor two of them.
        ValueError: ``img_size`` is not positive, ``load_size`` is smaller than what is cropped out
            of it, one of the two others is set although nothing crops, or no pipeline has a step
            that sets a size.
    """
    if cfg.get('img_size') is None:
        return
    img_size = _sides('img_size', cfg.img_size)
    if min(img_size) < 1:
        raise ValueError(f'img_size must be positive, got {cfg.img_size}.')
    asked, crop = cfg.get('load_size'), cfg.get('crop_size')
    cropped = 'img_size' if crop is None else 'crop_size'
    crop_size = img_size if crop is None else _sides('crop_size', crop)
    if min(crop_size) < 1:
        raise ValueError(f'crop_size must be positive, got {crop}.')
    load_size = img_size if asked is None and crop is not None else _load_size(asked, img_size)
    if load_size[0] < crop_size[0] or load_size[1] < crop_size[1]:
        raise ValueError(
            f'load_size ({sides_in_words(load_size)}) must be at least {cropped} '
            f'({sides_in_words(crop_size)}), or None for img_size'
            f'{" + 30" if crop is None else ""}.'
        )
    kept_size = img_size if asked is None else load_size
    steps = [
        _set_pipeline(pipeline, img_size, load_size, kept_size, crop_size)
        for pipeline in _pipelines(dict(cfg.items()))
    ]
    if not any(steps):
        raise ValueError(
            'img_size is set, but no pipeline of this config has a Resize or Crop step, or a '
            'LoadRGBImage with a scale.'
        )
    for name, sides in (('load_size', load_size), ('crop_size', crop_size)):
        if cfg.get(name) is not None and sides != img_size and not _crops(cfg):
            raise ValueError(
                f'{name} is {cfg[name]}, but no pipeline of this config crops: leave it out, or '
                'add a Crop.'
            )
    _set_fields(cfg.get('model'), img_size[0] if img_size[0] == img_size[1] else img_size)


def apply_channels(cfg: Config) -> None:
    """Copy ``cfg.channels`` into every ``LoadRGBImage`` and the model's networks, in place.

    In the model each ``in_channels`` and ``out_channels`` of a network is set. A config without
    ``channels``, or with None, is left unchanged.

    Args:
        cfg: ``channels`` is the number of channels of the pictures of both domains, 1 to 8; see
            :func:`decode_with_alpha` for how a file with another number is read.

    Raises:
        ValueError: It is not such a number, or no pipeline has a ``LoadRGBImage``.
    """
    if cfg.get('channels') is None:
        return
    channels = check_channels(cfg.channels)
    for step in loading_steps(cfg, 'channels'):
        step['channels'] = channels
    for network in (cfg.get('model') or {}).values():
        for field in ('in_channels', 'out_channels'):
            if isinstance(network, dict) and field in network:
                network[field] = channels


def loading_steps(cfg: Config, field: str) -> list[dict]:
    """Find the steps of all pipelines that load pictures, for which ``field`` is set.

    Raises:
        ValueError: There is none.
    """
    steps = [
        step
        for pipeline in _pipelines(dict(cfg.items()))
        for step in pipeline
        if isinstance(step, dict) and step.get('type') == 'LoadRGBImage'
    ]
    if not steps:
        raise ValueError(
            f'{field} is set, but no pipeline of this config has a LoadRGBImage: leave it at None, '
            'and set what your own loader and the networks take.'
        )
    return steps


def _sides(name: str, value: object) -> Sides:
    """Height and width."""
    several = isinstance(value, (tuple, list)) and len(value) == 2
    for side in value if several else [value]:
        if not isinstance(side, int) or isinstance(side, bool):
            raise TypeError(f'{name} must be an integer, or (height, width), got {value!r}.')
    return sides_of(value)


def _load_size(value: object, img_size: Sides) -> Sides:
    """Height and width before the random crop."""
    shorter = min(img_size)
    if value is None:
        value = shorter + MARGIN
    load_size = _sides('load_size', value)
    if isinstance(value, int):
        load_size = tuple(round(value * side / shorter) for side in img_size)
    return load_size


def _crops(cfg: Config) -> bool:
    steps = (step for pipeline in _pipelines(dict(cfg.items())) for step in pipeline)
    return any(isinstance(step, dict) and step.get('type') in CROPS for step in steps)


def _set_pipeline(
    pipeline: list, img_size: Sides, load_size: Sides, kept_size: Sides, crop_size: Sides
) -> int:
    """Set the sizes of one pipeline; returns how many steps have one."""
    crop_follows = False
    count = 0
    for step in reversed(pipeline):
        kind = step.get('type') if isinstance(step, dict) else None
        if kind in CROPS:
            step['crop_size'] = crop_size
            crop_follows = True
        elif kind == 'Resize' or (kind == 'LoadRGBImage' and step.get('scale')):
            before_crop = kept_size if step.get('keep_ratio') else load_size
            height, width = before_crop if crop_follows else img_size
            step['scale'] = (width, height)  # MMCV's order
        else:
            continue
        count += 1
    return count


def _pipelines(node: object, name: str = '') -> Iterator[list]:
    """Every list under a key ``pipeline`` or ``..._pipeline``, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _pipelines(value, key)
    elif isinstance(node, (list, tuple)):
        if name == 'pipeline' or name.endswith('_pipeline'):
            yield node
        else:
            for value in node:
                yield from _pipelines(value)


def _set_fields(node: object, img_size: int | Sides) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'img_size':
                node[key] = img_size
            else:
                _set_fields(value, img_size)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _set_fields(value, img_size)
