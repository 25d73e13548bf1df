"""Whether images can be read and are large enough, before a run depends on it."""
from __future__ import annotations

import random
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from ..basicsr_compat import NO_IMAGE, decode_image, list_some, max_unreadable
from .blind_degradation_dataset import BlindDegradationDataset

NUM_DECODED = 50
MANY = 2000  # heads take a second or so
Image.MAX_IMAGE_PIXELS = None  # Pillow's guard against files of strangers


def inspect(dataset: Dataset, thorough: bool = False, num_decoded: int = NUM_DECODED) -> Iterator[str]:
    """Yields a line for each image that a run would stumble over.

    The heads of all files are read, and some images, or with `thorough` all, are decoded; those of LMDB have no heads.
    Of data sets that are not ours, files on the disk are looked at, as far as they keep a list of them.
    """
    names = dataset.names if isinstance(dataset, BlindDegradationDataset) else files(dataset)
    chosen = set(names if thorough else random.Random(0).sample(names, min(num_decoded, len(names))))
    look = inspect_ours if isinstance(dataset, BlindDegradationDataset) else inspect_file
    for name in names:
        problem = look(dataset, name, name in chosen)
        if problem:
            yield problem


def inspect_ours(dataset: BlindDegradationDataset, name: str, decode: bool) -> str | None:
    path = dataset.path(name)
    try:
        if decode:
            size = dataset.read(name).shape[1::-1]
        elif not dataset.is_lmdb:
            size = head(path)
        else:
            return None
    except (ValueError, OSError) as error:
        return str(error) if path in str(error) else f'{path} cannot be read: {error}'
    problem = dataset.too_small(*size)
    return f'{path}: {problem}' if problem else None


def inspect_file(dataset: Dataset, path: str, decode: bool) -> str | None:
    try:
        head(path)
        if decode:
            with open(path, 'rb') as file:
                decode_image(file.read(), path)
    except (ValueError, OSError) as error:
        return str(error) if path in str(error) else f'{path} cannot be read: {error}'
    return None


def files(dataset: Dataset) -> list[str]:
    """Of one of BasicSR's data sets, which keep paths, or pairs of them, unless they read from LMDB."""
    if (dataset.opt.get('io_backend') or {}).get('type', 'disk') != 'disk':
        return []
    entries = getattr(dataset, 'paths', [])
    paths = [path for entry in entries for path in (entry.values() if isinstance(entry, dict) else [entry])]
    return sorted({path for path in paths if isinstance(path, str)})


def head(path: str) -> tuple[int, int]:
    """Width and height, without decoding the image."""
    try:
        with Image.open(path) as image:
            return image.size
    except UnidentifiedImageError:
        raise ValueError(NO_IMAGE.format(path)) from None


def refuse_unusable(datasets: list[Dataset]) -> None:
    """The cheap part: heads alone, and of small folders alone.

    Raises:
        ValueError: an image for validation or testing cannot be used, or more for training than `max_unreadable`.
    """
    for dataset in datasets:
        if getattr(dataset, 'is_lmdb', False) or len(dataset) > MANY:
            continue
        problems = list(inspect(dataset, num_decoded=0))
        if is_error(dataset, len(problems)):
            raise ValueError(f'datasets: {dataset.opt["name"]}: {len(problems)} of {len(dataset)} images cannot be '
                             f'used: {list_some(problems)}')


def is_error(dataset: Dataset, num_problems: int) -> bool:
    """Whether images that cannot be used will stop the run, rather than be replaced."""
    if dataset.opt['phase'] != 'train':
        return num_problems > 0
    return num_problems > max_unreadable(dataset) or 0 < num_problems == len(dataset)
