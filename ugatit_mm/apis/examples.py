"""Photographs in installed packages, to try weights on, and drawings of them."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.drawings import charcoal_drawing
from ..datasets.loading import read_rgb


class Example(NamedTuple):
    """A photograph: its package, its file there, and the domains that it fits."""

    package: str
    file: str
    domains: tuple[str, ...]


EXAMPLES = {
    'flower': Example('sklearn', 'datasets/images/flower.jpg', ('flower', 'daisy', 'sunflower')),
    'temple': Example('sklearn', 'datasets/images/china.jpg', ('landscape', 'temple', 'building')),
    'cat': Example('skimage', 'data/chelsea.png', ('cat', 'animal', 'pet')),
    'person': Example('skimage', 'data/astronaut.png', ('selfie', 'face', 'person', 'portrait')),
    'coffee': Example('skimage', 'data/coffee.png', ('coffee', 'cup', 'food')),
}


def is_of(name: str, domain: str) -> bool:
    """Whether an example fits a domain; each is a photograph."""
    domain = domain.casefold().removesuffix('s')
    return domain in (*EXAMPLES[name].domains, 'photo', 'photograph')


def find_examples(domain: str) -> dict[str, Path]:
    """Paths by name, those of a domain first; a release of a package may lack one of them."""
    found = {}
    for name in sorted(EXAMPLES, key=lambda name: not is_of(name, domain)):
        spec = find_spec(EXAMPLES[name].package)  # finds the folder without importing the package
        if spec is not None and spec.submodule_search_locations:
            found[name] = Path(spec.submodule_search_locations[0], EXAMPLES[name].file)
    return {name: path for name, path in found.items() if path.is_file()}


def is_drawn(domain: str) -> bool:
    """Whether a domain is that of the examples' drawings."""
    return domain.casefold().removesuffix('s') == 'drawing'


def drawn(path: Path) -> np.ndarray:
    """Redraw an example in charcoal: RGB, uint8, (H, W, 3)."""
    return charcoal_drawing(read_rgb(path))
