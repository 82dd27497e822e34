"""A training that starts from given weights: of single networks, of other domains."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import MMLogger

from ..converters import CheckpointError, naming, read_weights, weights_of
from ..converters.networks import check_weights
from ..messages import listed
from ..models.base import UnpairedTranslation
from .preflight import PreflightError, refusing
from .terminal import SHOWN


def load_parts(model: UnpairedTranslation, sources: Mapping[str, Any]) -> set[str]:
    """Load parts of a model from files, all or none.

    Args:
        model: The unwrapped model; its parts may be wrapped for several ranks.
        sources: Files by the name of a part, or of a module in one, as
            :meth:`UnpairedTranslation.module_name` takes it; nested names are joined by dots.

    Returns:
        Names of the weights that were loaded.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: A file cannot be read, or does not hold the part.
        PreflightError: The model has no such part, or one is given twice.
    """
    own = model.state_dict()
    files: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for given, file in flat(sources):
        with refusing(f'load_from.{given}: '):
            name = model.module_name(given)
        if not isinstance(file, str):
            raise PreflightError(f'load_from.{given} must be a file, got {file!r}')
        if file not in files:
            files[file] = read_weights(file)
            tell_domains(model, files[file], file)
        with naming(file):
            state = weights_of(files[file])
            part = {key: state[key] for key in state if key.startswith(f'{name}.')}
            if not part:
                there = dict.fromkeys('.'.join(key.split('.')[:2]) for key in state)
                raise ValueError(f'it has no {name}, only {listed(there) or "other things"}')
            check_weights({k: own[k].shape for k in own if k.startswith(f'{name}.')}, part)
        if twice := found.keys() & part.keys():
            raise PreflightError(f'load_from gives {sorted(twice)[0]} twice')
        found |= part
        said = f'{name} is loaded from {file}: {len(part)} weights'
        MMLogger.get_current_instance().info(said, extra=SHOWN)
    model.load_state_dict(own | found)
    return set(found)


def flat(sources: Mapping[str, Any], begin: str = '') -> Iterator[tuple[str, Any]]:
    """Names and values of nested dicts, the names joined by dots."""
    for name, value in sources.items():
        if isinstance(value, Mapping):
            yield from flat(value, f'{begin}{name}.')
        else:
            yield f'{begin}{name}', value


def domains_of(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The names of the domains in a file of weights; ``None`` if it has none."""
    meta = content.get('meta')
    networks = meta.get('networks') if isinstance(meta, Mapping) else None
    domains = networks.get('domains') if isinstance(networks, Mapping) else None
    return dict(domains) if isinstance(domains, Mapping) else None


def tell_domains(model: UnpairedTranslation, content: Mapping[str, Any], file: str) -> None:
    """Log it if weights are of other domains.

    Raises:
        CheckpointError: They are of the same two in the other order, which would swap the
            directions.
    """
    domains = domains_of(content)
    if domains is not None and domains != model.domain_names:
        a, b = (domains.get(letter, letter) for letter in 'AB')
        if (b, a) == tuple(model.domain_names.values()):
            raise CheckpointError(
                f'{file} was trained as {a} and {b}, the config has them the other way round: give '
                f'domains.A={a} domains.B={b}'
            )
        words = ', '.join(
            f'{domains.get(letter, letter)} (now {name})'
            for letter, name in model.domain_names.items()
        )
        said = f'the weights of {file} are of {words}'
        MMLogger.get_current_instance().info(said, extra=SHOWN)
