"""Heatmaps and the picture of attention, against closed forms and other libraries."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib import colormaps

from ugatit_mm.pixels import to_uint8
from ugatit_mm.visualization import (
    COLOUR_MAPS,
    add_legend,
    attention_figure,
    colour_heatmap,
    normalise_heatmap,
    overlay,
)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_normalised_heatmap_spans_0_to_1_or_is_0(heatmap, size):
    out = normalise_heatmap(heatmap, size)
    assert out.shape == size and out.dtype == np.float32
    assert out.min() == 0 and out.max() in (0, 1)
    if size == heatmap.shape:
        assert out.max() == (heatmap.max() > heatmap.min())
        assert (np.diff(out.ravel()[np.argsort(heatmap, None)]) >= 0).all()  # order is kept


def test_resizing_is_torchs_bilinear():
    heatmap = np.random.default_rng(0).normal(3, 20, (5, 7)).astype(np.float32)
    out = normalise_heatmap(heatmap, (20, 42))
    ranked = np.sort(heatmap, None)  # of 35 values 0.68 are in the 2 % at an end
    heatmap = heatmap.clip(ranked[1], ranked[-2])
    big = F.interpolate(torch.from_numpy(heatmap)[None, None], (20, 42), mode='bilinear')[0, 0]
    expected = (big - big.min()) / (big.max() - big.min())
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize('corner', [1, 2, 4])
@pytest.mark.parametrize('far', [1e3, -1e3])
def test_a_corner_does_not_take_all_colours(corner, far):
    """The values between the 2 % at either end are stretched, in proportion."""
    heatmap = np.linspace(2, 3, 32 * 32, dtype=np.float32)
    heatmap = np.random.default_rng(0).permutation(heatmap).reshape(32, 32)
    heatmap[-corner:, :corner] = far
    out = normalise_heatmap(heatmap, (32, 32))
    ranked = np.sort(heatmap, None)
    low, high = ranked[21], ranked[-22]  # of 1024
    np.testing.assert_allclose(out, ((heatmap - low) / (high - low)).clip(0, 1), atol=1e-5)
    assert (out[-corner:, :corner] == (far > 0)).all()
    assert np.ptp(np.quantile(out, (0.1, 0.9))) > 0.75


def test_a_single_value_is_not_cut_away():
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[3, 4] = 1e-3
    assert np.array_equal(normalise_heatmap(heatmap, (8, 8)), heatmap > 0)
    assert normalise_heatmap(np.array([[0, 5], [5, 10.0]]), (2, 2)).tolist() == [[0, 0.5], [0.5, 1]]


@pytest.mark.parametrize('value', [0.0, 0.1, -1e30, 1e-40])
def test_constant_heatmap_is_0_everywhere(value):
    assert not normalise_heatmap(np.full((3, 5), value, np.float32), (13, 11)).any()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    heatmap = np.arange(9, dtype=np.float32).reshape(3, 3)
    heatmap[1, 2] = value
    with pytest.raises(ValueError, match='not finite'):
        normalise_heatmap(heatmap, (6, 6))
    with pytest.raises(ValueError, match=r'must be \(h, w\), got \(1, 3, 3\)'):
        normalise_heatmap(heatmap[None], (6, 6))


def test_colours_are_matplotlibs():
    steps = np.linspace(0, 1, 256, dtype=np.float32)[None]
    assert np.array_equal(colour_heatmap(steps, 'grey')[0], np.arange(256)[:, None].repeat(3, 1))
    for name in set(COLOUR_MAPS) - {'grey', 'jet'}:
        expected = colormaps[name](steps[0])[:, :3] * 255
        assert np.abs(colour_heatmap(steps, name)[0] - expected).max() < 2, name
    jet = colour_heatmap(steps).astype(int)[0]
    assert COLOUR_MAPS[0] == 'jet'
    assert jet[0].tolist() == [0, 0, 128] and jet[-1].tolist() == [128, 0, 0]


def test_colouring_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"one of \['jet', .*got 'rainbow'"):
        colour_heatmap(np.zeros((2, 2), np.float32), 'rainbow')
    for value in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match='normalise_heatmap'):
            colour_heatmap(np.full((2, 2), value, np.float32))


def test_overlay_mixes_image_and_colours():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    heatmap = rng.random((4, 6)).astype(np.float32)
    colours = colour_heatmap(heatmap, 'turbo')
    assert np.array_equal(overlay(image, heatmap, 'turbo', 0), image)
    assert np.array_equal(overlay(image, heatmap, 'turbo', 1), colours)
    expected = 0.75 * image.astype(float) + 0.25 * colours
    assert np.abs(overlay(image, heatmap, 'turbo', 0.25) - expected).max() <= 0.5
    with pytest.raises(ValueError, match='alpha'):
        overlay(image, heatmap, alpha=1.5)
    with pytest.raises(ValueError, match='does not fit'):
        overlay(image, heatmap[:3])


@pytest.mark.parametrize('width', [10, 100, 600])
def test_legend_goes_from_least_to_most(width):
    picture = np.full((30, width, 3), 7, np.uint8)
    out = add_legend(picture, 'viridis')
    assert np.array_equal(out[:30, :width], picture)
    assert (out[:30, width:] == 255).all() and out.shape[1] >= width
    line = out[30 + (len(out) - 30) // 2 - 3]
    coloured = np.flatnonzero(np.ptp(line.astype(int), 1))  # words and margins are grey
    ends = colour_heatmap(np.array([[0, 1]], np.float32), 'viridis')[0]
    assert np.array_equal(line[coloured[[0, -1]]], ends)
    left, right = coloured[0], coloured[-1]
    words = out[30:, :left], out[30:, right + 1 :]
    assert all((word < 100).any() and (word[:, [0, -1]] == 255).all() for word in words)


def cells(figure: np.ndarray, count: int, zoom: int = 5) -> list[np.ndarray]:
    """The pictures of a row of 32-pixel pictures, without margins and titles."""
    step = 32 * zoom + 4
    return [
        figure[24 : 24 + 32 * zoom : zoom, 4 + i * step : i * step + step : zoom]
        for i in range(count)
    ]


def picture_of(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize('target', ['A', 'blue', None])
def test_figure_shows_what_the_networks_say(tiny, target):
    model = tiny(domains={'A': 'red', 'B': 'blue'})
    letter = 'A' if target == 'A' else 'B'
    picture = picture_of()
    figure = attention_figure(model, picture, target, 'viridis')

    model.eval()
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        fake, _, heatmap = model.generators[letter](x, return_cam=True)
        of_global, of_local = (scale.heatmap for scale in model.discriminators[letter](fake))
    shown = cells(figure, 5)
    assert np.array_equal(shown[0], picture)
    for cell, expected in zip(shown[1:4], (heatmap, of_local, of_global), strict=True):
        colours = colour_heatmap(normalise_heatmap(expected[0, 0].numpy(), (32, 32)), 'viridis')
        assert np.abs(cell.astype(int) - colours).max() <= 3  # a rounding is a step of 256
    assert np.array_equal(shown[4], to_uint8(fake[0]).permute(1, 2, 0).numpy())
    assert figure.shape[1] == 5 * 164 + 4
    bottom = figure[24 + 160 + 4 :]
    assert len(np.unique(bottom.reshape(-1, 3), axis=0)) > 100  # the legend


def test_figure_leaves_the_model_as_it_was(tiny):
    model = tiny().train()
    model.generators['A'].eval()  # a frozen one
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    figures = [attention_figure(model, picture_of(), 'A') for _ in range(2)]
    assert np.array_equal(*figures)
    assert [module.training for module in model.modules()] == modes
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in state.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match='multiples of 4'):
        attention_figure(model, picture_of()[:30], 'A')
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize(
    ('generator', 'discriminator', 'columns'),
    [({'cam': False}, {}, 4), ({}, {'cam': False}, 3), ({'cam': False}, {'cam': False}, 2)],
)
def test_attention_that_is_not_there_has_no_column(tiny, generator, discriminator, columns):
    figure = attention_figure(tiny(generator, discriminator), picture_of(), 'B')
    assert figure.shape[1] == columns * 164 + 4
    assert figure.shape[0] == 20 + 164 + 4 + (24 if columns > 2 else 0)  # a legend


def test_figure_without_discriminators(tiny):
    model = tiny()
    model.discriminators = None
    assert attention_figure(model, picture_of(), 'B').shape[1] == 3 * 164 + 4


def test_figure_refuses_what_is_not_a_picture(tiny):
    for wrong in (picture_of()[..., 0], picture_of().astype(np.float32)):
        with pytest.raises(ValueError, match=r'a picture is uint8, \(h, w, 3\), got'):
            attention_figure(tiny(), wrong, 'B')
    with pytest.raises(ValueError, match="unknown domain 'C'"):
        attention_figure(tiny(), picture_of(), 'C')
