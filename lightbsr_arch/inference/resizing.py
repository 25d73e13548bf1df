"""Images to any size, by Lanczos or bicubic interpolation in float with antialiasing."""
from __future__ import annotations

import math

import numpy as np
from PIL import Image

BAND = 256  # rows of the output that are made at once
SUPPORT = {Image.Resampling.BICUBIC: 2, Image.Resampling.LANCZOS: 3}


def resize(image: np.ndarray, height: int, width: int,
           method: Image.Resampling = Image.Resampling.LANCZOS) -> np.ndarray:
    """(H, W) or (H, W, C), uint8 or uint16 -> (height, width) or (height, width, C) of the same type."""
    result = np.empty((height, width, *image.shape[2:]), image.dtype)
    if image.ndim == 2:
        _resize_plane(image, result, method)
    else:
        for i in range(image.shape[2]):
            _resize_plane(image[..., i], result[..., i], method)
    return result


def _resize_plane(plane: np.ndarray, result: np.ndarray, method: Image.Resampling) -> None:
    """Fills `result` band by band, so that no copy in float is as large as the image."""
    height, width = result.shape
    step = plane.shape[0] / height
    margin = math.ceil(SUPPORT[method] * max(step, 1)) + 1
    for start in range(0, height, BAND):
        stop = min(start + BAND, height)
        first = max(math.floor(start * step) - margin, 0)
        last = min(math.ceil(stop * step) + margin, plane.shape[0])
        band = Image.fromarray(plane[first:last].astype(np.float32))
        box = (0, start * step - first, plane.shape[1], min(stop * step - first, last - first))
        values = np.asarray(band.resize((width, stop - start), method, box))
        result[start:stop] = np.rint(values).clip(0, np.iinfo(result.dtype).max)
