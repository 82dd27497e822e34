"""Time one update, in turns: torch's Adam and LeanAdam on one parameter.

`python tools/benchmarks/optimizer.py`; `--quick` takes a few seconds.
"""

import argparse
import statistics

import torch
from bench import PeakMemory, Row, add_arguments, append_rows, seconds
from torch import nn

from ugatit_mm.engine.lean_adam import LeanAdam

FIELDS = {'lr': 1e-4, 'betas': (0.5, 0.999), 'weight_decay': 1e-4}
SETTINGS = {
    'Adam, fused': (torch.optim.Adam, {'fused': True}),
    'Adam, foreach': (torch.optim.Adam, {'foreach': True}),
    'LeanAdam': (LeanAdam, {}),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--millions', type=int, default=64, help='weights, in units of 2^20')
    parser.add_argument('--turns', type=int, default=7)
    add_arguments(parser)
    args = parser.parse_args(argv)
    if args.quick:
        args.millions, args.turns = 8, 3

    count = args.millions * 2**20
    parameter = nn.Parameter(torch.randn(256, count // 256, device=args.device))
    parameter.grad = torch.randn_like(parameter)
    optimizers = {
        name: kind([parameter], **FIELDS, **fields) for name, (kind, fields) in SETTINGS.items()
    }
    temporary = {}
    for name, optimizer in optimizers.items():
        optimizer.step()
        with PeakMemory(args.device) as peak:
            optimizer.step()
        temporary[name] = peak.bytes
    times: dict[str, list[float]] = {name: [] for name in optimizers}
    for _ in range(args.turns):
        for name, optimizer in optimizers.items():
            times[name].append(seconds(optimizer.step, args.device))

    rows = []
    plain = times['Adam, fused']
    for name, optimizer in optimizers.items():
        state = optimizer.state[parameter].values()
        size = sum(v.nbytes for v in state if torch.is_tensor(v) and v.dim())
        ratio = statistics.median(a / b for a, b in zip(times[name], plain, strict=True))
        values = [
            ('time', statistics.median(times[name]) / count * 1e9, 'ns/weight'),
            ('ratio', ratio, 'x Adam, fused'),
            ('state', size / count, 'bytes/weight'),
        ]
        if temporary[name] is not None:
            values.append(('temporary memory', temporary[name] / 2**20, 'MiB'))
        case = f'update, {args.millions} x 2^20 weights, {args.device}'
        rows += [Row('optimizer', case, name, *value) for value in values]
        print(f'{name:20s} ' + '   '.join(f'{what} {v:.3g} {unit}' for what, v, unit in values))
    if not args.no_write:
        append_rows(rows, args.out)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
