"""The optimiser's state shared out among the ranks (ZeRO, stage 1), with checkpoints and resume."""

from typing import Any

import torch
import torch.distributed as dist
from mmagic.registry import HOOKS, OPTIMIZERS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer


@OPTIMIZERS.register_module()
class ShardedOptimizer(ZeroRedundancyOptimizer):
    """torch's ``ZeroRedundancyOptimizer`` of an optimiser that a config names.

    A rank keeps the state of whole parameters alone, updates these, and sends them to the others.
    So the state of a rank is about a share of all, and at least that of the largest parameter: in
    the full U-GAT-IT a generator's layer of 268M weights, one for each of two ranks.

    Checkpoints hold the state of all ranks, need :class:`GatherShardsHook`, and fit any number of
    ranks and the optimiser without shards. Shards travel through the host's memory, a tensor at a
    time: torch's own way turns them into a list of bytes first.

    Args:
        params: Parameters, or groups of them.
        optimizer_type: Optimiser of each rank, for example ``'Adam'`` or ``'LeanAdam'``.
        kwargs: For that optimiser.

    Raises:
        ValueError: There are no ranks.
    """

    def __init__(self, params: Any, optimizer_type: str = 'Adam', **kwargs: Any) -> None:
        if not dist.is_initialized():
            raise ValueError(
                'ShardedOptimizer needs ranks: start with tools/dist_train.sh, or name '
                f'optimizer.type={optimizer_type}'
            )
        optimizer = OPTIMIZERS.get(optimizer_type)
        if optimizer is None:
            raise ValueError(f'optimizer.optimizer_type={optimizer_type} is no known optimizer')
        super().__init__(list(params), optimizer, **kwargs)
        self._host_group = dist.new_group(backend='gloo')
        self._gathered: dict[int, dict[str, Any]] | None = None

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Bring the shards to one rank, for its :meth:`state_dict`. All ranks must call it."""
        self._gathered = {}
        for index, parameter in enumerate(self._index_to_param):
            state = self._gather(parameter, to)
            if state and self.rank == to:
                self._gathered[index] = state

    def _gather(self, parameter: nn.Parameter, to: int) -> dict[str, Any]:
        """Return the parameter's state on the rank ``to``; empty if it has none yet."""
        owner = self._param_to_rank[parameter]
        state = {}
        if self.rank == owner:
            for name, value in self.optim.state.get(parameter, {}).items():
                state[name] = value.cpu() if torch.is_tensor(value) else value
        if owner == to:
            return state
        if self.rank == owner:
            kinds = [{name: _to_meta(value) for name, value in state.items()}]
            dist.send_object_list(kinds, to, self._host_group)
            for value in filter(torch.is_tensor, state.values()):
                dist.send(_flat(value), to, self._host_group)
        if self.rank == to:
            kinds = [None]
            dist.recv_object_list(kinds, owner, self._host_group)
            for name, kind in kinds[0].items():
                state[name] = kind
                if torch.is_tensor(kind):
                    state[name] = torch.empty_like(kind, device='cpu')
                    dist.recv(_flat(state[name]), owner, self._host_group)
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`consolidate_state_dict` brought here, once.

        Raises:
            RuntimeError: It was not called.
        """
        if self._gathered is None:
            raise RuntimeError(
                'the shards of the optimizer state are not gathered: '
                "add dict(type='GatherShardsHook') to custom_hooks"
            )
        state, self._gathered = self._gathered, None
        groups = super(ZeroRedundancyOptimizer, self).state_dict()['param_groups']
        return {'state': state, 'param_groups': groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this rank's part of the state of all, whoever saved it.

        Raises:
            ValueError: It is not that of these parameter groups.
        """
        mine, saved = self.param_groups, state_dict['param_groups']
        sizes = [[len(group['params']) for group in groups] for groups in (mine, saved)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f'the optimizer has groups of {sizes[0]} parameters, the checkpoint of {sizes[1]}: '
                'are the model and optim_wrapper.weight_decay_scope those of the checkpoint?'
            )
        local = [
            group | {'params': [self._param_to_index[p] for p in shard['params']]}
            for group, shard in zip(saved, self.optim.param_groups, strict=True)
        ]
        state = state_dict['state']
        kept = {i: state[i] for group in local for i in group['params'] if i in state}
        self.optim.load_state_dict({'state': kept, 'param_groups': local})
        self._sync_param_groups(self.optim.param_groups, self.param_groups)


def _to_meta(value: Any) -> Any:
    return torch.empty_like(value, device='meta') if torch.is_tensor(value) else value


def _flat(value: torch.Tensor) -> torch.Tensor:
    """The elements in memory's order, whatever the memory format: gloo takes no other."""
    return value.as_strided((value.numel(),), (1,))


@HOOKS.register_module()
class GatherShardsHook(Hook):
    """Gather the shards of every :class:`ShardedOptimizer` when a checkpoint is saved.

    MMEngine asks rank 0 alone for the optimisers' state, where all ranks must take part.
    """

    def before_train(self, runner: Runner) -> None:
        """Let every rank gather before rank 0 saves; without shards there is nothing to do."""
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        optimizers = [each.optimizer for each in wrappers]
        sharded = [each for each in optimizers if isinstance(each, ShardedOptimizer)]
        if not sharded:
            return
        save = runner.save_checkpoint

        def gather_and_save(*args: Any, save_optimizer: bool = True, **kwargs: Any) -> None:
            if save_optimizer:
                for optimizer in sharded:
                    optimizer.consolidate_state_dict()
            save(*args, save_optimizer=save_optimizer, **kwargs)

        runner.save_checkpoint = gather_and_save
