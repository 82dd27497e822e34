"""The plain restatement of AGGAN's official order."""

import random

import pytest
import torch
from aggan_helpers import given, iterate, recorded, tiny_aggan, wrappers
from helpers import load_tool
from torch import Tensor

from ugatit_mm.converters.aggan import to_variables

OURS = {
    'g_A': ('generator_B', 'loss_g_B'),
    'd_B': ('discriminator_B', 'loss_d_B'),
    'g_B': ('generator_A', 'loss_g_A'),
    'd_A': ('discriminator_A', 'loss_d_A'),
}


def official(model, **fields):
    """The restatement with a tiny model's weights."""
    widths = dict(judge_channels=4, blocks=2, pool_size=1)
    plain = load_tool('benchmarks/official/aggan').OfficialOrder(32, 4, **{**widths, **fields})
    plain.load_variables(to_variables(model.state_dict()))
    return plain


def images(seed: int, size: int = 32) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {x: 2 * torch.rand(1, 3, size, size, generator=rng) - 1 for x in 'AB'}


def test_losses_and_weights_are_ours():
    """Over four iterations in float64, with full pools and across the switch."""
    switch = 2
    model = shown(tiny_aggan(pool_size=1, switch_iters=switch)).double()
    plain = official(model)
    plain.networks.double()
    plain.load_variables(to_variables(model.state_dict()))
    optims = wrappers(model)
    for optim in optims.values():
        optim.optimizer.param_groups[0]['eps'] = 1e-14  # torch's is divided, TensorFlow's is not
    for optimizer in plain.optimizers.values():
        optimizer.param_groups[0]['eps'] = 1e-14
    for iteration in range(4):
        real = {x: image.double() for x, image in images(iteration).items()}
        random.seed(iteration)
        step = iterate(model, optims, real, iteration)
        random.seed(iteration)
        plain.second = iteration >= switch
        terms = plain.step(real['A'], real['B'])
        for kind, (label, name) in OURS.items():
            found = step.terms[label][name]
            assert found.item() == pytest.approx(terms[kind].item(), rel=1e-5), (iteration, kind)
    moved = to_variables(model.state_dict())
    for name, parameter in plain._variables():
        if name in moved and not name.endswith('biases'):
            own = torch.from_numpy(moved[name])
            own = own.permute(3, 2, 0, 1) if own.dim() == 4 else own
            assert (own - parameter).abs().max() < 1e-7, name


def shown(model):
    """With weights large enough to be seen through all layers."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.normal_(0, (1.5 / parameter[0].numel()) ** 0.5)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_recorded_losses():
    file, inputs = recorded('aggan_losses.json')['losses'], recorded('aggan_inputs.npz')
    plain = load_tool('benchmarks/official/aggan').OfficialOrder(64, 4, judge_channels=4)
    plain.load_variables(recorded('aggan_init.npz'))
    real = given(inputs, 0)
    terms = plain.step(real['A'], real['B'])
    for ours, theirs in {
        'g_A_cycle_A': 'G_A_cyc_a',
        'g_A_gan': 'G_A_lsgan_b',
        'g_A': 'G_A_g_loss_A',
        'd_B': 'D_B_d_loss_B',
        'g_B': 'G_B_g_loss_B',
        'd_A': 'D_A_d_loss_A',
    }.items():
        assert terms[ours].item() == pytest.approx(file[f'p1_it0_{theirs}'], rel=1e-4), ours
