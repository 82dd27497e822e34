"""The networks of both domains as one module each, so that a step is one forward pass of each.

Distributed data parallel averages gradients for what runs through its wrapper's ``forward``. With
one forward of the generators and one of the discriminators in a step, every gradient is averaged,
and overlaps with the backward pass.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...domains import DOMAINS, other
from ..layers import uses_of
from ..layers.spectral_norm import prepared
from .ugatit_discriminator import DiscriminatorOutput


class Generated(NamedTuple):
    """What the generator into a domain X makes in a step.

    Attributes:
        fake: Translation of the other domain's images, (N, C, H, W).
        cycle: Translation of the other domain's fakes, back into X; ``None`` where it was not asked
            for.
        identity: What it makes of X's own images.
        cam_source: CAM logits of the other domain's images, (N, 2); ``None`` without CAM.
        cam_identity: CAM logits of X's own images; ``None`` without CAM.
    """

    fake: Tensor
    cycle: Tensor | None
    identity: Tensor
    cam_source: Tensor | None
    cam_identity: Tensor | None


class GeneratorPair(nn.ModuleDict):
    """The generators by target domain: ``pair['B']`` translates A to B."""

    def forward(
        self,
        real: dict[str, Tensor],
        cycle: Sequence[str] = DOMAINS,
        noise: Tensor | None = None,
        scale: float = 1.0,
    ) -> dict[str, Generated]:
        """Translate, come back, and map each image into its own domain.

        Args:
            real: Images by domain, (N, C, H, W) each.
            cycle: Domains whose images come back.
            noise: Added to the translations into A and into B, on the way back only,
                (2, N, C, H, W).
            scale: Factor of the noise.

        Returns:
            By target domain.
        """
        uses = {domain: uses_of(self[domain], 1 + (domain in cycle)) for domain in DOMAINS}
        fake, identity, cams = {}, {}, {}
        for domain in DOMAINS:
            # A generator's norms see one sample at a time, so both inputs go as one batch.
            batch = torch.cat([real[other(domain)], real[domain]])
            image, cam_logit, _ = uses[domain][0](batch, return_cam=True)
            fake[domain], identity[domain] = image.chunk(2)
            cams[domain] = _chunk(cam_logit)
        back = fake
        if noise is not None:
            parts = noise.to(fake['A'].dtype).unbind()  # autocast's, so that nothing is cast again
            back = {
                x: fake[x].add(part, alpha=scale) for x, part in zip(DOMAINS, parts, strict=True)
            }
        came = {domain: uses[domain][1](back[other(domain)]) for domain in cycle}
        return {x: Generated(fake[x], came.get(x), identity[x], *cams[x]) for x in DOMAINS}


class DiscriminatorPair(nn.ModuleDict):
    """The discriminators by domain, each a global and a local scale."""

    def forward(
        self, real: dict[str, Tensor], fake: dict[str, Tensor], joint: bool
    ) -> dict[str, tuple[list[DiscriminatorOutput], list[DiscriminatorOutput]]]:
        """Judge the real and the translated images of each domain.

        Args:
            real: Images by domain, (N, C, H, W).
            fake: Translations by domain, (N, C, H, W).
            joint: Both in one batch: the spectral norm then makes one power iteration for the two
                (TensorFlow program), instead of one for each (PyTorch program).

        Returns:
            For each domain the outputs for the real and for the translated images.
        """
        if joint:
            judged = self.judge({x: torch.cat([real[x], fake[x]]) for x in DOMAINS})
            return {x: _halves(judged[x]) for x in DOMAINS}
        of_real, of_fake = self.judge(real), self.judge(fake)
        return {x: (of_real[x], of_fake[x]) for x in DOMAINS}

    def judge(self, images: dict[str, Tensor]) -> dict[str, list[DiscriminatorOutput]]:
        """Judge images of both domains, without heatmaps: one use of each spectral norm.

        Args:
            images: By domain, (N, C, H, W).

        Returns:
            For each domain the output of each scale.
        """
        with prepared(self):
            return {x: self[x](images[x], heatmap=False) for x in DOMAINS}


def _halves(
    judged: list[DiscriminatorOutput],
) -> tuple[list[DiscriminatorOutput], list[DiscriminatorOutput]]:
    """The first and the second half of a batch."""
    # One chunk of each field: the gradients of its halves are put together by one operator.
    chunks = [[_chunk(field) for field in scale] for scale in judged]
    first, second = (
        [DiscriminatorOutput._make(chunk[half] for chunk in scale) for scale in chunks]
        for half in (0, 1)
    )
    return first, second


def _chunk(tensor: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if tensor is None:
        return None, None
    first, second = tensor.chunk(2)
    return first, second
