"""Transparency: taken off before a network sees the colours.

Alpha is resized, not run through the network: areas that are wholly opaque or wholly transparent stay so to the last bit,
which no network promises, and its edges have the width of the bicubic kernel.
"""
from __future__ import annotations

from typing import Optional

import numpy as np
from scipy.ndimage import distance_transform_edt


def split_alpha(image: np.ndarray) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """(H, W, 2) -> gray (H, W) and alpha (H, W); (H, W, 4) -> RGB (H, W, 3) and alpha; alpha is None without."""
    if image.ndim == 2 or image.shape[2] == 3:
        return image, None
    return (image[..., 0] if image.shape[2] == 2 else image[..., :3]), image[..., -1]


def fill_hidden(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Gives wholly transparent pixels, whose colours mean nothing, the nearest visible one, so that none bleeds in."""
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return colours
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return colours[rows, columns]


def flatten(image: np.ndarray) -> np.ndarray:
    """An image with alpha on white, for formats without."""
    colours, alpha = split_alpha(image)
    if alpha is None:
        return image
    full = np.iinfo(image.dtype).max
    weight = alpha.astype(np.float32) / full
    weight = weight if colours.ndim == 2 else weight[..., None]
    return np.rint(colours * weight + full * (1 - weight)).astype(image.dtype)
