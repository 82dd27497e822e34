"""An average of the weights that translate, next to the training weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..converters import weights_of
from ..converters.networks import check_weights
from ..engine.averages import Average, put_average
from ..models.base import UnpairedTranslation, unwrap


@HOOKS.register_module()
class TranslationEMAHook(Hook):
    """Keep an exponential moving average of the weights that translate, and use it to translate.

    After each step ``average = (1 - m) * average + m * weights``, for the trainable parameters of
    the model's ``TRANSLATES``. Step t, from 0, has ``m = max(momentum, gamma / (gamma + t))``, so
    that early on it averages the few weights so far, and its start value is forgotten: the first
    step copies. With ``gamma=9`` that is the decay ``min(1 - momentum, (1 + n) / (10 + n))`` of
    TensorFlow's ``ExponentialMovingAverage`` with ``num_updates`` n = t - 1, and for any gamma
    MMEngine's ``MomentumAnnealingEMA``; ``gamma=0`` is its ``ExponentialMovingAverage``.

    A step is an iteration at whose end an update of averaged weights was due. Iterations that only
    accumulate gradients, or train other parts (``disc_init_steps``, DRIT's content discriminator),
    do not count. An update that was left out, as its gradient was not finite, counts: only the
    device knows it, and the average moves to the weights as they are.

    Frozen weights, discriminators and buffers have no average (no part of our models that
    translates has a buffer that changes): the average translates with the model's.

    Validation, sheets and a test by the runner use the average, and so does a checkpoint: as with
    MMEngine's ``EMAHook``, its ``state_dict`` holds the average, ``ema_state_dict`` the training
    weights. A resume restores both to the bit; it starts the average where there was none, and
    leaves it out where the hook is off. Losses, :class:`WatchHook` and ``RhoHook`` use the training
    weights.

    A step is one operator over all weights and does not synchronise with the device. Weights are
    swapped in place, so that CUDA graphs and optimisers keep their addresses. The average takes the
    memory of the parameters once more, and each rank keeps the same one.

    Args:
        momentum: Least share of the newest weights, between 0 and 1; ``None`` switches the hook
            off. 1 / momentum is about the number of steps that count.
        gamma: Of the warm-up, in steps.
        begin_iter: Iterations, from 1, before this one are not averaged: the average is the weights
            of the last one.

    Raises:
        ValueError: A number that is out of its range; in training, a ``begin_iter`` beyond its end.
    """

    priority = 'NORMAL'  # before the sheets and the checkpoint hook

    def __init__(self, momentum: float | None = 0.002, gamma: int = 9, begin_iter: int = 0) -> None:
        if momentum is not None and not 0 < momentum < 1:
            raise ValueError(f'momentum must lie between 0 and 1, got {momentum} (None is off)')
        for name, value in (('gamma', gamma), ('begin_iter', begin_iter)):
            if value < 0:
                raise ValueError(f'{name} must be 0 or more, got {value}')
        self.momentum = momentum
        self.gamma = gamma
        self.begin_iter = begin_iter
        self.steps = 0
        self._weights: dict[str, nn.Parameter] = {}
        # The averages; while the model has them, the training weights.
        self._others: dict[str, Tensor] = {}
        self._optims: list[str] = []
        self._swapped = False

    def averaged(self, model: UnpairedTranslation) -> dict[str, nn.Parameter]:
        """The parameters that are averaged, by their names in a checkpoint; none if it is off."""
        if self.momentum is None:
            return {}
        parts = tuple(f'{part}.' for part in model.TRANSLATES)
        state = model.state_dict(keep_vars=True)  # without the names of wrappers
        return {
            name: value
            for name, value in state.items()
            if name.startswith(parts) and isinstance(value, nn.Parameter) and value.requires_grad
        }

    def before_train(self, runner: Runner) -> None:
        """Start the average, unless a checkpoint had one."""
        if self.momentum is None:
            return
        if self.begin_iter > runner.max_iters:
            raise ValueError(
                f'begin_iter must be {runner.max_iters} or less, the iterations of the training, '
                f'got {self.begin_iter}'
            )
        model = unwrap(runner.model)
        if not self._others:
            self._start(model)
        count = sum(weight.numel() for weight in self._weights.values())
        runner.logger.info(
            f'averaged: {", ".join(model.TRANSLATES)}: {count:,} weights, momentum {self.momentum}'
        )

    def after_resume(self, runner: Runner, average: Average | None) -> None:
        """Restore the average of a checkpoint; the runner calls it when all else is loaded.

        Args:
            runner: The runner, whose model has the training weights.
            average: ``None`` where the file has none.

        Raises:
            ValueError: The averages do not fit the model.
        """
        if self.momentum is None:
            if average is not None:
                runner.logger.warning(
                    'default_hooks.ema is off: training goes on with the training weights, and the '
                    "checkpoint's average of them is left out"
                )
            return
        self._start(unwrap(runner.model))
        if average is None:
            runner.logger.warning('the checkpoint has no averaged weights: the average begins here')
            return
        # What was frozen until here has no average.
        found = weights_of({'state_dict': average.weights})
        found = {name: found[name] for name in self._others if name in found}
        check_weights({name: self._others[name].shape for name in found}, found)
        for name, value in found.items():
            self._others[name].copy_(value)
        self.steps = average.steps

    def _start(self, model: UnpairedTranslation) -> None:
        self._weights = self.averaged(model)
        self._others = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.steps = 0
        own = {id(weight) for weight in self._weights.values()}
        self._optims = [
            name
            for name in model.OPTIMIZED
            if any(id(p) in own for module in model.optimized(name) for p in module.parameters())
        ]

    @torch.no_grad()
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the average, if the weights may have moved."""
        model, optims = unwrap(runner.model), runner.optim_wrapper
        if any(
            model.is_turn(name, optims) and optims[name].should_update() for name in self._optims
        ):
            share = self._share(runner.iter + 1)
            torch._foreach_lerp_(list(self._others.values()), list(self._weights.values()), share)

    def _share(self, iteration: int) -> float:
        """The newest weights' share in the average, at the end of an iteration."""
        if iteration < self.begin_iter:
            self.steps = 0
            return 1.0
        self.steps += 1
        done = self.steps - 1
        return max(self.momentum or 0, self.gamma / (self.gamma + done)) if done else 1.0

    @torch.no_grad()
    def _swap(self, averaged: bool) -> None:
        """Swap the averages, or the training weights, into the model, unless it has them."""
        if self._swapped == averaged:
            return
        for name, weight in self._weights.items():
            kept = weight.clone()
            weight.copy_(self._others[name])
            self._others[name].copy_(kept)
        self._swapped = averaged

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the model translate with the averages in the block."""
        before = self._swapped
        self._swap(True)
        try:
            yield
        finally:
            self._swap(before)

    def before_val_epoch(self, runner: Runner) -> None:
        """Swap the averages in."""
        self._swap(True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Swap the training weights back in."""
        self._swap(False)

    def before_test_epoch(self, runner: Runner) -> None:
        """Swap the averages in."""
        self._swap(True)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Swap the training weights back in."""
        self._swap(False)

    def after_failure(self, runner: Runner) -> None:
        """Swap the training weights back in where a validation failed."""
        self._swap(False)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write both kinds of weights, also in a validation that was interrupted."""
        if not self._others:
            return
        others = {name: value.cpu() for name, value in self._others.items()}
        own = {name: checkpoint['state_dict'][name] for name in others}
        average, training = (own, others) if self._swapped else (others, own)
        put_average(checkpoint, Average(average, self.steps), training)


@contextmanager
def averaged(runner: Runner) -> Iterator[None]:
    """Let the model translate with its averages in the block, where a hook keeps them."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, TranslationEMAHook)), None)
    if hook is None:
        yield
    else:
        with hook.shown():
            yield
