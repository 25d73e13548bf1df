"""`basicsr degrade`: files with the pixels of `basicsr test`."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch

from lightbsr_arch.cli.degrade import parse_values
from lightbsr_arch.data.blind_degradation_dataset import BlindDegradationDataset
from lightbsr_arch.degradations import degrade, isotropic_kernel

RunCli = Callable[..., int]
ANISOTROPIC = ['theta=30', 'lambda_1=3.5', 'lambda_2=1.5', 'noise=5']


def read(path: Path) -> torch.Tensor:
    """(3, H, W) in [0, 1] RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.dtype == np.uint8, path
    return torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy()).float() / 255


def check_against_dataset(images: Path, output: Path, label: str, scale: int, degradation: Any) -> BlindDegradationDataset:
    """All of the dataset's samples are there, exactly, and no other file."""
    dataset = BlindDegradationDataset({'name': 'x', 'type': 'BlindDegradationDataset', 'phase': 'test', 'scale': scale,
                                       'dataroot_gt': str(images), 'degradation': degradation})
    for name, sample in zip(dataset.names, dataset, strict=True):
        assert torch.equal(read(output / label / 'LR' / name), sample['lq'])
        assert torch.equal(read(output / 'HR' / name), sample['gt'])
    for folder in (output / label / 'LR', output / 'HR'):
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob('*.*')) == dataset.names
    return dataset


@pytest.mark.parametrize('scale, widths', [(4, (1.2, 2.4, 3.6)), (3, (0.9, 1.8, 2.7)), (2, (0.6, 1.2, 1.8))])
def test_setting1_is_the_default(images: Path, tmp_path: Path, run_cli: RunCli, scale: int,
                                 widths: tuple[float, ...]) -> None:
    assert run_cli('degrade', images, 'out', '--scale', scale) == 0
    assert sorted(os.listdir(tmp_path / 'out')) == ['HR', *(f'sigma{width:g}' for width in widths)]
    for width in widths:
        check_against_dataset(images, tmp_path / 'out', f'sigma{width:g}', scale, {'sigma': width})
        kernel = np.load(tmp_path / f'out/sigma{width:g}/kernel.npy')
        assert np.array_equal(kernel, isotropic_kernel(width)[0])


@pytest.mark.parametrize('setting, num', [('setting2', 18), ('nine_kernels', 9), ('gaussian8', 8)])
def test_settings(images: Path, tmp_path: Path, run_cli: RunCli, setting: str, num: int) -> None:
    assert run_cli('degrade', images / 'nested', 'out', '--setting', setting) == 0
    labels = set(os.listdir(tmp_path / 'out')) - {'HR'}
    assert len(labels) == num
    if setting == 'setting2':
        check_against_dataset(images / 'nested', tmp_path / 'out', 'theta10_lambda2x1_noise10', 4,
                              {'theta': 10, 'lambda_1': 2.0, 'lambda_2': 1.0, 'noise': 10})


def test_files_are_enough_to_make_lr_again(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    cv2.imwrite(str(images / 'odd.png'), np.random.default_rng(3).integers(0, 256, (43, 50, 3), dtype=np.uint8))
    assert run_cli('degrade', images, 'out', '--degradation', *ANISOTROPIC[:3]) == 0
    folder = tmp_path / 'out/theta30_lambda3.5x1.5'
    gt = read(tmp_path / 'out/HR/odd.png')
    assert torch.equal(gt, read(images / 'odd.png')[:, :40, :48])
    lq = degrade(gt[None], torch.from_numpy(np.load(folder / 'kernel.npy'))[None], 4)[0]
    assert torch.equal(lq, read(folder / 'LR/odd.png'))


def test_noise_is_that_of_the_test(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    assert run_cli('degrade', images, 'out', '--degradation', *ANISOTROPIC) == 0
    check_against_dataset(images, tmp_path / 'out', 'theta30_lambda3.5x1.5_noise5', 4,
                          {'theta': 30, 'lambda_1': 3.5, 'lambda_2': 1.5, 'noise': 5})


def test_ranges_keep_what_was_drawn(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    assert run_cli('degrade', images, 'out', '--degradation', 'sigma=0.2:4', 'noise=0:25') == 0
    dataset = check_against_dataset(images, tmp_path / 'out', 'sigma0.2-4_noise0-25', 4,
                                    {'sigma': [0.2, 4], 'noise': [0, 25]})
    assert not (tmp_path / 'out/sigma0.2-4_noise0-25/kernel.npy').exists()
    drawn = np.load(tmp_path / 'out/sigma0.2-4_noise0-25/kernels.npz')
    assert drawn['names'].tolist() == dataset.names and len(set(drawn['noise'])) == len(dataset)
    for kernel, noise, sample in zip(drawn['kernels'], drawn['noise'], dataset, strict=True):
        assert np.array_equal(kernel, sample['kernel']) and noise == sample['noise']


def test_motion_and_compression(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    assert run_cli('degrade', images, 'out', '--degradation', 'sigma=2', 'jpeg=40') == 0
    check_against_dataset(images, tmp_path / 'out', 'sigma2_jpeg40', 4, {'sigma': 2, 'jpeg': 40})
    assert run_cli('degrade', images, 'out', '--force', '--degradation', 'motion=3:9', 'theta=45', 'jpeg=40:80') == 0
    dataset = check_against_dataset(images, tmp_path / 'out', 'theta45_motion3-9_jpeg40-80', 4,
                                    {'motion': [3, 9], 'theta': 45, 'jpeg': [40, 80]})
    drawn = np.load(tmp_path / 'out/theta45_motion3-9_jpeg40-80/kernels.npz')
    assert drawn['jpeg'].tolist() == [sample['jpeg'] for sample in dataset]


def test_jpegs_become_pngs_of_the_same_name(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    image = cv2.imread(str(images / 'image_0.png'))
    cv2.imwrite(str(images / 'nested/ein Bild.v2.JPG'), image)
    assert run_cli('degrade', images, 'out', '--degradation', 'sigma=2.4') == 0
    assert torch.equal(read(tmp_path / 'out/HR/nested/ein Bild.v2.png'), read(images / 'nested/ein Bild.v2.JPG'))
    assert (tmp_path / 'out/sigma2.4/LR/nested/ein Bild.v2.png').is_file()


def test_overwrites_only_when_forced(images: Path, tmp_path: Path, run_cli: RunCli,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['degrade', images, tmp_path / 'out', '--degradation', 'sigma=2.4']
    assert run_cli(*arguments) == 0
    lq = tmp_path / 'out/sigma2.4/LR/image_0.png'
    content = lq.read_bytes()
    lq.write_bytes(b'precious')
    assert run_cli(*arguments) == 1
    assert f'{tmp_path}/out holds files already' in capsys.readouterr().err and lq.read_bytes() == b'precious'
    assert run_cli(*arguments, '--force') == 0
    assert lq.read_bytes() == content


@pytest.mark.parametrize('arguments, message', [
    (['nowhere', 'out'], 'there is no folder {tmp}/nowhere'),
    (['bare', 'out'], '{tmp}/bare holds no images'),
    (['images', 'images/out'], 'lie one in the other'),
    (['images/nested', 'images', '--force'], 'lie one in the other'),
    (['images', 'file'], "Not a directory: 'file'"),
    (['images', 'out', '--degradation', 'sigma'], "got 'sigma'"),
    (['images', 'out', '--degradation', 'sigma=wide'], "got 'sigma=wide'"),
    (['images', 'out', '--degradation', 'sigma=1:2:3'], 'degradation.sigma must be'),
    (['images', 'out', '--degradation', 'sgima=1'], "unknown key 'sgima'"),
    (['images', 'out', '--degradation', 'sigma=3:1'], 'degradation.sigma must be'),
    (['images', 'out', '--degradation', 'noise=5'], 'needs either sigma'),
])
def test_refuses(images: Path, tmp_path: Path, run_cli: RunCli, arguments: list[str], message: str,
                 capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bare').mkdir()
    (tmp_path / 'file').touch()
    assert run_cli('degrade', *arguments) == 1
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name, content, message', [
    ('image_0.jpg', None, 'several images would become image_0.png'),
    ('short.png', b'\x89PNG', 'short.png cannot be read as an image'),
])
def test_bad_images_are_named(images: Path, run_cli: RunCli, name: str, content: bytes | None, message: str,
                              capsys: pytest.CaptureFixture[str]) -> None:
    (images / name).write_bytes(content or (images / 'image_0.png').read_bytes())
    assert run_cli('degrade', images, 'out') == 1
    assert message in capsys.readouterr().err and not os.path.exists('out')


def test_values() -> None:
    assert parse_values(['sigma=2.4', 'noise=0:25']) == {'sigma': 2.4, 'noise': (0.0, 25.0)}
