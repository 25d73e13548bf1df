"""What `basicsr idr` looks at: the option file, images under degradations, and networks' IDRs of them."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Optional

import numpy as np
import torch

from ..config import build
from ..degradations import KERNEL_SIZE, Degradation, benchmark_degradations, parse_degradation
from .networks import Method, Sample, batched, side_inputs
from .study import Study, read_section
from .writing import slug

BATCH = 8


@dataclass(frozen=True, kw_only=True)
class IDROptions(Study):
    """An option file of `basicsr idr`.

    center_crop: All images have this size.
    reference: The method against which the others' CKA is computed.
    features: What statistics are taken of: `read` (what the SR network reads: LightBSR's R_C and R_S, KDSR's D), or a
        member of the IDR (LightBSR: channel, spatial, estimate, embedding; KDSR: guide, distill). Maps are averaged.
    grids: Name -> degradations to be told apart, as a list or a name that `benchmark_degradations` knows.
    regression: A degradation with ranges, or setting1 or setting2, from which `num_regression` are drawn.
    """

    grids: Mapping[str, Any]
    center_crop: int = 256
    features: tuple[str, ...] = ('read',)
    regression: Any = None
    num_regression: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.grids, Mapping) or not self.grids:
            raise ValueError(f'grids must be a section such as {{Gaussian8: gaussian8}}, got {self.grids!r}')
        names = [slug(str(name)) for name in self.grids]
        if not all(names) or len(set(names)) < len(names):
            raise ValueError(f'grids: figures are named after them: give each a name of its own, got {", ".join(map(str, self.grids))}')
        if self.center_crop <= KERNEL_SIZE // 2 or self.center_crop % self.scale:
            raise ValueError(f'center_crop must be a multiple of the scale ({self.scale}) and more than '
                             f'{KERNEL_SIZE // 2}, got {self.center_crop}')
        if self.num_regression < 4:
            raise ValueError(f'num_regression must be 4 or more, got {self.num_regression}')
        if not isinstance(self.features, tuple) or not self.features:
            raise ValueError(f'features must be a list, such as [read, estimate], got {self.features!r}')
        if len(set(self.features)) < len(self.features):
            raise ValueError(f'features: each once, got {", ".join(self.features)}')
        if self.seed < 0:
            raise ValueError(f'seed must be 0 or more, got {self.seed}')


def read_options(path: str, data_root: Optional[str] = None) -> IDROptions:
    """Reads and checks an option file; its grids become degradations.

    Raises:
        ValueError: no such file, no valid YAML, an unknown key, or a value that makes no sense.
    """
    options = build(IDROptions, read_section(path, data_root), path)
    try:
        grids = {str(name): _grid(name, section, options.scale) for name, section in options.grids.items()}
        regression = parse_degradation(options.regression, options.scale) if options.regression is not None else None
        if regression is not None and regression.is_point:
            raise ValueError('regression: give ranges, as in sigma: [0.2, 4.0], or setting1 or setting2')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return replace(options, grids=grids, regression=regression)


def _grid(name: str, section: Any, scale: int) -> tuple[Degradation, ...]:
    if isinstance(section, str):
        return benchmark_degradations(section, scale)
    if not isinstance(section, Sequence):
        raise ValueError(f'grids: {name} must be a list of degradations, got {section!r}')
    grid = tuple(parse_degradation(entry, scale) for entry in section)
    if len({degradation.label for degradation in grid}) < max(2, len(grid)):
        raise ValueError(f'grids: {name}: give two or more different degradations')
    return grid


def check_methods(options: IDROptions, methods: Sequence[Method]) -> None:
    """Finds now, not after minutes, what the analysis would stumble over.

    Raises:
        ValueError: a network without an IDR or of another scale (the message names the method), too few images, or one
            that is smaller than the crop.
    """
    for method in methods:
        if not hasattr(method.network, 'represent'):
            raise ValueError(f'methods: {method.label}: {type(method.network).__name__} has no IDR: LightBSR, KDSR and '
                             'their teachers have one')
        if method.network.scale != options.scale:
            raise ValueError(f'methods: {method.label}: it super-resolves x{method.network.scale}, but scale is '
                             f'{options.scale} at the top: make them agree')
    samples = list(options.degraded(next(iter(options.grids.values()))[0]))
    least = 2 if options.regression is None else 3
    if len(samples) < least:
        raise ValueError(f'images: {least} images are the least, as the statistics set some aside to test on')
    for sample in samples:
        if sample['gt'].shape[-2:] != (options.center_crop, options.center_crop):
            raise ValueError(f'{sample["gt_path"]} is smaller than center_crop ({options.center_crop}): lower it or '
                             'remove the image')
    for method in methods:
        features(method, samples[:1], options.features)


def draw(options: IDROptions) -> list[Degradation]:
    """`num_regression` single degradations out of the ranges of `regression`, seeded."""
    rng = np.random.default_rng(options.seed)
    return [Degradation(**{key: float(rng.uniform(*value)) if isinstance(value, tuple) else value
                           for key, value in options.regression.section.items()})
            for _ in range(options.num_regression)]


# ---------------------------------------------------------------------------------------------- representations
@torch.no_grad()
def represent(method: Method, samples: Sequence[Sample]) -> Iterator[NamedTuple]:
    """IDRs of batches of samples of one size, in order; a teacher is also given what it is made to see."""
    net = method.network
    for start in range(0, len(samples), BATCH):
        batch = samples[start:start + BATCH]
        yield net(batched(net, batch, 'lq'), *side_inputs(net, batch), idr_only=True)


def features(method: Method, samples: Sequence[Sample], members: Sequence[str]) -> dict[str, np.ndarray]:
    """(N, n) for each of the named features.

    Raises:
        ValueError: the network builds no such IDR; the message names the method.
    """
    rows: dict[str, list[np.ndarray]] = {member: [] for member in members}
    for idr in represent(method, samples):
        for member in members:
            try:
                rows[member].append(idr.features(member).float().cpu().numpy())
            except ValueError as error:
                raise ValueError(f'methods: {method.label}: {type(method.network).__name__}: {error}') from None
    return {member: np.concatenate(batches) for member, batches in rows.items()}
