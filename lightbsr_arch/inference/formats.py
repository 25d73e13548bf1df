"""The file formats that are written, and what each can hold."""
from __future__ import annotations

import math
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """What files of a kind hold.

    suffixes: Of its files. alpha, gray_alpha, sixteen: Whether it holds alpha, alpha with gray, 16 bits a sample.
    metadata: Whether it holds EXIF and a colour profile. max_side: Pixels. max_exif: Bytes.
    """

    suffixes: tuple[str, ...]
    alpha: bool = False
    gray_alpha: bool = False
    sixteen: bool = False
    metadata: bool = True
    max_side: float = math.inf
    max_exif: float = math.inf


FORMATS = {
    'png': Format(('.png',), alpha=True, gray_alpha=True, sixteen=True),
    'jpg': Format(('.jpg', '.jpeg'), max_side=65500, max_exif=65533),
    'webp': Format(('.webp',), alpha=True, max_side=16383),
    'tiff': Format(('.tif', '.tiff'), alpha=True, gray_alpha=True, sixteen=True),
    'bmp': Format(('.bmp',), metadata=False),  # with alpha in theory, but most readers leave it out
}
OF_SUFFIX = {suffix: name for name, kind in FORMATS.items() for suffix in kind.suffixes}


def check_size(kind: str, height: int, width: int) -> None:
    """Raises ValueError where a format cannot hold an image of this size."""
    if max(height, width) > FORMATS[kind].max_side:
        raise ValueError(f'{kind} holds at most {FORMATS[kind].max_side} pixels a side, and the result has {width}x{height}: '
                         'write png or tiff')


def format_of(path: str) -> str | None:
    """The format that a file's name stands for, or None for a name that stands for none of them."""
    return OF_SUFFIX.get(os.path.splitext(path)[1].lower())
