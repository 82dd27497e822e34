"""Initial weights."""

from torch import nn

from ...messages import check_choice
from ..layers import raw_weight

INITS = ('normal', 'default')


def init_networks(module: nn.Module, init: str) -> None:
    """Draw the kernels of every convolution, transposed or not, and linear layer in ``module``.

    Args:
        module: A network.
        init: ``'normal'``: N(0, 0.02) and biases 0 (U-GAT-IT's paper, section 5.1, and its
            TensorFlow program; CycleGAN's program); ``'default'``: what PyTorch's layers draw by
            themselves (U-GAT-IT's PyTorch program).
    """
    check_choice('init', init, INITS)
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            continue
        weight = raw_weight(layer)
        # Drawn in one order whatever the memory format; a view where that is contiguous already.
        kernel = weight.detach().contiguous()
        if init == 'default':
            # Not by reset_parameters(): it writes to .weight, which a spectral norm shadows.
            nn.init.kaiming_uniform_(kernel, a=5**0.5)
            if layer.bias is not None:
                bound = kernel[0].numel() ** -0.5
                nn.init.uniform_(layer.bias, -bound, bound)
        else:
            nn.init.normal_(kernel, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if kernel.data_ptr() != weight.data_ptr():
            weight.data.copy_(kernel)
