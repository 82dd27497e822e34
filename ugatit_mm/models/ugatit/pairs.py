"""The networks of both domains as one module each, so that a step is one forward pass of each.

Distributed data parallel averages gradients for what runs through its wrapper's ``forward``. With
one forward of the generators and one of the discriminators in a step, every gradient is averaged,
and overlaps with the backward pass.
"""

import torch
from torch import Tensor, nn

from ...domains import DOMAINS, other
from .ugatit_discriminator import DiscriminatorOutput


class GeneratorPair(nn.ModuleDict):
    """The generators by target domain: ``pair['B']`` translates A to B."""

    def forward(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Translate, come back, and map each image into its own domain.

        Args:
            real: Images by domain, (N, 3, H, W) each.

        Returns:
            For X in A, B: ``fake_X``, ``cycle_X``, ``identity_X`` (N, 3, H, W), and the CAM logits
            of the generator into X, ``cam_source_X`` and ``cam_identity_X`` (N, 2) or ``None``.
        """
        out = {}
        for domain in DOMAINS:
            # A generator's norms see one sample at a time, so both inputs go as one batch.
            batch = torch.cat([real[other(domain)], real[domain]])
            image, cam_logit, _ = self[domain](batch, return_cam=True)
            out[f'fake_{domain}'], out[f'identity_{domain}'] = image.chunk(2)
            cams = (None, None) if cam_logit is None else cam_logit.chunk(2)
            out[f'cam_source_{domain}'], out[f'cam_identity_{domain}'] = cams
        for domain in DOMAINS:
            out[f'cycle_{domain}'] = self[domain](out[f'fake_{other(domain)}'])
        return out


class DiscriminatorPair(nn.ModuleDict):
    """The discriminators by domain, each a global and a local scale."""

    def forward(
        self, real: dict[str, Tensor], fake: dict[str, Tensor], joint: bool
    ) -> dict[str, tuple[list[DiscriminatorOutput], list[DiscriminatorOutput]]]:
        """Judge the real and the translated images of each domain.

        Args:
            real: Images by domain, (N, 3, H, W).
            fake: Translations by domain, (N, 3, H, W).
            joint: Both in one batch: the spectral norm then makes one power iteration for the two
                (TensorFlow program), instead of one for each (PyTorch program).

        Returns:
            For each domain the outputs for the real and for the translated images.
        """
        out = {}
        for domain in DOMAINS:
            if joint:
                judged = self[domain](torch.cat([real[domain], fake[domain]]))
                halves = [[_chunk(tensor) for tensor in scale] for scale in judged]
                out[domain] = tuple(
                    [DiscriminatorOutput(*(tensor[i] for tensor in scale)) for scale in halves]
                    for i in (0, 1)
                )
            else:
                out[domain] = (self[domain](real[domain]), self[domain](fake[domain]))
        return out


def _chunk(tensor: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if tensor is None else tensor.chunk(2)
