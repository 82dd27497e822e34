"""Image statistics against hand-computed cases, and the metric."""

import math

import numpy as np
import pytest
import torch

from ugatit_mm.evaluation import TransStats, colourfulness, edge_strength, gap_closed


def flat(*rgb: int) -> np.ndarray:
    return np.full((8, 8, 3), rgb, np.uint8)


def test_colourfulness_of_grey_is_zero_and_of_one_colour_is_its_distance():
    assert colourfulness(flat(90, 90, 90)) == 0
    # rg = 200 - 100, yb = (200 + 100) / 2 - 50; no spread
    assert colourfulness(flat(200, 100, 50)) == pytest.approx(0.3 * math.hypot(100, 100))


def test_colourfulness_adds_the_spread():
    image = flat(0, 0, 0)
    image[:4] = (100, 0, 0)  # rg is 100 or 0, yb 50 or 0
    assert colourfulness(image) == pytest.approx(math.hypot(50, 25) + 0.3 * math.hypot(50, 25))


def test_edge_strength():
    assert edge_strength(flat(10, 200, 30)) == 0
    stripes = flat(0, 0, 0)
    stripes[:, ::2] = 255
    assert edge_strength(stripes) == pytest.approx(255 / 2)  # everywhere across, nowhere along
    assert edge_strength(stripes.transpose(1, 0, 2)) == pytest.approx(255 / 2)


def test_gap_closed():
    assert gap_closed(10, 10, 30) == 0
    assert gap_closed(10, 30, 30) == 1
    assert gap_closed(10, 5, 30) == -0.25
    assert math.isnan(gap_closed(10, 5, 10))


def sample(a: str, b: str, **images: np.ndarray) -> dict:
    """A data sample of the model: BGR, (3, H, W)."""
    return {
        'img_A_path': a,
        'img_B_path': b,
        'domains': {'A': 'photo', 'B': 'sketch'},
        **{
            key: torch.from_numpy(np.ascontiguousarray(rgb[..., ::-1].transpose(2, 0, 1)))
            for key, rgb in images.items()
        },
    }


def test_metric_counts_every_file_once_and_names_the_directions():
    colour, grey, half = flat(200, 100, 50), flat(90, 90, 90), flat(150, 100, 75)
    first = sample('a0', 'b0', img_A=colour, img_B=grey, fake_B=half, fake_A=grey)
    second = sample('a1', 'b0', img_A=colour, img_B=grey, fake_B=grey, fake_A=grey)
    metric = TransStats()
    metric.process(None, [first])
    metric.process(None, [second])  # b0 comes again: the shorter domain starts again
    metric.process(None, [second])  # and a rank may repeat a sample
    assert len(metric.results) == 3
    measurements = metric.evaluate(size=2)  # MMEngine cuts to this many results
    whole, part = colourfulness(colour), colourfulness(half)
    assert measurements['photo2sketch/colour'] == pytest.approx(part / 2)
    assert measurements['photo2sketch/colour_gap'] == pytest.approx(
        (part / 2 - whole) / (0 - whole)
    )
    assert measurements['sketch2photo/colour'] == 0 and measurements['sketch2photo/colour_gap'] == 0
    assert set(measurements) == {
        f'{direction}/{stat}'
        for direction in ('photo2sketch', 'sketch2photo')
        for stat in ('colour', 'colour_gap', 'edges', 'edges_gap')
    }


def test_metric_sees_rgb():
    """Red and blue have different yellow-blue parts: a swapped order would show."""
    red, blue = flat(200, 0, 0), flat(0, 0, 200)
    metric = TransStats()
    metric.process(None, [sample('a', 'b', img_A=red, img_B=blue, fake_B=red, fake_A=blue)])
    measurements = metric.compute_metrics(metric.results)
    assert measurements['photo2sketch/colour'] == pytest.approx(colourfulness(red))
    assert colourfulness(red) != pytest.approx(colourfulness(blue))


def test_a_model_of_one_direction():
    """Without translations into A there is nothing to say of them."""
    colour, grey = flat(200, 100, 50), flat(90, 90, 90)
    metric = TransStats()
    samples = [
        sample(f'a{i}', f'b{i % 2}', img_A=colour, img_B=grey, fake_B=grey) for i in range(3)
    ]
    metric.process(None, samples)
    got = metric.evaluate(size=3)
    assert {name.split('/')[0] for name in got} == {'photo2sketch'}
    assert got['photo2sketch/colour_gap'] == 1
