"""Finished images: reading them, finding one by its name, PSNR and SSIM."""
from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from torch import Tensor

from ..data.blind_degradation_dataset import decode_image, list_images


def read_image(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        ValueError: no image; the message names the path.
        OSError: a file that cannot be opened.
    """
    with open(path, 'rb') as file:
        return cv2.cvtColor(decode_image(file.read(), path), cv2.COLOR_BGR2RGB)


def as_image(tensor: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8, rounded as BasicSR rounds."""
    return np.ascontiguousarray((tensor.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu())


def files_by_stem(folder: str) -> dict[str, list[str]]:
    """Name without folder and suffix -> paths of the images of that name; a missing or empty folder is a ValueError."""
    files: dict[str, list[str]] = {}
    for name in list_images(folder):
        files.setdefault(stem_of(name), []).append(os.path.join(folder, name))
    return files


def stem_of(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def find_image(files: Mapping[str, list[str]], stem: str, stems: Iterable[str] = ()) -> str | None:
    """The file of that name, or the only one that begins with it and an underscore, as BasicSR names results; or None.

    Args:
        stems: Names of all images; a file that begins with a longer one of them is that one's.

    Raises:
        ValueError: several of them.
    """
    longer = tuple(other for other in stems if other.startswith(f'{stem}_'))
    found = files.get(stem) or [path for other, paths in files.items() if other.startswith(f'{stem}_') and not any(
        f'{other}_'.startswith(f'{name}_') for name in longer) for path in paths]
    if len(found) > 1:
        raise ValueError(f'several images could be the one of {stem}: {", ".join(sorted(found)[:3])}: leave one')
    return found[0] if found else None


@dataclass(frozen=True)
class Scores:
    """psnr: In dB; infinite for equal images. ssim: 1 for equal images."""

    psnr: float
    ssim: float


def score(image: np.ndarray, gt: np.ndarray, border: int) -> Scores:
    """On the Y channel of whole images, `border` pixels cut at each side, as the papers measure.

    Args:
        image, gt: (H, W, 3) uint8 RGB.
    """
    pair = [np.ascontiguousarray(i[..., ::-1]) for i in (image, gt)]  # BasicSR's channel order
    scores = Scores(*(float(metric(*pair, crop_border=border, test_y_channel=True))
                      for metric in (calculate_psnr, calculate_ssim)))
    if math.isnan(scores.ssim):  # of less than its window
        raise ValueError(f'an image of {gt.shape[1]}x{gt.shape[0]} pixels is too small to be measured')
    return scores
