"""Loading training samples, one process: the data set against BasicSR's way. `python -m benchmarks.loading --help`.

BasicSR's data sets turn the whole image to float32 before they crop, and patch after patch into a tensor. Then how long a
data set takes to start, with 10^3 to 10^5 images in LMDB: to list them and to load the first one.
`--size` is that of the LR patches, of which a sample has 4; `--batch` is the number of samples.
"""
from __future__ import annotations

import itertools
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import FileClient, imfrombytes, img2tensor
from torch import Tensor

from lightbsr_arch.data.blind_degradation_dataset import BlindDegradationDataset
from lightbsr_arch.data.preparation import LmdbStore

from . import pairs
from .pairs import Pair, Settings

SUB_IMAGE, NUM_PATCH, SCALE = 480, 4, 4
COUNTS = (10**3, 10**4, 10**5)


# --------------------------------------------------------------------------------------------------------------- data
def png(rng: np.random.Generator, size: int) -> bytes:
    """An image as smooth and as noisy as a photograph."""
    coarse = rng.integers(0, 256, (size // 12, size // 12, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 2, (size, size, 3))
    return cv2.imencode('.png', image.clip(0, 255).astype(np.uint8))[1].tobytes()


def write_folder(folder: str, num: int, size: int) -> None:
    rng = np.random.default_rng(0)
    os.makedirs(folder)
    for i in range(num):
        with open(os.path.join(folder, f'image_{i:06}.png'), 'wb') as file:
            file.write(png(rng, size))


def write_lmdb(folder: str, num: int, size: int, num_different: int) -> None:
    """`num` names, under which `num_different` images come again and again."""
    rng = np.random.default_rng(0)
    images = [png(rng, size) for _ in range(num_different)]
    store = LmdbStore(folder)
    store.start()
    store.put({f'image_{i:06}': images[i % num_different] for i in range(num)})
    store.finish()


def make_dataset(folder: str, gt_size: int) -> BlindDegradationDataset:
    return BlindDegradationDataset({'name': 'benchmark', 'type': 'BlindDegradationDataset', 'dataroot_gt': folder, 'scale': SCALE,
                                    'degradation': 'setting1', 'phase': 'train', 'gt_size': gt_size, 'num_patches': NUM_PATCH})


# ----------------------------------------------------------------------------------------------------------- plain way
def plain_client(folder: str) -> FileClient:
    if folder.endswith('.lmdb'):
        return FileClient('lmdb', db_paths=[folder], client_keys=['gt'])
    return FileClient('disk')


def plain_sample(client: FileClient, dataset: BlindDegradationDataset, index: int) -> dict[str, Tensor]:
    """The sample of the data set, with the same draws."""
    rng = np.random.default_rng((0, 0, index))
    name, size = dataset.names[index], dataset.options.gt_size
    image = imfrombytes(client.get(name, 'gt') if dataset.is_lmdb else client.get(dataset.path(name)), float32=True)
    corners = [[rng.integers(length - size + 1) for length in image.shape[:2]] for _ in range(NUM_PATCH)]
    flips = rng.random(3) < 0.5
    patches = [augment(image[top:top + size, left:left + size], flips) for top, left in corners]
    return {'gt': torch.stack(img2tensor(patches, bgr2rgb=True, float32=True)),
            'kernel': dataset.degradation.sample_kernels(rng, 1)[0]}


def augment(patch: np.ndarray, flips: np.ndarray) -> np.ndarray:
    patch = patch[:, ::-1] if flips[0] else patch
    patch = patch[::-1] if flips[1] else patch
    return patch.transpose(1, 0, 2) if flips[2] else patch


def plain_start(folder: str) -> tuple[list[str], np.ndarray]:
    """As BasicSR's paired data set: the names, and the first image."""
    with open(os.path.join(folder, 'meta_info.txt')) as file:
        names = [line.split('.')[0] for line in file]
    return names, imfrombytes(plain_client(folder).get(names[0], 'gt'), float32=True)


# -------------------------------------------------------------------------------------------------------------- pairs
def loading_pair(name: str, folder: str, gt_size: int, num_sample: int) -> Pair:
    dataset, client = make_dataset(folder, gt_size), plain_client(folder)

    def plainly() -> list[dict[str, Tensor]]:
        return [plain_sample(client, dataset, i) for i in range(num_sample)]

    def ours() -> list[dict[str, Any]]:
        return [dataset[i] for i in range(num_sample)]

    def disagreement() -> float:
        return max((a[key] - b[key]).abs().max().item() for a, b in zip(ours(), plainly()) for key in b)
    return Pair(f'{name}, {gt_size // SCALE}x{gt_size // SCALE} x {NUM_PATCH}', plainly, ours, disagreement, 1e-6, num_sample)


def start_pair(folder: str, num: int) -> Pair:
    def ours() -> tuple[list[str], Any]:
        dataset = make_dataset(folder, 16)
        return dataset.names, dataset[0]

    def disagreement() -> float:
        return 0.0 if ours()[0] == plain_start(folder)[0] else math.inf
    return Pair(f'start with {num} images', lambda: plain_start(folder), ours, disagreement, 0.0, num)


def all_pairs(asked: Settings) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        for (height, _), num in itertools.product(asked.sizes or [(64, 64)], asked.batches or [4 if asked.quick else 64]):
            place, edge = os.path.join(folder, f'{height}_{num}'), max(SUB_IMAGE, SCALE * height)
            write_folder(place, num, edge)
            write_lmdb(f'{place}.lmdb', num, edge, num)
            yield loading_pair(f'folder, {num} samples', place, SCALE * height, num)
            yield loading_pair(f'LMDB, {num} samples', f'{place}.lmdb', SCALE * height, num)
        for num in (10, 100) if asked.quick else COUNTS:
            place = os.path.join(folder, f'start_{num}.lmdb')
            write_lmdb(place, num, 32, 10)
            yield start_pair(place, num)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    asked = pairs.settings(pairs.parser(__doc__).parse_args(arguments))
    return pairs.run('loading', all_pairs, asked)


if __name__ == '__main__':
    main(sys.argv[1:])
