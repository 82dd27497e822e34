"""The sum of loss terms."""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor


def total(terms: Iterable[Tensor]) -> Tensor:
    """Add terms up from first to last; Python's own sum would begin with a 0 that is no tensor."""
    return reduce(torch.add, terms)
