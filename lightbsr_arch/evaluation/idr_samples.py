"""What `basicsr idr` looks at: the option file, crops of images under degradations, and networks' IDRs of them."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from .. import option_files
from ..config import build
from ..data.blind_degradation_dataset import BlindDegradationDataset, list_images
from ..degradations import KERNEL_SIZE, Degradation, benchmark_degradations, parse_degradation
from .networks import Method, Sample, load_method, on_device, side_inputs

BATCH = 8
Grids = Mapping[str, tuple[Degradation, ...]]


@dataclass(frozen=True)
class IDROptions:
    """An option file of `basicsr idr`.

    images: Folders of HR images by name, relative to `data_root`; the first `num_images` of each, or all.
    crop: Edge of the square that is cut from the middle of each HR image, so that all have one size.
    models: Label -> file of weights, or a section with `network` and `weights`.
    reference: The model against which the others' CKA is computed.
    features: What statistics are taken of: `read` (what the SR network reads: LightBSR's R_C and R_S, KDSR's D), or a
        member of the IDR (LightBSR: channel, spatial, estimate, embedding; KDSR: guide, distill). Maps are averaged.
    grids: Name -> degradations to be told apart, as a list or a name that `benchmark_degradations` knows.
    regression: A degradation with ranges, or setting1 or setting2, from which `num_regression` are drawn.
    """

    name: str
    images: Mapping[str, str]
    models: Mapping[str, Any]
    grids: Mapping[str, Any]
    scale: int = 4
    data_root: str = ''
    num_images: Optional[int] = None
    crop: int = 256
    reference: Optional[str] = None
    features: tuple[str, ...] = ('read',)
    regression: Any = None
    num_regression: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if '/' in self.name:
            raise ValueError(f'name must be a text without a slash, got {self.name!r}')
        for key in ('images', 'models', 'grids'):
            if not isinstance(getattr(self, key), Mapping) or not getattr(self, key):
                raise ValueError(f'{key} must be a section with a key for each, got {getattr(self, key)!r}')
        if self.crop <= KERNEL_SIZE // 2 or self.crop % self.scale:
            raise ValueError(f'crop must be a multiple of the scale ({self.scale}) and more than {KERNEL_SIZE // 2}, '
                             f'got {self.crop}')
        if self.num_images is not None and not (isinstance(self.num_images, int) and self.num_images > 0):
            raise ValueError(f'num_images must be a whole number from 1 upwards, or ~ for all, got {self.num_images!r}')
        if self.num_regression < 4:
            raise ValueError(f'num_regression must be 4 or more, got {self.num_regression}')
        if self.reference is not None and self.reference not in self.models:
            raise ValueError(f'reference {self.reference!r} is none of the models: {", ".join(self.models)}')
        if not isinstance(self.features, tuple) or not self.features:
            raise ValueError(f'features must be a list, such as [read, estimate], got {self.features!r}')


def read_options(path: str) -> IDROptions:
    """Reads and checks an option file; its grids become degradations, its folders start at `data_root`.

    Raises:
        ValueError: no such file, no valid YAML, an unknown key, or a value that makes no sense.
    """
    try:
        section = option_files.read(path)
    except OSError as error:
        raise ValueError(f'cannot read the option file {path} (-opt): {error.strerror}') from error
    options = build(IDROptions, section, path)
    root = os.path.expanduser(options.data_root)
    folders = {name: os.path.join(root, os.path.expanduser(folder)) for name, folder in options.images.items()}
    try:
        grids = {name: _grid(name, section, options.scale) for name, section in options.grids.items()}
        regression = parse_degradation(options.regression, options.scale) if options.regression is not None else None
        if regression is not None and regression.is_point:
            raise ValueError('regression: give ranges, as in sigma: [0.2, 4.0], or setting1 or setting2')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return replace(options, images=folders, grids=grids, regression=regression)


def _grid(name: str, section: Any, scale: int) -> tuple[Degradation, ...]:
    if isinstance(section, str):
        return benchmark_degradations(section, scale)
    if not isinstance(section, Sequence):
        raise ValueError(f'grids: {name} must be a list of degradations, got {section!r}')
    grid = tuple(parse_degradation(entry, scale) for entry in section)
    if len({degradation.label for degradation in grid}) < max(2, len(grid)):
        raise ValueError(f'grids: {name}: give two or more different degradations')
    return grid


def load_models(options: IDROptions) -> list[Method]:
    """The networks, on a GPU where there is one.

    Raises:
        ValueError: a missing file of weights, or a network without an IDR; the message names the model.
    """
    for label, source in options.models.items():
        weights = source.get('weights') if isinstance(source, Mapping) else source
        if weights is not None and not os.path.isfile(str(weights)):
            raise ValueError(f'models: {label}: there is no file {weights}: train it first, or name another one')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    methods = [load_method(label, source, device) for label, source in options.models.items()]
    for method in methods:
        if not hasattr(method.network, 'represent'):
            raise ValueError(f'models: {method.label}: {type(method.network).__name__} has no IDR: LightBSR, KDSR and '
                             'their teachers have one')
        if method.network.scale != options.scale:
            raise ValueError(f'models: {method.label}: it super-resolves x{method.network.scale}, but scale is '
                             f'{options.scale} at the top: make them agree')
    sample = degraded(options, places(options)[0], next(iter(options.grids.values()))[0])
    for method in methods:
        features(method, [sample], options.features)  # an IDR that is not there is found now, not after minutes
    return methods


# ---------------------------------------------------------------------------------------------- images
def places(options: IDROptions) -> list[tuple[str, int]]:
    """The images: folder and index in it."""
    chosen = [(folder, i) for folder in options.images.values()
              for i in range(len(list_images(folder)[:options.num_images]))]
    least = 2 if options.regression is None else 3
    if len(chosen) < least:
        raise ValueError(f'images: {least} images are the least, as the statistics set some aside to test on')
    return chosen


def degraded(options: IDROptions, place: tuple[str, int], degradation: Degradation) -> Sample:
    """The crop of an image, degraded as `basicsr test` degrades: it depends on the image's name and the degradation.

    Raises:
        ValueError: the image is smaller than the crop.
    """
    dataset = BlindDegradationDataset({
        'name': degradation.label, 'type': 'BlindDegradationDataset', 'phase': 'test', 'scale': options.scale,
        'dataroot_gt': place[0], 'degradation': degradation.section, 'center_crop': options.crop})
    sample = dataset[place[1]]
    if sample['gt'].shape[-2:] != (options.crop, options.crop):
        raise ValueError(f'{sample["gt_path"]} is smaller than crop ({options.crop}): lower crop or remove the image')
    return sample


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
        sides = zip(*(side_inputs(net, sample) for sample in batch))
        inputs = [None if side[0] is None else torch.cat(side) for side in sides]
        yield net(lq_of(method, batch), *inputs, idr_only=True)


def lq_of(method: Method, samples: Sequence[Sample]) -> Tensor:
    """(N, 3, h, w), where the network is."""
    return torch.cat([on_device(method.network, sample['lq']) for sample in samples])


def features(method: Method, samples: Sequence[Sample], members: Sequence[str]) -> dict[str, np.ndarray]:
    """(N, n) for each of the named features.

    Raises:
        ValueError: the network builds no such IDR; the message names the model.
    """
    rows: dict[str, list[np.ndarray]] = {member: [] for member in members}
    for idr in represent(method, samples):
        for member in members:
            try:
                rows[member].append(idr.features(member).float().cpu().numpy())
            except ValueError as error:
                raise ValueError(f'models: {method.label}: {type(method.network).__name__}: {error}') from None
    return {member: np.concatenate(batches) for member, batches in rows.items()}
