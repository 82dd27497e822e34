"""The official AGGAN's variables both ways, from a file to a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from aggan_helpers import given, pictures, recorded, tiny_aggan
from helpers import load_tool

from ugatit_mm.apis import load_model
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.converters.aggan import from_variables, to_variables

LAST = [*(f'{n}/c6' for n in ('g_A', 'g_B', 'g_A_ae', 'g_B_ae')), 'd_A/c5', 'd_B/c5']
UNUSED = {
    f'Model/{scope}/instance_norm/{end}': np.full(3, value, np.float32)
    for scope in LAST
    for end, value in (('scale', 1), ('offset', 0))
}


def official(seed: int = 0) -> dict[str, np.ndarray]:
    """Variables of random values under the official names, including unused ones."""
    rng = np.random.default_rng(seed)
    variables = {
        name: rng.normal(0, 0.3, value.shape).astype(np.float32)
        for name, value in to_variables(tiny_aggan().state_dict()).items()
    }
    return variables | UNUSED


def save(path: Path, variables: dict[str, np.ndarray]) -> Path:
    np.savez(path, **variables)
    return path


def convert(*words: str | Path) -> int:
    return load_tool('model_converters/aggan').main([str(word) for word in words])


def image(size: tuple[int, int] = (16, 24)) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def translate(path: Path, target: str, x: torch.Tensor) -> torch.Tensor:
    model, _ = load_model(path, device='cpu')
    with torch.no_grad():
        return model.translation(x, target)


def test_the_recorded_picture(tmp_path):
    """Official variables -> ours -> a model from the file only -> the official pictures."""
    source = save(tmp_path / 'official.npz', recorded('aggan_init.npz'))
    assert convert(source, tmp_path / 'ours.pth') == 0
    real, numbers = given(recorded('aggan_inputs.npz'), 0), recorded('aggan_forward.npz')
    for target, source_domain in ('BA', 'AB'):
        wanted = pictures(numbers[f'p1_fake_images_{target.lower()}'])
        for file in (tmp_path / 'ours.pth', source):
            found = translate(file, target, real[source_domain])
            np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)


def test_the_plain_networks_picture(tmp_path, capsys):
    """The picture of the restated official order, whose modules have the official names."""
    variables = official()
    moments = {f'{name}/Adam_1': value for name, value in variables.items()}
    numbers = {'global_step': np.array(7), 'beta1_power': np.array(0.5, np.float32)}
    source = save(tmp_path / 'official.npz', variables | moments | numbers)
    words = ['--domains', 'horse', 'zebra']
    assert convert(source, tmp_path / 'ours.pth', *words) == 0
    said = capsys.readouterr().out
    for word in (
        f'{len(variables) + 1} variables of an optimiser (Model/',
        '12 unused norm variables (Model/g_A/c6/instance_norm/scale',
        '1 other entry (global_step)',
        'AGGAN, generators and attentions and discriminators',
        'model.generator.num_blocks=2',
        'model.attention.decoder_kernels=(1,1,1)',
        'domains.A=horse',
    ):
        assert word in said, word
    plain = load_tool('benchmarks/official/aggan').OfficialOrder(16, 4, judge_channels=4, blocks=2)
    plain.load_variables({k: v for k, v in variables.items() if k not in UNUSED})
    expected = plain.translate(image())
    torch.testing.assert_close(
        translate(tmp_path / 'ours.pth', 'zebra', image()), expected, atol=1e-4, rtol=0
    )
    assert read_checkpoint(tmp_path / 'ours.pth')['meta']['networks']['type'] == 'AGGAN'


def test_back_is_exact(tmp_path, capsys):
    variables = official()
    ours, back = tmp_path / 'ours.safetensors', tmp_path / 'back.npz'
    assert convert(save(tmp_path / 'official.npz', variables), ours) == 0
    assert convert(ours, back, '--reverse') == 0
    with np.load(back) as again:
        used = {k: v for k, v in variables.items() if k not in UNUSED}
        assert again.keys() == used.keys()
        assert all(np.array_equal(again[name], value) for name, value in used.items())
    assert convert(ours, tmp_path / 'back.pth', '--reverse') == 1
    assert 'back.pth must end with .npz' in capsys.readouterr().err
    assert convert(ours, back, '--reverse') == 1  # exists
    state = tiny_aggan().state_dict() | {'generators.A.cam.weight': torch.zeros(1)}
    with pytest.raises(ValueError, match=r'has no such weights: generators\.A\.cam\.weight'):
        to_variables(state)


def test_any_scope_and_one_direction(tmp_path):
    """Names with the scope of a larger graph, and without; only the networks from A to B."""
    variables = {
        f'outer/{name}:0': value
        for name, value in official().items()
        if name.startswith(('Model/g_A/', 'Model/g_A_ae/'))
    }
    assert convert(save(tmp_path / 'half.npz', variables), tmp_path / 'ours.pth') == 0
    model, _ = load_model(tmp_path / 'ours.pth', device='cpu')
    assert model.targets() == ('B',) and [*model.attentions] == ['A']
    assert convert(tmp_path / 'ours.pth', tmp_path / 'back.npz', '--reverse') == 0


def test_generator_only_and_half(tmp_path):
    source = save(tmp_path / 'official.npz', official())
    assert convert(source, tmp_path / 'all.pth') == 0
    assert convert(source, tmp_path / 'half.pth', '--generator-only', '--half') == 0
    content = read_checkpoint(tmp_path / 'half.pth')
    assert set(content['meta']['networks']) >= {'generator', 'attention'}
    assert 'discriminator' not in content['meta']['networks']
    whole, half = (translate(tmp_path / f'{x}.pth', 'A', image()) for x in ('all', 'half'))
    torch.testing.assert_close(whole, half, atol=5e-2, rtol=0)


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('Model/g_A/c7/Conv/weights', 'not a variable of the official AGGAN program: Model/g_A/c7'),
        ('Model/g_C/c1/Conv/weights', 'not a variable of the official AGGAN program: Model/g_C'),
        ('Model/d_A/c1/batch_norm/scale', 'not a variable .*: Model/d_A/c1/batch_norm/scale'),
        ('copy/g_A/c1/Conv/weights', 'copy/g_A/c1/Conv/weights is in it twice, in two scopes'),
    ],
)
def test_unknown_variables_are_named(name, said):
    with pytest.raises(ValueError, match=said):
        from_variables(official() | {name: np.zeros((7, 7, 3, 4), np.float32)})


def test_what_is_no_weight_or_missing_gets_one_line(tmp_path, capsys):
    for change, said in (
        ({'Model/g_A/c1/Conv/weights': np.zeros(4, np.float32)}, 'is not a weight: float32, of'),
        ({'Model/d_A/c1/Conv/biases': np.zeros(4, int)}, 'is not a weight: int64'),
        ({'Model/g_A/c2/Conv/biases': None}, 'missing (generators.B.encoder.1.conv.bias)'),
        ({'Model/d_B/c5/Conv/weights': None}, 'missing (discriminators.B.last.weight)'),
        ({'Model/g_B_ae/c1/Conv/weights': None}, 'attentions.B.encoder.0'),
    ):
        variables = {k: v for k, v in (official() | change).items() if v is not None}
        source = save(tmp_path / 'broken.npz', variables)
        assert convert(source, tmp_path / 'ours.pth') == 1
        error = capsys.readouterr().err
        assert error.startswith(f'error: {source}: ') and error.count('\n') == 1
        assert said in error, error
    assert not (tmp_path / 'ours.pth').exists()


def test_the_way_back_takes_no_options_of_the_way_here(capsys):
    for option in ('--half', '--generator-only', '--domains=a'):
        with pytest.raises(SystemExit):
            convert('a', 'b', '--reverse', option, *(['b'] if 'domains' in option else []))
    assert '--reverse takes neither' in capsys.readouterr().err
