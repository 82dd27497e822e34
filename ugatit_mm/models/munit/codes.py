"""Base class of MUNIT and UNIT: encoder and decoder per domain, the discriminators' loss."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ...domains import DOMAINS, other
from ...messages import check_choice
from ..base import UnpairedTranslation, unwrap
from ..losses import LossTerms, Mean
from ..losses.perceptual_loss import PerceptualFeatures

GAN_TYPES = {'lsgan': 'square', 'nsgan': 'entropy'}


class CodeTranslation(UnpairedTranslation):
    """Encoders of both domains, into codes that the decoders of both can read.

    All networks are built twice, once for each domain, and share nothing. ``encoders['A']`` sees
    A's images, ``generators['A']`` makes images of A, ``discriminators['A']`` judges them.

    Args:
        parts: Configs of the networks by part, ``None`` for an absent part.
        gan_type: ``'lsgan'``, least squares; ``'nsgan'``, cross-entropy.
        vgg_weights: File of VGG16's weights for the perceptual loss, see
            :class:`PerceptualFeatures`; needed if ``loss_config['perceptual']`` is not 0.
        loss_config: See :class:`UnpairedTranslation`.
        fields: As there.

    Raises:
        ValueError: An unknown domain, loss weight or ``gan_type``.
    """

    CHANNELS_LAST = ('encoders', 'style_encoders', 'generators')
    RATES = {'discriminators': 1e-4, 'generators': 1e-4}
    OPEN: ClassVar[tuple[str, ...]] = ()
    """Loss weights that the tables always name: the paper's values are unknown."""

    def __init__(
        self,
        parts: Mapping[str, dict | None],
        gan_type: str = 'lsgan',
        vgg_weights: str | None = None,
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        check_choice('gan_type', gan_type, GAN_TYPES)
        targets = self.check_targets(fields.get('targets'))
        sources = [other(target) for target in targets]
        built = {
            part: self.build_networks(cfg, sources if part == 'encoders' else targets)
            for part, cfg in parts.items()
        }
        super().__init__(
            {part: nn.ModuleDict(networks) or None for part, networks in built.items()},
            loss_config=loss_config,
            **fields,
        )
        self.gan_type = gan_type
        # For one scale, which adds real and fake.
        self.EVEN_D_LOSS = 0.5 if gan_type == 'lsgan' else 2 * math.log(2)
        self.vgg_weights = vgg_weights
        self._features: PerceptualFeatures | None = None

    # ---------------------------------------------------------------- training

    def features(self) -> PerceptualFeatures:
        """The perceptual loss's features; not part of the model or of its files."""
        if self._features is None:
            self._features = PerceptualFeatures(self.vgg_weights)
        return self._features

    def check_trainable(self) -> None:
        """Check that the networks match, and that the perceptual loss finds its weights."""
        super().check_trainable()
        self.check_fit('encoders', 'content_channels', 'base_channels')
        if self.loss_config['perceptual']:
            if self.out_channels != 3:
                raise ValueError(
                    'loss_config.perceptual looks at 3 channels, the networks make '
                    f'{self.out_channels}: set it to 0'
                )
            self.features()  # reads its file

    def check_fit(self, part: str, attribute: str, field: str) -> None:
        """Raise a ValueError unless the decoders take a part's output.

        Args:
            part: Name of the part of encoders.
            attribute: Attribute of both networks: the number of channels or values.
            field: Field that sets it in both configs.
        """
        gives, takes = (
            getattr(next(iter(unwrap(getattr(self, name)).values())), attribute)
            for name in (part, 'generators')
        )
        if gives != takes:
            raise ValueError(
                f'model.{self.PARTS[part]} gives {gives} numbers or channels, model.generator '
                f'takes {takes}: set {field} of both to one number'
            )

    def gan_mean(self, logit: Tensor, target: float) -> Mean:
        """Return the adversarial loss of a scale; the target is 0 or 1."""
        return Mean(logit, GAN_TYPES[self.gan_type], target)

    def compute_d_loss(
        self, real: dict[str, Tensor], fake: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial loss of both discriminators, summed over scales, real and fake.

        Args:
            real: Images by domain, (N, C, H, W).
            fake: Translations by domain, detached.

        Returns:
            The weighted total, and the terms ``loss_gan_d_X_0`` and so on of the scales, their sum
            ``loss_gan_d_X``, and the total ``loss_d``.
        """
        losses = LossTerms()
        for domain in DOMAINS:
            network = unwrap(self.discriminators)[domain]
            name = f'loss_gan_d_{domain}'
            scales = {}
            for scale, (of_real, of_fake) in enumerate(
                network.judge_both(real[domain], fake[domain])
            ):
                losses.add(
                    f'{name}_{scale}', self.gan_mean(of_real, 1.0), self.gan_mean(of_fake, 0.0)
                )
                scales[f'{name}_{scale}'] = 1.0
            losses.add_sum(name, scales)
        weight = self.loss_config['gan']
        losses.add_sum('loss_d', {f'loss_gan_d_{domain}': weight for domain in DOMAINS})
        return losses.compute()

    def of_fake(self, fake: Tensor, source: Tensor, domain: str) -> dict[str, list[Mean]]:
        """Return the losses of a translation into a domain: adversarial and perceptual.

        Args:
            fake: The translation, (N, C, H, W).
            source: Its source.
            domain: Letter of its domain.

        Returns:
            Parts of each term, by its name in ``loss_config``.
        """
        logits = unwrap(self.discriminators)[domain](fake)
        terms = {'gan': [self.gan_mean(logit, 1.0) for logit in logits]}
        if self.loss_config['perceptual']:
            terms['perceptual'] = [self.features().mean(fake, source)]
        return terms

    def total(
        self, terms: Mapping[str, Mapping[str, Sequence[Mean]]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the generators' loss.

        Args:
            terms: Parts of each term, by domain and by name in ``loss_config``.

        Returns:
            The weighted total, and the terms ``loss_NAME_X`` (for ``gan``: ``loss_gan_g_X``) and
            the total ``loss_g``.
        """
        losses = LossTerms()
        weights = {}
        for domain, of_domain in terms.items():
            for name, means in of_domain.items():
                term = f'loss_{"gan_g" if name == "gan" else name}_{domain}'
                losses.add(term, *means)
                weights[term] = self.loss_config[name]
        losses.add_sum('loss_g', weights)
        return losses.compute()

    def needed(self, target: str) -> dict[str, tuple[str, ...]]:
        """Return the source's encoder and the target's networks."""
        return super().needed(target) | {'encoders': (other(target),)}

    # ---------------------------------------------------------------- weights

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes of the networks from their weights.

        Args:
            state: Weights; the discriminators, and networks of one direction, may be absent.

        Raises:
            ValueError: The weights are not this model's.
        """
        targets = [x for x in DOMAINS if f'generators.{x}.decoder.4.weight' in state]
        if not targets:
            raise ValueError('there is no decoder')
        networks: dict[str, Any] = {'type': cls.__name__}
        for part, field in cls.PARTS.items():
            domain = other(targets[0]) if part == 'encoders' else targets[0]
            prefix = f'{part}.{domain}.'
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            network: Any = cls.NETWORKS[field]
            if own or part in cls.TRANSLATES:
                try:
                    networks[field] = network.sizes(own)
                except KeyError as error:
                    raise ValueError(f'the weights lack {prefix}{error.args[0]}') from error
        if len(targets) < len(DOMAINS):
            networks['targets'] = targets
        return networks

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for a config's differences from the official defaults, for the tables."""
        said = []
        encoder, discriminator = model['encoder'], model['discriminator']
        if (g := encoder['base_channels'], d := discriminator['base_channels']) != (64, 64):
            said.append(f'{g} channels' if g == d else f'{g} and {d} channels')
        for value, usual, words in (
            (encoder['num_blocks'], 4, 'blocks'),
            (discriminator['num_layers'], 4, 'discriminator layers'),
            (discriminator['num_scales'], 3, 'scales'),
            *cls.numbers(model),
        ):
            if value != usual:
                said.append(f'{value} {words}')
        if (gan_type := model.get('gan_type', 'lsgan')) != 'lsgan':
            said.append(gan_type)
        return said + cls.loss_words(model, cls.OPEN)

    @classmethod
    def numbers(cls, model: Mapping[str, Any]) -> list[tuple[int, int, str]]:
        """Return further numbers of a config for :meth:`variant`, their defaults, and words."""
        return []
