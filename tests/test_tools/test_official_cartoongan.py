"""CartoonGAN's baseline: our steps, and the recorded numbers of the program."""

import json

import pytest
import torch
from cartoongan_helpers import tiny_cartoongan, wrappers
from cyclegan_helpers import fixtures, pixels, recorded
from helpers import load_tool

from ugatit_mm.converters.cartoongan import to_official
from ugatit_mm.models import VGG19Features

OfficialOrder = load_tool('benchmarks/building').official_order('cartoongan')
NARROW = (4, 4, 'M', 6, 6, 'M', *[8] * 4, 'M', *[12] * 4)
OURS = {
    'D_real': 'loss_gan_d_B_real',
    'D_fake': 'loss_gan_d_B_fake',
    'D_edge': 'loss_gan_d_B_edge',
    'D': 'loss_d',
    'G_gan': 'loss_gan_g_B',
    'G': 'loss_g',
}


def tiny_order() -> OfficialOrder:
    return OfficialOrder(64, 8, 'cpu', num_blocks=1, features=NARROW)


def test_our_steps_have_its_losses():
    """Three adversarial steps from the same weights, with any third picture."""
    model, baseline = tiny_cartoongan(generator={'base_channels': 8}), tiny_order()
    baseline.load_state_dict(to_official(model.state_dict()))
    baseline.vgg.load_state_dict(
        {
            f'{index}.{end}': getattr(conv, end)
            for index, conv in zip(
                (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25), convs_of(model.vgg), strict=True
            )
            for end in ('weight', 'bias')
        }
    )
    optims = wrappers(model)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        a, b, edge = torch.randint(0, 256, (3, 2, 3, 32, 32), generator=draw).float()
        inputs = {'img_A': a, 'img_B': b, 'img_B_smooth': edge}
        log = model.train_step({'inputs': inputs}, optims)
        terms = baseline.step(*(x.flip(1) / 127.5 - 1 for x in (a, b, edge)))
        assert not any(term.requires_grad for term in terms.values())
        for name, ours in OURS.items():
            assert terms[name].item() == pytest.approx(log[ours], rel=1e-4), name
        assert terms['content'].item() == pytest.approx(10 * log['loss_content_B'], rel=1e-4)


def convs_of(features: VGG19Features) -> list[torch.nn.Module]:
    features.load()
    return list(features._convs.values())


def test_recorded_steps():
    record, terms = recorded('cartoongan_steps.npz'), fixtures() / 'cartoongan_terms.json'
    expected = json.loads(terms.read_text())['terms']
    baseline = OfficialOrder(64, 4, 'cpu', num_blocks=1, features=NARROW)
    # The record's discriminator is as wide as its generator.
    baseline.networks['D'] = type(baseline.networks['D'])(4)
    baseline.optims['D'] = torch.optim.Adam(
        baseline.networks['D'].parameters(), lr=2e-4, betas=(0.5, 0.999)
    )
    baseline.load_state_dict(recorded('cartoongan_after_init.pt'))
    standin = recorded('cartoongan_vgg_standin.pt')
    state = {key.removeprefix('features.'): value for key, value in standin.items()}
    baseline.vgg.load_state_dict({k: v for k, v in state.items() if int(k.split('.')[0]) < 26})
    # Its Adam of the generator has the moments of the first phase, on which the losses of the first
    # step do not depend.
    found = baseline.step(*(pixels(record[f'step1_{x}']) for x in 'xye'))
    for name in ('D_real', 'D_fake', 'D_edge', 'D', 'G_gan', 'content', 'G'):
        assert found[name].item() == pytest.approx(expected['step1'][name], rel=1e-5), name


def test_options_are_vgg19s_widths():
    """Where the compared layer reaches, so that both programs do the same work."""
    options = OfficialOrder.OPTIONS
    fields = {key.removeprefix('model.vgg.'): value for key, value in options.items()}
    plain = OfficialOrder(64, device='meta').vgg
    ours = [conv.weight.shape for conv in convs_of(VGG19Features(**fields))]
    assert ours == [layer.weight.shape for layer in plain if hasattr(layer, 'weight')]
