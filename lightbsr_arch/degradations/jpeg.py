"""JPEG compression of LR images, which neither paper trains on."""
from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def compress_jpeg(image: Tensor, quality: int) -> Tensor:
    """An image as it comes back from a JPEG file, with colours at half the resolution (4:2:0) as OpenCV writes it.

    Args:
        image: (3, H, W) RGB in [0, 1], multiples of 1/255, on the CPU.
        quality: 1 to 100.

    Returns:
        (3, H, W) in [0, 1], multiples of 1/255.
    """
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    _, content = cv2.imencode('.jpg', np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(decoded.transpose(2, 0, 1))).float() / 255
