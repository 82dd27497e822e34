"""MUNIT's and UNIT's baselines against the recorded official numbers, and ours against them."""

import importlib

import pytest
import torch
from helpers import ROOT, batch
from munit_helpers import (
    MUNIT,
    OFFICIAL_TERMS,
    UNIT,
    dead,
    from_recorded,
    pixels,
    recorded,
    tiny,
    wrappers,
)

KINDS = pytest.mark.parametrize('kind', [MUNIT, UNIT], ids=lambda kind: kind.NAME)
# In the order of drawing; see the fixtures' README.
DRAWS = {
    MUNIT: ('dis.s_a', 'dis.s_b', 'gen.s_a', 'gen.s_b'),
    UNIT: ('dis.n_a', 'dis.n_b', 'gen.n_a', 'gen.n_b', 'gen.n_b_recon', 'gen.n_a_recon'),
}


@pytest.fixture
def baseline(monkeypatch):
    """Makes the official order of a model, of the size of the recorded networks."""
    monkeypatch.syspath_prepend(ROOT / 'tools/benchmarks')

    def make(kind, **fields):
        order = importlib.import_module(f'official.{kind.NAME}').OfficialOrder
        if kind is MUNIT:
            fields = {'style_dim': 4, 'mlp_dim': 16} | fields
        return order(32, 4, num_blocks=2, num_layers=3, **fields)

    return make


@pytest.mark.parametrize(('kind', 'cycle'), [(MUNIT, 10.0), (MUNIT, 0.0), (UNIT, 10.0)])
def test_recorded_steps(kind, cycle, baseline):
    record, prefix = recorded(f'{kind.NAME}_train.npz'), '' if cycle else 'nocycle.'
    order = baseline(kind, **({'cycle': cycle} if kind is MUNIT else {}))
    order.load_state_dict(recorded(f'{kind.NAME}_init.pt'))
    for step in (1, 2, 3):
        draws = iter(DRAWS[kind])
        order.draw = lambda shape, step=step, draws=draws: record[f'{step}.draw.{next(draws)}']
        found = order.step(*(pixels(record[f'{step}.x_{x}']) for x in 'ab'))
        assert next(draws, None) is None
        wanted = {
            name.partition('loss_')[2]: value.item()
            for name, value in record.items()
            if name.startswith(f'{prefix}{step}.loss_')
        }
        assert {k: v.item() for k, v in found.items()} == pytest.approx(wanted, rel=3e-6)
    if cycle:
        after = recorded(f'{kind.NAME}_after3.pt')
        ours, wanted = (from_recorded(state, kind) for state in (order.state_dict(), after))
        for name, value in ours.items():
            if not dead(name):
                torch.testing.assert_close(value, wanted[name], atol=1e-5, rtol=0, msg=name)


@KINDS
def test_our_step_gives_its_losses(kind, baseline):
    """From the same weights and draws, without recorded numbers."""
    order = baseline(kind)
    model = tiny(kind)
    model.load_state_dict(from_recorded(order.state_dict(), kind))
    given = torch.randn(3, 2, 1, 16, 8, 8) if kind is UNIT else torch.randn(2, 2, 1, 4, 1, 1)
    rows = list(given.flatten(0, 1))
    if kind is UNIT:  # that of B's images, read off their translation, comes first
        rows[4:] = rows[:3:-1]
    draws = iter(rows)
    order.draw = lambda _: next(draws)
    model.draw = lambda _: {'styles' if kind is MUNIT else 'noise': given}
    images = model.data_preprocessor(batch(), True)['inputs']
    theirs = order.step(images['img_A'], images['img_B'])
    log = model.train_step(batch(), wrappers(model))
    for name, value in theirs.items():
        if name in OFFICIAL_TERMS[kind]:
            ours = log[f'loss_{OFFICIAL_TERMS[kind][name]}']
            assert ours == pytest.approx(value.item(), rel=1e-5), name
    assert theirs.keys() <= OFFICIAL_TERMS[kind].keys()


@KINDS
def test_it_spares_no_work(kind, baseline):
    """Each pass is a separate call: six encodings, six or eight decodings, six judgements."""
    order = baseline(kind)
    calls = {}
    for name, network in order.networks.items():
        for part, module in [('dis', network)] if 'dis' in name else network.named_children():
            module.register_forward_pre_hook(
                lambda *_, part=part: calls.update({part: calls.get(part, 0) + 1})
            )
    order.step(*torch.rand(2, 1, 3, 32, 32) * 2 - 1)
    if kind is MUNIT:
        assert calls == {'enc_style': 6, 'enc_content': 6, 'dec': 6, 'mlp': 6, 'dis': 6}
    else:
        assert calls == {'enc': 6, 'dec': 8, 'dis': 6}
    with pytest.raises(ValueError, match='multiple of 4, not 30'):
        type(order)(30)
