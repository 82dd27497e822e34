"""Two gloo ranks with a sharded optimiser against two with a plain one."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from helpers import TINY, in_ranks, write_images
from mmengine.optim import OptimWrapper
from torch import nn

from ugatit_mm.apis import run_training
from ugatit_mm.config import load_config
from ugatit_mm.engine.lean_adam import LeanAdam
from ugatit_mm.engine.sharding import GatherShardsHook, ShardedOptimizer


def size(optimizer: torch.optim.Optimizer) -> int:
    values = (v for state in optimizer.state.values() for v in state.values())
    return sum(v.nbytes for v in values if torch.is_tensor(v) and v.dim())


def layers() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 512, 3), nn.Conv2d(512, 16, 3))
    return net.to(memory_format=torch.channels_last)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def train_a_rank(root: Path, options: dict) -> None:
    """Runs with Adam, sharded, resumed from iteration 1; then a layer with coded moments."""
    dist.init_process_group('gloo')

    def train(name: str, sharded: bool, resume: bool = False) -> torch.optim.Optimizer:
        cfg = load_config('ugatit_custom', options)
        cfg.work_dir, cfg.experiment_name, cfg.launcher = str(root / name), name, 'pytorch'
        if sharded:
            for networks in ('generators', 'discriminators'):
                cfg.optim_wrapper[networks].optimizer.update(
                    type='ShardedOptimizer', optimizer_type='Adam'
                )
        if resume:
            cfg.resume, cfg.load_from = True, str(root / 'sharded' / 'iter_1.pth')
        return run_training(cfg).optim_wrapper['generators'].optimizer

    plain, sharded = train('plain', False), train('sharded', True)
    resumed = train('resumed', True, resume=True)
    report = {'all': size(plain), 'sharded': size(sharded.optim), 'outside': size(sharded)}
    report |= {'resumed': size(resumed.optim), 'resumed_outside': size(resumed)}

    fields = dict(lr=1e-2, betas=(0.5, 0.999), weight_decay=1e-4, state_dtype='uint8')
    whole, part = layers(), layers()
    steps(whole, LeanAdam(whole.parameters(), **fields), 0, 4)
    first = ShardedOptimizer(part.parameters(), 'LeanAdam', **fields)
    steps(part, first, 0, 2)
    first.consolidate_state_dict()
    saved = [first.state_dict() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(saved)
    second = ShardedOptimizer(part.parameters(), 'LeanAdam', **fields)
    second.load_state_dict(saved[0])
    steps(part, second, 2, 4)
    pairs = zip(whole.parameters(), part.parameters(), strict=True)
    report['lean'] = [torch.equal(*pair) for pair in pairs]
    values = (v for state in second.optim.state.values() for v in state.values())
    report['lean_types'] = sorted({str(v.dtype) for v in values if torch.is_tensor(v)})
    (root / f'report{dist.get_rank()}.json').write_text(json.dumps(report))


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('sharding')
    write_images(root / 'data')
    options = TINY | {
        'data_root': str(root / 'data'),
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 10,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.sheets.interval': 10,
    }
    in_ranks(train_a_rank, root, root, options)
    return root


def checkpoint(root: Path, name: str) -> dict:
    return torch.load(root / f'{name}.pth', weights_only=True)


def same(one, two) -> bool:
    if isinstance(one, dict):
        return set(one) == set(two) and all(same(one[key], two[key]) for key in one)
    return torch.equal(one, two) if torch.is_tensor(one) else one == two


@pytest.mark.parametrize('other', ['sharded', 'resumed'])
def test_shards_change_nothing(trained: Path, other: str):
    """Weights and moments, to the last bit."""
    one, two = (checkpoint(trained, f'{name}/iter_2') for name in ('plain', other))
    assert same(one['state_dict'], two['state_dict'])
    for networks in ('generators', 'discriminators'):
        mine, theirs = (each['optimizer'][networks] for each in (one, two))
        assert mine['state'] and same(mine['state'], theirs['state'])
        for a, b in zip(mine['param_groups'], theirs['param_groups'], strict=True):
            assert a.pop('params') == b.pop('params') and a == b


def test_half_the_state_on_each_rank(trained: Path):
    reports = [json.loads((trained / f'report{rank}.json').read_text()) for rank in (0, 1)]
    for kind in ('sharded', 'resumed'):
        sizes = [report[kind] for report in reports]
        assert sum(sizes) == reports[0]['all']
        assert max(sizes) < 0.55 * reports[0]['all']
    # Nothing is left in the outer optimiser, where torch's own keeps a copy after resuming.
    assert all(report['outside'] == report['resumed_outside'] == 0 for report in reports)


def test_sharded_lean_adam_is_lean_adam(trained: Path):
    for rank in (0, 1):
        report = json.loads((trained / f'report{rank}.json').read_text())
        assert report['lean'] == [True] * 4
        assert report['lean_types'] == ['torch.float32', 'torch.int8', 'torch.uint8']


@pytest.fixture
def one_rank(tmp_path: Path):
    store = torch.distributed.FileStore(str(tmp_path / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_errors(one_rank):
    net = nn.Linear(3, 2)
    optimizer = ShardedOptimizer(net.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match='GatherShardsHook'):
        optimizer.state_dict()
    optimizer.consolidate_state_dict()
    state = optimizer.state_dict()
    with pytest.raises(RuntimeError, match='not gathered'):  # not the state of long ago
        optimizer.state_dict()
    with pytest.raises(ValueError, match=r'groups of \[1\] parameters, the checkpoint of \[2\]'):
        ShardedOptimizer([net.weight], lr=0.1).load_state_dict(state)
    with pytest.raises(ValueError, match='optimizer_type=Adum is no known optimizer'):
        ShardedOptimizer(net.parameters(), 'Adum', lr=0.1)


def test_needs_ranks():
    with pytest.raises(ValueError, match='start with tools/dist_train.sh'):
        ShardedOptimizer(nn.Linear(3, 2).parameters(), lr=0.1)


def test_the_hook_leaves_other_optimisers_alone():
    optimizer = torch.optim.Adam(nn.Linear(3, 2).parameters())
    runner = SimpleNamespace(optim_wrapper=OptimWrapper(optimizer), save_checkpoint='as it was')
    GatherShardsHook().before_train(runner)
    assert runner.save_checkpoint == 'as it was'
