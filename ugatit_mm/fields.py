"""The fields of a config: what takes each, which exist, and their types."""

import difflib
import inspect
import os
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple, NoReturn

from mmagic import registry as registries
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from .domains import DOMAINS, domain_names
from .messages import first_line, listed, printable
from .models.base import TRANSLATION_MODELS
from .values import Typed, fitted, in_words, members, outermost, read, type_of

MISSING: Any = object()
INNER = {'self', 'runner', 'dataloader', 'params', 'parameters'}  # never set in a config
# Text as typed, whatever takes it: paths, where a ~ is the home folder, and names.
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
OF_NAMES = ('domains', 'data_prefix')  # and all fields in these
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
EXTRAS = {
    'activation_checkpointing': list | None,
    'compile': bool | dict | None,
    'efficient_conv_bn_eval': list | None,
    'runner_type': str,
}
READ = {*inspect.signature(Runner).parameters, *EXTRAS} - {'cfg'}
# Variables of the package's configs, used only while a config is read.
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

# The registry of what is built from a field, at the top level and nested.
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
# What takes a dict without a type, or the fields that are read from it.
UNTYPED: dict[str, Callable | dict[str, Any] | tuple[str, ...]] = {
    'train_dataloader': DataLoader,
    'val_dataloader': DataLoader,
    'test_dataloader': DataLoader,
    'auto_scale_lr': {'base_batch_size': int, 'enable': bool},
    'randomness': {'seed': int | None, 'diff_rank_seed': bool, 'deterministic': bool},
    'env_cfg': ('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': set_multi_processing,
    'domains': DOMAINS,
    'model.domains': DOMAINS,
}
HOLD = ('default_hooks', 'optim_wrapper')  # dicts of configs by name
NEEDS_TYPE = ('HOOKS', 'METRICS', 'DATASETS', 'TRANSFORMS', 'OPTIMIZERS')
# Keys that MMEngine pops from a config before it builds from it, in general and by registry.
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
        fields: Type of each named field, ``Any`` where it has no annotation.
        ours: Those of classes of the project.
        others: Type of fields with other names; ``None`` where it takes no others.
    """

    fields: dict[str, Any]
    ours: frozenset[str] = frozenset()
    others: Any = None


@cache
def takes(kind: Callable) -> Takes:
    """Read from the signature of a constructor, or a function, what it takes.

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
    """Its annotations, resolved one by one: some names exist for type checkers only."""
    hints = {}
    for name, said in getattr(constructor, '__annotations__', {}).items():
        one = SimpleNamespace(__annotations__={name: said})
        with suppress(AttributeError, NameError, TypeError):
            hints |= typing.get_type_hints(one, getattr(constructor, '__globals__', None))
    return hints


def check_config(
    cfg: Config, before: Mapping[str, Any] | None = None, options: Collection[str] = ()
) -> None:
    """Check that something takes each field, and its type.

    Values that were typed (:class:`Typed`) are converted to their field's type, and a ``~`` at the
    start of a path to the home folder.

    Args:
        cfg: The config with its options; its values are changed.
        before: The config of the file, without options.
        options: Keys of the options.

    Raises:
        ConfigError: Nothing takes a field, a value is of another type, or a name is unknown.
    """
    _Check(cfg, before or {}, options).run()


def check_top(cfg: Config, before: Mapping[str, Any], options: Collection[str]) -> None:
    """Check the outermost types of what the runner takes, before it is used.

    Raises:
        ConfigError: A type is wrong.
    """
    check = _Check(cfg, before, options)
    for key, hint in check.top.fields.items():
        if key in cfg:
            hint = check.hint(key, hint)
            value = cfg[key]
            value = check.read(value, key, hint) if isinstance(value, Typed) else value
            cfg[key] = check.fitted(value, key, hint, ours=True)


class _Check:
    """One check of a config, with the values of its file and the options."""

    def __init__(self, cfg: Config, before: Mapping[str, Any], options: Collection[str]) -> None:
        self.cfg, self.before, self.options = cfg, before, options
        self.model = TRANSLATION_MODELS.get(str(self.at('model.type')))
        runner = self.find('runner_type', cfg.get('runner_type', 'Runner'), 'RUNNERS')
        # The content of dicts is checked separately, and more strictly.
        hints = {key: outermost(hint) for key, hint in takes(runner).fields.items()}
        hints |= EXTRAS
        hints['load_from'] = str | os.PathLike | Mapping | None  # a file, or one for each part
        hints['log_level'] = typing.Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']
        self.top = Takes(hints)

    def run(self) -> None:
        for key in self.cfg:
            self.field(self.cfg, key, key, self.top, TOP.get(key, '') if key in READ else '')
        try:
            domain_names(self.cfg.model.get('domains'))
        except ValueError as error:
            given = [option for option in self.options if option.startswith('model.domains.')]
            self.refuse([*given, 'model.domains'][0], str(error))

    def field(self, node: Any, key: Any, where: str, about: Takes | None, registry: str) -> None:
        """Read a typed value, check its content, then the value."""
        hint, ours = Any, False
        if about:
            hint = about.fields.get(key, about.others or Any)
            ours = key in about.ours
        hint = self.hint(where, hint)
        if isinstance(node[key], Typed):
            node[key] = self.read(node[key], where, hint)
        value = node[key]
        if isinstance(value, Mapping):
            self.mapping(value, where, registry)
        elif isinstance(value, (list, tuple)):
            for index, each in enumerate(value):
                if isinstance(each, (Mapping, Typed)):
                    self.field(value, index, f'{where}.{index}', None, registry)
        new = self.fitted(value, where, hint, ours)
        if new is not value:
            node[key] = new

    def mapping(self, node: Any, where: str, registry: str) -> None:
        """Check the fields of a dict, by what is built from it."""
        if registry == 'METRICS' and 'metrics' in node:
            registry = 'EVALUATORS'
        kind = self.kind(node, where, registry)
        about = kind if isinstance(kind, Takes) else kind and takes(kind)
        if about:
            there = {*about.fields, *TAKEN_OUT[''], *TAKEN_OUT.get(registry, ())}
            name = where if isinstance(kind, Takes) else getattr(kind, '__name__', where)
            for key in node:
                if key not in there:
                    self.unknown(f'{where}.{key}', about.fields, about.others is not None, name)
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
        elif where.startswith('optim_wrapper.') and where.endswith('.clip_grad'):
            by_value = node.get('type') == 'value'
            names = clip_grad_value_ if by_value else clip_grad_norm_
            if (needed := 'clip_value' if by_value else 'max_norm') not in node:
                self.refuse(where, f'{where} needs {needed}: set {where}.{needed}')
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

    def given(self, where: str) -> bool:
        """Whether an option sets a value."""
        return any(f'{where}.'.startswith(f'{option}.') for option in self.options)

    def hint(self, where: str, hint: Any) -> Any:
        """The type of a field, also of one without an annotation."""
        if hint is not Any:
            return hint
        if where.rpartition('.')[2] in PATHS:
            return str | os.PathLike | None
        if _takes_name(where):
            return str
        return type_of(self.at(where, self.before)) if self.given(where) else Any

    def read(self, text: Typed, where: str, hint: Any) -> Any:
        """Convert a typed value."""
        path = _takes_path(where, hint)
        if path and text == '':
            raise ConfigError(f'{where} is empty: give a path')
        return read(text, hint, path or _takes_name(where))

    def fitted(self, value: Any, where: str, hint: Any, ours: bool) -> Any:
        """Convert a value to its field's type."""
        if isinstance(value, str) and _takes_path(where, hint):
            value = os.path.expanduser(value)
        # Of other packages' fields only options are checked: their annotations may be wrong.
        if hint is Any or not (ours or (self.given(where) and value is not None)):
            return value
        try:
            return fitted(value, hint)
        except TypeError:
            return self.refuse(where, f'{where} takes {in_words(hint)}, got {_shown(value)}')

    # ------------------------------------------------------------------------------- messages

    def unknown(self, where: str, names: Iterable[str], others: bool, taker: str) -> None:
        """Refuse a field that nothing takes; with ``others``, an option close to a known one."""
        option = self.option(where)
        near = self.near(where, names, 0.8 if others else 0.6)
        if others and not (near and option):
            return
        if not near:
            near = f': {taker} has {", ".join(sorted({*names} - INNER)) or "no fields"}'
        if option:
            raise ConfigError(f'unknown option {option}{near}')
        self.refuse(where, f'unknown field {where}{near}')

    def near(self, where: str, names: Iterable[str], cutoff: float = 0.6) -> str:
        parent, _, word = where.rpartition('.')
        others = [name for name in names if isinstance(name, str) and name != word]
        near = difflib.get_close_matches(word, others, 1, cutoff)
        return f': is it {parent}.{near[0]}?' if near else ''

    def option(self, where: str) -> str | None:
        """The option that added a field; ``None`` if the file has it."""
        if self.at(where, self.before) is not MISSING:
            return None
        for option in self.options:
            if f'{option}.'.startswith(f'{where}.') or f'{where}.'.startswith(f'{option}.'):
                return option
        return None

    def at(self, where: str, node: Any = None) -> Any:
        """The value at a place; ``MISSING`` if there is none."""
        node = self.cfg if node is None else node
        return place(node, where.split('.'))

    def refuse(self, where: str, message: str) -> NoReturn:
        """Raise a :class:`ConfigError`, which names the file if the mistake is in it."""
        named = '' if self.given(where) or self.option(where) else f'{self.cfg.filename}: '
        raise ConfigError(f'{named}{message}')


def _takes_path(where: str, hint: Any) -> bool:
    return where.rpartition('.')[2] in PATHS or os.PathLike in members(hint)


def _takes_name(where: str) -> bool:
    *outer, word = where.split('.')
    return word in NAMES or outer[-1:] in ([name] for name in OF_NAMES)


def place(node: Any, words: Sequence[str]) -> Any:
    """The value at a place of nested dicts and lists; ``MISSING`` if there is none."""
    for word in words:
        if isinstance(node, (Mapping, Config)) and word in node:
            node = node[word]
        elif isinstance(node, (list, tuple)) and word.isdecimal() and int(word) < len(node):
            node = node[int(word)]
        else:
            return MISSING
    return node


def places(node: Any, wanted: Callable[[str, Any], bool], where: str = '') -> Iterator[str]:
    """Places in nested dicts and lists whose key and value are wanted."""
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
    """Turn an error of a class that is built from a config into a line that names the field.

    Raises:
        ConfigError: In place of an error of a value that was raised while MMEngine built.
    """
    try:
        yield
    except (
        AssertionError,
        AttributeError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        where = _built(error.__traceback__, cfg)
        if where is None or type(error).__module__.startswith('ugatit_mm.'):
            raise
        raise ConfigError(f'{where or cfg.filename}: {first_line(error)}') from error


# Functions of MMEngine's runner, and the field that each reads.
READERS = {
    '_maybe_compile': 'compile',
    'scale_lr': 'auto_scale_lr',
    'set_randomness': 'randomness',
    'setup_env': 'env_cfg',
    'turn_on_activation_checkpointing': 'activation_checkpointing',
    'turn_on_efficient_conv_bn_eval': 'efficient_conv_bn_eval',
}
# Arguments of the other functions that hold what they build from.
GIVEN = ('cfg', 'dataloader', 'evaluator', 'optim_wrapper')


def _built(traceback: TracebackType | None, cfg: Config) -> str | None:
    """The field that was being built at an error: '' if unknown, ``None`` if none was."""
    found = None
    while traceback is not None:
        frame = traceback.tb_frame
        module, function = frame.f_globals.get('__name__', ''), frame.f_code.co_name
        if function == 'before_train':  # errors of hooks about the model
            found = _field_of({'type': type(frame.f_locals.get('self')).__name__}, cfg)
        elif module.startswith('mmengine.') and function in READERS:
            found = READERS[function]
        elif module.startswith('mmengine.') and function.startswith('build_'):
            nodes = [frame.f_locals[name] for name in GIVEN if name in frame.f_locals]
            found = next(filter(None, (_field_of(node, cfg) for node in nodes)), found or '')
        traceback = traceback.tb_next
    return found


def _field_of(node: Any, cfg: Config) -> str:
    """The field that something was built from: equal to it, part of it, or of its type."""
    read = {key: cfg[key] for key in cfg if key in READ}
    if not isinstance(node, Mapping) or (
        place(node, ['type']) is MISSING and node not in read.values()
    ):
        return ''
    fits: tuple[Callable[[Any], bool], ...] = (
        lambda value: value == node,
        lambda value: 'type' in value and all(place(node, [k]) == v for k, v in value.items()),
        lambda value: 'type' in value and value['type'] == node['type'],
    )
    for fit in fits:
        for where in places(
            read, lambda _, value, fit=fit: isinstance(value, Mapping) and fit(value)
        ):
            return where
    return ''
