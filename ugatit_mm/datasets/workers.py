"""Processes that load data."""

import os
import signal
from threading import Thread

from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def shield_worker(worker_id: int) -> None:
    """Keep Ctrl-C and SIGTERM from the processes that load data (``worker_init_fn`` of a loader).

    A terminal sends the first to every process of the group, a cluster the second to every process
    of a job; a worker that ends then stops the main process before it has saved a
    checkpoint. The main process still ends its workers, and without a parent they end by
    themselves.
    Random numbers need no seed here: a sample brings its own (:class:`PairIndex`).

    Systems without these signals (Windows, macOS) are shielded from Ctrl-C only.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, 'sigwaitinfo'):
        return
    os.setpgrp()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    Thread(target=_obey_the_parent, args=(os.getppid(),), daemon=True).start()


def _obey_the_parent(parent: int) -> None:
    """Take SIGTERM from the main process only."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)  # as torch's own handler: another code would count as an error
