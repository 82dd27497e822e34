"""The template for Spaces: its app computes the same as the package."""

import ast
import importlib.util
import io
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import yaml
from helpers import ROOT
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper
from packaging.requirements import Requirement
from PIL import Image
from skimage import data
from web_helpers import save_model

from ugatit_mm import cli
from ugatit_mm.apis import UGATITInferencer
from ugatit_mm.apis.loading import load_model
from ugatit_mm.datasets.loading import decode_rgb
from ugatit_mm.export import export_model

SPACES = ROOT / 'docs' / 'spaces'
README = (SPACES / 'README.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def app() -> ModuleType:
    spec = importlib.util.spec_from_file_location('spaces_app', SPACES / 'app.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_negative(path: Path, **about: str) -> Path:
    """A file as from ``ugatit export``, of a network that returns 255 minus each value."""
    shape = ['batch', 'height', 'width', 3]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.UINT8, shape)  # noqa: E731
    nodes = [helper.make_node('Sub', ['white', 'pixels'], ['image'])]
    white = helper.make_tensor('white', TensorProto.UINT8, [], [255])
    graph = helper.make_graph(nodes, 'negative', [value('pixels')], [value('image')], [white])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    about = {'pixels': 'uint8', 'channels': '3 to 3', 'source': 'day', 'target': 'night'} | about
    helper.set_model_props(model, {'img_size': '24x32', 'resize': 'bicubic'} | about)
    onnx.save(model, path)
    return path


def as_file(image: Image.Image, kind: str = 'PNG', **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_pixels_go_through_the_files_size_and_filter(app, tmp_path):
    translator = app.load(write_negative(tmp_path / 'a.onnx'))
    assert translator[1:] == ('day', 'night', (32, 24), Image.Resampling.BICUBIC)
    picture = Image.fromarray(data.chelsea()[:77, :51])
    inside = picture.resize((32, 24), Image.Resampling.BICUBIC)
    negative = Image.fromarray(255 - np.asarray(inside))
    expected = negative.resize((51, 77), Image.Resampling.BILINEAR)
    assert_array_equal(app.translate(translator, picture), expected)


@pytest.mark.parametrize('about', [{'pixels': 'normalised'}, {'channels': '1 to 1'}])
def test_files_that_it_does_not_run_are_named(app, tmp_path, about):
    with pytest.raises(ValueError, match=r'^a\.onnx does not take and give RGB pixels'):
        app.load(write_negative(tmp_path / 'a.onnx', **about))


def test_pictures_are_read_as_by_the_package(app, tmp_path):
    cat = Image.fromarray(data.chelsea()[:60, :50])
    exif = Image.Exif()
    exif[0x0112] = 6  # as a camera is held
    clear = cat.copy()
    clear.putalpha(Image.linear_gradient('L').resize(cat.size))
    files = {
        'turned.jpg': as_file(cat, 'JPEG', exif=exif),
        'clear.png': as_file(clear),
        'grey.png': as_file(cat.convert('L')),
        'colours.gif': as_file(cat, 'GIF'),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = np.asarray(app.read(tmp_path / name)).astype(int)
        assert_allclose(found, decode_rgb(content), atol=1, err_msg=name)
    assert app.read(tmp_path / 'turned.jpg').size == (60, 50)


def test_bad_pictures_get_one_line(app, tmp_path, monkeypatch):
    whole = as_file(Image.fromarray(data.chelsea()))
    path = tmp_path / 'a.png'
    for content in (b'', b'Dear Sir or Madam,', whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'^This file is no picture that can be read\.'):
            app.read(path)
    path.write_bytes(whole)
    monkeypatch.setattr(app, 'MAX_PIXELS', 451 * 300)
    assert app.read(path).size == (451, 300)
    monkeypatch.setattr(app, 'MAX_PIXELS', 451 * 300 - 1)
    with pytest.raises(ValueError, match=r'too many pixels \(451 x 300\)'):
        app.read(path)


def check(app: ModuleType, exported: Path, inferencer: UGATITInferencer, target: str) -> None:
    translator = app.load(exported)
    cat = data.chelsea()[:, :301]
    (expected,) = inferencer(cat, target)
    found = app.translate(translator, app.read(io.BytesIO(as_file(Image.fromarray(cat)))))
    off = np.abs(np.asarray(found).astype(int) - expected.image)
    assert np.std(expected.image) > 1 and off.max() <= 1 and off.mean() < 0.01


@pytest.mark.slow
def test_a_tiny_model_translates_as_in_the_package(app, tiny, tmp_path):
    checkpoint = save_model(tiny({'num_blocks': 1}), tmp_path / 'tiny.pth')
    model, _ = load_model(checkpoint, device='cpu')
    export_model(model, 'sunflower', tmp_path / 'b.onnx', static=True)
    inferencer = UGATITInferencer(checkpoint, device='cpu')
    check(app, tmp_path / 'b.onnx', inferencer, 'sunflower')


@pytest.mark.parametrize(
    'number', [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.long)]
)
def test_commands_of_the_page_run(app, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inferencer = UGATITInferencer(device='cpu')
    commands = re.findall('^ugatit (.+)$', README, re.M)
    assert len(commands) == 2
    words = shlex.split(commands[number])
    Path('my_space').mkdir()
    assert cli.main(words) == 0
    check(app, Path(words[-1]), inferencer, words[2])


def test_what_a_space_needs_is_there():
    _, front, text = README.split('---\n', 2)
    front = yaml.safe_load(front)
    assert front['sdk'] == 'gradio' and front['app_file'] == 'app.py'
    assert f'pip install gradio=={front["sdk_version"]} -r' in text
    assert 'was not run on Spaces' in text
    lines = (SPACES / 'requirements.txt').read_text().splitlines()
    names = {Requirement(line).name for line in lines if not line.startswith('#')}
    assert names == {'numpy', 'onnxruntime', 'pillow'}
    imported = set()
    for node in ast.walk(ast.parse((SPACES / 'app.py').read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {'numpy', 'onnxruntime', 'PIL', 'pathlib', 'typing', 'gradio'}
