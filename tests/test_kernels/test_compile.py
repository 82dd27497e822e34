"""All kernels, compiled for absent GPUs: a compiler may refuse what the interpreter takes.

Triton decides at its import whether it interprets or compiles, so a process of its own does it:
this file, run as a script, prints as JSON what is wrong with each fused function. Its argument is
``one`` example of each for each GPU, or ``all``.
"""

import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from ugatit_mm import kernels
from ugatit_mm.kernels import norm
from ugatit_mm.kernels.activation import Activation
from ugatit_mm.kernels.maps import NO_PADDING, empty, memory_format, reflection, replication
from ugatit_mm.kernels.spectral import Place
from ugatit_mm.kernels.support import Example, Fused

CAPABILITIES = (80, 100)  # 9.0 lies between, and was measured on a GPU


def maps(channels: int, side: int) -> list[Tensor]:
    """At the generator's sizes and layouts: bfloat16 in NHWC, float32 in NCHW."""
    x = torch.empty(2, channels, side, side)
    return [x.to(torch.bfloat16, memory_format=torch.channels_last), x]


def odd_maps() -> list[Tensor]:
    """Offsets beyond 2^31, rows with gaps, and a single element."""
    memory = torch.empty(2**31 + 64, dtype=torch.float16)
    far = memory.as_strided((2, 3, 2, 4), (2**31, 8, 4, 1))
    cut_out = maps(5, 9)[0][..., 1:, 2:-1]
    return [far, cut_out, torch.empty(1, 1, 1, 1), maps(64, 32)[1].half()]


def norms(x: Tensor, kinds: Iterable[norm.Norm]) -> Iterator[tuple]:
    """Inputs of the norm's two functions."""
    channels = x.size(1)
    numbers = norm.Numbers(*torch.empty(5, 2, channels), torch.empty(2, 1))
    for kind in kinds:
        style = torch.empty(2, 2 if kind.smoothing else 1, channels)
        factors = norm.Factors(torch.empty(channels), torch.empty(1, channels), *style)
        for given in (factors, norm.Factors(factors.bias)):
            yield x, given, empty(x, kind.padding.around(x.shape)), numbers, kind


PLAIN = norm.Norm(slope=0.2)
PADDED = norm.Norm(smoothing=0.1, slope=0.0, padding=reflection(1))


def larger_norms() -> Iterator[tuple]:
    for channels, side in ((64, 256), (256, 64)):
        last, first = maps(channels, side)
        yield from norms(last, (PLAIN, PADDED, PADDED._replace(padding=replication())))
        yield from norms(first, (PLAIN,))


def odd_norms() -> Iterator[tuple]:
    for x in odd_maps():
        yield from norms(x, (PLAIN, PADDED))
    yield from norms(maps(2048, 8)[0], (PLAIN, PADDED))


def forward(found: Iterable[tuple]) -> list[Example]:
    return [Example((x, factors, after, kind)) for x, factors, after, _, kind in found]


def backward(found: Iterable[tuple]) -> list[Example]:
    return [
        Example((after, x, factors, numbers, kind)) for x, factors, after, numbers, kind in found
    ]


def paddings(found: Iterable[Tensor]) -> list[Example]:
    kinds = ((NO_PADDING, reflection(3)), (reflection(1), replication()))
    return [Example((x, *pair)) for x in found for pair in kinds]


def up_kernels(side: int) -> list[Example]:
    weights = (torch.empty(128, 256, side, side), torch.empty(64, 128, side, side).half())
    return [Example((x, kind)) for x in weights for kind in (torch.float32, torch.bfloat16)]


def activations() -> Iterator[Example]:
    for x in (*maps(64, 128), maps(2048, 14)[0]):
        for act, padding in ((Activation(0.2), reflection(1)), (Activation(0.0), NO_PADDING)):
            bias, form = torch.empty(x.size(1)), memory_format(x)
            yield Example((x, bias, act, padding, x.dtype, form))


def activation_gradients() -> Iterator[Example]:
    for x, _, act, padding, dtype, form in (example.args for example in activations()):
        y = empty(x, padding.around(x.shape))
        yield Example((y, y, act, padding, dtype, form, True))


def spectral_norms() -> tuple[torch.Tensor, tuple, tuple]:
    """Two discriminators and a half: a first convolution, two others, logits, a classifier."""
    shapes = [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (1, 2048, 4, 4), (1, 2048)] * 6
    weights = tuple(torch.empty(shape) for shape in shapes)
    places, start = [], 0
    for weight in weights:
        rows, columns = weight.flatten(1).shape
        places.append(Place(start, start + rows, weight.dim() == 2))
        start += rows + columns
    return torch.empty(start), weights, tuple(places)


def spectral_uses() -> Iterator[Example]:
    for dtype in (torch.bfloat16, torch.float32):
        yield Example((*spectral_norms(), dtype, True, 1e-12))


def spectral_gradients() -> list[Example]:
    vectors, weights, places = spectral_norms()
    grads = tuple(
        weight if place.wide else weight.to(torch.bfloat16, memory_format=torch.channels_last)
        for weight, place in zip(weights, places, strict=True)
    )
    return [Example((vectors, grads, weights, places, torch.empty(len(weights))))]


def cams() -> Iterator[tuple[Tensor, Tensor, tuple, tuple, Tensor, Tensor]]:
    for x in (maps(2048, 14)[0], maps(256, 64)[0], maps(512, 31)[0][:1]):
        weights, biases = (torch.empty(1, x.size(1)),) * 2, (torch.empty(1),) * 2
        pooled, logits = torch.empty(3, *x.shape[:2]), torch.empty(len(x), 2)
        yield x, torch.empty(x.size(1), 2 * x.size(1), 1, 1), weights, biases, pooled, logits


def cam_heads() -> list[Example]:
    return [Example((x, kernel, w, w, biases, x.dtype)) for x, kernel, w, biases, _, _ in cams()]


def cam_gradients() -> list[Example]:
    return [
        Example((kernel.chunk(2, 1)[0].to(x.dtype), logits, pooled, kernel, w, biases, True, False))
        for x, kernel, w, biases, pooled, logits in cams()
    ]


def cam_input_gradients() -> list[Example]:
    return [Example((x, x, pooled, logits, w)) for x, _, w, _, pooled, logits in cams()]


def mlp(make: Callable[[Tensor, Tensor, Tensor], tuple]) -> list[Example]:
    """For rows of the full variant's first layer, its outputs, and its weight."""
    weight, out = torch.empty(256, 2**20), torch.empty(4, 256)
    rows = (torch.empty(4, 2**20, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    return [Example(make(x, out, weight)) for x in rows]


# Further arguments of a function, by name, whose memory is never read. First at the sizes of a
# training, where kernels of WIDE must load 16 bytes at a time; then other cases.
LARGER: dict[str, Callable[[], Iterable[Example]]] = {
    'normalise': lambda: forward(larger_norms()),
    'gradients of the norm': lambda: backward(larger_norms()),
    'interleaving': lambda: [Example((x,)) for x in maps(512, 64)[:1]],
    'gradient of interleaving': lambda: [Example((x,)) for x in maps(128, 64)[:1]],
    'spectral norm': spectral_uses,
    "spectral norm's gradient": spectral_gradients,
    'class activation map': cam_heads,
    "class activation map's gradient": cam_gradients,
    "class activation map's gradient of its input": cam_input_gradients,
    'linear layers': lambda: mlp(lambda x, out, weight: (x, ((weight, out[0]),), True)),
    'input gradient of a linear layer': lambda: mlp(
        lambda x, out, weight: (out, out, weight, x.dtype, True, True)
    ),
    'weight gradient of a linear layer': lambda: mlp(
        lambda x, out, weight: (out, x, out[:1], x[:1])
    ),
    'average over a map': lambda: [Example((x,)) for x in maps(256, 64)],
}
ODD: dict[str, Callable[[], Iterable[Example]]] = {
    'bias and activation': activations,
    "bias and activation's gradient": activation_gradients,
    'normalise': lambda: forward(odd_norms()),
    'gradients of the norm': lambda: backward(odd_norms()),
    'padding': lambda: paddings([*maps(64, 256), *odd_maps()[:2]]),
    'gradient of padding': lambda: paddings(maps(64, 256)),
    'interleaving': lambda: [Example((x,)) for x in maps(512, 65)[1:]],
    'gradient of interleaving': lambda: [Example((x,)) for x in maps(128, 64)[1:]],
    'kernels of up-sampling': lambda: up_kernels(3),
    'gradient of the kernels of up-sampling': lambda: up_kernels(2),
}
WIDE = {
    '_stats_kernel',
    '_write_kernel',
    '_grad_sums_kernel',
    '_grad_input_kernel',
    '_interleave_kernel',
    '_separate_kernel',
    '_divide_kernel',
    '_inner_kernel',
    '_grad_kernel',
    '_pool_kernel',
    '_head_kernel',
    '_spread_kernel',
    '_slices_kernel',
    '_input_gradient_kernel',
    '_average_kernel',
}

for module in pkgutil.iter_modules(kernels.__path__, kernels.__name__ + '.'):
    importlib.import_module(module.name)


def memory_on_the_stack(cubin: bytes) -> int:
    """Bytes of local memory per thread, to which registers spill."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'kernel.cubin')
        path.write_bytes(cubin)
        words = [knobs.nvidia.cuobjdump.path, '--dump-resource-usage', path]
        usage = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    numbers = dict(
        word.split(':') for word in usage.split() if word.count(':') == 1 and word[-1:].isdigit()
    )
    return int(numbers['STACK']) + int(numbers['LOCAL'])


def compile_examples(number: str) -> dict[str, str]:
    """Errors by the name of the fused function and the compute capability."""
    import triton
    from triton.backends.compiler import GPUTarget

    capability = CAPABILITIES[0]

    class Driver:  # a separate device for each capability: kernels are cached by device
        get_current_device = staticmethod(lambda: capability)
        get_current_stream = staticmethod(lambda device: 0)
        get_current_target = staticmethod(lambda: GPUTarget('cuda', capability, 32))

    triton.runtime.driver.set_active(Driver())
    run, compiled, seen = triton.JITFunction.run, {}, set()

    def compile_only(self, *args, grid, warmup, **kwargs):
        made = run(self, *args, grid=grid, warmup=True, **kwargs)
        compiled[made.hash] = (self.__name__, made)

    problems = {}
    with mock.patch.object(triton.JITFunction, 'run', compile_only):
        for name, function in Fused.known.items():
            small, larger = partial(function.examples, torch.device('cpu')), LARGER.get(name)
            for capability in CAPABILITIES:
                said = []
                sets = (larger or small,)  # sizes of a training
                if number == 'all' and capability == CAPABILITIES[0]:
                    sets = (small, ODD.get(name), larger)  # dtypes, shapes and layouts, too
                for examples in filter(None, sets):
                    compiled.clear()
                    try:
                        for example in islice(examples(), 1 if number == 'one' else None):
                            function.kernel(*example.args)
                    except Exception:
                        said.append(traceback.format_exc())
                    for title, made in compiled.values():
                        if made.hash not in seen and memory_on_the_stack(made.asm['cubin']):
                            said.append(f'{title} spills registers')
                        wide = 'ld.global.v4.b32' in made.asm['ptx']
                        if examples is larger and title in WIDE and not wide:
                            said.append(f'{title} has no loads of 16 bytes')
                        seen.add(made.hash)
                if said:
                    problems[f'{name} for {capability}'] = '\n'.join(said)
    return problems


@pytest.mark.parametrize(
    'number',
    [pytest.param('one', marks=pytest.mark.slow), pytest.param('all', marks=pytest.mark.long)],
)
def test_all_kernels_compile_without_spilled_registers(number, tmp_path):
    pytest.importorskip('triton', reason='triton is not installed: it comes with torch for CUDA')
    assert LARGER.keys() | ODD.keys() <= Fused.known.keys()
    environment = {
        'PYTHONPATH': os.pathsep.join(sys.path),
        'TRITON_INTERPRET': '0',
        'TRITON_CACHE_DIR': str(tmp_path),
    }
    process = subprocess.run(
        [sys.executable, __file__, number],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    problems = json.loads(process.stdout.splitlines()[-1])
    assert not problems, '\n\n'.join(f'{name}: {said}' for name, said in problems.items())


if __name__ == '__main__':
    torch.set_num_threads(1)
    gc.disable()  # it would look through all that is imported
    print(json.dumps(compile_examples(sys.argv[1])))
