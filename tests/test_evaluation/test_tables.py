"""The paper's tables from results files."""

import copy
import csv
import hashlib
import io
import json
from pathlib import Path

import pytest
from helpers import ROOT, load_tool
from mmengine.config import Config

from ugatit_mm.config import load_config
from ugatit_mm.evaluation import paper
from ugatit_mm.evaluation.measurements import CLASS_SHARES, Measurement
from ugatit_mm.evaluation.results import read_results, results_of, with_metrics, write_results
from ugatit_mm.evaluation.tables import Results, table_1, table_3, table_own
from ugatit_mm.models.base import TRANSLATION_MODELS, UnpairedTranslation


class Stub(UnpairedTranslation):
    """What the tables ask of a class."""

    ROW = 'MUNIT'
    OPTIMIZED = {'both': ('networks',), 'content': ('content',)}
    RATES = {'both': 1e-4, 'content': 4e-5}

    @classmethod
    def variant(cls, model: dict) -> list[str]:
        return [f'{model["channels"]} channels']


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSLATION_MODELS, 'Stub', Stub)


def stub_config(**rates: float) -> Config:
    """A config of another model: nothing of U-GAT-IT's fields."""
    wrappers = {name: {'optimizer': {'type': 'Adam', 'lr': rate}} for name, rate in rates.items()}
    return Config(
        {
            'model': {'type': 'Stub', 'channels': 8, 'img_size': 64},
            'optim_wrapper': {'constructor': 'X', **wrappers},
            'test_dataloader': {'dataset': {'data_root': 'data/cat2dog'}},
        }
    )


def measurement(direction: str, protocol: str, value: float, **changes) -> Measurement:
    fields = dict(
        direction=direction,
        protocol=protocol,
        value=value,
        spread=value / 10,
        spread_kind='spread',
        settings='settings',
        images={'fake': 100, 'target': 90, 'source': 80},
        features='inception',
        weights='file',
        resize='resize',
    )
    return Measurement(**(fields | changes))


def write(
    folder: Path,
    config: str | Config,
    values: dict[str, float],
    iterations: int = 1_000_000,
    options: dict | None = None,
    **changes,
) -> Path:
    """Results of a test of a config: KID to the target by direction, others derived from it."""
    checkpoint = folder / 'iter.pth'
    checkpoint.write_bytes(b'weights')
    measurements = [
        measurement(direction, protocol, value + add, **changes)
        for direction, value in values.items()
        for protocol, add in (('kid', 0), ('kid_blocks', 0.001), ('kid_with_source', 0.002))
    ]
    trained = {'commit': 'abc', 'hardware': 'GPU', 'processes': 8}
    meta = {'iter': iterations, 'seed': 3, 'provenance': trained}
    cfg = load_config(config, options) if isinstance(config, str) else config
    results = with_metrics(
        results_of(cfg, checkpoint, meta), {'x/colour': 1.0}, measurements, {}, list(values)
    )
    name = config.replace('/', '_') if isinstance(config, str) else cfg.model.type
    path = folder / f'results_{name}_{iterations}.json'
    write_results(path, results)
    return path


def rows(markdown: str) -> list[list[str]]:
    return [line.strip('| ').split(' | ') for line in markdown.splitlines() if line[:1] == '|']


def blocks(markdown: str) -> list[list[list[str]]]:
    """Rows of each table of Table 3."""
    return [rows(part) for part in markdown.split('\n\n') if part.startswith('| model |')]


def test_results_hold_what_the_measurements_depend_on(tmp_path: Path):
    path = write(tmp_path, 'light/ugatit_light_cat2dog', {'cat2dog': 0.07})
    got = read_results(path)
    assert (got['config'], got['data'], got['img_size']) == ('ugatit_light_cat2dog', 'cat2dog', 256)
    assert got['domains'] == {'A': 'cat', 'B': 'dog'} and got['model']['generator']['light']
    assert (got['iterations'], got['seed'], got['trained']['processes']) == (1_000_000, 3, 8)
    rates = {name: optimizer['lr'] for name, optimizer in got['optimizers'].items()}
    assert rates == {'generators': 1e-4, 'discriminators': 1e-4}
    assert (got['row'], got['model']['type']) == ('U-GAT-IT', 'UGATIT')
    digest = hashlib.sha256(b'weights').hexdigest()
    assert got['checkpoint'] == {'name': 'iter.pth', 'sha256': digest}
    assert got['evaluated']['torch'] and got['evaluated']['hardware']
    assert [f.value for f in got['measurements']] == pytest.approx([0.07, 0.071, 0.072])
    assert json.loads(path.read_text())['measurements'][0]['value_x100'] == pytest.approx(7)


def test_table_3_puts_ours_next_to_the_papers(tmp_path: Path):
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.0712, 'dog2cat': 0.08})
    write(tmp_path, 'ugatit_selfie2anime', {'selfie2anime': 0.1})
    markdown, table = table_3(Results([tmp_path]))
    ours = 'U-GAT-IT, ours: full, 256 px, 1,000,000 iterations, seed 3; '
    first, _ = blocks(markdown)
    got = {row[0]: row[1:] for row in first}
    assert got['model'] == [
        'selfie2anime',
        'horse2zebra',
        'cat2dog',
        'photo2portrait',
        'photo2vangogh',
    ]
    assert got['U-GAT-IT, paper'][:3] == ['11.61 ± 0.57', '7.06 ± 0.80', '7.07 ± 0.65']
    assert got['CartoonGAN, paper'] == ['15.85 ± 0.69', '-', '-', '-', '-']
    none = 'not trained'
    assert got[ours + 'target'] == ['10.00 ± 1.00', none, '7.12 ± 0.71', none, none]
    assert got[ours + 'target, blocks'][2] == '7.22 ± 0.72'
    assert got[ours + 'with source'][2] == '7.32 ± 0.73'
    lines = csv.DictReader(io.StringIO(table))
    cells = {(c['model'], c['direction'], c['protocol']): c for c in lines}
    of_paper = [row[0] for row in first if row[0].endswith(', paper')]
    assert of_paper == [f'{name}, paper' for name in paper.TABLE_3]
    cells = {key[1:]: cell for key, cell in cells.items() if key[0] == 'U-GAT-IT'}
    assert len(cells) == 30
    assert float(cells['dog2cat', 'kid']['ours_x100']) == pytest.approx(8)
    assert cells['dog2cat', 'kid']['paper_x100'] == '8.15'
    assert cells['zebra2horse', 'kid']['ours_x100'] == none


def test_each_model_stands_below_the_papers_row_of_it(stub, tmp_path: Path):
    """In Table 3 by its class's row and words, in Table 1 not at all."""
    write(tmp_path, stub_config(both=1e-4, content=1e-4), {'cat2dog': 0.06, 'a2b': 0.5})
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07})
    results = Results([tmp_path])
    words = '8 channels, 64 px, learning rate of content 0.0001, 1,000,000 iterations, seed 3'
    assert results.variants('MUNIT') == [words]
    assert results.variants() == ['full, 256 px, 1,000,000 iterations, seed 3']
    markdown, table = table_3(results)
    first, second, others = blocks(markdown)
    names = [row[0] for row in first]
    place = names.index('MUNIT, paper')
    assert names[place + 1 : place + 4] == [
        f'MUNIT, ours: {words}; {kind}' for kind in ('target', 'target, blocks', 'with source')
    ]
    assert names[place + 4 : place + 6] == ['DRIT, paper', 'DRIT, ours']
    assert ['MUNIT, ours', *['not trained'] * 5] in second
    assert [row[0] for row in others[2:]] == names[place + 1 : place + 4]
    assert others[2][1:] == ['50.00 ± 5.00']
    assert '- MUNIT, None on cat2dog, 1,000,000 iterations' in markdown
    lines = csv.DictReader(io.StringIO(table))
    (cell,) = (
        c
        for c in lines
        if (c['model'], c['run'], c['direction'], c['protocol'])
        == ('MUNIT', words, 'cat2dog', 'kid')
    )
    assert (cell['paper_x100'], float(cell['ours_x100'])) == ('10.13', pytest.approx(6))
    markdown, table = table_1(results)
    assert 'MUNIT' not in markdown + table
    assert markdown.count(': trained at ') == 1 and '- U-GAT-IT, ugatit_cat2dog' in markdown


def test_a_norm_that_is_no_row_of_the_ablation_is_in_no_table(tmp_path: Path):
    options = {'model.generator.norm': 'gn', 'model.generator.cam': False}
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07}, options=options)
    results = Results([tmp_path])
    assert results.variants() == results.variants('U-GAT-IT') == []
    assert '7.00 ± 0.70' not in table_1(results)[0] + table_3(results)[0]


def test_what_the_tables_do_not_know_is_left_out_and_said(tmp_path: Path):
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07})
    content = json.loads((path := next(tmp_path.glob('results_*.json'))).read_text())
    for name, model, said in (
        ('other', {'type': 'Other'}, "its model must be one of ['"),
        ('partial', {'type': 'UGATIT'}, "its config of UGATIT lacks 'generator'"),
    ):
        changed = content | {'config': name, 'model': model}
        path.with_name(f'results_{name}.json').write_text(json.dumps(changed))
        for table in (table_1, table_3):
            markdown, _ = table(Results([tmp_path]))
            assert f'\n- {name}, {content["evaluated"]["date"]}: {said}' in markdown
            assert '7.00 ± 0.70' in markdown


def test_results_of_format_1(tmp_path: Path):
    """Format 1 had one optimizer, the generators', no row, and ``figures`` for measurements."""
    options = {'optim_wrapper.generators.optimizer.lr': 2e-4}
    path = write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07}, options=options)
    content = json.loads(path.read_text())
    content['format'] = 'ugatit_mm results 1'
    content['optimizer'] = content.pop('optimizers')['generators']
    content['figures'] = content.pop('measurements')
    del content['row']
    path.write_text(json.dumps(content))
    assert read_results(path)['row'] == 'U-GAT-IT'
    assert read_results(path)['measurements'][0].value == 0.07
    words = ['full, 256 px, learning rate 0.0002, 1,000,000 iterations, seed 3']
    assert Results([path]).variants('U-GAT-IT') == words


def test_table_1_has_the_eight_rows(tmp_path: Path):
    for index, name in enumerate(('adalin', 'in', 'no_g_cam', 'no_cam')):
        values = {'selfie2anime': 0.1 + index / 100, 'anime2selfie': 0.2}
        write(tmp_path, f'ablation/ugatit_{name}_selfie2anime', values)
    markdown, table = table_1(Results([tmp_path]))
    assert '### Full, 256 px, 1,000,000 iterations, seed 3' in markdown
    got = {row[0]: row[1:] for row in rows(markdown)}
    assert [row[0] for row in rows(markdown)[2:]] == [name for name, _ in paper.TABLE_1.values()]
    assert got['w/o CAM'] == [
        '12.85 ± 0.82',
        '14.06 ± 0.75',
        '13.00 ± 1.30',
        '13.10 ± 1.31',
        '13.20 ± 1.32',
        '20.00 ± 2.00',
        '20.10 ± 2.01',
        '20.20 ± 2.02',
    ]
    assert got['w/ LN'][2:] == ['not trained'] * 6
    assert len(list(csv.DictReader(io.StringIO(table)))) == 8 * 2 * 3


def test_verdicts_of_the_ablation_name_its_rows(tmp_path: Path):
    for name, value in (('in', 0.08), ('no_cam', 0.06)):
        path = write(tmp_path, f'ablation/ugatit_{name}_selfie2anime', {'selfie2anime': value})
        content = json.loads(path.read_text())
        content['untranslated'] = [x | {'value': 0.07} for x in content['measurements']]
        path.write_text(json.dumps(content))
    lines = table_1(Results([tmp_path]))[0].splitlines()
    said = [line.split(':')[0].split(',')[0] for line in lines if 'translations are' in line]
    assert said == ['- w/ IN', '- w/o CAM']  # what gained nothing comes first


def test_runs_of_another_kind_do_not_mix(tmp_path: Path):
    """Other iterations, light, other features: their own row, named."""
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07})
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.09}, iterations=1000)
    write(tmp_path, 'light/ugatit_light_cat2dog', {'cat2dog': 0.08}, features='colour_hog')
    markdown, _ = table_3(Results([tmp_path]))
    first, _ = blocks(markdown)
    ours = {row[0].split(': ')[1]: row[3] for row in first if row[0].startswith('U-GAT-IT, ours')}
    assert ours['full, 256 px, 1,000,000 iterations, seed 3; target'] == '7.00 ± 0.70'
    assert ours['full, 256 px, 1,000 iterations, seed 3; target'] == '9.00 ± 0.90'
    light = "light, 256 px, 1,000,000 iterations, seed 3, colour_hog features, not Inception's"
    assert ours[f'{light}; target'] == '8.00 ± 0.80'


def test_what_is_not_the_papers_is_named(tmp_path: Path):
    """Sizes, loss weights and rate are next to the measurements."""
    options = {
        'img_size': 64,
        'model.generator.base_channels': 32,
        'model.discriminator.base_channels': 16,
        'model.discriminator.num_layers': (5, 4),
        'model.loss_config.cam': 100.0,
        'optim_wrapper.generators.optimizer.lr': 2e-4,
    }
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07}, options=options)
    assert Results([tmp_path]).variants() == [
        'full, 32 and 16 channels, 5 and 4 discriminator layers, cam loss 100, 64 px, '
        'learning rate of generators 0.0002, 1,000,000 iterations, seed 3'
    ]
    options['optim_wrapper.discriminators.optimizer.lr'] = 2e-4
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07}, options=options)
    assert ', 64 px, learning rate 0.0002, 1,000' in Results([tmp_path]).variants()[0]
    options |= {'crop_size': 32, 'default_hooks.ema.momentum': 0.002}
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07}, options=options)
    said = ', 64 px, trained on parts of 32 px, averaged weights, learning rate 0.0002, 1,000'
    assert said in Results([tmp_path]).variants()[0]


@pytest.mark.parametrize(
    ('cycle', 'said'),
    [
        ('B', 'cycle of B only'),
        (['dog'], 'cycle of dog only'),
        ('dog', 'cycle of dog only'),
        ([], 'no cycle'),
        ('A,B', None),
    ],
)
def test_other_cycles_are_named(tmp_path: Path, cycle, said):
    cfg = load_config('ugatit_cat2dog', {'model.cycle_noise': 0.05})
    cfg.model.cycle_domains = cycle
    write(tmp_path, cfg, {'cat2dog': 0.07})
    expected = ', '.join(filter(None, ('full', said, 'noise of 0.05 in cycles', '256 px')))
    assert Results([tmp_path]).variants()[0].startswith(f'{expected}, ')


def test_other_data_get_columns_of_their_own(tmp_path: Path):
    write(tmp_path, 'ugatit_cat2dog', {'daisy2sunflower': 0.3})
    markdown, _ = table_3(Results([tmp_path]))
    assert rows(markdown)[-5] == ['model', 'daisy2sunflower']
    assert rows(markdown)[-3][1] == '30.00 ± 3.00'


def test_the_sources_stand_before_the_models(tmp_path: Path):
    """As wide as the tests that they are of; the later one counts."""
    path = write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07, 'dog2cat': 0.08})
    content = json.loads(path.read_text())
    content['untranslated'] = content['measurements']
    content['batch_size'] = 8
    path.write_text(json.dumps(content))
    write(tmp_path, 'baselines/cyclegan_cat2dog', {'cat2dog': 0.07})  # without such
    markdown, table = table_3(Results([tmp_path]))
    first, second = blocks(markdown)
    assert first[2][0] == 'source images, not translated: 256 px, bilinear; target'
    assert first[2][1:] == ['-', '-', '7.00 ± 0.70', '-', '-']
    assert [row[0].split('; ')[1] for row in first[2:5]] == [
        'target',
        'target, blocks',
        'with source',
    ]
    assert first[5][0] == 'U-GAT-IT, paper' and second[2][3] == '8.00 ± 0.80'
    assert '1,000,000 iterations of 8 pairs, seed 3; target' in first[6][0]
    assert 'Features: inception (weights file).' in markdown
    run = 'full, 256 px, 1,000,000 iterations of 8 pairs, seed 3'
    assert (
        f'(weights file).\n\n- U-GAT-IT, {run}: cat2dog: the translations are no nearer to the '
        'target than the untranslated sources (inception, KID x 100 7.00 >= 7.00)\n'
    ) in markdown
    lines = list(csv.DictReader(io.StringIO(table)))
    (cell,) = (
        x
        for x in lines
        if (x['model'], x['direction'], x['protocol'])
        == ('source images, not translated', 'cat2dog', 'kid')
    )
    assert (float(cell['ours_x100']), cell['paper_x100']) == (pytest.approx(7), '')


def test_what_gained_nothing_is_said_first(tmp_path: Path):
    path = write(tmp_path, 'ugatit_custom', {'a2b': 0.07, 'b2a': 0.08})
    content = json.loads(path.read_text())
    content['untranslated'] = copy.deepcopy(content['measurements'])
    for entry in content['untranslated']:
        entry['value'] += 0.01 if entry['direction'] == 'a2b' else -0.01
    path.write_text(json.dumps(content))
    markdown, _ = table_own(Results([tmp_path]))
    said = [line.partition('seed 3: ')[2] for line in markdown.splitlines() if 'nearer' in line]
    words = 'nearer to the target than the untranslated sources (inception, KID x 100'
    assert said == [
        f'b2a: the translations are no {words} 8.00 >= 7.00)',
        f'a2b: the translations are {words} 7.00 < 8.00)',
    ]


def test_shares_of_classes_stand_side_by_side(tmp_path: Path):
    path = write(tmp_path, 'ugatit_custom', {'a2b': 0.07}, features='colour_hog')
    content = json.loads(path.read_text())
    for protocol, value in zip(CLASS_SHARES, (0.0, 0.366, 0.733), strict=True):
        entry = measurement('a2b', protocol, value, features='efficientnet_lite0').to_dict()
        content['measurements'].append(entry | {'settings': 'daisy (985), mean probability 0.123'})
    path.write_text(json.dumps(content))
    markdown, _ = table_own(Results([tmp_path]))
    probability = '(mean probability 0.123)'
    assert (
        "Pictures that ImageNet's classifier calls by a name:\n\n- U-GAT-IT, a2b, daisy (985); "
        f'efficientnet_lite0: 0.0 % of the translations {probability}, 36.6 % of the untranslated '
        f'sources {probability}, 73.3 % of the real images of the target {probability}; '
        '1,000,000 iterations, seed 3\n'
    ) in markdown
    assert '. colour_hog sees colours and edges only and is not a measure of quality.' in markdown


def test_own_data_have_a_table_without_the_papers(stub, tmp_path: Path, monkeypatch):
    """Every model there is, also one that was not trained; a one-way model has no way back."""
    monkeypatch.setattr(Stub, 'TARGETS', ('B',))
    write(tmp_path, 'ugatit_custom', {'a2b': 0.07, 'b2a': 0.08})
    write(tmp_path, stub_config(both=1e-4, content=1e-4), {'a2b': 0.06})
    markdown, table = table_own(Results([tmp_path]))
    (rows_of_table,) = blocks(markdown)
    got = {row[0].split(':')[0]: row[1:] for row in reversed(rows_of_table)}
    assert got['model'] == ['a2b', 'b2a'] and 'paper' not in ''.join(got)
    assert got['U-GAT-IT, ours'] == ['7.00 ± 0.70', '8.00 ± 0.80']
    assert got['MUNIT, ours'] == ['6.00 ± 0.60', '-']
    assert got['CycleGAN, ours'] == ['not trained', 'not trained']
    assert markdown.startswith('## Translation models, a2b and b2a\n\nKID times 100')
    assert 'The paper' not in markdown and '- MUNIT, None on cat2dog' in markdown
    assert {row['table'] for row in csv.DictReader(io.StringIO(table))} == {'3'}
    nothing = table_own(Results([]))
    assert 'nothing measured yet' in nothing[0] and len(nothing[1].splitlines()) == 1


def test_the_tool_without_results_says_not_trained(tmp_path: Path, capsys):
    tool = load_tool('analysis/paper_table')
    assert tool.main(['--out-dir', str(tmp_path / 'tables')]) == 0
    printed = capsys.readouterr().out
    assert '| U-GAT-IT, ours | not trained | not trained |' in printed
    assert '| w/ GN | 12.76 ± 0.64 | 12.30 ± 0.77 | not trained |' in printed
    names = sorted(path.name for path in (tmp_path / 'tables').iterdir())
    assert names == ['table1.csv', 'table1.md', 'table3.csv', 'table3.md']


def test_the_tool_says_where_measurements_come_from(tmp_path: Path, capsys):
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07})
    assert load_tool('analysis/paper_table').main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert 'cat2dog, 1,000,000 iterations, seed 3: trained at commit abc' in printed
    assert 'on 8 processes, GPU; measured at commit' in printed
    assert 'cat2dog: 100 fake, 90 target, 80 source images' in printed
    assert 'do not fit' not in printed
    settings = '100 subsets of 3 (50 do not fit), seed 2020'
    write(tmp_path, 'ugatit_cat2dog', {'cat2dog': 0.07}, settings=settings)
    assert load_tool('analysis/paper_table').main([str(tmp_path)]) == 0
    assert f'source images; {settings}' in capsys.readouterr().out


def test_the_tool_names_what_is_wrong(tmp_path: Path, capsys):
    tool = load_tool('analysis/paper_table')
    other = tmp_path / 'results_x.json'
    for content, message in (
        ('text', 'results_x.json holds no results of ugatit test'),
        ('{"format": "2"}', "results_x.json: format '2', this program reads"),
    ):
        other.write_text(content)
        assert tool.main([str(tmp_path)]) == 1
        assert message in capsys.readouterr().err
    assert tool.main([str(tmp_path / 'nowhere')]) == 1
    assert 'no results at' in capsys.readouterr().err
    (tmp_path / 'empty').mkdir()
    assert tool.main([str(tmp_path / 'empty')]) == 1
    assert 'holds no results_*.json' in capsys.readouterr().err


def test_the_papers_numbers():
    """Against the recorded tables."""
    source = ROOT.parent / 'shared' / 'reference' / 'paper-tables.md'
    if not source.is_file():
        pytest.skip('no ../shared/reference: the tables were compared where it is')
    text = source.read_text()
    header = None
    seen = 0
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip('| ').split('|')]
        if cells[0] == 'model':
            header = cells[1:]
        elif header and cells[0] in paper.TABLE_3 and 'selfie' not in cells[0] and '±' in line:
            for direction, cell in zip(header, cells[1:], strict=True):
                if '±' in cell:
                    value, spread = map(float, cell.split('±'))
                    table = paper.TABLE_3[cells[0]]
                    assert table[direction] == (value, spread), (cells[0], direction)
                    seen += 1
        elif header and '±' in line:
            name = cells[0].split(' (')[0].replace('G-CAM', 'G_CAM').replace('D-CAM', 'D_CAM')
            row = dict(paper.TABLE_1.values())[name]
            values = [tuple(map(float, cell.split('±'))) for cell in cells[1:]]
            assert [row[direction] for direction in header] == values
            seen += 2
    assert seen == 61 + 2 + 14  # Table 3; U-GAT-IT again and seven more rows of Table 1
    assert paper.TABLE_1['adalin'][1]['anime2selfie'] == paper.TABLE_3['U-GAT-IT']['anime2selfie']
