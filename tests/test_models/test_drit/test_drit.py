"""DRIT's iteration: recorded numbers of the official program, closed forms, turns."""

import copy
import json
import math
from types import SimpleNamespace

import pytest
import torch
from drit_helpers import fixtures, images, official, recorded, tiny_drit, wrappers
from helpers import batch
from mmengine import MessageHub
from torch import Tensor

from ugatit_mm.converters.drit import to_official
from ugatit_mm.hooks import WatchHook
from ugatit_mm.hooks.late import Done
from ugatit_mm.models import DRIT
from ugatit_mm.models.base import Step, update
from ugatit_mm.models.drit.drit_encoder import contents
from ugatit_mm.models.drit.drit_generator import features

RUNS = {
    'concat_noms': ('concat', 0.0),
    'concat_ms': ('concat', 1.0),
    'feat_noms': ('feat', 0.0),
}
STYLES = {
    'own_A': 'eps_a',
    'own_B': 'eps_b',
    'random': 'z_random',
    'random2': 'z_random2',
    'fake_A': 'eps_recon_a',
    'fake_B': 'eps_recon_b',
}


class Recorded:
    """The two cycles of a run: inputs, and outputs of the official program."""

    def __init__(self, run: str, **fields) -> None:
        name, seeks = RUNS[run]
        self.run, self.inputs = run, recorded('inputs.npz')
        self.losses = json.loads((fixtures() / f'drit_losses_{run}.json').read_text())
        self.model = official(name, loss_config={'mode_seeking': seeks}, **fields)
        self.before = to_official(copy.deepcopy(self.model.state_dict()))
        self.optims = wrappers(self.model)

    def images(self, index: int) -> dict[str, Tensor]:
        """Batch ``index`` of the six."""
        grids = self.inputs['image_grids'][index].float() / 127.5 - 1
        large = grids.repeat_interleave(6, -1).repeat_interleave(6, -2)
        return dict(zip('AB', large, strict=True))

    def drawn(self, cycle: int, turn: int) -> dict[str, Tensor]:
        noise = self.inputs['noise_q'][cycle].float() / 16
        if turn < 2:
            return {'noise': noise[2 * turn : 2 * turn + 2]}
        names = [STYLES[name] for name in self.model.drawn_styles]
        rows = [self.inputs[f'{name}_{cycle}'] for name in names]
        return {'noise': noise[4:], 'styles': torch.stack(rows)}

    def step(self, cycle: int, turn: int) -> Step:
        """One of the three iterations of a cycle."""
        MessageHub.get_current_instance().update_info('iter', 3 * cycle + turn)
        step = Step(self.model, self.optims, self.drawn(cycle, turn))
        self.model.iterate(step, self.images(3 * cycle + turn))
        return step


def official_losses(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, float]:
    """Ours under the official names, with the official weights."""
    value = {name: term.item() for name, term in terms.items()}
    found = {
        'D_disContent_loss': value['loss_gan_d_content'],
        'EG_G_loss': value['loss_g'],
    }
    for x in 'AB':
        low = x.lower()
        found |= {
            f'D_dis{x}_loss': value[f'loss_gan_d_{x}'],
            f'D_dis{x}2_loss': value[f'loss_gan_d_random_{x}'],
            f'EG_gan_loss_{low}': value[f'loss_gan_g_{x}'],
            f'EG_gan_loss_{low}content': value[f'loss_content_{x}'],
            f'EG_kl_loss_za_{low}': weights['kl'] * value[f'loss_kl_{x}'],
            f'EG_kl_loss_zc_{low}': weights['kl_content'] * value[f'loss_kl_content_{x}'],
            f'EG_l1_recon_{x}_loss': weights['cycle'] * value[f'loss_cycle_{x}'],
            f'EG_l1_recon_{x}{x}_loss': weights['recon'] * value[f'loss_recon_{x}'],
            f'EG_l1_recon_z_loss_{low}': weights['latent'] * value[f'loss_latent_{x}'],
            f'EG_gan2_loss_{low}': value[f'loss_gan_g_random_{x}'],
        }
        if f'loss_mode_seeking_{x}' in value:
            found['EG_lz_BA' if x == 'A' else 'EG_lz_AB'] = value[f'loss_mode_seeking_{x}']
    return found


def shares(model: DRIT, before: dict, run: str, cycles: int) -> dict[str, tuple[float, float]]:
    """Difference of the weights from the recorded ones: largest, and share above 2e-5."""
    expected = recorded(f'delta_after{cycles}_{run}.npz')
    found = {}
    for network, weights in to_official(model.state_dict()).items():
        off = torch.cat(
            [
                (
                    value - before[network][key] - expected[f'{network}/{key}'].float() / 1e4
                ).flatten()
                for key, value in weights.items()
            ]
        ).abs()
        found[network] = off.max().item(), (off > 2e-5).float().mean().item()
    return found


def gradients(given: Recorded) -> dict[str, list[dict[str, Tensor]]]:
    """The gradients of each optimiser at each of its steps, under the official names."""
    found: dict[str, list] = {}
    for name, optim in given.optims.items():

        def note(*_, name=name):
            state = {
                key: parameter.grad.clone()
                for key, parameter in given.model.named_parameters()
                if parameter.grad is not None
            }
            found.setdefault(name, []).append(to_official(state))

        optim.optimizer.register_step_pre_hook(note)
    return found


def check_norms(
    found: dict[str, Tensor],
    names: dict,
    expected: Tensor,
    tolerance: float,
    floor: float = 1e-4,
) -> None:
    """Compare each parameter's norm, in the official order; below the floor by difference.

    Those of biases before an instance norm are 0 here, and rounding there.
    """
    norms = torch.stack([found[name].norm() for name in names])
    dead = (norms == 0) & (expected < 1e-5)
    off = ((norms - expected).abs() / expected.clamp(min=floor))[~dead]
    assert off.max() < tolerance, (off, norms[~dead])


@pytest.mark.parametrize(
    'run',
    ['concat_noms', *(pytest.param(run, marks=pytest.mark.slow) for run in list(RUNS)[1:])],
)
def test_recorded_cycles(run, monkeypatch):
    """Two cycles of three iterations: losses, pictures, gradients and weights after them."""
    given = Recorded(run)
    feat, numbers = run == 'feat_noms', recorded(f'steps_{run}.npz')
    order, found_gradients, made = recorded(f'init_{RUNS[run][0]}.pt'), gradients(given), []
    make = given.model.make
    given.model.make = lambda *args: made.append(make(*args)) or made[-1]
    norms, clip = [], update._clip
    monkeypatch.setattr(
        update, '_clip', lambda *args: norms.append(args[1].norm().item()) or clip(*args)
    )
    for cycle in (0, 1):
        found = {}
        for turn in (0, 1, 2):
            step = given.step(cycle, turn)
            terms = {k: v for each in step.terms.values() for k, v in each.items()}
            if turn < 2:
                assert list(step.taken) == ['content_discriminator']
                found[f'content{turn}_loss'] = terms['loss_d_content'].item()
            else:
                found |= official_losses(terms, given.model.loss_config)
        expected = {k[3:]: v for k, v in given.losses.items() if k.startswith(f'c{cycle}_')}
        expected = {k: v for k, v in expected.items() if 'clip' not in k}
        assert found == pytest.approx(expected, rel=1e-5 if cycle == 0 else 1e-3 if feat else 2e-5)
        if cycle == 1 or run == 'concat_noms':
            off = shares(given.model, given.before, run, cycle + 1)
            for network, (most, share) in off.items():
                if network.startswith('dis'):
                    assert share < 2e-3 if feat else most < 5e-6, (network, most, share)
                else:
                    assert share < (1e-2 if feat else 2e-3), (network, most, share)
    expected = [given.losses[f'c{cycle}_clip_total_norm_{i}'] for cycle in (0, 1) for i in range(3)]
    assert norms[:3] == pytest.approx(expected[:3], rel=1e-5)
    assert norms[3:] == pytest.approx(expected[3:], rel=1e-2 if feat else 1e-4)
    of_content = found_gradients['content_discriminator']
    for i, name in enumerate(['content0_gradnorm_clipped', 'content1_gradnorm_clipped', None]):
        expected = numbers[f'c0_{name or "D_gradnorm_disContent"}']
        found = of_content[i]['disContent']
        check_norms(found, order['disContent'], expected, 1e-4)
        total = torch.cat([value.flatten() for value in found.values()]).norm()
        assert total == pytest.approx(5, rel=1e-4)
    for network in ('disA', 'disA2', 'disB', 'disB2'):
        found = found_gradients['discriminators'][0][network]
        # One of 3e-4 is a sum with cancellation: 4e-8 off.
        expected = numbers[f'c0_D_gradnorm_{network}']
        check_norms(found, order[network], expected, 1e-4, 1e-3 if feat else 1e-4)
    for place, start in enumerate(['EG', 'G2']):
        found = found_gradients['generators'][place]
        assert ('enc_a' in found) is (start == 'EG')
        for network in found:
            check_norms(
                found[network], order[network], numbers[f'c0_{start}_gradnorm_{network}'], 2e-2
            )
        first = found['enc_c']['convA.0.model.1.weight']
        expected = numbers[f'c0_{start}_grad_enc_c_first']
        assert (first - expected).norm() < 1e-3 * expected.norm()
    check_pictures(made[0], numbers)


def check_pictures(made, numbers: dict[str, Tensor]) -> None:
    """Outputs of the first full iteration, subsampled and whole."""
    found = {}
    for x in 'AB':
        low = x.lower()
        found |= {
            f'z_content_{low}': made.content[x],
            f'fake_{x}_encoded': made.fake[x],
            f'fake_{x}{x}_encoded': made.recon[x],
            f'fake_{x}_random': made.random[x][0],
            f'fake_{x}_recon': made.cycle[x],
        }
        if len(made.random[x]) == 2:
            found[f'fake_{x}_random2'] = made.random[x][1]
        if made.log_variance[x] is None:
            found |= {f'z_attr_{low}': made.mean[x], f'z_attr_random_{low}': made.latent[x]}
        else:
            found |= {f'mu_{low}': made.mean[x], f'logvar_{low}': made.log_variance[x]}
            found[f'mu2_{low}'] = made.latent[x]
    for name, value in found.items():
        every = 12 if name.startswith('fake') else 6
        thin = value[..., ::every, ::every] if value.dim() == 4 else value
        expected = numbers[f'c0_fwd_{name}']
        torch.testing.assert_close(thin, expected, atol=2e-4, rtol=0, msg=name)
        stats = torch.stack(
            [value.double().sum(), value.double().abs().sum(), value.double().square().sum()]
        )
        scale = stats[1].abs()  # a sum of both signs may be near 0
        assert ((stats - numbers[f'c0_fwd_{name}_stat'].double()).abs() < 1e-5 * scale).all(), name


@pytest.mark.slow
def test_both_gradients_first_are_near_the_recorded_cycles():
    """Without the stale graph: losses within 1e-4, weights within 2e-4 of the recorded ones."""
    given = Recorded('concat_noms', second_pass='together')
    for cycle in (0, 1):
        for turn in (0, 1, 2):
            step = given.step(cycle, turn)
        terms = {k: v for each in step.terms.values() for k, v in each.items()}
        found = official_losses(terms, given.model.loss_config)
        expected = {k: given.losses[f'c{cycle}_{k}'] for k in found}
        assert found == pytest.approx(expected, rel=1e-4)
        off = shares(given.model, given.before, 'concat_noms', cycle + 1)
        assert max(most for most, _ in off.values()) < 2e-4


# ------------------------------------------------- what a clone without the numbers tests, too


def drawn(model: DRIT, real: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return model.draw(real)


def at(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


def run(model: DRIT, optims, iteration: int = 2, seed: int = 0) -> Step:
    """An iteration of a tiny model; the third is a full one."""
    at(iteration)
    real = images(seed=seed)
    step = Step(model, optims, drawn(model, real, seed))
    model.iterate(step, real)
    return step


def sgd(model: DRIT, rate: float = 1.0):
    return wrappers(model, {'type': 'SGD', 'lr': rate})


def weights(module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def moved(before: dict[str, Tensor], module) -> set[str]:
    """Parts in which a weight has changed."""
    now = dict(module.named_parameters())
    return {key.split('.')[0] for key in before if not torch.equal(before[key], now[key])}


def terms_of(step: Step) -> dict[str, float]:
    return {k: v.item() for each in step.terms.values() for k, v in each.items()}


def test_two_of_three_iterations_train_the_content_discriminator_only():
    model = tiny_drit()
    optims, found = sgd(model, 0.01), []
    for iteration in range(6):
        before = weights(model)
        step = run(model, optims, iteration)
        found.append((moved(before, model), list(step.taken)))
    content = ({'content_discriminator'}, ['content_discriminator'])
    whole = (
        {*model.PARTS},
        ['discriminators', 'content_discriminator', 'generators', 'random'],
    )
    assert found == [content, content, whole] * 2


@pytest.mark.parametrize(
    ('images', 'full', 'content'),
    [(3400, 568, 1132), (1334, 223, 444), (1364, 228, 454), (6452, 1076, 2150), (6287, 1048, 2095)],
)
def test_full_updates_of_an_epoch(images, full, content):
    """The official loader's batches of the paper's data sets; two at an epoch's end are full."""
    model = tiny_drit(epoch_images=images)
    length = images // 2
    turns = [model.trains_all(iteration) for iteration in range(2 * length)]
    assert turns[:length] == turns[length:]
    assert (turns[:length].count(True), turns[:length].count(False)) == (full, content)
    assert turns[length - 1]


def test_the_second_image_is_only_a_real_one_for_random_attributes():
    plain, other = (tiny_drit() for _ in range(2))
    terms = []
    for model, seed in ((plain, None), (other, 1)):
        at(2)
        real = images()
        if seed:
            for x in 'AB':
                real[x][1] = images(seed=seed)[x][1]
        step = Step(model, sgd(model, 0.0), drawn(model, images()))
        model.iterate(step, real)
        terms.append(terms_of(step))
    differ = {name for name in terms[0] if terms[0][name] != terms[1][name]}
    assert {'loss_d', 'loss_gan_d_random_A', 'loss_gan_d_random_B'} <= differ
    assert all(name.startswith('loss_gan_d_random_') for name in differ - {'loss_d'})


def test_terms_of_constant_networks():
    """With a generator that returns 0 and logits of 1 every term is known in closed form."""
    model = tiny_drit(loss_config={'mode_seeking': 1.0})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        judges = [*model.discriminators.values(), *model.random_discriminators.values()]
        for convs in [*(s for judge in judges for s in judge.scales)]:
            convs[-1].bias.fill_(1.0)
        model.content_discriminator['shared'].convs[-1].bias.fill_(1.0)
        for network in model.attribute_encoders.values():
            network.mean.bias.fill_(0.5)
            network.log_variance.bias.fill_(math.log(2))
    step = run(model, sgd(model, 0.0))
    found = terms_of(step)
    real, noise = images(), step.drawn['noise']
    style = step.drawn['styles'][model.drawn_styles.index('random')]
    for_real, for_fake = math.log1p(math.exp(-1)), math.log1p(math.exp(1))
    expected = {
        'loss_gan_d_content': for_real + for_fake,
        'loss_d_content': for_real + for_fake,
        'loss_g': 0.0,
        'loss_g_random': 0.0,
        'loss_d': 0.0,
    }
    for i, x in enumerate('AB'):
        own = {
            'loss_gan_g': 3 * for_real,
            'loss_content': (for_real + for_fake) / 2,
            'loss_cycle': real[x][:1].abs().mean().item(),
            'loss_recon': real[x][:1].abs().mean().item(),
            'loss_kl': 0.5 * 8 * (0.25 + 2 - 1 - math.log(2)),
            'loss_kl_content': noise[i].square().mean().item(),
        }
        random = {
            'loss_latent': (0.5 - style).abs().mean().item(),
            'loss_gan_g_random': 2 * 3 * for_real,
            'loss_mode_seeking': 1e5,
        }
        factors = {'loss_gan_g': 1, 'loss_content': 1, 'loss_cycle': 10, 'loss_recon': 10}
        factors |= {'loss_kl': 0.01, 'loss_kl_content': 0.01, 'loss_latent': 10}
        for total, terms in (('loss_g', own), ('loss_g_random', random)):
            expected |= {f'{name}_{x}': value for name, value in terms.items()}
            expected[total] += sum(factors.get(name, 1) * value for name, value in terms.items())
        for kind, times in (('', 1), ('random_', 2)):
            of_scale = times * (for_real + for_fake)
            expected |= {f'loss_gan_d_{kind}{x}_{scale}': of_scale for scale in range(3)}
            expected[f'loss_gan_d_{kind}{x}'] = 3 * of_scale
            expected['loss_d'] += 3 * of_scale
    assert found == pytest.approx(expected, rel=1e-5)
    even = model.EVEN_D_LOSS
    assert even == 2 * math.log(2)


def test_every_picture_is_what_its_name_says():
    """Against plain passes of the networks, one picture at a time."""
    for concat in (True, False):
        model = tiny_drit(concat, loss_config={'mode_seeking': 1.0})
        real = {x: image[:1] for x, image in images().items()}
        at(2)
        noise, rows = drawn(model, images()).values()
        styles = dict(zip(model.drawn_styles, rows, strict=True))
        made = model.make(real, noise, styles)

        def content(image, x, of, model=model, noise=noise):
            return contents(model.encoders, {x: image})[x] + noise[of]

        def picture(x, content, style, model=model):
            return model.generators[x](features(model.generators, content), style)

        def attribute(image, x, name, model=model, styles=styles):
            mean, log_variance = model.attribute_encoders[x](image)
            if log_variance is None:
                return mean
            return mean + styles[name] * (0.5 * log_variance).exp()

        own = {x: content(real[x], x, i) for i, x in enumerate('AB')}
        style = {x: attribute(real[x], x, f'own_{x}') for x in 'AB'}
        close = {'atol': 1e-5, 'rtol': 1e-4}
        for x, y in ('AB', 'BA'):
            torch.testing.assert_close(made.content[x], own[x], **close)
            fake = picture(x, own[y], style[x])
            torch.testing.assert_close(made.fake[x], fake, **close)
            torch.testing.assert_close(made.recon[x], picture(x, own[x], style[x]), **close)
            for image, name in zip(made.random[x], ('random', 'random2'), strict=True):
                torch.testing.assert_close(image, picture(x, own[y], styles[name]), **close)
            latent = model.style_of(made.random[x][0], x)
            torch.testing.assert_close(made.latent[x], latent, **close)
            # Back: the content of the other translation, which is of x, with this one's attribute.
            of_other = content(made.fake[y], y, 2 + 'AB'.index(y))
            again = attribute(fake, x, f'fake_{x}')
            torch.testing.assert_close(made.cycle[x], picture(x, of_other, again), **close)


@pytest.mark.parametrize('second_pass', ['stale', 'together'])
def test_attribute_encoders_learn_of_the_first_loss_only(second_pass):
    """And the second loss gives the others its own gradient, if nothing is updated."""
    model = tiny_drit(second_pass=second_pass)
    optims, kept = sgd(model, 0.0), []
    optims['generators'].optimizer.register_step_pre_hook(
        lambda *_: kept.append({k: p.grad for k, p in model.named_parameters()})
    )
    step = run(model, optims)
    one, two = ({k for k, g in each.items() if g is not None} for each in kept)
    assert {key.split('.')[0] for key in one} == {'encoders', 'attribute_encoders', 'generators'}
    assert {key.split('.')[0] for key in two} == {'encoders', 'generators'}
    styles = dict(zip(model.drawn_styles, step.drawn['styles'], strict=True))
    made = model.make({x: i[:1] for x, i in images().items()}, step.drawn['noise'], styles)
    for losses, found in (
        (model.compute_g_loss({x: i[:1] for x, i in images().items()}, made), kept[0]),
        (model.compute_random_loss(made, styles['random']), kept[1]),
    ):
        model.zero_grad()
        losses[0].backward(retain_graph=True)
        for key, parameter in model.named_parameters():
            if found[key] is not None:
                torch.testing.assert_close(parameter.grad, found[key], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize('second_pass', ['stale', 'together'])
def test_nothing_is_left_that_the_second_loss_trains(second_pass):
    model = tiny_drit(second_pass=second_pass, frozen=['encoders', 'generators'])
    before = weights(model)
    step = run(model, sgd(model))
    assert list(step.taken) == ['discriminators', 'content_discriminator', 'generators']
    learned = {key.split('.')[0] for key in moved(before, model)}
    assert learned == set(model.PARTS) - {'encoders', 'generators'}


def test_the_watch_counts_the_terms_of_all_iterations():
    """The last one trains only the content discriminator, and has none of the others' terms."""
    model, hook, said = tiny_drit(), WatchHook(interval=2, patience=1), []
    runner = SimpleNamespace(model=model, logger=SimpleNamespace(warning=said.append))
    term = 0.08 * model.EVEN_D_LOSS  # of each of three scales: 0.04 where 0.5 is even
    whole = {f'loss_gan_d_A_{scale}': term for scale in range(3)} | {'loss_gan_d_A': 3 * term}
    for iteration, log in enumerate((whole, {'loss_gan_d_content': 1.0}), 1):
        hook.after_step(runner, Done(iteration, batch(64, count=2), log))
    assert any('(loss 0.04 a term' in line for line in said)


def test_a_stale_pass_sees_new_weights_and_old_activations():
    """Both modes take the same first step, and a different second one."""
    pair = [tiny_drit(second_pass=each) for each in ('stale', 'together')]
    after = []
    for model in pair:
        optims = sgd(model, 0.1)
        optims['generators'].optimizer.register_step_post_hook(
            lambda *_, model=model: after.append(weights(model))
        )
        run(model, optims)
    first, second, one, two = after
    for key in first:
        torch.testing.assert_close(first[key], one[key], atol=1e-6, rtol=1e-5, msg=key)
    apart = {key for key in second if not torch.allclose(second[key], two[key], atol=1e-6)}
    assert {key.split('.')[0] for key in apart} == {'encoders', 'generators'}


def test_the_gradient_of_the_content_discriminator_is_clipped():
    """To a norm, only if it is larger; in float16 the norm of the unscaled gradient."""
    for limit, fields in ((1e-3, {}), (1e3, {}), (1e-3, {'dtype': 'float16'})):
        model, kept = tiny_drit(content_max_norm=limit), []
        kind = {'type': 'AutocastOptimWrapper', **fields} if fields else {}
        optims = wrappers(model, {'type': 'SGD', 'lr': 0.0}, **kind)
        optims['content_discriminator'].optimizer.register_step_pre_hook(
            lambda *_, model=model, kept=kept: kept.append(
                torch.cat([p.grad.flatten() for p in model.content_discriminator.parameters()])
            )
        )
        run(model, optims, 0)
        norm = kept[0].norm().item()
        assert norm == pytest.approx(1e-3, rel=1e-2) if limit == 1e-3 else 1e-3 < norm < 1e3


def test_contents_have_noise_in_training_only():
    model = tiny_drit()
    image = images()['A']
    assert torch.equal(
        model.translation(image, 'B', style=torch.zeros(2, 8)),
        model.eval().translation(image, 'B', style=torch.zeros(2, 8)),
    )
    at(2)
    noise, styles = drawn(model, images()).values()
    assert noise.shape == (4, 1, 8, 12, 12) and styles.shape == (5, 1, 8)
    at(0)
    assert {k: v.shape[0] for k, v in drawn(model, images()).items()} == {'noise': 2}
    assert tiny_drit(concat=False).drawn_styles == ['random']


def test_styles():
    model = tiny_drit().eval()
    image, style = images(), torch.randn(1, 8)
    one = model.translation(image['A'][:1], 'B', style=style)
    assert torch.equal(one, model.translation(image['A'][:1], 'B', style=style))
    assert not torch.equal(one, model.translation(image['A'][:1], 'B'))
    assert model.styles(['x.png'], 'B').shape == model.style_of(image['B'][:1], 'B').shape == (1, 8)
    slim = model.only('B')
    assert torch.equal(one, slim.translation(image['A'][:1], 'B', style=style))
    assert torch.equal(model.style_of(image['B'], 'B'), slim.style_of(image['B'], 'B'))


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'encoder': {'base_channels': 4}}, 'model.encoder.base_channels=4, model.generator.base_'),
        ({'generator': {'style_dim': 4}}, 'generator.style_dim=4, model.attribute_encoder.style_d'),
        ({'generator': {'concat': False}}, 'model.attribute_encoder.concat=True must be equal'),
        ({'second_pass': 'new'}, r"second_pass must be one of \['stale', 'together'\]"),
        ({'d_iter': 0}, 'd_iter must be 1 or more'),
        ({'epoch_images': 1}, 'epoch_images must be 2 or more'),
        ({'discriminator': {'norm': 'bn'}}, 'norm must be one of'),
        ({'discriminator': {'kernel_size': 5}}, 'kernel_size must be one of'),
    ],
    ids=str,
)
def test_fields_that_do_not_fit(fields, said):
    with pytest.raises(ValueError, match=said):
        tiny_drit(**fields)


def test_what_it_does_not_train_on():
    model = tiny_drit()
    with pytest.raises(ValueError, match='DRIT trains on batches of 2, not of 1'):
        model.train_step(batch(48), wrappers(model))
    said = 'optim_wrapper.discriminators.accumulative_counts=2: DRIT updates at each batch'
    with pytest.raises(ValueError, match=said):
        wrappers(model, accumulative_counts=2)
    model = tiny_drit(second_pass='together', d_iter=1)
    optims = wrappers(model, type='AutocastOptimWrapper', dtype='float16')
    with pytest.raises(ValueError, match="'together' does not train in float16"):
        run(model, optims)


def test_spectral_norms_move_at_every_pass():
    """Real and fake images then have separate passes, as in the program."""
    model = tiny_drit(discriminator={'spectral_norm': True})
    passes: dict[str, int] = {}
    for part in ('discriminators', 'random_discriminators'):
        for x, network in getattr(model, part).items():
            network.register_forward_hook(
                lambda *_, name=f'{part}.{x}': passes.update({name: passes.get(name, 0) + 1})
            )
    step = run(model, wrappers(model))
    assert set(passes.values()) == {3} and len(passes) == 4
    assert all(math.isfinite(value) for value in terms_of(step).values())


def test_words_for_the_tables():
    fields = {
        'generator': {'base_channels': 64},
        'discriminator': {'base_channels': 64, 'num_layers': 4, 'num_scales': 3},
        'content_discriminator': {'num_layers': 4},
    }
    assert DRIT.variant(fields) == ['concatenated attribute', 'without mode seeking']
    fields['generator']['concat'] = False
    fields |= {'loss_config': {'mode_seeking': 1.0, 'cycle': 5}, 'second_pass': 'together'}
    fields |= {'d_iter': 1}
    fields['discriminator']['norm'] = 'in'
    assert DRIT.variant(fields) == [
        'feature-wise attribute',
        'instance norms (discriminator)',
        'every iteration',
        'both gradients together',
        'cycle loss 5',
        'mode_seeking loss 1',
    ]
