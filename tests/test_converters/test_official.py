"""Official files as people share them: wrapped, profiled, of one generator, with other content."""

import copy
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from cyclegan_helpers import tiny_cyclegan
from helpers import (
    DATA,
    ROOT,
    TINY,
    as_arguments,
    assert_same,
    load_tool,
    recorded_checkpoint,
    same_weights,
    twins,
    write_images,
)
from PIL import Image
from safetensors.torch import save_file

from ugatit_mm.apis import load_model, translate
from ugatit_mm.converters import (
    CheckpointError,
    from_official,
    from_variables,
    read_checkpoint,
    read_weights,
    weights_of,
)
from ugatit_mm.converters import cyclegan as of_cyclegan
from ugatit_mm.converters.official import networks_in

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias')

Networks = dict[str, dict[str, torch.Tensor]]


@pytest.fixture
def networks(official) -> Networks:
    """The six networks of U-GAT-IT, as the official PyTorch program saves them."""
    return recorded_checkpoint(official, 'light.weights.')


def convert(tool: str, *words: str | Path) -> int:
    return load_tool(f'model_converters/{tool}').main([str(word) for word in words])


def renamed(networks: Networks, name: str) -> Networks:
    """Rename each key by a pattern."""
    return {n: {name.format(key): v for key, v in s.items()} for n, s in networks.items()}


def profiled(state: dict, *counters: str) -> dict:
    """Add a profiler's counters to each module, and to the whole."""
    modules = {''} | {key.rsplit('.', 1)[0] + '.' for key in state}
    return {m + c: torch.zeros(1) for m in sorted(modules) for c in counters} | state


def adam() -> dict:
    """A state of an optimiser: its moments are not weights."""
    moments = {'step': torch.tensor(3.0), 'exp_avg': torch.ones(5), 'exp_avg_sq': torch.ones(5)}
    return {
        'state': dict.fromkeys(range(2), moments),
        'param_groups': [{'lr': 1e-4, 'params': [0, 1]}],
    }


COUNTED = r'left out: {} counters of a profiler \(\S+, \S+ and \d+ more\)$'
SHARED = {
    'as it was saved': (lambda n: n, None),
    'DataParallel': (lambda n: renamed(n, 'module.{}'), None),
    'torch.compile': (lambda n: renamed(n, '_orig_mod.{}'), None),
    'both': (lambda n: renamed(n, '_orig_mod.module.{}'), None),
    'both the other way': (lambda n: renamed(n, 'module._orig_mod.{}'), None),
    'compiled inside': (
        lambda n: {
            k: {x.replace('.', '._orig_mod.', 1): v for x, v in s.items()} for k, s in n.items()
        },
        None,
    ),
    'one module of all': (
        lambda n: {f'{k}.{x}': v for k, s in n.items() for x, v in s.items()},
        None,
    ),
    'a state_dict': (
        lambda n: {'state_dict': n, 'epoch': 7},
        r'left out: 1 other entry \(epoch\)$',
    ),
    'a model': (lambda n: {'model': n}, None),
    'each in a dict': (lambda n: {k: {'state_dict': s} for k, s in n.items()}, None),
    'deeper': (lambda n: {'checkpoint': {'model': {k: {'module': s} for k, s in n.items()}}}, None),
    'names with an end': (lambda n: {f'{k}_state_dict': s for k, s in n.items()}, None),
    'half': (lambda n: {k: {x: v.half() for x, v in s.items()} for k, s in n.items()}, None),
    'thop': (
        lambda n: {k: profiled(s, 'total_ops', 'total_params') for k, s in n.items()},
        COUNTED.format(240),
    ),
    'torchstat': (
        lambda n: {k: profiled(s, 'Flops', 'input_shape') for k, s in n.items()},
        COUNTED.format(240),
    ),
    'thop in DataParallel': (
        lambda n: renamed({k: profiled(s, 'total_ops') for k, s in n.items()}, 'module.{}'),
        COUNTED.format(120),
    ),
    'optimisers': (
        lambda n: {**n, 'epoch': 100, 'G_optim': {}, 'D_optim': adam()},
        r'left out: 1 other entry \(epoch\), 2 optimisers \(G_optim, D_optim\)$',
    ),
    'optimisers of other names': (
        lambda n: {
            **n,
            'adam': adam(),
            'steps': [adam(), adam()],
            'scaler': {'scale': 2.0, 'n': 1},
        },
        r'left out: 3 optimisers \(adam, steps.0 and 1 more\), 1 other entry \(scaler\)$',
    ),
    'numbers': (
        lambda n: {
            **n,
            **{
                'loss': torch.tensor(0.5),
                'rng': torch.zeros(9, dtype=torch.uint8),
                'args': {'a': 1},
            },
            **{'log': 'text', 'best': [torch.tensor(1.0)], 3: None},
        },
        r'left out: 6 other entries \(loss, rng and 4 more\)$',
    ),
    'options of a program': (
        lambda n: {**n, 'args': Namespace(lr=1e-4, light=True), 'best': np.float64(3)},
        r'left out: 2 other entries \(args, best\)$',
    ),
    'averages': (
        lambda n: {**n, 'genA2B_ema': n['genB2A'], 'ema_genB2A': n['genA2B'], 'model_ema': n},
        r'left out: 3 running averages \(\w*ema\w*, \w*ema\w* and 1 more\)$',
    ),
    'averages only': (lambda n: {'ema': n, 'n_averaged': torch.tensor(3)}, r'\(n_averaged\)$'),
}


@pytest.fixture
def logged(monkeypatch) -> list[str]:
    """The log lines of an official file that is read unconverted."""
    lines: list[str] = []
    monkeypatch.setattr(
        'ugatit_mm.converters.reading.print_log', lambda text, _: lines.append(text)
    )
    return lines


@pytest.mark.parametrize('suffix', ['.pt', '.safetensors'])
@pytest.mark.parametrize('how', SHARED)
def test_all_weights_and_nothing_else(networks, tmp_path, logged, how, suffix):
    """Each form gives the weights of the plain file, bit-identical."""
    make, said = SHARED[how]
    content = make(copy.deepcopy(networks))
    source = tmp_path / f'file{suffix}'
    if suffix == '.pt':
        torch.save(content, source)
    elif (flat := flattened(content)) is not None:
        save_file(flat, source)
    else:
        pytest.skip('safetensors holds tensors only')
    content = read_weights(source)
    expected = from_official(networks)
    if how == 'half':
        assert {value.dtype for value in content['state_dict'].values()} == {torch.float16}
        expected = {key: value.half().float() for key, value in expected.items()}
    assert same_weights(weights_of(content), expected)
    name = 'the official PyTorch program of U-GAT-IT'
    said_first, _, left = logged[0].partition('; ')
    assert said_first == f'{source} is read as weights of {name}, generators into A and B'
    assert bool(left) == (said is not None) and re.search(said or '', left), left


IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def flattened(content: dict, prefix: str = '') -> dict | None:
    """Nested dicts of tensors as safetensors holds them: names with dots."""
    flat: dict = {}
    for key, value in content.items():
        if isinstance(value, dict):
            if (inside := flattened(value, f'{prefix}{key}.')) is None:
                return None
            flat |= inside
        elif isinstance(value, torch.Tensor):
            flat[f'{prefix}{key}'] = value.clone()
        else:
            return None
    return flat


@pytest.mark.parametrize('name', ['genA2B', 'genB2A'])
def test_one_generator_only(networks, tmp_path, capsys, name):
    """Its direction is the only one; the other direction's discriminators are left out."""
    target, other = ('B', 'A') if name == 'genA2B' else ('A', 'B')
    source, ours, back = (tmp_path / x for x in ('only.pt', 'ours.pth', 'back.pt'))
    torch.save({k: s for k, s in networks.items() if k == name or k.startswith('dis')}, source)
    assert convert('ugatit_pytorch', source, ours) == 0
    said = f'2 discriminators of the missing direction (disG{other}, disL{other})'
    printed = capsys.readouterr().out
    assert f'left out: {said}\n' in printed and f"model.targets=['{target}']" in printed
    model, meta = load_model(ours, device='cpu')
    assert model.targets() == (target,) and meta['networks']['targets'] == [target]
    whole, _ = load_model(write(tmp_path / 'whole.pt', networks), device='cpu')
    with torch.no_grad():
        assert_same(model.translation(IMAGE), whole.translation(IMAGE, target))
    with pytest.raises(ValueError, match=f"do not translate into '{other}', only into {target}"):
        model.translation(IMAGE, other)
    assert convert('ugatit_pytorch', ours, back, '--reverse') == 0
    again = torch.load(back, weights_only=True)
    assert list(again) == [name, f'disG{target}', f'disL{target}']
    assert all(torch.equal(again[n][k], networks[n][k]) for n in again for k in again[n])
    torch.save({name: networks[name]}, source)
    assert convert('ugatit_pytorch', source, ours, '--force', '--half', '--domains', 'x', 'y') == 0
    assert load_model(ours, device='cpu')[0].direction() == ('x2y' if target == 'B' else 'y2x')


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_generator_without_its_name(networks, tmp_path, capsys):
    """The file name or ``--which`` identifies it; else an error names the command to type."""
    bare = {f'module.{k}': v for k, v in profiled(networks['genB2A'], 'total_ops').items()}
    source = write(tmp_path / 'my file.pt', {'state_dict': bare, 'epoch': 3})
    named = write(tmp_path / 'selfie2anime_genB2A-100.pt', bare)
    ours, other = tmp_path / 'ours.pth', tmp_path / 'other.pth'
    assert convert('ugatit_pytorch', source, ours) == 1
    command = f"ugatit_pytorch '{source}' ours.pth --which genA2B (or genB2A)\n"
    said = 'it has one network without its name; say which it is: ugatit convert '
    assert capsys.readouterr().err == f'error: {source}: {said}{command}'
    with pytest.raises(CheckpointError) as caught:
        load_model(source, device='cpu')
    assert str(caught.value) == f'{source}: {said}{command[:-1]}'
    assert convert('ugatit_pytorch', source, ours, '--which', 'genB2A') == 0
    assert 'counters of a profiler' in capsys.readouterr().out
    assert convert('ugatit_pytorch', named, other) == 0
    model, _ = load_model(named, device='cpu')
    for state in (read_checkpoint(ours)['state_dict'], model.state_dict()):
        assert same_weights(state, read_checkpoint(other)['state_dict'])
    assert model.targets() == ('A',)
    assert convert('ugatit_pytorch', named, other, '--which', 'genA2B', '--force') == 0
    assert load_model(other, device='cpu')[0].targets() == ('B',)  # the typed name applies
    whole = write(tmp_path / 'whole.pt', networks)
    assert convert('ugatit_pytorch', whole, ours, '--which', 'genA2B', '--force') == 1
    assert 'its networks have names (genA2B, ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'vgg': {'0.weight': torch.ones(2, 2)}}, r'not of the official .*: vgg\.0\.weight'),
        ({'extra': torch.ones(3)}, 'not of the official PyTorch program of U-GAT-IT: extra'),
        ({'losses': [torch.ones(3)]}, 'not of the official .*: losses'),
        ({'genA2B.DownBlock.1.scale': torch.ones(3)}, r'not a key .*: genA2B\.DownBlock\.1\.scale'),
        ({'genA2B.total_ops': torch.ones(9)}, r'not a key .*: genA2B\.total_ops'),
        (
            {'genA2B.module.FC.0.weight': torch.ones(3)},
            r'genA2B\.module\.FC\.0\.weight is in it twice',
        ),
        ({'genA2B.FC.0.weight': 'text'}, r'generators\.B\.mlp\.fc1\.weight is not a weight'),
        ({'genA2B.FC.0.weight': torch.ones(2, 2).int()}, r'mlp\.fc1\.weight is not a weight'),
        ({'genA2B.FC.0.weight': torch.full((2, 2), torch.nan)}, r'fc1\.weight is not finite'),
        ({'genA2B.FC.0.weight': torch.ones(3)}, r'fc1\.weight|known'),
        ({'genA2B.FC.0.weight': None, 'genA2B.FC.0': {}}, r'generators\.B\.mlp\.fc1\.weight'),
    ],
)
def test_what_is_a_weight_is_still_all_or_nothing(networks, tmp_path, capsys, change, said):
    content: dict = {k: dict(s) for k, s in networks.items()}
    for key, value in change.items():
        network, _, name = key.partition('.')
        if name:
            content[network][name] = value
        else:
            content[key] = value
    source = write(tmp_path / 'odd.pt', content)
    assert convert('ugatit_pytorch', source, tmp_path / 'ours.pth') == 1
    error = capsys.readouterr().err
    assert error.startswith(f'error: {source}: ') and error.count('\n') == 1
    assert re.search(said, error), error
    assert not (tmp_path / 'ours.pth').exists()
    with pytest.raises(CheckpointError, match=rf'odd\.pt: .*({said})'):
        load_model(source, device='cpu')


def test_too_many_entries(networks, tmp_path, monkeypatch):
    monkeypatch.setattr('ugatit_mm.converters.official.MAX_ENTRIES', 50)
    source = write(tmp_path / 'many.pt', networks)
    with pytest.raises(CheckpointError, match=r'many\.pt: it has more than 50 entries'):
        read_weights(source)


def test_nested_and_repeated_entries_take_no_time(networks, tmp_path):
    """Nested dicts count at each occurrence; a list is searched once."""
    nested: dict = {'DownBlock.1.weight': torch.ones(1)}
    for _ in range(9):
        nested = dict.fromkeys(map(str, range(50)), nested)
    inside = nested
    nested['itself'] = inside
    known = re.compile('genA2B')
    with pytest.raises(ValueError, match='more than 20000 entries'):
        networks_in(nested, known)
    numbers = list(range(200_000))
    found, left = networks_in({f'x{i}': numbers for i in range(5000)} | {'y' * 10**6: 1}, known)
    assert found == {} and len(left['other entry']) == 5001
    assert len(networks_in({'a.' * 10**6: torch.ones(2)}, known)[0]['']) == 1


# -- CycleGAN ------------------------------------------------------------------------------------


@pytest.fixture
def four() -> Networks:
    return of_cyclegan.to_official(tiny_cyclegan().state_dict())


FOLDERS = {
    'DataParallel': (lambda s: {f'module.{k}': v for k, v in s.items()}, None),
    'torch.compile': (lambda s: {f'_orig_mod.{k}': v for k, v in s.items()}, None),
    'a model': (lambda s: {'model': s}, None),
    'thop': (
        lambda s: profiled(s, 'total_ops', 'total_params'),
        r'left out: 68 counters of a profiler \(latest_net_D_A\.pth: total_ops, ',
    ),
    'more': (
        lambda s: {'state_dict': s, 'optimizer': adam(), 'epoch': 3},
        r'left out: 4 optimisers \(latest_net_D_A\.pth: optimizer, .*, 4 other entries',
    ),
    'averages': (lambda s: {'net': s, 'net_ema': s}, r'left out: 4 running averages '),
}


@pytest.mark.parametrize('how', FOLDERS)
def test_a_folder_of_cyclegans_networks(four, tmp_path, capsys, how):
    make, said = FOLDERS[how]
    folder = tmp_path / 'run'
    folder.mkdir()
    for name, state in four.items():
        torch.save(make(state), folder / f'latest_net_{name}.pth')
    assert convert('cyclegan', folder, tmp_path / 'ours.pth') == 0
    printed = capsys.readouterr().out
    assert ('left out' in printed) == (said is not None)
    assert said is None or re.search(said, printed), printed
    expected, _ = of_cyclegan.from_official(four)
    state = read_checkpoint(tmp_path / 'ours.pth')['state_dict']
    assert same_weights(state, expected)
    with pytest.raises(CheckpointError, match=rf'ugatit convert cyclegan {folder} ours\.pth'):
        load_model(folder)


def test_files_of_cyclegans_networks(four, tmp_path, capsys):
    """All in one file, safetensors, one generator by the file's name, by ``--which``."""
    expected, _ = of_cyclegan.from_official(four)
    one = write(tmp_path / 'all.pth', {f'net{k}': s for k, s in four.items()} | {'epoch': 200})
    for source, targets in {
        one: ('A', 'B'),
        write(tmp_path / 'horse2zebra.pth', four['G_A']): ('B',),
        write(tmp_path / 'netG_B.pth', four['G_B']): ('A',),
        write(tmp_path / 'my_G_B2A.pth', four['G_B']): ('A',),
    }.items():
        ours = tmp_path / 'ours.pth'
        assert convert('cyclegan', source, ours, '--force') == 0
        for path in (source, ours):
            model, _ = load_model(path, device='cpu')
            assert model.targets() == targets
            state = model.state_dict()
            assert all(torch.equal(state[key], expected[key]) for key in state)
    words = (tmp_path / 'horse2zebra.pth', tmp_path / 'ours.pth', '--force', '--which', 'G_B')
    assert convert('cyclegan', *words) == 0
    assert load_model(tmp_path / 'ours.pth', device='cpu')[0].targets() == ('A',)
    folder = tmp_path / 'safe'
    folder.mkdir()
    for name, state in four.items():
        save_file(
            {k: v.contiguous() for k, v in state.items()}, folder / f'latest_net_{name}.safetensors'
        )
    assert convert('cyclegan', folder, tmp_path / 'safe.pth') == 0
    assert same_weights(read_checkpoint(tmp_path / 'safe.pth')['state_dict'], expected)
    torch.save(four['G_A'], folder / 'latest_net_G_A.pth')
    assert convert('cyclegan', folder, tmp_path / 'twice.pth') == 1
    said = 'latest_net_G_A.pth and latest_net_G_A.safetensors are one network: take one away'
    assert said in capsys.readouterr().err
    assert convert('cyclegan', folder, tmp_path / 'twice.pth', '--which', 'G_A') == 1
    assert '--which is for a file' in capsys.readouterr().err


# -- TensorFlow ----------------------------------------------------------------------------------


@pytest.fixture
def variables() -> dict[str, np.ndarray]:
    with np.load(DATA / 'official_tensorflow.npz') as file:
        return twins(file, 'gen.var/')


def test_variables_as_people_share_them(variables, tmp_path, capsys):
    expected, left = from_variables(variables)
    assert left == {}
    kernel = variables['generator_A/CAM_logit/kernel']
    beside = {
        'generator_A/CAM_logit/kernel/Momentum': kernel,
        'D/beta2_power': np.float32(0.9),
        'epoch': np.int64(3),
        **{f'{name}/ExponentialMovingAverage': value * 0 for name, value in variables.items()},
    }
    source, ours = tmp_path / 'all.npz', tmp_path / 'ours.pth'
    np.savez(source, **{f'UGATIT/{k}:0': v for k, v in (variables | beside).items()})
    assert convert('ugatit_tensorflow', source, ours) == 0
    said = re.search(r'left out: (.*)\n', capsys.readouterr().out)[1]
    for part in (
        '2 variables of an optimiser (UGATIT/generator_A/CAM_logit/kernel/Momentum:0, ',
        '1 other entry (UGATIT/epoch:0)',
        f'{len(variables)} running averages (generator_B/',
    ):
        assert part in said, said
    for path in (source, ours):
        model, _ = load_model(path, device='cpu')
        assert same_weights(model.state_dict(), expected)
    np.savez(source, **{k: v for k, v in variables.items() if k.startswith('generator_B')})
    assert load_model(source, device='cpu')[0].targets() == ('B',)
    only = {k: v for k, v in variables.items() if k.startswith('generator_A')}
    odd = {f'discriminator_{x}/global/D_logit/bias': np.zeros(1, np.float32) for x in 'AB'}
    _, left = from_variables(only | odd)
    assert left == {'discriminator of the missing direction': ['discriminator_B']}
    with pytest.raises(ValueError, match=r'b/generator_A.* is in it twice, in two scopes'):
        from_variables({f'{scope}/{k}': v for scope in 'ab' for k, v in only.items()})
    for name, value in {
        'generator_A/CAM_logit/kernel': np.ones(3, np.float32),
        'generator_A/ins_norm/u': np.ones(3, np.float32),
        'generator_A/MLP/linear_0/dense/kernel': np.ones((5, 7), np.float32),
    }.items():
        np.savez(source, **{**variables, name: value})
        with pytest.raises(CheckpointError, match=r'all\.npz: '):
            load_model(source, device='cpu')


def test_what_only_tensorflow_reads_names_the_converter(tmp_path):
    for end in ('index', 'meta', 'data-00000-of-00001'):
        (tmp_path / f'UGATIT.model-7.{end}').write_bytes(b'table')
    for path in (tmp_path, *(tmp_path / f'UGATIT.model-7{e}' for e in ('', '.index', '.meta'))):
        with pytest.raises(
            CheckpointError, match=rf'ugatit convert ugatit_tensorflow {path} ours\.pth'
        ):
            read_weights(path)


# -- where weights are read ----------------------------------------------------------------------


def test_an_official_file_is_translated_with(networks, tmp_path, logged):
    source = write(tmp_path / 'official.pt', {**networks, 'epoch': 100})
    Image.new('RGB', (32, 32), (200, 40, 90)).save(tmp_path / 'picture.png')
    words = [str(tmp_path / 'picture.png'), '--out', str(tmp_path / 'out'), '--device', 'cpu']
    assert translate.main([*words, '--ckpt', str(source), '--to', 'B']) == 0
    (said,) = logged
    assert said.startswith(f'{source} is read as weights of the official PyTorch program of ')
    assert said.endswith('generators into A and B; left out: 1 other entry (epoch)')
    assert len(list((tmp_path / 'out').rglob('picture.png'))) == 1


@pytest.mark.slow
def test_an_official_file_is_trained_from_and_tested(networks, tmp_path, capsys):
    write_images(tmp_path / 'data')
    source = write(tmp_path / 'official.pt', renamed(networks, 'module.{}'))
    cfg = {
        **TINY,
        'data_root': tmp_path / 'data',
        'model.recipe': 'pytorch',
        'model.generator.base_channels': 2,
        'model.generator.num_blocks': 4,
        'model.discriminator.base_channels': 2,
        'model.discriminator.num_layers': (7, 5),
        'img_size': 96,
        'load_size': 96,
        'train_cfg.max_iters': 1,
        'train_cfg.val_interval': 10,
        'default_hooks.checkpoint.interval': 1,
        'optim_wrapper.generators.optimizer.lr': 0.0,
        'optim_wrapper.discriminators.optimizer.lr': 0.0,
    }
    words = ['ugatit_custom', '--work-dir', str(tmp_path / 'work')]
    options = ['--cfg-options', *as_arguments(cfg)]
    assert load_tool('train').main([*words, *options, f'load_from={source}']) == 0
    trained = read_checkpoint(tmp_path / 'work' / 'iter_1.pth')['state_dict']
    expected = from_official(networks)
    key = 'generators.B.encoder.0.conv.weight'
    assert torch.equal(trained[key], expected[key])
    test = load_tool('test').main
    assert test(['ugatit_custom', str(source), *words[1:], *options]) == 0
    assert (tmp_path / 'work' / 'results_official.json').is_file()
    words[2] = str(tmp_path / 'other')
    assert load_tool('train').main([*words, '--resume', str(source), *options]) == 1
    assert 'is not a training checkpoint, it lacks' in capsys.readouterr().err


def test_an_official_file_is_published(networks, tmp_path):
    source = write(tmp_path / 'official.pt', networks)
    assert convert('publish_model', source, tmp_path / 'slim.safetensors', '--generator-only') == 0
    state = read_checkpoint(tmp_path / 'slim.safetensors')['state_dict']
    expected = from_official(networks)
    assert state.keys() == {key for key in expected if key.startswith('generators.')}
    assert all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.slow
def test_the_shared_variants(tmp_path, networks, monkeypatch):
    """The files of the folder next to the project, which a clone does not have."""
    maker = ROOT.parent / 'shared' / 'inputs' / 'make_official_variants.py'
    if not maker.is_file():
        pytest.skip('no ../shared/inputs: the same forms are made above')
    source = write(tmp_path / 'off.pt', networks)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['make', str(source)])
    exec(compile(maker.read_text(), str(maker), 'exec'), {'__name__': '__main__'})
    for name in ('module', 'thop', 'only', 'extra', 'bare'):
        words = ['--which', 'genA2B'] if name == 'bare' else []
        assert convert('ugatit_pytorch', f'off_{name}.pt', f'{name}.pth', *words) == 0
