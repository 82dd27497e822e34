"""What MMEngine's runner needs to train U-GAT-IT: optimisers and schedule."""

from .lean_adam import LeanAdam
from .optim import AutocastOptimWrapper, UGATITOptimWrapperConstructor
from .schedule import LinearDecayLR

__all__ = ['AutocastOptimWrapper', 'LeanAdam', 'LinearDecayLR', 'UGATITOptimWrapperConstructor']
