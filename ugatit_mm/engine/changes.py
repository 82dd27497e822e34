"""A resume with changed settings: the config's new values on top of the saved state."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch import nn

from ..values import PLAIN
from .optim import WEIGHT_DECAY_SCOPES, parameter_groups

BASE = 'base_param_settings'
INITIAL = 'initial_'  # a group keeps the start value of a schedule as initial_lr
TRAINS = ('model', 'optim_wrapper', 'train_dataloader')
# Compared elsewhere, or only for speed.
PASSED_OVER = (
    *('batch_size', 'cache', 'channels_last', 'compile', 'domains', 'graph', 'num_workers'),
    *('optimizer', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'weight_decay_scope'),
    'with_cp',
)


def go_on(
    name: str,
    wrapper: OptimWrapper,
    state: Mapping[str, Any],
    schedulers: Sequence[_ParamScheduler],
    saved: Sequence[Mapping[str, Any]],
    steps: int,
    networks: Sequence[nn.Module] = (),
) -> list[str]:
    """Load the state of an optimiser and its schedules; the config's settings win.

    With an unchanged config the resume is exact to the last bit. Where a schedule or its start
    value has changed, the value is the one that the new schedule has after as many steps.

    Args:
        name: The optimiser's, for the lines.
        wrapper: The optimiser of the config, loaded in place.
        state: The saved ``wrapper.state_dict()``.
        schedulers: Its schedules of the config, before their first step; changed in place.
        saved: Their saved ``state_dict()``.
        steps: Iterations that were done.
        networks: What the optimiser trains, for another ``weight_decay_scope``.

    Returns:
        A line for each setting that has changed.

    Raises:
        ValueError: The state does not fit what the config says.
    """
    fresh = wrapper.param_groups  # and, at the end, a group without weights for the log
    where = f'optim_wrapper.{name}.optimizer'
    lines: list[str] = []
    own = wrapper.optimizer.param_groups
    if follows := len(state['param_groups']) != len(own):
        state = _regrouped(state, own, networks)
        lines.append('optim_wrapper.weight_decay_scope has changed: other weights decay')
    base = state.get(BASE) or fresh[-1]
    groups = [dict(group) for group in [*state['param_groups'], base]][: len(fresh)]
    scheduled = _scheduled(schedulers, groups)
    for before, now in zip(groups, fresh, strict=True):
        for key, was, value in _settings(before, now, scheduled):
            if _plain(was) == _plain(value):
                continue
            if key == 'amsgrad' and value:
                raise ValueError(f'{where}.amsgrad was off: the checkpoint lacks its state')
            lines.append(f'{where}.{key} was {_plain(was)} and is {_plain(value)}')
            follows |= key in scheduled
            if key not in scheduled:
                before[key] = value
    told = list(_other_schedules(schedulers, saved))
    lines += [f'{line} ({name})' for line in told]
    if follows or told:
        before_steps = [dict(group) for group in fresh]
        _replay(wrapper, schedulers, saved, steps)
        waits = any(getattr(each, 'need_val_args', False) for each in schedulers)
        for before, now, first in zip(groups, fresh, before_steps, strict=True):
            for key in scheduled & now.keys():
                was, value = before.get(key), now[key]
                start: Any = before.get(INITIAL + key, was)
                # A schedule that follows metrics has no state but the value.
                if waits and was is not None and start:
                    value = was / start * first.get(INITIAL + key, value)
                if _plain(value) != _plain(was):
                    lines.append(f'{name}.{key} goes on at {value}, it was {was}')
                before[key] = now[key] = value
            for key in [key for key in before if key.startswith(INITIAL)]:
                before.pop(key)
            before.update({key: now[key] for key in now if key.startswith(INITIAL)})
    else:
        for scheduler, one in zip(schedulers, saved, strict=True):
            scheduler.load_state_dict(dict(one))
    state = {**state, 'param_groups': groups[: len(own)]}
    state[BASE] = groups[-1] if len(fresh) > len(own) else None
    wrapper.load_state_dict(state)
    return list(dict.fromkeys(lines))


def settings_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A config's training settings without optimisers and schedules: values by field."""
    found: dict[str, Any] = {}

    def add(where: str, node: Any) -> None:
        if isinstance(node, Mapping):
            inside: Iterable[tuple[Any, Any]] = node.items()
        elif isinstance(node, (list, tuple)) and any(isinstance(e, Mapping) for e in node):
            inside = enumerate(node)
        else:
            found[where] = _plain(node) if isinstance(node, PLAIN) else repr(node)
            return
        for key, value in inside:
            if key not in PASSED_OVER:
                add(f'{where}.{key}', value)

    for field in TRAINS:
        if field in cfg:
            add(field, cfg[field])
    for field in ('default_hooks', 'custom_hooks'):
        hooks = cfg.get(field) or {}
        for name, hook in hooks.items() if isinstance(hooks, Mapping) else enumerate(hooks):
            if _averages(hook):
                add(f'{field}.{name}', hook)
    return found


def _averages(hook: Any) -> bool:
    """Whether a hook's config is that of a weight average which is on."""
    kind = hook.get('type') if isinstance(hook, Mapping) else None
    return str(kind).endswith('EMAHook') and hook.get('momentum', 0) is not None


def other_settings(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A line for each field of :func:`settings_of` that has changed."""
    for field in sorted(was.keys() | now.keys()):
        one, two = was.get(field), now.get(field)
        if _plain(one) != _plain(two):
            yield f'{field} was {one} and is {two}'


def _scheduled(
    schedulers: Sequence[_ParamScheduler], groups: Sequence[Mapping[str, Any]]
) -> set[str]:
    """Settings that a schedule changes, or has changed."""
    names = {each.param_name for each in schedulers}
    names |= {
        key.removeprefix(INITIAL) for group in groups for key in group if key.startswith(INITIAL)
    }
    return names | ({'betas'} if 'momentum' in names else set())


def _settings(
    before: Mapping[str, Any], now: Mapping[str, Any], scheduled: set[str]
) -> Iterator[tuple[str, Any, Any]]:
    """A group's settings with old and new values; start values for scheduled ones."""
    for key, value in now.items():
        if key == 'params' or key.startswith(INITIAL) or key not in before:
            continue
        if key not in scheduled:
            yield key, before[key], value
        elif key != 'betas':  # momentum's
            first = INITIAL + key
            yield key, before.get(first, before[key]), now.get(first, value)


def _other_schedules(
    schedulers: Sequence[_ParamScheduler], saved: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    if len(schedulers) != len(saved):
        yield f'param_scheduler: there were {len(saved)} schedules, now {len(schedulers)}'
        return
    for each, state in zip(schedulers, saved, strict=True):
        if each.state_dict().keys() != state.keys():
            yield f'param_scheduler has changed: {type(each).__name__}'
            continue
        for field in _fields(type(each)) & state.keys():
            was, value = _plain(state[field]), _plain(getattr(each, field))
            if was != value:
                yield f'param_scheduler.{field} was {was} and is {value}'


def _fields(scheduler: type) -> set[str]:
    """Settings of a schedule, without its progress."""
    names = {
        name
        for base in scheduler.__mro__
        if '__init__' in vars(base)
        for name in inspect.signature(base).parameters
    }
    return names - {'last_step', 'optimizer', 'verbose'}


def _replay(
    wrapper: OptimWrapper,
    schedulers: Sequence[_ParamScheduler],
    saved: Sequence[Mapping[str, Any]],
    steps: int,
) -> None:
    """Step schedules as in the iterations that are done."""
    wrapper._global_step = steps  # MMEngine warns of schedules that step before the optimiser
    moving = [each for each in schedulers if not each.by_epoch]
    for _ in range(steps):
        for each in moving:
            each.step()
    for each, state in zip(schedulers, saved, strict=False):
        if getattr(each, 'need_val_args', False) and each.state_dict().keys() == state.keys():
            fields = (_fields(type(each)) | {'base_values'}) & vars(each).keys()
            each.load_state_dict({**state, **{field: getattr(each, field) for field in fields}})


def _plain(value: Any) -> Any:
    """Data that can be compared: a checkpoint may hold the same value in another type."""
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value


def _regrouped(
    state: Mapping[str, Any], fresh: Sequence[Mapping[str, Any]], networks: Sequence[nn.Module]
) -> dict[str, Any]:
    """Move a state of another ``weight_decay_scope`` into the current parameter groups."""
    old = state['param_groups']
    for scope in WEIGHT_DECAY_SCOPES:
        made = parameter_groups(networks, scope)
        if [len(group['params']) for group in made] == [len(group['params']) for group in old]:
            break
    else:
        raise ValueError(f'the optimizer has {len(fresh)} groups of parameters, it had {len(old)}')
    places = [index for group in old for index in group['params']]
    parameters = [id(parameter) for group in made for parameter in group['params']]
    place = dict(zip(parameters, places, strict=True))
    groups: list[dict[str, Any]] = []
    moments: dict[int, Any] = {}
    count = 0
    for group in fresh:
        indices = range(count, count := count + len(group['params']))
        for index, parameter in zip(indices, group['params'], strict=True):
            if (was := place[id(parameter)]) in state['state']:
                moments[index] = state['state'][was]
        groups.append({**old[0], 'params': list(indices)})
    return {**state, 'state': moments, 'param_groups': groups}
