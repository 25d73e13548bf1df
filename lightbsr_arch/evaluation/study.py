"""What `basicsr idr` and `basicsr robustness` have in common: the methods, and the images on which they are compared."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from .. import option_files
from ..config import suggest
from ..data.blind_degradation_dataset import BlindDegradationDataset
from ..degradations import Degradation
from .networks import Method, Sample, load_method


@dataclass(frozen=True, kw_only=True)
class Study:
    """The keys that both kinds of option files have.

    name: Results go to ./results/<name>.
    images: Folders of HR images by name, relative to `data_root`.
    methods: Label -> a file of weights that names its network, or a section with `network` and `weights`.
    num_images: The first ones of each folder, in the order of their names; None for all.
    center_crop: Edge of the square that is cut from the middle of each HR image; None for whole images.
    reference: The method with which the others are compared.
    """

    name: str
    images: Mapping[str, str]
    methods: Mapping[str, Any]
    scale: int = 4
    data_root: str = ''
    num_images: Optional[int] = None
    center_crop: Optional[int] = None
    reference: Optional[str] = None

    def __post_init__(self) -> None:
        if '/' in self.name:
            raise ValueError(f'name must be a text without a slash, got {self.name!r}')
        for key in ('num_images', 'center_crop'):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f'{key} must be a whole number from 1 upwards, or ~ for all, got {value!r}')
        for key, example in (('images', 'B100: benchmarks/B100/HR'), ('methods', 'LightBSR: net_g_latest.pth')):
            if not isinstance(getattr(self, key), Mapping) or not getattr(self, key):
                raise ValueError(f'{key} must be a section such as {{{example}}}, got {getattr(self, key)!r}')
        for label in self.methods:
            if not isinstance(label, str):
                raise ValueError(f'methods: a label must be a text, got {label!r}: put it into quotes')
        for name, folder in self.images.items():
            if not isinstance(name, str) or not isinstance(folder, str):
                raise ValueError(f'images: {name!r}: {folder!r} must be a name and a folder')
        if self.reference is not None and self.reference not in self.methods:
            raise ValueError(f'reference: there is no method {self.reference!r}'
                             + suggest(self.reference, list(self.methods)))

    @property
    def folder(self) -> str:
        """Of the results."""
        return os.path.join('results', self.name)

    @property
    def facts(self) -> dict[str, Any]:
        """What was compared on which images, for the JSON."""
        return {'name': self.name, 'scale': self.scale, 'data_root': self.data_root, 'images': dict(self.images),
                'num_images': self.num_images, 'center_crop': self.center_crop, 'methods': dict(self.methods)}

    def load_methods(self, skip_missing: bool = False) -> tuple[list[Method], list[str]]:
        """The methods, on a GPU where there is one, and a line about each that is left out.

        Raises:
            ValueError: weights that are missing (unless they are to be skipped) or do not fit; no method is left.
        """
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        found, skipped = {}, []
        for label, source in self.methods.items():
            weights = source.get('weights') if isinstance(source, Mapping) else source
            if weights is None or os.path.isfile(str(weights)):
                found[label] = source
            elif skip_missing:
                skipped.append(f'{label} is left out: there is no file {weights}')
            else:
                raise ValueError(f'methods: {label}: there is no file {weights}: train it, name another file, or leave '
                                 'out what is missing with --skip-missing')
        if not found:
            raise ValueError('no method is left: ' + '; '.join(skipped))
        return [load_method(label, source, device) for label, source in found.items()], skipped

    def degraded(self, degradation: Degradation) -> Dataset[Sample]:
        """The images under a degradation, as `basicsr test` degrades: by the image's name and the degradation."""
        datasets = [BlindDegradationDataset({
            'name': f'{name}_{degradation.label}', 'type': 'BlindDegradationDataset', 'phase': 'test',
            'scale': self.scale, 'degradation': degradation.section, 'center_crop': self.center_crop,
            'dataroot_gt': os.path.join(os.path.expanduser(self.data_root), os.path.expanduser(folder))})
            for name, folder in self.images.items()]
        return ConcatDataset([Subset(dataset, range(len(dataset))[:self.num_images]) for dataset in datasets])


def read_section(path: str, data_root: Optional[str] = None) -> dict[str, Any]:
    """An option file's keys, with another `data_root` where one is given.

    Raises:
        ValueError: no such file, no valid YAML, not a section.
    """
    try:
        section = option_files.read(path)
    except OSError as error:
        raise ValueError(f'cannot read the option file {path} (-opt): {error.strerror}') from error
    if not isinstance(section, Mapping):
        raise ValueError(f'{path} must be a section with keys such as name, images and methods, got {section!r}')
    return {**section} if data_root is None else {**section, 'data_root': data_root}
