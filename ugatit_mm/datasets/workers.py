"""Processes that load data."""

import os
import signal

from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def shield_worker(worker_id: int) -> None:
    """Keep Ctrl-C from the processes that load data (``worker_init_fn`` of a data loader).

    A terminal sends it to every process of the group; a worker that ends there takes the main
    process down before it has saved a checkpoint. The main process still ends its workers, and
    without parent they end by themselves. Random numbers need no seed here: a sample brings its
    own (:class:`PairIndex`).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgrp()
