"""CartoonGAN's training step: the official program, closed forms, phases, turns."""

import copy
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cartoongan_helpers import (
    ACTING,
    NARROW,
    official_state,
    ours,
    stand_in,
    three,
    tiny_cartoongan,
    wrappers,
)
from cyclegan_helpers import fixtures, recorded
from helpers import TINY_OF, as_arguments, assert_same, load_tool, tiny_config
from mmagic.structures import DataSample
from mmengine import MessageHub

from ugatit_mm.apis import run_training
from ugatit_mm.engine import PreflightError
from ugatit_mm.models import CartoonGAN
from ugatit_mm.published import WeightsError

OFFICIAL = {  # our term: the official one
    'loss_gan_d_B_real': 'D_real',
    'loss_gan_d_B_fake': 'D_fake',
    'loss_gan_d_B_edge': 'D_edge',
    'loss_gan_d_B': 'D',
    'loss_d': 'D',
    'loss_gan_g_B': 'G_gan',
    'loss_content_B': 'content_raw',
    'loss_g': 'G',
}
INIT = {'loss_content_B': 'content_raw', 'loss_g': 'content'}


@pytest.fixture(autouse=True)
def first_iteration():
    at(0)


def at(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


def train(model, optims, iteration: int = 0, **fields):
    at(iteration)
    return model.train_step(three(**{'seed': iteration, **fields}), optims)


def images(model, **fields) -> dict[str, torch.Tensor]:
    inputs = model.data_preprocessor(three(**fields), True)['inputs']
    return {key.removeprefix('img_'): value for key, value in inputs.items()}


# ------------------------------------------------------------------- against the program


@pytest.mark.parametrize('channels_last', [True, False])
def test_official_steps(channels_last, tmp_path, monkeypatch):
    """One step of the initialisation and two adversarial ones: all that was recorded."""
    record = recorded('cartoongan_steps.npz')
    terms = json.loads((fixtures() / 'cartoongan_terms.json').read_text())['terms']
    model = tiny_cartoongan(init_iters=1, channels_last=channels_last)
    model.load_state_dict(official_state('cartoongan_init.pt'))
    model.vgg = stand_in(tmp_path)
    optims = wrappers(model)
    made, judged, gradients = [], [], {}
    model.generators.register_forward_hook(lambda *call: made.append(call[2]))
    model.discriminators.register_forward_hook(lambda *call: judged.append(call[2]))
    for name, optim in optims.items():

        def step(*args, optim=optim, name=name, step=optim.step):
            gradients[name] = {
                key: p.grad.clone() for key, p in model.named_parameters() if key.startswith(name)
            }
            step(*args)

        monkeypatch.setattr(optim, 'step', step)

    def check_gradients(prefix: str, part: str) -> None:
        for key in (key for key in record if key.startswith(prefix)):
            name = key.removeprefix(prefix)
            if name.endswith('.weight') or name in ACTING:
                size = np.abs(record[key]).max()
                found = gradients[part][ours(name)] / size
                np.testing.assert_allclose(found, record[key] / size, atol=1e-4, rtol=0)

    for number, names in enumerate((INIT, OFFICIAL, OFFICIAL)):
        at(number)
        made.clear(), judged.clear()
        inputs = {
            f'img_{name}': torch.from_numpy(record[f'step{number}_{letter}']).flip(1).float()
            for name, letter in (('A', 'x'), ('B', 'y'), ('B_smooth', 'e'))
            if f'step{number}_{letter}' in record
        }
        log = model.train_step({'inputs': inputs}, optims)
        of_step = terms[f'step{number}' + '_init_phase' * (number == 0)]
        assert set(log) == set(names)
        for our, theirs in names.items():
            assert log[our] == pytest.approx(of_step[theirs], rel=1e-5), (number, our)
        if number == 0:
            assert log.updates == {'generators': True} and judged == []
            check_gradients('step0_grad_G.', 'generators')
            compare_weights(model, 'cartoongan_after_init.pt')
            continue
        (image,), every = made, 1 if number == 1 else 8
        image = image.detach()[..., ::every, ::every]
        np.testing.assert_allclose(image, record[f'step{number}_G'], atol=1e-5, rtol=0)
        (real, fake, edge), (later,) = judged
        logits = {'real': real, 'fake': fake, 'edge': edge, 'fake_in_G_step': later}
        for name, logit in logits.items():
            found = torch.sigmoid(logit.detach())
            np.testing.assert_allclose(found, record[f'step{number}_D_{name}'], atol=1e-5, rtol=0)
        if number == 1:
            check_gradients('step1_grad_D.', 'discriminators')
            check_gradients('step1_grad_G.', 'generators')
    compare_weights(model, 'cartoongan_after2.pt')


def compare_weights(model: CartoonGAN, name: str) -> None:
    state = model.state_dict()
    for network in recorded(name).values():
        for key, value in network.items():
            if key.endswith('.weight') or key in ACTING:
                torch.testing.assert_close(state[ours(key)], value, atol=1e-5, rtol=0, msg=key)


# ----------------------------------------------------------------------------- closed forms


def constant(model: CartoonGAN, logit: float) -> CartoonGAN:
    """A generator that returns 0, a discriminator that returns ``logit``."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.discriminators['B'].convs[-1].bias.fill_(logit)
    return model


@pytest.mark.parametrize(
    ('adversarial', 'of'),
    [
        ('bce', lambda x, target: F.binary_cross_entropy_with_logits(x, target)),
        ('lsgan', F.mse_loss),
    ],
)
def test_terms_of_constant_networks(adversarial, of):
    weights = {'gan': 2.0, 'content': 3.0}
    model = constant(tiny_cartoongan(adversarial=adversarial, loss_config=weights), 0.3)
    real = images(model)
    one, zero = (of(torch.tensor(0.3), torch.tensor(target)).item() for target in (1.0, 0.0))
    fake = torch.zeros_like(real['A'])
    loss, log = model.compute_d_loss(real, fake)
    assert log['loss_gan_d_B_real'] == pytest.approx(one)
    assert log['loss_gan_d_B_fake'] == log['loss_gan_d_B_edge'] == pytest.approx(zero)
    assert log['loss_gan_d_B'] == pytest.approx(one + 2 * zero)
    assert loss.item() == log['loss_d'] == pytest.approx(2 * (one + 2 * zero))
    content = (model.vgg(real['A']) - model.vgg(fake)).abs().mean().item()
    loss, log = model.compute_g_loss(real['A'], fake)
    assert log['loss_gan_g_B'] == pytest.approx(one)
    assert log['loss_content_B'] == pytest.approx(content)
    assert loss.item() == log['loss_g'] == pytest.approx(2 * one + 3 * content)
    loss, log = model.compute_g_loss(real['A'], fake, judged=False)
    assert set(log) == {'loss_content_B', 'loss_g'} and loss.item() == pytest.approx(3 * content)


@pytest.mark.parametrize(
    ('adversarial', 'logit', 'even'), [('bce', 0.0, math.log(2)), ('lsgan', 0.5, 0.25)]
)
def test_even_d_loss_is_that_of_a_tossed_coin(adversarial, logit, even):
    model = constant(tiny_cartoongan(adversarial=adversarial), logit)
    real = images(model)
    _, log = model.compute_d_loss(real, real['A'])
    for name in ('real', 'fake', 'edge'):
        assert log[f'loss_gan_d_B_{name}'] == pytest.approx(even)
    assert even == model.EVEN_D_LOSS


# ------------------------------------------------------------------------------ the step


def test_who_sees_what():
    """D sees the detached translation from before G's update; G sees a frozen D."""
    model, seen = tiny_cartoongan(), []
    judge = model.discriminators['B']
    judge.register_forward_hook(
        lambda module, inputs, _: seen.append(
            (all(p.requires_grad for p in module.parameters()), inputs[0])
        )
    )
    before = copy.deepcopy(model.generators['B'])
    log = train(model, wrappers(model, {'type': 'SGD', 'lr': 1.0}))
    assert log.updates == {'discriminators': True, 'generators': True}
    (learns, three_of_them), (stays, fake) = seen
    assert learns and not three_of_them.requires_grad and not stays and fake.requires_grad
    real = images(model)
    expected = torch.cat([real['B'], before(real['A']), real['B_smooth']])
    torch.testing.assert_close(three_of_them, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(fake.detach(), three_of_them[2:4], atol=0, rtol=0)


def test_the_first_phase_is_the_generators_and_its_adam_goes_on():
    model = tiny_cartoongan(init_iters=2)
    optims = wrappers(model, {'type': 'Adam', 'lr': 1e-3})
    start = copy.deepcopy(model.state_dict())
    for iteration, updates in enumerate([['generators']] * 2 + [['discriminators', 'generators']]):
        at(iteration)
        assert model.phase == (iteration < 2)
        log = train(model, optims, iteration)
        assert list(log.updates) == updates and all(log.updates.values())
        moved = [k for k, v in model.state_dict().items() if not torch.equal(v, start[k])]
        judges = any(key.startswith('discriminators') for key in moved)
        assert judges == (iteration == 2) and any(key.startswith('generators') for key in moved)
    steps = {
        name: {int(state['step']) for state in optim.optimizer.state.values()}
        for name, optim in optims.items()
    }
    assert steps == {'generators': {3}, 'discriminators': {1}}


def test_the_first_phase_sees_no_cartoons():
    model = tiny_cartoongan(init_iters=1)
    batch = three()
    states = []
    for value in (0, 255):
        one = copy.deepcopy(model)
        for name in ('img_B', 'img_B_smooth'):
            batch['inputs'][name].fill_(value)
        one.train_step(batch, wrappers(one))
        states.append(one.state_dict())
    assert_same(*states)


def test_an_update_of_several_batches_is_of_one_phase():
    """An update that has begun in the first phase ends in it."""
    model = tiny_cartoongan(init_iters=3)
    optims = wrappers(model, accumulative_counts=2)
    logs = [train(model, optims, iteration) for iteration in range(6)]
    assert ['loss_gan_g_B' in log for log in logs] == [False] * 4 + [True] * 2
    assert [list(log.updates) for log in logs] == [
        *([], ['generators']) * 2,
        [],
        ['discriminators', 'generators'],
    ]


def test_turns_after_the_first_phase():
    model = tiny_cartoongan(init_iters=1, disc_init_steps=2, discriminator_steps=2)
    optims = wrappers(model)
    updates = [list(train(model, optims, iteration).updates) for iteration in range(6)]
    both = ['discriminators', 'generators']
    assert updates == [['generators'], ['discriminators'], ['discriminators'], both, both[:1], both]


def test_frozen_in_the_first_phase():
    model = tiny_cartoongan(init_iters=1, frozen=['generators'])
    log = train(model, wrappers(model))
    assert log.updates == {} and dict(log) == {}


# --------------------------------------------------------------------------- one direction


def test_there_is_no_way_back():
    model = tiny_cartoongan(domains={'A': 'selfie', 'B': 'anime'})
    assert model.targets() == ('B',) and not model.is_domain_reachable('selfie')
    with pytest.raises(ValueError, match="do not translate into 'selfie', only into anime"):
        model.translation(images(model)['B'], 'selfie')
    with pytest.raises(ValueError, match=r"targets must be some of \['B'\], got \['A'\]"):
        tiny_cartoongan(targets=['A'])
    batch = {**three(), 'data_samples': [DataSample(), DataSample()]}
    (sample, _) = model.eval().val_step(batch)
    assert {'img_A', 'img_B', 'fake_B'} <= set(sample.keys()) and 'fake_A' not in sample


# ----------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'adversarial': 'hinge'}, r"adversarial must be one of \['bce', 'lsgan'\], got 'hinge'"),
        ({'init_iters': -1}, 'init_iters must be 0 or more, got -1'),
        ({'vgg': {'weights': 'random'}}, "vgg.weights='random' is for tests"),
        ({'loss_config': {'style': 1.0}}, r"loss_config knows \['content', 'gan'\], not"),
    ],
)
def test_fields_that_cannot_be(fields, said):
    with pytest.raises(ValueError, match=said):
        tiny_cartoongan(**fields)


def test_only_training_needs_vgg(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    model = tiny_cartoongan(vgg=None)
    model.eval().translation(images(model)['A'])
    with pytest.raises(WeightsError, match='no VGG19 weights: .*vgg19-dcbb9e9d.pth is not there'):
        wrappers(model)


@pytest.mark.slow
def test_what_a_training_lacks_is_said_at_its_start(data_root, tmp_path, capsys, monkeypatch):
    """In one line, by the command."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    tiny = TINY_OF['cartoongan'] | {'data_root': str(data_root), 'model.vgg.weights': None}
    train = load_tool('train').main
    words = ['cartoongan_custom', '--work-dir', str(tmp_path / 'work'), '--cfg-options']
    assert train([*words, *as_arguments(tiny)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: no VGG19 weights: ') and 'model.vgg.weights=FILE' in line
    cfg = tiny_config(data_root, tmp_path / 'other', 'cartoongan')
    cfg.train_dataloader.dataset.pipeline[-1]['keys'] = ['img_A', 'img_B']
    said = '^CartoonGAN trains on img_B_smooth, which the training pipeline does not give: name it'
    with pytest.raises(PreflightError, match=said):
        run_training(cfg)


def test_vgg_is_not_part_of_the_model():
    model = tiny_cartoongan()
    model.vgg(images(model)['A'])
    assert {key.split('.')[0] for key in model.state_dict()} == set(CartoonGAN.PARTS)
    assert {name.split('.')[0] for name, _ in model.named_parameters()} == set(CartoonGAN.PARTS)


def test_words_of_the_recipe():
    generator = {'base_channels': 64, 'num_blocks': 8}
    model = {'generator': generator, 'discriminator': {'base_channels': 32}, 'init_iters': 4250}
    assert CartoonGAN.variant(model) == ["znxlwm's recipe", 'initialisation of 4,250 iterations']
    other = {
        'generator': {'base_channels': 8, 'num_blocks': 16, 'padding': 'reflect', 'affine': True},
        'discriminator': {'base_channels': 4},
        'adversarial': 'lsgan',
        'vgg': {'weights': 'random', 'widths': NARROW, 'input': 'caffe'},
        'loss_config': {'content': 1.0},
    }
    assert CartoonGAN.variant(other)[1:] == [
        '8 and 4 channels',
        '16 blocks',
        'reflection',
        'affine norms (generator)',
        'least squares',
        'VGG19 of random weights',
        'VGG19 input caffe',
        'content loss 1',
        'initialisation of 0 iterations',
    ]
