"""Blur, downsampling, noise and the prior: tensors and a generator in, tensors out, on any device (JPEG on the CPU)."""
from .distribution import Degradation, benchmark_degradations, parse_degradation, release_pca_kernels, training_degradation
from .jpeg import compress_jpeg
from .kernels import KERNEL_SIZE, anisotropic_kernel, isotropic_kernel, motion_kernel
from .pipeline import degrade
from .prior import fit_pca_basis
from .resize import imresize

__all__ = ['KERNEL_SIZE', 'Degradation', 'anisotropic_kernel', 'benchmark_degradations', 'compress_jpeg', 'degrade',
           'fit_pca_basis', 'imresize', 'isotropic_kernel', 'motion_kernel', 'parse_degradation', 'release_pca_kernels',
           'training_degradation']
