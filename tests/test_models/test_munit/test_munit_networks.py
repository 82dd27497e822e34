"""Networks of MUNIT and UNIT: recorded official numbers, closed forms, sizes, initial weights."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from munit_helpers import MUNIT, UNIT, fixtures, pixels, recorded, recorded_model, tiny
from torch import Tensor, nn
from torch.testing import assert_close

from ugatit_mm.models import (
    MUNITDecoder,
    MUNITDiscriminator,
    MUNITEncoder,
    MUNITStyleEncoder,
    UNITDecoder,
)
from ugatit_mm.models.layers import AdaIN, InstanceNorm, LayerNorm

KINDS = pytest.mark.parametrize('kind', [MUNIT, UNIT], ids=lambda kind: kind.NAME)


def near(found: Tensor, expected: Tensor, atol: float) -> None:
    assert_close(found, expected, atol=atol, rtol=0)


# ---------------------------------------------------------------------------- recorded numbers


@pytest.mark.parametrize('nhwc', [False, True], ids=['nchw', 'nhwc'])
@KINDS
@torch.no_grad()
def test_recorded_forward_passes(kind, nhwc):
    record = recorded(f'{kind.NAME}_forward.npz')
    model = recorded_model(kind, channels_last=nhwc)
    images = {x: pixels(record[f'x_{x.lower()}']) for x in 'AB'}
    codes = {x: model.encoders[x](images[x]) for x in 'AB'}
    for source, target in ('BA', 'AB'):
        a, b = source.lower(), target.lower()
        name = 'content' if kind is MUNIT else 'hidden'
        near(codes[source], record[f'{name}_{a}'], 5e-5)
        fake = record[f'x_{a}{b}']
        if kind is MUNIT:
            style = model.style_of(images[source], source)
            near(style, record[f'style_{a}'], 5e-5)
            near(model.generators[source](codes[source], style), record[f'recon_{a}'], 1e-5)
            found = model.translation(images[source], target, style=record[f's_{b}'])
        else:
            noisy = codes[source] + record[f'n_{a}']
            near(model.generators[source](noisy), record[f'recon_{a}.noise'], 1e-5)
            found = model.translation(images[source], target)
        near(found, fake, 1e-5)
        judged = model.discriminators[target].judge_both(images[target], fake)
        for scale, (of_real, of_fake) in enumerate(judged):
            near(of_real, record[f'dis_{b}.real.{scale}'], 1e-5)
            near(of_fake, record[f'dis_{b}.fake.{scale}'], 1e-5)


@KINDS
@torch.no_grad()
def test_recorded_stages(kind):
    """Outputs of inner layers, without the padding that they add for the next layer."""
    record, model = recorded(f'{kind.NAME}_forward.npz'), recorded_model(kind)
    seen: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Module, pad: int) -> None:
        def keep(_, inputs, out):
            seen[name] = out[..., pad : out.size(2) - pad, pad : out.size(3) - pad]

        layer.register_forward_hook(keep)

    enc = 'enc_content' if kind is MUNIT else 'enc'
    watch(f'{enc}.down1', model.encoders['A'].layers[1], 1)
    watch(f'{enc}.down2', model.encoders['A'].layers[2], 1)
    watch('dec.res', model.generators['A'].blocks[-1], 0)
    watch('dec.up1', model.generators['A'].decoder[1], 0)
    x_a, x_b = (pixels(record[f'x_{x}']) for x in 'ab')
    model.encoders['A'](x_a)
    if kind is MUNIT:
        watch('enc_style.before_pool', model.style_encoders['A'].layers[-1], 0)
        params = {
            'own': model.style_encoders['A'](x_a),
            'given': record['s_a'],
        }
        for name, style in params.items():
            blocks = model.generators['A'].styles(style)
            # Official order: for each norm first the shifts, then the scales.
            given = [t for g1, b1, g2, b2 in blocks for t in (b1, g1, b2, g2)]
            near(torch.cat(given, 1), record[f'adain_a.{name}'], 5e-5)
        model.translation(x_b, 'A', style=record['s_a'])
    else:
        model.translation(x_b, 'A')
    assert len(seen) == (5 if kind is MUNIT else 4)
    for name, found in seen.items():
        near(found, record[f'stage_a.{name}'], 5e-5)


def with_parameters(record: dict) -> LayerNorm:
    norm = LayerNorm(3)
    norm.load_state_dict({name: record[f'ln_{name}'].flatten() for name in ('gamma', 'beta')})
    return norm


def test_recorded_layers():
    record = recorded('layers.npz')
    norm = with_parameters(record)
    x = record['ln_x'].requires_grad_()
    y = norm(x)
    (y * record['ln_w']).sum().backward()
    near(y, record['ln_y'], 3e-6)
    near(norm(x[:1]), record['ln_y_single'], 3e-6)
    for found, name in ((x, 'dx'), (norm.gamma, 'dgamma'), (norm.beta, 'dbeta')):
        near(found.grad, record[f'ln_{name}'].view_as(found), 3e-6 * found.grad.abs().max().item())
    x, params = record['adain_x'].requires_grad_(), record['adain_params'].requires_grad_()
    beta, gamma = params.chunk(2, 1)
    y = AdaIN(3)(x, gamma, beta)
    (y * record['ln_w']).sum().backward()
    near(y, record['adain_y'], 3e-6)
    near(x.grad, record['adain_dx'], 3e-6 * x.grad.abs().max().item())
    near(params.grad, record['adain_dparams'], 3e-6 * params.grad.abs().max().item())
    near(InstanceNorm(3)(record['adain_x']), record['in_y'], 3e-6)
    pooled = F.avg_pool2d(record['pool_x'], 3, 2, 1, count_include_pad=False)
    near(pooled, record['pool_y'], 3e-6)


def test_recorded_layers_of_small_numbers():
    """A wrong place of eps would show here."""
    record = recorded('layers.npz')
    beta, gamma = record['adain_params'].chunk(2, 1)
    x = record['small_adain_x']
    near(with_parameters(record)(record['small_ln_x']), record['small_ln_y'], 3e-6)
    near(AdaIN(3)(x, gamma, beta), record['small_adain_y'], 3e-6)
    near(InstanceNorm(3)(x), record['small_in_y'], 3e-6)


# -------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize('deviation', [1.0, 4e-3, 1e-5])
def test_layer_norm_by_its_formula(deviation):
    """Values and gradients, also where eps is as large as the deviation."""
    torch.manual_seed(0)
    norm, weight = LayerNorm(3), torch.randn(2, 3, 4, 5)
    x = (0.3 + deviation * torch.randn(2, 3, 4, 5)).requires_grad_()
    bias = torch.zeros(3, requires_grad=True)
    leaves = [x, bias, norm.gamma, norm.beta]
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    z = wide[0] + wide[1][:, None, None]
    mean = z.mean((1, 2, 3), keepdim=True)
    std = ((z - mean).square().sum((1, 2, 3), keepdim=True) / 59).sqrt()
    expected = (z - mean) / (std + 1e-5) * wide[2][:, None, None] + wide[3][:, None, None]
    found = norm(x, bias=bias)
    # x is rounded to 3e-8 at 0.3
    assert_close(found.double(), expected, atol=3e-6 + 2e-7 / deviation, rtol=0)
    for one, two in zip(
        torch.autograd.grad(found, leaves, weight),
        torch.autograd.grad(expected, wide, weight.double()),
        strict=True,
    ):
        scale = two.abs().max().item()
        assert_close(one.double(), two, atol=(3e-5 + 1e-7 / deviation) * scale, rtol=0)


def test_a_map_of_one_number_has_no_infinite_gradient():
    x = torch.full((1, 3, 4, 4), 0.25, requires_grad=True)
    norm = LayerNorm(3)
    y = norm(x)
    y.backward(torch.randn(y.shape))
    assert torch.equal(y, torch.zeros_like(y)) and x.grad.isfinite().all()


def test_adain_is_an_instance_norm_with_scales_and_shifts_of_each_sample():
    torch.manual_seed(0)
    x, gamma, beta = torch.randn(2, 3, 5, 6) * 3 + 1, torch.randn(2, 3), torch.randn(2, 3)
    expected = F.instance_norm(x) * gamma[:, :, None, None] + beta[:, :, None, None]
    near(AdaIN(3)(x, gamma, beta), expected, 3e-6)


def test_the_perceptron_gives_shifts_first():
    """A decoder whose perceptron returns only a shift of the first norm, or only a scale."""
    decoder = MUNITDecoder(base_channels=2, num_blocks=1, style_dim=3, mlp_channels=4)
    with torch.no_grad():
        decoder.mlp[2].weight.zero_()
        decoder.mlp[2].bias.copy_(torch.arange(32.0))
    ((gamma1, beta1, gamma2, beta2),) = decoder.styles(torch.randn(2, 3, 1, 1))
    for found, start in ((beta1, 0), (gamma1, 8), (beta2, 16), (gamma2, 24)):
        assert torch.equal(found, torch.arange(start, start + 8.0).expand(2, 8))


@torch.no_grad()
def test_plain_networks_of_the_same_weights():
    """Reflection, nearest up-sampling, pooling without its padding, in torch's own layers."""
    model = tiny(MUNIT)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    x, style = torch.rand(2, 3, 32, 40) * 2 - 1, torch.randn(2, 4, 1, 1)

    def conv(layer: nn.Module, x: Tensor, pad: int, stride: int = 1) -> Tensor:
        return F.conv2d(F.pad(x, (pad,) * 4, 'reflect'), layer.weight, layer.bias, stride)

    def block(layer: nn.Module, x: Tensor, *norms) -> Tensor:
        y = norms[0](conv(layer.conv1, x, 1)).relu()
        return x + norms[1](conv(layer.conv2, y, 1))

    def adain(gamma: Tensor, beta: Tensor):
        return lambda x: F.instance_norm(x) * gamma[..., None, None] + beta[..., None, None]

    encoder = model.encoders['A'].layers
    code = F.instance_norm(conv(encoder[0].conv, x, 3)).relu()
    for layer in encoder[1:3]:
        code = F.instance_norm(conv(layer.conv, code, 1, 2)).relu()
    for layer in encoder[3:]:
        code = block(layer, code, F.instance_norm, F.instance_norm)
    near(model.encoders['A'](x), code, 1e-5)

    reader = model.style_encoders['A']
    y = conv(reader.layers[0], x, 3).relu()
    for layer in reader.layers[1:]:
        y = conv(layer, y, 1, 2).relu()
    y = F.linear(y.mean((2, 3)), reader.style.weight, reader.style.bias)
    near(reader(x), y[:, :, None, None], 1e-5)

    decoder = model.generators['B']
    y = code
    for layer, (g1, b1, g2, b2) in zip(decoder.blocks, decoder.styles(style), strict=True):
        y = block(layer, y, adain(g1, b1), adain(g2, b2))
    for layer in decoder.decoder[1:4:2]:
        y = conv(layer.conv, F.interpolate(y, scale_factor=2, mode='nearest'), 2)
        std, mean = torch.std_mean(y, (1, 2, 3), keepdim=True)
        y = (y - mean) / (std + 1e-5) * layer.norm.gamma[:, None, None]
        y = (y + layer.norm.beta[:, None, None]).relu()
    y = conv(decoder.decoder[4], y, 3).tanh()
    near(model.translation(x, 'B', style=style), y, 1e-5)

    judge, scaled = model.discriminators['B'], x
    for scale, found in zip(judge.scales, judge(x), strict=True):
        y = scaled
        for layer in scale[:-1]:
            y = F.leaky_relu(conv(layer, y, 1, 2), 0.2)
        near(found, scale[-1](y), 1e-5)
        count = F.avg_pool2d(F.pad(torch.ones_like(scaled), (1,) * 4), 3, 2)
        scaled = F.avg_pool2d(F.pad(scaled, (1,) * 4), 3, 2) / count


# --------------------------------------------------------------------------- sizes and weights


def test_numbers_of_weights_of_full_size():
    """As in the official programs (fixtures: counts.json)."""
    with torch.device('meta'):
        networks = {
            'content encoder': MUNITEncoder(),
            'style encoder': MUNITStyleEncoder(),
            "MUNIT's decoder": MUNITDecoder(),
            "UNIT's decoder": UNITDecoder(),
            'discriminator': MUNITDiscriminator(),
        }
    assert {k: sum(p.numel() for p in v.parameters()) for k, v in networks.items()} == {
        'content encoder': 5_385_856,
        'style encoder': 2_764_936,
        "MUNIT's decoder": 1_120_768 + 5_754_627,
        "UNIT's decoder": 11_140_483 - 5_385_856,
        'discriminator': 8_271_171,
    }
    with torch.device('meta'):
        logits = networks['discriminator'](torch.empty(1, 3, 256, 256))
        code = networks['content encoder'](torch.empty(1, 3, 256, 256))
    assert [tuple(logit.shape[2:]) for logit in logits] == [(16, 16), (8, 8), (4, 4)]
    assert code.shape == (1, 256, 64, 64)


def test_counts_are_the_recorded_ones():
    counts = json.loads((fixtures() / 'counts.json').read_text())
    assert '15026187' in (text := json.dumps(counts)) and '11140483' in text
    assert '8271171' in text


@KINDS
def test_first_weights(kind):
    """N(0, 2 / fan_in) in encoders and decoders, N(0, 0.02) in D, LN's scales from [0, 1]."""
    wide = {'base_channels': 16}
    model = tiny(kind, encoder=wide, generator=wide, discriminator=wide)
    seen = 0
    for name, value in model.named_parameters():
        if name.endswith(('bias', 'beta')):
            assert not value.any(), name
        elif name.endswith('gamma'):
            assert value.min() >= 0 and value.max() <= 1 and value.std() > 0.1, name
        elif value.numel() > 2000:
            std = 0.02 if name.startswith('dis') else math.sqrt(2 / value[0].numel())
            assert value.std().item() == pytest.approx(std, rel=0.06), name
            assert value.mean().abs().item() < 5 * std / value.numel() ** 0.5, name
            seen += 1
    assert seen > 20


def test_first_weights_are_the_recorded_ones():
    """Every tensor at full size, by its standard deviation; the official draws differ."""
    stats = json.loads((fixtures() / 'init_stats.json').read_text())
    for name, of_tensor in stats.items():
        shape, std = of_tensor['shape'], of_tensor['std']
        count, inputs = math.prod(shape), math.prod(shape[1:])
        if name.endswith('weight'):
            wanted = 0.02 if '.dis_' in name else math.sqrt(2 / inputs)
        else:
            wanted = math.sqrt(1 / 12) if name.endswith('gamma') else 0.0
        assert std == pytest.approx(wanted, rel=5 / count**0.5, abs=1e-12), name


# -------------------------------------------------------------------------------------- errors


def test_errors_say_what_is_wrong():
    image = torch.zeros(1, 3, 32, 32)
    for network, x, said in (
        (MUNITEncoder(3, 2, 1), image[:, :2], r'the encoder takes \(N, 3, H, W\)'),
        (MUNITEncoder(3, 2, 1), image[..., :30], 'multiples of 4 from 8 on, got 32x30'),
        (MUNITStyleEncoder(3, 2, 2), image[..., :12], '32x12 are too small for the style encoder'),
        (UNITDecoder(3, 2, 1), image, r'the decoder takes \(N, 8, H, W\)'),
        (MUNITDiscriminator(3, 2), image, 'too small for the discriminator, which needs 61'),
    ):
        with pytest.raises(ValueError, match=said):
            network(x)
    with pytest.raises(ValueError, match=r"decoder's perceptron takes \(N, 2, H, W\)"):
        MUNITDecoder(3, 2, 1, 2)(torch.zeros(1, 8, 8, 8), torch.zeros(1, 3, 1, 1))
    with pytest.raises(ValueError, match='num_scales must be 1 or more'):
        MUNITDiscriminator(num_scales=0)
    judge = MUNITDiscriminator(3, 2)
    assert judge.min_size == 61 and judge.fitting(32) == {'num_layers': 3}
    assert [len(judge(torch.zeros(1, 3, 61, 64))), judge.fitting(4)] == [3, None]
