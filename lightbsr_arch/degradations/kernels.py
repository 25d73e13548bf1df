"""Gaussian blur kernels on the integer grid, normalised to sum 1 (LightBSR Section 4.1, KDSR Section 4.1)."""
from __future__ import annotations

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
    lambda_1, lambda_2, theta = torch.broadcast_tensors(
        *(torch.as_tensor(v, dtype=torch.float64).reshape(-1) for v in (lambda_1, lambda_2, theta)))
    if size % 2 == 0:
        raise ValueError(f'the size of a blur kernel must be odd, got {size}')
    if not ((lambda_1 > 0) & (lambda_2 > 0)).all():
        raise ValueError('the widths of a blur kernel must be positive')
    radius = size // 2
    grid = torch.arange(-radius, radius + 1, dtype=torch.float64, device=theta.device)
    y, x = torch.meshgrid(grid, grid, indexing='ij')
    cos, sin = (f(theta)[:, None, None] for f in (torch.cos, torch.sin))
    along, across = cos * x + sin * y, cos * y - sin * x
    exponent = (along / lambda_1[:, None, None])**2 + (across / lambda_2[:, None, None])**2
    kernel = torch.exp(-0.5 * exponent)
    return (kernel / kernel.sum((1, 2), keepdim=True)).float()


def isotropic_kernel(sigma: float | Tensor, size: int = KERNEL_SIZE) -> Tensor:
    """Kernels of standard deviation `sigma` in HR pixels, scalar or (B,): (B, size, size), float32."""
    return anisotropic_kernel(sigma, sigma, 0.0, size)
