"""Where a network runs, and in which memory layout and precision."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Optional

import torch
from torch import nn

from ..archs import KDSR
from ..archs.layers import Merging

PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def pick_device(name: Optional[str]) -> torch.device:
    """The device of that name; by default a GPU where there is one (CUDA, then Apple's), else the CPU.

    Raises:
        ValueError: it is not there.
    """
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'mps' if torch.backends.mps.is_available() else 'cpu'
    try:
        torch.zeros(1, device=name).item()  # `meta` holds none
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f'the device {name} cannot be used: {str(error).splitlines()[0]}') from None


def pick_layout(network: nn.Module, device: torch.device | str) -> torch.memory_format:
    """The faster one: channels last, but not for KDSR on a GPU.

    Measured at 160x160 to 256x256: LightBSR gains a fifth in float32 and a third in half precision, on a CPU and an H100; KDSR
    loses a tenth on the H100, and gains a sixth in float32 and two thirds in bf16 on a CPU.
    """
    return torch.contiguous_format if isinstance(network, KDSR) and torch.device(device).type != 'cpu' else torch.channels_last


def ready(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Moves a network to where it shall run, in the faster layout, and makes its merged weights once: it is done with training,
    and with loading weights."""
    network.to(device, memory_format=pick_layout(network, device))
    with computing_in(torch.float32, torch.device(device)):
        for module in network.modules():
            if isinstance(module, Merging):
                module.freeze()
    return network


@contextlib.contextmanager
def computing_in(dtype: torch.dtype, device: torch.device, own: torch.dtype = torch.float32) -> Iterator[None]:
    """Computes in `dtype` with a network whose parameters are of the type `own`: by autocast, and what is to be float32
    without TF32, whose 10 bits cuDNN's convolutions have by default."""
    cudnn = torch.backends.cudnn
    flags = cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=dtype != torch.float32)
    with torch.autocast(device.type, dtype, enabled=dtype != own), flags if device.type == 'cuda' else contextlib.nullcontext():
        yield


def pick_dtype(precision: Optional[str], device: torch.device, bits: int) -> torch.dtype:
    """The precision of that name; by default half of it for 8-bit images on CUDA, else all.

    fp16 and not bf16, whose steps near 1 are those of an 8-bit image.

    Raises:
        ValueError: no such name.
    """
    if precision is None:
        precision = 'fp16' if device.type == 'cuda' and bits == 8 else 'fp32'
    if precision not in PRECISIONS:
        raise ValueError(f'precision must be {", ".join(PRECISIONS)}, got {precision!r}')
    return PRECISIONS[precision]
