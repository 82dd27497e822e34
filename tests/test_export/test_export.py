"""Exported files against the model in torch, in ONNX Runtime and as TorchScript."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from cyclegan_helpers import tiny_cyclegan
from helpers import ROOT
from numpy.testing import assert_allclose
from skimage import data

from ugatit_mm import cli
from ugatit_mm.apis import UGATITInferencer
from ugatit_mm.converters import write_checkpoint
from ugatit_mm.export import export_model, files, open_exported, verify
from ugatit_mm.export.files import open_in_opencv
from ugatit_mm.kernels.norm import Factors, Norm
from ugatit_mm.models import UGATIT
from ugatit_mm.models.base import Translated
from ugatit_mm.models.layers import reflection
from ugatit_mm.models.layers.adalin import plain_instance_layer_norm, traced_instance_layer_norm
from ugatit_mm.pixels import normalise, to_uint8

PICTURES = [data.astronaut(), data.chelsea()]


def strong(model: UGATIT) -> UGATIT:
    """With weights whose images are not only grey, and rho between its bounds."""
    rng = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if name.endswith('rho'):
            weight.data.uniform_(0.1, 1, generator=rng)
        elif weight.dim() > 1:
            weight.data.normal_(0, weight[0].numel() ** -0.5, generator=rng)
    return model.eval()


@pytest.fixture
def light(tiny) -> UGATIT:
    return strong(tiny({'num_blocks': 1}, domains={'A': 'red', 'B': 'blue'}))


@pytest.fixture
def full(tiny) -> UGATIT:
    return strong(tiny({'light': False, 'num_blocks': 1}, recipe='pytorch'))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def in_torch(model: UGATIT, pixels: np.ndarray, target: str) -> tuple[torch.Tensor, np.ndarray]:
    """Image in [-1, 1] and heatmap of RGB (N, H, W, 3)."""
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 127.5
    with torch.no_grad():
        image, _, heatmap = model.translation(x, target, return_cam=True)
    return image, heatmap.numpy()


def assert_same_pixels(found: np.ndarray, image: torch.Tensor, half: bool = False) -> None:
    """Except for values within 1e-4 (in [-1, 1]) of a rounding boundary; 1e-2 for float16."""
    wanted = to_uint8(image).permute(0, 2, 3, 1).numpy()
    off = np.abs(found.astype(int) - wanted)
    assert wanted.std() > 20 and np.mean(off) <= (127.5e-2 if half else 127.5e-4)
    assert off.max() <= 1 or half


@pytest.mark.parametrize(
    ('format', 'opset'),
    [pytest.param('onnx', 18, marks=pytest.mark.slow), ('torchscript', None)],
)
def test_light_with_pixels_and_attention(light, tmp_path, format, opset):
    path = tmp_path / 'blue'
    about = export_model(light, 'blue', path, format, heatmap=True, opset=opset)
    run, meta = open_exported(path, format)
    for shape in ((1, 32, 32), (3, 32, 32), (2, 24, 52), (1, 8, 8)):
        pixels = noise(*shape)
        image, heatmap = in_torch(light, pixels, 'B')
        found, attention = run(pixels)
        assert found.dtype == np.uint8 and attention.dtype == np.float32
        assert_same_pixels(found, image)
        assert_allclose(attention, heatmap, atol=1e-4 * np.abs(heatmap).max())
    expected = {
        'source': 'red',
        'target': 'blue',
        'img_size': '32',
        'size': 'multiples of 4',
        'batch': 'any',
        'resize': 'bilinear',
        'model': 'U-GAT-IT',
        'pixels': 'uint8',
        'heatmap': 'yes',
        'precision': 'float32',
    } | ({'opset': '18'} if opset else {})
    assert expected.items() <= meta.items() and meta == about
    assert str(ROOT).encode() not in path.read_bytes()
    if format == 'onnx':
        assert_for_tensorrt(path)
        graph = onnx.load(path)
        assert [(o.domain, o.version) for o in graph.opset_import] == [('', 18)]
        assert {node.domain for node in graph.graph.node} == {''}
        axes = [
            [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*graph.graph.input, *graph.graph.output)
        ]
        assert [a[0] for a in axes] == ['batch'] * 3 and axes[0][3] == axes[1][3] == 3
        assert axes[2] == ['batch', 1, 'height_over_4', 'width_over_4']


@pytest.mark.slow
def test_full_in_both_precisions(full, tmp_path):
    pixels = noise(2, 32, 32)
    x = (pixels.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
    wanted = in_torch(full, pixels, 'A')[0].numpy()
    assert wanted.std() > 0.1
    before = copy.deepcopy(full.state_dict())
    for half, opset, tolerance in ((False, 23, 1e-4), (True, 20, 2e-2)):
        path = tmp_path / f'{half}.onnx'
        static = not half
        export_model(full, 'A', path, pixels='normalised', half=half, opset=opset, static=static)
        run, meta = open_exported(path, 'onnx')
        for read in (run, open_in_opencv(path, False)) if static else (run,):
            found = np.concatenate([read(one[None])[0] for one in x]) if static else read(x)[0]
            assert found.dtype == np.float32
            assert np.abs(found - wanted).max() <= tolerance
        assert meta['size'] == 'fixed' and meta['precision'] == ('float16' if half else 'float32')
        with pytest.raises(Exception, match='invalid dimensions'):
            run(np.zeros((1, 3, 64, 64), np.float32))
        kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
        assert (onnx.TensorProto.FLOAT16 in kinds) == half
    for key, value in full.state_dict().items():  # of float32, as they were
        assert torch.equal(value, before[key]) and value.dtype == before[key].dtype


# Some of the operators that onnx-tensorrt 10.1 lists; it reads opsets 9 to 20, and uint8 only for
# inputs and outputs.
TENSORRT = {
    *(
        'Add',
        'Cast',
        'Clip',
        'Concat',
        'Constant',
        'Conv',
        'ConvTranspose',
        'Div',
        'Expand',
        'Gather',
    ),
    *('Gemm', 'Identity', 'Mul', 'Pad', 'Pow', 'Reciprocal', 'ReduceMean', 'ReduceSum', 'Relu'),
    *(
        'Reshape',
        'Shape',
        'Slice',
        'Split',
        'Sqrt',
        'Squeeze',
        'Sub',
        'Tanh',
        'Transpose',
        'Unsqueeze',
    ),
}


def assert_for_tensorrt(path: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    assert model.opset_import[0].version <= 20
    assert {node.op_type for node in graph.node} <= TENSORRT
    between = [
        v.name for v in graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    ]
    assert between == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'more'),
    [('light', ['--heatmap']), ('cyclegan', ['--half', '--opset', '20'])],
)
def test_a_static_file_is_read_by_opencv(kind, more, light, tmp_path, capsys):
    """It computes the pictures of ONNX Runtime and torch; through the command."""
    model = light if kind == 'light' else strong(tiny_cyclegan(img_size=32))
    write_checkpoint(tmp_path / 'w.pth', model.state_dict(), {})
    path = tmp_path / 'b.onnx'
    words = ['export', '--static', '--img-size', '32', '--to', 'B', '--out', str(path), *more]
    heatmap = model.has_attention
    assert cli.main([*words, '--ckpt', str(tmp_path / 'w.pth')]) == 0
    said = capsys.readouterr().out
    for name in ('random', 'real'):
        for where in ('', ' in OpenCV'):
            assert f'compared with torch on 3 {name} pictures{where}: largest difference ' in said
    run, meta = open_exported(path, 'onnx')
    assert (meta['size'], meta['batch'], meta['img_size']) == ('fixed', '1', '32')
    assert meta['resize'] == {'light': 'bilinear', 'cyclegan': 'bicubic'}[kind]
    pixels = noise(1, 32, 32)
    x = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    with torch.inference_mode():
        wanted = model.translate(x, 'B', heatmap=heatmap)
    for found in (run(pixels), open_in_opencv(path, heatmap)(pixels)):
        assert found[0].dtype == np.uint8 and len(found) == 1 + heatmap
        assert_same_pixels(found[0], wanted.image, '--half' in more)
        if heatmap:
            assert_allclose(found[1], wanted.heatmap.numpy(), atol=1e-4)
    assert_for_tensorrt(path)
    with pytest.raises(Exception, match='invalid dimensions'):
        run(noise(2, 32, 32))


def test_a_file_has_one_style(light, tmp_path, monkeypatch):
    """For a model that draws styles, the style of the empty name."""

    def translate(image, target, *, heatmap=False, style=None):
        return Translated(image * style[:, :, None, None])

    def styles(names, target, seed):
        return torch.tensor([[0.5, -0.25, 1.0]]).repeat(len(names), 1)

    monkeypatch.setattr(light, 'styles', styles)
    monkeypatch.setattr(light, 'translate', translate)
    export_model(light, 'B', tmp_path / 'b.pt', 'torchscript', pixels='normalised')
    run, _ = open_exported(tmp_path / 'b.pt', 'torchscript')
    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, 16, 24)).astype(np.float32)
    (found,) = run(x)
    assert_allclose(found, x * np.array([0.5, -0.25, 1], np.float32)[:, None, None], rtol=1e-6)


def test_verification_tells_the_difference(light, tmp_path):
    path = tmp_path / 'blue.pt'
    export_model(light, 'B', path, 'torchscript', pixels='normalised', heatmap=True)
    lines = list(verify(path, 'torchscript', light, PICTURES))
    assert [line.split(':')[0] for line in lines] == ['6 random pictures', '2 real pictures']
    list(light.generators['B'].parameters())[-1].data.add_(1e-3)
    with pytest.raises(ValueError, match='does not compute what the network does on random'):
        list(verify(path, 'torchscript', light, PICTURES))


@pytest.mark.slow
def test_the_command_compares_and_leaves_no_wrong_file(light, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ['export', '--format', 'torchscript', '--ckpt', 'weights.pth']
    write_checkpoint('weights.pth', light.state_dict(), {})
    assert cli.main([*words, '--to', 'A', '--img-size', '48', '--out', 'a.pt']) == 0
    out = capsys.readouterr().out
    assert 'compared with torch on 3 real pictures: largest difference' in out
    assert 'a.pt: ' in out and 'img_size 48' in out
    image = noise(48, 48)
    run, _ = open_exported('a.pt', 'torchscript')
    (result,) = UGATITInferencer('weights.pth', device='cpu')(image, 'A', size='keep')
    assert np.array_equal(run(image[None])[0][0], result.image)

    # Beyond float16's range: norms would remove the factor.
    light.generators['A'].encoder[0].conv.weight.data.mul_(1e6)
    write_checkpoint('weights.pth', light.state_dict(), {})
    assert cli.main([*words, '--to', 'A', '--half', '--out', 'half.pt']) == 1
    assert 'try without --half' in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ['a.pt', 'weights.pth']


def test_mistakes_are_named(light, full, tiny, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'file'
    plain = tiny({'cam': False})
    for model, words, message in (
        (light, {'format': 'tflite'}, "format must be one of .* got 'tflite'"),
        (light, {'pixels': 'bgr'}, "pixels must be one of .* got 'bgr'"),
        (light, {'opset': 9}, 'opset must be 18 to 23, got 9'),
        (light, {'format': 'torchscript', 'opset': 18}, 'opset belongs to ONNX'),
        (light, {'format': 'torchscript', 'static': True}, 'static belongs to ONNX'),
        (light, {'img_size': 30}, 'img_size must be a multiple of 4 from 8 to 8192, got 30'),
        (full, {'img_size': 64}, 'take only 32 px, got 64'),
        (light, {'target_domain': 'zebra'}, "unknown domain 'zebra'"),
        (plain, {'heatmap': True}, 'these networks have no attention'),
    ):
        with pytest.raises(ValueError, match=message):
            export_model(model, **{'target_domain': 'B', 'path': path} | words)
    monkeypatch.setattr(files, 'ONNX_LIMIT', 1000)
    with pytest.raises(ValueError, match='GB, and an ONNX file holds 2: choose --half'):
        export_model(light, 'B', path)
    monkeypatch.setattr(files, 'find_spec', lambda name: None)
    assert cli.main(['export']) == 1
    assert "pip install 'ugatit_mm[export]'" in capsys.readouterr().err
    assert cli.main(['export', '--format', 'torchscript', '--check', str(path)]) == 1
    assert f"'{path}' does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('blended', [False, True])
@pytest.mark.parametrize('unbiased', [False, True])
def test_the_exported_norm_is_the_plain_one(unbiased, blended):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 12, 8, generator=rng, dtype=torch.float64) * 3 + 7
    bias, *style = torch.randn(3, 2, 5, generator=rng, dtype=torch.float64)
    rho = torch.rand(1, 5, generator=rng, dtype=torch.float64) if blended else None
    residual = torch.randn(2, 5, 14, 10, generator=rng, dtype=torch.float64)
    norm = Norm(unbiased=unbiased, smoothing=0.1, slope=0.2, padding=reflection(1))
    words = (x, Factors(bias[0], rho, *style), norm, residual)
    torch.testing.assert_close(
        traced_instance_layer_norm(*words),
        plain_instance_layer_norm(*words),
        rtol=1e-12,
        atol=1e-12,
    )
