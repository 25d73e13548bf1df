"""EXIF and colour profiles: what of them still holds for an image of another size."""
from __future__ import annotations

from typing import Callable

import numpy as np
from PIL import Image

ORIENTATION = 0x112
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
PIXEL_SIZE = (0xA002, 0xA003)
STRUCTURE = {*range(254, 270), 273, 277, 278, 279, 284, *range(288, 293), 317, *range(320, 326), 330, 332, 338, 339, 347,
             *range(512, 522), *range(529, 533), 700, 33550, 33723, 33922, 34264, 34377, 34675, *range(34735, 34738), 37724,
             50844}
"""Tags of a TIFF file that say how its pixels lie, in it or on the earth, and other blocks of data that are not EXIF."""
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""EXIF's orientation -> what sets pixels (H, W, ...) upright; 1 and unknown values leave them."""


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    return np.ascontiguousarray(UPRIGHT.get(orientation, lambda x: x)(pixels))


def kept_exif(image: Image.Image) -> bytes:
    """The EXIF of an opened image as a block of bytes, without orientation, sizes in pixels and thumbnail; or empty."""
    exif = image.getexif()
    for tag in STRUCTURE | {ORIENTATION}:
        exif.pop(tag, None)
    for tag in PIXEL_SIZE:
        exif.get_ifd(EXIF_IFD).pop(tag, None)
    exif.bigtiff = False  # a block of EXIF is a classic TIFF
    return exif.tobytes() if len(exif) else b''


def is_gray(icc: bytes) -> bool:
    """Whether a colour profile is for gray images."""
    return icc[16:20] == b'GRAY'
