"""What two gloo ranks do in a step: when gradients travel, and that ranks stay equal."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from helpers import TINY, batch, in_ranks, same_weights
from mmagic.registry import MODEL_WRAPPERS, MODELS
from mmengine import MessageHub
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from ugatit_mm.config import load_config
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models.base import unwrap

pytestmark = pytest.mark.slow
PAIRS = ('discriminators', 'generators')


def build(accumulate: int = 1, **wrapper: object) -> tuple:
    """A model in its wrapper, and its optimisers: plain descent, whose steps show the gradients."""
    cfg = load_config('ugatit_custom', TINY)
    for name, lr in (('generators', 1e-5), ('discriminators', 1e-1)):
        cfg.optim_wrapper[name].optimizer = dict(type='SGD', lr=lr)
        cfg.optim_wrapper[name].accumulative_counts = accumulate
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    lines = {**cfg.model_wrapper_cfg, 'device_ids': None, **wrapper}
    model = MODEL_WRAPPERS.build(lines | {'module': model.train()})
    cfg.optim_wrapper.pop('constructor')
    return model, UGATITOptimWrapperConstructor(cfg.optim_wrapper)(model)


def steps(model, optim, count: int) -> dict:
    """Weights and buffers after some steps, each rank on its own images."""
    for iteration in range(count):
        MessageHub.get_current_instance().update_info('iter', iteration)
        model.train_step(batch(32, seed=10 * dist.get_rank() + iteration), optim)
    return unwrap(model).state_dict()


def events_of_a_step() -> dict[str, list[str]]:
    """When buckets are sent, and when the gradients of the first layer are there."""
    model, optim = build(bucket_cap_mb=0.01)
    events: dict[str, list[str]] = {}
    for name in PAIRS:
        seen = events[name] = []

        def send(state, bucket, seen=seen):
            seen.append('bucket')
            return allreduce_hook(state, bucket)

        pair = getattr(model.module, name)
        pair.register_comm_hook(None, send)
        next(pair.parameters()).register_post_accumulate_grad_hook(
            lambda _, seen=seen: seen.append('first layer')
        )
    steps(model, optim, 1)  # DDP lays its buckets out again after the first step
    for seen in events.values():
        seen.clear()
    steps(model, optim, 1)
    return events


def train_a_rank(folder: Path) -> None:
    dist.init_process_group('gloo')
    own = {'gradient_as_bucket_view': False}
    states = {
        'as configured': steps(*build(), 2),
        'own gradients': steps(*build(**own), 2),
        'accumulated': steps(*build(2), 2),
        'own gradients, accumulated': steps(*build(2, **own), 2),
    }
    rank = dist.get_rank()
    torch.save(states, folder / f'{rank}.pth')
    (folder / f'events{rank}.json').write_text(json.dumps(events_of_a_step()))
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('ranks')
    in_ranks(train_a_rank, folder, folder)
    return folder


def test_ranks_stay_equal_to_the_bit(ranks: Path):
    """Weights, and the vectors of the spectral norms, which nobody broadcasts."""
    first, second = (torch.load(ranks / f'{rank}.pth') for rank in (0, 1))
    for name in first:
        assert same_weights(first[name], second[name]), name
    assert any(key.endswith('.u') for key in first['as configured'])


def test_gradients_in_the_buckets_change_nothing(ranks: Path):
    """Also where a batch's gradients are added to the last one's and not yet sent."""
    states = torch.load(ranks / '0.pth')
    assert same_weights(states['as configured'], states['own gradients'])
    assert same_weights(states['accumulated'], states['own gradients, accumulated'])
    assert not same_weights(states['as configured'], states['accumulated'])


def test_gradients_are_sent_during_the_backward_pass(ranks: Path):
    """Most buckets are under way when the gradient of the first layer comes, which is the last."""
    events = json.loads((ranks / 'events0.json').read_text())
    for name, least in (('discriminators', 4), ('generators', 6)):
        *before, first, after = events[name]
        assert len(before) >= least and {*before, after} == {'bucket'} and first == 'first layer'
