"""The file formats that are written, and what each can hold."""
from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """suffixes: Of its files. alpha, gray_alpha, sixteen: Whether it holds alpha, alpha with gray, 16 bits a sample."""

    suffixes: tuple[str, ...]
    alpha: bool = False
    gray_alpha: bool = False
    sixteen: bool = False


FORMATS = {
    'png': Format(('.png',), alpha=True, gray_alpha=True, sixteen=True),
    'jpg': Format(('.jpg', '.jpeg')),
    'webp': Format(('.webp',), alpha=True),
    'tiff': Format(('.tif', '.tiff'), alpha=True, gray_alpha=True, sixteen=True),
    'bmp': Format(('.bmp',)),  # with alpha in theory, but most readers leave it out
}
OF_SUFFIX = {suffix: name for name, kind in FORMATS.items() for suffix in kind.suffixes}


def format_of(path: str) -> str | None:
    """The format that a file's name stands for, or None for a name that stands for none of them."""
    return OF_SUFFIX.get(os.path.splitext(path)[1].lower())
