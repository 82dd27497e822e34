"""What the server takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of files, pictures and the queue.

    Attributes:
        upload: Bytes of a file.
        pixels: Pixels of a picture.
        side: Pixels of a picture's longer side, to which a larger picture is reduced.
        queue: Pictures that wait while one is translated.
        seconds: For an upload.
    """

    upload: int = 20_000_000
    pixels: int = 40_000_000
    side: int = 1024
    queue: int = 16
    seconds: float = 60
