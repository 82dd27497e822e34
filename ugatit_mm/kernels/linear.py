"""Linear layers for few rows, and the average before one.

The full variant's first layer reads 2^20 weights for each output. With two or three rows it is
bound by reading them: the sum over the inputs is split into slices, one program each, and a second
launch adds the slices in order. Arithmetic and results are in float32; inputs may have 16 bits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .support import REGISTERS, TYPES, Example, Fused, cut, jit, launch, tl, triton, usable

MAX_ROWS = 16
ROWS = 4  # of a program: more rows need more programs, which read the weights again
LARGE = 4096  # inputs from which the sum over them is split
SLICES = 64

Layers = tuple[tuple[Tensor, Tensor | None], ...]
"""Weight (outputs, inputs) and bias (outputs) or ``None`` of each layer."""


def few_rows(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels handle ``x``, (rows, ...), with a weight."""
    return usable(x) and _taken(len(x), weight)


def _taken(rows: int, weight: Tensor) -> bool:
    """Whether the kernels take this number of rows and weight; if not, the formula does."""
    return rows <= MAX_ROWS and weight.dtype == torch.float32


# ---------------------------------------------------------------- forward pass


def _plain_outputs(x: Tensor, layers: Layers, relu: bool) -> list[Tensor]:
    outs = [F.linear(x.to(weight.dtype), weight, bias) for weight, bias in layers]
    return [out.relu_() for out in outs] if relu else outs


def _kernel_outputs(x: Tensor, layers: Layers, relu: bool) -> list[Tensor]:
    if not all(_taken(len(x), weight) for weight, _ in layers):
        return _plain_outputs(x, layers, relu)
    x = x.contiguous()
    rows, inputs = x.shape
    outs = [x.new_empty(rows, len(weight), dtype=torch.float32) for weight, _ in layers]
    if inputs < LARGE:
        (weight, bias), (second, second_bias) = layers[0], layers[-1]
        block, most = 8, max(map(len, (weight, second)))
        launch(
            _outputs_kernel,
            (triton.cdiv(most, block), len(layers), triton.cdiv(rows, ROWS)),
            *(x, weight, second, bias, second_bias, outs[0], outs[-1]),
            *(rows, inputs, len(weight), len(second), triton.cdiv(inputs, 128)),
            RELU=relu,
            ROWS=triton.next_power_of_2(min(rows, ROWS)),
            OUTPUTS=block,
            INPUTS=128,
        )
        return outs
    for (weight, bias), out in zip(layers, outs, strict=True):
        block, outputs = 16, len(weight)
        slices, steps = cut(triton.cdiv(inputs, 256), SLICES)
        sums = x.new_empty(slices, rows, outputs, dtype=torch.float32)
        launch(
            _slices_kernel,
            (triton.cdiv(outputs, block), slices, triton.cdiv(rows, ROWS)),
            *(x, weight, sums, rows, inputs, outputs, steps),
            ROWS=triton.next_power_of_2(min(rows, ROWS)),
            OUTPUTS=block,
            INPUTS=256,
            num_warps=8,
        )
        launch(
            _add_slices_kernel,
            (triton.cdiv(rows * outputs, 32),),
            *(sums, bias, out, rows * outputs, outputs, slices),
            RELU=relu,
            SLICES=triton.next_power_of_2(slices),
            BLOCK=32,
        )
    return outs


@jit
def _products(x, weight, row, output, first, steps, rows, inputs, outputs, INPUTS: tl.constexpr):
    """Sums over ``steps`` tiles of inputs, (ROWS, OUTPUTS)."""
    # int64: a weight may have more than 2^31 elements.
    row, output = row.to(tl.int64)[:, None, None], output.to(tl.int64)[None, :, None]
    lane = tl.arange(0, INPUTS)[None, None, :]
    sums = tl.zeros((row.shape[0], output.shape[1], INPUTS), tl.float32)
    for step in range(0, steps):
        place = (first + step) * INPUTS + lane
        inside = place < inputs
        mask = inside & (row < rows)
        value = tl.load(x + row * inputs + place, mask=mask, other=0.0).to(tl.float32)
        mask = inside & (output < outputs)
        sums += value * tl.load(weight + output * inputs + place, mask=mask, other=0.0)
    return tl.sum(sums, 2)


@jit
def _relu(x):
    return tl.where(x <= 0, 0.0, x)  # NaN stays NaN


@jit
def _layer(
    x,
    weight,
    bias,
    out,
    rows,
    inputs,
    outputs,
    steps,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    result = _products(x, weight, row, output, 0, steps, rows, inputs, outputs, INPUTS)
    if bias is not None:
        result += tl.load(bias + output, mask=output < outputs, other=0.0)[None, :]
    if RELU:
        result = _relu(result)
    inside = (row[:, None] < rows) & (output[None, :] < outputs)
    tl.store(out + row[:, None] * outputs + output[None, :], result, mask=inside)


@jit
def _outputs_kernel(
    x,
    weight,
    second,
    bias,
    second_bias,
    out,
    second_out,
    rows,
    inputs,
    outputs,
    second_outputs,
    steps,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    if tl.program_id(1) == 0:
        _layer(
            x, weight, bias, out, rows, inputs, outputs, steps, RELU, ROWS, OUTPUTS, INPUTS
        )  # fmt: skip
    else:
        _layer(
            x, second, second_bias, second_out, rows, inputs, second_outputs, steps,
            RELU, ROWS, OUTPUTS, INPUTS,
        )  # fmt: skip


@jit
def _slices_kernel(
    x,
    weight,
    sums,
    rows,
    inputs,
    outputs,
    steps,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    part = tl.program_id(1)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    result = _products(x, weight, row, output, part * steps, steps, rows, inputs, outputs, INPUTS)
    inside = (row[:, None] < rows) & (output[None, :] < outputs)
    place = (part * rows + row[:, None]) * outputs + output[None, :]
    tl.store(sums + place, result, mask=inside)


@jit
def _add_slices_kernel(
    sums,
    bias,
    out,
    count,
    outputs,
    slices,
    RELU: tl.constexpr,
    SLICES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.arange(0, SLICES)[:, None]
    inside = (part < slices) & (place[None, :] < count)
    result = tl.sum(tl.load(sums + part * count + place[None, :], mask=inside, other=0.0), 0)
    if bias is not None:
        result += tl.load(bias + place % outputs)
    if RELU:
        result = _relu(result)
    tl.store(out + place, result, mask=place < count)


# ----------------------------------------------------- backward pass, any layer


def _plain_gradients(
    x: Tensor, layers: Layers, outs: list[Tensor], grads: list[Tensor], relu: bool
) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]]]:
    grad_x, of_layers = 0, []
    for (weight, bias), out, grad in zip(layers, outs, grads, strict=True):
        grad = _masked(grad, out, relu)
        grad_x = grad_x + grad @ weight
        grad_weight = grad.t() @ x.to(grad.dtype)
        of_layers.append((grad_weight, None if bias is None else grad.sum(0)))
    return grad_x.to(x.dtype), of_layers


def _masked(grad: Tensor, out: Tensor, relu: bool) -> Tensor:
    """Return the gradient before ReLU."""
    return torch.ops.aten.threshold_backward(grad, out, 0) if relu else grad


def _kernel_gradients(
    x: Tensor, layers: Layers, outs: list[Tensor], grads: list[Tensor], relu: bool
) -> tuple[Tensor, list[tuple[Tensor, Tensor | None]]]:
    x, grads = x.contiguous(), [grad.contiguous() for grad in grads]
    rows, inputs = x.shape
    made = [(torch.empty_like(w), None if b is None else torch.empty_like(b)) for w, b in layers]
    grad_x = torch.empty_like(x)
    together = [
        (weight, out, grad, *new)
        for (weight, _), out, grad, new in zip(layers, outs, grads, made, strict=True)
    ]
    padded = triton.next_power_of_2(rows)
    launch(
        _gradients_kernel,
        (triton.cdiv(inputs, 16),),
        *(x, grad_x, *together[0], *together[-1]),
        *(rows, inputs, len(layers[0][0]), len(layers[-1][0])),
        RELU=relu,
        PAIR=len(layers) == 2,
        ROWS=padded,
        OUTPUTS=max(16, min(64, 256 // padded)),
        INPUTS=16,
    )
    return grad_x, made


@jit
def _output_gradients(grad, out, row, output, rows, outputs, RELU: tl.constexpr):
    """Gradients before ReLU; rows and outputs have shapes that broadcast."""
    inside = (row < rows) & (output < outputs)
    place = row * outputs + output
    value = tl.load(grad + place, mask=inside, other=0.0)
    if RELU:
        value = tl.where(tl.load(out + place, mask=inside, other=1.0) <= 0, 0.0, value)
    return value


@jit
def _layer_gradients(
    total,
    value,
    weight,
    out,
    grad,
    grad_weight,
    grad_bias,
    row,
    place,
    rows,
    inputs,
    outputs,
    RELU: tl.constexpr,
    OUTPUTS: tl.constexpr,
):
    """Add to the input's gradient; write those of weight and bias at ``place``."""
    for begin in range(0, outputs, OUTPUTS):
        output = begin + tl.arange(0, OUTPUTS)[None, :, None]
        given = _output_gradients(grad, out, row, output, rows, outputs, RELU)
        inside = (output < outputs) & (place < inputs)
        offset = output.to(tl.int64) * inputs + place
        total += tl.sum(given * tl.load(weight + offset, mask=inside, other=0.0), 1, keep_dims=True)
        product = tl.sum(given * value, 0, keep_dims=True)
        tl.store(grad_weight + offset, product, mask=inside)
        if grad_bias is not None:
            once = (output < outputs) & (tl.program_id(0) == 0)
            tl.store(grad_bias + output, tl.sum(given, 0, keep_dims=True), mask=once)
    return total


@jit
def _gradients_kernel(
    x,
    grad_x,
    weight,
    out,
    grad,
    grad_weight,
    grad_bias,
    second_weight,
    second_out,
    second_grad,
    second_grad_weight,
    second_grad_bias,
    rows,
    inputs,
    outputs,
    second_outputs,
    RELU: tl.constexpr,
    PAIR: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    row = tl.arange(0, ROWS)[:, None, None]
    place = tl.program_id(0) * INPUTS + tl.arange(0, INPUTS)[None, None, :]
    inside = (row < rows) & (place < inputs)
    value = tl.load(x + row * inputs + place, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros((ROWS, 1, INPUTS), tl.float32)
    total = _layer_gradients(
        total, value, weight, out, grad, grad_weight, grad_bias, row, place,
        rows, inputs, outputs, RELU, OUTPUTS,
    )  # fmt: skip
    if PAIR:
        total = _layer_gradients(
            total, value, second_weight, second_out, second_grad, second_grad_weight,
            second_grad_bias, row, place, rows, inputs, second_outputs, RELU, OUTPUTS,
        )  # fmt: skip
    tl.store(grad_x + row * inputs + place, total, mask=inside)


# ----------------------------------- backward pass, one weight with several uses


def _plain_input_gradient(
    grad: Tensor, out: Tensor, weight: Tensor, dtype: torch.dtype, relu: bool, needed: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    grad = _masked(grad, out, relu)
    return (grad @ weight).to(dtype) if needed else None, grad, grad.sum(0)


def _kernel_input_gradient(
    grad: Tensor, out: Tensor, weight: Tensor, dtype: torch.dtype, relu: bool, needed: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    if not needed or not _taken(len(grad), weight):
        return _plain_input_gradient(grad, out, weight, dtype, relu, needed)
    grad = grad.contiguous()
    rows, (outputs, inputs) = len(grad), weight.shape
    grad_x = grad.new_empty(rows, inputs, dtype=dtype)
    masked, grad_bias = torch.empty_like(grad), grad.new_empty(outputs)
    block, depth = (512, 8) if inputs >= LARGE else (32, 32)
    launch(
        _input_gradient_kernel,
        (triton.cdiv(inputs, block), triton.cdiv(rows, ROWS)),
        *(grad, out, weight, grad_x, masked, grad_bias, rows, inputs, outputs),
        RELU=relu,
        ROWS=triton.next_power_of_2(min(rows, ROWS)),
        OUTPUTS=depth,
        INPUTS=block,
        num_warps=8 if inputs >= LARGE else 4,
        maxnreg=REGISTERS,
    )
    return grad_x, masked, grad_bias


@jit
def _input_gradient_kernel(
    grad,
    out,
    weight,
    grad_x,
    masked,
    grad_bias,
    rows,
    inputs,
    outputs,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    row = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None, None]
    place = tl.program_id(0) * INPUTS + tl.arange(0, INPUTS)[None, None, :]
    sums = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    for begin in range(0, outputs, OUTPUTS):
        output = begin + tl.arange(0, OUTPUTS)[None, :, None]
        given = _output_gradients(grad, out, row, output, rows, outputs, RELU)
        inside = (output < outputs) & (place < inputs)
        offset = output.to(tl.int64) * inputs + place
        sums += given * tl.load(weight + offset, mask=inside, other=0.0)
    total = tl.sum(sums, 1, keep_dims=True).to(grad_x.dtype.element_ty)
    inside = (row < rows) & (place < inputs)
    tl.store(grad_x + row.to(tl.int64) * inputs + place, total, mask=inside)
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0):
        for begin in range(0, outputs, 128):
            output = begin + tl.arange(0, 128)
            bias = tl.zeros((128,), tl.float32)
            for line in range(0, rows):
                given = _output_gradients(grad, out, line, output, rows, outputs, RELU)
                tl.store(masked + line * outputs + output, given, mask=output < outputs)
                bias += given
            tl.store(grad_bias + output, bias, mask=output < outputs)


def _plain_weight_gradient(*rows: Tensor) -> Tensor:
    grads = torch.cat(rows[::2]) if len(rows) > 2 else rows[0]
    inputs = torch.cat(rows[1::2]) if len(rows) > 2 else rows[1]
    return grads.t() @ inputs.to(grads.dtype)


def _kernel_weight_gradient(*rows: Tensor) -> Tensor:
    if not _taken(sum(map(len, rows[::2])), rows[0]):
        return _plain_weight_gradient(*rows)
    if len(rows) > 4:
        rows = torch.cat(rows[::2]), torch.cat(rows[1::2])
    grad, x, second_grad, second_x = (*rows, *rows)[:4]
    outputs, inputs = grad.size(1), x.size(1)
    grad_weight = grad.new_empty(outputs, inputs)
    block = 512 if inputs >= LARGE else 64
    launch(
        _weight_gradient_kernel,
        (triton.cdiv(inputs, block), triton.cdiv(outputs, 16)),
        *(part.contiguous() for part in (grad, x, second_grad, second_x)),
        grad_weight,
        *(len(grad), len(second_grad) if len(rows) > 2 else 0, inputs, outputs),
        OUTPUTS=16,
        INPUTS=block,
        num_warps=8 if inputs >= LARGE else 4,
    )
    return grad_weight


@jit
def _outer_products(sums, grad, x, rows, output, place, inputs, outputs):
    for line in range(0, rows):
        given = tl.load(grad + line * outputs + output, mask=output < outputs, other=0.0)
        offset = tl.cast(line, tl.int64) * inputs + place
        value = tl.load(x + offset, mask=place < inputs, other=0.0).to(tl.float32)
        sums += given[:, None] * value[None, :]
    return sums


@jit
def _weight_gradient_kernel(
    grad,
    x,
    second_grad,
    second_x,
    grad_weight,
    rows,
    second_rows,
    inputs,
    outputs,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    place = tl.program_id(0) * INPUTS + tl.arange(0, INPUTS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    sums = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    sums = _outer_products(sums, grad, x, rows, output, place, inputs, outputs)
    sums = _outer_products(sums, second_grad, second_x, second_rows, output, place, inputs, outputs)
    inside = (output[:, None] < outputs) & (place[None, :] < inputs)
    tl.store(
        grad_weight + output.to(tl.int64)[:, None] * inputs + place[None, :], sums, mask=inside
    )


# ---------------------------------------------------------------------- average


def _plain_average(x: Tensor) -> Tensor:
    return x.float().mean((2, 3))


def _kernel_average(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    out = x.new_empty(batch, channels, dtype=torch.float32)
    # The tile is long in the contiguous dimension.
    block_c, block_p = (16, 256) if x.stride(1) < x.stride(3) else (4, 1024)
    launch(
        _average_kernel,
        (triton.cdiv(channels, block_c), batch),
        *(x, out, channels, height * width, width, *x.stride()),
        CHANNELS=block_c,
        POSITIONS=min(block_p, triton.next_power_of_2(height * width)),
        num_warps=8,
    )
    return out


@jit
def _average_kernel(
    x,
    out,
    channels,
    positions,
    width,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
):
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    sample = tl.program_id(1).to(tl.int64)
    x += sample * stride_n
    sums = tl.zeros((CHANNELS, POSITIONS), tl.float32)
    for begin in range(0, positions, POSITIONS):
        place = begin + tl.arange(0, POSITIONS)
        row, column = (place // width).to(tl.int64), (place % width).to(tl.int64)
        offset = (
            channel.to(tl.int64)[:, None] * stride_c + (row * stride_h + column * stride_w)[None, :]
        )
        inside = (channel[:, None] < channels) & (place[None, :] < positions)
        sums += tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(sums, 1) / positions
    tl.store(out + sample * channels + channel, mean, mask=channel < channels)


# --------------------------------------------------------------------- examples


def _layers(device: torch.device, inputs: int, count: int, bias: bool = True) -> Layers:
    return tuple(
        (torch.randn(19, inputs, device=device), torch.randn(19, device=device) if bias else None)
        for _ in range(count)
    )


def _outputs_examples(device: torch.device) -> list[Example]:
    return [
        Example((torch.randn(rows, inputs, device=device).to(dtype), layers, relu), 1e-4, 1e-4)
        for dtype in TYPES
        for rows, inputs, layers, relu in (
            (3, 37, _layers(device, 37, 2), False),
            (1, 24, _layers(device, 24, 1, bias=False), True),
            (5, LARGE + 9, _layers(device, LARGE + 9, 1), True),
        )
    ]


def _gradients_examples(device: torch.device) -> list[Example]:
    return [
        Example(
            (
                torch.randn(rows, 37, device=device).to(dtype),
                _layers(device, 37, count, bias),
                list(torch.randn(count, rows, 19, device=device)),
                list(torch.randn(count, rows, 19, device=device)),
                relu,
            )
        )
        for dtype, rows, count, bias, relu in (
            (torch.float32, 3, 2, True, False),
            (torch.bfloat16, 5, 1, True, True),
            (torch.float16, 1, 1, False, True),
        )
    ]


def _input_gradient_examples(device: torch.device) -> list[Example]:
    return [
        Example(
            (
                *torch.randn(2, rows, 19, device=device),
                torch.randn(19, inputs, device=device),
                dtype,
                relu,
                True,
            )
        )
        for dtype in TYPES
        for rows, inputs, relu in ((3, 37, True), (5, LARGE + 9, False))
    ]


def _weight_gradient_examples(device: torch.device) -> list[Example]:
    return [
        Example(
            tuple(
                tensor
                for rows in uses
                for tensor in (
                    torch.randn(rows, 19, device=device),
                    torch.randn(rows, inputs, device=device).to(dtype),
                )
            )
        )
        for dtype in TYPES
        for uses, inputs in (((2,), 37), ((2, 1), LARGE + 9), ((1, 2, 1), 37))
    ]


def _average_examples(device: torch.device) -> list[Example]:
    padded = torch.randn(2, 19, 9, 8, device=device)
    last = padded.to(memory_format=torch.channels_last)
    return [Example((x.to(dtype)[..., 1:-1, 2:-1],)) for dtype in TYPES for x in (padded, last)]


outputs = Fused('linear layers', _plain_outputs, _kernel_outputs, _outputs_examples)
"""Outputs of one or two layers for the same rows, float32, each (rows, outputs).

Args:
    x: (rows, inputs).
    layers: :data:`Layers`.
    relu: Apply ReLU.
"""

gradients = Fused(
    'gradients of linear layers', _plain_gradients, _kernel_gradients, _gradients_examples
)
"""Gradient of x, in its dtype, and for each layer those of weight and bias (``None`` without one).

Args:
    x: As in :data:`outputs`.
    layers: As in :data:`outputs`.
    outs: Their outputs, read only with ``relu``.
    grads: The outputs' gradients.
    relu: As in :data:`outputs`.
"""

input_gradient = Fused(
    'input gradient of a linear layer',
    _plain_input_gradient,
    _kernel_input_gradient,
    _input_gradient_examples,
)
"""Gradient of x (rows, inputs) or ``None``, of the outputs before ReLU, and of the bias.

Args:
    grad: Gradient of the outputs, (rows, outputs).
    out: The outputs, read only with ``relu``.
    weight: (outputs, inputs).
    dtype: Dtype of x.
    relu: Whether ReLU was applied to the outputs.
    needed: Whether the gradient of x is needed.
"""

weight_gradient = Fused(
    'weight gradient of a linear layer',
    _plain_weight_gradient,
    _kernel_weight_gradient,
    _weight_gradient_examples,
)
"""Gradient (outputs, inputs) of a weight, summed over its uses.

Args:
    rows: For each use the outputs' gradient before ReLU, then x.
"""

average = Fused('average over a map', _plain_average, _kernel_average, _average_examples)
"""Average of (N, C, H, W) over H and W, (N, C) in float32.

Args:
    x: In any memory format; may be a view into a padded map.
"""
