"""The degradation of both papers: lq = clip(round(bicubic_down(gt * kernel) + noise)) on 8-bit values."""
from __future__ import annotations

from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .resize import exact, imresize

NEGLIGIBLE = 1e-20  # of a kernel of sum 1; a narrow one's far taps are no normal floats, at which CPUs are many times slower


def degrade(gt: Tensor, kernel: Tensor, scale: int, noise: float | Tensor = 0,
            generator: Optional[torch.Generator | Sequence[torch.Generator]] = None) -> Tensor:
    """Blurs, downsamples, adds noise, rounds to 8 bits.

    Args:
        gt: (B, 3, H, W) in [0, 1]; H and W multiples of `scale` and larger than half a kernel.
        kernel: (B, k, k), k odd, sum 1.
        scale: Downsampling factor.
        noise: Standard deviation of the white Gaussian noise in 8-bit units, scalar or (B,).
        generator: One on the CPU, or B of them, one a sample. Noise is drawn sample by sample on the CPU, so that it
            depends on neither batch nor device.

    Returns:
        lq, (B, 3, H / scale, W / scale) in [0, 1], multiples of 1/255.

    Raises:
        ValueError: sizes that don't fit.
    """
    height, width = gt.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f'an image of {width}x{height} pixels cannot be downsampled by {scale}: '
                         f'cut it to a multiple of {scale} first')
    level = torch.as_tensor(noise, dtype=torch.float32).reshape(-1)
    if len(kernel) != len(gt) or len(level) not in (1, len(gt)):
        raise ValueError(f'{len(kernel)} kernels and {len(level)} noise levels for {len(gt)} images')
    lq = imresize(blur(gt * 255, kernel), 1 / scale)
    if level.any():
        lq = lq + _white_noise(lq, generator) * level.to(lq).view(-1, 1, 1, 1)
    return lq.round().clamp(0, 255) / 255


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlates each image of (B, C, H, W) with its own kernel of (B, k, k); reflects at the edges.

    Raises:
        ValueError: an image too small to be reflected.
    """
    num_image, _, height, width = image.shape
    radius = kernel.shape[-1] // 2
    if min(height, width) <= radius:
        raise ValueError(f'an image of {width}x{height} pixels is too small to be blurred with a '
                         f'{kernel.shape[-1]}x{kernel.shape[-1]} kernel: each side needs more than {radius} pixels')
    blurred = F.pad(image, (radius,) * 4, mode='reflect').transpose(0, 1)
    with exact(image), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # 10 bits would show after rounding to 8
        for factor in _separate(kernel.to(image)):
            blurred = F.conv2d(blurred, F.hardshrink(factor, NEGLIGIBLE)[:, None], groups=num_image)
    return blurred.transpose(0, 1)


def _separate(kernel: Tensor) -> list[Tensor]:
    """A column and a row kernel where the product of the margins is the kernel (isotropic ones), else itself."""
    column, row = kernel.sum(2, keepdim=True), kernel.sum(1, keepdim=True)
    return [column, row] if torch.allclose(column * row, kernel, rtol=0, atol=1e-7) else [kernel]


def _white_noise(like: Tensor, generator: Optional[torch.Generator | Sequence[torch.Generator]]) -> Tensor:
    generators = generator if isinstance(generator, Sequence) else [generator] * len(like)
    if len(generators) != len(like):
        raise ValueError(f'{len(generators)} generators for {len(like)} images')
    return torch.stack([torch.randn(like.shape[1:], generator=g) for g in generators]).to(like)
