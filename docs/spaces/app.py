"""A Gradio page that translates pictures by the ONNX files beside it, without ugatit_mm or torch.

``ugatit export`` writes such a file for each direction. Put them into this folder.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MAX_PIXELS = 40_000_000


class Translator(NamedTuple):
    """An exported generator.

    Attributes:
        session: Takes and gives RGB, uint8, (N, H, W, 3).
        source: Name of the domain that it translates.
        target: Name of the domain that it translates into.
        size: Width and height of the pictures that it takes.
        resize: Filter that brings pictures to that size.
    """

    session: onnxruntime.InferenceSession
    source: str
    target: str
    size: tuple[int, int]
    resize: Image.Resampling


def load(path: Path) -> Translator:
    """Open what ``ugatit export`` wrote.

    Raises:
        ValueError: The file is none of RGB pixels.
    """
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    about = session.get_modelmeta().custom_metadata_map
    if (about.get('pixels'), about.get('channels')) != ('uint8', '3 to 3'):
        raise ValueError(
            f'{path.name} does not take and give RGB pixels: write it by ugatit export, '
            '--pixels uint8, of networks with three channels.'
        )
    sides = [int(side) for side in about['img_size'].split('x')]  # '256', or '192x256'
    resize = Image.Resampling[about['resize'].upper()]
    return Translator(session, about['source'], about['target'], (sides[-1], sides[0]), resize)


def read(path: str | Path) -> Image.Image:
    """Read a picture of 8 bits as the camera held it, what is transparent on white.

    Raises:
        ValueError: It is no picture, damaged, or too large.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f'This picture has too many pixels ({image.width} x {image.height}): it may '
                    f'have {MAX_PIXELS / 1e6:g} million. Choose a smaller one.'
                )
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                image = image.convert('RGBA')
                image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
            return image.convert('RGB')
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError('This file is no picture that can be read. Choose another.') from error


def translate(translator: Translator, picture: Image.Image) -> Image.Image:
    """Translate a picture, squeezed to the network's size and stretched back to its own."""
    pixels = np.asarray(picture.resize(translator.size, translator.resize))
    (out,) = translator.session.run(['image'], {'pixels': pixels[None]})
    return Image.fromarray(out[0]).resize(picture.size, Image.Resampling.BILINEAR)


def main() -> None:
    import gradio as gr

    found = [load(path) for path in sorted(Path(__file__).parent.glob('*.onnx'))]
    if not found:
        raise SystemExit('There is no .onnx file beside app.py: write one by ugatit export.')
    translators = {f'{each.source} to {each.target}': each for each in found}

    def run(path: str | None, direction: str) -> tuple[Image.Image, Image.Image]:
        if path is None:
            raise gr.Error('Choose a picture first.', print_exception=False)
        try:
            picture = read(path)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return picture, translate(translators[direction], picture)

    names = list(translators)
    upload = gr.Image(label='Picture')
    upload.preprocess = lambda sent: sent and sent.path  # the file as it came, for read()
    page = gr.Interface(
        run,
        inputs=[upload, gr.Radio(names, value=names[0], label='Direction')],
        outputs=gr.ImageSlider(label='Source and translation', format='png'),
        title='Translate a picture',
        flagging_mode='never',
    )
    page.launch(max_file_size='20mb')


if __name__ == '__main__':
    main()
