"""The base class with a stand-in for what no current model has: one direction, parts of the source
and of the target, styles, three optimisers."""

import math

import pytest
import torch
from helpers import TINY_OF, batch
from mmagic.models import DataPreprocessor
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.model import BaseModule
from torch import nn

from ugatit_mm.config import load_config
from ugatit_mm.domains import other
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.evaluation import TransMetric
from ugatit_mm.export import export_model, open_exported
from ugatit_mm.models.base import (
    Translated,
    TranslationPreprocessor,
    UnpairedTranslation,
    unwrap,
)
from ugatit_mm.pixels import to_rgb
from ugatit_mm.visualization import attention_figure, translation_sheet


class Pair(nn.ModuleDict):
    def forward(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self[name](x)


class Conv(BaseModule):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).tanh()


class OneWay(UnpairedTranslation):
    """Encoder of A, decoder of B with a style, a discriminator; each has its optimiser."""

    NAME, ROW, TARGETS = 'one_way', 'OneWay', ('B',)
    PARTS = {'encoders': 'encoder', 'decoders': 'decoder', 'judges': 'judge'}
    TRANSLATES = ('encoders', 'decoders')
    OPTIMIZED = {'judges': ('judges',), 'decoders': ('decoders',), 'encoders': ('encoders',)}
    PACED, CHANNELS_LAST, NETWORKS, BOUNDS = (), (), {}, {}
    LOSS_WEIGHTS = {'gan': 1.0}

    def __init__(self, **fields) -> None:
        torch.manual_seed(0)
        parts = {
            'encoders': Pair({'A': Conv(3, 4)}),
            'decoders': Pair({'B': Conv(5, 3)}),
            'judges': Pair({'B': Conv(3, 1)}),
        }
        super().__init__(parts, **fields)
        self.poisoned = ''

    def iterate(self, step, real) -> None:
        code = step.forward('encoders', 'A', real['A'])
        for name in self.OPTIMIZED:
            step.update(name, lambda name=name: self.loss(name, code.detach(), real))

    def loss(self, name, code, real):
        if name == 'judges':
            out = self.judges('B', real['B'])
        elif name == 'decoders':
            out = self.decoders('B', torch.cat([code, torch.zeros_like(code[:, :1])], 1))
        else:
            out = self.encoders('A', real['A'])
        loss = out.square().mean() * (math.nan if name == self.poisoned else 1)
        return loss, {f'loss_{name}': loss.detach()}

    def needed(self, target):
        return {'encoders': (other(target),), 'decoders': (target,)}

    style_shape = (1, 1, 1)

    def translate(self, image, target, *, heatmap=False, style=None):
        code = unwrap(self.encoders)[other(target)](image)
        if style is None:
            style = torch.zeros(len(image), 1, 1, 1)
        return Translated(
            unwrap(self.decoders)[target](torch.cat([code, style.expand_as(code[:, :1])], 1))
        )


def optimisers(model: OneWay, **fields):
    sgd = {'optimizer': dict(type='SGD', lr=0.1), **fields}
    return UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, sgd))(model)


def images(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_one_way_is_one_way():
    model = OneWay(domains={'A': 'photo', 'B': 'cartoon'})
    assert model.targets() == ('B',) and model.direction() == 'photo2cartoon'
    assert model.is_domain_reachable('cartoon') and not model.is_domain_reachable('photo')
    assert model.get_other_domains('B') == ['A']
    for domain in ('A', 'photo'):
        with pytest.raises(ValueError, match="do not translate into 'photo', only into cartoon"):
            model.translation(images(), domain)
    with pytest.raises(ValueError, match=r"targets must be some of \['B'\]"):
        OneWay(targets=['A'])


def test_validation_has_what_there_is_and_a_style_by_name():
    model = OneWay().eval()
    data = batch(count=2)
    samples = [DataSample(metainfo={'img_A_path': f'here/{name}'}) for name in ('x', 'y')]
    out = model.val_step({**data, 'data_samples': samples})
    assert [set(sample.keys()) for sample in out] == [{'img_A', 'img_B', 'fake_B'}] * 2
    again = [DataSample(metainfo={'img_A_path': f'there/{name}'}) for name in ('y', 'x')]
    turned = {'inputs': {key: value.flip(0) for key, value in data['inputs'].items()}}
    twin = model.val_step({**turned, 'data_samples': again})
    assert torch.equal(out[0].fake_B, twin[1].fake_B) and torch.equal(out[1].fake_B, twin[0].fake_B)
    x, y = model.styles(['x', 'y'], 'B')
    assert torch.equal(model.styles(['y'], 'B'), y[None]) and not torch.equal(x, y)
    assert not torch.equal(model.styles(['x'], 'B', seed=1), x[None])
    with pytest.raises(ValueError, match='OneWay has no styles'):
        model.style_of(images(), 'B')


def test_metrics_take_the_direction_that_there_is():
    class Mean(TransMetric):
        def measure(self, pictures):
            return [float(picture.mean()) for picture in pictures]

        def summarise(self, direction, real, fake, target):
            return {'counts': 100 * len(real) + 10 * len(fake) + len(target)}

    metric, pixel = Mean(), torch.zeros(3, 4, 4, dtype=torch.uint8)
    names = {'domains': {'A': 'photo', 'B': 'cartoon'}, 'img_B_path': 'b'}
    pictures = {'img_A': pixel, 'img_B': pixel, 'fake_B': pixel}
    metric.process({}, [names | pictures | {'img_A_path': path} for path in ('a', 'c')])
    assert metric.evaluate(2) == {'photo2cartoon/counts': 221}


def test_sheets_and_figures_have_the_columns_that_there_are():
    model = OneWay()
    assert list(model.columns(images()[0], 'B', 1)) == ['source', 'style 1']
    sheet = translation_sheet(model, images(3), 'B', 2)
    assert sheet.shape == (20 + 3 * 132 + 4, 3 * 132 + 4, 3)
    for row, image in enumerate(images(3)):
        for k in (1, 2):  # the same style in all rows, and the file's first
            style = model.styles([''], 'B', k - 1)
            made = to_rgb(model.translate(image[None], 'B', style=style).image[0])
            x, y = 4 + 132 * k, 24 + 132 * row
            assert (sheet[y : y + 128 : 4, x : x + 128 : 4] == made).all()
    model.style_shape = None
    assert list(model.columns(images()[0], 'B')) == ['source', 'translation']
    picture = (images()[0].permute(1, 2, 0).numpy() * 100 + 100).clip(0, 255).astype('uint8')
    assert attention_figure(model, picture, None).shape[1] == 2 * (5 * 32 + 4) + 4


def test_a_direction_is_exported_with_the_networks_that_it_needs(tmp_path):
    model = OneWay().eval()
    only = model.only('B')
    assert {key.split('.')[0] for key in only.state_dict()} == {'encoders', 'decoders'}
    assert next(only.parameters()) is next(model.parameters())
    export_model(model, None, tmp_path / 'b.pt', 'torchscript', pixels='normalised')
    run, _ = open_exported(tmp_path / 'b.pt', 'torchscript')
    with torch.no_grad():
        expected = model.translation(images(), style=model.styles([''], 'B'))
    torch.testing.assert_close(torch.from_numpy(run(images().numpy())[0]), expected)


@pytest.mark.parametrize('poisoned', ['', 'judges', 'decoders', 'encoders'])
def test_updates_after_one_that_is_left_out_are_left_out(poisoned):
    model = OneWay()
    optim = optimisers(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.poisoned = poisoned
    log = model.train_step(batch(), optim)
    order = list(model.OPTIMIZED)
    taken = order[: order.index(poisoned)] if poisoned else order
    assert log.updates == dict.fromkeys(taken, True) | ({poisoned: False} if poisoned else {})
    assert set(log) == {f'loss_{name}' for name in taken}
    assert log.not_finite == ([f'loss_{poisoned}'] if poisoned else [])
    moved = {
        k.split('.')[0] for k, v in model.state_dict().items() if not torch.equal(before[k], v)
    }
    assert moved == set(taken)
    assert [wrapper._inner_count for wrapper in optim.values()] == [1, 1, 1]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_is_not_of_this_optimiser_is_frozen_while_it_learns():
    model = OneWay()
    seen = {}
    plain = model.loss

    def look(name, code, real):
        seen[name] = {k.split('.')[0] for k, p in model.named_parameters() if p.requires_grad}
        return plain(name, code, real)

    model.loss = look
    model.train_step(batch(), optimisers(model))
    assert seen == {name: {name} for name in model.OPTIMIZED}


def test_different_accumulation_is_pending_until_all_have_moved():
    model = OneWay()
    optim = optimisers(model)
    optim['encoders']._accumulative_counts = 2
    log = model.train_step(batch(), optim)
    assert log.pending and log.updates == {'judges': True, 'decoders': True}
    log = model.train_step(batch(), optim)
    assert not log.pending and all(log.updates.values()) and len(log.updates) == 3


@pytest.mark.parametrize('size', [0, 4, 30, 8196, 10**12, True, 32.0, '32', None])
def test_sizes_that_no_image_has_are_refused(size):
    with pytest.raises(ValueError, match='img_size must be a multiple of 4 from 8 to 8192, got'):
        OneWay(img_size=size)


def test_what_training_lacks_is_named():
    model = OneWay()
    model.judges = None
    with pytest.raises(ValueError, match=r'training needs model\.judge, which the config does not'):
        optimisers(model)
    with pytest.raises(ValueError, match='optim_wrapper takes judges, decoders, encoders and'):
        UGATITOptimWrapperConstructor({'generators': {}})(OneWay())
    assert OneWay().training_state() is None


@pytest.mark.parametrize(
    ('name', 'field'),
    [
        *((name, 'generator') for name in ('aggan', 'cyclegan', 'cartoongan', 'unit', 'drit')),
        *((name, 'encoder') for name in ('unit', 'munit', 'drit')),
        ('munit', 'style_encoder'),
    ],
)
def test_a_network_of_the_translation_must_have_a_config(name, field):
    model = load_config(f'{name}_custom', TINY_OF[name]).model
    model[field] = None
    with pytest.raises(ValueError, match=f'model.{field} is not there: translation needs its conf'):
        MODELS.build(model)


@pytest.mark.parametrize('order', ['BGR', 'RGB', None])
@pytest.mark.parametrize('kind', [torch.uint8, torch.float32])
def test_the_preprocessor_gives_what_mmagics_gives(order, kind):
    inputs = {name: image.to(kind) for name, image in batch(count=2)['inputs'].items()}
    samples = [DataSample(metainfo={f'img_{x}_channel_order': order for x in 'AB'})] * 2
    ours = TranslationPreprocessor()
    theirs = DataPreprocessor(output_channel_order='RGB', data_keys=None)
    for data in (
        {'inputs': inputs},
        {'inputs': inputs, 'data_samples': samples},
        {'inputs': {name: list(images) for name, images in inputs.items()}},
    ):
        got, expected = (
            each({**data, 'inputs': dict(data['inputs'])}, True)['inputs']
            for each in (ours, theirs)
        )
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], expected[name]) for name in got)
    assert [name for name in inputs if inputs[name].dtype != kind] == []  # the batch is unchanged
