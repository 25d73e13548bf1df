"""Rectangles of pixels, and an image cut into them."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple


ALIGNMENT = 4  # LightBSR's estimate is a quarter of the image's height and width


class Box(NamedTuple):
    """Rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    def extended(self, halo: int, height: int, width: int) -> Box:
        """With `halo` pixels more on each side, as far as an image of height x width has them."""
        return Box(max(self.top - halo, 0), min(self.bottom + halo, height),
                   max(self.left - halo, 0), min(self.right + halo, width))

    def times(self, factor: float) -> Box:
        """The same place in an image resized by `factor`, a power of two or a whole number; edges are rounded up."""
        return Box(*(math.ceil(edge * factor) for edge in self))

    def within(self, outer: Box) -> Box:
        """Its place as seen from the corner of `outer`."""
        return Box(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)


def grid(height: int, width: int, side: int) -> Iterator[Box]:
    """Boxes that cover height x width once, row by row, of nearly equal size and at most `side` high and wide.

    Their inner edges are multiples of ALIGNMENT; so is `side`.
    """
    rows, columns = _intervals(height, side), _intervals(width, side)
    return (Box(*row, *column) for row in rows for column in columns)


def _intervals(length: int, side: int) -> list[tuple[int, int]]:
    step = math.ceil(length / math.ceil(length / side) / ALIGNMENT) * ALIGNMENT
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def padded_area(height: int, width: int, side: int, halo: int) -> int:
    """Pixels of all boxes of `grid` together, each extended by `halo`."""
    extents = []
    for length in (height, width):
        extents.append(sum(min(end + halo, length) - max(start - halo, 0) for start, end in _intervals(length, side)))
    return extents[0] * extents[1]
