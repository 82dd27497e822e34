"""What MMEngine's runner needs to train U-GAT-IT: optimisers and schedule."""

from .lean_adam import LeanAdam
from .loop import UGATITTrainLoop
from .optim import AutocastOptimWrapper, UGATITOptimWrapperConstructor
from .runner import UGATITRunner
from .schedule import LinearDecayLR
from .sharding import GatherShardsHook, ShardedOptimizer

__all__ = [
    'AutocastOptimWrapper',
    'GatherShardsHook',
    'LeanAdam',
    'LinearDecayLR',
    'ShardedOptimizer',
    'UGATITOptimWrapperConstructor',
    'UGATITRunner',
    'UGATITTrainLoop',
]
