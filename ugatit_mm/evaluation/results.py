"""The results of a test as a file: measurements together with all that they depend on."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..converters.networks import FIRST, kind_of
from ..domains import domain_names
from ..files import whole
from ..models.base import TRANSLATION_MODELS
from ..provenance import provenance, sha256
from .measurements import Measurement

FORMAT = 'ugatit_mm results 2'
FORMAT_1 = 'ugatit_mm results 1'  # older, when U-GAT-IT was the only model


class ResultsError(ValueError):
    """A file that holds no results; the message names it."""


def results_of(
    cfg: Config,
    checkpoint: str | os.PathLike,
    meta: dict[str, Any],
    digest: str | None = None,
) -> dict[str, Any]:
    """Gather what the measurements of a test depend on, before it starts.

    Args:
        cfg: Config of the test.
        checkpoint: The file that was tested.
        meta: Its ``meta``, as MMEngine's checkpoints hold it; empty for converted weights.
        digest: SHA-256 of the file; computed if not given.

    Returns:
        dict: ``config`` (name), ``row`` (the model in the paper's tables), ``domains``, ``model``
        (its dict in the config), ``optimizers`` (theirs, by name), ``data`` (the folder's name),
        ``img_size``, ``crop_size`` (what training sees of it, ``None`` for all), ``ema`` (momentum
        of averaged weights, ``None`` without), ``batch_size`` (pairs), ``iterations``, ``seed``,
        ``trained`` (see :class:`ProvenanceHook`; what the checkpoint does not say is ``None``),
        ``checkpoint`` (name and SHA-256), ``evaluated`` (:func:`provenance` and date).

    Raises:
        ValueError: The config's model is not registered.
    """
    checkpoint = Path(checkpoint)
    kind = kind_of(cfg.model)
    model, wrappers = cfg.model.to_dict(), cfg.get('optim_wrapper', {})
    hooks = cfg.get('default_hooks') or {}
    return {
        'format': FORMAT,
        'config': Path(cfg.filename).stem if cfg.filename else None,
        'row': kind.ROW,
        'domains': domain_names(model.get('domains')),
        'model': model,
        'optimizers': {
            name: dict(wrappers.get(name, {}).get('optimizer', {})) for name in kind.OPTIMIZED
        },
        'data': Path(cfg.test_dataloader.dataset.data_root).name,
        'img_size': kind.size_of(model),
        'crop_size': cfg.get('crop_size'),
        'ema': (hooks.get('ema') or {}).get('momentum'),
        'batch_size': (cfg.get('train_dataloader') or {}).get('batch_size', 1),
        'iterations': meta.get('iter'),
        'seed': meta.get('seed'),
        'trained': meta.get('provenance'),
        'checkpoint': {
            'name': checkpoint.name,
            'sha256': digest or sha256(checkpoint),
        },
        'evaluated': {
            **provenance(),
            'date': datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        },
    }


def with_metrics(
    results: dict[str, Any],
    metrics: dict[str, float],
    measurements: list[Measurement],
    failed: dict[str, str],
    directions: list[str],
    untranslated: list[Measurement] | None = None,
) -> dict[str, Any]:
    """Add what a test found to what :func:`results_of` gathered.

    Args:
        results: Result of :func:`results_of`.
        metrics: All metrics of the test.
        measurements: Metrics with their protocols.
        failed: What went wrong, by the class of a metric that is left out.
        directions: Those that were tested; without test pictures of a domain it is one.
        untranslated: The measurements of the source pictures in place of the translations.

    Returns:
        dict: ``results`` with these, by their names.
    """
    return {
        **results,
        'directions': directions,
        'metrics': metrics,
        'measurements': [measurement.to_dict() for measurement in measurements],
        'untranslated': [measurement.to_dict() for measurement in untranslated or ()],
        'failed': failed,
    }


def write_results(path: str | os.PathLike, results: dict[str, Any]) -> None:
    """Write results as JSON, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as building:
        building.write_text(json.dumps(results, indent=1) + '\n')


def read_results(path: str | os.PathLike) -> dict[str, Any]:
    """Read what :func:`write_results` wrote, with the measurements as :class:`Measurement`.

    Raises:
        FileNotFoundError: There is no such file.
        ResultsError: It holds something else.
    """
    try:
        results = json.loads(Path(path).read_text())
        if results['format'] == FORMAT_1:
            results['optimizers'] = {'generators': results.pop('optimizer')}
            results['row'] = TRANSLATION_MODELS[FIRST].ROW
        elif results['format'] != FORMAT:
            raise ResultsError(
                f'{path}: format {results["format"]!r}, this program reads {FORMAT!r}'
            )
        if 'figures' in results:  # their older name
            results['measurements'] = results.pop('figures')
        results = {'batch_size': 1, 'untranslated': [], **results}  # which older files lack
        return results | {
            key: [Measurement.from_dict(entry) for entry in results[key]]
            for key in ('measurements', 'untranslated')
        }
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ResultsError(
            f'{path} holds no results of ugatit test ({type(error).__name__}: {error})'
        ) from error
