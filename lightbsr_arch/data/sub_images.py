"""HR images cut into overlapping square sub-images, as BasicSR's `extract_subimages` does: they load faster."""
from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError


@dataclass(frozen=True)
class Cutting:
    """How images are cut.

    size: Edge of the squares in pixels; None keeps images whole.
    step: Distance from one square to the next.

    Raises:
        ValueError: a step that would leave pixels out.
    """

    size: Optional[int] = 480
    step: Optional[int] = 240

    def __post_init__(self) -> None:
        if self.size is not None and (self.step is None or not 1 <= self.step <= self.size):
            raise ValueError(f'the step ({self.step}) must lie between 1 and the size ({self.size}), or pixels would be '
                             'left out')


@dataclass(frozen=True)
class SubImage:
    """An encoded PNG and the (height, width) of its image."""

    png: bytes
    shape: tuple[int, int]


def cut(path: str, name: str, cutting: Cutting, compress_level: int) -> dict[str, SubImage]:
    """Reads an image file and encodes its sub-images `<name>_s001`, `<name>_s002`, ... row by row.

    An image with a side shorter than the size becomes `<name>_s001` as it is; where nothing is cut, `<name>`.

    Raises:
        ValueError, OSError: the file cannot be read.
    """
    image = read_image(path)
    if cutting.size is None:
        return {name: _encode(image, compress_level)}
    return {f'{name}_s{i:03d}': _encode(image[window], compress_level)
            for i, window in enumerate(windows(*image.shape[:2], cutting), 1)}


def windows(height: int, width: int, cutting: Cutting) -> list[tuple[slice, slice]]:
    """Rows and columns of the squares; the last of a row or column touches the edge, so that no pixel is left out."""
    if min(height, width) < cutting.size:
        return [(slice(0, height), slice(0, width))]
    tops, lefts = (_starts(length, cutting) for length in (height, width))
    return [(slice(top, top + cutting.size), slice(left, left + cutting.size)) for top in tops for left in lefts]


def _starts(length: int, cutting: Cutting) -> list[int]:
    last = length - cutting.size
    starts = list(range(0, last + 1, cutting.step))
    return starts if starts[-1] == last else [*starts, last]


def read_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8 BGR, the pixels that BlindDegradationDataset sees in the file.

    Raises:
        ValueError: a file that is empty, cut off, damaged, of another format or in floating point.
        OSError: it cannot be opened.
    """
    with open(path, 'rb') as file:
        content = file.read()
    if not content:
        raise ValueError('it is empty')
    _check_whole(content)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f'it cannot be decoded: {error.err}') from None
    if image is None:
        raise ValueError('it is damaged, or of a format that cannot be read as 8-bit RGB')
    return image


def _check_whole(content: bytes) -> None:
    """OpenCV fills what is missing of a file with gray and is content (seen with 4.x); Pillow complains."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode == 'F':
                raise ValueError('its values are in floating point: convert it to 8 bits')
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return  # a format that Pillow doesn't know or an image that it finds too large: OpenCV decides
    except (OSError, SyntaxError) as error:
        raise ValueError(f'it is cut off or damaged: {error}') from None


def _encode(image: np.ndarray, compress_level: int) -> SubImage:
    _, png = cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, compress_level])
    return SubImage(png.tobytes(), image.shape[:2])
