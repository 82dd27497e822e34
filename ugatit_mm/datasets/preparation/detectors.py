"""Face detectors: a cascade of OpenCV, or AnimeFace for drawings.

AnimeFace (perceptrons on Haar-like features) comes with the package animeface,
https://pypi.org/project/animeface, weights included.
"""

from __future__ import annotations

import ctypes
import os
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

OPENCV_CASCADE = os.path.join(cv2.data.haarcascades, 'haarcascade_frontalface_default.xml')

ANIMEFACE = '2.0.3'  # as in setup.cfg; see AnimeFace.__call__ before you change it

Box = tuple[int, int, int, int]
"""A face: x, y, width and height in pixels."""


class Detector(Protocol):
    """Finds faces; ``name`` is its name in the table of faces."""

    name: str

    def __call__(self, image: np.ndarray, min_face: int) -> list[Box]:
        """Find the faces of ``min_face`` pixels and more in RGB, uint8, (H, W, 3)."""
        ...


class Cascade:
    """A cascade of OpenCV, for example ``lbpcascade_animeface.xml``.

    Args:
        path: Its XML file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a cascade.
    """

    def __init__(self, path: str | os.PathLike = OPENCV_CASCADE) -> None:
        if not os.path.isfile(path):
            raise FileNotFoundError(f"'{path}' does not exist: give the cascade's XML file.")
        self.name = Path(path).name
        self.cascade = cv2.CascadeClassifier()
        try:
            loaded = self.cascade.load(os.fspath(path))
        except (cv2.error, SystemError):
            loaded = False
        if not loaded:
            raise ValueError(f"'{path}' is not a cascade that OpenCV can read.")

    def __call__(self, image: np.ndarray, min_face: int) -> list[Box]:
        # Many programs equalise the histogram here. The detectors do not need it, as they look at
        # contrasts within a window; on a plain background it cost OpenCV's own a quarter of the
        # faces.
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        boxes = self.cascade.detectMultiScale(grey, 1.1, 5, minSize=(min_face, min_face))
        return [tuple(map(int, box)) for box in boxes]


class AnimeFace:
    """The detector of the package animeface, for drawings; its boxes reach from brows to chin.

    It does not find faces of less than 43 pixels, of more than three quarters of the picture's
    shorter side, or tilted by more than 30 degrees.

    Raises:
        ModuleNotFoundError: The package is not installed, or in another version.
    """

    SMALLEST = 43  # its least window in pixels
    LEAST_PICTURE = 57  # its largest window is 3/4 of the shorter side

    def __init__(self) -> None:
        remedy = "pip install 'ugatit_mm[faces]' (Python 3.13 or older), or give a cascade"
        try:
            found = version('animeface')
            from animeface import _nvxs
        except ImportError as error:
            raise ModuleNotFoundError(
                f'the detector of drawings, animeface, is not installed: {remedy}'
            ) from error
        if found != ANIMEFACE:
            raise ModuleNotFoundError(f'animeface is {found}, not {ANIMEFACE}: {remedy}')
        self.name = f'animeface {found}'
        self._detect = _nvxs.detect

    def __call__(self, image: np.ndarray, min_face: int) -> list[Box]:
        if min_face < self.SMALLEST:
            raise ValueError(
                f'animeface finds faces of {self.SMALLEST} pixels or more, not of {min_face}.'
            )
        # Shrunk until its least window is a face of min_face. It sums grey levels as float32, and
        # at 9000 x 9000 pixels the sums are too coarse for small faces.
        scale = self.SMALLEST / min_face
        width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
        if min(width, height) < self.LEAST_PICTURE:
            return []
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        pixels = cv2.cvtColor(small, cv2.COLOR_RGB2RGBA)
        rows = pixels.ctypes.data + np.arange(height, dtype=np.uintp) * pixels.strides[0]
        # animeface.detect expects the memory layout of Pillow 4 to 11. In Pillow 12 the fields
        # moved: the height is read as the width, 0 as the height, and no face is ever found. So its
        # function in C gets the old fields; it looks for them where ctypes has its data.
        picture = _Picture(mode=b'RGB', xsize=width, ysize=height, image=rows.ctypes.data)
        boxes = [face['face_box'] for face in self._detect(picture)]
        return [tuple(round(value / scale) for value in box) for box in boxes]


class _Picture(ctypes.Structure):
    """The fields of ImagingMemoryInstance in Pillow 4 to 11, as far as animeface reads them."""

    _fields_ = (
        ('mode', ctypes.c_char * 7),
        ('type', ctypes.c_int),
        ('depth', ctypes.c_int),
        ('bands', ctypes.c_int),
        ('xsize', ctypes.c_int),
        ('ysize', ctypes.c_int),
        ('palette', ctypes.c_void_p),
        ('image8', ctypes.c_void_p),
        ('image32', ctypes.c_void_p),
        ('image', ctypes.c_void_p),  # the address of each row; a pixel has four bytes
    )
