"""What MkDocs does not know by itself: pages outside of docs/, and Sphinx's roles in docstrings."""

import os.path
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {  # of the repository: their names in the site
    'README.md': 'index.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    'SECURITY.md': 'security.md',
    'LICENSE': 'license.txt',
    'CITATION.cff': 'citation.cff',
    'ugatit_mm/weights/README.md': 'sample_pair.md',
    'ugatit_mm/weights/CREDITS.txt': 'credits.txt',
}
SOURCES = {name: path for path, name in PAGES.items()}
MODULES = ('apis', 'models', 'datasets', 'engine', 'hooks', 'evaluation', 'export')
LINK = re.compile(r'(?<=\]\()[^)\s]+(?=\))')
ROLE = re.compile(r':\w+:`~?([^`]+)`')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages that are not below docs/, and one for the public names of each module."""
    for path, name in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for name in MODULES:
        text = f'# ugatit_mm.{name}\n\n::: ugatit_mm.{name}\n'
        files.append(File.generated(config, f'api/{name}.md', content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links between files of the repository lead to the pages that these became."""
    name = page.file.src_uri
    folder = os.path.dirname(SOURCES.get(name, f'docs/{name}'))

    def place(link: re.Match[str]) -> str:
        to = urlsplit(link[0])
        if to.scheme or not to.path:
            return link[0]
        path = os.path.normpath(os.path.join(folder, to.path))
        target = PAGES.get(path) or os.path.relpath(path, 'docs')
        uri = os.path.relpath(target, os.path.dirname(name) or '.')
        return f'{uri}#{to.fragment}' if to.fragment else uri

    return LINK.sub(place, markdown)


class Docstrings(griffe.Extension):
    """Sphinx's roles become names, and attributes of classes without a docstring are left out."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = ROLE.sub(
                lambda role: f'`{role[1].rpartition(".")[2]}`', obj.docstring.value
            )

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.docstring and 'Attributes:' in cls.docstring.value:
            return  # whose table takes types from them
        for name, member in list(cls.members.items()):
            if member.is_attribute and not member.docstring:
                del cls.members[name]
