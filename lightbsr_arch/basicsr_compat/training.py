"""Training steps of BasicSR's own models."""
from __future__ import annotations

import functools
import math
from typing import Any

import torch

Options = dict[str, Any]
WAY_OUT = ('look for flawed images, and --auto_resume goes on from the newest saved state; or start anew with a lower learning '
           'rate, which a resumed run would not take')


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


def compress_by_whole_quality() -> None:
    """cv2.error: Can't parse 'params', in the JPEG compression of random quality: OpenCV 5 wants whole numbers."""
    from basicsr.data import degradations
    compress = degradations.add_jpg_compression

    @functools.wraps(compress)
    def add_jpg_compression(img: Any, quality: float = 90) -> Any:
        return compress(img, round(quality))

    degradations.add_jpg_compression = add_jpg_compression


def stop_at_nan() -> None:
    """A loss that is not a number goes unnoticed: weights of NaN are saved and even validated. Ends such a run.

    An infinite gradient spoils the weights while the loss is still finite: they are looked at before they are saved.
    This package's models count and skip such steps themselves.
    """
    import basicsr.train
    build = basicsr.train.build_model

    def build_model(opt: Options) -> Any:
        model = build(opt)
        step, save = model.optimize_parameters, model.save
        if hasattr(model, 'stepper'):
            return model

        def optimize_parameters(current_iter: int) -> None:
            step(current_iter)
            wrong = [f'{key} is {value}' for key, value in getattr(model, 'log_dict', {}).items() if not math.isfinite(value)]
            if wrong:
                raise ValueError(f'{", ".join(wrong)} at iteration {current_iter}: {WAY_OUT}')

        def save_sound(epoch: int, current_iter: int) -> None:
            refuse_spoilt_weights(model, current_iter)
            save(epoch, current_iter)

        model.optimize_parameters, model.save = optimize_parameters, save_sound
        return model

    basicsr.train.build_model = build_model


def refuse_spoilt_weights(model: Any, current_iter: int) -> None:
    """Raises a ValueError if weights or statistics of a model's networks are not finite."""
    for label, net in vars(model).items():
        if label.startswith('net_') and isinstance(net, torch.nn.Module):
            wrong = [key for key, value in net.state_dict().items() if not value.isfinite().all()]
            if wrong:
                raise ValueError(f'{len(wrong)} tensors of {label}, such as {wrong[0]}, are not finite '
                                 f'{"at the end" if current_iter == -1 else f"at iteration {current_iter}"} and are not saved: '
                                 f'{WAY_OUT}')
