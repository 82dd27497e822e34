"""Picture sheets during training."""

from typing import Any

from mmagic.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..datasets.random_state import seeded
from ..domains import DOMAINS, other
from ..messages import check_counts
from ..models.base import unwrap
from ..visualization import translation_sheet
from .ema import averaged


@HOOKS.register_module()
class TranslationSheetHook(Hook):
    """Write a sheet of the model's ``columns`` for each direction at an interval.

    The first images of the validation set are shown, in evaluation mode and without gradients,
    one at a time, so that a sheet needs less memory than a step. Without a validation they are
    images of the training set, the same ones each time. Where :class:`TranslationEMAHook` is on,
    its averages translate. The visualiser's backends receive the sheet as
    ``sheet_<source>2<target>``.

    Args:
        interval: Iterations between two sheets.
        num_images: Images of each domain.
        num_styles: Styles of each image, of a model that has some.

    Raises:
        ValueError: One is below 1.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 1000, num_images: int = 4, num_styles: int = 3) -> None:
        check_counts(interval=interval, num_images=num_images, num_styles=num_styles)
        self.interval = interval
        self.num_images = num_images
        self.num_styles = num_styles
        self._images: dict[str, Tensor] | None = None

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write the sheets if it is time."""
        if self.every_n_train_iters(runner, self.interval):
            self.write(runner, runner.iter + 1)

    def write(self, runner: Runner, step: int) -> None:
        """Write the sheets of all directions."""
        model = unwrap(runner.model)
        for target in model.targets():
            images = self._shown(runner, model).get(other(target))
            if images is None:  # a test set of one domain
                continue
            with averaged(runner):
                sheet = translation_sheet(model, images, target, self.num_styles)
            runner.visualizer.add_image(f'sheet_{model.direction(target)}', sheet, step)

    def _shown(self, runner: Runner, model: nn.Module) -> dict[str, Tensor]:
        if self._images is None:
            loop = runner.train_loop if runner.val_loop is None else runner.val_loop
            self._images = first_images(loop.dataloader.dataset, model, self.num_images)
        return self._images


def first_images(dataset: Dataset, model: nn.Module, count: int) -> dict[str, Tensor]:
    """Return the first images of each domain as the networks see them.

    Args:
        dataset: Of a test, a validation or a training, whose random steps are the same each time.
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
