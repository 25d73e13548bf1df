"""From folders of HR images to a folder or an LMDB of sub-images; goes on where an earlier call was interrupted."""
from __future__ import annotations

import itertools
import os
import re
import sys
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from .blind_degradation_dataset import list_images
from .stores import Entry, Record, Store, open_store
from .sub_images import Cutting, SubImage, cut

MAX_NAME_LENGTH = 200  # file systems take 255 bytes, LMDB keys 511


@dataclass(frozen=True)
class Outcome:
    """What `prepare` did.

    failures: One message for each image that was left out.
    num_done_before: Images that an earlier call had finished.
    """

    num_images: int
    num_sub_images: int
    num_done_before: int
    failures: tuple[str, ...]


def prepare(inputs: Sequence[str], output: str, cutting: Cutting, num_workers: int = 1) -> Outcome:
    """Cuts the images of folders and their subfolders.

    Args:
        inputs: Folders.
        output: A folder for PNGs, or an LMDB folder if it ends in .lmdb. What an earlier call left there is kept.
        cutting: How images are cut.
        num_workers: Images that are worked on at once. Threads: OpenCV's coders run without Python's lock.

    Raises:
        ValueError: a folder that is missing, empty or inside another's output; an output that holds something else.
        OSError: the disk is full or cannot be written.
    """
    output = os.path.abspath(output)
    sources = find_sources(inputs, output)
    store = open_store(output)
    record = Record(store.place, cutting)
    names = unique_names(sources)
    _check_recorded(record, names, store.place)
    todo = _unfinished(record, sources, store)
    failures = _work(store, record, [_Task(s, sources[s], names[s]) for s in todo], num_workers) if todo else []
    shapes = {name: (h, w) for source in sources if source in record.entries
              for name, (h, w, _) in record.entries[source].sub_images.items()}
    if not shapes:
        raise ValueError(f'none of the {len(sources)} images can be read')
    if todo or store.place != output:
        store.finish(shapes)
    return Outcome(len(sources), len(shapes), len(sources) - len(todo), tuple(failures))


def find_sources(inputs: Sequence[str], output: str) -> dict[str, str]:
    """Path relative to the folder that all inputs share -> absolute path, sorted.

    Raises:
        ValueError: a folder that is missing, empty or encloses the output.
    """
    sources = {}
    folders = [os.path.abspath(folder) for folder in inputs]
    root = os.path.commonpath(folders)
    for folder in folders:
        if not os.path.isdir(folder) or folder.endswith('.lmdb'):
            raise ValueError(f'there is no folder of images {folder}')
        if os.path.commonpath([folder, output]) == folder:
            raise ValueError(f'the output {output} lies in the input {folder}, where it would be taken for input by the '
                             'next call: choose another OUTPUT')
        for name in list_images(folder):
            path = os.path.join(folder, name)
            sources[os.path.relpath(path, root)] = path
    return dict(sorted(sources.items()))


def unique_names(sources: Iterable[str]) -> dict[str, str]:
    """A name for each relative path, fit for every file system and for BasicSR's readers of LMDB and lists.

    Those read ASCII and end a name at the first dot or blank. Names that would be the same, also where case doesn't
    count, get a number: `a/b.png` -> `a_b`, `a_b.png` -> `a_b-2`.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for source in sources:
        plain = _plain_name(os.path.splitext(source)[0])
        name = next(n for n in itertools.chain([plain], (f'{plain}-{i}' for i in itertools.count(2)))
                    if n.lower() not in taken)
        names[source] = name
        taken.add(name.lower())
    return names


def _plain_name(path: str) -> str:
    text = ''.join(c for c in unicodedata.normalize('NFKD', path) if not unicodedata.combining(c))
    text = re.sub(r'[^\x00-\x7f]', lambda match: f'u{ord(match[0]):04x}', text)
    return re.sub(r'[^A-Za-z0-9_-]', '-', text.replace(os.sep, '_'))[-MAX_NAME_LENGTH:]


def _check_recorded(record: Record, names: dict[str, str], place: str) -> None:
    for source, entry in record.entries.items():
        if names.get(source) != entry.name:
            raise ValueError(f'{place} holds sub-images of {source}, which is not among the images of this call or goes '
                             'by another name there: choose another OUTPUT, or delete that folder')


def _unfinished(record: Record, sources: dict[str, str], store: Store) -> list[str]:
    held = store.sizes() if record.entries else {}

    def is_done(source: str) -> bool:
        entry = record.entries.get(source)
        return entry is not None and entry.stamp == _stamp(sources[source]) and all(
            held.get(name) == num_bytes for name, (_, _, num_bytes) in entry.sub_images.items())
    return [source for source in sources if not is_done(source)]


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class _Task:
    source: str
    path: str
    name: str


def _work(store: Store, record: Record, tasks: list[_Task], num_workers: int) -> list[str]:
    """Cuts and stores; returns a message for each image that cannot be read."""
    failures: list[str] = []
    store.open()
    record.open(store.place)
    try:
        with ThreadPoolExecutor(num_workers) as pool, tqdm(total=len(tasks), unit='image') as progress:
            finished = _cut_in_order(tasks, record.cutting, store.compress_level, pool, 2 * num_workers)
            finished = _leave_out_failures(finished, failures, progress)
            while batch := list(itertools.islice(finished, store.images_per_commit)):
                _keep(store, record, batch)
    finally:
        store.close()
        record.close()
    return failures


_Finished = tuple[Entry, dict[str, SubImage]]


def _cut_in_order(tasks: list[_Task], cutting: Cutting, compress_level: int, pool: ThreadPoolExecutor,
                  num_ahead: int) -> Iterator[tuple[_Task, Future[_Finished]]]:
    """Keeps no more than `num_ahead` images in memory."""
    pending: deque[tuple[_Task, Future[_Finished]]] = deque()
    for task in tasks:
        pending.append((task, pool.submit(_cut_one, task, cutting, compress_level)))
        if len(pending) == num_ahead:
            yield pending.popleft()
    yield from pending


def _cut_one(task: _Task, cutting: Cutting, compress_level: int) -> _Finished:
    stamp = _stamp(task.path)
    sub_images = cut(task.path, task.name, cutting, compress_level)
    return Entry(task.name, stamp, {n: (*s.shape, len(s.png)) for n, s in sub_images.items()}), sub_images


def _leave_out_failures(results: Iterator[tuple[_Task, Future[_Finished]]], failures: list[str],
                        progress: tqdm) -> Iterator[tuple[str, _Finished]]:
    """Source and result of what could be read; the rest is named on stderr and in `failures`."""
    for task, future in results:
        try:
            result = future.result()
        except (ValueError, OSError) as error:
            failures.append(f'{task.path} is left out: {error}')
            progress.write(failures[-1], file=sys.stderr)
        else:
            yield task.source, result
        progress.update()


def _keep(store: Store, record: Record, batch: list[tuple[str, _Finished]]) -> None:
    """Stores the sub-images, then records them: what is recorded is there."""
    fresh = {name: sub_image for _, (_, sub_images) in batch for name, sub_image in sub_images.items()}
    store.remove({name for source, _ in batch if source in record.entries
                  for name in record.entries[source].sub_images} - fresh.keys())
    store.put(fresh)
    for source, (entry, _) in batch:
        record.add(source, entry)
