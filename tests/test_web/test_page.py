"""The page in headless Chromium."""

import io
import time
import zipfile
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from helpers import PATIENCE
from PIL import Image
from styled_model import write_styled
from web_helpers import ABOUT, LIMITS, Gated, Server, save_model, serving_page

from ugatit_mm.apis.examples import EXAMPLES
from ugatit_mm.apis.inferencer import Translation
from ugatit_mm.apis.sizes import SIZE_MODES
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
    """Its own browser at the page."""

    def __init__(self, chromium, server: Server, **options: object) -> None:
        self.server = server
        viewport = {'width': 1200, 'height': 850}
        self.context = chromium.new_context(viewport=viewport, **options)
        self.requests, self.errors = [], []
        self.context.on('request', lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.on('console', lambda message: self.errors.append(message.text))
        self.page.goto(f'http://{server.client.host}/')
        self.page.get_by_role('radio').first.wait_for()

    def choose(self, data: bytes, name: str = 'my.photo.png', kind: str = 'image/png') -> None:
        self.page.set_input_files('#file', {'name': name, 'mimeType': kind, 'buffer': data})

    def choose_all(self, files: dict[str, bytes]) -> None:
        kinds = [{'name': n, 'mimeType': 'image/png', 'buffer': d} for n, d in files.items()]
        self.page.set_input_files('#file', kinds)

    def states(self) -> list[str]:
        """What the list of pictures says about each."""
        return self.page.locator('#pictures button span:last-child').all_inner_texts()

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


@pytest.mark.slow
def test_direction_and_size(visitor, server, picture):
    visitor.choose(as_png(picture))
    visitor.translate()
    visitor.page.get_by_label('sunflower to daisy').check()
    visitor.page.get_by_label('Size and sharpness').select_option('crop')
    visitor.translate('daisy')
    expected = translated(server, picture, 'A', size='crop')
    np.testing.assert_array_equal(visitor.pixels('#translation'), expected.image)
    assert visitor.page.get_by_alt_text('Your picture as daisy').is_visible()
    options = visitor.page.eval_on_selector_all('#size option', 'all => all.map(o => o.value)')
    assert options == list(SIZE_MODES)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_kind_that_browsers_do_not_show(visitor, picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'TIFF')
    visitor.choose(file.getvalue(), 'my.tif', 'image/tiff')
    visitor.page.wait_for_selector('#hint:visible')
    visitor.translate()
    assert visitor.pixels('#source').shape == picture.shape


@pytest.mark.slow
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


@pytest.mark.slow
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
    button = page.get_by_role('button', name='Translate', exact=True)
    page.click('#translate', force=True)  # it looks as if it were off
    assert 'Choose a picture first' in visitor.problem()
    large = as_png(picture) + bytes(LIMITS.upload)
    visitor.choose(large, 'my_large.png')
    problem = visitor.problem()
    assert 'my_large.png is too large' in problem and 'may have 0.3' in problem
    assert page.inner_text('#chosen') == 'my_large.png'
    assert button.get_attribute('aria-disabled') == 'true'
    page.click('#translate', force=True)
    assert page.inner_text('#problem') == problem
    for data, part in (
        (b'Dear Sir or Madam,', 'is not a picture that can be read'),
        (as_png(picture)[:-300], 'damaged or incomplete'),
        (as_png(np.zeros((1100, 1000, 3), np.uint8)), 'too many pixels (1000 x 1100)'),
    ):
        visitor.choose(data)
        assert page.inner_text('#problem') == '' and page.is_enabled('#translate')
        button.click()
        assert part in visitor.problem()
        assert page.get_by_role('alert').inner_text() == visitor.problem()
        assert page.is_hidden('#translation')
        assert button.get_attribute('aria-disabled') == 'true'
        assert button.get_attribute('aria-describedby') == 'problem'
        page.click('#translate', force=True)  # asks for nothing
    assert sum('/translate' in url for url in visitor.requests) == 3
    visitor.choose(as_png(picture))
    visitor.translate()
    assert page.inner_text('#problem') == ''
    assert len(visitor.errors) == 3  # Chromium's own lines about 415, 400 and 413
    visitor.errors.clear()


@pytest.mark.slow
def test_a_server_that_does_not_answer(visitor, picture):
    visitor.choose(as_png(picture))
    visitor.context.route('**/translate*', lambda route: route.abort())
    visitor.page.click('#translate')
    assert 'The server does not answer' in visitor.problem()
    visitor.context.unroute('**/translate*')
    visitor.translate()
    visitor.errors.clear()


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert tops[0] == tops[1]  # next to each other where there is room


@pytest.mark.slow
def test_keys_only_and_names_for_all(visitor, server, picture):
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
    after = []
    for _ in range(4):
        page.keyboard.press('Tab')
        after.append(page.evaluate('document.activeElement.id'))
    assert after == ['share', 'save-translation', 'again', 'strength']
    unnamed = page.evaluate("""() => {
        const all = [...document.querySelectorAll('button, a, input, select, img, canvas')];
        return all.filter(e => e.checkVisibility() && !(e.ariaLabel || e.alt || e.labels?.length
            || e.textContent.trim() || e.querySelector('img')?.alt)).map(e => e.id);
    }""")
    assert unnamed == ['colours']  # the legend, between its words
    assert page.get_by_role('status').inner_text().startswith('Translated')


@pytest.mark.slow
def test_source_and_translation_are_divided_by_key_pointer_and_touch(chromium, visitor, picture):
    there = Visitor(chromium, visitor.server, has_touch=True)
    page = there.page
    there.choose(as_png(picture))
    there.translate()
    slider = page.get_by_role('slider', name='Source and translation')
    assert slider.get_attribute('aria-valuetext') == '50 % daisy, 50 % sunflower'

    def seen() -> np.ndarray:  # without the words at the lower edge
        shot = Image.open(io.BytesIO(page.locator('#compare').screenshot(animations='disabled')))
        return np.asarray(shot.convert('RGB')).astype(int)[: int(0.8 * shot.height)]

    slider.press('Home')
    translation = seen()
    slider.press('End')
    source = seen()
    width = source.shape[1]
    handle = 40  # pixels that it may cover on either side
    assert np.abs(source - translation)[:, handle:-handle].mean() > 10
    for _ in range(3):
        slider.press('PageDown')
    assert slider.get_attribute('aria-valuetext') == '70 % daisy, 30 % sunflower'
    box = slider.bounding_box()
    left, middle = box['x'] + (box['width'] - width) / 2, box['y'] + box['height'] / 2
    for press, percent in ((page.mouse.click, 25), (page.touchscreen.tap, 60)):
        press(left + percent / 100 * width, middle)
        assert abs(int(slider.input_value()) - percent) <= 1
        now, border = seen(), percent * width // 100
        part = slice(handle, border - handle)
        np.testing.assert_allclose(now[:, part], source[:, part], atol=2)
        part = slice(border + handle, -handle)
        np.testing.assert_allclose(now[:, part], translation[:, part], atol=2)
    page.set_viewport_size({'width': 320, 'height': 568})
    box = page.locator('#compare').bounding_box()
    assert box['width'] <= 320 and abs(box['width'] / box['height'] - 60 / 50) < 0.01
    there.context.close()
    assert there.errors == []


@pytest.mark.slow
def test_the_translation_becomes_the_source(visitor, server, picture):
    page = visitor.page
    visitor.choose(as_png(picture))
    visitor.translate()
    page.get_by_role('button', name='Use as the source').click()
    page.get_by_text('Ready to translate it to daisy.').wait_for()
    assert page.get_by_label('sunflower to daisy').is_checked()
    assert page.inner_text('#chosen') == 'my.photo.png as sunflower'
    assert page.evaluate('document.activeElement.id') == 'translate'
    assert page.is_hidden('#translation') and page.is_hidden('#again')
    visitor.translate('daisy')
    there = translated(server, picture, 'B').image
    back = translated(server, there, 'A').image
    np.testing.assert_array_equal(visitor.pixels('#translation'), back)
    name, saved = visitor.saved('Save the translation')
    assert name == 'my.photo_sunflower_daisy.png'
    np.testing.assert_array_equal(saved, back)


@pytest.mark.slow
def test_several_pictures_as_one_zip(visitor, server, picture):
    page = visitor.page
    turned = picture[::-1]
    files = {
        'my ä.png': as_png(picture),
        'my letter.png': b'Dear Sir or Madam,',
        'MY Ä.webp': as_png(turned),
        'my_large.png': as_png(picture) + bytes(LIMITS.upload),
        'my:third.png': as_png(picture[:, ::-1]),
    }
    visitor.choose_all(files)
    assert page.inner_text('#chosen') == '5 pictures'
    assert [state[:22] for state in visitor.states()] == [*3 * [''], 'my_large.png is too la', '']
    page.get_by_role('button', name='Translate 4 of 5').click()
    page.get_by_text('Translated to sunflower: 3 of 5 pictures.').wait_for()
    assert page.inner_text('#problem') == '2 could not be translated; the list says why.'
    assert page.is_hidden('#progress') and page.is_hidden('#stop')
    states = visitor.states()
    assert 'not a picture' in states[1] and states[::2] == 3 * ['translated']
    np.testing.assert_array_equal(
        visitor.pixels('#translation'), translated(server, picture[:, ::-1], 'B').image
    )
    page.get_by_role('button', name='MY Ä.webp').click()  # looked at again
    page.get_by_role('button', name='MY Ä.webp').and_(
        page.locator('[aria-current=true]')
    ).wait_for()
    assert visitor.saved('Save the translation')[0] == 'MY Ä_sunflower.png'
    with page.expect_download() as download:
        page.get_by_role('button', name='Save all 3 as a zip').click()
    assert download.value.suggested_filename == 'daisy2sunflower.zip'
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert abs(time.time() - time.mktime((*archive.infolist()[0].date_time, 0, 0, -1))) < 600
        saved = {n: np.asarray(Image.open(archive.open(n))) for n in archive.namelist()}
    expected = {
        'my ä_sunflower.png': picture,
        'MY Ä_sunflower_2.png': turned,
        'my_third_sunflower.png': picture[:, ::-1],
    }
    assert list(saved) == list(expected)
    for name, source in expected.items():
        np.testing.assert_array_equal(saved[name], translated(server, source, 'B').image)

    page.get_by_role('button', name='Use all 3 as sources').click()
    page.get_by_role('button', name='Translate 3 pictures').click()
    page.get_by_text('Translated to daisy: 3 of 3 pictures.').wait_for()
    assert len(visitor.errors) == 1  # Chromium's own line about 415
    visitor.errors.clear()


@pytest.mark.slow
def test_several_pictures_are_stopped_and_gone_on_with(visitor, server, picture):
    page = visitor.page
    visitor.choose_all({f'my{i}.png': as_png(np.roll(picture, i, 0)) for i in range(3)})
    server.inferencer.gate.clear()
    page.click('#translate')
    page.get_by_text('Translating 1 of 3').wait_for()
    assert page.get_by_role('progressbar', name='Pictures translated').is_visible()
    page.get_by_role('button', name='Stop').click()
    page.get_by_text('Stopped.').wait_for()
    assert page.evaluate('document.activeElement.id') == 'translate'
    assert visitor.states() == 3 * ['']
    server.inferencer.gate.set()

    busy = {'status': 503, 'body': 'Too many pictures are waiting. Try again in a moment.'}
    sent = []

    def second_is_refused(route) -> None:
        sent.append(route.request.url)
        route.fulfill(**busy) if len(sent) == 2 else route.continue_()

    visitor.context.route('**/translate*', second_is_refused)
    page.click('#translate')
    assert 'Too many pictures are waiting' in visitor.problem()
    assert visitor.states() == ['translated', '', ''] and len(sent) == 2
    page.click('#translate')  # the two that are left
    page.get_by_text('Translated to sunflower: 3 of 3 pictures.').wait_for()
    assert page.inner_text('#problem') == '' and len(sent) == 4
    page.get_by_label('sunflower to daisy').check()
    page.click('#translate')  # all
    page.get_by_text('Translated to daisy: 3 of 3 pictures.').wait_for()
    assert len(sent) == 7
    assert len(visitor.errors) == 1  # Chromium's own line about 503
    visitor.errors.clear()
    visitor.context.unroute('**/translate*')


@pytest.mark.slow
def test_more_pictures_than_can_be_translated_at_a_time(visitor, picture):
    visitor.choose(as_png(picture))
    visitor.choose_all({f'my{i}.png': b'' for i in range(201)})
    assert '201 pictures; at most 200 at a time' in visitor.problem()
    assert visitor.page.inner_text('#chosen') == 'my.photo.png'  # as before


@pytest.mark.slow
def test_examples_of_the_sources_domain_come_first(chromium, tiny, tmp_path):
    checkpoint = save_model(tiny(), tmp_path / 'pair.pth', ('photo', 'drawing'))
    with serving_page(Gated(checkpoint), LIMITS) as server:
        there = Visitor(chromium, server)

        def shown() -> list[str]:
            return there.page.eval_on_selector_all('#examples img', 'all => all.map(i => i.alt)')

        photos = [f'Example: {name}' for name in EXAMPLES]
        drawings = [f'{name}, drawn' for name in photos]
        assert shown() == photos + drawings
        there.page.get_by_label('drawing to photo').check()
        assert shown() == drawings + photos
        there.page.get_by_role('button', name='Example: cat, drawn').click()
        there.page.get_by_text('Example: cat, drawn').wait_for()
        there.translate('photo')
        assert there.saved('Save the translation')[0] == 'cat_drawn_photo.png'
        there.context.close()
        assert there.errors == []
    checkpoint = save_model(tiny(), tmp_path / 'pets.pth', ('dog', 'cat'))
    with serving_page(Gated(checkpoint), LIMITS) as server:
        there = Visitor(chromium, server)
        assert shown() == photos  # none is of dogs
        there.page.get_by_label('cat to dog').check()
        assert shown()[0] == 'Example: cat' and sorted(shown()) == sorted(photos)
        there.context.close()
        assert there.errors == []


@pytest.mark.slow
def test_sizes_are_named_by_what_becomes_of_the_picture(visitor):
    page = visitor.page

    def labels(**changes: object) -> list[str]:
        def change(route) -> None:
            route.fulfill(json=route.fetch().json() | changes)

        page.route('**/model', change)
        page.reload()
        page.get_by_role('radio').first.wait_for()
        return page.locator('#size option').all_inner_texts()

    whole = 'Whole picture, soft above 32 px'
    modes = ['resize', 'crop', 'pad', 'keep', 'tiles', 'wavelet']
    assert labels(sizes=modes) == [
        whole,
        'Middle square only, the rest stays',
        'Whole picture, not squeezed: softer',
        'Own size, sharpest (slow)',
        'Own size in tiles, sharp',
        'wavelet',
    ]
    assert labels(sizes=['resize', 'tiles']) == [whole, 'Own size in tiles, sharpest']
    assert labels(sizes=['resize', 'crop'], size_of_network=[192, 256]) == [
        'Whole picture, soft above 256 \u00d7 192 px',
        'Middle rectangle only, the rest stays',
    ]
