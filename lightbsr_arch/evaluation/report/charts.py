"""Line charts as inline SVG, in the page's colours."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .markup import Markup, element

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 12, 30  # margins
MAX_POINTS = 240  # more are drawn as means in a band from the least to the largest
NUM_COLOURS = 8
LOG_FROM = 30  # ratio of the largest to the least value above which an axis is logarithmic


def line_chart(title: str, curves: Mapping[str, Mapping[int, float]], last: int,
               stages: Mapping[int, str] | None = None, with_points: bool = False) -> Markup:
    """A figure with its title above, iterations across, and a legend below where there are several curves.

    Args:
        curves: Label -> iteration -> finite value; not all empty.
        last: Iteration up to which the axis goes, from 0.
        stages: Iteration before a stage -> its name; each but one at the beginning is marked by a line.
        with_points: Marks each value, which then tells itself when pointed at.
    """
    axes = Axes(max(last, 1), [y for curve in curves.values() for y in curve.values()])
    parts = [*axes.grid(), *(_stage(axes, at, name) for at, name in (stages or {}).items() if at > 0)]
    for i, (label, curve) in enumerate(curves.items()):
        parts.append(_curve(axes, sorted(curve.items()), i % NUM_COLOURS, label, with_points))
    drawing = element('svg', element('title', _description(title, curves)), *parts, viewBox=f'0 0 {WIDTH} {HEIGHT}',
                      role='img')
    legend = [element('li', label, class_=f'c{i % NUM_COLOURS}') for i, label in enumerate(curves)]
    below = [element('ul', *legend)] if len(legend) > 1 else []
    return element('figure', element('figcaption', title), drawing, *below, class_='chart')


def _description(title: str, curves: Mapping[str, Mapping[int, float]]) -> str:
    ends = [f'{label}: from {number(curve[min(curve)])} to {number(curve[max(curve)])}'
            for label, curve in curves.items() if curve]
    return f'{title} over iterations; ' + '; '.join(ends)


class Axes:
    """Where values stand on the drawing; y is logarithmic if the values are positive and far apart."""

    def __init__(self, last: int, y: Sequence[float]) -> None:
        self.is_log = min(y) > 0 and max(y) / min(y) > LOG_FROM
        self.last = last
        low, high = (math.log10(min(y)), math.log10(max(y))) if self.is_log else (min(y), max(y))
        room = 0.06 * (high - low) or abs(high) * 0.05 or 1
        self.y = low - room, high + room

    def across(self, x: float) -> float:
        return LEFT + x / self.last * (WIDTH - LEFT - RIGHT)

    def up(self, y: float) -> float:
        y = math.log10(y) if self.is_log else y
        return HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[Markup]:
        """Lines across with their values, and iterations below."""
        parts = []
        for value in log_ticks(*self.y) if self.is_log else ticks(*self.y):
            y = f'{self.up(value):.1f}'
            parts += [element('line', x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y),
                      element('text', number(value), x=LEFT - 6, y=y, dy='.32em', text_anchor='end')]
        for value in ticks(0, self.last, most=5):
            x = f'{self.across(value):.1f}'
            parts.append(element('text', number(value), x=x, y=HEIGHT - BOTTOM + 16, text_anchor='middle'))
        return parts


def _stage(axes: Axes, at: int, name: str) -> Markup:
    x = f'{axes.across(at):.1f}'
    return element('g', element('line', x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM),
                   element('text', name, x=x, y=TOP, dx=4, dy='.8em'), class_='stage')


def _curve(axes: Axes, points: list[tuple[int, float]], colour: int, label: str, with_points: bool) -> Markup:
    x, mean, low, high = binned(points)
    band = f'{_points(axes, x, low)} {_points(axes, x[::-1], high[::-1])}'
    parts = [element('polygon', points=band)] if len(x) < len(points) else []
    parts.append(element('polyline', points=_points(axes, x, mean)))
    if with_points or len(points) == 1:
        tips = [f'{label}, iteration {iteration:,d}: {value:.6g}' for iteration, value in points]
        parts += [element('circle', element('title', tip), cx=f'{axes.across(x):.1f}', cy=f'{axes.up(y):.1f}', r=2.5)
                  for tip, (x, y) in zip(tips, points)]
    return element('g', *parts, class_=f'c{colour}')


def _points(axes: Axes, x: np.ndarray, y: np.ndarray) -> str:
    return ' '.join(f'{axes.across(a):.1f},{axes.up(b):.1f}' for a, b in zip(x, y))


def binned(points: Sequence[tuple[int, float]], most: int = MAX_POINTS) -> tuple[np.ndarray, ...]:
    """x, mean, least and largest of at most `most` groups of neighbours."""
    groups = np.array_split(np.array(points, dtype=float).reshape(-1, 2), max(1, min(most, len(points))))
    return tuple(np.array([function(group) for group in groups]) for function in (
        lambda group: group[:, 0].mean(), lambda group: group[:, 1].mean(), lambda group: group[:, 1].min(),
        lambda group: group[:, 1].max()))


# ---------------------------------------------------------------------------------------------- numbers on axes
def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between two others, at most `most`."""
    rough = (high - low) / most
    power = 10.0**math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Powers of ten between 10^low and 10^high, or of them twice and five times, too, if they are few."""
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [f * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for f in factors]
        inside = [value for value in values if low <= math.log10(value) <= high]
        if len(inside) <= most:
            return inside
    return inside[::math.ceil(len(inside) / most)]


def number(value: float) -> str:
    """Short: 250k, 0.001, 2e-5."""
    if abs(value) >= 10_000:
        return f'{value / 1e6:g}M' if abs(value) >= 1e6 else f'{value / 1000:g}k'
    return f'{value:.4g}'.replace('e-0', 'e-')
