"""Distillation of the degradation representation (LightBSR, https://arxiv.org/abs/2506.22710, eq. 5 to 7).

The temperature is the release's; the paper's eq. 6 has none. There is no factor of its square.
"""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelDistillationLoss(nn.Module):
    """KL(softmax(teacher / T) || softmax(student / T)) + l1_weight * mean|student - teacher|.

    KL is summed over the channels and averaged over the batch.

    Args:
        temperature: T.
        l1_weight: beta of the paper.
        loss_weight: Factor of the result.
    """

    def __init__(self, temperature: float = 0.15, l1_weight: float = 0.1, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.l1_weight = l1_weight
        self.loss_weight = loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: R_C, (B, C)."""
        log_student, log_teacher = (F.log_softmax(x / self.temperature, -1) for x in (student, teacher))
        divergence = F.kl_div(log_student, log_teacher, reduction='batchmean', log_target=True)
        return self.loss_weight * (divergence + self.l1_weight * F.l1_loss(student, teacher))


class SpatialDistillationLoss(nn.Module):
    """Mean squared difference of the spatial representations.

    Args:
        loss_weight: Factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: R_S, (B, 8, H, W)."""
        return self.loss_weight * F.mse_loss(student, teacher)
