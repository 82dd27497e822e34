"""Rows, times and advice, by values."""

from ast import literal_eval

import pytest
import torch
from helpers import TINY_OF

from ugatit_mm.config import load_config
from ugatit_mm.hooks import lines


@pytest.mark.parametrize(
    ('value', 'said'),
    [
        *((0, '0'), (1.449, '1.45'), (0.42, '.42'), (-0.42, '-.42'), (0.0421, '.042')),
        *((0.999, '1.00'), (12.34, '12.3'), (139.6, '140'), (2839.1, '2839'), (3e7, '3e7')),
        *((0.00042, '4e-4'), (-2e-12, '-2e-12')),
    ],
)
def test_numbers_take_three_digits(value, said):
    assert lines.number(value) == said


@pytest.mark.parametrize(
    ('seconds', 'clock', 'words'),
    [
        *((20.4, '0:20', '20 s'), (59.6, '1:00', '1 min'), (754, '12:34', '13 min')),
        *((3723, '1:02:03', '1 h 2 min'), (86_399, '23:59:59', '24 h 0 min')),
        *((129_600, '1 d 12:00', '1.5 days'), (1_400_000, '16 d 4:53', '16 days')),
    ],
)
def test_times(seconds, clock, words):
    assert (lines.clock(seconds), lines.duration(seconds)) == (clock, words)


def test_a_row_has_totals_and_means_of_terms():
    log = {
        'loss_gan_d_A_global': 9.0,
        'loss_gan_d_A': 9.0,
        'loss_d': 1.449,
        'loss_gan_g_A_local_cam': 9.0,
        'loss_gan_g_A': 3.0,
        'loss_gan_g_B': 5.0,
        'loss_cycle_A': 0.3,
        'loss_cycle_B': 0.5,
        'loss_identity_B': 0.39,
        'loss_cam_A': 1.0,
        'loss_cam_B': 1.28,
        'loss_g': 1.65,
        'lr': 1e-4,
    }
    assert lines.row(200, 400, 20.0, log) == (
        'iter 200/400 eta 0:20 | D 1.45 G 1.65 gan 4.00 cycle .40 id .39 cam 1.14'
    )
    assert lines.row(1, 400, None, {'loss_g': 2.0}) == 'iter 1/400 | G 2.00'


def test_totals_of_further_updates_keep_their_names():
    log = {'loss_g_A': 1.0, 'loss_d': 2.0, 'loss_gan_d_content': 8.0, 'loss_d_content': 3.0}
    log |= {'loss_gan_g_random_A': 1.0, 'loss_gan_g_random_B': 2.0, 'loss_g_random': 4.0}
    assert lines.short_terms(log) == {'D': 2, 'D_content': 3, 'G_random': 4, 'gan_random': 1.5}


def test_metrics_take_a_line_for_each_direction():
    metrics = {'A2B/colour': 37.8, 'A2B/edges': 6.3, 'B2A/colour': 33.1}
    assert lines.metric_rows(metrics) == ['A2B | colour 37.8 edges 6.30', 'B2A | colour 33.1']


def test_the_estimate_of_the_issue():
    assert lines.estimate(14.0, 100_000) == '14 s an iteration: 100,000 end in 16 days'
    assert lines.estimate(0.0514, 4000) == '0.0514 s an iteration: 4,000 end in 3 min'


def test_advice_names_what_is_not_set():
    def said(name='ugatit_custom', device='cpu', types=('float32',), **options):
        return lines.advice(load_config(name, options), device, types)

    widths = 'model.generator.base_channels=32 model.discriminator.base_channels=32'
    light = 'model.generator.light=True'
    assert said() == f'try img_size=128, {widths}, {light}, or a GPU'
    small = {'img_size': 128, light.partition('=')[0]: True}
    assert said(**small) == f'try {widths}, or a GPU'
    narrow = small | {'model.generator.base_channels': 32}
    assert said(**narrow) == 'try a GPU'
    assert said(device='cuda', **narrow) == 'try --amp'
    assert said(device='cuda', types=('bfloat16',), **narrow | {'train_cfg.max_iters': 5000}) == (
        'try train_cfg.max_iters=500'
    )
    # Widths that must agree are named together.
    assert said('unit_custom', img_size=128) == (
        f'try model.encoder.base_channels=32 {widths}, or a GPU'
    )


@pytest.mark.parametrize('name', TINY_OF)
def test_what_is_advised_is_taken(name):
    """The options of the advice load, and then there is less to advise."""
    cfg = load_config(f'{name}_custom')
    words = lines.advice(cfg, 'cpu').removeprefix('try ').replace(', or a GPU', '')
    options = dict(word.split('=') for word in words.replace(',', '').split() if '=' in word)
    options = {key: literal_eval(value) for key, value in options.items()}
    assert options
    assert lines.advice(load_config(f'{name}_custom', options), 'cpu') == 'try a GPU'


def test_weights_and_memory_in_words():
    assert [lines.millions(count) for count in (123_400, 1_040_000, 21_400_000, 670_000_000)] == [
        *('0.12M', '1.04M', '21.4M', '670M')
    ]
    said = lines.peak_memory(torch.device('cpu'))
    assert said.startswith('peak memory ') and said.endswith(' GB, all of the process')
