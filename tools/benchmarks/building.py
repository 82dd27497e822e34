"""The steps that the benchmarks compare: ours, from a config, and the official order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmagic.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine import MessageHub
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict
from official import official_order
from torch import Tensor

from ugatit_mm.apis import apply_speed
from ugatit_mm.config import load_config
from ugatit_mm.engine.speed import width_options, widths_of
from ugatit_mm.models.base import TRANSLATION_MODELS

KNOWN = sorted(model.NAME for model in TRANSLATION_MODELS.values())
VARIANTS = ('light', 'full')
LONGEST = 200  # steps until a model is steady: its image pools are full


class Case(NamedTuple):
    """A model, by its ``NAME``, and the variant of it, where it has variants."""

    model: str
    variant: str | None = None

    def __str__(self) -> str:
        return self.variant or self.model


def add_model_arguments(parser: Any) -> None:
    """Add the options that choose models."""
    parser.add_argument(
        '--model',
        nargs='+',
        choices=[*KNOWN, 'all'],
        default=['ugatit'],
        metavar='NAME',
        help=f'models: some of {", ".join(KNOWN)}, or all (ugatit)',
    )
    parser.add_argument(
        '--variant',
        nargs='+',
        choices=VARIANTS,
        default=list(VARIANTS),
        help='variants of a model with light generators (both)',
    )


def cases_of(models: list[str], variants: list[str]) -> list[Case]:
    """The chosen models, each in the chosen variants if it has any."""
    return [
        Case(model, variant)
        for model in (KNOWN if 'all' in models else models)
        for variant in (variants if has_variants(model) else [None])
    ]


def has_variants(model: str) -> bool:
    """Whether a model's generators are light or full."""
    return 'light' in config_of(model).model.get('generator', {})


def config_of(model: str, options: dict[str, Any] | None = None) -> Config:
    """A model's config of selfie2anime, which every model has."""
    return load_config(f'{model}_selfie2anime', options)


def width_of(model: str) -> int:
    """Channels of the first convolution of a model's first network, as in its program."""
    return next(iter(widths_of(config_of(model)).values()))


def batch_of(model: str) -> int:
    """Pairs of pictures in a step of a model, as in its program."""
    return config_of(model).train_dataloader.batch_size


def size_of(model: str, asked: int) -> int:
    """Side of the images in pixels: ``asked``, or the smallest that a model takes."""
    return max(asked, getattr(official_order(model), 'SMALLEST', 0))


def of_same_width(case: Case, img_size: int, base_channels: int, **more: Any) -> Config:
    """A model's config at a size and width.

    Args:
        case: Model and variant.
        img_size: Side of the images in pixels.
        base_channels: See :func:`width_options`.
        more: Options by their keys.
    """
    options = {'img_size': img_size} | width_options(config_of(case.model), base_channels)
    if case.variant:
        options['model.generator.light'] = case.variant == 'light'
    return config_of(case.model, options | more)


@dataclass
class Training:
    """A training step: a call runs it."""

    model: BaseModel
    optim: OptimWrapperDict
    batch: dict
    iteration: int = 0
    seen: int = field(default=0, init=False)

    def __call__(self) -> dict:
        """Run a step, return the loss terms."""
        # Turns and phases depend on the iteration.
        MessageHub.get_current_instance().update_info('iter', self.iteration + self.seen)
        self.seen += 1
        return self.model.train_step(self.batch, self.optim)

    def settle(self) -> None:
        """Run steps until the model is steady, which a graph waits for."""
        for _ in range(LONGEST):
            if self.model.steady:
                return
            self()


def build_official(
    case: Case, images: dict[str, Tensor], base_channels: int
) -> Callable[[], dict[str, Tensor]]:
    """Return the official step."""
    more = {'light': case.variant == 'light'} if case.variant else {}
    device = images['A'].device
    with device:
        step = official_order(case.model)(images['A'].size(2), base_channels, device, **more).step
    return lambda: step(images['A'], images['B'])


def repeated(step: Callable, times: int) -> Callable[[], None]:
    """``times`` steps as one call."""

    def whole() -> None:
        for _ in range(times):
            step()

    return whole


def period_of(model: str) -> int:
    """Number of iterations after which a model's repeat."""
    return getattr(official_order(model), 'PERIOD', 1)


def build_ours(
    case: Case,
    images: dict[str, Tensor],
    base_channels: int,
    options: dict[str, Any] | None = None,
    **speed: Any,
) -> Training:
    """Return our step, with the mathematics of the official order.

    Args:
        case: Model and variant.
        images: By domain, RGB in [-1, 1], (N, 3, H, W).
        base_channels: As :func:`of_same_width`.
        options: Options of the config.
        speed: A setting of :func:`apply_speed`.
    """
    same = getattr(official_order(case.model), 'OPTIONS', {})
    more = same | (options or {})
    cfg = of_same_width(case, images['A'].size(2), base_channels, **more)
    apply_speed(cfg, **{'graph': False, **speed})
    return build_step(cfg, images)


def build_step(cfg: Config, images: dict[str, Tensor]) -> Training:
    """Return the step of a config with its own networks, which are built on the images' device.

    It is from the middle of the training. Where a model takes more than the two domains' images,
    these are domain B's.

    Args:
        cfg: Config of a training.
        images: By domain, RGB in [-1, 1], (N, 3, H, W).
    """
    device = images['A'].device
    with device:  # drawing a full model's weights on a CPU takes half a minute
        model: BaseModel = MODELS.build(cfg.model)
        model.to(device).train().init_weights()
    constructor = cfg.optim_wrapper.pop('constructor')
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(constructor)
    optim = build(cfg.optim_wrapper)(model)
    # As the data loader gives it: uint8, BGR.
    pixels = {k: (v.flip(1) + 1).mul(127.5).round().byte() for k, v in images.items()}
    keys = cfg.train_dataloader.dataset.pipeline[-1]['keys']
    inputs = {key: pixels.get(key.removeprefix('img_'), pixels['B']) for key in keys}
    return Training(model, optim, {'inputs': inputs}, cfg.train_cfg.max_iters // 2)
