"""An update that is left out where its gradient is not finite."""

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


def update(optim: OptimWrapper, loss: Tensor) -> bool | None:
    """Make the backward pass and, where it is due, the update, if the gradient's norm is finite.

    Ranks decide alike without asking each other: a loss that is not finite makes its rank's whole
    gradient NaN, and averaging carries that to all of them. An overflow in float16 is left to the
    loss scaler, which leaves the update out and halves its scale, until the scale is below 1.

    Args:
        optim: Wrapper of the networks' optimiser.
        loss: The total, a scalar.

    Returns:
        Whether the update was taken; ``None`` while gradients accumulate.
    """
    # The factor is 1, or NaN where the loss is not finite.
    optim.backward(optim.scale_loss(loss * (1 + 0 * loss.detach())))
    if not optim.should_update():
        return None
    taken = has_finite_gradient(optim.optimizer) or _is_overflow(optim, loss)
    if taken:
        optim.step()
    optim.zero_grad()
    return taken


def leave_out(optim: OptimWrapper) -> None:
    """Count an iteration that adds no gradient; an update that was due with it is dropped."""
    optim._inner_count += 1
    if optim.should_update():
        optim.zero_grad()


def has_finite_gradient(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the norm of all gradients is finite: one reduction, one number off the device.

    Finite gradients beyond 1e19 count as infinite too: Adam keeps their squares.
    """
    parameters = (p for group in optimizer.param_groups for p in group['params'])
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return True
    return bool(torch.stack(torch._foreach_norm(gradients)).sum().isfinite())


def copy_buffers(module: nn.Module) -> list[Tensor]:
    """Return copies of the module's buffers, for :func:`restore_buffers`."""
    buffers = list(module.buffers())
    copies = [torch.empty_like(buffer) for buffer in buffers]
    if buffers:
        torch._foreach_copy_(copies, buffers)
    return copies


def restore_buffers(module: nn.Module, copies: list[Tensor]) -> None:
    """Give the module's buffers their values at the time of :func:`copy_buffers`."""
    if copies:
        torch._foreach_copy_(list(module.buffers()), copies)


def _is_overflow(optim: OptimWrapper, loss: Tensor) -> bool:
    """Whether the loss of every rank is finite, and was scaled: a lower scale may mend it."""
    scaler = getattr(optim, 'loss_scaler', None)
    if scaler is None or not scaler.is_enabled() or scaler.get_scale() < 1:
        return False
    broken = (~loss.detach().isfinite()).int()
    all_reduce(broken, 'max')
    return not broken
