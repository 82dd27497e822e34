"""Random styles that do not depend on what was drawn before."""

import hashlib

import torch
from torch import Tensor


def named_noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draw from N(0, 1), the same for a name on every machine, on the CPU."""
    digest = hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()
    seed = int.from_bytes(digest[:7], 'big')
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
