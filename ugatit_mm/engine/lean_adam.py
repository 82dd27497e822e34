"""Adam with moments of 8 bits, for layers whose optimiser state would not fit.

Nearest rounding would stop the second moment: at beta2 = 0.999 an update moves it by about 0.1 %,
where two codes are 6 to 12 % apart. Stochastic rounding rounds up with the probability of the
fraction that is cut off, so that the stored moment has the right mean (Gupta et al., *Deep Learning
with Limited Numerical Precision*, ICML 2015).

bitsandbytes' ``Adam8bit`` does not replace it: on a CPU its update needs 22 bytes for each weight
of the layer, more than the two moments of Adam that it should save (docs/performance.md).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from mmagic.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer

# Parameters of fewer elements than a row of random numbers keep float32 moments: in the full
# U-GAT-IT these are 178 of 248 parameters, and 0.03 % of the weights.
from ..kernels.adam import ROW, Settings, adam, blocks, buffers, pieces, update


@OPTIMIZERS.register_module()
class LeanAdam(Optimizer):
    """Adam (coupled weight decay, ``eps`` outside the root) that stores its moments in 8 bits.

    The second moment v is stored as a number of 5 exponent bits and 3 mantissa bits times the scale
    of its block, and is at least 2^-31 of the block's largest. The first moment m is stored as
    m / sqrt(v) in 254 equal steps over its range, which the betas bound.

    The update is torch's fused kernel in float32, with the moments before they are rounded. The
    random numbers depend only on the step and the place in the parameter, so that a resumed run
    equals an uninterrupted one to the last bit. A step never synchronises with a GPU: the step
    count is a tensor on the device, the learning rate may be one, and ``found_inf`` and
    ``grad_scale``, which a ``GradScaler`` or the training step sets, are read there. Where
    ``found_inf`` is 1, weights, moments and steps stay as they are.

    Args:
        params: float32 parameters or groups of them, without gaps in memory.
        lr: Learning rate, a number or a scalar on the device.
        betas: Decay of the first and of the second moment; beta1^2 < beta2.
        eps: Added to the root of the second moment.
        weight_decay: This times the parameter is added to the gradient.
        fused: Must be ``True``; accepted so that a config replaces ``Adam`` by ``type`` only.

    Raises:
        ValueError: A value out of range, or parameters of another type or with gaps.
    """

    # GradScaler passes its tensors on, as to torch's fused optimisers.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool = True,
    ) -> None:
        if not fused:
            raise ValueError("LeanAdam has only torch's fused kernel: leave optimizer.fused=True")
        defaults = {'lr': lr, 'betas': betas, 'eps': eps, 'weight_decay': weight_decay}
        # load_state_dict recognises its own state by this.
        super().__init__(params, defaults | {'state_dtype': 'uint8'})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as in torch, and check it."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ('lr', 'eps', 'weight_decay'):
            if not group[name] >= 0:
                raise ValueError(f'optimizer.{name} must be 0 or more, got {group[name]}')
        beta1, beta2 = group['betas']
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
            raise ValueError(f'optimizer.betas must lie in [0, 1), got {group["betas"]}')
        if beta1**2 >= beta2:
            raise ValueError(f'optimizer.betas={group["betas"]}: LeanAdam needs beta1^2 < beta2')
        for parameter in group['params']:
            # torch.empty_like keeps the strides only of tensors without gaps.
            dense = torch.empty_like(parameter, device='meta').stride() == parameter.stride()
            if parameter.dtype != torch.float32 or not dense:
                raise ValueError(
                    'LeanAdam takes float32 parameters without gaps in memory, got '
                    f'{parameter.dtype}, {tuple(parameter.shape)} in strides {parameter.stride()}'
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and the gradients again.

        Returns:
            What the closure returned.

        Raises:
            ValueError: A gradient is sparse, or a parameter's memory format has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = cache(buffers)
        for group in self.param_groups:
            by_device = defaultdict(list)
            for parameter in group['params']:
                if parameter.grad is not None:
                    by_device[parameter.device].append(parameter)
            for device, parameters in by_device.items():
                self._update(parameters, self._settings(group, device), work)
        return loss

    def _settings(self, group: dict[str, Any], device: torch.device) -> Settings:
        # GradScaler sets and deletes these attributes, as on torch's fused optimisers.
        on_device: list[Any] = [
            value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for value in (
                group['lr'],
                getattr(self, 'grad_scale', None),
                getattr(self, 'found_inf', None),
            )
        ]
        return Settings(
            on_device[0], group['betas'], group['eps'], group['weight_decay'], *on_device[1:]
        )

    def _update(
        self,
        parameters: list[Tensor],
        settings: Settings,
        work: Callable[[torch.device], Tensor],
    ) -> None:
        """Update the parameters of a group on one device."""
        small: list[tuple[Tensor, ...]] = []
        steps: list[Tensor] = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state.update(_new_state(parameter))
            _check_strides(parameter, state)
            steps.append(state['step'])
        torch._foreach_add_(steps, 1)
        for parameter in parameters:
            state = self.state[parameter]
            gradient = parameter.grad
            assert gradient is not None  # step() leaves out those without
            gradient = _like(parameter, gradient)
            tensors = (parameter, gradient, *(state[name] for name in _names(parameter)))
            if parameter.numel() < ROW:
                small.append((*tensors, state['step']))
            else:
                update(*tensors, state['step'], settings, work)
        if small:
            arguments: Any = (*zip(*small, strict=True), settings)
            adam(*arguments)
        if settings.found_inf is not None:
            torch._foreach_sub_(steps, [settings.found_inf] * len(steps))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a :meth:`state_dict` with its dtypes; torch's own casts everything to float32.

        Raises:
            ValueError: It is the state of another optimiser.
        """
        if any(group.get('state_dtype') != 'uint8' for group in state_dict['param_groups']):
            raise ValueError(
                'LeanAdam cannot go on from a state of another optimizer: resume with the '
                'optimizer that the run began with, or take only its weights (load_from)'
            )
        super().load_state_dict({**state_dict, 'state': {}})
        parameters = [p for group in self.param_groups for p in group['params']]
        indices = [i for group in state_dict['param_groups'] for i in group['params']]
        for parameter, index in zip(parameters, indices, strict=True):
            if index in state_dict['state']:
                state = dict(state_dict['state'][index])
                # Older versions saved the step as a Python number.
                state['step'] = torch.as_tensor(state['step'], dtype=torch.float32)
                self.state[parameter] = {
                    name: value.to(parameter.device) for name, value in state.items()
                }


def _like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with the parameter's strides."""
    if gradient.is_sparse:
        raise ValueError('LeanAdam takes dense gradients, got a sparse one')
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _names(parameter: Tensor) -> tuple[str, ...]:
    """Names of the moments in a parameter's state."""
    if parameter.numel() < ROW:
        return 'exp_avg', 'exp_avg_sq'
    return 'exp_avg_code', 'exp_avg_sq_code', 'exp_avg_sq_scale'


def _new_state(parameter: Tensor) -> dict[str, Tensor]:
    count, step = parameter.numel(), torch.zeros((), device=parameter.device)
    if count < ROW:
        moments = [torch.zeros_like(parameter) for _ in range(2)]
    else:
        scales = sum(blocks(stop - start) for start, stop in pieces(count, ROW))
        moments = [
            torch.zeros_like(parameter, dtype=torch.int8),
            torch.zeros_like(parameter, dtype=torch.uint8),
            torch.zeros(scales, device=parameter.device),
        ]
    return {'step': step} | dict(zip(_names(parameter), moments, strict=True))


def _check_strides(parameter: Tensor, state: dict[str, Tensor]) -> None:
    for name, value in state.items():
        if name not in ('step', 'exp_avg_sq_scale') and value.stride() != parameter.stride():
            raise ValueError(
                f'a parameter has strides {parameter.stride()}, its optimizer state '
                f'{value.stride()}: keep the memory format (channels_last) of the checkpoint'
            )
