"""Parity with the official TensorFlow program, by way of its weights' converter."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import DATA, load_tool, twins, variables
from torch import nn

from ugatit_mm.converters import (
    CheckpointError,
    build_model,
    describe,
    from_variables,
    read_checkpoint,
    read_variables,
)
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import UGATIT, UGATITDiscriminator
from ugatit_mm.models.layers import pad, raw_weight


@pytest.fixture(scope='module')
def numbers() -> dict[str, np.ndarray]:
    with np.load(DATA / 'official_tensorflow.npz') as file:
        return dict(file)


def model_of(found: dict[str, np.ndarray]) -> UGATIT:
    state, _ = from_variables(found)
    return build_model(describe(state), state)


def nchw(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value).permute(0, 3, 1, 2)


def close(ours: torch.Tensor, theirs: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=atol, rtol=0)


@pytest.mark.parametrize(('prefix', 'img_size'), [('gen.', None), ('full.', 32)])
def test_generators(numbers, prefix, img_size):
    """Light; and full, whose MLP takes the features in the order H, W, C."""
    model = model_of(twins(numbers, prefix + 'var/'))
    generator = model.generators['B']
    assert generator.light == (img_size is None)
    if img_size:
        assert generator.img_size == img_size
    with torch.no_grad():
        image, cam_logit, heatmap = generator(nchw(numbers[f'{prefix}input']), return_cam=True)
    close(image, nchw(numbers[f'{prefix}out_image']), 1e-4)
    close(cam_logit, numbers[f'{prefix}out_cam_logit'], 1e-4)
    close(heatmap[0, 0], numbers[f'{prefix}out_heatmap'], 1e-4)


def compare_discriminator(found: dict, numbers: dict, prefix: str, scale: str) -> None:
    """Two passes in training mode; each updates the vectors of the spectral norm."""
    state, _ = from_variables(found)
    dis = UGATITDiscriminator(base_channels=8, num_layers=(7, 5)).scales[scale].train()
    start = f'discriminators.A.scales.{scale}.'
    dis.load_state_dict({k.removeprefix(start): v for k, v in state.items()})
    for run in ('run1', 'run2'):
        with torch.no_grad():
            out = dis(pad(nchw(numbers[f'{prefix}input']), dis.padding))
        close(out.logit, nchw(numbers[f'{prefix}{run}_logit']), 1e-5)
        close(out.cam_logit, numbers[f'{prefix}{run}_cam_logit'], 1e-5)
        close(out.heatmap[0, 0], numbers[f'{prefix}{run}_heatmap'], 1e-5)
        u = numbers[f'{prefix}u_after_{run}/discriminator_A/{scale}/conv_last/u']
        last = next(m for m in reversed(dis.features) if isinstance(m, nn.Conv2d))
        close(last.parametrizations.weight[0].u, u.flatten(), 1e-5)


def test_local_discriminator(numbers):
    compare_discriminator(variables(numbers, 'dis.var/'), numbers, 'dis.', 'local')


def test_reference_global_discriminator(reference):
    with np.load(reference / 'tf_dis_global_128.npz') as file:
        recorded = dict(file)
    compare_discriminator(variables(recorded, 'var/'), recorded, '', 'global')


def step_variables(reference: Path) -> dict[str, np.ndarray]:
    found = {}
    for part in ('G', 'D_A', 'D_B'):
        with np.load(reference / f'tf_step_vars_{part}.npz') as file:
            found |= variables(dict(file), 'var/')
    return found


def test_reference_step(reference):
    """All images, logits and loss terms of the whole program, and the losses of five steps."""
    with np.load(reference / 'tf_step_light_128.npz') as file:
        recorded = dict(file)
    state, dropped = from_variables(step_variables(reference))
    assert not dropped
    networks = describe(state)
    assert networks['recipe'] == 'tensorflow'
    assert networks['generator']['light'] and networks['generator']['base_channels'] == 8
    assert networks['discriminator']['num_layers'] == (7, 5)
    model = build_model(networks, state).train()
    real = {domain: nchw(recorded[f'input_{domain}']) for domain in 'AB'}

    def reset() -> None:
        model.load_state_dict(state)  # the vectors of the spectral norms

    out = model.generators(real)
    for ours, theirs in (
        *((out[y].fake, f'x_{x}{y}'.lower()) for x, y in ('AB', 'BA')),
        *((out[x].cycle, f'x_{x}{y}{x}'.lower()) for x, y in ('AB', 'BA')),
        *((out[x].identity, f'x_{x}{x}'.lower()) for x in 'AB'),
    ):
        close(ours, nchw(recorded[f'img/{theirs}']), 1e-4)
    for domain, theirs in (('A', 'ba'), ('B', 'ab')):
        close(out[domain].cam_source, recorded[f'cam/cam_{theirs}'], 1e-4)

    fake = {domain: out[domain].fake.detach() for domain in 'AB'}
    judged = model.discriminators(real, fake, joint=True)
    for domain in 'AB':
        for kind, outputs in zip(('real', 'fake'), judged[domain], strict=True):
            for scale, found in zip(('global', 'local'), outputs, strict=True):
                name = f'dis/{kind}_{domain}_{scale}'
                close(found.logit, nchw(recorded[f'{name}_logit']), 1e-5)
                close(found.cam_logit, recorded[f'{name}_cam'], 1e-5)

    reset()
    log = model.compute_d_loss(real, fake)[1]
    reset()
    log |= model.compute_g_loss(real, out)[1]
    terms = {
        f'{kind}_{x}': log[f'loss_{kind}_{x}']
        for kind in ('cycle', 'identity', 'cam')
        for x in 'AB'
    }
    for domain in 'AB':
        for name, who in ((f'G_adv_{domain}', 'g'), (f'D_{domain}', 'd')):
            start = f'loss_gan_{who}_{domain}'
            terms[f'{name}_img'] = log[f'{start}_global'] + log[f'{start}_local']
            terms[f'{name}_cam'] = log[f'{start}_global_cam'] + log[f'{start}_local_cam']
    terms |= {
        f'reg_{part}': decay(getattr(model, f'{part}s')) for part in ('generator', 'discriminator')
    }
    terms['Generator_loss_total'] = log['loss_g'] + terms['reg_generator']
    terms['Discriminator_loss_total'] = log['loss_d'] + terms['reg_discriminator']
    expected = {k.removeprefix('loss/'): v for k, v in recorded.items() if k.startswith('loss/')}
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-4), name

    reset()
    adam = dict(type='Adam', lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4)
    wrappers = UGATITOptimWrapperConstructor(
        {name: dict(optimizer=adam) for name in ('generators', 'discriminators')}
    )(model)
    inputs = {f'img_{k}': (image * 127.5 + 127.5).flip(1) for k, image in real.items()}
    for loss_d, loss_g in recorded['traj_d_g_loss']:
        reg = {name: decay(getattr(model, name)) for name in ('generators', 'discriminators')}
        log = model.train_step({'inputs': inputs}, wrappers)
        # Five runs of ours whose inputs differ by 1e-6 differ from these values by up to 1e-4 (D)
        # and 0.13 (G), as single pixels of the L1 losses change their sign.
        assert log['loss_d'] + reg['discriminators'] == pytest.approx(loss_d, abs=2e-4)
        assert log['loss_g'] + reg['generators'] == pytest.approx(loss_g, abs=0.2)
    for name in ('adaptive_resblock0/res1/instance_layer_norm', 'layer_ins_norm_1'):
        rho = recorded[f'final5/generator_B/{name}/rho']
        ours = {'a': 'blocks.0.norm1', 'l': 'decoder.1.norm'}[name[0]]
        close(model.generators['B'].get_submodule(ours).rho.flatten(), rho, 1e-3)


def decay(networks: nn.Module) -> float:
    """Their L2 term: 1e-4 times half of the sum of squares of the kernels."""
    kernels = [raw_weight(m) for m in networks.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return 0.5e-4 * sum(kernel.detach().double().square().sum().item() for kernel in kernels)


def test_optimizer_is_left_out_and_anything_else_is_refused(numbers):
    found = twins(numbers, 'gen.var/')
    kernel = found['generator_A/CAM_logit/kernel']
    extra = {'generator_A/CAM_logit/kernel/Adam': kernel, 'scope/beta1_power': np.float32(0.5)}
    state, dropped = from_variables(found | extra)
    assert dropped == {'variable of an optimiser': list(extra)}
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in from_variables(found)[0].items()
    }
    for name in ('generator_A/conv_7/conv2d/kernel', 'generator_C/CAM_logit/kernel', 'step', 'x/u'):
        with pytest.raises(ValueError, match=re.escape(f'official TensorFlow program: {name}')):
            from_variables(found | {name: kernel})
    with pytest.raises(ValueError, match='CAM_logit/kernel is of int32'):
        from_variables(found | {'generator_A/CAM_logit/kernel': kernel.astype(np.int32)})
    for name in ('resblock_1/res2/conv_0/conv2d/kernel', 'layer_ins_norm_0/rho'):
        lacking = {k: v for k, v in found.items() if k != f'generator_A/{name}'}
        with pytest.raises(ValueError, match=r'missing \(generators\.A\.'):
            model_of(lacking)


def test_tool(numbers, tmp_path: Path, capsys):
    """From an .npz of variables to a slim file that needs no config."""
    source = tmp_path / 'variables.npz'
    np.savez(source, **twins(numbers, 'full.var/'))
    convert = load_tool('model_converters/ugatit_tensorflow').main
    target = tmp_path / 'slim.safetensors'
    words = [str(source), str(target), '--generator-only', '--half', '--domains', 'selfie', 'anime']
    assert convert(words) == 0
    printed = capsys.readouterr().out
    assert 'U-GAT-IT, generators, ' in printed and 'light=False' in printed
    assert 'img_size=32' in printed and 'MB, sha256 ' in printed
    content = read_checkpoint(target)
    assert content['meta']['networks']['domains'] == {'A': 'selfie', 'B': 'anime'}
    assert {value.dtype for value in content['state_dict'].values()} == {torch.float16}
    state = {key: value.float() for key, value in content['state_dict'].items()}
    model = build_model(content['meta']['networks'], state)
    assert model.direction('anime') == 'selfie2anime'
    with torch.no_grad():  # the recorded variables are exact in float16
        image = model.translation(nchw(numbers['full.input']), 'anime')
    close(image, nchw(numbers['full.out_image']), 1e-4)
    assert convert(words) == 1
    assert 'exists' in capsys.readouterr().err


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / 'bad.npz').write_bytes(b'PK\x03\x04')
    np.savez(tmp_path / 'code.npz', a=np.array([print], dtype=object))
    for name in ('bad.npz', 'code.npz'):
        with pytest.raises(CheckpointError, match=name):
            read_variables(tmp_path / name)
    for name in ('none.npz', 'UGATIT.model-1'):
        with pytest.raises(FileNotFoundError, match=name):
            read_variables(tmp_path / name)
    monkeypatch.setitem(__import__('sys').modules, 'tensorflow', None)
    with pytest.raises(CheckpointError, match=r'ugatit_mm\[tensorflow\]'):
        read_variables(tmp_path)


def test_checkpoint_folder(numbers, tmp_path: Path):
    """As the official program saves it, with Adam's slots; by its folder and by its prefix."""
    tf = pytest.importorskip('tensorflow', reason='an optional extra').compat.v1
    found = twins(numbers, 'full.var/')
    with tf.Graph().as_default(), tf.Session() as session:
        created = [
            tf.get_variable(name, initializer=value.astype(np.float32))
            for name, value in found.items()
        ]
        loss = tf.add_n([tf.reduce_sum(variable) for variable in created])
        tf.train.AdamOptimizer(1e-4).minimize(loss, var_list=created)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / 'UGATIT.model'), global_step=7)
    expected, _ = from_variables(found)
    for path in (tmp_path, tmp_path / 'UGATIT.model-7', tmp_path / 'UGATIT.model-7.index'):
        state, dropped = from_variables(read_variables(path))
        assert [len(names) for names in dropped.values()] == [2 * len(found) + 2]
        assert all(torch.equal(state[key], expected[key]) for key in expected)
