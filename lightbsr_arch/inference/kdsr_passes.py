"""KDSR in passes over tiles: only its IDR is global, so that several blocks can be one pass."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Optional

from torch import Tensor

from ..archs.kdsr_arch import KDSR
from .boxes import Box
from .sources import FeatureMap, Picture
from .workspace import Cost, Workspace, reconstruction


class KDSRPasses:
    """The passes of a KDSR, and what they cost; see `Passes`."""

    def __init__(self, network: KDSR) -> None:
        self.network = network
        num_feat = network.trunk.head.out_channels
        self.extract = Cost(halo=1, values=2 * num_feat + 16)
        self.block = Cost(halo=2, values=9 * num_feat)
        self.summarise = Cost(halo=3, values=13 * num_feat)
        self.reconstruct = reconstruction(network.scale, num_feat)
        self.costs = (self.extract, self.block, self.summarise, self.reconstruct)
        self.map_values = 2 * num_feat

    def run(self, work: Workspace, lq: Picture) -> Iterator[tuple[Box, Tensor]]:
        trunk, guide = self.network.trunk, self._guide(work, lq)
        x = work.store(self.extract, trunk.features, lq)
        x = self._through(work, [partial(block, guide=guide) for block in trunk.blocks], x)
        yield from work.results(self.reconstruct, lambda lq, x: trunk.reconstruct(trunk.features(lq), x), lq, x,
                                scale=self.network.scale)

    def _guide(self, work: Workspace, lq: Picture) -> Optional[Tensor]:
        estimator = self.network.estimator
        if estimator is None:
            return None
        layers = estimator.features
        x = work.store(self.extract, layers[:2], lq)
        x = self._through(work, layers[2:-6], x)
        return estimator.represent(work.mean(self.summarise, layers[-6:], x)).guide

    def _through(self, work: Workspace, blocks: Sequence[Callable[[Tensor], Tensor]], x: FeatureMap) -> FeatureMap:
        num = work.cheapest_run(self.block, len(blocks))
        for start in range(0, len(blocks), num):
            run = list(blocks[start:start + num])
            x = work.store(self.block.repeated(len(run)), lambda x: reduce(lambda y, block: block(y), run, x), x)
        return x
