"""The official programs' networks and training steps, restated plainly: the baselines.

One module for each model, named by the prefix of its configs. It does not use ``ugatit_mm``, on
purpose: plain torch.nn parts, redundant work is done where the program does it, and the weights
carry the official names. Each has a class ``OfficialOrder`` with

- ``OfficialOrder(img_size, base_channels, device)``: networks, optimisers, other state; the width
  is that of the network that sees the picture first, the others scale with it;
- ``step(real_A, real_B)``: an iteration of the main phase of its training; images are RGB in
  [-1, 1], (N, 3, H, W); returns the loss terms, 0-dim tensors without gradient;
- ``PERIOD``, where iterations differ: the number after which they repeat (1 if absent);
- ``SMALLEST``, where there is a smallest image: its side in pixels;
- ``OPTIONS``, where our configs differ: our options with the same mathematics.
"""

from importlib import import_module


def official_order(model: str) -> type:
    """Return the class of a model, by the model's ``NAME``.

    Raises:
        ValueError: Its program is not restated.
    """
    try:
        return import_module(f'.{model}', __name__).OfficialOrder
    except ModuleNotFoundError as error:
        if error.name != f'{__name__}.{model}':
            raise
        raise ValueError(
            f'no official order of {model}: add tools/benchmarks/official/{model}.py'
        ) from None
