"""MMEngine's runner with checkpoints that are whole, read safely, and resumed to the last bit."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
import torch.distributed as dist
from mmagic.registry import RUNNERS
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.fileio import LocalBackend, get_file_backend, join_path
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import save_checkpoint
from mmengine.runner.base_loop import BaseLoop
from mmengine.utils import apply_to
from torch import nn

from ..config import MMENGINE_HOOKS
from ..converters import (
    CheckpointError,
    load_weights,
    naming,
    read_checkpoint,
    read_weights,
    weights_of,
)
from ..converters.files import save
from ..datasets.two_folders import SPLIT, SplitError, split_folders
from ..models.base import unwrap
from .averages import take_average
from .changes import go_on, other_settings, settings_of
from .preflight import CheckedRunner
from .random_state import random_state
from .terminal import SHOWN, has_console, use_terminal
from .warm_start import domains_of, load_parts, tell_domains
from .work_dir import WorkDirError, checkpoints_of, claim, new_start, unlock

PLACE = 'ugatit'  # entry of a checkpoint: the place in the data, random states, counts


_to_train: ContextVar[bool] = ContextVar('to_train', default=False)


@contextmanager
def to_train() -> Iterator[None]:
    """Runners that are built in the block will train: they claim their work dir at once."""
    token = _to_train.set(True)
    try:
        yield
    finally:
        _to_train.reset(token)


@RUNNERS.register_module()
class UGATITRunner(CheckedRunner):
    """Runner whose training survives interruptions.

    - A checkpoint is written to a temporary file and renamed, so it is whole or absent; it goes to
      the file without a copy in memory.
    - It also holds the place in the data and the random states of each process.
    - ``resume=True`` resumes from the newest whole checkpoint of the work dir.
    - A work dir takes one training at a time. One that holds a training refuses a new one, unless
      the config says ``restart=True``, which sets the old one aside. Neither this nor
      ``resume=True`` is in the config that the training writes there.
    - ``two_folders`` of a config holds arguments of :func:`split_folders`; the first rank splits
      them into ``data`` in the work dir.
    - Reading a checkpoint runs no code in it, and errors name the file.

    ``train_cfg.type`` should be :class:`UGATITTrainLoop`, which moves to the place in the data.
    """

    # Of MMEngine's runner, which has no types.
    _timestamp: str
    _has_loaded: bool
    loaded: frozenset[str] = frozenset()  # names of the weights that came from files
    optim_wrapper: Any
    param_schedulers: Any
    _claimed = False  # whether a training may write to the work dir
    _notes: Sequence[str] = ()

    def setup_env(self, env_cfg: dict) -> None:
        """Do as MMEngine, with a folder for logs and sheets that no other start has.

        MMEngine names it by the second, so that a training and its test could share one.

        In :func:`to_train` the work dir is checked before anything is written there, else
        :meth:`train` checks it.

        Raises:
            WorkDirError: The training cannot start in this work dir; raised on all ranks.
            SplitError: The two folders cannot be split; raised on all ranks.
        """
        super().setup_env(env_cfg)
        cfg = self.cfg
        self._restart = bool(cfg.pop('restart', False))
        self._folders = cfg.pop('two_folders', None)
        if _to_train.get():
            self._claim(bool(cfg.get('resume')), cfg.get('load_from'))
        if cfg.get('resume'):  # for this start only, not for one from the config that is written
            cfg.resume = False
            if not isinstance(cfg.get('load_from'), Mapping):  # files of parts belong to the recipe
                cfg.load_from = None
        names = [new_start(self.work_dir, self._timestamp) if is_main_process() else '']
        broadcast_object_list(names)
        self._timestamp = names[0]

    def _claim(self, resume: bool, load_from: str | Mapping | None, own: str = '') -> None:
        """Lock and check the work dir, on the first rank."""
        result: list[Any] = [None]
        file = None if isinstance(load_from, Mapping) else load_from
        if is_main_process():
            try:
                restarts = _restarts()
                result[0] = claim(self.work_dir, resume, file, self._restart, restarts, own)
                if self._folders:
                    result[0] += self._split_folders(resume and file is None)
            except (WorkDirError, SplitError, OSError) as error:
                result[0] = error
        broadcast_object_list(result)
        if isinstance(result[0], Exception):
            raise result[0]
        self._notes, self._claimed = result[0], True

    def _split_folders(self, resume: bool) -> list[str]:
        data = Path(self.work_dir, 'data')
        if resume and not (data / SPLIT).is_file():
            raise SplitError(
                f'the training in {self.work_dir} was not started with --a and --b: resume it with '
                'its config'
            )
        return split_folders(data=data, **self._folders)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build MMEngine's logger, and log what was found in the work dir.

        With ``default_hooks.console`` the log goes to the file, see :class:`TerminalHandler`.
        """
        logger = super().build_logger(*args, **kwargs)
        if has_console(self.cfg):
            use_terminal(logger)
        for note in self._notes:
            logger.warning(note)
        return logger

    def dump_config(self) -> None:
        """Write nothing yet: a training writes its config when it begins.

        A test and a refused start write none: the next ``--resume`` would use it.
        """

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks, as MMEngine does; write the config before training."""
        if fn_name == 'before_train':
            super().dump_config()
        super().call_hook(fn_name, **kwargs)

    def train(self) -> nn.Module:
        """Train as MMEngine does, with the work dir locked.

        Raises:
            WorkDirError: It holds another training, or another process trains there.
        """
        if not self._claimed:
            self._claim(self._resume, self._load_from, self._timestamp)
            for note in self._notes:
                self.logger.warning(note)
        try:
            return super().train()
        finally:
            unlock(self.work_dir)

    def register_default_hooks(self, hooks: dict[str, Hook | dict | None] | None = None) -> None:
        """Register MMEngine's hooks and those of ``default_hooks``; ``None`` switches one off.

        MMEngine takes ``None`` for its own names only. Its ``RuntimeInfoHook`` would synchronise
        with the GPU at each step.
        """
        kept: dict[str, Hook | dict | None] = {'runtime_info': {'type': 'LateRuntimeInfoHook'}}
        kept |= {
            name: hook
            for name, hook in (hooks or {}).items()
            if hook is not None or name in MMENGINE_HOOKS
        }
        super().register_default_hooks(kept)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Save a checkpoint; all ranks must call this, the first one writes.

        Arguments and content are MMEngine's, with ``checkpoint['ugatit']`` in addition.

        Raises:
            OSError: The file cannot be written, no part of it stays; raised on all ranks.
            ValueError: ``file_client_args`` is given, which MMEngine has deprecated.
        """
        if file_client_args is not None:
            raise ValueError('file_client_args is not supported: give backend_args')
        place = self._place() if save_optimizer else None
        error: list[OSError | None] = [None]
        if is_main_process():
            try:
                checkpoint = self._checkpoint(save_optimizer, save_param_scheduler, meta, by_epoch)
                if place is not None:
                    checkpoint[PLACE] = place
                self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
                self._write(checkpoint, out_dir, filename, backend_args)
            except OSError as failed:
                error[0] = failed
        broadcast_object_list(error)
        if error[0] is not None:
            raise error[0]

    def _write(
        self, checkpoint: dict, out_dir: str, filename: str, backend_args: dict | None
    ) -> None:
        if isinstance(get_file_backend(out_dir, backend_args=backend_args), LocalBackend):
            save(Path(out_dir) / filename, checkpoint)
        else:  # storage without half-written files
            path = join_path(out_dir, filename, backend_args=backend_args)
            save_checkpoint(checkpoint, path, backend_args=backend_args)

    def _checkpoint(
        self, optimizer: bool, scheduler: bool, meta: dict | None, by_epoch: bool
    ) -> dict[str, Any]:
        """The entries that MMEngine saves."""
        meta = dict(meta or {})
        meta.setdefault('epoch', self.epoch + by_epoch)
        meta.setdefault('iter', self.iter + (not by_epoch))
        meta.update(
            cfg=self.cfg.pretty_text,
            seed=self.seed,
            experiment_name=self.experiment_name,
            time=time.strftime('%Y%m%d_%H%M%S', time.localtime()),
            mmengine_version=mmengine.__version__,
        )
        if hasattr(self.train_dataloader.dataset, 'metainfo'):
            meta['dataset_meta'] = self.train_dataloader.dataset.metainfo
        checkpoint: dict[str, Any] = {
            'meta': meta,
            'state_dict': on_cpu(unwrap(self.model).state_dict()),
            'message_hub': plain_hub(on_cpu(self.message_hub.state_dict())),
        }
        if optimizer:
            checkpoint['optimizer'] = on_cpu(self.optim_wrapper.state_dict())
        if scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = {
                name: [plain_schedule(scheduler.state_dict()) for scheduler in schedulers]
                for name, schedulers in self.param_schedulers.items()
            }
        return checkpoint

    def load_or_resume(self) -> None:
        """Load weights or resume, as the config says.

        ``load_from`` is a file, or files by the names of parts (see :func:`load_parts`).
        Under ``torchrun --max-restarts`` training resumes from the newest whole checkpoint of the
        work dir, if there is one, whatever the config says.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: The file cannot be read or does not fit, or the work dir has
                checkpoints and none of them is whole.
        """
        if self._has_loaded:
            return
        restarts = isinstance(self._train_loop, BaseLoop) and _restarts()
        parts = isinstance(self._load_from, Mapping)  # these start a training
        newest = self._resume and (self._load_from is None or parts)
        found = (restarts or newest) and self._resume_newest()
        if not found and isinstance(self._load_from, Mapping):
            self.loaded |= load_parts(unwrap(self.model), self._load_from)
        elif not found and self._load_from is not None:
            (self.resume if self._resume else self.load_checkpoint)(self._load_from)
        self._has_loaded = True

    def _resume_newest(self) -> bool:
        """Resume from the newest whole checkpoint of the work dir, if there is a checkpoint."""
        # One rank chooses: files may come and go meanwhile.
        content: dict[str, Any] | None = None
        chosen: list[Any] = [None]
        if is_main_process():
            path, content, broken = newest_whole(self.work_dir)
            chosen = [(path, broken)]
        broadcast_object_list(chosen)
        path, broken = chosen[0]
        for error in broken:
            self.logger.warning(f'passed over: {error}')
        if path is not None:
            self._resume_content(path, content or read_checkpoint(path))
        elif broken:
            raise CheckpointError(
                f'none of the checkpoints in {self.work_dir} is whole: {broken[0]} '
                '(--restart sets them aside, or choose another work dir)'
            )
        return path is not None

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: Sequence[tuple[str, str]] = ((r'^module\.', ''),),
    ) -> dict[str, Any]:
        """Load the weights of a file, which may be an official one as it is.

        Args:
            filename: The file.
            map_location: ``'cpu'``, where a file is read to; its weights go where the model's are.
            strict: All parts of the model must be in the file. Else those that only training needs
                may be absent, and keep their weights.
            revise_keys: Pairs (pattern, replacement) for the names of the weights.

        Returns:
            dict: The file's content.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: It cannot be read, or its weights do not fit the model.
            ValueError: Another ``map_location``.
        """
        _check_location(map_location)
        return self._load(filename, read_weights(filename), strict, revise_keys)

    def _load(
        self,
        filename: str,
        checkpoint: dict[str, Any],
        strict: bool,
        revise_keys: Sequence[tuple[str, str]] = (),
    ) -> dict[str, Any]:
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = unwrap(self.model)
        with naming(filename):
            state = weights_of(_revised(checkpoint, revise_keys), model.PARTS)
            there = {key.partition('.')[0] for key in state}
            needed = model.PARTS if strict else model.TRANSLATES
            load_weights(model, state, [p for p in model.PARTS if p in needed or p in there])
        self.loaded |= state.keys()
        tell_domains(model, checkpoint, filename)
        self._has_loaded = True
        said = f'Load checkpoint from {filename}'
        self.logger.info(said, extra=None if strict else SHOWN)  # a resume logs more
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
    ) -> None:
        """Resume from a training checkpoint, with its whole state.

        Its seed is kept, also where the config has another. With another number of ranks or another
        batch size training goes on at the same sample, with other steps. Learning rate, betas,
        weight decay and schedule are those of the config
        (:func:`ugatit_mm.engine.changes.go_on`).

        Args:
            filename: The file.
            resume_optimizer: Load the optimisers' states.
            resume_param_scheduler: Load the learning rates' schedules.
            map_location: See :meth:`load_checkpoint`.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: It cannot be read, or is not one of this training.
            ValueError: Another ``map_location``.
        """
        _check_location(map_location)
        content = read_weights(filename)
        self._resume_content(filename, content, resume_optimizer, resume_param_scheduler)

    def _resume_content(
        self,
        filename: str,
        checkpoint: dict[str, Any],
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
    ) -> None:
        self._check_domains(filename, checkpoint)
        average = None
        if not any(isinstance(hook, EMAHook) for hook in self.hooks):  # MMEngine's takes its own
            with naming(filename):
                average = take_average(checkpoint)
        self._load(filename, checkpoint, strict=True)
        try:
            self._resume_from(checkpoint, resume_optimizer, resume_param_scheduler)
            self.call_hook('after_resume', average=average)
        except KeyError as error:
            raise CheckpointError(
                f'{filename} is not a training checkpoint, it lacks {error}: only its weights '
                'can be loaded, by load_from, without resume'
            ) from error
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f'{filename} does not fit this training: {error}') from error
        self._has_loaded = True
        self.logger.info(f'resumed from {filename} at iteration {self.iter}', extra=SHOWN)

    def _check_domains(self, filename: str, checkpoint: dict[str, Any]) -> None:
        """Check that the names are the same: else logs, scores and sheets mix four domains."""
        now = dict(unwrap(self.model).domain_names)
        place = checkpoint.get(PLACE)
        was = place.get('domains') if isinstance(place, dict) else None
        was = was if isinstance(was, dict) else domains_of(checkpoint)
        if was is not None and (was := {'A': 'A', 'B': 'B', **was}) != now:
            raise CheckpointError(
                f'{filename} was trained as {was["A"]} and {was["B"]}, the config says {now["A"]} '
                f'and {now["B"]}: give domains.A={was["A"]} domains.B={was["B"]}, or begin a '
                'training in another work dir with its weights (load_from, without resume)'
            )

    def _resume_from(self, checkpoint: dict[str, Any], optimizer: bool, scheduler: bool) -> None:
        meta, place = checkpoint['meta'], checkpoint[PLACE]
        loop = self.train_loop
        loop._epoch, loop._iter = int(meta['epoch']), int(meta['iter'])
        if meta['seed'] != self.seed:
            if self._randomness_cfg.get('seed') is not None:
                self.logger.warning(
                    f'the checkpoint was trained with seed {meta["seed"]}, which goes on; '
                    f'randomness.seed={self.seed} of the config is not used'
                )
            self._randomness_cfg.update(seed=meta['seed'])
            self.set_randomness(**self._randomness_cfg)
        self.message_hub.load_state_dict(hub_of(checkpoint['message_hub']))
        if optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if scheduler and self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        self._resume_optimizers(checkpoint, optimizer, scheduler)
        # What the loop reads of it is checked here, where errors name the file.
        if int(place['position']) < 0 or set(place['counts']) != set(self.optim_wrapper.keys()):
            raise ValueError(f'no such place in a training: {place["position"]}, {place["counts"]}')
        if not isinstance(place['random'], list) or 'seed' not in place:
            raise ValueError('it lacks the random numbers of its ranks')
        loop.resume_place = place
        self._resume_state(place)
        self._tell_changes(place)

    def _resume_optimizers(
        self, checkpoint: dict[str, Any], optimizer: bool, scheduler: bool
    ) -> None:
        """Load optimisers and schedules, and log which settings have changed."""
        schedules = (self.param_schedulers or {}) if scheduler else {}
        saved = checkpoint.get('param_schedulers', {}) if scheduler else {}
        if not optimizer:
            for name, each in schedules.items():
                for one, state in zip(each, saved[name], strict=True):
                    one.load_state_dict(state)
            return
        model, states = unwrap(self.model), checkpoint['optimizer']
        kinds = checkpoint[PLACE].get('optimizers', {})
        if states.keys() != set(self.optim_wrapper.keys()):
            raise ValueError(f'its optimisers are {", ".join(states)}')
        for name, wrapper in self.optim_wrapper.items():
            was, now = kinds.get(name, {}), _kind(wrapper)
            if was.get('type', now['type']) != now['type']:
                raise ValueError(
                    f'optim_wrapper.{name}.optimizer was {was["type"]} and is {now["type"]}, which '
                    'cannot go on from its state: resume with the optimizer that the run began '
                    'with (--lean is LeanAdam), or take only its weights (load_from)'
                )
            if was.get('forward', now['forward']) != now['forward']:
                self.logger.warning(
                    f'{name}: forward passes were in {was["forward"]} and are in {now["forward"]}'
                )
            lines = go_on(
                name,
                wrapper,
                states[name],
                schedules.get(name, ()),
                saved.get(name, ()),
                self.iter,
                model.optimized(name),
            )
            for line in lines:
                self.logger.warning(line)

    def _resume_state(self, place: dict[str, Any]) -> None:
        """Load the model's own state of this rank."""
        model = unwrap(self.model)
        states = place.get('model', [])
        if not isinstance(states, list):
            raise ValueError("it lacks the model's own state of its ranks")
        if get_rank() < len(states) and states[get_rank()] is not None:
            model.load_training_state(states[get_rank()])
        if len(states) < get_world_size() and model.training_state() is not None:
            self.logger.warning(
                f"the checkpoint has the model's own state of {len(states)} ranks: the others of "
                f'{get_world_size()} start without'
            )

    def _place(self) -> dict[str, Any]:
        """The state of training that MMEngine does not save."""
        loader = self.train_loop.dataloader
        place = {
            'position': self.train_loop.position,
            'seed': getattr(loader.sampler, 'seed', None),
            'random': all_gather_object(self.train_loop.kept_random or random_state()),
            'counts': {name: each.inner_count for name, each in self.optim_wrapper.items()},
            'split': self._split(),
            'optimizers': {name: _kind(each) for name, each in self.optim_wrapper.items()},
            'domains': dict(unwrap(self.model).domain_names),
            'settings': settings_of(self.cfg),
        }
        states = gather_to_first(unwrap(self.model).training_state())
        if any(state is not None for state in states):
            place['model'] = states
        return place

    def _split(self) -> dict[str, int]:
        """How the samples are split into batches, and the numbers of pictures."""
        loader = self.train_loop.dataloader
        return {
            'world_size': get_world_size(),
            'batch_size': loader.batch_size,
            'len_a': getattr(loader.dataset, 'len_a', 0),
            'len_b': getattr(loader.dataset, 'len_b', 0),
        }

    def _tell_changes(self, place: dict[str, Any]) -> None:
        if isinstance(was := place.get('settings'), dict):  # absent from older files
            for line in other_settings(was, settings_of(self.cfg)):
                self.logger.warning(line)
        for name, value in self._split().items():
            if (before := place['split'][name]) != value:
                self.logger.warning(
                    f'{name} was {before} and is {value}: training goes on at the same sample, but '
                    'not as it would have gone on'
                )


def _kind(wrapper: OptimWrapper) -> dict[str, str]:
    """Class of the optimiser, and dtype of the forward passes."""
    dtype = getattr(wrapper, 'dtype', torch.float32)
    return {
        'type': type(wrapper.optimizer).__name__,
        'forward': str(dtype).removeprefix('torch.'),
    }


def _restarts() -> bool:
    """Whether torchrun restarts failed processes.

    A restarted process gets the arguments of the first one, and does not always know that it is
    restarted: it goes by the work dir.
    """
    return int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0)) > 0


def _check_location(map_location: str | Callable) -> None:
    if map_location != 'cpu':
        raise ValueError(
            f"map_location must be 'cpu', got {map_location!r}: a file is read to the CPU, and its "
            "weights go where the model's are"
        )


def _revised(checkpoint: dict[str, Any], revise_keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, Mapping):
        return checkpoint
    for pattern, new in revise_keys:
        state = {re.sub(pattern, new, k) if isinstance(k, str) else k: state[k] for k in state}
    return {'state_dict': state}


def gather_to_first(value: Any) -> list[Any]:
    """Gather the values of all ranks on the first, one rank at a time: a value may be 100 MB.

    All ranks must call it.

    Returns:
        list: By rank; on the other ranks their own value only.
    """
    values, place = [value], [value]
    for rank in range(1, get_world_size()):
        if get_rank() == rank:
            dist.send_object_list(place, 0)
        elif is_main_process():
            dist.recv_object_list(place, rank)
            values.append(place[0])
    return values


def on_cpu(state: Any) -> Any:
    """Copy the tensors of nested lists and dicts to the CPU, unless they are there."""
    return apply_to(state, lambda value: hasattr(value, 'cpu'), lambda value: value.cpu())


def plain_schedule(state: dict[str, Any]) -> dict[str, Any]:
    """A schedule's state as plain data: milestones, a ``Counter``, become a dict."""
    return {
        key: dict(value) if isinstance(value, Counter) else value for key, value in state.items()
    }


def plain_hub(state: dict[str, Any]) -> dict[str, Any]:
    """MMEngine's message hub as tensors and plain data, which a safe reader accepts."""
    histories = {
        key: [torch.from_numpy(np.asarray(part, np.float64)) for part in history.data]
        for key, history in state['log_scalars'].items()
    }
    info = apply_to(
        state['runtime_info'],
        lambda value: isinstance(value, np.generic),
        lambda value: value.item(),
    )
    return {**state, 'log_scalars': histories, 'runtime_info': info}


def hub_of(plain: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`plain_hub`."""
    histories = {
        key: HistoryBuffer(*(part.numpy() for part in parts))
        for key, parts in plain['log_scalars'].items()
    }
    return {**plain, 'log_scalars': histories}


def newest_whole(
    work_dir: str | os.PathLike,
) -> tuple[str | None, dict[str, Any] | None, list[str]]:
    """Read the newest checkpoint of a work dir that can be read.

    Args:
        work_dir: See :func:`checkpoints_of`.

    Returns:
        Its path and content, or ``None`` twice, and what is wrong with each newer one.
    """
    broken: list[str] = []
    for path in checkpoints_of(work_dir):
        try:
            return str(path), read_checkpoint(path), broken
        except (CheckpointError, FileNotFoundError) as error:
            broken.append(str(error))
    return None, None, broken
