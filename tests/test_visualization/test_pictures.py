"""Sheets and curves."""

import json

import numpy as np
import pytest
import torch

from ugatit_mm.pixels import to_uint8
from ugatit_mm.visualization import make_sheet, read_scalars, translation_sheet
from ugatit_mm.visualization.sheet import attention


def test_attention_in_sheets_goes_from_blue_to_red():
    picture = attention(torch.tensor([[[0.0, 5.0], [5.0, 10.0]]]), (2, 2))
    low, high = picture[0, 0].astype(int), picture[1, 1].astype(int)
    assert low[2] > 100 and low[0] == 0 and high[0] > 100 and high[2] == 0
    assert picture.shape == (2, 2, 3) and picture.dtype == np.uint8


@pytest.mark.parametrize('value', [None, float('nan'), float('inf')])
def test_a_diverged_run_still_gets_its_sheet(value):
    heatmap = None if value is None else torch.full((1, 4, 4), value)
    assert (attention(heatmap, (8, 6)) == np.full((8, 6, 3), 255)).all()


def test_sheet_holds_its_pictures_in_their_places():
    pictures = [[np.full((4, 6, 3), 10 * i + j, np.uint8) for j in range(2)] for i in range(3)]
    sheet = make_sheet(pictures)
    assert sheet.shape == (3 * 8 + 4, 2 * 10 + 4, 3)
    for i in range(3):
        for j in range(2):
            part = sheet[4 + 8 * i : 8 + 8 * i, 4 + 10 * j : 10 + 10 * j]
            assert (part == 10 * i + j).all()
    assert (sheet[:4] == 255).all() and (sheet[:, :4] == 255).all()
    assert (make_sheet(pictures, ['one', 'two'])[:20] < 100).any()  # the words
    # Text below: a short row leaves white, and the last text may use the space of the others.
    sheet = make_sheet([*pictures, pictures[0][:1]], captions=[['a', 'b\nc'], [], [], ['a' * 40]])
    assert sheet.shape == (4 * (8 + 40) + 4, 2 * 10 + 4, 3)
    assert (sheet[4 + 48 : 8 + 48, 4:10] == 10).all() and (sheet[148:152, 14:] == 255).all()
    assert (sheet[8 + 144 : 8 + 164, 10:] < 200).any()
    zoomed = make_sheet(pictures, zoom=3)
    assert (zoomed[4 : 4 + 12, 4 + 22 : 4 + 40] == 1).all()


@pytest.mark.parametrize('cam', [True, False])
def test_translation_sheet(tiny, cam):
    model = tiny({'cam': cam}).train()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    sheet = translation_sheet(model, images, 'B')
    assert model.training
    # 32 pixels are shown as 128, with a margin of 4
    assert sheet.shape == (20 + 2 * 132 + 4, 4 * 132 + 4, 3)
    for row in range(2):
        y = 24 + 132 * row
        cells = [sheet[y : y + 128 : 4, 4 + 132 * c : 132 + 132 * c : 4] for c in range(4)]
        fake = model.generators['B'](images[row : row + 1])
        back = model.generators['A'](fake)
        for cell, image in ((0, images[row]), (2, fake[0]), (3, back[0])):
            expected = to_uint8(image).permute(1, 2, 0).numpy()
            assert np.array_equal(cells[cell], expected)
        assert (cells[1] == 255).all() != cam


def test_scalars_of_a_resumed_run(tmp_path):
    for start, rows in (('1', [(1, 5.0), (2, 4.0), (3, 9.0)]), ('2', [(3, 3.0), (4, 2.0)])):
        folder = tmp_path / start / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps({'loss_g': value, 'step': step, 'mode': 'x'}) for step, value in rows]
        (folder / 'scalars.json').write_text('\n'.join(lines) + '\n')
    assert read_scalars(tmp_path) == {'loss_g': [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)]}
    with pytest.raises(FileNotFoundError, match='is it a work dir'):
        read_scalars(tmp_path / '1' / 'vis_data')


def test_scalars_of_a_run_without_files_of_the_visualiser(tmp_path):
    """TensorBoard or a server only: MMEngine's text log."""
    log = tmp_path / '2' / '2.log'
    log.parent.mkdir()
    log.write_text(
        '2026/01/01 00:00:00 - mmengine - INFO - Iter(train) [   4/1000]  generators.lr: '
        '1.0000e-04  eta: 1 day, 0:00:01  time: 0.5000  data_time: 0.0100  loss_g: nan  x: 1.2.3\n'
        'INFO - Iter(val) [2/2]    A2B/colour: 35.6349  time: 0.0572\n'
        'INFO - Saving checkpoint at 4 iterations, loss_g: 7.0\n'
        'INFO - Iter(train) [   5/1000]  loss_g: -2.5000\n'
        'INFO - Iter(train) [   6/1000]  loss_g: 1.25'  # being written
    )
    read = read_scalars(tmp_path)
    assert {name: points for name, points in read.items() if name != 'loss_g'} == {
        'generators.lr': [(4, 1e-4)],
        'time': [(4, 0.5)],
        'data_time': [(4, 0.01)],
    }
    assert [step for step, _ in read['loss_g']] == [4, 5] and read['loss_g'][1][1] == -2.5
    # An earlier start with the file.
    (tmp_path / '1' / 'vis_data').mkdir(parents=True)
    (tmp_path / '1' / 'vis_data' / 'scalars.json').write_text('{"loss_g": 9.0, "step": 1}\n')
    (tmp_path / '1' / '1.log').write_text('INFO - Iter(train) [1/4]  loss_g: 8.0\n')
    assert read_scalars(tmp_path)['loss_g'][0] == (1, 9.0)
    log.write_text('INFO - Iter(test) [2/2]    A2B/colour: 35.6349\n')
    (tmp_path / '1' / 'vis_data' / 'scalars.json').unlink()
    (tmp_path / '1' / '1.log').unlink()
    with pytest.raises(FileNotFoundError, match='no log of a training under'):
        read_scalars(tmp_path)
