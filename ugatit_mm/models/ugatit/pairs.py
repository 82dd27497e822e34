"""Both domains' networks as one module, so that a step runs one forward pass of each module.

Distributed data parallel averages gradients of what runs through its wrapper's ``forward``. With
one forward pass of the generators and one of the discriminators in a step, every gradient is
averaged, overlapped with the backward pass.
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
    """Output of the generator into a domain X in a step.

    Attributes:
        fake: Translation of the other domain's images, (N, C, H, W).
        cycle: Translation of the other domain's fakes, back into X; ``None`` if not requested.
        identity: Translation of X's own images.
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
        """Translate, translate back, and map each image into its own domain.

        Args:
            real: Images by domain, (N, C, H, W) each.
            cycle: Domains whose images are translated back.
            noise: Added to the translations into A and into B, only before translating back, (2, N,
                C, H, W).
            scale: Factor of the noise.

        Returns:
            Outputs by target domain.
        """
        uses = {domain: uses_of(self[domain], 1 + (domain in cycle)) for domain in DOMAINS}
        fake, identity, cams = {}, {}, {}
        for domain in DOMAINS:
            # A generator's norms work per sample, so both inputs go as one batch.
            batch = torch.cat([real[other(domain)], real[domain]])
            image, cam_logit, _ = uses[domain][0](batch, return_cam=True)
            fake[domain], identity[domain] = image.chunk(2)
            cams[domain] = _chunk(cam_logit)
        back = fake
        if noise is not None:
            parts = noise.to(fake['A'].dtype).unbind()  # autocast's: nothing is cast again
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
        """Classify the real and the translated images of each domain.

        Args:
            real: Images by domain, (N, C, H, W).
            fake: Translations by domain, (N, C, H, W).
            joint: Run both in one batch: the spectral norm then runs one power iteration for both
                (TensorFlow program) instead of one for each (PyTorch program).

        Returns:
            For each domain the outputs for the real and the translated images.
        """
        if joint:
            judged = self.judge({x: torch.cat([real[x], fake[x]]) for x in DOMAINS})
            return {x: _halves(judged[x]) for x in DOMAINS}
        of_real, of_fake = self.judge(real), self.judge(fake)
        return {x: (of_real[x], of_fake[x]) for x in DOMAINS}

    def judge(self, images: dict[str, Tensor]) -> dict[str, list[DiscriminatorOutput]]:
        """Classify images of both domains, without heatmaps: one use of each spectral norm.

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
    """Split outputs into the first and the second half of a batch."""
    # One chunk call per field: one operator joins the gradients of its halves.
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
