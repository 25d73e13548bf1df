"""Passes over a whole image, tile by tile, within a number of bytes."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Optional

import torch
from torch import Tensor

from ..allocator import return_freed_memory
from .boxes import ALIGNMENT, Box, grid, padded_area
from .devices import computing_in
from .sources import FeatureMap, Source, channel_sums

SMALLEST_SIDE = 32
LARGEST_SIDE = 1024
LARGEST_SIDE_ON_CPU = 256  # beyond it each pixel takes longer
STORING = 0.5  # of the time that a KDSR block takes, measured at widths 32 and 64


@dataclass(frozen=True)
class Cost:
    """Of a pass.

    halo: Pixels around a tile that its result depends on.
    values: Numbers in memory at most, for each pixel of a tile with its halo.
    """

    halo: int
    values: int

    def repeated(self, num: int) -> Cost:
        """Of `num` such passes in one."""
        return replace(self, halo=num * self.halo)


@dataclass(frozen=True)
class Workspace:
    """Runs local functions over tiles of an image of height x width.

    tile_bytes: What a tile's tensors may take. in_file: Whether feature maps lie in temporary files.
    device, dtype: Of the network's parameters. autocast: The precision to compute in.
    """

    height: int
    width: int
    tile_bytes: int
    in_file: bool
    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype

    def results(self, cost: Cost, function: Callable[..., Tensor], *sources: Optional[Source],
                scale: float = 1) -> Iterator[tuple[Box, Tensor]]:
        """Where each tile of the result lies, in the result's pixels, and the tile (1, C, h, w).

        A tile of the sources is extended by real pixels only and its halo cut off afterwards, so that the layers' own
        padding acts where it acts on the whole image: at the image's edge.

        Args:
            function: Given a tile of each source, computes one `scale` times as high and wide.
        """
        for box in grid(self.height, self.width, self.side(cost)):
            outer = box.extended(cost.halo, self.height, self.width)
            with computing_in(self.autocast, self.device, self.dtype):
                tile = function(*(source and source.read(outer) for source in sources))
            place = box.times(scale)
            inner = place.within(outer.times(scale))
            yield place, tile[..., inner.rows, inner.columns]
            del tile
            return_freed_memory()  # else the next tile, whose blocks do not fit, takes two or three times its own

    def store(self, cost: Cost, function: Callable[..., Tensor], *sources: Optional[Source], scale: float = 1) -> FeatureMap:
        """The result as a map."""
        result = None
        for box, tile in self.results(cost, function, *sources, scale=scale):
            if result is None:
                size = Box(0, self.height, 0, self.width).times(scale)
                result = FeatureMap(tile.shape[1], size.bottom, size.right, self.dtype, self.device, self.in_file)
            result.write(box, tile)
        return result

    def mean(self, cost: Cost, function: Callable[..., Tensor], *sources: Optional[Source]) -> Tensor:
        """(1, C): the mean over the image of a result that has its size and is not kept."""
        total = sum(channel_sums(tile) for _, tile in self.results(cost, function, *sources))
        return (total / (self.height * self.width)).to(self.device, self.dtype)[None]

    def side(self, cost: Cost) -> int:
        """Height and width of the largest tile, without halo, that fits."""
        padded = math.isqrt(self.tile_bytes // (cost.values * self.dtype.itemsize))
        largest = LARGEST_SIDE_ON_CPU if self.device.type == 'cpu' else LARGEST_SIDE
        return min((padded - 2 * cost.halo) // ALIGNMENT * ALIGNMENT, largest)

    def cheapest_run(self, cost: Cost, num_layer: int) -> int:
        """How many of `num_layer` equal layers to run in one pass.

        More of them store fewer maps, and compute more pixels of halos.

        Args:
            cost: Of one layer.
        """
        def price(num: int) -> float:
            """Of a layer, in pixels computed; storing and reading a pixel counts as a part of one."""
            side = self.side(cost.repeated(num))
            if side < SMALLEST_SIDE:
                return math.inf
            return padded_area(self.height, self.width, side, num * cost.halo) / (self.height * self.width) + STORING / num
        return min(range(1, num_layer + 1), key=price, default=1)


def reconstruction(scale: int, num_feat: int) -> Cost:
    """Of `Trunk.reconstruct` with the LR features it adds, and of six copies of the result, the caller's among them."""
    return Cost(halo=3, values=4 * num_feat + 18 * scale**2)
