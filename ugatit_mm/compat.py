"""The fixes that MMagic 1.2.0 needs on today's packages.

MMagic 1.2.0 (December 2023) is the newest release; the packages that it needs moved on. Each fix
here is one function that states its symptom and when it may go, and does nothing where the fault is
absent. :func:`install`, which importing ``ugatit_mm`` calls, applies each when the module that it
is for is imported.

Only the standard library is imported at the top: this module takes milliseconds, and loads in a
broken environment.
"""

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import pickle
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

DOCTOR = 'ugatit_mm.doctor'
REGISTERED = 'ugatit_mm.registered'  # registers all our classes when it is imported


def install() -> None:
    """Make MMagic importable and usable on the installed packages, and let it find our classes.

    Nothing is imported now; a second call is a no-op. Wrong versions (:func:`check_versions`) are
    an ``ImportError`` of MMagic's import.
    """
    hush_import_warnings()
    for name, around, then in (
        ('mmagic', checked, prepare_mmengine),
        ('mmagic.registry', contextlib.nullcontext, add_location),
        ('mmagic.utils.trans_utils', numpy_bool8, lambda: None),
        ('mmagic.models', mmcv_ext_stand_in, fix_generation_init_weights),
        ('mmagic.apis', mediapipe_hidden, lambda: None),
        ('mmagic.apis.mmagic_inferencer', contextlib.nullcontext, add_inferencer),
    ):
        at_import(name, around, then)


def prepare_mmengine() -> None:
    """Apply all fixes of MMEngine."""
    allow_mmengine_checkpoints()
    bring_find_loader_back()
    format_configs_once()
    pass_over_byte_order_marks()


def add_location() -> None:
    """Let MMagic's registries import our modules at a lookup, as their own."""
    from mmagic import registry
    from mmengine.registry import Registry

    for each in vars(registry).values():
        theirs = isinstance(each, Registry) and each.scope == 'mmagic'
        if theirs and REGISTERED not in each._locations:
            each._locations.append(REGISTERED)
            each._imported = False


def add_inferencer() -> None:
    """Add our models to MMagic's inferencer."""
    importlib.import_module('ugatit_mm.apis.mmagic_inferencer')


# -- imports -------------------------------------------------------------------------------------


def at_import(
    name: str, around: Callable[[], AbstractContextManager], then: Callable[[], None]
) -> None:
    """Run a module's import inside of ``around``, then call ``then``; now if it is imported.

    Args:
        name: Full name of the module.
        around: Gives the context that the module runs in.
        then: Called once, after the module has run and before its importer goes on.
    """
    if name in sys.modules:
        then()
    elif not any(isinstance(each, _AtImport) and each.name == name for each in sys.meta_path):
        sys.meta_path.insert(0, _AtImport(name, around, then))


class _AtImport(importlib.abc.MetaPathFinder):
    """Finds one module as Python does, and wraps its execution."""

    def __init__(
        self, name: str, around: Callable[[], AbstractContextManager], then: Callable[[], None]
    ) -> None:
        self.name = name
        self.around = around
        self.then = then

    def find_spec(
        self, name: str, path: Any = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_inside(module: types.ModuleType) -> None:
                with self.around():
                    execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)  # not before: a failed import may be tried again
                    self.then()

            spec.loader.exec_module = execute_inside
        return spec


# -- versions ------------------------------------------------------------------------------------

# What breaks outright, whatever setup.cfg pins: (names of the distribution, first version that
# fails, symptom, what to install instead).
_LIMITS = (
    (('numpy',), '3', 'nothing here has been tested with NumPy 3', 'numpy>=1.26,<3'),
    (('mmcv', 'mmcv-lite'), '2.2', 'MMagic asserts mmcv < 2.2.0', 'mmcv-lite==2.1.0'),
    (('mmengine',), '1', 'MMagic asserts mmengine < 1.0.0', 'mmengine>=0.10.7,<0.11'),
    (('mmagic',), '1.3', 'the fixes here are written for MMagic 1.2.0', 'mmagic==1.2.0'),
)


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Check the versions before MMagic is imported."""
    check_versions()
    yield


def check_versions() -> None:
    """Refuse packages that MMagic 1.2.0 cannot be imported with.

    Symptom without it: an AssertionError from ``mmagic/__init__.py``, which does not say what to
    do. May go with MMagic 1.2.0 itself.

    Raises:
        ImportError: naming every wrong package, the version found and the command that fixes it.
    """
    wrong, fixes = [], []
    for names, limit, symptom, fix in _LIMITS:
        found = {name: version for name in names if (version := installed(name))}
        if not found:
            wrong.append(f'{" or ".join(names)} is not installed')
            fixes.append(fix)
        for name, version in found.items():
            if _release(version) >= _release(limit):
                wrong.append(f'{name} {version} is installed, below {limit} is needed ({symptom})')
                fixes.append(fix)
    if wrong:
        packages = ' '.join(f"'{fix}'" for fix in dict.fromkeys(fixes))
        raise ImportError(
            f'ugatit_mm cannot work with the installed packages: {"; ".join(wrong)}. '
            f'Fix it with: {sys.executable} -m pip install {packages}\n'
            f'For a full check: {sys.executable} -m {DOCTOR}'
        )


def installed(name: str) -> str | None:
    """Return the version of a distribution, ``None`` where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: ``'2.1.0rc1'`` gives ``(2, 1, 0)``."""
    release = re.match(r'\d+(\.\d+)*', version)
    return tuple(int(part) for part in release[0].split('.')) if release else ()


# -- noise ---------------------------------------------------------------------------------------


def hush_import_warnings() -> None:
    """Ignore the warnings that other packages give about their own code while being imported.

    Symptom: a dozen lines at every start that a user can do nothing about. Each filter may go with
    the package's pin.
    """
    for message, category, module in (
        ('`torch.utils._pytree._register_pytree_node`', FutureWarning, 'transformers|diffusers'),
        (r'`\w+` is deprecated and will be removed in version', FutureWarning, 'diffusers'),
        ('`torch.jit.script` is (deprecated|not supported)', FutureWarning, 'torch.jit'),
        ('Importing from timm', FutureWarning, 'timm'),
        ('Overwriting tiny_vit_', UserWarning, 'controlnet_aux'),
    ):
        warnings.filterwarnings('ignore', message, category, module)


# -- torch.load ----------------------------------------------------------------------------------


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the log history in MMEngine's checkpoints.

    Symptom: resuming fails with ``Weights only load failed ... HistoryBuffer``, as torch >= 2.6
    reads little more than tensors and MMEngine 0.10.7 does not list its own class. It is listed
    here with the parts of NumPy that it holds. Code in a checkpoint is still refused, which
    ``weights_only=False`` would run. May go when MMEngine lists them itself.
    """
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer

    array = np.zeros(1)
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_history_statistic, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            array.__reduce__()[0],  # numpy.core.multiarray._reconstruct
            array[0].__reduce__()[0],  # numpy.core.multiarray.scalar
            *{type(np.dtype(code)) for code in '?bBhHiIlLqQefd'},  # numpy.dtypes.Float64DType, ...
        ]
    )


def _history_statistic(owner: Any, name: str) -> Callable[..., Any]:
    """Replaces ``getattr`` in a checkpoint, which would give access to every module.

    A HistoryBuffer is saved with its statistics, and pickle writes such a method as
    ``getattr(HistoryBuffer, 'mean')``.

    Raises:
        pickle.UnpicklingError: anything but these methods is asked for.
    """
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f'a checkpoint may not ask for getattr({owner!r}, {name!r})')


# -- start-up ------------------------------------------------------------------------------------


def bring_find_loader_back() -> None:
    """Let MMEngine and MMCV ask ``pkgutil.find_loader`` whether there is an ``mmcv._ext``.

    Symptom: ``AttributeError`` at the start of each run on Python 3.14, which has no such function.
    May go when they ask ``importlib.util.find_spec``.
    """
    if not hasattr(pkgutil, 'find_loader'):
        vars(pkgutil)['find_loader'] = importlib.util.find_spec


def format_configs_once() -> None:
    """Let MMEngine cache the texts of configs that it has formatted.

    Symptom: the runner asks for the config's text six times while it starts, and again for each
    checkpoint, and each time yapf takes a tenth of a second for the same result. May go when
    ``Config.pretty_text`` caches it.
    """
    from mmengine.config import config

    original = config.FormatCode
    if hasattr(original, '__wrapped__'):
        return
    results: dict[tuple[str, str], tuple[str, bool]] = {}

    @functools.wraps(original)
    def format_code(text: str, **options: Any) -> tuple[str, bool]:
        key = (text, repr(options))
        if key not in results:
            if len(results) == 8:  # old texts
                results.clear()
            results[key] = original(text, **options)
        return results[key]

    config.FormatCode = format_code


def pass_over_byte_order_marks() -> None:
    """Let MMEngine read configs that begin with a byte-order mark, as Windows' editors save them.

    Symptom: ``invalid non-printable character U+FEFF``. May go when MMEngine reads ``utf-8-sig``.
    """
    from mmengine.config import config

    def open_text(file: Any, mode: str = 'r', **options: Any) -> Any:
        if mode == 'r' and options.get('encoding') == 'utf-8':
            options['encoding'] = 'utf-8-sig'
        return open(file, mode, **options)

    vars(config)['open'] = open_text


# -- NumPy 2 -------------------------------------------------------------------------------------


@contextlib.contextmanager
def numpy_bool8() -> Iterator[None]:
    """Give NumPy its old name ``bool8`` while the module of MMagic that needs it is imported.

    Symptom: ``module 'numpy' has no attribute 'bool8'`` with NumPy 2. May go with MMagic 1.2.0
    itself.
    """
    import numpy as np

    if 'bool8' in vars(np) or _release(np.__version__) < (2,):
        yield
        return
    np.bool8 = np.bool_
    try:
        yield
    finally:
        del np.bool8


# -- mediapipe -----------------------------------------------------------------------------------


@contextlib.contextmanager
def mediapipe_hidden() -> Iterator[None]:
    """Hide mediapipe while MMagic's inferencers are imported.

    Symptom: ``module 'mediapipe' has no attribute 'solutions'`` on ``import mmagic.apis``, since
    mediapipe 0.10.30 dropped it. One inferencer (none of ours) imports controlnet_aux, which works
    without mediapipe: only its face detector needs it. May go when controlnet_aux no longer uses
    ``mediapipe.solutions``.
    """
    version = installed('mediapipe')
    if version is None or _release(version) < (0, 10, 30) or 'mediapipe' in sys.modules:
        yield
        return
    sys.modules['mediapipe'] = None  # an import raises ImportError
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', "The module 'mediapipe' is not installed")
            yield
    finally:
        del sys.modules['mediapipe']


# -- mmcv.ops ------------------------------------------------------------------------------------


@contextlib.contextmanager
def mmcv_ext_stand_in() -> Iterator[None]:
    """Put a stand-in for ``mmcv._ext`` in place while MMagic's models are imported.

    Symptom: ``No module named 'mmcv._ext'`` on ``import mmagic.models`` with mmcv-lite, as three
    editors (none of them U-GAT-IT) import ``mmcv.ops``, whose compiled part mmcv-lite lacks. Where
    the full mmcv is installed, nothing is done.

    The stand-in is removed afterwards, together with the ``mmcv.ops`` that was built on it: mmcv
    then reports its true state (``mmcv_full_available()`` is False, ``import mmcv.ops`` fails as it
    does in mmcv-lite), and an operator that an editor has already imported raises
    :class:`RuntimeError` when it is called. May go when MMagic imports ``mmcv.ops`` lazily.
    """
    if importlib.util.find_spec('mmcv._ext') is not None:
        yield
        return

    def missing(operator: str) -> Callable[..., Any]:
        if operator.startswith('__'):
            raise AttributeError(operator)  # what import machinery and inspection ask for

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(
                f'mmcv.ops: {operator} needs the compiled mmcv, but mmcv-lite is installed. '
                f'Fix it with: {sys.executable} -m pip uninstall -y mmcv-lite && '
                f'{sys.executable} -m pip install --no-binary mmcv mmcv==2.1.0'
            )

        return refuse

    stand_in = types.ModuleType('mmcv._ext', 'Stand-in for the part that mmcv-lite lacks.')
    stand_in.__getattr__ = missing
    sys.modules['mmcv._ext'] = stand_in
    try:
        yield
    finally:
        for name in list(sys.modules):
            if f'{name}.'.startswith(('mmcv._ext.', 'mmcv.ops.')):
                del sys.modules[name]
        vars(sys.modules['mmcv']).pop('ops', None)


# -- initialisation ------------------------------------------------------------------------------


def fix_generation_init_weights() -> None:
    """Let MMagic's own CycleGAN and Pix2Pix initialise themselves, as they do in training.

    Symptom: ``UnboundLocalError: ... 'init_info'`` from ``generation_init_weights``, which records
    a message for every module, but defines it for convolutions and BatchNorm only. The fixed
    function records it once, at the end; the weights drawn are the same. May go when MMagic's
    function passes the probe below.
    """
    from mmagic.models.utils import model_utils
    from mmengine.model.weight_init import update_init_info
    from torch import nn

    original = model_utils.generation_init_weights
    probe = nn.Identity()
    probe._params_init_info = {}  # what MMEngine gives every module while it initialises
    try:
        original(probe)
        return
    except UnboundLocalError:
        pass

    @functools.wraps(original)
    def generation_init_weights(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        notes = [(m, vars(m).pop('_params_init_info', None)) for m in module.modules()]
        try:
            original(module, *args, **kwargs)
        finally:
            for m, note in notes:
                if note is not None:
                    m._params_init_info = note
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info='Initialized by `generation_init_weights`')

    for name, user in list(sys.modules.items()):
        if name.startswith('mmagic.') and vars(user).get(original.__name__) is original:
            setattr(user, original.__name__, generation_init_weights)
