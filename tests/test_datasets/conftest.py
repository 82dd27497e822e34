from pathlib import Path

import pytest

COUNTS = {'trainA': 5, 'trainB': 3, 'testA': 2, 'testB': 4}


@pytest.fixture
def mmagic_scope():
    """Transforms found by name, as under default_scope = 'mmagic' in a config."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmagic'):
        yield


@pytest.fixture(scope='session')
def data_root(tmp_path_factory) -> Path:
    """A data set of noise images, 40 x 30 pixels, no two alike."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for folder, count in COUNTS.items():
        (root / folder).mkdir()
        for i in range(count):
            noise = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / folder / f'{i}.png')
    return root
