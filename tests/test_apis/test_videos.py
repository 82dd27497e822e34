"""Videos: which way up they are, what is left of one that was stopped."""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers import ROOT

from ugatit_mm.apis import video
from ugatit_mm.apis.video import translate_video

WIDTH, HEIGHT = 96, 64
CORNERS = {'red': (255, 0, 0), 'green': (0, 255, 0), 'blue': (0, 0, 255), 'white': (255,) * 3}
# The display matrix (a, b, c, d), and the corners as they are seen: left to right, then down.
TURNS = {
    '0': ((1, 0, 0, 1), ('red', 'green', 'blue', 'white')),
    '90': ((0, 1, -1, 0), ('blue', 'red', 'white', 'green')),
    '180': ((-1, 0, 0, -1), ('white', 'blue', 'green', 'red')),
    '270': ((0, -1, 1, 0), ('green', 'white', 'red', 'blue')),
    'mirrored': ((-1, 0, 0, 1), ('green', 'red', 'white', 'blue')),
    '90 mirrored': ((0, 1, 1, 0), ('red', 'blue', 'green', 'white')),
    '180 mirrored': ((1, 0, 0, -1), ('blue', 'white', 'red', 'green')),
    '270 mirrored': ((0, -1, -1, 0), ('white', 'green', 'blue', 'red')),
}


class Mirror:
    """An inferencer that gives back what it is given."""

    model = SimpleNamespace(in_channels=3, style_shape=None)

    def iterate(self, frames: Iterable[np.ndarray], target: str | None) -> Iterator:
        for frame in frames:
            yield SimpleNamespace(image=frame)


def film(path: Path, turn: str) -> Path:
    """Three frames with corners of different colours; the track's header says the turn."""
    size = (WIDTH, HEIGHT)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 12.0, size)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for colour, place in zip(CORNERS.values(), np.ndindex(2, 2), strict=True):
        rows, columns = (
            slice(i * side // 2, (i + 1) * side // 2)
            for i, side in zip(place, (HEIGHT, WIDTH), strict=True)
        )
        frame[rows, columns] = colour[::-1]
    for _ in range(3):
        writer.write(frame)
    writer.release()
    if turn != '0':
        a, b, c, d = (value << 16 for value in TURNS[turn][0])
        data = bytearray(path.read_bytes())
        matrix = data.index(b'tkhd') + 4 + 40  # version 0 of the header
        one, last = 1 << 16, 1 << 30
        assert struct.unpack_from('>9i', data, matrix) == (one, 0, 0, 0, one, 0, 0, 0, last)
        struct.pack_into('>9i', data, matrix, a, b, 0, c, d, 0, 0, 0, last)
        path.write_bytes(data)
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    """As they are stored, RGB."""
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    assert capture.get(cv2.CAP_PROP_ORIENTATION_META) == 0
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


def corners(frame: np.ndarray) -> tuple[str, ...]:
    height, width = frame.shape[:2]
    return tuple(
        min(CORNERS, key=lambda name: np.abs(frame[y, x] - np.array(CORNERS[name])).sum())
        for y in (height // 4, 3 * height // 4)
        for x in (width // 4, 3 * width // 4)
    )


@pytest.mark.parametrize('turn', TURNS)
def test_frames_are_turned_upright(turn, tmp_path, monkeypatch):
    monkeypatch.setattr(video.shutil, 'which', lambda name: None)
    source = film(tmp_path / 'phone.mp4', turn)
    assert list(translate_video(Mirror(), source, tmp_path / 'out.mp4')) == [1, 2, 3]
    frames = frames_of(tmp_path / 'out.mp4')
    shape = (WIDTH, HEIGHT, 3) if turn[:2] in ('90', '27') else (HEIGHT, WIDTH, 3)
    assert [frame.shape for frame in frames] == [shape] * 3
    assert {corners(frame) for frame in frames} == {TURNS[turn][1]}


def test_a_phones_video(tmp_path):
    source = ROOT.parent / 'shared' / 'inputs' / 'phone_portrait_90.mp4'
    if not source.is_file():
        pytest.skip('no ../shared/inputs: the same is tested with films made here')
    assert list(translate_video(Mirror(), source, tmp_path / 'out.mp4')) == [1, 2, 3, 4, 5]
    assert [frame.shape for frame in frames_of(tmp_path / 'out.mp4')] == [(96, 64, 3)] * 5
