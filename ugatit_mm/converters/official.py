"""Files of official programs as people share them: weights, wrapped names, other content.

``DataParallel``, ``torch.compile`` and nested dicts add prefixes to the official names. Files also
hold counters of profilers, optimisers, numbers and running averages. The official program's
converter, which is total and strict, converts the weights; the rest is counted.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..messages import MAX_WORD, listed, printable
from .inspection import walk

Networks = dict[str, dict[str, Any]]  # state dicts by official name; '' for one without a name
Left = dict[str, list[str]]  # names of entries that are left out, by kind

# Words that module wrappers add to names; no official module has such a name.
WRAPPERS = {'module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'}
# Dicts that people put weights into. A network may have its own ``model.0.weight``.
CONTAINER = re.compile(
    r'(?:state_dict|model_state_dict|checkpoint|models?|nets?|networks?|generators?|weights|params)'
    r'\.(?!\d)'
)
AVERAGE = re.compile(r'(?:^|_)(?:ema|swa|averaged?|avg|shadow)(?=_|$)')
OPTIMIZER = re.compile('optim', re.IGNORECASE)
COUNTERS = {
    *('total_ops', 'total_params'),  # from thop
    *('input_shape', 'output_shape', 'parameter_quantity', 'inference_memory'),  # from torchstat
    *('MAdd', 'duration', 'Flops', 'Memory'),
}
MAX_COUNTER = 4  # elements of a counter
ENDS = ('weight', 'bias', 'num_batches_tracked')  # of weights that may be a single number
GENERATORS = 'generators'  # the part of our models
MAX_DEPTH, MAX_ENTRIES = 20, 20_000  # words of a name, and entries of all dicts
MAX_LIST = 100  # optimisers in a list

COUNTER = 'counter of a profiler'
OPTIMIZERS = 'optimiser'
AVERAGES = 'running average'
UNJUDGED = 'discriminator of the missing direction'
STATISTICS = 'running statistic'
MOMENTS = 'variable of an optimiser'
OTHER = 'other entry'
_PLURALS = {
    COUNTER: 'counters of a profiler',
    UNJUDGED: 'discriminators of the missing direction',
    OTHER: 'other entries',
    MOMENTS: 'variables of an optimiser',
}


def said(left: Left) -> str:
    """Return ``'left out: 124 counters of a profiler (...), 2 optimisers (...)'``."""
    parts = [
        f'{len(names)} {kind if len(names) == 1 else _PLURALS.get(kind, f"{kind}s")} '
        f'({listed(names, 2)})'
        for kind, names in left.items()
    ]
    return f'left out: {", ".join(parts)}'


class Program(NamedTuple):
    """An official program whose files are recognised by their content.

    Attributes:
        name: Name in words.
        tool: Its name in ``ugatit convert``.
        networks: Part of our model for each official network.
        known: A network's name, with additions of users; its first group is the official name.
        sign: Name of a weight that only this program's generators have.
        default: The generator in a file of one unnamed network; ``None`` if only the user can know.
        rename: Converts official state dicts by network to our state dict, total and strict, and
            the names of unused entries.
        which: Whether the converter takes ``--which``, for an unnamed network.
    """

    name: str
    tool: str
    networks: dict[str, str]
    known: re.Pattern[str]
    sign: re.Pattern[str]
    default: str | None
    rename: Callable[[Networks], tuple[dict[str, Tensor], list[str]]]
    which: bool = False

    def signed(self, content: Mapping[str, Any]) -> bool:
        """Whether a file holds weights of the program's generators."""
        return any(
            isinstance(value, Tensor) and self.sign.search(_stripped(words))
            for words, value in _entries(content)
        )

    def open(
        self, content: Mapping[str, Any], path: str | os.PathLike, which: str | None = None
    ) -> tuple[Networks, Left]:
        """Extract the networks from a file's content.

        Args:
            content: As ``read_checkpoint`` returns it.
            path: The file; its name identifies an unnamed network.
            which: The official name of the file's only network; takes precedence.

        Raises:
            ValueError: A name occurs twice, or ``which`` is missing or superfluous.
        """
        networks, left = networks_in(content, self.known)
        if which is not None and networks and list(networks) != ['']:
            raise ValueError(
                f'its networks have names ({listed(networks)}): leave out --which, which names one '
                'without'
            )
        if '' in networks and len(networks) == 1:
            word = rf'(?:^|[^A-Za-z])(?:{self.known.pattern})(?![A-Za-z])'
            named = re.search(word, Path(path).stem)
            name = which or (named and named[1]) or self.default
            if name is None and not self.signed(content):
                raise ValueError(f'not of {self.name}: {listed(networks[""])}')
            if name is None and not self.which:
                raise ValueError(
                    f'its weights are of no named network: {listed(self.networks)} are expected'
                )
            if name is None:
                generators = [n for n, ours in self.networks.items() if ours.startswith(GENERATORS)]
                tool = f'ugatit convert {self.tool} {shlex.quote(os.fspath(path))}'
                raise ValueError(
                    'it has one network without its name; say which it is: '
                    f'{printable(tool, 1000)} ours.pth --which {" (or ".join(generators)})'
                )
            networks = {name: networks['']}
        return networks, left

    def convert(self, networks: Networks, left: Left) -> dict[str, Tensor]:
        """Rename networks to our state dict.

        Args:
            networks: See :meth:`open`.
            left: Receives the names of what is left out.

        Raises:
            ValueError: An entry is not a weight of the program.
        """
        if '' in networks:
            raise ValueError(f'not of {self.name}: {listed(networks[""])}')
        places = {name: self.networks[name].split('.')[:2] for name in networks}
        # A network of both domains has a part, but no domain in it.
        targets = {place[1] for place in places.values() if place[0] == GENERATORS and place[1:]}
        judges = [
            name
            for name, place in places.items()
            if place[0] != GENERATORS and targets and place[1] not in targets
        ]
        if judges:
            left.setdefault(UNJUDGED, []).extend(judges)
            networks = {name: state for name, state in networks.items() if name not in judges}
        state, unused = self.rename(networks)
        if unused:
            left.setdefault(STATISTICS, []).extend(unused)
        return state


def networks_in(content: Mapping[str, Any], known: re.Pattern[str]) -> tuple[Networks, Left]:
    """Sort a file's content into weights by network and other entries.

    Weights whose name contains no network are under ``''``. Running averages are left out if there
    are other weights, and count as the weights if there are none.

    Args:
        content: Nested dicts, or names with dots, which are equivalent.
        known: See :class:`Program`.

    Returns:
        Networks, and what is left out. The networks still contain names that no official network
        has.

    Raises:
        ValueError: Two weights have one name.
    """
    weights: list[tuple[str, str, str, Any]] = []  # name, network, name in the network, value
    averages: list[tuple[str, str, str, Any]] = []
    beside: dict[str, dict[str, None]] = {}  # names by kind, each once
    looked: dict[int, bool] = {}  # whether an object holds weights

    def leave(kind: str, words: list[str]) -> None:
        beside.setdefault(kind, {})['.'.join(words)] = None

    if content.keys() == {'state_dict', 'meta'} and content['meta'] == {}:  # of safetensors
        content = content['state_dict']
    for words, value in _entries(content):
        if (at := _first(OPTIMIZER, words)) is not None or _is_optimizer(value):
            leave(OPTIMIZERS, words if at is None else words[: at + 1])
            continue
        if words[-1] in COUNTERS and _is_small(value):
            leave(COUNTER, words)
            continue
        network, place = '', 0
        own = [AVERAGE.sub('', word) for word in words]
        for index, word in enumerate(own):  # the innermost
            if found := known.fullmatch(word):
                network, place = found[1], index + 1
        if not (words[-1] in ENDS or (network and isinstance(value, Tensor))):
            if id(value) not in looked:
                looked[id(value)] = _holds_weights(value)
            if not looked[id(value)]:
                if value != {}:
                    leave(OTHER, words[: place + 1])
                continue
        if _stripped(own[: max(place - 1, 0)]):  # inside another entry
            network, place = '', 0
        weight = ('.'.join(words), network, _stripped(own[place:]), value)
        if (at := _first(AVERAGE, words)) is None:
            weights.append(weight)
        else:
            averages.append(weight)
            leave(AVERAGES, words[: at + 1])
    if not weights:
        weights = averages
        beside.pop(AVERAGES, None)
    networks: Networks = {}
    for name, network, key, value in weights:
        state = networks.setdefault(network, {})
        if key in state:
            raise ValueError(f'{printable(name)} is in it twice, under two names')
        state[key] = value
    return networks, {kind: list(names) for kind, names in beside.items()}


def _entries(content: Mapping[str, Any]) -> Iterator[tuple[list[str], Any]]:
    """Yield the entries of nested dicts in order, with their names' words; an optimiser is one."""
    waiting: list[tuple[list[str], Any]] = [([], content)]
    count = 0
    while waiting:
        words, value = waiting.pop()
        count += 1
        if count > MAX_ENTRIES:
            raise ValueError(f'it has more than {MAX_ENTRIES} entries')
        if words and (len(words) >= MAX_DEPTH or not _is_nest(value)):
            yield words, value
            continue
        inside = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in reversed(list(inside)):
            text = str(key) if isinstance(key, str | int) else f'<{type(key).__name__}>'
            more = text.split('.') if len(text) <= MAX_WORD else [printable(text)]
            waiting.append(([*words, *more], each))


def _is_nest(value: Any) -> bool:
    """Whether a value is a dict, or a list with a dict in it, but not an optimiser's."""
    if isinstance(value, list | tuple):
        return len(value) <= MAX_LIST and any(isinstance(each, Mapping) for each in value)
    return isinstance(value, Mapping) and len(value) > 0 and not _is_optimizer(value)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, Mapping) and 'param_groups' in value


def _first(pattern: re.Pattern[str], words: list[str]) -> int | None:
    return next((index for index, word in enumerate(words) if pattern.search(word)), None)


def _is_small(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, Tensor) and value.numel() <= MAX_COUNTER
    )


def _holds_weights(value: Any) -> bool:
    """Whether a value contains a possible weight: floating point, more than one element."""
    return any(
        isinstance(part, Tensor) and part.is_floating_point() and part.numel() > 1
        for part in walk(value)
    )


def _stripped(words: list[str]) -> str:
    """Return a name without wrappers and leading containers."""
    name = '.'.join(word for word in words if word and word not in WRAPPERS) + '.'
    while found := CONTAINER.match(name):
        name = name[found.end() :]
    return name[:-1]
