"""Faces are found, chosen, split and resized as said, and all of it is written down."""

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import load_tool
from mmagic.registry import MODELS
from PIL import Image, ImageOps

from ugatit_mm.datasets import read_rgb
from ugatit_mm.datasets.preparation import detectors
from ugatit_mm.datasets.preparation.detectors import OPENCV_CASCADE, AnimeFace, Box, Cascade
from ugatit_mm.datasets.preparation.faces import (
    draw_test,
    find_faces,
    make_faces,
    square_around,
)
from ugatit_mm.datasets.preparation.selfie_attributes import SELFIE_ATTRIBUTES, choose_by_attributes
from ugatit_mm.datasets.preparation.similarity import NEAR, perceptual_hash
from ugatit_mm.datasets.preparation.upscaling import Upscaler, resize

SKIMAGE = Path(find_spec('skimage').submodule_search_locations[0]) / 'data'
FACE = (224, 120)  # centre of the face in skimage's astronaut.png, 512 x 512


def astronaut() -> Image.Image:
    return Image.open(SKIMAGE / 'astronaut.png').convert('RGB')


def tilted(degrees: float) -> Image.Image:
    """The same face in another picture: neither is nearly the other."""
    image = Image.new('RGB', (512, 512), (20, 90, 110))
    image.paste(astronaut().rotate(degrees, center=FACE).crop((110, 10, 330, 230)), (200, 200))
    return image


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three pictures with the face and all that must be left out."""
    folder = tmp_path / 'photos'
    (folder / 'sub').mkdir(parents=True)
    image = astronaut()
    image.save(folder / 'a.png')
    tilted(8).save(folder / 'b.png')
    ImageOps.mirror(image).save(folder / 'c.png')
    image.resize((400, 400)).save(folder / 'sub' / 'again.jpg', quality=60)
    image.convert('L').crop((0, 0, 400, 512)).save(folder / 'grey.png')
    Image.open(SKIMAGE / 'chelsea.png').save(folder / 'cat.png')
    (folder / 'broken.jpg').write_bytes(b'not an image')
    return folder


def table(path: Path) -> list[dict]:
    with open(path, newline='') as stream:
        return list(csv.DictReader(stream))


# -- attributes ----------------------------------------------------------------------------------


def line(name: str, score: float = 3.5, **values: int) -> str:
    return ' '.join([name, str(score), *(str(values.get(a, -1)) for a in SELFIE_ATTRIBUTES)])


def test_choose(tmp_path):
    assert len(SELFIE_ATTRIBUTES) == len(set(SELFIE_ATTRIBUTES)) == 36
    file = tmp_path / 'selfie_dataset.txt'
    lines = [line('x.1', is_female=1, baby=1), line('y.jpg', is_female=1), line('z', is_female=0)]
    file.write_text('\n'.join(lines).replace(' ', '\t', 1) + '\n\n')
    assert choose_by_attributes(file, {'is_female': 1}) == ({'x.1', 'y'}, {'x.1', 'y', 'z'})
    assert choose_by_attributes(file, {'is_female': 1, 'baby': -1})[0] == {'y'}
    assert choose_by_attributes(file, {'is_female': 0})[0] == {'z'}
    # Columns 3, 4 and 38 of the file.
    assert (SELFIE_ATTRIBUTES[0], SELFIE_ATTRIBUTES[1]) == ('partial_faces', 'is_female')
    assert SELFIE_ATTRIBUTES[-1] == 'dim_lighting'
    with pytest.raises(ValueError, match=r'unknown attribute female; known: .*is_female'):
        choose_by_attributes(file, {'female': 1})
    for wrong in (line('w') + ' 1', line('w').replace('-1', '2', 1)):
        file.write_text('\n'.join([*lines, wrong]))
        with pytest.raises(ValueError, match=r"selfie_dataset.txt', line 4: .* 3[89] columns: w"):
            choose_by_attributes(file, {'is_female': 1})


# -- finding -------------------------------------------------------------------------------------


@pytest.fixture(params=['Haar', 'LBP'])
def cascade(request, tmp_path) -> Path:
    """OpenCV's own, and one of local binary patterns, as lbpcascade_animeface is."""
    if request.param == 'Haar':
        return Path(OPENCV_CASCADE)
    # A misprint in scikit-image's copy hides it from OpenCV.
    xml = (SKIMAGE / 'lbpcascade_frontalface_opencv.xml').read_text()
    (tmp_path / 'lbp.xml').write_text(xml.replace('featuhreParams', 'featureParams'))
    return tmp_path / 'lbp.xml'


def test_cascade(cascade):
    detect = Cascade(cascade)
    assert detect.name == cascade.name
    x, y, width, height = max(detect(np.array(astronaut()), 64), key=lambda box: box[2])
    assert x < FACE[0] < x + width and y < FACE[1] < y + height
    assert 64 <= width == height < 200
    assert detect(np.array(astronaut()), 200) == []
    assert len(detect(np.array(tilted(8)), 64)) == 1  # on a plain wall


def test_wrong_cascade(tmp_path):
    with pytest.raises(FileNotFoundError, match='animeface'):
        Cascade(tmp_path / 'lbpcascade_animeface.xml')
    for content in ('no xml', '<?xml version="1.0"?><opencv_storage></opencv_storage>', ''):
        file = tmp_path / 'cascade.xml'
        file.write_text(content)
        with pytest.raises(ValueError, match=r"cascade.xml' is not a cascade"):
            Cascade(file)


def drawn(size: int, hair: tuple[int, int, int] = (90, 60, 140), side: int = 0) -> np.ndarray:
    """A girl's head, ``size`` pixels, in the lower right corner of a wall of ``side`` pixels."""
    image = np.full((512, 512, 3), (235, 240, 245), np.uint8)

    def ellipse(x: int, y: int, a: int, b: int, colour: tuple[int, int, int]) -> None:
        cv2.ellipse(image, (x, y), (a, b), 0, 0, 360, colour, -1)

    ellipse(256, 260, 190, 200, hair)
    ellipse(256, 300, 140, 150, (250, 224, 205))
    fringe = [(90, 290), (110, 160), (256, 90), (402, 160), (422, 290), (370, 260), (330, 230)]
    cv2.fillPoly(image, [np.array([*fringe, (256, 270), (180, 230), (140, 260)])], hair)
    for x in (187, 325):
        ellipse(x, 312, 42, 50, (30, 20, 30))
        ellipse(x, 318, 38, 44, (255, 255, 255))
        ellipse(x, 320, 27, 40, (60, 110, 180))
        ellipse(x, 318, 14, 24, (25, 25, 45))
        ellipse(x - 10, 300, 10, 12, (255, 255, 255))
    ellipse(256, 408, 24, 7, (170, 70, 80))
    wall = np.full((max(size, side), max(size, side), 3), image[0, 0], np.uint8)
    wall[-size:, -size:] = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return wall


needs_animeface = pytest.mark.skipif(
    find_spec('animeface') is None, reason="needs animeface: pip install 'ugatit_mm[faces]'"
)


@needs_animeface
def test_animeface_in_a_drawing():
    detect = AnimeFace()
    assert detect.name == 'animeface 2.0.3'
    # What animeface.detect of 2.0.3 says of these pictures with Pillow 11.3.
    for size, box in {128: (41, 62, 56, 56), 256: (63, 110, 127, 127)}.items():
        assert detect(drawn(size), AnimeFace.SMALLEST) == [pytest.approx(box, abs=1)]
    assert detect(np.full((300, 300, 3), 255, np.uint8), 64) == []
    assert detect(np.array(astronaut().resize((256, 256))), 64) == []  # a photograph
    with pytest.raises(ValueError, match='43 pixels or more, not of 42'):
        detect(drawn(128), 42)


@needs_animeface
@pytest.mark.parametrize('min_face', [43, 64, 100])
def test_animeface_takes_faces_of_min_face(min_face):
    """From eyes to mouth, the drawn face has 0.4 of the picture's side."""
    detect = AnimeFace()
    assert detect(drawn(min_face * 3 // 2, side=2 * min_face), min_face) == []
    size = 3 * min_face
    ((x, y, width, height),) = detect(drawn(size, side=4 * min_face), min_face)
    assert min_face <= width == height < 0.55 * size
    centre = np.array((x + width / 2, y + height / 2)) - min_face  # in the head's own square
    np.testing.assert_allclose(centre / size, (0.5, 0.67), atol=0.06)


@needs_animeface
def test_animeface_and_pictures_of_odd_shapes():
    detect = AnimeFace()
    noise = np.random.default_rng(0).integers(0, 256, (57, 9000, 3), dtype=np.uint8)
    for height, width in ((1, 1), (1, 9000), (9000, 1), (56, 56), (57, 57), (57, 9000)):
        image = np.resize(noise, (height, width, 3))
        assert all(43 <= box[2] <= 57 for box in detect(image, 43))
        assert detect(image, 64) == []
    # A view whose rows do not follow each other in memory, and one backwards.
    picture = np.zeros((256, 512, 3), np.uint8)
    picture[:, ::2] = drawn(256)
    assert detect(picture[:, ::2], 43) == detect(drawn(256), 43)
    assert detect(picture[:, -2::-2], 43) == detect(np.ascontiguousarray(drawn(256)[:, ::-1]), 43)


def test_without_animeface(monkeypatch):
    monkeypatch.setitem(sys.modules, 'animeface', None)
    with pytest.raises(ModuleNotFoundError, match=r"install 'ugatit_mm\[faces\]' \(Python 3.13 or"):
        AnimeFace()


@needs_animeface
def test_another_version_of_animeface(monkeypatch):
    monkeypatch.setattr(detectors, 'version', lambda name: '2.1.0')
    with pytest.raises(ModuleNotFoundError, match=r'animeface is 2\.1\.0, not 2\.0\.3: pip'):
        AnimeFace()


def test_square():
    assert square_around((40, 30, 20, 20), 1.5, 100, 100) == (35, 25, 30)
    assert square_around((40, 30, 20, 10), 2, 100, 100) == (30, 15, 40)  # of the longer side
    assert square_around((0, 80, 20, 20), 2, 100, 100) == (0, 60, 40)  # shifted inside
    assert square_around((40, 30, 20, 20), 9, 100, 60) == (20, 0, 60)  # as large as fits


def test_find_faces(photos):
    names = ['a.png', 'b.png', 'broken.jpg', 'c.png', 'cat.png', 'grey.png', 'sub/again.jpg']
    cascade = Cascade()
    found, groups, skipped = find_faces(photos, names, cascade)
    assert [face.source for face in found] == ['a.png', 'b.png', 'c.png']
    assert len(set(groups)) == 3
    assert {(entry.source, entry.reason) for entry in skipped} == {
        ('broken.jpg', 'unreadable'),
        ('cat.png', 'no face'),
        ('grey.png', 'monochrome'),
        ('sub/again.jpg', 'near-duplicate picture'),
    }
    assert next(s for s in skipped if s.source == 'sub/again.jpg').detail.startswith('a.png, ')
    first = found[0]
    assert first.side == round(1.5 * first.width)
    assert abs(first.left + first.side / 2 - first.x - first.width / 2) <= 1
    cut = first.cut(read_rgb(photos / 'a.png'))
    top, left, side = first.top, first.left, first.side
    np.testing.assert_array_equal(
        cut, np.array(astronaut().crop((left, top, left + side, top + side)))
    )

    grey = find_faces(photos, ['grey.png'], cascade, keep_monochrome=True)[0]
    assert [face.source for face in grey] == ['grey.png']
    assert find_faces(photos, ['a.png'], cascade, enlarge=2)[0][0].side == 2 * first.width
    assert find_faces(photos, ['a.png'], cascade, min_face=200)[0] == []
    for wrong in ({'enlarge': 0}, {'min_face': 0}, {'max_per_image': 0}, {'near': -1}):
        with pytest.raises(ValueError, match='at least'):
            find_faces(photos, ['a.png'], cascade, **wrong)


class Boxes:
    """A detector that finds the same boxes in every picture."""

    name = 'boxes'

    def __init__(self, *boxes: Box) -> None:
        self.boxes = boxes

    def __call__(self, image: np.ndarray, min_face: int) -> list[Box]:
        return list(self.boxes)


def mosaic(*seeds: int) -> Image.Image:
    """A row of soft patterns of 80 x 80 pixels, one for each seed."""
    image = Image.new('RGB', (80 * len(seeds), 80))
    for i, seed in enumerate(seeds):
        noise = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
        image.paste(Image.fromarray(noise).resize((80, 80), Image.Resampling.BICUBIC), (80 * i, 0))
    return image


ROW = Boxes((0, 0, 80, 80), (80, 0, 80, 80), (160, 0, 80, 80))


def test_repeated_face_ties_its_pictures_together(tmp_path):
    mosaic(0, 1, 2).save(tmp_path / 'a.png')
    mosaic(3, 4, 5).save(tmp_path / 'b.png')
    mosaic(6, 1, 7).save(tmp_path / 'c.png')  # its second face is that of a
    found, groups, skipped = find_faces(tmp_path, ['a.png', 'b.png', 'c.png'], ROW, enlarge=1)
    assert [(face.source, face.x) for face in found] == [
        ('a.png', 0),
        ('a.png', 80),
        ('a.png', 160),
        ('b.png', 0),
        ('b.png', 80),
        ('b.png', 160),
        ('c.png', 0),
        ('c.png', 160),
    ]
    assert [(s.source, s.reason, s.x) for s in skipped] == [('c.png', 'near-duplicate face', 80)]
    assert skipped[0].detail == 'a.png (80, 0), 0 of 256'
    a, b = groups[0], groups[3]
    assert a != b and groups == [a, a, a, b, b, b, a, a]


def test_largest_faces_of_a_picture(tmp_path):
    mosaic(0, 1, 2).save(tmp_path / 'a.png')
    detector = Boxes((0, 0, 60, 60), (80, 0, 80, 80), (160, 0, 70, 70))
    found, _, skipped = find_faces(tmp_path, ['a.png'], detector, enlarge=1, max_per_image=2)
    assert [face.x for face in found] == [80, 160]
    assert [(s.reason, s.x) for s in skipped] == [('more faces than asked for', 0)]


def test_draw_test_keeps_groups_whole():
    groups = [0, 0, 0, 1, 2, 2, 3, 4, 4, 5]
    for count in range(10):
        for seed in range(5):
            drawn = draw_test(groups, count, seed)
            assert {groups[i] for i in drawn}.isdisjoint(
                groups[i] for i in range(10) if i not in drawn
            )
            assert drawn == draw_test(groups, count, seed)
            assert count - 2 <= len(drawn) <= count
    assert len({frozenset(draw_test(groups, 4, seed)) for seed in range(10)}) > 3
    for count in (-1, 10):
        with pytest.raises(ValueError, match=f'cannot take {count} of 10 faces'):
            draw_test(groups, count, 0)


# -- super-resolution ----------------------------------------------------------------------------

SRCNN = """
model = dict(
    type='BaseEditModel',
    generator=dict(
        type='SRCNNNet', channels=(3, 3, 3, 3), kernel_sizes=(3, 1, 3), upscale_factor={scale}),
    pixel_loss=dict(type='L1Loss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]))
"""


def srcnn_that_does_nothing() -> dict[str, torch.Tensor]:
    """Weights that leave what SRCNN's bicubic enlargement gives as it is."""
    net = MODELS.build(dict(type='SRCNNNet', channels=(3, 3, 3, 3), kernel_sizes=(3, 1, 3)))
    for conv in (net.conv1, net.conv2, net.conv3):
        torch.nn.init.dirac_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    return net.state_dict()


@pytest.fixture
def srcnn(tmp_path) -> tuple[Path, Path]:
    config, checkpoint = tmp_path / 'srcnn.py', tmp_path / 'srcnn.pth'
    config.write_text(SRCNN.format(scale=2))
    state = {f'generator.{key}': value for key, value in srcnn_that_does_nothing().items()}
    torch.save({'state_dict': state, 'meta': {}}, checkpoint)
    return config, checkpoint


def bicubic(image: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    out = torch.nn.functional.interpolate(pixels, scale_factor=2, mode='bicubic')
    return out[0].permute(1, 2, 0).clamp(0, 255).round().byte().numpy()


def test_upscaler_keeps_colours(srcnn):
    upscaler = Upscaler(*srcnn)
    assert upscaler.scale == 2 and upscaler.name == 'SRCNNNet x2 (srcnn.pth)'
    image = np.array(mosaic(0, 1))
    difference = np.abs(upscaler(image).astype(int) - bicubic(image))
    assert difference.max() <= 1


def test_average_of_the_generator_is_taken(srcnn):
    config, checkpoint = srcnn
    state = srcnn_that_does_nothing()
    both = {f'generator_ema.{key}': value for key, value in state.items()}
    both |= {f'generator.{key}': torch.zeros_like(value) for key, value in state.items()}
    image = np.array(mosaic(0))
    for weights in ({'state_dict': both}, state):  # or a bare network
        torch.save(weights, checkpoint)
        assert np.abs(Upscaler(config, checkpoint)(image).astype(int) - bicubic(image)).max() <= 1


def test_mean_and_std_of_the_config_are_used(srcnn):
    config, checkpoint = srcnn
    config.write_text(SRCNN.format(scale=2).replace('mean=[0, 0, 0]', 'mean=[255, 255, 255]'))
    # Negative numbers, which ReLU sets to 0: white.
    assert (Upscaler(config, checkpoint)(np.array(mosaic(0))) == 255).all()


def test_wrong_upscaler(srcnn, tmp_path):
    config, checkpoint = srcnn
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        Upscaler(config, tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match=r'none\.py'):
        Upscaler(tmp_path / 'none.py', checkpoint)
    config.write_text(SRCNN.format(scale=1))
    with pytest.raises(ValueError, match='does not enlarge'):
        Upscaler(config, checkpoint)
    config.write_text('runner = 1')
    with pytest.raises(ValueError, match=r"srcnn.pth' does not fit '.*srcnn.py'"):
        Upscaler(config, checkpoint)
    config.write_text(SRCNN.format(scale=2))
    state = srcnn_that_does_nothing()
    del state['conv3.bias']
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match=r'(?s)does not fit .*conv3\.bias'):
        Upscaler(config, checkpoint)
    config.write_text("model = dict(generator=dict(type='SRCNNNet', channels=(1, 1, 1, 1)))")
    torch.save(MODELS.build(dict(type='SRCNNNet', channels=(1, 1, 1, 1))).state_dict(), checkpoint)
    with pytest.raises(ValueError, match='not a network for single pictures'):
        Upscaler(config, checkpoint)


def test_resize(srcnn):
    upscaler = Upscaler(*srcnn)
    crop = np.array(mosaic(0))  # 80 pixels
    picture, by = resize(crop, 128)
    assert by == 'Lanczos'
    lanczos = Image.fromarray(crop).resize((128, 128), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(picture, np.array(lanczos))
    picture, by = resize(crop, 128, upscaler)
    assert by == 'SRCNNNet x2 (srcnn.pth) + Lanczos' and picture.shape == (128, 128, 3)
    picture, by = resize(crop, 160, upscaler)
    assert by == 'SRCNNNet x2 (srcnn.pth)'
    np.testing.assert_array_equal(picture, upscaler(crop))
    assert resize(crop, 64, upscaler)[1] == 'Lanczos'  # large enough by itself
    picture, by = resize(crop, 80, upscaler)
    assert by == 'nothing'
    np.testing.assert_array_equal(picture, crop)


# -- the whole -----------------------------------------------------------------------------------


def test_make_faces(photos, tmp_path):
    out = tmp_path / 'out'
    counts = make_faces(photos, out, size=96)
    assert counts == {
        f'written to {out}': 3,
        'found by haarcascade_frontalface_default.xml': 3,
        'resized by Lanczos': 3,
        'skipped: unreadable': 1,
        'skipped: no face': 1,
        'skipped: monochrome': 1,
        'skipped: near-duplicate picture': 1,
    }
    rows = table(out / 'faces.csv')
    assert [(row['file'], row['source']) for row in rows] == [
        ('00000.png', 'a.png'),
        ('00001.png', 'b.png'),
        ('00002.png', 'c.png'),
    ]
    for row in rows:
        left, top, side = (int(row[key]) for key in ('left', 'top', 'side'))
        cut = Image.open(photos / row['source']).crop((left, top, left + side, top + side))
        expected = np.array(cut.resize((96, 96), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(read_rgb(out / row['file']), expected)
        assert float(row['scale']) == pytest.approx(96 / side, abs=1e-3) and row['by'] == 'Lanczos'
    skipped = table(out / 'skipped.csv')
    assert len(skipped) == 4
    assert 'not an image' in next(s['detail'] for s in skipped if s['source'] == 'broken.jpg')

    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(FileExistsError, match='exists already'):
        make_faces(photos, out, size=96)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_make_both_domains(tmp_path):
    """Splits of two domains in one folder; no picture has faces on both sides."""
    for domain, first in (('A', 0), ('B', 100)):
        folder = tmp_path / domain
        folder.mkdir()
        for i in range(5):
            mosaic(*range(first + 3 * i, first + 3 * i + 3)).save(folder / f'{i}.png')
        counts = make_faces(
            folder, tmp_path / 'set', ROW, domain=domain, test=6, seed=1, size=80, enlarge=1
        )
        assert counts[f'written to {tmp_path / "set" / f"train{domain}"}'] == 9
        rows = table(tmp_path / 'set' / f'faces{domain}.csv')
        by_split = {split: set() for split in (f'train{domain}', f'test{domain}')}
        for row in rows:
            by_split[row['file'].split('/')[0]].add(row['source'])
            x = int(row['x'])
            expected = np.array(Image.open(folder / row['source']))[:, x : x + 80]
            np.testing.assert_array_equal(read_rgb(tmp_path / 'set' / row['file']), expected)
        train, test = by_split.values()
        assert (len(train), len(test)) == (3, 2) and train.isdisjoint(test)
    with pytest.raises(FileExistsError, match='trainB'):
        make_faces(tmp_path / 'A', tmp_path / 'set', domain='B')


def test_faces_of_one_photo_are_not_seen_again(photos, tmp_path):
    make_faces(photos, tmp_path / 'set', domain='A', test=1, size=96)
    images = [read_rgb(path) for path in sorted((tmp_path / 'set').rglob('*.png'))]
    hashes = np.array([perceptual_hash(image) for image in images])
    distances = (hashes[:, None] != hashes).sum(axis=-1)[~np.eye(3, dtype=bool)]
    assert distances.min() > NEAR


def test_make_faces_refuses(photos, tmp_path):
    out = tmp_path / 'out'
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'cats').mkdir()
    Image.open(SKIMAGE / 'chelsea.png').save(tmp_path / 'cats' / 'cat.png')
    for source, options, message in (
        (photos, {'size': 0}, 'size must be at least 1'),
        (photos, {'test': 1}, 'needs a domain'),
        (photos, {'wanted': {'baby': 1}}, 'go together'),
        (photos, {'attributes': photos / 'x.txt'}, 'go together'),
        (photos, {'domain': 'A', 'test': 3}, 'cannot take 3 of 3 faces'),
        (tmp_path / 'empty', {}, 'holds no image'),
        (tmp_path / 'cats', {}, 'no face to keep .*1 no face'),
    ):
        with pytest.raises(ValueError, match=message):
            make_faces(source, out, **options)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        make_faces(tmp_path / 'nowhere', out)
    assert not out.exists()


# -- the tool ------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def tool():
    return load_tool('dataset_converters/make_faces')


def test_tool(tool, photos, srcnn, tmp_path, capsys):
    attributes = tmp_path / 'selfie_dataset.txt'
    rows = [line('a', is_female=1), line('b', is_female=1), line('c', is_female=-1)]
    attributes.write_text('\n'.join([*rows, line('gone', is_female=1), '']))
    arguments = [
        str(photos),
        str(tmp_path / 'set'),
        '--domain',
        'B',
        '--test',
        '1',
        '--size',
        '320',
    ]
    arguments += ['--attributes', str(attributes), '--where', 'is_female=1', 'baby=-1']
    arguments += ['--upscaler', *map(str, srcnn), '--enlarge', '1.2']
    arguments += [
        '--cascade',
        str(Path(cv2.data.haarcascades) / 'haarcascade_frontalface_alt2.xml'),
    ]
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    assert '1 chosen, but no picture of that name' in printed
    assert '1 skipped: not chosen' in printed
    assert '4 skipped: not in the attribute file' in printed
    rows = table(tmp_path / 'set' / 'facesB.csv')
    assert {row['source'] for row in rows} == {'a.png', 'b.png'}
    assert {row['file'].split('/')[0] for row in rows} == {'trainB', 'testB'}
    assert {row['detector'] for row in rows} == {'haarcascade_frontalface_alt2.xml'}
    assert {row['by'] for row in rows} == {'SRCNNNet x2 (srcnn.pth) + Lanczos'}
    assert all(int(row['side']) == round(1.2 * int(row['width'])) for row in rows)
    assert all(Image.open(tmp_path / 'set' / row['file']).size == (320, 320) for row in rows)

    assert tool.main(arguments) == 1
    assert 'error: ' in (error := capsys.readouterr().err) and 'exists already' in error


def test_tool_passes_its_options_on(tool, photos, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        tool,
        'make_faces',
        lambda source, out, detector, **rest: seen.update(rest, found_by=detector.name) or {},
    )
    assert tool.main(['in', 'out']) == 0
    assert seen['near'] == NEAR and seen['wanted'] == {}
    assert seen['found_by'] == 'haarcascade_frontalface_default.xml'
    options = '--min-face 50 --max-per-image 2 --duplicate-distance 3 --keep-monochrome --seed 7'
    assert tool.main(['in', 'out', *options.split()]) == 0
    expected = {'min_face': 50, 'max_per_image': 2, 'near': 3, 'keep_monochrome': True, 'seed': 7}
    assert expected.items() <= seen.items()


@needs_animeface
def test_tool_on_drawings(tool, tmp_path, capsys):
    folder, out = tmp_path / 'anime', tmp_path / 'out'
    folder.mkdir()
    Image.fromarray(drawn(200, side=300)).save(folder / 'a.png')
    Image.fromarray(np.hstack([drawn(160, (190, 60, 50)), drawn(160)[:, ::-1]])).save(
        folder / 'b.png'
    )
    astronaut().save(folder / 'photo.png')
    arguments = [str(folder), str(out), '--size', '64', '--max-per-image', '1']
    assert tool.main([*arguments, '--drawings']) == 0
    printed = capsys.readouterr().out
    for line in ('2 found by animeface 2.0.3', '1 skipped: no face', '1 skipped: more faces than'):
        assert line in printed
    rows = table(out / 'faces.csv')
    assert [(row['source'], row['detector']) for row in rows] == [
        ('a.png', 'animeface 2.0.3'),
        ('b.png', 'animeface 2.0.3'),
    ]
    assert all(int(row['side']) == round(1.5 * int(row['width'])) for row in rows)

    arguments[1] = str(tmp_path / 'photos')
    assert tool.main([*arguments, '--drawings', '--min-face', '9']) == 1
    assert 'error: animeface finds faces of 43' in capsys.readouterr().err


def test_tool_says_what_drawings_need(tool, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'animeface', None)
    assert tool.main(['in', 'out', '--drawings']) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and "pip install 'ugatit_mm[faces]'" in error
    with pytest.raises(SystemExit) as stop:
        tool.main(['in', 'out', '--drawings', '--cascade', 'anime.xml'])
    assert stop.value.code == 2 and 'not allowed with' in capsys.readouterr().err


@pytest.mark.parametrize('condition', ['is_female', 'is_female=2', 'is_female=yes'])
def test_tool_refuses_a_condition(tool, condition, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(['in', 'out', '--where', condition])
    assert stop.value.code == 2 and 'NAME=1' in capsys.readouterr().err
