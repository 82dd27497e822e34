"""U-GAT-IT as a translation model of MMagic (paper section 2)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor

from ...domains import DOMAINS, names_in
from ..base import Attention, Step, Translated, UnpairedTranslation, translation_model, unwrap
from ..layers import clip_rho, joint_gradients
from ..losses import LossTerms, Mean, cam_means
from . import signs, variants
from .pairs import DiscriminatorPair, Generated, GeneratorPair
from .recipes import resolve
from .rho import RHO
from .ugatit_discriminator import SCALES, DiscriminatorOutput, UGATITDiscriminator
from .ugatit_generator import UGATITGenerator
from .weights import MAX_BLOCKS, describe


@translation_model
class UGATIT(UnpairedTranslation):
    """Two generators and two pairs of discriminators, global and local, with CAM and AdaLIN.

    Args:
        generator: Config of the generators, one for each target domain.
        discriminator: Config of the discriminators, or ``None`` for inference only.
        recipe: ``'tensorflow'`` or ``'pytorch'``: sets every field of generator, discriminator and
            model that is not given.
        cam_loss: Config of the generators' CAM loss.
        joint_discrimination: ``joint`` of :class:`DiscriminatorPair`; ``None`` uses the recipe's
            value.
        loss_config: Weights ``gan``, ``cycle``, ``identity``, ``cam``; the defaults are the paper's
            1, 10, 10, 1000.
        cycle_domains: Domains whose images are translated back, a list, or a string with commas. If
            many images of A share one translation, as photographs share one drawing, ``'B'`` leaves
            out A -> B -> A, which asks for information that the translation cannot hold. The paper
            uses both.
        cycle_noise: Standard deviation of Gaussian noise on the translations before they are
            translated back, for images in [-1, 1]. It destroys what a generator hides in faint
            patterns for the way back (Chu et al., "CycleGAN, a Master of Steganography", 2017;
            Bashkirova et al., NeurIPS 2019, section 4). The paper uses none.
        targets: See :class:`UnpairedTranslation`.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown recipe, domain or loss weight, or a negative noise.
    """

    NAME = 'ugatit'
    ROW = 'U-GAT-IT'
    PARTS = {'generators': 'generator', 'discriminators': 'discriminator'}
    OPTIMIZED = {'discriminators': ('discriminators',), 'generators': ('generators',)}
    NETWORKS = {'generator': UGATITGenerator, 'discriminator': UGATITDiscriminator}
    FIELDS = ('recipe',)
    BOUNDS = {
        'generator': {
            'in_channels': 64,
            'out_channels': 64,
            'base_channels': 4096,
            'num_blocks': MAX_BLOCKS,
            'img_size': 8192,
            'norm_groups': 4096,
        },
        'discriminator': {'in_channels': 64, 'base_channels': 4096, 'num_layers': 16},
    }
    LOSS_WEIGHTS = {'gan': 1.0, 'cycle': 10.0, 'identity': 10.0, 'cam': 1000.0}
    SIGNS = {'attention': 0.01, 'rho': 0.95}
    RATES = {'discriminators': 1e-4, 'generators': 1e-4}
    PLOTS = {'Instance norm or layer norm': RHO}

    def __init__(
        self,
        generator: dict,
        discriminator: dict | None = None,
        recipe: str = 'tensorflow',
        cam_loss: dict | None = None,
        joint_discrimination: bool | None = None,
        cycle_domains: str | Sequence[str] = DOMAINS,
        cycle_noise: float = 0.0,
        **fields: Any,
    ) -> None:
        targets = fields.get('targets')
        generators = self.build_networks({'recipe': recipe, **generator}, targets)
        discriminator = discriminator and {'recipe': recipe, **discriminator}
        discriminators = self.build_networks(discriminator, targets)
        one: Any = next(iter(generators.values()))
        super().__init__(
            {
                'generators': GeneratorPair(generators),
                'discriminators': DiscriminatorPair(discriminators) if discriminators else None,
            },
            img_size=one.img_size,
            **fields,
        )
        self.recipe = recipe
        self.joint_discrimination = resolve(
            recipe, 'model', joint_discrimination=joint_discrimination
        )['joint_discrimination']
        self.cam_loss = MODELS.build(cam_loss or {'type': 'CAMLoss'})
        if not 0 <= cycle_noise < math.inf:
            raise ValueError(f'cycle_noise must be a number from 0 up, got {cycle_noise!r}')
        self.cycle_noise = cycle_noise
        self.cycle_domains = tuple(sorted({self.letter(x) for x in names_in(cycle_domains)}))
        self._any_size: bool = one.mlp is None or one.light
        self._cam = one.cam is not None

    # ---------------------------------------------------------------- training

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """Translate, update the discriminators, update the generators.

        The official programs generate the translations again for the generators' update. The
        generators' weights are the same both times, so one translation serves both here.

        If the discriminators' update is skipped, the iteration has no effect: all weights, rho, the
        optimisers' states and the spectral norm's vectors keep their values. If only the
        generators' update is skipped, the discriminators' update stays.
        """
        with joint_gradients(unwrap(self.generators)):
            noise = step.drawn.get('noise')
            out = step.forward('generators', real, self.cycle_domains, noise, self.cycle_noise)
            fake = {domain: made.fake.detach() for domain, made in out.items()}
            step.update('discriminators', lambda: self.compute_d_loss(real, fake))
            step.update('generators', lambda: self.compute_g_loss(real, out), then=self._clip)

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the noise on the translations into A and into B, for translating back."""
        if not self.cycle_noise:
            return {}
        return {'noise': torch.randn((len(DOMAINS), *real['A'].shape), device=real['A'].device)}

    @property
    def weight_decay_scope(self) -> str:
        """The recipe's scope."""
        return resolve(self.recipe, 'optimizer', weight_decay_scope=None)['weight_decay_scope']

    def compute_d_loss(
        self, real: dict[str, Tensor], fake: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Least-squares loss of the logits and of the CAM logits of all four discriminators.

        Args:
            real: Images by domain, (N, C, H, W).
            fake: Translations by domain, detached.

        Returns:
            The weighted total, and the terms ``loss_gan_d_X_global``, ``loss_gan_d_X_global_cam``
            and so on, their sum ``loss_gan_d_X``, and the total ``loss_d``.
        """
        judged = self.discriminators(real, fake, self.joint_discrimination)
        losses = LossTerms()
        for domain in DOMAINS:
            of_real, of_fake = judged[domain]
            _add_gan(losses, f'loss_gan_d_{domain}', (of_real, 1.0), (of_fake, 0.0))
        weight = self.loss_config['gan']
        losses.add_sum('loss_d', {f'loss_gan_d_{domain}': weight for domain in DOMAINS})
        return losses.compute()

    def compute_g_loss(
        self, real: dict[str, Tensor], out: dict[str, Generated]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial, cycle, identity and CAM losses of both generators.

        Args:
            real: Images by domain, (N, C, H, W).
            out: Output of the generators for them.

        Returns:
            The weighted total, and the terms ``loss_gan_g_X_global`` and so on with their sum
            ``loss_gan_g_X``, ``loss_cycle_X``, ``loss_identity_X``, ``loss_cam_X`` of the
            generator into X (the cycle of X ends in X), and the total ``loss_g``.
        """
        # Not through the wrapper: no gradient of D is averaged here.
        judged = unwrap(self.discriminators).judge({x: made.fake for x, made in out.items()})
        losses = LossTerms()
        weights: dict[str, float] = {}
        for domain in DOMAINS:
            made = out[domain]
            _add_gan(losses, f'loss_gan_g_{domain}', (judged[domain], 1.0))
            weights[f'loss_gan_g_{domain}'] = self.loss_config['gan']
            terms = {}
            if made.cycle is not None:
                terms['cycle'] = [Mean(made.cycle, 'distance', real[domain])]
            terms['identity'] = [Mean(made.identity, 'distance', real[domain])]
            if made.cam_source is not None and made.cam_identity is not None:
                terms['cam'] = cam_means(self.cam_loss, made.cam_source, made.cam_identity)
            for kind, means in terms.items():
                losses.add(f'loss_{kind}_{domain}', *means)
                weights[f'loss_{kind}_{domain}'] = self.loss_config[kind]
        losses.add_sum('loss_g', weights)
        return losses.compute()

    def _clip(self, taken: Tensor) -> None:
        self.clip_rho()  # unconditionally: an unchanged rho is already in [0, 1]

    def clip_rho(self) -> None:
        """Clip rho to [0, 1] (paper, under eq. 1)."""
        clip_rho(unwrap(self.generators))

    # ------------------------------------------------------------- translation

    @property
    def takes_any_size(self) -> bool:
        """Whether any multiple of 4 fits: true of light networks, and of those without an MLP."""
        return self._any_size

    @property
    def has_attention(self) -> bool:
        """Whether the generators have CAM."""
        return self._cam

    def translate(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images; see :meth:`UnpairedTranslation.translate`."""
        generator = unwrap(self.generators)[target]
        if not heatmap:
            return Translated(generator(image))
        out, _, seen = generator(image, return_cam=True)
        return Translated(out, seen)

    def translation(  # type: ignore[override]  # without return_cam it returns images, as there
        self,
        image: Tensor,
        target_domain: str | None = None,
        *,
        style: Tensor | None = None,
        return_cam: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor | None, Tensor | None]:
        """As :meth:`UnpairedTranslation.translation`; ``return_cam`` returns all outputs.

        Returns:
            The images; with ``return_cam`` also CAM logits and heatmap, see
            :meth:`UGATITGenerator.forward`.
        """
        if not return_cam:
            return super().translation(image, target_domain, style=style)
        return unwrap(self.generators)[self.target(target_domain)](image, return_cam=True)

    def columns(self, image: Tensor, target: str, styles: int = 0) -> dict[str, Tensor | Attention]:
        """Return source, attention (white without CAM), translation, cycle."""
        columns = super().columns(image, target)
        return {'source': columns.pop('source'), 'attention': Attention(None)} | columns

    def attention(self, image: Tensor, target: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Attention as in the paper's Figure 2: generator, local and global discriminator."""
        fake, maps = super().attention(image, target)
        if self.discriminators is not None:
            judged = unwrap(self.discriminators)[target](fake)
            heatmaps = dict(zip(SCALES, (scale.heatmap for scale in judged), strict=True))
            maps |= {f'{scale} D': heatmaps[scale] for scale in ('local', 'global')}
        return fake, {title: heatmap for title, heatmap in maps.items() if heatmap is not None}

    def signs(
        self, limits: Mapping[str, float], heatmaps: Mapping[str, Tensor | None]
    ) -> dict[tuple[str, str], str]:
        """Report uniform attention, and rho at a bound where it did not start."""
        return signs.of_attention(self, limits['attention'], heatmaps) | signs.of_rho(
            self, limits['rho']
        )

    # ---------------------------------------------------------------- weights

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read recipe and sizes of the networks from their weights."""
        return {'type': cls.__name__, **describe(state)}

    @classmethod
    def size_of(cls, model: Mapping[str, Any]) -> int | tuple[int, int]:
        """Return the generators' size, which the weights of a full generator depend on."""
        return super().size_of(model['generator'])

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for a config's differences from the paper's, for the tables."""
        return variants.words(model)

    @classmethod
    def ablation(cls, model: Mapping[str, Any]) -> str | None:
        """Return a config's row of the paper's Table 1, ``None`` if it has none."""
        return variants.ablation(model)


def _add_gan(
    losses: LossTerms, name: str, *judged: tuple[list[DiscriminatorOutput], float]
) -> None:
    """Add the least-squares terms of the logits and of the CAM logits of every scale.

    They are ``name_global``, ``name_global_cam``, ``name_local``, ``name_local_cam`` (the CAM terms
    only with CAM), and their sum ``name``.

    Args:
        losses: Collection to add to.
        name: Prefix of the terms' names.
        judged: Pairs of the scales' outputs and their target; a term is the sum over the pairs.
    """
    terms = {}
    for index, scale in enumerate(SCALES):
        for suffix, field in (('', 'logit'), ('_cam', 'cam_logit')):
            logits = [(getattr(outputs[index], field), target) for outputs, target in judged]
            if logits[0][0] is not None:
                term = f'{name}_{scale}{suffix}'
                losses.add(term, *(Mean(logit, 'square', target) for logit, target in logits))
                terms[term] = 1.0
    losses.add_sum(name, terms)
