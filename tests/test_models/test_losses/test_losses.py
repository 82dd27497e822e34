"""Losses against PyTorch's."""

import torch
import torch.nn.functional as F

from ugatit_mm.models import CAMLoss
from ugatit_mm.models.losses import lsgan_loss


def test_cam_loss_is_cross_entropy_with_source_one_and_identity_zero():
    source, identity = torch.randn(3, 2), torch.randn(3, 2)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(source, torch.ones(3, 2)) + bce(identity, torch.zeros(3, 2))
    torch.testing.assert_close(CAMLoss()(source, identity), expected)
    torch.testing.assert_close(CAMLoss(loss_weight=3)(source, identity), 3 * expected)


def test_cam_loss_is_finite_for_certain_logits():
    loss = CAMLoss()(torch.tensor([[-200.0, -200.0]]), torch.tensor([[200.0, 200.0]]))
    assert loss.item() == 400


def test_lsgan_loss():
    logit = torch.randn(2, 1, 3, 3)
    for target in (0, 1):
        expected = F.mse_loss(logit, torch.full_like(logit, target))
        torch.testing.assert_close(lsgan_loss(logit, target), expected)
    assert lsgan_loss(logit.bfloat16(), 1).dtype is torch.float32
