"""Watch for signs of a collapsed training."""

import math

import torch
from mmagic.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import Tensor

from ..domains import DOMAINS, other
from ..models.base import UnpairedTranslation, unwrap
from .late import Done, LateHook

SEEN = 0.02  # mean difference in [-1, 1] from which on two sources count as different pictures


@HOOKS.register_module()
class WatchHook(LateHook):
    """Warn, in words, of signs that the networks no longer learn.

    It checks every ``interval`` iterations, and warns of a sign that it found ``patience`` times in
    a row, then again after every ``repeat`` checks that still find it. It reads the losses of all
    iterations and translates two pictures of the training (the current one and that of the last
    check) without gradients; it draws no random number and changes nothing, so that the training is
    the same with it and without it.

    Args:
        interval: Iterations between two checks.
        patience: Checks in a row that must find a sign.
        repeat: Checks in a row from one warning to the next.
        d_loss: Mean of a domain's discriminator terms over the interval, scaled so that 0.5 is
            chance and 0 perfect, below which the generators get little to learn from. Trainings of
            U-GAT-IT that went well stay between 0.37 and 0.6.
        contrast: Standard deviation of a translation over its pixels, in [-1, 1], below which it
            is a picture of one colour. Real pictures have 0.2 to 0.6.
        difference: Mean difference of two translations, as a share of that of their sources, below
            which they are the same picture whatever the source.
        still: Range of a total loss over the interval, as a share of its mean.
        own: Limits of the model's own signs, by the names of its ``SIGNS``, which are the defaults.

    Raises:
        ValueError: A number that is below 1 or, for the limits, below 0; in training, a limit that
            is not one of the model's.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 500,
        patience: int = 4,
        repeat: int = 20,
        d_loss: float = 0.05,
        contrast: float = 0.02,
        difference: float = 0.02,
        still: float = 1e-4,
        **own: float,
    ) -> None:
        for name, value in (('interval', interval), ('patience', patience), ('repeat', repeat)):
            if value < 1:
                raise ValueError(f'{name} must be 1 or more, got {value}')
        self.interval, self.patience, self.repeat = interval, patience, repeat
        self.limits = {
            'd_loss': d_loss,
            'contrast': contrast,
            'difference': difference,
            'still': still,
        }
        self.own = own
        for name, value in {**self.limits, **own}.items():
            if not value >= 0:
                raise ValueError(f'{name} must be 0 or more, got {value}')
        self._losses: dict[str, list[float]] = {}
        self._pictures: dict[str, Tensor] = {}
        self._in_a_row: dict[tuple[str, str], int] = {}

    def before_train(self, runner: Runner) -> None:
        """Check that the model has the signs that limits were given for."""
        known = unwrap(runner.model).SIGNS
        if unknown := self.own.keys() - known.keys():
            raise ValueError(
                f'WatchHook has no limit {sorted(unknown)[0]!r}: there are '
                f'{", ".join([*self.limits, *known])}'
            )

    def after_step(self, runner: Runner, done: Done) -> None:
        """Collect the losses; check if it is due."""
        if not is_main_process():
            return
        for name, value in done.log.items():
            if name in ('loss_d', 'loss_g') or name.startswith('loss_gan_d_'):
                self._losses.setdefault(name, []).append(value)
        if done.iteration % self.interval:
            return
        model = unwrap(runner.model)
        signs = self.of_losses(model)
        signs |= self.of_translations(model, done.batch)
        self._losses.clear()
        self._in_a_row = {sign: self._in_a_row.get(sign, 0) + 1 for sign in signs}
        for sign, words in signs.items():
            more = self._in_a_row[sign] - self.patience
            if more >= 0 and more % self.repeat == 0:
                since = self._in_a_row[sign] * self.interval
                runner.logger.warning(
                    f'watch, iteration {done.iteration}: for {since} iterations {words}'
                )

    def of_losses(self, model: UnpairedTranslation) -> dict[tuple[str, str], str]:
        """Discriminators that are never wrong, totals that do not move."""
        signs = {}
        for domain in model.targets():
            total = f'loss_gan_d_{domain}'
            # A total may be the sum of terms, of the scales for example.
            terms = sum(name.startswith(f'{total}_') for name in self._losses) or 1
            values = self._losses.get(total)
            mean = sum(values) / len(values) / terms if values else math.inf
            mean *= 0.5 / model.EVEN_D_LOSS
            if mean < self.limits['d_loss']:
                judging = _optimiser_of(model, f'discriminators.{domain}')
                signs['d_loss', domain] = (
                    f'the discriminators of {model.domain_names[domain]} have separated real from '
                    f'translated pictures without mistakes (loss {mean:.2g} a term; 0.5 is '
                    'chance), so the generator into that domain gets little to learn from. '
                    'If the sheets get no better: an earlier checkpoint, more pictures, or a lower '
                    f'optim_wrapper.{judging}.optimizer.lr.'
                )
        for total in ('loss_d', 'loss_g'):
            values = self._losses.get(total, [])
            middle = abs(sum(values)) / max(1, len(values))
            if len(values) > 1 and max(values) - min(values) <= self.limits['still'] * middle:
                signs['still', total] = (
                    f'{total} has not moved at all (it is {values[-1]:.6g}, whatever the picture): '
                    'these networks have died, or the pictures are all the same. Go back to an '
                    'earlier checkpoint with a lower optim_wrapper.*.optimizer.lr.'
                )
        return signs

    @torch.no_grad()
    def of_translations(
        self, model: UnpairedTranslation, data_batch: dict
    ) -> dict[tuple[str, str], str]:
        """Translations of one colour, the same for all sources; the model's own signs."""
        first = {f'img_{x}': data_batch['inputs'][f'img_{x}'][:1] for x in DOMAINS}
        pictures = model.data_preprocessor({'inputs': first}, True)['inputs']
        signs = {}
        heatmaps = {}
        for target in model.targets():
            source, direction = other(target), model.direction(target)
            now, before = pictures[f'img_{source}'], self._pictures.get(source)
            self._pictures[source] = now
            style = model.styles(['watch'], target)
            with model.eager():
                out, heatmaps[target] = model.translate(
                    now, target, heatmap=model.has_attention, style=style
                )
            if (contrast := out.std((2, 3)).mean().item()) < self.limits['contrast']:
                signs['contrast', target] = (
                    f'the translations {direction} have been pictures of one colour (standard '
                    f'deviation {contrast:.2g} in [-1, 1]): the generator has collapsed. Go back '
                    'to an earlier checkpoint, with a lower optim_wrapper.*.optimizer.lr.'
                )
            elif before is not None and before.shape == now.shape:
                apart = (now - before).abs().mean().item()
                with model.eager():
                    then = model.translate(before, target, style=style).image
                share = (out - then).abs().mean().item() / max(apart, SEEN)
                if apart >= SEEN and share < self.limits['difference']:
                    signs['difference', target] = (
                        f'the translations {direction} have been one and the same, whatever the '
                        f'source (they differ by {share:.1%} of what the sources differ by): the '
                        'generator has collapsed. Go back to an earlier checkpoint; a higher '
                        'loss_config.cycle ties the translation to its source.'
                    )
        return signs | model.signs({**model.SIGNS, **self.own}, heatmaps)


def _optimiser_of(model: UnpairedTranslation, module: str) -> str:
    """Name of the optimiser that updates a module; ``'*'`` where none does it as a whole."""
    for name, modules in model.OPTIMIZED.items():
        if any(f'{module}.'.startswith(f'{each}.') for each in modules):
            return name
    return '*'
