"""Registry of the translation models."""

from typing import TYPE_CHECKING, TypeVar

from mmagic.registry import MODELS

if TYPE_CHECKING:
    from .unpaired import UnpairedTranslation

TRANSLATION_MODELS: dict[str, type['UnpairedTranslation']] = {}
"""Classes by name: the models that a file of weights may name."""

Model = TypeVar('Model', bound=type['UnpairedTranslation'])


def translation_model(model: Model) -> Model:
    """Register a subclass of :class:`UnpairedTranslation`, with MMagic too."""
    MODELS.register_module(module=model)
    TRANSLATION_MODELS[model.__name__] = model
    return model
