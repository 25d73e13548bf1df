"""What tiles are read from: the LR image, and maps of features that lie in memory or in a file."""
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Optional, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..folders import scratch_folder
from .boxes import Box


class Source(Protocol):
    """Gives the pixels of a box as a tensor (1, C, h, w), channels last."""

    def read(self, box: Box) -> Tensor:
        ...


class Picture:
    """An LR image (3, H, W) that stays as it is: uint8, uint16, or floating point in [0, 1].

    Raises:
        ValueError: another shape or type.
    """

    def __init__(self, lq: np.ndarray | Tensor, device: torch.device, dtype: torch.dtype) -> None:
        kind = str(lq.dtype).removeprefix('torch.')
        if lq.ndim != 3 or lq.shape[0] != 3 or 0 in lq.shape:
            raise ValueError(f'an image of shape (3, height, width) is needed, got {tuple(lq.shape)}')
        if kind not in ('uint8', 'uint16') and 'float' not in kind:
            raise ValueError(f'an image of uint8, uint16 or floating point numbers in [0, 1] is needed, got {kind}')
        self.lq = lq
        self.peak = {'uint8': 255, 'uint16': 65535}.get(kind, 1)
        self.device = device
        self.dtype = dtype

    def read(self, box: Box) -> Tensor:
        tile = self.lq[:, box.rows, box.columns]
        if isinstance(tile, np.ndarray):
            tile = torch.from_numpy(tile.astype(np.float32))
        tile = tile.to(self.device, torch.float32) / self.peak
        return tile[None].to(self.dtype, memory_format=torch.channels_last)


class FeatureMap:
    """(C, H, W) features of a whole image, written and read box by box, with their mean.

    Stored as (H, W, C), so that the rows of a box lie in one piece and tiles are channels last.

    Args:
        in_file: Keeps them in an unnamed temporary file (in `scratch_folder`) and not in memory.
        device: Where tiles are read to; features in memory are there too.
    """

    def __init__(self, channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device,
                 in_file: bool) -> None:
        self.shape = (height, width, channels)
        self.dtype = dtype
        self.device = device
        self.file: Optional[BinaryIO] = tempfile.TemporaryFile(dir=scratch_folder()) if in_file else None
        self.data = None if in_file else torch.empty(self.shape, dtype=dtype, device=device)
        self._sum = torch.zeros(channels, dtype=torch.float64)

    @property
    def mean(self) -> Tensor:
        """(1, C): over the whole image, once all of it is written."""
        return (self._sum / (self.shape[0] * self.shape[1])).to(self.device, self.dtype)[None]

    def write(self, box: Box, tile: Tensor) -> None:
        """Stores a tile (1, C, h, w); each pixel is written once.

        Raises:
            OSError: the file cannot take it.
        """
        self._sum += channel_sums(tile)
        values = tile[0].permute(1, 2, 0)
        if self.data is not None:
            self.data[box.rows, box.columns] = values
            return
        values = values.to('cpu', self.dtype).contiguous()
        try:
            for offset, row in zip(self._offsets(box), values):
                self.file.seek(offset)
                self.file.write(_bytes(row))
            self.file.flush()
        except OSError as error:
            gigabytes = values.element_size() * np.prod(self.shape) / 1e9
            raise OSError(error.errno, f'a feature map of {gigabytes:.1f} GB does not fit into {scratch_folder()} '
                          f'({error.strerror}): set TMPDIR to a folder with more space, or allow more memory') from None

    def read(self, box: Box) -> Tensor:
        if self.data is not None:
            values = self.data[box.rows, box.columns].contiguous()
        else:
            values = torch.empty(box.bottom - box.top, box.right - box.left, self.shape[2], dtype=self.dtype)
            for offset, row in zip(self._offsets(box), values):
                self.file.seek(offset)
                self.file.readinto(_bytes(row))
        return values.to(self.device).permute(2, 0, 1)[None]

    def _offsets(self, box: Box) -> Iterator[int]:
        """Where in the file each row of a box begins, in bytes."""
        _, width, channels = self.shape
        size = channels * self.dtype.itemsize
        return ((row * width + box.left) * size for row in range(box.top, box.bottom))


class FullSizeEstimate:
    """LightBSR's estimate (128, ceil(H/4), ceil(W/4)), pixel-shuffled to (8, H, W) as it is read."""

    def __init__(self, estimate: FeatureMap) -> None:
        self.estimate = estimate

    def read(self, box: Box) -> Tensor:
        coarse = Box(box.top // 4, -(-box.bottom // 4), box.left // 4, -(-box.right // 4))
        inner = box.within(coarse.times(4))
        return F.pixel_shuffle(self.estimate.read(coarse), 4)[..., inner.rows, inner.columns]


def channel_sums(tile: Tensor) -> Tensor:
    """(C,): over a tile's pixels, from one row to the next in double precision, and so on the CPU: Apple's GPUs have none."""
    return tile[0].sum(2, dtype=torch.float32).cpu().sum(1, dtype=torch.float64)


def _bytes(row: Tensor) -> memoryview:
    return memoryview(row.view(torch.uint8).numpy()).cast('B')
