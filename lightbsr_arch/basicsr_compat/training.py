"""Training steps of BasicSR's own models."""
from __future__ import annotations

from typing import Any

import torch


def average_buffers() -> None:
    """The averaged (EMA) network keeps BatchNorm's statistics of its first day: only parameters are averaged."""
    from basicsr.models.base_model import BaseModel

    @torch.no_grad()
    def model_ema(self: BaseModel, decay: float = 0.999) -> None:
        source = self.get_bare_model(self.net_g)
        for average, current in zip(self.net_g_ema.parameters(), source.parameters(), strict=True):
            average.lerp_(current, 1 - decay)
        for average, current in zip(self.net_g_ema.buffers(), source.buffers(), strict=True):
            average.copy_(current)

    BaseModel.model_ema = model_ema


def reach_warmup_rate() -> None:
    """Warm-up with MultiStepLR never arrives: the scheduler goes on from the rate of the last warm-up step."""
    from basicsr.models.base_model import BaseModel

    def update_learning_rate(self: BaseModel, current_iter: int, warmup_iter: int = -1) -> None:
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:
            group['lr'] = group.get('nominal_lr', group['lr'])
        if current_iter > 1:
            for scheduler in self.schedulers:
                scheduler.step()
        for group in groups:
            group['nominal_lr'] = group['lr']
            if current_iter < warmup_iter:
                group['lr'] = group['initial_lr'] * current_iter / warmup_iter

    BaseModel.update_learning_rate = update_learning_rate


def offer_adamw() -> None:
    """NotImplementedError: optimizer AdamW is not supperted yet."""
    from basicsr.models.base_model import BaseModel
    get = BaseModel.get_optimizer

    def get_optimizer(self: BaseModel, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, lr, **kwargs) if optim_type == 'AdamW' else get(self, optim_type, params, lr, **kwargs)

    BaseModel.get_optimizer = get_optimizer


def blur_any_strides() -> None:
    """RuntimeError: view size is not compatible, in the real-world degradation, with the strides that torch 2.13 gives."""
    from basicsr.models import realesrgan_model, realesrnet_model
    from basicsr.utils.img_process_util import filter2D

    def blur(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return filter2D(image.contiguous(), kernel)

    realesrnet_model.filter2D = realesrgan_model.filter2D = blur
