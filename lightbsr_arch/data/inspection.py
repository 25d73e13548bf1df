"""Whether a data set's images can be read and are large enough, before a run depends on it."""
from __future__ import annotations

import os
import random
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from ..degradations import KERNEL_SIZE
from .blind_degradation_dataset import BlindDegradationDataset

NUM_DECODED = 50


def inspect(dataset: BlindDegradationDataset, thorough: bool = False) -> Iterator[str]:
    """Yields a line for each image that a run would stumble over.

    The heads of all files are read, and some images, or with `thorough` all, are decoded.
    """
    options = dataset.options
    least = options.gt_size if options.phase == 'train' else KERNEL_SIZE // 2 + 1
    names = dataset.names
    decoded = set(names if thorough else random.Random(0).sample(names, min(NUM_DECODED, len(names))))
    for name in names:
        path = os.path.join(options.dataroot_gt, name)
        try:
            size = dataset.read(name).shape[1::-1] if name in decoded or dataset.is_lmdb and thorough else head(dataset, path)
        except (ValueError, OSError, UnidentifiedImageError) as error:
            yield str(error) if path in str(error) else f'{path} cannot be read as an image: {error}'
            continue
        if size and min(size) < least:
            yield f'{path} has {size[0]}x{size[1]} pixels, {options.name} needs {least} or more on each side'


def head(dataset: BlindDegradationDataset, path: str) -> tuple[int, int] | None:
    """Width and height as the file's head tells them; None for an image in LMDB."""
    if dataset.is_lmdb:
        return None
    with Image.open(path) as image:
        return image.size
