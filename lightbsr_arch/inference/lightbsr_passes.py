"""LightBSR in passes over tiles.

Global in it are the means that R_C and the channel gates read; each is that of a map which the pass before has
completed. All else is local, so that a block is one pass.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from torch import Tensor

from ..archs.lightbsr_arch import IDRAdaptationGroup, IDRCorrection, LightBSR
from .boxes import Box
from .sources import FeatureMap, FullSizeEstimate, Picture
from .workspace import Cost, Workspace, reconstruction


class LightBSRPasses:
    """The passes of a LightBSR, and what they cost; see `Passes`."""

    def __init__(self, network: LightBSR) -> None:
        self.network = network
        num_feat = network.trunk.head.out_channels
        self.estimate = Cost(halo=12, values=80)
        self.convert = Cost(halo=1, values=50)
        self.correct = Cost(halo=2, values=70)
        self.extract = Cost(halo=1, values=2 * num_feat + 16)
        self.adapt = Cost(halo=6, values=10 * num_feat)
        self.close = Cost(halo=10, values=12 * num_feat)
        self.reconstruct = reconstruction(network.scale, num_feat)
        self.costs = (self.estimate, self.convert, self.correct, self.extract, self.adapt, self.close, self.reconstruct)
        self.map_values = 3 * num_feat + 16

    def run(self, work: Workspace, lq: Picture) -> Iterator[tuple[Box, Tensor]]:
        trunk = self.network.trunk
        channel, spatial = self._represent(work, lq)
        x = work.store(self.extract, trunk.features, lq)
        for group in trunk.groups:
            if group.correction is not None:
                channel, spatial = self._correct(work, group.correction, channel, spatial)
            x = self._group(work, group, x, channel, spatial)
        yield from work.results(self.reconstruct, lambda lq, x: trunk.reconstruct(trunk.features(lq), x), lq, x,
                                scale=self.network.scale)

    def _represent(self, work: Workspace, lq: Picture) -> tuple[Optional[Tensor], Optional[FeatureMap]]:
        """R_C and R_S."""
        if self.network.estimator is None:
            return None, None
        converter = self.network.converter
        estimate = work.store(self.estimate, self.network.estimator, lq, scale=1 / 4)
        spatial = None if converter.spatial is None else work.store(
            self.convert, converter.as_map, FullSizeEstimate(estimate))
        return converter.as_vector(estimate.mean), spatial

    def _correct(self, work: Workspace, correction: IDRCorrection, channel: Optional[Tensor],
                 spatial: Optional[FeatureMap]) -> tuple[Optional[Tensor], Optional[FeatureMap]]:
        if correction.channel is not None:
            channel = correction.channel(channel)
        if correction.spatial is not None:
            spatial = work.store(self.correct, correction.spatial, spatial)
        return channel, spatial

    def _group(self, work: Workspace, group: IDRAdaptationGroup, x: FeatureMap, channel: Optional[Tensor],
               spatial: Optional[FeatureMap]) -> FeatureMap:
        y = x
        for block in group.blocks[:-1]:
            mean = y.mean
            y = work.store(self.adapt, lambda y, spatial: block(y, channel, spatial, mean), y, spatial)
        block, mean = group.blocks[-1], y.mean
        return work.store(self.close, lambda x, y, spatial: group.close(x, block(y, channel, spatial, mean)),
                          x, y, spatial)
