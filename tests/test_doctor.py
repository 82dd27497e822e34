"""The doctor names what is wrong and the command that fixes it, and survives what it reports on."""

import os
import platform
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, run_code
from packaging.requirements import Requirement

from ugatit_mm import doctor

PIP = f'{sys.executable} -m pip'


@pytest.fixture
def pretend(monkeypatch):
    """Let exactly the distributions named be installed."""

    def apply(**versions):
        versions = {name.replace('_', '-'): version for name, version in versions.items()}
        monkeypatch.setattr(doctor, 'installed', versions.get)

    return apply


@pytest.mark.parametrize(
    ('wanted', 'version', 'right'),
    [
        ('numpy>=1.26,<2', '1.26.4', True),
        ('numpy>=1.26,<2', '2.1.0', False),
        ('numpy>=1.26,<2', '1.25.0', False),
        ('numpy>=1.26,<2', None, False),
        ('torch>=2.11,!=2.13.*,<2.16', '2.11.0+cu130', True),
        ('torch>=2.11,!=2.13.*,<2.16', '2.13.0+cpu', False),
        ('torch>=2.11,!=2.13.*,<2.16', '2.12.0a0', True),
    ],
)
def test_a_package_against_its_pin(pretend, wanted, version, right):
    requirement = Requirement(wanted)
    pretend(**{requirement.name: version})
    line = doctor.check_package(requirement)
    assert line.name == requirement.name
    assert line.found == (version or 'not installed')
    name, specifier = requirement.name, requirement.specifier
    assert line.fix == ('' if right else f"{PIP} install '{name}{specifier}'")


def test_full_mmcv_may_stand_in_for_mmcv_lite(pretend):
    requirement = Requirement('mmcv-lite==2.1.0')
    pretend(mmcv='2.1.0')
    assert doctor.check_package(requirement) == doctor.Line('mmcv', '2.1.0', '==2.1.0')
    pretend(mmcv='2.2.0')
    assert doctor.check_package(requirement).fix == f"{PIP} install 'mmcv==2.1.0'"
    pretend()
    assert doctor.check_package(requirement).fix == f"{PIP} install 'mmcv-lite==2.1.0'"


def test_flavours_of_mmcv(pretend):
    pretend(mmcv='2.1.0')
    assert [(x.found, x.fix) for x in doctor.check_mmcv()] == [('full, with its operators', '')]
    pretend(mmcv_lite='2.1.0')
    assert [(x.found, x.fix) for x in doctor.check_mmcv()] == [('lite, without mmcv.ops', '')]
    pretend(mmcv='2.2.0', mmcv_lite='2.1.0')
    (line,) = doctor.check_mmcv()
    assert line.found == 'mmcv 2.2.0 and mmcv-lite 2.1.0'
    assert line.fix.startswith(f'{PIP} uninstall -y mmcv mmcv-lite && ')


def test_opencv_wheels_must_agree(pretend):
    pretend(opencv_python='4.11.0.86', opencv_python_headless='4.11.0.86')
    assert doctor.check_opencv() == []
    pretend(opencv_python='4.11.0.86', opencv_contrib_python='4.9.0.80')
    (line,) = doctor.check_opencv()
    assert line.found == 'opencv-python 4.11.0.86, opencv-contrib-python 4.9.0.80'
    assert line.fix.endswith('opencv-python==4.9.0.80 opencv-contrib-python==4.9.0.80')


@pytest.mark.parametrize(
    ('version', 'right'), [('3.10.0', True), ('3.9.18', False), ('3.14.0', True), ('3.15.0', False)]
)
def test_python(monkeypatch, version, right):
    monkeypatch.setattr(platform, 'python_version', lambda: version)
    assert (doctor.check_python('>=3.10,<3.15').fix == '') is right


def test_torch_pair_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(
        doctor, 'run_python', lambda code: (None, 'operator torchvision::nms does not exist')
    )
    (line,) = doctor.check_torch()
    assert 'torchvision::nms' in line.found
    assert f'{PIP} uninstall -y torch torchvision && {PIP} install ' in line.fix


@pytest.mark.parametrize(
    ('gpus', 'cuda', 'hidden', 'driver', 'found', 'wrong'),
    [
        (['H100, 78 GiB'], '13.0', None, True, 'H100, 78 GiB', False),
        ([], '13.0', None, False, 'none, training will be slow', False),
        ([], '13.0', None, True, 'the driver sees one, torch does not', True),
        ([], None, None, True, 'the driver sees one, torch does not', True),
        ([], '13.0', '', True, "none, CUDA_VISIBLE_DEVICES=''", False),
    ],
)
def test_gpu(monkeypatch, tmp_path, gpus, cuda, hidden, driver, found, wrong):
    smi = tmp_path / 'nvidia-smi'
    smi.write_text('#!/bin/sh\necho "GPU 0: H100"\n')
    smi.chmod(0o755)
    monkeypatch.setattr(shutil, 'which', lambda name: str(smi) if driver else None)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if hidden is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', hidden)
    line = doctor.check_gpu(gpus, cuda)
    assert (line.found, bool(line.fix)) == (found, wrong)


@pytest.mark.parametrize(
    ('code', 'answer'),
    [
        ('print("noise")\nprint("[1, 2]")', ([1, 2], '')),
        ('raise KeyError(3)', (None, 'KeyError: 3')),
        ('import os\nos.kill(os.getpid(), 11)', (None, 'killed by signal 11')),
        ('import time\ntime.sleep(9)', (None, 'no answer in 1 s')),
    ],
)
def test_a_process_of_its_own(code, answer):
    assert doctor.run_python(code, timeout=1) == answer


def test_a_module_that_is_missing_is_named(monkeypatch):
    error = "ModuleNotFoundError: No module named 'albumentations.core'"
    monkeypatch.setattr(doctor, 'run_python', lambda code: (None, error))
    assert doctor.check_imports()[0].fix.endswith(f'{PIP} install albumentations')
    error = 'ImportError: libGL.so.1: cannot open shared object file: No such file or directory'
    monkeypatch.setattr(doctor, 'run_python', lambda code: (None, error))
    assert doctor.check_imports()[0].fix == (
        'The system lacks libGL.so.1. Debian and Ubuntu, for OpenCV: '
        'apt-get install libgl1 libglib2.0-0'
    )


def test_main_says_what_is_wrong_and_how_to_fix_it(monkeypatch, capsys):
    lines = [
        doctor.Line('numpy', '1.26.4', '<2'),
        doctor.Line('scipy', '1.2', '>=1.15', 'pip fix'),
    ]
    monkeypatch.setattr(doctor, 'examine', lambda: lines)
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert 'WRONG  scipy  1.2     >=1.15' in out
    assert 'scipy: found 1.2, wanted >=1.15\n    pip fix' in out
    monkeypatch.setattr(doctor, 'examine', lambda: lines[:1])
    assert doctor.main() == 0
    assert 'All is well.' in capsys.readouterr().out


def test_requirements_in_a_source_tree():
    python, requirements = doctor.declared()
    assert python == '>=3.10,<3.15'
    assert 'mmagic==1.2.0' in [str(r) for r in requirements]
    assert not {'pytest', 'ruff'} & {r.name for r in requirements}  # an extra, not for every user


def test_requirements_of_an_installed_wheel(monkeypatch, tmp_path):
    metadata = tmp_path / 'ugatit_mm-9.9.dist-info' / 'METADATA'
    metadata.parent.mkdir()
    metadata.write_text(
        'Metadata-Version: 2.1\nName: ugatit_mm\nVersion: 9.9\nRequires-Python: >=3.11\n'
        'Requires-Dist: mmagic==1.2.0\nRequires-Dist: pytest>=8; extra == "test"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, 'SETUP_CFG', tmp_path / 'setup.cfg')
    python, requirements = doctor.declared()
    assert python == '>=3.11'
    assert [str(r) for r in requirements] == ['mmagic==1.2.0']


def test_requirements_from_nowhere(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, 'SETUP_CFG', tmp_path / 'setup.cfg')
    monkeypatch.setattr(doctor, 'PACKAGE', 'not_installed')
    with pytest.raises(SystemExit, match='requirements are unknown'):
        doctor.declared()


def test_the_environment_of_the_tests_keeps_every_pin():
    python, requirements = doctor.declared()
    lines = [doctor.check_python(python), *map(doctor.check_package, requirements)]
    lines += doctor.check_mmcv() + doctor.check_opencv()
    assert [line for line in lines if line.fix] == []


@pytest.mark.parametrize('broken', [(), ('mmagic.apis',), ('mmagic.apis', 'mmagic.models')])
def test_imports(monkeypatch, broken):
    def run_python(code):
        failed = any(f', {module}\n' in code for module in broken)
        return (None, 'ImportError: no') if failed else (7.5, '')

    monkeypatch.setattr(doctor, 'run_python', run_python)
    lines = {line.name: line for line in doctor.check_imports()}
    assert [name for name, line in lines.items() if line.fix] == [f'import {x}' for x in broken]
    assert all(line.found in ('in 7.5 s', 'ImportError: no') for line in lines.values())


def test_it_imports_nothing_heavy():
    code = (
        'import runpy, sys\n'
        f'sys.argv, sys.orig_argv = ["-m"], ["python", "-m", "{doctor.__name__}"]\n'
        f'runpy.run_module("{doctor.__name__}", run_name="not_main")\n'
        'print([x for x in ("numpy", "torch", "mmcv", "mmengine", "mmagic") if x in sys.modules])'
    )
    done = run_code(code)
    assert done.stdout == '[]\n', done.stderr


@pytest.mark.slow
def test_it_runs_where_the_package_cannot_be_imported(tmp_path):
    """NumPy 3, by its metadata: the import of ugatit_mm fails, and the doctor says why."""
    metadata = tmp_path / 'numpy-3.0.0.dist-info' / 'METADATA'
    metadata.parent.mkdir()
    metadata.write_text('Metadata-Version: 2.1\nName: numpy\nVersion: 3.0.0\n')
    env = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'}

    def run(*args):
        return subprocess.run(
            [sys.executable, *args],
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
            check=False,
        )

    failed = run('-c', 'import ugatit_mm.models')
    assert failed.returncode == 1
    assert 'ImportError: ugatit_mm cannot work' in failed.stderr
    assert 'numpy 3.0.0' in failed.stderr

    done = run('-m', 'ugatit_mm.doctor')
    assert done.returncode == 1, done.stderr
    assert 'numpy: found 3.0.0, wanted <3,>=1.26' in done.stdout
    assert f"{PIP} install 'numpy<3,>=1.26'" in done.stdout
    assert 'import mmagic.models: found ImportError: ' in done.stdout
    assert 'torch pair' in done.stdout
