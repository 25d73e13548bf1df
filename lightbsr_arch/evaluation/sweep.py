"""From a sweep's option file to the trainings that it asks for: ablations as differences from common option files."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import option_files
from ..config import build, suggest
from .paper_tables import paper_table

Options = Mapping[str, Any]


@dataclass(frozen=True)
class SweepOptions:
    """A sweep's option file.

    table: The paper's table that its rows are set beside.
    steps: Training option files (relative to this one) in the order of training, by names such as teacher, student.
    runs: For each row, what differs from the steps' files: step -> differences (see `option_files.merge`), or `~` for a
        step that it does without. Further keys: `like`, another run whose networks it shares; `test`, differences of
        `network_g` when testing.
    report: The steps whose networks become rows; by default the last of each run.
    """

    name: str
    table: str
    steps: Mapping[str, str]
    runs: Mapping[str, Any]
    report: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if '/' in self.name:
            raise ValueError(f'name must be a text without a slash, got {self.name!r}')
        paper_table(self.table)
        for key in ('steps', 'runs'):
            if not isinstance(getattr(self, key), Mapping) or not getattr(self, key):
                raise ValueError(f'{key} must be a section with a key for each, got {getattr(self, key)!r}')
        for step, file in self.steps.items():
            if not isinstance(file, str):
                raise ValueError(f'steps: {step} must be an option file for training, got {file!r}')
        for label, section in self.runs.items():
            if not isinstance(label, str) or not label or '/' in label:
                raise ValueError(f'runs: a label is part of file names and must be a text without a slash, got {label!r}')
            for key, value in {'': section, **(section if isinstance(section, Mapping) else {})}.items():
                if key == 'like' and not isinstance(value, str):
                    raise ValueError(f'runs: {label}: like must be the label of another run, got {value!r}')
                if key != 'like' and not isinstance(value, (Mapping, type(None))):
                    raise ValueError(f'runs: {label}: {key + ": " * bool(key)}differences must be a section with keys, '
                                     f'got {value!r}')
        if not isinstance(self.report, tuple):
            raise ValueError(f'report must be a list of steps, got {self.report!r}')
        for step in self.report:
            if step not in self.steps:
                raise ValueError(f'report: there is no step {step!r}{suggest(step, list(self.steps))}')


@dataclass(frozen=True)
class Training:
    """A complete training option file, and where its run leaves things, relative to the current folder."""

    options: Options

    @property
    def experiment(self) -> str:
        return self.options['name']

    @property
    def weights(self) -> str:
        """Written when the training is complete."""
        return os.path.join('experiments', self.experiment, 'models', 'net_g_latest.pth')

    @property
    def origins(self) -> set[str]:
        """Where its `path:` leads, spelt as `weights`: what it starts from or learns from is among it."""
        return set(map(_relative, self.options['path'].values()))

    @property
    def is_trained(self) -> bool:
        return os.path.isfile(self.weights)

    @property
    def own_copy(self) -> str:
        """The option file that BasicSR keeps beside the weights."""
        return os.path.join('experiments', self.experiment, f'{self.experiment}.yml')


@dataclass(frozen=True)
class Run:
    """A row: its trainings by step, the steps that it reports, and how `network_g` differs when they are tested."""

    label: str
    trainings: Mapping[str, Training]
    reported: tuple[str, ...]
    tested_with: Options = field(default_factory=dict)

    def network(self, step: str) -> dict[str, Any]:
        """`network_g` of a step's network when it is tested."""
        return {**self.trainings[step].options['network_g'], **self.tested_with}


def plan(path: str) -> tuple[SweepOptions, list[Run]]:
    """Reads a sweep's option file.

    Trainings that differ in nothing from the steps' files are shared; those that do belong to their run, and to the runs
    that are `like` it.

    Raises:
        ValueError: a wrong key, a step's file that cannot be read or is none for training, differences that do not fit it.
    """
    try:
        sweep = build(SweepOptions, option_files.read(path), path)
        bases = {step: _training_file(os.path.join(os.path.dirname(path), str(file))) for step, file in sweep.steps.items()}
    except OSError as error:
        raise ValueError(f'cannot read the option file {error.filename}: {error.strerror}') from error
    try:
        return sweep, [_run(sweep, bases, label) for label in sweep.runs]
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def _training_file(path: str) -> Options:
    options = option_files.read(path)
    for key in ('name', 'path'):
        if not isinstance(options, Mapping) or options.get(key) is None:
            raise ValueError(f'{path} is no option file for training: {key!r} is missing')
    return options


def _run(sweep: SweepOptions, bases: Mapping[str, Options], label: str) -> Run:
    section = dict(sweep.runs[label] or {})
    shared = section.pop('like', label)
    if shared != label:
        if shared not in sweep.runs:
            raise ValueError(f'runs: {label}: like: there is no run {shared!r}{suggest(shared, list(sweep.runs))}')
        if 'like' in (sweep.runs[shared] or {}):
            raise ValueError(f'runs: {label}: like: {shared} is itself like another run: name that one')
        for step in bases:
            if section.get(step):
                raise ValueError(f'runs: {label}: {step}: a run like {shared} has its networks: leave out the differences, or '
                                 'like')
        section = option_files.merge(sweep.runs[shared] or {}, section)
    for key in section:
        if key not in (*bases, 'test'):
            raise ValueError(f'runs: {label}: unknown key {key!r}{suggest(key, [*bases, "like", "test"])}')
    trainings = {step: training for step, training in _trainings(bases, shared, sweep.runs[shared] or {})
                 if section.get(step, {}) is not None}
    if not trainings:
        raise ValueError(f'runs: {label}: it does without all steps: leave one')
    reported = tuple(step for step in trainings if step in sweep.report) or tuple(trainings)[-1:]
    return Run(label, trainings, reported, section.get('test') or {})


def _trainings(bases: Mapping[str, Options], label: str, section: Options) -> Iterator[tuple[str, Training]]:
    renamed = {}
    for step, base in bases.items():
        differences = section.get(step, {})
        if differences is None:
            continue
        try:
            options = option_files.merge(base, differences)
        except (IndexError, TypeError) as error:
            raise ValueError(f'runs: {label}: {step}: {error}') from None
        if 'output_root' in options or not isinstance(options['path'], Mapping):
            raise ValueError(f'runs: {label}: {step}: path must be a section with keys, and output_root left out, as a sweep '
                             'looks for weights below the current folder')
        options = {**options, 'path': {key: _redirect(value, renamed) for key, value in options['path'].items()}}
        if options != base:
            options['name'] = renamed[base['name']] = f'{base["name"]}_{label}'
        yield step, Training(options)


def _redirect(path: Any, renamed: Mapping[str, str]) -> Any:
    """A path into an earlier step's folder, `experiments/NAME/...` however it is spelt, leads into that of this run."""
    parts = _relative(path).split('/')
    if len(parts) > 1 and parts[0] == 'experiments' and parts[1] in renamed:
        return '/'.join([parts[0], renamed[parts[1]], *parts[2:]])
    return path


def _relative(path: Any) -> str:
    """A path of an option file from the current folder; what is no path becomes a text that leads nowhere."""
    return os.path.relpath(os.path.expanduser(str(path)) or '.')
