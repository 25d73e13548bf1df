"""Images of the runs to be compared by a slider: bicubic interpolation, what each run made, and the HR image."""
from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Optional

import numpy as np
from PIL import Image

from ...data.blind_degradation_dataset import center_crop, degraded, to_tensor
from ...degradations import Degradation, imresize, parse_degradation
from ..images import as_image, files_by_stem, find_image, read_image, score, stem_of
from ..manifest import sha256
from .runs import TestRun, TrainingRun

QUALITY = 90  # of the WebP files
MAX_EDGE = 960  # pixels; the middle of larger images is shown
BICUBIC, GT = 'bicubic', 'GT'


@dataclass(frozen=True)
class Picture:
    """One image as several layers of one size.

    title: What it is. layers: Label -> (H, W, 3) uint8 RGB, in the order of a reader's interest. psnr: By label, in dB.
    """

    title: str
    layers: Mapping[str, np.ndarray]
    psnr: Mapping[str, float]


@dataclass(frozen=True)
class Place:
    """Images of a test set under one degradation, as a run has left them.

    name: The test set. degradation: None for real pairs. files: Stem -> paths.
    """

    run: TestRun
    name: str
    degradation: Optional[Degradation]
    files: Mapping[str, list[str]]

    @property
    def title(self) -> str:
        """The same for places whose images can be laid one above the other."""
        crop = self.run.manifest['test_sets'][self.name].get('center_crop')
        parts = [self.degradation and self.degradation.symbols, crop and f'middle {crop}×{crop}']
        return ', '.join([f'{self.name} ×{self.run.results["scale"]}', *filter(None, parts)])


def collect(runs: Sequence[TestRun | TrainingRun], most: int) -> list[Picture]:
    """At most `most` pictures, of as many test sets, degradations and trainings as possible.

    Raises:
        ValueError: images that cannot be read, or do not fit to each other.
    """
    groups = [*_test_groups([run for run in runs if isinstance(run, TestRun)]),
              *(_training_group(run) for run in runs if isinstance(run, TrainingRun))]
    return list(islice(_in_turn(groups), most))


def _in_turn(groups: Sequence[Iterator[Picture]]) -> Iterator[Picture]:
    """The first of each, then the second of each, and so on, none made before it is wanted."""
    while groups:
        remaining = []
        for group in groups:
            if (picture := next(group, None)) is not None:
                yield picture
                remaining.append(group)
        groups = remaining


# ---------------------------------------------------------------------------------------------- tests
def _test_groups(runs: Sequence[TestRun]) -> list[Iterator[Picture]]:
    """For each title, pictures one after another, made when they are asked for."""
    groups: dict[str, list[Place]] = {}
    for place in (place for run in runs for place in _places(run)):
        groups.setdefault(place.title, []).append(place)
    return [_pictures(places, i) for i, places in enumerate(groups.values())]


def _places(run: TestRun) -> Iterator[Place]:
    for name, test_set in (run.manifest or {'test_sets': {}})['test_sets'].items():
        sections = test_set['degradations'] or [None]
        for degradation in (section and parse_degradation(section, run.results['scale']) for section in sections):
            folders = [name] if degradation is None else [f'{name}_{degradation.label}', name]
            folder = next((path for path in (os.path.join(run.images, f) for f in folders) if os.path.isdir(path)), None)
            if folder is not None:
                yield Place(run, name, degradation, files_by_stem(folder))


def _pictures(places: Sequence[Place], first: int) -> Iterator[Picture]:
    """Beginning at another image for each degradation, so that few pictures show many."""
    images = [place.run.manifest['test_sets'][place.name]['images'] for place in places]
    names = list(dict.fromkeys(name for keys in images for name in keys.get('dataroot_gt') or keys.get('dataroot_lq', {})))
    first %= max(1, len(names))
    stems = list(map(stem_of, names))
    for name in names[first:] + names[:first]:
        found = {place.run.label: (place, path) for place in places
                 if (path := find_image(_of_clip(place.files, name), stem_of(name), stems))}
        if found:
            yield _picture(name, found)


def _of_clip(files: Mapping[str, list[str]], name: str) -> Mapping[str, list[str]]:
    """Those in a folder that is named as the image's own, where there are any: frames of clips share their names."""
    folder = os.sep + os.path.dirname(name)
    own = {stem: [path for path in paths if os.path.dirname(path).endswith(folder)] for stem, paths in files.items()}
    return own if any(own.values()) else files


def _picture(name: str, found: Mapping[str, tuple[Place, str]]) -> Picture:
    """Of an image of a test set, and the files that the runs made of it, by label."""
    place = next(iter(found.values()))[0]
    gt, lq = _originals(place, name)
    baselines = [label for label, (other, _) in found.items() if other.run.results['network']['type'] == 'Bicubic']
    layers = {label: read_image(found[label][1]) for label in dict.fromkeys([*baselines, *found])}
    scale, psnr = place.run.results['scale'], {}
    if lq is not None and not baselines:
        layers = {BICUBIC: as_image(imresize(to_tensor(lq[None]), scale)[0]), **layers}
    if gt is not None:
        if place.degradation is None:  # BasicSR cuts the HR images of pairs likewise
            height, width = next(iter(layers.values())).shape[:2]
            gt = gt[:height, :width]
        for label, image in layers.items():
            if image.shape != gt.shape:
                raise ValueError(f'{label}: {name} of {place.title} has {image.shape[1]}x{image.shape[0]} pixels, but the '
                                 f'HR image has {gt.shape[1]}x{gt.shape[0]}: test again')
        psnr = {label: score(image, gt, scale).psnr for label, image in layers.items()}
        layers[GT] = gt
    return Picture(f'{place.title}: {os.path.splitext(name)[0]}', layers, psnr)


def _originals(place: Place, name: str) -> tuple[Optional[np.ndarray], Optional[np.ndarray]]:
    """The HR and the LR image that were tested, or None for those that are no longer there."""
    test_set, scale = place.run.manifest['test_sets'][place.name], place.run.results['scale']
    gt = _unchanged(place.run, test_set, 'dataroot_gt', name)
    if place.degradation is None:
        return gt, _unchanged(place.run, test_set, 'dataroot_lq', name)
    if gt is None:
        return None, None
    image = gt if test_set.get('center_crop') is None else center_crop(gt, test_set['center_crop'])
    sample = degraded(image, stem_of(name), place.degradation, scale)
    return as_image(sample['gt']), as_image(sample['lq'])


def _unchanged(run: TestRun, test_set: Mapping[str, Any], key: str, name: str) -> Optional[np.ndarray]:
    """An image that has the hash of the manifest; folders may be relative to where the run was started."""
    digest = test_set['images'].get(key, {}).get(name)
    for start in ('', os.path.join(run.folder, os.pardir, os.pardir)):
        path = os.path.join(start, test_set['folders'].get(key, ''), name)
        if digest is not None and os.path.isfile(path) and sha256(path) == digest:
            return read_image(path)
    return None


# ---------------------------------------------------------------------------------------------- trainings
def _training_group(run: TrainingRun) -> Iterator[Picture]:
    """The first and the last image that validations left, of each image."""
    root = os.path.join(run.folder, 'visualization')
    for folder in sorted(folder for folder, _, files in os.walk(root) if files):
        images = {_iteration(path): path for paths in files_by_stem(folder).values() for path in paths}
        ends = sorted(i for i in images if i is not None)
        if len(ends) > 1:
            layers = {f'iteration {i:,d}': read_image(images[i]) for i in (ends[0], ends[-1])}
            yield Picture(f'{run.label}: {os.path.relpath(folder, root)}', layers, {})


def _iteration(path: str) -> Optional[int]:
    """Of <image>_<iteration>.png."""
    end = stem_of(path).rpartition('_')[2]
    return int(end) if end.isdecimal() else None


# ---------------------------------------------------------------------------------------------- files
def middle(image: np.ndarray) -> np.ndarray:
    """What is shown of an image: all of it, or its middle."""
    return center_crop(image, MAX_EDGE)


def data_uri(image: np.ndarray) -> str:
    """Of (H, W, 3) uint8 RGB."""
    buffer = io.BytesIO()
    Image.fromarray(middle(image)).save(buffer, 'WEBP', quality=QUALITY, method=5)
    return f'data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}'
