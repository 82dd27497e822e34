"""Our models in MMagic's list and inferencer; importing this module adds them."""

import functools
import os
from pathlib import Path
from typing import Any, ClassVar

import cv2
import torch
import yaml
from mmagic.apis import inferencers, mmagic_inferencer
from mmagic.apis.inferencers.translation_inferencer import TranslationInferencer
from mmagic.apis.mmagic_inferencer import MMagicInferencer
from mmagic.registry import MODELS
from mmengine.config import Config
from torch import Tensor, nn

from ..config import configs_dir
from ..files import identity, unused
from ..messages import check_choice
from ..models.base import TRANSLATION_MODELS, UnpairedTranslation
from .loading import load_model
from .sources import Failure, Source, find_sources, names_file
from .styles import StyleError, check_styles, choose_styles


def _add_to_mmagic_inferencer() -> None:
    """Let ``MMagicInferencer(model_name='ugatit', model_config=..., model_ckpt=...)`` work.

    A model is listed by its ``NAME``, after ``unpaired_`` where MMagic has a model of that name
    (``unpaired_cyclegan``). MMagic's list is an attribute of the class, and MMagic reads its
    entries from metafiles inside its own package. Ours are added to these.
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

    find_config = MMagicInferencer._get_inferencer_kwargs

    @functools.wraps(find_config)
    def checked(
        self: MMagicInferencer, name: str | None, setting: Any, config_name: Any, *others: Any
    ) -> dict:
        """Check the names: MMagic's takes its first setting for an unknown one."""
        if name in ours:
            names = [each['Name'] for each in ours[name]['settings']]
            check_choice('config_name', config_name, [None, *names])
            check_choice('model_setting', setting, [None, *range(len(names))])
        return find_config(self, name, setting, config_name, *others)

    MMagicInferencer.inference_supported_models = [*theirs, *ours]
    MMagicInferencer.init_inference_supported_models_cfg = staticmethod(read_metafiles_and_ours)
    MMagicInferencer._get_inferencer_kwargs = checked
    inferencers.TranslationInferencer = Translating


class Translating(TranslationInferencer):
    """MMagic's inferencer of translation models, without guesses for ours.

    Weights are needed and must fit, except those of discriminators. ``img`` is a path, a folder
    (with those below it), a pattern, or a list of them; ``result_out_dir`` the file of one result,
    or a folder for any number. ``extra_parameters={'style': ...}``, of the constructor or of one
    call, is a seed or the picture of a style, for models that have styles; without it, seed 0.
    MMagic's own models work as without it.
    """

    extra_parameters: ClassVar[dict[str, Any]] = {'style': None}

    def _init_extra_parameters(self, extra_parameters: dict | None) -> None:
        if isinstance(self.model, UnpairedTranslation):
            # MMagic's would write to the class, for all models.
            own = self._checked(extra_parameters)
            self.extra_parameters = type(self).extra_parameters | own
        else:
            super()._init_extra_parameters(extra_parameters)

    def _checked(self, extra_parameters: dict | None) -> dict[str, Any]:
        for name in (given := extra_parameters or {}):
            check_choice('extra_parameters', name, ['style', 'infer_with_grad'])
        check_styles(self.model, given.get('style'), None)
        return given

    def _init_model(self, cfg: Config, ckpt: str | None, device: Any) -> nn.Module:
        if not issubclass(MODELS.get(cfg.model.type), UnpairedTranslation):
            return super()._init_model(cfg, ckpt, device)
        if not ckpt:
            raise ValueError(
                f"{cfg.model.type} needs trained weights: give model_ckpt='FILE', or use "
                '`ugatit translate`, which comes with a small pair'
            )
        model, _ = load_model(ckpt, Config(cfg.to_dict()), device)
        model.cfg = cfg
        return model

    def base_call(self, **kwargs: Any) -> Any:
        """Translate, each picture by itself.

        Returns:
            As MMagic's: a dict with ``infer_results``, and the picture, RGB in [0, 1],
            (1, 3, H, W). Of a list, a folder or a pattern: a list, and (N, 3, H, W).

        Raises:
            TypeError, ValueError: The inputs are not paths, or their results cannot go to
                ``result_out_dir``, or there is no such style; before anything is translated.
            OSError: There is no such picture (also before), or it cannot be read.
        """
        if not isinstance(self.model, UnpairedTranslation):
            return super().base_call(**kwargs)
        inputs, out = kwargs.get('img'), kwargs.get('result_out_dir')
        sources = _sources(inputs)
        targets = _targets(sources, os.fspath(out)) if out else [''] * len(sources)
        into = self.model.target()
        words = self.extra_parameters | self._checked(kwargs.pop('extra_parameters', None))
        chosen = choose_styles(self.model, words['style'], None, into)
        if chosen.count > 1:
            raise StyleError(f'a picture has one style here, got {chosen.count}')
        results, pictures = [], []
        for source, target in zip(sources, targets, strict=True):
            (self._style,) = chosen.of(self.model, [os.path.basename(source.name)], into)
            words = kwargs | {'img': source.picture, 'result_out_dir': target}
            result, picture = super().base_call(**words)
            results.append(result)
            pictures.append(picture)
        one = isinstance(inputs, (str, os.PathLike)) and os.path.isfile(inputs)
        return results[0] if one else results, torch.cat(pictures)

    def forward(self, inputs: Tensor) -> Tensor:
        """Translate; our models in the style of the picture."""
        if not isinstance(self.model, UnpairedTranslation):
            return super().forward(inputs)
        words = {'test_mode': True, 'target_domain': self.target_domain}
        return self.model(inputs, **words, style=self._style)['target']


def _sources(inputs: Any) -> list[Source]:
    several = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not several or inputs is None:
        raise ValueError('there is nothing to translate: give img, the path of a picture')
    for path in several:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f'img must be a path or a list of paths, got {type(path).__name__}: pictures in '
                'memory go through ugatit_mm.apis.TranslationInferencer'
            )
    sources = []
    for source in find_sources(several):
        if isinstance(source, Failure):
            raise source.error
        if not os.path.isfile(source.name):
            raise FileNotFoundError(f'img {source.name} is not a file')
        sources.append(source)
    return sources


def _targets(sources: list[Source], out: str) -> list[str]:
    """A file for each result; no two are equal, and none is a source."""
    out = os.path.expanduser(out)
    if names_file(out):
        if len(sources) > 1:
            raise ValueError(
                f'result_out_dir={out!r} is one file, and {len(sources)} are to be translated: '
                'name a folder'
            )
        if not cv2.haveImageWriter(out):
            raise ValueError(
                f'result_out_dir={out!r}: this type of file cannot be written: name one that ends '
                'in .png or .jpg, or a folder'
            )
        targets = [out]
    elif os.path.isfile(out):
        raise ValueError(
            f'result_out_dir={out!r} is a file: name a folder, or a file that ends in .png'
        )
    else:
        taken: set[str] = set()
        names = [unused(source.relative, taken, ['.png']) for source in sources]
        targets = [os.path.join(out, f'{name}.png') for name in names]
    inputs = {identity(source.name) for source in sources}
    for target in targets:
        if identity(target) in inputs:
            raise ValueError(f'result_out_dir: {target} is itself an input: choose another place')
    return targets


def _settings() -> dict[str, dict]:
    """The entries of the package's metafile by model, in MMagic's format."""
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


_add_to_mmagic_inferencer()
