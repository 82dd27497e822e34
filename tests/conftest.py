"""What the tests share: tiny models, the recorded official numbers, small data sets."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import ugatit_mm  # noqa: F401, registers modules
from ugatit_mm.models import UGATIT

# Tiny networks: a second thread costs more than it brings, above all on a busy machine.
torch.set_num_threads(1)

DATA = Path(__file__).parent / 'data'
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='session')
def official() -> dict[str, np.ndarray]:
    """Numbers recorded from the official PyTorch networks, see tests/data/README.md."""
    with np.load(DATA / 'official_pytorch_96.npz') as numbers:
        return dict(numbers)


@pytest.fixture(scope='session')
def reference() -> Path:
    """The folder of full-size reference numbers, which a clone does not carry."""
    folder = ROOT.parent / 'shared' / 'reference' / 'fixtures'
    if not folder.is_dir():
        pytest.skip('no ../shared/reference: the same is tested at 96 px with tests/data')
    return folder


@pytest.fixture
def tiny() -> Callable[..., UGATIT]:
    """Build a model of a few thousand parameters; keyword arguments go over the defaults."""

    def build(generator: dict | None = None, discriminator: dict | None = None, **fields) -> UGATIT:
        torch.manual_seed(0)
        generator = {
            'type': 'UGATITGenerator',
            'base_channels': 4,
            'num_blocks': 2,
            'img_size': 32,
            'light': True,
        } | (generator or {})
        discriminator = {
            'type': 'UGATITDiscriminator',
            'base_channels': 4,
            'num_layers': (5, 4),
        } | (discriminator or {})
        model = UGATIT(generator, discriminator, **fields)
        model.init_weights()
        return model

    return build


def batch(size: int = 32, count: int = 1, seed: int = 0) -> dict:
    """A batch as the data loader gives it: uint8, BGR (MMagic's default order)."""
    rng = torch.Generator().manual_seed(seed)
    return {
        'inputs': {
            f'img_{domain}': torch.randint(0, 256, (count, 3, size, size), generator=rng).float()
            for domain in 'AB'
        }
    }


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Six reddish images of A and five bluish ones of B to train, three and two to test."""
    root = tmp_path / 'data'
    write_images(root)
    return root


def write_images(root: Path, size: tuple[int, int] = (40, 36)) -> None:
    rng = np.random.default_rng(0)
    for folder, count, channel in (
        ('trainA', 6, 0),
        ('trainB', 5, 2),
        ('testA', 3, 0),
        ('testB', 2, 2),
    ):
        os.makedirs(root / folder)
        for index in range(count):
            pixels = rng.integers(0, 120, (size[1], size[0], 3))
            pixels[..., channel] += 130
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f'{index}.png')


def load_tool(name: str) -> ModuleType:
    """Import a script of ``tools``, for example ``'model_converters/ugatit_pytorch'``."""
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as Python does for a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
