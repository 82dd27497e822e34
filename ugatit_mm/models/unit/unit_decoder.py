"""Decoder of UNIT (Liu et al., NIPS 2017, as in its authors' program of 2018)."""

from collections.abc import Mapping

from mmagic.registry import MODELS
from torch import Tensor

from ..layers import InstanceNorm
from ..munit.munit_decoder import CodeDecoder


@MODELS.register_module()
class UNITDecoder(CodeDecoder):
    """Decodes an image from a code: MUNIT's decoder with plain instance norms and no style.

    Args:
        out_channels: Channels of the image.
        base_channels: Channels of the last features; the code has four times as many.
        num_blocks: Number of residual blocks.
        with_cp: See :class:`MUNITEncoder`.

    Raises:
        ValueError: A number of blocks or channels is below 1.
    """

    def __init__(
        self,
        out_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 4,
        with_cp: bool = False,
    ) -> None:
        super().__init__(InstanceNorm, out_channels, base_channels, num_blocks, with_cp)

    @staticmethod
    def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
        """As :meth:`CodeDecoder.sizes`.

        Raises:
            ValueError: The decoder takes styles.
        """
        if 'mlp.0.weight' in state:
            raise ValueError('the decoder takes styles')
        return CodeDecoder.sizes(state)

    def forward(self, code: Tensor) -> Tensor:
        """As :meth:`CodeDecoder.decode`."""
        return self.decode(code)
