"""The training step and the translation model."""

import copy

import pytest
import torch
from counting import Count
from helpers import batch
from mmengine import MessageHub
from torch import nn

from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import UGATIT
from ugatit_mm.models.layers import AdaLIN, linear
from ugatit_mm.pixels import to_uint8


def wrappers(model, lr: float = 1e-3, optimizer: dict | None = None, **fields):
    optimizer = optimizer or dict(type='Adam', lr=lr, betas=(0.5, 0.999))
    cfg = {name: dict(optimizer=optimizer, **fields) for name in ('generators', 'discriminators')}
    return UGATITOptimWrapperConstructor(cfg)(model)


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(before: dict, module: nn.Module) -> bool:
    return any(not torch.equal(before[name], p) for name, p in module.named_parameters())


@pytest.fixture(autouse=True)
def first_iteration():
    MessageHub.get_current_instance().update_info('iter', 0)


def test_step_moves_all_networks_and_logs_every_term(tiny):
    model = tiny().train()
    before = {k: weights(n) for k, n in model.named_children() if weights(n)}
    log = model.train_step(batch(), wrappers(model))
    assert all(moved(before[name], getattr(model, name)) for name in before)
    expected = {'loss_d', 'loss_g'}
    for domain in 'AB':
        for who in 'dg':
            expected.add(f'loss_gan_{who}_{domain}')
            expected |= {
                f'loss_gan_{who}_{domain}_{scale}{cam}'
                for scale in ('global', 'local')
                for cam in ('', '_cam')
            }
        expected |= {f'loss_{kind}_{domain}' for kind in ('cycle', 'identity', 'cam')}
    assert set(log) == expected
    assert all(isinstance(value, float) for value in log.values())


def test_totals_are_the_weighted_sums_of_the_logged_terms(tiny):
    model = tiny(loss_config=dict(gan=2.0, cycle=3.0, identity=5.0, cam=7.0)).train()
    log = model.train_step(batch(), wrappers(model))
    for who in 'dg':
        for domain in 'AB':
            name = f'loss_gan_{who}_{domain}'
            terms = [value for key, value in log.items() if key.startswith(name + '_')]
            assert len(terms) == 4 and log[name] == pytest.approx(sum(terms))
    assert log['loss_d'] == pytest.approx(2 * (log['loss_gan_d_A'] + log['loss_gan_d_B']))
    assert log['loss_g'] == pytest.approx(
        sum(
            2 * log[f'loss_gan_g_{x}']
            + 3 * log[f'loss_cycle_{x}']
            + 5 * log[f'loss_identity_{x}']
            + 7 * log[f'loss_cam_{x}']
            for x in 'AB'
        )
    )


def test_cam_loss_is_built_from_its_config(tiny):
    one, two = (tiny(cam_loss={'type': 'CAMLoss', 'loss_weight': w}).train() for w in (1.0, 2.0))
    first, second = (model.train_step(batch(), wrappers(model)) for model in (one, two))
    for domain in 'AB':
        name = f'loss_cam_{domain}'
        assert second[name] == pytest.approx(2 * first[name], rel=1e-5)


def test_discriminators_see_detached_fakes_and_get_no_gradient_of_the_generators(tiny):
    model = tiny().train()
    optim = wrappers(model)
    model.train_step(batch(), optim)
    model.zero_grad()
    inputs = model.data_preprocessor(batch(), True)['inputs']
    real = {x: inputs[f'img_{x}'] for x in 'AB'}
    out = model.generators(real)
    loss, _ = model.compute_d_loss(real, {x: out[x].fake.detach() for x in 'AB'})
    loss.backward()
    assert all(p.grad is None for p in model.generators.parameters())
    model.zero_grad()
    # During the generators' update the weights of D require no gradient.
    seen = []
    model.discriminators['A'].register_forward_hook(
        lambda module, *_: seen.append([p.requires_grad for p in module.parameters()])
    )
    model.train_step(batch(), optim)
    assert all(seen[0]) and not any(seen[-1])
    assert all(p.requires_grad for p in model.discriminators.parameters())


@pytest.mark.parametrize('joint', [True, False])
def test_power_iterations_of_a_step(tiny, joint):
    """TensorFlow: one for D's update, one for G's; PyTorch: real and fake have one each."""
    model = tiny(joint_discrimination=joint).train()
    norm = model.discriminators['A'].scales['global'].features[1].parametrizations.weight[0]
    calls = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    model.train_step(batch(), wrappers(model))
    assert len(calls) == (2 if joint else 3)


def test_joint_discrimination_changes_nothing_but_the_power_iterations(tiny):
    model = tiny().eval()
    inputs = model.data_preprocessor(batch(count=2), True)['inputs']
    real = {x: inputs[f'img_{x}'] for x in 'AB'}
    fake = {'A': real['B'], 'B': real['A']}
    joint, apart = (model.discriminators(real, fake, mode) for mode in (True, False))
    for domain in 'AB':
        for of_joint, of_apart in zip(joint[domain], apart[domain], strict=True):
            for one, two in zip(of_joint, of_apart, strict=True):
                assert one.heatmap is two.heatmap is None  # training does not need it
                for a, b in zip(one[:2], two[:2], strict=True):
                    size = b.abs().max()  # 10^4: the spectral norms have not converged
                    torch.testing.assert_close(a / size, b / size, atol=1e-6, rtol=1e-4)


def test_noise_is_on_the_way_back_only(tiny):
    model, data = tiny(cycle_noise=0.25), batch()
    real = model.data_preprocessor(data, training=True)['inputs']
    real = {domain: real[f'img_{domain}'] for domain in 'AB'}
    torch.manual_seed(3)
    drawn = model.draw(real)
    assert drawn['noise'].std().item() == pytest.approx(1.0, abs=0.05)
    plain = model.generators(real)
    noisy = model.generators(real, 'AB', drawn['noise'], 0.25)
    for index, domain in enumerate('AB'):
        torch.testing.assert_close(noisy[domain].fake, plain[domain].fake, rtol=0, atol=0)
        torch.testing.assert_close(noisy[domain].identity, plain[domain].identity, rtol=0, atol=0)
        other = 'BA'[index]
        back = plain[domain].fake + 0.25 * drawn['noise'][index]
        torch.testing.assert_close(noisy[other].cycle, model.generators[other](back))
    assert tiny().draw(real) == {}  # the paper's

    torch.manual_seed(3)
    log = model.train_step(data, wrappers(model))
    distance = (noisy['A'].cycle - real['A']).abs().mean().item()
    assert log['loss_cycle_A'] == pytest.approx(distance, rel=1e-4)


@pytest.mark.parametrize('cycle', [('B',), 'B', ['blue']])
def test_images_of_one_domain_come_back(tiny, cycle):
    model = tiny(cycle_domains=cycle, domains=dict(A='red', B='blue')).train()
    both, data = tiny().train(), batch()
    both.load_state_dict(model.state_dict())
    logs = [each.train_step(data, wrappers(each)) for each in (model, both)]
    assert logs[1].keys() - logs[0].keys() == {'loss_cycle_A'}
    for name in logs[0].keys() - {'loss_g'}:
        assert logs[0][name] == pytest.approx(logs[1][name], rel=1e-5), name
    difference = logs[1]['loss_g'] - logs[0]['loss_g']
    assert difference == pytest.approx(10 * logs[1]['loss_cycle_A'], rel=1e-3)


def test_noise_costs_three_launches(tiny):
    counts = []
    for noise in (0.0, 0.05):
        model = tiny(cycle_noise=noise).train()
        optims, data = wrappers(model), batch()
        model.train_step(data, optims)
        with Count() as count:
            model.train_step(data, optims)
        counts.append(len(count.seen))
    assert counts[1] - counts[0] == 3  # the draw, and one sum for each domain


def test_recipe_reaches_the_networks_and_single_fields_win(tiny):
    model = tiny(recipe='pytorch')
    assert not model.joint_discrimination
    norm = next(layer for layer in model.generators.modules() if isinstance(layer, AdaLIN))
    assert (norm.rho_smoothing, norm.unbiased) == (0.0, True)
    assert hasattr(model.discriminators['B'].scales['local'].cam, 'gap_fc')
    model = tiny(generator={'unbiased': False}, recipe='pytorch', joint_discrimination=True)
    norm = next(layer for layer in model.generators.modules() if isinstance(layer, AdaLIN))
    assert (norm.rho_smoothing, norm.unbiased, model.joint_discrimination) == (0.0, False, True)


@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'type': 'AutocastOptimWrapper'},
        {'type': 'AutocastOptimWrapper', 'dtype': 'float16', 'loss_scale': 64.0},
        {'accumulative_counts': 2},
    ],
    ids=['plain', 'bfloat16', 'float16', 'accumulation'],
)
def test_rho_stays_in_its_range(tiny, fields):
    model = tiny().train()
    optim = wrappers(model, lr=0.5, **fields)  # large enough to leave [0, 1] at once
    for iteration in range(3):
        MessageHub.get_current_instance().update_info('iter', iteration)
        model.train_step(batch(seed=iteration), optim)
        rho = torch.cat([p.flatten() for n, p in model.named_parameters() if n.endswith('rho')])
        assert rho.min() >= 0 and rho.max() <= 1
    assert (rho < 0.9).any()


@pytest.mark.parametrize('dtype', [{}, {'dtype': 'float16', 'loss_scale': 64.0}])
def test_half_precision_step_is_close_to_the_float32_step(tiny, dtype):
    logs = []
    for fields in ({}, {'type': 'AutocastOptimWrapper', **dtype}):
        model = tiny().train()
        logs.append(model.train_step(batch(), wrappers(model, **fields)))
    different = 0
    for name, value in logs[0].items():
        assert logs[1][name] == pytest.approx(value, rel=0.05, abs=0.02), name
        different += logs[1][name] != value
    assert different > 5  # the 16-bit type really was used


def step(model) -> tuple[dict, dict[str, torch.Tensor]]:
    """Log of a step of plain gradient descent, and the weights after it."""
    optim = wrappers(model.train(), optimizer=dict(type='SGD', lr=1e-5))
    images = {domain: torch.zeros(1, 3, 96, 96) for domain in 'AB'}
    with torch.no_grad():  # a spectral norm that has not converged amplifies rounding
        for _ in range(10):
            model.discriminators(images, images, True)
    return model.train_step(batch(96), optim), weights(model)


@pytest.mark.parametrize('light', [True, False])
@pytest.mark.parametrize(
    'fields',
    [
        {'channels_last': False},
        {'generator': {'with_cp': True}},
    ],
    ids=['contiguous', 'checkpointed'],
)
def test_switches_for_speed_and_memory_change_no_result(tiny, fields, light):
    size = {'light': light, 'img_size': 96}
    # The CAM weight of 1000 would amplify rounding differences.
    same = {'loss_config': {'cam': 1.0}}
    plain = step(tiny(size, **same))
    size |= fields.get('generator', {})
    switched = step(tiny(**{**fields, 'generator': size, **same}))
    assert switched[0] == pytest.approx(plain[0], rel=5e-5, abs=1e-6)
    for name, weight in plain[1].items():
        torch.testing.assert_close(switched[1][name], weight, atol=1e-5, rtol=1e-4)


def test_checkpointing_keeps_less(tiny):
    kept = []
    for with_cp in (False, True):
        generator = tiny({'with_cp': with_cp}).generators['A']
        sizes: dict[int, int] = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            generator(torch.zeros(1, 3, 32, 32))
        kept.append(sum(sizes.values()))
    assert kept[1] < 0.7 * kept[0]


def test_generators_run_in_channels_last(tiny):
    formats = []
    for fields in ({}, {'channels_last': False}):
        generator = tiny(**fields).generators['A']
        out = generator.encoder(torch.zeros(1, 3, 32, 32))
        formats.append(out.is_contiguous(memory_format=torch.channels_last))
    assert formats == [True, False]


def test_a_steps_uses_of_a_generators_mlp_are_one_block(tiny, monkeypatch):
    """Translation and identity in one batch, and the cycle; outside a step there is no block."""
    model = tiny(generator={'light': False}).train()
    rows = []

    def apply(x, weight, bias, relu, uses):
        rows.append((id(uses), len(x)))
        return nn.functional.linear(x, weight, bias).relu()

    monkeypatch.setattr(linear._JointLinear, 'apply', apply)
    model.train_step(batch(), wrappers(model))
    (first, _), (second, _) = rows[:2]
    assert first != second
    assert rows == [(first, 2), (second, 2), (first, 1), (second, 1)]
    model.generators({domain: torch.zeros(1, 3, 32, 32) for domain in 'AB'})
    assert len(rows) == 4


@pytest.mark.slow
def test_compile_reaches_every_network(tiny):
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    size = {'num_blocks': 1}, {'num_layers': (4, 4)}
    model = tiny(*size, compile={'backend': backend})
    plain = tiny(*size)
    plain.load_state_dict(model.state_dict())  # the names are the same
    logs = [m.train().train_step(batch(), wrappers(m)) for m in (model, plain)]
    assert logs[0] == pytest.approx(logs[1], rel=2e-5, abs=1e-6)
    assert len(seen) >= 4


def test_accumulation_is_the_mean_of_the_batches_for_the_discriminators(tiny):
    """Two accumulated batches of 1 update D like one batch of 2; nothing changes in between."""
    whole, parts = tiny().train(), tiny().train()
    assert not whole.load_state_dict(copy.deepcopy(parts.state_dict())).missing_keys
    pair = batch(count=2)
    whole.train_step(pair, wrappers(whole))
    optim = wrappers(parts, accumulative_counts=2)
    before = weights(parts)
    for iteration in range(2):
        MessageHub.get_current_instance().update_info('iter', iteration)
        # Every pass updates the vectors of the spectral norm; hold them for the comparison.
        vectors = {n: b.clone() for n, b in parts.named_buffers() if n.endswith(('.u', '.v'))}
        one = {'inputs': {k: v[iteration : iteration + 1] for k, v in pair['inputs'].items()}}
        parts.train_step(one, optim)
        if iteration == 0:
            assert not moved(before, parts)
            for name, buffer in parts.named_buffers():
                if name in vectors:
                    buffer.copy_(vectors[name])
    reference = dict(whole.discriminators.named_parameters())
    for name, parameter in parts.discriminators.named_parameters():
        torch.testing.assert_close(parameter, reference[name], atol=1e-5, rtol=1e-4)


def test_turns_of_the_generators(tiny):
    model = tiny(discriminator_steps=2, disc_init_steps=2).train()
    optim = wrappers(model)
    learned = []
    for iteration in range(6):
        MessageHub.get_current_instance().update_info('iter', iteration)
        before = weights(model.generators)
        log = model.train_step(batch(), optim)
        learned.append(moved(before, model.generators))
        assert ('loss_g' in log) is learned[-1]
    assert learned == [False, False, False, True, False, True]


@pytest.mark.parametrize(
    ('generator', 'discriminator', 'missing'),
    [
        ({'cam': False}, {}, {'loss_cam_A', 'loss_cam_B'}),
        ({}, {'cam': False}, {'loss_gan_d_A_local_cam', 'loss_gan_g_B_global_cam'}),
        ({'cam': False}, {'cam': False}, {'loss_cam_A', 'loss_gan_d_B_global_cam'}),
        ({'norm': 'adain'}, {}, set()),
        ({'norm': 'gn', 'norm_groups': 4}, {}, set()),
    ],
)
def test_ablations_train(tiny, generator, discriminator, missing):
    model = tiny(generator, discriminator).train()
    before = weights(model.generators)
    log = model.train_step(batch(), wrappers(model))
    assert not missing & set(log) and moved(before, model.generators)
    assert (len(missing) == 0) is ('loss_cam_A' in log and 'loss_gan_d_A_local_cam' in log)


def test_domains_answer_to_letters_and_names(tiny):
    model = tiny(domains={'A': 'selfie', 'B': 'anime'}, default_domain='anime')
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(model.translation(image), model.generators['B'](image))
    assert torch.equal(model.translation(image, 'selfie'), model.generators['A'](image))
    assert torch.equal(model.translation(image, 'A'), model.generators['A'](image))
    assert model.direction() == 'selfie2anime' and model.direction('A') == 'anime2selfie'
    assert model.get_other_domains('anime') == ['A']
    assert model.is_domain_reachable('selfie') and not model.is_domain_reachable('dog')
    with pytest.raises(ValueError, match="unknown domain 'dog': choose one of .*selfie"):
        model.translation(image, 'dog')


@pytest.mark.parametrize(
    'fields',
    [
        {'domains': {'A': 'cat', 'B': 'cat'}},
        {'domains': {'A': 'B'}},
        {'domains': {'A': 'a/b'}},
        {'domains': {'A': '..'}},
        {'domains': {'C': 'cat'}},
        {'default_domain': 'C'},
        {'loss_config': {'gann': 1}},
        {'recipe': 'keras'},
        {'cycle_domains': 'C'},
        {'cycle_noise': -0.1},
        {'cycle_noise': float('nan')},
    ],
)
def test_wrong_fields_are_refused(tiny, fields):
    with pytest.raises(ValueError, match='domain|gann|keras|cycle_noise'):
        tiny(**fields)


def test_reachable_without_discriminators():
    slim = UGATIT(dict(type='UGATITGenerator', base_channels=4, num_blocks=2, img_size=32))
    assert slim.discriminators is None
    assert slim.translation(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_what_leaves_is_bgr_and_what_runs_inside_is_rgb(tiny):
    """An image that MMagic calls BGR: the networks see its channels reversed."""
    model = tiny().eval()
    data = batch(count=2)
    seen = []
    model.generators['B'].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    samples = model.val_step({**data, 'data_samples': None})
    expected = data['inputs']['img_A'].flip(1) / 127.5 - 1
    torch.testing.assert_close(seen[0], expected)
    fake = model.translation(expected, 'B')
    for index, sample in enumerate(samples):
        assert torch.equal(sample.img_A, data['inputs']['img_A'][index].to(torch.uint8))
        assert torch.equal(sample.fake_B, to_uint8(fake[index]).flip(0))
        assert sample.fake_B.dtype is torch.uint8
        assert sample.metainfo['domains'] == {'A': 'A', 'B': 'B'}
    result = model(expected, test_mode=True, target_domain='B')
    assert torch.equal(result['target'], fake.flip(1))
    assert torch.equal(result['source'], expected.flip(1))


def test_validation_needs_no_gradients_and_changes_nothing(tiny):
    model = tiny().eval()
    before = copy.deepcopy(model.state_dict())
    model.val_step({**batch(), 'data_samples': None})
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model(torch.zeros(1, 3, 32, 32), test_mode=True)['target'].requires_grad


def test_to_uint8_rounds_and_clamps():
    values = torch.tensor(
        [-2.0, -1.0, 0.0, 1.0, 3.0, 0.5 / 127.5 - 1 - 1e-4, 0.5 / 127.5 - 1 + 1e-4]
    )
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 0, 1]
    whole = torch.arange(256.0)
    assert torch.equal(to_uint8(whole / 127.5 - 1).float(), whole)
