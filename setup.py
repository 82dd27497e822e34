"""The part of the build that setup.cfg cannot express: configs and tools, as in OpenMMLab's wheels.

They are copied to ``ugatit_mm/.mim`` of the build folder, where ``mim`` and our own code look for
them. The source tree is not changed, and an editable install uses it directly.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = ('configs', 'tools', 'model-index.yml')
# Development tools of the package are not included.
LEFT_OUT = ('benchmarks', 'fuzz.py', '__pycache__', '*.py[co]')


class BuildWithMim(build_py):
    """``build_py`` that adds ``ugatit_mm/.mim``."""

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        target = Path(self.build_lib) / 'ugatit_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)  # remove files of an earlier build
        target.mkdir(parents=True)
        for name in CARRIED:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns(*LEFT_OUT)
                shutil.copytree(source, target / name, ignore=ignore)
            elif source.is_file():
                shutil.copy2(source, target)


setup(cmdclass={'build_py': BuildWithMim})
