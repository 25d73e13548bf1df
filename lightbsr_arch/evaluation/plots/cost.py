"""LightBSR's Fig. 1: multiply-adds against PSNR, printed methods and ours."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from ..complexity import Point
from .style import COLOURS, COLUMN, save

PRINTED, OURS = COLOURS[0], COLOURS[1]
AREA = 14  # square points of a marker per million parameters
DISTANCES = (2, 7, 12, 20, 30, 42)  # points between a marker's edge and its label, nearest first
NUM_DIRECTIONS = 16
CROWD = 8  # points around a marker that others' labels rather leave to it
GAP = 2  # points between two labels
LEADER = 7  # labels farther away than this get a line


def draw(points: Sequence[Point], cell: str, path: str) -> str:
    """Writes `path`.png and .pdf; returns the former.

    Args:
        points: Markers, their area in proportion to the parameters.
        cell: What the PSNR is of, such as Set5_2.4.
    """
    figure = Figure(figsize=(1.35 * COLUMN, 0.95 * COLUMN))
    axes = figure.subplots()
    _scatter(axes, points)
    _scales(axes, points, cell)
    figure.draw_without_rendering()  # fixes the axes, so that labels can be placed in pixels
    figure.set_layout_engine('none')
    _place_labels(axes, points)
    return save(figure, path)


def _scatter(axes: Axes, points: Sequence[Point]) -> None:
    for is_ours, colour, marker, name in ((False, PRINTED, 'o', 'printed'), (True, OURS, 's', 'ours')):
        group = [p for p in points if p.is_ours == is_ours]
        if group:
            look = {'color': colour, 'marker': marker, 'alpha': 0.55, 'edgecolors': 'black', 'linewidths': 0.5}
            axes.scatter([p.multiply_adds for p in group], [p.psnr for p in group],
                         [AREA * p.parameters for p in group], zorder=2, **look)
            axes.scatter([], [], 30, label=name, **look)
    axes.scatter([], [], s=AREA * 5, facecolors='none', edgecolors='black', linewidths=0.5, label='5 M parameters')


def _scales(axes: Axes, points: Sequence[Point], cell: str) -> None:
    test_set, width = cell.split('_')
    axes.set_xscale('log')
    axes.set_xlabel('multiply-adds of a 256×256 LR image (G)')
    axes.set_ylabel(f'PSNR on {test_set}, blur width {width} (dB)')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
    costs, psnr = [p.multiply_adds for p in points], [p.psnr for p in points]
    stretch, room = (max(costs) / min(costs))**0.12, 0.12 * (max(psnr) - min(psnr)) or 0.1
    axes.set_xlim(min(costs) / max(stretch, 1.2), max(costs) * max(stretch, 1.2))
    axes.set_ylim(min(psnr) - room, max(psnr) + room)
    axes.grid(True, alpha=0.3, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)


# ---------------------------------------------------------------------------------------------- labels
def _place_labels(axes: Axes, points: Sequence[Point]) -> None:
    """Sets each label at the nearest free place around its marker, ours first."""
    markers = [_marker_box(axes, point) for point in points]
    taken = list(markers)
    inside = axes.get_window_extent()
    for point, marker in sorted(zip(points, markers), key=lambda pair: pair[0].is_ours, reverse=True):
        label = axes.annotate(point.label, (point.multiply_adds, point.psnr), xytext=(0, 0), textcoords='offset points',
                              fontsize=7, ha='center', va='center', color=OURS if point.is_ours else 'black',
                              fontweight='bold' if point.is_ours else 'normal')
        crowd = [other.padded(CROWD * axes.figure.dpi / 72) for other in markers if other is not marker]
        box, offset, distance = min(_places(label, marker), key=lambda place: _penalty(place, taken, crowd, inside))
        label.set_position(offset)
        taken.append(box.padded(GAP * axes.figure.dpi / 72))
        if distance > LEADER:
            _leader(axes, point, box)


def _leader(axes: Axes, point: Point, label: Bbox) -> None:
    """A line from a marker's centre to the nearest point of its label."""
    x, y = axes.transData.transform((point.multiply_adds, point.psnr))
    end = min(max(x, label.x0), label.x1) - x, min(max(y, label.y0), label.y1) - y
    offset = tuple(72 * pixels / axes.figure.dpi for pixels in end)
    axes.annotate('', (point.multiply_adds, point.psnr), xytext=offset, textcoords='offset points', zorder=3,
                  arrowprops={'arrowstyle': '-', 'linewidth': 0.4, 'color': 'black', 'shrinkA': 0, 'shrinkB': 0})


def _marker_box(axes: Axes, point: Point) -> Bbox:
    x, y = axes.transData.transform((point.multiply_adds, point.psnr))
    radius = math.sqrt(AREA * point.parameters) / 2 * axes.figure.dpi / 72
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _places(label: Annotation, marker: Bbox) -> Iterator[tuple[Bbox, tuple[float, float], float]]:
    """Boxes in pixels for a label around its marker, with the label's offset and distance in points."""
    pixels = label.figure.dpi / 72
    extent = label.get_window_extent()
    for distance in DISTANCES:
        for step in range(NUM_DIRECTIONS):
            angle = 2 * math.pi * step / NUM_DIRECTIONS
            dx = math.cos(angle) * (marker.width / 2 + extent.width / 2 + distance * pixels)
            dy = math.sin(angle) * (marker.height / 2 + extent.height / 2 + distance * pixels)
            yield extent.translated(dx, dy), (dx / pixels, dy / pixels), distance


def _penalty(place: tuple[Bbox, tuple[float, float], float], taken: Sequence[Bbox], crowd: Sequence[Bbox],
             inside: Bbox) -> float:
    """Overlapping and leaving the axes count most, then the distance, and standing where others want to."""
    box, _, distance = place
    outside = box.width * box.height - _overlap(box, [inside])
    return 100 * (_overlap(box, taken) + outside) + distance + 0.003 * _overlap(box, crowd)


def _overlap(box: Bbox, others: Sequence[Bbox]) -> float:
    shared = (Bbox.intersection(box, other) for other in others)
    return sum(b.width * b.height for b in shared if b is not None)
