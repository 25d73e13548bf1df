from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from typing import Any, Callable

import basicsr.data
import basicsr.train
import cv2
import lmdb
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightbsr_arch.basicsr_compat import SampleIndex
from lightbsr_arch.data.blind_degradation_dataset import BlindDegradationDataset, flip_and_rotate, list_images
from lightbsr_arch.data.inspection import inspect, is_error, refuse_unusable
from lightbsr_arch.degradations import Degradation, compress_jpeg, degrade, isotropic_kernel, motion_kernel

Sample = dict[str, Any]


def options(root: Path | str, **changes: Any) -> dict[str, Any]:
    return {'name': 'data', 'type': 'BlindDegradationDataset', 'dataroot_gt': str(root), 'degradation': 'setting2',
            'phase': 'train', 'scale': 4, 'gt_size': 32, 'num_patches': 3} | changes


def train_set(root: Path | str, **changes: Any) -> BlindDegradationDataset:
    return BlindDegradationDataset(options(root, **changes))


def test_set(root: Path | str, **changes: Any) -> BlindDegradationDataset:
    return BlindDegradationDataset(options(root, phase='test', num_patches=1, **changes))


test_set.__test__ = False


def read_folder(root: Path) -> dict[str, np.ndarray]:
    """RGB images by name."""
    return {str(p.relative_to(root)): cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in sorted(root.rglob('*.png'))}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def places(patch: Tensor, image: np.ndarray) -> list[tuple[int, bool, bool, bool]]:
    """Where the image, under flips and transposition, holds the patch (3, H, W)."""
    found = []
    wanted = (patch * 255).round().byte().permute(1, 2, 0).numpy()
    for horizontal, vertical, transpose in itertools.product((False, True), repeat=3):
        turned = wanted.swapaxes(0, 1) if transpose else wanted
        turned = turned[::-1] if vertical else turned
        turned = np.ascontiguousarray(turned[:, ::-1] if horizontal else turned)
        windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], turned.shape[:2])
        for y, x in zip(*np.nonzero((windows[..., 0, :] == turned[0, :, 0]).all(-1))):
            if (image[y:y + len(turned), x:x + len(turned)] == turned).all():
                found.append((int(y) * 1000 + int(x), horizontal, vertical, transpose))
    return found


# ---------------------------------------------------------------------------------------------- training samples
def test_training_sample_has_patches_and_what_degrades_them(images: Path) -> None:
    sample = train_set(images)[0]
    assert sample.keys() == {'gt', 'gt_path', 'kernel', 'noise', 'noise_seed'}
    assert sample['gt'].shape == (3, 3, 32, 32) and sample['gt'].dtype == torch.float32
    assert 0 <= sample['gt'].min() and sample['gt'].max() <= 1
    assert torch.equal(sample['gt'], (sample['gt'] * 255).round() / 255)
    assert sample['kernel'].shape == (21, 21) and sample['kernel'].sum().item() == pytest.approx(1, abs=1e-5)
    assert sample['noise'].shape == () and 0 <= sample['noise'] <= 25 and isinstance(sample['noise_seed'], int)


def test_patches_are_parts_of_their_image_under_one_draw_of_flips(images: Path) -> None:
    data, folder = train_set(images), read_folder(images)
    drawn = set()
    for index in range(6):
        for epoch in range(8):
            patches = data[SampleIndex(index, epoch, index)]['gt']
            flips = [{f[1:] for f in places(patch, folder[data.names[index]])} for patch in patches]
            shared = set.intersection(*flips)
            assert len(shared) == 1, 'the patches share no flip, or are no part of the image'
            drawn |= shared
    assert len(drawn) == 8


@pytest.mark.parametrize('hflip, rotate, expected', [
    (False, False, {(False, False, False)}), (True, False, {(False, False, False), (True, False, False)}),
    (False, True, {(False, v, t) for v in (False, True) for t in (False, True)})])
def test_flips_are_those_asked_for(images: Path, hflip: bool, rotate: bool, expected: set[tuple[bool, ...]]) -> None:
    data, folder = train_set(images, use_hflip=hflip, use_rot=rotate, num_patches=1), read_folder(images)
    drawn = {f[1:] for epoch in range(30) for f in places(data[SampleIndex(0, epoch, 0)]['gt'][0], folder[data.names[0]])}
    assert drawn == expected


def test_flips_do_not_change_what_is_cropped() -> None:
    images = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    drawn = {flip_and_rotate(np.random.default_rng(i), images, True, True)[1].tobytes() for i in range(100)}
    eight = {np.ascontiguousarray(np.rot90(side, k)).tobytes() for side in (images[1], images[1][:, ::-1]) for k in range(4)}
    assert drawn == eight


def test_crops_reach_every_corner(tmp_path: Path) -> None:
    values = np.arange(14 * 13, dtype=np.uint8).reshape(14, 13)
    cv2.imwrite(str(tmp_path / 'image.png'), values)
    data = train_set(tmp_path, gt_size=12, use_hflip=False, use_rot=False, num_patches=1)
    corners = {round(data[SampleIndex(0, epoch, 0)]['gt'][0, 0, 0, 0].item() * 255) for epoch in range(60)}
    assert corners == set(values[:3, :2].flatten().tolist())


def test_patches_differ_and_an_image_of_the_crops_size_gives_itself(images: Path) -> None:
    patches = train_set(images, num_patches=4)[0]['gt']
    assert all(not torch.equal(patches[i], patches[j]) for i in range(4) for j in range(i))
    whole = train_set(images, gt_size=80, use_hflip=False, use_rot=False)[0]['gt']
    assert whole.shape == (3, 3, 80, 80)


# ---------------------------------------------------------------------------------------------- repeatability
def test_sample_is_a_function_of_seed_epoch_and_position_alone(images: Path) -> None:
    index = SampleIndex(2, 3, 14)
    first = train_set(images, seed=5)[index]
    np.random.seed(1), torch.manual_seed(1)
    data = train_set(images, seed=5)
    data[0], data[SampleIndex(2, 3, 20)]
    assert equal(data[index], first)
    for other in (SampleIndex(2, 4, 14), SampleIndex(2, 3, 8)):
        assert not equal(data[other], first) and data[other]['noise_seed'] != first['noise_seed']
    assert not equal(train_set(images, seed=6)[index], first)


def test_sampling_leaves_the_global_random_state_alone(images: Path) -> None:
    np.random.seed(0), torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    train_set(images)[0], train_set(images, pairs=True, num_patches=1)[0], test_set(images, degradation={'sigma': 1, 'noise': 5})[0]
    assert np.array_equal(before[0], np.random.get_state()[1]) and torch.equal(before[1], torch.get_rng_state())


def epochs(root: Path, num_worker: int = 0, persistent: bool = False, num: int = 2, rank: int = 0, world: int = 1,
           **changes: Any) -> list[list[Sample]]:
    """The batches of some epochs, by BasicSR's sampler."""
    data = train_set(root, **changes)
    sampler = basicsr.train.EnlargedSampler(data, world, rank, 2)
    loader = DataLoader(data, 2, sampler=sampler, num_workers=num_worker, persistent_workers=persistent, drop_last=True)
    batches = []
    for epoch in range(num):
        sampler.set_epoch(epoch)
        batches.append(list(loader))
    return batches


@pytest.mark.parametrize('num_worker, persistent', [(1, False), (2, False), (2, True)])
def test_batches_are_the_same_with_any_number_of_workers(images: Path, num_worker: int, persistent: bool) -> None:
    np.random.seed(num_worker), torch.manual_seed(num_worker)
    expected, batches = epochs(images), epochs(images, num_worker, persistent)
    assert [len(epoch) for epoch in batches] == [6, 6]
    assert all(equal(a, b) for ours, theirs in zip(batches, expected) for a, b in zip(ours, theirs))


def test_loading_processes_may_be_spawned(images: Path) -> None:
    """As on macOS, and in BasicSR's distributed runs: they begin with a BasicSR that cannot be imported."""
    data = train_set(images)
    initialise = functools.partial(basicsr.data.worker_init_fn, num_workers=1, rank=0, seed=0)
    loader = DataLoader(data, 6, num_workers=1, multiprocessing_context='spawn', worker_init_fn=initialise)
    assert equal(next(iter(loader)), next(iter(DataLoader(data, 6))))


def test_no_sample_of_the_enlarged_epochs_repeats(images: Path) -> None:
    seeds = [seed for epoch in epochs(images) for batch in epoch for seed in batch['noise_seed'].tolist()]
    kernels = {kernel.numpy().tobytes() for epoch in epochs(images) for batch in epoch for kernel in batch['kernel']}
    assert len(seeds) == len(set(seeds)) == len(kernels) == 24


def test_processes_share_the_samples_of_an_epoch(images: Path) -> None:
    alone, first, second = ({seed for batch in epochs(images, num=1, rank=rank, world=world)[0] for seed in batch['noise_seed'].tolist()}
                            for rank, world in ((0, 1), (0, 2), (1, 2)))
    assert first | second == alone and not first & second


# ---------------------------------------------------------------------------------------------- pairs
@pytest.mark.parametrize('degradation', ['setting1', 'setting2'])
def test_pairs_are_the_degraded_patches(images: Path, degradation: str) -> None:
    index = SampleIndex(1, 2, 7)
    pair = train_set(images, num_patches=1, pairs=True, degradation=degradation)[index]
    raw = train_set(images, num_patches=1, degradation=degradation)[index]
    expected = degrade(raw['gt'], raw['kernel'][None], 4, raw['noise'], torch.Generator().manual_seed(raw['noise_seed']))
    assert torch.equal(pair['gt'], raw['gt'][0]) and torch.equal(pair['lq'], expected[0]) and pair['lq'].shape == (3, 8, 8)
    assert pair['lq_path'] == pair['gt_path'] == str(images / 'image_1.png')


# ---------------------------------------------------------------------------------------------- testing
def test_test_samples_are_whole_images_degraded(images: Path) -> None:
    data = test_set(images, degradation={'sigma': 1.2})
    for i, (name, image) in enumerate(read_folder(images).items()):
        sample = data[i]
        gt = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        assert torch.equal(sample['gt'], gt) and sample['gt_path'] == str(images / name)
        assert torch.equal(sample['lq'], degrade(gt[None], isotropic_kernel(1.2), 4)[0])
        assert 'noise_seed' not in sample and sample['kernel'].shape == (21, 21) and sample['noise'] == 0


@pytest.mark.parametrize('degradation', [{'sigma': 1.2, 'noise': 10}, 'setting2'], ids=str)
def test_test_samples_depend_on_neither_run_nor_order_nor_seed(images: Path, degradation: Any) -> None:
    first = [test_set(images, degradation=degradation)[i] for i in range(6)]
    np.random.seed(3), torch.manual_seed(3)
    again = test_set(images, degradation=degradation, seed=9)
    assert all(equal(again[i], first[i]) for i in reversed(range(6)))


def test_test_noise_differs_between_images_and_degradations(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.full((32, 32, 3), 128, np.uint8))
    a, b = (test_set(tmp_path, degradation={'sigma': 1, 'noise': 10})[i]['lq'] for i in range(2))
    c = test_set(tmp_path, degradation={'sigma': 2, 'noise': 10})[0]['lq']
    assert not torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize('scale, size', [(2, (80, 94)), (3, (78, 93)), (4, (80, 92))])
def test_test_images_are_cut_at_the_bottom_and_right(tmp_path: Path, scale: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (80 + (scale == 2), 95, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    sample = test_set(tmp_path, degradation={'sigma': 0.5}, scale=scale)[0]
    expected = torch.from_numpy(image[:size[0], :size[1], ::-1].copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(sample['gt'], expected) and sample['lq'].shape == (3, size[0] // scale, size[1] // scale)


def test_draws_of_a_known_sample_have_not_changed(images: Path) -> None:
    """A seed of noise and a level as they were before degradations had motion and jpeg: results stay comparable."""
    sample = train_set(images, seed=5)[SampleIndex(2, 3, 14)]
    assert sample['noise_seed'] == 1316944536612831703 and sample['noise'].item() == pytest.approx(5.170867443)


def test_jpeg_comes_last(images: Path) -> None:
    compressed = test_set(images, degradation={'sigma': 1.2, 'jpeg': 40})[0]
    plain = test_set(images, degradation={'sigma': 1.2})[0]
    assert compressed['jpeg'] == 40 and 'jpeg' not in plain
    assert torch.equal(compressed['lq'], compress_jpeg(plain['lq'], 40)) and not torch.equal(compressed['lq'], plain['lq'])


def test_motion_is_a_kernel_like_others(images: Path) -> None:
    sample = test_set(images, degradation={'motion': 9, 'theta': 0})[0]
    assert torch.equal(sample['kernel'], motion_kernel(9, 0)[0])
    assert torch.equal(sample['lq'], degrade(sample['gt'][None], motion_kernel(9, 0), 4)[0])


def test_jpeg_in_training_needs_pairs(images: Path) -> None:
    compression = {'sigma': [1, 2], 'noise': [0, 5], 'jpeg': [30, 95]}
    with pytest.raises(ValueError, match='degradation.jpeg works on the CPU alone.*set pairs: true'):
        train_set(images, degradation=compression, num_patches=1)
    pairs, without = (train_set(images, degradation=d, num_patches=1, pairs=True)
                      for d in (compression, {'sigma': [1, 2], 'noise': [0, 5]}))
    for compressed, plain in zip(pairs, without, strict=True):
        assert 30 <= compressed['jpeg'] <= 95
        assert torch.equal(compressed['lq'], compress_jpeg(plain['lq'], compressed['jpeg']))


@pytest.mark.parametrize('size, rows, columns', [(32, slice(24, 56), slice(32, 64)), (33, slice(23, 55), slice(31, 63)),
                                                 (88, slice(0, 80), slice(4, 92)), (200, slice(0, 80), slice(0, 96))])
def test_the_middle_is_cut_before_degrading(images: Path, size: int, rows: slice, columns: slice) -> None:
    whole, cut = (test_set(images, degradation={'sigma': 1.2}, center_crop=crop)[0] for crop in (None, size))
    assert torch.equal(cut['gt'], whole['gt'][:, rows, columns])
    assert torch.equal(cut['lq'], degrade(cut['gt'][None], isotropic_kernel(1.2), 4)[0])


# ---------------------------------------------------------------------------------------------- files
def write_lmdb(root: Path, target: Path) -> None:
    """BasicSR's layout: keys without suffix, `meta_info.txt` with `name.png (h,w,c) compression`."""
    lines = []
    with lmdb.open(str(target), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for path in sorted(root.rglob('*.png')):
            key = str(path.relative_to(root))[:-4]
            transaction.put(key.encode('ascii'), path.read_bytes())
            lines.append(f'{key}.png (80,96,3) 1\n')
    (target / 'meta_info.txt').write_text(''.join(lines))


@pytest.mark.parametrize('slash', ['', '/'])
@pytest.mark.parametrize('num_worker', [0, 2])
def test_lmdb_gives_the_same_samples_as_the_folder(images: Path, tmp_path: Path, num_worker: int, slash: str) -> None:
    write_lmdb(images, tmp_path / 'images.lmdb')
    root = f'{tmp_path / "images.lmdb"}{slash}'
    test_set(root)[0]  # opened here first: the loading processes cannot share it
    expected, batches = epochs(images, num=1), epochs(root, num_worker, num=1)
    for batch in (*expected[0], *batches[0]):
        assert all(path.startswith((str(images), root)) for path in batch.pop('gt_path'))
    assert all(equal(a, b) for a, b in zip(batches[0], expected[0], strict=True))
    for degradation in ({'sigma': 1.2, 'noise': 5}, 'setting1'):  # two data sets of one LMDB folder
        assert equal(test_set(root, degradation=degradation)[4]['lq'], test_set(images, degradation=degradation)[4]['lq'])


def test_folders_are_searched_with_their_subfolders(images: Path) -> None:
    (images / 'notes.txt').write_text('no image')
    (images / '.DS_Store').write_bytes(b'')
    (images / '.hidden.png').write_bytes(b'')
    (images / 'nested' / 'loop').symlink_to(images)
    assert list_images(str(images)) == [*(f'image_{i}.png' for i in range(4)), 'nested/image_4.png', 'nested/image_5.png']


@pytest.mark.parametrize('line', ['{}', '{} (80,96,3) 1', '{} (80,96,3)', '{}\t3', '  {}  '])
def test_a_list_of_images_chooses_some(images: Path, tmp_path: Path, line: str) -> None:
    listing = tmp_path / 'meta.txt'
    listing.write_text('\n'.join(line.format(name) for name in ('nested/image_5.png', 'image_2.png')) + '\n\n')
    data = train_set(images, meta_info_file=str(listing), num_patches=1)
    assert data.names == ['image_2.png', 'nested/image_5.png']
    assert places(data[1]['gt'][0], read_folder(images)['nested/image_5.png'])


def gray(ramp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ramp, np.repeat(ramp[..., None], 3, 2)


def rgba(ramp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    colours = np.stack([ramp, ramp // 2, 255 - ramp], 2)
    return np.concatenate([colours[..., ::-1], ramp[..., None]], 2), colours


def deep(ramp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    colours = np.stack([ramp, ramp // 2, 255 - ramp], 2)
    return colours[..., ::-1].astype(np.uint16) * 257, colours


def deep_gray(ramp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ramp.astype(np.uint16) * 257, np.repeat(ramp[..., None], 3, 2)


@pytest.mark.parametrize('suffix', ['png', 'tif', 'PNG'])
@pytest.mark.parametrize('make', [gray, rgba, deep, deep_gray])
def test_any_kind_of_image_becomes_8_bit_rgb(tmp_path: Path, make: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
                                            suffix: str) -> None:
    written, expected = make(np.arange(24 * 40, dtype=np.uint32).reshape(24, 40).astype(np.uint8))
    cv2.imwrite(str(tmp_path / f'image.{suffix}'), written)
    gt = (test_set(tmp_path, degradation={'sigma': 1})[0]['gt'] * 255).round().permute(1, 2, 0).byte().numpy()
    np.testing.assert_array_equal(gt, expected)


def test_names_may_have_blanks_and_umlauts(tmp_path: Path) -> None:
    _, png = cv2.imencode('.png', np.zeros((32, 32, 3), np.uint8))
    (tmp_path / 'ein Bär.png').write_bytes(png.tobytes())
    assert test_set(tmp_path, degradation={'sigma': 1})[0]['gt_path'] == str(tmp_path / 'ein Bär.png')


# ---------------------------------------------------------------------------------------------- errors
def png(size: tuple[int, int]) -> bytes:
    return cv2.imencode('.png', np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))[1].tobytes()


@pytest.mark.parametrize('content, changes, message', [
    (b'', {}, 'cannot be read as an image'), (b'<html>', {}, 'cannot be read as an image'),
    (png((64, 64))[:40], {}, 'cannot be read as an image'), (png((64, 64))[:6000], {}, 'cannot be read as an image'),
    (png((31, 64)), {}, '64x31 pixels, less than gt_size 32'), (png((64, 31)), {}, '31x64 pixels, less than gt_size 32'),
    (png((8, 64)), {'phase': 'test', 'num_patches': 1}, '64x8 pixels is too small'),
    (png((3, 64)), {'phase': 'test', 'num_patches': 1}, '(too small|64x0)')],
    ids=['empty', 'text', 'head alone', 'cut off', 'too low', 'too narrow', 'test', 'test without pixels'])
@pytest.mark.parametrize('kind', ['folder', 'lmdb'])
def test_errors_name_the_image(tmp_path: Path, content: bytes, changes: dict[str, Any], message: str, kind: str) -> None:
    root = tmp_path / 'folder'
    root.mkdir()
    (root / 'broken.png').write_bytes(content)
    if kind == 'lmdb':
        write_lmdb(root, tmp_path / 'folder.lmdb')
        root = tmp_path / 'folder.lmdb'
    with pytest.raises(ValueError, match=f'{root}/broken.*{message}'):
        BlindDegradationDataset(options(root, **changes))[0]


def test_listed_images_that_are_not_there_are_named(images: Path, tmp_path: Path) -> None:
    (tmp_path / 'meta.txt').write_text('gone.png\n')
    with pytest.raises((ValueError, OSError), match='gone'):
        train_set(images, meta_info_file=str(tmp_path / 'meta.txt'))[0]
    write_lmdb(images, tmp_path / 'images.lmdb')
    with pytest.raises(ValueError, match='gone'):
        train_set(tmp_path / 'images.lmdb', meta_info_file=str(tmp_path / 'meta.txt'))[0]


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty.lmdb').mkdir()
    for name, message in (('gone', 'there is no folder'), ('empty', 'holds no images'), ('empty.lmdb', 'no list of images'),
                          ('gone.lmdb', 'there is no folder')):
        with pytest.raises(ValueError, match=f'{message}.*{name}|{name}.*{message}'):
            train_set(tmp_path / name)
    with pytest.raises(ValueError, match='no list of images.*meta.txt'):
        train_set(tmp_path / 'empty', meta_info_file=str(tmp_path / 'meta.txt'))


@pytest.mark.parametrize('changes, message', [
    ({'gt_sise': 32}, "unknown key 'gt_sise'; did you mean 'gt_size'"), ({'gt_size': 30}, 'gt_size .30. must be a multiple'), ({'gt_size': 8}, 'gt_size .8. must be'),
    ({'num_patches': 0}, 'num_patches must be 1 or more'), ({'pairs': True}, 'pairs: true needs num_patches: 1'),
    ({'center_crop': 32}, 'center_crop is for testing'), ({'center_crop': 0}, 'center_crop must be a whole number'),
    ({'degradation': 'setting7'}, 'setting7'), ({'degradation': {'sigma': [4, 1]}}, 'sigma')])
def test_wrong_options_are_refused(images: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_set(images, **changes)


def test_degradation_is_the_one_of_the_option_file(images: Path) -> None:
    assert train_set(images, degradation={'sigma': [1, 2], 'noise': 3}).degradation == Degradation(sigma=(1, 2), noise=3)


# ---------------------------------------------------------------------------------------------- unusable training images
def test_the_next_usable_image_takes_the_place(images: Path) -> None:
    whole = train_set(images)
    names = whole.names
    for name in (names[1], names[5]):
        (images / name).write_bytes(b'')
    (images / names[2]).write_bytes(png((20, 20)))
    data = train_set(images)
    for index, expected in ((1, 3), (2, 3), (4, 4), (5, 0), (-1, 0)):
        sample = data[SampleIndex(index, 2, 10 + index)]
        assert equal(sample, whole[SampleIndex(expected, 2, 10 + index)]) and sample['gt_path'].endswith(names[expected])
        assert equal(sample, train_set(images)[SampleIndex(index, 2, 10 + index)])  # whatever was drawn before
    data[1], data[2]
    unusable = data.replacements.unusable
    assert unusable.keys() == {1, 2, 5} and names[2] in unusable[2] and '20x20' in unusable[2]
    with pytest.raises(IndexError):
        data[6]


@pytest.mark.parametrize('num, most, message', [(3, 2, r'more than 2 images .max_unreadable. cannot be used: .*image_0.*image_2'),
                                                (1, 0, 'more than 0 images'), (6, 6, 'none of the images can be used')])
def test_too_many_unusable_images_are_an_error_that_lists_them(num: int, most: int, message: str, images: Path) -> None:
    data = train_set(images, max_unreadable=most)
    for name in data.names[:num]:
        (images / name).write_bytes(b'')
    with pytest.raises(ValueError, match=message):
        [data[i] for i in range(6)]


def test_an_unusable_image_is_named_once(images: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> None:
    (images / 'image_1.png').write_bytes(b'')
    data = train_set(images)
    for _ in range(2):
        list(data)
    assert caplog.text.count('image_1.png cannot be read') == caplog.text.count('Another image takes its place') == 1
    caplog.set_level('ERROR', 'basicsr')  # as BasicSR does in all processes of a distributed run but the first
    list(train_set(images))
    assert capfd.readouterr().err.count('image_1.png cannot be read') == 1


@pytest.fixture
def flawed(images: Path) -> Path:
    """Six sound images and others."""
    whole = (images / 'image_0.png').read_bytes()
    for name, content in (('cut', whole[:len(whole) // 2]), ('text', b'text'), ('low', png((20, 64))), ('tiny', png((8, 64)))):
        (images / f'{name}.png').write_bytes(content)
    return images


ALL = {'cut', 'text', 'low', 'tiny', *(f'image_{i}' for i in range(6))}


@pytest.mark.parametrize('changes, by_head, decoded', [
    ({}, {'text', 'low', 'tiny'}, {'text', 'low', 'tiny', 'cut'}),
    ({'gt_size': 96}, ALL, ALL),
    ({'phase': 'test', 'num_patches': 1}, {'text', 'tiny'}, {'text', 'tiny', 'cut'})], ids=['training', 'large crops', 'testing'])
def test_images_are_inspected(changes: dict[str, Any], by_head: set[str], decoded: set[str], flawed: Path, tmp_path: Path) -> None:
    data = train_set(flawed, **changes)
    write_lmdb(flawed, tmp_path / 'images.lmdb')
    database = train_set(tmp_path / 'images.lmdb', **changes)
    for dataset, arguments, expected in ((data, {'num_decoded': 0}, by_head), (data, {}, decoded), (data, {'thorough': True}, decoded),
                                         (database, {'num_decoded': 0}, set()), (database, {'thorough': True}, decoded)):
        found = list(inspect(dataset, **arguments))
        assert len(found) == len(expected)
        assert {Path(re.split(r':| cannot', line)[0]).stem for line in found} == expected


def test_files_of_basicsrs_data_sets_are_inspected(flawed: Path) -> None:
    pairs = basicsr.data.build_dataset({
        'name': 'pairs', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 1, 'dataroot_gt': str(flawed),
        'dataroot_lq': str(flawed), 'io_backend': {'type': 'disk'}})
    found = {Path(line.split(' cannot')[0]).stem for line in inspect(pairs, thorough=True)}
    assert found == {'text', 'cut'} and is_error(pairs, 1)


def test_few_flaws_of_training_data_are_no_error(flawed: Path) -> None:
    assert not is_error(train_set(flawed), 4) and is_error(train_set(flawed, max_unreadable=3), 4)
    assert is_error(train_set(flawed, phase='val'), 1) and not is_error(train_set(flawed, phase='val'), 0)
    refuse_unusable([train_set(flawed)])
    with pytest.raises(ValueError, match='2 of 10 images cannot be used: .*text.png.*tiny.png'):
        refuse_unusable([test_set(flawed)])
