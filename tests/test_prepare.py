"""`basicsr prepare`: sub-images as PNG files and LMDB, whole after any interruption."""
from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Callable

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data.data_util import paired_paths_from_lmdb

from lightbsr_arch.data import preparation
from lightbsr_arch.data.blind_degradation_dataset import BlindDegradationDataset
from lightbsr_arch.data.preparation import Cutting, unique_names

RunCli = Callable[..., int]
NUM_IMAGES = 6
NUM_WINDOWS = 3 * 4  # of 40 pixels every 20 on 80 x 96, of which the last column is an edge window
SIZE = ('--size', 40, '--step', 20)
FORMS = pytest.mark.parametrize('output', ['sub', 'sub.lmdb'])


def read_png(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def contents(output: Path) -> dict[str, bytes]:
    """Name -> PNG."""
    if output.suffix != '.lmdb':
        return {path.stem: path.read_bytes() for path in output.glob('*.png')}
    with lmdb.open(str(output), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode('ascii'): value for key, value in transaction.cursor()}


def write(path: Path, seed: int = 1, height: int = 80, width: int = 96) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    return image


def dataset(root: Path, **changes: object) -> BlindDegradationDataset:
    return BlindDegradationDataset({'name': 'x', 'type': 'BlindDegradationDataset', 'phase': 'test', 'scale': 4,
                                    'dataroot_gt': str(root), 'degradation': {'sigma': 1.2}} | changes)


@pytest.mark.parametrize('length, size, step, starts', [
    (100, 40, 20, [0, 20, 40, 60]),  # fits
    (101, 40, 20, [0, 20, 40, 60, 61]),  # one more pixel needs one more window, at the edge
    (119, 40, 20, [0, 20, 40, 60, 79]),
    (40, 40, 20, [0]),
    (90, 40, 40, [0, 40, 50]),
    (5, 1, 1, [0, 1, 2, 3, 4]),
])
def test_windows_cover_a_side(length: int, size: int, step: int, starts: list[int]) -> None:
    found = Cutting(size, step).windows('x', size, length)
    assert list(found.values()) == [(slice(0, size), slice(start, start + size)) for start in starts]


def test_an_image_with_a_short_side_stays_whole() -> None:
    assert Cutting(40, 20).windows('x', 39, 500) == {'x_s001': (slice(0, 39), slice(0, 500))}


@FORMS
def test_sub_images_are_windows_of_the_image(images: Path, tmp_path: Path, run_cli: RunCli, output: str) -> None:
    assert run_cli('prepare', images, output, *SIZE, '--workers', 3) == 0
    made = contents(tmp_path / output)
    assert len(made) == NUM_IMAGES * NUM_WINDOWS
    for name, source in (('image_0', 'image_0'), ('nested_image_5', 'nested/image_5')):
        image = cv2.imread(str(images / f'{source}.png'))
        squares = [image[y:y + 40, x:x + 40] for y in (0, 20, 40) for x in (0, 20, 40, 56)]
        for i, square in enumerate(squares, 1):
            assert np.array_equal(read_png(made[f'{name}_s{i:03d}']), square)


def test_dataset_reads_the_same_pixels_from_both(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    for output in ('sub', 'sub.lmdb'):
        assert run_cli('prepare', images, output, *SIZE) == 0
    files, database = dataset(tmp_path / 'sub'), dataset(tmp_path / 'sub.lmdb')
    assert [f'{name}.png' for name in database.names] == files.names
    assert len(files) == NUM_IMAGES * NUM_WINDOWS
    square = cv2.imread(str(images / 'image_0.png'))[20:60, 56:96, ::-1]
    index = database.names.index('image_0_s008')
    assert np.array_equal((database[index]['gt'] * 255).round().numpy().transpose(1, 2, 0), square)
    for i in range(0, len(files), 7):
        assert np.array_equal(files[i]['gt'], database[i]['gt']) and np.array_equal(files[i]['lq'], database[i]['lq'])
    training = {'phase': 'train', 'gt_size': 32, 'num_patches': 2}
    pair = [dataset(tmp_path / form, **training)[3] for form in ('sub', 'sub.lmdb')]
    assert np.array_equal(pair[0]['gt'], pair[1]['gt']) and pair[0]['gt'].shape == (2, 3, 32, 32)


def test_lmdb_has_basicsr_layout(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    write(images / 'small.png', height=30, width=50)
    assert run_cli('prepare', images, 'sub.lmdb', *SIZE) == 0
    output = tmp_path / 'sub.lmdb'
    assert {'data.mdb', 'lock.mdb', 'meta_info.txt'} <= set(os.listdir(output))
    lines = (output / 'meta_info.txt').read_text().splitlines()
    assert lines[0] == 'image_0_s001.png (40,40,3) 3' and lines[-1] == 'small_s001.png (30,50,3) 3'
    paths = paired_paths_from_lmdb([str(output), str(output)], ['lq', 'gt'])
    assert {path['gt_path'] for path in paths} == contents(output).keys()


def test_awkward_names_stay_apart(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    shutil.rmtree(images)
    sources = ['a/b.png', 'a_b.png', 'A/B.png', 'photo (1).v2.png', 'né 猫.png', 'né 犬.png', 'same.png', 'same.bmp']
    pictures = [write(images / 'one' / source, seed) for seed, source in enumerate(sources[:-1])]
    pictures.append(write(images / 'two' / 'same.png', 99))
    assert run_cli('prepare', images / 'one', images / 'two', 'sub.lmdb', '--no-crop') == 0
    made = contents(tmp_path / 'sub.lmdb')
    assert {'two_same', 'one_photo--1--v2', 'one_ne-u732b', 'one_ne-u72ac'} <= made.keys()
    assert {picture.tobytes() for picture in pictures} == {read_png(png).tobytes() for png in made.values()}
    read = dataset(tmp_path / 'sub.lmdb')
    assert {(s['gt'] * 255).round().byte().numpy()[::-1].transpose(1, 2, 0).tobytes() for s in read} == {
        picture.tobytes() for picture in pictures}


def test_names_are_unique_whatever_the_case() -> None:
    paths = ['/r/a/b.png', '/r/a_b.PNG', '/r/a_b.jpg', '/r/A/B.png', f'/r/{"x" * 600}.png', f'/r/{"x" * 600}.jpg', '/r/c/d.png']
    names = unique_names(paths, '/r')
    assert names['/r/c/d.png'] == 'c_d' and len({name.lower() for name in names.values()}) == len(paths)
    assert max(map(len, names.values())) < 210
    assert all(unique_names(paths[i:i + 2], '/r').items() <= names.items() for i in (0, 2, 4)), 'other images rename none'


def interrupt_after(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program stops as it has written `num` images and a half."""
    for store in (preparation.FolderStore, preparation.LmdbStore):
        calls: list[int] = []

        def stopping_put(self: preparation.Store, pngs: dict[str, bytes], put: Callable[..., None] = store.put,
                         calls: list[int] = calls) -> None:
            calls.append(1)
            if len(calls) <= num:
                return put(self, pngs)
            if isinstance(self, preparation.FolderStore):
                put(self, dict(list(pngs.items())[::2]))
                Path(self.folder, f'{min(pngs)}.png.part').write_bytes(b'cut off')
            raise KeyboardInterrupt
        monkeypatch.setattr(store, 'put', stopping_put)


@FORMS
@pytest.mark.parametrize('num', [0, 4])
def test_goes_on_after_an_interruption(images: Path, tmp_path: Path, run_cli: RunCli, output: str, num: int,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli('prepare', images, f'whole_{output}', *SIZE) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(num, patch)
        assert run_cli('prepare', images, output, *SIZE, '--workers', 1) == 130
    if output.endswith('.lmdb'):
        assert not (tmp_path / output).exists() and (tmp_path / f'{output}.partial').exists()
    capsys.readouterr()
    assert run_cli('prepare', images, output, *SIZE) == 0
    assert (f'({num} were done before)' in capsys.readouterr().out) == (num > 0)
    assert contents(tmp_path / output) == contents(tmp_path / f'whole_{output}')
    assert not list((tmp_path / output).glob('*.part'))


def test_lmdb_is_finished_after_an_interruption_at_the_end(images: Path, tmp_path: Path, run_cli: RunCli,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(preparation.LmdbStore, 'finish', stop)
        assert run_cli('prepare', images, 'sub.lmdb', *SIZE) == 130
    assert not (tmp_path / 'sub.lmdb').exists()
    assert run_cli('prepare', images, 'sub.lmdb', *SIZE) == 0
    assert len(dataset(tmp_path / 'sub.lmdb')) == NUM_IMAGES * NUM_WINDOWS


@FORMS
def test_second_call_touches_nothing(images: Path, tmp_path: Path, run_cli: RunCli, output: str) -> None:
    assert run_cli('prepare', images, output, *SIZE) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / output).iterdir() if path.name != 'lock.mdb'}
    assert run_cli('prepare', images, output, *SIZE) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_missing_sub_images_are_made_again(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    assert run_cli('prepare', images, 'sub', *SIZE) == 0
    before = contents(tmp_path / 'sub')
    (tmp_path / 'sub/image_0_s003.png').unlink()
    assert run_cli('prepare', images, 'sub', *SIZE) == 0
    assert contents(tmp_path / 'sub') == before


@FORMS
def test_a_replaced_image_is_cut_again(images: Path, tmp_path: Path, run_cli: RunCli, output: str,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli('prepare', images, output, *SIZE) == 0
    image = write(images / 'image_0.png', seed=99)
    later = time.time() + 1  # a file's time may be as coarse as that
    os.utime(images / 'image_0.png', (later, later))
    capsys.readouterr()
    assert run_cli('prepare', images, output, *SIZE) == 0
    assert f'({NUM_IMAGES - 1} were done before)' in capsys.readouterr().out
    assert np.array_equal(read_png(contents(tmp_path / output)['image_0_s001']), image[:40, :40])


@FORMS
def test_an_image_replaced_by_a_smaller_one_leaves_nothing_of_the_larger(images: Path, tmp_path: Path, run_cli: RunCli,
                                                                         output: str) -> None:
    assert run_cli('prepare', images, output, *SIZE) == 0
    before = contents(tmp_path / output)
    small = write(images / 'image_0.png', seed=99, height=30, width=30)
    os.utime(images / 'image_0.png', (0, 0))  # by an older file, even
    assert run_cli('prepare', images, output, *SIZE) == 0
    after = contents(tmp_path / output)
    own = {name for name in before if name.startswith('image_0_')}
    assert len(own) > 1 and after.keys() == before.keys() - own | {'image_0_s001'}
    assert np.array_equal(read_png(after['image_0_s001']), small)


@FORMS
def test_whole_images_are_no_parts_of_others(images: Path, tmp_path: Path, run_cli: RunCli, output: str,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was cut, x_s001 is an image of that name, which must not go for x's sake."""
    write(tmp_path / 'cut/image_0_s001.png')
    assert run_cli('prepare', tmp_path / 'cut', output, '--no-crop') == 0
    before = contents(tmp_path / output)
    assert run_cli('prepare', images, output, '--no-crop') == 1
    assert 'holds image_0_s001, which is not a sub-image' in capsys.readouterr().err
    assert contents(tmp_path / output) == before


@FORMS
def test_an_image_that_breaks_later_is_named(images: Path, tmp_path: Path, run_cli: RunCli, output: str,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli('prepare', images, output, *SIZE) == 0
    (images / 'image_0.png').write_bytes(b'no header')
    assert run_cli('prepare', images, output, *SIZE) == 1
    assert f'{images}/image_0.png cannot be read' in capsys.readouterr().err
    assert len(contents(tmp_path / output)) == NUM_IMAGES * NUM_WINDOWS


@FORMS
def test_bad_images_are_named_and_added_later(images: Path, tmp_path: Path, run_cli: RunCli, output: str,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    (images / 'empty.png').touch()
    (images / 'text.jpg').write_text('not an image')
    jpeg = cv2.imencode('.jpg', write(images / 'image_0.png'))[1].tobytes()
    (images / 'short.jpg').write_bytes(jpeg[:len(jpeg) // 2])
    cv2.imwrite(str(images / 'float.tiff'), np.random.default_rng(0).random((80, 96), dtype=np.float32))
    assert run_cli('prepare', images, output, *SIZE) == 1
    err = capsys.readouterr().err
    for name in ('empty.png', 'text.jpg', 'short.jpg', 'float.tiff'):
        assert any(f'{images}/{name} cannot be read' in line for line in err.splitlines())
    assert '4 images could not be read' in err
    assert len(contents(tmp_path / output)) == NUM_IMAGES * NUM_WINDOWS
    for name in ('text.jpg', 'float.tiff', 'empty.png'):
        (images / name).unlink()
    (images / 'short.jpg').write_bytes(jpeg)
    assert run_cli('prepare', images, output, *SIZE) == 0
    assert len(contents(tmp_path / output)) == (NUM_IMAGES + 1) * NUM_WINDOWS


def test_gray_alpha_and_16_bits_become_what_the_dataset_sees(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    shutil.rmtree(images)
    color = write(images / 'alpha.png', height=16, width=16)
    cv2.imwrite(str(images / 'alpha.png'), np.dstack([color, color[..., 0]]))
    cv2.imwrite(str(images / 'gray.png'), color[..., 0])
    cv2.imwrite(str(images / 'deep.png'), color.astype(np.uint16) * 256 + 200)
    assert run_cli('prepare', images, 'sub', '--no-crop') == 0
    made = {name: read_png(png) for name, png in contents(tmp_path / 'sub').items()}
    assert np.array_equal(made['alpha'], color) and np.array_equal(made['deep'], color)
    assert np.array_equal(made['gray'], color[..., :1].repeat(3, 2))
    for before, after in zip(dataset(images), dataset(tmp_path / 'sub'), strict=True):
        assert np.array_equal(before['gt'], after['gt'])


def test_lmdb_grows(images: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, 'MAP_MARGIN', 2**18)
    noise = write(images / 'noise.png', height=400, width=400)
    assert run_cli('prepare', images, 'sub.lmdb', '--no-crop') == 0
    assert (tmp_path / 'sub.lmdb/data.mdb').stat().st_size > 2**18
    assert np.array_equal(read_png(contents(tmp_path / 'sub.lmdb')['noise']), noise)


def test_whole_images_have_no_size(images: Path, tmp_path: Path, run_cli: RunCli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        run_cli('prepare', images, 'sub', '--no-crop', '--step', 20)
    assert '--no-crop keeps the images whole: leave out --size and --step' in capsys.readouterr().err
    assert not (tmp_path / 'sub').exists()


@pytest.mark.parametrize('arguments, message', [
    (['images', 'nowhere', 'sub'], 'no folder of images {tmp}/nowhere'),
    (['images', 'bare', 'sub'], '{tmp}/bare holds no images'),
    (['images', 'images/sub'], '{tmp}/images/sub lies in the input {tmp}/images'),
    (['images', 'bare/..'], '{tmp} holds files'),
    (['images', 'done', '--size', 30], '{tmp}/done was cut with --size 40 --step 20, not with --size 30 --step 15'),
    (['images', 'done', '--no-crop'], 'not with --no-crop'),
    (['images/nested', 'done', *SIZE], '{tmp}/done holds image_0_s001'),
    (['images', 'sub', '--size', 20, '--step', 21], 'the step (21)'),
])
def test_refuses(images: Path, tmp_path: Path, run_cli: RunCli, arguments: list[str], message: str,
                 capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bare').mkdir()
    assert run_cli('prepare', images, 'done', *SIZE) == 0
    before = contents(tmp_path / 'done')
    assert run_cli('prepare', *arguments) == 1
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert not (tmp_path / 'sub').exists() and contents(tmp_path / 'done') == before


def test_damaged_database_is_named(images: Path, tmp_path: Path, run_cli: RunCli,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli('prepare', images, 'sub.lmdb', *SIZE) == 0
    (tmp_path / 'sub.lmdb/data.mdb').write_bytes(b'x' * 8192)
    assert run_cli('prepare', images, 'sub.lmdb', *SIZE) == 1
    assert f'LMDB cannot go on with {tmp_path}/sub.lmdb' in capsys.readouterr().err
