"""Every kernel passes the check that a training makes at its first use."""

import pytest
import torch

from ugatit_mm.kernels.support import Fused


@pytest.mark.slow
@pytest.mark.parametrize('name', Fused.known)
def test_every_kernel_passes_its_check(kernels, monkeypatch, name):
    fused = Fused.known[name]
    monkeypatch.setattr(fused, 'sound', {})
    assert fused.uses_kernel([torch.zeros(1, device=kernels)])
