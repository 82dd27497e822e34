"""Reading a checkpoint: once, with its checksums; MMEngine's own, without its log history."""

import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, batch
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from ugatit_mm.apis import load_model
from ugatit_mm.config import keep_mmengine_hooks, load_config
from ugatit_mm.converters import CheckpointError, read_checkpoint
from ugatit_mm.converters.files import save
from ugatit_mm.converters.inspection import Omitted

LARGE = {'a': torch.arange(2_000_000.0), 'b': [torch.ones(3), torch.zeros(0), 'text']}  # 8 MB


def read_bytes(function: Callable, *args: object) -> int:
    """Bytes that this process asked the system for while it ran a function."""

    def count() -> int:
        return int(Path('/proc/self/io').read_text().split()[1])

    before = count()
    function(*args)
    return count() - before


# -- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'legacy'])
def test_a_file_is_read_once(new, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(LARGE, path, _use_new_zipfile_serialization=new)
    read_checkpoint(path)  # imports
    assert path.stat().st_size <= read_bytes(read_checkpoint, path) <= 1.1 * path.stat().st_size


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
    cfg = load_config('ugatit_custom', {**TINY, 'data_root': str(data_root)})
    cfg.work_dir, cfg.runner_type = str(tmp_path / 'work'), 'Runner'
    cfg.train_cfg = dict(by_epoch=False, max_iters=2, val_interval=1)
    best = dict(save_best='A2B/colour', rule='less', max_keep_ckpts=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=2, by_epoch=False, **best)
    keep_mmengine_hooks(cfg)
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
