"""The official PyTorch program's networks and training step, restated plainly: the baseline.

Source of the facts: ``networks.py`` and ``UGATIT.py`` of znxlwm/UGATIT-pytorch; nothing is copied.
It does not use ``ugatit_mm``, on purpose: plain torch.nn parts, one call for each translation,
redundant work is done where the program does it. The weights carry the official names, so that
official checkpoints load strictly. Images are RGB in [-1, 1], NCHW.
"""

from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from .parts import Order, adam

ADVERSARIAL, CYCLE, IDENTITY, CAM = 1, 10, 10, 1000
SCALES = {'G': 5, 'L': 3}  # stride-2 convolutions of the global and the local discriminator
GENERATORS = ('genA2B', 'genB2A')
DISCRIMINATORS = tuple(f'dis{scale}{domain}' for domain in 'AB' for scale in SCALES)


def reflected(
    channels: int, out_channels: int, kernel: int, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Reflection padding that keeps the size at stride 1, and a convolution without bias."""
    conv = nn.Conv2d(channels, out_channels, kernel, stride, bias=False)
    return nn.ReflectionPad2d(kernel // 2), conv


class MixedNorm(nn.Module):
    """Instance and layer norm mixed by rho (equation 1 of the paper), by the plain formula.

    Both norms take the unbiased variance.

    Args:
        channels: Channels of the input.
        rho: Initial rho: 1 is instance norm, 0 layer norm.
        affine: With its own gamma and beta (ILN) instead of the MLP's (AdaILN).
    """

    def __init__(self, channels: int, rho: float, affine: bool) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((1, channels, 1, 1), rho))
        if affine:
            self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
            self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        """Normalise ``x``; gamma and beta, (N, C), if the module has none."""
        instance, layer = (
            (x - x.mean(dims, keepdim=True)) / torch.sqrt(x.var(dims, keepdim=True) + 1e-5)
            for dims in ((2, 3), (1, 2, 3))
        )
        mixed = self.rho * instance + (1 - self.rho) * layer
        if gamma is None:
            return mixed * self.gamma + self.beta
        return mixed * gamma[:, :, None, None] + beta[:, :, None, None]


class EncoderBlock(nn.Module):
    """x + two convolutions with plain instance norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *reflected(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            *reflected(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class DecoderBlock(nn.Module):
    """x + two convolutions with AdaILN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pad1, self.conv1 = reflected(channels, channels, 3)
        self.pad2, self.conv2 = reflected(channels, channels, 3)
        self.norm1 = MixedNorm(channels, rho=0.9, affine=False)
        self.norm2 = MixedNorm(channels, rho=0.9, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(self.pad1(x)), gamma, beta))
        return self.norm2(self.conv2(self.pad2(y)), gamma, beta) + x


class Attending(nn.Module):
    """What the generator and the discriminator share: the CAM, a classifier for each pooling.

    The channel weights are the classifiers' parameters as they are stored: in a discriminator
    those before the spectral norm divides them.
    """

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weigh features.

        Args:
            x: Features, (N, C, H, W).

        Returns:
            tuple: Features after the 1x1 convolution, (N, C, H, W), the two logits, (N, 2), and
            the heatmap, (N, 1, H, W), which is the sum over those features' channels.
        """
        logits, weighted = [], []
        pools = (F.adaptive_avg_pool2d, self.gap_fc), (F.adaptive_max_pool2d, self.gmp_fc)
        for pool, classifier in pools:
            logits.append(classifier(pool(x, 1).flatten(1)))
            weight = next(classifier.parameters())  # (1, C)
            weighted.append(x * weight[:, :, None, None])
        features = self.activation(self.conv1x1(torch.cat(weighted, 1)))
        return features, torch.cat(logits, 1), features.sum(1, keepdim=True)


class Generator(Attending):
    """An image to the other domain.

    Args:
        light: The MLP sees each channel's mean instead of all features.
        img_size: Side of the images; the full MLP fits only this size.
        base_channels: Channels of the first convolution.
        num_blocks: Residual blocks of the encoder, and of the decoder.
    """

    def __init__(self, light: bool, img_size: int, base_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.light = light
        width, bottleneck = base_channels, 4 * base_channels

        encoder: list[nn.Module] = []
        for channels, out_channels, kernel, stride in (
            (3, width, 7, 1),
            (width, 2 * width, 3, 2),
            (2 * width, bottleneck, 3, 2),
        ):
            encoder += reflected(channels, out_channels, kernel, stride)
            encoder += [nn.InstanceNorm2d(out_channels), nn.ReLU(inplace=True)]
        encoder += [EncoderBlock(bottleneck) for _ in range(num_blocks)]
        self.DownBlock = nn.Sequential(*encoder)

        self.gap_fc = nn.Linear(bottleneck, 1, bias=False)
        self.gmp_fc = nn.Linear(bottleneck, 1, bias=False)
        self.conv1x1 = nn.Conv2d(2 * bottleneck, bottleneck, 1)
        self.activation = nn.ReLU(inplace=True)

        pixels = 1 if light else (img_size // 4) ** 2
        self.FC = nn.Sequential(
            nn.Linear(pixels * bottleneck, bottleneck, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(bottleneck, bottleneck, bias=False),
            nn.ReLU(inplace=True),
        )
        self.gamma = nn.Linear(bottleneck, bottleneck, bias=False)
        self.beta = nn.Linear(bottleneck, bottleneck, bias=False)

        self.block_names = [f'UpBlock1_{i + 1}' for i in range(num_blocks)]
        for name in self.block_names:
            self.add_module(name, DecoderBlock(bottleneck))
        decoder: list[nn.Module] = []
        for channels in (bottleneck, 2 * width):
            decoder += [
                nn.Upsample(scale_factor=2, mode='nearest'),
                *reflected(channels, channels // 2, 3),
                MixedNorm(channels // 2, rho=0.0, affine=True),
                nn.ReLU(inplace=True),
            ]
        self.UpBlock2 = nn.Sequential(*decoder, *reflected(width, 3, 7), nn.Tanh())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Translate (N, 3, H, W): the image, CAM logits (N, 2), heatmap (N, 1, H/4, W/4)."""
        x, logits, heatmap = self.attend(self.DownBlock(image))
        style = self.FC((F.adaptive_avg_pool2d(x, 1) if self.light else x).flatten(1))
        gamma, beta = self.gamma(style), self.beta(style)
        for name in self.block_names:
            x = self.get_submodule(name)(x, gamma, beta)
        return self.UpBlock2(x), logits, heatmap


class Discriminator(Attending):
    """Real or fake at one scale.

    Args:
        base_channels: Channels of the first convolution; each further one doubles them.
        downsamplings: Convolutions of stride 2, before one of stride 1 and the classifier.
    """

    def __init__(self, base_channels: int, downsamplings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, out_channels = 3, base_channels
        for stride in [2] * downsamplings + [1]:
            conv = nn.Conv2d(channels, out_channels, 4, stride)
            layers += [nn.ReflectionPad2d(1), spectral_norm(conv), nn.LeakyReLU(0.2, inplace=True)]
            channels, out_channels = out_channels, 2 * out_channels
        self.model = nn.Sequential(*layers)
        self.gap_fc = spectral_norm(nn.Linear(channels, 1, bias=False))
        self.gmp_fc = spectral_norm(nn.Linear(channels, 1, bias=False))
        self.conv1x1 = nn.Conv2d(2 * channels, channels, 1)
        self.activation = nn.LeakyReLU(0.2, inplace=True)
        self.pad = nn.ReflectionPad2d(1)
        self.conv = spectral_norm(nn.Conv2d(channels, 1, 4, bias=False))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge (N, 3, H, W): logits (N, 1, h, w), CAM logits (N, 2), heatmap (N, 1, h+1, w+1)."""
        x, logits, heatmap = self.attend(self.model(image))
        return self.conv(self.pad(x)), logits, heatmap


class OfficialOrder(Order):
    """The official program's six networks, two optimisers and training step.

    The learning rate stays at 1e-4, as in the first half of the official training.

    Args:
        img_size: Side of the images in pixels, a multiple of 4; the global discriminator, so a
            step, needs at least 96.
        base_channels: Channels of each network's first convolution.
        device: Where the networks live.
        light: The light variant.
        num_blocks: Residual blocks of a generator's encoder, and of its decoder.
    """

    OPTIONS = {'model.recipe': 'pytorch'}

    def __init__(
        self,
        img_size: int = 256,
        base_channels: int = 64,
        device: torch.device | str = 'cpu',
        light: bool = False,
        num_blocks: int = 4,
    ) -> None:
        if img_size % 4:
            raise ValueError(f'img_size must be a multiple of 4, not {img_size}')
        networks: dict[str, nn.Module] = {
            name: Generator(light, img_size, base_channels, num_blocks) for name in GENERATORS
        }
        for name in DISCRIMINATORS:
            networks[name] = Discriminator(base_channels, SCALES[name[3]])
        self.networks = nn.ModuleDict(networks).to(device).train()
        self.optimizer_G, self.optimizer_D = (
            adam((self.networks[name] for name in names), 1e-4, weight_decay=1e-4)
            for names in (GENERATORS, DISCRIMINATORS)
        )

    def step(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """One training step in the official order: D's update, then G's.

        Args:
            real_A: Images of domain A, (N, 3, H, W).
            real_B: Images of domain B, of the same shape.

        Returns:
            dict: Every loss term before weighting, ``d_adv_GA`` and so on, and the weighted totals
            ``d_loss`` and ``g_loss``; detached.
        """
        terms = self._update_discriminators(real_A, real_B)
        terms |= self._update_generators(real_A, real_B)
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def translate(self, real_A: Tensor) -> Tensor:
        """Images of domain A, (N, 3, H, W), to domain B."""
        return self.networks['genA2B'](real_A)[0]

    def _update_discriminators(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        self.optimizer_D.zero_grad()
        # Not detached: the backward pass goes on into the generators; those gradients are unused.
        fake_B = self.networks['genA2B'](real_A)[0]
        fake_A = self.networks['genB2A'](real_B)[0]
        terms: dict[str, Tensor] = {}
        for domain, real, fake in (('A', real_A, fake_A), ('B', real_B, fake_B)):
            for scale in SCALES:
                judge = self.networks[f'dis{scale}{domain}']
                real_logit, real_cam, _ = judge(real)
                fake_logit, fake_cam, _ = judge(fake)
                terms[f'd_adv_{scale}{domain}'] = _squared(real_logit, 1) + _squared(fake_logit, 0)
                terms[f'd_cam_{scale}{domain}'] = _squared(real_cam, 1) + _squared(fake_cam, 0)
        terms['d_loss'] = ADVERSARIAL * sum(terms.values())
        terms['d_loss'].backward()
        self.optimizer_D.step()
        return terms

    def _update_generators(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        self.optimizer_G.zero_grad()
        A2B, B2A = self.networks['genA2B'], self.networks['genB2A']
        # All translations again, also the two that D's update made with the same weights.
        fake_B, fake_B_cam, _ = A2B(real_A)
        fake_A, fake_A_cam, _ = B2A(real_B)
        cycle_A, cycle_B = B2A(fake_B)[0], A2B(fake_A)[0]
        same_A, same_A_cam, _ = B2A(real_A)
        same_B, same_B_cam, _ = A2B(real_B)
        terms: dict[str, Tensor] = {}
        for domain, fake in (('A', fake_A), ('B', fake_B)):
            for scale in SCALES:
                # D's weights accumulate gradients here, too; the next D update clears them.
                logit, cam, _ = self.networks[f'dis{scale}{domain}'](fake)
                terms[f'g_adv_{scale}{domain}'] = _squared(logit, 1)
                terms[f'g_advcam_{scale}{domain}'] = _squared(cam, 1)
        loss = ADVERSARIAL * sum(terms.values())
        terms |= {
            'g_cycle_A': F.l1_loss(cycle_A, real_A),
            'g_cycle_B': F.l1_loss(cycle_B, real_B),
            'g_identity_A': F.l1_loss(same_A, real_A),
            'g_identity_B': F.l1_loss(same_B, real_B),
            # A generator's classifier separates images to translate (1) from its target's (0).
            'g_cam_A': _cross_entropy(fake_A_cam, 1) + _cross_entropy(same_A_cam, 0),
            'g_cam_B': _cross_entropy(fake_B_cam, 1) + _cross_entropy(same_B_cam, 0),
        }
        for kind, weight in (('cycle', CYCLE), ('identity', IDENTITY), ('cam', CAM)):
            loss = loss + weight * (terms[f'g_{kind}_A'] + terms[f'g_{kind}_B'])
        terms['g_loss'] = loss
        loss.backward()
        self.optimizer_G.step()
        with torch.no_grad():
            for module in chain(A2B.modules(), B2A.modules()):
                if isinstance(module, MixedNorm):
                    module.rho.clamp_(0, 1)
        return terms


def _squared(logits: Tensor, target: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, target))


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
