"""The default recipe against numbers of the official TensorFlow program."""

import numpy as np
import pytest
import torch
from helpers import DATA

from ugatit_mm.models import UGATITDiscriminator, UGATITGenerator


@pytest.fixture(scope='module')
def numbers() -> dict[str, np.ndarray]:
    with np.load(DATA / 'official_tensorflow.npz') as file:
        return dict(file)


def kernel(value: np.ndarray) -> torch.Tensor:
    """HWIO to OIHW, or [in, out] to [out, in]."""
    tensor = torch.from_numpy(value.astype(np.float32))
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.t()


def nchw(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value).permute(0, 3, 1, 2)


def generator_state(variables: dict[str, np.ndarray], blocks: int) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}

    def layer(target: str, source: str) -> None:
        state[f'{target}.weight'] = kernel(variables.pop(f'{source}/kernel'))
        state[f'{target}.bias'] = torch.from_numpy(variables.pop(f'{source}/bias')).float()

    def norm(target: str, source: str, **fields: str) -> None:
        for ours, theirs in fields.items():
            value = torch.from_numpy(variables.pop(f'{source}/{theirs}')).float()
            state[f'{target}.{ours}'] = (
                value if ours in ('weight', 'bias') else value.view(1, -1, 1, 1)
            )

    for place, suffix in enumerate(('', '_0', '_1')):
        layer(f'encoder.{place}.conv', f'conv{suffix}/conv2d')
        norm(f'encoder.{place}.norm', f'ins_norm{suffix}', weight='gamma', bias='beta')
    for i in range(blocks):
        for j in (1, 2):
            block = f'resblock_{i}/res{j}'
            layer(f'encoder.{3 + i}.conv{j}', f'{block}/conv_0/conv2d')
            norm(f'encoder.{3 + i}.norm{j}', f'{block}/instance_norm', weight='gamma', bias='beta')
            block = f'adaptive_resblock{i}/res{j}'
            layer(f'blocks.{i}.conv{j}', f'{block}/conv_0/conv2d')
            norm(f'blocks.{i}.norm{j}', f'{block}/instance_layer_norm', rho='rho')
    layer('cam.fc', 'CAM_logit')
    layer('cam.conv1x1', 'conv_1x1/conv2d')
    for ours, theirs in (
        ('fc1', 'linear_0'),
        ('fc2', 'linear_1'),
        ('gamma', 'gamma'),
        ('beta', 'beta'),
    ):
        layer(f'mlp.{ours}', f'MLP/{theirs}/dense')
    for i in range(2):
        layer(f'decoder.{i}.conv', f'up_conv_{i}/conv2d')
        norm(f'decoder.{i}.norm', f'layer_ins_norm_{i}', rho='rho', gamma='gamma', beta='beta')
    layer('decoder.2', 'G_logit/conv2d')
    assert not variables  # every one is used
    return state


def test_light_generator(numbers):
    prefix = 'gen.var/generator_B/'
    variables = {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
    gen = UGATITGenerator(base_channels=8, img_size=48, light=True)
    gen.load_state_dict(generator_state(variables, 4), strict=True)
    with torch.no_grad():
        image, cam_logit, heatmap = gen(nchw(numbers['gen.input']), return_cam=True)
    for ours, theirs in (
        (image, nchw(numbers['gen.out_image'])),
        (cam_logit, torch.from_numpy(numbers['gen.out_cam_logit'])),
        (heatmap[0, 0], torch.from_numpy(numbers['gen.out_heatmap'])),
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_local_discriminator_twice(numbers):
    prefix = 'dis.var/discriminator_A/local/'
    variables = {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
    dis = UGATITDiscriminator(base_channels=8, num_layers=(7, 5)).scales['local'].train()
    places = {f'conv_{i}': f'features.{1 + 3 * i}' for i in range(3)}
    places |= {'conv_last': 'features.10', 'CAM_logit': 'cam.fc', 'D_logit': 'classifier.1'}
    state = {}
    for theirs, ours in places.items():
        raw = kernel(variables.pop(f'{theirs}/kernel'))
        u = torch.from_numpy(variables.pop(f'{theirs}/u')).float().flatten()
        state[f'{ours}.parametrizations.weight.original'] = raw
        state[f'{ours}.parametrizations.weight.0.u'] = u
        # Found anew from u before its first use.
        state[f'{ours}.parametrizations.weight.0.v'] = torch.zeros(raw[0].numel())
        state[f'{ours}.bias'] = torch.from_numpy(variables.pop(f'{theirs}/bias')).float()
    state['cam.conv1x1.weight'] = kernel(variables.pop('conv_1x1/conv2d/kernel'))
    state['cam.conv1x1.bias'] = torch.from_numpy(variables.pop('conv_1x1/conv2d/bias')).float()
    assert not variables
    dis.load_state_dict(state, strict=True)
    for run in ('run1', 'run2'):
        with torch.no_grad():
            out = dis(nchw(numbers['dis.input']))
        for ours, theirs in (
            (out.logit, nchw(numbers[f'dis.{run}_logit'])),
            (out.cam_logit, torch.from_numpy(numbers[f'dis.{run}_cam_logit'])),
            (out.heatmap[0, 0], torch.from_numpy(numbers[f'dis.{run}_heatmap'])),
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        u = numbers[f'dis.u_after_{run}/discriminator_A/local/conv_last/u'].flatten()
        ours = dis.features[10].parametrizations.weight[0].u
        torch.testing.assert_close(ours, torch.from_numpy(u), atol=1e-5, rtol=0)
