"""Images that cannot be used: named, and in training replaced."""
from __future__ import annotations

import functools
import itertools
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from types import ModuleType
from typing import Any, TypeVar

import cv2
import numpy as np

from ..config import DatasetOptions

T = TypeVar('T')
NO_IMAGE = '{} cannot be read as an image: it is empty, cut off or of another format. Replace or remove it'


class UnusableImage(ValueError):
    """An image that is unreadable, too small, or does not fit its pair; the message names its file."""


class Replacements:
    """The next image takes the place of one that cannot be used, so that a sample depends on its index alone.

    Args:
        name: The data set's.
        limit: So many images may be unusable.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit = name, limit
        self.unusable: dict[int, str] = {}  # why, by index

    def find(self, read: Callable[[int], T], index: int, num: int) -> T:
        """What `read` gives of image `index` of `num`, or of the next one that can be used.

        Raises:
            IndexError: no such index. ValueError: too many images, or all, that `read` calls unusable.
        """
        if not -num <= index < num:
            raise IndexError(index)
        for offset in range(num):
            place = (index + offset) % num
            if place not in self.unusable:
                try:
                    return read(place if offset else index)  # as it came, it may know more of itself
                except UnusableImage as error:
                    self._note(place, str(error))
        raise ValueError(f'datasets: {self.name}: none of the images can be used: {list_some(self.unusable.values())}')

    def _note(self, index: int, problem: str) -> None:
        self.unusable[index] = problem
        if len(self.unusable) > self.limit:
            raise ValueError(f'datasets: {self.name}: more than {self.limit} images (max_unreadable) cannot be used: '
                             f'{list_some(self.unusable.values())}')
        warn(f'{problem}. Another image takes its place.')


def max_unreadable(dataset: Any) -> int:
    """How many images of a training data set may be unusable."""
    return dataset.opt.get('max_unreadable', DatasetOptions.max_unreadable)


def warn(message: str) -> None:
    """On the terminal, from any process, and in the run's log file where there is one."""
    logger = logging.getLogger('basicsr')
    if logger.isEnabledFor(logging.WARNING):
        logger.warning(message)
    else:  # BasicSR silences all processes but the first
        print(message, file=sys.stderr, flush=True)


def list_some(problems: Collection[str], num: int = 10) -> str:
    rest = f'; and {len(problems) - num} more' if len(problems) > num else ''
    return '; '.join(itertools.islice(problems, num)) + rest


def decode_image(content: bytes, path: str, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 BGR, by default.

    Raises:
        UnusableImage: what the file holds is no image.
    """
    from basicsr.utils import img_util
    try:
        image = img_util.imfrombytes(content, flag, float32)
    except (cv2.error, TypeError, AttributeError):
        image = None
    if image is None:
        raise UnusableImage(NO_IMAGE.format(path))
    return image


class NamedBytes(bytes):
    """What a file holds, and its path."""

    path = 'an image'


def name_broken_images() -> None:
    """AttributeError: 'NoneType' object has no attribute 'astype', or a cv2.error, for an unreadable image: which one?"""
    from basicsr.utils.file_client import FileClient
    get = FileClient.get

    @functools.wraps(get)
    def get_named(self: FileClient, filepath: str, client_key: str = 'default') -> bytes:
        content = NamedBytes(get(self, filepath, client_key) or b'')  # LMDB has None for what is not there
        content.path = str(filepath)
        return content

    def imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
        return decode_image(content, getattr(content, 'path', NamedBytes.path), flag, float32)

    FileClient.get = get_named
    for module in data_modules('imfrombytes'):
        module.imfrombytes = imfrombytes


def name_mismatched_pairs() -> None:
    """ValueError: ('Scale mismatches. GT (479, 320) is not 2x ', ...), a tuple that names no file."""
    from basicsr.data.transforms import paired_random_crop

    @functools.wraps(paired_random_crop)
    def crop(img_gts: Any, img_lqs: Any, gt_patch_size: int, scale: int, gt_path: str | None = None) -> Any:
        try:
            return paired_random_crop(img_gts, img_lqs, gt_patch_size, scale, gt_path)
        except ValueError as error:
            raise UnusableImage(f'{gt_path}: {"".join(error.args).rstrip(".")}') from None

    for module in data_modules('paired_random_crop'):
        module.paired_random_crop = crop


def sort_files() -> None:
    """Two machines train differently with one seed: images come in the order in which the disk keeps them."""
    from basicsr.data import data_util
    scandir = data_util.scandir

    @functools.wraps(scandir)
    def sorted_scandir(*args: Any, **kwargs: Any) -> list[str]:
        return sorted(scandir(*args, **kwargs))

    data_util.scandir = sorted_scandir


def take_luma_of_bgr() -> None:
    """`SingleImageDataset` with `color: y`: Y is wrong by up to 0.1, that of RGB taken of BGR."""
    from basicsr.data import single_image_dataset
    from basicsr.utils import bgr2ycbcr
    single_image_dataset.rgb2ycbcr = bgr2ycbcr


def data_modules(name: str) -> Iterator[ModuleType]:
    """BasicSR's modules of data sets that have imported a function."""
    for module in list(sys.modules):
        if module.startswith('basicsr.data.') and module.endswith('_dataset') and hasattr(sys.modules[module], name):
            yield sys.modules[module]
