"""Exact super-resolution of images of any size, in as much memory as it is given.

Both networks pool over the whole image, so that ordinary tiles would each see another degradation. Here layers run over
all tiles before the next ones do: what they pool is that of the whole image, and a tile is extended by what it depends
on. The result is that of the whole image up to rounding.
"""
from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Iterator
from typing import Optional, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..archs import KDSR, LightBSR
from ..folders import scratch_folder
from .boxes import Box
from .kdsr_passes import KDSRPasses
from .lightbsr_passes import LightBSRPasses
from .sources import Picture
from .workspace import SMALLEST_SIDE, Cost, Workspace

PASSES = {LightBSR: LightBSRPasses, KDSR: KDSRPasses}
DECENT_SIDE = 64  # with smaller tiles than this halos cost more than a file does
UNUSED = 1.2  # measured: memory that the allocator keeps between blocks in use, where the whole image is one tile


class Passes(Protocol):
    """A network in passes, each local given what the ones before have summed up.

    costs: Of all passes, the last of which, `reconstruct`, counts what it reads; the others read feature maps.
    map_values: Numbers in feature maps at most, for each LR pixel.
    """

    costs: tuple[Cost, ...]
    map_values: int

    def run(self, work: Workspace, lq: Picture) -> Iterator[tuple[Box, Tensor]]:
        """Where tiles of sr lie in it, and the tiles (1, 3, h, w)."""
        ...


def tiles(network: nn.Module, lq: np.ndarray | Tensor, memory: int, device: Optional[torch.device | str] = None,
          dtype: Optional[torch.dtype] = None) -> Iterator[tuple[slice, slice, Tensor]]:
    """Super-resolves one image of any size.

    Args:
        network: LightBSR or KDSR in evaluation mode.
        lq: RGB (3, H, W): uint8, uint16, or floating point in [0, 1].
        memory: Bytes that tiles and feature maps may take on the network's device, besides the network, `lq` and what
            the caller makes of the result. Feature maps that do not fit go into temporary files in TMPDIR or, by default,
            /var/tmp.
        device: The network is moved there; by default it stays where it is.
        dtype: Computes in this precision by autocast; by default in that of the network's parameters.

    Yields:
        Rows and columns of the output, and these pixels as float32 (3, h, w) on the CPU, not clipped; each once.

    Raises:
        ValueError: another network, one that is training or adds noise to its IDR, an image of another shape or type, too
            little memory.
        OSError: the temporary files do not fit on the disk.
    """
    passes = _passes(network)
    if network.training:
        raise ValueError('the network is in training mode: call network.eval() first')
    if getattr(network, 'idr_noise', 0):
        raise ValueError('a LightBSR with idr_noise cannot be run in tiles: its noise belongs to the whole image')
    parameter = next(network.to(device or next(network.parameters()).device).parameters())
    picture = Picture(lq, parameter.device, parameter.dtype)
    height, width = lq.shape[1:]
    tile_bytes, in_file = _plan(passes, height, width, int(memory), parameter.dtype.itemsize)
    work = Workspace(height, width, tile_bytes, in_file, parameter.device, parameter.dtype, dtype or parameter.dtype)
    return _run(passes, work, picture)


@torch.no_grad()
def _run(passes: Passes, work: Workspace, picture: Picture) -> Iterator[tuple[slice, slice, Tensor]]:
    for box, tile in passes.run(work, picture):
        yield box.rows, box.columns, tile[0].float().cpu()


def needs_tiles(network: nn.Module, height: int, width: int, memory: int) -> bool:
    """Whether super-resolving an LR image of height x width at once takes more than `memory` bytes.

    Raises:
        ValueError: a network that cannot be run in tiles.
    """
    passes = _passes(network)
    *others, last = (cost.values for cost in passes.costs)
    values = max(max(others) + passes.map_values, last)
    return UNUSED * values * height * width * next(network.parameters()).dtype.itemsize > memory


def _passes(network: nn.Module) -> Passes:
    for kind, passes in PASSES.items():
        if isinstance(network, kind):
            return passes(network)
    raise ValueError(f'{" and ".join(kind.__name__ for kind in PASSES)} can be run in tiles, '
                     f'{type(network).__name__} cannot')


def _plan(passes: Passes, height: int, width: int, memory: int, itemsize: int) -> tuple[int, bool]:
    """Bytes for a tile, and whether feature maps lie in files.

    Raises:
        ValueError: too little memory. OSError: too little space on the disk.
    """
    def tile_bytes(side: int) -> int:
        return itemsize * max((side + 2 * cost.halo)**2 * cost.values for cost in passes.costs)
    maps = itemsize * passes.map_values * height * width
    if memory < tile_bytes(SMALLEST_SIDE):
        raise ValueError(f'{memory / 2**20:.0f} MiB of memory are too few for tiles of this network: allow '
                         f'{math.ceil(tile_bytes(SMALLEST_SIDE) / 2**20)} MiB or more')
    if memory >= maps + tile_bytes(DECENT_SIDE):
        return memory - maps, False
    free = shutil.disk_usage(scratch_folder()).free
    if free < maps:
        raise OSError(errno.ENOSPC, f'feature maps of {maps / 1e9:.1f} GB do not fit into {scratch_folder()}, which '
                      f'has {free / 1e9:.1f} GB free: set TMPDIR to a folder with more space, or allow more memory')
    return memory, True
