"""U-GAT-IT in MMagic's list of models."""

import functools
import os
from pathlib import Path

import yaml
from mmagic.apis import mmagic_inferencer
from mmagic.apis.mmagic_inferencer import MMagicInferencer

from ..config import configs_dir

NAME = 'ugatit'


def add_to_mmagic_inferencer() -> None:
    """Let ``MMagicInferencer(model_name='ugatit', model_config=..., model_ckpt=...)`` work.

    MMagic's list is an attribute of the class, and it reads what it knows of each model from
    metafiles inside its own package. Ours are added to what it has read.
    """
    models = MMagicInferencer.inference_supported_models
    if NAME in models:
        return
    read_metafiles = MMagicInferencer.init_inference_supported_models_cfg

    @functools.wraps(read_metafiles)
    def read_metafiles_and_ours() -> None:
        models.remove(NAME)  # there is no metafile of it in MMagic's package
        try:
            read_metafiles()
        finally:
            models.append(NAME)
        MMagicInferencer.inference_supported_models_cfg.setdefault(NAME, _settings())

    models.append(NAME)
    MMagicInferencer.init_inference_supported_models_cfg = staticmethod(read_metafiles_and_ours)


def _settings() -> dict:
    """The package's metafile, as MMagic keeps what it reads of its own."""
    models = yaml.safe_load((configs_dir() / 'metafile.yml').read_text())['Models']
    # MMagic joins this to its own folder, and cuts what stands before "configs".
    theirs = Path(mmagic_inferencer.__file__).parents[1] / '.mim'
    root = configs_dir().parent
    for model in models:
        config = os.path.relpath(root / model['Config'], theirs / 'configs')
        model['Config'] = os.path.join('configs', config)
    return {'task': models[0]['Results'][0]['Task'], 'settings': models}
