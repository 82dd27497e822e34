"""CycleGAN's baseline against the recorded numbers of the official program, and ours against it."""

import json
import random

import numpy as np
import pytest
import torch
from cyclegan_helpers import dead, fixtures, pixels, recorded
from helpers import load_tool

from ugatit_mm.converters.cyclegan import from_official

building = load_tool('benchmarks/building')
OfficialOrder = building.official_order('cyclegan')


@pytest.fixture(autouse=True)
def pools_draw_from_a_seed():
    state = random.getstate()
    random.seed(22)  # of the record
    yield
    random.setstate(state)


def test_three_recorded_steps():
    """Terms to 1e-5 relative, later 1e-4; kernels after them to 1e-6 on average."""
    record, start, after = (
        recorded(f'cyclegan_{name}') for name in ('steps.npz', 'init.pt', 'after3.pt')
    )
    terms = json.loads((fixtures() / 'cyclegan_terms.json').read_text())['terms']
    baseline = OfficialOrder(64, base_channels=4, num_blocks=2, pool_size=2)
    baseline.load_state_dict(start)
    with torch.no_grad():
        forward = baseline.networks['G_A'](pixels(record['step1_A'][:1]))
    np.testing.assert_allclose(forward, record['forward_G_A'], atol=1e-5, rtol=0)
    for number in (1, 2, 3):
        found = baseline.step(*(pixels(record[f'step{number}_{x}']) for x in 'AB'))
        assert not any(term.requires_grad for term in found.values()) and len(found) == 9
        for name, value in found.items():
            wanted = pytest.approx(terms[f'step{number}'][name], rel=1e-5 if number == 1 else 1e-4)
            assert value.item() == wanted, (number, name)
    for name, weights in baseline.state_dict().items():
        assert weights.keys() == after[name].keys()
        off = torch.cat(
            [
                (weights[key] - after[name][key]).abs().flatten()
                for key in weights
                if key.endswith('weight')
            ]
        )
        assert off.mean() < 1e-6 and off.max() < 1e-4, name


def test_our_steps_give_its_losses():
    """From the same weights, with full pools: three steps, and the weights after them."""
    torch.manual_seed(0)
    official = OfficialOrder(32, base_channels=4, num_blocks=1, num_layers=2, pool_size=1)
    # Of a width at which no variance comes near the norms' epsilon.
    with torch.no_grad():
        for network in official.networks.values():
            for parameter in network.parameters():
                parameter.mul_(5)
    images = {k: torch.randint(0, 256, (1, 3, 32, 32)) / 127.5 - 1 for k in 'AB'}
    options = {'model.generator.num_blocks': 1, 'model.discriminator.num_layers': 2}
    ours = building.build_ours(
        building.Case('cyclegan'), images, 4, options | {'model.pool_size': 1}
    )
    ours.model.load_state_dict(from_official(official.state_dict())[0])
    for number in range(3):
        state = random.getstate()
        theirs = {name: value.item() for name, value in official.step(*images.values()).items()}
        random.setstate(state)  # ours draws the same
        log = ours()
        near = {'rel': 1e-5 if number == 0 else 1e-3}
        assert log['loss_g'] == pytest.approx(theirs['G'], **near)
        for domain, name in (('A', 'B'), ('B', 'A')):
            assert log[f'loss_gan_d_{domain}'] == pytest.approx(theirs[f'D_{name}'], **near)
            assert log[f'loss_gan_g_{domain}'] == pytest.approx(theirs[f'G_{name}'], **near)
    made = from_official(official.state_dict())[0]
    off = [
        (value - made[key]).abs().mean()
        for key, value in ours.model.state_dict().items()
        if not dead(key) and key.endswith('weight')
    ]
    assert max(off) < 2e-5


def test_it_spares_no_work():
    """Each pass is a separate call: six of the generators, three of each discriminator."""
    baseline = OfficialOrder(32, base_channels=2, num_blocks=1)
    calls = dict.fromkeys(baseline.networks, 0)

    def count(name: str) -> None:
        calls[name] += 1

    for name, network in baseline.networks.items():
        network.register_forward_pre_hook(lambda *_, name=name: count(name))
    baseline.step(*torch.rand(2, 1, 3, 32, 32) * 2 - 1)
    assert calls == {'G_A': 3, 'G_B': 3, 'D_A': 3, 'D_B': 3}
    with pytest.raises(ValueError, match='multiple of 4, not 30'):
        OfficialOrder(30)


def test_the_pool_swaps_one_half_of_the_time():
    pool = OfficialOrder(32, 2, num_blocks=1, pool_size=2).fake_A_pool
    fakes = torch.arange(400.0).view(-1, 1)
    given = torch.cat([pool.query(fake) for fake in fakes.split(1)]).flatten()
    assert given[:2].tolist() == [0, 1]
    older = (given != fakes.flatten())[2:].float().mean().item()
    assert 0.4 < older < 0.6
