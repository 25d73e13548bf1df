"""Crops of LR image, methods and HR image beside the whole one: the qualitative figure of super-resolution papers."""
from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from ... import checkpoints
from ..comparison import GT, Row
from ..images import Scores
from .style import COLOURS

DPI = 200  # at this, seven inches (a page) are 1400 pixels
GAP = 8  # pixels, as all lengths here
FRAME = 3
FONT = 24  # at most
NARROW = 0.56  # mean width of a letter in its heights
MAX_ACROSS = 4  # crops beside each other, before they take two lines
MAX_ASPECT = 1.7  # of the whole image's place


def draw(rows: Sequence[Row], path: str, zoom: int) -> tuple[int, int]:
    """Writes a PNG or PDF, as the path's suffix says; in a PNG an HR pixel of a crop is `zoom` pixels wide and high.

    Returns:
        Width and height in pixels.
    """
    layout = Layout(rows, zoom)
    figure = Figure(figsize=(layout.width / DPI, layout.height / DPI), dpi=DPI, layout='none')
    for i, row in enumerate(rows):
        _draw_row(figure, layout, row, GAP + i * (layout.row_height + 2 * GAP))
    suffix = os.path.splitext(path)[1][1:].lower()
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with checkpoints.replacing(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=DPI, metadata={'CreationDate': None} if suffix == 'pdf' else None)
    return layout.width, layout.height


class Layout:
    """Where things stand, the same for all rows, in pixels from the top left corner."""

    def __init__(self, rows: Sequence[Row], zoom: int) -> None:
        self.zoom, num = zoom, max(len(row.crops) for row in rows)
        self.num_line = 1 if num <= MAX_ACROSS else 2
        self.num_column = math.ceil(num / self.num_line)
        self.cell = tuple(zoom * max(row.box[i] for row in rows) for i in (2, 3))
        captions = [text for row in rows for label in row.crops for text in (label, _plain(row.scores.get(label)))]
        self.font = max(8, min(FONT, self.cell[0] / NARROW / max(map(len, captions))))
        self.caption = math.ceil(1.5 * self.font * (2 if any(row.scores for row in rows) else 1))
        self.line_height = self.cell[1] + self.caption
        self.row_height = self.num_line * self.line_height + (self.num_line - 1) * GAP
        self.whole_height = self.row_height - math.ceil(1.5 * self.font)  # less its title
        self.whole_width = max(self.fit(row.whole)[0] for row in rows)
        self.width = self.whole_width + self.num_column * (self.cell[0] + GAP) + 2 * GAP
        self.height = len(rows) * (self.row_height + 2 * GAP)

    def fit(self, image: np.ndarray) -> tuple[int, int]:
        """Width and height at which a whole image is shown."""
        factor = min(self.whole_height / image.shape[0], MAX_ASPECT * self.whole_height / image.shape[1])
        return round(factor * image.shape[1]), round(factor * image.shape[0])

    def crop_place(self, index: int, top: int) -> tuple[int, int]:
        """Left and top of a crop in a row that begins at `top`."""
        line, column = divmod(index, self.num_column)
        return (GAP + self.whole_width + GAP + column * (self.cell[0] + GAP), top + line * (self.line_height + GAP))


def _draw_row(figure: Figure, layout: Layout, row: Row, top: int) -> None:
    _draw_whole(figure, layout, row, top)
    best = best_texts(row.scores)
    for i, (label, crop) in enumerate(row.crops.items()):
        left, crop_top = layout.crop_place(i, top)
        width = crop.shape[1] * layout.zoom
        left += (layout.cell[0] - width) // 2
        _show(figure, layout, crop.repeat(layout.zoom, 0).repeat(layout.zoom, 1), left, crop_top)
        _write(figure, layout, label, left + width / 2, crop_top + layout.cell[1])
        scores = row.scores.get(label)
        text = 'PSNR / SSIM' if row.scores and label == GT else '' if scores is None else _emphasised(scores, best)
        _write(figure, layout, text, left + width / 2, crop_top + layout.cell[1] + 1.4 * layout.font, is_mathematics=True)


def _draw_whole(figure: Figure, layout: Layout, row: Row, top: int) -> None:
    """The whole image in the middle of its place, with the region's box."""
    width, height = layout.fit(row.whole)
    left, top = GAP + (layout.whole_width - width) // 2, top + (layout.whole_height - height) // 2
    image = Image.fromarray(row.whole).resize((width, height), Image.Resampling.LANCZOS)
    axes = _show(figure, layout, np.asarray(image), left, top)
    x, y, box_width, box_height = (width / row.whole.shape[1] * length for length in row.box)
    for colour, line in (('white', 2 * FRAME), (COLOURS[1], FRAME)):  # seen on any ground
        axes.add_patch(Rectangle((x, y), box_width, box_height, fill=False, color=colour, linewidth=line * 72 / DPI))
    _write(figure, layout, row.title, left + width / 2, top + height)


def _show(figure: Figure, layout: Layout, image: np.ndarray, left: int, top: int) -> Axes:
    """Sets an image pixel by pixel."""
    height, width = image.shape[:2]
    place = left / layout.width, 1 - (top + height) / layout.height, width / layout.width, height / layout.height
    axes = figure.add_axes(place)
    axes.imshow(image, interpolation='none', aspect='auto', extent=(0, width, height, 0))
    axes.set_axis_off()
    return axes


def _write(figure: Figure, layout: Layout, text: str, centre: float, top: float, is_mathematics: bool = False) -> None:
    figure.text(centre / layout.width, 1 - (top + 0.3 * layout.font) / layout.height, text, ha='center', va='top',
                fontsize=layout.font * 72 / DPI, parse_math=is_mathematics)


# ---------------------------------------------------------------------------------------------- figures
FORMATS: tuple[Callable[[Scores], str], ...] = (lambda scores: f'{scores.psnr:.2f}', lambda scores: f'{scores.ssim:.4f}')


def best_texts(scores: Mapping[str, Scores]) -> tuple[str, ...]:
    """The largest PSNR and SSIM as they are shown, so that equal texts are equally good."""
    if not scores:
        return ()
    return FORMATS[0](max(scores.values(), key=lambda s: s.psnr)), FORMATS[1](max(scores.values(), key=lambda s: s.ssim))


def _plain(scores: Scores | None) -> str:
    return 'PSNR / SSIM' if scores is None else ' / '.join(text(scores) for text in FORMATS)


def _emphasised(scores: Scores, best: Sequence[str]) -> str:
    texts = [text(scores) for text in FORMATS]
    return ' / '.join(rf'$\mathbf{{{text}}}$' if text == top else text for text, top in zip(texts, best))
