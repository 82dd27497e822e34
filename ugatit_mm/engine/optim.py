"""Optimisers: weight decay of the recipes, bfloat16 and float16."""

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmagic.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from ..messages import check_choice
from ..models.base import unwrap
from ..models.layers import raw_weight
from .preflight import PreflightError, refusing

WEIGHT_DECAY_SCOPES = ('kernels', 'all')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class UGATITOptimWrapperConstructor:
    """Build the optimiser wrappers of a translation model, by the names of its ``OPTIMIZED``.

    U-GAT-IT's TensorFlow program adds ``1e-4 / 2 * sum(w^2)`` over the kernels to the loss, which
    is Adam's (coupled) weight decay of only the kernels; the PyTorch program decays all parameters,
    rho, gamma, beta and biases too.

    Args:
        optim_wrapper_cfg: For each name the config of a wrapper with its ``optimizer``; and
            ``weight_decay_scope``, ``'kernels'`` or ``'all'``, by default the model's.
        paramwise_cfg: Not supported.

    Raises:
        ValueError: A key is missing or unknown.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg is not None:
            raise ValueError(
                'paramwise_cfg is not supported; optim_wrapper.weight_decay_scope chooses the '
                'parameters that decay'
            )
        cfg = dict(optim_wrapper_cfg)
        self.scope: str | None = cfg.pop('weight_decay_scope', None)
        self.wrappers = cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Return the wrappers by name.

        Args:
            model: An :class:`UnpairedTranslation`, wrapped or not.

        Raises:
            ValueError: A key is missing or unknown.
            PreflightError: The model lacks something that training needs.
        """
        inner = unwrap(model)
        if self.wrappers.keys() != inner.OPTIMIZED.keys():
            raise ValueError(
                f'optim_wrapper takes {", ".join(inner.OPTIMIZED)} and weight_decay_scope, got '
                f'{sorted(self.wrappers)}'
            )
        with refusing():
            inner.check_trainable()
        scope = inner.weight_decay_scope if self.scope is None else self.scope
        check_choice('optim_wrapper.weight_decay_scope', scope, WEIGHT_DECAY_SCOPES)
        wrappers = {}
        for name, cfg in self.wrappers.items():
            cfg = dict(cfg)
            cfg.setdefault('type', 'OptimWrapper')
            if (count := cfg.get('accumulative_counts', 1)) > 1 and not inner.ACCUMULATES:
                raise PreflightError(
                    f'optim_wrapper.{name}.accumulative_counts={count}: {inner.ROW} updates at '
                    'each batch, leave it at 1'
                )
            optimizer = dict(cfg.pop('optimizer'))
            optimizer['params'] = parameter_groups(inner.optimized(name), scope)
            wrappers[name] = OPTIM_WRAPPERS.build(cfg | {'optimizer': OPTIMIZERS.build(optimizer)})
        return OptimWrapperDict(**wrappers)


def parameter_groups(networks: Sequence[nn.Module], scope: str) -> list[dict[str, Any]]:
    """Split the parameters by whether weight decay applies to them.

    Args:
        networks: Any modules.
        scope: ``'kernels'``: raw weights of convolutions and linear layers; ``'all'``.

    Returns:
        Parameter groups for an optimiser; those without decay have ``weight_decay=0``.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    if scope == 'all':
        return [{'params': parameters}]
    kernels = [
        raw_weight(layer)
        for network in networks
        for layer in network.modules()
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
    ]
    decayed = {id(kernel) for kernel in kernels}
    rest = [parameter for parameter in parameters if id(parameter) not in decayed]
    groups = [{'params': kernels}]
    return [*groups, {'params': rest, 'weight_decay': 0.0}] if rest else groups


AUTOCAST_DTYPES = ('bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 or float16, on a CPU as on a GPU.

    Losses, CAM logits, the MLP, the statistics of norms and spectral normalisation stay in float32
    with both. bfloat16 has float32's range. float16 has not: its loss is scaled by a factor that
    adapts to overflows, and a step whose gradients overflowed is skipped. MMEngine's
    ``AmpOptimWrapper`` does the same on a GPU only.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``.
        loss_scale: Initial loss scale of float16.
        kwargs: For ``OptimWrapper``.

    Raises:
        ValueError: Another dtype.
    """

    def __init__(self, dtype: str = 'bfloat16', loss_scale: float = 2.0**16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice('optim_wrapper dtype', dtype, AUTOCAST_DTYPES)
        self.dtype = getattr(torch, dtype)
        device = self.optimizer.param_groups[0]['params'][0].device.type
        self.loss_scaler = torch.amp.GradScaler(
            device, init_scale=loss_scale, enabled=self.dtype is torch.float16
        )

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute the gradients of the scaled loss."""
        super().backward(self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update, unless float16's gradients overflowed, and adapt the scale."""
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()

    def step_where(self, skip: Tensor, taken: Tensor) -> None:
        """Update as :meth:`step` does, with the decision on the device.

        Args:
            skip: 1 where weights and moments stay as they are, 0-dim float32.
            taken: Whether the scale is adapted, 0-dim bool.
        """
        scaler = self.loss_scaler
        scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.optimizer.found_inf = skip
        self.optimizer.step()
        del self.optimizer.found_inf
        # GradScaler cannot skip the update of its own state.
        state: Any = scaler._scale, scaler._growth_tracker
        before = [tensor.clone() for tensor in state]
        scaler.update()
        for tensor, old in zip(state, before, strict=True):
            torch.where(taken, tensor, old, out=tensor)

    def state_dict(self) -> dict:
        """State of the optimiser and of float16's loss scale."""
        return super().state_dict() | {'loss_scaler': self.loss_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a :meth:`state_dict`, also another wrapper's (the loss scale then starts again)."""
        state_dict = dict(state_dict)
        if scaler := state_dict.pop('loss_scaler', None):
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast, without gradient synchronisation while gradients accumulate."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, self.dtype):
            yield
