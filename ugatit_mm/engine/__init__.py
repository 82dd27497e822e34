"""What MMEngine's runner needs to train U-GAT-IT: optimisers and schedule."""

from .optim import AutocastOptimWrapper, UGATITOptimWrapperConstructor
from .schedule import LinearDecayLR

__all__ = ['AutocastOptimWrapper', 'LinearDecayLR', 'UGATITOptimWrapperConstructor']
