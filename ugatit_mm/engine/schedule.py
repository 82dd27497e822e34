"""The learning rate schedule, and options for another length of training."""

from typing import Any

from mmagic.registry import PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

COUNTED = ('begin', 'end', 'step_size', 'milestones')  # fields of schedules, in iterations
FEWEST = 100  # least number of steps of a training, that of the TensorFlow program


@PARAM_SCHEDULERS.register_module()
class LinearDecayLR(LRSchedulerMixin, _ParamScheduler):
    """Constant for the first half of training, then linear to 0 (paper section 5.1).

    At iteration i of N the rate is ``lr * min(1, (N - i') / (N - N * constant))`` with
    ``i' = interval * floor(i / interval)``.

    Args:
        optimizer: Optimiser or its wrapper.
        end: Iterations N; the runner fills in ``train_cfg.max_iters``.
        constant: Share of the iterations at the full rate.
        interval: Iterations between two changes: 1 as the paper and the PyTorch program; 10,000
            gives the TensorFlow program's steps of an epoch. N / 100 at most, so that a training
            that is shorter than its config's keeps the number of steps.
        last_step: As in MMEngine's schedulers.
        by_epoch: Must be ``False``, in the config too, so that the runner fills ``end`` in
            iterations.
        verbose: Print each change.

    Raises:
        ValueError: A value out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        end: int,
        constant: float = 0.5,
        interval: int = 1,
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            raise ValueError('LinearDecayLR counts iterations: set param_scheduler.by_epoch=False')
        if not 0 <= constant < 1:
            raise ValueError(f'param_scheduler.constant must lie in [0, 1), got {constant}')
        if interval < 1:
            raise ValueError(f'param_scheduler.interval must be 1 or more, got {interval}')
        self.constant = constant
        self.interval = interval
        super().__init__(
            optimizer, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose
        )

    def _get_value(self) -> list[float]:
        interval = min(self.interval, max(1, self.end // FEWEST))
        step = interval * (self.last_step // interval)
        factor = min(1.0, (self.end - step) / (self.end * (1 - self.constant)))
        return [base * factor for base in self.base_values]


def length_options(cfg: Config, iterations: int) -> dict[str, Any]:
    """Options that set the length of a training, and scale all fields that count its iterations.

    These are the model's phases (fields whose names end in ``_iters``) and the schedules' steps,
    beginnings and ends; :class:`LinearDecayLR`'s interval follows by itself.

    Args:
        cfg: Config of the training.
        iterations: Its new length.
    """
    options: dict[str, Any] = {'train_cfg.max_iters': iterations}
    share = iterations / cfg.train_cfg.get('max_iters', iterations)
    found = {f'model.{key}': value for key, value in cfg.model.items() if key.endswith('_iters')}
    schedules = cfg.get('param_scheduler') or []
    single = isinstance(schedules, dict)
    for number, schedule in enumerate([schedules] if single else schedules):
        if not schedule.get('by_epoch', True):
            name = 'param_scheduler' if single else f'param_scheduler.{number}'
            found |= {f'{name}.{key}': schedule[key] for key in COUNTED if key in schedule}
    for key, value in found.items():
        if isinstance(value, int) and value:
            options[key] = max(1, round(value * share))
        elif isinstance(value, (list, tuple)):
            options[key] = [max(1, round(each * share)) for each in value]
    return options
