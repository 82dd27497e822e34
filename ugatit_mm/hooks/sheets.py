"""Picture sheets during training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmagic.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..datasets.random_state import seeded
from ..domains import DOMAINS, other
from ..files import remove_unfinished, whole
from ..messages import check_counts
from ..models.base import unwrap
from ..visualization import translation_sheet
from .ema import averaged


@HOOKS.register_module()
class TranslationSheetHook(Hook):
    """Write a sheet of the model's ``columns`` for each direction: early, regularly, at the end.

    The first images of the validation set are shown, in evaluation mode and without gradients,
    one at a time, so that a sheet needs less memory than a step. Without a validation they are
    images of the training set, the same ones each time. Where :class:`TranslationEMAHook` is on,
    its averages translate.

    A sheet is the file ``WORK_DIR/sheets/DIRECTION_ITERATION.png``, whole or absent; an iteration
    that is trained again after a resume replaces its sheets. The visualiser's backends receive it
    as ``sheet_<source>2<target>``. A sheet that cannot be written (full disk) is an error in the
    log, and training goes on.

    Args:
        interval: Iterations between two sheets.
        num_images: Images of each domain.
        num_styles: Styles of each image, for models with styles.
        early: Further iterations with a sheet.

    Raises:
        ValueError: A number that is below 1.
    """

    priority = 'BELOW_NORMAL'  # before the checkpoint: a resume from it has its sheet

    def __init__(
        self,
        interval: int = 1000,
        num_images: int = 4,
        num_styles: int = 3,
        early: Sequence[int] = (1, 100),
    ) -> None:
        check_counts(interval=interval, num_images=num_images, num_styles=num_styles)
        for iteration in early:
            check_counts(early=iteration)
        self.interval = interval
        self.num_images = num_images
        self.num_styles = num_styles
        self.early = early
        self._images: dict[str, Tensor] | None = None

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Remove the unfinished files of a killed run."""
        remove_unfinished(sheets_folder(runner))

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write the sheets if they are due."""
        done = runner.iter + 1
        if (
            done in self.early
            or self.every_n_train_iters(runner, self.interval)
            or self.is_last_train_iter(runner)
        ):
            self.write(runner, done)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the last sheets where they are missing: training was stopped early."""
        self.write(runner, runner.iter, again=False)

    def write(self, runner: Runner, step: int, again: bool = True) -> None:
        """Write the sheets of all directions.

        Args:
            runner: The runner.
            step: The iteration.
            again: Replace those that exist.
        """
        model = unwrap(runner.model)
        for target in model.targets():
            path = sheets_folder(runner) / f'{model.direction(target)}_{step}.png'
            if path.exists() and not again:
                continue
            images = self._shown(runner, model).get(other(target))
            if images is None:  # a test set of one domain
                continue
            with averaged(runner):
                sheet = translation_sheet(model, images, target, self.num_styles)
            runner.visualizer.add_image(f'sheet_{model.direction(target)}', sheet, step)
            try:
                path.parent.mkdir(exist_ok=True)
                with whole(path, durable=False) as building:
                    Image.fromarray(sheet).save(building)
            except OSError as error:
                runner.logger.error(f'{path} could not be written ({error}); training goes on')

    def _shown(self, runner: Runner, model: nn.Module) -> dict[str, Tensor]:
        if self._images is None:
            loop = runner.train_loop if runner.val_loop is None else runner.val_loop
            self._images = first_images(loop.dataloader.dataset, model, self.num_images)
        return self._images


def sheets_folder(runner: Runner) -> Path:
    """Where the sheets of a training are."""
    return Path(runner.work_dir) / 'sheets'


def first_images(dataset: Dataset, model: nn.Module, count: int) -> dict[str, Tensor]:
    """Return the first images of each domain as the networks see them.

    Args:
        dataset: Of a test, a validation or a training; its random transforms are seeded.
        model: The translation model, for its data preprocessor.
        count: Images of each domain, at most.

    Returns:
        In [-1, 1], (N, C, H, W), by domain, on the model's device.
    """
    samples = []
    for index in range(min(count, len(dataset))):
        with seeded(index):
            samples.append(dataset[index])
    batch = pseudo_collate(samples)
    inputs = model.data_preprocessor(batch, False)['inputs']
    return {x: inputs[f'img_{x}'] for x in DOMAINS if f'img_{x}' in inputs}
