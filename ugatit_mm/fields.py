"""The fields of a config: what takes each, which there are, and what type they have."""

import difflib
import inspect
import os
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

from mmagic import registry as registries
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from .domains import DOMAINS, domain_names
from .messages import first_line, listed, printable
from .models.base import TRANSLATION_MODELS
from .values import Typed, fitted, in_words, members, outermost, read, type_of

MISSING: Any = object()
# Text as it is typed, whatever takes it: paths, where a ~ is the home folder, and names.
PATHS = (
    'ann_file',
    'cache',
    'data_root',
    'load_from',
    'out_dir',
    'save_dir',
    'weights',
    'work_dir',
)
NAMES = ('experiment_name', 'name', 'prefix', 'type')
OF_NAMES = ('domains', 'data_prefix')  # and all in these
# MMEngine's own names in default_hooks; it takes others, too.
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
# What MMEngine's runner reads besides the fields that it is built from.
EXTRAS = ('activation_checkpointing', 'compile', 'efficient_conv_bn_eval', 'runner_type')
READ = {*inspect.signature(Runner.__init__).parameters, *EXTRAS}
# Variables of the package's configs, which they use while they are read and nobody else does.
VARIABLES = (
    'domain_names',
    'epoch_iters',
    'meta_keys',
    'optimizer',
    'pack_inputs',
    'paper_images',
    'test_pipeline',
    'train_pipeline',
    'vis_backends',
)

# The registry of what stands in a field, at the top and inside of something.
TOP = {
    'model': 'MODELS',
    'data_preprocessor': 'MODELS',
    'default_hooks': 'HOOKS',
    'custom_hooks': 'HOOKS',
    'val_evaluator': 'METRICS',
    'test_evaluator': 'METRICS',
    'optim_wrapper': 'OPTIM_WRAPPERS',
    'param_scheduler': 'PARAM_SCHEDULERS',
    'train_cfg': 'LOOPS',
    'val_cfg': 'LOOPS',
    'test_cfg': 'LOOPS',
    'visualizer': 'VISUALIZERS',
    'log_processor': 'LOG_PROCESSORS',
    'model_wrapper_cfg': 'MODEL_WRAPPERS',
}
INSIDE = {
    'batch_sampler': 'DATA_SAMPLERS',
    'collate_fn': 'FUNCTIONS',
    'dataset': 'DATASETS',
    'extractor': 'MODELS',
    'metrics': 'METRICS',
    'optimizer': 'OPTIMIZERS',
    'pipeline': 'TRANSFORMS',
    'sampler': 'DATA_SAMPLERS',
    'transforms': 'TRANSFORMS',
    'vis_backends': 'VISBACKENDS',
    'worker_init_fn': 'FUNCTIONS',
}
# What a dict without a type goes to, or the fields that are read from it.
UNTYPED: dict[str, Callable | dict[str, Any] | tuple[str, ...]] = {
    'train_dataloader': DataLoader,
    'val_dataloader': DataLoader,
    'test_dataloader': DataLoader,
    'randomness': {'seed': int | None, 'diff_rank_seed': bool, 'deterministic': bool},
    'env_cfg': ('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': set_multi_processing,
    'domains': DOMAINS,
    'model.domains': DOMAINS,
}
HOLD = ('default_hooks', 'optim_wrapper')  # dicts of what is built, by names
NEEDS_TYPE = ('HOOKS', 'METRICS', 'DATASETS', 'TRANSFORMS', 'OPTIMIZERS')
# What MMEngine takes out of a config before it builds the rest, everywhere and by registry.
TAKEN_OUT = {
    '': ('type', '_scope_', 'num_batch_per_epoch', 'disable_subprocess_warning'),
    'HOOKS': ('priority',),
    'PARAM_SCHEDULERS': ('convert_to_iter_based', 'epoch_length'),
}


class ConfigError(ValueError):
    """A config, or an option, is wrong; the message is a line that names the file or the field."""


class Takes(NamedTuple):
    """What a class takes from a config.

    Attributes:
        fields: Type of each named field, ``Any`` where it says none.
        ours: Those that the project says.
        others: The type of fields by any other name; ``None`` where there are no others.
    """

    fields: dict[str, Any]
    ours: frozenset[str] = frozenset()
    others: Any = None


@cache
def takes(kind: Callable) -> Takes:
    """Read off a constructor, or a function, what it takes.

    ``**fields: Any`` of a class of the project are its base's; of another they may be anything.
    """
    constructors = [kind]
    if inspect.isclass(kind):
        constructors = [vars(c)['__init__'] for c in kind.__mro__ if '__init__' in vars(c)]
    fields: dict[str, Any] = {}
    ours: set[str] = set()
    others: Any = None
    for constructor in constructors:
        if constructor is object.__init__:
            break
        try:
            parameters = list(inspect.signature(constructor).parameters.values())
        except (TypeError, ValueError):
            return Takes(fields, frozenset(ours), Any)
        own = constructor.__module__.startswith('ugatit_mm.')
        hints = _hints(constructor)
        more: Any = None
        for parameter in parameters[inspect.isclass(kind) :]:
            hint = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_KEYWORD:
                more = hint
            elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in fields:
                if parameter.default is None and hint is not Any:
                    hint = typing.Union[hint, None]  # noqa: UP007
                fields[parameter.name] = hint
                ours |= {parameter.name} if own else set()
        if more is None:
            break
        if not own or more is not Any:
            others = more
    return Takes(fields, frozenset(ours), others)


def _hints(constructor: Callable) -> dict[str, Any]:
    try:
        return typing.get_type_hints(constructor)
    except (AttributeError, NameError, TypeError):  # names that are there for type checkers only
        return {}


def check_config(
    cfg: Config, before: Mapping[str, Any] | None = None, options: Collection[str] = ()
) -> None:
    """See that each field is one that something takes, of a type that it takes.

    Values that were typed (:class:`Typed`) become what their field takes, and a ``~`` that begins a
    path the home folder.

    Args:
        cfg: The config with its options; its values are changed.
        before: The config as its file has it.
        options: Keys of the options.

    Raises:
        ConfigError: Nothing takes a field, a value is of another type, or a name is unknown.
    """
    _Check(cfg, before or {}, options).run()


def check_top(cfg: Config, before: Mapping[str, Any], options: Collection[str]) -> None:
    """See that what the runner takes is of the outermost type, before more is done with it.

    Raises:
        ConfigError: They are not, or there is no model.
    """
    check = _Check(cfg, before, options)
    for key, hint in check.top.fields.items():
        if key in cfg:
            cfg[key] = check.value(cfg[key], key, hint, ours=True)
    if not isinstance(cfg.get('model'), Mapping):
        raise ConfigError(f'{cfg.filename} has no model: give a config of a training')


class _Check:
    """One check of a config, which knows what its file said and what the options are."""

    def __init__(self, cfg: Config, before: Mapping[str, Any], options: Collection[str]) -> None:
        self.cfg, self.before, self.options = cfg, before, options
        self.model = TRANSLATION_MODELS.get(str(self.at('model.type')))
        runner = self.find('runner_type', cfg.get('runner_type', 'Runner'), 'RUNNERS')
        # What is inside of dicts is checked by itself, and more exactly.
        hints = {key: outermost(hint) for key, hint in takes(runner).fields.items()}
        self.top = Takes(hints)

    def run(self) -> None:
        for key in self.cfg:
            self.field(self.cfg, key, key, self.top, TOP.get(key, '') if key in READ else '')
        try:
            domain_names(self.cfg.model.get('domains'))
        except ValueError as error:
            self.refuse('model.domains', str(error))

    def field(self, node: Any, key: Any, where: str, about: Takes | None, registry: str) -> None:
        """Check what is inside a value, then the value."""
        value = node[key]
        if isinstance(value, Mapping):
            self.mapping(value, where, registry)
        elif isinstance(value, (list, tuple)):
            for index, each in enumerate(value):
                if isinstance(each, (Mapping, Typed)):
                    self.field(value, index, f'{where}.{index}', None, registry)
        hint, ours = Any, False
        if about:
            hint = about.fields.get(key, about.others or Any)
            ours = key in about.ours
        new = self.value(value, where, hint, ours)
        if new is not value:
            node[key] = new

    def mapping(self, node: Any, where: str, registry: str) -> None:
        """Check the fields of a dict, by what it is the config of."""
        if registry == 'METRICS' and 'metrics' in node:
            registry = 'EVALUATORS'
        kind = self.kind(node, where, registry)
        about = kind if isinstance(kind, Takes) else kind and takes(kind)
        if about:
            there = {*about.fields, *TAKEN_OUT[''], *TAKEN_OUT.get(registry, ())}
            for key in node:
                if key not in there:
                    self.unknown(f'{where}.{key}', about.fields, about.others is not None)
        for key in list(node):
            inside = INSIDE.get(key, registry if registry == 'MODELS' or where in HOLD else '')
            self.field(node, key, f'{where}.{key}', about, inside)

    def kind(self, node: Mapping[str, Any], where: str, registry: str) -> Callable | Takes | None:
        """What takes a dict; ``None`` if that is not known."""
        if '_scope_' in node:
            return None
        if registry and where not in HOLD and 'type' in node:
            return self.find(f'{where}.type', node['type'], registry)
        names = UNTYPED.get(where)
        if where == 'model.loss_config' and self.model:
            names = tuple(self.model.LOSS_WEIGHTS)
        elif where == 'optim_wrapper':
            constructor = node.get('constructor')
            if constructor is not None:
                self.find('optim_wrapper.constructor', constructor, 'OPTIM_WRAPPER_CONSTRUCTORS')
            if constructor == 'UGATITOptimWrapperConstructor' and self.model:
                names = (*self.model.OPTIMIZED, 'constructor', 'weight_decay_scope')
        elif where == 'default_hooks' and self.options:
            # An option for a hook that is not there would be lost, or a hook without a type.
            new = [name for name in node if place(node, [name, 'type']) is not MISSING]
            names = (*self.before.get(where, {}), *MMENGINE_HOOKS, *new)
        elif registry == 'OPTIM_WRAPPERS' and where.startswith('optim_wrapper.'):
            names = OptimWrapper
        elif registry in NEEDS_TYPE and where not in HOLD:
            parent = self.at(where.rpartition('.')[0])
            near = self.near(where, parent if isinstance(parent, Mapping) else ())
            self.refuse(where, f'{where} has no type{near}')
        if isinstance(names, tuple):
            names = dict.fromkeys(names, Any)
        return Takes(names) if isinstance(names, dict) else names

    def find(self, where: str, name: Any, registry: str) -> Callable:
        """Return what is registered under a name."""
        if callable(name):
            return name
        known: Registry | None = getattr(registries, registry, FUNCTIONS)
        found = known.get(str(name)) if known is not None and isinstance(name, str) else None
        if found is not None:
            return found
        names: list[str] = []
        while known is not None:
            names, known = [*names, *known.module_dict], known.parent
        near = difflib.get_close_matches(str(name), names, 1)
        hint = f': is it {near[0]}?' if near else f': there are {listed(sorted(names))}'
        return self.refuse(where, f'{where} {_shown(name)} is unknown{hint}')

    def value(self, value: Any, where: str, hint: Any, ours: bool) -> Any:
        """Return a value as its field takes it."""
        words = where.split('.')
        optional = any(f'{where}.'.startswith(f'{option}.') for option in self.options)
        if hint is Any:
            if words[-1] in PATHS:
                hint = str | os.PathLike | None
            elif words[-1] in NAMES or (len(words) > 1 and words[-2] in OF_NAMES):
                hint = str
            elif optional:
                hint = type_of(self.at(where, self.before))
        is_path = words[-1] in PATHS or any(kind is os.PathLike for kind in members(hint))
        if isinstance(value, Typed):
            verbatim = is_path or words[-1] in NAMES or words[-2:-1] == ['domains']
            value = read(value, hint, verbatim)
            if is_path and value == '':
                raise ConfigError(f'{where} is empty: give a path')
        if is_path and isinstance(value, str):
            value = os.path.expanduser(value)
        # Of others' fields only options are checked: what they say of their types may be wrong.
        if hint is Any or not (ours or (optional and value is not None)):
            return value
        try:
            return fitted(value, hint)
        except TypeError:
            return self.refuse(where, f'{where} takes {in_words(hint)}, got {_shown(value)}')

    # ------------------------------------------------------------------------------- messages

    def unknown(self, where: str, names: Iterable[str], others: bool) -> None:
        """Refuse a field that nothing takes; where others may be, an option that looks like one."""
        option = self.option(where)
        near = self.near(where, names, 0.8 if others else 0.6)
        if others and not (near and option):
            return
        if not near:
            parent = where.rpartition('.')[0]
            near = f': {parent} has {", ".join(sorted(names)) or "no fields"}'
        if option:
            raise ConfigError(f'unknown option {option}{near}')
        self.refuse(where, f'unknown field {where}{near}')

    def near(self, where: str, names: Iterable[str], cutoff: float = 0.6) -> str:
        parent, _, word = where.rpartition('.')
        others = [name for name in names if isinstance(name, str) and name != word]
        near = difflib.get_close_matches(word, others, 1, cutoff)
        return f': is it {parent}.{near[0]}?' if near else ''

    def option(self, where: str) -> str | None:
        """The option that made a field; ``None`` of one that the file has."""
        if self.at(where, self.before) is not MISSING:
            return None
        for option in self.options:
            if f'{option}.'.startswith(f'{where}.') or f'{where}.'.startswith(f'{option}.'):
                return option
        return None

    def at(self, where: str, node: Any = None) -> Any:
        """What stands in a place; ``MISSING`` if there is nothing."""
        node = self.cfg if node is None else node
        return place(node, where.split('.'))

    def refuse(self, where: str, message: str) -> NoReturn:
        """Raise a :class:`ConfigError`, which names the file if it is the file's mistake."""
        optional = any(f'{where}.'.startswith(f'{option}.') for option in self.options)
        named = '' if optional or self.option(where) else f'{self.cfg.filename}: '
        raise ConfigError(f'{named}{message}')


def place(node: Any, words: Sequence[str]) -> Any:
    """What stands in a place of nested dicts and lists; ``MISSING`` if there is nothing."""
    for word in words:
        if isinstance(node, (Mapping, Config)) and word in node:
            node = node[word]
        elif isinstance(node, (list, tuple)) and word.isdecimal() and int(word) < len(node):
            node = node[int(word)]
        else:
            return MISSING
    return node


def places(node: Any, wanted: Callable[[str, Any], bool], where: str = '') -> Iterator[str]:
    """Where in nested dicts and lists something is wanted, by its key and value."""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        inside = node.items()
    elif isinstance(node, (list, tuple)):
        inside = enumerate(node)
    for key, value in inside:
        here = f'{where}.{key}' if where else str(key)
        if wanted(str(key), value):
            yield here
        yield from places(value, wanted, here)


def _shown(value: Any) -> str:
    return printable(repr(value))


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """Let what a class says of its fields, while it is built from a config, be a line.

    Raises:
        ConfigError: In place of an error of a value that was raised while MMEngine built.
    """
    try:
        yield
    except ConfigError:
        raise
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        builds, node = _built(error.__traceback__)
        if not builds:
            raise
        read = {key: cfg[key] for key in cfg if key in READ}
        kinds = places(read, lambda _, value: place(value, ['type']) == node.get('type', MISSING))
        whole = places(read, lambda _, value: 'type' in node and _is_part(value, node))
        found = next(whole, None) or next(kinds, cfg.filename)
        raise ConfigError(f'{found}: {first_line(error)}') from error


def _is_part(part: Any, whole: Mapping[str, Any]) -> bool:
    return (
        isinstance(part, Mapping)
        and 'type' in part
        and all(key in whole and whole[key] == part[key] for key in part)
    )


def _built(traceback: TracebackType | None) -> tuple[bool, Mapping[str, Any]]:
    """Whether something was being built when an error came, and the innermost config it was of."""
    builds: bool = False
    node: Mapping[str, Any] = {}
    while traceback is not None:
        frame = traceback.tb_frame
        module, function = frame.f_globals.get('__name__', ''), frame.f_code.co_name
        if module.startswith('mmengine.') and function.startswith('build_'):
            builds = True
            given = frame.f_locals.get('cfg')
            node = given if isinstance(given, Mapping) and 'type' in given else node
        elif function == 'before_train':  # what hooks have to say of the model
            builds, node = True, {'type': type(frame.f_locals.get('self')).__name__}
        traceback = traceback.tb_next
    return builds, node
