"""One picture that shows a degraded photograph, its reconstructions and the original side by side."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

CAPTION_HEIGHT = 18


def side_by_side(panels: Mapping[str, np.ndarray], box: tuple[int, int, int, int], zoom: int = 2) -> Image.Image:
    """Cuts the same region from each image and sets them in a row under their captions.

    Args:
        panels: Caption -> (H, W, 3) uint8 RGB; a smaller image (the LR one) is enlarged to the largest, pixels kept.
        box: Left, top, right, bottom in pixels of the largest image.
        zoom: Enlargement of the region.
    """
    height, width = np.max([image.shape[:2] for image in panels.values()], axis=0)
    region = (box[2] - box[0]) * zoom, (box[3] - box[1]) * zoom
    sheet = Image.new('RGB', (region[0] * len(panels), region[1] + CAPTION_HEIGHT), 'white')
    draw = ImageDraw.Draw(sheet)
    for i, (caption, image) in enumerate(panels.items()):
        full = Image.fromarray(image).resize((int(width), int(height)), Image.Resampling.NEAREST)
        sheet.paste(full.crop(box).resize(region, Image.Resampling.NEAREST), (i * region[0], CAPTION_HEIGHT))
        draw.text((i * region[0] + 4, 2), caption, fill='black')
    return sheet
