"""From folders of HR images to a folder or an LMDB of overlapping square sub-images, as BasicSR's `extract_subimages`.

It may be interrupted at any time: the names of an image's sub-images follow from its size, and an image whose names are
all in the store is done, unless its file has changed since the last call that ran to its end.
"""
from __future__ import annotations

import os
import re
import struct
import threading
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

import cv2
import lmdb
import numpy as np
from PIL import Image
from tqdm import tqdm

from ..basicsr_compat import decode_image
from .blind_degradation_dataset import list_images

MAX_NAME_LENGTH = 200  # file systems take 255 bytes, LMDB keys 511
COMPRESS_LEVEL = 3  # as in BasicSR's extract_subimages
MAP_MARGIN = 2**30  # bytes, for LMDB's own pages; they take space in the address range, not on the disk
# Says how a folder was cut and, by its own date, when. Not a hidden file: BasicSR's scandir, searching subfolders, takes those for folders and fails.
RECORD = 'prepared.txt'
Image.MAX_IMAGE_PIXELS = None  # Pillow's guard against files of strangers


@dataclass(frozen=True)
class Cutting:
    """How images are cut.

    size: Edge of the squares in pixels; None keeps images whole.
    step: Distance from one square to the next.

    Raises:
        ValueError: a step that would leave pixels out.
    """

    size: Optional[int] = 480
    step: int = 240

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.step <= self.size:
            raise ValueError(f'the step ({self.step}) must lie between 1 and the size ({self.size}), or pixels would be '
                             'left out')

    def __str__(self) -> str:
        return '--no-crop' if self.size is None else f'--size {self.size} --step {self.step}'

    def windows(self, name: str, height: int, width: int) -> dict[str, tuple[slice, slice]]:
        """The rows and columns of `<name>_s001`, `<name>_s002`, ...; where nothing is cut, of `<name>`.

        The last of a row or column touches the edge, so that no pixel is left out. An image with a side shorter than the
        size stays whole.
        """
        if self.size is None:
            return {name: (slice(0, height), slice(0, width))}
        if min(height, width) < self.size:
            return {f'{name}_s001': (slice(0, height), slice(0, width))}
        squares = [(rows, columns) for rows in self._spans(height) for columns in self._spans(width)]
        return {f'{name}_s{i:03d}': square for i, square in enumerate(squares, 1)}

    def image_of(self, name: str) -> str:
        """The image that a sub-image of this name was cut from, by the names that `windows` gives."""
        return name if self.size is None else re.sub(r'_s\d+$', '', name)

    def _spans(self, length: int) -> list[slice]:
        last = length - self.size
        return [slice(start, start + self.size) for start in sorted({*range(0, last, self.step), last})]


class FolderStore:
    """A folder of `<name>.png`, each of them whole."""

    def __init__(self, path: str) -> None:
        self.folder = path

    def names(self) -> set[str]:
        files = os.listdir(self.folder) if os.path.exists(self.folder) else []
        return {os.path.splitext(name)[0] for name in files if name.endswith('.png')}

    def start(self) -> None:
        os.makedirs(self.folder, exist_ok=True)

    def put(self, pngs: Mapping[str, bytes]) -> None:
        for name, png in pngs.items():
            _write_whole(os.path.join(self.folder, f'{name}.png'), png)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            os.remove(os.path.join(self.folder, f'{name}.png'))

    def finish(self) -> None:
        """Nothing is left to do."""


class LmdbStore:
    """An LMDB folder: name -> PNG, listed in meta_info.txt. It is called `<path>.partial` until it is complete.

    Raises:
        ValueError: there are a finished and an unfinished one.
    """

    def __init__(self, path: str) -> None:
        self.path, self.partial = path, f'{path}.partial'
        if os.path.exists(self.path) and os.path.exists(self.partial):
            raise ValueError(f'there are both {self.path} and an unfinished {self.partial}: delete one of them')
        self.folder = self.partial if os.path.exists(self.partial) else self.path
        self._lock = threading.Lock()  # a process may open an LMDB once at a time

    def names(self) -> set[str]:
        if not self._num_bytes():
            return set()
        with lmdb.open(self.folder, readonly=True, lock=False) as environment, environment.begin() as transaction:
            return {name.decode('ascii') for name in transaction.cursor().iternext(values=False)}

    def start(self) -> None:
        if os.path.exists(self.path):
            os.rename(self.path, self.partial)
        os.makedirs(self.partial, exist_ok=True)
        self.folder = self.partial

    def put(self, pngs: Mapping[str, bytes]) -> None:
        """Adds all of them or, where the program is interrupted, none."""
        with self._lock:
            map_size = self._num_bytes() + 2 * sum(map(len, pngs.values())) + MAP_MARGIN
            with lmdb.open(self.partial, map_size=map_size) as environment, environment.begin(write=True) as transaction:
                for name, png in pngs.items():
                    transaction.put(name.encode('ascii'), png)

    def remove(self, names: Iterable[str]) -> None:
        with lmdb.open(self.partial, map_size=self._num_bytes() + MAP_MARGIN) as environment:
            with environment.begin(write=True) as transaction:
                for name in names:
                    transaction.delete(name.encode('ascii'))

    def finish(self) -> None:
        """Lists what is there in BasicSR's layout and gives the folder its name."""
        lines = []
        with lmdb.open(self.partial, readonly=True) as environment, environment.begin(buffers=True) as transaction:
            for name, png in transaction.cursor():
                width, height = struct.unpack_from('>II', png, 16)  # where every PNG has them
                lines.append(f'{bytes(name).decode("ascii")}.png ({height},{width},3) {COMPRESS_LEVEL}\n')
        _write_whole(os.path.join(self.partial, 'meta_info.txt'), ''.join(lines).encode('ascii'))
        os.rename(self.partial, self.path)

    def _num_bytes(self) -> int:
        path = os.path.join(self.folder, 'data.mdb')
        return os.path.getsize(path) if os.path.exists(path) else 0


Store = FolderStore | LmdbStore


def prepare(inputs: Sequence[str], output: str, cutting: Cutting, num_workers: int = 1) -> tuple[str, list[str]]:
    """Cuts the images of folders and their subfolders.

    Args:
        inputs: Folders.
        output: A folder for PNGs, or an LMDB folder if it ends in .lmdb. What an earlier call left there is kept.
        cutting: How images are cut.
        num_workers: Images that are worked on at once. Threads: OpenCV's coders run without Python's lock.

    Returns:
        A line about what is there now, and one for each image that cannot be read and was left out.

    Raises:
        ValueError: a folder that is missing, empty or around the output; an output that holds something else.
        OSError: the disk is full or cannot be written, or the database is damaged.
    """
    output = os.path.abspath(output)
    images = find_images(inputs, output)
    store = LmdbStore(output) if output.endswith('.lmdb') else FolderStore(output)
    _check_record(store.folder, cutting)
    try:
        todo, surplus = _unfinished(images, cutting, store)
        errors = _work(todo, surplus, cutting, store, num_workers) if todo else []
        num_sub_images = len(store.names())
        if num_sub_images and store.folder != output:
            store.finish()
    except lmdb.Error as error:
        raise OSError(f'LMDB cannot go on with {store.folder}: {error}') from error
    before = f' ({len(images) - len(todo)} were done before)' if len(todo) < len(images) else ''
    return f'{output}: {num_sub_images} sub-images of {len(images) - len(errors)} images{before}', errors


def find_images(inputs: Sequence[str], output: str) -> dict[str, str]:
    """Absolute path -> name, unique and fit for every file system and for BasicSR's readers of LMDB and lists.

    Those read ASCII and end a name at the first dot or blank. A name is made from the path below the folder that the
    inputs share; where several would be the same, also where case doesn't count, they get the path's checksum.

    Raises:
        ValueError: a folder that is missing, empty or around the output.
    """
    folders = [os.path.abspath(folder) for folder in inputs]
    for folder in folders:
        if not os.path.isdir(folder) or folder.endswith('.lmdb'):
            raise ValueError(f'there is no folder of images {folder}')
        if os.path.commonpath([folder, output]) == folder:
            raise ValueError(f'the output {output} lies in the input {folder}, where it would be taken for input by the '
                             'next call: choose another OUTPUT')
    paths = sorted({os.path.join(folder, name) for folder in folders for name in list_images(folder)})
    return unique_names(paths, os.path.commonpath(folders))


def unique_names(paths: Sequence[str], root: str) -> dict[str, str]:
    """`<root>/a/b.png` -> `a_b`."""
    relative = {path: os.path.relpath(path, root) for path in paths}
    plain = {path: _plain_name(os.path.splitext(relative[path])[0]) for path in paths}
    count = Counter(name.lower() for name in plain.values())
    return {path: name if count[name.lower()] == 1 else f'{name}-{zlib.crc32(os.fsencode(relative[path])):08x}'
            for path, name in plain.items()}


def _plain_name(path: str) -> str:
    text = ''.join(c for c in unicodedata.normalize('NFKD', path) if not unicodedata.combining(c))
    text = re.sub(r'[^\x00-\x7f]', lambda match: f'u{ord(match[0]):04x}', text)
    return re.sub(r'[^A-Za-z0-9_-]', '-', text.replace(os.sep, '_'))[-MAX_NAME_LENGTH:]


def _check_record(folder: str, cutting: Cutting) -> None:
    path = os.path.join(folder, RECORD)
    if os.path.exists(path):
        with open(path, encoding='ascii') as file:
            previous = file.read().strip()
        if previous != str(cutting):
            raise ValueError(f'{folder} was cut with {previous}, not with {cutting}: choose another OUTPUT, or delete that '
                             'folder')
    elif os.path.exists(folder) and set(os.listdir(folder)) - {f'{RECORD}.part'}:
        raise ValueError(f'{folder} holds files that `basicsr prepare` did not write: choose another OUTPUT, or empty '
                         'that folder')


def _unfinished(images: Mapping[str, str], cutting: Cutting, store: Store) -> tuple[dict[str, str], set[str]]:
    """The part of `images` that is not in the store, or has changed since; and what the store holds of larger images, which
    some of them were before."""
    expected = {path: _sub_image_names(path, name, cutting) for path, name in images.items()}
    held = store.names()
    unreadable = {images[path] for path, names in expected.items() if not names}
    surplus = {name: image for name in held.difference(*expected.values())
               if (image := cutting.image_of(name)) not in unreadable}
    strangers = [name for name, image in surplus.items() if name == image or image not in images.values()]
    if strangers:
        raise ValueError(f'{store.folder} holds {min(strangers)}, which is not a sub-image of this call\'s images: choose '
                         'another OUTPUT, or delete that folder')
    record = os.path.join(store.folder, RECORD)
    since = os.path.getmtime(record) if os.path.exists(record) else 0.0
    changed = set(surplus.values())
    todo = {path: images[path] for path, names in expected.items()
            if not names or not names <= held or os.path.getmtime(path) > since or images[path] in changed}
    return todo, set(surplus)


def _sub_image_names(path: str, name: str, cutting: Cutting) -> set[str]:
    """From the image's header; none if that cannot be read. A photograph that lies on its side has as many names."""
    try:
        with Image.open(path) as image:
            return set(cutting.windows(name, image.height, image.width))
    except (OSError, ValueError):
        return set()


def _work(images: Mapping[str, str], surplus: set[str], cutting: Cutting, store: Store, num_workers: int) -> list[str]:
    """Cuts and stores, then removes what is left over; returns a message for each image that cannot be read."""
    def cut(path: str, name: str) -> Optional[str]:
        try:
            image = read_whole_image(path)
        except (ValueError, OSError) as error:
            return str(error)
        windows = cutting.windows(name, *image.shape[:2])
        store.put({sub_name: _encode(image[window]) for sub_name, window in windows.items()})
        return None

    store.start()
    record = os.path.join(store.folder, RECORD)
    begun = time.time()
    if not os.path.exists(record):
        _write_whole(record, f'{cutting}\n'.encode('ascii'))
    with ThreadPoolExecutor(num_workers) as pool:
        results = pool.map(cut, images.keys(), images.values())
        errors = [error for error in tqdm(results, total=len(images), unit='image') if error]
    store.remove(surplus)
    os.utime(record, (begun, begun))  # images that change from here on are cut again
    return errors


def read_whole_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8 BGR.

    Raises:
        ValueError: a file that is empty, cut off, damaged or of another format.
        OSError: it cannot be opened.
    """
    with open(path, 'rb') as file:
        image = decode_image(file.read(), path)
    try:
        with Image.open(path) as whole:
            whole.load()  # complains of what a file lacks; OpenCV 4 fills it with gray
    except (OSError, SyntaxError) as error:
        raise ValueError(f'{path} cannot be read as a whole: {error}') from None
    return image


def _encode(image: np.ndarray) -> bytes:
    return cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, COMPRESS_LEVEL])[1].tobytes()


def _write_whole(path: str, content: bytes) -> None:
    """Under a temporary name that is changed then: what bears the name is whole."""
    with open(f'{path}.part', 'wb') as file:
        file.write(content)
    os.replace(f'{path}.part', path)
