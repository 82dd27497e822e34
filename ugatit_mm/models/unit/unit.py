"""UNIT as a translation model (Liu et al., NIPS 2017, as in its authors' program of 2018)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...domains import DOMAINS, other
from ..base import Step, Translated, translation_model, unwrap
from ..layers import uses_of
from ..losses import Mean
from ..munit.codes import CodeTranslation
from ..munit.munit_discriminator import MUNITDiscriminator
from ..munit.munit_encoder import MUNITEncoder
from .unit_decoder import UNITDecoder


class Made(NamedTuple):
    """Outputs of a step for the generators' loss, of a domain X.

    Attributes:
        code: Code of X's images, without noise, (N, C, h, w).
        own: X's images, decoded from their code and noise.
        fake: The other domain's images, translated.
        again: Code of X's images, encoded from their translation into the other domain.
        cycle: X's images, decoded from that code and noise.
    """

    code: Tensor
    own: Tensor
    fake: Tensor
    again: Tensor
    cycle: Tensor


@translation_model
class UNIT(CodeTranslation):
    """Two variational autoencoders with one code space, discriminators, a cycle loss.

    As the official program (mingyuliutw/UNIT, the same as that of NVlabs/MUNIT with ``--trainer
    UNIT``) trains it, which differs from the paper: no layer is shared between the domains; an
    encoder returns the mean of a code, whose standard deviation is 1; noise is added only in
    training; the Kullback-Leibler terms are the means of the codes' squares, without a factor 1/2.
    The discriminators learn first, then the generators with newly drawn noise; nothing is detached
    in the generators' loss.

    Args:
        encoder: Config of the encoders, one for each source domain.
        generator: Config of the decoders, one for each target domain.
        discriminator: Config of the discriminators, or ``None`` for inference only.
        gan_type: See :class:`CodeTranslation`.
        vgg_weights: See :class:`CodeTranslation`.
        loss_config: Weights ``gan``, ``recon_x``, ``kl``, ``cycle``, ``kl_cycle`` and
            ``perceptual``; the defaults are 1, 10, 0.01, 10, 0.01, 0.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown domain, loss weight or ``gan_type``.
    """

    NAME = 'unit'
    ROW = 'UNIT'
    PARTS = {
        'encoders': 'encoder',
        'generators': 'generator',
        'discriminators': 'discriminator',
    }
    TRANSLATES = ('encoders', 'generators')
    OPTIMIZED = {'discriminators': ('discriminators',), 'generators': TRANSLATES}
    NETWORKS = {
        'encoder': MUNITEncoder,
        'generator': UNITDecoder,
        'discriminator': MUNITDiscriminator,
    }
    BOUNDS = {
        'encoder': {'in_channels': 64, 'base_channels': 4096, 'num_blocks': 64},
        'generator': {'out_channels': 64, 'base_channels': 4096, 'num_blocks': 64},
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
        'kl': 0.01,
        'cycle': 10.0,
        'kl_cycle': 0.01,
        'perceptual': 0.0,
    }

    def __init__(
        self,
        encoder: dict,
        generator: dict,
        discriminator: dict | None = None,
        gan_type: str = 'lsgan',
        vgg_weights: str | None = None,
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        parts = {'encoders': encoder, 'generators': generator, 'discriminators': discriminator}
        super().__init__(parts, gan_type, vgg_weights, loss_config, **fields)

    # ---------------------------------------------------------------- training

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """Translate, update the discriminators, then the other networks.

        The official program encodes the images again for the generators' update. The encoders'
        weights are the same both times, so one pass serves both here; the noise differs, so the
        translations are computed twice.
        """
        for_d, first, second = (
            dict(zip(DOMAINS, noise, strict=True)) for noise in step.drawn['noise']
        )
        with step.passes('generators'):
            uses = [
                {x: uses_of(unwrap(part)[x], 2) for x in DOMAINS}
                for part in (self.encoders, self.generators)
            ]
            encode, _ = uses
            code = {x: encode[x][0](real[x]) for x in DOMAINS}
            with torch.no_grad():
                noisy = {x: code[x] + for_d[x] for x in DOMAINS}
                fake = {x: unwrap(self.generators)[x](noisy[other(x)]) for x in DOMAINS}
        step.update('discriminators', lambda: self.compute_d_loss(real, fake))
        step.update(
            'generators',
            lambda: self.compute_g_loss(real, self.make(uses, code, first, second)),
        )

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw noise on the codes of A's and B's images.

        In order: for the discriminators' update, for the generators' update, and there for the
        codes of the images' translations: ``noise``, (3, 2, N, C, H / 4, W / 4).
        """
        images = real['A']
        channels = next(iter(unwrap(self.encoders).values())).content_channels
        height, width = images.shape[2:]
        shape = (3, len(DOMAINS), len(images), channels, height // 4, width // 4)
        return {'noise': torch.randn(shape, device=images.device)}

    def make(
        self,
        uses: list[dict[str, list]],
        code: dict[str, Tensor],
        first: dict[str, Tensor],
        second: dict[str, Tensor],
    ) -> dict[str, Made]:
        """Compute the inputs of the generators' loss.

        Args:
            uses: Encoders and decoders by domain, each to be called twice; the encoders have been
                called once.
            code: Codes of the images, by domain.
            first: Noise on them.
            second: Noise on the codes of a domain's images that are encoded from their
                translations.
        """
        encode, decode = uses
        noisy = {x: code[x] + first[x] for x in DOMAINS}
        own, fake = {}, {}
        for x in DOMAINS:
            # The norms work per sample, so both go as one batch.
            own[x], fake[x] = decode[x][0](torch.cat([noisy[x], noisy[other(x)]])).chunk(2)
        again = {other(x): encode[x][1](fake[x]) for x in DOMAINS}
        cycle = {x: decode[x][1](again[x] + second[x]) for x in DOMAINS}
        return {x: Made(code[x], own[x], fake[x], again[x], cycle[x]) for x in DOMAINS}

    def compute_g_loss(
        self, real: dict[str, Tensor], made: dict[str, Made]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial loss, reconstruction, cycle, and the codes' distance from N(0, 1).

        Args:
            real: Images by domain, (N, C, H, W).
            made: Result of :meth:`make`.

        Returns:
            The weighted total, and the terms ``loss_gan_g_X`` (of the translation into X),
            ``loss_recon_x_X``, ``loss_kl_X``, ``loss_cycle_X`` and ``loss_kl_cycle_X`` (of X's
            images, and of their codes that are encoded from their translations),
            ``loss_perceptual_X``, and the total ``loss_g``.
        """
        terms = {}
        for x in DOMAINS:
            one = made[x]
            terms[x] = self.of_fake(one.fake, real[other(x)], x) | {
                'recon_x': [Mean(one.own, 'distance', real[x])],
                'kl': [Mean(one.code, 'square')],
                'cycle': [Mean(one.cycle, 'distance', real[x])],
                'kl_cycle': [Mean(one.again, 'square')],
            }
        return self.total(terms)

    # ------------------------------------------------------------- translation

    def translate(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images, without noise; see :meth:`UnpairedTranslation.translate`."""
        code = unwrap(self.encoders)[other(target)](image)
        return Translated(unwrap(self.generators)[target](code))
