"""The networks that a file of weights needs."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor

from ..messages import first_line, listed, printable
from ..models.base import TRANSLATION_MODELS, UnpairedTranslation
from .inspection import check_plain

FIRST = 'UGATIT'  # the model of files that name none, from when it was the only one


def kind_of(networks: Mapping[str, Any]) -> type[UnpairedTranslation]:
    """Return the registered model that a description names.

    Raises:
        ValueError: The model does not exist.
    """
    name = networks.get('type', FIRST)
    if not isinstance(name, str) or name not in TRANSLATION_MODELS:
        raise ValueError(
            f'its model must be one of {sorted(TRANSLATION_MODELS)}, got {printable(repr(name))}'
        )
    return TRANSLATION_MODELS[name]


def describe(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read from weights which networks they need, for the model whose names match.

    Args:
        state: A state dict of a registered model; parts for training only may be absent.

    Returns:
        dict: As :meth:`UnpairedTranslation.networks_of`.

    Raises:
        ValueError: No model has these weights.
    """
    errors = []
    for kind in TRANSLATION_MODELS.values():
        try:
            return kind.describe(state)
        except (IndexError, ValueError) as error:  # IndexError: a tensor lacks the dimension
            errors.append(f'{kind.ROW}: {first_line(error)}')
    raise ValueError(f'no known model has these weights ({"; ".join(errors)})')


def build_model(networks: Mapping[str, Any], state: Mapping[str, Tensor]) -> UnpairedTranslation:
    """Build a model for weights and load them.

    Args:
        networks: As :func:`describe` returns it, with any field of the model's networks.
        state: Weights; parts for training only may be absent.

    Raises:
        ValueError: As :func:`check_complete`.
    """
    fields = check_complete(networks, state)
    model = kind_of(networks)(**fields)
    load_weights(model, state)
    return model


def check_complete(networks: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Compare weights with the complete model that a description names, before building it.

    Args:
        networks: As for :func:`build_model`; may come from an untrusted file.
        state: Weights.

    Returns:
        dict: Arguments of the model; no networks for parts that ``state`` lacks.

    Raises:
        ValueError: A field is unknown or out of bounds, or the weights are not exactly those of the
            networks.
    """
    check_plain(networks, 'networks')
    kind = kind_of(networks)
    fields = {key: value for key, value in networks.items() if key != 'type'}
    if unknown := fields.keys() - set(kind.described()):
        raise ValueError(f'{kind.__name__} has no field {listed(unknown, 3)}')
    present = {kind.PARTS[part] for part in kind.PARTS if _has(state, part)}
    present |= {kind.PARTS[part] for part in kind.TRANSLATES}
    for field, network in kind.NETWORKS.items():
        if field not in present:
            fields.pop(field, None)
            continue
        check_plain(fields.get(field) or {}, field)
        fields[field] = dict(fields.get(field) or {})
        name = fields[field].setdefault('type', network.__name__)
        if name != network.__name__:
            raise ValueError(f'{field}.type must be {network.__name__}, got {name!r}')
        _check_bounds(field, fields[field], network, kind.BOUNDS.get(field, {}))
    try:
        with torch.device('meta'):  # needs no memory, whatever the sizes
            expected = kind(**fields, channels_last=False).state_dict()
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f'networks: {first_line(error)}') from error
    check_weights({key: value.shape for key, value in expected.items()}, state)
    return fields


def _has(state: Mapping[str, Tensor], part: str) -> bool:
    return any(key.startswith(f'{part}.') for key in state)


def _check_bounds(
    field: str, fields: Mapping[str, Any], network: type, bounds: Mapping[str, int]
) -> None:
    for name, parameter in inspect.signature(network).parameters.items():
        if name not in bounds or (value := fields.get(name, parameter.default)) is None:
            continue
        several = isinstance(parameter.default, tuple) or name == 'img_size'
        numbers = value if several and isinstance(value, (tuple, list)) else [value]
        if any(type(number) is not int or not 1 <= number <= bounds[name] for number in numbers):
            raise ValueError(f'{field}.{name} must be 1 to {bounds[name]}, got {value!r}')


def weights_of(content: Mapping[str, Any], parts: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Extract the networks' weights from a file's content, as float32.

    Args:
        content: A checkpoint, or weights by name.
        parts: Parts to extract; by default the parts of all models.

    Raises:
        ValueError: There is no state dict, or an entry is not a weight.
    """
    state = content.get('state_dict', content)
    if not isinstance(state, Mapping):
        raise ValueError(f'state_dict must hold weights by name, got {type(state).__name__}')
    if parts is None:
        parts = [part for kind in TRANSLATION_MODELS.values() for part in kind.PARTS]
    prefixes = tuple(f'{part}.' for part in parts)
    found = {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(prefixes)
    }
    if bad := [
        key
        for key, value in found.items()
        if not isinstance(value, Tensor) or not value.is_floating_point()
    ]:
        raise ValueError(f'{printable(bad[0])} is not a weight')
    if bad := [key for key, value in found.items() if not value.isfinite().all()]:
        raise ValueError(f'{printable(bad[0])} is not finite: NaN or infinite numbers in it')
    return {key: value.float() for key, value in found.items()}


def load_weights(
    model: UnpairedTranslation, state: Mapping[str, Tensor], parts: Iterable[str] | None = None
) -> None:
    """Load weights into a model, all or none; files, tests and trainings all use this.

    Args:
        model: The model itself; its parts may be in distributed wrappers.
        state: Weights of the parts, as :func:`weights_of` returns them.
        parts: Parts to load, by default all; the others keep their weights.

    Raises:
        ValueError: They are not exactly those of the parts.
    """
    prefixes = tuple(f'{part}.' for part in (model.PARTS if parts is None else parts))
    own = model.state_dict()  # without the names of wrappers
    try:
        check_weights({k: own[k].shape for k in own if k.startswith(prefixes)}, state)
    except ValueError as error:
        fields = ', '.join(f'model.{field}' for field in (*model.FIELDS, *model.NETWORKS))
        raise ValueError(f'{error}. Check {fields} in the config') from error
    load_state_dict(model, own | state, strict=True)  # MMEngine's goes through the wrappers


def check_weights(expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> None:
    """Compare weights with the shapes of the networks.

    Raises:
        ValueError: Some are missing, unknown or of another shape.
    """
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    shapes = [
        f'{key} {tuple(state[key].shape)} instead of {tuple(shape)}'
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    ]
    parts = (('missing', missing), ('unknown', unknown), ('of another shape', shapes))
    if said := '; '.join(f'{len(keys)} {what} ({listed(keys, 3)})' for what, keys in parts if keys):
        raise ValueError(f'the weights do not fit the networks: {said}')
