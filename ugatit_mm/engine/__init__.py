"""What MMEngine's runner needs to train U-GAT-IT: optimisers and schedule."""

from .lean_adam import LeanAdam
from .loop import UGATITTrainLoop
from .optim import AutocastOptimWrapper, UGATITOptimWrapperConstructor
from .preflight import PreflightError
from .runner import UGATITRunner
from .schedule import LinearDecayLR, length_options
from .tf_adam import TFAdam
from .work_dir import WorkDirError

__all__ = [
    'AutocastOptimWrapper',
    'LeanAdam',
    'LinearDecayLR',
    'PreflightError',
    'TFAdam',
    'UGATITOptimWrapperConstructor',
    'UGATITRunner',
    'UGATITTrainLoop',
    'WorkDirError',
    'length_options',
]
