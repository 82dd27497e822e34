"""Which form of a fused function runs, and the fallback from a wrong kernel."""

import logging

import pytest
import torch
import torch.nn.functional as F

from ugatit_mm.kernels import support
from ugatit_mm.kernels.places import first_copy, last_copy, shown
from ugatit_mm.kernels.support import SWITCH, Example, Fused, jit, launch, tl, usable
from ugatit_mm.models.layers.padding import Padding, fold, reflection, replication


@jit
def _double_kernel(x, out, factor, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + place, mask=place < count, other=0.0)
    tl.store(out + place, factor * value, mask=place < count)


def fused(factor: float, kernel=None) -> Fused:
    """Twice the input; correct with a factor of 2."""

    def by_triton(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        launch(_double_kernel, (-(-x.numel() // 16),), x, out, factor, x.numel(), BLOCK=16)
        return out

    def examples(device: torch.device) -> list[Example]:
        return [Example((torch.rand(37, device=device),))]

    return Fused('doubling', lambda x: 2 * x, kernel or by_triton, examples)


@pytest.fixture(autouse=True)
def own_list(monkeypatch):
    monkeypatch.setattr(Fused, 'known', {})


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        support, 'print_log', lambda text, logger, level: lines.append((level, text))
    )
    return lines


def test_a_sound_kernel_runs_after_one_check(kernels, said):
    function = fused(2.0)
    x = torch.rand(100, device=kernels)
    state = torch.get_rng_state()
    assert torch.equal(function(x), 2 * x) and torch.equal(function(x), 2 * x)
    assert function.sound == {x.device: True} and said == []
    assert torch.equal(torch.get_rng_state(), state)  # the check restores the state


def test_a_wrong_kernel_is_found_and_left(kernels, said):
    function = fused(2.5)
    x = torch.rand(100, device=kernels)
    for _ in range(2):
        assert torch.equal(function(x), 2 * x)
    ((level, line),) = said  # once
    assert level == logging.WARNING and len(line.splitlines()) == 1
    assert 'doubling is not used on' in line and 'off by 0.4' in line and f'{SWITCH}=0' in line


def test_a_kernel_that_does_not_compile_is_left(kernels, said):
    def broken(x):
        raise RuntimeError('ptxas failed\nwith many lines')

    x = torch.rand(4, device=kernels)
    assert torch.equal(fused(2.0, broken)(x), 2 * x)
    assert 'RuntimeError: ptxas failed)' in said[0][1]


def test_a_kernel_with_another_type_is_left(kernels, said):
    x = torch.rand(4, device=kernels)
    assert torch.equal(fused(2.0, lambda x: (2 * x).double())(x), 2 * x)
    assert 'other shapes or types' in said[0][1]


def test_who_runs_kernels(monkeypatch):
    x = torch.rand(4)
    monkeypatch.delenv(SWITCH, raising=False)
    assert not usable(x)
    monkeypatch.setenv(SWITCH, '1')
    assert usable(x) == support.interpreted()
    assert not usable(x.double()) and not usable(x[:0])
    monkeypatch.setattr(support, 'triton', None)
    assert not usable(x)


@jit
def _places_kernel(out, before, after, size, count, REFLECT: tl.constexpr, BLOCK: tl.constexpr):
    line = tl.arange(0, BLOCK)
    tl.store(out + line, shown(line, before, size, REFLECT), mask=line < before + size + after)
    tl.store(out + count + line, first_copy(line, before, size, REFLECT), mask=line < size)
    last = last_copy(line, before, after, size, REFLECT)
    tl.store(out + 2 * count + line, last, mask=line < size)


@pytest.mark.parametrize(
    'padding', [*map(reflection, (1, 3)), replication(), Padding(0, 2)], ids=str
)
def test_places_of_a_frame(kernels, padding):
    size = 7
    before, after = padding.left, padding.right
    count = before + size + after
    out = torch.full((3, count), -9, dtype=torch.int32, device=kernels)
    launch(_places_kernel, (1,), out, before, after, size, count, REFLECT=padding.reflect, BLOCK=16)
    row = torch.arange(size, dtype=torch.float64).expand(1, 1, size, size)
    flat = padding._replace(top=0, bottom=0)
    assert out[0].tolist() == F.pad(row, flat[:4], mode=flat.mode)[0, 0, 0].tolist()
    # Every line of the padded map counts once, for the line that it copies.
    grad = torch.rand(1, 1, 1, count, dtype=torch.float64)
    expected = grad[0, 0, 0, before : before + size].clone()
    for copies in out[1:, :size]:
        for line, place in enumerate(copies.tolist()):
            if place >= 0:
                expected[line] += grad[0, 0, 0, place]
    torch.testing.assert_close(fold(grad, flat)[0, 0, 0], expected)
