"""DRIT's baseline against the recorded numbers of the official program, and ours against it."""

import json

import pytest
import torch
from drit_helpers import fixtures, images, recorded, tiny_drit, wrappers
from helpers import load_tool
from mmengine import MessageHub

from ugatit_mm.converters.drit import from_official
from ugatit_mm.models.base import Step

OfficialOrder = load_tool('benchmarks/building').official_order('drit')


def give(baseline, noise: list[torch.Tensor], styles: list[torch.Tensor]) -> None:
    """Let it draw these: noise of contents of A, B, fake A, fake B; attributes in its order."""
    baseline.networks['enc_c'].conv_share[1].given = list(noise)
    baseline.given = list(styles)


def test_a_recorded_update():
    """The first full one; before it two of the content discriminator."""
    inputs = recorded('inputs.npz')
    losses = json.loads((fixtures() / 'drit_losses_concat_noms.json').read_text())
    baseline = OfficialOrder(216, base_channels=2)
    baseline.load_state_dict(recorded('init_concat.pt'))
    grids = inputs['image_grids'].float() / 127.5 - 1
    pictures = grids.repeat_interleave(6, -1).repeat_interleave(6, -2)
    noise = inputs['noise_q'][0].float() / 16
    for turn in (0, 1):
        give(baseline, noise[2 * turn : 2 * turn + 2], [])
        with torch.no_grad():
            contents = baseline.networks['enc_c'](*pictures[turn][:, :1])
        loss = baseline._update_content(*contents)
        assert loss.item() == pytest.approx(losses[f'c0_content{turn}_loss'], rel=1e-5)
    names = ('eps_a', 'eps_b', 'z_random', 'eps_recon_a', 'eps_recon_b')
    give(baseline, noise[4:], [inputs[f'{name}_0'] for name in names])
    found = baseline.step(*pictures[2])
    official = {'disContent': 'D_disContent', 'G': 'EG_G'}
    for x in 'AB':
        low = x.lower()
        official |= {
            f'dis{x}': f'D_dis{x}',
            f'dis{x}2': f'D_dis{x}2',
            f'cycle_{x}': f'EG_l1_recon_{x}',
            f'recon_{x}': f'EG_l1_recon_{x}{x}',
        }
        for ours, theirs in (
            ('gan', 'gan_loss_X'),
            ('content', 'gan_loss_Xcontent'),
            ('kl', 'kl_loss_za_X'),
            ('kl_content', 'kl_loss_zc_X'),
            ('latent', 'l1_recon_z_loss_X'),
            ('gan2', 'gan2_loss_X'),
        ):
            official[f'{ours}_{x}'] = f'EG_{theirs.replace("X", low)}'
    assert found.keys() == official.keys()
    for name, theirs in official.items():
        value = losses.get(f'c0_{theirs}', losses.get(f'c0_{theirs}_loss'))
        assert found[name].item() == pytest.approx(value, rel=1e-5), name


def test_our_steps_give_its_losses():
    """From the same weights and draws: three full updates."""
    torch.manual_seed(0)
    baseline = OfficialOrder(64, base_channels=2, strided=1)
    state, _ = from_official(baseline.state_dict())
    model = tiny_drit(d_iter=1, discriminator={'num_layers': 4})
    model.load_state_dict({key: value.clone() for key, value in state.items()})
    optims, ours = wrappers(model), []
    for iteration in range(3):
        MessageHub.get_current_instance().update_info('iter', iteration)
        real = images(64, seed=iteration)
        drawn = model.draw(real)
        step = Step(model, optims, drawn)
        model.iterate(step, real)
        ours = {name: term.item() for each in step.terms.values() for name, term in each.items()}
        give(baseline, list(drawn['noise']), list(drawn['styles']))
        found = {name: term.item() for name, term in baseline.step(*real.values()).items()}
        expected = {'disContent': ours['loss_gan_d_content'], 'G': ours['loss_g']}
        for x in 'AB':
            expected |= {
                f'dis{x}': ours[f'loss_gan_d_{x}'],
                f'dis{x}2': ours[f'loss_gan_d_random_{x}'],
                f'gan_{x}': ours[f'loss_gan_g_{x}'],
                f'gan2_{x}': ours[f'loss_gan_g_random_{x}'],
                f'content_{x}': ours[f'loss_content_{x}'],
                f'kl_{x}': 0.01 * ours[f'loss_kl_{x}'],
                f'kl_content_{x}': 0.01 * ours[f'loss_kl_content_{x}'],
            }
            for name in ('cycle', 'recon', 'latent'):
                expected[f'{name}_{x}'] = 10 * ours[f'loss_{name}_{x}']
        assert found == pytest.approx(expected, rel=1e-4), iteration
