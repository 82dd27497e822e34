"""DRIT's networks: recorded numbers of the official program, and torch's own layers."""

import pytest
import torch
import torch.nn.functional as F
from drit_helpers import official, recorded, tiny_drit
from torch._subclasses.fake_tensor import FakeTensorMode

from ugatit_mm.converters.drit import from_official, to_official
from ugatit_mm.models import (
    DRITAttributeEncoder,
    DRITContentDiscriminator,
    DRITContentEncoder,
    DRITDiscriminator,
    DRITGenerator,
)
from ugatit_mm.models.drit.drit_encoder import ContentEncoders, contents
from ugatit_mm.models.drit.drit_generator import Generators, features

CLOSE = {'atol': 2e-5, 'rtol': 0}


@pytest.mark.parametrize('name', ['concat', 'feat'])
def test_recorded_passes(name):
    numbers = recorded('forward.npz')
    model = official(name)
    real = {'A': numbers['xa'], 'B': numbers['xb']}

    def check(found, key):
        torch.testing.assert_close(found.squeeze(), numbers[f'{name}_{key}'].squeeze(), **CLOSE)

    with torch.no_grad():
        content = contents(model.encoders, real)
        for i, x in enumerate('AB'):
            check(content[x], f'content_{x.lower()}_eval')
            check(content[x] + numbers['noise'][i], f'content_{x.lower()}_train')
            mean, log_variance = model.attribute_encoders[x](real[x])
            if name == 'concat':
                check(mean, f'mu_{x.lower()}')
                check(log_variance, f'logvar_{x.lower()}')
            else:
                assert log_variance is None
                check(mean, f'attr_{x.lower()}')
            assert torch.equal(model.style_of(real[x], x), mean)
        check(model.translate(real['B'], 'A', style=numbers['za']).image, 'gen_a')
        check(model.translate(real['A'], 'B', style=numbers['zb']).image, 'gen_b')
        for part, x, image in (
            ('discriminators', 'A', real['A']),
            ('random_discriminators', 'B', real['B']),
        ):
            official_name = 'disA' if x == 'A' else 'disB2'
            for scale, logits in enumerate(getattr(model, part)[x](image)):
                check(logits, f'{official_name}_scale{scale}')
        judge, small = model.content_discriminator['shared'], numbers['feat54']
        check(judge(small).flatten(), 'disContent_54')
        large = F.pad(small, (5, 5, 5, 5), mode='circular')
        check(judge(large).flatten(), 'disContent_64')
        # The official tests, which draw once for both directions.
        first = numbers['za'][:1]
        for key, source, target in (('test_a2b', 'A', 'B'), ('test_b2a', 'B', 'A')):
            made = model.translation(real[source][:1], target, style=first)
            check(made[..., ::2, ::2], key)
        mean, log_variance = model.attribute_encoders['B'](real['B'][:1])
        if log_variance is not None:
            mean = mean + numbers['zb'][:1] * (0.5 * log_variance).exp()
        made = model.translation(real['A'][:1], 'B', style=mean)
        check(made[..., ::2, ::2], 'transfer_a2b')


def judges(name: str) -> tuple[dict, dict]:
    """Recorded weights of a discriminator as a part of ours, and unchanged."""
    weights = recorded('other_dis.pt')[name]
    state, _ = from_official({'disA': weights})
    return {key.removeprefix('discriminators.A.'): value for key, value in state.items()}, weights


def test_recorded_discriminator_of_one_scale():
    numbers = recorded('forward.npz')
    network = DRITDiscriminator(3, 2, num_scales=1, num_layers=6, kernel_size=3)
    network.load_state_dict(judges('dis1')[0])
    (logits,) = network(numbers['xa'])
    torch.testing.assert_close(logits.flatten(), numbers['dis1_out'], **CLOSE)


def test_recorded_spectral_norm():
    """Two passes in training, each a power iteration; then the vectors and the divided weights."""
    numbers = recorded('forward.npz')
    network = DRITDiscriminator(3, 2, spectral_norm=True).train()
    network.load_state_dict(judges('dis3_sn')[0])
    for call in (0, 1):
        for scale, logits in enumerate(network(numbers['xa'])):
            expected = numbers[f'dis3_sn_call{call}_scale{scale}']
            torch.testing.assert_close(logits, expected, **CLOSE)
    _, after = judges('dis3_sn_after2')
    state = {f'discriminators.A.{key}': value for key, value in network.state_dict().items()}
    found = to_official(state)['disA']
    assert found.keys() == after.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, after[key], **CLOSE, msg=key)


# ------------------------------------------------- what a clone without the numbers tests, too


def filled(network: torch.nn.Module) -> None:
    """Weights that affect every value."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, (1.5 / max(1, parameter[0].numel())) ** 0.5)


def conv(layer, x, stride=1, padding=1):
    if padding:
        x = F.pad(x, (padding,) * 4, mode='reflect')
    return F.conv2d(x, layer.weight, layer.bias, stride)


def plain_block(block, x):
    out = F.relu(F.instance_norm(conv(block.conv1, x)))
    return x + F.instance_norm(conv(block.conv2, out))


def plain_content(encoders, x, image):
    own = encoders[x]
    out = F.leaky_relu(conv(own.first, image, 1, 3))
    for down in own.down:
        out = F.relu(F.instance_norm(conv(down.conv, out, 2)))
    for block in own.blocks:
        out = plain_block(block, out)
    return plain_block(encoders['shared'], out)


def beside(x, style):
    return torch.cat([x, style[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)


def plain_up(up, x):
    x = F.conv_transpose2d(x, up.conv.weight, up.conv.bias, 2, 1, 1)
    x = F.layer_norm(x, x.shape[1:])
    return F.relu(x * up.norm.gamma + up.norm.beta)


def plain_picture(model, x, content, style):
    own = model.generators[x]
    if model.concat:
        out = plain_block(model.generators['shared'], content)
        out = beside(out, style)
        for block in own.blocks:
            out = plain_block(block, out)
        for up in own.up:
            out = plain_up(up, beside(out, style))
        return torch.tanh(conv(own.last, beside(out, style), 1, 0))
    one, two, three = own.mlp
    styles = three(F.relu(two(F.relu(one(style))))).chunk(4, 1)
    out = content
    for block, each in zip(own.blocks, styles, strict=True):
        before = out
        for layer, mix in ((block.conv1, block.mix1), (block.conv2, block.mix2)):
            out = beside(F.instance_norm(conv(layer, out)), each)
            for one in mix:
                out = F.relu(conv(one, out, 1, 0))
        out = out + before
    for up in own.up:
        out = plain_up(up, out)
    return torch.tanh(conv(own.last, out, 1, 0))


def plain_attribute(network, image):
    if not network.concat:
        out = F.relu(conv(network.convs[0], image, 1, 3))
        for layer in network.convs[1:]:
            out = F.relu(conv(layer, out, 2))
        return conv(network.last, out.mean((2, 3), keepdim=True), 1, 0).flatten(1), None
    out = conv(network.first, image, 2)
    for block in network.blocks:
        main = conv(block.conv1, F.leaky_relu(out, 0.2))
        main = F.avg_pool2d(conv(block.conv2, F.leaky_relu(main, 0.2)), 2)
        out = main + conv(block.shortcut, F.avg_pool2d(out, 2), 1, 0)
    out = F.leaky_relu(out, 0.2).mean((2, 3))
    return network.mean(out), network.log_variance(out)


@pytest.mark.parametrize('concat', [True, False])
def test_networks_are_the_formulas_in_torchs_layers(concat):
    model = tiny_drit(concat).eval()
    filled(model)
    image, style = torch.rand(2, 3, 48, 40) * 2 - 1, torch.randn(2, 8)
    content = plain_content(model.encoders, 'A', image)
    (found,) = contents(model.encoders, {'A': image}).values()
    torch.testing.assert_close(found, content, **CLOSE)
    begun = features(model.generators, content)
    made = model.generators['B'](begun, style)
    torch.testing.assert_close(made, plain_picture(model, 'B', content, style), **CLOSE)
    assert torch.allclose(made, model.translation(image, 'B', style=style), atol=2e-5)
    mean, log_variance = plain_attribute(model.attribute_encoders['A'], image)
    torch.testing.assert_close(model.style_of(image, 'A'), mean, **CLOSE)
    if concat:
        torch.testing.assert_close(model.attribute_encoders['A'](image)[1], log_variance, **CLOSE)


@pytest.mark.parametrize('norm', ['none', 'in'])
def test_discriminators_are_the_formulas_in_torchs_layers(norm):
    model = tiny_drit(discriminator={'norm': norm}, content_discriminator={'norm': norm})
    filled(model)

    def unit(layer, x, stride):
        out = conv(layer, x, stride)
        return F.leaky_relu(F.instance_norm(out) if norm == 'in' and out[0, 0].numel() > 1 else out)

    image = torch.rand(2, 3, 64, 64) * 2 - 1
    judge = model.discriminators['A']
    for convs, logits in zip(judge.scales, judge(image), strict=True):
        out = image
        for layer in convs[:-1]:
            out = unit(layer, out, 2)
        torch.testing.assert_close(logits, conv(convs[-1], out, 1, 0), **CLOSE)
        count = F.avg_pool2d(F.pad(torch.ones_like(image), (1,) * 4), 3, 2)
        image = F.avg_pool2d(F.pad(image, (1,) * 4), 3, 2) / count
    judge, content = model.content_discriminator['shared'], torch.randn(2, 8, 20, 16)
    strided, square, last = judge.convs
    out = F.leaky_relu(conv(square, unit(strided, content, 2), 1, 0))
    torch.testing.assert_close(judge(content), conv(last, out, 1, 0), **CLOSE)


def test_sizes():
    """Of the full networks: millions of parameters."""

    def millions(part: torch.nn.Module) -> float:
        return sum(parameter.numel() for parameter in part.parameters()) / 1e6

    with FakeTensorMode():  # takes no time
        content = ContentEncoders({x: DRITContentEncoder() for x in 'AB'})
        parts = [content]
        for concat in (True, False):
            parts += [
                torch.nn.ModuleList(DRITAttributeEncoder(concat=concat) for _ in 'AB'),
                Generators({x: DRITGenerator(concat=concat) for x in 'AB'}),
            ]
        one = DRITDiscriminator(num_scales=1, num_layers=6, kernel_size=3)
        parts += [DRITDiscriminator(), one, DRITContentDiscriminator()]
    found = [round(millions(part), 2) for part in parts]
    assert found == [9.02, 2.69, 9.56, 5.53, 17.15, 8.27, 25.15, 10.68]


def test_contents_that_their_discriminator_takes():
    with FakeTensorMode():
        judge = DRITContentDiscriminator()
    assert judge.min_size == 212 and judge.fitting(211) == {'num_layers': 3}
    assert judge.fitting(16) == {'num_layers': 1} and judge.fitting(15) is None
    small = DRITContentDiscriminator(2)
    sizes = [tuple(small(torch.zeros(1, 8, side, side)).shape[2:]) for side in (53, 54, 64)]
    assert sizes == [(1, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize('concat', [True, False])
def test_initial_weights_are_the_official_ones(concat):
    model = tiny_drit(concat, width=16)
    for name, layer in model.named_modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)):
            weight = layer.weight
            transposed = isinstance(layer, torch.nn.ConvTranspose2d)
            bound = (weight[:, 0] if transposed else weight[0]).numel() ** -0.5
            assert 0.5 * bound < layer.bias.abs().max() <= bound or layer.bias.numel() < 8, name
            if isinstance(layer, torch.nn.Linear):
                assert 0.8 * bound < weight.abs().max() <= bound, name
            elif weight.numel() > 500:
                assert weight.std().item() == pytest.approx(0.02, rel=0.15), name
        elif hasattr(layer, 'gamma'):
            assert layer.gamma.eq(1).all() and layer.beta.eq(0).all()
