"""Each entry point for weights refuses them in one line, runs none of their code, and ends."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import TINY, as_arguments, load_tool
from hostile import BROKEN, CODE, CONTENT, MEMORY, canary, contained
from mmagic.apis import MMagicInferencer
from mmengine.config import Config
from PIL import Image

from ugatit_mm.apis import report, translate
from ugatit_mm.cli import ALL
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.datasets.preparation.upscaling import Upscaler
from ugatit_mm.export import main as export
from ugatit_mm.web import main as web
from ugatit_mm.web.command import parse_args as parse_web

Write = Callable[[Path], None]
FILES: dict[str, Write] = {
    'code': CODE['in meta'],
    'code of old torch': CODE['legacy, in state_dict'],
    'code by getattr': CODE['getattr of what is allowed'],
    'a config as code': CODE['a config'],
    'much memory': MEMORY['bytearray of 2 GB'],
    'a spread number': MEMORY['strides that spread one number'],
    'TorchScript': BROKEN['TorchScript'],
    'a folder': BROKEN['a folder'],
    'a pipe': BROKEN['a pipe'],
    'empty': BROKEN['empty'],
    'a page of HTML': BROKEN['words'],
}


def truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:-500])


def too_wide(path: Path, good: Path) -> None:
    content = read_checkpoint(good)
    state, networks = content['state_dict'], content['meta']['networks']
    torch.save(CONTENT['a billion channels'](state, networks), path)


FEW = ('code', 'code of old torch', 'much memory', 'truncated')


def offer(
    entries: dict[str, Callable[[Path], object]], good: Path, names: tuple[str, ...] | None = None
) -> list[str]:
    """Offer every file, or some by name, to every entry point; returns what is wrong."""
    wrong = []
    writes = FILES | {
        'truncated': lambda path: truncated(path, good),
        'too wide': lambda path: too_wide(path, good),
    }
    for i, (name, write) in enumerate(writes.items()):
        if names and name not in names:
            continue
        path = good.with_name(f'iter_{i}.pth')
        write(path)
        for entry, enter in entries.items():
            if (fault := fault_at(enter, path)) and (entry, name) not in ANYWAY:
                wrong.append(f'{entry}, {name}: {fault}')
        if canary(path).exists():
            wrong.append(f'{name}: its code was run')
    return wrong


# For the official format, and for super-resolution: they read no description of networks.
ANYWAY = {('back to the official format', 'too wide')}


def fault_at(enter: Callable[[Path], object], path: Path) -> str | None:
    """A command must end with 1 and one line, a function with an error; both name the file."""
    before = len(sys.stderr.getvalue())
    try:
        code = enter(path)
    except Exception as error:
        if isinstance(error, (OSError, ValueError)) and str(path) in str(error):
            return None
        return f'{type(error).__name__}: {str(error)[:200]}'
    said = [line for line in sys.stderr.getvalue()[before:].splitlines() if line]
    errors = [line for line in said if line.startswith('error: ')]
    if code != 1 or len(errors) != 1 or 'Traceback' in '\n'.join(said):
        return f'code {code}, {said[-3:]}'
    return None if str(path) in errors[0] else f'the file is not named: {errors[0][:200]}'


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new('RGB', (40, 40), (90, 50, 20)).save(tmp_path / 'picture.png')
    return tmp_path / 'picture.png'


def test_what_reads_weights_refuses_them(weights, picture, tmp_path):
    publish, pytorch = (
        load_tool(f'model_converters/{name}').main for name in ('publish_model', 'ugatit_pytorch')
    )
    config = tmp_path / 'srcnn.py'
    config.write_text(
        "model = dict(generator=dict(type='SRCNNNet', channels=(3, 3, 3, 3), "
        'kernel_sizes=(3, 1, 3)))'
    )
    out = str(tmp_path / 'out')
    entries = {
        'translate': lambda path: translate.main([str(picture), '--ckpt', str(path), '--out', out]),
        'web': lambda path: web(['--ckpt', str(path), '--port', '0']),
        'export': lambda path: export(
            ['--ckpt', str(path), '--format', 'torchscript', '--out', out]
        ),
        'publish_model': lambda path: publish([str(path), f'{out}.pth']),
        'from the official format': lambda path: pytorch([str(path), f'{out}.pth']),
        'back to the official format': lambda path: pytorch([str(path), f'{out}.pth', '--reverse']),
        'super-resolution': lambda path: Upscaler(config, path),
    }
    outcome = contained(offer, entries, weights, allowed=2048)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), [])
    assert not outcome.greedy and outcome.memory < 512
    assert not list(tmp_path.glob('out*'))


def test_testing_refuses_them(weights, data_root, tmp_path):
    main = load_tool('test').main
    options = as_arguments({**TINY, 'data_root': data_root})

    def test(path: Path) -> int:
        words = ['ugatit_custom', str(path), '--work-dir', str(tmp_path / 'work')]
        return main([*words, '--cfg-options', *options])

    outcome = contained(offer, {'test': test}, weights, FEW, allowed=2048)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), [])


@pytest.mark.parametrize('how', ['load_from', 'resume'])
def test_training_refuses_them(how, weights, data_root, tmp_path):
    main = load_tool('train').main
    options = as_arguments({**TINY, 'data_root': data_root})

    def train(path: Path) -> int:
        words = ['ugatit_custom', '--work-dir', str(tmp_path / 'work')]
        extra = ['--resume', str(path)] if how == 'resume' else []
        more = [] if extra else [f'load_from={path}']
        return main([*words, *extra, '--cfg-options', *options, *more])

    outcome = contained(offer, {how: train}, weights, FEW, allowed=4096, seconds=120)
    assert (outcome.ended, outcome.error, outcome.value) == ('well', (), [])


def test_a_report_says_that_it_cannot_be_read(weights, tmp_path):
    work = tmp_path / 'work'
    (work / '1' / 'vis_data').mkdir(parents=True)
    for name, write in FILES.items():
        path = work / 'iter_1.pth'
        write(path)
        outcome = contained(report.main, [str(work)])
        assert (outcome.ended, outcome.value) == ('well', 0), (name, outcome)
        assert str(path) in (work / 'report.html').read_text(), name
        assert not canary(path).exists()
        path.rmdir() if path.is_dir() else path.unlink()


def test_mmagics_inferencer_runs_nothing(weights, data_root, tmp_path):
    from ugatit_mm.config import load_config

    cfg = load_config('ugatit_custom', {**TINY, 'data_root': str(data_root)})
    cfg.dump(tmp_path / 'config.py')
    path = tmp_path / 'file.pth'
    FILES['code'](path)
    editor = dict(model_config=str(tmp_path / 'config.py'), model_ckpt=str(path))
    outcome = contained(MMagicInferencer, 'ugatit', **editor, allowed=2048)
    assert outcome.ended == 'well' and outcome.error
    assert not canary(path).exists()


# -- configs, which are code ---------------------------------------------------------------------


def test_the_page_takes_no_config(capsys):
    for words in (['--config', 'x.py'], ['--cfg-options', 'a=1'], ['x.py']):
        with pytest.raises(SystemExit):
            parse_web(words)
        assert 'unrecognized arguments' in capsys.readouterr().err
    assert 'web' in ALL


def with_config(path: Path) -> None:
    """Let a checkpoint of training hold code where MMEngine keeps the config, and runs it."""
    content = read_checkpoint(path)
    code = f'open({str(canary(path))!r}, "w").close()\n'
    content['meta'] |= {'cfg': code + content['meta'].get('cfg', ''), 'config': code}
    torch.save(content, path)


@pytest.mark.slow
def test_a_config_inside_a_checkpoint_is_never_run(weights, picture, data_root, tmp_path):
    test, train = (load_tool(name).main for name in ('test', 'train'))
    work, path = tmp_path / 'work', tmp_path / 'work' / 'iter_2.pth'
    options = as_arguments({**TINY, 'data_root': data_root})
    words = ['ugatit_custom', '--work-dir', str(work)]
    more = ['--cfg-options', *options]
    assert train([*words, *more, 'train_cfg.max_iters=2']) == 0
    with_config(path)
    Config.fromstring(read_checkpoint(path)['meta']['config'], '.py')  # as MMEngine's Runner.resume
    assert canary(path).exists()  # the code works
    canary(path).unlink()
    entries = {
        'translate': lambda: translate.main(
            [str(picture), '--ckpt', str(path), '--out', str(tmp_path / 'out'), '--device', 'cpu']
        ),
        'report': lambda: report.main([str(work)]),
        'test': lambda: test([*words[:1], str(path), *words[1:], *more]),
        'load_from': lambda: train([*words[:2], f'{work}2', *more, f'load_from={path}']),
        'resume': lambda: train([*words, '--resume', str(path), *more]),
    }
    for name, enter in entries.items():
        assert enter() == 0, name
        assert not canary(path).exists(), f'{name} ran it'
    assert (work / 'iter_4.pth').is_file()
