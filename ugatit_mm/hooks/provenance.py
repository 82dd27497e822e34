"""Where a checkpoint comes from, and what networks its weights need."""

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..datasets.deep import deep_ranges
from ..models.base import unwrap
from ..provenance import provenance


@HOOKS.register_module()
class ProvenanceHook(Hook):
    """Write commit, versions and hardware of the training into each checkpoint, and the networks.

    ``checkpoint['meta']['provenance']`` goes from there into the results of a test;
    ``checkpoint['meta']['networks']`` lets :func:`ugatit_mm.apis.load_model` do without the config,
    and ``checkpoint['meta']['deep_range']``, where the config has one, says which values of deep
    pictures were black and white in each domain.
    """

    def before_train(self, runner: Runner) -> None:
        """Read it once: the source tree may change during a long run."""
        self._provenance = provenance()
        self._networks = unwrap(runner.model).networks_of(runner.cfg.model.to_dict())
        self._ranges = {name: list(pair) for name, pair in deep_ranges(runner.cfg).items()}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add it to the checkpoint's ``meta``."""
        checkpoint['meta']['provenance'] = self._provenance
        checkpoint['meta']['networks'] = self._networks
        if self._ranges:
            checkpoint['meta']['deep_range'] = self._ranges
