"""How a training step is computed: precision, loss scaling, clipping, and steps that must not count."""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any, ContextManager, Mapping, Optional

import torch
from torch import Tensor, distributed, nn

from ..config import StepOptions

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class Stepper:
    """Backward passes and steps of one optimiser, in the precision that the options ask for.

    Attributes:
        unsound: None, or what was not finite in the last step, which was skipped.
        num_skipped: Steps in a row.
    """

    def __init__(self, options: StepOptions, device: torch.device) -> None:
        self.options, self.device = options, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp == 'fp16')
        self.unsound: Optional[str] = None
        self.num_skipped = 0

    def autocast(self) -> ContextManager[Any]:
        if self.options.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, PRECISIONS[self.options.amp])

    def forward(self, net: nn.Module, *inputs: Any, **flags: bool) -> Any:
        """What `net` gives, in float32 whatever it was computed in: losses need it."""
        with self.autocast():
            return in_float32(net(*inputs, **flags))

    def backward(self, losses: Mapping[str, Tensor], share: float = 1.0) -> None:
        """Adds the gradient of the losses' sum, of a batch's part by its share."""
        self.scaler.scale(sum(losses.values()) * share).backward()

    def step(self, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor]) -> None:
        """Takes the optimiser's step if losses and gradients are finite in all processes."""
        self.scaler.unscale_(optimizer)
        params = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(params, self.options.clip_grad_norm or math.inf)
        figures = {**losses, 'gradient': norm}
        sound = torch.stack([value.detach().float().isfinite().all() for value in figures.values()]).int()
        if distributed.is_initialized():
            distributed.all_reduce(sound, distributed.ReduceOp.MIN)
        if sound.all():
            self.scaler.step(optimizer)
        self.scaler.update()
        self.unsound = ', '.join(name for name, fine in zip(figures, sound.tolist()) if not fine) or None
        if not self.is_overflow():
            self.num_skipped = self.num_skipped + 1 if self.unsound else 0

    def is_overflow(self) -> bool:
        """Whether fp16's scale was only too large, which is how it finds its size."""
        return self.unsound == 'gradient' and self.scaler.is_enabled() and self.scaler.get_scale() >= 1


def in_float32(value: Any) -> Any:
    """Tensors in half precision, also in (named) tuples, as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple):
        parts = [in_float32(part) for part in value]
        return type(value)(*parts) if hasattr(value, '_fields') else tuple(parts)
    return value


class Memory:
    """Tensors as they are now, to be put back."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.kept = [(tensor, tensor.detach().clone()) for tensor in tensors]

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, before in self.kept:
            tensor.copy_(before)


def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Gives what an optimiser has loaded the parameters' memory layout, which a fused step takes for granted.

    A run may go on in another one (`train.channels_last`); moments as they were saved then move other weights than theirs.
    """
    for param, state in optimizer.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == param.shape:
                state[key] = torch.empty_like(param, dtype=value.dtype).copy_(value)
