"""Steps that run a part, or a backward pass through one graph, more than once: closed forms."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from helpers import in_ranks
from mmengine.registry import init_default_scope
from torch import nn

from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models.base import AveragedParallel, UnpairedTranslation, unwrap


class Factor(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value * x


class Factors(UnpairedTranslation):
    """y = b (a x), a of A and b of B in one part; an optimiser for each."""

    NAME, ROW = 'factors', 'Factors'
    PARTS = {'generators': 'generator'}
    OPTIMIZED = {'first': ('generators.A', 'generators.B'), 'second': ('generators.B',)}
    PACED, CHANNELS_LAST, NETWORKS, BOUNDS, LOSS_WEIGHTS = (), (), {}, {}, {}

    def __init__(self, a: float, b: float, order: str = 'stale', **fields) -> None:
        super().__init__(
            {'generators': nn.ModuleDict({'A': Factor(a), 'B': Factor(b)})}, graph=False, **fields
        )
        self.order = order

    def check_trainable(self) -> None:
        """Nothing to check: there are no pictures."""

    def values(self) -> tuple[float, float]:
        return tuple(unwrap(self.generators)[x].value.item() for x in 'AB')

    def iterate(self, step, real) -> None:
        x = real['A'].flatten()[0]

        def loss():
            return self.y, {'loss': self.y.detach()}

        with step.passes('first'):
            hidden = self.generators['A'](x)
            self.y = self.generators['B'](hidden)
        if self.order == 'stale':
            step.update('first', loss, retain_graph=True)
            step.update('first', loss, label='again', only=['generators.A'])
        elif self.order == 'second':
            step.update('second', loss)
        else:
            step.update('first', loss)


def factors(a: float, b: float, order: str = 'stale', **fields):
    init_default_scope('mmagic')
    model = Factors(a, b, order, **fields)
    sgd = {'optimizer': dict(type='SGD', lr=1.0)}
    return model, UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, sgd))(model)


def sample(x: float) -> dict:
    """Its first value arrives as x."""
    pixels = torch.full((1, 3, 8, 8), (x + 1) * 127.5)
    return {'inputs': {'img_A': pixels, 'img_B': pixels}}


def test_the_second_pass_finds_old_activations_and_new_weights():
    model, optims = factors(a=2.0, b=3.0)
    log = model.train_step(sample(0.5), optims)
    assert log.updates == {'first': True, 'again': True}
    a, b = 2.0 - 3.0 * 0.5, 3.0 - 2.0 * 0.5  # of the first
    assert model.values() == pytest.approx((a - b * 0.5, b))  # b is not trained


@pytest.mark.parametrize('fused', [True, False])
def test_the_second_pass_by_adam(fused: bool):
    """The sign of a gradient: positive with the new b, negative with the old one."""
    model = Factors(a=1.0, b=-0.5)
    adam = {'optimizer': dict(type='Adam', lr=1.0, betas=(0.0, 0.0), fused=fused)}
    optims = UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, adam))(model)
    model.train_step(sample(-0.5), optims)  # b rises by 1 to 0.5, a falls by 1 to 0
    assert model.values() == pytest.approx((1.0, 0.5), abs=1e-5)


def test_a_module_of_a_part_learns_by_itself():
    model, optims = factors(2.0, 3.0, 'second')
    model.train_step(sample(0.5), optims)
    assert model.values() == pytest.approx((2.0, 3.0 - 1.0))
    model, optims = factors(2.0, 3.0, 'stale', frozen=['generators.A'])
    model.train_step(sample(0.5), optims)
    assert model.values() == pytest.approx((2.0, 3.0 - 1.0))


def train_a_rank(folder: Path) -> None:
    dist.init_process_group('gloo')
    rank = dist.get_rank()
    model, optims = factors(2.0 + rank, 3.0 + rank, 'plain')  # the first rank's count
    wrapped = AveragedParallel(model)
    wrapped.train_step(sample(0.5 - rank), optims)
    torch.save(model.values(), folder / f'{rank}.pth')
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_average_without_distributed_data_parallel(tmp_path: Path):
    in_ranks(train_a_rank, tmp_path, tmp_path)
    for rank in (0, 1):  # x is 0.5 and -0.5: its mean 0
        assert torch.load(tmp_path / f'{rank}.pth') == pytest.approx((2.0, 3.0), abs=1e-6)
