"""CAM attention on a hand-computed case, and its fields."""

import pytest
import torch

from ugatit_mm.models import CAM
from ugatit_mm.models.layers import raw_weight
from ugatit_mm.models.layers.activation import IDENTITY, Activation


def hand_made(**fields) -> CAM:
    """Two channels; the 1x1 convolution adds the average and the maximum branch."""
    cam = CAM(2, IDENTITY, **fields)
    cam.conv1x1.weight.data = torch.eye(2).repeat(1, 2)[:, :, None, None]
    cam.conv1x1.bias.data.zero_()
    return cam


X = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]])  # average 2, 2; maximum 3, 4


def test_shared_classifier_adds_its_bias_to_the_channel_weights():
    cam = hand_made(shared=True, bias=True)
    cam.fc.weight.data = torch.tensor([[1.0, -2.0]])
    cam.fc.bias.data = torch.tensor([0.5])
    features, logit, heatmap = cam(X)
    assert logit.tolist() == [[2 - 4 + 0.5, 3 - 8 + 0.5]]
    # Both branches weight the channels by 1.5 and -1.5.
    assert features.tolist() == [[[[3.0, 9.0]], [[0.0, -12.0]]]]
    assert heatmap.tolist() == [[[[3.0, -3.0]]]]


def test_two_classifiers_without_bias():
    cam = hand_made(shared=False, bias=False)
    cam.gap_fc.weight.data = torch.tensor([[1.0, 0.0]])
    cam.gmp_fc.weight.data = torch.tensor([[0.0, 2.0]])
    features, logit, _ = cam(X)
    assert logit.tolist() == [[2.0, 8.0]]
    assert features.tolist() == [[[[1.0, 3.0]], [[0.0, 8.0]]]]


def test_channels_are_weighted_by_the_raw_or_the_normalised_weight():
    for raw in (False, True):
        cam = hand_made(shared=True, bias=False, spectral=True, raw_weight=raw).eval()
        raw_weight(cam.fc).data = torch.tensor([[3.0, 4.0]])
        norm = cam.fc.parametrizations.weight[0]
        norm.u.copy_(torch.tensor([1.0]))
        norm.v.copy_(torch.tensor([0.6, 0.8]))  # sigma 5
        features, logit, _ = cam(X)
        torch.testing.assert_close(logit, torch.tensor([[14 / 5, 25 / 5]]))
        scale = 1 if raw else 5
        expected = torch.tensor([[[[6.0, 18.0]], [[0.0, 32.0]]]]) / scale
        torch.testing.assert_close(features, expected)


@pytest.mark.parametrize(('shared', 'names'), [(True, ['fc']), (False, ['gap_fc', 'gmp_fc'])])
def test_each_classifier_makes_one_power_iteration_in_a_pass(shared, names):
    cam = CAM(8, Activation(0.0), shared=shared, spectral=True)
    calls = []
    for name in names:
        norm = getattr(cam, name).parametrizations.weight[0]
        norm.register_forward_hook(lambda *_, name=name: calls.append(name))
    cam(torch.randn(1, 8, 4, 4))
    assert calls == names
