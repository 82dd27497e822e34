"""Where tests must not lose time before they begin."""

import os
import subprocess

from helpers import ROOT, run_code

CODE = """
import importlib.util, os, sys
os.environ.pop('PYTEST_XDIST_WORKER', None)
sys.path.insert(0, 'tests')
sys.argv.append('-n')
for path in sys.argv[1:-1]:
    spec = importlib.util.spec_from_file_location('conftest', path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(*{'numpy', 'torch', 'mmengine', 'PIL'}.intersection(sys.modules))
"""


def test_the_process_that_runs_no_tests_imports_nothing_slow():
    """pytest imports the conftest.py of each folder in it, before its other processes begin."""
    paths = [str(path) for path in (ROOT / 'tests').rglob('conftest.py')]
    assert len(paths) > 1
    done = run_code(CODE, *paths)
    assert (done.stdout, done.stderr) == ('\n', '')


def test_make_lets_python_keep_what_it_compiles():
    """Where it may not, each process that imports all of ours takes 21 s of CPU instead of 6."""
    done = subprocess.run(
        ['make', '--no-print-directory', '-f', '-', 'show'],
        input='include Makefile\nshow:\n\t@echo "<$$PYTHONDONTWRITEBYTECODE>"\n',
        env=os.environ | {'PYTHONDONTWRITEBYTECODE': '1'},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == '<>\n', done.stderr
