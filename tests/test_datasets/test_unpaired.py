"""The unpaired data set: what it finds, what it says when it finds nothing, and repeatability."""

import os
import random
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_images
from mmagic.registry import DATASETS
from mmengine.dataset import DefaultSampler
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from ugatit_mm.datasets import IMAGE_SUFFIXES, PairIndex, UGATITDataset, UnpairedSampler


def names(dataset: UGATITDataset, domain: str) -> list[str]:
    infos = dataset.data_infos_a if domain == 'A' else dataset.data_infos_b
    root = Path(dataset.data_root)
    return [Path(info['path']).relative_to(root).as_posix() for info in infos]


def draw_everything(results: dict) -> dict:
    """A pipeline step that draws from all three generators."""
    return {
        **results,
        'draws': (random.random(), float(np.random.rand()), float(torch.rand(()))),
    }


def global_states() -> tuple:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def make_files(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_finds_folders_of_the_phase(data_root):
    train = DATASETS.build({'type': 'UGATITDataset', 'data_root': str(data_root), 'pipeline': []})
    assert (train.len_a, train.len_b, len(train)) == (5, 3, 5)
    assert names(train, 'A') == [f'trainA/{i}.png' for i in range(5)]
    test = UGATITDataset(data_root, [], test_mode=True)
    assert (test.len_a, test.len_b, len(test)) == (2, 4, 4)
    assert names(test, 'B') == [f'testB/{i}.png' for i in range(4)]


def test_suffixes_sub_folders_order_and_hidden_files(tmp_path):
    wanted = ['z/y/1.JPEG', 'b.PnG', 'a.tiff', *(f'all{s}' for s in IMAGE_SUFFIXES)]
    noise = ['.hidden.png', 'notes.txt', '.cache/1.png', '__MACOSX/1.png', 'png', 'a.png.bak']
    make_files(tmp_path / 'trainA', *wanted, *noise)
    make_files(tmp_path / 'trainB', '1.webp')
    dataset = UGATITDataset(tmp_path, [])
    assert names(dataset, 'A') == sorted(f'trainA/{name}' for name in wanted)
    assert names(dataset, 'B') == ['trainB/1.webp']


def test_links_are_followed(data_root, tmp_path):
    make_files(tmp_path, 'trainB/1.png')
    (tmp_path / 'trainA').mkdir()
    (tmp_path / 'trainA' / 'linked').symlink_to(data_root / 'trainA')
    dataset = UGATITDataset(tmp_path, [])
    assert names(dataset, 'A') == [f'trainA/linked/{i}.png' for i in range(5)]


def test_test_mode_wraps_the_shorter_domain(data_root):
    dataset = UGATITDataset(data_root, [], test_mode=True)
    stems = [
        tuple(Path(dataset[i][f'img_{d}_path']).stem for d in 'AB') for i in range(len(dataset))
    ]
    assert stems == [('0', '0'), ('1', '1'), ('0', '2'), ('1', '3')]


def test_pair_index_picks_both_images(data_root):
    dataset = UGATITDataset(data_root, [])
    sample = dataset[PairIndex(4, 2, 0)]
    assert sample == {
        'img_A_path': str(data_root / 'trainA' / '4.png'),
        'img_B_path': str(data_root / 'trainB' / '2.png'),
    }


def test_domain_names_become_keys(data_root):
    dataset = UGATITDataset(data_root, [], domain_a='photo', domain_b='anime')
    assert set(dataset[PairIndex(0, 0, 0)]) == {'img_photo_path', 'img_anime_path'}
    assert set(dataset[0]) == {'img_photo_path', 'img_anime_path'}
    with pytest.raises(ValueError, match="domain_a and domain_b must differ, both are 'x'"):
        UGATITDataset(data_root, [], domain_a='x', domain_b='x')


@pytest.mark.parametrize('pair', [(5, 0), (0, 3), (-1, 0)])
def test_pair_index_out_of_range(data_root, pair):
    with pytest.raises(IndexError, match='5 images of A, 3 of B'):
        UGATITDataset(data_root, [])[PairIndex(*pair, 0)]


def test_sample_depends_only_on_its_seed(data_root):
    dataset = UGATITDataset(data_root, [draw_everything])
    first = dataset[PairIndex(0, 0, 123)]['draws']
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    dataset[PairIndex(1, 1, 5)]
    assert dataset[PairIndex(0, 0, 123)]['draws'] == first
    assert dataset[PairIndex(2, 2, 123)]['draws'] == first
    other = dataset[PairIndex(0, 0, 124)]['draws']
    assert all(a != b for a, b in zip(first, other))


def test_global_generators_are_left_as_they_were(data_root):
    def fail(results):
        draw_everything(results)
        raise RuntimeError('broken step')

    before = global_states()
    UGATITDataset(data_root, [draw_everything])[PairIndex(0, 0, 1)]
    assert global_states() == before
    UGATITDataset(data_root, [draw_everything], test_mode=True, seed=3)[0]
    assert global_states() == before
    with pytest.raises(RuntimeError, match='broken step'):
        UGATITDataset(data_root, [fail])[PairIndex(0, 0, 1)]
    assert global_states() == before


def test_plain_index_without_seed_follows_the_global_generators(data_root):
    dataset = UGATITDataset(data_root, [draw_everything])
    np.random.seed(0)
    expected = np.random.randint(0, 3)
    np.random.seed(0)
    sample = dataset[2]
    assert Path(sample['img_A_path']).stem == '2'
    assert Path(sample['img_B_path']).stem == str(expected)
    partners = {dataset[0]['img_B_path'] for _ in range(50)}
    assert len(partners) == 3


def test_seed_fixes_plain_indices(data_root):
    def draws(seed, index):
        dataset = UGATITDataset(data_root, [draw_everything], test_mode=True, seed=seed)
        return dataset[index]['draws']

    assert draws(1, 0) == draws(1, 0)
    assert draws(1, 0) != draws(1, 1)
    assert draws(1, 0) != draws(2, 0)
    train = UGATITDataset(data_root, [draw_everything], seed=1)
    assert train[3] == train[3]


def test_stock_sampler_still_works(data_root):
    dataset = UGATITDataset(data_root, [])
    loader = DataLoader(dataset, sampler=DefaultSampler(dataset, seed=0), collate_fn=list)
    stems = sorted(Path(batch[0]['img_A_path']).stem for batch in loader)
    assert stems == ['0', '1', '2', '3', '4']


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_do_not_change_the_samples(data_root, workers):
    def samples(num_workers):
        dataset = UGATITDataset(data_root, [draw_everything])
        sampler = UnpairedSampler(dataset, seed=4)
        loader = DataLoader(dataset, 2, sampler=sampler, collate_fn=list, num_workers=num_workers)
        return list(islice(loader, 6))

    assert samples(workers) == samples(0)


def test_data_root_missing(tmp_path):
    root = tmp_path / 'nowhere'
    with pytest.raises(FileNotFoundError) as info:
        UGATITDataset(root, [])
    message = str(info.value)
    assert str(root / 'trainA') in message
    assert f"data_root is '{root}'; there is no such folder." in message
    assert 'trainA and trainB' in message


def test_one_folder_missing_names_it_and_what_is_there(data_root, tmp_path):
    root = tmp_path / 'set'
    shutil.copytree(data_root, root)
    shutil.rmtree(root / 'trainB')
    with pytest.raises(FileNotFoundError) as info:
        UGATITDataset(root, [])
    message = str(info.value)
    assert f"'{root / 'trainB'}' does not exist" in message
    assert 'must hold trainA and trainB' in message
    assert 'testA, testB, trainA' in message


def test_folder_without_images(tmp_path):
    make_files(tmp_path, 'trainA/1.png', 'trainB/readme.txt')
    with pytest.raises(ValueError, match='holds no image') as info:
        UGATITDataset(tmp_path, [])
    assert str(tmp_path / 'trainB') in str(info.value)
    assert all(suffix in str(info.value) for suffix in IMAGE_SUFFIXES)


def test_file_in_place_of_a_folder(tmp_path):
    make_files(tmp_path, 'trainA')
    with pytest.raises(NotADirectoryError, match='is a file, not a folder') as info:
        UGATITDataset(tmp_path, [])
    assert str(tmp_path / 'trainA') in str(info.value)


def test_unreadable_folder(data_root, monkeypatch):
    # By a stand-in, as root may read everything.
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == 'trainA':
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(PermissionError, match=r'may not be read .*Permission denied') as info:
        UGATITDataset(data_root, [])
    assert str(data_root / 'trainA') in str(info.value)


def test_io_backend_is_used(data_root):
    assert len(UGATITDataset(data_root, [], io_backend='local')) == 5
    with pytest.raises(ValueError, match="^io_backend must be one of .*'local'.*no-such-backend"):
        UGATITDataset(data_root, [], io_backend='no-such-backend')


def test_a_test_set_of_one_domain(tmp_path):
    """Samples hold the one; training needs both."""
    init_default_scope('mmagic')
    write_images(tmp_path)
    shutil.rmtree(tmp_path / 'testA')
    loader = dict(type='LoadRGBImage', scale=(16, 16))
    steps = [
        *(loader | {'key': key} for key in ('img_A', 'img_B')),
        dict(type='Flip', keys=['img_A'], flip_ratio=0.0),
        dict(type='PackInputs', keys=['img_A', 'img_B'], data_keys=['img_A', 'img_B']),
    ]
    dataset = UGATITDataset(tmp_path, steps, test_mode=True)
    assert (dataset.len_a, dataset.len_b, len(dataset)) == (0, 2, 2)
    sample = dataset[1]
    assert list(sample['inputs']) == ['img_B'] and sample['inputs']['img_B'].shape == (3, 16, 16)
    shutil.rmtree(tmp_path / 'testB')
    with pytest.raises(
        FileNotFoundError,
        match=r'testA and testB .* A training without validation needs neither: val_cfg=None\.$',
    ):
        UGATITDataset(tmp_path, steps, test_mode=True)
    shutil.rmtree(tmp_path / 'trainB')
    with pytest.raises(FileNotFoundError, match='trainB.* does not exist'):
        UGATITDataset(tmp_path, steps)


@pytest.mark.parametrize('cached', [False, True])
def test_both_pictures_may_be_augmented_alike(data_root, tmp_path, cached):
    """The same picture in both domains comes out the same, and not where the draws differ."""
    for index in range(3):
        shutil.copy(data_root / 'trainA' / f'{index}.png', data_root / 'trainB')
    init_default_scope('mmagic')
    keys = ['img_A', 'img_B']
    pipeline = [
        *(dict(type='LoadRGBImage', key=key, scale=(24, 24)) for key in keys),
        *(dict(type='Flip', keys=[key], flip_ratio=0.5, direction='horizontal') for key in keys),
        dict(type='Crop', keys=keys, crop_size=(12, 12)),
        dict(type='PackInputs', keys=keys, meta_keys=['img_A_path', 'img_B_path']),
    ]
    fields = {'cache': tmp_path / 'cache'} if cached else {}

    def samples(**more) -> list[list]:
        dataset = UGATITDataset(data_root, pipeline, **fields, **more)
        found = [dataset[PairIndex(i % 3, i % 3, i)] for i in range(12)]
        assert [*found[0]['inputs']] == keys
        return [[sample['inputs'][key].numpy() for key in keys] for sample in found]

    alike, apart = samples(shared_augmentation=True), samples()
    assert all(np.array_equal(a, b) for a, b in alike)
    assert not all(np.array_equal(a, b) for a, b in apart)
    again = samples(shared_augmentation=True)
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(alike, again, strict=True))
    assert len({a.tobytes() for a, _ in alike}) > 6  # drawn for each sample
