"""A tiny model's weights, complete, in both formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ugatit_mm.models import UGATIT


@pytest.fixture
def weights(tiny: Callable[..., UGATIT], tmp_path: Path) -> Path:
    """A checkpoint that is valid."""
    from web_helpers import save_model

    return save_model(tiny(), tmp_path / 'good.pth')
