"""Base class of all translation models: two domains, images of both, no pairs."""

import copy
import inspect
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import IO, Any, ClassVar, NamedTuple

import torch
from mmagic.models.base_models import BaseTranslationModel
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn
from typing_extensions import Self

from ...domains import DOMAINS, direction, domain_names, letter_of, names_in, other
from ...pixels import sides_of, swap_colours, to_uint8
from .graph import StepGraphs, run_step
from .images import check_img_size, check_size
from .log import StepLog
from .step import Kept, Step
from .styles import StyleChoice, named_noise
from .wrappers import unwrap

IMG_SIZE = 256


class Translated(NamedTuple):
    """A model's output for a batch of images.

    Attributes:
        image: In [-1, 1], (N, C, H, W).
        heatmap: The model's attention, (N, 1, h, w), larger where it looks more; ``None`` if it was
            not asked for or the model has none.
    """

    image: Tensor
    heatmap: Tensor | None = None


class Attention(NamedTuple):
    """A column of a sheet that is not an image.

    Attributes:
        heatmap: (1, h, w); ``None`` is left white.
    """

    heatmap: Tensor | None


class Plot(NamedTuple):
    """A plot of a model's log, for the report.

    Attributes:
        draw: Takes a work dir, a file to write a PNG to, and the names of the domains; raises a
            ValueError or a FileNotFoundError if nothing was logged.
        alt: Alternative text of the picture.
        about: How to read it.
    """

    draw: Callable[[str | os.PathLike, IO[bytes], Mapping[str, str]], None]
    alt: str
    about: str


class UnpairedTranslation(BaseTranslationModel):
    """Unpaired translation between the domains ``A`` and ``B``; the base class of models.

    A model is a subclass with :meth:`iterate`, :meth:`translate` and the class attributes below,
    registered by :func:`translation_model`. Training, exact resume, evaluation, files of weights,
    pictures, export and the page use only these.

    Inside, images are in [-1, 1], with as many channels as the networks take; three are RGB, four
    RGBA. MMagic's entry points (``forward`` in test mode, ``val_step``, ``test_step``) return BGR
    or BGRA, which its inferencer and visualisers expect.

    Args:
        parts: The children of ``PARTS`` by name, each a ``ModuleDict``; ``None`` for a part that is
            absent (inference only).
        data_preprocessor: Config of the preprocessor, which must return RGB in [-1, 1]; by default
            :class:`TranslationPreprocessor`.
        domains: Readable names of the domains, for example ``dict(A='selfie', B='anime')``.
            Wherever a domain is expected, the letter and the name both work.
        default_domain: Target domain if a call names none; by default the last of ``targets``.
        targets: Domains that it translates into, by letter; by default ``TARGETS``. With fewer, for
            weights of one direction only, it cannot be trained.
        img_size: Side, in pixels, of the square that pictures are resized to, or (height, width).
        loss_config: Loss weights that override ``LOSS_WEIGHTS``.
        channels_last: Keep the features of the parts in ``CHANNELS_LAST`` in NHWC, the native
            layout of convolutions on CPUs and tensor cores. The weights are the same in every
            format.
        compile: Arguments of ``torch.compile`` for the networks, ``{}`` for its defaults, ``None``
            for no compilation. ``mode='reduce-overhead'`` adds CUDA graphs, ``mode='max-autotune'``
            also a search for the fastest kernels. Meant for images of one size.
        graph: Replay training steps as CUDA graphs where possible, see :class:`StepGraphs`.
        discriminator_steps: Discriminator updates per generator update.
        disc_init_steps: Iterations at the start that train only the discriminators.
        frozen: Parts, and modules in them, that are not trained: ``'discriminators'``,
            ``'generators.B'`` (or by the domain's name), ``'generators.A.encoder'``, as the weights
            are named in a checkpoint; a list, or a string with commas. Their weights and buffers
            stay bit-identical.

    Raises:
        ValueError: An unknown domain or loss weight, an invalid image size, a frozen part that does
            not exist, or no config of a network that translation needs.
    """

    NAME: ClassVar[str]
    """Prefix of its configs' names; its name in MMagic's inferencer."""
    ROW: ClassVar[str]
    """Its name in the paper's Table 3."""
    PARTS: ClassVar[dict[str, str]]
    """Children whose weights a checkpoint holds, and the config field that builds each."""
    TRANSLATES: ClassVar[tuple[str, ...]] = ('generators',)
    """The parts that translation needs; a slim file holds only these."""
    OPTIMIZED: ClassVar[dict[str, tuple[str, ...]]]
    """Name of each optimiser wrapper, and the parts, or modules in them, that it updates."""
    PACED: ClassVar[tuple[str, ...]] = ('generators',)
    """Optimisers that wait for ``discriminator_steps`` and ``disc_init_steps``."""
    PACE: ClassVar[str] = 'discriminators'
    """The optimiser whose updates these are counted in."""
    CHANNELS_LAST: ClassVar[tuple[str, ...]] = ('generators',)
    """Parts that are faster in NHWC."""
    NETWORKS: ClassVar[dict[str, type]]
    """Config fields that build networks, and the class of each."""
    FIELDS: ClassVar[tuple[str, ...]] = ('img_size',)
    """Further config fields that a file of weights records."""
    BOUNDS: ClassVar[dict[str, dict[str, int]]]
    """Largest values of the networks' numeric fields that a file of weights may ask for."""
    LOSS_WEIGHTS: ClassVar[dict[str, float]]
    """Weights of the losses."""
    TARGETS: ClassVar[tuple[str, ...]] = DOMAINS
    """Domains that it can translate into."""
    STRIDE: ClassVar[int] = 4
    """Height and width of the images are multiples of this."""
    INTERPOLATION: ClassVar[str] = 'bilinear'
    """Pillow's filter that resizes pictures to ``img_size``, as in the pipelines of its configs."""
    PICTURES: ClassVar[tuple[str, ...]] = DOMAINS
    """Images in a training batch, under ``img_X`` for each X."""
    BATCH_SIZE: ClassVar[int | None] = None
    """Images of a domain in a batch, for a model that trains with this batch size only."""
    ACCUMULATES: ClassVar[bool] = True
    """Whether an update may accumulate the gradients of several batches."""
    EVEN_D_LOSS: float = 0.5
    """A term of ``loss_gan_d_X`` for discriminators at chance level; 0 is perfect."""
    SIGNS: ClassVar[dict[str, float]] = {}
    """Limits of :meth:`signs`, by name."""
    RATES: ClassVar[dict[str, float]] = {}
    """Learning rate of the recipe, by optimiser; the tables name any other."""
    PLOTS: ClassVar[dict[str, 'Plot']] = {}
    """Further plots of the report, after losses and sheets, by title."""

    def __init__(
        self,
        parts: Mapping[str, nn.ModuleDict | None],
        data_preprocessor: dict | None = None,
        domains: dict[str, str] | None = None,
        default_domain: str | None = None,
        targets: Sequence[str] | None = None,
        img_size: int | tuple[int, int] = IMG_SIZE,
        loss_config: dict[str, float] | None = None,
        channels_last: bool = True,
        compile: dict | None = None,
        graph: bool = True,
        discriminator_steps: int = 1,
        disc_init_steps: int = 0,
        frozen: str | Sequence[str] | None = None,
    ) -> None:
        # Not MMagic's __init__, which builds one generator and one discriminator for each domain.
        preprocessor = data_preprocessor or {'type': 'TranslationPreprocessor'}
        BaseModel.__init__(self, MODELS.build(preprocessor))
        self.domain_names = domain_names(domains)
        self._reachable_domains = self.check_targets(targets)
        self._related_domains = list(DOMAINS)
        self._default_domain = self.target(default_domain or self._reachable_domains[-1])
        self.loss_config = self.LOSS_WEIGHTS | dict(loss_config or {})
        if unknown := self.loss_config.keys() - self.LOSS_WEIGHTS.keys():
            raise ValueError(
                f'loss_config knows {sorted(self.LOSS_WEIGHTS)}, not {sorted(map(str, unknown))}'
            )
        self.img_size = check_img_size(img_size, self.STRIDE)
        self.discriminator_steps = discriminator_steps
        self.disc_init_steps = disc_init_steps
        for name, field in self.PARTS.items():
            part = parts[name]
            if not part and name in self.TRANSLATES:
                raise ValueError(f'model.{field} is not there: translation needs its config')
            setattr(self, name, part)
            if channels_last and name in self.CHANNELS_LAST and part is not None:
                part.to(memory_format=torch.channels_last)
        if compile is not None:
            for network in self.networks():
                network.compile(**compile)
        self.frozen: tuple[str, ...] = tuple(map(self.module_name, names_in(frozen or ())))
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.register_state_dict_post_hook(_without_wrappers)
        self.graphs = StepGraphs() if graph else None
        self.kept: dict[str, Kept] = {}  # Step's, over accumulated batches
        self.batches = 1  # per update, by the last step's optimisers
        self.chosen = StyleChoice()  # of validation and tests

    @classmethod
    def check_targets(cls, targets: Sequence[str] | None) -> list[str]:
        """Return the letters of the domains to translate into; all of them for ``None``.

        Raises:
            ValueError: One is unknown, or the list is empty.
        """
        if targets is None:
            return list(cls.TARGETS)
        if not targets or not set(targets) <= set(cls.TARGETS):
            raise ValueError(f'targets must be some of {list(cls.TARGETS)}, got {targets!r}')
        return [target for target in cls.TARGETS if target in targets]

    @classmethod
    def build_networks(
        cls, cfg: dict | None, targets: Sequence[str] | None = None
    ) -> dict[str, nn.Module]:
        """Build a network for each target from one config; no networks for ``None``."""
        if cfg is None:
            return {}
        return {target: MODELS.build(cfg) for target in cls.check_targets(targets)}

    # ---------------------------------------------------------------- training

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> StepLog:
        """Run one iteration, :meth:`iterate`.

        Args:
            data: A batch of the data loader, images under ``img_A`` and ``img_B``.
            optim_wrapper: Wrappers by the names of ``OPTIMIZED``.

        Returns:
            Loss terms and updates; reading this mapping may wait for a GPU.
        """
        inputs = self.data_preprocessor(data, True)['inputs']
        real = {key.removeprefix('img_'): images for key, images in inputs.items()}
        self.batches = max(optim._accumulative_counts for optim in optim_wrapper.values())
        run = partial(run_step, self) if self.graphs is None else partial(self.graphs.run, self)
        step, vector = run(optim_wrapper, real, self.draw(real))
        pending = not all(optim.should_update() for optim in optim_wrapper.values())
        return step.log(vector, pending)

    def iterate(self, step: Step, real: dict[str, Tensor]) -> None:
        """The model's algorithm: its passes and updates, in its own order.

        Args:
            step: Runs the passes and updates.
            real: Images by domain, in [-1, 1], (N, C, H, W).
        """
        raise TypeError(f'{type(self).__name__} does not train')

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw an iteration's random numbers on the host; :meth:`iterate` reads ``step.drawn``.

        Args:
            real: As in :meth:`iterate`.

        Returns:
            Tensors on the device of the images, with the same shapes at each iteration.
        """
        return {}

    @property
    def steady(self) -> bool:
        """Whether an iteration's work on the host does not depend on earlier iterations."""
        return True

    @property
    def update_begun(self) -> int:
        """The iteration, from 0; with accumulation the update's first one. Phases depend on it."""
        iteration = MessageHub.get_current_instance().get_info('iter') or 0
        return iteration // self.batches * self.batches

    @property
    def phase(self) -> Hashable:
        """What an iteration's launches depend on, apart from turns, shapes and loss weights."""
        return None

    def abandon(self) -> None:
        """Discard the host state of an iteration that was interrupted."""

    def module_name(self, name: str) -> str:
        """Return the name of a part, or of a module in one, as in the state dict.

        Args:
            name: Such as ``'generators.B.encoder'``; the domain's name may replace its letter.

        Raises:
            ValueError: There is no such module.
        """
        known = [
            '.'.join(filter(None, (part, inner)))
            for part in self.PARTS
            if getattr(self, part) is not None
            for inner, module in unwrap(getattr(self, part)).named_modules()
            if any(True for _ in module.parameters())
        ]
        words = name.split('.')
        if len(words) > 1:
            words[1] = letter_of(self.domain_names, words[1]) or words[1]
        if '.'.join(words) not in known:
            near = get_close_matches(name, known, 1)
            hint = f'is it {near[0]}?' if near else f'such as {", ".join(known[:2])}'
            raise ValueError(f'the model has no part {name!r}: {hint}')
        return '.'.join(words)

    def _frozen_modules(self) -> Iterator[nn.Module]:
        for name in self.frozen:
            part, _, inner = name.partition('.')
            module = unwrap(getattr(self, part))
            # A slim copy lacks some networks.
            if module is not None and (not inner or inner.partition('.')[0] in module):
                yield module.get_submodule(inner)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, whose buffers must not change either."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def learns(self, name: str) -> bool:
        """Whether an optimiser has a parameter that is not frozen."""
        return any(p.requires_grad for module in self.optimized(name) for p in module.parameters())

    def is_turn(self, name: str, optims: OptimWrapperDict) -> bool:
        """Whether an optimiser's parts learn in this iteration (always, by default).

        With gradient accumulation one update spans several iterations.
        """
        if self.frozen and not self.learns(name):
            return False
        if name not in self.PACED:
            return True
        iteration = MessageHub.get_current_instance().get_info('iter') or 0
        update = iteration // optims[self.PACE]._accumulative_counts
        return (
            iteration >= self.disc_init_steps
            and update % self.discriminator_steps == self.discriminator_steps - 1
        )

    @property
    def weight_decay_scope(self) -> str:
        """Scope of weight decay if the config names none: ``'all'`` or ``'kernels'``."""
        return 'all'

    def check_trainable(self) -> None:
        """Raise a ValueError if something that training needs is missing."""
        missing = [field for part, field in self.PARTS.items() if getattr(self, part) is None]
        if missing:
            raise ValueError(f'training needs model.{missing[0]}, which the config does not have')
        if set(self.targets()) != set(self.TARGETS):
            raise ValueError(f'training needs all of model.targets={list(self.TARGETS)}')
        mean = getattr(self.data_preprocessor, 'mean', None)
        if mean is not None and mean.numel() not in (1, self.in_channels):
            raise ValueError(
                f'model.data_preprocessor.mean has {mean.numel()} numbers, the networks take '
                f'{self.in_channels} channels: leave mean and std out (127.5), or give one number '
                'for each channel'
            )
        # A translation of one domain is an input of the other generator and of a discriminator.
        first, last = (self.PARTS[self.TRANSLATES[place]] for place in (0, -1))
        counts = {
            f'model.{first}.in_channels': self.in_channels,
            f'model.{last}.out_channels': self.out_channels,
        }
        for part, field in self.PARTS.items():
            network = next(iter(unwrap(getattr(self, part)).values()))
            if part not in self.TRANSLATES and hasattr(network, 'in_channels'):
                counts[f'model.{field}.in_channels'] = network.in_channels
        if len(set(counts.values())) > 1:
            said = ', '.join(f'{field}={count}' for field, count in counts.items())
            raise ValueError(
                f'training needs one number of channels for both domains, got {said}: give '
                'channels=N, which sets all of them'
            )
        if not any(map(self.learns, self.OPTIMIZED)):
            raise ValueError(f'model.frozen={list(self.frozen)} leaves nothing to learn')

    def check_images(self, domain: str, shape: Sequence[int], training: bool = True) -> None:
        """Raise a ValueError, with what to change, if the networks cannot take such images.

        Args:
            domain: Their letter, or another one of ``PICTURES``.
            shape: (C, H, W).
            training: Check all parts; else only those that translate.
        """
        channels, height, width = shape
        name = self.domain_names.get(domain, domain)
        pipeline = 'train_pipeline' if training else 'test_pipeline'
        for part, field in self.PARTS.items():
            if not training and part not in self.TRANSLATES:
                continue
            for network in unwrap(getattr(self, part)).values():
                if (takes := getattr(network, 'in_channels', channels)) != channels:
                    raise ValueError(
                        f'the pictures of {name} have {channels} channels, '
                        f'and model.{field}.in_channels is {takes}: set channels={takes} to read '
                        f'them so, or channels={channels} for networks that take them'
                    )
                check_size(network, field, height, width)
        if height % self.STRIDE or width % self.STRIDE:
            raise ValueError(
                f'the pictures of {name} come as {height}x{width}: height and '
                f'width must be multiples of {self.STRIDE} (img_size, or Crop and Resize of '
                f'{pipeline})'
            )
        if not self.takes_any_size and (height, width) != sides_of(self.img_size):
            fields = [
                f'model.{field}.img_size'
                for field, network in self.NETWORKS.items()
                if 'img_size' in inspect.signature(network).parameters
            ]
            raise ValueError(
                f'the pictures of {name} come as {height}x{width}, and these '
                f'networks take {"{}x{}".format(*sides_of(self.img_size))} only: set '
                f'"{(fields or ["model.img_size"])[0]}=({height},{width})", or Crop and Resize of '
                f'{pipeline}, or model.generator.light=True'
            )

    def part(self, name: str) -> nn.Module:
        """Return a part (in its wrapper, if any), or a module in it, such as ``'generators.A'``."""
        part, _, inner = name.partition('.')
        module = getattr(self, part)
        return unwrap(module).get_submodule(inner) if inner else module

    def wrapped(self, name: str) -> list[nn.Module]:
        """The modules that an optimiser updates, in their wrappers."""
        return [self.part(module) for module in self.OPTIMIZED[name]]

    def optimized(self, name: str) -> list[nn.Module]:
        """The modules that an optimiser updates."""
        return [unwrap(module) for module in self.wrapped(name)]

    def training_state(self) -> Any:
        """This rank's own state other than weights, for exact resume.

        Returns:
            Tensors on the CPU and plain data; ``None`` if there is no such state.
        """
        return None

    def load_training_state(self, state: Any) -> None:
        """Restore what :meth:`training_state` returned."""

    # ------------------------------------------------------------- translation

    def letter(self, domain: str) -> str:
        """Return ``'A'`` or ``'B'`` for a letter or a name; case does not matter.

        Raises:
            ValueError: It is neither.
        """
        if (letter := letter_of(self.domain_names, domain)) is not None:
            return letter
        known = list(dict.fromkeys([*self.domain_names, *self.domain_names.values()]))
        raise ValueError(f'unknown domain {domain!r}: choose one of {known}')

    def target(self, domain: str | None = None) -> str:
        """Return the letter of a domain to translate into; the default one for ``None``.

        Raises:
            ValueError: It is unknown, or cannot be translated into.
        """
        letter = self.letter(self._default_domain if domain is None else domain)
        if letter not in self._reachable_domains:
            known = [self.domain_names[target] for target in self._reachable_domains]
            raise ValueError(
                f'these networks do not translate into {self.domain_names[letter]!r}, only into '
                f'{" and ".join(known)}'
            )
        return letter

    def targets(self) -> tuple[str, ...]:
        """Letters of the domains that it translates into."""
        return tuple(self._reachable_domains)

    def is_domain_reachable(self, domain: str) -> bool:
        """Whether images of this domain, by letter or by name, can be generated."""
        return letter_of(self.domain_names, domain) in self._reachable_domains

    def get_other_domains(self, domain: str) -> list[str]:
        """Return the letter of the other domain, in a list as in MMagic."""
        return [other(self.letter(domain))]

    def direction(self, target_domain: str | None = None) -> str:
        """Return the name of a direction, for example ``'selfie2anime'``."""
        return direction(self.domain_names, self.target(target_domain))

    def needed(self, target: str) -> dict[str, tuple[str, ...]]:
        """Return the networks that a translation into a domain runs, by part."""
        return dict.fromkeys(self.TRANSLATES, (target,))

    def only(self, target: str) -> Self:
        """Return this model with only the networks that translate into one domain.

        It shares the networks' weights with this one.
        """
        slim = copy.copy(self)
        slim._modules = dict.fromkeys(self.PARTS)
        for name, domains in self.needed(target).items():
            part = unwrap(getattr(self, name))
            slim._modules[name] = type(part)({domain: part[domain] for domain in domains})
        slim._reachable_domains = [target]
        return slim

    @property
    def in_channels(self) -> int:
        """Channels of the pictures that it translates."""
        return self._channels(self.TRANSLATES[0], 'in_channels')

    @property
    def out_channels(self) -> int:
        """Channels of its translations."""
        return self._channels(self.TRANSLATES[-1], 'out_channels')

    def _channels(self, part: str, name: str) -> int:
        network = next(iter(unwrap(getattr(self, part)).values()))
        return getattr(network, name, 3)  # a network without the attribute takes RGB

    @property
    def takes_any_size(self) -> bool:
        """Whether images of any multiple of ``STRIDE`` fit; else only those of ``img_size``."""
        return True

    @property
    def has_attention(self) -> bool:
        """Whether :meth:`translate` can return a heatmap."""
        return False

    def translate(
        self, image: Tensor, target: str, *, heatmap: bool = False, style: Tensor | None = None
    ) -> Translated:
        """Translate images into the other domain; every translation goes through here.

        Args:
            image: In [-1, 1], (N, C, H, W), of the other domain.
            target: Letter of a domain in :meth:`targets`.
            heatmap: Return the attention too, if the model has one.
            style: As :meth:`styles` returns it; drawn at random if a model needs one.
        """
        return Translated(unwrap(self.generators)[target](image))

    @property
    def style_shape(self) -> tuple[int, ...] | None:
        """Shape of a style; ``None`` for a model without styles."""
        return None

    def styles(self, names: Sequence[str], target: str, seed: int = 0) -> Tensor | None:
        """Return styles for pictures outside training; a name always gets the same style.

        Args:
            names: Of the pictures' files, without their folders.
            target: Letter of the domain to translate into.
            seed: Of the draws; another seed gives other styles.

        Returns:
            From N(0, 1), (N, *style_shape), on the CPU; ``None`` for a model without styles.
        """
        if self.style_shape is None:
            return None
        return torch.stack([named_noise(f'{seed} {name}', self.style_shape) for name in names])

    def style_of(self, image: Tensor, target: str) -> Tensor:
        """Read the style from pictures of the domain to translate into.

        Args:
            image: In [-1, 1], (N, C, H, W), of the domain ``target``.
            target: Its letter.

        Returns:
            A row for each picture, as :meth:`styles` returns it.

        Raises:
            ValueError: The model has no styles, or its weights cannot read them.
        """
        raise ValueError(f'{self.ROW} has no styles')

    def translation(
        self, image: Tensor, target_domain: str | None = None, *, style: Tensor | None = None
    ) -> Tensor:
        """Translate images in [-1, 1], (N, C, H, W); MMagic's entry point.

        Args:
            image: Images of the other domain.
            target_domain: Letter or name; the default domain if not given.
            style: See :meth:`translate`.

        Returns:
            Images in [-1, 1], (N, C, H, W).
        """
        return self.translate(image, self.target(target_domain), style=style).image

    @torch.no_grad()
    def forward_test(
        self, img: Tensor, target_domain: str | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Translate for MMagic's inferencer.

        Args:
            img: Images in [-1, 1], as the data preprocessor returns them.
            target_domain: Letter or name; the default domain if not given.
            kwargs: For :meth:`translation`.

        Returns:
            dict: ``source`` and ``target``, BGR in [-1, 1] on the CPU. MMagic's inferencer always
                writes three channels: of one or two, the first as grey; of more than three, the
                first three.
        """
        target = self.translation(img, target_domain, **kwargs)
        return {'source': _to_bgr(img), 'target': _to_bgr(target)}

    @torch.no_grad()
    def val_step(self, data: dict) -> list[DataSample]:
        """Translate a batch in each available direction, without gradients.

        Args:
            data: A batch of the data loader, of one domain or of both.

        Returns:
            A data sample for each pair, with the sources ``img_A``, ``img_B``, as the networks saw
            them, and the translations ``fake_A``, ``fake_B``: BGR, uint8, (C, H, W). Further
            styles, if ``chosen`` asks for them, are ``fake_A_2`` and so on. Its metainfo
            ``domains`` holds the names of the domains.
        """
        data = self.data_preprocessor(data, False)
        samples = data['data_samples'].split()
        for source in DOMAINS:
            images = data['inputs'].get(f'img_{source}')
            if images is None:  # a test set of one domain
                continue
            pictures = {f'img_{source}': images}
            if (target := other(source)) in self.targets():
                paths = [sample.metainfo.get(f'img_{source}_path', '') for sample in samples]
                names = [os.path.basename(path) for path in paths]
                for k, style in enumerate(self.chosen.of(self, names, target), 1):
                    key = fake_key(target, k)
                    pictures[key] = self.translate(images, target, style=style).image
            for key, batch in pictures.items():
                for sample, picture in zip(samples, _to_mmagic(batch), strict=True):
                    sample.set_tensor_data({key: picture})
        for sample in samples:
            sample.set_metainfo({'domains': dict(self.domain_names)})
        return samples

    def test_step(self, data: dict) -> list[DataSample]:
        """As :meth:`val_step`."""
        return self.val_step(data)

    # ---------------------------------------------------------- visualisation

    def columns(self, image: Tensor, target: str, styles: int = 3) -> dict[str, Tensor | Attention]:
        """Return what a sheet shows of an image, by the column's title.

        A model with styles has a column for each style, the same for all images: ``style 1`` is the
        style of seed 0 and the empty name, as in an exported file.

        Args:
            image: In [-1, 1], (C, H, W), of the other domain.
            target: Letter of the domain to translate into.
            styles: Number of styles to show.

        Returns:
            Images (C, H, W) in [-1, 1], and :class:`Attention`.
        """
        first, *others = StyleChoice(count=styles).of(self, [''], target)
        out = self.translate(image[None], target, heatmap=self.has_attention, style=first)
        columns: dict[str, Tensor | Attention] = {'source': image}
        if self.has_attention:
            columns['attention'] = Attention(None if out.heatmap is None else out.heatmap[0])
        if first is not None:
            columns['style 1'] = out.image[0]
            for k, style in enumerate(others, 2):
                columns[f'style {k}'] = self.translate(image[None], target, style=style).image[0]
            return columns
        columns['translation'] = out.image[0]
        if other(target) in self.targets():
            columns['cycle'] = self.translate(out.image, other(target)).image[0]
        return columns

    def attention(self, image: Tensor, target: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Translate an image and return the attention of the networks.

        Args:
            image: In [-1, 1], (1, C, H, W), of the other domain.
            target: Letter of the domain to translate into.

        Returns:
            The translation, (1, C, H, W), and heatmaps (1, 1, h, w) by title.
        """
        out = self.translate(image, target, heatmap=self.has_attention)
        return out.image, {} if out.heatmap is None else {'generator': out.heatmap}

    def signs(
        self, limits: Mapping[str, float], heatmaps: Mapping[str, Tensor | None]
    ) -> dict[tuple[str, str], str]:
        """Return signs of a collapse that are specific to this model, for :class:`WatchHook`.

        Args:
            limits: A number for each name of ``SIGNS``.
            heatmaps: Attention of a picture, by target.

        Returns:
            A description by the sign's name and place.
        """
        return {}

    # ---------------------------------------------------------------- weights

    def init_weights(self) -> None:
        """Initialise the weights of all networks by their ``init`` fields."""
        for network in self.networks():
            network.init_weights()

    def networks(self) -> list[Any]:
        """The networks of all parts that are present."""
        parts = [getattr(self, name) for name in self.PARTS]
        return [net for part in parts if part is not None for net in unwrap(part).values()]

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Run the networks uncompiled within the block.

        A batch of another size would recompile a compiled network.
        """
        compiled: list[tuple[nn.Module, Callable | None]] = [
            (network, network._compiled_call_impl) for network in self.networks()
        ]
        for network, _ in compiled:
            network._compiled_call_impl = None
        try:
            yield
        finally:
            for network, call in compiled:
                network._compiled_call_impl = call

    @classmethod
    def describe(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read from weights which networks they need, in the form of :meth:`networks_of`.

        Raises:
            ValueError: The weights do not show it.
        """
        raise ValueError('it does not say what networks it needs: give its config, too')

    @classmethod
    def described(cls) -> tuple[str, ...]:
        """Return the config fields that a file of weights records, apart from ``type``."""
        return ('domains', 'default_domain', 'targets', *cls.FIELDS, *cls.NETWORKS)

    @classmethod
    def networks_of(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a model's config that its weights need.

        Args:
            model: Plain data.

        Returns:
            ``type``, names of the domains, ``FIELDS`` and the configs of ``NETWORKS`` without the
            fields that only set how they are computed.
        """
        fields = cls.described()
        networks = {key: model[key] for key in fields if model.get(key) is not None}
        for field in cls.NETWORKS.keys() & networks.keys():
            networks[field] = {k: v for k, v in networks[field].items() if k != 'with_cp'}
        return {'type': cls.__name__, **networks}

    @classmethod
    def size_of(cls, model: Mapping[str, Any]) -> int | tuple[int, int]:
        """Return a config's image size: the side of a square, or (height, width)."""
        return model.get('img_size', IMG_SIZE)

    @classmethod
    def lacks(cls, model: Mapping[str, Any]) -> str | None:
        """Return what a config's training lacks, apart from pictures, and the remedy."""
        return None

    @classmethod
    def variant(cls, model: Mapping[str, Any]) -> list[str]:
        """Return words for a config's differences from the paper's, for the tables."""
        return []

    @classmethod
    def loss_words(cls, model: Mapping[str, Any], always: Sequence[str] = ()) -> list[str]:
        """Return words for the loss weights that are not the default, and those in ``always``."""
        losses = cls.LOSS_WEIGHTS | dict(model.get('loss_config') or {})
        return [
            f'{name} loss {losses[name]:g}'
            for name, usual in cls.LOSS_WEIGHTS.items()
            if losses[name] != usual or name in always
        ]

    @classmethod
    def ablation(cls, model: Mapping[str, Any]) -> str | None:
        """Return a config's row of the paper's Table 1, ``None`` if it has none."""
        return None


def _without_wrappers(module: UnpairedTranslation, state: dict, prefix: str, _: dict) -> None:
    """Remove the wrappers' prefixes: MMEngine loads such names into a wrapped model too."""
    for key in list(state):
        for part in module.PARTS:
            wrapped = f'{prefix}{part}.module.'
            if key.startswith(wrapped):
                state[f'{prefix}{part}.{key[len(wrapped) :]}'] = state.pop(key)


def fake_key(target: str, k: int) -> str:
    """Key of the k-th style's translation in :meth:`UnpairedTranslation.val_step`'s result."""
    return f'fake_{target}' if k == 1 else f'fake_{target}_{k}'


def _to_bgr(images: Tensor) -> Tensor:
    """Return three channels to display, BGR, on the CPU."""
    colours = images[:, [0, 0, 0]] if images.size(1) < 3 else images[:, :3]
    return colours.flip(1).cpu()


def _to_mmagic(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to uint8 on the CPU, RGB to MMagic's BGR."""
    return swap_colours(to_uint8(images)).cpu()
