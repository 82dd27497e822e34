"""The fixes for MMagic 1.2.0: each works, and each does nothing where its fault is absent."""

import configparser
import importlib
import importlib.metadata
import importlib.util
import pickle
import pkgutil
import sys
import warnings
from contextlib import contextmanager, nullcontext

import mmcv
import numpy as np
import pytest
import torch
from helpers import ROOT, run_code
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, BaseModule
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import mmcv_full_available
from packaging.requirements import Requirement
from packaging.version import Version
from torch import nn
from yapf.yapflib import yapf_api

from ugatit_mm import compat

needs_lite = pytest.mark.skipif(
    compat.installed('mmcv') is not None, reason='the full mmcv is installed: no stand-in'
)


# -- versions ------------------------------------------------------------------------------------


def pretend(monkeypatch, **versions):
    """Let the distributions named be installed in these versions; None: not at all."""
    real = importlib.metadata.version
    versions = {name.replace('_', '-'): version for name, version in versions.items()}

    def version(name):
        if name not in versions:
            return real(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, 'version', version)


def test_the_environment_of_the_tests_is_accepted():
    compat.check_versions()


@pytest.mark.parametrize(
    ('versions', 'words'),
    [
        ({'numpy': '3.0.0'}, ['numpy 3.0.0', "pip install 'numpy>=1.26,<3'"]),
        ({'mmcv': '2.2.0'}, ['mmcv 2.2.0', "pip install 'mmcv-lite==2.1.0'"]),
        ({'mmcv': None, 'mmcv_lite': '2.2rc1'}, ['mmcv-lite 2.2rc1']),
        ({'mmcv': None, 'mmcv_lite': None}, ['mmcv or mmcv-lite is not installed']),
        ({'mmagic': None}, ['mmagic is not installed', "'mmagic==1.2.0'"]),
        (
            {'numpy': '3.1.2', 'mmengine': '1.0.0'},
            ['numpy 3.1.2', 'mmengine 1.0.0', "'numpy>=1.26,<3' 'mmengine>=0.10.7,<0.11'"],
        ),
    ],
)
def test_a_wrong_package_is_named_with_its_fix(monkeypatch, versions, words):
    pretend(monkeypatch, **versions)
    with pytest.raises(ImportError) as error:
        compat.check_versions()
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize('versions', [{'numpy': '2.5.2'}, {'mmcv': '2.1.0', 'mmcv_lite': None}])
def test_a_right_package_passes(monkeypatch, versions):
    pretend(monkeypatch, **versions)
    compat.check_versions()


def test_what_the_message_recommends_is_what_setup_cfg_pins():
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    pins = [Requirement(x) for x in setup['options']['install_requires'].strip().splitlines()]
    pins = {pin.name: pin.specifier for pin in pins}
    for _, limit, _, fix in compat._LIMITS:
        fix = Requirement(fix)
        assert fix.specifier == pins[fix.name]
        assert Version(limit) not in fix.specifier


# -- NumPy 2 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(('version', 'there'), [('1.26.4', False), ('2.5.2', True)])
def test_numpy_2_has_its_old_name_while_mmagic_is_imported(monkeypatch, version, there):
    monkeypatch.setattr(np, '__version__', version)
    before = dict(vars(np))
    with compat.numpy_bool8():
        assert vars(np).get('bool8') is (np.bool_ if there else before.get('bool8'))
    assert vars(np) == before


# -- mmcv.ops ------------------------------------------------------------------------------------


@needs_lite
def test_mmcv_reports_its_true_state_after_the_import():
    importlib.import_module('mmagic.models')
    assert not mmcv_full_available()
    assert not hasattr(mmcv, 'ops')
    with pytest.raises(ModuleNotFoundError, match=r'mmcv\._ext'):
        importlib.import_module('mmcv.ops')
    assert importlib.import_module('mmcv.utils').collect_env()['MMCV Compiler'] == 'n/a'


@needs_lite
def test_an_operator_that_an_editor_holds_refuses_to_run():
    from mmagic.models.editors.tdan.tdan_net import deform_conv2d

    with pytest.raises(RuntimeError, match='needs the compiled mmcv, but mmcv-lite is installed'):
        deform_conv2d(
            torch.ones(1, 1, 3, 3), torch.zeros(1, 18, 3, 3), torch.ones(1, 1, 3, 3), 1, 1
        )


@needs_lite
def test_stand_in_goes_even_when_the_import_fails():
    with pytest.raises(KeyError), compat.mmcv_ext_stand_in():  # noqa: PT012
        extension = importlib.import_module('mmcv._ext')
        assert not hasattr(extension, '__wrapped__')
        with pytest.raises(RuntimeError, match='nms needs the compiled mmcv'):
            extension.nms()
        raise KeyError
    assert 'mmcv._ext' not in sys.modules


def test_full_mmcv_is_used_as_it_is(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    before = sys.modules.get('mmcv._ext')
    with compat.mmcv_ext_stand_in():
        assert sys.modules.get('mmcv._ext') is before


@pytest.mark.slow
def test_import_is_quiet_and_quick_and_registers_what_is_asked_for():
    """And MMagic's inferencer, imported later, knows of ours."""
    code = """
import sys, ugatit_mm
heavy = ['torch', 'numpy', 'mmengine', 'mmcv', 'mmagic', 'PIL']
assert not (loaded := [name for name in heavy if name in sys.modules]), loaded
from mmagic.registry import HOOKS, MODELS
assert 'mmagic.models' not in sys.modules
assert MODELS.get('UGATIT') is ugatit_mm.models.UGATIT
assert HOOKS.get('WatchHook').__module__ == 'ugatit_mm.hooks.watch'
heavy = ['mmagic.apis', 'matplotlib', 'mediapipe', 'skimage', 'tensorboard', 'imagehash']
assert not (loaded := [name for name in heavy if name in sys.modules]), loaded
from mmagic.apis import MMagicInferencer
assert 'ugatit' in MMagicInferencer.get_inference_supported_models()
"""
    done = run_code(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


ORDERS = """
import importlib, os, sys
import torch._dynamo, torchvision, transformers.modeling_utils  # once for all
for first in sys.argv[1:]:
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == 0, first
        continue
    importlib.import_module(first)
    import ugatit_mm
    from mmengine.registry import DefaultScope, HOOKS
    with DefaultScope.overwrite_default_scope('mmagic'):
        assert HOOKS.build(dict(type='WatchHook')).__module__ == 'ugatit_mm.hooks.watch'
    from mmagic.apis import MMagicInferencer
    assert 'ugatit' in MMagicInferencer.get_inference_supported_models()
    os._exit(0)
"""


@pytest.mark.slow
def test_any_order_of_imports_registers():
    first = (
        *('mmagic.registry', 'ugatit_mm.apis.mmagic_inferencer', 'ugatit_mm.datasets'),
        *('ugatit_mm.engine', 'ugatit_mm.hooks', 'ugatit_mm.models.base.unpaired'),
    )
    done = run_code(ORDERS, *first)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize(('version', 'hides'), [('0.10.21', False), ('0.10.30', True)])
def test_a_mediapipe_without_solutions_is_hidden(monkeypatch, version, hides):
    monkeypatch.delitem(sys.modules, 'mediapipe', raising=False)
    pretend(monkeypatch, mediapipe=version)
    with compat.mediapipe_hidden():
        assert ('mediapipe' in sys.modules) is hides
        if hides:
            with pytest.raises(ImportError):
                importlib.import_module('mediapipe')
    assert 'mediapipe' not in sys.modules


def test_installing_twice_changes_nothing():
    from mmagic.models.utils import model_utils
    from mmengine.config import config

    def state():
        return (
            list(warnings.filters),
            set(torch.serialization.get_safe_globals()),
            model_utils.generation_init_weights,
            config.FormatCode,
            list(sys.meta_path),
        )

    compat.install()
    before = state()
    compat.install()
    assert state() == before


# -- start-up ------------------------------------------------------------------------------------


def test_mmengine_finds_loaders_on_python_3_14(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.bring_find_loader_back()
    assert pkgutil.find_loader('json').name == 'json'
    assert pkgutil.find_loader('mmcv._not_there') is None


def test_a_config_is_formatted_once_for_each_text(monkeypatch):
    from mmengine.config import Config, config

    calls = []

    def FormatCode(text, **options):
        calls.append(text)
        return yapf_api.FormatCode(text, **options)

    monkeypatch.setattr(config, 'FormatCode', FormatCode)
    compat.format_configs_once()
    cfg = Config({'model': {'type': 'X', 'width': 3}})
    plain = yapf_api.FormatCode("model=dict(type='X', width=3)", style_config='pep8')[0]
    assert [cfg.pretty_text, cfg.pretty_text] == [plain, plain] and len(calls) == 1
    cfg.model.width = 4
    assert cfg.pretty_text == plain.replace('3', '4') and len(calls) == 2
    for width in range(100):  # old texts are forgotten
        cfg.model.width = width
        assert cfg.pretty_text == plain.replace('3', str(width))


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """Name of a module that nothing has imported yet."""
    (tmp_path / 'made_up_package').mkdir()
    (tmp_path / 'made_up_package' / '__init__.py').write_text('')
    (tmp_path / 'made_up_package' / 'module.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', sys.meta_path[:])
    yield 'made_up_package.module'
    for name in ('made_up_package.module', 'made_up_package'):
        sys.modules.pop(name, None)


def test_what_waits_for_a_module_is_called_once_when_it_is_imported(module):
    seen, around = [], []

    @contextmanager
    def noted():
        around.append(module in sys.modules)
        yield

    before = sys.meta_path[:]
    compat.at_import(module, noted, lambda: seen.append(sys.modules[module].value))
    importlib.import_module('made_up_package')
    assert seen == []
    importlib.import_module(module)
    assert seen == [1] and around == [True] and sys.meta_path == before
    importlib.reload(sys.modules[module])
    assert seen == [1]
    compat.at_import(module, noted, lambda: seen.append('at once'))
    assert seen == [1, 'at once'] and sys.meta_path == before


def test_what_waits_goes_on_waiting_where_the_import_fails(module, tmp_path):
    seen = []
    compat.at_import(module, nullcontext, lambda: seen.append(sys.modules[module].value))
    file = tmp_path / 'made_up_package' / 'module.py'
    file.write_text('raise OSError("not yet")')
    with pytest.raises(OSError, match='not yet'):
        importlib.import_module(module)
    assert seen == []
    file.write_text('value = 2  # of another size\n')
    importlib.invalidate_caches()
    assert importlib.import_module(module).value == 2
    assert seen == [2]


# -- torch.load ----------------------------------------------------------------------------------


class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x, mode='tensor'):
        return {'loss': (self.weight * torch.stack(x)).sum()}


def runner(work_dir, max_iters, **kwargs):
    model = Tiny()
    return Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=torch.utils.data.DataLoader(
            torch.ones(8, 1), collate_fn=lambda x: {'x': x}
        ),
        train_cfg={'by_epoch': False, 'max_iters': max_iters},
        optim_wrapper=OptimWrapper(torch.optim.Adam(model.parameters())),
        default_hooks={'checkpoint': CheckpointHook(interval=1, by_epoch=False)},
        experiment_name=f'compat_{work_dir.name}_{max_iters}',
        log_level='WARNING',
        **kwargs,
    )


@pytest.fixture
def only_torchs_globals():
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_resume_of_mmengines_checkpoint(tmp_path, only_torchs_globals):
    first = runner(tmp_path, max_iters=3)
    first.message_hub.update_info('best', np.float64(0.25))  # what a metric leaves
    first.train()
    path = tmp_path / 'iter_3.pth'
    with pytest.raises(pickle.UnpicklingError, match='Weights only load failed'):
        torch.load(path, weights_only=True)

    compat.allow_mmengine_checkpoints()
    hub = torch.load(path, weights_only=True)['message_hub']
    history = first.message_hub.get_scalar('train/loss').data
    assert isinstance(hub['log_scalars']['train/loss'], HistoryBuffer)
    assert len(history[0]) == 3
    np.testing.assert_array_equal(hub['log_scalars']['train/loss'].data, history)
    assert hub['runtime_info']['best'] == 0.25

    second = runner(tmp_path, max_iters=4, load_from=str(path), resume=True)
    second.train()
    assert second.iter == 4
    assert len(second.message_hub.get_scalar('train/loss').data[0]) == 4
    assert second.optim_wrapper.optimizer.state_dict()['state'][0]['step'] == 4


class Call:
    """Pickled as a call of any function."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    ('call', 'refusal'),
    [
        (Call(print, 'code out of a checkpoint'), 'print'),
        (Call(getattr, HistoryBuffer.update, '__globals__'), 'may not ask for getattr'),
        (Call(getattr, HistoryBuffer, '__init__'), 'may not ask for getattr'),
        (Call(getattr, np.ndarray, 'tofile'), 'may not ask for getattr'),
    ],
)
def test_code_in_a_checkpoint_is_still_refused(tmp_path, capsys, call, refusal):
    torch.save({'message_hub': call}, tmp_path / 'bad.pth')
    compat.allow_mmengine_checkpoints()
    with pytest.raises(pickle.UnpicklingError, match=refusal):
        torch.load(tmp_path / 'bad.pth', weights_only=True)
    assert capsys.readouterr().out == ''


# -- initialisation ------------------------------------------------------------------------------


def cyclegan():
    """MMagic's own, as small as it goes."""
    from mmagic.registry import MODELS

    gain = {'type': 'normal', 'gain': 0.02}
    resnet = {'type': 'ResnetGenerator', 'in_channels': 3, 'out_channels': 3, 'base_channels': 4}
    patch = {'type': 'PatchDiscriminator', 'in_channels': 3, 'base_channels': 4, 'num_conv': 2}
    with DefaultScope.overwrite_default_scope('mmagic'):
        return MODELS.build(
            {
                'type': 'CycleGAN',
                'default_domain': 'A',
                'reachable_domains': ['A', 'B'],
                'related_domains': ['A', 'B'],
                'data_preprocessor': {'type': 'DataPreprocessor'},
                'generator': {**resnet, 'num_blocks': 1, 'init_cfg': gain},
                'discriminator': {**patch, 'norm_cfg': {'type': 'IN'}, 'init_cfg': gain},
            }
        )


def test_mmagics_cyclegan_initialises():
    model = cyclegan()
    torch.manual_seed(0)
    model.init_weights()
    weight = dict(model.named_parameters())['generators.A.model.1.conv.weight']
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)


class Net(BaseModule):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU()  # what the unfixed function stumbles over


def test_fixed_initialisation_draws_the_same_weights_and_takes_a_note():
    from mmagic.models.utils import generation_init_weights, model_utils

    assert generation_init_weights is model_utils.generation_init_weights
    ours, theirs = Net(), Net()
    notes = {p: {'init_info': '', 'tmp_mean_value': torch.tensor(9.0)} for p in ours.parameters()}
    for module in ours.modules():
        module._params_init_info = notes
    torch.manual_seed(0)
    generation_init_weights(ours, init_gain=0.5)
    torch.manual_seed(0)
    generation_init_weights.__wrapped__(theirs, init_gain=0.5)

    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=0)
    assert notes[ours.conv.weight]['init_info'] == 'Initialized by `generation_init_weights`'
    assert all(module._params_init_info is notes for module in ours.modules())


def test_a_sound_initialisation_is_left_as_it_is(monkeypatch):
    from mmagic.models.utils import model_utils

    def generation_init_weights(module):
        """A version without the fault."""

    monkeypatch.setattr(model_utils, 'generation_init_weights', generation_init_weights)
    compat.fix_generation_init_weights()
    assert model_utils.generation_init_weights is generation_init_weights
