"""The benchmark of several ranks: its arithmetic, and that what it times leaves ranks equal."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from helpers import in_ranks, load_tool
from mmengine import Config, MessageHub
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

scaling = load_tool('benchmarks/scaling')


def test_parameters_are_those_of_the_networks(tiny):
    model = tiny(discriminator={'num_layers': (5, 4)}, generator={'num_blocks': 4})
    counted = scaling.parameters(light=True, channels=4, size=32)
    for name, sizes in counted.items():
        assert sizes == [p.numel() for p in getattr(model, name).parameters()]


def test_full_adds_the_flattened_features():
    """Its first layer takes 4 C x (size / 4)^2 features, light's takes 4 C; C * blocks hidden."""
    light, full = (scaling.parameters(light, channels=4, size=32) for light in (True, False))
    assert full['discriminators'] == light['discriminators']
    hidden, features = 4 * 4, 4 * 4
    added = sum(full['generators']) - sum(light['generators'])
    assert added == 2 * hidden * features * (8 * 8 - 1)


def test_a_ring_sends_everything_twice_but_for_its_own_part():
    assert scaling.ring_seconds(10.0, 1, 5.0) == 0
    assert scaling.ring_seconds(10.0, 2, 5.0) == 2.0  # two swap halves, twice
    assert scaling.ring_seconds(10.0, 8, 5.0) == pytest.approx(2 * 7 / 8 * 10 / 5)


def test_expected_step():
    window = scaling.WINDOWS
    # At 1 byte a second and 2 ranks, bytes are seconds.
    inside = {name: 0.9 * share for name, share in window.items()}
    sent, worst, best = scaling.expected(inside, 2, 1.0, 1.0)
    assert sent == pytest.approx(0.9 * sum(window.values()))
    assert (worst, best) == (1 + sent, 1.0)
    beyond = {name: share + 0.25 for name, share in window.items()}
    sent, worst, best = scaling.expected(beyond, 2, 1.0, 1.0)
    assert (worst, best) == (pytest.approx(1 + sent), pytest.approx(1.5))


def test_computed_rows_say_so_and_count_bytes(monkeypatch):
    monkeypatch.setattr(
        scaling, 'parameters', lambda light: {'discriminators': [10**6], 'generators': [3 * 10**6]}
    )
    rows = list(scaling.computed(8, [400.0, 22.0], 0.025))
    assert {row.benchmark for row in rows} == {'scaling, computed'}
    sizes = {row.setting: row.value for row in rows if row.unit == 'MB/step'}
    assert sizes == {
        'float32 gradients, 400 GB/s': 16,
        'float32 gradients, 22 GB/s': 16,
        'bfloat16 gradients, 400 GB/s': 8,
        'bfloat16 gradients, 22 GB/s': 8,
    }
    times = [row.value for row in rows if row.unit == 'ms/step']
    assert times[1] == pytest.approx(1.75 * 16e6 / 22e9 * 1e3)


def test_plan_shares_cores_and_batch():
    Job = scaling.Job
    jobs = scaling.plan([1, 2], cores=2)
    assert jobs['weak'] == [Job(1, 1, 1), Job(1, 2, 1), Job(2, 1, 1)]
    assert jobs['strong'] == [Job(1, 1, 2), Job(1, 2, 2), Job(2, 1, 1)]
    assert scaling.plan([2, 8], cores=None)['strong'] == [Job(1, 1, 8), Job(2, 1, 4), Job(8, 1, 1)]
    with pytest.raises(ValueError, match=r'\[3\] do not divide 4'):
        scaling.plan([1, 3, 4], cores=4)


def test_efficiency_is_against_each_single_process():
    jobs = scaling.plan([1, 2], cores=2)
    seconds = [4.0, 3.0, 5.0, 8.0, 6.0]
    of_all = dict.fromkeys(job for kind in jobs.values() for job in kind)
    rows = scaling.scaling_rows('x', jobs, dict(zip(of_all, seconds, strict=True)), 'threads')
    found = {(r.setting[:4], r.quantity, r.unit): r.value for r in rows if r.quantity != 'time'}
    assert found == pytest.approx(
        {
            # 2 pairs in 5 s, against 1 in 4 s (one thread), and 1 in 3 s (two threads)
            ('weak', 'speed', 'x 1 process, 1 threads'): 8 / 5,
            ('weak', 'efficiency', 'x 1 process, 1 threads'): 4 / 5,
            ('weak', 'speed', 'x 1 process, 2 threads'): 6 / 5,
            ('weak', 'efficiency', 'x 1 process, 2 threads'): 6 / 5,
            # 2 pairs in 5 s, against 2 in 8 s and 2 in 6 s
            ('stro', 'speed', 'x 1 process, 1 threads'): 8 / 5,
            ('stro', 'efficiency', 'x 1 process, 1 threads'): 4 / 5,
            ('stro', 'speed', 'x 1 process, 2 threads'): 6 / 5,
            ('stro', 'efficiency', 'x 1 process, 2 threads'): 6 / 5,
        }
    )


def test_communication_is_told_apart():
    """A step of 10 s, 8 s without any, 9 s with buckets filled; 4 s of all-reduces: 3/4 hidden."""
    seen = {
        'times': {scaling.CONFIGURED: [10.0, 12.0], scaling.LOCAL: [8.0], scaling.NOT_SENT: [9.0]},
        'peak': {scaling.CONFIGURED: 2**20, scaling.LOCAL: 2**20, scaling.NOT_SENT: None},
        'equal': [scaling.CONFIGURED],
        'sent': {'discriminators': [10**9, 5 * 10**8], 'generators': [5 * 10**8]},
        'windows': {'discriminators': 0.9, 'generators': 1.8},
        'alone': 4.0,
        'interrupt': 0.01,
    }
    rows = scaling.communication_rows('x', scaling.Job(2, 1, 1), [seen, seen])
    found = {(row.setting, row.quantity, row.unit): row.value for row in rows}
    for key, value in {
        ('discriminators', 'size', 'MB/step'): 6000,
        ('discriminators', 'window', 'of a step'): 0.1,
        ('generators', 'window', 'of a step'): 0.2,
        ('all-reduces', 'number', 'a step'): 3,
        ('all-reduces', 'size', 'MB/step'): 8000,
        ('all-reduces', 'rate alone', 'GB/s'): 2,
        ('all-reduces', 'share', 'of a step'): 0.4,
        ('all-reduces', 'hidden', 'of their time'): 0.75,
        ('data parallel in all', 'share', 'of a step'): 0.2,
        ("InterruptHook's question", 'share', 'of a step'): 0.001,
        (scaling.LOCAL, 'time', f'x {scaling.CONFIGURED}'): 0.8,
        (scaling.CONFIGURED, 'ranks equal to the bit', 'yes = 1'): 1,
        (scaling.LOCAL, 'ranks equal to the bit', 'yes = 1'): 0,
    }.items():
        assert found[key] == pytest.approx(value)
    assert '| as configured | 10 | 1 | 1 | 1 |' in scaling.tables(rows)
    assert '| filled, not sent | 9 | 0.9 |  | 0 |' in scaling.tables(rows)


def config(accumulate: int = 1) -> Config:
    cfg = scaling.Task(True, 4, 32, 0).config()
    for name, lr in (('generators', 1e-5), ('discriminators', 1e-1)):
        # With plain descent the weights' difference is that of the gradients.
        cfg.optim_wrapper[name].optimizer = dict(type='SGD', lr=lr)
        cfg.optim_wrapper[name].accumulative_counts = accumulate
    return cfg


def build(variant: str, accumulate: int = 1):
    return scaling.Training(config(accumulate), variant, 1, torch.device('cpu'))


def train_a_rank(folder: Path) -> None:
    """Weights after a few steps of each variant; when buckets are sent; a step of one process."""
    seen = scaling.measure(scaling.Task(True, 4, 32, 1), 1, list(scaling.VARIANTS)[:3])
    number, count = scaling.rank()
    (folder / f'seen {number}.json').write_text(json.dumps(seen))

    def save(name: str, training, steps: int) -> None:
        for iteration in range(steps):
            MessageHub.get_current_instance().update_info('iter', iteration)
            training.step()
        state = scaling.unwrap(training.model).state_dict()
        torch.save(state, folder / f'{name} {number}.pth')

    for variant in scaling.VARIANTS:
        save(variant, build(variant), 2)
    for variant in ('plain', 'bucket views'):
        save(f'{variant}, accumulated', build(variant, 2), 2)
    (folder / f'events {number}.json').write_text(json.dumps(events_of_a_step()))

    training = build(scaling.CONFIGURED)
    save('one step', training, 1)
    batches = [None] * count
    dist.all_gather_object(batches, training.batch['inputs'])
    if number == 0:
        os.environ['WORLD_SIZE'] = '1'
        training = build(scaling.CONFIGURED)
        training.batch['inputs'] = {k: torch.cat([b[k] for b in batches]) for k in batches[0]}
        save('one process', training, 1)
    dist.barrier()
    dist.destroy_process_group()


def events_of_a_step() -> dict[str, list[str]]:
    """When buckets are sent, and when the gradients of the first layer are there."""
    scaling.VARIANTS['small buckets'] = {'bucket_cap_mb': 0.01}
    training, events = build('small buckets'), {}
    for name, pair in zip(scaling.PAIRS, training.pairs, strict=True):
        seen_here = events[name] = []

        def send(state, bucket, seen_here=seen_here):
            seen_here.append('bucket')
            return allreduce_hook(state, bucket)

        pair.register_comm_hook(None, send)
        next(pair.parameters()).register_post_accumulate_grad_hook(
            lambda _, seen_here=seen_here: seen_here.append('first layer')
        )
    training.step()  # DDP lays its buckets out anew after the first step
    for seen_here in events.values():
        seen_here.clear()
    training.step()
    return events


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> Path:
    """What two ranks wrote down, each with its own images."""
    folder = tmp_path_factory.mktemp('ranks')
    in_ranks(train_a_rank, folder, folder)
    return folder


@pytest.fixture(scope='module')
def states(ranks: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Weights and buffers by variant and rank, after a few steps."""
    return {path.stem: torch.load(path) for path in ranks.glob('*.pth')}


def same(one: dict, two: dict) -> bool:
    return set(one) == set(two) and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize('variant', [v for v in scaling.VARIANTS if v not in scaling.UNEQUAL])
def test_ranks_stay_equal_to_the_bit_in_every_variant(states, variant):
    """Weights, and the vectors of the spectral norms, which one variant alone broadcasts."""
    assert same(states[f'{variant} 0'], states[f'{variant} 1'])
    assert any(key.endswith('.u') for key in states[f'{variant} 0'])


@pytest.mark.parametrize('variant', scaling.UNEQUAL)
def test_ranks_part_without_all_reduce(states, variant):
    assert not same(states[f'{variant} 0'], states[f'{variant} 1'])


def test_float32_variants_train_the_same_to_the_bit(states):
    """Broadcasting the spectral norms' vectors would change nothing, so it is not done."""
    plain = states['plain 0']
    for variant in (scaling.CONFIGURED, *scaling.VARIANTS):
        if variant not in (*scaling.UNEQUAL, 'bfloat16 gradients'):
            assert same(plain, states[f'{variant} 0']), variant
    assert not same(plain, states['one step 0'])


def test_bucket_views_and_accumulated_gradients(states):
    assert same(states['plain, accumulated 0'], states['bucket views, accumulated 0'])
    assert same(states['plain, accumulated 0'], states['bucket views, accumulated 1'])
    assert not same(states['plain, accumulated 0'], states['plain 0'])


def test_bfloat16_gradients_are_near(states):
    """Gradients are rounded to 8 bits: the weights' steps differ by less than 1 %."""
    one, two, rounded = (
        torch.cat([value.flatten().double() for key, value in states[name].items() if 'dis' in key])
        for name in ('one step 0', 'plain 0', 'bfloat16 gradients 0')
    )
    assert 0 < (rounded - two).norm() / (two - one).norm() < 0.01


def test_two_ranks_equal_one_process_with_both_samples(states):
    one, two = states['one process 0'], states['one step 0']
    assert set(one) == set(two)
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-5, rtol=1e-5, msg=key)


def test_gradients_are_sent_during_the_backward_pass(ranks: Path):
    """Most buckets are under way when the gradient of the first layer comes, which is the last."""
    events = json.loads((ranks / 'events 0.json').read_text())
    for name, least in (('discriminators', 4), ('generators', 10)):
        *before, first, after = events[name]
        assert len(before) >= least and {*before, after} == {'bucket'} and first == 'first layer'


def test_what_a_rank_measures(ranks: Path):
    seen = json.loads((ranks / 'seen 0.json').read_text())
    rows = scaling.communication_rows('x', scaling.Job(2, 1, 1), [seen])
    found = {(row.setting, row.quantity, row.unit): row.value for row in rows}
    sizes = scaling.parameters(light=True, channels=4, size=32)
    for name, values in sizes.items():
        assert found[name, 'size', 'MB/step'] == pytest.approx(4 * sum(values) / 1e6)
        assert 0 <= found[name, 'window', 'of a step'] < 1
    assert found['all-reduces', 'time', 's/step'] > 0
    for variant in (scaling.CONFIGURED, *scaling.UNEQUAL):
        assert found[variant, 'time', 's/step'] > 0
        equal = found[variant, 'ranks equal to the bit', 'yes = 1']
        assert equal == (variant == scaling.CONFIGURED)
