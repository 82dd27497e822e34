"""Find what is wrong with a data set.

A picture counts as readable exactly when training can read it, and the folders are listed as
training lists them.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from tqdm import tqdm

from ...pixels import MAX_CHANNELS, PNG_CHANNELS, check_channels, displayed
from ..bands import count_bands
from ..deep import Range, check_deep_range
from ..folders import Listing, describe_left_out, list_folder, suffix_of
from ..formats import HEIC_REMEDY, HEIC_SUFFIXES, UNREAD_SUFFIXES
from ..loading import Values, decode_rgb, decode_with_alpha, deep_values, read_file
from .layout import FOLDERS as SPLITS
from .similarity import HASH_BITS, NEAR, is_blank, is_monochrome, near_pairs, perceptual_hash

MIN_SIZE = 64
"""Shorter side in pixels, a quarter of the paper's 256: enlarged fourfold, nothing is sharp."""

MOVED, PROBLEM, NOTE = 'moved by --fix', 'problem', 'note'
KINDS = {
    'missing': (PROBLEM, 'no such folder'),
    'empty': (PROBLEM, 'folder without a picture'),
    'bands': (PROBLEM, 'read only with that many channels: --channels here, channels in training'),
    'unreadable': (MOVED, 'training would stop here'),
    'range': (PROBLEM, 'nearly one brightness, a small part of what the file could hold'),
    'dark': (NOTE, 'uses a small part of its range, where others use all of it'),
    'beyond': (NOTE, 'values beyond --deep-range, which become black and white'),
    'format': (PROBLEM, 'a picture in a format that is not read: left out of training'),
    'tiny': (MOVED, 'too small to show anything once enlarged'),
    'blank': (MOVED, 'one flat colour'),
    'leak': (
        MOVED,
        'training picture that is a test picture too (photo2vangogh: --allow-leak B)',
    ),
    'near-leak': (MOVED, 'training picture that is nearly a test picture'),
    'duplicate': (MOVED, 'the same pixels twice in a split'),
    'near-duplicate': (MOVED, 'nearly the same picture twice in a split'),
    'overlap': (PROBLEM, 'the same pixels in both domains: take one out by hand'),
    'near-overlap': (NOTE, 'nearly the same picture in both domains'),
    'suffix': (NOTE, 'format and name disagree; read anyway'),
    'rotated': (NOTE, 'turned upright by its EXIF tag when read'),
    'animated': (NOTE, 'only the first frame is read'),
}
"""Kind of finding: whether it is moved, a problem left to the user or only a note; its meaning."""

_PARALLEL_FROM = 500  # files; below, starting processes costs more than it saves


@dataclass(frozen=True)
class Finding:
    """Something to know about a file or folder.

    Args:
        kind: A key of :data:`KINDS`.
        file: Path below the root, with slashes.
        text: The reason, or the other file.
        other: The other file, which stays.
    """

    kind: str
    file: str
    text: str
    other: str | None = None


@dataclass
class Report:
    """A data set as it was found.

    Args:
        root: Its folder.
        splits: Counts and sizes of each of :data:`SPLITS` that exists.
        findings: In the order of :data:`KINDS`, then by file.
    """

    root: str
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def of(self, *severities: str) -> list[Finding]:
        """The findings of these severities."""
        return [finding for finding in self.findings if KINDS[finding.kind][0] in severities]

    def as_dict(self) -> dict:
        """Plain data, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Picture:
    """What one pass over a file finds; for an unreadable one, only the error."""

    file: str
    error: str = ''
    bands: int = 0  # of a TIFF that cannot be read because of them
    size: tuple[int, int] = (0, 0)  # width, height, upright
    mode: str = ''
    format: str = ''
    rotated: bool = False
    frames: int = 1
    values: Values | None = None  # of more than 8 bits
    monochrome: bool = False
    blank: bool = False
    content: str = ''  # digest of the file
    pixels: str = ''  # digest of size and pixels
    hash: np.ndarray | None = None

    @property
    def split(self) -> str:
        return self.file.split('/')[0]

    @property
    def domain(self) -> str:
        return self.split[-1]


def check_dataset(
    root: str | os.PathLike,
    min_size: int = MIN_SIZE,
    near: int = NEAR,
    allow_leak: Collection[str] = (),
    workers: int | None = None,
    deep_range: Range | None = None,
    channels: int = 3,
) -> Report:
    """Look at every picture of a data set once and compare all of them; nothing is changed.

    Args:
        root: Folder with ``trainA``, ``trainB``, ``testA``, ``testB`` or some of them.
        min_size: Minimum shorter side in pixels.
        near: Greatest distance, of 256 bits, of nearly the same pictures; -1 finds only
            identical ones. See :data:`.similarity.NEAR`.
        allow_leak: Domains, 'A' or 'B', whose training pictures may be test pictures too.
        workers: Processes that read; None: one for each core, 8 at most.
        deep_range: The values that are black and white in pictures of more than 8 bits, as in
            training; see :func:`~ugatit_mm.datasets.decode_rgb`.
        channels: With 5 or more the pictures are TIFFs with that many bands, of which the first
            three are looked at; with fewer, pictures are looked at as RGB.

    Raises:
        FileNotFoundError: None of the four folders is there.
        ValueError: ``channels`` or ``deep_range`` is not such a value.
    """
    root = Path(root)
    present = [split for split in SPLITS if (root / split).is_dir()]
    if not present:
        raise FileNotFoundError(f"'{root}' holds none of the folders {', '.join(SPLITS)}.")
    listings = {split: list_pictures(root / split) for split in present}
    images = [f'{split}/{name}' for split in present for name in listings[split].images]
    reading = check_deep_range(deep_range), check_channels(channels)
    pictures = _look_at_all(root, images, workers, *reading)

    report = Report(os.fspath(root))
    found = [Finding('missing', split, '') for split in SPLITS if split not in present]
    ranges = {domain: _used_range(pictures, domain) for domain in 'AB'}
    good = []
    for picture in pictures:
        problem = _own_problem(picture, min_size, ranges)
        if problem is not None:
            found.append(problem)
        elif not _is_narrow(picture):  # in 8 bits they all look alike
            good.append(picture)
        found += _notes(picture, ranges)
    found += _find_copies(sorted(good, key=partial(_precedence, root)), near, allow_leak)
    for split in present:
        mine = [picture for picture in pictures if picture.split == split]
        if not mine:
            found.append(Finding('empty', split, ''))
        others = listings[split].left_out
        found += [
            _unread(f'{split}/{name}') for name in others if suffix_of(name) in UNREAD_SUFFIXES
        ]
        report.splits[split] = _statistics(mine, others)
    kinds = list(KINDS)
    report.findings = sorted(found, key=lambda finding: (kinds.index(finding.kind), finding.file))
    return report


def list_pictures(folder: Path) -> Listing:
    """What training reads of a folder and what it leaves out; paths below it, with slashes."""
    return Listing(
        *([name.replace(os.sep, '/') for name in names] for names in list_folder(folder))
    )


def _unread(file: str) -> Finding:
    return Finding('format', file, HEIC_REMEDY if suffix_of(file) in HEIC_SUFFIXES else '')


def _look_at_all(
    root: Path,
    files: list[str],
    workers: int | None,
    deep_range: Range | None,
    channels: int,
) -> list[_Picture]:
    look = partial(_look_at, root, deep_range, channels)
    progress = partial(tqdm, total=len(files), unit='file', disable=None)  # silent in a pipe
    workers = workers or min(os.cpu_count() or 1, 8)
    if workers == 1 or len(files) < _PARALLEL_FROM:
        return list(progress(map(look, files)))
    with ProcessPoolExecutor(workers) as pool:
        return list(progress(pool.map(look, files, chunksize=16)))


def _look_at(root: Path, deep_range: Range | None, channels: int, file: str) -> _Picture:
    path = root / file
    data = b''
    try:
        data = read_file(os.fspath(path))
        if channels > PNG_CHANNELS:
            return _look_at_bands(data, os.fspath(path), deep_range, channels, file)
        pixels = decode_rgb(data, os.fspath(path), deep_range=deep_range)
        values = deep_values(data, deep_range)
    except OSError as error:  # ImageReadError is one
        bands = count_bands(data)
        readable = PNG_CHANNELS < bands <= MAX_CHANNELS and bands != channels
        return _Picture(file, error=str(error), bands=bands if readable else 0)
    one_tint = is_monochrome(pixels)
    with Image.open(io.BytesIO(data)) as image:
        # A colour image of 16 bits has Pillow's mode for 8; its decoder's arguments show it.
        deep = any(';16' in str(tile[3]) for tile in image.tile) and ';16' not in image.mode
        return _Picture(
            file,
            size=(pixels.shape[1], pixels.shape[0]),
            mode=f'{image.mode};16' if deep else image.mode,
            format='JPEG' if image.format == 'MPO' else image.format,  # a camera's, with a preview
            rotated=image.getexif().get(ExifTags.Base.Orientation, 1) != 1,
            frames=getattr(image, 'n_frames', 1),
            values=values,
            monochrome=one_tint,
            blank=one_tint and is_blank(pixels),
            content=hashlib.sha256(data).hexdigest(),
            pixels=f'{pixels.shape} {hashlib.sha256(pixels).hexdigest()}',
            hash=perceptual_hash(pixels),
        )


def _look_at_bands(
    data: bytes, name: str, deep_range: Range | None, channels: int, file: str
) -> _Picture:
    pixels, _ = decode_with_alpha(data, name, deep_range, channels)
    return _Picture(
        file,
        size=(pixels.shape[1], pixels.shape[0]),
        mode=f'{channels} bands',
        format='TIFF',
        values=deep_values(data, deep_range),
        blank=all(is_blank(np.dstack([band] * 3)) for band in np.moveaxis(pixels, -1, 0)),
        content=hashlib.sha256(data).hexdigest(),
        pixels=f'{pixels.shape} {hashlib.sha256(pixels).hexdigest()}',
        hash=perceptual_hash(displayed(pixels)),
    )


def _own_problem(
    picture: _Picture, min_size: int, ranges: dict[str, Range | None]
) -> Finding | None:
    if picture.bands:
        return Finding('bands', picture.file, f'{picture.bands} bands')
    if picture.error:
        return Finding('unreadable', picture.file, picture.error)
    if min(picture.size) < min_size:
        width, height = picture.size
        return Finding('tiny', picture.file, f'{width}x{height}, below {min_size}')
    if _is_narrow(picture):
        used = ranges[picture.domain]
        if used is None:
            return None
        return Finding('range', picture.file, _range_text(picture, used, ranges))
    if picture.blank:
        return Finding('blank', picture.file, '')
    return None


def _is_narrow(picture: _Picture) -> bool:
    return picture.values is not None and picture.values.narrow


def _used_range(pictures: list[_Picture], domain: str) -> Range | None:
    """The range that fits the deep pictures of a domain, None if it is not smaller than the files'.

    It begins at 0 and ends at a whole number of bits if that is still small.
    """
    values = [p.values for p in pictures if p.domain == domain and p.values and not p.values.own]
    if not values:
        return None
    low, high = min(v.least for v in values), max(v.greatest for v in values)
    whole = max(v.high - v.low for v in values)
    if all(isinstance(value, int) for value in (low, high)) and low >= 0:
        bits = (0, 2 ** max(8, int(high).bit_length()) - 1)
        if 4 * bits[1] <= whole:
            return bits
    return (low, high) if 4 * (high - low) <= whole else None


def _range_text(picture: _Picture, used: Range, ranges: dict[str, Range | None]) -> str:
    low, high = used
    option = 'deep_range' if ranges['A'] == ranges['B'] else f'deep_range.{picture.domain}'
    return (
        f'{picture.values}: --deep-range {low} {high} here and in translation, '
        f'--cfg-options {option}={low},{high} in training'
    )


def _notes(picture: _Picture, ranges: dict[str, Range | None]) -> list[Finding]:
    if picture.error:
        return []
    notes = []
    values = picture.values
    if values and (values.least < values.low or values.greatest > values.high):
        notes.append(Finding('beyond', picture.file, str(values)))
    if _is_narrow(picture) and not ranges[picture.domain]:
        notes.append(Finding('dark', picture.file, str(values)))
    if _named_format(picture.file) != picture.format:
        notes.append(Finding('suffix', picture.file, f'is {picture.format}'))
    if picture.rotated:
        notes.append(Finding('rotated', picture.file, ''))
    if picture.frames > 1:
        notes.append(Finding('animated', picture.file, f'{picture.frames} frames'))
    return notes


def _named_format(file: str) -> str | None:
    return Image.registered_extensions().get(os.path.splitext(file)[1].lower())


def _precedence(root: Path, picture: _Picture) -> tuple:
    """Which of two copies stays: the test picture, the file rather than a link, the first name."""
    return (
        picture.domain,
        picture.split.startswith('train'),
        (root / picture.file).is_symlink(),
        picture.file,
    )


def _find_copies(
    pictures: Sequence[_Picture], near: int, allow_leak: Collection[str]
) -> list[Finding]:
    """Compare every picture with those before it that stay."""
    digests = list(dict.fromkeys(picture.pixels for picture in pictures))
    hashes = {picture.pixels: picture.hash for picture in pictures}
    similar = defaultdict(list)  # digest to (distance, digest) of others
    bits = np.reshape([hashes[digest] for digest in digests], (len(digests), HASH_BITS))
    for (i, j), distance in zip(*near_pairs(bits, near)):
        similar[digests[i]].append((int(distance), digests[j]))
        similar[digests[j]].append((int(distance), digests[i]))

    staying = defaultdict(list)  # digest to the pictures that stay
    found = []
    for picture in pictures:
        others = [
            (distance, other)
            for distance, digest in [(-1, picture.pixels), *sorted(similar[picture.pixels])]
            for other in staying[digest]
            if other.split == picture.split
            or other.domain != picture.domain
            or picture.domain not in allow_leak
        ]
        same_domain = [(d, other) for d, other in others if other.domain == picture.domain]
        if same_domain:
            kind = 'duplicate' if same_domain[0][1].split == picture.split else 'leak'
            found.append(_copy(kind, picture, *same_domain[0]))
        else:
            found += [_copy('overlap', picture, *other) for other in others]
            staying[picture.pixels].append(picture)
    return found


def _copy(kind: str, picture: _Picture, distance: int, other: _Picture) -> Finding:
    if distance >= 0:
        kind, text = f'near-{kind}', f'nearly {other.file} ({distance} of 256)'
    elif picture.content == other.content:
        text = f'the same file as {other.file}'
    else:
        text = f'the same pixels as {other.file}'
    return Finding(kind, picture.file, text, other.file)


def _statistics(pictures: list[_Picture], others: list[str]) -> dict[str, Any]:
    """Counts and sizes of a split for the report; sizes are (width, height)."""
    readable = [picture for picture in pictures if not picture.error]
    stats = {
        'images': len(pictures),
        'other_files': dict(Counter(suffix_of(name) or name for name in others)),
        'left_out': describe_left_out(others),
    }
    if readable:
        by_area = sorted((p.size for p in readable), key=lambda size: (size[0] * size[1], size))
        stats |= {
            'smallest': by_area[0],
            'median': by_area[(len(by_area) - 1) // 2],
            'largest': by_area[-1],
            'not_square': sum(width != height for width, height in by_area),
            'modes': dict(Counter(p.mode for p in readable).most_common()),
            'formats': dict(Counter(p.format for p in readable).most_common()),
            'monochrome': sum(p.monochrome for p in readable),
        }
    return stats


def describe(report: Report, shown: int = 10) -> str:
    """The report in words.

    Args:
        report: What was found.
        shown: Findings of each kind that are listed at most.
    """
    lines = [report.root]
    for split, stats in report.splits.items():
        lines += _describe_split(split, stats)
    for kind, (severity, meaning) in KINDS.items():
        found = [finding for finding in report.findings if finding.kind == kind]
        if not found:
            continue
        lines.append(f'{kind} ({len(found)}, {severity}): {meaning}')
        lines += [f'  {f.file}{": " if f.text else ""}{f.text}' for f in found[:shown]]
        if len(found) > shown:
            lines.append(f'  and {len(found) - shown} more')
    left_out = [f'{split}: {f["left_out"]}' for split, f in report.splits.items() if f['left_out']]
    if report.of(MOVED, PROBLEM):
        pass
    elif left_out:
        lines.append(f'the pictures that are read are sound; left out of {"; of ".join(left_out)}')
    else:
        lines.append('no problem found')
    return '\n'.join(lines)


def _describe_split(split: str, stats: dict[str, Any]) -> list[str]:
    lines = [f'  {split}: {stats["images"]} images']
    if 'median' in stats:
        sizes = (stats[key] for key in ('smallest', 'median', 'largest'))
        lines[0] += f', {stats["not_square"]} not square, {stats["monochrome"]} of one tint'
        lines.append('    least, median, most: ' + ', '.join(f'{w}x{h}' for w, h in sizes))
    for key in ('formats', 'modes'):
        if stats.get(key):
            counts = ', '.join(f'{name} {count}' for name, count in stats[key].items())
            lines.append(f'    {key}: {counts}')
    if stats['left_out']:
        lines.append(f'    left out: {stats["left_out"]}')
    return lines
