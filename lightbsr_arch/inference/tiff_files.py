"""TIFF files with any of our kinds of pixels, and EXIF: Pillow's directory in front of strips of our own.

Pillow writes no 16 bits a sample in colour, OpenCV no metadata, and tifffile no EXIF.
"""
from __future__ import annotations

import zlib
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .metadata import EXIF_IFD, GPS_IFD, INTEROP_IFD

ADOBE_DEFLATE, HORIZONTAL_DIFFERENCES, STRAIGHT_ALPHA, LARGEST = 8, 2, 2, 2**32
STRIP_BYTES = 2**20


def write_tiff(file: BinaryIO, pixels: np.ndarray, icc: bytes, exif: bytes) -> None:
    """Writes (H, W) or (H, W, C) of uint8 or uint16 with C of 2 (gray and alpha), 3 or 4.

    Raises:
        ValueError: more than the 4 GiB that a TIFF file can hold.
    """
    directory = ImageFileDirectory_v2(prefix=b'II')
    _add_exif(directory, exif)
    strips = _describe(directory, pixels)
    if icc:
        directory[34675] = icc
    if sum(map(len, strips)) + len(icc) + len(exif) + 2**16 > LARGEST:
        raise ValueError('a TIFF file cannot hold more than 4 GiB: choose another format')
    directory.save(file)
    file.writelines(strips)


def _describe(directory: ImageFileDirectory_v2, pixels: np.ndarray) -> list[bytes]:
    """Fills in the tags for these pixels; returns the strips."""
    height, width = pixels.shape[:2]
    num_samples = pixels.shape[2] if pixels.ndim == 3 else 1
    num_rows = max(STRIP_BYTES // (width * num_samples * pixels.itemsize), 1)
    strips = [_strip(pixels[i:i + num_rows]) for i in range(0, height, num_rows)]
    directory[256], directory[257] = width, height
    directory[258] = (8 * pixels.itemsize,) * num_samples
    directory[259], directory[317] = ADOBE_DEFLATE, HORIZONTAL_DIFFERENCES
    directory[262] = 1 if num_samples < 3 else 2
    directory[273] = tuple(accumulate(map(len, strips[:-1]), initial=0))  # Pillow adds what stands before them
    directory[277], directory[278] = num_samples, num_rows
    directory[279] = tuple(map(len, strips))
    if num_samples in (2, 4):
        directory[338] = STRAIGHT_ALPHA
    return strips


def _strip(rows: np.ndarray) -> bytes:
    differences = rows.astype(rows.dtype.newbyteorder('<'))
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.tobytes())


def _add_exif(directory: ImageFileDirectory_v2, block: bytes) -> None:
    exif = Image.Exif()
    exif.load(block)
    for tag, value in exif.items():
        directory[tag] = exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else value
    if INTEROP_IFD in directory.get(EXIF_IFD, {}):  # a directory in a directory
        directory[EXIF_IFD][INTEROP_IFD] = exif.get_ifd(INTEROP_IFD)
