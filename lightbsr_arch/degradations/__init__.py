"""Blur, downsampling, noise and the prior: tensors and a generator in, tensors out, on any device."""
from .distribution import Degradation, benchmark_degradations, parse_degradation, release_pca_kernels, training_degradation
from .kernels import KERNEL_SIZE, anisotropic_kernel, isotropic_kernel
from .pipeline import degrade
from .prior import fit_pca_basis
from .resize import imresize

__all__ = ['KERNEL_SIZE', 'Degradation', 'anisotropic_kernel', 'benchmark_degradations', 'degrade', 'fit_pca_basis',
           'imresize', 'isotropic_kernel', 'parse_degradation', 'release_pca_kernels', 'training_degradation']
