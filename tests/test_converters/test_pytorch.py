"""Parity with the official PyTorch program, and its weights both ways."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, load_tool, recorded_checkpoint, variables
from mmagic.registry import MODELS
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from ugatit_mm.config import load_config
from ugatit_mm.converters import build_model, describe, from_official, to_official
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.kernels.support import SWITCH, Fused
from ugatit_mm.models import UGATIT

TERMS = {
    'd_adv': 'loss_gan_d_{domain}_{scale}',
    'd_cam': 'loss_gan_d_{domain}_{scale}_cam',
    'g_adv': 'loss_gan_g_{domain}_{scale}',
    'g_advcam': 'loss_gan_g_{domain}_{scale}_cam',
}


def build(weights: dict) -> UGATIT:
    """A model of recipe pytorch with official weights."""
    state = from_official(weights)
    networks = describe(state)
    assert networks['recipe'] == 'pytorch'
    return build_model(networks, state)


def our_name(term: str) -> str:
    """``d_adv_GA`` -> ``loss_gan_d_A_global`` and so on."""
    kind, where = term.rsplit('_', 1)
    if kind in TERMS:
        scale = {'G': 'global', 'L': 'local'}[where[0]]
        return TERMS[kind].format(domain=where[1], scale=scale)
    return {'d_loss': 'loss_d', 'g_loss': 'loss_g'}.get(term, f'loss{term[1:]}')


def images(recorded: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(recorded)
    return tensor.float() / 127.5 - 1 if tensor.dtype is torch.uint8 else tensor


def compare_forward(numbers: dict, weights: dict, prefix: str = '') -> None:
    model = build(weights)
    real = {domain: images(numbers[f'{prefix}real_{domain}']) for domain in 'AB'}

    def compare(key: str, ours: torch.Tensor) -> None:
        theirs = numbers[prefix + key]
        # With a random spectral norm in evaluation mode values reach 1e10.
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours.numpy() / scale, theirs / scale, atol=1e-5, rtol=0)

    with torch.no_grad():
        for network, target, source in (('genA2B', 'B', 'A'), ('genB2A', 'A', 'B')):
            out = model.generators[target](real[source], return_cam=True)
            for field, tensor in zip(('image', 'cam_logit', 'heatmap'), out, strict=True):
                compare(f'{network}.{field}', tensor)
        for mode in ('eval', 'train1', 'train2'):
            model.train(mode != 'eval')
            for domain in 'AB':
                outputs = model.discriminators[domain](real[domain])
                for scale, out in zip('GL', outputs, strict=True):
                    for field, tensor in out._asdict().items():
                        if f'{prefix}dis{scale}{domain}.{mode}.{field}' in numbers:
                            compare(f'dis{scale}{domain}.{mode}.{field}', tensor)


def train(steps: list[dict], init: dict) -> dict[str, torch.Tensor]:
    """Return the weights after some steps; every term matches the recorded one to 1e-4 relative."""
    model = build(init).train()
    adam = dict(type='Adam', lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4)
    wrappers = UGATITOptimWrapperConstructor(
        {name: dict(optimizer=adam) for name in ('generators', 'discriminators')}
    )(model)
    for step in steps:
        images_of = {domain: images(step[f'real_{domain}']) for domain in 'AB'}
        inputs = {f'img_{d}': (image * 127.5 + 127.5).flip(1) for d, image in images_of.items()}
        log = model.train_step({'inputs': inputs}, wrappers)
        terms = {key: value for key, value in step.items() if not key.startswith('real_')}
        assert len(terms) == 24
        for term, value in terms.items():
            assert log[our_name(term)] == pytest.approx(float(value), rel=1e-4), term
    return model.state_dict()


def compare_weights(ours: dict, expected: dict, init: dict) -> None:
    """To 3e-6 mean absolute."""
    start = from_official(init)
    for network in ('generators', 'discriminators'):
        keys = [key for key in expected if key.startswith(network)]
        total = sum(expected[key].numel() for key in keys)
        off = sum((ours[key] - expected[key]).abs().sum().item() for key in keys) / total
        moved = sum((start[key] - expected[key]).abs().sum().item() for key in keys) / total
        assert off < 3e-6 < moved / 10, network


def test_forward_passes(official):
    numbers = {key: official[key] for key in official if not key.startswith('light.weights')}
    compare_forward(numbers, recorded_checkpoint(official, 'light.weights.'), 'light.')


def test_full_generator(official):
    weights = recorded_checkpoint(official, 'full.weights.')
    weights['genB2A'] = weights['genA2B']
    assert describe(from_official(weights))['generator'] == {
        'in_channels': 3,
        'out_channels': 3,
        'base_channels': 2,
        'num_blocks': 4,
        'light': False,
        'img_size': 96,
    }
    model = build(weights)
    with torch.no_grad():
        out = model.translation(images(official['full.real_A']), return_cam=True)
    for field, tensor in zip(('image', 'cam_logit', 'heatmap'), out, strict=True):
        np.testing.assert_allclose(tensor, official[f'full.genA2B.{field}'], atol=1e-5, rtol=0)


def recorded_steps(official: dict) -> list[dict]:
    return [variables(official, f'train.{number}.') for number in range(3)]


def test_three_training_steps(official):
    init = recorded_checkpoint(official, 'light.weights.')
    after = from_official(recorded_checkpoint(official, 'after.'))
    compare_weights(train(recorded_steps(official), init), after, init)


def assert_sound() -> None:
    sound = {name: all(function.sound.values()) for name, function in Fused.known.items()}
    assert Fused.known['normalise'].sound and all(sound.values()), sound


@pytest.mark.slow
@pytest.mark.parametrize('test', [test_forward_passes, test_full_generator])
def test_the_same_numbers_by_kernels(official, kernels, test):
    test(official)
    assert_sound()


@pytest.mark.long
def test_a_training_step_by_kernels(official, kernels, monkeypatch):
    """The recorded terms of the first of three; its weights are those of the formulas."""
    init, (first, *_) = recorded_checkpoint(official, 'light.weights.'), recorded_steps(official)
    ours = train([first], init)
    assert_sound()
    monkeypatch.setenv(SWITCH, '0')
    compare_weights(ours, train([first], init), init)


@pytest.mark.parametrize('kind', ['light', 'full'])
def test_reference_forward_passes(reference, kind):
    weights = torch.load(reference / f'pt_{kind}_128.pt', weights_only=True)
    with np.load(reference / f'pt_{kind}_128.npz') as numbers:
        compare_forward(dict(numbers), weights)


def test_reference_training_steps(reference):
    with np.load(reference / 'pt_train_light_128.npz') as numbers:
        steps = [variables(numbers, f'step{number}.') for number in range(3)]
    init, after = (
        torch.load(reference / f'pt_train_light_128_{name}.pt', weights_only=True)
        for name in ('init', 'after3')
    )
    compare_weights(train(steps, init), from_official(after), init)


def test_round_trip_is_exact(official):
    weights = recorded_checkpoint(official, 'light.weights.')
    back = to_official(build(weights).state_dict())
    assert set(back) == set(weights)
    for network, state in weights.items():
        assert set(back[network]) == set(state)
        assert all(torch.equal(back[network][key], state[key]) for key in state)


def test_unknown_and_missing_keys_are_named(official):
    weights = recorded_checkpoint(official, 'light.weights.')
    with pytest.raises(ValueError, match='official PyTorch program: optimizer'):
        from_official({**weights, 'optimizer': {}})
    odd = {**weights, 'genA2B': {**weights['genA2B'], 'DownBlock.1.scale': torch.zeros(1)}}
    with pytest.raises(ValueError, match=r'genA2B\.DownBlock\.1\.scale'):
        from_official(odd)
    with pytest.raises(ValueError, match='there is no generator: neither genA2B nor genB2A'):
        from_official({'disGA': weights['disGA']})
    model = build(weights)
    with pytest.raises(ValueError, match=r'encoder\.1\.norm\.weight'):
        to_official({**model.state_dict(), 'generators.A.encoder.1.norm.weight': torch.zeros(8)})
    del weights['genA2B']['FC.0.weight']
    with pytest.raises(ValueError, match=r'lack generators\.B\.mlp\.fc1\.weight'):
        describe(from_official(weights))


def test_tool_both_ways_into_the_config(official, tmp_path: Path, capsys):
    """A converted file loads strictly into a model of the config; the way back is exact."""
    weights = recorded_checkpoint(official, 'light.weights.')
    source, ours, back = (str(tmp_path / name) for name in ('official.pt', 'ours.pth', 'back.pt'))
    torch.save(weights, source)
    convert = load_tool('model_converters/ugatit_pytorch').main

    assert convert([source, ours]) == 0
    printed = capsys.readouterr().out
    for said in ('light=True', 'base_channels=2', 'num_blocks=4', 'model.recipe=pytorch'):
        assert said in printed

    init_default_scope('mmagic')
    cfg = load_config(
        ROOT / 'configs' / 'ugatit_selfie2anime.py',
        {
            'model.recipe': 'pytorch',
            'model.generator.base_channels': 2,
            'model.generator.light': True,
            'model.discriminator.base_channels': 2,
        },
    )
    model = MODELS.build(cfg.model)
    load_checkpoint(model, ours, strict=True)
    with torch.no_grad():
        image = model.translation(images(official['light.real_A']), 'anime')
    np.testing.assert_allclose(image, official['light.genA2B.image'], atol=1e-5, rtol=0)

    assert convert([ours, back, '--reverse']) == 0
    again = torch.load(back, weights_only=True)
    assert all(torch.equal(again[n][k], weights[n][k]) for n in weights for k in weights[n])


def test_tool_names_a_bad_file_and_writes_nothing(tmp_path: Path, capsys):
    convert = load_tool('model_converters/ugatit_pytorch').main
    (tmp_path / 'broken.pt').write_bytes(b'PK\x03\x04 no checkpoint')
    torch.save([1, 2], tmp_path / 'list.pt')
    torch.save({'code': print}, tmp_path / 'code.pt')
    target = tmp_path / 'ours.pth'
    for name, said in (
        ('missing.pt', 'no checkpoint file'),
        ('broken.pt', 'is not a checkpoint'),
        ('list.pt', 'a dict of weights is expected'),
        ('code.pt', 'is not a checkpoint that can be read safely'),
    ):
        assert convert([str(tmp_path / name), str(target)]) == 1
        error = capsys.readouterr().err
        assert name in error and said in error
        assert not target.exists()
    target.write_text('precious')
    assert convert([str(tmp_path / 'list.pt'), str(target)]) == 1
    assert 'exists' in capsys.readouterr().err and target.read_text() == 'precious'


@pytest.mark.slow
def test_tool_runs_as_a_script(tmp_path: Path):
    tool = ROOT / 'tools' / 'model_converters' / 'ugatit_pytorch.py'
    done = subprocess.run([sys.executable, tool, '--help'], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and b'--reverse' in done.stdout
