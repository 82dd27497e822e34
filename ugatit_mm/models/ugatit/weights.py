"""Recipe and sizes of U-GAT-IT's networks, read from their weights."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...domains import DOMAINS

MAX_BLOCKS = 64
FEATURES = re.compile(r'discriminators\.([AB])\.scales\.(global|local)\.features\.\d+\.')


def describe(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read recipe and sizes of the networks from their weights.

    Args:
        state: A state dict of :class:`UGATIT`; the discriminators and one generator may be absent.

    Returns:
        dict: ``recipe``, ``generator`` and, if present, ``discriminator``: the fields that a config
            needs to build networks for these weights; ``targets`` if there is only one generator;
            ``img_size`` only for full models. Fields that no weight shows (``unbiased``,
            ``rho_smoothing``) are the recipe's.

    Raises:
        ValueError: The weights are not those of one generator or two.
    """
    targets = [x for x in DOMAINS if any(str(k).startswith(f'generators.{x}.') for k in state)]
    if not targets:
        raise ValueError('there is no generator')
    recipe, generator = _generator(state, f'generators.{targets[0]}.')
    networks: dict[str, Any] = {'recipe': recipe, 'generator': generator}
    if len(targets) < len(DOMAINS):
        networks['targets'] = targets
    elif (other := _generator(state, 'generators.B.')) != (recipe, generator):
        raise ValueError(f'the generators differ: {(recipe, generator)} and {other}')
    if discriminator := _discriminator(state, targets[0]):
        networks['discriminator'] = discriminator
    return networks


def _generator(state: Mapping[str, Tensor], prefix: str) -> tuple[str, dict[str, Any]]:
    def weight(name: str) -> Tensor:
        if prefix + name not in state:
            raise ValueError(f'the weights lack {prefix}{name}')
        return state[prefix + name]

    first = weight('encoder.0.conv.weight')
    base = first.size(0)
    weight('blocks.0.norm1.rho')  # AdaLIN; other norms have indistinguishable weights
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
                f'{prefix}mlp.fc1.weight takes {flat} inputs, not a square of {4 * base} channels: '
                'give the config of the training, which says height and width'
            )
        fields['img_size'] = 4 * side
    if not any(key.startswith(f'{prefix}cam.') for key in state):
        fields['cam'] = False
    return ('tensorflow' if f'{prefix}encoder.0.conv.bias' in state else 'pytorch'), fields


def _discriminator(state: Mapping[str, Tensor], domain: str) -> dict[str, Any] | None:
    kernels: dict[str, list[Tensor]] = {'global': [], 'local': []}
    for key, value in state.items():
        if value.dim() == 4 and (found := FEATURES.match(key)) and found[1] == domain:
            kernels[found[2]].append(value)
    if not any(kernels.values()):
        return None
    if not all(kernels.values()):
        raise ValueError('a discriminator lacks its global or its local scale')
    first = kernels['global'][0]
    # num_layers counts the logits' convolution too, as the official programs do.
    layers = tuple(len(of_scale) + 1 for of_scale in kernels.values())
    return {'in_channels': first.size(1), 'base_channels': first.size(0), 'num_layers': layers}
