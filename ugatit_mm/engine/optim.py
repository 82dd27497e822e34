"""Optimisers: weight decay as the recipes have it, and bfloat16."""

from contextlib import contextmanager
from typing import Any

import torch
from mmagic.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from ..models.layers import raw_weight
from ..models.ugatit.pairs import unwrap
from ..models.ugatit.recipes import check_choice, resolve

WEIGHT_DECAY_SCOPES = ('kernels', 'all')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class UGATITOptimWrapperConstructor:
    """Build the wrappers of the generators and of the discriminators.

    The TensorFlow program adds ``1e-4 / 2 * sum(w^2)`` over the kernels to the loss, which is
    Adam's (coupled) weight decay of the kernels alone; the PyTorch program decays all parameters,
    rho, gamma, beta and biases too.

    Args:
        optim_wrapper_cfg: ``generators`` and ``discriminators``, each the config of a wrapper with
            its ``optimizer``; ``weight_decay_scope``, ``'kernels'`` or ``'all'``, is the model's
            recipe's if it is not given.
        paramwise_cfg: Not supported.

    Raises:
        ValueError: A key is missing or unknown.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg is not None:
            raise ValueError(
                'paramwise_cfg is not supported; optim_wrapper.weight_decay_scope chooses what '
                'weight decay takes'
            )
        cfg = dict(optim_wrapper_cfg)
        self.scope: str | None = cfg.pop('weight_decay_scope', None)
        if set(cfg) != {'generators', 'discriminators'}:
            raise ValueError(
                'optim_wrapper takes generators, discriminators and weight_decay_scope, got '
                f'{sorted(cfg)}'
            )
        self.wrappers = cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Return the wrappers by name; ``model`` is a :class:`UGATIT`, wrapped or not."""
        model = unwrap(model)
        scope = resolve(model.recipe, 'optimizer', weight_decay_scope=self.scope)[
            'weight_decay_scope'
        ]
        check_choice('optim_wrapper.weight_decay_scope', scope, WEIGHT_DECAY_SCOPES)
        wrappers = {}
        for name, cfg in self.wrappers.items():
            cfg = dict(cfg)
            cfg.setdefault('type', 'OptimWrapper')
            optimizer = dict(cfg.pop('optimizer'))
            optimizer['params'] = parameter_groups(getattr(model, name), scope)
            wrappers[name] = OPTIM_WRAPPERS.build(cfg | {'optimizer': OPTIMIZERS.build(optimizer)})
        return OptimWrapperDict(**wrappers)


def parameter_groups(networks: nn.Module, scope: str) -> list[dict[str, Any]]:
    """Split the parameters by whether weight decay takes them.

    Args:
        networks: Any module.
        scope: ``'kernels'``: raw weights of convolutions and linear layers; ``'all'``.

    Returns:
        Parameter groups for an optimiser; what is not decayed has ``weight_decay=0``.
    """
    if scope == 'all':
        return [{'params': list(networks.parameters())}]
    kernels = [
        raw_weight(layer)
        for layer in networks.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    decayed = {id(kernel) for kernel in kernels}
    rest = [parameter for parameter in networks.parameters() if id(parameter) not in decayed]
    groups = [{'params': kernels}]
    return [*groups, {'params': rest, 'weight_decay': 0.0}] if rest else groups


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Forward passes in bfloat16, on a CPU as on a GPU.

    bfloat16 has float32's range and needs no loss scaling. For float16 use MMEngine's
    ``AmpOptimWrapper``, which scales and needs a GPU.

    Args:
        dtype: Type of the autocast.
        kwargs: For ``OptimWrapper``.
    """

    def __init__(self, dtype: str | torch.dtype = 'bfloat16', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        if self.dtype is not torch.bfloat16:
            raise ValueError(
                f'AutocastOptimWrapper takes bfloat16, got {dtype}: float16 needs loss scaling, '
                'use AmpOptimWrapper'
            )

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast, and no gradient synchronisation while gradients accumulate."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, self.dtype):
            yield
