"""MUNIT as a translation model (Huang et al., ECCV 2018, section 3.1 and 5.1)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...domains import DOMAINS, other
from ..base import Step, Translated, translation_model, unwrap
from ..layers import uses_of
from ..losses import Mean
from .codes import CodeTranslation
from .munit_decoder import MUNITDecoder
from .munit_discriminator import MUNITDiscriminator
from .munit_encoder import MUNITEncoder, MUNITStyleEncoder


class Made(NamedTuple):
    """Outputs of a step for the generators' loss, of a domain X.

    Attributes:
        content: Of X's images, (N, C, h, w).
        own: X's images, decoded from their content and style.
        fake: The other domain's images, translated with the drawn style.
        style: Style of the translation, (N, style_dim, 1, 1).
        again: Content of X's images, encoded from their translation into the other domain.
        cycle: X's images, decoded from that content and their style; ``None`` if not requested.
    """

    content: Tensor
    own: Tensor
    fake: Tensor
    style: Tensor
    again: Tensor
    cycle: Tensor | None


@translation_model
class MUNIT(CodeTranslation):
    """Translation with a style: an image is a content, which both domains share, and a style.

    As the official program (NVlabs/MUNIT) trains it: the discriminators first, then the generators
    with newly drawn styles; nothing is detached in the generators' loss; the losses of a
    discriminator's scales are summed. The program shares its data files and its commands with
    UNIT's.

    The paper does not say how the U-GAT-IT authors ran it. The weight of the explicit cycle is 0
    here, the program's default and its authors' value for animals; they used 10 if both domains
    have the same shapes (``loss_config.cycle=10``).

    Args:
        encoder: Config of the content encoders, one for each source domain.
        style_encoder: Config of the style encoders, one for each domain.
        generator: Config of the decoders, one for each target domain.
        discriminator: Config of the discriminators, or ``None`` for inference only.
        gan_type: See :class:`CodeTranslation`.
        vgg_weights: See :class:`CodeTranslation`.
        loss_config: Weights ``gan``, ``recon_x``, ``recon_s``, ``recon_c`` (of image, style and
            content), ``cycle`` and ``perceptual``; the defaults are 1, 10, 1, 1, 0, 0. Without the
            cycle (0) its passes are not run.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown domain, loss weight or ``gan_type``.
    """

    NAME = 'munit'
    ROW = 'MUNIT'
    PARTS = {
        'encoders': 'encoder',
        'style_encoders': 'style_encoder',
        'generators': 'generator',
        'discriminators': 'discriminator',
    }
    TRANSLATES = ('encoders', 'style_encoders', 'generators')
    OPTIMIZED = {'discriminators': ('discriminators',), 'generators': TRANSLATES}
    NETWORKS = {
        'encoder': MUNITEncoder,
        'style_encoder': MUNITStyleEncoder,
        'generator': MUNITDecoder,
        'discriminator': MUNITDiscriminator,
    }
    BOUNDS = {
        'encoder': {'in_channels': 64, 'base_channels': 4096, 'num_blocks': 64},
        'style_encoder': {'in_channels': 64, 'base_channels': 4096, 'style_dim': 4096},
        'generator': {
            'out_channels': 64,
            'base_channels': 4096,
            'num_blocks': 64,
            'style_dim': 4096,
            'mlp_channels': 65536,
        },
        'discriminator': {
            'in_channels': 64,
            'base_channels': 4096,
            'num_layers': 16,
            'num_scales': 16,
        },
    }
    LOSS_WEIGHTS = {
        'gan': 1.0,
        'recon_x': 10.0,
        'recon_s': 1.0,
        'recon_c': 1.0,
        'cycle': 0.0,
        'perceptual': 0.0,
    }
    OPEN = ('cycle',)

    def __init__(
        self,
        encoder: dict,
        style_encoder: dict,
        generator: dict,
        discriminator: dict | None = None,
        gan_type: str = 'lsgan',
        vgg_weights: str | None = None,
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        parts = {
            'encoders': encoder,
            'style_encoders': style_encoder,
            'generators': generator,
            'discriminators': discriminator,
        }
        super().__init__(parts, gan_type, vgg_weights, loss_config, **fields)

    # ---------------------------------------------------------------- training

    def check_trainable(self) -> None:
        """Also check that the decoders take these styles."""
        super().check_trainable()
        self.check_fit('style_encoders', 'style_dim', 'style_dim')

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """Translate with drawn styles, update the discriminators, then the other networks.

        The official program encodes the images again for the generators' update. The encoders'
        weights are the same both times, so one pass serves both here; the styles differ, so the
        translations are computed twice.
        """
        for_d, for_g = (dict(zip(DOMAINS, styles, strict=True)) for styles in step.drawn['styles'])
        parts = (self.encoders, self.style_encoders, self.generators)
        with step.passes('generators'):
            uses = [{x: uses_of(unwrap(part)[x], 2) for x in DOMAINS} for part in parts]
            encode = uses[0]
            content = {x: encode[x][0](real[x]) for x in DOMAINS}
            with torch.no_grad():
                fake = {x: unwrap(self.generators)[x](content[other(x)], for_d[x]) for x in DOMAINS}
        step.update('discriminators', lambda: self.compute_d_loss(real, fake))
        step.update(
            'generators',
            lambda: self.compute_g_loss(real, for_g, self.make(uses, real, content, for_g)),
        )

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw styles for the discriminators' and the generators' update, for A and B."""
        images = real['A']
        shape = (2, len(DOMAINS), len(images), *self.style_shape)
        return {'styles': torch.randn(shape, device=images.device)}

    def make(
        self,
        uses: list[dict[str, list]],
        real: dict[str, Tensor],
        content: dict[str, Tensor],
        drawn: dict[str, Tensor],
    ) -> dict[str, Made]:
        """Compute the inputs of the generators' loss.

        Args:
            uses: Content encoders, style encoders and decoders by domain, each to be called twice;
                the encoders have been called once.
            real: Images by domain, (N, C, H, W).
            content: Their contents, by domain.
            drawn: Styles of the translations into each domain.
        """
        encode, read, decode = uses
        style = {x: read[x][0](real[x]) for x in DOMAINS}
        own, fake = {}, {}
        for x in DOMAINS:
            # The norms work per sample, so both go as one batch.
            contents = torch.cat([content[x], content[other(x)]])
            both = decode[x][0](contents, torch.cat([style[x], drawn[x]]))
            own[x], fake[x] = both.chunk(2)
        again = {other(x): encode[x][1](fake[x]) for x in DOMAINS}
        cycle: dict[str, Tensor | None] = dict.fromkeys(DOMAINS)
        if self.loss_config['cycle']:
            cycle = {x: decode[x][1](again[x], style[x]) for x in DOMAINS}
        return {
            x: Made(content[x], own[x], fake[x], read[x][1](fake[x]), again[x], cycle[x])
            for x in DOMAINS
        }

    def compute_g_loss(
        self, real: dict[str, Tensor], drawn: dict[str, Tensor], made: dict[str, Made]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial loss and reconstruction of image, style and content (eq. 1 to 5).

        Args:
            real: Images by domain, (N, C, H, W).
            drawn: Styles of the translations into each domain.
            made: Result of :meth:`make`.

        Returns:
            The weighted total, and the terms ``loss_gan_g_X`` (of the translation into X),
            ``loss_recon_x_X``, ``loss_recon_s_X`` (of the style drawn for X), ``loss_recon_c_X``
            and ``loss_cycle_X`` (of X's images), ``loss_perceptual_X``, and the total ``loss_g``.
        """
        terms = {}
        for x in DOMAINS:
            one = made[x]
            terms[x] = self.of_fake(one.fake, real[other(x)], x) | {
                'recon_x': [Mean(one.own, 'distance', real[x])],
                'recon_s': [Mean(one.style, 'distance', drawn[x])],
                # Both have gradients.
                'recon_c': [Mean(one.again - one.content, 'distance')],
            }
            if one.cycle is not None:
                terms[x]['cycle'] = [Mean(one.cycle, 'distance', real[x])]
        return self.total(terms)

    # ------------------------------------------------------------- translation

    @property
    def style_shape(self) -> tuple[int, int, int]:
        """As in the official program, (style_dim, 1, 1)."""
        return next(iter(unwrap(self.generators).values())).style_dim, 1, 1

    def style_of(self, image: Tensor, target: str) -> Tensor:
        """Read the style from pictures of the domain to translate into."""
        return unwrap(self.style_encoders)[target](image)

    def translate(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images; see :meth:`UnpairedTranslation.translate`."""
        if style is None:
            style = torch.randn((len(image), *self.style_shape), device=image.device)
        content = unwrap(self.encoders)[other(target)](image)
        return Translated(unwrap(self.generators)[target](content, style.to(image.device)))

    @classmethod
    def numbers(cls, model: Mapping[str, Any]) -> list[tuple[int, int, str]]:
        """As :meth:`CodeTranslation.numbers`."""
        return [(model['generator']['style_dim'], 8, 'numbers of a style')]
