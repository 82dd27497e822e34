"""Initial weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ...messages import check_choice
from ..layers import raw_weight

INITS = ('normal', 'default', 'kaiming')


def init_networks(module: nn.Module, init: str) -> None:
    """Initialise every convolution, transposed or not, and linear layer in ``module``.

    Args:
        module: A network.
        init: ``'normal'``: N(0, 0.02) and biases 0 (U-GAT-IT's paper, section 5.1, and its
            TensorFlow program; CycleGAN's program); ``'default'``: PyTorch's default initialisation
            (U-GAT-IT's PyTorch program); ``'kaiming'``: N(0, 2 / fan_in) and biases 0 (the
            generators of MUNIT's program).
    """
    check_choice('init', init, INITS)
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            continue
        with in_one_order(raw_weight(layer)) as kernel:
            if init == 'default':
                # Not by reset_parameters(): it writes to .weight, which a spectral norm shadows.
                nn.init.kaiming_uniform_(kernel, a=5**0.5)
                if layer.bias is not None:
                    bound = kernel[0].numel() ** -0.5
                    nn.init.uniform_(layer.bias, -bound, bound)
            else:
                if init == 'kaiming':
                    nn.init.kaiming_normal_(kernel)
                else:
                    nn.init.normal_(kernel, 0.0, 0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def init_truncated(module: nn.Module, std: float = 0.02) -> None:
    """Draw kernels and norm scales from TensorFlow's truncated normal, as AGGAN's program does.

    Kernels from N(0, std), scales of instance norms from N(1, std), both cut at two standard
    deviations; biases and shifts are 0.

    Args:
        module: A network of convolutions and instance norms.
        std: Before truncation, which reduces it to 0.88 of the value.
    """
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d)):
            continue
        if layer.weight is not None:
            mean = 1.0 if isinstance(layer, nn.InstanceNorm2d) else 0.0
            with in_one_order(layer.weight) as weight:
                nn.init.trunc_normal_(weight, mean, std, mean - 2 * std, mean + 2 * std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@contextmanager
def in_one_order(weight: Tensor) -> Iterator[Tensor]:
    """Yield a weight to initialise in one element order, whatever its memory format."""
    kernel = weight.detach().contiguous()  # a view if it is contiguous already
    yield kernel
    if kernel.data_ptr() != weight.data_ptr():
        weight.data.copy_(kernel)
