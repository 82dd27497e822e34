"""DRIT as a translation model (Lee et al., ECCV 2018, section 3)."""

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any, NamedTuple

import torch
from mmagic.registry import MODELS
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from ...domains import DOMAINS, other
from ...messages import check_choice, check_counts
from ..base import Step, Translated, UnpairedTranslation, translation_model, unwrap
from ..base.step import Loss
from ..layers import uses_of
from ..losses import LossTerms, Mean
from .drit_discriminator import DRITContentDiscriminator, DRITDiscriminator
from .drit_encoder import ContentEncoders, DRITAttributeEncoder, DRITContentEncoder, contents
from .drit_generator import DRITGenerator, Generators, features
from .weights import networks_in

SECOND_PASSES = ('stale', 'together')
LAST_BATCHES = 2  # at the end of an epoch; these update everything


class Made(NamedTuple):
    """Outputs of an iteration for a pair of images, each by domain.

    Attributes:
        content: Of the images, with noise, (1, C, h, w).
        mean: Mean of the images' attributes, (1, S).
        log_variance: Their log variance, (1, S); ``None`` if attributes are not drawn.
        fake: Translations into the domain, with the attribute of its image, (1, C, H, W).
        recon: Reconstruction of its image from its own content and attribute.
        random: Translations into the domain with random attributes, one or two.
        cycle: Reconstruction of its image from the content and the attribute of translations.
        latent: Attribute that is encoded from the first of ``random``, (1, S).
    """

    content: dict[str, Tensor]
    mean: dict[str, Tensor]
    log_variance: dict[str, Tensor | None]
    fake: dict[str, Tensor]
    recon: dict[str, Tensor]
    random: dict[str, list[Tensor]]
    cycle: dict[str, Tensor]
    latent: dict[str, Tensor]


@translation_model
class DRIT(UnpairedTranslation):
    """A content that the domains share, an attribute of each, and a content discriminator.

    As the official program (HsinYingLee/DRIT) trains it, with its recipe for ECCV 2018. A batch has
    two images of each domain: the first is translated, the second is only a real image for the
    discriminators of random attributes. Two of three iterations train only the content
    discriminator.

    In an iteration that trains everything the second update of encoders and generators runs its
    backward pass through activations from before the first, as the program does under PyTorch 0.4,
    which allowed it: ``second_pass='stale'``. With ``'together'`` both gradients are computed
    before the first update; both optimisers then step one after the other.

    Args:
        encoder: Config of the content encoders.
        generator: Config of the generators. Its widths and ``concat`` (concatenated or feature-wise
            attributes) equal those of the encoders.
        attribute_encoder: Config of the attribute encoders.
        discriminator: Config of both kinds of image discriminators, or ``None`` for inference only.
        content_discriminator: Config of the content discriminator, or ``None`` as above.
        d_iter: One in ``d_iter`` iterations trains more than the content discriminator.
        epoch_images: Number of images of the larger training set; the last two iterations of an
            epoch train everything. ``None``: no epochs.
        content_max_norm: Largest norm of the content discriminator's gradient; a larger one is
            scaled down.
        second_pass: See above.
        loss_config: Loss weights that override ``LOSS_WEIGHTS``. ``mode_seeking``, DRIT++'s
            regularisation, is off in the recipe; in the official code it is on, 1, since April
            2019. It adds a second translation with random attributes, which the discriminators see,
            too.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown domain, loss weight or ``second_pass``, a count below 1, or networks
            whose widths do not match.
    """

    NAME = 'drit'
    ROW = 'DRIT'
    PARTS = {
        'encoders': 'encoder',
        'attribute_encoders': 'attribute_encoder',
        'generators': 'generator',
        'discriminators': 'discriminator',
        'random_discriminators': 'discriminator',
        'content_discriminator': 'content_discriminator',
    }
    TRANSLATES = ('encoders', 'attribute_encoders', 'generators')
    OPTIMIZED = {
        'discriminators': ('discriminators', 'random_discriminators'),
        'content_discriminator': ('content_discriminator',),
        'generators': TRANSLATES,
    }
    CHANNELS_LAST = TRANSLATES
    NETWORKS = {
        'encoder': DRITContentEncoder,
        'attribute_encoder': DRITAttributeEncoder,
        'generator': DRITGenerator,
        'discriminator': DRITDiscriminator,
        'content_discriminator': DRITContentDiscriminator,
    }
    BOUNDS = {
        'encoder': {'in_channels': 64, 'base_channels': 1024},
        'attribute_encoder': {'in_channels': 64, 'base_channels': 1024, 'style_dim': 1024},
        'generator': {'out_channels': 64, 'base_channels': 1024, 'style_dim': 1024},
        'discriminator': {
            'in_channels': 64,
            'base_channels': 1024,
            'num_scales': 16,
            'num_layers': 16,
            'kernel_size': 4,
        },
        'content_discriminator': {'base_channels': 1024, 'num_layers': 16},
    }
    LOSS_WEIGHTS = {
        'gan': 1.0,
        'content': 1.0,
        'cycle': 10.0,
        'recon': 10.0,
        'latent': 10.0,
        'kl': 0.01,
        'kl_content': 0.01,
        'mode_seeking': 0.0,
    }
    RATES = {'discriminators': 1e-4, 'content_discriminator': 4e-5, 'generators': 1e-4}
    INTERPOLATION = 'bicubic'
    EVEN_D_LOSS = 2 * log(2)
    BATCH_SIZE = 2
    ACCUMULATES = False

    def __init__(
        self,
        encoder: dict,
        generator: dict,
        attribute_encoder: dict,
        discriminator: dict | None = None,
        content_discriminator: dict | None = None,
        d_iter: int = 3,
        epoch_images: int | None = None,
        content_max_norm: float = 5.0,
        second_pass: str = 'stale',
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        check_counts(d_iter=d_iter)
        if epoch_images is not None and epoch_images < self.BATCH_SIZE:
            raise ValueError(f'epoch_images must be 2 or more, got {epoch_images}')
        check_choice('second_pass', second_pass, SECOND_PASSES)
        targets = self.check_targets(fields.get('targets'))
        sources = [domain for domain in DOMAINS if other(domain) in targets]
        generators = self.build_networks(generator, targets)
        encoders = self.build_networks(encoder, sources)
        attributes = self.build_networks(attribute_encoder, targets)
        judges = None
        if content_discriminator is not None:
            judges = nn.ModuleDict({'shared': MODELS.build(content_discriminator)})
        _check_widths(
            {
                'encoder': encoders.get(sources[0]),
                'generator': generators.get(targets[0]),
                'attribute_encoder': attributes.get(targets[0]),
                'content_discriminator': judges and judges['shared'],
            }
        )
        super().__init__(
            {
                'encoders': ContentEncoders(encoders),
                'attribute_encoders': nn.ModuleDict(attributes),
                'generators': Generators(generators),
                'discriminators': self._judges(discriminator, targets),
                'random_discriminators': self._judges(discriminator, targets),
                'content_discriminator': judges,
            },
            loss_config=loss_config,
            **fields,
        )
        self.d_iter = d_iter
        self.epoch_images = epoch_images
        self.content_max_norm = content_max_norm
        self.second_pass = second_pass
        network: Any = generators[targets[0]]
        self.concat: bool = network.concat
        self.style_dim: int = network.style_dim

    @classmethod
    def _judges(cls, cfg: dict | None, targets: Sequence[str]) -> nn.ModuleDict | None:
        return None if cfg is None else nn.ModuleDict(cls.build_networks(cfg, targets))

    # ---------------------------------------------------------------- training

    def trains_all(self, iteration: int) -> bool:
        """Whether an iteration trains more than the content discriminator.

        The official loader counts a last batch of one image, but the program skips it.
        """
        if self.epoch_images is None:
            return (iteration + 1) % self.d_iter == 0
        place = iteration % (self.epoch_images // 2)
        last = place >= -(-self.epoch_images // 2) - LAST_BATCHES
        return last or (place + 1) % self.d_iter == 0

    @property
    def phase(self) -> bool:
        """Whether this iteration trains more than the content discriminator."""
        return self.trains_all(self.update_begun)

    def is_turn(self, name: str, optims: OptimWrapperDict) -> bool:
        """Whether an optimiser's parts learn in this iteration."""
        return super().is_turn(name, optims) and (name == 'content_discriminator' or self.phase)

    @property
    def seeks_modes(self) -> bool:
        """Whether two translations of random attributes are compared."""
        return self.loss_config['mode_seeking'] != 0

    @property
    def drawn_styles(self) -> list[str]:
        """Names of the attributes that a full iteration draws, in the order of the draws."""
        first, last = ['own_A', 'own_B'], ['fake_A', 'fake_B']
        random = ['random', 'random2'] if self.seeks_modes else ['random']
        return [*first, *random, *last] if self.concat else random

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw noise on the contents, and attributes, from N(0, 1).

        Returns:
            ``noise`` on the contents of A and B, then on those of the translations into A and B, (2
            or 4, 1, C, h, w), and ``styles``, rows of ``drawn_styles``, (rows, 1, style_dim).

        Raises:
            ValueError: The batch does not have two images.
        """
        images = real['A']
        if any(len(each) != self.BATCH_SIZE for each in real.values()):
            raise ValueError(
                f'DRIT trains on batches of 2, not of {len(images)}: the second '
                'image is the real one for random attributes'
            )
        channels = unwrap(self.encoders)['A'].content_channels
        size = (1, channels, images.size(2) // 4, images.size(3) // 4)
        whole, device = self.phase, images.device
        drawn = {'noise': torch.randn((4 if whole else 2, *size), device=device)}
        if whole:
            rows = len(self.drawn_styles)
            drawn['styles'] = torch.randn((rows, 1, self.style_dim), device=device)
        return drawn

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """Translate; update the discriminators, the content discriminator, the generators twice.

        Other iterations encode the images and update only the content discriminator.
        """
        first = {domain: images[:1] for domain, images in real.items()}
        noise, whole = step.drawn['noise'], self.phase
        with step.passes('generators'):
            if whole:
                styles = dict(zip(self.drawn_styles, step.drawn['styles'], strict=True))
                made = self.make(first, noise, styles)
                content = made.content
            else:
                found = contents(unwrap(self.encoders), first)
                content = {x: found[x] + noise[i] for i, x in enumerate(DOMAINS)}
        if whole:
            step.update('discriminators', lambda: self.compute_d_loss(real, made))
        step.update(
            'content_discriminator',
            lambda: self.compute_content_loss(content),
            clip=self.content_max_norm,
        )
        if whole:
            self._update_generators(step, first, made, styles)

    def _update_generators(
        self, step: Step, real: dict[str, Tensor], made: Made, styles: dict[str, Tensor]
    ) -> None:
        """Two losses, an update for each: the attribute encoders learn from the first only."""
        only = ('encoders', 'generators')

        def first() -> Loss:
            return self.compute_g_loss(real, made)

        def second() -> Loss:
            return self.compute_random_loss(made, styles['random'], styles.get('random2'))

        if self.second_pass == 'stale':
            step.update('generators', first, retain_graph=True)
            step.update('generators', second, label='random', only=only)
            return
        _check_scale(step.optims['generators'])
        parameters = [p for part in only for p in unwrap(self.part(part)).parameters()]
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        if not learning:
            step.update('generators', first)
            return
        taken: list[Loss] = []

        def both() -> Loss:
            loss, terms = second()
            taken.append((with_gradient(loss, learning), terms))
            return first()

        step.update('generators', both)
        if taken:
            step.update('generators', taken.pop, label='random', only=only)

    def make(self, real: dict[str, Tensor], noise: Tensor, styles: Mapping[str, Tensor]) -> Made:
        """Compute all translations of an iteration that trains everything.

        Args:
            real: An image of each domain, (1, C, H, W).
            noise: See :meth:`draw`.
            styles: Rows of :attr:`drawn_styles` by name, (1, style_dim).
        """
        parts = (self.encoders, self.attribute_encoders, self.generators)
        encoders, attributes, generators = map(_twice, parts)
        content = contents(encoders[0], real)
        content = {x: content[x] + noise[i] for i, x in enumerate(DOMAINS)}
        own = {x: attributes[0][x](real[x]) for x in DOMAINS}
        style = {x: _sampled(own[x], styles.get(f'own_{x}')) for x in DOMAINS}
        begun = self._features(generators[0], content)
        drawn = [styles[name] for name in ('random', 'random2') if name in styles]
        fake: dict[str, Tensor] = {}
        recon: dict[str, Tensor] = {}
        random: dict[str, list[Tensor]] = {}
        for x in DOMAINS:
            theirs = begun[other(x)]
            made = generators[0][x](
                torch.cat([theirs, begun[x], *[theirs] * len(drawn)]),
                torch.cat([style[x], style[x], *drawn]),
            )
            fake[x], recon[x], *random[x] = made.chunk(2 + len(drawn))
        # The translation into A has the content of B's image.
        again = contents(encoders[1], fake)
        again = {other(x): again[x] + noise[2 + i] for i, x in enumerate(DOMAINS)}
        begun = self._features(generators[1], again)
        latent: dict[str, Tensor] = {}
        cycle: dict[str, Tensor] = {}
        for x in DOMAINS:
            mean, log_variance = attributes[1][x](torch.cat([fake[x], random[x][0]]))
            of_fake = None if log_variance is None else log_variance[:1]
            again_style = _sampled((mean[:1], of_fake), styles.get(f'fake_{x}'))
            latent[x] = mean[1:]
            cycle[x] = generators[1][x](begun[x], again_style)
        return Made(
            content=content,
            mean={x: own[x][0] for x in DOMAINS},
            log_variance={x: own[x][1] for x in DOMAINS},
            fake=fake,
            recon=recon,
            random=random,
            cycle=cycle,
            latent=latent,
        )

    @staticmethod
    def _features(
        generators: Mapping[str, Callable], content: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the generators' input features, by the domain of the contents."""
        found = features(generators, torch.cat([content[x] for x in DOMAINS])).chunk(2)
        return dict(zip(DOMAINS, found, strict=True))

    # ------------------------------------------------------------------ losses

    def compute_d_loss(self, real: dict[str, Tensor], made: Made) -> Loss:
        """Loss of both kinds of image discriminators: targets 1 for real, 0 for fake, per scale.

        Args:
            real: Two images of each domain, (2, C, H, W): the first for the translations with an
                encoded attribute, the second for those with random ones.
            made: Output for the first ones.

        Returns:
            The weighted total, and the terms ``loss_gan_d_X`` and ``loss_gan_d_random_X``, sums
            over the scales, the former's terms at each scale, ``loss_gan_d_X_0`` and so on, and the
            total ``loss_d``.
        """
        losses = LossTerms()
        weights: dict[str, float] = {}
        for x in DOMAINS:
            encoded = unwrap(self.discriminators)[x], real[x][:1], [made.fake[x]]
            random = unwrap(self.random_discriminators)[x], real[x][1:], made.random[x]
            for kind, (judge, image, fakes) in (('', encoded), ('random_', random)):
                name, of_scales = f'loss_gan_d_{kind}{x}', {}
                judged = _judged(judge, image, *(fake.detach() for fake in fakes))
                for scale, (of_real, *of_fakes) in enumerate(judged):
                    means = [Mean(of_real, 'entropy', 1.0, float(len(fakes)))]
                    means += [Mean(logit, 'entropy', 0.0) for logit in of_fakes]
                    of_scales[f'{name}_{scale}'] = 1.0
                    losses.add(f'{name}_{scale}', *means)
                losses.add_sum(name, of_scales)
                weights[name] = self.loss_config['gan']
        losses.add_sum('loss_d', weights)
        return losses.compute()

    def compute_content_loss(self, content: dict[str, Tensor]) -> Loss:
        """Loss of the content discriminator: targets 1 for contents of B, 0 for those of A.

        Args:
            content: By domain, with noise, (1, C, h, w); detached.

        Returns:
            The weighted total, and the term ``loss_gan_d_content`` and the total
            ``loss_d_content``.
        """
        (judge,) = unwrap(self.content_discriminator).values()
        logits = judge(torch.cat([content[x].detach() for x in DOMAINS])).chunk(2)
        losses = LossTerms()
        means = [
            Mean(logit, 'entropy', wanted) for logit, wanted in zip(logits, (0.0, 1.0), strict=True)
        ]
        losses.add('loss_gan_d_content', *means)
        losses.add_sum('loss_d_content', {'loss_gan_d_content': self.loss_config['content']})
        return losses.compute()

    def compute_g_loss(self, real: dict[str, Tensor], made: Made) -> Loss:
        """Loss of the encoders and generators: section 3, with the weights of the program.

        Args:
            real: An image of each domain, (1, C, H, W).
            made: Output for them.

        Returns:
            The weighted total, and by domain the terms ``loss_gan_g_X``, ``loss_content_X`` (the
            content discriminator's target is 0.5), ``loss_cycle_X``, ``loss_recon_X``,
            ``loss_kl_X`` and ``loss_kl_content_X``, and the total ``loss_g``.
        """
        (judge,) = unwrap(self.content_discriminator).values()
        of_contents = judge(torch.cat([made.content[x] for x in DOMAINS])).chunk(2)
        losses = LossTerms()
        weights: dict[str, float] = {}
        for x, of_content in zip(DOMAINS, of_contents, strict=True):
            terms = {
                'gan_g': [
                    Mean(logit, 'entropy', 1.0)
                    for logit in unwrap(self.discriminators)[x](made.fake[x])
                ],
                'content': [Mean(of_content, 'entropy', wanted, 0.5) for wanted in (0.0, 1.0)],
                'cycle': [Mean(made.cycle[x], 'distance', real[x])],
                'recon': [Mean(made.recon[x], 'distance', real[x])],
                'kl': _divergence(made.mean[x], made.log_variance[x]),
                'kl_content': [Mean(made.content[x], 'square', 0.0)],
            }
            for name, means in terms.items():
                losses.add(f'loss_{name}_{x}', *means)
                weights[f'loss_{name}_{x}'] = self.loss_config[name.removesuffix('_g')]
        losses.add_sum('loss_g', weights)
        return losses.compute()

    def compute_random_loss(self, made: Made, style: Tensor, style2: Tensor | None = None) -> Loss:
        """Loss of the encoders and generators from the translations with random attributes.

        Args:
            made: Output of the iteration.
            style: The first random attribute, (1, style_dim), for both directions.
            style2: The second one, for mode seeking (DRIT++, section 3.3).

        Returns:
            The weighted total, and by domain the terms ``loss_latent_X``, ``loss_gan_g_random_X``
            and ``loss_mode_seeking_X``, and the total ``loss_g_random``.
        """
        losses = LossTerms()
        weights: dict[str, float] = {}
        for x in DOMAINS:
            judge = unwrap(self.random_discriminators)[x]
            of_scales = [logit for logits in _judged(judge, *made.random[x]) for logit in logits]
            terms = {
                'latent': ('latent', [Mean(made.latent[x], 'distance', style)]),
                'gan_g_random': ('gan', [Mean(logit, 'entropy', 1.0) for logit in of_scales]),
            }
            if style2 is not None:
                one, two = (image.float() for image in made.random[x])
                apart = (two - one).abs().mean() / (style2 - style).abs().mean()
                terms['mode_seeking'] = 'mode_seeking', [Mean(1 / (apart + 1e-5), 'mean')]
            for name, (weight, means) in terms.items():
                losses.add(f'loss_{name}_{x}', *means)
                weights[f'loss_{name}_{x}'] = self.loss_config[weight]
        losses.add_sum('loss_g_random', weights)
        return losses.compute()

    # ------------------------------------------------------------- translation

    def needed(self, target: str) -> dict[str, tuple[str, ...]]:
        """Return the networks that a translation into a domain runs, or that read its style."""
        shared = ('shared',) if self.concat else ()
        return {
            'encoders': (other(target), 'shared'),
            'attribute_encoders': (target,),
            'generators': (target, *shared),
        }

    def translate(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images: their content without noise, with an attribute of the target domain.

        Args:
            image: In [-1, 1], (N, C, H, W), of the other domain.
            target: Letter of a domain in :meth:`targets`.
            heatmap: Ignored; the model has no attention.
            style: Attributes, (N, style_dim); from N(0, 1) if not given.
        """
        if style is None:
            style = torch.randn(len(image), self.style_dim, device=image.device)
        generators: Any = unwrap(self.generators)
        (content,) = contents(unwrap(self.encoders), {other(target): image}).values()
        begun = features(generators, content)
        return Translated(generators[target](begun, style.to(image.device)))

    @property
    def style_shape(self) -> tuple[int, ...]:
        """Shape of an attribute."""
        return (self.style_dim,)

    def style_of(self, image: Tensor, target: str) -> Tensor:
        """Read the mean attribute from pictures of the domain to translate into.

        With ``concat`` the official test draws from the distribution around it.
        """
        mean, _ = unwrap(self.attribute_encoders)[target](image)
        return mean

    # ---------------------------------------------------------------- weights

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes of the networks from their weights.

        Args:
            state: Weights; one direction, or the networks for training only, may be absent.
        """
        return {'type': cls.__name__, **networks_in(state)}

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for the tables: what the paper leaves open, and non-default fields.

        The paper names neither the way attributes enter the generator nor mode seeking.
        """
        generator, discriminator = model['generator'], model['discriminator']
        seeks = (model.get('loss_config') or {}).get('mode_seeking')
        concat = generator.get('concat', True)
        said = ['concatenated attribute' if concat else 'feature-wise attribute']
        if not seeks:
            said.append('without mode seeking')
        if (g := generator['base_channels'], d := discriminator['base_channels']) != (64, 64):
            said.append(f'{g} channels' if g == d else f'{g} and {d} channels')
        layers, scales = discriminator['num_layers'], discriminator['num_scales']
        if (scales, layers) != (3, 4):
            said.append(f'{scales} discriminator scales of {layers} layers')
        judges = ('discriminator', 'content_discriminator')
        if normed := [name for name in judges if model[name].get('norm', 'none') != 'none']:
            said.append(f'instance norms ({" and ".join(normed)})')
        if discriminator.get('spectral_norm'):
            said.append('spectral norm')
        if (content := model['content_discriminator']['num_layers']) != 4:
            said.append(f'{content} content discriminator layers')
        if (turns := model.get('d_iter', 3)) != 3:
            said.append(f'every {turns} iterations' if turns > 1 else 'every iteration')
        if model.get('second_pass', 'stale') != 'stale':
            said.append('both gradients together')
        return said + cls.loss_words(model)


def _twice(part: nn.Module) -> list[dict[str, Callable]]:
    """Return the networks of a part by name, for each of two uses."""
    uses = {name: uses_of(network, 2) for name, network in unwrap(part).items()}
    return [{name: both[use] for name, both in uses.items()} for use in (0, 1)]


class _WithGradient(torch.autograd.Function):
    """See :func:`with_gradient`."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        """Return the loss."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Give each parameter its gradient."""
        return None, None, *torch._foreach_mul(ctx.gradients, grad)


def with_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Compute a loss's gradient now; return the loss with that gradient for the backward pass.

    The graph is retained, and the parameters may change before the backward pass.
    """
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = [
        (p, gradient) for p, gradient in zip(parameters, found, strict=True) if gradient is not None
    ]
    return _WithGradient.apply(loss.detach(), [g for _, g in pairs], *(p for p, _ in pairs))


def _sampled(distribution: tuple[Tensor, Tensor | None], noise: Tensor | None) -> Tensor:
    """Sample an attribute from mean and log variance; the mean without variance or noise."""
    mean, log_variance = distribution
    if log_variance is None or noise is None:
        return mean
    return mean + noise * (0.5 * log_variance).exp()


def _divergence(mean: Tensor, log_variance: Tensor | None) -> list[Mean]:
    """KL divergence of attributes from N(0, 1), summed; mean square without a variance."""
    if log_variance is None:
        return [Mean(mean, 'square', 0.0)]
    half = 0.5 * mean.size(1)
    rest = log_variance.exp() - log_variance - 1
    return [Mean(mean, 'square', 0.0, half), Mean(rest, 'mean', 0.0, half)]


def _judged(judge: Any, *images: Tensor) -> list[tuple[Tensor, ...]]:
    """Return each image's logits by scale; in one pass, unless a spectral norm counts passes."""
    if judge.spectral_norm:
        return list(zip(*map(judge, images), strict=True))
    return [logits.chunk(len(images)) for logits in judge(torch.cat(images))]


def _check_scale(optim: Any) -> None:
    """Raise a ValueError if a loss scale would not reach the second gradient."""
    scaler = getattr(optim, 'loss_scaler', None)
    if scaler is not None and scaler.is_enabled():
        raise ValueError(
            "model.second_pass='together' does not train in float16: leave it at 'stale', or take "
            'bfloat16'
        )


def _check_widths(networks: Mapping[str, Any]) -> None:
    """Raise a ValueError unless contents and attributes have one width in all networks."""
    for field, name in (
        ('base_channels', 'content_channels'),
        ('style_dim', 'style_dim'),
        ('concat', 'concat'),
    ):
        found = {
            part: getattr(network, name)
            for part, network in networks.items()
            if network is not None and hasattr(network, name)
        }
        if field == 'base_channels':
            found = {part: channels // 4 for part, channels in found.items()}
        if len(set(found.values())) > 1:
            said = ', '.join(f'model.{part}.{field}={value}' for part, value in found.items())
            raise ValueError(f'{said} must be equal')
