"""From the data loader's pictures to the networks' images, in training."""

from collections.abc import Sequence
from types import NoneType
from typing import Any

from mmagic.models import DataPreprocessor
from mmagic.registry import MODELS
from torch import Tensor

from ...pixels import swap_colours


@MODELS.register_module()
class TranslationPreprocessor(DataPreprocessor):
    """MMagic's preprocessor, for any number of channels; in training it launches little.

    Of batches of training it makes only the inputs: channels in the output order, normalised, and
    waits for no device. MMagic's sends an index to the device for each key, and compares sizes of
    paddings; it still serves padding and evaluation. Only three and four channels have an order of
    colours (:func:`swap_colours`); others stay as they are. MMagic's ``mean`` and ``std`` of one
    number are for every channel.

    Args:
        output_channel_order: As in MMagic's; so are the others.
        data_keys: Of a data sample, what is converted too; nothing here.
        non_blocking: Copy pinned memory to the device without waiting.
        fields: Of MMagic's preprocessor.
    """

    def __init__(
        self,
        output_channel_order: str | None = 'RGB',
        data_keys: list[str] | str | None = None,
        non_blocking: bool = True,
        **fields: Any,
    ) -> None:
        super().__init__(
            output_channel_order=output_channel_order,
            data_keys=data_keys,
            **fields,
        )
        self._non_blocking = non_blocking  # MMEngine's field, which MMagic's class does not pass on

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: As the data loader gives it.
            training: Whether only the inputs are needed.

        Returns:
            dict: ``inputs``, and outside of training ``data_samples``.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        plain = isinstance(inputs, dict) and all(map(self._is_plain, inputs.values()))
        if not training or not plain or not isinstance(samples, (Sequence, NoneType)):
            return super().forward(data, training)
        moved = self.cast_data(dict(inputs))
        return {'inputs': {key: self._image(key, x, samples) for key, x in moved.items()}}

    def _is_plain(self, images: Any) -> bool:
        return (
            isinstance(images, Tensor)
            and images.dim() == 4
            and not any(side % self.pad_size_divisor for side in images.shape[2:])
        )

    def _image(self, key: str, images: Tensor, samples: Sequence | None) -> Tensor:
        order = self._parse_batch_channel_order(key, images, samples or [None] * len(images))
        images, _ = self._do_conversion(images, order, self.output_channel_order)
        return self._do_norm(images)

    def _do_conversion(
        self, inputs: Tensor, inputs_order: str = 'BGR', target_order: str | None = None
    ) -> tuple[Tensor, str]:
        """MMagic's takes three channels of any number of them."""
        if target_order is None or inputs_order.upper() in (target_order.upper(), 'SINGLE'):
            return inputs, inputs_order
        return swap_colours(inputs), target_order
