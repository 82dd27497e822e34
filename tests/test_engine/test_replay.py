"""Translations as CUDA graphs; a stand-in records and replays on a CPU."""

import threading
from collections.abc import Callable

import pytest
import torch

from ugatit_mm.apis import TranslationInferencer
from ugatit_mm.engine import replay
from ugatit_mm.engine.replay import MOST, SWITCH, Replay
from ugatit_mm.models.base import Translated


class Graphs:
    """As CUDA graphs: results are computed from, and to, the memory of the capture."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def takes(self, image: torch.Tensor) -> bool:
        return True

    def capture(self, image: torch.Tensor, function: Callable[[], Translated]):
        self.log.append('capture')
        results = function()

        def replay() -> None:
            self.log.append('replay')
            for kept, new in zip(results, function(), strict=True):
                if kept is not None:
                    kept.copy_(new)

        return results, replay


def images(count: int = 1, seed: int = 0, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator) * 2 - 1


@pytest.fixture
def translate(tiny) -> Replay:
    return Replay(tiny().eval(), Graphs())


def log_of(translate: Replay, *args, **options) -> list[str]:
    """Translate without gradients; the result is the plain one. What the graphs did meanwhile."""
    before = len(translate.graphs.log)
    with torch.no_grad():
        out = translate(*args, **options)
        plain = translate.plain(*args, **options)
    for ours, theirs in zip(out, plain, strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)
    return translate.graphs.log[before:]


def test_a_kind_is_captured_at_its_second_call(translate):
    assert log_of(translate, images(), 'B') == []
    assert log_of(translate, images(seed=1), 'B') == ['capture', 'replay']
    assert log_of(translate, images(seed=2), 'B') == ['replay']


@pytest.mark.parametrize(
    ('args', 'options'),
    [
        ((images(), 'A'), {}),
        ((images(2), 'B'), {}),
        ((images(size=36), 'B'), {}),
        ((images().to(memory_format=torch.channels_last), 'B'), {}),
        ((images(), 'B'), {'heatmap': True}),
    ],
)
def test_kinds_do_not_disturb_each_other(translate, args, options):
    for _ in range(2):
        log_of(translate, images(), 'B')
    assert log_of(translate, *args, **options) == []
    assert log_of(translate, *args, **options) == ['capture', 'replay']
    assert log_of(translate, images(seed=1), 'B') == ['replay']


def test_results_are_no_memory_of_the_graph(translate):
    for seed in range(2):
        log_of(translate, images(seed=seed), 'B')
    with torch.no_grad():
        first = translate(images(seed=3), 'B', heatmap=False).image
        kept = first.clone()
        second = translate(images(seed=4), 'B').image
    assert torch.equal(first, kept) and not torch.equal(first, second)


def test_the_mode_decides_too(translate):
    for _ in range(2):
        log_of(translate, images(), 'B')
    with torch.autocast('cpu', torch.bfloat16):
        assert log_of(translate, images(), 'B') == []
    translate.model.train()
    assert log_of(translate, images(), 'B') == []
    translate.model.eval()
    assert log_of(translate, images(), 'B') == ['replay']


def test_inference_mode_and_no_grad_share_graphs(translate):
    with torch.inference_mode():
        for seed in range(2):
            translate(images(seed=seed), 'B')
    assert log_of(translate, images(seed=2), 'B') == ['replay']
    with torch.inference_mode():
        assert translate(images(seed=3), 'B').image.is_inference()


def test_weights_written_in_place_are_followed(translate):
    for _ in range(2):
        log_of(translate, images(), 'B')
    with torch.no_grad():
        for parameter in translate.model.parameters():
            parameter.mul_(1.5)
    assert log_of(translate, images(), 'B') == ['replay']


def test_other_tensors_for_weights_drop_the_graphs_of_their_network(translate):
    for target in 'AABB':
        log_of(translate, images(), target)
    bias = next(translate.model.generators['B'].parameters())
    bias.data = bias.data * 2
    assert log_of(translate, images(), 'B') == []
    assert log_of(translate, images(), 'B') == ['capture', 'replay']
    assert log_of(translate, images(), 'A') == ['replay']
    translate.model.double()
    assert log_of(translate, images().double(), 'A') == []
    assert len([kind for kind in translate.kept if kind[0] == 'A']) == 1


def test_the_least_recently_used_kind_goes(translate):
    for count in range(1, MOST + 1):
        for _ in range(2):
            log_of(translate, images(count), 'B')
    assert log_of(translate, images(1), 'B') == ['replay']
    log_of(translate, images(MOST + 1), 'B')
    assert len(translate.kept) == MOST
    assert log_of(translate, images(1), 'B') == ['replay']
    assert log_of(translate, images(2), 'B') == []  # it went


def test_what_is_not_captured(translate, monkeypatch):
    def plainly(**options) -> bool:
        translate.graphs.log.clear()
        for _ in range(3):
            translate(images(), 'B', **options)
        return not translate.graphs.log

    assert plainly()  # with gradients
    with torch.no_grad():
        with monkeypatch.context() as patch:
            patch.setattr(replay, 'LARGEST', 32 * 32 - 1)
            assert plainly()
        with monkeypatch.context() as patch:  # it would draw a style
            patch.setattr(translate.model, 'styles', lambda names, target: torch.ones(len(names)))
            assert plainly()
        with monkeypatch.context() as patch:
            patch.setattr(translate.graphs, 'takes', lambda image: False)
            assert plainly()
        network = translate.model.generators['A']
        network._compiled_call_impl = network._call_impl
        assert plainly()
        network._compiled_call_impl = None
        assert not plainly()
    monkeypatch.setenv(SWITCH, '0')
    translate.__init__(translate.model, Graphs())
    with torch.no_grad():
        assert plainly()


def test_a_given_style_is_an_input(tiny):
    model = tiny().eval()
    plain = model.translate
    model.styles = lambda names, target: torch.zeros(len(names), 1, 1, 1)
    model.translate = lambda image, target, *, heatmap=False, style=None: Translated(
        plain(image, target).image * style
    )
    translate = Replay(model, Graphs())
    for factor in (1.0, 2.0, 3.0):
        log = log_of(translate, images(), 'B', style=torch.full((1, 1, 1, 1), factor))
    assert log == ['replay']


def test_a_failed_capture_is_logged_once_and_translation_goes_on(translate, monkeypatch, caplog):
    said = []
    monkeypatch.setattr(replay, 'print_log', lambda text, *_: said.append(text))

    def capture(graphs, image, function):
        raise RuntimeError('CUDA error: operation not permitted\nand 20 lines more')

    log_of(translate, images(), 'A')
    monkeypatch.setattr(Graphs, 'capture', capture)
    for _ in range(4):
        assert log_of(translate, images(), 'B') == []
    (line,) = said
    assert 'RuntimeError: CUDA error: operation not permitted)' in line and SWITCH in line
    assert not translate.kept


def test_an_error_of_the_model_is_its_own(translate):
    with torch.no_grad():
        for _ in range(3):
            with pytest.raises(ValueError, match='the generator takes'):
                translate(images()[:, :2], 'B')
    assert not translate.off and not translate.kept


def test_threads_get_their_own_pictures(translate):
    inputs = [images(seed=seed) for seed in range(4)]
    with torch.no_grad():
        expected = [translate.plain(image, 'B').image for image in inputs]
    wrong = []

    def work(number: int) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            for _ in range(10):
                if not torch.equal(translate(inputs[number], 'B').image, expected[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert translate.graphs.log.count('capture') == 1


def test_the_inferencer_replays(monkeypatch):
    graphs = Graphs()
    monkeypatch.setattr(replay, 'CudaGraphs', lambda: graphs)
    inferencer = TranslationInferencer(device='cpu')
    picture = (images(size=40)[0].permute(1, 2, 0).numpy() * 127 + 128).astype('uint8')
    first, second = inferencer([picture, picture])
    assert graphs.log == ['capture', 'replay']
    assert (first.image == second.image).all()
    plain = TranslationInferencer(device='cpu', graphs=False)
    assert (plain(picture)[0].image == first.image).all()
    assert len(graphs.log) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_on_a_gpu(tiny, dtype):
    model = tiny().eval().to('cuda', dtype)
    translate = Replay(model)
    with torch.inference_mode():
        for target in 'AABBAB':
            for count in (1, 2):
                image = images(count, seed=count).to('cuda', dtype)
                for ours, theirs in zip(
                    translate(image, target, heatmap=True),
                    translate.plain(image, target, heatmap=True),
                    strict=True,
                ):
                    torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-2)
    assert not translate.off
    assert sum(captured is not None for captured in translate.kept.values()) == 4
