"""HR images with sampled degradations: crops for training, whole images for testing.

Protocol: LightBSR (https://arxiv.org/abs/2506.22710) Section 4.1, KDSR (https://arxiv.org/abs/2211.16928) Section 4.1.
"""
from __future__ import annotations

import os
import zlib
from typing import Any, Mapping

import cv2
import numpy as np
import torch
from basicsr.utils import FileClient
from torch import Tensor
from torch.utils.data import Dataset

from .. import config
from ..basicsr_compat import Replacements, SampleIndex, UnusableImage, decode_image
from ..degradations import KERNEL_SIZE, Degradation, compress_jpeg, degrade, parse_degradation
from ..folders import walk

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')


class BlindDegradationDataset(Dataset):
    """Yields what a model degrades itself, or finished pairs.

    Images are read as 8-bit RGB (gray is repeated, alpha dropped, 16 bits are cut to 8) and given in [0, 1].

    Training yields `gt` (D, 3, gt_size, gt_size), `gt_path`, `kernel` (21, 21), `noise` (8-bit units), `noise_seed`: D crops of
    one image that share flips, rotation and degradation. Sample i of epoch e is a function of (seed, e, i), where i is
    the position in the enlarged epoch, with any number of workers. The next image of the list takes the place of one that
    is unreadable or too small.

    Testing, and training with `pairs: true`, yields `lq` (3, h, w), `gt` (3, H, W), `lq_path`, `gt_path`, `kernel` and
    `noise`, degraded on the CPU; and `jpeg`, a quality, if LR images are compressed. Testing draws from the image's
    name and the degradation alone: the same in every run.

    Args:
        opt: The option file's section, see `config.DatasetOptions`.

    Raises:
        ValueError: an unknown key, a missing or empty folder; when read, an image that is unreadable or too small, in
            training more of them than `max_unreadable`. The message names the folder or files.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt  # BasicSR reads the name from here
        self.options = config.build(config.DatasetOptions, opt, f'datasets: {opt.get("name", opt.get("phase"))}')
        if self.options.phase == 'train' and self.options.gt_size <= KERNEL_SIZE // 2:
            raise ValueError(f'datasets: {self.options.name}: gt_size ({self.options.gt_size}) must be more than '
                             f'{KERNEL_SIZE // 2}, half a blur kernel')
        self.degradation = parse_degradation(self.options.degradation, self.options.scale)
        if self.options.phase == 'train' and not self.options.pairs and self.degradation.jpeg is not None:
            raise ValueError(f'datasets: {self.options.name}: degradation.jpeg works on the CPU alone, but the model '
                             'degrades the images: set pairs: true (finished pairs from the data set), or leave jpeg '
                             'out')
        self.is_lmdb = self.options.dataroot_gt.rstrip('/').endswith('.lmdb')
        if self.options.io_backend and (self.options.io_backend.get('type') == 'lmdb') != self.is_lmdb:
            raise ValueError(f'datasets: {self.options.name}: io_backend is {self.options.io_backend.get("type")}, but '
                             f'dataroot_gt {"ends" if self.is_lmdb else "does not end"} in .lmdb: leave io_backend out')
        self.names = list_images(self.options.dataroot_gt, self.options.meta_info_file)
        self.replacements = Replacements(self.options.name, self.options.max_unreadable)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: SampleIndex | int) -> dict[str, Any]:
        if self.options.phase == 'train':
            return self._train_sample(*self.replacements.find(self._read_large, index, len(self)), index)
        name = self.names[index]
        return self._test_sample(self.read(name), name)

    def _read_large(self, index: int) -> tuple[np.ndarray, str]:
        """An image for training, and its name.

        Raises:
            UnusableImage: also one that is not there or too small.
        """
        name = self.names[index]
        try:
            image = self.read(name)
        except OSError as error:
            raise UnusableImage(f'{self.path(name)} cannot be read: {error.strerror or error}') from error
        if problem := self.too_small(*image.shape[1::-1]):
            raise UnusableImage(f'{self.path(name)}: {problem}')
        return image, name

    def too_small(self, width: int, height: int) -> str | None:
        """What is wrong with an image of this size, or None."""
        gt_size = self.options.gt_size
        if self.options.phase == 'train' and min(width, height) < gt_size:
            return f'the image has {width}x{height} pixels, less than gt_size {gt_size}: remove it or lower gt_size'
        if min(size - size % self.options.scale for size in (width, height)) <= KERNEL_SIZE // 2:
            return (f'an image of {width}x{height} pixels is too small to be blurred with a {KERNEL_SIZE}x{KERNEL_SIZE} '
                    'kernel')
        return None

    def _train_sample(self, image: np.ndarray, name: str, index: SampleIndex | int) -> dict[str, Any]:
        options = self.options
        rng = np.random.default_rng((options.seed, getattr(index, 'epoch', 0), getattr(index, 'position', int(index))))
        patches = [random_crop(rng, image, options.gt_size) for _ in range(options.num_patches)]
        patches = flip_and_rotate(rng, np.stack(patches), options.use_hflip, options.use_rot)
        sample = {'gt': to_tensor(patches), 'gt_path': self.path(name)} | _draw(self.degradation, rng)
        return _finish(sample, options.scale) | {'lq_path': self.path(name)} if options.pairs else sample

    def _test_sample(self, image: np.ndarray, name: str) -> dict[str, Any]:
        if self.options.center_crop is not None:
            image = center_crop(image, self.options.center_crop)
        if problem := self.too_small(*image.shape[1::-1]):
            raise ValueError(f'{self.path(name)}: {problem}')
        stem = os.path.splitext(os.path.basename(name))[0]
        return (degraded(image, stem, self.degradation, self.options.scale)
                | {'lq_path': self.path(name), 'gt_path': self.path(name)})

    def path(self, name: str) -> str:
        return os.path.join(self.options.dataroot_gt, name)

    def read(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        if self.is_lmdb:
            content = FileClient('lmdb', db_paths=[self.options.dataroot_gt], client_keys=['gt']).get(name, 'gt')
        else:
            content = FileClient('disk').get(self.path(name))
        return cv2.cvtColor(decode_image(content, self.path(name)), cv2.COLOR_BGR2RGB)


def degraded(image: np.ndarray, stem: str, degradation: Degradation, scale: int) -> dict[str, Any]:
    """What a test makes of an image: `lq`, `gt`, `kernel`, `noise` and, where it is compressed, `jpeg`.

    Args:
        image: (H, W, 3) uint8 RGB, cut at the bottom and right to a multiple of the scale.
        stem: Its name without folder and suffix, from which, with the degradation's label, all is drawn.

    Raises:
        ValueError: an image too small to be blurred.
    """
    height, width = (size - size % scale for size in image.shape[:2])
    rng = np.random.default_rng(zlib.crc32(f'{stem} {degradation.label}'.encode()))
    return _finish({'gt': to_tensor(image[None, :height, :width])} | _draw(degradation, rng), scale)


def _draw(degradation: Degradation, rng: np.random.Generator) -> dict[str, Any]:
    drawn = {'kernel': degradation.sample_kernels(rng, 1)[0], 'noise': degradation.sample_noise(rng, 1)[0],
             'noise_seed': int(rng.integers(2**62))}
    quality = degradation.sample_jpeg(rng)
    return drawn if quality is None else drawn | {'jpeg': quality}


def _finish(sample: dict[str, Any], scale: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(sample.pop('noise_seed'))
    lq = degrade(sample['gt'], sample['kernel'][None], scale, sample['noise'], generator)[0]
    if 'jpeg' in sample:
        lq = compress_jpeg(lq, sample['jpeg'])
    return sample | {'lq': lq, 'gt': sample['gt'][0]}


def list_images(root: str, meta_info_file: str | None = None) -> list[str]:
    """Sorted names relative to a folder, searched with its subfolders; keys of an LMDB folder; or those of a list.

    Raises:
        ValueError: a missing folder or list, or one without images.
    """
    is_lmdb = root.rstrip('/').endswith('.lmdb')
    if not os.path.isdir(root):
        other = root.removesuffix('.lmdb') if is_lmdb else f'{root}.lmdb'
        if os.path.isdir(other):
            raise ValueError(f'there is no folder {os.path.abspath(root)}, but {other}: name that in dataroot_gt')
        raise ValueError(f'there is no folder {os.path.abspath(root)}: set dataroot_gt, or data_root at the top of the '
                         'option file (datasets/README.md tells how to prepare data)')
    if is_lmdb or meta_info_file:
        path = meta_info_file or os.path.join(root, 'meta_info.txt')
        if not os.path.isfile(path):
            raise ValueError(f'there is no list of images {path}')
        with open(path, encoding='utf-8') as file:
            names = [line.split(' (')[0].split('\t')[0].strip() for line in file if line.strip()]
        names = [os.path.splitext(name)[0] for name in names] if is_lmdb else names
    else:
        names = [os.path.relpath(os.path.join(folder, name), root)  # BasicSR's scandir stumbles over hidden files
                 for folder, _, files in walk(root) for name in files
                 if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')]
    if not names:
        raise ValueError(f'{os.path.abspath(root)} holds no images ({", ".join(IMAGE_SUFFIXES)})')
    return sorted(names)


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """At most (size, size, 3) of (H, W, 3); a shorter side stays whole."""
    top, left = (max(length - size, 0) // 2 for length in image.shape[:2])
    return image[top:top + size, left:left + size]


def random_crop(rng: np.random.Generator, image: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) of (H, W, 3), which is not smaller."""
    height, width = image.shape[:2]
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return image[top:top + size, left:left + size]


def flip_and_rotate(rng: np.random.Generator, images: np.ndarray, flip: bool, rotate: bool) -> np.ndarray:
    """One draw for all of (D, H, W, 3): a horizontal flip; a vertical flip and a transposition."""
    horizontal, vertical, transpose = rng.random(3) < 0.5
    if flip and horizontal:
        images = images[:, :, ::-1]
    if rotate and vertical:
        images = images[:, ::-1]
    if rotate and transpose:
        images = images.swapaxes(1, 2)
    return images


def to_tensor(images: np.ndarray) -> Tensor:
    """(D, H, W, 3) uint8 -> (D, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255
