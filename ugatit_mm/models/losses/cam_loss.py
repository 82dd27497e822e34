"""The generator's CAM loss (paper section 2.2, eq. 6)."""

import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import Tensor, nn

from .terms import Mean


@MODELS.register_module()
class CAMLoss(nn.Module):
    """Binary cross-entropy of the generator's domain classifier.

    The classifier of the generator into a domain has target 1 for images of the source domain,
    which it must change, and 0 for images that are already in the target domain. (The
    discriminators' CAM loss is the least-squares loss of their logits; according to the author, the
    logarithm in the paper's text is a mistake.)

    Args:
        loss_weight: Factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, source_logit: Tensor, identity_logit: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            source_logit: CAM logits of images of the source domain, (N, 2).
            identity_logit: CAM logits of images of the target domain, (N, 2).
        """
        # BCE with target 1 is softplus(-x), with target 0 softplus(x).
        source = F.softplus(-source_logit.float()).mean()
        identity = F.softplus(identity_logit.float()).mean()
        return self.loss_weight * (source + identity)


def cam_means(module: nn.Module, source_logit: Tensor, identity_logit: Tensor) -> list[Mean]:
    """Return the parts that a config's CAM loss adds to :class:`LossTerms`.

    Args:
        module: A :class:`CAMLoss`, whose parts are computed with all others; another module of its
            signature, or one whose ``forward`` was replaced, is called.
        source_logit: As in :meth:`CAMLoss.forward`.
        identity_logit: As in :meth:`CAMLoss.forward`.
    """
    if isinstance(module, CAMLoss) and getattr(module.forward, '__func__', None) is CAMLoss.forward:
        return [
            Mean(source_logit, 'entropy', 1.0, module.loss_weight),
            Mean(identity_logit, 'entropy', 0.0, module.loss_weight),
        ]
    return [Mean(module(source_logit, identity_logit), 'mean')]
