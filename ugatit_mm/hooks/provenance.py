"""Where a checkpoint comes from."""

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..provenance import provenance


@HOOKS.register_module()
class ProvenanceHook(Hook):
    """Write commit, versions and hardware of the training into each checkpoint.

    They stand in ``checkpoint['meta']['provenance']``, and from there in the results of a test.
    """

    def before_train(self, runner: Runner) -> None:
        """Look once: the source tree may change under a long run."""
        self._provenance = provenance()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add them."""
        checkpoint['meta']['provenance'] = self._provenance
