"""The report of a run: what it shows, what it says where something is missing; it runs nothing."""

import base64
import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from helpers import TINY, write_images
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.apis.report import main, report
from ugatit_mm.config import load_config
from ugatit_mm.evaluation.results import FORMAT
from ugatit_mm.visualization import read_scalars

SECOND = '20260101_000000'
EVIL = '<script>alert(1)</script>"\'&'


class Page(HTMLParser):
    """Text, tags and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = re.sub(r'\s+', ' ', ' '.join(self.words))
        self.sources = [value for name, value in self.attributes if name == 'src']

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def stands_alone(self) -> bool:
        """Whether nothing is fetched or run."""
        markup = set(self.tags) & {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'}
        refers = [value for name, value in self.attributes if name in ('src', 'href', 'srcset')]
        active = [name for name, _ in self.attributes if name.startswith('on')]
        embedded = all(value.startswith('data:image/png;base64,') for value in refers)
        return not markup and not active and embedded and 'url(' not in self.text


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a tiny run, trained to its end, tested."""
    root = tmp_path_factory.mktemp('report')
    write_images(root / 'data')
    options = {
        **TINY,
        'data_root': str(root / 'data'),
        'domains.A': 'red',
        'domains.B': 'blue & green',
        'default_hooks.rho.interval': 2,
    }
    managers = (DefaultScope, MessageHub, MMLogger, Visualizer)
    before = [manager._instance_dict.copy() for manager in managers]
    cfg = load_config('ugatit_custom', options)
    cfg.work_dir = str(root / 'work')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, 'strftime', lambda *_: SECOND)  # training and test in one second
        run_training(cfg)
        kid = {'type': 'TransKID', 'extractor': {'type': 'ColourHOGFeatures'}}
        cfg.test_evaluator = [{'type': 'TransStats'}, {**kid, 'subset_size': 2, 'num_subsets': 3}]
        run_test(cfg, root / 'work' / 'iter_4.pth')
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict = instances
    return root / 'work'


@pytest.fixture(scope='module')
def written(run: Path) -> Path:
    """Its report."""
    assert main([str(run)]) == 0
    return run / 'report.html'


def test_a_training_and_a_test_in_one_second_have_a_folder_each(run):
    folders = sorted(path.parent.name for path in run.glob('*/vis_data'))
    assert folders == [SECOND, f'{SECOND}_1']
    assert len(read_scalars(run)['loss_g']) == 4
    events = [path.parents[1].name for path in run.glob('*/vis_data/events.*')]
    assert events == [SECOND]  # a test leaves no empty one


@pytest.mark.slow
def test_report_of_a_run_whose_visualiser_wrote_no_file(run, tmp_path):
    """TensorBoard or a server only, as W&B."""
    work = shutil.copytree(run, tmp_path / 'work')
    for file in work.glob('*/vis_data/scalars.json'):
        file.unlink()
    page = Page(report(work))
    assert 'A training of U-GAT-IT: 4 iterations of 4, finished' in page.text
    assert len(page.sources) == 3 and 'no rho was logged' in page.text  # sheets, losses
    for folder in work.glob('*/vis_data'):
        shutil.rmtree(folder)
    page = Page(report(work))
    assert '4 iterations of 4, finished' in page.text and 'base_channels 4' in page.text
    for log in work.glob('*/*.log'):
        log.unlink()
    text = Page(report(work)).text
    assert 'there is iter_4.pth, but no log: neither */vis_data/scalars.json' in text
    assert 'nothing is logged yet' not in text


def test_report_of_a_finished_run(run, written):
    page = Page(written.read_text(encoding='utf-8'))
    assert page.stands_alone()
    text = page.text
    assert 'red ↔ blue & green' in text
    assert 'A training of U-GAT-IT: 4 iterations of 4, finished' in text

    pictures = [base64.b64decode(source.partition(',')[2]) for source in page.sources]
    sheets = sorted(run.glob('*/vis_data/vis_image/sheet_*_4.png'))
    assert len(sheets) == 2 and pictures[:2] == [sheet.read_bytes() for sheet in sheets]
    assert len(pictures) == 4  # and losses, rho
    assert 'red2blue & green , iteration 4' in text.replace('green,', 'green ,')

    results = json.loads((run / 'results_iter_4.json').read_text())
    measurement = results['measurements'][0]
    assert f'{measurement["value"]:.5f} ± {measurement["spread"]:.5f}' in text
    assert 'KID to the target, random subsets (torch-fidelity)' in text
    assert '3 subsets of 2, seed' in text and 'population std over the subsets' in text
    assert 'Features: colour_hog' in text and "Not Inception's" in text
    assert 'colour_hog sees colours and edges only and is not a measure of quality.' in text
    copies = results['untranslated'][0]
    assert f'sources {100 * copies["value"]:.2f} ± {100 * copies["spread"]:.2f}' in text
    for end in (measurement, copies):
        assert f'{100 * end["value"]:.2f}' in text
    no = 'no ' * (measurement['value'] >= copies['value'])
    assert (
        f'{measurement["direction"]}: the translations are {no}nearer to the target in colours and '
        'edges than the untranslated sources (colour_hog, KID x 100 '
    ) in text
    assert results['checkpoint']['sha256'] in text

    weights = torch.load(run / 'iter_4.pth', weights_only=True)
    provenance = weights['meta']['provenance']
    assert all(str(value) in text for value in provenance.values())
    learned = sum(
        value.numel()
        for key, value in weights['state_dict'].items()
        if key.startswith('discriminators.A') and not key.endswith(('.u', '.v'))
    )
    assert f'discriminator of A {learned:,}' in text
    assert 'model UGATIT' in text and 'recipe tensorflow' in text and 'base_channels 4' in text
    for name in ('generators', 'discriminators'):
        assert f'optimizer of the {name} optimizer (betas [0.5, 0.999], ' in text
    assert "dict(type='RhoHook')" in text or "type='RhoHook'" in text  # the whole config


def test_rho_is_logged_but_does_not_fill_the_console(run):
    scalars = read_scalars(run)
    rho = {name for name in scalars if name.startswith('rho/')}
    assert {
        f'rho/{d}.{layer}' for d in 'AB' for layer in ('blocks.0.norm1', 'decoder.1.norm')
    } <= rho
    assert [step for step, _ in scalars['rho/B.blocks.0.norm2']] == [2, 4]
    logs = list(run.glob('*/*.log'))
    assert logs and not any('rho/' in log.read_text() for log in logs)


def test_unfinished_run_says_what_is_not_there(run, tmp_path):
    start = tmp_path / '20260101_000000' / 'vis_data'
    start.mkdir(parents=True)
    config = next(run.glob('*/vis_data/scalars.json')).with_name('config.py')
    shutil.copy(config, start)
    page = Page(report(tmp_path))
    assert page.stands_alone() and not page.sources
    for words in (
        'nothing is logged yet',
        'No picture sheet yet',
        'No results yet: run ugatit test CONFIG CKPT --kid',
        'No checkpoint yet: commit, versions and hardware',
        'iterations 4',
        'red ↔ blue & green',
    ):
        assert words in page.text, words

    rows = [{'loss_cycle_A': 3.0, 'time': 0.25, 'step': step} for step in (1, 2)]
    (start / 'scalars.json').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    (tmp_path / 'ugatit_custom.py').write_text('')
    (tmp_path / 'iter_2.pth').write_bytes(b'no checkpoint')
    page = Page(report(tmp_path))
    assert '2 iterations of 4, unfinished; 0.25 s an iteration' in page.text
    assert len(page.sources) == 1 and 'no rho was logged' in page.text  # the losses
    assert 'iter_2.pth cannot be read' in page.text
    assert f'{tmp_path}/ugatit_custom.py {tmp_path}/iter_2.pth --kid' in page.text


def test_newest_sheet_is_of_the_last_start(run, tmp_path):
    picture = next(run.glob('*/vis_data/vis_image/*.png')).read_bytes()
    for start, step in (('1', 900), ('2', 40), ('2', 100)):
        folder = tmp_path / start / 'vis_data' / 'vis_image'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'sheet_a_1{EVIL.replace("/", "")}_{step}.png').write_bytes(picture)
    page = Page(report(tmp_path))
    assert 'iteration 100' in page.text and '900' not in page.text
    assert page.stands_alone() and len(page.sources) == 1


def test_nothing_of_a_file_is_run_or_becomes_markup(tmp_path):
    start = tmp_path / 'start' / 'vis_data'
    start.mkdir(parents=True)
    ran = tmp_path / 'ran'
    (start / 'config.py').write_text(
        f'x = open({str(ran)!r}, "w")\n'
        f'model = dict(recipe={EVIL!r}, domains=dict(A={EVIL!r}, B="b"), '
        'generator=dict(light=True))\n'
        f'train_cfg = dict(max_iters=float("inf"))\nimport os\n# {EVIL}\n'
    )
    (start / 'scalars.json').write_text(json.dumps({f'rho/B.{EVIL}': 0.5, 'step': 1}) + '\n')
    torch.save(
        {
            'meta': {'provenance': {EVIL: EVIL}},
            'state_dict': {f'generators.A.{EVIL}': torch.ones(3)},
        },
        tmp_path / 'iter_1.pth',
    )
    measurement = dict.fromkeys(
        ('direction', 'protocol', 'spread_kind', 'settings', 'features', 'weights', 'resize'), EVIL
    )
    measurement |= {'value': 1.0, 'spread': None, 'images': {EVIL: 3}}
    good = {
        'format': FORMAT,
        'iterations': EVIL,
        'checkpoint': {'name': EVIL, 'sha256': EVIL},
        'evaluated': {'date': EVIL, 'commit': EVIL, 'hardware': EVIL},
        'metrics': {EVIL: 1.5},
        'measurements': [measurement],
        'directions': [EVIL],
        'failed': {EVIL: EVIL},
    }
    (tmp_path / 'results_1.json').write_text(json.dumps(good))
    for index, wrong in enumerate(
        (
            {'metrics': {'x': EVIL}},
            {'checkpoint': 3},
            {'measurements': [{}]},
            {'format': EVIL},
            {'failed': [EVIL]},
        ),
        2,
    ):
        (tmp_path / f'results_{index}.json').write_text(json.dumps(good | wrong))
    html = report(tmp_path)
    page = Page(html)
    assert page.stands_alone() and '<script' not in html
    assert not ran.exists()
    assert page.text.count(EVIL) > 15
    assert page.text.count('It cannot be shown:') == 5
    assert f'Only {EVIL} was tested.' in page.text
    assert f'{EVIL} failed, and is left out: {EVIL}' in page.text
    assert 'recipe ' + EVIL in page.text and 'light True' in page.text


@pytest.mark.parametrize('kind', ["'ACGAN'", "['a']", 'dict(a=1)', '1'])
def test_a_model_that_is_not_known(kind, tmp_path):
    """What every model has is shown; of the networks nothing is known."""
    start = tmp_path / 'start' / 'vis_data'
    start.mkdir(parents=True)
    (start / 'config.py').write_text(
        f"model = dict(type={kind}, domains=dict(A='red', B='blue'), loss_config=dict(gan=2.0))\n"
        "optim_wrapper = dict(type='X', eg=dict(optimizer=dict(lr=0.5)), clip=dict(norm=1))\n"
    )
    torch.save({'state_dict': {'generators.A.x': torch.ones(3)}}, tmp_path / 'iter_1.pth')
    page = Page(report(tmp_path))
    assert page.stands_alone()
    for words in (
        'red ↔ blue',
        'A training of',
        'weights of the losses gan 2.0',
        'optimizer of the eg optimizer (lr 0.5)',
        'No checkpoint with networks yet',
    ):
        assert words in page.text, words
    assert 'Instance norm' not in page.text and 'norm 1' not in page.text


def test_what_is_no_work_dir_is_an_error(run, tmp_path, capsys):
    for folder, said in (
        (tmp_path / 'none', f'there is no folder {tmp_path}/none'),
        (tmp_path, 'is not a work dir of a training'),
        (run.parent, f'did you mean {run}?'),
    ):
        assert main([str(folder)]) == 1
        assert said in capsys.readouterr().err
    assert main([str(run), '--out', str(tmp_path / 'none' / 'x.html')]) == 1
    assert f'there is no folder {tmp_path}/none' in capsys.readouterr().err


def test_page_fits_a_phone_and_fetches_nothing(chromium, written):
    fetched, said = [], []
    page = chromium.new_page(viewport={'width': 360, 'height': 740})
    page.on('request', lambda request: fetched.append(request.url.partition(':')[0]))
    page.on('console', lambda message: said.append(message.text))
    page.goto(written.as_uri())
    assert page.evaluate('document.documentElement.scrollWidth') <= 360
    widths = page.evaluate('[...document.images].map(image => image.naturalWidth)')
    page.close()
    assert len(widths) == 4 and all(widths)
    assert [scheme for scheme in fetched if scheme != 'data'] == ['file'] and not said
