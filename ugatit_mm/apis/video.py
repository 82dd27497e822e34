"""Videos, frame by frame."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..files import whole
from ..pixels import displayed
from .inferencer import UGATITInferencer
from .styles import Style

MAX_MOVIE = 1 << 26  # bytes of the index of a video's frames


class VideoError(ValueError):
    """A video that cannot be read or written; the message names the file and the reason."""


def count_frames(path: str | os.PathLike) -> int:
    """Number of frames that the file declares (0 if it declares none)."""
    capture = cv2.VideoCapture(os.fspath(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return max(count, 0)


def translate_video(
    inferencer: UGATITInferencer,
    path: str | os.PathLike,
    target: str | os.PathLike,
    to: str | None = None,
    *,
    style: Style | None = None,
    **options: Any,
) -> Iterator[int]:
    """Translate a video into one of the same frame rate and, unless ``restore=False``, size.

    Rotation and mirroring in the file's metadata (a phone's) are applied to the frames before the
    network, and the result needs no such metadata. Each frame is translated by itself, so the
    result may flicker. With the program ``ffmpeg`` it is H.264 with the sound of the source;
    without, it is MPEG-4 and silent.

    Args:
        inferencer: Translates the frames.
        path: A video that OpenCV reads.
        target: File to write; it appears when it is whole, in the container of its suffix.
        to: See :meth:`UGATITInferencer.iterate`.
        style: As above; one for all frames, drawn by a seed and the video's name.
        options: As above.

    Yields:
        The number of frames done, after each.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: It cannot be read, or its result not be written.
    """
    path, target = Path(path), Path(target)
    if not path.is_file():
        raise FileNotFoundError(f'no video {path}')
    if (channels := inferencer.model.in_channels) not in (1, 3):
        raise VideoError(
            f'{path}: the frames of a video are RGB, these networks take {channels} channels: '
            'translate pictures'
        )
    if inferencer.model.style_shape is not None or style is not None:
        model, letter = inferencer.model, inferencer.model.target(to)
        styles = inferencer.choose_styles(style, None, letter, options.get('size', 'resize'))
        if styles.count > 1:
            raise VideoError(f'{path}: a video has one style, got {styles.count}')
        (options['style'],) = styles.of(model, [path.name], letter)
    capture = cv2.VideoCapture(os.fspath(path))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # by the file's tag; off in OpenCV 4.11
    writer = None
    with whole(target, durable=False) as building:
        try:
            rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
            read = _frames(capture, _is_mirrored(path))
            frames = (result.image for result in inferencer.iterate(read, to, **options))
            for done, frame in enumerate(frames, 1):
                writer = writer or _writer(building, path, rate, frame.shape[:2])
                writer.write(displayed(frame))
                yield done
            if writer is None:
                raise VideoError(f'{path} has no frame that OpenCV can read')
            writer.close()
        except BaseException:  # Ctrl-C, too, and a caller that wants no more frames
            if writer is not None:
                writer.abort()
            raise
        finally:
            capture.release()


def _frames(capture: cv2.VideoCapture, mirrored: bool) -> Iterator[np.ndarray]:
    """Frames as a player shows them, RGB; OpenCV has rotated them already."""
    lying = capture.get(cv2.CAP_PROP_ORIENTATION_META) in (90, 270)
    while True:
        read, frame = capture.read()
        if not read:
            return
        if mirrored:  # swap top and bottom of the stored frame
            frame = cv2.flip(frame, int(lying))
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _is_mirrored(path: Path) -> bool:
    """Whether the first picture track of an MP4 or MOV is to be mirrored, which OpenCV ignores.

    The header of a track (ISO/IEC 14496-12, 8.3.2) has a matrix that is applied to its picture; a
    selfie's has a negative determinant. Other containers have none.
    """
    for track, content in _boxes(_movie(path)):
        if track == b'trak':
            boxes = dict(_boxes(content))
            kind = dict(_boxes(boxes.get(b'mdia', b''))).get(b'hdlr', b'')
            header = boxes.get(b'tkhd', b'')
            start = 40 if header[:1] == b'\0' else 52  # times are longer in version 1
            if kind[8:12] == b'vide' and len(header) >= start + 36:
                a, b, _, c, d = struct.unpack_from('>5i', header, start)
                return a * d < b * c
    return False


def _movie(path: Path) -> bytes:
    """The box ``moov`` of a file; empty if it has none, or one that is too large."""
    size = path.stat().st_size
    with open(path, 'rb') as file:
        at = 0
        while len(head := file.read(16)) >= 8:
            length, kind = int.from_bytes(head[:4], 'big'), head[4:8]
            start = 8
            if length == 1:
                length, start = int.from_bytes(head[8:], 'big'), 16
            if kind == b'moov' and length <= MAX_MOVIE:
                file.seek(at + start)
                return file.read(length - start)
            if length < start or at + length > size:
                break
            at += length
            file.seek(at)
    return b''


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box."""
    at = 0
    while (length := int.from_bytes(data[at : at + 4], 'big')) >= 8:
        yield data[at + 4 : at + 8], data[at + 8 : at + length]
        at += length


def _writer(target: Path, source: Path, rate: float, size: tuple[int, int]) -> '_Ffmpeg | _OpenCV':
    kind = _Ffmpeg if shutil.which('ffmpeg') else _OpenCV
    return kind(target, source, rate, size)


class _Ffmpeg:
    """Frames to ffmpeg's standard input; the sound comes from the source."""

    def __init__(self, target: Path, source: Path, rate: float, size: tuple[int, int]) -> None:
        height, width = size
        even = height % 2 == width % 2 == 0
        words = [
            *('ffmpeg', '-y', '-loglevel', 'error', '-f', 'rawvideo', '-pix_fmt', 'rgb24'),
            *('-s', f'{width}x{height}', '-r', str(rate), '-i', 'pipe:0'),
            *('-i', f'file:{source}', '-map', '0:v', '-map', '1:a?'),
            *('-c:v', 'libx264', '-pix_fmt', 'yuv420p' if even else 'yuv444p', '-c:a', 'aac'),
            f'file:{target}',
        ]
        self.target = target
        # In its own session: Ctrl-C reaches this program only, which ends the other.
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def write(self, frame: np.ndarray) -> None:
        try:
            self.process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError:
            self.close()  # raises ffmpeg's message
            raise

    def close(self) -> None:
        said = self.process.communicate()[1].decode(errors='replace').strip()
        if self.process.returncode:
            raise VideoError(f'ffmpeg cannot write {self.target}: {said[-500:]}')

    def abort(self) -> None:
        self.process.kill()
        with suppress(OSError):  # data left in the pipe has no reader
            self.process.stdin.close()
        self.process.stderr.close()
        self.process.wait()


class _OpenCV:
    """Frames to OpenCV's own writer; silent."""

    def __init__(self, target: Path, source: Path, rate: float, size: tuple[int, int]) -> None:
        height, width = size
        code = cv2.VideoWriter_fourcc(*'mp4v')
        self.writer = cv2.VideoWriter(os.fspath(target), code, rate, (width, height))
        if not self.writer.isOpened():
            raise VideoError(f'OpenCV cannot write {target}: is the folder there, and writable?')

    def write(self, frame: np.ndarray) -> None:
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self.writer.release()

    abort = close
