"""The eight views of an image, by quarter turns and mirroring, and sums over them in whole numbers."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class View(NamedTuple):
    """A mirroring, left to right, and then quarter turns, counter-clockwise."""

    mirrored: bool
    turns: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """(C, H, W) as it is seen so: the same memory, so that what is written into a view lands in its place."""
        return np.rot90(image[..., ::-1] if self.mirrored else image, self.turns, (-2, -1))


PLAIN = (View(False, 0),)
ALL = tuple(View(mirrored, turns) for mirrored in (False, True) for turns in range(4))


def sum_type(dtype: np.dtype, num_views: int) -> tuple[np.dtype, int]:
    """How the sum of views is kept: a type, and the whole number that stands for 1.0 in each view.

    One view is kept as the result itself, eight in twice its bytes with 5 bits more than the result's: much less than
    float32 takes, and the mean is right to 1/60 of a step before it is rounded.
    """
    if num_views == 1:
        return dtype, int(np.iinfo(dtype).max)
    wide = np.dtype(np.uint16 if dtype == np.uint8 else np.uint32)
    return wide, min(int(np.iinfo(wide).max) // num_views, 2**20)  # float32 counts no further with certainty


def mean_of(total: np.ndarray, dtype: np.dtype, num_views: int, one: int, rows: int = 256) -> np.ndarray:
    """The mean of views from their sum (H, W, ...), in the result's type; band by band, for float is large."""
    if total.dtype == dtype:
        return total
    result = np.empty(total.shape, dtype)
    full = np.iinfo(dtype).max
    for i in range(0, len(total), rows):
        result[i:i + rows] = np.rint(total[i:i + rows] * (full / (num_views * one)))
    return result
