"""The two official recipes as presets of fields.

taki0112/UGATIT (TensorFlow) produced the paper's results; znxlwm/UGATIT-pytorch is the authors'
port. They differ in more than the framework. Each difference is a field of a module here; a recipe
is a set of values for them, and any field given with the recipe overrides it.
"""

from typing import Any

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    'tensorflow': {
        'generator': {
            'bias': True,
            'encoder_affine': True,
            'shared_cam': True,
            'mlp_width': 'blocks',
            'rho_init': 1.0,
            'rho_smoothing': 0.1,
            'unbiased': False,
            'init': 'normal',
        },
        'discriminator': {
            'bias': True,
            'shared_cam': True,
            'raw_cam_weight': False,
            'padding': 'same',
            'init': 'normal',
        },
        'model': {'joint_discrimination': True},
        'optimizer': {'weight_decay_scope': 'kernels'},
    },
    'pytorch': {
        'generator': {
            'bias': False,
            'encoder_affine': False,
            'shared_cam': False,
            'mlp_width': 'features',
            'rho_init': 0.9,
            'rho_smoothing': 0.0,
            'unbiased': True,
            'init': 'default',
        },
        'discriminator': {
            'bias': False,
            'shared_cam': False,
            'raw_cam_weight': True,
            'padding': 'symmetric',
            'init': 'default',
        },
        'model': {'joint_discrimination': False},
        'optimizer': {'weight_decay_scope': 'all'},
    },
}


def resolve(recipe: str, part: str, **fields: Any) -> dict[str, Any]:
    """Fill fields that are ``None`` from a recipe.

    Args:
        recipe: ``'tensorflow'`` or ``'pytorch'``.
        part: ``'generator'``, ``'discriminator'``, ``'model'`` or ``'optimizer'``.
        fields: The given fields; any value but ``None`` overrides the recipe.

    Returns:
        dict: All fields of this part.

    Raises:
        ValueError: The recipe is unknown.
    """
    if recipe not in RECIPES:
        raise ValueError(f'recipe must be one of {sorted(RECIPES)}, got {recipe!r}')
    preset = RECIPES[recipe][part]
    return {key: preset[key] if value is None else value for key, value in fields.items()}
