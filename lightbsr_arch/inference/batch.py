"""What is read and where it goes: settled before work begins, so that nothing is lost or overwritten on the way."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..folders import walk
from .formats import FORMATS, OF_SUFFIX, format_of

STREAM = '-'


@dataclass(frozen=True)
class Job:
    """An image: `source` and `target` are paths, or '-' for a stream; `kind` is the target's format."""

    source: str
    target: str
    kind: str


def plan(inputs: list[str], output: str, kind: str | None, force: bool) -> tuple[list[Job], list[str]]:
    """Settles what is done.

    Args:
        inputs: Files, folders (searched with their subfolders), or '-' for stdin.
        output: A file for a single one, a folder, or '-' for stdout.
        kind: The results' format, a key of `FORMATS`; by default that of the output's name, else the input's, or PNG.
        force: Existing files may be overwritten.

    Returns:
        Jobs, and a line for each input that is not there or holds no images.

    Raises:
        ValueError: results would overwrite files, each other, or what they are made of; the output does not suit.
    """
    if output == STREAM or _names_a_file(inputs, output):
        return _single(inputs, output, kind, force)
    found, missing = _find(inputs, output)
    jobs = [Job(source, os.path.join(output, name), name_kind) for source, name, name_kind in
            ((source, *_result_name(name, kind)) for source, name in found)]
    _check(jobs, force)
    return jobs, missing


def _names_a_file(inputs: list[str], output: str) -> bool:
    if os.path.isdir(output) or output.endswith(('/', os.sep)):
        return False
    if len(inputs) == 1 and not os.path.isdir(inputs[0]):
        return bool(os.path.splitext(output)[1])
    if format_of(output) or os.path.exists(output):
        raise ValueError(f'{output} is the name of a file, but several images would be written: name a folder')
    return False


def _single(inputs: list[str], output: str, kind: str | None, force: bool) -> tuple[list[Job], list[str]]:
    source = inputs[0]
    if len(inputs) > 1 or os.path.isdir(source):
        raise ValueError('-o - writes one image to stdout: name a folder for several')
    own = format_of(output)
    if output != STREAM and own is None:
        raise ValueError(f'{output}: the formats {", ".join(OF_SUFFIX)} can be written; end the name of a folder with /')
    if own and kind and own != kind:
        raise ValueError(f'{output} is no name for the format {kind}: change one of them')
    if source != STREAM and not os.path.exists(source):
        return [], [f'there is no file or folder {source}']
    jobs = [Job(source, output, own or kind or format_of(source) or 'png')]
    _check(jobs, force)
    return jobs, []


def _find(inputs: list[str], output: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Sources with their names in the output's folder, and a line for each input that gives none."""
    found, missing = [], []
    for path in inputs:
        if path == STREAM:
            found.append((path, 'stdin.png'))
        elif os.path.isdir(path):
            names = list(_images(path, output, missing))
            found += [(os.path.join(path, name), name) for name in names]
            missing += [] if names else [f'{path} holds no images ({", ".join(OF_SUFFIX)})']
        elif os.path.exists(path):  # also a pipe, as <(curl ...)
            found.append((path, os.path.basename(path)))
        else:
            missing.append(f'there is no file or folder {path}')
    return found, missing


def _images(folder: str, output: str, missing: list[str]) -> Iterator[str]:
    """Paths of images below a folder, relative to it; not hidden ones, and not those of an output folder inside it.

    Subfolders that cannot be read are lines of `missing`.
    """
    for place, folders, names in walk(folder, onerror=lambda error: missing.append(str(error))):
        folders[:] = [name for name in folders if not name.startswith('.') and not (
            os.path.realpath(os.path.join(place, name)) == os.path.realpath(output))]
        for name in names:
            if format_of(name) and not name.startswith('.'):
                yield os.path.relpath(os.path.join(place, name), folder)


def _result_name(name: str, kind: str | None) -> tuple[str, str]:
    """Name and format of the result; a suffix that stands for the format is kept as it is written."""
    own = format_of(name)
    kind = kind or own or 'png'
    return (name if own == kind else os.path.splitext(name)[0] + FORMATS[kind].suffixes[0]), kind


def _check(jobs: list[Job], force: bool) -> None:
    targets = [job.target for job in jobs if job.target != STREAM]
    twins = [target for target, num in Counter(map(os.path.realpath, targets)).items() if num > 1]
    if twins:
        raise ValueError(f'several images would become {_few(twins)}: upscale them into folders of their own')
    sources = {os.stat(job.source)[1:3] for job in jobs if os.path.exists(job.source)}  # names may differ in case alone
    own = [target for target in targets if os.path.exists(target) and os.stat(target)[1:3] in sources]
    if own:
        raise ValueError(f'{_few(own)} would be overwritten, but is an input: choose another output')
    existing = [target for target in targets if os.path.lexists(target)]
    if existing and not force:
        raise ValueError(f'{_few(existing)} exists already: choose another output, or overwrite with --force')
    for target in existing:
        if not os.path.isfile(target):
            raise ValueError(f'{target} is no file and cannot be overwritten')


def _few(paths: Iterable[str]) -> str:
    """The first path, and how many others."""
    first, *others = paths
    return f'{first} (and {len(others)} more)' if others else first


def make_folders(jobs: list[Job]) -> None:
    """Makes the folders of the results.

    Raises:
        OSError: one cannot be made, or not be written to.
    """
    for folder in {os.path.dirname(os.path.abspath(job.target)) for job in jobs if job.target != STREAM}:
        os.makedirs(folder, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f'the folder {folder} is not writable')
