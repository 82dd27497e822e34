"""U-GAT-IT as a translation model of MMagic (paper section 2)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmagic.models.base_models import BaseTranslationModel
from mmagic.models.utils import set_requires_grad
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine import MessageHub
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from ...domains import DOMAINS, domain_names, other
from ...pixels import to_uint8
from ..layers import clip_rho, joint_gradients
from ..losses import lsgan_loss
from .pairs import DiscriminatorPair, GeneratorPair
from .recipes import resolve
from .ugatit_discriminator import SCALES, DiscriminatorOutput
from .update import copy_buffers, leave_out, restore_buffers, update

LOSS_WEIGHTS = {'gan': 1.0, 'cycle': 10.0, 'identity': 10.0, 'cam': 1000.0}
RGB_PREPROCESSOR = {'type': 'DataPreprocessor', 'output_channel_order': 'RGB', 'data_keys': None}


@MODELS.register_module()
class UGATIT(BaseTranslationModel):
    """Unpaired translation in both directions between the domains ``A`` and ``B``.

    Inside, images are RGB in [-1, 1]. What leaves through MMagic's doors (``forward`` in test mode,
    ``val_step``, ``test_step``) is BGR, which its inferencer and visualisers expect.

    Args:
        generator: Config of the generators, one for each target domain.
        discriminator: Config of the discriminators, or ``None`` for inference alone.
        data_preprocessor: Config of the preprocessor, which must give RGB in [-1, 1]; MMagic's
            ``DataPreprocessor`` does, and is the default.
        recipe: ``'tensorflow'`` or ``'pytorch'``: fills every field of generator, discriminator
            and model that is not given.
        domains: Names of the domains for people, for example ``dict(A='selfie', B='anime')``.
            Wherever a domain is asked for, the letter and the name both work.
        default_domain: Target of a translation when none is named.
        loss_config: Weights ``gan``, ``cycle``, ``identity``, ``cam``; what is left out stays at
            the paper's 1, 10, 10, 1000.
        cam_loss: Config of the generators' CAM loss.
        joint_discrimination: See :class:`DiscriminatorPair`; ``None`` takes the recipe's.
        channels_last: Keep the generators' features in NHWC, which convolutions of CPUs and of
            tensor cores take as they are. The weights are the same in every format.
        compile: Arguments of ``torch.compile`` for the networks, ``{}`` for its defaults, ``None``
            for no compiling. ``mode='reduce-overhead'`` adds CUDA graphs, ``mode='max-autotune'``
            also a search for the fastest kernels. Meant for one size of images.
        discriminator_steps: Updates of the discriminators for one of the generators.
        disc_init_steps: Iterations at the start that train the discriminators alone.

    Attributes:
        updates: Of the last training step, whether each network pair's update that was due was
            taken; ``False`` where its gradient was not finite.
        not_finite: Of the last training step, the loss terms of this rank that were not finite.

    Raises:
        ValueError: An unknown recipe, domain or loss weight.
    """

    def __init__(
        self,
        generator: dict,
        discriminator: dict | None = None,
        data_preprocessor: dict | None = None,
        recipe: str = 'tensorflow',
        domains: dict[str, str] | None = None,
        default_domain: str = 'B',
        loss_config: dict[str, float] | None = None,
        cam_loss: dict | None = None,
        joint_discrimination: bool | None = None,
        channels_last: bool = True,
        compile: dict | None = None,
        discriminator_steps: int = 1,
        disc_init_steps: int = 0,
    ) -> None:
        self.domain_names = domain_names(domains)
        loss_config = dict(loss_config or {})
        if unknown := set(loss_config) - set(LOSS_WEIGHTS):
            raise ValueError(
                f'loss_config knows {sorted(LOSS_WEIGHTS)}, not {sorted(map(str, unknown))}'
            )
        fields = resolve(recipe, 'model', joint_discrimination=joint_discrimination)
        super().__init__(
            generator={'recipe': recipe, **generator},
            discriminator=discriminator and {'recipe': recipe, **discriminator},
            default_domain=self._letter(default_domain),
            reachable_domains=list(DOMAINS),
            related_domains=list(DOMAINS),
            data_preprocessor=MODELS.build(data_preprocessor or RGB_PREPROCESSOR),
            discriminator_steps=discriminator_steps,
            disc_init_steps=disc_init_steps,
            loss_config={**LOSS_WEIGHTS, **loss_config},
        )
        self.recipe = recipe
        self.joint_discrimination = fields['joint_discrimination']
        self.cam_loss = MODELS.build(cam_loss or {'type': 'CAMLoss'})
        self.generators = GeneratorPair(self.generators)
        if self.discriminators is not None:
            self.discriminators = DiscriminatorPair(self.discriminators)
        if channels_last:
            self.generators.to(memory_format=torch.channels_last)
        if compile is not None:
            for network in self.networks():
                network.compile(**compile)
        self.register_state_dict_post_hook(_without_wrappers)
        self.updates: dict[str, bool] = {}
        self.not_finite: list[str] = []

    # ---------------------------------------------------------------- training

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, float]:
        """One iteration: translate, update the discriminators, update the generators.

        The official programs generate the translations anew for the generators' update. Its
        weights are the same at both places, so one translation serves both here.

        An update whose gradient is not finite is left out. If it is that of the discriminators,
        nothing of the iteration remains: all weights, rho, the optimisers' states and the spectral
        norm's vectors are what they were. If it is that of the generators, the discriminators'
        update stays.

        Args:
            data: A batch as the data loader gives it, images under ``img_A`` and ``img_B``.
            optim_wrapper: Wrappers named ``generators`` and ``discriminators``.

        Returns:
            dict: Every loss term that is finite under its own name before weighting, and the
            weighted totals ``loss_d`` and ``loss_g`` (the generators' are absent where their turn
            is not come, or the discriminators' update was left out).
        """
        inputs = self.data_preprocessor(data, True)['inputs']
        real = {domain: inputs[f'img_{domain}'] for domain in DOMAINS}
        optim_d, optim_g = optim_wrapper['discriminators'], optim_wrapper['generators']
        turn_g = self._is_generators_turn(optim_d._accumulative_counts)
        taken_g = None

        with joint_gradients(self.generators):
            # Translate
            with optim_g.optim_context(self.generators), torch.set_grad_enabled(turn_g):
                generators = self.generators if turn_g else self.get_module(self.generators)
                out = generators(real)
            fake = {domain: out[f'fake_{domain}'] for domain in DOMAINS}

            # Update D
            if optim_d._inner_count % optim_d._accumulative_counts == 0:
                self._vectors = copy_buffers(self.discriminators)
            with optim_d.optim_context(self.discriminators):
                loss, log = self.compute_d_loss(real, {k: v.detach() for k, v in fake.items()})
            taken_d = update(optim_d, loss)
            if taken_d is False:
                restore_buffers(self.discriminators, self._vectors)

            # Update G
            if turn_g and taken_d is False:
                leave_out(optim_g)
            elif turn_g:
                set_requires_grad(self.discriminators, False)
                with optim_g.optim_context(self.generators):
                    loss, log_g = self.compute_g_loss(real, out)
                taken_g = update(optim_g, loss)
                set_requires_grad(self.discriminators, True)
                clip_rho(self.generators)
                log.update(log_g)

        taken = {'discriminators': taken_d, 'generators': taken_g}
        self.updates = {name: done for name, done in taken.items() if done is not None}
        terms = dict(zip(log, torch.stack(list(log.values())).tolist(), strict=True))
        self.not_finite = [name for name, value in terms.items() if not math.isfinite(value)]
        return {name: value for name, value in terms.items() if math.isfinite(value)}

    def compute_d_loss(
        self, real: dict[str, Tensor], fake: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Least-squares loss of the logits and of the CAM logits of all four discriminators.

        Args:
            real: Images by domain, (N, 3, H, W).
            fake: Translations by domain, without gradient.

        Returns:
            The weighted total, and the terms ``loss_gan_d_X_global``, ``loss_gan_d_X_global_cam``
            and so on, their sum ``loss_gan_d_X``, and the total ``loss_d``.
        """
        judged = self.discriminators(real, fake, self.joint_discrimination)
        log: dict[str, Tensor] = {}
        for domain in DOMAINS:
            of_real, of_fake = judged[domain]
            name = f'loss_gan_d_{domain}'
            terms = _gan_terms(name, (of_real, 1), (of_fake, 0))
            log |= terms | {name: sum(terms.values())}
        loss = self.loss_config['gan'] * (log['loss_gan_d_A'] + log['loss_gan_d_B'])
        return loss, _detach(log | {'loss_d': loss})

    def compute_g_loss(
        self, real: dict[str, Tensor], out: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial, cycle, identity and CAM losses of both generators.

        Args:
            real: Images by domain, (N, 3, H, W).
            out: What :class:`GeneratorPair` returned.

        Returns:
            The weighted total, and the terms ``loss_gan_g_X_global`` and so on with their sum
            ``loss_gan_g_X``, ``loss_cycle_X``, ``loss_identity_X``, ``loss_cam_X`` of the
            generator into X (the cycle of X ends in X), and the total ``loss_g``.
        """
        # Not through the wrapper: nothing of D is to be averaged here.
        discriminators = self.get_module(self.discriminators)
        log: dict[str, Tensor] = {}
        loss = 0.0
        for domain in DOMAINS:
            of_fake = discriminators[domain](out[f'fake_{domain}'])
            terms = _gan_terms(f'loss_gan_g_{domain}', (of_fake, 1))
            parts = {
                'gan': sum(terms.values()),
                'cycle': F.l1_loss(out[f'cycle_{domain}'].float(), real[domain]),
                'identity': F.l1_loss(out[f'identity_{domain}'].float(), real[domain]),
            }
            if out[f'cam_source_{domain}'] is not None:
                parts['cam'] = self.cam_loss(
                    out[f'cam_source_{domain}'], out[f'cam_identity_{domain}']
                )
            loss = loss + sum(self.loss_config[kind] * part for kind, part in parts.items())
            log |= terms | {f'loss_gan_g_{domain}': parts.pop('gan')}
            log |= {f'loss_{kind}_{domain}': part for kind, part in parts.items()}
        return loss, _detach(log | {'loss_g': loss})

    def _is_generators_turn(self, accumulative_counts: int) -> bool:
        """Whether the generators learn in this iteration (always, by default).

        With gradient accumulation one update of D is ``accumulative_counts`` iterations.
        """
        iteration = MessageHub.get_current_instance().get_info('iter') or 0
        update = iteration // accumulative_counts
        return (
            iteration >= self.disc_init_steps
            and update % self.discriminator_steps == self.discriminator_steps - 1
        )

    # ------------------------------------------------------------- translation

    def _letter(self, domain: str) -> str:
        """Return ``'A'`` or ``'B'`` for a letter or a name."""
        for letter, name in self.domain_names.items():
            if domain in (letter, name):
                return letter
        known = [*self.domain_names, *self.domain_names.values()]
        raise ValueError(f'unknown domain {domain!r}: choose one of {known}')

    def is_domain_reachable(self, domain: str) -> bool:
        """Whether images of this domain, by letter or by name, can be generated."""
        return domain in self.domain_names or domain in self.domain_names.values()

    def get_other_domains(self, domain: str) -> list[str]:
        """Return the letter of the other domain, in a list as MMagic has it."""
        return [other(self._letter(domain))]

    def direction(self, target_domain: str | None = None) -> str:
        """Return the name of a direction, for example ``'selfie2anime'``."""
        target = self._letter(target_domain or self._default_domain)
        return f'{self.domain_names[other(target)]}2{self.domain_names[target]}'

    def translation(
        self, image: Tensor, target_domain: str | None = None, **kwargs: Any
    ) -> Tensor | tuple:
        """Translate RGB images in [-1, 1], (N, 3, H, W).

        Args:
            image: Images of the other domain.
            target_domain: Letter or name; the default domain if not given.
            kwargs: For the generator, for example ``return_cam=True``.

        Returns:
            What the generator returns, RGB.
        """
        target = self._letter(target_domain or self._default_domain)
        return self.get_module(self.generators)[target](image, **kwargs)

    @torch.no_grad()
    def forward_test(
        self, img: Tensor, target_domain: str | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Translate for MMagic's inferencer.

        Args:
            img: RGB images in [-1, 1], as the data preprocessor gives them.
            target_domain: Letter or name; the default domain if not given.
            kwargs: For the generator.

        Returns:
            dict: ``source`` and ``target``, BGR in [-1, 1] on the CPU.
        """
        target = self.translation(img, target_domain, **kwargs)
        return {'source': img.flip(1).cpu(), 'target': target.flip(1).cpu()}

    @torch.no_grad()
    def val_step(self, data: dict) -> list[DataSample]:
        """Translate a batch in both directions, without gradients.

        Args:
            data: A batch as the data loader gives it.

        Returns:
            A data sample for each pair, with the sources ``img_A``, ``img_B``, as the networks saw
            them, and the translations ``fake_A``, ``fake_B``: BGR, uint8, (3, H, W). Its metainfo
            ``domains`` holds the names of the domains.
        """
        data = self.data_preprocessor(data, False)
        samples = data['data_samples'].split()
        for source in DOMAINS:
            images = data['inputs'][f'img_{source}']
            fakes = self.translation(images, other(source))
            pairs = zip(samples, _to_mmagic(images), _to_mmagic(fakes), strict=True)
            for sample, image, fake in pairs:
                sample.set_tensor_data({f'img_{source}': image, f'fake_{other(source)}': fake})
        for sample in samples:
            sample.set_metainfo({'domains': dict(self.domain_names)})
        return samples

    def test_step(self, data: dict) -> list[DataSample]:
        """As :meth:`val_step`."""
        return self.val_step(data)

    def init_weights(self) -> None:
        """Draw the weights of all networks as their ``init`` fields say."""
        for network in self.networks():
            network.init_weights()

    def networks(self) -> list[nn.Module]:
        """Both generators and, where there are any, both discriminators."""
        pairs = [self.generators, self.discriminators]
        return [net for pair in pairs if pair is not None for net in self.get_module(pair).values()]


def _gan_terms(name: str, *judged: tuple[list[DiscriminatorOutput], float]) -> dict[str, Tensor]:
    """Least-squares terms of the logits and of the CAM logits of every scale.

    Args:
        name: Beginning of the terms' names.
        judged: Pairs of what the scales said and what they should say; a term is the sum.

    Returns:
        ``name_global``, ``name_global_cam``, ``name_local``, ``name_local_cam``; those of CAM are
        left out where there is none.
    """
    terms = {}
    for index, scale in enumerate(SCALES):
        for suffix, field in (('', 'logit'), ('_cam', 'cam_logit')):
            logits = [(getattr(outputs[index], field), target) for outputs, target in judged]
            if logits[0][0] is not None:
                terms[f'{name}_{scale}{suffix}'] = sum(lsgan_loss(*pair) for pair in logits)
    return terms


def _without_wrappers(module: nn.Module, state: dict, prefix: str, _: dict) -> None:
    """Name the weights as without ranks: MMEngine loads such names into a wrapped model too."""
    for key in list(state):
        for networks in ('generators', 'discriminators'):
            wrapped = f'{prefix}{networks}.module.'
            if key.startswith(wrapped):
                state[f'{prefix}{networks}.{key[len(wrapped) :]}'] = state.pop(key)


def _to_mmagic(images: Tensor) -> Tensor:
    """RGB in [-1, 1] to MMagic's BGR, uint8, on the CPU."""
    return to_uint8(images).flip(1).cpu()


def _detach(log: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in log.items()}
