"""The page in headless Chromium."""

import io
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from styled_model import write_styled
from web_helpers import ABOUT, LIMITS, Gated, Server, serving_page

from ugatit_mm.apis.inferencer import Translation
from ugatit_mm.pixels import resize

# RGBA of what an <img> or a <canvas> shows, row by row.
PIXELS = """element => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [element.naturalWidth ?? element.width,
                                     element.naturalHeight ?? element.height];
    const context = canvas.getContext('2d');
    context.drawImage(element, 0, 0);
    const {width, height, data} = context.getImageData(0, 0, canvas.width, canvas.height);
    return [height, width, [...data]];
}"""
DROP = """([bytes, name, type]) => {
    const data = new DataTransfer();
    if (bytes) data.items.add(new File([Uint8Array.from(bytes)], name, {type}));
    const over = new DragEvent('dragover', {dataTransfer: data, bubbles: true, cancelable: true});
    const target = document.querySelector('#drop');
    if (target.dispatchEvent(over)) throw new Error('the browser itself would open the file');
    target.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
}"""
PASTE = """([bytes, name, type]) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([Uint8Array.from(bytes)], name, {type}));
    document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));
}"""


class Visitor:
    """A browser of its own at the page."""

    def __init__(self, chromium, server: Server) -> None:
        self.server = server
        self.context = chromium.new_context(viewport={'width': 1200, 'height': 850})
        self.requests, self.errors = [], []
        self.context.on('request', lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.on('console', lambda message: self.errors.append(message.text))
        self.page.goto(f'http://{server.client.host}/')
        self.page.get_by_role('radio').first.wait_for()

    def choose(self, data: bytes, name: str = 'my.photo.png', kind: str = 'image/png') -> None:
        self.page.set_input_files('#file', {'name': name, 'mimeType': kind, 'buffer': data})

    def translate(self, to: str = 'sunflower') -> str:
        """Press the button; returns what is said then."""
        self.page.get_by_role('button', name='Translate', exact=True).click()
        self.page.get_by_text(f'Translated to {to} in').wait_for()
        return self.page.inner_text('#status')

    def problem(self) -> str:
        self.page.wait_for_selector('#problem:not(:empty)')
        return self.page.inner_text('#problem')

    def pixels(self, selector: str) -> np.ndarray:
        """RGB, uint8, (H, W, 3), of an image or a canvas."""
        height, width, data = self.page.eval_on_selector(selector, PIXELS)
        rgba = np.array(data, np.uint8).reshape(height, width, 4)
        assert (rgba[..., 3] == 255).all()
        return rgba[..., :3]

    def saved(self, name: str) -> tuple[str, np.ndarray]:
        """Press a button that saves; returns the file's name and its pixels."""
        with self.page.expect_download() as download:
            self.page.get_by_text(name, exact=True).click()
        file = download.value
        return file.suggested_filename, np.asarray(Image.open(file.path()))

    def width(self) -> int:
        return self.page.evaluate('document.documentElement.scrollWidth')


@pytest.fixture
def visitor(chromium, server: Server) -> Iterator[Visitor]:
    """What the page asked for, and what went wrong in it, is checked at the end."""
    visitor = Visitor(chromium, server)
    yield visitor
    server.inferencer.gate.set()
    places = {urlsplit(url)._replace(query='').geturl() for url in visitor.requests}
    visitor.context.close()
    origin = f'http://{server.client.host}'
    assert {
        place for place in places if not place.startswith((f'{origin}/', f'blob:{origin}/'))
    } == set()
    assert not any('my' in place for place in places)  # a file's name stays at home
    assert visitor.errors == []


@pytest.fixture
def picture() -> np.ndarray:
    return resize(np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8), 50, 60)


def as_png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG')
    return file.getvalue()


def translated(server: Server, picture: np.ndarray, to: str, **options: str) -> Translation:
    return server.inferencer(picture, to, return_heatmap=True, **options)[0]


def jet(values: np.ndarray) -> np.ndarray:
    """The page's colour map: uint8 (H, W) to [0, 255] (H, W, 3)."""
    distance = np.abs(values[..., None] / 63.75 - np.array([3, 2, 1]))
    return 255 * np.clip(1.5 - distance, 0, 1)


def test_upload_translate_overlay_save(visitor, server, picture):
    page = visitor.page
    assert page.get_by_role('heading', level=1).inner_text() == 'daisy to sunflower, and back'
    assert page.inner_text('#about') == ABOUT  # as text, not as markup
    visitor.choose(as_png(picture))
    said = visitor.translate()
    assert 'reduced' not in said
    expected = translated(server, picture, 'B')
    np.testing.assert_array_equal(visitor.pixels('#translation'), expected.image)
    name, saved = visitor.saved('Save the translation')
    assert name == 'my.photo_sunflower.png'
    np.testing.assert_array_equal(saved, expected.image)

    name, heatmap = visitor.saved('Save the heatmap')
    assert name == 'my.photo_sunflower_heatmap.png' and heatmap.shape == (50, 60)
    np.testing.assert_allclose(heatmap / 255, expected.heatmap, atol=0.502 / 255)
    slider = page.get_by_label('Heatmap over the picture')
    for percent, atol in ((0, 0), (100, 1), (30, 3)):
        slider.fill(str(percent))
        assert page.inner_text('#percent') == f'{percent} %'
        source = visitor.pixels('#source').astype(float)
        share = percent / 100
        blend = (1 - share) * source + share * jet(heatmap)
        np.testing.assert_allclose(visitor.pixels('#overlay'), blend, atol=atol)
    assert np.abs(source - picture).mean() < 4  # a JPEG of it
    slider.press('End')
    assert page.inner_text('#percent') == '100 %'
    name, saved = visitor.saved('Save as shown')
    assert name == 'my.photo_sunflower_overlay.png'
    np.testing.assert_allclose(saved[..., :3], jet(heatmap), atol=1)


@pytest.mark.slow
def test_styles_where_the_model_has_them(chromium, visitor, styled, picture, tmp_path):
    assert not visitor.page.locator('#style').is_visible()
    assert not visitor.page.locator('[for=style]').is_visible()
    visitor.choose(as_png(picture))
    visitor.translate()
    inferencer = Gated(write_styled(tmp_path / 'w.pth', styled))
    with serving_page(inferencer, LIMITS) as server:
        there = Visitor(chromium, server)
        field = there.page.get_by_label('Style: another number, another style')
        there.choose(as_png(picture))
        for seed in (0, 7):
            field.fill(str(seed))
            there.translate('blue')
            (expected,) = inferencer(picture, 'B', style=seed)
            np.testing.assert_array_equal(there.pixels('#translation'), expected.image)
        before = len(there.requests)
        field.fill('1.5')  # the browser says what is wrong
        there.page.get_by_role('button', name='Translate', exact=True).click()
        assert not any('/translate' in url for url in there.requests[before:])
        assert there.width() <= 1200 and there.errors == []
        there.context.close()


def test_direction_and_size(visitor, server, picture):
    visitor.choose(as_png(picture))
    visitor.translate()
    visitor.page.get_by_label('sunflower to daisy').check()
    visitor.page.get_by_label('If the picture is no square').select_option('crop')
    visitor.translate('daisy')
    expected = translated(server, picture, 'A', size='crop')
    np.testing.assert_array_equal(visitor.pixels('#translation'), expected.image)
    assert visitor.page.get_by_alt_text('Your picture as daisy').is_visible()
    options = visitor.page.eval_on_selector_all('#size option', 'all => all.map(o => o.value)')
    assert options == ['resize', 'crop', 'pad', 'keep', 'tiles']


def test_drop_paste_and_examples(visitor, server, picture):
    page = visitor.page
    for way in (DROP, PASTE):
        picture = picture[::-1]
        page.evaluate(way, [list(as_png(picture)), 'my.png', 'image/png'])
        assert page.inner_text('#chosen') == 'my.png'
        assert page.is_hidden('#translation')  # of the picture before
        visitor.translate()
        expected = translated(server, picture, 'B')
        np.testing.assert_array_equal(visitor.pixels('#translation'), expected.image)
    page.evaluate(DROP, [None, '', ''])  # a link, some text
    assert 'Drop the file of a picture' in visitor.problem()

    page.get_by_role('button', name='Example: flower').click()
    page.get_by_text('Example: flower').wait_for()
    said = visitor.translate()
    assert 'The picture was reduced from 640 \u00d7 427 to 96 \u00d7 64 first.' in said
    assert visitor.saved('Save the translation')[0] == 'flower_sunflower.png'


def test_a_kind_that_browsers_do_not_show(visitor, picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'TIFF')
    visitor.choose(file.getvalue(), 'my.tif', 'image/tiff')
    visitor.page.wait_for_selector('#hint:visible')
    visitor.translate()
    assert visitor.pixels('#source').shape == picture.shape


def test_camera(visitor):
    page = visitor.page
    page.context.grant_permissions(['camera'])
    page.get_by_role('button', name='Use the camera').click()
    page.get_by_role('button', name='Cancel').click()
    assert page.is_hidden('#video') and page.evaluate('video.srcObject') is None
    assert page.inner_text('#chosen') == ''
    page.get_by_role('button', name='Use the camera').click()
    page.get_by_role('button', name='Take it').click()
    page.get_by_text('From the camera').wait_for()
    assert page.evaluate('video.srcObject') is None  # the camera is off again
    visitor.translate()
    assert len(np.unique(visitor.pixels('#source').reshape(-1, 3), axis=0)) > 10


def test_without_a_camera_for_pages_the_devices_own_is_asked(visitor, picture):
    """As over plain HTTP from another machine."""
    page = visitor.page
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    with page.expect_file_chooser() as chooser:
        page.get_by_role('button', name='Use the camera').click()
    file = {'name': 'my.png', 'mimeType': 'image/png', 'buffer': as_png(picture)}
    chooser.value.set_files(file)
    assert chooser.value.element.get_attribute('capture') == ''
    page.get_by_text('my.png').wait_for()
    visitor.translate()


def test_bad_files_get_a_clear_message(visitor, server, picture):
    page = visitor.page
    page.click('#translate', force=True)  # it looks as if it were off
    assert 'Choose a picture first' in visitor.problem()
    large = as_png(picture) + bytes(LIMITS.upload)
    visitor.choose(large, 'my_large.png')
    problem = visitor.problem()
    assert 'my_large.png is too large' in problem and 'may have 0.3' in problem
    assert page.inner_text('#chosen') == ''
    for data, part in (
        (b'Dear Sir or Madam,', 'is not a picture that can be read'),
        (as_png(picture)[:-300], 'damaged or incomplete'),
        (as_png(np.zeros((1100, 1000, 3), np.uint8)), 'too many pixels (1000 x 1100)'),
    ):
        visitor.choose(data)
        assert page.inner_text('#problem') == ''
        page.get_by_role('button', name='Translate', exact=True).click()
        assert part in visitor.problem()
        assert page.get_by_role('alert').inner_text() == visitor.problem()
        assert page.is_hidden('#translation')
    visitor.choose(as_png(picture))
    visitor.translate()
    assert page.inner_text('#problem') == ''
    assert len(visitor.errors) == 3  # Chromium's own lines about 415, 400 and 413
    visitor.errors.clear()


def test_a_server_that_does_not_answer(visitor, picture):
    visitor.choose(as_png(picture))
    visitor.context.route('**/translate*', lambda route: route.abort())
    visitor.page.click('#translate')
    assert 'The server does not answer' in visitor.problem()
    visitor.context.unroute('**/translate*')
    visitor.translate()
    visitor.errors.clear()


def test_another_picture_takes_the_place_of_one_under_way(visitor, server, picture):
    """The result of the first never appears under the second."""
    page = visitor.page
    server.inferencer.gate.clear()
    visitor.choose(as_png(picture))
    page.click('#translate')
    page.get_by_text('Translating').wait_for()
    assert page.get_attribute('#results', 'aria-busy') == 'true'
    page.click('#translate', force=True)  # a second press asks for nothing
    visitor.choose(as_png(picture[:, ::-1]), 'my_other.png')
    assert page.get_attribute('#results', 'aria-busy') == 'false'
    page.click('#translate')
    server.inferencer.gate.set()
    page.get_by_text('Translated to').wait_for()
    expected = server.inferencer(picture[:, ::-1], 'B')[0]
    np.testing.assert_array_equal(visitor.pixels('#translation'), expected.image)
    assert sum('/translate' in url for url in visitor.requests) == 2


@pytest.mark.parametrize(('width', 'height'), [(390, 844), (320, 568)])
def test_a_phone_scrolls_down_only(visitor, picture, width, height):
    page = visitor.page
    page.set_viewport_size({'width': width, 'height': height})
    assert visitor.width() == width
    visitor.choose(as_png(picture), 'my_' + 60 * 'very_long_name_' + '.png')
    visitor.translate()
    assert visitor.width() == width
    boxes = page.evaluate("""['#translation', '#overlay', '#strength', '#translate'].map(
        name => {const {left, right} = document.querySelector(name).getBoundingClientRect();
                 return [left, right]})""")
    assert all(0 <= left < right <= width and right - left >= 0.5 * width for left, right in boxes)
    page.set_viewport_size({'width': 1200, 'height': 850})
    tops = page.eval_on_selector_all('#results figure', 'all => all.map(f => f.offsetTop)')
    assert tops[0] == tops[1]  # beside each other where there is room


def test_keys_alone_and_names_for_all(visitor, server, picture):
    page = visitor.page
    visitor.choose(as_png(picture))
    page.keyboard.press('Tab')
    seen = []
    for _ in range(20):
        seen.append(page.evaluate('document.activeElement.id || document.activeElement.name'))
        if seen[-1] == 'to':
            page.keyboard.press('ArrowRight')
        if seen[-1] == 'translate':
            page.keyboard.press('Enter')
            break
        page.keyboard.press('Tab')
    assert [name for name in seen if name] == ['file', 'use-camera', 'to', 'size', 'translate']
    page.get_by_text('Translated to daisy').wait_for()
    assert server.inferencer.started == ['A']
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'save-translation'
    unnamed = page.evaluate("""() => {
        const all = [...document.querySelectorAll('button, a, input, select, img, canvas')];
        return all.filter(e => e.checkVisibility() && !(e.ariaLabel || e.alt || e.labels?.length
            || e.textContent.trim() || e.querySelector('img')?.alt)).map(e => e.id);
    }""")
    assert unnamed == ['colours']  # the legend, between its words
    assert page.get_by_role('status').inner_text().startswith('Translated')
