"""Where sub-images are kept: a folder of PNGs, or an LMDB folder in BasicSR's layout. Both survive interruptions."""
from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Optional

import lmdb

from .sub_images import Cutting, SubImage

INITIAL_MAP_SIZE = 2**30  # bytes an LMDB may take; doubled when they run out


def write_whole(path: str, content: bytes) -> None:
    """Writes a file under a temporary name and renames it: what bears the name is whole."""
    with open(f'{path}.part', 'wb') as file:
        file.write(content)
    os.replace(f'{path}.part', path)


class FolderStore:
    """A folder of `<name>.png`."""

    compress_level = 3  # as in BasicSR's extract_subimages
    images_per_commit = 1

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """The folder that holds what is there already."""
        return self.path

    def sizes(self) -> dict[str, int]:
        """Name -> bytes, of every sub-image in the store."""
        with os.scandir(self.path) as entries:
            return {entry.name[:-4]: entry.stat().st_size for entry in entries if entry.name.endswith('.png')}

    def open(self) -> None:
        """Makes ready for writing."""
        os.makedirs(self.path, exist_ok=True)

    def put(self, sub_images: Mapping[str, SubImage]) -> None:
        for name, sub_image in sub_images.items():
            write_whole(os.path.join(self.path, f'{name}.png'), sub_image.png)

    def remove(self, names: set[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.path, f'{name}.png'))

    def close(self) -> None:
        """Ends writing, after the last image or after an interruption."""

    def finish(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        """Declares the closed store complete."""


class LmdbStore:
    """An LMDB folder: name -> PNG, listed in meta_info.txt. It is called `<path>.partial` until it is complete.

    Raises:
        OSError: the database is damaged or cannot be written.
        ValueError: there are a finished and an unfinished one.
    """

    compress_level = 1  # as in BasicSR's make_lmdb_from_imgs
    images_per_commit = 8  # each commit waits for the disk

    def __init__(self, path: str) -> None:
        self.path, self.partial = path, f'{path}.partial'
        if os.path.exists(self.path) and os.path.exists(self.partial):
            raise ValueError(f'there are both {self.path} and an unfinished {self.partial}: delete one of them')

    @property
    def place(self) -> str:
        """The folder that holds what is there already."""
        return self.partial if os.path.exists(self.partial) else self.path

    def sizes(self) -> dict[str, int]:
        """Name -> bytes, of every sub-image in the store."""
        if not os.path.exists(os.path.join(self.place, 'data.mdb')):
            return {}
        with self._explained(), lmdb.open(self.place, readonly=True, lock=False) as environment:
            with environment.begin(buffers=True) as transaction:
                return {bytes(key).decode('ascii'): len(png) for key, png in transaction.cursor()}

    def open(self) -> None:
        """Makes ready for writing."""
        if os.path.exists(self.path):
            os.rename(self.path, self.partial)
        os.makedirs(self.partial, exist_ok=True)

    @cached_property
    def environment(self) -> lmdb.Environment:
        """The database, open for writing from its first use on."""
        return lmdb.open(self.partial, map_size=INITIAL_MAP_SIZE)

    def put(self, sub_images: Mapping[str, SubImage]) -> None:
        """Adds all of them or, where the program is interrupted, none."""
        with self._explained():
            try:
                with self.environment.begin(write=True) as transaction:
                    for name, sub_image in sub_images.items():
                        transaction.put(name.encode('ascii'), sub_image.png)
            except lmdb.MapFullError:
                self.environment.set_mapsize(2 * self.environment.info()['map_size'])
                self.put(sub_images)

    def remove(self, names: set[str]) -> None:
        if not names:
            return
        with self._explained(), self.environment.begin(write=True) as transaction:
            for name in names:
                transaction.delete(name.encode('ascii'))

    def close(self) -> None:
        """Ends writing, after the last image or after an interruption."""
        with self._explained():
            self.environment.close()

    def finish(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        """Declares the closed store complete."""
        lines = [f'{name}.png ({h},{w},3) {self.compress_level}\n' for name, (h, w) in shapes.items()]
        write_whole(os.path.join(self.partial, 'meta_info.txt'), ''.join(lines).encode('ascii'))
        os.rename(self.partial, self.path)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise OSError(f'LMDB cannot go on with {self.place}: {error}') from error


Store = FolderStore | LmdbStore


def open_store(path: str) -> Store:
    """An LMDB folder where the path ends in .lmdb, else a folder of PNGs."""
    return LmdbStore(path) if path.endswith('.lmdb') else FolderStore(path)


@dataclass(frozen=True)
class Entry:
    """What became of an image.

    stamp: Bytes and time of change (nanoseconds) of the image's file.
    sub_images: Name -> height, width, bytes.
    """

    name: str
    stamp: tuple[int, int]
    sub_images: dict[str, tuple[int, int, int]]


class Record:
    """The images that a store holds completely: a file beside them, with the way of cutting and a line for each image.

    Raises:
        ValueError: the folder holds something else, or sub-images that were cut in another way.
    """

    # Not a hidden file: BasicSR's scandir takes hidden files for folders and fails.
    FILE = 'prepared.jsonl'

    def __init__(self, place: str, cutting: Cutting) -> None:
        self.cutting = cutting
        self.entries: dict[str, Entry] = {}
        path = os.path.join(place, self.FILE)
        if os.path.exists(path):
            self._load(path)
        elif os.path.exists(place) and set(os.listdir(place)) - {f'{self.FILE}.part'}:
            raise ValueError(f'{place} holds files that `basicsr prepare` did not write: choose another OUTPUT, or empty '
                             'that folder')

    def _load(self, path: str) -> None:
        with open(path, encoding='ascii') as file:
            lines = file.read().split('\n')[:-1]  # what follows the last line's end was cut off by an interruption
        cutting = json.loads(lines[0]) if lines else asdict(self.cutting)
        if cutting != asdict(self.cutting):
            raise ValueError(f'{os.path.dirname(path)} was cut with {_text(cutting)}, not with '
                             f'{_text(asdict(self.cutting))}: choose another OUTPUT, or delete that folder')
        for source, name, stamp, sub_images in map(json.loads, lines[1:]):
            self.entries[source] = Entry(name, tuple(stamp), {k: tuple(v) for k, v in sub_images.items()})

    def open(self, place: str) -> None:
        """Makes ready for writing."""
        path = os.path.join(place, self.FILE)
        lines = [json.dumps(asdict(self.cutting)), *(_line(s, entry) for s, entry in self.entries.items())]
        write_whole(path, ''.join(f'{line}\n' for line in lines).encode('ascii'))
        self._file = open(path, 'a', encoding='ascii')

    def add(self, source: str, entry: Entry) -> None:
        self.entries[source] = entry
        self._file.write(f'{_line(source, entry)}\n')
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _line(source: str, entry: Entry) -> str:
    return json.dumps([source, entry.name, entry.stamp, entry.sub_images])


def _text(cutting: Mapping[str, Optional[int]]) -> str:
    return f'--size {cutting["size"]} --step {cutting["step"]}' if cutting['size'] else '--no-crop'
