"""Requirements for every registered translation model. A new model adds a row to ``ROWS``."""

import copy
import inspect
import logging
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import (
    BATCH_OF,
    TINY_OF,
    assert_same,
    batch,
    in_ranks,
    load_tool,
    same_weights,
    write_images,
)
from mmagic.registry import MODEL_WRAPPERS, MODELS
from mmengine import MessageHub
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from ugatit_mm import cli
from ugatit_mm.apis import UGATITInferencer, load_model, run_test, run_training
from ugatit_mm.config import load_config
from ugatit_mm.converters import read_checkpoint, write_checkpoint
from ugatit_mm.domains import other
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.export import export_model, verify
from ugatit_mm.hooks import TranslationEMAHook
from ugatit_mm.models.base import TRANSLATION_MODELS, UnpairedTranslation, unwrap
from ugatit_mm.visualization import translation_sheet


class Row(NamedTuple):
    """A model's part of these tests.

    Attributes:
        others: For each field of its networks and itself another value than the tiny config's; with
            further fields if needed, under full names if they are in another part.
        dead: Suffixes of the names of parameters whose gradient is 0 in exact arithmetic.
        inner: Name of a module in each generator.
        training: Options of the trainings, which pass phases that single steps do not.
        noisy: Largest share of weights whose gradient is so close to 0 that Adam takes another step
            if sums are added in another order.
        again: Labels of further updates, and the optimiser of each.
    """

    others: dict[str, Any]
    dead: tuple[str, ...] = ()
    inner: str = 'encoder'
    training: dict[str, Any] = {}
    noisy: float = 0.0
    again: dict[str, str] = {}


# Biases of UNIT's and MUNIT's convolutions that an instance norm removes.
BEFORE_NORMS = tuple(
    f'.{name}.bias' for name in (*(f'layers.{i}.conv' for i in range(3)), 'conv1', 'conv2')
)
# Widths that DRIT's networks share.
DRIT_WIDTHS = {
    f'{part}.base_channels': 4 for part in ('encoder', 'generator', 'content_discriminator')
}
DRIT_STYLES = {f'{part}.style_dim': 4 for part in ('attribute_encoder', 'generator')}
FEATURE_WISE = {f'{part}.concat': False for part in ('attribute_encoder', 'generator')}
ROWS = {
    'ugatit': Row(
        others={
            'generator.in_channels': 4,
            'generator.out_channels': 4,
            'generator.base_channels': 8,
            'generator.num_blocks': 2,
            'generator.img_size': 64,
            'generator.light': False,
            'generator.norm': 'in',
            'generator.norm_groups': {'norm': 'gn', 'norm_groups': 2},
            'generator.cam': False,
            'generator.recipe': 'pytorch',
            'generator.bias': False,
            'generator.encoder_affine': False,
            'generator.shared_cam': False,
            'generator.mlp_width': 'features',
            'generator.rho_init': 0.5,
            'generator.rho_smoothing': 0.5,
            'generator.unbiased': True,
            'generator.init': 'default',
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 8,
            'discriminator.num_layers': (4, 4),
            'discriminator.cam': False,
            'discriminator.spectral_norm': False,
            'discriminator.recipe': 'pytorch',
            'discriminator.bias': False,
            'discriminator.shared_cam': False,
            'discriminator.raw_cam_weight': True,
            'discriminator.padding': 'symmetric',
            'discriminator.init': 'default',
            'recipe': 'pytorch',
            'cam_loss': {'type': 'CAMLoss', 'loss_weight': 2.0},
            'joint_discrimination': False,
            'cycle_domains': ('B',),
            'cycle_noise': 0.1,
            'loss_config': {'cam': 1.0},
        },
        # before instance norms
        dead=tuple(
            f'.encoder.{name}.bias' for name in ('0.conv', '1.conv', '2.conv', '3.conv1', '3.conv2')
        ),
    ),
    'aggan': Row(
        others={
            'generator.in_channels': 4,
            'generator.base_channels': 8,
            'generator.num_blocks': 2,
            'attention.in_channels': 4,
            'attention.base_channels': 8,
            'attention.decoder_kernels': (3, 1, 1),
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 8,
            'pool_size': 0,
            'switch_iters': 0,
            'threshold': 0.5,
            'loss_config': {'cycle': 1.0},
        },
        # before instance norms
        dead=('conv.bias', 'conv1.bias', 'conv2.bias', *(f'.convs.{i}.bias' for i in range(4))),
        noisy=0.01,  # an update sees the noise of the one before it
        training={'model.switch_iters': 1},  # a checkpoint is at 2
    ),
    'cyclegan': Row(
        others={
            'generator.in_channels': 4,
            'generator.out_channels': 4,
            'generator.base_channels': 8,
            'generator.num_blocks': 2,
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 8,
            'discriminator.num_layers': 1,
            'pool_size': 0,
            'loss_config': {'identity': 0.0},
        },
        dead=('.bias',),  # before instance norms
    ),
    'unit': Row(
        others={
            'encoder.in_channels': 4,
            'encoder.base_channels': 8,
            'encoder.num_blocks': 2,
            'generator.out_channels': 4,
            'generator.base_channels': 8,
            'generator.num_blocks': 2,
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 8,
            'discriminator.num_layers': 1,
            'discriminator.num_scales': 2,
            'gan_type': 'nsgan',
            'loss_config': {'kl': 1.0},
        },
        dead=BEFORE_NORMS,
        inner='decoder',
    ),
    'munit': Row(
        others={
            'encoder.in_channels': 4,
            'encoder.base_channels': 8,
            'encoder.num_blocks': 2,
            'style_encoder.in_channels': 4,
            'style_encoder.base_channels': 8,
            'style_encoder.style_dim': 4,
            'generator.out_channels': 4,
            'generator.base_channels': 8,
            'generator.num_blocks': 2,
            'generator.style_dim': 4,
            'generator.mlp_channels': 4,
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 8,
            'discriminator.num_layers': 1,
            'discriminator.num_scales': 2,
            'gan_type': 'nsgan',
            'loss_config': {'cycle': 10.0},
        },
        dead=BEFORE_NORMS,
        inner='decoder',
        noisy=0.001,
    ),
    'cartoongan': Row(
        others={
            'generator.in_channels': 4,
            'generator.out_channels': 4,
            'generator.base_channels': 8,
            'generator.num_blocks': 2,
            'generator.padding': 'reflect',
            'generator.affine': True,
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 8,
            'discriminator.affine': True,
            'vgg': {'weights': 'random', 'widths': (4, 4, 4, 4, 4)},
            'adversarial': 'lsgan',
            'init_iters': 1,
            'loss_config': {'content': 1.0},
        },
        # before instance norms
        dead=('.conv.bias', '.conv1.bias', '.conv2.bias')
        + tuple(f'.convs.{layer}.bias' for layer in (4, 9, 12)),
        training={'model.init_iters': 3},  # a checkpoint is at 2
    ),
    'drit': Row(
        others={
            'encoder.in_channels': 4,
            'encoder.base_channels': DRIT_WIDTHS,
            'attribute_encoder.in_channels': 4,
            'attribute_encoder.base_channels': 4,
            'attribute_encoder.style_dim': DRIT_STYLES,
            'attribute_encoder.concat': FEATURE_WISE,
            'generator.out_channels': 4,
            'generator.base_channels': DRIT_WIDTHS,
            'generator.style_dim': DRIT_STYLES,
            'generator.concat': FEATURE_WISE,
            'discriminator.in_channels': 4,
            'discriminator.base_channels': 4,
            'discriminator.num_scales': 2,
            'discriminator.num_layers': 2,
            'discriminator.kernel_size': 3,
            'discriminator.norm': 'in',
            'discriminator.spectral_norm': True,
            'content_discriminator.base_channels': DRIT_WIDTHS,
            'content_discriminator.num_layers': 2,
            'content_discriminator.norm': {'norm': 'in', 'num_layers': 2},
            'd_iter': 3,
            'epoch_images': {'d_iter': 3, 'epoch_images': 100},
            'content_max_norm': 1e-3,
            'second_pass': 'together',
            'loss_config': {'mode_seeking': 1.0},
        },
        # before instance norms
        dead=('down.0.conv.bias', 'down.1.conv.bias', '.conv1.bias', '.conv2.bias'),
        inner='blocks',
        again={'random': 'generators'},
    ),
}
# Fields of the base class and of the computation, which have their own tests.
SHARED = {'with_cp', 'fields', 'vgg_weights'} | {
    field for kind in TRANSLATION_MODELS.values() for field in kind.NETWORKS
}

KINDS = {kind.NAME: kind for kind in TRANSLATION_MODELS.values()}


# In `make test` the longer tests take U-GAT-IT, and a quick one of those that differ most from it.
FAST = ('ugatit', 'munit')


def longer(name: str) -> Any:
    """Marks of a row of a longer test."""
    return () if name in FAST else pytest.mark.slow


def training_of(name: str) -> dict[str, Any]:
    """Options of the trainings, all of which average the weights that translate."""
    return {'default_hooks.ema.momentum': 0.3, **ROWS[name].training}


every_model = pytest.mark.parametrize('name', list(ROWS))
every_model_at_length = pytest.mark.parametrize(
    'name', [pytest.param(name, marks=longer(name)) for name in ROWS]
)
every_model_out_of_make_test = pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.slow if name in FAST else pytest.mark.long)
        for name in ROWS
    ],
)


def config(name: str, root: Path | str = 'data', **options: Any):
    tiny = TINY_OF[name] | {'domains.A': 'red', 'domains.B': 'blue', 'data_root': str(root)}
    return load_config(f'{name}_custom', tiny | options)


def build(name: str, fields: dict | None = None, seed: int = 0) -> UnpairedTranslation:
    """A tiny model; ``fields`` by dotted names."""
    init_default_scope('mmagic')
    cfg = config(name, **{f'model.{key}': value for key, value in (fields or {}).items()})
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def optimisers(model: UnpairedTranslation, **fields: Any):
    adam = dict(type='Adam', lr=1e-3, betas=(0.5, 0.999), fused=True)  # as in the configs
    wrappers = {name: dict(optimizer=adam, **fields) for name in unwrap(model).OPTIMIZED}
    return UGATITOptimWrapperConstructor(wrappers)(model)


def pictures(name: str, **fields: Any) -> dict:
    """A training batch of the model."""
    return batch(pictures=KINDS[name].PICTURES, **BATCH_OF.get(name, {}), **fields)


def there(name: str, modules: list[str]) -> list[str]:
    """Modules of a model; those of B if the model has none of A."""
    modules = [each.replace('inner', ROWS[name].inner) for each in modules]
    if 'A' in KINDS[name].TARGETS:
        return modules
    modules = ['generators.B.decoder' if each == 'generators.A' else each for each in modules]
    return [each.replace('.A', '.B').replace('.red', '.blue') for each in modules]


def updates(name: str, model: UnpairedTranslation) -> dict[str, bool]:
    """All that a step updates."""
    again = [label for label, optim in ROWS[name].again.items() if model.learns(optim)]
    return dict.fromkeys([*filter(model.learns, model.OPTIMIZED), *again], True)


def at(iteration: int) -> None:
    MessageHub.get_current_instance().update_info('iter', iteration)


def image(size: int = 32) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(autouse=True)
def first_iteration():
    at(0)


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Callable[[str], tuple[Path, Path]]:
    """Data, and the work dir of a training of four iterations with a checkpoint at two."""
    done: dict[str, tuple[Path, Path]] = {}

    def train(name: str) -> tuple[Path, Path]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            write_images(folder / 'data')
            cfg = config(name, folder / 'data', **training_of(name))
            cfg.work_dir = str(folder / 'work')
            run_training(cfg)
            done[name] = folder / 'data', folder / 'work'
        return done[name]

    return train


def test_every_model_has_a_row():
    assert KINDS.keys() == ROWS.keys() == TINY_OF.keys()
    assert len({kind.ROW for kind in KINDS.values()}) == len(ROWS)


@every_model
def test_passes_are_finite_and_every_parameter_gets_a_gradient(name: str):
    model = build(name).train()
    reached: dict[str, float] = {}
    for key, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, key=key: reached.update(
                {key: max(reached.get(key, 0), p.grad.abs().max().item())}
            )
        )
    log = model.train_step(pictures(name), optimisers(model))
    assert log.not_finite == [] and all(math.isfinite(value) for value in log.values())
    assert log.updates == updates(name, model) and not log.pending
    for key, _ in model.named_parameters():
        assert math.isfinite(reached[key]), key
        assert reached[key] > 0 or key.endswith(ROWS[name].dead), key
    for target in model.targets():
        out = model.eval().translate(image(), target, heatmap=model.has_attention)
        assert out.image.shape == (1, 3, 32, 32) and out.image.abs().max() <= 1
        assert (out.heatmap is not None) == model.has_attention


def fields_of(name: str) -> set[str]:
    kind = KINDS[name]
    fields = set(inspect.signature(kind).parameters) - SHARED
    for part, network in kind.NETWORKS.items():
        fields |= {f'{part}.{each}' for each in set(inspect.signature(network).parameters) - SHARED}
    return fields


def shapes_of(model: UnpairedTranslation) -> set:
    return {(key, tuple(value.shape)) for key, value in model.state_dict().items()}


def steps_of(name: str, model: UnpairedTranslation) -> Iterator:
    """The logs of four steps, computed lazily."""
    optim = optimisers(model.train())
    random.seed(0)  # of image pools
    for seed in range(4):
        at(seed)
        yield model.train_step(pictures(name, seed=seed), optim)


@pytest.fixture(scope='module')
def plain() -> Callable[[str], tuple[set, list]]:
    done: dict[str, tuple[set, list]] = {}

    def of(name: str) -> tuple[set, list]:
        if name not in done:
            model = build(name)
            done[name] = shapes_of(model), list(steps_of(name, model))
        return done[name]

    return of


@pytest.mark.parametrize(
    ('name', 'field'),
    [
        pytest.param(name, field, marks=longer(name))
        for name in ROWS
        for field in sorted(fields_of(name))
    ],
)
def test_every_field_has_an_effect(name: str, field: str, plain: Callable):
    """On the names and shapes of the weights, or on one of the first steps."""
    value = ROWS[name].others[field]
    part, _, _ = field.rpartition('.')
    several = isinstance(value, dict) and {field, field.rpartition('.')[2]} & value.keys()
    fields = value if several else {field: value}
    fields = {f'{part}.{k}' if part and '.' not in k else k: v for k, v in fields.items()}
    (shapes, steps), model = plain(name), build(name, fields)  # each with its own random numbers
    if shapes_of(model) != shapes:
        return
    if field.endswith('img_size'):
        assert model.img_size == value
        return
    assert any(one != two for one, two in zip(steps_of(name, model), steps, strict=True))


@every_model
def test_an_update_that_is_not_finite_is_left_out(name: str):
    model = build(name).train()
    optim = optimisers(model)
    model.train_step(pictures(name), optim)
    before = copy.deepcopy((model.state_dict(), optim.state_dict(), model.training_state()))
    poison = pictures(name, seed=1)
    poison['inputs']['img_A'][0, 0, 0, 0] = math.nan
    log = model.train_step(poison, optim)
    first = next(iter(model.OPTIMIZED))
    assert log.updates == {first: False} and log.not_finite
    assert all(math.isfinite(value) for value in log.values())
    assert_same(before, (model.state_dict(), optim.state_dict(), model.training_state()))
    log = model.train_step(pictures(name, seed=2), optim)
    assert all(log.updates.values()) and log.not_finite == []


class NoQuestions(TorchDispatchMode):
    """Refuses operators that read a number from the device, or a shape that depends on one."""

    REFUSED = [
        '_local_scalar_dense',
        'item',
        'is_nonzero',
        'equal',
        'nonzero',
        'masked_select',
        '_unique2',
    ]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.REFUSED, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    'wrapper',
    [
        pytest.param({}, id='float32'),
        *(
            pytest.param({'type': 'AutocastOptimWrapper'} | more, id=name, marks=pytest.mark.slow)
            for name, more in (
                ('bfloat16, accumulated', {'accumulative_counts': 2}),
                ('float16', {'dtype': 'float16'}),
            )
        ),
    ],
)
@every_model
def test_a_step_asks_the_host_nothing(name: str, wrapper: dict):
    if not KINDS[name].ACCUMULATES and 'accumulative_counts' in wrapper:
        pytest.skip('each batch updates')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = build(name).to(device).train()
    optim = optimisers(model, **wrapper)
    for iteration in range(4):  # optimiser states are created, pools filled, kernels checked
        at(iteration)
        model.train_step(pictures(name, seed=iteration), optim).settle()
    assert model.steady
    torch.cuda.set_sync_debug_mode('error') if device == 'cuda' else None
    try:
        with NoQuestions():
            for iteration in range(4, 6):
                at(iteration)
                log = model.train_step(pictures(name, seed=iteration), optim)
                assert not log.settled
    finally:
        torch.cuda.set_sync_debug_mode('default') if device == 'cuda' else None
    assert all(log.updates.values()) and len(log) > 5


@every_model_at_length
@pytest.mark.parametrize(
    'frozen',
    [
        ['generators.A'],
        ['discriminators.blue', 'generators.B.inner'],
        ['discriminators'],
        pytest.param(['generators'], marks=pytest.mark.slow),
    ],
    ids=','.join,
)
@pytest.mark.parametrize('kind', ['Adam', pytest.param('LeanAdam', marks=pytest.mark.slow)])
def test_what_is_frozen_stays_to_the_bit(name: str, frozen: list[str], kind: str):
    """Weights and buffers; everything else changes."""
    frozen = there(name, frozen)
    model = build(name, {'frozen': frozen}).train()
    names = tuple(f'{each.replace("blue", "B")}.' for each in frozen)
    before, learned = copy.deepcopy(model.state_dict()), dict(model.named_parameters())
    optims = optimisers(model)
    if kind == 'LeanAdam':
        lean = dict(optimizer=dict(type='LeanAdam', lr=1e-3))
        optims = UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, lean))(model)
    for step in range(2):
        at(step)
        log = model.train_step(pictures(name, seed=step), optims)
        assert log.not_finite == []
    for key, value in model.state_dict().items():
        if key.startswith(names):
            assert torch.equal(value, before[key]), key
        elif key in learned and not key.endswith(ROWS[name].dead):
            assert not torch.equal(value, before[key]), key
    assert log.updates == updates(name, model)
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad != key.startswith(names), key
        assert parameter.grad is None


@every_model
def test_frozen_names_that_are_not_there(name: str):
    inner, parts = ROWS[name].inner, tuple(KINDS[name].PARTS)
    first = f'generators.{KINDS[name].TARGETS[0]}'
    wrong = f'{first}.{inner[:-2]}r'
    for given, said in (
        (wrong, f"no part '{wrong}': is it {first}.{inner}?"),
        ('critics', f"no part 'critics': such as {parts[0]}, {parts[0]}."),
    ):
        with pytest.raises(ValueError, match=said):
            build(name, {'frozen': [given]})
    model = build(name, {'frozen': ','.join(parts)})
    assert model.frozen == parts
    for nothing in (None, '', ()):
        assert build(name, {'frozen': nothing}).frozen == ()
    with pytest.raises(ValueError, match='leaves nothing to learn'):
        optimisers(model)


@every_model
def test_a_slim_copy_of_a_model_with_frozen_parts(name: str):
    frozen = there(name, ['generators.A.inner', 'discriminators.A'])
    model = build(name, {'frozen': frozen})
    for target in model.targets():
        slim, style = model.only(target).train().eval(), model.styles(['x'], target)
        one, two = (each.translation(image(), target, style=style) for each in (slim, model.eval()))
        assert torch.equal(one, two)


@pytest.mark.parametrize('name', [name for name in ROWS if KINDS[name].ACCUMULATES])
def test_nothing_moves_between_accumulated_batches(name: str):
    model = build(name).train()
    optim = optimisers(model, accumulative_counts=2)
    before = {key: value.clone() for key, value in model.named_parameters()}
    log = model.train_step(pictures(name, seed=0), optim)
    assert log.pending and log.updates == {}
    assert all(torch.equal(before[key], value) for key, value in model.named_parameters())
    at(1)
    log = model.train_step(pictures(name, seed=1), optim)
    assert not log.pending and log.updates == dict.fromkeys(model.OPTIMIZED, True)
    for part in model.PARTS:
        moved = [key for key in before if key.startswith(part)]
        now = dict(model.named_parameters())
        assert any(not torch.equal(before[key], now[key]) for key in moved), part


class Operators(NoQuestions):
    """Names of the operators in the block, which never synchronises with the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view:
            self.names.append(func.overloadpacket.__name__)
        return super().__torch_dispatch__(func, types, args, kwargs)


def averaging(model: torch.nn.Module, optims: Any, **fields: Any) -> tuple[Any, Any]:
    """A hook that averages a model's weights, and its runner."""
    logger = logging.getLogger()
    hook = TranslationEMAHook(**fields)
    runner = SimpleNamespace(model=model, optim_wrapper=optims, iter=0, max_iters=9, logger=logger)
    hook.before_train(runner)
    return hook, runner


@every_model
def test_weights_that_translate_are_averaged(name: str):
    """With ``gamma=1`` it is their mean; one operator per step, and nothing else changes."""
    frozen = there(name, ['generators.A'])
    model = build(name, {'frozen': frozen}).train()
    hook, runner = averaging(model, optimisers(model), momentum=0.1, gamma=1)
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    seen = []
    for runner.iter in range(2):
        at(runner.iter)
        model.train_step(pictures(name, seed=runner.iter), runner.optim_wrapper)
        with Operators() as operators:
            hook.after_train_iter(runner, runner.iter)
        assert operators.names == ['_foreach_lerp_']
        seen.append(copy.deepcopy(model.state_dict()))
    with hook.shown():
        shown = copy.deepcopy(model.state_dict())
    assert_same(model.state_dict(), seen[-1])
    assert addresses == [parameter.data_ptr() for parameter in model.parameters()]
    parts = tuple(f'{part}.' for part in model.TRANSLATES)
    for key, last in seen[-1].items():
        mean = torch.stack([state[key] for state in seen]).mean(0)
        if key.startswith(parts) and not key.startswith(tuple(f'{each}.' for each in frozen)):
            torch.testing.assert_close(shown[key], mean, atol=1e-7, rtol=1e-6)
            assert key.endswith(ROWS[name].dead) or not torch.equal(shown[key], last), key
        else:
            assert torch.equal(shown[key], last), key


@every_model_at_length
def test_resume_ends_with_the_same_bits(name: str, trained, tmp_path: Path):
    data, work = trained(name)
    part = tmp_path / 'part'
    part.mkdir()
    (part / 'iter_2.pth').write_bytes((work / 'iter_2.pth').read_bytes())
    cfg = config(name, data, **training_of(name))
    cfg.work_dir, cfg.resume = str(part), True
    run_training(cfg)
    one, two = (read_checkpoint(folder / 'iter_4.pth') for folder in (work, part))
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'ugatit'):
        assert_same(one[key], two[key], key)


@every_model_out_of_make_test
def test_resume_with_frozen_parts_ends_with_the_same_bits(name: str, trained, tmp_path: Path):
    """Also if parts are frozen or unfrozen on the way."""
    data, work = trained(name)
    whole, part, free = (tmp_path / each for each in ('whole', 'part', 'free'))
    named = there(name, ['generators.A', 'discriminators.red'])
    frozen = {'model.frozen': named}
    for folder, source, options in ((whole, None, frozen), (part, whole, frozen), (free, part, {})):
        cfg = config(name, data, **training_of(name), **options)
        cfg.work_dir, cfg.resume = str(folder), source is not None
        cfg.load_from = None if source else str(work / 'iter_4.pth')
        if source:
            folder.mkdir()
            (folder / 'iter_2.pth').write_bytes((source / 'iter_2.pth').read_bytes())
        run_training(cfg)
    start, *(one, two, three) = (
        read_checkpoint(folder / 'iter_4.pth') for folder in (work, whole, part, free)
    )
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'ugatit'):
        assert_same(one[key], two[key], key)
    for key, value in start['state_dict'].items():
        same = key.startswith(tuple(there(name, ['generators.A', 'discriminators.A'])))
        assert not same or torch.equal(value, one['state_dict'][key]), key
    moved = next(k for k in start['state_dict'] if k.startswith(named[0]) and k.endswith('.weight'))
    assert not torch.equal(three['state_dict'][moved], one['state_dict'][moved])


@every_model_at_length
def test_the_tools_train_and_test(name: str, trained, tmp_path: Path):
    _, work = trained(name)
    kind = read_checkpoint(work / 'iter_4.pth')['meta']['networks']['type']
    assert name == TRANSLATION_MODELS[kind].NAME
    words = [str(work / f'{name}_custom.py'), str(work / 'iter_4.pth')]
    out = ['--out-dir', str(tmp_path / 'out'), '--sheet', '--kid', 'ColourHOGFeatures']
    more = ['--subset-size', '2', '--work-dir', str(tmp_path / 'test')]
    assert load_tool('test').main([*words, *out, *more]) == 0
    directions = {'B': ('red2blue', 3), 'A': ('blue2red', 2)}
    for direction, count in (directions[target] for target in KINDS[name].TARGETS):
        assert len(list((tmp_path / 'out' / direction).iterdir())) == count
        assert (tmp_path / 'out' / f'sheet_{direction}.png').is_file()
    assert (tmp_path / 'test' / 'results_iter_4.json').is_file()
    assert cli.main(['report', str(work)]) == 0
    assert TRANSLATION_MODELS[kind].ROW in (work / 'report.html').read_text()


@every_model_at_length
def test_one_path_for_pixels(name: str, trained, tmp_path: Path):
    """Validation, test, inferencer, command line, from the file of weights only."""
    data, work = trained(name)
    checkpoint = work / 'iter_4.pth'
    cfg = config(name, data)
    cfg.work_dir = str(tmp_path / 'work')
    run_test(cfg, checkpoint, tmp_path / 'out')
    model, meta = load_model(checkpoint, device='cpu')
    assert name == type(model).NAME and meta['networks']['type'] == type(model).__name__
    inferencer = UGATITInferencer(checkpoint, device='cpu')
    for target in model.targets():
        direction = model.direction(target)
        out = tmp_path / f'by_command_{target}'
        words = ['--ckpt', str(checkpoint), '--to', target, '--network-size', '--out', str(out)]
        source = data / f'test{other(target)}'
        assert cli.main(['translate', str(source), *words]) == 0
        for file in sorted(source.iterdir()):
            by_test = np.asarray(Image.open(tmp_path / 'out' / direction / file.name))
            (result,) = inferencer(file, target, restore=False)
            assert np.array_equal(by_test, result.image)
            assert np.array_equal(by_test, np.asarray(Image.open(out / direction / file.name)))


@every_model_at_length
def test_styles(name: str, trained, tmp_path: Path, capsys):
    """By seed and name, or read from a picture; a model without styles refuses both."""
    data, work = trained(name)
    checkpoint = work / 'iter_4.pth'
    model, _ = load_model(checkpoint, device='cpu')
    target = model.targets()[-1]
    source, lender = sorted((data / f'test{other(target)}').iterdir())[:2]
    words = ['--ckpt', str(checkpoint), '--to', target, '--out', str(tmp_path), '--network-size']
    words = ['translate', str(source), *words]
    if model.style_shape is None:
        assert cli.main([*words, '--styles', '2']) == 1
        said = f'error: {model.ROW} has no styles: leave out style and styles\n'
        assert capsys.readouterr().err == said
        return
    assert cli.main([*words, '--style', '3', '--styles', '2']) == 0
    assert cli.main([*words, '--style', str(lender)]) == 0
    inferencer, folder = (
        UGATITInferencer(checkpoint, device='cpu'),
        tmp_path / model.direction(target),
    )
    styles = [model.styles([source.name], target, seed) for seed in (3, 4)]
    ways = {'_1': 3, '_2': styles[1], '': lender}
    pictures = [np.asarray(Image.open(folder / f'{source.stem}{end}.png')) for end in ways]
    for found, style in zip(pictures, ways.values(), strict=True):
        (wanted,) = inferencer(source, target, style=style, restore=False)
        assert np.array_equal(found, wanted.image)
    assert not np.array_equal(*pictures[:2]) and not np.array_equal(*pictures[1:])
    cfg = config(name, data)
    cfg.work_dir = str(tmp_path / 'work')
    run_test(cfg, checkpoint, tmp_path / 'test', style=3, styles=2)
    for end, picture in zip(('_1', '_2'), pictures, strict=False):
        file = tmp_path / 'test' / model.direction(target) / f'{source.stem}{end}.png'
        assert np.array_equal(np.asarray(Image.open(file)), picture)


@every_model_at_length
def test_slim_files_and_weights_without_a_word(name: str, trained, tmp_path: Path):
    """The parts that translate, in float16; and bare weights, which identify their model."""
    _, work = trained(name)
    content = read_checkpoint(work / 'iter_4.pth')
    model, _ = load_model(work / 'iter_4.pth', device='cpu')
    state = {
        key: value.half()
        for key, value in content['state_dict'].items()
        if key.startswith(tuple(f'{part}.' for part in model.TRANSLATES))
    }
    torch.save(content['state_dict'], tmp_path / 'bare.pth')
    write_checkpoint(
        tmp_path / 'slim.safetensors', state, {'networks': content['meta']['networks']}
    )
    for file, tolerance in (('bare.pth', 0), ('slim.safetensors', 2e-2)):
        loaded, _ = load_model(tmp_path / file, device='cpu')
        assert type(loaded) is type(model)
        for target in model.targets():
            style = model.styles(['x'], target)
            wanted = model.translation(image(), target, style=style)
            found = loaded.translation(image(), target, style=style)
            torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)


@every_model
def test_tiles(name: str, tmp_path: Path):
    """For a picture larger than the network's size, each tile as if translated by itself."""
    cfg = config(name).model
    networks = KINDS[name].networks_of(cfg.to_dict())
    write_checkpoint(tmp_path / 'w.pth', build(name).state_dict(), {'networks': networks})
    inferencer = UGATITInferencer(tmp_path / 'w.pth', device='cpu')
    picture = np.random.default_rng(0).integers(0, 256, (32, 56, 3), np.uint8)
    for to in inferencer.model.targets():
        style = inferencer.model.styles(['x'], to)
        (result,) = inferencer(picture, to, size='tiles', style=style)
        one, two = (inferencer(picture[:, x : x + 32], to, style=style)[0].image for x in (0, 24))
        assert np.array_equal(result.image[:, :24], one[:, :24])
        assert np.array_equal(result.image[:, 32:], two[:, 8:])


@every_model
def test_sheet(name: str):
    model = build(name).train()
    for target in model.targets():
        columns = list(model.columns(image()[0], target))
        shown = 'translation' if model.style_shape is None else 'style 1'
        assert columns[0] == 'source' and shown in columns
        sheet = translation_sheet(model, image().repeat(2, 1, 1, 1), target)
        assert sheet.shape == (20 + 2 * 132 + 4, len(columns) * 132 + 4, 3)
    assert model.training


@every_model_at_length
def test_torchscript_is_equal(name: str, tmp_path: Path):
    export_and_compare(name, 'torchscript', tmp_path)


@every_model_out_of_make_test
def test_onnx_is_equal(name: str, tmp_path: Path):
    export_and_compare(name, 'onnx', tmp_path)


def export_and_compare(name: str, kind: str, tmp_path: Path) -> None:
    """``verify`` raises if the file is off by more than 1e-4; one direction with ONNX."""
    model = build(name).eval()
    picture = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    for target in model.targets()[: 1 if kind == 'onnx' else None]:
        path = tmp_path / f'{target}.{kind}'
        meta = export_model(model, target, path, kind, pixels='normalised')
        assert meta['model'] == model.ROW
        assert len(list(verify(path, kind, model, [picture]))) == 2


def all_alike(size: tuple[int, ...], **options: Any) -> torch.Tensor:
    """Styles and noise that are the same for each sample, wherever it is."""
    return torch.full(size, 0.5, **options)


def own_pictures(name: str) -> bool:
    """Whether each rank has different ones; one process with all of them is then equivalent."""
    return KINDS[name].BATCH_SIZE is None


def train_a_rank(name: str, folder: Path, frozen: list[str]) -> None:
    dist.init_process_group('gloo')
    lines = {**config(name).model_wrapper_cfg, 'device_ids': None}
    wrapped = MODEL_WRAPPERS.build(lines | {'module': build(name, {'frozen': frozen}).train()})
    optim = optimisers(wrapped)
    hook, runner = averaging(wrapped, optim, momentum=0.3)
    states = []
    for iteration in range(3):
        at(iteration)
        seed = 10 * dist.get_rank() if iteration or own_pictures(name) else 0
        with patch('torch.randn', all_alike):
            wrapped.train_step(pictures(name, seed=seed + iteration), optim)
        hook.after_train_iter(runner, iteration)
        states.append(copy.deepcopy(unwrap(wrapped).state_dict()))
    with hook.shown():
        states.append(copy.deepcopy(unwrap(wrapped).state_dict()))
    assert not same_weights(*states[2:])
    torch.save(states, folder / f'{dist.get_rank()}.pth')
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'frozen'),
    [
        *((name, []) for name in ROWS),
        ('ugatit', ['generators.A', 'discriminators']),
        ('cyclegan', ['discriminators.B', 'generators.B.encoder']),
        ('cartoongan', ['discriminators.B', 'generators.B.encoder']),
        ('drit', ['random_discriminators', 'encoders.shared']),
    ],
)
def test_two_ranks_are_equal(name: str, frozen: list[str], tmp_path: Path):
    """Bit-identical to each other, and after a step close to one process with both samples."""
    in_ranks(train_a_rank, tmp_path, name, tmp_path, frozen)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert_same(first, second)
    model = build(name, {'frozen': frozen}).train()
    samples = [
        pictures(name, seed=10 * rank)['inputs'] for rank in (0, 1)[: 1 + own_pictures(name)]
    ]
    both = {key: torch.cat([sample[key] for sample in samples]) for key in samples[0]}
    with patch('torch.randn', all_alike):
        model.train_step({'inputs': both}, optimisers(model))
    off = [
        ((first[0][key] - value).abs() > 2e-4).flatten()
        for key, value in model.state_dict().items()
        if not key.endswith('.bias')  # before a norm: noise, which Adam turns into steps
    ]
    assert torch.cat(off).float().mean() <= ROWS[name].noisy
