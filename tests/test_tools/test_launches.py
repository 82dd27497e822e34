"""How many launches a training step has, and how they are counted."""

import json

import pytest
import torch
from helpers import TINY, load_tool
from torch import nn
from torch.nn import functional as F

from ugatit_mm.apis import apply_speed
from ugatit_mm.config import load_config
from ugatit_mm.kernels import support
from ugatit_mm.kernels.support import tl

launches = load_tool('benchmarks/launches')

# Of a step in bfloat16, light or full, default recipe.
MAX_LAUNCHES = 1_300


@pytest.fixture(autouse=True)
def sound(monkeypatch: pytest.MonkeyPatch):
    """Kernels as in the test of their checks; otherwise each count would check them first."""
    for fused in support.Fused.known.values():
        monkeypatch.setitem(fused.sound, torch.device('cpu'), True)


@support.jit
def _double_kernel(x, out, count: tl.constexpr):
    place = tl.arange(0, count)
    tl.store(out + place, 2 * tl.load(x + place))


def double(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    support.launch(_double_kernel, (1,), x, out, count=x.numel())
    return out


class Doubled(torch.autograd.Function):
    """An autograd function like ours: 1 launch in forward, 1 operator in backward."""

    __module__ = 'ugatit_mm.stand_in'

    @staticmethod
    def forward(ctx, x):
        return double(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class Layer(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).view(-1).sin()


def count(step, **options) -> launches.Launches:
    return launches.count(step, **options)


def test_operators_count_for_their_module_forwards_and_backwards():
    net, x = Net(), torch.ones(3, requires_grad=True)

    def step() -> None:
        x.grad = None
        torch.autograd.backward(net(x), torch.ones(3))

    found = count(step)
    ahead, back = launches.ELSEWHERE, f'{launches.ELSEWHERE}: backward'
    assert found.operators == {
        (launches.ELSEWHERE, launches.OUTSIDE, 'ones'): 1,
        (ahead, 'Layer', 'exp'): 1,
        (ahead, 'Net', 'sin'): 1,
        (back, 'Net', 'cos'): 1,
        (back, 'Net', 'mul'): 1,
        (back, 'Layer', 'mul'): 1,
    }
    assert found.total == 6 and not found.kernels and not found.questions


@pytest.mark.parametrize('run', [True, False])
def test_launches_of_kernels_count_once(kernels, run):
    if kernels.type == 'cuda':
        pytest.skip('kernels are not interpreted here')
    x = torch.full((8,), 3.0, requires_grad=True)
    seen = []

    def step() -> None:
        y = Doubled.apply(x)
        seen.append(y.tolist()[0])
        y.backward(x.detach())

    found = count(step, run=run)
    assert found.kernels == {(launches.ELSEWHERE, 'Doubled', '_double_kernel'): 1}
    assert seen == [1.0, 1.0, 6.0 if run else 1.0]
    assert found.operators[f'{launches.ELSEWHERE}: backward', 'Doubled', 'mul'] == 1
    assert support.launch is launches._LAUNCH


def test_questions_to_the_host_are_told():
    found = count(lambda: float(torch.ones(2).sum()))
    assert found.questions == {(launches.ELSEWHERE, launches.OUTSIDE): 1}
    assert found.total == 2  # ones, sum


def test_estimate_of_kernels():
    x, weight, bias = (torch.ones(*shape) for shape in ((1, 2, 8, 8), (4, 2, 3, 3), (4,)))
    many = [torch.ones(2) for _ in range(150)]

    def step() -> None:
        F.conv2d(x, weight, bias).sum().backward()  # a bias and its gradient: one more each
        torch._foreach_add(many, 1.0)  # 110 tensors a launch
        torch._foreach_add(many, many)  # 64

    for inputs, gradients in (([weight], 1), ([x, weight, bias], 3)):
        for tensor in inputs:
            tensor.requires_grad_()
        sums = {name: row for name, *row in count(step).by(0)}
        operators, _, estimate = sums[launches.ELSEWHERE]
        assert estimate == operators + 1 + 1 + 2
        operators, _, estimate = sums[f'{launches.ELSEWHERE}: backward']
        assert estimate == operators + gradients - 1


def test_phases_of_a_step():
    args = launches.parse_args(
        ['--variant', 'light', '--plain', '--device', 'cpu', '--img-size', '96']
    )
    with launches.kernel_switch(False):
        found = count(launches.build(args, launches.Case('ugatit', 'light'), torch.device('cpu')))
    phases = {name: operators for name, operators, *_ in found.by(0)}
    assert set(phases) == {
        launches.ELSEWHERE,
        'generators: forward',
        *(
            f'{part}: {phase}'
            for part in ('discriminators', 'generators')
            for phase in ('losses', 'backward', 'optimiser', 'around the update')
        ),
    }
    assert phases['generators: backward'] > phases['generators: forward'] > 1000
    assert phases['discriminators: optimiser'] < 60
    modules = [name for name, *_ in found.by(1)]
    assert {'InstanceLayerNorm', 'CAM', 'ReflectConv2d', 'BiasAct'} & set(modules)
    # Only a few are not attributed.
    outside = sum(row[1] for row in found.by(1) if row[0] == launches.OUTSIDE)
    assert outside < 0.05 * found.total


@pytest.mark.parametrize('variant', ['light', 'full'])
def test_a_step_has_few_launches(variant, capsys):
    pytest.importorskip('triton', reason='without Triton a step is its plain formulas')
    words = ['--variant', variant, '--amp', '--device', 'cpu', '--json']
    assert launches.main([*words, '--max', str(MAX_LAUNCHES)]) == 0
    (told,) = json.loads(capsys.readouterr().out).values()
    assert 500 < told['launches'] <= MAX_LAUNCHES
    assert told['questions to the host'] == 0
    assert sum(told['phases'].values()) == told['launches']


@pytest.mark.slow
def test_fields_of_the_config_are_counted(capsys):
    """The numbers of `docs/performance.md`."""
    pytest.importorskip('triton', reason='without Triton a step is its plain formulas')
    words = ['--variant', 'light', '--amp', '--device', 'cpu', '--json']
    found = {}
    for option in ('cycle_domains=A,B', 'cycle_domains=B', 'cycle_noise=0.05'):
        assert launches.main([*words, '--cfg-options', f'model.{option}']) == 0
        ((case, told),) = json.loads(capsys.readouterr().out).items()
        assert f'bfloat16, model.{option}, ' in case
        assert told['questions to the host'] == 0
        found[option] = told['launches']
    both = found['cycle_domains=A,B']
    assert found['cycle_noise=0.05'] == both + 4
    assert 200 < both - found['cycle_domains=B'] < 240


@pytest.mark.slow
def test_kernels_that_do_not_run_change_no_count(kernels):
    if kernels.type == 'cuda':
        pytest.skip('kernels are not interpreted here')
    cfg = load_config('ugatit_selfie2anime', TINY)
    apply_speed(cfg, amp='bfloat16')
    images = {domain: torch.rand(1, 3, 32, 32) * 2 - 1 for domain in 'AB'}
    step = launches.build_step(cfg, images)
    ran, left = count(step, run=True), count(step)
    assert ran.kernels == left.kernels and ran.kernels.total() > 100
    assert ran.operators == left.operators


def test_too_many_launches_fail(capsys):
    words = ['--model', 'cyclegan', '--device', 'cpu', '--plain', '--img-size', '32', '--rows', '2']
    assert launches.main([*words, '--max', '10']) == 1
    said = capsys.readouterr()
    assert 'cyclegan, float32, plain, 4 channels, 32 px, batch 1: more than 10' in said.err
    assert '| phase | operators | Triton launches | launches | kernels on a GPU' in said.out


def test_models_are_counted_beside_their_official_orders(tmp_path, capsys):
    words = ['--model', 'cyclegan', '--device', 'cpu', '--plain', '--img-size', '32', '--official']
    assert launches.main([*words, '--max', '10', '--out', str(tmp_path / 'rows.csv')]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if line.startswith('| cyclegan |')]
    official, ours, ratio = map(float, line.strip('| ').split(' | ')[1:])
    # The plain formulas of ours are more operators than torch's own layers.
    assert 1000 < official < ours and ratio == pytest.approx(ours / official, abs=0.01)
    assert said.err == 'cyclegan: more than 10 launches\n'
    found = (tmp_path / 'rows.csv').read_text().splitlines()
    assert len(found) == 3
    assert found[2].endswith(f',"float32, plain, cpu",launches,{ours:.4g},a step')
    with pytest.raises(SystemExit):
        launches.main([*words, '--cfg-options', 'model.recipe=pytorch'])


def test_what_a_profile_says():
    trace = {
        'traceEvents': [
            {'cat': 'kernel', 'name': 'gemm', 'dur': 3.5},
            {'cat': 'cpu_op', 'name': 'aten::mm', 'dur': 9},
            {'cat': 'gpu_memcpy', 'name': 'Memcpy HtoD', 'dur': 1},
            {'name': 'process_name', 'ph': 'M'},
        ]
    }
    events = launches.ran(trace)
    assert events == [('kernels', 'gemm', 3.5), ('copies', 'Memcpy HtoD', 1.0)]
    assert launches.table_of_profile(events, 1).endswith('| gemm | 0.004 | 1 |')
