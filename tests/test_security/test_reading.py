"""Reading a checkpoint: once, with its checksums; MMEngine's own, without its log history."""

import hashlib
import struct
import threading
import zipfile

import numpy as np
import pytest
import torch
from helpers import assert_same, batch, read_bytes, tiny_config
from hostile import archive, pickled, storage, table, tensor
from mmagic.registry import RUNNERS
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from ugatit_mm.apis import load_model
from ugatit_mm.config import keep_mmengine_hooks
from ugatit_mm.converters import CheckpointError, read_checkpoint, write_checkpoint
from ugatit_mm.converters.files import save
from ugatit_mm.converters.inspection import Omitted
from ugatit_mm.provenance import sha256

LARGE = {'a': torch.arange(2_000_000.0), 'b': [torch.ones(3), torch.zeros(0), 'text']}  # 8 MB


# -- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'legacy'])
def test_a_file_is_read_once(new, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(LARGE, path, _use_new_zipfile_serialization=new)
    size = path.stat().st_size
    read_checkpoint(path)  # imports
    assert size <= read_bytes(read_checkpoint, path) <= 1.1 * size
    digest = hashlib.sha256()
    more = 1.1 if new else 2.1  # legacy storages are read by torch, past Python
    assert size <= read_bytes(read_checkpoint, path, digest) <= more * size
    assert digest.hexdigest() == sha256(path)


def test_a_digest_is_that_of_the_file(tmp_path):
    """In whatever order torch reads the records."""
    wide = {'a': torch.ones(100_000), 'b': torch.ones(3), 'c': torch.ones(200_000)}
    files = {'a.pth': wide, 'b.pth': {'x': 'y' * 200_000}, 'c.pth': {'x': torch.zeros(0)}}
    for name, content in files.items():
        save(tmp_path / name, content)
    content = pickled(
        table(
            b=tensor(storage(400_000, 'b'), (3,), (1,)), a=tensor(storage(300_000, 'a'), (3,), (1,))
        )
    )
    records = {'data/a': bytes(1_200_000), 'data/c': bytes(70_000), 'data/b': bytes(1_600_000)}
    archive(tmp_path / 'd.pth', content, records)
    write_checkpoint(tmp_path / 'e.safetensors', wide, {'iter': 1})
    for path in sorted(tmp_path.iterdir()):
        digest = hashlib.sha256()
        read_checkpoint(path, digest)
        assert digest.hexdigest() == sha256(path), path.name


def test_every_byte_of_a_record_is_compared(tmp_path):
    """Also of those that torch does not look at."""
    path = tmp_path / 'x.pth'
    save(path, LARGE)
    good = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename.partition('/')[2] for entry in entries]
    assert 'version' in names and '.data/serialization_id' in names
    for entry in entries:
        at = entry.header_offset
        start = at + 30 + sum(struct.unpack('<HH', good[at + 26 : at + 30]))
        for place in {start, start + entry.file_size - 1} if entry.file_size else ():
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(CheckpointError, match=r'x\.pth .* file is damaged$') as error:
                read_checkpoint(path)
            assert repr(entry.filename) in str(error.value)


# -- MMEngine's ----------------------------------------------------------------------------------


def test_what_is_not_read_stands_for_itself(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = {
        'state_dict': {'w': torch.arange(3.0)},
        'message_hub': {'log_scalars': {'loss': history, 'empty': HistoryBuffer([], [])}},
        'meta': {'mean': np.array([1.0, 2.0]), 'score': np.float64(3), 'names': np.array(['a'])},
        'words': {'iter': 5, 'cfg': 'x = 1', 'betas': (0.5, 0.999), 'flags': [True, None]},
    }
    torch.save(content, tmp_path / 'x.pth')
    read = read_checkpoint(tmp_path / 'x.pth')
    assert torch.equal(read['state_dict']['w'], torch.arange(3.0))
    assert read['words'] == content['words']
    left = [*read['message_hub']['log_scalars'].values(), *read['meta'].values()]
    assert [str(value) for value in left] == ['<not read>'] * 5
    with pytest.raises(TypeError, match='could not be read again'):  # ours have nothing of the kind
        save(tmp_path / 'y.pth', content)
    assert not (tmp_path / 'y.pth').exists()


def test_the_list_of_the_process_is_as_it_was(tmp_path):
    """What others allow torch to build is not built here, and is allowed again afterwards."""
    before = set(torch.serialization.get_safe_globals())
    torch.save({'x': HistoryBuffer([1.0], [1])}, tmp_path / 'x.pth')
    with torch.serialization.safe_globals([HistoryBuffer]):
        assert type(read_checkpoint(tmp_path / 'x.pth')['x']) is Omitted
        assert HistoryBuffer in torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(list(before))
    (tmp_path / 'y.pth').write_bytes((tmp_path / 'x.pth').read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / 'y.pth')
    assert set(torch.serialization.get_safe_globals()) == before
    assert type(torch.load(tmp_path / 'x.pth')['x']) is HistoryBuffer

    read = []
    threads = [
        threading.Thread(target=lambda: read.append(read_checkpoint(tmp_path / 'x.pth')['x']))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(value) for value in read] == [Omitted] * 8
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_checkpoint_of_mmengines_own_runner(data_root, tmp_path):
    """With its hooks, its log history and its best score, which is a number of NumPy's."""
    cfg = tiny_config(data_root, tmp_path / 'work')
    cfg.runner_type = 'Runner'
    cfg.train_cfg = dict(by_epoch=False, max_iters=2, val_interval=1)
    keep_mmengine_hooks(cfg)
    best = dict(save_best='A2B/colour', rule='less', max_keep_ckpts=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=2, by_epoch=False, **best)
    runner = Runner.from_cfg(cfg)
    runner.train()
    path = tmp_path / 'work' / 'iter_2.pth'
    assert type(torch.load(path)['message_hub']['log_scalars']['train/loss_g']) is HistoryBuffer
    content = read_checkpoint(path)
    assert type(content['message_hub']['log_scalars']['train/loss_g']) is Omitted
    assert content['meta']['iter'] == 2 and 'UGATIT' in content['meta']['cfg']
    model, meta = load_model(path, cfg, 'cpu')
    image = batch()['inputs']['img_A'] / 127.5 - 1
    with torch.no_grad():
        expected = runner.model.eval().translation(image, 'B')
        assert torch.equal(model.translation(image, 'B'), expected)
    assert meta['iter'] == 2
    with pytest.raises(CheckpointError, match='give its config, too'):
        load_model(path)
    cfg.runner_type, cfg.experiment_name = 'UGATITRunner', 'ours'
    ours = RUNNERS.build(cfg)
    ours.load_checkpoint(str(path), strict=True)
    assert_same(dict(ours.model.state_dict()), dict(runner.model.state_dict()))
    with pytest.raises(CheckpointError, match=r"is not a training checkpoint, it lacks 'ugatit'"):
        ours.resume(str(path))
