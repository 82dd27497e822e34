"""All terms of a loss by kernels against the losses of each term in float64."""

import pytest
import torch
import torch.nn.functional as F
from counting import Count
from torch import Tensor, nn

from ugatit_mm.kernels import losses, support
from ugatit_mm.models.losses import CAMLoss, LossTerms, Mean, cam_means


def inputs(device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """A view into a padded map in NHWC, half of a batch, sizes that are not powers of 2."""
    torch.manual_seed(0)
    padded = torch.randn(2, 3, 41, 39).to(memory_format=torch.channels_last)
    made = {
        'image': padded[..., 3:-3, 2:-1],
        'logit': torch.randn(5, 1, 3, 7).chunk(2)[1],
        'of_fake': torch.randn(2, 1, 3, 7),
        'source': 30 * torch.randn(3, 2),
        'identity': 30 * torch.randn(3, 2),
        'given': torch.randn(()),
    }
    found = {}
    for name, x in made.items():
        moved = torch.empty_strided(x.shape, x.stride(), dtype=dtype, device=device)
        found[name] = moved.copy_(x).requires_grad_()
    return found


def compute(x: dict[str, Tensor], real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    terms = LossTerms()
    terms.add(
        'adversarial', Mean(x['logit'], 'square', 1.0), Mean(x['of_fake'], 'square', 0.0, 0.5)
    )
    terms.add('cycle', Mean(x['image'], 'distance', real))
    terms.add('cam', *cam_means(CAMLoss(2.0), x['source'], x['identity']))
    terms.add('given', Mean(x['given'], 'mean'))
    terms.add_sum('part', {'cycle': 10.0, 'given': 1.0})
    terms.add_sum('loss', {'adversarial': 2.0, 'part': 3.0, 'cam': 5.0})
    return terms.compute()


def exact(x: dict[str, Tensor], real: Tensor) -> dict[str, Tensor]:
    terms = {
        'adversarial': (x['logit'] - 1).square().mean() + 0.5 * x['of_fake'].square().mean(),
        'cycle': F.l1_loss(x['image'], real),
        'cam': 2 * (F.softplus(-x['source']).mean() + F.softplus(x['identity']).mean()),
        'given': x['given'],
    }
    terms['part'] = 10 * terms['cycle'] + terms['given']
    terms['loss'] = 2 * terms['adversarial'] + 3 * terms['part'] + 5 * terms['cam']
    return terms


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('switch', ['0', '1'], ids=['formula', 'kernels'])
def test_values_and_gradients(kernels, monkeypatch, switch, dtype):
    monkeypatch.setenv(support.SWITCH, switch)
    x = inputs(kernels, dtype)
    real = torch.randn(x['image'].shape, device=kernels)
    real[0, 0, 0, 0] = x['image'][0, 0, 0, 0].detach()
    wide = {name: value.detach().double().requires_grad_() for name, value in x.items()}
    total, log = compute(x, real)
    expected = exact(wide, real.double())
    assert list(log) == list(expected) and total.dtype is torch.float32
    for name, value in expected.items():
        assert not log[name].requires_grad
        torch.testing.assert_close(log[name].double(), value.detach(), rtol=1e-6, atol=1e-8)
    assert torch.equal(total, log['loss'])
    found = torch.autograd.grad(3 * total, list(x.values()))
    wanted = torch.autograd.grad(3 * expected['loss'], list(wide.values()))
    rtol = 1e-5 if dtype is torch.float32 else torch.finfo(dtype).eps
    for one, two in zip(found, wanted, strict=True):
        assert one.dtype is dtype
        torch.testing.assert_close(one.double(), two, rtol=rtol, atol=1e-7)
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_a_term_that_is_not_a_number_spoils_no_other(kernels):
    x = inputs(kernels, torch.float32)
    with torch.no_grad():
        x['source'][1, 1] = torch.nan
    real = torch.zeros(x['image'].shape, device=kernels)
    total, log = compute(x, real)
    assert {name for name, value in log.items() if value.isnan()} == {'cam', 'loss'}
    assert total.isnan()
    gradients = torch.autograd.grad(total * torch.nan, list(x.values()))
    assert all(gradient.isnan().all() for gradient in gradients)


def test_certain_logits_and_small_terms(kernels):
    """Softplus neither overflows nor loses the precision of small values."""
    logits = torch.tensor([-200.0, -20.0, -1.0, 0.0, 3.0, 15.0, 200.0], device=kernels)
    for logit in logits:
        terms = LossTerms()
        terms.add('loss', Mean(logit.view(1, 1).requires_grad_(), 'entropy', 1.0))
        total, _ = terms.compute()
        expected = F.softplus(-logit.double())
        torch.testing.assert_close(total.double(), expected, rtol=2e-7, atol=1e-40)


def test_three_launches(kernels, monkeypatch):
    x = inputs(kernels, torch.bfloat16)
    real, one = torch.randn(x['image'].shape, device=kernels), torch.ones((), device=kernels)

    def both() -> None:
        torch.autograd.grad(compute(x, real)[0], list(x.values()), one)

    both()  # the check at the first use, and the tables
    count = Count()
    monkeypatch.setattr(losses, 'launch', count.launch)
    with count:
        both()
    assert count.seen == ['launch'] * 3


def test_types_that_the_kernels_do_not_take(kernels):
    x = inputs(kernels, torch.float32)
    x['logit'] = x['logit'].detach().double().requires_grad_()
    total, _ = compute(x, torch.zeros(x['image'].shape, device=kernels))
    total.backward()
    assert x['logit'].grad.dtype is torch.float64


class Doubled(CAMLoss):
    def forward(self, source_logit: Tensor, identity_logit: Tensor) -> Tensor:
        return 2 * super().forward(source_logit, identity_logit)


class Own(nn.Module):
    def forward(self, source_logit: Tensor, identity_logit: Tensor) -> Tensor:
        return source_logit.sum() + identity_logit.sum()


def test_another_cam_loss_is_called():
    x = inputs(torch.device('cpu'), torch.float32)
    logits = x['source'], x['identity']
    replaced = CAMLoss()
    replaced.forward = lambda source, identity: source.mean()
    for module in (Doubled(3.0), Own(), replaced, CAMLoss(4.0)):
        terms = LossTerms()
        terms.add('cam', *cam_means(module, *logits))
        total, _ = terms.compute()
        torch.testing.assert_close(total, module(*logits))
        found = torch.autograd.grad(total, logits, allow_unused=True)
        expected = torch.autograd.grad(module(*logits), logits, allow_unused=True)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two)
