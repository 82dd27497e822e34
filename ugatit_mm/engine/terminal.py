"""What a run prints on the terminal: a few lines and the warnings; the log file has everything."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.logging.logger import FilterDuplicateWarning
from tqdm import tqdm

SHOWN = {'shown': True}  # `extra` of a log record that the terminal shows unchanged
FOREIGN = {'foreign': True}  # `extra` of a warning that goes to the file only
PACKAGES = ('mmagic', 'mmcv', 'mmengine')  # their warnings are about their own code


def has_console(cfg: Mapping[str, Any]) -> bool:
    """Whether a config has ``default_hooks.console``, which replaces MMEngine's terminal output."""
    return bool((cfg.get('default_hooks') or {}).get('console'))


def say(line: str) -> None:
    """Print a line above a progress bar, if there is one."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


class TerminalHandler(logging.Handler):
    """Shows records marked :data:`SHOWN`, warnings and errors, on the first rank only.

    Warnings and errors take one line of stderr each. Warnings of :data:`PACKAGES`, and Python's in
    :func:`warnings_in_log`, go to the file only.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET if is_main_process() else logging.CRITICAL + 1)
        self.addFilter(FilterDuplicateWarning())

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or leave it to the file."""
        if getattr(record, 'shown', False):
            say(record.getMessage())
        elif record.levelno >= logging.ERROR or (
            record.levelno >= logging.WARNING and not _is_foreign(record)
        ):
            words = ' '.join(record.getMessage().split())
            sys.stdout.flush()
            tqdm.write(f'{record.levelname.lower()}: {words}', file=sys.stderr)


def use_terminal(logger: MMLogger) -> None:
    """Replace MMEngine's stdout handler by a :class:`TerminalHandler`."""
    if not any(isinstance(handler, TerminalHandler) for handler in logger.handlers):
        kept = [each for each in logger.handlers if isinstance(each, logging.FileHandler)]
        logger.handlers[:] = [*kept, TerminalHandler()]


@contextmanager
def warnings_in_log(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Write Python's warnings to the log file in the block, if the config has a console."""
    if not has_console(cfg):
        yield
        return

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        loggers = list(MMLogger._instance_dict.values())
        if loggers and any(isinstance(each, TerminalHandler) for each in loggers[-1].handlers):
            text = warnings.formatwarning(message, category, filename, lineno).strip()
            loggers[-1].warning(text, extra=FOREIGN)
        else:  # before there is a log file
            before(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        before, warnings.showwarning = warnings.showwarning, show
        yield


def _is_foreign(record: logging.LogRecord) -> bool:
    """Whether a warning comes from another package, also through ``print_log``."""
    if getattr(record, 'foreign', False):
        return True
    frame = sys._getframe()
    while frame.f_back is not None:
        name = frame.f_globals.get('__name__', '')
        if name != __name__ and not name.startswith(('logging', 'mmengine.logging')):
            break
        frame = frame.f_back
    return name.partition('.')[0] in PACKAGES
