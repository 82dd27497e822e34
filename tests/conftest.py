"""What the tests share: tiny models, the recorded official numbers, small data sets.

The process of `pytest -n` that runs no tests imports this file, too: what takes seconds to import
is imported where it is used, and not there.
"""

from __future__ import annotations

import copy
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from styled_model import Styled

    from ugatit_mm.models import UGATIT

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = (
    *('--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'),
    *('--disable-component-update', '--disable-sync', '--disable-quic'),
    *('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'),
    '--force-color-profile=srgb',
)

# Begun first, so that the processes of `pytest -n --no-loadscope-reorder` end together.
LONGEST = (
    'test_failing_ranks.py',
    'test_compile.py',
    'test_train_and_test.py',
    'test_benchmarks.py',
    'test_resume.py',
    'test_pytorch.py',
    'test_every_model.py',
    'test_docs.py',
    'test_export.py',
    'test_packaging.py',
    'test_hostile_files.py',
    'test_checkpoints.py',
    'test_page.py',
    'test_run_paper.py',
    'test_configs.py',
    'test_work_dir.py',
    'test_ugatit.py',
    'test_cli.py',
    'test_inferencer.py',
    'test_web_app.py',
    'test_norm_kernels.py',
    'test_finite.py',
    'test_official.py',
)


def prepare() -> None:
    """Before anything of ours is imported."""
    gc.disable()  # until all is imported
    import torch

    if not torch.cuda.is_available():
        # Before Triton's import: its kernels run on a CPU then, where a test asks for them.
        os.environ.setdefault('TRITON_INTERPRET', '1')
    # Tiny networks: a second thread costs more than it brings, above all on a busy machine.
    torch.set_num_threads(1)
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # of the processes that tests start
    import interpreter

    interpreter.make_quicker()
    make_configs_cheap()


def make_configs_cheap() -> None:
    """Each base file is read once, and the texts of configs are not laid out."""
    from mmengine.config import Config, config

    bases = str(Path(__file__).parents[1] / 'configs' / '_base_')
    read, known = Config._file2dict, {}

    def file2dict(filename: str, *args: object, **options: object) -> tuple:
        if not filename.startswith(bases):
            return read(filename, *args, **options)
        if filename not in known:
            known[filename] = read(filename, *args, **options)
        return copy.deepcopy(known[filename])

    Config._file2dict = staticmethod(file2dict)
    config.FormatCode = lambda text, **options: (text, False)  # instead of yapf's


if 'PYTEST_XDIST_WORKER' in os.environ or '-n' not in sys.argv:
    prepare()


def pytest_collection() -> None:
    """Also where pytest collects despite `-n`, as with `--pdb`."""
    prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if marks & {'slow', 'long'} and 'timeout' not in marks:
            item.add_marker(pytest.mark.timeout(900))  # the 300 of setup.cfg are for the fast ones


def pytest_collection_finish() -> None:
    """The collector need not look through what was imported."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def no_traces():
    """A runner leaves its default scope, hub, logger and visualizer as the current ones."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    managers = (DefaultScope, MessageHub, MMLogger, Visualizer)
    before = [manager._instance_dict.copy() for manager in managers]
    yield
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict = instances


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Triton's kernels run: on a GPU where there is one, in the interpreter elsewhere."""
    import interpreter
    import torch

    from ugatit_mm.kernels.support import SWITCH

    pytest.importorskip('triton', reason='triton is not installed: it comes with torch for CUDA')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.type == 'cpu' and (reason := interpreter.broken()):
        pytest.skip(reason)
    monkeypatch.setenv(SWITCH, '1')
    return device


@pytest.fixture(scope='session')
def official() -> dict[str, np.ndarray]:
    """Numbers recorded from the official PyTorch networks, see tests/data/README.md."""
    import numpy as np
    from helpers import DATA

    with np.load(DATA / 'official_pytorch_96.npz') as numbers:
        return dict(numbers)


@pytest.fixture(scope='session')
def reference() -> Path:
    """The folder of full-size reference numbers, which a clone does not carry."""
    from helpers import ROOT

    folder = ROOT.parent / 'shared' / 'reference' / 'fixtures'
    if not folder.is_dir():
        pytest.skip('no ../shared/reference: the same is tested at 96 px with tests/data')
    return folder


@pytest.fixture
def tiny() -> Callable[..., UGATIT]:
    """Build a model of a few thousand parameters; keyword arguments go over the defaults."""
    import torch

    from ugatit_mm.models import UGATIT

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


@pytest.fixture
def styled(monkeypatch: pytest.MonkeyPatch) -> Styled:
    """A tiny model with random styles, registered until the test ends."""
    from styled_model import registered

    return registered(monkeypatch)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Six reddish images of A and five bluish ones of B to train, three and two to test."""
    from helpers import write_images

    root = tmp_path / 'data'
    write_images(root)
    return root


@pytest.fixture(scope='module')
def chromium() -> Iterator:
    """A headless browser."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        pytest.skip('no Chromium: apt-get install chromium')
    playwright = pytest.importorskip('playwright.sync_api')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
