"""Robustness maps as figures: methods side by side under one colour scale, the worst cases marked and named."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ..robustness import Axis, Map, Panel, RobustnessOptions
from ..robustness_tables import worst_cell
from .style import PAGE, save

AXES = {'sigma': 'blur width σ (HR pixels)', 'lambda_1': 'kernel width λ$_1$ (HR pixels)',
        'lambda_2': 'kernel width λ$_2$ (HR pixels)', 'theta': 'angle θ (degrees)',
        'noise': 'noise level (8-bit units)', 'motion': 'motion length (HR pixels)', 'jpeg': 'JPEG quality'}
SYMBOLS = {'sigma': 'σ', 'lambda_1': 'λ$_1$', 'lambda_2': 'λ$_2$', 'theta': 'θ'}
METRICS = {'psnr': ('PSNR', ' dB', 2, 1), 'ssim': ('SSIM', '', 3, 2)}  # name, unit, digits in titles and in cells
MAX_ACROSS = 3  # panels beside each other
WORST = '#D55E00'
FRAME = ('black', 3.2), ('white', 1.6)  # colour and width of lines on top of each other


def draw_all(options: RobustnessOptions, panels: Sequence[Panel]) -> list[str]:
    """A figure for each map and metric, and one of the differences from the reference; returns the PNGs' paths."""
    paths = []
    for chart in options.maps:
        for metric in options.metrics:
            values = {panel.method: panel.values[metric] for panel in panels if panel.map == chart}
            covered = chart.is_covered(options.trained_on)
            path = os.path.join(options.folder, f'{chart.file_name}_{metric}')
            paths.append(draw(chart, values, covered, metric, path))
            reference = values.pop(options.reference, None)
            if reference is not None and values:
                differences = {f'{method} − {options.reference}': value - reference for method, value in values.items()}
                paths.append(draw(chart, differences, covered, metric, f'{path}_difference', is_difference=True))
    return paths


def draw(chart: Map, values: Mapping[str, np.ndarray], covered: np.ndarray, metric: str, path: str,
         is_difference: bool = False) -> str:
    """One panel for each of `values`, title -> (rows, columns).

    Args:
        chart: The map, which tells the axes.
        covered: (rows, columns), the cells in the training range.
        metric: psnr or ssim.
        path: Of the figure, without suffix.
        is_difference: Values are differences, with colours that are symmetric about 0.

    Returns:
        The PNG's path.
    """
    figure, axes = _panels(chart, len(values))
    colours, norm = _colours(list(values.values()), is_difference)
    for axis, (title, array) in zip(axes, values.items()):
        image = axis.imshow(array, cmap=colours, norm=norm, aspect='auto', origin='lower')
        _print_values(axis, array, colours, norm, METRICS[metric][3], is_difference)
        _frame(axis, covered)
        _mark_worst(axis, chart, array, title, metric, is_difference)
    name, unit, *_ = METRICS[metric]
    label = 'Δ ' * is_difference + name + (f' ({unit.strip()})' if unit else '')
    bar = figure.colorbar(image, ax=axes, label=label, aspect=25 if chart.rows else 12, pad=0.01)
    bar.outline.set_visible(False)
    _legend(figure, covered, is_difference)
    return save(figure, path)


def _panels(chart: Map, num: int) -> tuple[Figure, list[Axes]]:
    """A figure with `num` labelled axes; strips lie one above the other."""
    num_row, num_column = chart.shape
    down = num if num_row == 1 else math.ceil(num / MAX_ACROSS)
    across = math.ceil(num / down)
    width = min(PAGE, 1.5 + across * max(2.0, 0.45 * num_column))
    square = (width - 1.5) / across * num_row / num_column  # the height that makes cells square
    panel = 0.38 if num_row == 1 else min(max(square, 1.3), 2.8 if down == 1 else 2.1)
    figure = Figure(figsize=(width, 0.7 + down * (panel + (0.22 if num_row == 1 else 0.42))))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axis in grid.flat[num:]:
        axis.set_visible(False)
    for i, axis in enumerate(grid.flat[:num]):
        _label_axes(axis, chart, is_left=i % across == 0, is_lowest=i + across >= num)
    return figure, list(grid.flat[:num])


def _label_axes(axis: Axes, chart: Map, is_left: bool, is_lowest: bool) -> None:
    axis.set_xticks(range(len(chart.columns.values)), chart.columns.texts)
    axis.set_yticks(range(len(chart.cells)), chart.rows.texts if chart.rows else [''])
    axis.tick_params(length=0, labelbottom=is_lowest, labelleft=is_left and chart.rows is not None)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if is_lowest:
        axis.set_xlabel(AXES[chart.columns.key])
    if is_left and chart.rows:
        axis.set_ylabel(AXES[chart.rows.key])


def _colours(arrays: Sequence[np.ndarray], is_difference: bool) -> tuple[Colormap, Normalize]:
    """One scale for all panels."""
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    if is_difference:
        extent = max(abs(low), abs(high)) or 1
        return colormaps['RdBu'], Normalize(-extent, extent)
    return colormaps['viridis'], Normalize(low, high if high > low else low + 1)


def _print_values(axis: Axes, array: np.ndarray, colours: Colormap, norm: Normalize, digits: int,
                  is_difference: bool) -> None:
    """Where they fit."""
    texts = {index: _number(value, digits, is_difference) for index, value in np.ndenumerate(array)}
    figure = axis.get_figure()
    across = axis.get_subplotspec().get_gridspec().ncols
    room = 72 * (figure.get_figwidth() - 1.5) / across / array.shape[1]  # points a cell
    size = min(6.5, room / (0.6 * max(map(len, texts.values()))))
    if size < 4:
        return
    for (row, column), text in texts.items():
        red, green, blue, _ = colours(norm(array[row, column]))
        is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axis.text(column, row, text, ha='center', va='center', fontsize=size, color='white' if is_dark else 'black')


def _frame(axis: Axes, covered: np.ndarray) -> None:
    """Around the training range, whatever its shape."""
    padded, lines = np.pad(covered, 1), []
    for row, column in np.argwhere(covered):
        left, right, low, high = column - 0.5, column + 0.5, row - 0.5, row + 0.5
        sides = {(0, -1): [(left, low), (left, high)], (0, 1): [(right, low), (right, high)],
                 (-1, 0): [(left, low), (right, low)], (1, 0): [(left, high), (right, high)]}
        lines += [line for (up, right), line in sides.items() if not padded[row + 1 + up, column + 1 + right]]
    for colour, width in FRAME:
        axis.add_collection(LineCollection(lines, colors=colour, linewidths=width, capstyle='projecting', clip_on=False,
                                           zorder=3), autolim=False)


def _mark_worst(axis: Axes, chart: Map, array: np.ndarray, title: str, metric: str, is_difference: bool) -> None:
    row, column = worst_cell(array)
    axis.add_patch(Rectangle((column - 0.42, row - 0.42), 0.84, 0.84, fill=False, edgecolor=WORST, linewidth=1.8,
                             zorder=4, path_effects=[patheffects.withStroke(linewidth=3, foreground='white')]))
    _, unit, digits, _ = METRICS[metric]
    places = [_place(axis_, i) for axis_, i in ((chart.rows, row), (chart.columns, column)) if axis_]
    worst = f'worst: {_number(array[row, column], digits, is_difference)}{unit} at {", ".join(places)}'
    if chart.rows:
        axis.set_title(f'{title}\n{worst}')
    else:
        axis.set_title(f'{title}, {worst}', loc='left')


def _number(value: float, digits: int, is_difference: bool) -> str:
    return f'{round(value, digits) + 0.0:{"+" if is_difference else ""}.{digits}f}'.replace('-', '−')


def _place(axis: Axis, index: int) -> str:
    return f'{SYMBOLS.get(axis.key, "JPEG" if axis.key == "jpeg" else axis.key)} {axis.texts[index]}'


def _legend(figure: Figure, covered: np.ndarray, is_difference: bool) -> None:
    frame = tuple(Line2D([], [], color=colour, linewidth=width) for colour, width in FRAME)
    worst = Line2D([], [], marker='s', markersize=7, markerfacecolor='none', markeredgecolor=WORST, markeredgewidth=1.8,
                   linestyle='none')
    nothing = Line2D([], [], linestyle='none')
    entries = [(frame, 'training range') if covered.any() else (nothing, 'all outside the training range'),
               (worst, 'smallest difference' if is_difference else 'worst case')]
    handles, labels = zip(*entries)
    figure.legend(handles, labels, loc='outside lower center', ncols=2, frameon=False,
                  handler_map={tuple: HandlerTuple(ndivide=1)})
