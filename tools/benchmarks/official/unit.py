"""The official UNIT program's networks and training step, restated plainly: the baseline.

Source of the facts: ``networks.py`` and ``trainer.py`` of mingyuliutw/UNIT in 2018, whose parts are
those of MUNIT's program; nothing is copied. Images are RGB in [-1, 1], NCHW.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .munit import NETWORKS, TwoUpdates, content_encoder, decoder

RECON_X, CYCLE, KL, KL_CYCLE = 10, 10, 0.01, 0.01


class Generator(nn.Module):
    """Encoder and decoder of a domain.

    Args:
        width: Channels of the first convolution.
        num_blocks: Residual blocks of each.
    """

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        self.enc = content_encoder(width, num_blocks)
        self.dec = decoder(width, num_blocks, 'in')


class OfficialOrder(TwoUpdates):
    """The official program's four networks, two optimisers and training step.

    Args:
        img_size: Side of the images in pixels, a multiple of 4; the networks take any.
        base_channels: Channels of each network's first convolution.
        device: Where the networks live.
        num_blocks: Residual blocks of an encoder, and of a decoder.
        num_layers: Convolutions of stride 2 of a discriminator.
        num_scales: Scales of a discriminator.
    """

    def __init__(
        self,
        img_size: int = 256,
        base_channels: int = 64,
        device: torch.device | str = 'cpu',
        num_blocks: int = 4,
        num_layers: int = 4,
        num_scales: int = 3,
    ) -> None:
        if img_size % 4:
            raise ValueError(f'img_size must be a multiple of 4, not {img_size}')
        one, two = (Generator(base_channels, num_blocks) for _ in 'ab')
        super().__init__((one, two), base_channels, device, num_layers, num_scales)

    def encode(self, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
        """Code of images by a generator's encoder, and noise for it."""
        code = self.networks[name].enc(images)
        return code, self.draw(tuple(code.shape))

    def translate(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`TwoUpdates.translate`."""
        gen_a, gen_b = (self.networks[name] for name in NETWORKS[:2])
        h_a, n_a = self.encode('gen_a', x_a)
        h_b, n_b = self.encode('gen_b', x_b)
        return gen_a.dec(h_b + n_b), gen_b.dec(h_a + n_a)

    def gen_terms(self, x_a: Tensor, x_b: Tensor) -> dict[str, tuple[float, Tensor]]:
        """See :meth:`TwoUpdates.gen_terms`."""
        gen_a, gen_b, dis_a, dis_b = (self.networks[name] for name in NETWORKS)
        h_a, n_a = self.encode('gen_a', x_a)
        h_b, n_b = self.encode('gen_b', x_b)
        x_aa, x_bb = gen_a.dec(h_a + n_a), gen_b.dec(h_b + n_b)
        x_ba, x_ab = gen_a.dec(h_b + n_b), gen_b.dec(h_a + n_a)
        h_b_again, n_b_again = self.encode('gen_a', x_ba)
        h_a_again, n_a_again = self.encode('gen_b', x_ab)
        x_aba, x_bab = gen_a.dec(h_a_again + n_a_again), gen_b.dec(h_b_again + n_b_again)
        return {
            'gen_recon_x_a': (RECON_X, F.l1_loss(x_aa, x_a)),
            'gen_recon_x_b': (RECON_X, F.l1_loss(x_bb, x_b)),
            'gen_recon_kl_a': (KL, (h_a**2).mean()),
            'gen_recon_kl_b': (KL, (h_b**2).mean()),
            'gen_cyc_x_a': (CYCLE, F.l1_loss(x_aba, x_a)),
            'gen_cyc_x_b': (CYCLE, F.l1_loss(x_bab, x_b)),
            'gen_recon_kl_cyc_aba': (KL_CYCLE, (h_a_again**2).mean()),
            'gen_recon_kl_cyc_bab': (KL_CYCLE, (h_b_again**2).mean()),
            'gen_adv_a': (1, dis_a.gen_loss(x_ba)),
            'gen_adv_b': (1, dis_b.gen_loss(x_ab)),
        }
