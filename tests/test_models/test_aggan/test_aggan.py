"""AGGAN's training step and translation: phases, masks, pools, signs, weights."""

import copy
import random

import pytest
import torch
from aggan_helpers import iterate, tiny_aggan, wrappers
from cyclegan_helpers import tiny_cyclegan
from helpers import assert_same, batch
from mmengine import MessageHub
from torch import Tensor

from ugatit_mm.converters.networks import describe
from ugatit_mm.models import AGGAN
from ugatit_mm.models.base.image_pool import ImagePool

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')


@pytest.fixture(autouse=True)
def first_iteration():
    MessageHub.get_current_instance().update_info('iter', 0)


def images(seed: int = 0, size: int = 16, count: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {x: 2 * torch.rand(count, 3, size, size, generator=rng) - 1 for x in 'AB'}


def test_a_translation_is_mixed_by_its_mask():
    model = tiny_aggan().eval()
    x = images(count=2)['A']
    out = model.translate(x, 'B', heatmap=True)
    made, mask = model.generators['B'](x), model.attentions['A'](x)
    torch.testing.assert_close(out.image, mask * made + (1 - mask) * x)
    assert torch.equal(out.heatmap, mask) and mask.shape == (2, 1, 16, 16)
    assert model.translate(x, 'B').heatmap is None
    shown, titled = model.attention(x, 'B')
    assert torch.equal(shown, out.image) and torch.equal(titled['mask'], mask)
    assert [*model.columns(x[0], 'B')] == ['source', 'attention', 'translation', 'cycle']


def test_what_a_direction_needs():
    model = tiny_aggan().eval()
    slim, x = model.only('B'), images()['A']
    assert [*slim.generators] == ['B'] and [*slim.attentions] == ['A']
    assert torch.equal(slim.translation(x, 'B'), model.translation(x, 'B'))
    one = AGGAN(
        {'type': 'AGGANGenerator', 'base_channels': 4, 'num_blocks': 2},
        {'type': 'AGGANAttention', 'base_channels': 4},
        targets=['A'],
    )
    assert [*one.generators] == ['A'] and [*one.attentions] == ['B'] and one.targets() == ('A',)


def test_phases():
    """Whole images and norms, then foreground without norms, and frozen attention."""
    model = tiny_aggan(switch_iters=2, threshold=0.5, pool_size=1)
    optims, seen = wrappers(model), []
    for judge in model.discriminators.values():
        judge.register_forward_pre_hook(
            lambda _, args, options: seen.append((args[0].detach(), options['normed'])),
            with_kwargs=True,
        )
    before = copy.deepcopy(model.attentions.state_dict())
    for iteration, phase in enumerate((1, 1, 2, 2)):
        real = images(iteration)
        masks = {x: model.attentions[x](real[x]).detach() for x in 'AB'}
        step = iterate(model, optims, real, iteration)
        assert model.phase == phase and all(step.taken.values())
        assert [normed for _, normed in seen] == 4 * [phase == 1]
        judged_b = seen[1][0][:1]  # d_B, of the real image
        grey = (judged_b == 0).all(1, keepdim=True)
        if phase == 1:
            assert torch.equal(judged_b, real['B'])
        else:
            assert torch.equal(grey, masks['B'] < 0.5) and 0 < grey.float().mean() < 1
            shown = ~grey.expand_as(judged_b)
            assert torch.equal(judged_b[shown], real['B'][shown])
        after = copy.deepcopy(model.attentions.state_dict())
        kernels = [key for key in after if key.endswith('weight')]
        assert all(torch.equal(after[k], before[k]) == (phase == 2) for k in kernels)
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        before = after
        seen.clear()


def test_an_update_of_several_batches_is_of_one_phase():
    """Attention that has begun to accumulate a gradient is updated by it, and then no more."""
    model = tiny_aggan(switch_iters=3)
    optims = wrappers(model, accumulative_counts=2)
    moved = []
    for iteration in range(6):
        MessageHub.get_current_instance().update_info('iter', iteration)
        before = copy.deepcopy(model.attentions.state_dict())
        model.train_step(batch(seed=iteration), optims)
        after = model.attentions.state_dict()
        moved.append(any(not torch.equal(after[key], value) for key, value in before.items()))
        assert model.phase == (1 if iteration < 4 else 2)
    assert moved == [False, True, False, True, False, False]


def test_norms_that_are_not_used_move_on_by_momentum():
    """As in the official optimiser, which sees gradients of 0 for them."""
    model = tiny_aggan(switch_iters=1)
    optims = wrappers(model)
    iterate(model, optims, images(), 0)
    scale = model.discriminators['B'].norms[0].weight
    start, m = scale.detach().clone(), optims['discriminator_B'].optimizer.state[scale]
    m, v = (m[name].clone() for name in ('exp_avg', 'exp_avg_sq'))
    iterate(model, optims, images(1), 1)
    t, m, v = 6, 0.5 * m, 0.999 * v
    rate = 1e-4 * (1 - 0.999**t) ** 0.5 / (1 - 0.5**t)
    torch.testing.assert_close(scale.detach(), start - rate * m / (v.sqrt() + 1e-8))
    assert not torch.equal(scale, start)


def test_pools_keep_fakes_with_their_masks(monkeypatch):
    """The source's masks, stored soft; in the second phase those of the first are applied."""
    monkeypatch.setattr(ImagePool, '_draw', lambda pool: 0)  # the stored one, always
    model = tiny_aggan(pool_size=1, switch_iters=1, threshold=0.5)
    optims, given = wrappers(model), []
    first = images()
    masks = {x: model.attentions[x](first[x]).detach() for x in 'AB'}
    fake = model.translate(first['A'], 'B').image.detach()
    iterate(model, optims, first, 0)
    (kept,) = model.pools['B'].images
    torch.testing.assert_close(kept, torch.cat([fake, masks['A']], 1))
    model.discriminators['B'].register_forward_pre_hook(lambda _, args: given.append(args[0]))
    iterate(model, optims, images(1), 1)
    of_pool = given[1][1:]  # d_B: the real image, then the pool's
    torch.testing.assert_close(of_pool, fake * (masks['A'] >= 0.5))
    assert not torch.equal(model.pools['B'].images[0], kept)


@pytest.mark.parametrize('switch', [0, 99])
def test_what_is_passed_through_the_networks(switch):
    """The official program runs 16 passes of generators and 18 of attention networks."""
    model = tiny_aggan(switch_iters=switch)
    counts = dict.fromkeys(model.PARTS, 0)
    for part in counts:
        for network in getattr(model, part).values():

            def count(*_, part=part):
                counts[part] += 1

            network.register_forward_hook(count)
    iterate(model, wrappers(model), images(), 0)
    attentions = 5 if switch == 0 else 6
    assert counts == {'generators': 6, 'attentions': attentions, 'discriminators': 4}


def test_the_generator_into_a_meets_that_into_b_after_its_update():
    model = tiny_aggan()
    optims, seen = wrappers(model), []
    real = images()
    before = model.translate(real['A'], 'B').image.detach()
    model.generators['A'].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    iterate(model, optims, real, 0)
    first, *after = seen
    assert torch.equal(first, real['B']) and len(after) == 2
    torch.testing.assert_close(after[0], before)
    expected = model.attentions['A'], model.generators['B']
    mask, made = (network(real['A']).detach() for network in expected)
    torch.testing.assert_close(after[1], mask * made + (1 - mask) * real['A'])
    assert (after[1] - before).abs().max() > 1e-6


def test_terms_and_sums():
    model = tiny_aggan(loss_config={'gan': 2.0, 'cycle': 3.0})
    log = model.train_step(batch(), wrappers(model))
    assert log.keys() == {
        *(f'loss_{name}_{x}' for name in ('gan_g', 'cycle', 'g', 'gan_d', 'd') for x in 'AB'),
        'loss_g',
        'loss_d',
    }
    assert log['loss_d'] == pytest.approx(log['loss_d_A'] + log['loss_d_B'])
    assert log['loss_g'] == pytest.approx(log['loss_g_A'] + log['loss_g_B'])
    assert log['loss_d_B'] == pytest.approx(2 * log['loss_gan_d_B'])
    cycles = log['loss_cycle_A'] + log['loss_cycle_B']
    assert log['loss_g_A'] == pytest.approx(2 * log['loss_gan_g_A'] + 3 * cycles)
    assert list(log.updates) == list(model.OPTIMIZED)


@pytest.mark.parametrize('frozen', ['generators.B', 'discriminators', 'attentions', 'generators'])
@pytest.mark.parametrize('switch', [0, 99])
def test_frozen_parts(frozen, switch):
    model = tiny_aggan(frozen=frozen, switch_iters=switch)
    optims, before = wrappers(model), copy.deepcopy(model.state_dict())
    step = iterate(model, optims, images(), 0)
    still = {part for part in ('generators', 'attentions') if part == frozen}
    still |= {'attentions'} if switch == 0 else set()
    idle = {n for n in model.OPTIMIZED if frozen == 'discriminators' and n.startswith('disc')}
    idle |= {n for n in model.OPTIMIZED if n.startswith('gen') and len(still) == 2}
    idle |= {'generator_B'} if frozen == 'generators.B' and switch == 0 else set()
    assert step.taken.keys() == model.OPTIMIZED.keys() - idle
    assert all(bool(flag) for flag in step.taken.values())
    for key, value in model.state_dict().items():
        if key.startswith((frozen, *still)):
            assert torch.equal(value, before[key]), key


def test_training_goes_on_to_the_bit(tmp_path):
    """Across the switch, with the pools; without them the discriminators see other pictures."""

    def start(source=None):
        model = tiny_aggan(pool_size=2, switch_iters=4)
        if source:
            model.load_state_dict(source.state_dict())
        return model

    model = start()
    optims = wrappers(model)
    random.seed(3)
    for iteration in range(3):
        iterate(model, optims, images(iteration), iteration)
    torch.save(model.training_state(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert all(state[x].shape == (2, 4, 16, 16) and state[x].device.type == 'cpu' for x in 'AB')
    rng = random.getstate()
    copies = {'resumed': start(model), 'without': start(model)}
    copies['resumed'].load_training_state(state)
    copies['without'].load_training_state(None)
    terms = {}
    for name, each in {'straight': model, **copies}.items():
        random.setstate(rng)
        own = wrappers(each)
        own.load_state_dict(copy.deepcopy(optims.state_dict()))
        terms[name] = [iterate(each, own, images(i), i).vector() for i in range(3, 6)]
    for one, two, other in zip(*(terms[n] for n in ('straight', *copies)), strict=True):
        assert torch.equal(one, two) and not torch.equal(one, other)
    assert_same(copies['resumed'].state_dict(), model.state_dict())


def test_signs_of_masks():
    model = tiny_aggan(domains={'A': 'horse', 'B': 'zebra'})

    def signs(a: float, b: float) -> dict:
        heatmaps = {'A': torch.full((1, 1, 4, 4), a), 'B': torch.full((1, 1, 4, 4), b)}
        return model.signs(model.SIGNS, heatmaps)

    assert signs(0.03, 0.97) == {} and model.signs(model.SIGNS, {'A': None}) == {}
    found = signs(0.001, 0.999)
    assert 'the mask of zebra2horse has been nearly 0 (mean 0.001)' in found['mask', 'A']
    assert 'the mask of horse2zebra has been nearly 1 (mean 1)' in found['mask', 'B']


def test_description_is_read_off_the_weights():
    model = tiny_aggan(num_blocks=3, attention={'base_channels': 6, 'decoder_kernels': (1, 3, 5)})
    state = model.state_dict()
    found = {
        'type': 'AGGAN',
        'generator': {'in_channels': 3, 'base_channels': 4, 'num_blocks': 3},
        'attention': {'in_channels': 3, 'base_channels': 6, 'decoder_kernels': (1, 3, 5)},
        'discriminator': {'in_channels': 3, 'base_channels': 4},
    }
    assert describe(state) == found
    one = {k: v for k, v in state.items() if k.startswith(('generators.A', 'attentions.B'))}
    without = {key: value for key, value in found.items() if key != 'discriminator'}
    assert describe(one) == {**without, 'targets': ['A']}
    for part, said in (
        ('attentions', 'there is no attention network'),
        ('generators', r'there is no generators\.A'),
        ('attentions.B.decoder.1', r'there is no attentions\.B\.decoder\.1\.conv\.weight'),
    ):
        less = {key: value for key, value in state.items() if not key.startswith(part)}
        with pytest.raises(ValueError, match=said):
            model.describe(less)


def test_a_description_is_of_one_model_only():
    ours, other = tiny_aggan(), tiny_cyclegan()
    with pytest.raises(ValueError, match='has norms with a scale'):
        other.describe(ours.state_dict())
    with pytest.raises(ValueError, match='no attention network'):
        ours.describe(other.state_dict())


def test_words_of_a_variant():
    paper = {
        'generator': {'base_channels': 32, 'num_blocks': 9},
        'attention': {'base_channels': 32},
        'discriminator': {'base_channels': 64},
    }
    always = ['settings of its horse2zebra', 'new pairs in each epoch']
    assert AGGAN.variant(paper) == always
    other = {
        'generator': {'base_channels': 16, 'num_blocks': 6},
        'attention': {'base_channels': 32, 'decoder_kernels': [3, 3, 7]},
        'discriminator': {'base_channels': 64},
        'pool_size': 0,
        'threshold': 0.05,
        'loss_config': {'cycle': 1},
    }
    assert AGGAN.variant(other) == [
        *always,
        '16, 32 and 64 channels',
        '6 blocks',
        'kernels of masks 3x3x7',
        'pool of 0',
        'threshold 0.05',
        'cycle loss 1',
    ]


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'loss_config': {'identity': 1.0}}, r"loss_config knows \['cycle', 'gan'\], not"),
        ({'switch_iters': -1}, 'switch_iters must be 0 or more, got -1'),
        ({'threshold': 1.5}, r'threshold must lie in \[0, 1\], got 1.5'),
        ({'pool_size': -1}, 'pool_size must be 0 or more, got -1'),
    ],
)
def test_errors_name_the_field(fields, said):
    with pytest.raises(ValueError, match=said):
        tiny_aggan(**fields)


def test_half_precision_step_is_close_to_the_float32_step():
    logs = []
    for fields in ({}, {'type': 'AutocastOptimWrapper'}):
        model = tiny_aggan()
        logs.append(model.train_step(batch(), wrappers(model, **fields)))
    assert logs[1] == pytest.approx(logs[0], rel=0.05) and dict(logs[1]) != dict(logs[0])
