"""Distances to translations that are known: closed forms, scikit-image, the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from ugatit_mm.evaluation import __main__ as evaluation
from ugatit_mm.evaluation import compare_folders
from ugatit_mm.evaluation.ideal import in_grey, l1, share_closed, ssim, to_the_ideal
from ugatit_mm.evaluation.measurements import Measurement


def pictures(seed: int, count: int = 4, size: int = 24) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(count)]


def write(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f'{index}.png')
    return folder


def measurement(value: float, what: str = 'kid') -> Measurement:
    return Measurement('a2b', what, value, None, '', '', {'fake': 4, 'target': 4}, 'f', 'w', 'r')


def test_closed_forms():
    one, two = np.full((8, 8, 3), 40, np.uint8), np.full((8, 8, 3), 100, np.uint8)
    assert l1(one, two) == 60 and l1(one, one) == 0
    # Of flat pictures SSIM is (2 a b + c) / (a^2 + b^2 + c), c = (0.01 * 255)^2.
    constant = (0.01 * 255) ** 2
    assert ssim(one, two) == pytest.approx((8000 + constant) / (11600 + constant))
    assert ssim(one, one) == 1
    assert in_grey(np.uint8([[[255, 0, 0], [10, 200, 30]]])).tolist() == [[[76] * 3, [124] * 3]]


def test_ssim_is_that_of_scikit_image():
    one, two = pictures(0)[:2]
    grey = [np.array(Image.fromarray(each).convert('L')) for each in (one, two)]
    assert ssim(one, two) == pytest.approx(structural_similarity(*grey), abs=2e-3)  # it rounds


@pytest.mark.parametrize(('translated', 'share'), [(2, 0.9), (11, 0.0), (1, 1.0), (16, -0.5)])
def test_share_closed(translated, share):
    found = share_closed(measurement(translated), measurement(11), measurement(1))
    assert found.value == pytest.approx(share) and found.protocol == 'share_closed'


def test_mean_and_standard_error():
    ideal = pictures(0)
    found = to_the_ideal('a2b', [255 - each for each in ideal], ideal, 'none')
    values = [l1(255 - each, each) for each in ideal]
    assert found[1].value == pytest.approx(np.mean(values))
    assert found[1].spread == pytest.approx(np.std(values) / 2)
    with pytest.raises(ValueError, match='a2b: 3 pictures and 4 ideal ones'):
        to_the_ideal('a2b', ideal[:3], ideal, 'none')


def test_folders(tmp_path):
    source, fake, target = pictures(1), pictures(2), pictures(3)
    folders = {
        name: write(tmp_path / name, images)
        for name, images in (('fake', fake), ('target', target), ('source', source))
    }
    ideal = write(tmp_path / 'ideal', target)
    found = compare_folders(*folders.values(), {'type': 'ColourHOGFeatures'}, ideal_dir=ideal)
    by_name = {each.protocol: each for each in found.measurements}
    copies = {each.protocol: each for each in found.untranslated}
    assert by_name['ssim'].value == pytest.approx(np.mean([*map(ssim, fake, target)]))
    assert by_name['l1'].value == pytest.approx(np.mean([*map(l1, fake, target)]))
    assert copies['l1'].value == pytest.approx(np.mean([*map(l1, map(in_grey, source), target)]))
    goal = compare_folders(
        ideal, folders['target'], None, {'type': 'ColourHOGFeatures'}
    ).measurements
    wanted = share_closed(by_name['kid'], copies['kid'], goal[0])
    assert by_name['share_closed'].value == pytest.approx(wanted.value)
    bare = compare_folders(fake_dir := folders['fake'], fake_dir, None, None, ideal_dir=ideal)
    assert [each.protocol for each in bare.measurements][-2:] == ['ssim', 'l1']


def test_the_command_says_both_or_what_is_wrong(tmp_path, capsys):
    names = ('fake', 'target', 'source', 'ideal')
    fake, target, source, ideal = (
        str(write(tmp_path / name, pictures(seed))) for seed, name in enumerate(names)
    )
    words = [fake, target, '--source', source, '--ideal', ideal, '--num-workers', '0']
    words += ['--extractor', 'ColourHOGFeatures', '--json', str(tmp_path / 'found.json')]
    assert evaluation.main(words) == 0
    said = capsys.readouterr().out
    assert '| fake | share of the way from the sources to the ideal' in said
    assert said.count('| fake | SSIM to the ideal translation') == 1
    found = json.loads((tmp_path / 'found.json').read_text())
    assert [each['protocol'] for each in found['measurements']][-3:] == [
        'share_closed',
        'ssim',
        'l1',
    ]
    Path(ideal, '3.png').rename(Path(ideal, 'three.png'))
    assert evaluation.main(words) == 1
    said = capsys.readouterr().err
    assert said == (
        f"error: '{ideal}' and '{fake}' are compared one by one and must hold pictures of the same "
        'names: only one of them has 3, three\n'
    )
