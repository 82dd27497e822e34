"""CycleGAN as a translation model (Zhu et al., ICCV 2017, sections 3 and 4)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...domains import DOMAINS
from ..base import Step, translation_model, unwrap
from ..base.pooled import PooledTranslation
from ..losses import LossTerms, Mean
from .cyclegan_discriminator import CycleGANDiscriminator, DiscriminatorPair
from .cyclegan_generator import CycleGANGenerator, Generated, GeneratorPair


@translation_model
class UnpairedCycleGAN(PooledTranslation):
    """Two generators, two discriminators that see earlier translations too, a cycle loss.

    As the official PyTorch program (junyanz/pytorch-CycleGAN-and-pix2pix) trains it. Its ``G_A`` is
    ``generators['B']`` here, its ``D_A`` is ``discriminators['B']``.

    Args:
        generator: Config of the generators, one for each target domain.
        discriminator: Config of the discriminators, or ``None`` for inference only.
        pool_size: Translations of earlier steps that :class:`ImagePool` keeps for each
            discriminator.
        loss_config: Weights ``gan``, ``cycle``, ``identity``; the defaults are 1, 10, 5. The
            official options give identity as a fraction of the cycle's weight, 0.5 of 10. Without
            identity (0, the default of the official Torch program) its passes are not run.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown domain or loss weight, or a negative ``pool_size``.
    """

    NAME = 'cyclegan'
    ROW = 'CycleGAN'
    PARTS = {'generators': 'generator', 'discriminators': 'discriminator'}
    OPTIMIZED = {'generators': ('generators',), 'discriminators': ('discriminators',)}
    NETWORKS = {'generator': CycleGANGenerator, 'discriminator': CycleGANDiscriminator}
    BOUNDS = {
        'generator': {
            'in_channels': 64,
            'out_channels': 64,
            'base_channels': 4096,
            'num_blocks': 64,
        },
        'discriminator': {'in_channels': 64, 'base_channels': 4096, 'num_layers': 16},
    }
    LOSS_WEIGHTS = {'gan': 1.0, 'cycle': 10.0, 'identity': 5.0}
    RATES = {'generators': 2e-4, 'discriminators': 2e-4}
    INTERPOLATION = 'bicubic'
    EVEN_D_LOSS = 0.25

    def __init__(
        self,
        generator: dict,
        discriminator: dict | None = None,
        pool_size: int = 50,
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        targets = fields.get('targets')
        generators = self.build_networks(generator, targets)
        discriminators = self.build_networks(discriminator, targets)
        super().__init__(
            {
                'generators': GeneratorPair(generators),
                'discriminators': DiscriminatorPair(discriminators) if discriminators else None,
            },
            pool_size,
            loss_config=loss_config,
            **fields,
        )

    # ---------------------------------------------------------------- training

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """Translate, update the generators, update the discriminators.

        The discriminators get the translations from before the generators' update, or older ones.
        If an update is skipped, the pools keep their images.
        """
        out = step.forward('generators', real, self.loss_config['identity'] != 0)
        step.update('generators', lambda: self.compute_g_loss(real, out))
        step.update(
            'discriminators',
            lambda: self.compute_d_loss(real, self.pooled(out, step.drawn)),
            then=self.keep_pools,
        )

    def pooled(
        self, out: dict[str, Generated], drawn: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the discriminators' input in place of the translations, by domain, detached."""
        drawn = drawn or {}
        return {x: pool.query(out[x].fake, drawn.get(x)) for x, pool in self.pools.items()}

    def compute_g_loss(
        self, real: dict[str, Tensor], out: dict[str, Generated]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial, cycle and identity losses of both generators (section 3, eq. 1 to 3).

        Args:
            real: Images by domain, (N, C, H, W).
            out: Output of the generators for them.

        Returns:
            The weighted total, and the terms ``loss_gan_g_X``, ``loss_cycle_X`` and
            ``loss_identity_X`` of the generator into X (the cycle of X ends in X), and the total
            ``loss_g``.
        """
        # Not through the wrapper: no gradient of D is averaged here.
        discriminators = unwrap(self.discriminators)
        losses = LossTerms()
        weights: dict[str, float] = {}
        for domain in DOMAINS:
            made = out[domain]
            terms = {
                'gan_g': Mean(discriminators[domain](made.fake), 'square', 1.0),
                'cycle': Mean(made.cycle, 'distance', real[domain]),
            }
            if made.identity is not None:
                terms['identity'] = Mean(made.identity, 'distance', real[domain])
            for name, mean in terms.items():
                losses.add(f'loss_{name}_{domain}', mean)
                weights[f'loss_{name}_{domain}'] = self.loss_config[name.removesuffix('_g')]
        losses.add_sum('loss_g', weights)
        return losses.compute()

    def compute_d_loss(
        self, real: dict[str, Tensor], fake: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Least-squares loss of both discriminators, half the sum of real and fake (section 4).

        Args:
            real: Images by domain, (N, C, H, W).
            fake: Translations by domain, detached.

        Returns:
            The weighted total, and the terms ``loss_gan_d_X`` and the total ``loss_d``.
        """
        judged = self.discriminators(real, fake)
        losses = LossTerms()
        for domain in DOMAINS:
            means = [
                Mean(logit, 'square', target, weight=0.5)
                for logit, target in zip(judged[domain], (1.0, 0.0), strict=True)
            ]
            losses.add(f'loss_gan_d_{domain}', *means)
        weight = self.loss_config['gan']
        losses.add_sum('loss_d', {f'loss_gan_d_{domain}': weight for domain in DOMAINS})
        return losses.compute()

    def keep_pools(self, taken: Tensor | bool = True) -> None:
        """Commit the step's changes to the pools if ``taken``, else undo them."""
        for pool in self.pools.values():
            pool.keep(taken)

    # ---------------------------------------------------------------- weights

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes of the networks from their weights.

        Args:
            state: Weights; one generator or the discriminators may be absent.
        """
        targets = [x for x in DOMAINS if f'generators.{x}.encoder.0.conv.weight' in state]
        if not targets:
            raise ValueError('there is no generator')
        networks = {'type': cls.__name__, 'generator': _generator(state, targets[0])}
        if len(targets) < len(DOMAINS):
            networks['targets'] = targets
        if discriminator := _discriminator(state, targets[0]):
            networks['discriminator'] = discriminator
        return networks

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for a config's differences from the official defaults, for the tables."""
        generator, discriminator = model['generator'], model['discriminator']
        said = []
        if (g := generator['base_channels'], d := discriminator['base_channels']) != (64, 64):
            said.append(f'{g} channels' if g == d else f'{g} and {d} channels')
        if generator['num_blocks'] != 9:
            said.append(f'{generator["num_blocks"]} blocks')
        if discriminator['num_layers'] != 3:
            said.append(f'{discriminator["num_layers"]} discriminator layers')
        if model.get('pool_size', 50) != 50:
            said.append(f'pool of {model["pool_size"]}')
        return said + cls.loss_words(model)


def _generator(state: Mapping[str, Tensor], domain: str) -> dict[str, int]:
    """Return the fields of :class:`CycleGANGenerator`; shapes that no field sets are ignored."""
    prefix = f'generators.{domain}.'
    first, up, last = (
        state.get(f'{prefix}{name}.weight')
        for name in ('encoder.0.conv', 'decoder.0.conv', 'decoder.2')
    )
    # A transposed kernel has its inputs first; U-GAT-IT's kernel at this place has them second.
    if (
        first is None
        or up is None
        or last is None
        or first.dim() != 4
        or up.size(0) != 4 * first.size(0)
    ):
        raise ValueError(f'{prefix[:-1]} has no decoder of transposed convolutions')
    if f'{prefix}encoder.0.norm.weight' in state:
        raise ValueError(f'{prefix[:-1]} has norms with a scale')
    blocks = {key.split('.')[3] for key in state if key.startswith(f'{prefix}blocks.')}
    return {
        'in_channels': first.size(1),
        'out_channels': last.size(0),
        'base_channels': first.size(0),
        'num_blocks': len(blocks),
    }


def _discriminator(state: Mapping[str, Tensor], domain: str) -> dict[str, int] | None:
    """Return the fields of :class:`CycleGANDiscriminator`; ``None`` if it is absent."""
    prefix = f'discriminators.{domain}.model.'
    kernels = [state[key] for key in state if key.startswith(prefix) and state[key].dim() == 4]
    if not kernels:
        return None
    # Two more convolutions follow the strided ones.
    first = state.get(f'{prefix}0.weight', kernels[0])
    return {
        'in_channels': first.size(1),
        'base_channels': first.size(0),
        'num_layers': len(kernels) - 2,
    }
