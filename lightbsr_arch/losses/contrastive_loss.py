"""InfoNCE between patches of one image (LightBSR, https://arxiv.org/abs/2506.22710, eq. 1 and 2)."""
from __future__ import annotations

import torch
from torch import Tensor, nn


class ContrastiveLoss(nn.Module):
    """Mean InfoNCE over the ordered pairs of different patches of each image.

    Args:
        temperature: tau of eq. 1.
        loss_weight: Factor of the result.
    """

    def __init__(self, temperature: float = 0.07, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
        """Unit vectors: query, key (B, D, C) of D >= 2 patches that share a degradation; negatives queue (C, K)."""
        positive = query @ key.transpose(1, 2) / self.temperature
        negative = (query @ queue / self.temperature).logsumexp(-1, keepdim=True)
        loss = torch.logaddexp(positive, negative) - positive
        return self.loss_weight * _of_different_patches(loss).mean()


@torch.no_grad()
def contrastive_statistics(query: Tensor, key: Tensor, queue: Tensor) -> dict[str, Tensor]:
    """How well queries find their positives; arguments as for `ContrastiveLoss`.

    Returns:
        contrastive_accuracy: share of pairs whose similarity exceeds that to each negative;
        positive_similarity, negative_similarity: mean cosines.
    """
    positive, negative = _of_different_patches(query @ key.transpose(1, 2)), query @ queue
    hardest = _of_different_patches(negative.amax(-1, keepdim=True).expand(-1, -1, query.shape[1]))
    return {'contrastive_accuracy': (positive > hardest).float().mean(),
            'positive_similarity': positive.mean(), 'negative_similarity': negative.mean()}


def _of_different_patches(pairs: Tensor) -> Tensor:
    """(B, D, D) -> (B, D(D-1)), without the diagonal."""
    return pairs[:, ~torch.eye(pairs.shape[1], dtype=torch.bool, device=pairs.device)]
