"""Random styles, by name and seed or off a picture: one picture wherever it is translated."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import load_tool, tiny_config, write_images
from mmagic.apis import MMagicInferencer
from mmagic.structures import DataSample
from mmengine.config import Config
from PIL import Image
from styled_model import NETWORKS, write_photos, write_styled

from ugatit_mm import cli
from ugatit_mm.apis import Failure, UGATITInferencer, run_test
from ugatit_mm.apis.styles import seed_or_path
from ugatit_mm.apis.video import VideoError, translate_video
from ugatit_mm.converters import write_checkpoint
from ugatit_mm.export import export_model, open_exported, verify
from ugatit_mm.pixels import normalise, to_picture, to_uint8


@pytest.fixture
def weights(styled, tmp_path: Path) -> str:
    return write_styled(tmp_path / 'w.pth', styled)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / 'photos', 'a.png', 'b.png', 'more/a.png')
    return tmp_path / 'photos'


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def tensor(path: Path) -> torch.Tensor:
    return normalise(torch.from_numpy(pixels(path).copy()).permute(2, 0, 1)[None].float())


@torch.no_grad()
def expected(model, path: Path, style: torch.Tensor, target: str = 'B') -> np.ndarray:
    out = model.translation(tensor(path), target, style=style)[0]
    return to_uint8(out).permute(1, 2, 0).numpy()


def by_seed(model, path: Path, seed: int = 0, target: str = 'B') -> np.ndarray:
    return expected(model, path, model.styles([path.name], target, seed), target)


def test_the_inferencer_and_its_styles(weights, styled, photos):
    inferencer = UGATITInferencer(weights, device='cpu')
    a, b = photos / 'a.png', photos / 'b.png'
    zero, four, five = (by_seed(styled, a, seed) for seed in (0, 4, 5))
    assert not np.array_equal(four, five) and not np.array_equal(zero, four)
    for given, wanted in (({}, zero), ({'style': 0}, zero), ({'style': np.int64(4)}, four)):
        assert np.array_equal(inferencer(a, 'B', **given)[0].image, wanted)
    results = inferencer([a, b], 'B', style=4, styles=2, batch_size=2)
    assert [(Path(r.name).name, r.number) for r in results] == [
        *(('a.png', 1), ('a.png', 2), ('b.png', 1), ('b.png', 2))
    ]
    others = [by_seed(styled, b, seed) for seed in (4, 5)]
    for result, wanted in zip(results, [four, five, *others], strict=True):
        assert np.array_equal(result.image, wanted)
    chosen = styled.styles(['x', 'y', 'z'], 'B')
    results = inferencer(a, 'B', style=chosen)
    assert [r.number for r in results] == [1, 2, 3]
    for result, style in zip(results, chosen, strict=True):
        assert np.array_equal(result.image, expected(styled, a, style[None]))
    (bad, *good) = inferencer.iterate([photos / 'none.png', a], 'B', styles=3, batch_size=2)
    assert isinstance(bad, Failure) and len(good) == 3
    assert [type(r) for r in inferencer.iterate([photos / 'none.png'])] == [Failure]


def test_a_picture_lends_its_style(weights, styled, photos, tmp_path):
    inferencer = UGATITInferencer(weights, device='cpu')
    a, lender = photos / 'a.png', photos / 'b.png'
    for target in 'AB':
        with torch.no_grad():
            wanted = expected(styled, a, styled.style_of(tensor(lender), target), target)
        for way in (lender, str(lender), pixels(lender), Image.open(lender)):
            assert np.array_equal(inferencer(a, target, style=way)[0].image, wanted)
        chosen = inferencer.choose_styles(lender, to=target)
        assert np.array_equal(inferencer(a, target, style=chosen)[0].image, wanted)
    # Fitted as the sources are.
    write_photos(tmp_path, 'wide.png', size=(32, 50))
    middle = Image.open(tmp_path / 'wide.png').crop((9, 0, 41, 32))
    (one,) = inferencer(a, 'B', style=tmp_path / 'wide.png', size='crop')
    (other,) = inferencer(a, 'B', style=middle)
    assert np.array_equal(one.image, other.image)
    (squeezed,) = inferencer(a, 'B', style=tmp_path / 'wide.png')
    assert not np.array_equal(one.image, squeezed.image)
    # Tiles have one style, that of the whole picture that gives it, or each number's.
    wide, ways = tmp_path / 'wide.png', ({'style': tmp_path / 'wide.png'}, {'styles': 2})
    for way in ways:
        chosen = inferencer.choose_styles(**way, to='B').of(styled, ['wide.png'], 'B')
        results = inferencer(wide, 'B', size='tiles', batch_size=2, **way)
        assert [result.number for result in results] == list(range(1, len(chosen) + 1))
        for result, style in zip(results, chosen, strict=True):
            (left,) = inferencer(pixels(wide)[:, :32], 'B', style=style)
            assert np.abs(result.image[:, :18].astype(int) - left.image[:, :18]).max() <= 1


def test_a_choice_that_cannot_be_is_a_line(weights, styled, photos, tmp_path):
    inferencer = UGATITInferencer(weights, device='cpu')
    a, none = photos / 'a.png', photos / 'none.png'
    for given, said in (
        ({'styles': 0}, '^styles must be 1 or more, got 0$'),
        ({'styles': 2, 'style': str(a)}, '^styles=2 are drawn by a seed, and a picture has one'),
        ({'style': none}, r"^style: '.*none\.png' does not exist: check the path\.$"),
        ({'style': photos}, r'^style .*photos is 3 pictures: name one$'),
        (
            {'style': 'http://x/y.png'},
            r'^style http://x/y\.png: addresses are fetched only with allow',
        ),
        ({'style': np.zeros((8, 8))}, '^style picture 0: an array must be RGB'),
        ({'style': torch.zeros(2, 3)}, r'^the styles of this Styled are \(N, 2, 1, 1\), got'),
        ({'style': styled.styles(['x'], 'B'), 'styles': 2}, '^style says how many there are'),
    ):
        with pytest.raises(ValueError, match=said):
            inferencer(a, 'B', **given)
    slim = UGATITInferencer(write_styled(tmp_path / 's.pth', styled, slim=True), device='cpu')
    with pytest.raises(ValueError, match='^style: these weights of Styled have no encoders of'):
        slim(a, 'B', style=a)
    assert np.array_equal(slim(a, 'B')[0].image, by_seed(styled, a))


def test_a_model_without_styles_refuses_them(tiny, photos, tmp_path, capsys):
    write_checkpoint(tmp_path / 'w.pth', tiny().state_dict(), {})
    inferencer = UGATITInferencer(tmp_path / 'w.pth', device='cpu')
    for given in ({'style': 0}, {'styles': 1}, {'style': photos / 'a.png'}):
        with pytest.raises(ValueError, match='^U-GAT-IT has no styles: leave out style and styl'):
            inferencer(photos / 'a.png', **given)
    words = ['--styles', '1', '--ckpt', str(tmp_path / 'w.pth'), '--out', str(tmp_path / 'out')]
    assert cli.main(['translate', str(photos), *words]) == 1
    assert capsys.readouterr().err == 'error: U-GAT-IT has no styles: leave out style and styles\n'
    assert not (tmp_path / 'out').exists()


def test_one_picture_wherever_it_is_translated(weights, styled, photos, tmp_path):
    """Validation, inferencer, command line; by default the style of seed 0 and the name."""
    a = photos / 'a.png'
    wanted = by_seed(styled, a)
    data = {'inputs': {'img_A': torch.from_numpy(pixels(a).copy()).permute(2, 0, 1)[None].flip(1)}}
    sample = DataSample(metainfo={'img_A_path': str(a)})
    (out,) = styled.val_step({**data, 'data_samples': [sample]})
    assert np.array_equal(to_picture(out.fake_B), wanted)
    assert np.array_equal(UGATITInferencer(weights, device='cpu')(a, 'B')[0].image, wanted)
    for words in ([], ['--style', '0'], ['--styles', '1']):
        out = tmp_path / 'out'
        to = ['--ckpt', weights, '--to', 'B', '--out', str(out), *words]
        assert cli.main(['translate', str(photos), *to]) == 0
        assert np.array_equal(pixels(out / 'red2blue' / 'a.png'), wanted)
        # The name decides, wherever the file lies.
        style = styled.styles(['a.png'], 'B')
        again = expected(styled, photos / 'more/a.png', style)
        assert np.array_equal(pixels(out / 'red2blue' / 'more' / 'a.png'), again)


def test_several_styles_at_the_command_line(weights, styled, photos, tmp_path, capsys):
    write_photos(photos, 'a.png', 'a.bmp', 'a_1.png')
    out = tmp_path / 'out'
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(out), '--style', '7']
    assert cli.main([*words, '--styles', '2', '--figure', '--batch', '2', '--to', 'B']) == 0
    assert '5 of 5 translated' in capsys.readouterr().out
    folder = out / 'red2blue'
    stems = {'a': 'a.bmp', 'a_2': 'a.png', 'a_1': 'a_1.png', 'b': 'b.png', 'more/a': 'more/a.png'}
    names = [f'{stem}_{end}.png' for stem in stems for end in ('1', '2', 'figure')]
    assert sorted(str(f.relative_to(folder)) for f in folder.rglob('*.png')) == sorted(names)
    for stem, source in stems.items():
        for k in (1, 2):
            wanted = by_seed(styled, photos / source, 7 + k - 1)
            assert np.abs(pixels(folder / f'{stem}_{k}.png') - wanted.astype(int)).max() <= 1
    assert pixels(folder / 'a_figure.png').shape[1] == 3 * (5 * 32 + 4) + 4
    # One file has room for one style.
    one = ['translate', str(photos / 'b.png'), '--ckpt', weights, '--out', str(tmp_path / 'x.png')]
    assert cli.main([*one, '--styles', '2']) == 1
    assert 'is one file, and --styles 2 are more: name a folder' in capsys.readouterr().err
    assert cli.main([*one, '--style', '8', '--to', 'blue']) == 0
    assert np.array_equal(pixels(tmp_path / 'x.png'), by_seed(styled, photos / 'b.png', 8))


def test_results_never_take_a_sources_place(weights, photos, capsys):
    """Nor that of the picture whose style is read; earlier results are not sources."""
    out = photos / 'red2blue'
    words = ['translate', str(photos), '--ckpt', weights, '--out', str(photos), '--to', 'B']
    assert cli.main([*words, '--styles', '3']) == 0
    assert len(list(out.rglob('*.png'))) == 9
    assert cli.main([*words, '--styles', '2']) == 0
    assert f'left out: 9 in {out}, where results go' in capsys.readouterr().err
    before = (out / 'a_1.png').read_bytes()
    single = ['translate', str(photos / 'a.png'), *words[2:]]
    write_photos(out, 'a.png')
    kept = (out / 'a.png').read_bytes()
    assert cli.main([*single, '--style', str(out / 'a.png')]) == 1
    said = capsys.readouterr().err
    assert 'a.png is the picture of --style: choose another --out' in said
    named = ['translate', str(photos / 'a.png'), str(out / 'a_1.png'), *words[2:]]
    assert cli.main([*named, '--styles', '2']) == 1
    assert 'a_1.png is itself an input' in capsys.readouterr().err
    assert (out / 'a.png').read_bytes() == kept and (out / 'a_1.png').read_bytes() == before


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--styles', '0'], 'styles must be 1 or more, got 0'),
        (['--style', 'none.png'], "style: 'none.png' does not exist: check the path."),
        (['--style', 'none.png', '--styles', '2'], 'styles=2 are drawn by a seed'),
        (['--heatmap'], 'these networks have no attention'),
    ],
)
def test_wrong_words_are_said_in_a_line(weights, photos, tmp_path, words, said, capsys):
    to = ['--ckpt', weights, '--out', str(tmp_path / 'o')]
    assert cli.main(['translate', str(photos), *to, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and said in error and error.count('\n') == 1
    assert not (tmp_path / 'o').exists()


def test_a_whole_number_is_a_seed():
    words = ('7', '-1', '007', './7', '7.png', '1.5', '1_000', '٣')
    assert [seed_or_path(word) for word in words] == [7, -1, 7, *words[3:]]


def frames_of(path: Path) -> np.ndarray:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return np.stack(frames)


def test_a_video_has_one_style(weights, styled, tmp_path, monkeypatch):
    """By its name; of equal frames equal ones are made."""
    film = cv2.VideoWriter(str(tmp_path / 'f.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 12, (32, 32))
    for _ in range(3):
        film.write(np.full((32, 32, 3), 90, np.uint8))
    film.release()
    given = []
    translate = UGATITInferencer.iterate

    def iterate(self, frames, target=None, **options):
        given.append(options['style'])
        return translate(self, frames, target, **options)

    monkeypatch.setattr(UGATITInferencer, 'iterate', iterate)
    words = ['translate', str(tmp_path / 'f.avi'), '--ckpt', weights, '--out', str(tmp_path / 'o')]
    assert cli.main([*words, '--to', 'B']) == 0
    assert cli.main([*words, '--to', 'B', '--style', '3', '--styles', '2']) == 0
    folder = tmp_path / 'o' / 'red2blue'
    assert sorted(f.name for f in folder.iterdir()) == ['f.mp4', 'f_1.mp4', 'f_2.mp4']
    films = [frames_of(folder / name) for name in ('f.mp4', 'f_1.mp4', 'f_2.mp4')]
    assert all(np.abs(np.diff(film.astype(int), axis=0)).max() <= 8 for film in films)
    given = [style for style in given if isinstance(style, torch.Tensor)]
    for style, seed in zip(given, (0, 3, 4), strict=True):
        assert torch.equal(style, styled.styles(['f.avi'], 'B', seed))
    inferencer = UGATITInferencer(weights, device='cpu')
    styles = styled.styles(['x', 'y'], 'B')
    with pytest.raises(VideoError, match=r'f\.avi: a video has one style, got 2'):
        next(translate_video(inferencer, tmp_path / 'f.avi', tmp_path / 'g.mp4', style=styles))


@pytest.fixture
def tested(styled, tmp_path) -> Config:
    """Of a test of the model's weights."""
    write_images(tmp_path / 'data', (32, 32))
    cfg = tiny_config(tmp_path / 'data', tmp_path / 'work', 'cyclegan')
    cfg.model = NETWORKS
    cfg.optim_wrapper = dict(generators=dict(optimizer=dict(type='Adam', lr=1e-4)))
    cfg.param_scheduler = None
    return cfg


def test_the_test_writes_styles_and_measures_the_first(
    weights, styled, tested, tmp_path, capsys, monkeypatch
):
    """One path for pixels, of the test too; what was measured is said."""
    data = tmp_path / 'data'
    means = {}
    for name, options in {
        'plain': {},
        'two': {'styles': 2},
        'four': {'style': 4},
        'lent': {'style': str(data / 'testB' / '1.png')},
    }.items():
        tested.work_dir = str(tmp_path / name)
        means[name] = run_test(tested, weights, tmp_path / 'out' / name, **options)
    assert means['plain'] == means['two'] != means['four']
    for target, source in (('B', 'testA'), ('A', 'testB')):
        folders = {name: tmp_path / 'out' / name / styled.direction(target) for name in means}
        for file in sorted((data / source).iterdir()):
            zero, one, four = (by_seed(styled, file, seed, target) for seed in (0, 1, 4))
            with torch.no_grad():
                style = styled.style_of(tensor(data / 'testB' / '1.png'), target)
            for name, number, wanted in (
                *(('plain', '', zero), ('two', '_1', zero), ('two', '_2', one)),
                *(('four', '', four), ('lent', '', expected(styled, file, style, target))),
            ):
                found = folders[name] / f'{file.stem}{number}.png'
                assert np.array_equal(pixels(found), wanted), found
        count = len(list((data / source).iterdir()))
        assert len(list(folders['two'].iterdir())) == 2 * count
    said = {
        name: json.loads((tmp_path / name / 'results_w.json').read_text())['style']
        for name in means
    }
    drawn = "drawn by seed {} and the file's name"
    zero, four = drawn.format(0), drawn.format(4)
    assert said == {'plain': zero, 'two': zero, 'four': four, 'lent': 'of 1.png'}
    assert f'each picture is measured in one style: {four}' in capsys.readouterr().out


@pytest.mark.slow
def test_wrong_words_of_the_test_are_a_line(weights, styled, tested, tiny, tmp_path, capsys):
    tested.dump(tmp_path / 'config.py')
    words = [str(tmp_path / 'config.py'), weights, '--out-dir', str(tmp_path / 'out')]
    for more, said in (
        (['--styles', '0'], 'styles must be 1 or more, got 0'),
        (['--style', 'none.png'], "style: 'none.png' does not exist: check the path."),
        (['--style', 'none.png', '--styles', '2'], 'styles=2 are drawn by a seed, and a picture'),
    ):
        assert load_tool('test').main([*words, *more]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('error: ') and said in error
    with pytest.raises(SystemExit):
        load_tool('test').main([*words[:2], '--styles', '2'])
    assert '--styles needs --out-dir' in capsys.readouterr().err
    slim = write_styled(tmp_path / 'slim.pth', styled, slim=True)
    lender = str(tmp_path / 'data' / 'testB' / '1.png')
    assert load_tool('test').main([words[0], slim, '--style', lender]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == 'error: style: these weights of Styled have no encoders of styles'


def test_mmagics_inferencer(weights, styled, tested, photos, tmp_path):
    """By name and seed 0; what is given holds for one call."""
    tested.model.default_domain = 'B'
    tested.dump(tmp_path / 'config.py')
    editor = MMagicInferencer(
        'unpaired_cyclegan',
        model_config=str(tmp_path / 'config.py'),
        model_ckpt=weights,
        device='cpu',
    )
    a, out = photos / 'a.png', tmp_path / 'out.png'
    with torch.no_grad():
        lent = expected(styled, a, styled.style_of(tensor(photos / 'b.png'), 'B'))
    for given, wanted in (
        ({}, by_seed(styled, a)),
        ({'extra_parameters': {'style': 3}}, by_seed(styled, a, 3)),
        ({'extra_parameters': {'style': str(photos / 'b.png')}}, lent),
        ({'extra_parameters': None}, by_seed(styled, a)),
    ):
        editor.infer(img=str(a), result_out_dir=str(out), **given)
        assert np.array_equal(pixels(out), wanted)
    for given, said in (
        ({'styel': 3}, r"extra_parameters must be one of \['style', 'infer_with_grad'\], got 'sty"),
        ({'style': 'none.png'}, "style: 'none.png' does not exist"),
        ({'style': torch.zeros(2, 2, 1, 1)}, 'a picture has one style here, got 2'),
    ):
        with pytest.raises(ValueError, match=said):
            editor.infer(img=str(a), extra_parameters=given)


def test_a_file_has_the_style_that_is_asked_for(weights, styled, photos, tmp_path, capsys):
    """Its picture is the one that is translated in that style, to the bit."""
    a, b = photos / 'a.png', photos / 'b.png'
    with torch.no_grad():
        lent = styled.style_of(tensor(b), 'B')
    named = styled.styles(['a.png'], 'B')
    for style, wanted, said in (
        (None, styled.styles([''], 'B'), 'seed 0'),
        (3, styled.styles([''], 'B', 3), 'seed 3'),
        (str(b), lent, 'of b.png'),
        (named, named, 'given'),
    ):
        path = tmp_path / 'b.pt'
        if isinstance(style, torch.Tensor):
            meta = export_model(styled, 'B', path, 'torchscript', style=style)
            assert len(list(verify(path, 'torchscript', styled, [], style))) == 1
        else:
            words = ['export', '--ckpt', weights, '--to', 'B', '--format', 'torchscript']
            words += ['--check', str(a), '--out', str(path)]
            assert cli.main([*words, *([] if style is None else ['--style', str(style)])]) == 0
            assert f', style {said}' in capsys.readouterr().out
        run, meta = open_exported(path, 'torchscript')
        assert meta['style'] == said
        (found,) = run(pixels(a)[None])
        assert np.array_equal(found[0], expected(styled, a, wanted))
    assert np.array_equal(found[0], by_seed(styled, a))  # as validation has the picture
    with pytest.raises(ValueError, match='a file has one style, got 2'):
        export_model(styled, 'B', path, 'torchscript', style=styled.styles(['x', 'y'], 'B'))
    assert cli.main([*words, '--style', 'none.png']) == 1
    assert capsys.readouterr().err.startswith("error: style: 'none.png' does not exist")
