"""The work dir of a training: its content, its lock, and how a training is set aside."""

import errno
import glob
import os
import re
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = '.training.lock'
ASIDE = 'set_aside_{}'
NUMBER = re.compile(r'\d+')
START = re.compile(r'\d{8}_\d{6}(_\d+)?')  # a folder of logs and sheets, named by its time
FILES = (
    *('iter_*.pth', 'epoch_*.pth', 'best_*.pth', 'last_checkpoint', 'last_validation'),
    *('results_*.json', 'report.html', 'sheets'),
)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

PathLike = str | os.PathLike


class WorkDirError(RuntimeError):
    """A training cannot start in this work dir; the message names it and says what to do."""


def checkpoints_of(work_dir: PathLike) -> list[Path]:
    """List the checkpoints to resume from, the newest first.

    The first is the one that ``last_checkpoint`` names, which may be in another folder; then come
    ``iter_N.pth``, and files whose names differ from the first one's only in the number, the latest
    written first.
    """
    folder = Path(work_dir)
    pointer, named, patterns = folder / 'last_checkpoint', Path(), {'iter_*.pth'}
    if pointer.is_file():
        named = Path(pointer.read_text(errors='replace').strip().replace('\0', ''))
    if named.name:  # by checkpoint.filename_tmpl
        patterns.add(NUMBER.sub('[0-9]*', glob.escape(named.name)))
    files = (path for pattern in patterns for path in folder.glob(pattern))
    paths = sorted(dict.fromkeys(files), key=_age)
    if named.name:
        # A work dir that was moved, copied or set aside names its old place.
        here = folder / named.name
        first = here if here.is_file() else named
        if first.is_file():
            paths = [first, *(path for path in paths if path != first)]
    return paths


def iteration_of(path: PathLike) -> int:
    """The iteration in a checkpoint's name, its last number; -1 where there is none."""
    return int(['-1', *NUMBER.findall(Path(path).stem)][-1])


def _age(path: Path) -> tuple[int, int]:
    try:
        return -path.stat().st_mtime_ns, -iteration_of(path)
    except FileNotFoundError:  # a running training removes old ones
        return 0, 0


def has_logged(work_dir: PathLike) -> bool:
    """Whether a training has logged an iteration there; a test logs none."""
    folder = Path(work_dir)
    if any(file.stat().st_size for file in folder.glob('*/vis_data/scalars.json')):
        return True
    for log in folder.glob('*/*.log'):
        with log.open(errors='replace') as lines:
            if any('Iter(train)' in line for line in lines):
                return True
    return False


def claim(
    work_dir: PathLike,
    resume: bool,
    load_from: PathLike | None,
    restart: bool,
    restarts: bool,
    own: str = '',
) -> list[str]:
    """Lock a work dir for a training, if the training may start there.

    Args:
        work_dir: An existing folder.
        resume: Resume from ``load_from``, or from what is there.
        load_from: A checkpoint, or weights to start from.
        restart: Set aside a training that is there.
        restarts: The launcher restarts failed processes: the work dir decides.
        own: Folder of this start in the work dir, see :func:`new_start`.

    Returns:
        Lines to log.

    Raises:
        WorkDirError: Another process trains there, there is nothing to resume, or this training
            would be mixed with the one that is there.
    """
    notes = lock(work_dir)
    try:
        return notes + _look(work_dir, resume, load_from, restart, restarts, own)
    except BaseException:
        unlock(work_dir)
        raise


def _look(
    work_dir: PathLike,
    resume: bool,
    load_from: PathLike | None,
    restart: bool,
    restarts: bool,
    own: str,
) -> list[str]:
    if restart and resume:
        raise WorkDirError('--resume goes on, --restart does not: give one of them')
    if restart and restarts:
        raise WorkDirError(
            '--restart does not go with MAX_RESTARTS: a process that is started again would set '
            'its own training aside; choose another --work-dir'
        )
    if resume and load_from is not None and not os.path.exists(load_from):
        raise WorkDirError(f'there is no checkpoint {load_from} to resume: check the path')
    checkpoints = checkpoints_of(work_dir)
    if resume and load_from is None:
        if not checkpoints:
            raise WorkDirError(
                f'nothing to resume in {work_dir}: there is no checkpoint (leave --resume out to '
                'start, or give the --work-dir of the training)'
            )
        return []
    if restarts or not (checkpoints or has_logged(work_dir)):
        return []
    if restart:
        return [f'the training that was in {work_dir} is now in {set_aside(work_dir, own)}']
    if resume and load_from is not None and _belongs(load_from, work_dir, checkpoints):
        return []
    ways = '--restart sets it aside and starts a new one'
    if checkpoints:
        ways = f'--resume goes on from {checkpoints[0].name}, {ways}'
    raise WorkDirError(f'{work_dir} holds a training: {ways}; or choose another --work-dir')


def _belongs(path: PathLike, work_dir: PathLike, checkpoints: list[Path]) -> bool:
    real = os.path.realpath(path)
    known = {os.path.realpath(checkpoint) for checkpoint in checkpoints}
    return real in known or os.path.dirname(real) == os.path.realpath(work_dir)


def set_aside(work_dir: PathLike, own: str = '') -> Path:
    """Move a training into a new folder inside its work dir; return that folder.

    Checkpoints, logs, sheets, results and the report are moved, configs are copied. All else stays,
    with it the data, and the folder ``own`` of the start that calls this.

    Raises:
        WorkDirError: Its checkpoints are elsewhere, where the next training would overwrite them.
    """
    folder = Path(work_dir)
    for path in checkpoints_of(folder)[:1]:
        if path.parent.resolve() != folder.resolve():
            raise WorkDirError(
                f'the checkpoints of {work_dir} are in {path.parent}: set both folders aside by '
                'hand, or choose another --work-dir'
            )
    found = {path for pattern in FILES for path in folder.glob(pattern)}
    belongs = sorted(found.union(checkpoints_of(folder)))
    belongs += [path for path in sorted(folder.iterdir()) if _is_start(path) and path.name != own]
    aside = _new_folder(folder)
    for path in belongs:
        os.rename(path, aside / path.name)
    for path in sorted(folder.glob('*.py')):
        shutil.copy2(path, aside / path.name)  # this start may use it
    return aside


_started: set[str] = set()  # by this process


def new_start(work_dir: PathLike, second: str) -> str:
    """Make a folder for the logs and sheets of a start; return its name.

    No other start in the work dir has that name, nor one of this process elsewhere: MMEngine caches
    loggers and visualisers by it, and these write to their first folder.

    Args:
        work_dir: An existing folder.
        second: Its time in MMEngine's format.
    """
    number = 0
    while True:
        name = f'{second}_{number}' if number else second
        if name not in _started:
            with suppress(FileExistsError):
                os.mkdir(os.path.join(work_dir, name))
                _started.add(name)
                return name
        number += 1


def _is_start(path: Path) -> bool:
    return path.is_dir() and START.fullmatch(path.name) is not None


def _new_folder(folder: Path) -> Path:
    number = 1
    while True:
        aside = folder / ASIDE.format(number)
        try:
            aside.mkdir()
            return aside
        except FileExistsError:
            number += 1


# ------------------------------------------------------------------------------------ the lock

_held: dict[str, int] = {}  # file descriptors by work dir


def lock(work_dir: PathLike) -> list[str]:
    """Lock a work dir against other trainings until :func:`unlock` or the end of this process.

    Returns:
        A line to log where the file system has no locks; else none.

    Raises:
        WorkDirError: Another training holds it; the message names its process.
    """
    path = os.path.join(work_dir, LOCK)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 200, 0).decode(errors='replace').strip() or 'another process'
        os.close(file)
        raise WorkDirError(
            f'{work_dir} is in use, {holder} trains there: wait for its end, or choose another '
            '--work-dir'
        ) from None
    except OSError as error:
        os.close(file)
        if error.errno not in NO_LOCKS:
            raise
        return [
            f'{work_dir} cannot be locked ({error.strerror}): see that no other training uses it'
        ]
    os.ftruncate(file, 0)
    since = time.strftime('%Y-%m-%d %H:%M:%S')
    os.pwrite(file, f'process {os.getpid()} on {socket.gethostname()} since {since}'.encode(), 0)
    _held[os.path.realpath(work_dir)] = file
    return []


def unlock(work_dir: PathLike) -> None:
    """Let other trainings in, if this process holds the lock."""
    if (file := _held.pop(os.path.realpath(work_dir), None)) is not None:
        fcntl.flock(file, fcntl.LOCK_UN)  # also in a process that was forked just now
        os.close(file)


def _leave_in_child() -> None:
    """Drop the locks in a forked process: data workers outlive a killed training by seconds."""
    while _held:
        os.close(_held.popitem()[1])


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_leave_in_child)
