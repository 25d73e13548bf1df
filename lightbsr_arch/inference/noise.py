"""How noisy an image is: what decides between the bundled networks."""
from __future__ import annotations

import cv2
import numpy as np

from .alpha import split_alpha

BLOCK = 8
SHARE = 20  # percent of the blocks
NOISY = 3.0
"""From here on the network for noisy images is taken. LR images of Set5, Set14 and B100 with noise of 5 have 3.1 or more;
without noise those with a blur of 2.4 have 1.8 or less. 7 % of those with a blur of 1.2 have more, and 14 % of the HR
images: sharp texture all over. Noise that is missed is amplified, a clean image taken for noisy is a little softer."""


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise in 8-bit units, a little too low for noise that fills the image.

    A mask that is blind to what changes linearly (Immerkaer, "Fast Noise Variance Estimation", CVIU 1996) leaves noise
    and fine texture. Noise is everywhere and texture is not, so the smoother blocks tell: the result is a low percentile
    of the blocks' levels, averaged over the colours. Areas that are all black or at full scale (bars, margins, cut-outs, a
    burnt-out sky) show none and do not count, but for their rim: without it clean text would be its edges alone.

    Args:
        image: (H, W), or (H, W, C) with C of 2, 3 or 4; uint8 or uint16. Alpha is left out.
    """
    colours = split_alpha(image)[0]
    unit = np.iinfo(image.dtype).max / 255
    planes = [colours] if colours.ndim == 2 else [colours[..., i] for i in range(colours.shape[2])]
    return float(np.mean([_plane_level(np.ascontiguousarray(plane)) for plane in planes])) / unit


def _plane_level(plane: np.ndarray) -> float:
    mask = np.array([1, -2, 1], np.float32)
    residual = np.abs(cv2.sepFilter2D(plane, cv2.CV_32F, mask, mask)[1:-1, 1:-1])
    if min(residual.shape) < BLOCK:
        return 0.0
    levels = np.median(_blocks(residual), 2) / (0.6745 * 6)  # of |N(0, 1)|, and the mask's norm
    clipped = _blocks(((plane == 0) | (plane == np.iinfo(plane.dtype).max))[1:-1, 1:-1]).all(2)
    counted = levels[cv2.erode(clipped.astype(np.uint8), np.ones((3, 3))) == 0]
    return float(np.percentile(counted, SHARE)) if counted.size else 0.0


def _blocks(plane: np.ndarray) -> np.ndarray:
    """(H, W) -> (H // BLOCK, W // BLOCK, BLOCK^2)."""
    rows, columns = (size // BLOCK for size in plane.shape)
    blocks = plane[:rows * BLOCK, :columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    return blocks.reshape(rows, columns, BLOCK**2)
