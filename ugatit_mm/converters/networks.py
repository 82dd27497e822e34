"""What networks a file of weights belongs to."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..domains import DOMAINS
from ..messages import first_line, listed, printable
from ..models import UGATIT, UGATITDiscriminator, UGATITGenerator
from .inspection import check_plain

PREFIXES = ('generators.', 'discriminators.')
MAX_BLOCKS = 64
# A description comes from a file: what is built from it is bounded before anything is built.
BOUNDS = {'in_channels': 64, 'out_channels': 64, 'base_channels': 4096, 'num_blocks': MAX_BLOCKS}
BOUNDS |= {'img_size': 8192, 'norm_groups': 4096}
MAX_LAYERS = 16


def describe(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read recipe and sizes of the networks off their weights.

    Args:
        state: A state dict of :class:`UGATIT`; the discriminators may be absent.

    Returns:
        dict: ``recipe``, ``generator`` and, where there are any, ``discriminator``: the fields
        that a config needs to build networks for these weights. ``img_size`` is there for full
        models alone. What no weight shows (``unbiased``, ``rho_smoothing``) is the recipe's.

    Raises:
        ValueError: These are not the weights of two generators.
    """
    found = {domain: _generator(state, f'generators.{domain}.') for domain in DOMAINS}
    if found['A'] != found['B']:
        raise ValueError(f'the generators differ: {found["A"]} and {found["B"]}')
    recipe, generator = found['A']
    networks = {'recipe': recipe, 'generator': generator}
    if discriminator := _discriminator(state):
        networks['discriminator'] = discriminator
    return networks


def build_model(networks: Mapping[str, Any], state: Mapping[str, Tensor]) -> UGATIT:
    """Build a model for weights and load them.

    Args:
        networks: As :func:`describe` gives it; also ``domains``, ``default_domain`` and any field
            of :class:`UGATITGenerator` and :class:`UGATITDiscriminator`.
        state: Weights; those of the discriminators may be absent.

    Raises:
        ValueError: As :func:`check_complete`.
    """
    parts = check_complete(networks, state)
    names = {key: networks[key] for key in ('domains', 'default_domain') if key in networks}
    model = UGATIT(**parts, **names, recipe=networks.get('recipe', 'tensorflow'))
    model.load_state_dict(state)
    return model


def check_complete(
    networks: Mapping[str, Any], state: Mapping[str, Tensor]
) -> dict[str, dict[str, Any]]:
    """Compare weights with the networks that they are said to be of, before these are built.

    Args:
        networks: As for :func:`build_model`; it may come from a stranger's file.
        state: Weights.

    Returns:
        dict: Configs of ``generator`` and, if ``state`` has some, ``discriminator``.

    Raises:
        ValueError: A field is unknown or out of bounds, or the weights are not those of such
            networks, no more and no less.
    """
    check_plain(networks, 'networks')
    kinds = {'generator': UGATITGenerator, 'discriminator': UGATITDiscriminator}
    if not any(key.startswith('discriminators.') for key in state):
        kinds.pop('discriminator')
    parts, expected = {}, {}
    for part, kind in kinds.items():
        check_plain(networks.get(part) or {}, part)
        fields = dict(networks.get(part) or {})
        name = fields.pop('type', kind.__name__)
        if name != kind.__name__:
            raise ValueError(f'{part}.type must be {kind.__name__}, got {name!r}')
        _check_bounds(part, fields)
        try:
            with FakeTensorMode():  # takes no memory, whatever the sizes
                one = kind(recipe=networks.get('recipe', 'tensorflow'), **fields).state_dict()
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f'{part}: {first_line(error)}') from error
        expected |= {f'{part}s.{d}.{key}': v.shape for d in DOMAINS for key, v in one.items()}
        parts[part] = {'type': kind.__name__, **fields}
    check_weights(expected, state)
    return parts


def weights_of(state: Any) -> dict[str, Tensor]:
    """Take the networks' weights out of a state dict, in float32, in which all of them compute.

    Raises:
        ValueError: It is none, or something in it is no weight.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f'state_dict must hold weights by name, got {type(state).__name__}')
    found = {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(PREFIXES)
    }
    if bad := [
        key
        for key, value in found.items()
        if not isinstance(value, Tensor) or not value.is_floating_point()
    ]:
        raise ValueError(f'{printable(bad[0])} is no weight')
    if bad := [key for key, value in found.items() if not value.isfinite().all()]:
        raise ValueError(f'{printable(bad[0])} is not finite: NaN or infinite numbers in it')
    return {key: value.float() for key, value in found.items()}


def check_weights(expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> None:
    """Compare weights with the shapes that the networks have.

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


def _generator(state: Mapping[str, Tensor], prefix: str) -> tuple[str, dict[str, Any]]:
    def weight(name: str) -> Tensor:
        if prefix + name not in state:
            raise ValueError(f'the weights lack {prefix}{name}')
        return state[prefix + name]

    first = weight('encoder.0.conv.weight')
    base = first.size(0)
    weight('blocks.0.norm1.rho')  # AdaLIN; other norms cannot be told apart by their weights
    flat = weight('mlp.fc1.weight').size(1)
    fields = {
        'in_channels': first.size(1),
        'out_channels': weight('decoder.2.weight').size(0),
        'base_channels': base,
        'num_blocks': len(
            {key.split('.')[3] for key in state if key.startswith(f'{prefix}blocks.')}
        ),
        'light': flat == 4 * base,
    }
    if not fields['light']:
        side = round((flat / (4 * base)) ** 0.5)
        if side * side * 4 * base != flat:
            raise ValueError(
                f'{prefix}mlp.fc1.weight takes {flat} inputs, no square of {4 * base} channels'
            )
        fields['img_size'] = 4 * side
    if not any(key.startswith(f'{prefix}cam.') for key in state):
        fields['cam'] = False
    return ('tensorflow' if f'{prefix}encoder.0.conv.bias' in state else 'pytorch'), fields


def _discriminator(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    kernels: dict[str, list[Tensor]] = {'global': [], 'local': []}
    for key, value in state.items():
        if value.dim() == 4 and (found := FEATURES.match(key)):
            kernels[found[1]].append(value)
    if not any(kernels.values()):
        return None
    if not all(kernels.values()):
        raise ValueError('a discriminator lacks its global or its local scale')
    first = kernels['global'][0]
    # num_layers counts the logits' convolution too, as the official programs do.
    layers = tuple(len(of_scale) + 1 for of_scale in kernels.values())
    return {'in_channels': first.size(1), 'base_channels': first.size(0), 'num_layers': layers}


FEATURES = re.compile(r'discriminators\.A\.scales\.(global|local)\.features\.\d+\.')


def _check_bounds(part: str, fields: Mapping[str, Any]) -> None:
    for name, bound in BOUNDS.items():
        value = fields.get(name, 1)
        if value is not None and (type(value) is not int or not 1 <= value <= bound):
            raise ValueError(f'{part}.{name} must be 1 to {bound}, got {value!r}')
    layers = fields.get('num_layers', (7, 5))
    if not isinstance(layers, (tuple, list)) or any(
        type(value) is not int or value > MAX_LAYERS for value in layers
    ):
        raise ValueError(
            f'{part}.num_layers must be two numbers up to {MAX_LAYERS}, got {layers!r}'
        )
