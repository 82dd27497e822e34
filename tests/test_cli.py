"""The command ``ugatit``."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT
from PIL import Image

from ugatit_mm import cli
from ugatit_mm.apis import UGATITInferencer, video
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


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_help_and_unknown_commands(capsys):
    assert cli.main([]) == cli.main(['--help']) == 0
    said = capsys.readouterr().out
    assert all(f'ugatit {name}' in said for name in cli.COMMANDS)
    assert cli.main(['translat']) == 2
    assert "no command 'translat'" in capsys.readouterr().err


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_door_leads_somewhere(name, capsys):
    """And its help is called by the name that was typed."""
    with pytest.raises(SystemExit) as left:
        cli.main([name, '--help'])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith('usage: ')


def test_doors_to_tools_are_the_tools():
    for name, (module, _) in cli.COMMANDS.items():
        assert module or (ROOT / 'tools' / f'{name}.py').is_file()


def test_translate_a_folder(weights, photos: Path, tmp_path: Path, capsys):
    """The pixels are the inferencer's; what a bad file does not stop is told at the end."""
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
    kinds = ('', '_heatmap', '_overlay', '_figure')
    names = [f'{stem}{kind}.png' for stem in ('a', 'a_2', 'more/b') for kind in kinds]
    assert sorted(str(f.relative_to(out)) for f in out.rglob('*.*')) == sorted(names)
    inferencer = UGATITInferencer(weights, device='cpu')
    for source, name in (('a.bmp', 'a'), ('a.png', 'a_2'), ('more/b.png', 'more/b')):
        (result,) = inferencer(photos / source, 'blue')
        assert np.array_equal(pixels(out / f'{name}.png'), result.image)
        assert pixels(out / f'{name}_overlay.png').shape == result.image.shape


def test_a_source_is_never_overwritten(weights, photos: Path, capsys):
    before = (photos / 'a.png').read_bytes()
    words = ['translate', str(photos / 'a.png'), '--ckpt', weights, '--out', str(photos)]
    assert cli.main(words) == 1
    assert 'choose another --out' in capsys.readouterr().err
    assert (photos / 'a.png').read_bytes() == before


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


def test_translate_a_video(weights, tmp_path: Path, monkeypatch):
    """Size, rate and number of frames stay; without ffmpeg OpenCV writes it."""
    source = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*'MJPG'), 12.0, (48, 32))
    for i in range(5):
        writer.write(np.full((32, 48, 3), 40 * i, np.uint8))
    writer.release()
    monkeypatch.setattr(video.shutil, 'which', lambda name: None)
    out = tmp_path / 'out'
    torch.manual_seed(0)
    assert cli.main(['translate', str(source), '--ckpt', weights, '--out', str(out)]) == 0
    capture = cv2.VideoCapture(str(out / 'film.mp4'))
    assert capture.get(cv2.CAP_PROP_FPS) == 12
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 5
    inferencer = UGATITInferencer(weights, device='cpu')
    (expected,) = inferencer(np.full((32, 48, 3), 160, np.uint8))
    assert np.abs(frames[4][..., ::-1].mean((0, 1)) - expected.image.mean((0, 1))).max() < 12
    assert [f.name for f in out.iterdir()] == ['film.mp4']


def test_a_broken_video_leaves_nothing(weights, tmp_path: Path, capsys):
    (tmp_path / 'film.mp4').write_bytes(b'no film')
    out = tmp_path / 'out'
    assert (
        cli.main(['translate', str(tmp_path / 'film.mp4'), '--ckpt', weights, '--out', str(out)])
        == 1
    )
    assert 'film.mp4 has no frame' in capsys.readouterr().err
    assert not list(out.iterdir())
