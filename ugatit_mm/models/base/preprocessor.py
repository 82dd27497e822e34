"""The data preprocessor: from the data loader's batch to the networks' images."""

from collections.abc import Sequence
from types import NoneType
from typing import Any

from mmagic.models import DataPreprocessor
from mmagic.registry import MODELS
from torch import Tensor

from ...pixels import swap_colours


@MODELS.register_module()
class TranslationPreprocessor(DataPreprocessor):
    """MMagic's preprocessor for any number of channels, with few kernel launches in training.

    For a training batch it returns only the inputs, normalised and with channels in the output
    order, and never waits for the device. MMagic's sends an index to the device for each key and
    compares padding sizes; it still handles padding and evaluation. Only three and four channels
    have a colour order (:func:`swap_colours`); others stay as they are. A ``mean`` or ``std`` of
    one number applies to every channel.

    Args:
        output_channel_order: As in MMagic's preprocessor.
        data_keys: Keys of a data sample to convert too; by default none.
        non_blocking: Copy pinned memory to the device without waiting.
        fields: Further arguments of MMagic's preprocessor.
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
            data: A batch of the data loader.
            training: Whether only the inputs are needed.

        Returns:
            dict: ``inputs`` and, outside training, ``data_samples``.
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
        """Swap colours for any number of channels; MMagic's keeps only three."""
        if target_order is None or inputs_order.upper() in (target_order.upper(), 'SINGLE'):
            return inputs, inputs_order
        return swap_colours(inputs), target_order
