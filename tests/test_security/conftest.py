"""A tiny model's weights, complete, in both formats."""

from collections.abc import Callable
from pathlib import Path

import pytest
from web_helpers import save_model

from ugatit_mm.models import UGATIT


@pytest.fixture
def weights(tiny: Callable[..., UGATIT], tmp_path: Path) -> Path:
    """A checkpoint that is valid."""
    return save_model(tiny(), tmp_path / 'good.pth')
