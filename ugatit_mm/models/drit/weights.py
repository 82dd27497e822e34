"""Configs of DRIT's networks, read from the shapes of their weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...domains import DOMAINS, other


def networks_in(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the configs of the networks by field, and ``targets`` if there is only one.

    Args:
        state: Weights; one direction, or the networks for training only, may be absent.

    Raises:
        ValueError: DRIT's generator is missing.
    """
    targets = [x for x in DOMAINS if any(key.startswith(f'generators.{x}.') for key in state)]
    if not targets:
        raise ValueError('there is no generator')
    target = targets[0]
    encoder = _shape(state, f'encoders.{other(target)}.first.weight')
    generator = f'generators.{target}'
    last, width = _shape(state, f'{generator}.last.weight'), encoder[0]
    concat = f'{generator}.mlp.0.weight' not in state
    if concat:
        style_dim = _shape(state, f'{generator}.blocks.0.conv1.weight')[0] - 4 * width
    else:
        style_dim = _shape(state, f'{generator}.mlp.0.weight')[1]
    both = {'base_channels': width, 'style_dim': style_dim, 'concat': concat}
    networks: dict[str, Any] = {
        'encoder': {'in_channels': encoder[1], 'base_channels': width},
        'generator': {'out_channels': last[0], **both},
    }
    if len(targets) < len(DOMAINS):
        networks['targets'] = targets
    first = _first(state, f'attribute_encoders.{target}.', ('first', 'convs.0'))
    networks['attribute_encoder'] = {**both, 'in_channels': first[1], 'base_channels': first[0]}
    if any(key.startswith(f'discriminators.{target}.') for key in state):
        networks['discriminator'] = _discriminator(state, f'discriminators.{target}.scales.')
    convs = _kernels(state, 'content_discriminator.shared.convs.')
    if convs:
        networks['content_discriminator'] = {
            'base_channels': convs[0].size(0) // 4,
            'num_layers': len(convs) - 1,
        }
    return networks


def _discriminator(state: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    scales = {key.removeprefix(prefix).split('.')[0] for key in state if key.startswith(prefix)}
    kernels = _kernels(state, f'{prefix}0.')
    if not kernels:
        raise ValueError(f'{prefix}0 has no convolution')
    first = kernels[0]
    return {
        'in_channels': first.size(1),
        'base_channels': first.size(0),
        'num_scales': len(scales),
        'num_layers': len(kernels) - 1,
        'kernel_size': first.size(2),
        'spectral_norm': any('.parametrizations.' in key for key in state if prefix in key),
    }


def _kernels(state: Mapping[str, Tensor], prefix: str) -> list[Tensor]:
    """Return the kernels of convolutions, in layer order."""
    found = [key for key in state if key.startswith(prefix) and state[key].dim() == 4]
    return [state[key] for key in found]


def _first(state: Mapping[str, Tensor], prefix: str, names: tuple[str, ...]) -> tuple[int, ...]:
    for name in names:
        if f'{prefix}{name}.weight' in state:
            return _shape(state, f'{prefix}{name}.weight')
    raise ValueError(f'there is no {prefix}{names[0]}.weight')


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    if key not in state:
        raise ValueError(f'there is no {key}')
    return tuple(state[key].shape)
