"""The translation models that there are."""

from typing import TypeVar

from mmagic.registry import MODELS

TRANSLATION_MODELS: dict[str, type] = {}
"""Classes by name: what a file of weights may name as its model."""

Model = TypeVar('Model', bound=type)


def translation_model(model: Model) -> Model:
    """Register a subclass of :class:`UnpairedTranslation`, with MMagic too."""
    MODELS.register_module(module=model)
    TRANSLATION_MODELS[model.__name__] = model
    return model
