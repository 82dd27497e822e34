"""A watch over signs of a training that has collapsed."""

import math
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..domains import DOMAINS, other
from ..models.base import unwrap
from ..models.layers import LIN, AdaLIN
from ..models.ugatit.recipes import resolve
from ..models.ugatit.ugatit import UGATIT

SEEN = 0.02  # mean difference in [-1, 1] from which on two sources count as different pictures


@HOOKS.register_module()
class WatchHook(Hook):
    """Warn, in words, of signs that the networks do not learn any more.

    It looks every ``interval`` iterations, and warns of a sign that it found ``patience`` times in
    a row, then again after every ``repeat`` looks that still find it. It reads the losses of all
    iterations and translates two pictures of the training (the current one and that of the look
    before) without gradients; it draws no random number and moves nothing, so that the training is
    the same with it and without it.

    Args:
        interval: Iterations between two looks.
        patience: Looks in a row that must find a sign.
        repeat: Looks in a row from one warning to the next.
        d_loss: Mean of a domain's discriminator terms over the interval, below which nothing is
            left for the generators to learn from; 0.5 is a coin's toss, 0 perfect. Trainings that
            went well stay between 0.37 and 0.6.
        contrast: Standard deviation of a translation over its pixels, in [-1, 1]: a picture of one
            colour. Real pictures have 0.2 to 0.6.
        difference: Mean difference of two translations, as a share of that of their sources: the
            same picture whatever the source.
        attention: Standard deviation of the generator's heatmap over its pixels, as a share of the
            heatmap's mean: all places count alike.
        rho: Share of the channels whose rho stands at a bound, of those that started elsewhere.
        still: Range of a total loss over the interval, as a share of its mean.

    Raises:
        ValueError: A number that is below 1 or, for the limits, below 0.
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
        attention: float = 0.01,
        rho: float = 0.95,
        still: float = 1e-4,
    ) -> None:
        for name, value in (('interval', interval), ('patience', patience), ('repeat', repeat)):
            if value < 1:
                raise ValueError(f'{name} must be 1 or more, got {value}')
        self.interval, self.patience, self.repeat = interval, patience, repeat
        self.limits = {
            'd_loss': d_loss,
            'contrast': contrast,
            'difference': difference,
            'attention': attention,
            'rho': rho,
            'still': still,
        }
        for name, value in self.limits.items():
            if not value >= 0:
                raise ValueError(f'{name} must be 0 or more, got {value}')
        self._losses: dict[str, list[float]] = {}
        self._pictures: dict[str, Tensor] = {}
        self._in_a_row: dict[tuple[str, str], int] = {}

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Take the losses down; look if it is time."""
        for name in ('loss_d', 'loss_g', *(f'loss_gan_d_{domain}' for domain in DOMAINS)):
            if name in outputs:
                self._losses.setdefault(name, []).append(outputs[name])
        if not self.every_n_train_iters(runner, self.interval):
            return
        model = unwrap(runner.model)
        signs = self.of_losses(model, outputs)
        signs |= self.of_translations(model, data_batch)
        signs |= self.of_rho(model, runner.cfg.model.generator.get('rho_init'))
        self._losses.clear()
        self._in_a_row = {sign: self._in_a_row.get(sign, 0) + 1 for sign in signs}
        for sign, words in signs.items():
            more = self._in_a_row[sign] - self.patience
            if more >= 0 and more % self.repeat == 0:
                since = self._in_a_row[sign] * self.interval
                runner.logger.warning(
                    f'watch, iteration {runner.iter + 1}: for {since} iterations {words}'
                )

    def of_losses(self, model: UGATIT, outputs: dict[str, float]) -> dict[tuple[str, str], str]:
        """Discriminators that are never wrong, totals that do not move."""
        signs = {}
        for domain in DOMAINS:
            total = f'loss_gan_d_{domain}'
            # A term is (D(x) - 1)^2 + D(G(x'))^2 of a scale, of its logits or its CAM logits.
            terms = sum(name.startswith(f'{total}_') for name in outputs)
            values = self._losses.get(total)
            mean = sum(values) / len(values) / terms if values and terms else math.inf
            if mean < self.limits['d_loss']:
                signs['d_loss', domain] = (
                    f'the discriminators of {model.domain_names[domain]} have told real from '
                    f'translated pictures without mistakes (loss {mean:.2g} a term; 0.5 is a '
                    "coin's toss), so the generator into that domain gets little to learn from. "
                    'If the sheets get no better: an earlier checkpoint, more pictures, or a lower '
                    'optim_wrapper.discriminators.optimizer.lr.'
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
    def of_translations(self, model: UGATIT, data_batch: dict) -> dict[tuple[str, str], str]:
        """Translations of one colour, the same for all sources, attention without a place."""
        first = {f'img_{x}': data_batch['inputs'][f'img_{x}'][:1] for x in DOMAINS}
        pictures = model.data_preprocessor({'inputs': first}, True)['inputs']
        signs = {}
        for target in DOMAINS:
            source, direction = other(target), model.direction(target)
            # forward: a compiled network would be compiled anew for this.
            translate = model.get_module(model.generators)[target].forward
            now, before = pictures[f'img_{source}'], self._pictures.get(source)
            self._pictures[source] = now
            out, _, heatmap = translate(now, return_cam=True)
            if (contrast := out.std((2, 3)).mean().item()) < self.limits['contrast']:
                signs['contrast', target] = (
                    f'the translations {direction} have been pictures of one colour (standard '
                    f'deviation {contrast:.2g} in [-1, 1]): the generator has collapsed. Go back '
                    'to an earlier checkpoint, with a lower optim_wrapper.*.optimizer.lr.'
                )
            elif before is not None and before.shape == now.shape:
                apart = (now - before).abs().mean().item()
                share = (out - translate(before)).abs().mean().item() / max(apart, SEEN)
                if apart >= SEEN and share < self.limits['difference']:
                    signs['difference', target] = (
                        f'the translations {direction} have been one and the same, whatever the '
                        f'source (they differ by {share:.1%} of what the sources differ by): the '
                        'generator has collapsed. Go back to an earlier checkpoint; a higher '
                        'loss_config.cycle ties the translation to its source.'
                    )
            if heatmap is not None and self._is_flat(heatmap):
                signs['attention', target] = (
                    f'the attention of {direction} has been the same at all places of the picture, '
                    'so it leads nowhere: its classifier has died. Go back to an earlier '
                    'checkpoint, with a lower learning rate or a lower loss_config.cam.'
                )
        return signs

    def of_rho(self, model: UGATIT, rho_init: float | None) -> dict[tuple[str, str], str]:
        """Rho at a bound where it did not start."""
        starts = {
            AdaLIN: resolve(model.recipe, 'generator', rho_init=rho_init)['rho_init'],
            LIN: 0.0,
        }
        places = {AdaLIN: 'residual blocks', LIN: 'up-sampling layers'}
        bounds = {0: 'layer norm', 1: 'instance norm'}
        signs = {}
        for target in DOMAINS:
            network = model.get_module(model.generators)[target]
            for kind, start in starts.items():
                layers = [layer for layer in network.modules() if isinstance(layer, kind)]
                rhos = [layer.rho for layer in layers if isinstance(layer.rho, torch.nn.Parameter)]
                for bound in bounds.keys() - {start} if rhos else ():
                    share = (torch.cat([r.flatten() for r in rhos]) == bound).float().mean().item()
                    if share > self.limits['rho']:
                        signs[f'rho at {bound}', f'{target}, {places[kind]}'] = (
                            f'rho has stood at {bound} in {share:.0%} of the channels of the '
                            f'{places[kind]} of {model.direction(target)}: they are plain '
                            f'{bounds[bound]}, and adapt no more. Look at the sheets; if they are '
                            'poor, go back to an earlier checkpoint with a lower learning rate.'
                        )
        return signs

    def _is_flat(self, heatmap: Tensor) -> bool:
        heatmap = heatmap.float()
        return bool(heatmap.std() <= self.limits['attention'] * heatmap.abs().mean())
