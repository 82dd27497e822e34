"""The watch: what it finds, what it lets pass, and that the training does not notice it."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from aggan_helpers import tiny_aggan
from helpers import batch
from mmengine.config import Config

from ugatit_mm.apis import load_model
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.hooks import WatchHook
from ugatit_mm.models.layers import LIN, AdaLIN

# Of a training that went well: the discriminators' terms of a domain, and the totals.
HEALTHY = {
    **{f'loss_gan_d_{x}_{scale}{cam}': 0.42 for x in 'AB' for scale in ('global', 'local')
       for cam in ('', '_cam')},
    'loss_gan_d_A': 1.68,
    'loss_gan_d_B': 1.68,
    'loss_d': 3.36,
    'loss_g': 165.0,
}  # fmt: skip


class Sitting:
    """A run of looks at a model, with the losses and pictures that a test gives."""

    def __init__(self, model: torch.nn.Module, **fields) -> None:
        self.hook = WatchHook(**{'interval': 2, 'patience': 3, 'repeat': 4, **fields})
        self.said: list[str] = []
        generator = {'rho_init': None}
        self.runner = SimpleNamespace(
            model=model,
            iter=0,
            cfg=Config({'model': {'generator': generator}}),
            logger=SimpleNamespace(warning=self.said.append),
        )

    def look(self, losses: dict | None = None, looks: int = 1, moving: bool = True) -> list[str]:
        """Two iterations for each look; return what is said."""
        start = len(self.said)
        for _ in range(2 * looks):
            count = self.runner.iter
            outputs = HEALTHY | (losses or {})
            if moving:
                outputs = {k: v * (1 + 0.01 * (count % 2)) for k, v in outputs.items()}
            self.hook.after_train_iter(self.runner, count, batch(seed=count), outputs)
            self.runner.iter += 1
        return self.said[start:]


def constant(generator: torch.nn.Module) -> None:
    last = [m for m in generator.decoder if hasattr(m, 'weight')][-1]
    last.weight.data.zero_()


def set_rho(model: torch.nn.Module, kind: type, value: float) -> None:
    for layer in model.generators['B'].modules():
        if isinstance(layer, kind):
            layer.rho.data.fill_(value)


def test_it_warns_after_patience_and_repeats_while_it_lasts(tiny):
    sitting = Sitting(tiny())
    dead = {'loss_gan_d_A': 0.012}
    assert [len(sitting.look(dead)) for _ in range(8)] == [0, 0, 1, 0, 0, 0, 1, 0]
    assert 'iteration 6: for 6 iterations' in sitting.said[0]
    assert 'discriminators of A have separated real from translated' in sitting.said[0]
    assert 'loss 0.003 a term' in sitting.said[0]  # 0.012 * 1.005 / 4
    assert sitting.look() == [] and [len(sitting.look(dead)) for _ in range(3)] == [0, 0, 1]


def test_an_untrained_and_a_trained_model_get_no_warning(tiny):
    assert Sitting(tiny()).look(looks=6) == []
    assert Sitting(tiny(recipe='pytorch')).look(looks=6) == []
    model, _ = load_model()
    assert Sitting(model.train()).look(looks=6) == []


def test_losses_that_do_not_move(tiny):
    sitting = Sitting(tiny())
    assert sitting.look(looks=2, moving=False) == []
    first, second = sitting.look(moving=False)
    assert 'loss_d has not moved at all (it is 3.36' in first and 'loss_g' in second


def test_translations_of_one_colour(tiny):
    model = tiny(domains=dict(A='cat', B='dog'))
    constant(model.generators['B'])
    (said,) = Sitting(model).look(looks=3)
    assert 'the translations cat2dog have been pictures of one colour' in said


def test_one_translation_for_all_sources(tiny):
    model = tiny()
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    generator = model.generators['A']
    plain = generator.forward

    def same(x, return_cam=False):
        out = plain(x, return_cam=return_cam)
        return (picture, *out[1:]) if return_cam else picture

    generator.forward = same
    sitting = Sitting(model)
    assert sitting.look(looks=3) == []  # the first check has only one picture
    (said,) = sitting.look()
    assert 'the translations B2A have been one and the same' in said


def test_attention_that_is_one_value(tiny):
    model = tiny()
    model.generators['B'].cam.conv1x1.weight.data.zero_()
    model.generators['B'].cam.conv1x1.bias.data.fill_(0.5)
    said = Sitting(model).look(looks=3)
    assert any('the attention of A2B has been the same' in words for words in said)
    assert not any('B2A' in words for words in said)


@pytest.mark.parametrize(
    ('recipe', 'kind', 'value', 'words'),
    [
        ('tensorflow', AdaLIN, 0.0, 'rho has stood at 0 in 100% of the channels of the residual'),
        ('tensorflow', AdaLIN, 1.0, None),  # where it started
        ('pytorch', AdaLIN, 1.0, 'plain instance norm'),
        ('pytorch', LIN, 1.0, 'up-sampling layers of A2B'),
        ('pytorch', LIN, 0.0, None),
    ],
)
def test_rho_at_a_bound_where_it_did_not_start(tiny, recipe, kind, value, words):
    model = tiny(recipe=recipe)
    set_rho(model, kind, value)
    said = Sitting(model, contrast=0, difference=0).look(looks=3)
    assert [words in sentence for sentence in said] == ([True] if words else [])


def test_limits_have_an_effect_and_are_checked(tiny):
    for field, losses in (('d_loss', None), ('contrast', None), ('difference', None)):
        said = Sitting(tiny(), **{field: 10.0}).look(losses, looks=4)
        assert len(said) == 2, field  # both domains
    assert len(Sitting(tiny(), attention=100.0).look(looks=3)) == 2
    assert len(Sitting(tiny(), still=1.0).look(looks=3)) == 2
    model = tiny()
    set_rho(model, AdaLIN, 0.0)
    next(m for m in model.generators['B'].modules() if isinstance(m, AdaLIN)).rho.data.fill_(0.5)
    assert Sitting(model).look(looks=3) == []
    assert len(Sitting(model, rho=0.7).look(looks=3)) == 1
    for field in ('interval', 'patience', 'repeat'):
        with pytest.raises(ValueError, match=f'{field} must be 1 or more'):
            WatchHook(**{field: 0})
    with pytest.raises(ValueError, match='still must be 0 or more'):
        WatchHook(still=float('nan'))


def test_the_training_does_not_notice_the_watch(tiny):
    def train(watched: bool):
        model = tiny().train()
        optimizer = dict(type='Adam', lr=1e-3)
        pairs = ('generators', 'discriminators')
        optim = UGATITOptimWrapperConstructor({p: dict(optimizer=optimizer) for p in pairs})(model)
        sitting = Sitting(model, interval=1)
        torch.manual_seed(0)
        for step in range(3):
            data = batch(seed=step)
            kept = copy.deepcopy(data['inputs'])
            log = model.train_step(data, optim)
            if watched:
                sitting.hook.after_train_iter(sitting.runner, step, data, log)
            assert all(torch.equal(kept[key], data['inputs'][key]) for key in kept)
            assert all(module.training for module in model.modules())
        random_states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])
        grads = [p.grad for p in model.parameters()]
        return model.state_dict(), random_states, grads

    plain, watched = train(False), train(True)
    assert all(torch.equal(value, watched[0][name]) for name, value in plain[0].items())
    assert torch.equal(plain[1][0], watched[1][0]) and plain[1][1] == watched[1][1]
    assert (plain[1][2] == watched[1][2]).all()
    assert plain[2] == watched[2] == [None] * len(plain[2])


def test_other_ranks_look_at_nothing(tiny, monkeypatch):
    monkeypatch.setattr('ugatit_mm.hooks.watch.is_main_process', lambda: False)
    sitting = Sitting(tiny())
    assert sitting.look({'loss_gan_d_A': 0.0}, looks=3) == []
    assert not sitting.hook._losses and not sitting.hook._pictures


def test_a_model_of_other_optimisers_and_signs():
    """The option is that of the domain's own optimiser; a limit of the model's own is used."""
    losses = {'loss_gan_d_A': 0.006, 'loss_gan_d_B': 0.25}  # of one term each
    said = Sitting(tiny_aggan(), mask=0.6).look(losses, looks=3)
    assert any('a lower optim_wrapper.discriminator_A.optimizer.lr.' in line for line in said)
    assert any('the mask of A2B has been nearly 0 (mean 0.5' in line for line in said)
