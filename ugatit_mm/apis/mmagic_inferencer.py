"""Our models in MMagic's list."""

import functools
import os
from pathlib import Path

import yaml
from mmagic.apis import mmagic_inferencer
from mmagic.apis.mmagic_inferencer import MMagicInferencer

from ..config import configs_dir
from ..models.base import TRANSLATION_MODELS


def add_to_mmagic_inferencer() -> None:
    """Let ``MMagicInferencer(model_name='ugatit', model_config=..., model_ckpt=...)`` work.

    A model has its ``NAME``, after ``unpaired_`` where MMagic has a model of that name
    (``unpaired_cyclegan``). MMagic's list is an attribute of the class, and it reads what it knows
    of each model from metafiles inside its own package. Ours are added to what it has read.
    """
    theirs = MMagicInferencer.inference_supported_models
    read_metafiles = MMagicInferencer.init_inference_supported_models_cfg
    if hasattr(read_metafiles, '__wrapped__'):
        return
    ours = {
        f'unpaired_{name}' if name in theirs else name: settings
        for name, settings in _settings().items()
    }

    @functools.wraps(read_metafiles)
    def read_metafiles_and_ours() -> None:
        models = MMagicInferencer.inference_supported_models
        # There are no metafiles of ours in MMagic's package.
        MMagicInferencer.inference_supported_models = theirs
        try:
            read_metafiles()
        finally:
            MMagicInferencer.inference_supported_models = models
        MMagicInferencer.inference_supported_models_cfg |= ours

    MMagicInferencer.inference_supported_models = [*theirs, *ours]
    MMagicInferencer.init_inference_supported_models_cfg = staticmethod(read_metafiles_and_ours)


def _settings() -> dict[str, dict]:
    """What the package's metafile has of each model, as MMagic keeps what it reads of its own."""
    entries = yaml.safe_load((configs_dir() / 'metafile.yml').read_text())['Models']
    # MMagic joins this to its own folder, and cuts what stands before "configs".
    theirs = Path(mmagic_inferencer.__file__).parents[1] / '.mim'
    root = configs_dir().parent
    for entry in entries:
        config = os.path.relpath(root / entry['Config'], theirs / 'configs')
        entry['Config'] = os.path.join('configs', config)
    found = {}
    for model in TRANSLATION_MODELS.values():
        if settings := [entry for entry in entries if entry['In Collection'] == model.ROW]:
            task = settings[0]['Results'][0]['Task']
            found[model.NAME] = {'task': task, 'settings': settings}
    return found
