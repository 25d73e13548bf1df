"""Query and key encoders with a queue of negatives, for contrastive learning of degradations.

The scheme is MoCo's: "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
https://arxiv.org/abs/1911.05722. As in LightBSR's release the key branch keeps BatchNorm statistics of its own and
batches are not shuffled. One difference: batches that do not divide the queue wrap around its end.
"""
from __future__ import annotations

from typing import Callable, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ContrastiveEncoder(nn.Module):
    """An estimator and a projector: global average pool, two linear layers."""

    def __init__(self, estimator: nn.Module, num_feat: int, projector: bool) -> None:
        super().__init__()
        self.estimator = estimator
        self.projector = nn.Sequential(
            nn.Linear(num_feat, num_feat), nn.LeakyReLU(0.1, True),
            nn.Linear(num_feat, num_feat)) if projector else None

    def project(self, estimate: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C), not normalised."""
        return self.projector(estimate.mean((2, 3)))


class MomentumEncoder(nn.Module):
    """The query branch, its slowly following copy, and the queue.

    Args:
        make_estimator: Builds an estimator, (B, in, H, W) -> (B, num_feat, h, w).
        num_feat: Length C of the embeddings.
        contrastive: False builds the query branch's estimator alone.
        queue_size: Negatives K in the queue (C, K), unit length, random at the start.
        momentum: Decay m of the key branch's parameters.
        patch_by_patch: One pass per patch index instead of one for all.

    Raises:
        ValueError: an empty queue, or a momentum outside [0, 1].
    """

    def __init__(self, make_estimator: Callable[[], nn.Module], num_feat: int, contrastive: bool, queue_size: int,
                 momentum: float, patch_by_patch: bool) -> None:
        super().__init__()
        if queue_size < 1 or not 0 <= momentum <= 1:
            raise ValueError(f'queue_size must be 1 or more and momentum in [0, 1], got {queue_size} and {momentum}')
        self.momentum = momentum
        self.patch_by_patch = patch_by_patch
        self.query = ContrastiveEncoder(make_estimator(), num_feat, contrastive)
        self.key = None
        if contrastive:
            self.key = ContrastiveEncoder(make_estimator(), num_feat, contrastive).requires_grad_(False)
            self.key.load_state_dict(self.query.state_dict())
            self.register_buffer('queue', F.normalize(torch.randn(num_feat, queue_size), dim=0))
            self.register_buffer('queue_pointer', torch.zeros(1, dtype=torch.long))

    def forward(self, patches: Tensor) -> tuple[Tensor, Optional[Tensor], Optional[Tensor], Optional[Tensor]]:
        """Encodes (B, D, in, H, W).

        Returns:
            The first patch's estimate (B, C, h, w) and embedding (B, C), queries and keys (B, D, C) of unit length;
            the last three are None without the contrastive branch.
        """
        if self.key is None:
            return self.query.estimator(patches[:, 0]), None, None, None
        with torch.no_grad():  # first, while no maps are kept for the query's gradient
            key = self._encode(self.key, patches)[1]
        estimate, embedding = self._encode(self.query, patches)
        return estimate[:, 0], embedding[:, 0], F.normalize(embedding, dim=-1), F.normalize(key, dim=-1)

    def _encode(self, encoder: ContrastiveEncoder, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates (B, D, C, h, w) and embeddings (B, D, C)."""
        num_patch = patches.shape[1]
        if self.patch_by_patch:
            estimates = torch.stack([encoder.estimator(patches[:, i]) for i in range(num_patch)], 1)
        else:
            estimates = encoder.estimator(patches.flatten(0, 1)).unflatten(0, (-1, num_patch))
        return estimates, encoder.project(estimates.flatten(0, 1)).unflatten(0, (-1, num_patch))

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Moves the key branch's parameters towards the query branch's: before a step."""
        for key, query in zip(self.key.parameters(), self.query.parameters()):
            key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replaces the oldest negatives by `keys` (N, C) of unit length: after a step."""
        size = self.queue.shape[1]
        keys = keys[-size:]
        places = (self.queue_pointer + torch.arange(len(keys), device=keys.device)) % size
        self.queue[:, places] = keys.T.to(self.queue)
        self.queue_pointer.add_(len(keys)).remainder_(size)
