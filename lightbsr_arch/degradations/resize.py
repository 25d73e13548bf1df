"""MATLAB's bicubic `imresize` with antialiasing, except that pixels beyond the edge repeat the edge.

That is how both papers make their LR images; MATLAB mirrors, which changes the outer two LR pixels.
"""
from __future__ import annotations

import contextlib
import math
from functools import lru_cache

import torch
from torch import Tensor


def imresize(x: Tensor, scale: float) -> Tensor:
    """Resizes images (..., H, W), any value range, to (..., ceil(H * scale), ceil(W * scale)).

    Raises:
        ValueError: the scale is not positive.
    """
    if scale <= 0:
        raise ValueError(f'scale must be positive, got {scale}')
    rows, columns = (_resize_matrix(size, scale).to(x) for size in x.shape[-2:])
    with exact(x):
        return rows @ x @ columns.T


def exact(x: Tensor) -> contextlib.AbstractContextManager[None]:
    """Without the autocast that a caller may be in, where the tensor's device knows of one."""
    known = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if known else contextlib.nullcontext()


@lru_cache(maxsize=4)  # of a photograph they take a GB
def _resize_matrix(size: int, scale: float) -> Tensor:
    """(ceil(size * scale), size): each row holds the weights of one output pixel."""
    stretch = min(scale, 1.0)
    num_out = math.ceil(size * scale - 1e-9)
    center = (torch.arange(num_out, dtype=torch.float64) + 0.5) / scale - 0.5
    num_taps = math.ceil(4 / stretch) + 2
    index = torch.floor(center - 2 / stretch)[:, None] + torch.arange(num_taps)
    weight = _cubic((center[:, None] - index) * stretch)
    weight = weight / weight.sum(1, keepdim=True)
    matrix = torch.zeros(num_out, size, dtype=torch.float64)
    return matrix.scatter_add_(1, index.long().clamp(0, size - 1), weight)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = x.abs()
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))
