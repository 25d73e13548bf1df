"""Curves of a training, read from its log files, which are always there."""
from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional

Curve = dict[int, float]  # iteration -> value
NUMBER = r'[-+]?(?:[\d.]+(?:e[-+]?\d+)?|nan|inf)'
STEP = re.compile(r'\[epoch: *[\d,]+, iter: *([\d,]+), lr:\(([^)]*)\)\](?: \[eta: .*?\(.*?\).*?\(.*?\)\])? ?(.*)')
RESUMED = re.compile(r'INFO: Resuming training from epoch: [\d,]+, iter: ([\d,]+)')
STAGE = re.compile(r"INFO: Stage: (Stage\(trains='.*)")
VALIDATION = re.compile(r'INFO: Validation (.+)$')
METRIC = re.compile(rf'^\t # (.+?): ({NUMBER})')
FIGURE = re.compile(rf'INFO: Validation (.+): (\S+) ({NUMBER})$')
OPTION = re.compile(r'^ +(val_freq|total_iter): ([\d.e+]+)$')
VERSIONS = re.compile(r'INFO: (BasicSR \S+, torch .+)$')
LEARNING_RATE = 'learning rate'


@dataclass
class Log:
    """What the log files of one training tell.

    steps: Learning rate, losses and whatever else is printed, by name. validation: Metric -> data set -> curve.
    stages: Iteration before a stage, and the stage as it is written. skipped: How many values are not finite, which the
    curves lack. begun, ended: Times of the first and last line, as they are written. last: Iteration.
    """

    steps: dict[str, Curve] = field(default_factory=dict)
    validation: dict[str, dict[str, Curve]] = field(default_factory=dict)
    stages: dict[int, str] = field(default_factory=dict)
    skipped: int = 0
    versions: Optional[str] = None
    begun: Optional[str] = None
    ended: Optional[str] = None
    val_freq: Optional[int] = None
    total_iter: Optional[int] = None
    last: int = 0

    @property
    def stage_names(self) -> dict[int, str]:
        """Iteration before a stage, and what it trains."""
        return {i: text.split("'")[1] for i, text in self.stages.items()}


def read_logs(texts: Iterable[str]) -> Log:
    """Of a training's log files, oldest first; what came after the state from which a run was resumed is forgotten."""
    log = Log()
    for text in texts:
        data_set = ''
        for line in text.splitlines():
            data_set = _read_line(log, line, data_set)
    return log


def _read_line(log: Log, line: str, data_set: str) -> str:
    """Takes up a line; returns the data set whose metrics follow."""
    if time := re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', line):
        log.begun, log.ended = log.begun or time[0], time[0]
    if match := STEP.search(line):
        _take_step(log, *match.groups())
    elif match := FIGURE.search(line):
        _put(log, log.validation.setdefault(match[2], {}).setdefault(match[1], {}), log.last, match[3])
    elif match := VALIDATION.search(line):
        return match[1]
    elif match := METRIC.match(line):
        curve = log.validation.setdefault(match[1], {}).setdefault(data_set, {})
        _put(log, curve, _iteration_of_validation(log, curve), match[2])
        return data_set
    elif match := RESUMED.search(line):
        _go_back(log, _number(match[1]))
    elif match := STAGE.search(line):
        _enter(log, match[1])
    elif match := OPTION.match(line):
        setattr(log, match[1], int(float(match[2])))
    elif match := VERSIONS.search(line):
        log.versions = match[1]
    return ''


def _go_back(log: Log, iteration: int) -> None:
    """To the state from which a run is resumed."""
    log.last = iteration
    for curve in (*log.steps.values(), *(curve for by_set in log.validation.values() for curve in by_set.values())):
        for later in [i for i in curve if i > iteration]:
            del curve[later]


def _enter(log: Log, stage: str) -> None:
    """A resumed run names the stage that it is in again."""
    earlier = {i: text for i, text in log.stages.items() if i < log.last}
    log.stages = earlier if stage in list(earlier.values())[-1:] else {**earlier, log.last: stage}


def _take_step(log: Log, iteration: str, rates: str, figures: str) -> None:
    log.last = _number(iteration)
    values = {LEARNING_RATE: rates.split(',')[0]} | dict(re.findall(rf'(\S+): ({NUMBER})(?=\s|$)', figures))
    values.pop('learning_rate', None)  # the same again
    for name, value in values.items():
        _put(log, log.steps.setdefault(name, {}), log.last, value)


def _put(log: Log, curve: Curve, iteration: int, text: str) -> None:
    value = float(text)
    if math.isfinite(value):
        curve[iteration] = value
    else:
        curve.pop(iteration, None)
        log.skipped += 1


def _iteration_of_validation(log: Log, curve: Curve) -> int:
    """A log does not say when it validated: the next multiple of `val_freq` after the last line that it printed, or the
    end.
    """
    if not log.val_freq:
        return log.last
    due = math.ceil(log.last / log.val_freq) * log.val_freq
    if due in curve and due == log.last != log.total_iter:  # the last validation comes after the last step
        due = log.last + log.val_freq
    return min(due, log.total_iter or due)


def _number(text: str) -> int:
    return int(text.replace(',', ''))
