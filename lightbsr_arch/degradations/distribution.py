"""Degradations as distributions: what the option files' `degradation:` sections mean."""
from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Mapping, Optional

import numpy as np
import torch
from torch import Tensor

from .kernels import KERNEL_SIZE, anisotropic_kernel, motion_kernel

Range = float | tuple[float, float]


@dataclass(frozen=True)
class Degradation:
    """A distribution of blur kernels and noise levels: a pair is a uniform range, a single value a fixed one.

    sigma: Width of an isotropic kernel in HR pixels.
    lambda_1, lambda_2, theta: Widths of an anisotropic kernel and the angle of its first axis in degrees.
    motion, theta: Length of a straight motion blur in HR pixels and its direction in degrees.
    noise: Standard deviation of the noise in 8-bit units.
    jpeg: Quality (1 to 100) of a JPEG compression of the LR image, after the noise; left out, there is none.

    Raises:
        ValueError: no kind of kernel or several, a range the wrong way round, a width that is not positive.
    """

    sigma: Optional[Range] = None
    lambda_1: Optional[Range] = None
    lambda_2: Optional[Range] = None
    theta: Optional[Range] = None
    noise: Range = 0.0
    motion: Optional[Range] = None
    jpeg: Optional[Range] = None

    def __post_init__(self) -> None:
        given = {key for key in ('sigma', 'lambda_1', 'lambda_2', 'theta', 'motion') if getattr(self, key) is not None}
        if given not in KINDS_OF_KERNEL:
            raise ValueError('a degradation needs either sigma (isotropic) or lambda_1, lambda_2 and theta in degrees '
                             f'(anisotropic) or motion and theta, got {self}')
        for name, (least, most) in LIMITS.items():
            self._check_range(name, least, most)

    def _check_range(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if value is None and name != 'noise':
            return
        ends = _ends(value)
        are_numbers = len(ends) == 2 and all(isinstance(v, (int, float)) for v in ends)
        if not are_numbers or not least <= ends[0] <= ends[1] <= most or ends[1] == math.inf:
            limits = f'from {least:g} ' + ('upwards' if most == math.inf else f'to {most:g}')
            raise ValueError(f'degradation.{name} must be a number or a range [low, high] {limits}, got {value!r}')

    @property
    def is_point(self) -> bool:
        """Whether nothing is drawn: every value is a single one."""
        return not any(isinstance(v, (tuple, list)) for v in vars(self).values())

    @property
    def section(self) -> dict[str, Range]:
        """The keys of a `degradation:` section that means this."""
        return {k: v for k, v in vars(self).items() if v is not None}

    @property
    def label(self) -> str:
        """A short name, fit for a file."""
        def text(value: Range) -> str:
            return f'{value:g}' if isinstance(value, (int, float)) else f'{value[0]:g}-{value[1]:g}'
        kernel = (f'sigma{text(self.sigma)}' if self.sigma is not None else
                  f'theta{text(self.theta)}_motion{text(self.motion)}' if self.motion is not None else
                  f'theta{text(self.theta)}_lambda{text(self.lambda_1)}x{text(self.lambda_2)}')
        noise = f'_noise{text(self.noise)}' if self.noise != 0 else ''
        return kernel + noise + (f'_jpeg{text(self.jpeg)}' if self.jpeg is not None else '')

    @property
    def symbols(self) -> str:
        """What figures call it, in the papers' symbols."""
        section = {key: f'{value:g}' if isinstance(value, (int, float)) else f'{value[0]:g}–{value[1]:g}'
                   for key, value in self.section.items()}
        parts = [f'σ = {section["sigma"]}'] if self.sigma is not None else [f'θ = {section["theta"]}°']
        if self.lambda_1 is not None:
            parts.append(f'λ = {section["lambda_1"]}, {section["lambda_2"]}')
        named = {'motion': 'motion', 'noise': 'noise', 'jpeg': 'JPEG'}
        parts += [f'{word} {section[key]}' for key, word in named.items() if section.get(key, '0') != '0']
        return '; '.join(parts)

    def covers(self, point: Degradation) -> bool:
        """Whether a degradation of single values could have been drawn from this one.

        An isotropic kernel is an anisotropic one of any angle, and angles repeat after 180 degrees.
        """
        is_round = point.motion is None and point._widths[0] == point._widths[1]
        has_angle = is_round or (self.theta is not None and _is_within_angles(point.theta, self.theta))
        own, others = ((*d._widths, d.motion, d.noise, d.jpeg) for d in (self, point))
        return has_angle and all(_is_within(value, range_) for value, range_ in zip(others, own))

    @property
    def _widths(self) -> tuple[Optional[Range], Optional[Range]]:
        return (self.lambda_1, self.lambda_2) if self.sigma is None else (self.sigma, self.sigma)

    def sample_kernels(self, rng: np.random.Generator, num: int) -> Tensor:
        """(num, 21, 21)."""
        if self.sigma is not None:
            sigma = _draw(rng, self.sigma, num)
            return anisotropic_kernel(sigma, sigma, 0.0)
        if self.motion is not None:
            length, theta = (_draw(rng, v, num) for v in (self.motion, self.theta))
            return motion_kernel(length, theta * math.pi / 180)
        lambda_1, lambda_2, theta = (_draw(rng, v, num) for v in (self.lambda_1, self.lambda_2, self.theta))
        return anisotropic_kernel(lambda_1, lambda_2, theta * math.pi / 180)

    def sample_noise(self, rng: np.random.Generator, num: int) -> Tensor:
        """(num,) levels in 8-bit units, float32."""
        return _draw(rng, self.noise, num).float()

    def sample_jpeg(self, rng: np.random.Generator) -> Optional[int]:
        """A quality, or None (and nothing is drawn) without compression."""
        return None if self.jpeg is None else round(_draw(rng, self.jpeg, 1).item())


KINDS_OF_KERNEL = {'sigma'}, {'lambda_1', 'lambda_2', 'theta'}, {'motion', 'theta'}
LIMITS = {'sigma': (1e-3, math.inf), 'lambda_1': (1e-3, math.inf), 'lambda_2': (1e-3, math.inf),
          'theta': (-360, math.inf), 'noise': (0, math.inf), 'motion': (1, KERNEL_SIZE), 'jpeg': (1, 100)}


def _ends(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _draw(rng: np.random.Generator, value: Range, num: int) -> Tensor:
    return torch.from_numpy(rng.uniform(*_ends(value), num))


def _is_within(value: Optional[float], range_: Optional[Range]) -> bool:
    if value is None or range_ is None:
        return value is range_
    low, high = _ends(range_)
    return low <= value <= high


def _is_within_angles(theta: float, range_: Range) -> bool:
    low, high = _ends(range_)
    return (theta - low) % 180 <= high - low


# The release fits its PCA on variances up to 10.1, whatever the training range; their lower end is not published.
RELEASE_PCA_VARIANCE = (0.01, 10.1)


def release_pca_kernels(rng: np.random.Generator, num: int) -> Tensor:
    """(num, 21, 21): the anisotropic kernels on which LightBSR's release fits its PCA."""
    width_1, width_2 = (_draw(rng, RELEASE_PCA_VARIANCE, num).sqrt() for _ in range(2))
    return anisotropic_kernel(width_1, width_2, _draw(rng, (0, math.pi), num))


NINE_KERNELS = ((0, 2.0, 0.5), (10, 2.0, 1.0), (30, 3.5, 1.5), (45, 3.5, 2.0), (90, 3.5, 2.0), (120, 4.0, 1.5),
                (135, 4.0, 2.0), (165, 4.0, 3.0), (180, 4.0, 4.0))
NINE_KERNELS_NOISE = {'setting2': (5, 10), 'kdsr_setting2': (0, 10, 20), 'nine_kernels': (0,)}
GAUSSIAN8 = {2: tuple(0.9 + 0.1 * i for i in range(8)), 3: tuple(1.35 + 0.15 * i for i in range(8)),
             4: tuple(1.8 + 0.2 * i for i in range(8))}


def parse_degradation(section: str | Mapping[str, Any], scale: int) -> Degradation:
    """What a `degradation:` of an option file means: keys of `Degradation`, or a setting's name.

    Raises:
        ValueError: an unknown name, key or range.
    """
    if isinstance(section, str):
        return training_degradation(section, scale)
    if not isinstance(section, Mapping):
        raise ValueError(f'degradation must be a section with keys, setting1 or setting2, got {section!r}')
    known = [f.name for f in fields(Degradation)]
    for key in section:
        if key not in known:
            raise ValueError(f'degradation: unknown key {key!r}. Valid ones: {", ".join(known)}')
    return Degradation(**{k: tuple(v) if isinstance(v, list) else v for k, v in section.items()})


def training_degradation(setting: str, scale: int) -> Degradation:
    """The papers' training distributions; their kernels are as wide as the scale (x4 in the papers).

    Args:
        setting: `setting1` (isotropic, no noise) or `setting2` (anisotropic, noise to 25).

    Raises:
        ValueError: an unknown setting.
    """
    width = (0.2, float(scale))
    if setting == 'setting1':
        return Degradation(sigma=width)
    if setting == 'setting2':
        return Degradation(lambda_1=width, lambda_2=width, theta=(0, 180), noise=(0, 25))
    raise ValueError(f'unknown degradation {setting!r}: the named ones are setting1 and setting2')


def benchmark_degradations(setting: str, scale: int) -> tuple[Degradation, ...]:
    """The papers' test degradations.

    Args:
        setting: `setting1` (widths 1.2, 2.4, 3.6 at x4, in proportion at other scales), `setting2` (nine kernels x
            noise 5 and 10), `kdsr_setting2` (the same kernels x noise 0, 10, 20), `nine_kernels` (without noise),
            `gaussian8`.

    Raises:
        ValueError: an unknown setting; gaussian8 at a scale other than 2, 3 and 4.
    """
    if setting == 'setting1':
        return tuple(Degradation(sigma=round(width * scale / 4, 3)) for width in (1.2, 2.4, 3.6))
    if setting in NINE_KERNELS_NOISE:
        return tuple(Degradation(theta=t, lambda_1=l1, lambda_2=l2, noise=noise)
                     for noise in NINE_KERNELS_NOISE[setting] for t, l1, l2 in NINE_KERNELS)
    if setting == 'gaussian8':
        if scale not in GAUSSIAN8:
            raise ValueError(f'gaussian8 has kernels for the scales 2, 3 and 4, not for {scale}')
        return tuple(Degradation(sigma=round(width, 3)) for width in GAUSSIAN8[scale])
    raise ValueError(f'unknown degradations {setting!r}: the named ones are setting1, setting2, kdsr_setting2, nine_kernels '
                     'and gaussian8')
