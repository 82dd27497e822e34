"""The perceptual loss of MUNIT and UNIT: recorded numbers, its file, its use in a step."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import batch
from munit_helpers import MUNIT, UNIT, pixels, recorded, tiny, wrappers

from ugatit_mm.models.losses import LossTerms, perceptual_loss
from ugatit_mm.models.losses.perceptual_loss import BLOCKS, PLACES, PerceptualFeatures

NAMES = [f'conv{b}_{i}' for b, widths in BLOCKS.items() for i in range(1, len(widths))]


@pytest.fixture(scope='module')
def vgg(tmp_path_factory) -> str:
    """A file of random weights, drawn like the recorded ones."""
    rng, state = np.random.RandomState(0), {}
    pairs = [pair for w in BLOCKS.values() for pair in pairwise(w)]
    for name, (inputs, outputs) in zip(NAMES, pairs, strict=True):
        kernel = rng.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        bias = rng.standard_normal(outputs) * 0.1
        state[f'{name}.weight'], state[f'{name}.bias'] = (
            torch.from_numpy(value.astype(np.float32)) for value in (kernel, bias)
        )
    path = tmp_path_factory.mktemp('vgg') / 'vgg16.pth'
    torch.save(state, path)
    return str(path)


def loss_of(features: PerceptualFeatures, image: torch.Tensor, source: torch.Tensor):
    losses = LossTerms()
    losses.add('loss', features.mean(image, source))
    return losses.compute()[0]


def test_recorded_numbers(vgg):
    record, features = recorded('vgg.npz'), PerceptualFeatures(vgg)
    weight, bias = (features.network['conv1_1'].weight, features.network['conv5_3'].bias)
    assert weight.flatten()[0] == record['conv1_1_weight_first'].flatten()[0]
    assert bias[0] == record['conv5_3_bias_first'].flatten()[0]
    image, source = pixels(record['image']).requires_grad_(), pixels(record['target'])
    for images, name in ((image, 'image'), (source, 'target')):
        found = features.relu5_3(images)[:, :16]
        wanted = record[f'relu5_3_{name}_first16']
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())
    loss = loss_of(features, image, source)
    assert loss.item() == pytest.approx(record['loss'].item(), rel=1e-5)
    loss.backward()
    wanted = record['grad_image']
    atol = 1e-5 * wanted.abs().max().item()
    torch.testing.assert_close(image.grad, wanted, atol=atol, rtol=0)


def test_autocast_changes_nothing(vgg):
    features = PerceptualFeatures(vgg)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.autocast('cpu', torch.bfloat16):
        found = features.relu5_3(image)
    assert torch.equal(found, features.relu5_3(image)) and found.dtype == torch.float32


def test_closed_form_and_names_of_torchvision(vgg, tmp_path):
    """The network in torch's functions; torchvision's names of the same weights."""
    state = torch.load(vgg, weights_only=True)
    theirs = {
        f'features.{place}.{end}': state[f'{name}.{end}']
        for name, place in zip(NAMES, PLACES, strict=True)
        for end in ('weight', 'bias')
    }
    torch.save(theirs | {'classifier.0.bias': torch.ones(1)}, tmp_path / 'named.pth')
    image, source = torch.rand(2, 2, 3, 16, 24).mul(2).sub(1).unbind()

    def plain(x: torch.Tensor) -> torch.Tensor:
        x = 127.5 * (x + 1)
        x = torch.stack([x[:, 2] - 103.939, x[:, 1] - 116.779, x[:, 0] - 123.68], 1)
        for name in NAMES:
            x = F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], padding=1).relu()
            x = F.max_pool2d(x, 2) if name in ('conv1_2', 'conv2_2', 'conv3_3') else x
        return F.instance_norm(x)

    wanted = (plain(image) - plain(source)).square().mean().item()
    for path in (vgg, tmp_path / 'named.pth'):
        assert loss_of(PerceptualFeatures(path), image, source).item() == pytest.approx(
            wanted, 1e-4
        )


@pytest.mark.parametrize('kind', [MUNIT, UNIT], ids=lambda kind: kind.NAME)
def test_its_place_in_a_step(kind, vgg):
    """On the translation and its source; the network is not part of the model."""
    model = tiny(kind, loss_config={'perceptual': 2.0}, vgg_weights=vgg)
    keys = list(model.state_dict())
    optims, seen = wrappers(model), {}
    of_fake = model.of_fake

    def watched(fake, source, domain):
        seen[domain] = fake.detach(), source
        return of_fake(fake, source, domain)

    model.of_fake = watched
    log = dict(model.train_step(batch(), optims))
    assert list(model.state_dict()) == keys
    real = model.data_preprocessor(batch(), True)['inputs']
    for domain, other in ('AB', 'BA'):
        fake, source = seen[domain]
        assert torch.equal(source, real[f'img_{other}'])
        wanted = loss_of(model.features(), fake, source).item()
        assert log[f'loss_perceptual_{domain}'] == pytest.approx(wanted, rel=1e-5)
    plain = sum(
        weight * log[f'loss_{"gan_g" if name == "gan" else name}_{x}']
        for name, weight in model.loss_config.items()
        for x in 'AB'
        if weight
    )
    assert log['loss_g'] == pytest.approx(plain, rel=1e-5)
    assert not any(p.requires_grad for p in model.features().network.parameters())


def test_errors_name_the_option_and_the_file(vgg, tmp_path, monkeypatch):
    model = tiny(UNIT, loss_config={'perceptual': 1.0})
    torch.save({'conv1_1.weight': torch.ones(64, 3, 3, 3)}, tmp_path / 'other.pth')
    torch.save({'features.0.weight': torch.ones(64, 3, 3, 3)}, tmp_path / 'torchvision.pth')
    for path, said in (
        (None, r'set model\.vgg_weights to their file .* it is not downloaded'),
        (tmp_path / 'absent.pth', r'model\.vgg_weights: no checkpoint file .*absent\.pth'),
        (tmp_path / 'other.pth', r'other\.pth is not a VGG16: conv1_1\.bias, .* missing'),
        (tmp_path / 'torchvision.pth', r'torchvision\.pth is not a VGG16: conv1_1\.bias'),
    ):
        model.vgg_weights = path
        with pytest.raises(ValueError, match=said) as caught:
            wrappers(model)
        assert '\n' not in str(caught.value)
    monkeypatch.setattr(perceptual_loss, 'sha256', lambda _: '397923af8e79cdbb')
    with pytest.raises(ValueError, match=r"torchvision's own, which take other inputs: give"):
        wrappers(model)
    grey = {'encoder': {'in_channels': 1}, 'generator': {'out_channels': 1}}
    grey['discriminator'] = {'in_channels': 1}
    with pytest.raises(ValueError, match='perceptual looks at 3 channels, the networks make 1'):
        wrappers(tiny(UNIT, loss_config={'perceptual': 1.0}, vgg_weights=vgg, **grey))
    # Neither translation nor a test needs it.
    image = torch.zeros(1, 3, 16, 16)
    assert tiny(UNIT, loss_config={'perceptual': 1.0}).translation(image, 'B').shape == image.shape
