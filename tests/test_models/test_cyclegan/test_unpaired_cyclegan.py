"""CycleGAN's training step: the official program, a plain one, turns, skipped updates."""

import copy
import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cyclegan_helpers import (
    dead,
    drawn,
    fixtures,
    official_networks,
    pair_of_discriminators,
    pair_of_generators,
    recorded,
    tiny_cyclegan,
    with_weights,
    wrappers,
)
from helpers import assert_same, batch
from mmengine import MessageHub
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')


@pytest.fixture(autouse=True)
def first_iteration():
    MessageHub.get_current_instance().update_info('iter', 0)


def train(model, optims, iteration: int = 0, **fields) -> dict[str, float]:
    MessageHub.get_current_instance().update_info('iter', iteration)
    return model.train_step(batch(**{'seed': iteration, **fields}), optims)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(before: dict, module: nn.Module) -> bool:
    return any(not torch.equal(before[name], p) for name, p in module.named_parameters())


def images(model, **fields) -> dict[str, Tensor]:
    inputs = model.data_preprocessor(batch(**fields), True)['inputs']
    return {domain: inputs[f'img_{domain}'] for domain in 'AB'}


def made(model, **fields) -> tuple[dict[str, Tensor], dict]:
    """Images, and the generators' output for them."""
    real = images(model, **fields)
    return real, model.generators(real, True)


# ------------------------------------------------------------------- against other programs


OFFICIAL = {  # our term: the official one, and its meaning
    'loss_gan_g_B': 'G_A',
    'loss_gan_g_A': 'G_B',
    'loss_cycle_A': 'cycle_A_raw',
    'loss_cycle_B': 'cycle_B_raw',
    'loss_identity_B': 'idt_A_raw',
    'loss_identity_A': 'idt_B_raw',
    'loss_gan_d_B': 'D_A',
    'loss_gan_d_A': 'D_B',
    'loss_g': 'G',
}


@pytest.mark.parametrize('channels_last', [True, False])
def test_three_official_steps(channels_last, monkeypatch):
    """Terms, pictures and pools of each step, gradients of the first, kernels after the third."""
    record, start = recorded('cyclegan_steps.npz'), recorded('cyclegan_init.pt')
    terms = json.loads((fixtures() / 'cyclegan_terms.json').read_text())['terms']
    model = tiny_cyclegan(pool_size=2, channels_last=channels_last)
    for name, network in official_networks(model).items():
        with_weights(network, start[name])
    optims = wrappers(model)
    seen, pooled, gradients = {}, {}, {}
    model.generators.register_forward_hook(lambda *call: seen.update(call[2]))
    model.discriminators.register_forward_hook(lambda *call: pooled.update(call[1][1]))
    for name, optim in optims.items():

        def step(*args, optim=optim, name=name, step=optim.step):
            gradients[name] = [p.grad.clone() for p in getattr(model, name).parameters()]
            step(*args)

        monkeypatch.setattr(optim, 'step', step)

    for number in (1, 2, 3):
        prefix = f'step{number}_'
        draws = record[f'{prefix}pool_draws'].reshape(2, 2, 2)  # of B's pool, then of A's
        for domain, of_domain in zip('BA', draws, strict=True):
            places = [None if p <= 0.5 else int(k) for p, k in of_domain if p == p]
            monkeypatch.setattr(model.pools[domain], '_draw', iter(places).__next__)
        inputs = {
            f'img_{x}': torch.from_numpy(record[f'{prefix}{x}']).flip(1).float() for x in 'AB'
        }
        log = model.train_step({'inputs': inputs}, optims)
        for ours, theirs in OFFICIAL.items():
            expected = pytest.approx(
                terms[f'step{number}'][theirs], rel=1e-5 if number == 1 else 1e-4
            )
            assert log[ours] == expected, (number, ours)
        # rec_A = G_B(G_A(A)) ends in A; idt_A = G_A(B) is the generator into B.
        pictures = {f'fake_{x}': seen[x].fake for x in 'AB'}
        pictures |= {f'rec_{x}': seen[x].cycle for x in 'AB'}
        pictures |= {'idt_A': seen['B'].identity, 'idt_B': seen['A'].identity}
        for name, image in pictures.items():
            image = image.detach()[..., :: 1 if number == 1 else 8, :: 1 if number == 1 else 8]
            np.testing.assert_allclose(image, record[prefix + name], atol=1e-4, rtol=0)
        for x in 'AB':
            image = pooled[x][..., ::8, ::8]
            np.testing.assert_allclose(image, record[f'{prefix}pool_{x}'], atol=1e-4, rtol=0)
        if number == 1:
            for part, name in (('generators', 'G_A'), ('discriminators', 'D_A')):
                pair = getattr(model, part)
                found = dict(zip(dict(pair.named_parameters()), gradients[part], strict=True))
                official = [key for key in record if key.startswith(f'step1_grad_{name}.')]
                for ours, theirs in zip(pair['B'].state_dict(), official, strict=True):
                    if not dead(ours):
                        size = np.abs(record[theirs]).max()
                        np.testing.assert_allclose(
                            found[f'B.{ours}'] / size, record[theirs] / size, atol=1e-4, rtol=0
                        )

    after = recorded('cyclegan_after3.pt')
    for name, network in official_networks(model).items():
        kernels = zip(network.state_dict().items(), after[name].values(), strict=True)
        off = [(ours - theirs).abs() for (key, ours), theirs in kernels if not dead(key)]
        off = torch.cat([tensor.flatten() for tensor in off])
        assert off.mean() < 1e-6 and off.max() < 1e-4, name


def test_the_official_draws_follow_from_pythons_seed():
    """Its program queries the pool of B first: the same seed gives the same pictures."""
    record, start = recorded('cyclegan_steps.npz'), recorded('cyclegan_init.pt')
    model = tiny_cyclegan(pool_size=2)
    for name, network in official_networks(model).items():
        with_weights(network, start[name])
    pooled = {}
    model.discriminators.register_forward_hook(lambda *call: pooled.update(call[1][1]))
    optims = wrappers(model)
    random.seed(22)
    for number in (1, 2, 3):
        inputs = {
            f'img_{x}': torch.from_numpy(record[f'step{number}_{x}']).flip(1).float() for x in 'AB'
        }
        model.train_step({'inputs': inputs}, optims)
        for x in 'AB':
            image = pooled[x][..., ::8, ::8]
            np.testing.assert_allclose(image, record[f'step{number}_pool_{x}'], atol=1e-4, rtol=0)


def plain_steps(networks: dict[str, nn.Module], batches: list[dict[str, Tensor]], identity: float):
    """Steps of the algorithm, written without this package: yields the terms of each.

    Args:
        networks: ``G_A`` (into B), ``G_B``, ``D_A`` (of B), ``D_B``.
        batches: Images by domain.
        identity: Its weight.
    """
    gen_b, gen_a, dis_b, dis_a = (networks[name] for name in ('G_A', 'G_B', 'D_A', 'D_B'))
    adam = {'lr': 2e-4, 'betas': (0.5, 0.999)}
    optim_g = torch.optim.Adam([*gen_b.parameters(), *gen_a.parameters()], **adam)
    optim_d = torch.optim.Adam([*dis_b.parameters(), *dis_a.parameters()], **adam)

    def mse(logit, target):
        return F.mse_loss(logit, torch.full_like(logit, target))

    for real in batches:
        a, b = real['A'], real['B']
        fake_b, fake_a = gen_b(a), gen_a(b)
        terms = {
            'loss_gan_g_B': mse(dis_b(fake_b), 1.0),
            'loss_gan_g_A': mse(dis_a(fake_a), 1.0),
            'loss_cycle_A': F.l1_loss(gen_a(fake_b), a),
            'loss_cycle_B': F.l1_loss(gen_b(fake_a), b),
            'loss_identity_A': F.l1_loss(gen_a(a), a),
            'loss_identity_B': F.l1_loss(gen_b(b), b),
        }
        factor = {'gan': 1, 'cycle': 10, 'identity': identity}
        loss = sum(factor[name.split('_')[1]] * term for name, term in terms.items())
        optim_g.zero_grad()
        loss.backward()
        optim_g.step()
        terms['loss_g'] = loss
        optim_d.zero_grad()
        for name, dis, of_real, fake in (('B', dis_b, b, fake_b), ('A', dis_a, a, fake_a)):
            term = 0.5 * (mse(dis(of_real), 1.0) + mse(dis(fake.detach()), 0.0))
            term.backward()
            terms[f'loss_gan_d_{name}'] = term
        optim_d.step()
        terms['loss_d'] = terms['loss_gan_d_A'] + terms['loss_gan_d_B']
        yield {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize('identity', [5.0, 0.0])
def test_steps_of_a_plain_program_on_mmagics_networks(identity):
    """Generators first: their loss uses the discriminators of the previous step."""
    model = tiny_cyclegan(pool_size=0, loss_config={'identity': identity})
    plain = {}
    for name, network in official_networks(model).items():
        pair = pair_of_generators if name[0] == 'G' else pair_of_discriminators
        plain[name] = with_weights(pair()[1], drawn(network))
    batches = [images(model, size=32, count=2, seed=seed) for seed in range(3)]
    optims = wrappers(model)
    for seed, expected in enumerate(plain_steps(plain, batches, identity)):
        log = train(model, optims, seed, count=2)
        for name, value in expected.items():
            if identity or 'identity' not in name:
                assert log[name] == pytest.approx(value, rel=1e-4), (seed, name)
            else:
                assert name not in log
    for name, network in official_networks(model).items():
        pairs = zip(network.named_parameters(), plain[name].parameters(), strict=True)
        off = torch.cat([(a - b).abs().flatten() for (key, a), b in pairs if not dead(key)])
        assert off.mean() < 1e-5, name


# ----------------------------------------------------------------------------- closed forms


def test_terms_of_constant_networks():
    """With a generator that returns 0 and logits of 0.25 every term is known in closed form."""
    model = tiny_cyclegan(loss_config={'gan': 2.0, 'cycle': 3.0, 'identity': 7.0})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for network in model.discriminators.values():
            network.model[-1].bias.fill_(0.25)
    real, out = made(model)
    loss, log = model.compute_g_loss(real, out)
    size = {x: real[x].abs().mean().item() for x in 'AB'}
    for x in 'AB':
        assert log[f'loss_gan_g_{x}'] == pytest.approx(0.75**2)
        assert log[f'loss_cycle_{x}'] == pytest.approx(size[x])
        assert log[f'loss_identity_{x}'] == pytest.approx(size[x])
    assert loss.item() == log['loss_g'] == pytest.approx(4 * 0.75**2 + 10 * (size['A'] + size['B']))
    loss, log = model.compute_d_loss(real, model.pooled(out))
    for x in 'AB':
        assert log[f'loss_gan_d_{x}'] == pytest.approx(0.5 * (0.75**2 + 0.25**2))
    assert loss.item() == log['loss_d'] == pytest.approx(4 * 0.5 * (0.75**2 + 0.25**2))


def test_even_d_loss_is_that_of_a_tossed_coin():
    model = tiny_cyclegan()
    with torch.no_grad():
        for network in model.discriminators.values():
            network.model[-1].weight.zero_()
            network.model[-1].bias.fill_(0.5)
    real, out = made(model)
    _, log = model.compute_d_loss(real, model.pooled(out))
    assert log['loss_gan_d_A'] == log['loss_gan_d_B'] == model.EVEN_D_LOSS == 0.25


def test_every_generated_picture_is_what_its_name_says():
    model = tiny_cyclegan()
    real, out = made(model)
    for x, y in ('AB', 'BA'):
        generator, back = model.generators[x], model.generators[y]
        torch.testing.assert_close(out[x].fake, generator(real[y]))
        torch.testing.assert_close(out[x].cycle, generator(back(real[x])))
        torch.testing.assert_close(out[x].identity, generator(real[x]))
    assert torch.equal(model.translation(real['A'], 'B'), model.generators['B'](real['A']))


# ------------------------------------------------------------------------------ the step


def test_log_and_gradients_of_a_step():
    """Every parameter learns, except biases before an instance norm, which removes them."""
    model = tiny_cyclegan()
    optims = wrappers(model, {'type': 'SGD', 'lr': 1.0})
    before = weights(model)
    log = train(model, optims)
    expected = {'loss_d', 'loss_g'} | {
        f'loss_{kind}_{x}' for kind in ('gan_g', 'gan_d', 'cycle', 'identity') for x in 'AB'
    }
    assert set(log) == expected and all(isinstance(value, float) for value in log.values())
    assert log.updates == {'generators': True, 'discriminators': True}
    for name, parameter in model.named_parameters():
        change = (parameter - before[name]).abs().max()
        assert change < 1e-5 if dead(name) else change > 1e-5, (name, change)


def test_discriminators_are_frozen_for_the_generators_and_see_detached_pictures():
    model, seen = tiny_cyclegan(), []
    judge = model.discriminators['A']
    judge.register_forward_hook(
        lambda module, inputs, _: seen.append(
            (all(p.requires_grad for p in module.parameters()), inputs[0].requires_grad)
        )
    )
    train(model, wrappers(model))
    assert seen == [(False, True), (True, False)]
    assert all(p.requires_grad for p in model.parameters())
    model.zero_grad()
    real, out = made(model)
    loss, _ = model.compute_d_loss(real, model.pooled(out))
    loss.backward()
    assert all(p.grad is None for p in model.generators.parameters())


def test_the_discriminators_get_pictures_of_before_the_generators_update():
    model, seen = tiny_cyclegan(pool_size=0), {}
    model.discriminators.register_forward_hook(lambda *call: seen.update(call[1][1]))
    before = copy.deepcopy(model.generators)
    optims = wrappers(model, {'type': 'SGD', 'lr': 1.0})
    train(model, optims)
    expected = before(images(model), True)
    for x in 'AB':
        assert torch.equal(seen[x], expected[x].fake)
        assert not torch.equal(seen[x], model.generators(images(model), True)[x].fake)


def test_without_identity_its_passes_are_not_made():
    counts = []
    for weight in (5.0, 0.0):
        model, rows = tiny_cyclegan(loss_config={'identity': weight}), []
        model.generators['A'].register_forward_hook(
            lambda *call, rows=rows: rows.append(len(call[1][0]))
        )
        log = train(model, wrappers(model))
        counts.append((rows, 'loss_identity_A' in log))
    assert counts == [([2, 1], True), ([1, 1], False)]


def of_two_steps(**fields) -> tuple[list[dict], dict[str, Tensor]]:
    random.seed(1)
    generator, discriminator = fields.pop('generator', None), fields.pop('discriminator', None)
    model = tiny_cyclegan(generator, discriminator, **fields)
    optims = wrappers(model)
    return [train(model, optims, i, count=4) for i in range(2)], model.state_dict()


@pytest.mark.parametrize('term', ['gan', 'cycle', 'identity'])
def test_every_weight_has_an_effect(term):
    """On the weights: a log of terms need not show their factors."""
    plain, other = of_two_steps(), of_two_steps(loss_config={term: 2.0})
    assert plain[0] != other[0]
    assert any(not torch.equal(plain[1][key], other[1][key]) for key in plain[1])


@pytest.mark.parametrize('fields', [{'channels_last': False}, {'generator': {'with_cp': True}}])
def test_switches_for_speed_and_memory_change_no_result(fields):
    (plain, *_), (switched, *_) = of_two_steps()[0], of_two_steps(**fields)[0]
    assert switched == pytest.approx(plain, rel=1e-5)


def test_turns_of_the_generators():
    model = tiny_cyclegan(discriminator_steps=2, disc_init_steps=2)
    optims, learned = wrappers(model), []
    for iteration in range(6):
        g, d = weights(model.generators), weights(model.discriminators)
        log = train(model, optims, iteration)
        learned.append(moved(g, model.generators))
        assert ('loss_g' in log) is learned[-1] and moved(d, model.discriminators)
    assert learned == [False, False, False, True, False, True]


def test_accumulation_is_the_mean_of_the_batches():
    """Two batches of 1 update both pairs like one batch of 2; nothing changes in between."""
    whole, parts = (tiny_cyclegan(pool_size=0) for _ in range(2))
    pair = batch(count=2)
    sgd = {'type': 'SGD', 'lr': 1e-2}
    whole.train_step(pair, wrappers(whole, sgd))
    optims, before = wrappers(parts, sgd, accumulative_counts=2), weights(parts)
    for iteration in range(2):
        MessageHub.get_current_instance().update_info('iter', iteration)
        one = {'inputs': {k: v[iteration : iteration + 1] for k, v in pair['inputs'].items()}}
        log = parts.train_step(one, optims)
        assert moved(before, parts) is (iteration == 1)
        assert log.updates == ({'generators': True, 'discriminators': True} if iteration else {})
    for (name, one), two in zip(parts.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4, msg=name)


def pools(model) -> list[list[Tensor]]:
    return [list(pool.images) for pool in model.pools.values()]


@pytest.mark.parametrize('pool_size', [50, 1])
def test_nothing_remains_of_a_step_whose_pictures_are_not_finite(pool_size):
    model = tiny_cyclegan(pool_size=pool_size)
    optims = wrappers(model)
    train(model, optims, 0, count=2)
    state, before = copy.deepcopy(optims.state_dict()), weights(model)
    kept = pools(model)
    bad = batch(count=2)
    bad['inputs']['img_A'][0, 0, 0, 0] = torch.nan
    log = model.train_step(bad, optims)
    assert log.updates == {'generators': False} and 'loss_cycle_A' in log.not_finite
    assert 'loss_d' not in log and not moved(before, model)
    assert_same(optims.state_dict(), state)
    assert_same(pools(model), kept)
    assert np.isfinite(train(model, optims, 1)['loss_d'])
    assert all(image.isfinite().all() for pool in pools(model) for image in pool)


@pytest.mark.parametrize('place', [0, 1])
def test_nothing_remains_of_accumulated_steps_of_which_one_is_not_finite(place):
    """The first of two fills the pool before its update is known to be skipped."""
    model = tiny_cyclegan(pool_size=3)
    optims = wrappers(model, accumulative_counts=2)
    for iteration in range(4):
        train(model, optims, iteration)
    kept, before = pools(model), weights(model)
    for iteration in (4, 5):
        data = batch(seed=iteration)
        if iteration == 4 + place:
            data['inputs']['img_B'][0, 0, 0, 0] = torch.inf
        MessageHub.get_current_instance().update_info('iter', iteration)
        log = model.train_step(data, optims)
    assert log.updates == {'generators': False} and not moved(before, model)
    assert_same(pools(model), kept)
    for iteration in (6, 7):
        log = train(model, optims, iteration)
    assert log.updates == {'generators': True, 'discriminators': True} and 'loss_d' in log


def test_the_generators_update_stays_where_the_discriminators_is_left_out(monkeypatch):
    model = tiny_cyclegan()
    optims = wrappers(model)
    train(model, optims)
    kept, g, d = pools(model), weights(model.generators), weights(model.discriminators)
    compute = model.compute_d_loss
    monkeypatch.setattr(model, 'compute_d_loss', lambda *a: (compute(*a)[0] * torch.nan, {}))
    log = train(model, optims, 1)
    assert log.updates == {'generators': True, 'discriminators': False}
    assert moved(g, model.generators) and not moved(d, model.discriminators)
    assert_same(pools(model), kept)


def test_training_continues_to_the_bit(tmp_path):
    """With the pools; without them the discriminators would see other pictures."""

    def start(source=None):
        model = tiny_cyclegan(pool_size=3)
        if source:
            model.load_state_dict(source.state_dict())
        return model

    model = start()
    optims = wrappers(model)
    random.seed(3)
    for iteration in range(3):
        train(model, optims, iteration, count=2)
    torch.save(model.training_state(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert all(state[x].shape == (3, 3, 32, 32) and state[x].device.type == 'cpu' for x in 'AB')
    rng = random.getstate()
    copies = {'resumed': start(model), 'without': start(model)}
    copies['resumed'].load_training_state(state)
    copies['without'].load_training_state(None)
    logs = {}
    for name, each in {'straight': model, **copies}.items():
        random.setstate(rng)
        each_optims = wrappers(each)
        each_optims.load_state_dict(copy.deepcopy(optims.state_dict()))
        logs[name] = [train(each, each_optims, i, count=2) for i in range(3, 6)]
    assert logs['resumed'] == logs['straight'] != logs['without']
    assert_same(copies['resumed'].state_dict(), model.state_dict())


def test_pools_of_no_size_have_no_state():
    assert tiny_cyclegan(pool_size=0).training_state() is None
    assert tiny_cyclegan().training_state() == {'A': None, 'B': None}


def test_an_image_is_taken_by_its_pool_as_the_generator_made_it():
    model = tiny_cyclegan()
    train(model, wrappers(model, {'type': 'SGD', 'lr': 0.0}), count=2)
    _, out = made(model, count=2)
    for x in 'AB':
        assert torch.equal(torch.cat(model.pools[x].images), out[x].fake.detach())


def test_half_precision_step_is_close_to_the_float32_step():
    logs = []
    for fields in ({}, {'type': 'AutocastOptimWrapper'}):
        model = tiny_cyclegan()
        logs.append(train(model, wrappers(model, **fields)))
    assert logs[1] == pytest.approx(logs[0], rel=0.05) and logs[1] != logs[0]


@pytest.mark.slow
def test_compile_reaches_every_network():
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    model, plain = tiny_cyclegan(compile={'backend': backend}), tiny_cyclegan()
    plain.load_state_dict(model.state_dict())  # the names are the same
    logs = [train(m, wrappers(m)) for m in (model, plain)]
    assert logs[0] == pytest.approx(logs[1], rel=2e-5, abs=1e-6)
    assert len(seen) >= 4


# ------------------------------------------------------------------------ weights and words


def test_description_is_read_off_the_weights():
    model = tiny_cyclegan(
        {'num_blocks': 3, 'in_channels': 1}, {'num_layers': 2, 'base_channels': 6}
    )
    state = model.state_dict()
    found = {
        'type': 'UnpairedCycleGAN',
        'generator': {'in_channels': 1, 'out_channels': 3, 'base_channels': 4, 'num_blocks': 3},
        'discriminator': {'in_channels': 3, 'base_channels': 6, 'num_layers': 2},
    }
    assert model.describe(state) == found
    generators = {key: value for key, value in state.items() if key.startswith('generators')}
    assert model.describe(generators) == {k: v for k, v in found.items() if k != 'discriminator'}
    one = {key: value for key, value in generators.items() if key.startswith('generators.B')}
    assert model.describe(one) == {k: v for k, v in found.items() if k != 'discriminator'} | {
        'targets': ['B']
    }
    with pytest.raises(ValueError, match='there is no generator'):
        model.describe({})
    del generators['generators.A.decoder.0.conv.weight']
    with pytest.raises(ValueError, match=r'generators\.A has no decoder of transposed'):
        model.describe(generators)


def test_a_description_is_of_one_model_only(tiny):
    """The encoders of the two models have the same names."""
    ours, other = tiny_cyclegan(), tiny()
    for state in (other.state_dict(), tiny({'norm': 'in'}).state_dict()):
        with pytest.raises(ValueError, match='no decoder of transposed'):
            ours.describe(state)
    with pytest.raises(ValueError, match=r'lack generators\.A\.blocks\.0\.norm1\.rho'):
        other.describe(ours.state_dict())


def test_words_of_a_variant():
    paper = {
        'generator': {'base_channels': 64, 'num_blocks': 9},
        'discriminator': {'base_channels': 64, 'num_layers': 3},
    }
    words = tiny_cyclegan().variant
    assert words(paper) == words(paper | {'pool_size': 50, 'loss_config': {'cycle': 10}}) == []
    other = {
        'generator': {'base_channels': 32, 'num_blocks': 6},
        'discriminator': {'base_channels': 64, 'num_layers': 2},
        'pool_size': 0,
        'loss_config': {'identity': 0},
    }
    assert words(other) == [
        '32 and 64 channels',
        '6 blocks',
        '2 discriminator layers',
        'pool of 0',
        'identity loss 0',
    ]


def test_errors_name_the_field():
    with pytest.raises(ValueError, match=r"loss_config knows \['cycle', 'gan', 'identity'\], not"):
        tiny_cyclegan(loss_config={'cam': 1.0})
    with pytest.raises(ValueError, match='pool_size must be 0 or more, got -1'):
        tiny_cyclegan(pool_size=-1)
