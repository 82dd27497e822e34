"""Adam with moments of 8 bits, for layers whose optimiser state would not fit.

Nearest rounding would stop the second moment: at beta2 = 0.999 an update moves it by about 0.1 %,
where two codes are 6 to 12 % apart. Stochastic rounding goes up with the probability of the
fraction that is cut off, so that the stored moment has the right mean (Gupta et al., *Deep Learning
with Limited Numerical Precision*, ICML 2015).

bitsandbytes' ``Adam8bit`` does not take its place: on a CPU its update needs 22 bytes a weight of
the layer, more than the two moments of Adam that it is to save (docs/performance.md).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

import torch
from mmagic.registry import OPTIMIZERS
from torch import Tensor
from torch.optim import Optimizer

# The random numbers repeat after so many elements. Smaller parameters keep float32 moments: in the
# full U-GAT-IT they are 178 of 248 parameters, and 0.03 % of the weights.
ROW = 2**16
BLOCK = 2048  # elements that share a scale of the second moment
# Elements at a time: on a CPU what its cache holds, elsewhere enough for a kernel. Three float32
# buffers of this size (12 MiB, 48 MiB) and the tables (1.5 MiB) are the temporary memory.
CPU_CHUNK, CHUNK = 2**20, 2**22
TINY = 1e-37  # its root divides by, where a second moment is 0


@OPTIMIZERS.register_module()
class LeanAdam(Optimizer):
    """Adam (coupled weight decay, ``eps`` outside the root) that stores its moments in 8 bits.

    The second moment v is a number of 5 bits exponent and 3 bits mantissa times the scale of its
    block, and at least 2^-31 of the block's largest. The first moment m is m / sqrt(v) in 254 equal
    steps over its range, which the betas bound.

    The update is torch's fused kernel in float32, with the moments before they are rounded. The
    random numbers follow from the step and the place in the parameter alone, so that a resumed
    run equals one without a stop to the last bit.

    Args:
        params: float32 parameters or groups of them, without gaps in memory.
        lr: Learning rate.
        betas: Decay of the first and of the second moment; beta1^2 < beta2.
        eps: Added to the root of the second moment.
        weight_decay: Times the parameter, added to the gradient.
        fused: Must be ``True``; taken so that a config can exchange ``Adam`` for this by its type.

    Raises:
        ValueError: A value out of range, or parameters of another type or with gaps.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool = True,
    ) -> None:
        if not fused:
            raise ValueError("LeanAdam has only torch's fused kernel: leave optimizer.fused=True")
        defaults = {'lr': lr, 'betas': betas, 'eps': eps, 'weight_decay': weight_decay}
        # The mark by which load_state_dict knows its own state.
        super().__init__(params, defaults | {'state_dtype': 'uint8'})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as in torch, and check it."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ('lr', 'eps', 'weight_decay'):
            if not group[name] >= 0:
                raise ValueError(f'optimizer.{name} must be 0 or more, got {group[name]}')
        beta1, beta2 = group['betas']
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
            raise ValueError(f'optimizer.betas must lie in [0, 1), got {group["betas"]}')
        if beta1**2 >= beta2:
            raise ValueError(f'optimizer.betas={group["betas"]}: LeanAdam needs beta1^2 < beta2')
        for parameter in group['params']:
            # torch.empty_like keeps the strides of what has no gaps, and of nothing else.
            dense = torch.empty_like(parameter, device='meta').stride() == parameter.stride()
            if parameter.dtype != torch.float32 or not dense:
                raise ValueError(
                    'LeanAdam takes float32 parameters without gaps in memory, got '
                    f'{parameter.dtype}, {tuple(parameter.shape)} in strides {parameter.stride()}'
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes the loss and the gradients anew.

        Returns:
            What the closure returned.

        Raises:
            ValueError: A gradient is sparse, or a parameter's memory format has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        buffers = {}
        for group in self.param_groups:
            small = defaultdict(list)
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                gradient = _like(parameter, parameter.grad)
                state = self.state[parameter]
                if not state:
                    state.update(_new_state(parameter))
                _check_strides(parameter, state)
                state['step'] += 1
                device = parameter.device
                if parameter.numel() < ROW:
                    tensors = parameter, gradient, state['exp_avg'], state['exp_avg_sq']
                    small[device, state['step']].append(tensors)
                    continue
                if device not in buffers:
                    chunk = CPU_CHUNK if device.type == 'cpu' else CHUNK
                    buffers[device] = torch.empty(3, chunk, device=device)
                _update(parameter, gradient, state, group, buffers[device])
            for (device, step), alike in small.items():
                parameters, gradients, exp_avgs, exp_avg_sqs = zip(*alike, strict=True)
                count = _number(step, device)
                _adam(parameters, gradients, exp_avgs, exp_avg_sqs, group, count)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave, in its types: torch's own makes everything float32.

        Raises:
            ValueError: It is the state of another optimiser.
        """
        if any(group.get('state_dtype') != 'uint8' for group in state_dict['param_groups']):
            raise ValueError(
                'LeanAdam cannot go on from a state of another optimizer: resume with the '
                'optimizer that the run began with, or take only its weights (load_from)'
            )
        super().load_state_dict({**state_dict, 'state': {}})
        parameters = [p for group in self.param_groups for p in group['params']]
        indices = [i for group in state_dict['param_groups'] for i in group['params']]
        for parameter, index in zip(parameters, indices, strict=True):
            if index in state_dict['state']:
                self.state[parameter] = {
                    name: value.to(parameter.device) if torch.is_tensor(value) else value
                    for name, value in state_dict['state'][index].items()
                }


def _like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient, its elements in memory in the order of the parameter's."""
    if gradient.is_sparse:
        raise ValueError('LeanAdam takes dense gradients, got a sparse one')
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _new_state(parameter: Tensor) -> dict[str, Any]:
    count = parameter.numel()
    if count < ROW:
        return {'step': 0} | {x: torch.zeros_like(parameter) for x in ('exp_avg', 'exp_avg_sq')}
    blocks = sum(_blocks(stop - start) for start, stop in _pieces(count, ROW))
    return {
        'step': 0,
        'exp_avg_code': torch.zeros_like(parameter, dtype=torch.int8),
        'exp_avg_sq_code': torch.zeros_like(parameter, dtype=torch.uint8),
        'exp_avg_sq_scale': torch.zeros(blocks, device=parameter.device),
    }


def _check_strides(parameter: Tensor, state: dict[str, Any]) -> None:
    for name, value in state.items():
        if name not in ('step', 'exp_avg_sq_scale') and value.stride() != parameter.stride():
            raise ValueError(
                f'a parameter has strides {parameter.stride()}, its optimizer state '
                f'{value.stride()}: keep the memory format (channels_last) of the checkpoint'
            )


def _pieces(count: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut a parameter into chunks of whole rows, and what is left."""
    whole = count // ROW * ROW
    for start in range(0, whole, chunk):
        yield start, min(start + chunk, whole)
    if whole < count:
        yield whole, count


def _blocks(count: int) -> int:
    """Blocks in a piece; a rest that they do not divide is one block."""
    return count // BLOCK if count % BLOCK == 0 else 1


def _number(value: float, device: torch.device) -> Tensor:
    return torch.full((), float(value), device=device)


def _adam(
    parameters: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    exp_avgs: tuple[Tensor, ...],
    exp_avg_sqs: tuple[Tensor, ...],
    group: dict[str, Any],
    step: Tensor,
) -> None:
    """Update parameters and float32 moments in place."""
    torch._fused_adam_(
        parameters,
        gradients,
        exp_avgs,
        exp_avg_sqs,
        [],
        [step] * len(parameters),
        lr=group['lr'],
        beta1=group['betas'][0],
        beta2=group['betas'][1],
        weight_decay=group['weight_decay'],
        eps=group['eps'],
        amsgrad=False,
        maximize=False,
    )


def _update(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict, buffers: Tensor
) -> None:
    """Update one large parameter and its state, a chunk at a time."""
    flat = {
        name: tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
        for name, tensor in {'parameter': parameter, 'gradient': gradient, **state}.items()
        if name != 'step'
    }
    step = _number(state['step'], parameter.device)
    block = 0
    for start, stop in _pieces(parameter.numel(), buffers.shape[1]):
        piece = {name: tensor[start:stop] for name, tensor in flat.items()}
        adam = partial(_adam, (piece['parameter'],), (piece['gradient'],), group=group, step=step)
        work = buffers[:, : stop - start]
        random = partial(_random, start=start, stop=stop, step=state['step'])
        blocks = _blocks(stop - start)
        codes = piece['exp_avg_code'], piece['exp_avg_sq_code']
        scale = flat['exp_avg_sq_scale'][block : block + blocks, None]
        _update_coded(*codes, scale, adam, work, random, _limit(*group['betas']))
        block += blocks


def _update_coded(
    m_code: Tensor,
    v_code: Tensor,
    scale: Tensor,
    adam: Callable,
    work: Tensor,
    random: Callable,
    limit: float,
) -> None:
    m, v, root = work
    bits = v.view(torch.int32)
    by_block = v.view(len(scale), -1)
    whole, share = _tables(v.device)

    # The code is bits 20 to 27 of a float32 in [2^-31, 2): 5 of the exponent, 3 of the mantissa.
    bits.copy_(v_code).bitwise_or_(768).bitwise_left_shift_(20)
    by_block.mul_(scale)
    torch.sqrt(v, out=root)
    m.copy_(m_code).mul_(root.mul_(limit / 127))

    adam((m,), (v,))

    torch.sqrt(v.clamp_min_(TINY), out=root)
    noise = random(share, which=0)
    m, root = m.view_as(noise), root.view_as(noise)
    torch.addcdiv(noise, m, root, value=127 / limit, out=m).floor_().clamp_(-127, 127)
    m_code.view_as(noise).copy_(m)

    # The largest of the block becomes 1.875, the largest code.
    torch.div(by_block.amax(1, keepdim=True), 1.875, out=scale)
    by_block.div_(scale)
    noise = random(whole, which=1)
    bits = bits.view_as(noise)
    torch.add(bits, noise, alpha=16, out=bits)
    v_code.view_as(noise).copy_(bits.bitwise_right_shift_(20).clamp_(768, 1023))


def _limit(beta1: float, beta2: float) -> float:
    """The largest |m| / sqrt(v), by Cauchy and Schwarz for m and v as sums over the gradients."""
    return (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1**2 / beta2))


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Every number below 2^16 in a random order, three times over, and the same over 2^16."""
    whole = torch.randperm(ROW, generator=torch.Generator().manual_seed(0)).int().repeat(3)
    return whole.to(device), (whole / ROW).to(device)


def _random(table: Tensor, start: int, stop: int, step: int, which: int) -> Tensor:
    """Random numbers for the elements ``start`` to ``stop`` of any parameter, as rows.

    Element i takes ``table[i + 97 * (i // 2^16) + 40503 * step + 2^15 * which]``, modulo 2^16. As
    40503 is odd, an element meets every number once in 2^16 steps, so rounding has no bias; what
    elements of different rows meet at the same time differs by row.
    """
    row = start // ROW
    shape = (max(1, (stop - start) // ROW), min(stop - start, ROW))
    return table.as_strided(shape, (97, 1), (97 * row + 40503 * step + 2**15 * which) % ROW)
