"""CartoonGAN as a translation model (Chen et al., CVPR 2018, sections 3.1 and 3.2)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.optim import OptimWrapperDict
from torch import Tensor

from ...messages import check_choice
from ...published import WeightsError
from ..base import Step, UnpairedTranslation, translation_model, unwrap
from ..losses import LossTerms, Mean
from ..losses.vgg import RANDOM, find_vgg19
from .cartoongan_discriminator import CartoonGANDiscriminator, Discriminators
from .cartoongan_generator import CartoonGANGenerator, Generators

ADVERSARIAL = {'bce': 'entropy', 'lsgan': 'square'}  # kinds of the loss terms


@translation_model
class CartoonGAN(UnpairedTranslation):
    """One generator, photographs to cartoons, that preserves VGG19's features of the photograph.

    Its discriminator separates cartoons from translations and from cartoons with smoothed edges,
    ``img_B_smooth`` of a batch (:class:`SmoothEdges`). As znxlwm/pytorch-CartoonGAN trains it; the
    differences of the first author's program (FlyingGoblin/CartoonGAN) are fields: 16 blocks,
    ``padding='reflect'``, ``affine=True``, ``adversarial='lsgan'``, ``vgg.input='caffe'``. Not
    implemented: its pool of 50 batches, biases that are set to 0, VGG's 224-pixel images, and the
    scale of its content gradient.

    Args:
        generator: Config of the generator.
        discriminator: Config of the discriminator, or ``None`` for inference only.
        vgg: Config of :class:`VGG19Features`, the content loss's features. Its weights are read
            only when training begins.
        adversarial: ``'bce'``, cross-entropy of logits, or ``'lsgan'``, least squares.
        init_iters: Iterations at the start that train only the generator, by the content loss: the
            initialisation phase (section 3.3). Adam keeps its moments from that phase.
            ``disc_init_steps`` also counts from the start of training.
        loss_config: Weights ``gan``, ``content``; the defaults are 1, 10.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: An unknown domain or loss weight, or another invalid field.
    """

    NAME = 'cartoongan'
    ROW = 'CartoonGAN'
    PARTS = {'generators': 'generator', 'discriminators': 'discriminator'}
    OPTIMIZED = {'discriminators': ('discriminators',), 'generators': ('generators',)}
    NETWORKS = {'generator': CartoonGANGenerator, 'discriminator': CartoonGANDiscriminator}
    BOUNDS = {
        'generator': {
            'in_channels': 64,
            'out_channels': 64,
            'base_channels': 4096,
            'num_blocks': 64,
        },
        'discriminator': {'in_channels': 64, 'base_channels': 4096},
    }
    LOSS_WEIGHTS = {'gan': 1.0, 'content': 10.0}
    RATES = {'generators': 2e-4, 'discriminators': 2e-4}
    TARGETS = ('B',)
    PICTURES = ('A', 'B', 'B_smooth')

    def __init__(
        self,
        generator: dict,
        discriminator: dict | None = None,
        vgg: dict | None = None,
        adversarial: str = 'bce',
        init_iters: int = 0,
        loss_config: dict[str, float] | None = None,
        **fields: Any,
    ) -> None:
        check_choice('adversarial', adversarial, ADVERSARIAL)
        if init_iters < 0:
            raise ValueError(f'init_iters must be 0 or more, got {init_iters}')
        targets = fields.get('targets')
        discriminators = self.build_networks(discriminator, targets)
        super().__init__(
            {
                'generators': Generators(self.build_networks(generator, targets)),
                'discriminators': Discriminators(discriminators) if discriminators else None,
            },
            loss_config=loss_config,
            **fields,
        )
        self.vgg = MODELS.build({'type': 'VGG19Features', **(vgg or {})})
        self.adversarial = adversarial
        self.init_iters = init_iters
        self.EVEN_D_LOSS = math.log(2) if adversarial == 'bce' else 0.25

    # ---------------------------------------------------------------- training

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """Translate, update the discriminator, then the generator; at first only the generator."""
        fake = step.forward('generators', real['A'])
        step.update('discriminators', lambda: self.compute_d_loss(real, fake.detach()))
        judged = not self.phase
        step.update('generators', lambda: self.compute_g_loss(real['A'], fake, judged))

    def is_turn(self, name: str, optims: OptimWrapperDict) -> bool:
        """Whether an optimiser's parts learn: in the first phase only the generator."""
        if self.phase:
            return name == 'generators' and self.learns(name)
        return super().is_turn(name, optims)

    @property
    def phase(self) -> bool:
        """Whether this is the first phase."""
        return self.update_begun < self.init_iters

    def check_trainable(self) -> None:
        """Raise a ValueError or a WeightsError if something that training needs is missing."""
        super().check_trainable()
        self.vgg.load()

    def compute_d_loss(
        self, real: dict[str, Tensor], fake: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's loss: the sum of three means (section 3.2.1, eq. 3).

        Args:
            real: Images by name, (N, C, H, W); ``B`` and ``B_smooth`` are used.
            fake: Translations, detached.

        Returns:
            The weighted total, and the terms ``loss_gan_d_B_real``, ``_fake``, ``_edge``, their sum
            ``loss_gan_d_B``, and the total ``loss_d``.
        """
        logits = self.discriminators(real['B'], fake, real['B_smooth'])
        losses = LossTerms()
        names = [f'loss_gan_d_B_{name}' for name in ('real', 'fake', 'edge')]
        for name, logit, target in zip(names, logits, (1.0, 0.0, 0.0), strict=True):
            losses.add(name, Mean(logit, ADVERSARIAL[self.adversarial], target))
        losses.add_sum('loss_gan_d_B', dict.fromkeys(names, 1.0))
        losses.add_sum('loss_d', {'loss_gan_d_B': self.loss_config['gan']})
        return losses.compute()

    def compute_g_loss(
        self, source: Tensor, fake: Tensor, judged: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss: adversarial and content (section 3.2, eq. 1 and 5).

        Args:
            source: Images of A, (N, C, H, W).
            fake: Their translations.
            judged: Add the adversarial loss; not in the first phase.

        Returns:
            The weighted total, and the terms ``loss_gan_g_B`` (if judged), ``loss_content_B``, and
            the total ``loss_g``.
        """
        losses = LossTerms()
        weights = {'loss_content_B': self.loss_config['content']}
        if judged:
            # Not through the wrapper: no gradient of D is averaged here.
            (logit,) = unwrap(self.discriminators)(fake)
            losses.add('loss_gan_g_B', Mean(logit, ADVERSARIAL[self.adversarial], 1.0))
            weights['loss_gan_g_B'] = self.loss_config['gan']
        with torch.no_grad():
            content = self.vgg(source)
        losses.add('loss_content_B', Mean(self.vgg(fake), 'distance', content))
        losses.add_sum('loss_g', weights)
        return losses.compute()

    # ---------------------------------------------------------------- weights

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes of the networks from their weights; the padding is taken as zeros.

        Args:
            state: Weights; the discriminator may be absent.
        """
        first, flat, last = (
            state.get(f'generators.B.{name}.weight')
            for name in ('encoder.0.conv', 'encoder.2.conv', 'decoder.4')
        )
        if first is None or flat is None or last is None or first.dim() != 4:
            raise ValueError('generators.B has no convolution of stride 1 after a strided one')
        blocks = {key.split('.')[3] for key in state if key.startswith('generators.B.blocks.')}
        networks: dict[str, Any] = {
            'type': cls.__name__,
            'generator': {
                'in_channels': first.size(1),
                'out_channels': last.size(0),
                'base_channels': first.size(0),
                'num_blocks': len(blocks),
                'affine': 'generators.B.encoder.0.norm.weight' in state,
            },
        }
        if (judge := state.get('discriminators.B.convs.0.weight')) is not None:
            networks['discriminator'] = {
                'in_channels': judge.size(1),
                'base_channels': judge.size(0),
                'affine': 'discriminators.B.convs.5.weight' in state,
            }
        return networks

    @classmethod
    def lacks(cls, model: Mapping[str, Any]) -> str | None:
        """Return a message if VGG19's weights are missing."""
        weights = (model.get('vgg') or {}).get('weights')
        try:
            if weights != RANDOM:
                find_vgg19(weights)
        except WeightsError as error:
            return str(error)
        return None

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for a config's recipe, for the tables: the paper's row names none."""
        generator, discriminator = model['generator'], model['discriminator']
        said = ["znxlwm's recipe"]
        if (widths := (generator['base_channels'], discriminator['base_channels'])) != (64, 32):
            said.append('{} and {} channels'.format(*widths))
        if generator['num_blocks'] != 8:
            said.append(f'{generator["num_blocks"]} blocks')
        if generator.get('padding', 'zeros') != 'zeros':
            said.append('reflection')
        if affine := [n for n in cls.NETWORKS if model[n].get('affine')]:
            said.append(f'affine norms ({" and ".join(affine)})')
        if model.get('adversarial', 'bce') != 'bce':
            said.append('least squares')
        vgg = model.get('vgg') or {}
        if vgg.get('weights') == RANDOM:
            said.append('VGG19 of random weights')
        for name, usual in (('layer', 'conv4_4'), ('input', 'unit')):
            if vgg.get(name, usual) != usual:
                said.append(f'VGG19 {name} {vgg[name]}')
        said += cls.loss_words(model)
        return [*said, f'initialisation of {model.get("init_iters", 0):,} iterations']
