"""Degradation reference prior (DRP): a PCA of blur kernels (LightBSR Section 3.2)."""
from __future__ import annotations

import torch
from torch import Tensor


def fit_pca_basis(kernels: Tensor, num_component: int) -> Tensor:
    """The leading eigenvectors of the kernels' second moments, not centred, as the release has it.

    Args:
        kernels: (N, k, k).
        num_component: t of the paper, at most k * k.

    Returns:
        (t, k * k) with orthonormal rows, float32; each row's largest entry is positive, so that the basis is the same
        wherever it is fitted. `kernel.flatten(1) @ basis.T` projects.
    """
    flat = kernels.flatten(1).double()
    basis = torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1)[:, :num_component].T
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
    return (basis * largest.sign()).float()
