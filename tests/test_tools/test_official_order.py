"""U-GAT-IT's baseline against the recorded numbers of the official PyTorch program."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers import load_tool, recorded_checkpoint

OfficialOrder = load_tool('benchmarks/building').official_order('ugatit')


def images(recorded: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(recorded)
    return tensor.float() / 127.5 - 1 if tensor.dtype is torch.uint8 else tensor


def flat(weights: dict) -> dict[str, torch.Tensor]:
    return {
        f'{network}.{key}': tensor.clone()
        for network, state in weights.items()
        for key, tensor in state.items()
    }


def build(weights: dict, light: bool, img_size: int) -> OfficialOrder:
    """The official weights under their official names, loaded strictly."""
    base_channels = len(weights['genA2B']['DownBlock.1.weight'])
    baseline = OfficialOrder(img_size, base_channels, light=light)
    baseline.load_state_dict(weights)
    return baseline


def compare_forward(numbers: dict, baseline: OfficialOrder) -> None:
    """Every recorded output of every network to 1e-5."""
    recorded = {key: value for key, value in numbers.items() if key[:3] in ('gen', 'dis')}
    real = {domain: images(numbers[f'real_{domain}']) for domain in 'AB'}
    ours = {}
    with torch.no_grad():
        for mode in ('eval', 'train1', 'train2'):  # the second pass sees the moved vectors
            for name, network in baseline.networks.items():
                is_generator = name.startswith('gen')
                outputs = network.train(mode != 'eval')(real[name[3 if is_generator else 4]])
                first = 'image' if is_generator else 'logit'
                for field, tensor in zip((first, 'cam_logit', 'heatmap'), outputs):
                    ours[f'{name}.{field}' if is_generator else f'{name}.{mode}.{field}'] = tensor
    assert recorded and recorded.keys() <= ours.keys()
    for key, theirs in recorded.items():
        # With a random spectral norm in evaluation mode numbers reach 1e10.
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(
            ours[key].numpy() / scale, theirs / scale, atol=1e-5, rtol=0, err_msg=key
        )
    assert torch.equal(baseline.translate(real['A']), ours['genA2B.image'])


def compare_training(steps: list[dict], baseline: OfficialOrder, after: dict) -> None:
    """Three steps: every term to 1e-4 relative, the weights after to 3e-6 mean absolute."""
    start = flat(baseline.state_dict())
    for step in steps:
        terms = baseline.step(*(images(step.pop(f'real_{domain}')) for domain in 'AB'))
        assert terms.keys() == step.keys() and len(step) == 24
        assert not any(term.requires_grad for term in terms.values())
        for name, value in step.items():
            assert terms[name].item() == pytest.approx(float(value), rel=1e-4), name
    ours, expected = flat(baseline.state_dict()), flat(after)
    assert ours.keys() == expected.keys()
    for kind in ('gen', 'dis'):
        keys = [key for key in expected if key.startswith(kind)]
        total = sum(expected[key].numel() for key in keys)
        off, moved = (
            sum((weights[key] - expected[key]).abs().sum().item() for key in keys) / total
            for weights in (ours, start)
        )
        assert off < 3e-6 < moved / 10, kind


def test_light_networks(official):
    numbers = {key[6:]: official[key] for key in official if key.startswith('light.')}
    compare_forward(numbers, build(recorded_checkpoint(official, 'light.weights.'), True, 96))


def test_full_generator(official):
    numbers = {key[5:]: official[key] for key in official if key.startswith('full.')}
    generator = recorded_checkpoint(official, 'full.weights.')['genA2B']
    weights = recorded_checkpoint(official, 'light.weights.') | {
        'genA2B': generator,
        'genB2A': generator,
    }
    compare_forward(numbers, build(weights, False, 96))


def test_three_training_steps(official):
    steps = [
        {key[8:]: value for key, value in official.items() if key.startswith(f'train.{i}.')}
        for i in range(3)
    ]
    baseline = build(recorded_checkpoint(official, 'light.weights.'), True, 96)
    compare_training(steps, baseline, recorded_checkpoint(official, 'after.'))


@pytest.mark.parametrize('kind', ['light', 'full'])
def test_reference_networks(reference, kind):
    weights = torch.load(reference / f'pt_{kind}_128.pt', weights_only=True)
    with np.load(reference / f'pt_{kind}_128.npz') as numbers:
        compare_forward(dict(numbers), build(weights, kind == 'light', 128))


def test_reference_training_steps(reference):
    with np.load(reference / 'pt_train_light_128.npz') as numbers:
        steps = [
            {key[6:]: numbers[key] for key in numbers if key.startswith(f'step{i}.')}
            for i in range(3)
        ]
    init, after = (
        torch.load(reference / f'pt_train_light_128_{name}.pt', weights_only=True)
        for name in ('init', 'after3')
    )
    compare_training(steps, build(init, True, 128), after)


def test_step_spares_no_work():
    """Redundant work of the official order is done: otherwise ratios flatter us."""
    torch.manual_seed(0)
    baseline = OfficialOrder(96, base_channels=2, light=True, num_blocks=1)
    calls: Counter = Counter()
    for name, network in baseline.networks.items():
        network.register_forward_pre_hook(
            lambda _, inputs, name=name: calls.update([(name, len(inputs[0]))])
        )
    gen_A2B, dis_GA = baseline.networks['genA2B'], baseline.networks['disGA']
    gradients = []  # of a generator after D's backward, of a discriminator after its own update
    baseline.optimizer_D.register_step_pre_hook(
        lambda *_: gradients.append(gen_A2B.DownBlock[1].weight.grad.clone())
    )
    baseline.optimizer_D.register_step_post_hook(
        lambda *_: gradients.append(dis_GA.conv1x1.weight.grad.clone())
    )
    real_A, real_B = torch.rand(2, 1, 3, 96, 96) * 2 - 1
    baseline.step(real_A, real_B)

    discriminators = ('disGA', 'disLA', 'disGB', 'disLB')
    assert calls == {('genA2B', 1): 4, ('genB2A', 1): 4} | {(n, 1): 3 for n in discriminators}
    assert gradients[0].abs().sum() > 0
    assert not torch.equal(dis_GA.conv1x1.weight.grad, gradients[1])  # G's backward added to it


def test_rho_is_clipped_after_the_step():
    torch.manual_seed(0)
    baseline = OfficialOrder(96, base_channels=2, light=True, num_blocks=1)
    rhos = [p for name, p in baseline.networks.named_parameters() if name.endswith('rho')]
    assert len(rhos) == 2 * (2 + 2)
    with torch.no_grad():
        for rho in rhos:
            rho[:, 0], rho[:, 1] = 1.5, -0.5
    baseline.step(*torch.rand(2, 1, 3, 96, 96) * 2 - 1)
    for rho in rhos:
        assert rho[0, 0].item() == 1 and rho[0, 1].item() == 0


def test_start_and_wrong_input():
    torch.manual_seed(0)
    baseline = OfficialOrder(32, base_channels=2, num_blocks=1)
    state = baseline.state_dict()
    assert state['genA2B']['FC.0.weight'].shape == (8, 8 * 8 * 8)
    assert (state['genB2A']['UpBlock1_1.norm2.rho'] == 0.9).all()
    assert (state['genB2A']['UpBlock2.3.rho'] == 0).all()
    # PyTorch's default: uniform within 1 / sqrt(fan in).
    first = state['genA2B']['DownBlock.1.weight']
    assert 0.9 < first.abs().max().item() * (3 * 7 * 7) ** 0.5 <= 1
    with pytest.raises(ValueError, match='multiple of 4, not 30'):
        OfficialOrder(30)
    with pytest.raises(ValueError, match='disLB'):
        baseline.load_state_dict({'genA2B': state['genA2B']})
    del state['genA2B']['gamma.weight']
    with pytest.raises(RuntimeError, match=r'gamma\.weight'):
        baseline.load_state_dict(state)
