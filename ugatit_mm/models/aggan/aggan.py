"""AGGAN as a translation model (Mejjati et al., NeurIPS 2018, arXiv 1806.02311, section 3)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...domains import DOMAINS, other
from ..base import Step, Translated, translation_model, unwrap
from ..base.pooled import PooledTranslation
from ..layers import uses_of
from ..losses import LossTerms, Mean
from .aggan_discriminator import AGGANDiscriminator
from .aggan_generator import AGGANAttention, AGGANGenerator

Domains = dict[str, Tensor]
Translator = Callable[..., tuple[Tensor, Tensor]]
"""Maps images, (N, C, H, W), to translations and masks, (N, 1, H, W); see :func:`composed`."""
Loss = tuple[Tensor, dict[str, Tensor]]


@translation_model
class AGGAN(PooledTranslation):
    """Two generators, two attention networks that mask their output, two discriminators.

    As the official TensorFlow program trains it
    (AlamiMejjati/Unsupervised-Attention-guided-Image-to-Image-Translation). A translation into B is
    ``mask * g_B(a) + (1 - mask) * a`` with ``mask`` of the attention network that looks at A. The
    official ``g_A`` is ``generators['B']`` here, ``g_A_ae`` is ``attentions['A']``.

    In the first phase the discriminators see whole images, with instance norms. From iteration
    ``switch_iters`` on they see the pixels whose mask is at least ``threshold``, the others as
    grey, and have no norms; the attention networks are frozen. A fake is masked like its source.
    There is no identity loss and no mask loss.

    An iteration has four updates: generator into B with the attention of A, discriminator of B,
    generator into A with the attention of B, discriminator of A. The official program runs a new
    forward pass for each; here nothing unchanged is recomputed.

    Args:
        generator: Config of the generators, one for each target domain.
        attention: Config of the attention networks, one for each source domain.
        discriminator: Config of the discriminators, or ``None`` for inference only.
        pool_size: Pairs of translation and mask that :class:`ImagePool` keeps for each
            discriminator. The official pools share one count of iterations, which equals each
            pool's count while no update is skipped.
        switch_iters: Iterations of the first phase.
        threshold: Least mask of the pixels that the discriminators see in the second phase.
        loss_config: Weights ``gan``, ``cycle``; the defaults are 1, 10.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown domain or loss weight, a negative number of iterations or
            ``pool_size``, or a threshold outside [0, 1].
    """

    NAME = 'aggan'
    ROW = 'AGGAN'
    PARTS = {
        'generators': 'generator',
        'attentions': 'attention',
        'discriminators': 'discriminator',
    }
    TRANSLATES = ('attentions', 'generators')
    # In the official order.
    OPTIMIZED = {
        'generator_B': ('generators.B', 'attentions.A'),
        'discriminator_B': ('discriminators.B',),
        'generator_A': ('generators.A', 'attentions.B'),
        'discriminator_A': ('discriminators.A',),
    }
    PACED = ('generator_B', 'generator_A')
    PACE = 'discriminator_B'
    CHANNELS_LAST = ('generators', 'attentions')
    NETWORKS = {
        'generator': AGGANGenerator,
        'attention': AGGANAttention,
        'discriminator': AGGANDiscriminator,
    }
    BOUNDS = {
        'generator': {'in_channels': 64, 'base_channels': 4096, 'num_blocks': 64},
        'attention': {'in_channels': 64, 'base_channels': 4096, 'decoder_kernels': 15},
        'discriminator': {'in_channels': 64, 'base_channels': 4096},
    }
    LOSS_WEIGHTS = {'gan': 1.0, 'cycle': 10.0}
    RATES = dict.fromkeys(OPTIMIZED, 1e-4)
    EVEN_D_LOSS = 0.25
    SIGNS = {'mask': 0.02}

    def __init__(
        self,
        generator: dict,
        attention: dict | None = None,
        discriminator: dict | None = None,
        pool_size: int = 50,
        switch_iters: int = 30_000,
        threshold: float = 0.1,
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        if switch_iters < 0:
            raise ValueError(f'switch_iters must be 0 or more, got {switch_iters}')
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold must lie in [0, 1], got {threshold}')
        targets = self.check_targets(fields.get('targets'))
        attention = {'type': 'AGGANAttention'} if attention is None else attention
        discriminators = self.build_networks(discriminator, targets)
        super().__init__(
            {
                'generators': nn.ModuleDict(self.build_networks(generator, targets)),
                'attentions': nn.ModuleDict(
                    self.build_networks(attention, [other(target) for target in targets])
                ),
                'discriminators': nn.ModuleDict(discriminators) if discriminators else None,
            },
            pool_size,
            loss_config=loss_config,
            **fields,
        )
        self.switch_iters = switch_iters
        self.threshold = threshold

    # ---------------------------------------------------------------- training

    @property
    def phase(self) -> int:
        """1, then 2: foreground only, no norms in the discriminators, frozen attention."""
        return 1 if self.update_begun < self.switch_iters else 2

    def iterate(self, step: Step, real: Domains) -> None:
        """Update generator and discriminator of B, then those of A.

        The update of the generator into A uses the already updated generator into B; the fakes of A
        and their masks have not changed.
        """
        fakes: Domains = {}
        masks: Domains = {}
        with self._attentions_as_they_learn():
            with step.passes('generator_A'):
                once, again = self.translators('A', 2)
                fakes['A'], masks['B'] = once(real['B'])
            with step.passes('generator_B') as turn:
                # The norms work per sample, so both sources of B go as one batch.
                sources = [real['A'], fakes['A'].detach()] if turn else [real['A']]
                made, mask = self.translators('B')[0](torch.cat(sources))
                fakes['B'], *cycle = made.chunk(len(sources))
                masks['A'] = mask[: len(real['A'])]

            def of_a() -> Loss:
                given = fakes['B'].detach()
                if 'generator_B' in step.taken:  # it was updated; attention only in the first phase
                    known = masks['A'] if self.phase == 2 else None
                    with torch.no_grad():
                        given, _ = self.translators('B')[0](real['A'], known)
                return self.compute_g_loss('A', real, fakes['A'], masks['B'], again(given)[0])

            def of_b() -> Loss:
                return self.compute_g_loss('B', real, fakes['B'], masks['A'], cycle[0])

            for target, of_generator in (('B', of_b), ('A', of_a)):
                step.update(f'generator_{target}', with_sum(step, 'loss_g', of_generator))
                of_discriminator = partial(self._of_discriminator, step, target, real, fakes, masks)
                step.update(
                    f'discriminator_{target}',
                    with_sum(step, 'loss_d', of_discriminator),
                    then=self.pools[target].keep,
                )

    def _of_discriminator(
        self, step: Step, target: str, real: Domains, fakes: Domains, masks: Domains
    ) -> Loss:
        new = torch.cat([fakes[target], masks[other(target)]], 1)
        pooled = self.pools[target].query(new, step.drawn.get(target))
        return self.compute_d_loss(target, real[target], masks[target], pooled)

    def translators(self, target: str, count: int = 1) -> list[Translator]:
        """Functions that translate into a domain, each to be called once: see :func:`uses_of`."""
        generators = uses_of(unwrap(self.generators)[target], count)
        attentions = uses_of(unwrap(self.attentions)[other(target)], count)
        return [partial(composed, *pair) for pair in zip(generators, attentions, strict=True)]

    def seen(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return what the discriminators see of images, (N, C, H, W): all, or the foreground."""
        return images if self.phase == 1 else images * (masks >= self.threshold)

    def compute_g_loss(
        self, target: str, real: Domains, fake: Tensor, mask: Tensor, cycle: Tensor
    ) -> Loss:
        """Adversarial loss of the generator into a domain, and both cycles (section 3.2).

        Args:
            target: The domain's letter.
            real: Images by domain, (N, C, H, W).
            fake: Translations into the domain, (N, C, H, W).
            mask: Masks of the translations, (N, 1, H, W).
            cycle: Translations of the other domain's fakes back into the domain.

        Returns:
            The weighted total, and the terms ``loss_gan_g_X`` of the generator into X,
            ``loss_cycle_A`` and ``loss_cycle_B`` (the cycle of X ends in X), and the total
            ``loss_g_X``.
        """
        source = other(target)
        cycles = {target: cycle, source: self.translators(source)[0](fake)[0]}
        judged = unwrap(self.discriminators)[target](self.seen(fake, mask), normed=self.phase == 1)
        losses = LossTerms()
        losses.add(f'loss_gan_g_{target}', Mean(judged, 'square', 1.0))
        for domain in DOMAINS:
            losses.add(f'loss_cycle_{domain}', Mean(cycles[domain], 'distance', real[domain]))
        weights = {f'loss_cycle_{domain}': self.loss_config['cycle'] for domain in DOMAINS}
        weights[f'loss_gan_g_{target}'] = self.loss_config['gan']
        losses.add_sum(f'loss_g_{target}', weights)
        return losses.compute()

    def compute_d_loss(self, target: str, real: Tensor, mask: Tensor, pooled: Tensor) -> Loss:
        """Least-squares loss of a discriminator, half the sum of real and fake (section 3.2).

        Args:
            target: The letter of its domain.
            real: Images of the domain, (N, C, H, W).
            mask: Masks of the images, (N, 1, H, W).
            pooled: Translations and, in the last channel, their masks, (N, C + 1, H, W).

        Returns:
            The weighted total, and the term ``loss_gan_d_X`` and the total ``loss_d_X``.
        """
        discriminator = unwrap(self.discriminators)[target]
        # The norms work per sample, so both go as one batch.
        pairs = torch.cat([torch.cat([real, mask.detach()], 1), pooled])
        judged = discriminator(self.seen(pairs[:, :-1], pairs[:, -1:]), normed=self.phase == 1)
        if self.phase == 2:
            discriminator.rest_norms()
        means = [
            Mean(logit, 'square', goal, weight=0.5)
            for logit, goal in zip(judged.chunk(2), (1.0, 0.0), strict=True)
        ]
        losses = LossTerms()
        losses.add(f'loss_gan_d_{target}', *means)
        losses.add_sum(f'loss_d_{target}', {f'loss_gan_d_{target}': self.loss_config['gan']})
        return losses.compute()

    @contextmanager
    def _attentions_as_they_learn(self) -> Iterator[None]:
        """Context manager that freezes the attention networks in the second phase."""
        still = [p for p in self.attentions.parameters() if p.requires_grad and self.phase == 2]
        for parameter in still:
            parameter.requires_grad = False
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad = True

    # ------------------------------------------------------------- translation

    def needed(self, target: str) -> dict[str, tuple[str, ...]]:
        """Return the generator into a domain and the attention network of the other domain."""
        return {'attentions': (other(target),), 'generators': (target,)}

    @property
    def has_attention(self) -> bool:
        """True: the mask."""
        return True

    def translate(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images; the heatmap is the mask, in [0, 1], (N, 1, H, W)."""
        out, mask = self.translators(target)[0](image)
        return Translated(out, mask if heatmap else None)

    def attention(self, image: Tensor, target: str) -> tuple[Tensor, Domains]:
        """Translate an image, and return the mask; see the base."""
        out, mask = self.translators(target)[0](image)
        return out, {'mask': mask}

    @torch.no_grad()
    def signs(
        self, limits: Mapping[str, float], heatmaps: Mapping[str, Tensor | None]
    ) -> dict[tuple[str, str], str]:
        """Report masks that are 0 or 1 nearly everywhere, for :class:`WatchHook`."""
        signs = {}
        for target, mask in heatmaps.items():
            if mask is None:
                continue
            mean, direction = mask.float().mean().item(), self.direction(target)
            if mean < limits['mask']:
                signs['mask', target] = (
                    f'the mask of {direction} has been nearly 0 (mean {mean:.2g}): the translation '
                    'is a copy of its source. Start again with another seed, or with a lower '
                    'loss_config.cycle.'
                )
            elif mean > 1 - limits['mask']:
                signs['mask', target] = (
                    f'the mask of {direction} has been nearly 1 (mean {mean:.2g}): all of the '
                    'picture is translated, as without attention. Start again with another seed.'
                )
        return signs

    # ---------------------------------------------------------------- weights

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes of the networks from their weights.

        Args:
            state: Weights; one direction or the discriminators may be absent.
        """
        firsts = {x: [f'{part}.encoder.0.conv.weight' for part in _direction(x)] for x in DOMAINS}
        targets = [x for x in DOMAINS if any(key in state for key in firsts[x])]
        if not targets or not any(key.startswith('attentions.') for key in state):
            raise ValueError('there is no attention network')
        generator, attention = _direction(targets[0])
        decoder = [f'{attention}.decoder.{i}.weight' for i in ('0.conv', '1.conv', '2')]
        needed = [*(key for x in targets for key in firsts[x]), *decoder]
        if missing := [key for key in needed if key not in state]:
            raise ValueError(f'there is no {missing[0]}')
        first, of_mask = (state[key] for key in firsts[targets[0]])
        blocks = {key.split('.')[3] for key in state if key.startswith(f'{generator}.blocks.')}
        networks: dict[str, Any] = {
            'type': cls.__name__,
            'generator': {
                'in_channels': first.size(1),
                'base_channels': first.size(0),
                'num_blocks': len(blocks),
            },
            'attention': {
                'in_channels': of_mask.size(1),
                'base_channels': of_mask.size(0),
                'decoder_kernels': tuple(state[key].size(3) for key in decoder),
            },
        }
        if len(targets) < len(DOMAINS):
            networks['targets'] = targets
        if (judge := state.get(f'discriminators.{targets[0]}.convs.0.weight')) is not None:
            sizes = {'in_channels': judge.size(1), 'base_channels': judge.size(0)}
            networks['discriminator'] = sizes
        return networks

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for the tables: the settings, and a config's differences from them.

        U-GAT-IT's paper does not say how it trained AGGAN: all data sets use the settings of the
        official horse2zebra, with pictures that are paired and augmented again in each epoch.
        """
        said = ['settings of its horse2zebra', 'new pairs in each epoch']
        widths = [model[field]['base_channels'] for field in cls.NETWORKS]
        if widths != [32, 32, 64]:
            said.append('{}, {} and {} channels'.format(*widths))
        if model['generator']['num_blocks'] != 9:
            said.append(f'{model["generator"]["num_blocks"]} blocks')
        kernels = tuple(model['attention'].get('decoder_kernels', (1, 1, 1)))
        if kernels != (1, 1, 1):
            said.append(f'kernels of masks {"x".join(map(str, kernels))}')
        if model.get('pool_size', 50) != 50:
            said.append(f'pool of {model["pool_size"]}')
        if model.get('threshold', 0.1) != 0.1:
            said.append(f'threshold {model["threshold"]:g}')
        return said + cls.loss_words(model)


def _direction(target: str) -> tuple[str, str]:
    """Return the names of the generator into a domain and of its attention network."""
    return f'generators.{target}', f'attentions.{other(target)}'


def composed(
    generator: Callable[[Tensor], Tensor],
    attention: Callable[[Tensor], Tensor],
    image: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Translate where the mask is 1, and keep the image where it is 0 (eq. 1).

    Args:
        generator: Returns a whole image.
        attention: Returns the mask.
        image: In [-1, 1], (N, C, H, W).
        mask: The mask if it is known, (N, 1, H, W).

    Returns:
        ``mask * generated + (1 - mask) * image``, and the mask.
    """
    mask = attention(image) if mask is None else mask
    return torch.lerp(image, generator(image).to(image.dtype), mask), mask


def with_sum(step: Step, name: str, compute: Callable[[], Loss]) -> Callable[[], Loss]:
    """Add to an update's terms, under ``name``, the sum of the iteration's totals so far."""

    def computed() -> Loss:
        total, terms = compute()
        before = [done[name] for done in step.terms.values() if name in done]
        own = total.detach()
        return total, {**terms, name: before[-1] + own if before else own}

    return computed
