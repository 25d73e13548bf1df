"""What a folder of results holds: a test's tables and images, or a training's logs."""
from __future__ import annotations

import datetime
import glob
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..tables import read_results
from .logs import Log, read_logs


@dataclass(frozen=True)
class TestRun:
    """results: Its `table.json`. manifest: Its `manifest.json`, None where it is missing. label: Unique on the page."""

    __test__ = False  # no test of pytest's

    folder: str
    label: str
    results: Mapping[str, Any]
    manifest: Optional[Mapping[str, Any]]

    @property
    def images(self) -> str:
        """The folder of its super-resolved images."""
        return os.path.join(self.folder, 'visualization')

    @property
    def date(self) -> str:
        """When it ended."""
        return f'{datetime.date.fromtimestamp(os.path.getmtime(os.path.join(self.folder, "table.json"))):%Y-%m-%d}'


@dataclass(frozen=True)
class TrainingRun:
    """options: Its option file as it was written, None where there is none."""

    folder: str
    label: str
    log: Log
    options: Optional[str]


def read_runs(folders: Sequence[str]) -> list[TestRun | TrainingRun]:
    """Raises a ValueError for a folder that is no result, and for damaged files."""
    names = [_name(folder) for folder in folders]
    labels = [name if names.count(name) == 1 else f'{name} ({folder})' for name, folder in zip(names, folders)]
    return [_read(folder, label) for folder, label in zip(folders, labels)]


def holds_run(folder: str) -> bool:
    """Whether a folder is that of a test or a training."""
    return _is_test(folder) or bool(_logs(folder))


def _name(folder: str) -> str:
    return read_results(folder)['name'] if _is_test(folder) else os.path.basename(os.path.abspath(folder))


def _read(folder: str, label: str) -> TestRun | TrainingRun:
    if _is_test(folder):
        return TestRun(folder, label, read_results(folder), _manifest(folder))
    logs = _logs(folder)
    if not logs:
        raise ValueError(f'{folder} holds no result: neither the table.json of `basicsr test` nor the train_*.log of '
                         f'`basicsr train`{_hint(folder)}')
    files = sorted(glob.glob(os.path.join(glob.escape(folder), '*.yml')))
    return TrainingRun(folder, label, read_logs(map(_text, logs)), _text(files[0]) if files else None)


def _is_test(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, 'table.json'))


def _logs(folder: str) -> list[str]:
    """Those of a training, in their order: the names end in the time."""
    return sorted(glob.glob(os.path.join(glob.escape(folder), 'train_*.log')))


def _hint(folder: str) -> str:
    """Names folders within that do hold results."""
    if not os.path.isdir(folder):
        return ': it is a file' if os.path.exists(folder) else ': there is no such folder'
    inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and holds_run(entry.path))
    return f'. Did you mean {" ".join(inside[:3])}?' if inside else ''


def _manifest(folder: str) -> Optional[dict[str, Any]]:
    path = os.path.join(folder, 'manifest.json')
    if not os.path.isfile(path):
        return None
    try:
        content = json.loads(_text(path))
        content['test_sets'], content['versions']
    except (ValueError, KeyError, TypeError):
        raise ValueError(f'{path} was not written by `basicsr test`, or is damaged: move it away') from None
    return content


def _text(path: str) -> str:
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()
