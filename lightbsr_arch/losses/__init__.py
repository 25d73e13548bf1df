"""Contrastive and distillation losses."""
from .contrastive_loss import ContrastiveLoss, contrastive_statistics
from .distillation_loss import ChannelDistillationLoss, SpatialDistillationLoss

__all__ = ['ChannelDistillationLoss', 'ContrastiveLoss', 'SpatialDistillationLoss', 'contrastive_statistics']
