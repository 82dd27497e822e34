"""Adam in TensorFlow's form, as one optimiser that updates several networks in turn."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from mmagic.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer

from ..kernels.adam import Settings, adam

LAST = 1e9  # a step count t whose beta^t is 0


@OPTIMIZERS.register_module()
class TFAdam(Optimizer):
    """Adam in TensorFlow 1's form, with powers of the betas that several optimisers share.

    ``w -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)``: unlike torch's, ``eps``
    is not divided by the bias correction of ``v``. AGGAN's program updates four networks by one
    optimiser whose ``t`` counts every update of any of them, so that its steps are up to twice as
    long for the first thousand iterations. Here each network has an optimiser, whose n-th update
    has ``t = place + of * (n - 1)``: with ``of=1, place=1`` it shares nothing.

    The update is torch's fused kernel. A step never synchronises with a GPU: t is a tensor on the
    device, the learning rate may be one, and ``found_inf`` and ``grad_scale``, which a
    ``GradScaler`` or the training step sets, are read there. Where ``found_inf`` is 1, weights,
    moments and t stay as they are.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate, a number or a scalar on the device.
        betas: Decay of the first and of the second moment.
        eps: Added to the root of the second moment.
        weight_decay: This times the parameter is added to the gradient.
        of: Number of optimisers that share the powers, each with one update in an iteration.
        place: Position of this one among them, from 1, in the order of the updates.
        fused: Must be ``True``; accepted so that a config replaces ``Adam`` by ``type`` only.

    Raises:
        ValueError: A value out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        of: int = 1,
        place: int = 1,
        fused: bool = True,
    ) -> None:
        if not fused:
            raise ValueError("TFAdam has only torch's fused kernel: leave optimizer.fused=True")
        for name, value in (('lr', lr), ('eps', eps), ('weight_decay', weight_decay)):
            if not value >= 0:
                raise ValueError(f'optimizer.{name} must be 0 or more, got {value}')
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f'optimizer.betas must lie in [0, 1), got {betas}')
        if not 1 <= place <= of:
            raise ValueError(f'optimizer.place must be 1 to optimizer.of={of}, got {place}')
        defaults = {'lr': lr, 'betas': betas, 'eps': eps, 'weight_decay': weight_decay}
        # With fused, torch's load_state_dict puts steps on the device, and MMEngine's wrappers and
        # ours know that found_inf is read.
        super().__init__(params, defaults | {'of': of, 'place': place, 'fused': True})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load as torch; parameters with a state share t again, also without a gradient."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            shared: dict[torch.device, Tensor] = {}
            for state in (self.state[p] for p in group['params'] if p in self.state):
                state['step'] = shared.setdefault(state['step'].device, state['step'])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and the gradients again.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_device = defaultdict(list)
            for parameter in group['params']:
                if parameter.grad is not None:
                    by_device[parameter.device].append(parameter)
            for device, parameters in by_device.items():
                self._update(group, device, parameters)
        return loss

    def _update(
        self, group: dict[str, Any], device: torch.device, parameters: list[Tensor]
    ) -> None:
        """Update the parameters of a group on one device."""
        states = [self.state[parameter] for parameter in parameters]
        # One t for all, also for parameters that get their first gradient now.
        t = next((state['step'] for state in states if state), None)
        if t is None:
            t = torch.full((), float(group['place'] - group['of']), device=device)
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state['exp_avg'] = torch.zeros_like(parameter)
                state['exp_avg_sq'] = torch.zeros_like(parameter)
            state['step'] = t
        t += group['of']
        scale, skip = (
            value if value is None else value.to(device, non_blocking=True)
            for value in (getattr(self, 'grad_scale', None), getattr(self, 'found_inf', None))
        )
        logs, last = _constants(device, *group['betas'])
        below_one = torch.expm1(t * logs).neg_()  # 1 - beta^t of both
        rate = below_one[1].sqrt() / below_one[0] * group['lr']
        adam(
            tuple(parameters),
            tuple(parameter.grad for parameter in parameters if parameter.grad is not None),
            tuple(state['exp_avg'] for state in states),
            tuple(state['exp_avg_sq'] for state in states),
            [last] * len(parameters),
            Settings(rate, group['betas'], group['eps'], group['weight_decay'], scale, skip),
        )
        if skip is not None:
            t.sub_(skip, alpha=group['of'])


@cache
def _constants(device: torch.device, beta1: float, beta2: float) -> tuple[Tensor, Tensor]:
    """Logarithms of the betas, and a step count at which the bias corrections are 1."""
    logs = [math.log(beta) if beta else -math.inf for beta in (beta1, beta2)]
    return torch.tensor(logs, device=device), torch.full((), LAST, device=device)
