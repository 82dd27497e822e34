"""The official DRIT program's networks and training step, restated plainly: the baseline.

Source of the facts: the authors' repository HsinYingLee/DRIT (2019), its default of concatenated
attributes, without mode seeking (ECCV 2018); nothing is copied. One call for each pass, with plain
torch.nn parts. Networks and weights carry the official names. Images are RGB in [-1, 1], NCHW, two
of each domain.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Order, adam

STYLE = 8  # size of an attribute
CYCLE, LATENT, KL = 10, 10, 0.01
NETWORKS = ('disA', 'disB', 'disA2', 'disB2', 'disContent', 'enc_c', 'enc_a', 'gen')
CLIP = 5


class Unit(nn.Module):
    """Reflection padding, a convolution, further layers."""

    def __init__(
        self, width: int, out: int, kernel: int, stride: int, padding: int, *rest: nn.Module
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(width, out, kernel, stride)
        self.model = nn.Sequential(nn.ReflectionPad2d(padding), conv, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Block(nn.Module):
    """x + two convolutions with plain instance norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.model(x)


class Noise(nn.Module):
    """Adds N(0, 1) to contents in training; tests set the draws in ``given``."""

    given: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x + (torch.randn_like(x) if self.given is None else self.given.pop(0))


class ContentEncoder(nn.Module):
    """Layers of both domains, and shared layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for domain in 'AB':
            layers: list[nn.Module] = [Unit(3, width, 7, 1, 3, nn.LeakyReLU(inplace=True))]
            for narrow in (width, 2 * width):
                wide = 2 * narrow
                norm = nn.InstanceNorm2d(wide), nn.ReLU(inplace=True)
                layers.append(Unit(narrow, wide, 3, 2, 1, *norm))
            layers += [Block(4 * width) for _ in range(3)]
            self.add_module(f'conv{domain}', nn.Sequential(*layers))
        self.conv_share = nn.Sequential(Block(4 * width), Noise())

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.convA(a), self.convB(b)
        return self.conv_share(a), self.conv_share(b)


class Pooled(nn.Module):
    """Residual block that halves the size, without norms."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        last = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, out, 3), nn.AvgPool2d(2))
        self.conv = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.LeakyReLU(0.2, inplace=True),
            last,
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(width, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)


class AttributeEncoder(nn.Module):
    """Mean and log variance of both domains' attributes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for domain in 'AB':
            layers: list[nn.Module] = [nn.ReflectionPad2d(1), nn.Conv2d(3, width, 4, 2)]
            layers += [Pooled(times * width, (times + 1) * width) for times in (1, 2, 3)]
            layers += [nn.LeakyReLU(0.2, inplace=True), nn.AdaptiveAvgPool2d(1)]
            self.add_module(f'conv_{domain}', nn.Sequential(*layers))
            for head in ('fc', 'fcVar'):
                linear = nn.Sequential(nn.Linear(4 * width, STYLE))
                self.add_module(f'{head}_{domain}', linear)

    def forward(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Mean and log variance of A's, then of B's, (N, STYLE)."""
        found = []
        for domain, image in (('A', a), ('B', b)):
            features = self.get_submodule(f'conv_{domain}')(image).flatten(1)
            found += [self.get_submodule(f'{head}_{domain}')(features) for head in ('fc', 'fcVar')]
        return found


class LayerNorm(nn.Module):
    """Over (C, H, W), with a scale and a shift for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[1:]
        return F.layer_norm(x, shape, self.weight.expand(shape), self.bias.expand(shape))


class Up(nn.Module):
    """Transposed convolution to twice the size, layer norm, ReLU."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d(width, out, 3, stride=2, padding=1, output_padding=1)
        self.model = nn.Sequential(conv, LayerNorm(out), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Generator(nn.Module):
    """Decoders of both domains, and a shared block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        content = 4 * width
        self.dec_share = nn.Sequential(Block(content))
        for domain in 'AB':
            first = (content + 2 * STYLE) // 2
            second = (first + STYLE) // 2
            stages = (
                nn.Sequential(*(Block(content + STYLE) for _ in range(3))),
                nn.Sequential(Up(content + 2 * STYLE, first)),
                nn.Sequential(Up(first + STYLE, second)),
                nn.Sequential(nn.ConvTranspose2d(second + STYLE, 3, 1), nn.Tanh()),
            )
            for number, stage in enumerate(stages, 1):
                self.add_module(f'dec{domain}{number}', stage)

    def forward(self, domain: str, content: Tensor, style: Tensor) -> Tensor:
        x = self.dec_share(content)
        for stage in range(1, 5):
            planes = style[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = self.get_submodule(f'dec{domain}{stage}')(torch.cat([x, planes], 1))
        return x


class Discriminator(nn.Module):
    """Three networks, each of which sees the image at half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        self.Diss = nn.ModuleList(
            nn.Sequential(
                *(
                    Unit(widths[i], widths[i + 1], 4, 2, 1, nn.LeakyReLU(inplace=True))
                    for i in range(4)
                ),
                nn.Conv2d(widths[-1], 1, 1),
            )
            for _ in range(3)
        )
        self.downsample = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        logits = []
        for network in self.Diss:
            logits.append(network(x))
            x = self.downsample(x)
        return logits


class ContentDiscriminator(nn.Module):
    """For contents, which need 53 pixels or more with three strided layers."""

    def __init__(self, channels: int, strided: int) -> None:
        super().__init__()
        units = [
            Unit(channels, channels, 7, 2, 1, nn.LeakyReLU(inplace=True)) for _ in range(strided)
        ]
        square = Unit(channels, channels, 4, 1, 0, nn.LeakyReLU(inplace=True))
        self.model = nn.Sequential(*units, square, nn.Conv2d(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).flatten()


class OfficialOrder(Order):
    """The official program's eight networks, their optimisers and training step.

    The learning rate stays as in the first half of the official training. Initial weights are
    torch's, not the official ones, which does not change the time.

    Args:
        img_size: Side of the images in pixels, 212 or more with three strided layers.
        base_channels: Channels of the encoders' first convolution.
        device: Where the networks live.
        strided: Strided layers of the content discriminator.
    """

    SMALLEST = 216  # the program's crop; with three strided layers 212 would do
    # Every iteration trains everything; attributes are concatenated.
    OPTIONS = {
        'model.d_iter': 1,
        'model.generator.concat': True,
        'model.attribute_encoder.concat': True,
    }

    def __init__(
        self,
        img_size: int = 216,
        base_channels: int = 64,
        device: torch.device | str = 'cpu',
        strided: int = 3,
    ) -> None:
        if img_size % 4:
            raise ValueError(f'img_size must be a multiple of 4, not {img_size}')
        networks: dict[str, nn.Module] = {
            'enc_c': ContentEncoder(base_channels),
            'enc_a': AttributeEncoder(base_channels),
            'gen': Generator(base_channels),
            'disContent': ContentDiscriminator(4 * base_channels, strided),
        }
        networks |= {name: Discriminator(base_channels) for name in NETWORKS[:4]}
        self.networks = nn.ModuleDict({name: networks[name] for name in NETWORKS})
        self.networks.to(device).train()
        self.optimizers = {
            name: adam([network], 4e-5 if name == 'disContent' else 1e-4, weight_decay=1e-4)
            for name, network in self.networks.items()
        }
        self.given: list[Tensor] | None = None

    def draw(self, device: torch.device) -> Tensor:
        """Draw an attribute from N(0, 1), (1, STYLE); tests set the draws in ``given``."""
        return torch.randn(1, STYLE, device=device) if self.given is None else self.given.pop(0)

    def step(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """A full update in the official order: all discriminators, then encoders and generator.

        Args:
            real_A: Two images of domain A, (2, 3, H, W): one that is translated, one that is real
                for random attributes.
            real_B: The same of domain B.

        Returns:
            dict: Loss terms with their weights, detached.
        """
        real = {'A': real_A[:1], 'B': real_B[:1]}
        made = self._forward(real)
        judged = {'A': (real_A, made['fake_A']), 'A2': (real_A, made['random_A'])}
        judged |= {'B': (real_B, made['fake_B']), 'B2': (real_B, made['random_B'])}
        terms = {}
        for name, (images, fake) in judged.items():
            image = images[1:] if name.endswith('2') else images[:1]
            terms[f'dis{name}'] = self._update_discriminator(f'dis{name}', image, fake)
        terms['disContent'] = self._update_content(made['content_A'], made['content_B'])
        terms |= self._update_generators(real, made)
        return {name: term.detach() for name, term in terms.items()}

    def _forward(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        enc_c, enc_a, gen = (self.networks[name] for name in ('enc_c', 'enc_a', 'gen'))
        device = real['A'].device
        content_a, content_b = enc_c(real['A'], real['B'])
        mean_a, var_a, mean_b, var_b = enc_a(real['A'], real['B'])
        style_a = mean_a + self.draw(device) * (0.5 * var_a).exp()
        style_b = mean_b + self.draw(device) * (0.5 * var_b).exp()
        random = self.draw(device)
        made_a = gen(
            'A',
            torch.cat([content_b, content_a, content_b]),
            torch.cat([style_a, style_a, random]),
        )
        made_b = gen(
            'B',
            torch.cat([content_a, content_b, content_a]),
            torch.cat([style_b, style_b, random]),
        )
        fake_a, recon_a, random_a = made_a.split(1)
        fake_b, recon_b, random_b = made_b.split(1)
        again_b, again_a = enc_c(fake_a, fake_b)
        again_mean_a, again_var_a, again_mean_b, again_var_b = enc_a(fake_a, fake_b)
        again_style_a = again_mean_a + self.draw(device) * (0.5 * again_var_a).exp()
        again_style_b = again_mean_b + self.draw(device) * (0.5 * again_var_b).exp()
        latent_a, _, latent_b, _ = enc_a(random_a, random_b)
        return {
            'content_A': content_a,
            'content_B': content_b,
            'mean_A': mean_a,
            'mean_B': mean_b,
            'var_A': var_a,
            'var_B': var_b,
            'fake_A': fake_a,
            'fake_B': fake_b,
            'recon_A': recon_a,
            'recon_B': recon_b,
            'random_A': random_a,
            'random_B': random_b,
            'cycle_A': gen('A', again_a, again_style_a),
            'cycle_B': gen('B', again_b, again_style_b),
            'latent_A': latent_a,
            'latent_B': latent_b,
            'style': random,
        }

    def _update_discriminator(self, name: str, image: Tensor, fake: Tensor) -> Tensor:
        self.optimizers[name].zero_grad()
        judge = self.networks[name]
        loss = _entropy(judge(fake.detach()), 0) + _entropy(judge(image), 1)
        loss.backward()
        self.optimizers[name].step()
        return loss

    def _update_content(self, content_a: Tensor, content_b: Tensor) -> Tensor:
        self.optimizers['disContent'].zero_grad()
        judge = self.networks['disContent']
        loss = _entropy([judge(content_a.detach())], 0) + _entropy([judge(content_b.detach())], 1)
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), CLIP)
        self.optimizers['disContent'].step()
        return loss

    def _update_generators(
        self, real: dict[str, Tensor], made: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        names = ('enc_c', 'enc_a', 'gen')
        terms: dict[str, Tensor] = {}
        for x in 'AB':
            mean, log_var, content = made[f'mean_{x}'], made[f'var_{x}'], made[f'content_{x}']
            divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
            terms |= {
                f'gan_{x}': _entropy(self.networks[f'dis{x}'](made[f'fake_{x}']), 1),
                f'content_{x}': _entropy([self.networks['disContent'](content)], 0.5),
                f'kl_{x}': KL * divergence,
                f'kl_content_{x}': KL * content.square().mean(),
                f'cycle_{x}': CYCLE * F.l1_loss(made[f'cycle_{x}'], real[x]),
                f'recon_{x}': CYCLE * F.l1_loss(made[f'recon_{x}'], real[x]),
            }
        terms['G'] = torch.stack([*terms.values()]).sum()
        self._zero(names)
        terms['G'].backward(retain_graph=True)
        weights = tuple(p for name in names for p in self.networks[name].parameters())
        # PyTorch 0.4 allowed the second backward pass through changed weights.
        with torch.autograd._unsafe_preserve_version_counter(weights):
            self._step(names)
        second: dict[str, Tensor] = {}
        for x in 'AB':
            judge, latent = self.networks[f'dis{x}2'], made[f'latent_{x}']
            second[f'latent_{x}'] = LATENT * F.l1_loss(latent, made['style'])
            second[f'gan2_{x}'] = _entropy(judge(made[f'random_{x}']), 1)
        names = ('enc_c', 'gen')
        self._zero(names)
        torch.stack([*second.values()]).sum().backward()
        self._step(names)
        return terms | second

    def _zero(self, names: Iterable[str]) -> None:
        for name in names:
            self.optimizers[name].zero_grad()

    def _step(self, names: Iterable[str]) -> None:
        for name in names:
            self.optimizers[name].step()


def _entropy(logits: list[Tensor], wanted: float) -> Tensor:
    """Binary cross-entropy of each scale's probabilities, summed."""
    terms = [
        F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, wanted))
        for logit in logits
    ]
    return torch.stack(terms).sum()
