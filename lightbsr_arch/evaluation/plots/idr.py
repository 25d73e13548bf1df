"""IDRs in two dimensions, IDR distance against degradation distance, and what swapped IDRs do to PSNR."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ...degradations import Degradation
from .style import COLOURS, COLUMN, MARKERS, PAGE, save

MAX_ACROSS = 3  # panels beside each other
NUM_BIN = 12


def projections(panels: Mapping[str, tuple[np.ndarray, float]], labels: np.ndarray, grid: Sequence[Degradation],
                path: str) -> str:
    """IDRs as points, one panel a model and one legend below.

    Args:
        panels: Model -> points (N, 2) and the silhouette of the IDRs themselves.
        labels: (N,), indices of `grid`.
        path: Of the figure, without suffix.

    Returns:
        The PNG's path.
    """
    figure, axes = _panels(len(panels), aspect=1.0, below=0.2 * math.ceil(len(grid) / 4))
    for axis, (title, (points, silhouette)) in zip(axes, panels.items()):
        axis.set_title(f'{title}\nsilhouette {silhouette:.2f}'.replace('-', '−'))
        _scatter(axis, points, labels, len(grid))
    handles = axes[0].collections
    figure.legend(handles, [degradation.symbols for degradation in grid], loc='outside lower center', frameon=False,
                  ncols=min(4, len(grid)), markerscale=1.6, handletextpad=0.2, columnspacing=1.2)
    return save(figure, path)


def _scatter(axis: Axes, points: np.ndarray, labels: np.ndarray, num_class: int) -> None:
    """Every other class is hollow, so that points in one place show both; the axes have one unit."""
    size = min(16, 2400 / len(points) + 4)
    for i in range(num_class):
        chosen = points[labels == i]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
        style = {'facecolor': 'none', 'edgecolor': colour, 'linewidth': 0.8} if i % 2 else {
            'facecolor': colour, 'edgecolor': 'white', 'linewidth': 0.25}
        axis.scatter(*chosen.T, s=size, marker=marker, zorder=3 if i % 2 else 2, **style)
    centre, radius = (points.max(0) + points.min(0)) / 2, 0.54 * np.ptp(points, 0).max() or 1
    axis.set(xlim=(centre[0] - radius, centre[0] + radius), ylim=(centre[1] - radius, centre[1] + radius), xticks=[],
             yticks=[], aspect='equal')


def distances(panels: Mapping[str, tuple[np.ndarray, float]], apart: np.ndarray, path: str) -> str:
    """Median and quantiles of IDR distance in bins of degradation distance, each with as many pairs; one panel a model.

    Args:
        panels: Model -> IDR distances of pairs, and their rank correlation with `apart`.
        apart: Degradation distances of the pairs, in HR pixels.
        path: Of the figure, without suffix.
    """
    figure, axes = _panels(len(panels), aspect=0.8, below=0.2)
    edges = np.quantile(apart, np.linspace(0, 1, NUM_BIN + 1))
    bins = np.digitize(apart, edges[1:-1])
    used = np.unique(bins)
    x = np.array([np.median(apart[bins == b]) for b in used])
    for i, (axis, (title, (values, correlation))) in enumerate(zip(axes, panels.items())):
        relative = values / (values.mean() or 1)
        quantiles = np.array([np.quantile(relative[bins == b], (0.05, 0.25, 0.5, 0.75, 0.95)) for b in used]).T
        axis.fill_between(x, quantiles[0], quantiles[4], color=COLOURS[0], alpha=0.18, linewidth=0, label='5 to 95 %')
        axis.fill_between(x, quantiles[1], quantiles[3], color=COLOURS[0], alpha=0.4, linewidth=0, label='25 to 75 %')
        axis.plot(x, quantiles[2], color='black', marker='o', markersize=2.5, linewidth=1, label='median')
        axis.set_title(f'{title}\nrank correlation {correlation:.2f}'.replace('-', '−'))
        axis.set_xlabel('degradation distance (HR pixels)')
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].set_ylabel('IDR distance / mean')
    low, high = min(a.get_ylim()[0] for a in axes), max(a.get_ylim()[1] for a in axes)
    for axis in axes:
        axis.set_ylim(max(0, low), high)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=3, frameon=False)
    return save(figure, path)


def swaps(matrices: Mapping[str, np.ndarray], grid: Sequence[Degradation], path: str) -> str:
    """What PSNR changes by with the IDR of another degradation: rows the image's own, columns the IDR's.

    Args:
        matrices: Model -> (K, K) PSNR in dB.
        path: Of the figure, without suffix.
    """
    names = [degradation.symbols.replace('; ', '\n') for degradation in grid]
    is_long = len(grid) > 5 or any('\n' in name for name in names)
    changes = {model: matrix - matrix.diagonal()[:, None] for model, matrix in matrices.items()}
    extent = max(0.01, *(np.abs(change).max() for change in changes.values()))
    figure, axes = _panels(len(matrices), aspect=1.0, below=0.75 if is_long else 0.4, beside=1.4)
    for i, (axis, (title, change)) in enumerate(zip(axes, changes.items())):
        image = axis.imshow(change, cmap='RdBu', norm=Normalize(-extent, extent))
        _print_changes(axis, change, extent)
        axis.set_title(title)
        axis.set_xticks(range(len(grid)), names, rotation=90 if is_long else 0, fontsize=6)
        axis.set_yticks(range(len(grid)), names if i % MAX_ACROSS == 0 else [''] * len(grid), fontsize=6)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_xlabel('given the IDR of')
    axes[0].set_ylabel('image degraded with')
    figure.colorbar(image, ax=axes, label='change in PSNR (dB)', pad=0.01, aspect=18).outline.set_visible(False)
    return save(figure, path)


def _print_changes(axis: Axes, change: np.ndarray, extent: float) -> None:
    """Where there is room."""
    for (row, column), value in np.ndenumerate(change if len(change) < 10 else change[:0]):
        text = f'{value:+.2f}'.replace('-', '−') if abs(value) >= 0.005 else '0'
        axis.text(column, row, text, ha='center', va='center', fontsize=6.5 if len(change) < 6 else 4.5,
                  color='white' if abs(value) > 0.6 * extent else 'black')


def _panels(num: int, aspect: float, below: float, beside: float = 0.0) -> tuple[Figure, list[Axes]]:
    """`num` axes, three beside each other; inches `below` and `beside` for legends and labels."""
    across = min(num, MAX_ACROSS)
    down = math.ceil(num / across)
    width = COLUMN if num == 1 else PAGE
    panel = (width - beside) / across
    figure = Figure(figsize=(width, down * (panel * aspect + 0.35) + below))
    axes = figure.subplots(down, across, squeeze=False).flat
    for axis in axes[num:]:
        axis.set_visible(False)
    return figure, list(axes[:num])
