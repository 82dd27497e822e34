"""Time the start: imports, and `tools/train.py` from its command to the end of the first iteration.

    python tools/benchmarks/startup.py [--quick]

Each figure comes from a fresh process, the cases in turns, and is the median. A stage pauses while
one inside it runs, so that the stages add up to the whole.
"""

import argparse
import importlib.util
import inspect
import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = ('torch', 'mmengine.runner', 'mmagic.models', 'ugatit_mm')
SMALL = {
    'img_size': 32,
    'load_size': 36,
    'model.generator.light': True,
    'model.generator.base_channels': 4,
    'model.generator.num_blocks': 1,
    'model.discriminator.base_channels': 4,
    'model.discriminator.num_layers': '(5,4)',
}
# Options of the training, and the stage that it ends with.
CASES = {
    'tiny': (SMALL, 'first iteration'),
    'light, 256 px': ({'model.generator.light': True}, 'first iteration'),
    'full, 256 px': ({}, 'weights drawn'),
}
# Function that a stage is the time of, inside the training, and whose it is.
STAGES = {
    'config read': ('ours', 'ugatit_mm.apis.arguments', 'load_config'),
    'config formatted': ('MMEngine', 'mmengine.config.config', 'FormatCode'),
    'environment told': ('MMEngine', 'mmengine.runner.runner', 'collect_env'),
    'commit looked up': ('ours', 'ugatit_mm.provenance', 'commit'),
    'visualiser built': ('MMEngine', 'mmengine.runner.runner', 'Runner.build_visualizer'),
    'networks built': ('ours', 'ugatit_mm.models', 'UGATIT.__init__'),
    'weights drawn': ('ours', 'ugatit_mm.models', 'UGATIT.init_weights'),
    'optimisers built': ('ours', 'mmengine.runner.runner', 'Runner.build_optim_wrapper'),
    'data set and transforms': ('MMagic', 'mmengine.runner.runner', 'Runner.build_dataloader'),
    'first batch': ('ours', 'mmengine.runner.loops', '_InfiniteDataloaderIterator.__next__'),
    'first iteration': ('ours', 'mmengine.runner.loops', 'IterBasedTrainLoop.run_iter'),
}
OVERWRITTEN = "PyTorch's own draw, overwritten"
REST = 'rest of the runner'
OWNERS = {
    'import torch': 'torch',
    'import mmengine.runner': 'MMEngine',
    'import mmagic.models': 'MMagic',
    'import ugatit_mm': 'ours',
    **{stage: owner for stage, (owner, *_) in STAGES.items()},
    OVERWRITTEN: 'ours',
    REST: 'MMEngine',
}


# -- inside the process that is measured -----------------------------------------------------------


class Stopwatch:
    """Seconds by stage; a stage pauses while one inside it runs.

    Args:
        start: When it was started, in seconds since 1970.
        last_stage: The process leaves when this one has ended.
        out: JSON file for the seconds.
    """

    def __init__(self, start: float, last_stage: str, out: Path) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.running = [REST]
        self.last = start
        self.last_stage = last_stage
        self.out = out

    def lap(self) -> None:
        """Book the time since the last call on the stage that runs."""
        now = time.time()
        self.seconds[self.running[-1]] += now - self.last
        self.last = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        self.lap()
        self.running.append(name)
        try:
            yield
        finally:
            self.lap()
            self.running.pop()
        if name == self.last_stage:
            self.out.write_text(json.dumps(self.seconds))
            raise SystemExit

    def watch(self, name: str, owner: Any, function: str, only_in: str | None = None) -> None:
        """Put a function in the place of ``owner.function`` that is timed as a stage.

        Args:
            name: The stage.
            owner: Module or class.
            function: Attribute of it.
            only_in: Calls from other stages are not told apart.
        """
        original = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if only_in not in (None, self.running[-1]):
                return original(*args, **kwargs)
            with self.stage(name):
                return original(*args, **kwargs)

        static = isinstance(inspect.getattr_static(owner, function), staticmethod)
        setattr(owner, function, staticmethod(timed) if static else timed)


def import_it(module: str) -> None:
    """Import a module; MMagic's models with the mend that they need, and without our package."""
    if module == 'mmagic.models':
        spec = importlib.util.spec_from_file_location('compat', ROOT / 'ugatit_mm' / 'compat.py')
        compat = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compat)
        compat.hush_import_warnings()
        with compat.mmcv_ext_stand_in():
            importlib.import_module(module)
    else:
        importlib.import_module(module)


def trace(start: str, last_stage: str, out: str, *arguments: str) -> None:
    """Run ``tools/train.py`` with these arguments under a :class:`Stopwatch`."""
    watch = Stopwatch(float(start), last_stage, Path(out))
    for module in IMPORTS:
        with watch.stage(f'import {module}'):
            import_it(module)
    for name, (_, module, path) in STAGES.items():
        owner = importlib.import_module(module)
        *parents, function = path.split('.')
        for parent in parents:
            owner = getattr(owner, parent)
        watch.watch(name, owner, function)
    from torch import nn

    for function in ('kaiming_uniform_', 'uniform_'):
        watch.watch(OVERWRITTEN, nn.init, function, only_in='networks built')
    sys.argv = ['train.py', *arguments]
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')


# -- outside ---------------------------------------------------------------------------------------


def run(words: list[str]) -> str:
    """Run Python in a fresh process; what it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f'{" ".join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stderr


def time_import(module: str) -> float:
    """Seconds of a process that imports a module, from its start to its end."""
    start = time.perf_counter()
    run([__file__, '--import', module])
    return time.perf_counter() - start


def time_training(options: dict, last_stage: str, data_root: Path) -> dict[str, float]:
    """Seconds by stage of a training, until one of them has ended."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'seconds.json'
        words = [f'{key}={value}' for key, value in (options | {'data_root': data_root}).items()]
        arguments = ['ugatit_custom', '--work-dir', folder, '--cfg-options', *words]
        run([__file__, '--trace', repr(time.time()), last_stage, str(out), *arguments])
        return json.loads(out.read_text())


def shares(module: str, count: int = 12) -> dict[str, float]:
    """Share of an import's time that each package's own modules take, by ``-X importtime``."""
    seconds: dict[str, float] = defaultdict(float)
    for line in run(['-X', 'importtime', '-c', f'import {module}']).splitlines():
        if line.startswith('import time:') and 'self' not in line:
            own, _, name = line.removeprefix('import time:').split('|')
            seconds[name.strip().split('.')[0]] += int(own)
    total = sum(seconds.values())
    first = sorted(seconds, key=seconds.get, reverse=True)[:count]
    if module not in first:
        first.append(module)
    return {name: seconds[name] / total for name in first}


def main(argv: list[str] | None = None) -> int:
    from bench import Row, add_arguments, append_rows

    from ugatit_mm.datasets.demo_data import make_demo_data

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument('--repeats', type=int, help='processes for each figure (5; quick: 1)')
    args = parser.parse_args(argv)
    repeats = args.repeats or (1 if args.quick else 5)
    cases = {'tiny': CASES['tiny']} if args.quick else CASES
    imports: dict[str, list[float]] = defaultdict(list)
    traces: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        data_root = Path(folder) / 'data'
        make_demo_data(data_root, size=128, num_train=4, num_test=2)
        for _ in range(repeats):
            for module in IMPORTS:
                imports[module].append(time_import(module))
            for case, (options, last_stage) in cases.items():
                traces[case].append(time_training(options, last_stage, data_root))

    rows = []
    print(f'A process that does nothing but import, seconds (median of {repeats}):')
    for module, values in imports.items():
        rows.append(Row('startup', f'import {module}', '', 'time', statistics.median(values), 's'))
        print(f'  {rows[-1].value:6.2f}  import {module}')
    print('Share of `import ugatit_mm` that the modules of a package take themselves:')
    print('  ' + ', '.join(f'{name} {share:.1%}' for name, share in shares('ugatit_mm').items()))
    for case, runs in traces.items():
        print(f'`tools/train.py`, {case}, to the end of "{cases[case][1]}", seconds:')
        seconds = {
            stage: statistics.median(one.get(stage, 0.0) for one in runs)
            for stage in OWNERS
            if any(stage in one for one in runs)
        }
        for stage, value in seconds.items():
            print(f'  {value:6.2f}  {stage} ({OWNERS[stage]})')
            rows.append(Row('startup', f'train, {case}', stage, 'time', value, 's'))
        whole = statistics.median(sum(one.values()) for one in runs)
        ours = sum(value for stage, value in seconds.items() if OWNERS[stage] == 'ours')
        print(f'  {whole:6.2f}  in all, of which ours {ours:.2f}')
        rows.append(Row('startup', f'train, {case}', 'in all', 'time', whole, 's'))
    if not args.no_write:
        append_rows(rows, args.out)
    return 0


if __name__ == '__main__':
    if sys.argv[1:2] == ['--import']:
        import_it(sys.argv[2])
    elif sys.argv[1:2] == ['--trace']:
        trace(*sys.argv[2:])
    else:
        sys.exit(main())
