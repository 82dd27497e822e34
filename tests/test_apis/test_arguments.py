"""The switches for speed, on configs of any model."""

import pytest
from helpers import load_tool
from mmengine.config import Config
from torch import nn

from ugatit_mm.apis import apply_speed
from ugatit_mm.config import load_config
from ugatit_mm.models.base import TRANSLATION_MODELS, UnpairedTranslation


class Plain(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()


class Checkpointed(nn.Module):
    def __init__(self, with_cp: bool = False) -> None:
        super().__init__()


class Stub(UnpairedTranslation):
    """What the switches ask of a class."""

    NETWORKS = {'encoder': Checkpointed, 'decoder': Checkpointed, 'content': Plain}


@pytest.fixture
def cfg(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Three optimisers, one of them without a type; a network that is not there."""
    monkeypatch.setitem(TRANSLATION_MODELS, 'Stub', Stub)
    adam = {'type': 'Adam', 'lr': 1e-4, 'fused': True}
    return Config(
        {
            'model': {'type': 'Stub', 'encoder': {'width': 4}, 'content': {}, 'decoder': None},
            'optim_wrapper': {
                'constructor': 'UGATITOptimWrapperConstructor',
                'accumulate': {'count': 2},
                'enc': {'type': 'OptimWrapper', 'optimizer': adam},
                'dec': {'optimizer': adam},
                'content': {'type': 'AmpOptimWrapper', 'optimizer': adam},
            },
        }
    )


def test_each_switch_reaches_every_optimizer_and_network_that_has_it(cfg):
    before = cfg.copy()
    apply_speed(cfg)
    assert cfg.to_dict() == before.to_dict()
    apply_speed(cfg, 'float16', lean=True, compile='reduce-overhead')
    for name in ('enc', 'dec', 'content'):
        wrapper = cfg.optim_wrapper[name]
        assert (wrapper.type, wrapper.dtype) == ('AutocastOptimWrapper', 'float16')
        assert wrapper.optimizer.type == 'LeanAdam' and 'fused' not in wrapper.optimizer
    assert cfg.optim_wrapper.accumulate == {'count': 2}
    assert cfg.model == {
        'type': 'Stub',
        'encoder': {'width': 4},
        'content': {},
        'decoder': None,
        'compile': {'mode': 'reduce-overhead'},
    }
    apply_speed(cfg, lean=True, graph=False)  # in float32 features are recomputed, too
    assert cfg.model.encoder.with_cp and 'with_cp' not in cfg.model.content
    assert cfg.model.graph is False


@pytest.mark.parametrize(
    ('options', 'speed', 'said'),
    [
        (
            {'optim_wrapper.dec.optimizer.type': 'SGD'},
            {'lean': True},
            r'--lean .* Adam, but optim_wrapper\.dec\.optimizer is SGD',
        ),
        (
            {'optim_wrapper.enc.type': 'Mine'},
            {'amp': 'bfloat16'},
            r'--amp replaces .*, but optim_wrapper\.enc\.type is Mine',
        ),
        (
            {'optim_wrapper': {'type': 'OptimWrapper'}},
            {'amp': 'bfloat16'},
            r'change optim_wrapper\.NAME; the config has no optimizer',
        ),
        ({'model.type': 'Other'}, {'lean': True}, "its model must be one of .*, got 'Other'"),
    ],
)
def test_a_switch_that_does_not_apply_says_why(cfg, options, speed, said):
    cfg.merge_from_dict(
        {'optim_wrapper': {'_delete_': True, **options['optim_wrapper']}}
        if 'optim_wrapper' in options
        else options
    )
    with pytest.raises(ValueError, match=said):
        apply_speed(cfg, **speed)


def test_ugatits_config():
    cfg = load_config('ugatit_custom')
    apply_speed(cfg, 'bfloat16', lean=True)
    for name in ('generators', 'discriminators'):
        assert cfg.optim_wrapper[name].type == 'AutocastOptimWrapper'
        assert cfg.optim_wrapper[name].optimizer.type == 'LeanAdam'
    assert not cfg.model.generator.get('with_cp') and 'graph' not in cfg.model
    apply_speed(cfg, lean=True, graph=True)
    assert cfg.model.generator.with_cp and 'with_cp' not in cfg.model.discriminator
    assert cfg.model.graph


def test_the_tool_prints_it_in_one_line(tmp_path, capsys):
    words = ['ugatit_custom', '--lean', '--work-dir', str(tmp_path / 'work'), '--cfg-options']
    options = ['optim_wrapper.discriminators.optimizer={"type": "SGD", "lr": 0.1}']
    assert load_tool('train').main([*words, *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: --lean stores') and error.count('\n') == 1
    assert not (tmp_path / 'work').exists()
