"""The command ``ugatit``."""

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import PATIENCE, ROOT, run_code
from PIL import Image

from ugatit_mm import __version__, cli, files
from ugatit_mm.apis import UGATITInferencer, translate, video
from ugatit_mm.apis.examples import EXAMPLES, find_examples, is_of
from ugatit_mm.apis.sources import find_sources
from ugatit_mm.converters import describe, write_checkpoint


@pytest.fixture
def weights(tiny, tmp_path: Path) -> str:
    model = tiny(recipe='pytorch')
    networks = describe(model.state_dict()) | {'domains': {'A': 'red', 'B': 'blue'}}
    networks['generator']['img_size'] = 32
    write_checkpoint(tmp_path / 'w.pth', model.state_dict(), {'networks': networks})
    return str(tmp_path / 'w.pth')


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    (folder / 'more').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (('a.png', (32, 32)), ('a.bmp', (20, 44)), ('more/b.png', (32, 32))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    return folder


def total_of(said: str) -> str:
    """The last line, after the weights and a line of each result."""
    first, *_, last = said.splitlines()
    assert first.startswith('Weights: ')
    return last


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def monochrome(path: Path, count: int) -> None:
    """A film of frames of one grey, each brighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12.0, (48, 32))
    for i in range(count):
        writer.write(np.full((32, 48, 3), 40 * i % 256, np.uint8))
    writer.release()


def test_help_version_and_unknown_commands(capsys):
    assert cli.main([]) == cli.main(['--help']) == 0
    said = capsys.readouterr().out
    assert all(f'ugatit {name}' in said for name in cli.ALL)
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out.startswith(f'ugatit_mm {__version__}, Python 3.')
    assert cli.main(['translat']) == 2
    assert capsys.readouterr().err.startswith(
        "error: no command 'translat': did you mean translate?\n\n"
    )
    assert cli.main(['convert']) == 0
    assert capsys.readouterr().out.startswith('usage: ugatit convert PROGRAM SOURCE TARGET')
    assert cli.main(['convert', 'cyclgan', 'x', 'y']) == 2
    assert "no program 'cyclgan': did you mean cyclegan?" in capsys.readouterr().err


def test_help_imports_the_standard_library_only():
    """So that it takes a fraction of a second."""
    code = (
        'import sys; from ugatit_mm import cli; cli.main(["--help"]); '
        'heavy = {"numpy", "torch", "mmengine", "mmcv", "mmagic", "PIL"} & {*sys.modules}; '
        'assert not heavy, heavy'
    )
    done = run_code(code)
    assert done.returncode == 0, done.stderr


def test_the_collector_passes_over_what_a_command_imports():
    """For good in a process of its own; in one that has torch, only during the import."""
    code = (
        'import contextlib, gc; from ugatit_mm import cli\n'
        'with contextlib.suppress(SystemExit): cli.main(["doctor", "--help"])\n'
        'assert gc.isenabled() and gc.get_freeze_count() > 1000'
    )
    done = run_code(code)
    assert done.returncode == 0, done.stderr
    frozen = gc.get_freeze_count()
    with contextlib.suppress(ImportError), cli.uncollected():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() and gc.get_freeze_count() == frozen


@pytest.mark.parametrize('name', [*cli.ALL, *(f'convert {name}' for name in cli.CONVERTERS)])
def test_every_command_leads_somewhere(name, capsys):
    """And its help is called by the name that was typed."""
    if name == 'convert':
        return
    with pytest.raises(SystemExit) as left:
        cli.main([*name.split(), '--help'])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: ugatit {name} ')


def test_ctrl_c_where_nothing_is_to_be_saved(monkeypatch, capsys):
    def main(words):
        raise KeyboardInterrupt

    monkeypatch.setattr('ugatit_mm.doctor.main', main)
    assert cli.main(['doctor']) == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_a_command_that_cannot_be_imported_leads_to_doctor(capsys, monkeypatch):
    said = 'libGL.so.1: cannot open shared object file: No such file or directory'

    def fail(name: str) -> None:
        raise ImportError(said)

    monkeypatch.setattr(cli.importlib, 'import_module', fail)
    assert cli.main(['web']) == 1
    assert capsys.readouterr().err == f'error: {said} (`ugatit doctor` names the fix)\n'


def test_every_tool_has_a_command():
    """But for those that make what comes with the package, and parts of others."""
    tools = {
        f'tools/{path.relative_to(ROOT / "tools").as_posix()}'
        for path in (ROOT / 'tools').rglob('*.py')
        if 'benchmarks' not in path.parts and path.stem not in ('fuzz', '__init__')
    }
    reached = {where for where in cli.ALL.values() if where.startswith('tools/')}
    reached |= {f'tools/model_converters/{name}.py' for name in cli.CONVERTERS}
    assert tools - reached == {
        'tools/analysis/plot_losses.py',
        'tools/dataset_converters/make_demo_data.py',
    }
    assert reached <= tools


def test_translate_a_folder(weights, photos: Path, tmp_path: Path, capsys):
    """The pixels are the inferencer's; bad files do not stop it and are reported at the end."""
    (photos / 'bad.jpg').write_bytes(b'no picture')
    out = tmp_path / 'out'
    words = [
        'translate',
        str(photos),
        str(tmp_path / 'none.png'),
        '--ckpt',
        weights,
        '--out',
        str(out),
    ]
    assert cli.main([*words, '--to', 'blue', '--heatmap', '--overlay', '--figure']) == 1
    said = capsys.readouterr()
    assert '3 of 5 translated' in said.out
    assert 'bad.jpg' in said.err and 'none.png' in said.err
    assert str(out / 'red2blue') in said.out
    kinds = ('', '_heatmap', '_overlay', '_figure')
    names = [f'{stem}{kind}.png' for stem in ('a', 'a_2', 'more/b') for kind in kinds]
    out /= 'red2blue'
    assert sorted(str(f.relative_to(out)) for f in out.rglob('*.*')) == sorted(names)
    assert [f.name for f in out.parent.iterdir()] == ['red2blue']
    inferencer = UGATITInferencer(weights, device='cpu')
    for source, name in (('a.bmp', 'a'), ('a.png', 'a_2'), ('more/b.png', 'more/b')):
        (result,) = inferencer(photos / source, 'blue')
        assert np.array_equal(pixels(out / f'{name}.png'), result.image)
        assert pixels(out / f'{name}_overlay.png').shape == result.image.shape


def test_it_says_what_it_does(weights, photos: Path, tmp_path: Path, monkeypatch, capsys):
    monochrome(photos / 'film.avi', 2)
    out = tmp_path / 'out' / 'red2blue'
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(out.parent), '--to', 'BLUE']
    assert cli.main([*words, '--device', 'cpu']) == 0
    assert capsys.readouterr().out == (
        f'Weights: {weights}, U-GAT-IT of red and blue, on cpu\n'
        f'{photos}/a.bmp (44 x 20) -> blue: {out}/a.png\n'
        f'{photos}/a.png (32 x 32) -> blue: {out}/a_2.png\n'
        f'{photos}/more/b.png (32 x 32) -> blue: {out}/more/b.png\n'
        f'{photos}/film.avi (2 frames) -> blue: {out}/film.mp4\n'
        f'4 of 4 translated, in {out}\n'
    )
    monkeypatch.setattr(translate, 'SHOWN', 1)
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' ')[0] for line in lines] == ['Weights:', f'{photos}/a.bmp', '...', '4']
    assert lines[2] == '... and 3 more'


def test_an_example_needs_no_input(weights, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['translate', '--example', '--device', 'cpu']) == 0
    first, line, last = capsys.readouterr().out.splitlines()
    assert first.startswith('Weights: the pair of the package, on cpu. Photographs to charcoal')
    assert line.endswith('flower.jpg (640 x 427) -> drawing: translations/photo2drawing/flower.png')
    assert last == '1 of 1 translated, in translations/photo2drawing'
    (result,) = UGATITInferencer(device='cpu')(translate.find_examples('photo')['flower'])
    assert np.array_equal(pixels(tmp_path / 'translations/photo2drawing/flower.png'), result.image)
    assert cli.main(['translate', '--example', '--ckpt', weights]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == 'No example is of red: this one is a photograph (flower)'
    monkeypatch.setattr(translate, 'find_examples', lambda domain: {})
    assert cli.main(['translate', '--example', '--ckpt', weights]) == 1
    assert capsys.readouterr().err.startswith('error: no example is installed (scikit-learn')
    for words in ([], ['--example', 'a.png']):
        with pytest.raises(SystemExit):
            cli.main(['translate', *words])
        assert 'name an INPUT, or give --example instead' in capsys.readouterr().err


def test_examples_of_the_domain_come_first():
    firsts = {'photo': 'flower', 'Cats': 'cat', 'selfie': 'person', 'x': 'flower'}
    for domain, first in firsts.items():
        found = find_examples(domain)
        assert next(iter(found)) == first and set(found) == set(EXAMPLES)
        assert is_of(first, domain) == (domain != 'x')


def test_figure_of_tiles_is_refused(weights, photos: Path, tmp_path: Path, capsys):
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(tmp_path / 'o')]
    assert cli.main([*words, '--size', 'tiles', '--figure']) == 1
    assert capsys.readouterr().err == (
        'error: --figure shows one part: choose another --size, or --overlay\n'
    )
    assert cli.main([*words, '--size', 'tiles', '--overlay', '--scale', '2']) == 0
    inferencer = UGATITInferencer(weights, device='cpu')
    (result,) = inferencer(photos / 'a.bmp', size='tiles', scale=2)
    assert np.array_equal(pixels(tmp_path / 'o/red2blue/a.png'), result.image)


def test_a_source_is_never_overwritten(weights, photos: Path, capsys):
    before = (photos / 'a.png').read_bytes()
    words = ['translate', str(photos / 'a.png'), '--ckpt', weights, '--out', str(photos / 'a.png')]
    assert cli.main(words) == 1
    assert 'choose another --out' in capsys.readouterr().err
    assert (photos / 'a.png').read_bytes() == before
    # Nor another source: the result of what has been a result, or of what is beside a result.
    (photos / 'red2blue').mkdir()
    for name in ('a_heatmap.png', 'b.png'):
        (photos / 'red2blue' / name).write_bytes(before)
    sources = [str(photos / name) for name in ('a.png', 'more', 'red2blue')]
    words = ['translate', *sources, '--ckpt', weights, '--out', str(photos), '--heatmap']
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert '2 of 4 translated' in said.out and said.err.count('choose another --out') == 2
    for name in ('a_heatmap.png', 'b.png'):
        assert (photos / 'red2blue' / name).read_bytes() == before


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--to', 'green'], "unknown domain 'green'"),
        (['--ckpt', 'none.pth'], 'no checkpoint file none.pth'),
        (['--device', 'gpu:0'], "device 'gpu:0' cannot be used: "),
        (['--batch', '0'], 'batch_size must be 1 or more'),
    ],
)
def test_wrong_options_are_said_in_a_line(
    weights, photos: Path, tmp_path: Path, words, said, capsys
):
    assert (
        cli.main(
            ['translate', str(photos), '--ckpt', weights, '--out', str(tmp_path / 'o'), *words]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert error.startswith('error: ') and said in error and error.count('\n') == 1
    assert not (tmp_path / 'o').exists()


@pytest.mark.parametrize('word', ['--heatmap', '--overlay', '--figure'])
def test_attention_that_is_not_there_is_refused(word, tiny, photos: Path, tmp_path: Path, capsys):
    write_checkpoint(tmp_path / 'w.pth', tiny(generator={'cam': False}).state_dict(), {})
    words = ['translate', str(photos), '--ckpt', str(tmp_path / 'w.pth'), word]
    assert cli.main([*words, '--out', str(tmp_path / 'o')]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: these networks have no attention: ') and error.count('\n') == 1
    assert not (tmp_path / 'o').exists()


def test_translate_keeps_transparency_on_request(weights, tmp_path: Path):
    pixels_of = np.random.default_rng(0).integers(0, 256, (20, 44, 4), np.uint8)
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    Image.fromarray(pixels_of).save(folder / 'clear.png')
    Image.fromarray(pixels_of[..., :3]).save(folder / 'solid.png')
    words = ['translate', str(folder), '--ckpt', weights, '--out', str(out), '--device', 'cpu']
    assert cli.main(words) == 0
    opaque = {path.name: pixels(path) for path in out.rglob('*.png')}
    assert {name: picture.shape for name, picture in opaque.items()} == dict.fromkeys(
        ('clear.png', 'solid.png'), (20, 44, 3)
    )
    assert cli.main([*words, '--alpha', '--heatmap']) == 0
    found = {path.name: pixels(path) for path in out.rglob('*.png')}
    np.testing.assert_array_equal(found['clear.png'][..., :3], opaque['clear.png'])
    np.testing.assert_array_equal(found['clear.png'][..., 3], pixels_of[..., 3])
    np.testing.assert_array_equal(found['solid.png'], opaque['solid.png'])
    assert found['clear_heatmap.png'].shape == (20, 44, 3)


def test_translate_a_video(weights, tmp_path: Path, monkeypatch):
    """Size, rate and number of frames stay; without ffmpeg OpenCV writes it."""
    source = tmp_path / 'film.avi'
    monochrome(source, 5)
    monkeypatch.setattr(video.shutil, 'which', lambda name: None)
    out = tmp_path / 'out'
    torch.manual_seed(0)
    assert cli.main(['translate', str(source), '--ckpt', weights, '--out', str(out)]) == 0
    capture = cv2.VideoCapture(str(out / 'red2blue' / 'film.mp4'))
    assert capture.get(cv2.CAP_PROP_FPS) == 12
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 5
    inferencer = UGATITInferencer(weights, device='cpu')
    (expected,) = inferencer(np.full((32, 48, 3), 160, np.uint8))
    assert np.abs(frames[4][..., ::-1].mean((0, 1)) - expected.image.mean((0, 1))).max() < 12
    assert [f.name for f in out.rglob('*.*')] == ['film.mp4']


def test_a_broken_video_leaves_nothing(weights, tmp_path: Path, capsys):
    (tmp_path / 'film.mp4').write_bytes(b'no film')
    out = tmp_path / 'out'
    assert (
        cli.main(['translate', str(tmp_path / 'film.mp4'), '--ckpt', weights, '--out', str(out)])
        == 1
    )
    assert 'film.mp4 has no frame' in capsys.readouterr().err
    assert not list(out.rglob('*.*'))


def test_a_video_that_is_cut_off_is_told_of(weights, tmp_path: Path, capsys):
    source = tmp_path / 'film.avi'
    monochrome(source, 40)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    out = tmp_path / 'out'
    assert cli.main(['translate', str(source), '--ckpt', weights, '--out', str(out)]) == 0
    written = cv2.VideoCapture(str(out / 'red2blue' / 'film.mp4')).get(cv2.CAP_PROP_FRAME_COUNT)
    assert 5 < written < 30
    assert capsys.readouterr().err == (
        f'{source}: only {written:.0f} of about 40 frames can be read: the file may be cut off or '
        'damaged\n'
    )


def test_directions_do_not_meet(weights, photos: Path, tmp_path: Path):
    source, out = photos / 'a.png', tmp_path / 'out'
    words = ['translate', str(source), '--ckpt', weights, '--out', str(out)]
    inferencer = UGATITInferencer(weights, device='cpu')
    for target in ('red', 'B'):
        assert cli.main([*words, '--to', target]) == 0
    for target, folder in (('red', 'blue2red'), ('blue', 'red2blue')):
        (result,) = inferencer(source, target)
        assert np.array_equal(pixels(out / folder / 'a.png'), result.image)


def test_results_inside_of_the_source_are_no_sources(weights, photos: Path, capsys):
    for out in (photos / 'done', photos):
        words = ['translate', str(photos), '--ckpt', weights, '--out', str(out), '--to']
        left = ''
        for target, direction in (('blue', 'red2blue'), ('red', 'blue2red')):
            assert cli.main([*words, target]) == 0
            said = capsys.readouterr()
            assert total_of(said.out) == f'3 of 3 translated, in {out / direction}'
            assert said.err == left
            left = f'left out: 3 in {out / direction}, where results go\n'
        shutil.rmtree(photos / 'done', ignore_errors=True)
    # Asked for by name, they are.
    (one,) = (photos / 'red2blue').glob('a.png')
    words = ['translate', str(photos / 'red2blue'), str(one), '--ckpt', weights, '--to', 'red']
    assert cli.main([*words, '--out', str(photos)]) == 0
    total = total_of(capsys.readouterr().out)
    assert total == f'4 of 4 translated, in {photos / "blue2red"}'


def test_results_do_not_meet_what_is_beside_them(weights, photos: Path, tmp_path: Path):
    """A source that is called as another's heatmap."""
    shutil.copy(photos / 'more/b.png', photos / 'a_heatmap.png')
    out = tmp_path / 'out'
    sources = [str(photos / name) for name in ('a.png', 'a_heatmap.png')]
    assert cli.main(['translate', *sources, '--ckpt', weights, '--out', str(out), '--heatmap']) == 0
    names = ('a.png', 'a_heatmap.png', 'a_heatmap_2.png', 'a_heatmap_2_heatmap.png')
    assert sorted(f.name for f in (out / 'red2blue').iterdir()) == sorted(names)
    (result,) = UGATITInferencer(weights, device='cpu')(sources[1])
    assert np.array_equal(pixels(out / 'red2blue' / 'a_heatmap_2.png'), result.image)


def test_out_may_be_the_file_of_one_picture(weights, photos: Path, tmp_path: Path, capsys):
    words = ['translate', str(photos / 'a.png'), '--ckpt', weights]
    (result,) = UGATITInferencer(weights, device='cpu')(photos / 'a.png')
    target = tmp_path / 'new' / 'result.PNG'
    for _ in range(2):  # the second replaces the first
        assert cli.main([*words, '--out', str(target), '--heatmap']) == 0
        assert total_of(capsys.readouterr().out) == f'1 of 1 translated, in {target}'
        names = sorted(f.name for f in target.parent.iterdir())
        assert names == ['result.PNG', 'result_heatmap.PNG']
        assert np.array_equal(pixels(target), result.image)
        target.write_bytes(b'')
    # A folder by that name, there or meant, is a folder.
    (tmp_path / 'folder.png').mkdir()
    for name in ('folder.png', 'other.png/', 'v1.0', 'new/more'):
        assert cli.main([*words, '--out', f'{tmp_path}/{name}']) == 0
        assert (tmp_path / name / 'red2blue' / 'a.png').is_file()


def test_out_that_cannot_be_the_file_is_refused(weights, photos: Path, tmp_path, capsys):
    monochrome(photos / 'film.avi', 1)
    (tmp_path / 'notes').write_text('mine')
    before = sorted(tmp_path.rglob('*'))
    a, b, film = photos / 'a.png', photos / 'more/b.png', photos / 'film.avi'
    for sources, name, said in (
        ((a, b), 'r.png', 'OUT is one file, and 2 are to be translated: name a folder'),
        ((photos,), 'r.png', 'OUT is one file, and 4 are to be translated: name a folder'),
        ((photos,), 'r.mp4', 'OUT is one file, and 4 are to be translated: name a folder'),
        ((a,), 'r.jpg', 'OUT: a picture is written as .png: name DIR/r.png, or a folder'),
        ((a,), 'r.mp4', 'OUT: a picture is written as .png: name DIR/r.png, or a folder'),
        ((film,), 'r.png', 'OUT: a video is written as .mp4: name DIR/r.mp4, or a folder'),
        ((film,), 'r.avi', 'OUT: a video is written as .mp4: name DIR/r.mp4, or a folder'),
        ((a,), 'notes', 'OUT is a file: name a folder, or a file that ends in .png'),
    ):
        out = str(tmp_path / name)
        said = f'--out {said.replace("OUT", out).replace("DIR", str(tmp_path))}'
        inputs = list(map(str, sources))
        with pytest.raises(ValueError) as error:
            translate.single_file(out, list(find_sources(inputs, videos=True)))
        assert str(error.value) == said
    assert cli.main(['translate', *inputs, '--ckpt', weights, '--out', out]) == 1  # the last
    assert capsys.readouterr().err == f'error: {said}\n'
    assert sorted(tmp_path.rglob('*')) == before


def test_a_folders_videos_are_translated(weights, photos: Path, tmp_path: Path, capsys):
    for name in ('film.avi', 'more/Clip.AVI'):
        monochrome(photos / name, 2)
    out = tmp_path / 'out'
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(out)]
    assert cli.main([*words, '--heatmap', '--network-size']) == 0
    said = capsys.readouterr()
    assert f'5 of 5 translated, in {out}/red2blue' == total_of(said.out)
    assert said.err == 'Videos are written without --heatmap\n'
    names = [f'{name}{kind}.png' for name in ('a', 'a_2', 'more/b') for kind in ('', '_heatmap')]
    names += ['film.mp4', 'more/Clip.mp4']
    found = [str(f.relative_to(out / 'red2blue')) for f in out.rglob('*.*')]
    assert sorted(found) == sorted(names)
    capture = cv2.VideoCapture(str(out / 'red2blue' / 'film.mp4'))
    assert capture.read()[1].shape == (32, 32, 3)  # of the network
    # A folder of videos only; with --out as the file of the one that there is.
    (films := tmp_path / 'films').mkdir()
    shutil.copy(photos / 'film.avi', films)
    file = tmp_path / 'film.mp4'
    assert cli.main(['translate', str(films), '--ckpt', weights, '--out', str(file)]) == 0
    assert cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT) == 2
    # Python's own callers get the pictures.
    assert len(UGATITInferencer(weights, device='cpu')(photos)) == 3


@pytest.fixture
def interrupt(monkeypatch):
    """Have Ctrl-C pressed, more than once, in a call of a function after some others."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background

    def after(calls: int, owner: object, name: str) -> None:
        function, left = getattr(owner, name), iter(range(calls))

        def counted(*words, **options):
            if next(left, None) is None:
                try:
                    signal.raise_signal(signal.SIGINT)
                finally:
                    signal.raise_signal(signal.SIGINT)  # does not disturb what cleans up
            return function(*words, **options)

        monkeypatch.setattr(owner, name, counted)

    yield after
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_says_what_is_done(weights, photos: Path, tmp_path: Path, interrupt, capsys):
    (photos / 'bad.jpg').write_bytes(b'no picture')
    monochrome(photos / 'film.avi', 2)
    out = tmp_path / 'out'
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(out)]
    interrupt(2, files.os, 'replace')
    assert cli.main(words) == 130
    said = capsys.readouterr()
    assert total_of(said.out) == f'2 of 5 translated, in {out}/red2blue'
    start, end = f'stopped by Ctrl-C\nnot translated: {photos}/bad.jpg: ', '\n'
    assert said.err.startswith(start) and said.err.endswith(end) and said.err.count('\n') == 2
    assert sorted(f.name for f in out.rglob('*')) == ['a.png', 'a_2.png', 'more', 'red2blue']
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize('program', ['none', 'ffmpeg'])
def test_ctrl_c_in_a_video(program, weights, photos, tmp_path, interrupt, monkeypatch, capsys):
    """Nothing of it is left; with a program that writes it, that has ended."""
    monochrome(photos / 'film.avi', 9)
    bin = tmp_path / 'bin'
    bin.mkdir()
    if program == 'ffmpeg':  # takes what it is given
        script = f'#!/bin/sh\necho $$ > {bin}/pid\nexec cat > {tmp_path}/taken\n'
        (bin / program).write_text(script)
        (bin / program).chmod(0o755)
    monkeypatch.setenv('PATH', f'{bin}:/bin')
    out = tmp_path / 'out'
    words = ['translate', str(photos / 'a.png'), str(photos / 'film.avi'), '--ckpt', weights]
    interrupt(5, video.cv2, 'cvtColor')  # of a frame
    assert cli.main([*words, '--out', str(out)]) == 130
    said = capsys.readouterr()
    assert total_of(said.out) == f'1 of 2 translated, in {out}/red2blue'
    name = photos / 'film.avi'
    last = 5 if program == 'ffmpeg' else 2  # OpenCV's writer turns the colours of each, too
    stopped = f'{name}: stopped after {last} of 9 frames, which are not kept\nstopped by Ctrl-C\n'
    assert said.err == stopped
    assert [f.name for f in out.rglob('*.*')] == ['a.png']
    if program == 'ffmpeg':
        with pytest.raises(ProcessLookupError):
            os.kill(int((bin / 'pid').read_text()), 0)


@pytest.mark.slow
def test_ctrl_c_at_a_terminal(weights, photos: Path, tmp_path: Path):
    """A process, and those that it started, get the signal, again and again."""
    for i in range(60):
        shutil.copy(photos / 'a.png', photos / f'{i}.png')
    out = tmp_path / 'out'
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(out), '--figure']
    code = 'import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); '
    code += f'from ugatit_mm import cli; sys.exit(cli.main({words!r}))'
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    deadline = time.time() + PATIENCE
    while len(list(out.glob('red2blue/*_figure.png'))) < 3 and time.time() < deadline:
        time.sleep(0.01)
    for _ in range(5):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    said, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and 'Traceback' not in error
    assert error.strip().splitlines()[-1] == 'stopped by Ctrl-C'
    done = len(list(out.glob('red2blue/*_figure.png')))
    # The signal may come between a picture's last file and its count.
    counted = {f'{n} of 63 translated, in {out}/red2blue' for n in (done - 1, done)}
    assert total_of(said) in counted and 3 <= done < 63
    assert not [f for f in out.rglob('*') if f.name.startswith('.')]
