"""Gaussian blur kernels on the integer grid, normalised to sum 1 (LightBSR Section 4.1, KDSR Section 4.1).

Motion blur is none of the papers' degradations: it is here to test networks on what they were not trained on.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

KERNEL_SIZE = 21


def anisotropic_kernel(lambda_1: float | Tensor, lambda_2: float | Tensor, theta: float | Tensor,
                       size: int = KERNEL_SIZE) -> Tensor:
    """Kernels of covariance R(theta) diag(lambda_1^2, lambda_2^2) R(theta)^T.

    Args:
        lambda_1, lambda_2: Standard deviations along the two axes in HR pixels, scalars or (B,). (The papers call them
            eigenvalues; their figures come from standard deviations.)
        theta: Angle of the first axis in radians, from x (along the width) towards y (along the height).
        size: Odd edge length.

    Returns:
        (B, size, size), float32.

    Raises:
        ValueError: a width is not positive, or the size is even.
    """
    lambda_1, lambda_2, theta = _vectors(lambda_1, lambda_2, theta)
    if size % 2 == 0:
        raise ValueError(f'the size of a blur kernel must be odd, got {size}')
    if not ((lambda_1 > 0) & (lambda_2 > 0)).all():
        raise ValueError('the widths of a blur kernel must be positive')
    along, across = _rotated_grid(theta, size)
    exponent = (along / lambda_1[:, None, None])**2 + (across / lambda_2[:, None, None])**2
    kernel = torch.exp(-0.5 * exponent)
    return (kernel / kernel.sum((1, 2), keepdim=True)).float()


def isotropic_kernel(sigma: float | Tensor, size: int = KERNEL_SIZE) -> Tensor:
    """Kernels of standard deviation `sigma` in HR pixels, scalar or (B,): (B, size, size), float32."""
    return anisotropic_kernel(sigma, sigma, 0.0, size)


def motion_kernel(length: float | Tensor, theta: float | Tensor, size: int = KERNEL_SIZE) -> Tensor:
    """Kernels of a straight, even motion: anti-aliased lines, as MATLAB's `fspecial('motion')` draws them.

    Args:
        length: Pixels that a horizontal motion covers, from 1 (no blur) to the size; scalar or (B,).
        theta: Direction in radians, from x (along the width) towards y (along the height), scalar or (B,).
        size: Odd edge length.

    Returns:
        (B, size, size), float32. A weight falls linearly with the distance to the line, to 0 at one pixel.

    Raises:
        ValueError: a length that is too small or does not fit, or the size is even.
    """
    length, theta = _vectors(length, theta)
    if size % 2 == 0:
        raise ValueError(f'the size of a blur kernel must be odd, got {size}')
    if not ((length >= 1) & (length <= size)).all():
        raise ValueError(f'the length of a motion must lie between 1 and the size of its kernel, {size}')
    along, across = _rotated_grid(theta, size)
    beyond_end = (along.abs() - (length[:, None, None] - 1) / 2).clamp(min=0)
    kernel = (1 - torch.hypot(beyond_end, across)).clamp(min=0)
    return (kernel / kernel.sum((1, 2), keepdim=True)).float()


def _vectors(*values: float | Tensor) -> Sequence[Tensor]:
    """(B,) each, in double precision, on the device of the first that is a tensor."""
    device = next((v.device for v in values if isinstance(v, Tensor)), None)
    return torch.broadcast_tensors(*(torch.as_tensor(v, dtype=torch.float64, device=device).reshape(-1) for v in values))


def _rotated_grid(theta: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Coordinates of each pixel along and across directions (B,) in radians: (B, size, size) each."""
    radius = size // 2
    grid = torch.arange(-radius, radius + 1, dtype=torch.float64, device=theta.device)
    y, x = torch.meshgrid(grid, grid, indexing='ij')
    cos, sin = (f(theta)[:, None, None] for f in (torch.cos, torch.sin))
    return cos * x + sin * y, cos * y - sin * x
