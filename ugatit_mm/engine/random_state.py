"""The random states of a process: Python's, NumPy's, torch's, CUDA's."""

import random
from typing import Any, cast

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of all generators as tensors and plain data."""
    name, keys, *rest = cast(tuple, np.random.get_state())
    state = {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()  # of this process's device
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set all generators to what :func:`random_state` returned."""
    random.setstate(state['python'])
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])
