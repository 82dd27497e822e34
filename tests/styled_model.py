"""A tiny model with styles, known to the package while a test uses it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from PIL import Image
from torch import Tensor, nn

from ugatit_mm.converters import write_checkpoint
from ugatit_mm.domains import other
from ugatit_mm.models.base import TRANSLATION_MODELS, Translated, UnpairedTranslation, unwrap


class Code(BaseModule):
    """Pictures to a code that is as large as they are."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv = nn.Conv2d(in_channels, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).tanh()


class Reader(BaseModule):
    """Pictures to their style, (N, 2, 1, 1)."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3), keepdim=True)


class Maker(BaseModule):
    """A code and a style to pictures."""

    def __init__(self, out_channels: int = 3) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.conv = nn.Conv2d(6, out_channels, 3, padding=1)

    def forward(self, code: Tensor, style: Tensor) -> Tensor:
        code = torch.cat([code, style.to(code).expand(-1, -1, *code.shape[2:])], 1)
        return self.conv(code).tanh()


class Styled(UnpairedTranslation):
    """Encoders of content and of style, decoders."""

    NAME, ROW = 'styled', 'Styled'
    PARTS = {'encoders': 'encoder', 'style_encoders': 'style_encoder', 'generators': 'generator'}
    TRANSLATES = ('encoders', 'generators')
    OPTIMIZED = {'generators': tuple(PARTS)}
    NETWORKS = {'encoder': Code, 'style_encoder': Reader, 'generator': Maker}
    BOUNDS, LOSS_WEIGHTS, PACED, PACE = {}, {}, (), 'generators'
    style_shape = (2, 1, 1)

    def __init__(self, encoder, generator, style_encoder=None, **fields) -> None:
        cfgs = {
            'encoders': encoder,
            'style_encoders': style_encoder,
            'generators': generator,
        }
        parts = {name: nn.ModuleDict(self.build_networks(cfg)) for name, cfg in cfgs.items()}
        super().__init__({name: part or None for name, part in parts.items()}, **fields)

    def iterate(self, step, real) -> None:
        style = self.styles(['x'] * len(real['A']), 'B')

        def loss():
            with step.passes('generators'):
                made = self.translate(real['A'], 'B', style=style).image
            total = (made - real['B']).abs().mean()
            return total, {'loss_generators': total.detach()}

        step.update('generators', loss)

    def translate(self, image, target, *, heatmap=False, style=None):
        code = unwrap(self.encoders)[other(target)](image)
        if style is None:
            style = torch.randn(len(image), *self.style_shape)
        return Translated(unwrap(self.generators)[target](code, style))

    def style_of(self, image, target):
        if self.style_encoders is None:
            raise ValueError('these weights of Styled have no encoders of styles')
        return unwrap(self.style_encoders)[target](image)

    def needed(self, target):
        return {'encoders': (other(target),), 'generators': (target,)}

    @classmethod
    def describe(cls, state):
        if 'encoders.A.conv.weight' not in state:
            raise ValueError('there is no encoder')
        networks = dict(type='Styled', encoder={}, generator={}, img_size=32)
        if any(key.startswith('style_encoders') for key in state):
            networks['style_encoder'] = {}
        return networks


NETWORKS = {
    'type': 'Styled',
    'img_size': 32,
    'domains': {'A': 'red', 'B': 'blue'},
    **{name: {'type': kind.__name__} for name, kind in Styled.NETWORKS.items()},
}


def registered(monkeypatch: pytest.MonkeyPatch) -> Styled:
    """The model, which is known until the test ends."""
    monkeypatch.setitem(TRANSLATION_MODELS, 'Styled', Styled)
    for kind in (Styled, Code, Reader, Maker):
        monkeypatch.setitem(MODELS._module_dict, kind.__name__, kind)
    torch.manual_seed(0)
    return MODELS.build(NETWORKS).eval()


def write_styled(path: Path, model: Styled, slim: bool = False, **fields: Any) -> str:
    """A file of its weights; slim, without what only reads styles."""
    state = model.state_dict()
    if slim:
        state = {k: v for k, v in state.items() if not k.startswith('style_encoders.')}
    write_checkpoint(path, state, {'networks': NETWORKS | fields})
    return str(path)


def write_photos(folder: Path, *names: str, size: tuple[int, int] = (32, 32)) -> None:
    """Different noise pictures."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
