"""What robustness maps come to: means in and out of the training range, and the worst case by name."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .robustness import Panel, RobustnessOptions
from .writing import aligned, csv_text

HEAD = ('map', 'method', 'metric', 'mean', 'in range', 'out of range', 'worst', 'worst case', 'best other there', 'gap')


@dataclass(frozen=True)
class Summary:
    """A method's map under one metric.

    in_range, out_of_range: Means; None where a map has no such cells.
    worst_case: The degradation's label. best_other: The best of the other methods there. gap: Its lead, worst case.
    """

    map: str
    method: str
    metric: str
    mean: float
    in_range: Optional[float]
    out_of_range: Optional[float]
    worst: float
    worst_case: str
    best_other: Optional[str] = None
    gap: Optional[float] = None

    @property
    def line(self) -> list[str]:
        """As HEAD."""
        def text(value: Optional[float], sign: str = '') -> str:
            return '' if value is None else f'{value:{sign}.{2 if self.metric == "psnr" else 4}f}'
        return [self.map, self.method, self.metric.upper(), text(self.mean), text(self.in_range),
                text(self.out_of_range), text(self.worst), self.worst_case, self.best_other or '', text(self.gap, '+')]


def summaries(options: RobustnessOptions, panels: Sequence[Panel]) -> list[Summary]:
    return [_summary(options, panel, metric, [p for p in panels if p.map == panel.map and p is not panel])
            for panel in panels for metric in options.metrics]


def _summary(options: RobustnessOptions, panel: Panel, metric: str, others: Sequence[Panel]) -> Summary:
    values, covered = panel.values[metric], panel.map.is_covered(options.trained_on)
    row, column = worst_cell(values)
    there = {other.method: float(other.values[metric][row, column]) for other in others}
    best = max(there, key=there.__getitem__, default=None)
    worst = float(values[row, column])
    return Summary(panel.map.name, panel.method, metric, float(values.mean()), _mean(values[covered]),
                   _mean(values[~covered]), worst, panel.map.cells[row][column].label, best,
                   None if best is None else there[best] - worst)


def worst_cell(values: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(values.argmin(), values.shape)
    return int(row), int(column)


def _mean(values: np.ndarray) -> Optional[float]:
    return float(values.mean()) if values.size else None


def markdown(options: RobustnessOptions, rows: Sequence[Summary]) -> str:
    """A table for each map."""
    edge = options.center_crop
    extent = 'whole images' if edge is None else f'at most {edge}x{edge} pixels from the middle of each'
    number = len(options.degraded(options.maps[0].cells[0][0]))
    text = (f'# {options.name}\n\nx{options.scale}, {number} images of {", ".join(options.images)} ({extent}). In range means '
            f'covered by {options.trained_on.label}. The gap is the lead of the best other method at the worst case.\n')
    for name in dict.fromkeys(row.map for row in rows):
        lines = [list(HEAD[1:]), *(row.line[1:] for row in rows if row.map == name)]
        text += f'\n## {name}\n\n{aligned(lines)}\n'
    return text


def as_csv(rows: Sequence[Summary]) -> str:
    return csv_text([HEAD, *(row.line for row in rows)])
