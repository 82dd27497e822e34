"""Training steps of MUNIT and UNIT: recorded official numbers, the order, terms, words."""

import copy

import pytest
import torch
from helpers import batch
from munit_helpers import (
    MUNIT,
    OFFICIAL_TERMS,
    UNIT,
    dead,
    from_recorded,
    pixels,
    recorded,
    recorded_model,
    tiny,
    wrappers,
)
from torch import Tensor
from torch.testing import assert_close

from ugatit_mm.domains import other

KINDS = pytest.mark.parametrize('kind', [MUNIT, UNIT], ids=lambda kind: kind.NAME)
CYCLE = {'cycle': 10.0}


def draws_of(record: dict, step: int, kind: type) -> dict[str, Tensor]:
    """The recorded draws of a step, as the model's ``draw`` returns them."""

    def pair(update: str, name: str, end: str = '') -> Tensor:
        return torch.stack([record[f'{step}.draw.{update}.{name}_{x}{end}'] for x in 'ab'])

    if kind is MUNIT:
        return {'styles': torch.stack([pair('dis', 's'), pair('gen', 's')])}
    noise = [pair('dis', 'n'), pair('gen', 'n'), pair('gen', 'n', '_recon')]
    return {'noise': torch.stack(noise)}


def train(model, record: dict, steps: int, optims=None) -> list[dict[str, float]]:
    """Recorded steps, through the data preprocessor, with the recorded draws."""
    optims = optims or wrappers(model)
    logs = []
    for step in range(1, steps + 1):
        model.draw = lambda _, step=step: draws_of(record, step, type(model))
        images = {f'img_{x}': record[f'{step}.x_{x.lower()}'].flip(1).float() for x in 'AB'}
        logs.append(dict(model.train_step({'inputs': images}, optims)))
    del model.draw
    return logs


@pytest.mark.parametrize('nhwc', [False, True], ids=['nchw', 'nhwc'])
@KINDS
def test_recorded_steps(kind, nhwc):
    """Losses of three steps, all gradients of the first, all weights and pictures after them."""
    record = recorded(f'{kind.NAME}_train.npz')
    model = recorded_model(kind, channels_last=nhwc, loss_config=CYCLE)
    gradients: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: gradients.update({name: gradients.get(name, p.grad.clone())})
        )
    logs = train(model, record, 3)
    for step, log in enumerate(logs, 1):
        for official, ours in OFFICIAL_TERMS[kind].items():
            wanted = record[f'{step}.loss_{official}'].item()
            assert log[f'loss_{ours}'] == pytest.approx(wanted, rel=3e-6), (step, ours)
    expected = from_recorded(recorded(f'{kind.NAME}_grads1.pt'), kind)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        if not dead(name):
            scale = expected[name].abs().max().item()
            assert_close(gradient, expected[name], atol=1e-4 * scale, rtol=0, msg=name)
        else:
            assert not gradient.any() and expected[name].abs().max() < 1.2e-6
    after = from_recorded(recorded(f'{kind.NAME}_after3.pt'), kind)
    for name, value in model.state_dict().items():
        assert_close(value, after[name], atol=4e-4 if dead(name) else 1e-5, rtol=0, msg=name)
    given = recorded(f'{kind.NAME}_forward.npz')
    images = {x: pixels(record[f'1.x_{x.lower()}']) for x in 'AB'}
    with torch.no_grad():
        for x in 'AB':
            style = given[f's_{x.lower()}'] if kind is MUNIT else None
            fake = model.translation(images[other(x)], x, style=style)
            wanted = record[f'after.x_{other(x).lower()}{x.lower()}']
            assert_close(fake, wanted, atol=2e-5, rtol=0)
            for scale, logit in enumerate(model.discriminators[x](images[x])):
                wanted = record[f'after.dis_{x.lower()}.real.{scale}']
                assert_close(logit, wanted, atol=2e-5, rtol=0)


def test_recorded_steps_without_the_cycle():
    record = recorded('munit_train.npz')
    logs = train(recorded_model(MUNIT), record, 3)
    for step, log in enumerate(logs, 1):
        for official, ours in OFFICIAL_TERMS[MUNIT].items():
            if 'cycle' in ours:
                assert f'loss_{ours}' not in log
                continue
            wanted = record[f'nocycle.{step}.loss_{official}'].item()
            assert log[f'loss_{ours}'] == pytest.approx(wanted, rel=3e-6), (step, ours)


@KINDS
def test_recorded_pictures_of_a_step(kind, monkeypatch):
    """Pictures of the discriminators' update and of the generators' update."""
    record = recorded(f'{kind.NAME}_train.npz')
    model = recorded_model(kind, loss_config=CYCLE)
    seen = {}
    d_loss, make = model.compute_d_loss, model.make
    monkeypatch.setattr(
        model, 'compute_d_loss', lambda real, fake: seen.update(fake=fake) or d_loss(real, fake)
    )
    monkeypatch.setattr(model, 'make', lambda *a: seen.setdefault('made', make(*a)))
    train(model, record, 1)
    for x in 'AB':
        a, b = x.lower(), other(x).lower()
        one = seen['made'][x]
        for found, name in (
            (seen['fake'][x], f'dis.x_{b}{a}'),
            (one.own, f'gen.x_{a}_recon'),
            (one.fake, f'gen.x_{b}{a}'),
            (one.cycle, f'gen.x_{a}{b}{a}'),
        ):
            assert_close(found, record[f'1.{name}'], atol=3e-5, rtol=0)


@KINDS
def test_recorded_losses_of_both_kinds(kind):
    """On the recorded pictures: least squares and cross-entropy."""
    record = recorded(f'{kind.NAME}_forward.npz')
    real = {x: pixels(record[f'x_{x.lower()}']) for x in 'AB'}
    fake = {'A': record['x_ba'], 'B': record['x_ab']}
    for gan_type in ('lsgan', 'nsgan'):
        model = recorded_model(kind, gan_type=gan_type)
        _, log = model.compute_d_loss(real, fake)
        for x in 'AB':
            prefix = f'dis_{x.lower()}.{gan_type}'
            wanted = record[f'{prefix}.dis_loss'].item()
            assert log[f'loss_gan_d_{x}'].item() == pytest.approx(wanted, rel=3e-6)
            _, log_g = model.total({x: model.of_fake(fake[x], real[other(x)], x)})
            wanted = record[f'{prefix}.gen_loss'].item()
            assert log_g[f'loss_gan_g_{x}'].item() == pytest.approx(wanted, rel=3e-6)


# -------------------------------------------------------------------- without recorded numbers


@pytest.mark.parametrize(('gan_type', 'logit'), [('lsgan', 0.5), ('nsgan', 0.0)])
@KINDS
def test_even_d_loss_is_that_of_a_tossed_coin(kind, gan_type, logit):
    model = tiny(kind, gan_type=gan_type)
    for network in model.discriminators.values():
        for scale in network.scales:
            scale[-1].weight.data.zero_()
            scale[-1].bias.data.fill_(logit)
    real = {x: torch.zeros(1, 3, 32, 32) for x in 'AB'}
    _, log = model.compute_d_loss(real, real)
    assert log['loss_gan_d_A_0'].item() == pytest.approx(model.EVEN_D_LOSS)


@KINDS
def test_draws_are_new_for_each_update_and_step(kind):
    model = tiny(kind)
    real = {x: torch.zeros(2, 3, 32, 48) for x in 'AB'}
    torch.manual_seed(0)
    ((name, one),) = model.draw(real).items()
    ((_, two),) = model.draw(real).items()
    shape = (2, 2, 2, 4, 1, 1) if kind is MUNIT else (3, 2, 2, 16, 8, 12)
    assert (name, tuple(one.shape)) == ('styles' if kind is MUNIT else 'noise', shape)
    rows = torch.cat([one, two]).flatten(0, 2)
    assert len({tuple(row.flatten().tolist()) for row in rows}) == len(rows)
    torch.manual_seed(0)
    assert torch.equal(model.draw(real)[name], one)


@KINDS
def test_totals_are_the_weighted_sums(kind):
    weights = {name: 0.5 + index for index, name in enumerate(kind.LOSS_WEIGHTS)}
    weights['perceptual'] = 0.0
    model = tiny(kind, loss_config=weights)
    log = model.train_step(batch(), wrappers(model))
    d = weights['gan'] * sum(log[f'loss_gan_d_{x}'] for x in 'AB')
    names = {name: 'gan_g' if name == 'gan' else name for name in weights if name != 'perceptual'}
    g = sum(weights[name] * log[f'loss_{term}_{x}'] for name, term in names.items() for x in 'AB')
    assert log['loss_d'] == pytest.approx(d, rel=1e-6)
    assert log['loss_g'] == pytest.approx(g, rel=1e-6)
    for x in 'AB':
        scales = [log[f'loss_gan_d_{x}_{scale}'] for scale in range(3)]
        assert log[f'loss_gan_d_{x}'] == pytest.approx(sum(scales), rel=1e-6)


def test_the_generators_see_the_discriminators_after_their_update():
    """With a large learning rate for them, the generators' term uses the updated ones."""
    model = tiny(UNIT)
    optims = wrappers(model, {'type': 'SGD', 'lr': 0.0})
    optims['discriminators'].optimizer.param_groups[0]['lr'] = 1e-2
    torch.manual_seed(3)
    before = copy.deepcopy(model.discriminators)
    log = model.train_step(batch(), optims)
    torch.manual_seed(3)
    noise = model.draw({x: torch.zeros(1, 3, 32, 32) for x in 'AB'})['noise'][1]
    real = model.data_preprocessor(batch(), True)['inputs']
    with torch.no_grad():
        fake = model.generators['B'](model.encoders['A'](real['img_A']) + noise[0])
        terms = [
            sum((logit - 1).square().mean().item() for logit in judges['B'](fake))
            for judges in (before, model.discriminators)
        ]
    assert log['loss_gan_g_B'] == pytest.approx(terms[1], rel=1e-5)
    assert abs(terms[0] - terms[1]) > 1e-4


def test_both_sides_of_the_content_loss_learn():
    """Nothing is detached: the encoders of real images get its gradient, too."""
    only = {'gan': 0.0, 'recon_x': 0.0, 'recon_s': 0.0}
    model = tiny(MUNIT, loss_config=only)
    seen = []
    optims = wrappers(model)
    make = model.make

    def watched(*args):
        made = make(*args)
        made['A'].content.register_hook(lambda gradient: seen.append(gradient.clone()))
        return made

    model.make = watched
    model.train_step(batch(), optims)
    assert len(seen) == 1 and seen[0].abs().max() > 0


def test_without_the_cycle_its_passes_are_not_made():
    counts = []
    for weight in (0.0, 10.0):
        model, calls = tiny(MUNIT, loss_config={'cycle': weight}), []
        model.generators['A'].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.train_step(batch(), wrappers(model))
        counts.append(len(calls))
    assert counts == [2, 3]


@KINDS
def test_half_precision_step_is_close_to_the_float32_step(kind):
    logs = []
    for fields in ({}, {'type': 'AutocastOptimWrapper'}):
        model = tiny(kind, loss_config=CYCLE)
        torch.manual_seed(1)
        logs.append(dict(model.train_step(batch(), wrappers(model, **fields))))
    assert logs[1] == pytest.approx(logs[0], rel=0.08) and logs[1] != logs[0]


def test_a_style_is_read_off_a_picture_and_given():
    model = tiny(MUNIT).eval()
    images = {x: torch.rand(2, 3, 32, 32) * 2 - 1 for x in 'AB'}
    with torch.no_grad():
        style = model.style_of(images['B'], 'B')
        assert tuple(style.shape[1:]) == model.style_shape == (4, 1, 1)
        one, two = (model.translation(images['A'], 'B', style=style) for _ in range(2))
        assert torch.equal(one, two)
        torch.manual_seed(0)
        drawn = [model.translation(images['A'], 'B') for _ in range(2)]
        assert not torch.equal(*drawn)
        torch.manual_seed(0)
        assert torch.equal(model.translation(images['A'], 'B'), drawn[0])
        slim = model.only('B')
        assert torch.equal(slim.translation(images['A'], 'B', style=style), one)
        assert torch.equal(slim.style_of(images['B'], 'B'), style)
    assert tiny(UNIT).style_shape is None
    with pytest.raises(ValueError, match='UNIT has no styles'):
        tiny(UNIT).style_of(images['B'], 'B')


# ------------------------------------------------------------------------ weights and words


@KINDS
def test_a_description_is_read_off_the_weights(kind):
    sizes = {'in_channels': 1, 'base_channels': 6, 'num_blocks': 3}
    fields = {
        'encoder': sizes,
        'generator': {'out_channels': 2, 'base_channels': 6, 'num_blocks': 1},
        'discriminator': {'in_channels': 2, 'base_channels': 5, 'num_layers': 2, 'num_scales': 4},
    }
    if kind is MUNIT:
        fields['style_encoder'] = {'in_channels': 1, 'base_channels': 3, 'style_dim': 5}
        fields['generator'] |= {'style_dim': 5, 'mlp_channels': 7}
    state = tiny(kind, **copy.deepcopy(fields)).state_dict()
    assert kind.describe(state) == {'type': kind.__name__, **fields}
    trained = {k: v for k, v in state.items() if not k.startswith('discriminators')}
    del fields['discriminator']
    assert kind.describe(trained) == {'type': kind.__name__, **fields}
    needed = tiny(kind).needed('B')
    assert needed == {p: ('A' if p == 'encoders' else 'B',) for p in kind.TRANSLATES}
    slim = {k: v for k, v in trained.items() if k.split('.')[1] in needed[k.split('.')[0]]}
    assert kind.describe(slim) == {'type': kind.__name__, **fields, 'targets': ['B']}
    with pytest.raises(ValueError, match='there is no decoder'):
        kind.describe({})
    del slim['encoders.A.layers.0.conv.weight']
    with pytest.raises(ValueError, match=r'lack encoders\.A\.layers\.0\.conv\.weight'):
        kind.describe(slim)


def test_a_description_is_of_one_model_only():
    with pytest.raises(ValueError, match='the decoder takes styles'):
        UNIT.describe(tiny(MUNIT).state_dict())
    with pytest.raises(ValueError, match=r'lack style_encoders\.A\.layers\.0\.weight'):
        MUNIT.describe(tiny(UNIT).state_dict())


def test_words_of_a_variant():
    def sizes(base: int = 64, blocks: int = 4, layers: int = 4, scales: int = 3, style: int = 8):
        return {
            'encoder': {'base_channels': base, 'num_blocks': blocks},
            'generator': {'style_dim': style},
            'discriminator': {
                'base_channels': 64,
                'num_layers': layers,
                'num_scales': scales,
            },
        }

    assert UNIT.variant(sizes()) == []
    # Unknown settings of the paper's run are always named.
    assert MUNIT.variant(sizes()) == ['cycle loss 0']
    assert MUNIT.variant(sizes() | {'loss_config': CYCLE}) == ['cycle loss 10']
    assert MUNIT.variant(sizes(32, 3, 3, 2, 4) | {'gan_type': 'nsgan'}) == [
        '32 and 64 channels',
        '3 blocks',
        '3 discriminator layers',
        '2 scales',
        '4 numbers of a style',
        'nsgan',
        'cycle loss 0',
    ]


def test_errors_name_the_field():
    with pytest.raises(ValueError, match=r"loss_config knows \['cycle', 'gan', 'kl', "):
        tiny(UNIT, loss_config={'recon_s': 1.0})
    with pytest.raises(ValueError, match=r"gan_type must be one of \['lsgan', 'nsgan'\], got 'x'"):
        tiny(UNIT, gan_type='x')
    for network, field, numbers in (
        ('style_encoder', 'style_dim', '8 numbers or channels, model.generator takes 4'),
        ('encoder', 'base_channels', '32 numbers or channels, model.generator takes 16'),
    ):
        with pytest.raises(ValueError, match=rf'model\.{network} gives {numbers}: set {field}'):
            tiny(MUNIT, **{network: {field: 8}}).check_trainable()
