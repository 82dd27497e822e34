"""Turn what a user downloaded into ``trainA trainB testA testB``.

Two passes over the source: the first lists, decodes and hashes every image and so determines the
whole manifest, the second writes. The files are written to ``OUT.partial``, which becomes OUT when
it is complete and verified; a run that was stopped resumes, as a file that is there with the right
hash is not written again. Images are copied byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ...config import data_set
from ...files import UNFINISHED, remove_unfinished, whole
from ...provenance import sha256
from ..deep import Range, check_deep_range
from ..folders import describe_left_out, list_images
from ..loading import ImageReadError, decode_rgb
from .archives import iter_entries
from .layout import FOLDERS, Layout, count_folders, find_layout
from .paper_sets import PAPER_SETS, PaperSet, find_paper_set

MANIFEST = 'manifest.json'
FORMAT = 2  # raise when the same source and options give another manifest

_RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)  # on Windows


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Args:
        out: Its folder.
        manifest: Content of its ``manifest.json``.
        written: False if it was there already.
    """

    out: Path
    manifest: dict
    written: bool

    def count_rows(self) -> list[tuple[str, int, int, bool, str]]:
        """Folder, images found, images in the paper, whether they agree, and a verdict."""
        found, paper = self.manifest['counts'], self.manifest['paper']
        pooled = PAPER_SETS[self.manifest['set']].random_test
        rows = []
        for folder in FOLDERS:
            # Where the paper drew the test images itself, its training numbers count all images.
            test = found[folder.replace('train', 'test')]
            with_test = pooled and folder.startswith('train')
            difference = found[folder] + with_test * test - paper[folder]
            verdict = 'as in the paper'
            if difference:
                verdict = (
                    f'{abs(difference)} {"more" if difference > 0 else "fewer"} than in the paper'
                )
            if with_test:
                verdict += f', which counts the {test} of test{folder[-1]} in'
            rows.append((folder, found[folder], paper[folder], not difference, verdict))
        return rows

    @property
    def as_in_paper(self) -> bool:
        """Whether all counts are right and every image can be read."""
        return all(row[3] for row in self.count_rows()) and not self.manifest['unreadable']

    def describe(self) -> str:
        """The counts next to the paper's, and all notes."""
        lines = ['folder   found   paper']
        lines += [
            f'{folder:8}{found:6}{paper:8}   {verdict}'
            for folder, found, paper, _, verdict in self.count_rows()
        ]
        return '\n'.join(lines + [f'- {note}' for note in self.manifest['notes']])


def prepare(
    name: str,
    source: str | os.PathLike,
    out: str | os.PathLike | None = None,
    *,
    swap: bool | None = None,
    seed: int | None = None,
    test_sizes: Sequence[int] | None = None,
    keep_split: bool = False,
    deep_range: Range | None = None,
) -> Prepared:
    """Write a data set of the paper from an archive or a folder.

    Args:
        name: One of the ten directions; both of a pair give the same folder, in which A is the
            first domain of the name in :data:`PAPER_SETS`.
        source: A zip, a tar or a folder that holds ``trainA trainB testA testB``, at any depth.
        out: Folder to create; the ``data_root`` of the set's base config if None.
        swap: Whether the source's trainA is our domain B; None determines it from the counts, then
            from the source's name, then from what is known of the set.
        seed: Seed of the random test images, 0 if None. They are those with the lowest SHA-256 of
            ``SEED/FOLDER/FILE``: that depends on no random generator, whose numbers may change with
            a version, and on no order of files, and an additional image moves no other.
        test_sizes: Random test images of A and of B; the paper's if None.
        keep_split: Keep the source's own split where the paper drew one.
        deep_range: Range by which training will read pictures of more than 8 bits: those that it
            cannot read are left out. The files are copied as they are.

    Returns:
        Prepared: Also if the data set was there already, complete and the same.

    Raises:
        FileNotFoundError: There is no ``source``.
        FileExistsError: ``out``, or ``out.partial``, holds something else.
        ArchiveError: The source is damaged or unsafe; nothing has been written.
        ValueError: The name, the options or the layout of the source are wrong.
        OSError: The disk is full.
    """
    paper_set = find_paper_set(name)
    draw = _drawing(paper_set, seed, test_sizes, keep_split)
    known = data_set(paper_set.name)
    source = Path(os.path.abspath(source))
    out = Path(os.path.realpath(out or known.data_root))
    building = out.with_name(f'{out.name}.partial')
    _check_places(source, out, building)

    deep_range = check_deep_range(deep_range)
    manifest = _plan(paper_set, source, dict(known.paper_images), swap, draw, deep_range)
    if _holds(out, manifest):
        if problems := verify(out):
            raise FileExistsError(
                f"'{out}' was prepared from this source, but has changed since: {problems[0]} "
                f'({len(problems)} such in all). Move it away, or choose another place.'
            )
        return Prepared(out, manifest, written=False)
    if not _holds(building, manifest):
        building.mkdir(parents=True, exist_ok=True)
        # Written first, so that the next run recognises the folder as ours.
        with whole(building / MANIFEST, durable=False) as file:
            file.write_bytes(json.dumps(manifest, indent=1).encode() + b'\n')
    remove_unfinished(building)
    _copy(source, building, manifest['images'])
    if problems := verify(building):
        raise FileExistsError(f"'{building}' is not as it was written: {'; '.join(problems[:5])}")
    building.replace(out)
    return Prepared(out, manifest, written=True)


def verify(folder: str | os.PathLike) -> list[str]:
    """Compare a prepared folder with its manifest.

    Returns:
        A sentence for each image that is missing, has changed or is not in the manifest; hidden
        files and those of other kinds are ignored.

    Raises:
        ValueError: The folder has no manifest of this tool.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    if manifest is None:
        raise ValueError(f"'{folder}' holds no {MANIFEST} of this tool to compare with")
    images = {image['path']: image for image in manifest['images']}
    problems = [
        f'{path} {"has changed" if (folder / path).is_file() else "is missing"}'
        for path, image in images.items()
        if not _is_written(folder, image)
    ]
    found = (name.replace(os.sep, '/') for name in list_images(folder))
    return problems + [f'{path} is not in the manifest' for path in found if path not in images]


def _drawing(
    paper_set: PaperSet, seed: int | None, test_sizes: Sequence[int] | None, keep_split: bool
) -> dict | None:
    """Seed and sizes of the random test images; None if the source's split is kept."""
    chosen = seed is not None or test_sizes is not None
    if not paper_set.random_test and (chosen or keep_split):
        raise ValueError(
            f'{paper_set.name} keeps the split of its source; a seed, test sizes and keep_split '
            'are for cat2dog and photo2portrait, whose test images the paper drew'
        )
    if keep_split and chosen:
        raise ValueError(
            'a seed and test sizes draw a new split: leave out either them or keep_split'
        )
    if not paper_set.random_test or keep_split:
        return None
    return {'seed': seed or 0, 'test_sizes': test_sizes}


def _check_places(source: Path, out: Path, building: Path) -> None:
    if not source.exists():
        raise FileNotFoundError(f"there is no '{source}': give the archive or the folder you have")
    real = Path(os.path.realpath(source))
    if out == real or out in real.parents or (source.is_dir() and real in out.parents):
        raise ValueError(
            f"the source '{source}' and the folder to write, '{out}', overlap: choose "
            'another place with --out'
        )
    for folder in (out, building):
        if not folder.exists() or _read_manifest(folder):
            continue
        if not folder.is_dir() or set(folder.iterdir()) - set(folder.glob(f'{UNFINISHED}*')):
            raise FileExistsError(
                f"'{folder}' exists and was not written by this tool: nothing in it is touched. "
                'Move it away, or choose another place with --out'
            )


def _plan(
    paper_set: PaperSet,
    source: Path,
    paper: dict[str, int],
    swap: bool | None,
    draw: dict | None,
    deep_range: Range | None,
) -> dict:
    """The manifest: a function of the source and the options, so that it identifies a run."""
    layout = find_layout(source, paper_set, paper, swap)
    _check_folders(source, paper_set, layout, draw)
    facts, unreadable = _examine(source, layout.images, deep_range)
    keys = {member: key for member, key in layout.images.items() if member in facts}
    notes = [paper_set.remark.format(**paper)] if paper_set.remark else []
    if layout.swapped or paper_set.swapped is None:
        a, b = paper_set.domains
        notes.append(
            f"The source's trainA is {b if layout.swapped else a}, our domain "
            f'{"B" if layout.swapped else "A"} ({layout.reason}).'
        )

    placed = [(key.split('/')[0], member) for member, key in keys.items()]
    if draw:
        sizes = draw['test_sizes'] or (paper['testA'], paper['testB'])
        placed, split = _draw(keys, draw['seed'], sizes)
        notes.append(
            f'The test images, {sizes[0]} of A and {sizes[1]} of B, are drawn at random with seed '
            f"{draw['seed']}; they are not the paper's, whose draw is unknown."
        )
    else:
        split = {'rule': 'of the source'}
        for domain in paper_set.test_from_train:
            if not layout.counts()[f'test{domain}']:
                copies = [m for folder, m in placed if folder == f'train{domain}']
                placed += [(f'test{domain}', member) for member in copies]
                notes.append(f'The source has no test{domain}: it is a copy of train{domain}.')

    paths = _choose_paths(placed, keys, by_domain=bool(draw))
    images = [
        {'path': path, 'member': member, **facts[member]} for path, member in sorted(paths.items())
    ]
    return {
        'format': FORMAT,
        'set': paper_set.name,
        'domains': dict(zip('AB', paper_set.domains)),
        'source': {'name': source.name, 'sha256': _hash_source(source, facts)},
        'swapped': layout.swapped,
        'split': split,
        'counts': count_folders(paths),
        'paper': paper,
        'notes': notes + _further_notes(layout, images, unreadable),
        'unreadable': unreadable,
        'images': images,
    }


def _check_folders(source: Path, paper_set: PaperSet, layout: Layout, draw: dict | None) -> None:
    needed = set(FOLDERS) - {f'test{domain}' for domain in paper_set.test_from_train}
    if draw:
        needed = {'trainA', 'trainB'}
    missing = [folder for folder in FOLDERS if folder in needed and not layout.counts()[folder]]
    if missing:
        note = ' (in our order of A and B, which is the reverse of its own)' * layout.swapped
        raise ValueError(f"'{source}' has no images in {', '.join(missing)}{note}")


def _examine(
    source: Path, members: Collection[str], deep_range: Range | None
) -> tuple[dict[str, dict], list[dict[str, str]]]:
    """Bytes, width, height and hash of every image, and those that cannot be read."""
    facts, unreadable = {}, []
    for member, data in _read(source, members, 'checking'):
        try:
            height, width, _ = decode_rgb(data, member, deep_range=deep_range).shape
        except ImageReadError as error:
            unreadable.append({'member': member, 'reason': str(error)})
            continue
        facts[member] = {
            'bytes': len(data),
            'width': width,
            'height': height,
            'sha256': hashlib.sha256(data).hexdigest(),
        }
    return facts, sorted(unreadable, key=lambda each: each['member'])


def _draw(
    keys: dict[str, str], seed: int, sizes: Sequence[int]
) -> tuple[list[tuple[str, str]], dict]:
    """Folder and member of all images, with newly drawn test images; and how they were drawn."""
    placed = []
    for domain, size in zip('AB', sizes):
        pool = [member for member, key in keys.items() if key.split('/')[0].endswith(domain)]
        if not 0 < size < len(pool):
            raise ValueError(
                f'{size} test images cannot be drawn from the {len(pool)} of domain {domain}: give '
                'the numbers of test images of A and of B, 1 or more, some left for training'
            )
        pool.sort(key=lambda member: _hash_text(f'{seed}/{keys[member]}'))
        placed += [(f'test{domain}', member) for member in pool[:size]]
        placed += [(f'train{domain}', member) for member in pool[size:]]
    rule = 'test: the images with the lowest SHA-256 of SEED/FOLDER/FILE'
    return placed, {'rule': rule, 'seed': seed, 'test_sizes': list(sizes)}


def _choose_paths(
    placed: list[tuple[str, str]], keys: dict[str, str], by_domain: bool
) -> dict[str, str]:
    """Path to write -> member. No two names in a folder (or a domain) differ only in case."""
    paths: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for folder, member in sorted(placed, key=lambda each: (keys[each[1]], each)):
        name = PurePosixPath(_safe_name(member))
        group = folder[-1] if by_domain else folder
        number, chosen = 1, name.name
        while (group, chosen.casefold()) in taken:
            number += 1
            chosen = f'{name.stem}_{number}{name.suffix}'
        taken.add((group, chosen.casefold()))
        paths[f'{folder}/{chosen}'] = member
    return paths


def _safe_name(member: str) -> str:
    """The file name of a member, valid on any file system and still recognisable."""
    name = unicodedata.normalize('NFC', member.rsplit('/', 1)[-1])
    stem, suffix = os.path.splitext(re.sub(r'[^\w.,()+\- ]', '_', name))
    if _RESERVED.match(f'{stem}.'):
        stem = f'_{stem}'
    # 255 bytes is the longest name of most file systems; some are left for a number.
    stem = stem.encode()[: 200 - len(suffix)].decode(errors='ignore')
    return f'{stem}{suffix}'


def _further_notes(layout: Layout, images: list[dict], unreadable: list[dict]) -> list[str]:
    notes = []
    for domain in 'AB':
        hashes = {
            split: [
                image['sha256'] for image in images if image['path'].startswith(f'{split}{domain}/')
            ]
            for split in ('train', 'test')
        }
        seen = sum(digest in set(hashes['train']) for digest in hashes['test'])
        if seen:
            notes.append(f'{seen} test images of {domain} are, byte for byte, training images too.')
    if unreadable:
        named = ', '.join(repr(each['member']) for each in unreadable[:5])
        more = f' and {len(unreadable) - 5} more, see {MANIFEST}' * (len(unreadable) > 5)
        notes.append(f'{len(unreadable)} images cannot be read and are left out: {named}{more}.')
    if layout.others:
        notes.append(f'Left out: {describe_left_out(layout.others)}.')
    if layout.outside:
        notes.append(f'{layout.outside} images outside the four folders are left out.')
    if layout.archives:
        notes.append(f'Archives inside the source are not opened: {", ".join(layout.archives)}.')
    return notes


def _copy(source: Path, building: Path, images: list[dict]) -> None:
    waiting: dict[str, list[dict]] = {}
    for image in images:
        if not _is_written(building, image):
            waiting.setdefault(image['member'], []).append(image)
    needed = sum(image['bytes'] for copies in waiting.values() for image in copies)
    free = shutil.disk_usage(building).free
    if needed > free:
        raise OSError(f"'{building.parent}' has {free:,} bytes free, {needed:,} are needed")
    for member, data in _read(source, waiting, 'writing'):
        for image in waiting[member]:
            if hashlib.sha256(data).hexdigest() != image['sha256']:
                raise OSError(f"'{member}' in '{source}' changed while it was read: start again")
            _write(building, image['path'], data)


def _read(source: Path, members: Collection[str], doing: str) -> Iterator[tuple[str, bytes]]:
    with tqdm(total=len(members), desc=doing, unit=' images', disable=None) as bar:
        for entry in iter_entries(source):
            if entry.name in members:
                yield entry.name, entry.read()
                bar.update()


def _write(folder: Path, path: str, data: bytes) -> None:
    """Write an image; a truncated one has another hash than the manifest says."""
    target = folder / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)


def _is_written(folder: Path, image: dict) -> bool:
    path = folder / image['path']
    return (
        path.is_file()
        and path.stat().st_size == image['bytes']
        and hashlib.sha256(path.read_bytes()).hexdigest() == image['sha256']
    )


def _holds(folder: Path, manifest: dict) -> bool:
    """Whether a folder has exactly this manifest; False if it has none.

    Raises:
        FileExistsError: It has another; the message names what differs.
    """
    there = _read_manifest(folder)
    if there is None:
        return False
    if different := [key for key in manifest if there.get(key) != manifest[key]]:
        raise FileExistsError(
            f"'{folder}' holds another preparation (it differs in: {', '.join(different)}): "
            'nothing in it is touched. Move it away, or choose another place with --out'
        )
    return True


def _read_manifest(folder: Path) -> dict | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return (
        manifest if isinstance(manifest, dict) and {'format', 'images'} <= set(manifest) else None
    )


def _hash_source(source: Path, facts: dict[str, dict]) -> str:
    """SHA-256 of an archive; for a folder of the names and hashes of its images."""
    if source.is_dir():
        return _hash_text('\n'.join(f'{name}\t{facts[name]["sha256"]}' for name in sorted(facts)))
    return sha256(source)


def _hash_text(text: str) -> str:
    # File names that are not UTF-8 come in as surrogates.
    return hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()
