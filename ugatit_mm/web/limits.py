"""Limits of the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of files, pictures and the queue.

    Attributes:
        upload: Most bytes of a file.
        pixels: Most pixels of a picture.
        side: Pixels of a picture's longer side, to which a larger picture is reduced.
        queue: Most pictures that wait while one is translated.
        seconds: Most seconds for an upload.
    """

    upload: int = 20_000_000
    pixels: int = 40_000_000
    side: int = 1024
    queue: int = 16
    seconds: float = 60
