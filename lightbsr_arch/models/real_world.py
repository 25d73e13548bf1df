"""BasicSR's second-order degradation as a part that any model can use.

"Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", https://arxiv.org/abs/2107.10833;
KDSR trains on it for real images (https://arxiv.org/abs/2211.16928, Section 4.3).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG, USMSharp
from torch import Tensor

from ..basicsr_compat import batch_size

DATASET = 'RealESRGANDataset'


class RealWorldSynthesis(RealESRNetModel):
    """Degrades what BasicSR's RealESRGANDataset yields, and mixes batches in its training pair pool.

    The degradation is RealESRNetModel's; its set-up and its pool need CUDA, these don't.

    Args:
        opt: The option file; the degradation's keys (resize_prob, ...) stand at its top, as BasicSR has them.
        device: Where to degrade.

    Raises:
        ValueError: a pool that the batch does not divide.
    """

    def __init__(self, opt: Mapping[str, Any], device: torch.device) -> None:
        self.opt, self.device, self.is_train = opt, device, True
        self.jpeger = DiffJPEG(differentiable=False).to(device)
        self.usm_sharpener = USMSharp().to(device)
        self.pool_size, batch = opt.get('queue_size', 180), batch_size(opt)
        if self.pool_size % batch:
            raise ValueError(f'queue_size ({self.pool_size}), the pool of training pairs, must be a multiple of the batch of '
                             f'{batch} images (batch_size_per_gpu for each GPU of a process): change one of them')
        self.pool: list[tuple[Tensor, Tensor, str]] = []

    def __call__(self, data: dict[str, Any]) -> tuple[Tensor, Tensor, Sequence[str]]:
        """gt (B, 3, H, W) and three kernels of each image -> lq, gt of `gt_size`, and paths of the images they are of."""
        self.images = data['gt_path']
        self.feed_data(data)
        return self.lq, self.gt, self.images

    def _dequeue_and_enqueue(self) -> None:
        """Fills the pool, then swaps the batch for as many random pairs of it."""
        pairs = [(lq.clone(), gt.clone(), image)  # a view would keep the whole batch
                 for lq, gt, image in zip(self.lq, self.gt, self.images)]
        if len(self.pool) < self.pool_size:
            self.pool += pairs
            return
        chosen = torch.randperm(self.pool_size)[:len(pairs)].tolist()
        lq, gt, self.images = zip(*(self.pool[i] for i in chosen))
        self.lq, self.gt = torch.stack(lq), torch.stack(gt)
        for i, pair in zip(chosen, pairs):
            self.pool[i] = pair
