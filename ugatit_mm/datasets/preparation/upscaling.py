"""Resize small pictures, by Lanczos or a super-resolution network of MMagic."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from mmagic.registry import MODELS
from PIL import Image

from ...config import read_config
from ...converters import read_checkpoint


class Upscaler:
    """A super-resolution network of MMagic: SRCNN, EDSR, RDN, ESRGAN, Real-ESRGAN, SwinIR, ...

    Only the network is built, ``model.generator`` of the config, as the losses would download their
    own weights. All of its weights must be in the checkpoint, which is read without running code
    from it; the averaged generator is used if there is one.

    Args:
        config: MMagic's config of a model that reads RGB, as all of its super-resolution does.
        checkpoint: Weights.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: They do not fit together, or the network does not enlarge pictures.
    """

    def __init__(self, config: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
        cfg = read_config(config)
        weights = read_checkpoint(checkpoint)
        weights = weights.get('state_dict', weights)
        prefixes = [f'{name}.' for name in ('generator_ema', 'generator')]
        prefix = next((p for p in prefixes if any(key.startswith(p) for key in weights)), '')
        state = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        try:
            self.net = MODELS.build(cfg.model.generator).eval()
            self.net.load_state_dict(state)
        except (AttributeError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"'{checkpoint}' does not fit '{config}': {error}") from error
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.net.to(self.device)
        norm = cfg.model.get('data_preprocessor') or {}
        self.mean = self._channels(norm.get('mean', (0, 0, 0)))
        self.std = self._channels(norm.get('std', (255, 255, 255)))
        side = 48
        try:
            self.scale = len(self(np.zeros((side, side, 3), np.uint8))) / side
        except Exception as error:  # a network of another kind may raise anything
            raise ValueError(f"'{config}' is not a network for single pictures: {error}") from error
        if self.scale <= 1:
            raise ValueError(f"'{config}' does not enlarge: {side} pixels give {self.scale:g}x")
        kind = cfg.model.generator.type
        self.name = f'{kind} x{self.scale:g} ({os.path.basename(checkpoint)})'

    def _channels(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(-1, 1, 1)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Enlarge a picture, RGB, uint8, (H, W, 3)."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        out = self.net(((pixels.permute(2, 0, 1) - self.mean) / self.std)[None])[0]
        out = (out * self.std + self.mean).clamp(0, 255).round().byte()
        return out.permute(1, 2, 0).cpu().numpy()


def resize(crop: np.ndarray, size: int, upscaler: Upscaler | None = None) -> tuple[np.ndarray, str]:
    """Resize a square to ``size`` pixels.

    Args:
        crop: RGB, uint8, (S, S, 3).
        size: Wanted side.
        upscaler: Enlarges a smaller square first; Lanczos does the rest.

    Returns:
        RGB, uint8, (size, size, 3), and the names of what resized it.
    """
    done = []
    if upscaler is not None and len(crop) < size:
        crop = upscaler(crop)
        done.append(upscaler.name)
    if len(crop) != size:
        crop = np.array(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
        done.append('Lanczos')
    return crop, ' + '.join(done) or 'nothing'
