"""Words for the tables: how a config of U-GAT-IT differs from the paper's."""

from collections.abc import Mapping
from typing import Any

from ...domains import DOMAINS, names_in

PAPER_LOSSES = {'gan': 1, 'cycle': 10, 'identity': 10, 'cam': 1000}
# Norm of the decoder, attention of generator and discriminator: the row of Table 1.
ABLATIONS = {
    ('adalin', True, True): 'adalin',
    ('in', True, True): 'in',
    ('ln', True, True): 'ln',
    ('adain', True, True): 'adain',
    ('gn', True, True): 'gn',
    ('adalin', False, False): 'no_cam',
    ('adalin', False, True): 'no_g_cam',
    ('adalin', True, False): 'no_d_cam',
}


def ablation(model: Mapping[str, Any]) -> str | None:
    """Return a model's row of Table 1 (a key of ``evaluation.paper.TABLE_1``), or ``None``."""
    generator, discriminator = model['generator'], model['discriminator']
    return ABLATIONS.get((generator['norm'], generator['cam'], discriminator['cam']))


def words(model: Mapping[str, Any]) -> list[str]:
    """Return what must agree between two runs for their metrics to share a table.

    Args:
        model: The config's model dict, with all fields of ``configs/_base_``.
    """
    generator, discriminator = model['generator'], model['discriminator']
    said = ['light' if generator['light'] else 'full']
    if (g := generator['base_channels'], d := discriminator['base_channels']) != (64, 64):
        said.append(f'{g} channels' if g == d else f'{g} and {d} channels')
    if generator['num_blocks'] != 4:
        said.append(f'{generator["num_blocks"]} blocks')
    if (layers := tuple(discriminator['num_layers'])) != (7, 5):
        said.append(f'{layers[0]} and {layers[1]} discriminator layers')
    if model['recipe'] != 'tensorflow':
        said.append(f'{model["recipe"]} recipe')
    for name, weight in PAPER_LOSSES.items():
        if model['loss_config'][name] != weight:
            said.append(f'{name} loss {model["loss_config"][name]:g}')
    cycles = names_in(model.get('cycle_domains', DOMAINS))
    if len(cycles) < 2:
        said.append(f'cycle of {cycles[0]} only' if cycles else 'no cycle')
    if noise := model.get('cycle_noise'):
        said.append(f'noise of {noise:g} in cycles')
    return said
