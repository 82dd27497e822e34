"""Least-squares adversarial loss (paper section 2.2, eq. 3)."""

from torch import Tensor


def lsgan_loss(logit: Tensor, target: float) -> Tensor:
    """Return the mean squared distance of ``logit`` (any shape) from ``target``, in float32."""
    return (logit.float() - target).square().mean()
