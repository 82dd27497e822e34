"""Translations as files."""

from pathlib import Path
from typing import Any

from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from ..domains import other
from ..files import output_names, whole
from ..models.base import unwrap
from ..models.base.unpaired import fake_key
from ..pixels import suffix_written, to_picture, write_picture
from ..visualization import translation_sheet
from .sheets import first_images


@HOOKS.register_module()
class SaveTranslationsHook(Hook):
    """Write each translation of the test loop as a PNG under its source's name.

    Translations of more than four channels become TIFFs (:func:`write_picture`).

    The translation of ``testA/some/photo.jpg`` becomes ``OUT/selfie2anime/some/photo.png``. Files
    of one folder that differ only in their suffix keep it: ``photo.jpg.png``, ``photo.bmp.png``.
    Several styles are written as ``photo_1.png``, ``photo_2.png``, ...

    Args:
        out_dir: Folder that receives a folder for each direction.
        sheet: Write ``sheet_<direction>.png`` as well: the model's ``columns`` of the first images.
        num_images: Images in a sheet.
        num_styles: Styles of each image in a sheet, for models with styles.
        styles: Number of styles that are written, of the model's ``chosen`` ones.
    """

    def __init__(
        self,
        out_dir: str,
        sheet: bool = False,
        num_images: int = 8,
        num_styles: int = 3,
        styles: int = 1,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.sheet = sheet
        self.num_images = num_images
        self.num_styles = num_styles
        self.styles = styles
        self.written: set[Path] = set()
        self._names: dict[str, dict[str, str]] | None = None

    def before_test(self, runner: Runner) -> None:
        """Choose the file names."""
        dataset = runner.test_loop.dataloader.dataset
        suffix = suffix_written(unwrap(runner.model).out_channels)
        self._names = {
            domain: output_names([info['path'] for info in infos], root, suffix)
            for domain, infos, root in (
                ('A', dataset.data_infos_a, dataset.dataroot_a),
                ('B', dataset.data_infos_b, dataset.dataroot_b),
            )
        }

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write what the model gave, each source once."""
        model = unwrap(runner.model)
        for sample in outputs:
            for target in model.targets():
                source = sample.metainfo.get(f'img_{other(target)}_path')
                if source is None:  # a test set of one domain
                    continue
                name = self._names[other(target)][source]
                path = self.out_dir / model.direction(target) / name
                if path in self.written:  # the shorter domain starts again
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                for k in range(1, self.styles + 1):
                    file = path.with_stem(f'{path.stem}_{k}') if self.styles > 1 else path
                    # Another rank may write the same file: whole or not at all.
                    with whole(file, durable=False) as building:
                        write_picture(to_picture(sample.get(fake_key(target, k))), building)
                self.written.add(path)

    @master_only
    def after_test(self, runner: Runner) -> None:
        """Write the sheets."""
        if not self.sheet:
            return
        model = unwrap(runner.model)
        images = first_images(runner.test_loop.dataloader.dataset, model, self.num_images)
        for target in model.targets():
            if other(target) not in images:
                continue
            sheet = translation_sheet(model, images[other(target)], target, self.num_styles)
            Image.fromarray(sheet).save(self.out_dir / f'sheet_{model.direction(target)}.png')
