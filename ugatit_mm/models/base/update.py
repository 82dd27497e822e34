"""Optimiser updates that skip a gradient that is not finite, without asking the host."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.dist import all_reduce, all_reduce_params, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ..layers.spectral_norm import SpectralNorm, join_vectors


def update(
    optim: OptimWrapper,
    loss: Tensor,
    allowed: Tensor | None = None,
    average: bool = False,
    learning: Sequence[Tensor] | None = None,
    retain_graph: bool = False,
    clip: float | None = None,
) -> Tensor | None:
    """Run the backward pass and, if it is due, the update, if the gradient's norm is finite.

    Ranks decide the same without communication: a loss that is not finite makes its rank's whole
    gradient NaN, and averaging spreads that to all ranks. An overflow in float16 is left to the
    loss scaler, which skips the update and halves its scale, until the scale is below 1.

    The decision stays on the device: torch's fused Adam and :class:`LeanAdam` take it as
    ``found_inf``. Other optimisers, and a wrapper's ``clip_grad``, ask the host.

    Args:
        optim: Wrapper of the networks' optimiser.
        loss: The total, a scalar.
        allowed: Whether the iteration's earlier updates were taken, 0-dim bool; with ``False`` this
            one is skipped, too.
        average: Average the gradients of all ranks, as no wrapper has done it.
        learning: Parameters that get a gradient; by default all that require one.
        retain_graph: Another backward pass goes through the graph of this one, with the weights
            from after the update.
        clip: Largest norm of the whole gradient; a larger gradient is scaled down to it.

    Returns:
        Whether the update was taken, 0-dim bool on the device; ``None`` while gradients accumulate.
    """
    loss = optim.scale_loss(loss)
    # The gradient of the loss is 1, or NaN if the loss is not finite.
    start = 0 * loss.detach() + 1
    optim.backward(loss, gradient=start, inputs=learning, retain_graph=retain_graph)
    if not optim.should_update():
        return None
    parameters = [p for group in optim.optimizer.param_groups for p in group['params']]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if average and get_world_size() > 1:
        all_reduce_params(gradients, op='mean')
    norms = torch.stack(torch._foreach_norm(gradients)) if gradients else loss.new_zeros(1)
    # Finite gradients beyond 1e19 count as infinite too: Adam keeps their squares.
    sound = norms.sum() < torch.inf  # False for NaN too
    if clip is not None and gradients:
        scaler: Any = getattr(optim, 'loss_scaler', None)
        scaled = scaler is not None and scaler.is_enabled()
        _clip(gradients, norms / scaler._scale if scaled else norms, clip)
    if allowed is not None:
        sound = sound & allowed
    # Torch refuses a backward pass through changed weights, so the change is hidden from it.
    with _unseen(parameters) if retain_graph else nullcontext():
        taken = _step(optim, sound, loss, allowed)
    optim.zero_grad()
    return taken


def _step(optim: OptimWrapper, sound: Tensor, loss: Tensor, allowed: Tensor | None) -> Tensor:
    """Update if ``sound``; return whether it counts as taken."""
    optimizer = optim.optimizer
    scaler = getattr(optim, 'loss_scaler', None)
    if scaler is not None and scaler.is_enabled():
        taken = sound | _is_overflow(scaler, loss)
        if allowed is not None:
            taken = taken & allowed
    else:
        scaler, taken = None, sound
    if not takes_found_inf(optimizer) or (scaler is not None and not hasattr(optim, 'step_where')):
        if taken:  # a host-device synchronisation
            optim.step()
        return taken
    skip = (~sound).float()
    if scaler is not None:
        optim.step_where(skip, taken)
        return taken
    optimizer.found_inf = skip
    optim.step()
    del optimizer.found_inf
    return taken


def takes_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser skips its update if its ``found_inf`` is 1."""
    # Torch marks it by an attribute, which a copy of an optimiser lacks.
    fused = all(group.get('fused') for group in optimizer.param_groups)
    return fused or getattr(optimizer, '_step_supports_amp_scaling', False)


def _clip(gradients: list[Tensor], norms: Tensor, largest: float) -> None:
    """Scale gradients down to a norm if they exceed it, as ``clip_grad_norm_`` does.

    Args:
        gradients: Changed in place.
        norms: Norm of each gradient, already computed on the device.
        largest: Largest norm of all gradients together.
    """
    factor = largest / (torch.linalg.vector_norm(norms) + 1e-6)
    torch._foreach_mul_(gradients, factor.clamp(max=1.0))


def _unseen(weights: list[Tensor]) -> Any:
    """Context manager in which weights change without a new version for autograd."""
    return torch.autograd._unsafe_preserve_version_counter(tuple(weights))


Buffers = list[tuple[Tensor, Tensor]]
"""Buffers of a module and copies of them."""


def copy_buffers(module: nn.Module) -> Buffers:
    """Return the module's buffers with copies; its spectral norms' vectors are one buffer.

    Non-persistent buffers are constants and left out.
    """
    joined = join_vectors(module)
    own = {id(b) for m in module.modules() if isinstance(m, SpectralNorm) for b in m.buffers()}
    others = [
        buffer
        for m in module.modules()
        for name, buffer in m.named_buffers(recurse=False)
        if name not in m._non_persistent_buffers_set and id(buffer) not in own
    ]
    buffers = others if joined is None else [joined, *others]
    return [(buffer, buffer.clone()) for buffer in buffers]


def restore_buffers(kept: Buffers, taken: Tensor) -> None:
    """Restore the values of :func:`copy_buffers` in place, unless ``taken``."""
    for buffer, copied in kept:
        torch.where(taken, buffer, copied, out=buffer)


def _is_overflow(scaler: torch.amp.GradScaler, loss: Tensor) -> Tensor:
    """Whether the loss of every rank is finite and was scaled: a lower scale may help."""
    finite = (loss.detach().abs() < torch.inf).int()
    all_reduce(finite, 'min')
    scale: Any = scaler._scale  # get_scale() synchronises with the host
    return finite.bool() & (scale >= 1)
