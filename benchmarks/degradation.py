"""Degradation: a batch at once, against image by image with the whole kernel. `python -m benchmarks.degradation --help`.

`--size` is that of the LR images. Both ways round to 8 bits, so a few values may lie one step apart: the disagreement is
the share of values that do, and one that is farther off counts as a failure.
"""
from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightbsr_arch.degradations import degrade, parse_degradation

from . import pairs
from .pairs import Pair, Settings

SIZES, BATCHES, SETTINGS, SCALE = [(64, 64)], [16, 256], ('setting1', 'setting2'), 4


# ----------------------------------------------------------------------------------------------------------- plain way
def degrade_plainly(gt: Tensor, kernel: Tensor, noise: Tensor, seeds: Sequence[int]) -> Tensor:
    """As `degrade`, one image after another."""
    return torch.cat([degrade_one(image[None] * 255, one, level.item(), seed)
                      for image, one, level, seed in zip(gt, kernel, noise, seeds)])


def degrade_one(gt: Tensor, kernel: Tensor, level: float, seed: int) -> Tensor:
    blurred = F.conv2d(F.pad(gt, (kernel.shape[-1] // 2,) * 4, mode='reflect'), kernel.expand(3, 1, -1, -1), groups=3)
    lq = shrink(shrink(blurred).transpose(2, 3)).transpose(2, 3)
    if level:
        noise = torch.randn(lq.shape[1:], generator=torch.Generator().manual_seed(seed))
        lq = lq + level * noise.to(lq)
    return lq.round().clamp(0, 255) / 255


def shrink(x: Tensor) -> Tensor:
    """MATLAB's bicubic `imresize` along the last axis, tap by tap; pixels beyond the edge repeat it."""
    center = (torch.arange(x.shape[-1] // SCALE) + 0.5) * SCALE - 0.5
    first = torch.floor(center - 2 * SCALE)
    taps = [first + i for i in range(4 * SCALE + 2)]
    weights = torch.stack([cubic((center - tap) / SCALE) for tap in taps])
    weights = (weights / weights.sum(0)).to(x)
    return sum(weight * x[..., tap.long().clamp(0, x.shape[-1] - 1)] for weight, tap in zip(weights, taps))


def cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    x = x.abs()
    return ((1.5 * x**3 - 2.5 * x**2 + 1) * (x <= 1) + (-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2) * ((x > 1) & (x <= 2)))


# -------------------------------------------------------------------------------------------------------------- pairs
def make_pair(setting: str, size: tuple[int, int], batch: int, asked: Settings) -> Pair:
    """Random images with sampled degradations of one of the papers' settings."""
    rng = np.random.default_rng(0)
    degradation = parse_degradation(setting, SCALE)
    kernel, noise = degradation.sample_kernels(rng, batch), degradation.sample_noise(rng, batch)
    gt = torch.rand(batch, 3, *(SCALE * n for n in size), generator=torch.Generator().manual_seed(0))
    gt, kernel, noise = (t.to(asked.device) for t in (gt, kernel, noise))

    def plainly() -> Tensor:
        return degrade_plainly(gt, kernel, noise, range(batch))

    def ours() -> Tensor:
        return degrade(gt, kernel, SCALE, noise, [torch.Generator().manual_seed(seed) for seed in range(batch)])
    return Pair(f'{setting} {size[0]}x{size[1]} batch {batch}', plainly, ours, lambda: share_of_steps(ours(), plainly()),
                1e-3, batch)


def share_of_steps(ours: Tensor, plain: Tensor) -> float:
    """The share of values one 8-bit step apart; infinite if any is farther off."""
    steps = (255 * (ours - plain)).round().abs()
    return math.inf if steps.max() > 1 else steps.mean().item()


def all_pairs(asked: Settings) -> Iterator[Pair]:
    sizes, batches = ([(16, 16)], [3]) if asked.quick else (SIZES, BATCHES)
    for case in itertools.product(SETTINGS, asked.sizes or sizes, asked.batches or batches):
        yield make_pair(*case, asked)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    asked = pairs.settings(pairs.parser(__doc__).parse_args(arguments))
    return pairs.run('degradation', all_pairs, asked)


if __name__ == '__main__':
    main(sys.argv[1:])
