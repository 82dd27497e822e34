"""What the restated programs share."""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import nn


class Order:
    """Networks by their official names.

    Attributes:
        networks: By name.
    """

    networks: nn.ModuleDict

    def load_state_dict(self, checkpoint: dict[str, dict]) -> None:
        """Load official state dicts by network, strictly; the optimisers keep what they have.

        Raises:
            ValueError: They are of other networks.
            RuntimeError: A network's keys or shapes differ.
        """
        if set(checkpoint) != set(self.networks):
            raise ValueError(
                f'the networks {sorted(self.networks)} are needed, not {sorted(checkpoint)}'
            )
        for name, network in self.networks.items():
            network.load_state_dict(checkpoint[name])

    def state_dict(self) -> dict[str, dict]:
        """The official state dicts by network; their tensors are the networks' own, not copies."""
        return {name: network.state_dict() for name, network in self.networks.items()}


def adam(networks: Iterable[nn.Module], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam of some networks, with the betas of all programs."""
    parameters = chain.from_iterable(network.parameters() for network in networks)
    return torch.optim.Adam(parameters, lr, (0.5, 0.999), weight_decay=weight_decay)
