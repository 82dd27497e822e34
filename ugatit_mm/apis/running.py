"""Training and testing from a config, as the tools, the demo and the tests do it."""

import os

import torch
from mmengine.config import Config
from mmengine.runner import Runner

PathLike = str | os.PathLike


def run_training(cfg: Config) -> Runner:
    """Train as the config says, and return the runner.

    Raises:
        KeyboardInterrupt: The run was stopped; :class:`InterruptHook` has saved a checkpoint.
    """
    _start_ranks(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def run_test(
    cfg: Config, checkpoint: PathLike, out_dir: PathLike | None = None, sheet: bool = False
) -> dict[str, float]:
    """Translate the test set in both directions and compute the metrics.

    Args:
        cfg: Config of the run; it is not changed.
        checkpoint: Weights.
        out_dir: Folder for the translations, see :class:`SaveTranslationsHook`; ``None`` writes
            none.
        sheet: Write a picture sheet for each direction as well.

    Returns:
        dict: The metrics.

    Raises:
        FileNotFoundError: There is no such checkpoint.
    """
    if not os.path.isfile(checkpoint):
        raise FileNotFoundError(f'no checkpoint file {checkpoint}')
    cfg = cfg.copy()
    cfg.load_from, cfg.resume = str(checkpoint), False
    # What belongs to training alone is not built.
    cfg.custom_hooks = []
    if out_dir is not None:
        hook = dict(type='SaveTranslationsHook', out_dir=str(out_dir), sheet=sheet)
        cfg.custom_hooks.append(hook)
    # MMEngine keeps runners by name; a second one in a process needs a name of its own.
    cfg.experiment_name = f'{cfg.get("experiment_name", "ugatit")}_test_{id(cfg)}'
    _start_ranks(cfg)
    return dict(Runner.from_cfg(cfg).test())


def _start_ranks(cfg: Config) -> None:
    """Start gloo where there is no GPU: MMEngine's launcher would ask CUDA for devices."""
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    cfg.model_wrapper_cfg.device_ids = None
    if cfg.launcher == 'pytorch' and not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
