"""LPIPS and DISTS as metrics of BasicSR, computed by pyiqa (an optional package); lower is better.

BasicSR has NIQE itself. pyiqa downloads the weights when a metric is first used and keeps them in torch's folder.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALLEST = 32  # pixels of an edge; AlexNet's poolings need 31
LOWER_IS_BETTER = ('calculate_lpips', 'calculate_dists', 'calculate_niqe')
FILES = {'lpips': ('checkpoints/alexnet-owt-7be5be79.pth', 'pyiqa/LPIPS_v0.1_alex-df73285e.pth'),
         'dists': ('checkpoints/vgg16-397923af.pth', 'pyiqa/DISTS_weights-f5e65c96.pth')}


def calculate_lpips(img: np.ndarray, img2: np.ndarray, crop_border: int = 0,
                    better: str = 'lower') -> float:
    """LPIPS 0.1 with AlexNet.

    Args:
        img, img2: (H, W, 3) uint8 BGR.
        crop_border: Pixels to leave out at each border.
        better: For BasicSR, which remembers the best validation by it.

    Raises:
        ValueError: as `load`, or images of another kind.
    """
    return _distance('lpips', img, img2, crop_border)


def calculate_dists(img: np.ndarray, img2: np.ndarray, crop_border: int = 0,
                    better: str = 'lower') -> float:
    """DISTS; arguments and errors as for `calculate_lpips`."""
    return _distance('dists', img, img2, crop_border)


def prepare_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    """Loads what `val.metrics` will need, so that a run fails before it starts; tells BasicSR where lower is better.

    Raises:
        ValueError: as `load`; the message names the metric's key.
    """
    for key, section in metrics.items():
        if section['type'] in LOWER_IS_BETTER:
            section.setdefault('better', 'lower')
        name = section['type'].removeprefix('calculate_')
        if name in FILES:
            try:
                load(name)
            except ValueError as error:
                raise ValueError(f'val.metrics.{key}: {error}') from error


@lru_cache(maxsize=None)
def load(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """pyiqa's metric for RGB in [0, 1], (1, 3, H, W), on the GPU where there is one.

    Raises:
        ValueError: pyiqa is not installed, or its weights are not there and cannot be downloaded.
    """
    try:
        from pyiqa import create_metric
    except ImportError as error:
        raise ValueError(f'{name.upper()} needs pyiqa, which cannot be imported ({error}): pip install pyiqa, or '
                         'remove the metric') from error
    try:
        return create_metric(name)
    except Exception as error:  # no network, a file that is cut off: it lets all kinds through
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(f'{name.upper()}: pyiqa cannot load its weights ({reason}). It looks for {_paths(name)}: '
                         'copy them from a machine where it could download them, or delete what is broken '
                         'there') from error


def _paths(name: str) -> str:
    return ' and '.join(os.path.join(torch.hub.get_dir(), file) for file in FILES[name])


def _distance(name: str, img: np.ndarray, img2: np.ndarray, crop_border: int) -> float:
    if img.shape != img2.shape:
        raise ValueError(f'{name.upper()} compares images of the same size, got {img.shape} and {img2.shape}')
    tensors = [_to_tensor(image, crop_border) for image in (img, img2)]
    if min(tensors[0].shape[-2:]) < SMALLEST:
        raise ValueError(f'{name.upper()} needs {SMALLEST} pixels each way inside the border of {crop_border}, got an '
                         f'image of {img.shape[1]}x{img.shape[0]}')
    with torch.no_grad():
        return float(load(name)(*tensors))


def _to_tensor(image: np.ndarray, crop_border: int) -> Tensor:
    """(H, W, 3) uint8 BGR -> (1, 3, h, w) RGB in [0, 1], without the border."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'expected a colour image (H, W, 3), got {image.shape}')
    inside = image[crop_border:image.shape[0] - crop_border, crop_border:image.shape[1] - crop_border, ::-1]
    return torch.from_numpy(inside.copy()).permute(2, 0, 1)[None].float() / 255
