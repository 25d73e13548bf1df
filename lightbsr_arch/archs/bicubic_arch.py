"""Bicubic interpolation as a network: the baseline takes the same road as the others."""
from __future__ import annotations

from torch import Tensor, nn

from ..degradations.resize import imresize


class Bicubic(nn.Module):
    """MATLAB's bicubic `imresize`, (B, 3, H, W) -> (B, 3, sH, sW), any value range; no parameters."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lq: Tensor) -> Tensor:
        return imresize(lq, self.scale)
