"""Setting the image size of a whole config in one place."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config


def apply_img_size(cfg: Config) -> None:
    """Carry ``cfg.img_size`` and ``cfg.load_size`` into every pipeline and the model, in place.

    A Python config computes its pipelines before a child or a command line can change
    ``img_size``; this makes up for it, so that ``--cfg-options img_size=128``, or one line in a
    child config, is enough. In each pipeline a ``Resize``, or a ``LoadRGBImage`` that has a
    ``scale``, with a later ``Crop`` goes to ``load_size``, any other, and every ``Crop``, to
    ``img_size``; in the model each field named ``img_size`` is set. A config without ``img_size``,
    or with None, is left alone.

    Args:
        cfg: ``img_size`` is the side of the square that the networks see, in pixels;
            ``load_size`` the side before the random crop, None for ``img_size + 30`` (the official
            PyTorch program).

    Raises:
        TypeError: A size is not an integer.
        ValueError: ``img_size`` is not positive, ``load_size`` is smaller, or no pipeline has a
            step that sets a size.
    """
    img_size = cfg.get('img_size')
    if img_size is None:
        return
    load_size = cfg.get('load_size')
    if load_size is None:
        load_size = _check_integer('img_size', img_size) + 30
    if _check_integer('img_size', img_size) < 1:
        raise ValueError(f'img_size must be positive, got {img_size}.')
    if _check_integer('load_size', load_size) < img_size:
        raise ValueError(
            f'load_size ({load_size}) must be at least img_size ({img_size}), or None for '
            'img_size + 30.'
        )
    steps = [
        _set_pipeline(pipeline, img_size, load_size) for pipeline in _pipelines(dict(cfg.items()))
    ]
    if not any(steps):
        raise ValueError(
            'img_size is set, but no pipeline of this config has a Resize or Crop step, or a '
            'LoadRGBImage with a scale.'
        )
    _set_fields(cfg.get('model'), img_size)


def _set_pipeline(pipeline: list, img_size: int, load_size: int) -> int:
    """Set the sizes of one pipeline; returns how many steps have one."""
    crop_follows = False
    count = 0
    for step in reversed(pipeline):
        kind = step.get('type') if isinstance(step, dict) else None
        if kind == 'Crop':
            step['crop_size'] = (img_size, img_size)
            crop_follows = True
        elif kind == 'Resize' or (kind == 'LoadRGBImage' and step.get('scale')):
            side = load_size if crop_follows else img_size
            step['scale'] = (side, side)
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


def _set_fields(node: object, img_size: int) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'img_size':
                node[key] = img_size
            else:
                _set_fields(value, img_size)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _set_fields(value, img_size)


def _check_integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'{name} must be an integer, got {value!r}.')
    return value
