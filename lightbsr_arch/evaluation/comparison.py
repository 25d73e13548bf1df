"""`basicsr compare`: the same region of an image as several methods restore it."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np
import torch

from ..config import suggest
from ..data.blind_degradation_dataset import degraded, list_images, to_tensor
from ..degradations import Degradation
from .images import Scores, as_image, files_by_stem, find_image, read_image, score, stem_of
from .networks import Method, Sample, load_method

Box = tuple[int, int, int, int]  # left, top, width and height in HR pixels
LR, BICUBIC, GT = 'LR', 'Bicubic', 'GT'


@dataclass(frozen=True)
class Scene:
    """An LR image to be restored.

    stem: The image's name without folder and suffix. sample: What networks see; `gt` is in it where there is one.
    stems: Names of all images beside it.
    """

    stem: str
    sample: Sample
    stems: tuple[str, ...] = ()

    @property
    def lq(self) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        return as_image(self.sample['lq'])

    @property
    def gt(self) -> Optional[np.ndarray]:
        """(H, W, 3) uint8 RGB."""
        return as_image(self.sample['gt']) if 'gt' in self.sample else None


@dataclass(frozen=True)
class FinishedImages:
    """A folder of what other software made of the same images."""

    label: str
    folder: str
    files: Mapping[str, list[str]]


Candidate = Method | FinishedImages


@dataclass(frozen=True)
class Row:
    """Of the picture, one image.

    whole: (H, W, 3) uint8 RGB, the HR image, or the LR image enlarged. box: The region, in pixels of `whole`.
    crops: Caption -> (h, w, 3), the region. scores: By the captions of methods; empty without a HR image.
    """

    title: str
    whole: np.ndarray
    box: Box
    crops: Mapping[str, np.ndarray]
    scores: Mapping[str, Scores]


# ---------------------------------------------------------------------------------------------- images
def degraded_scenes(place: str, degradation: Degradation, scale: int, names: Sequence[str] = (),
                    num: int = 3) -> list[Scene]:
    """HR images of a file or folder, degraded as `basicsr test` degrades them; see `choose`.

    Raises:
        ValueError: images that are not there, unreadable or too small.
    """
    scenes, stems = [], stems_of(place)
    for path in choose(place, names, num):
        try:
            sample = degraded(read_image(path), stem_of(path), degradation, scale)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None
        scenes.append(Scene(stem_of(path), sample, stems))
    return scenes


def real_scenes(place: str, scale: int, gt: Optional[str] = None, names: Sequence[str] = (),
                num: int = 3) -> list[Scene]:
    """LR images of a file or folder, with the HR images of the same names (in a file or folder) where `gt` is given.

    Raises:
        ValueError: images that are not there or unreadable, a pair whose sizes do not fit.
    """
    scenes, originals = [], {} if gt is None else {stem_of(gt): [gt]} if os.path.isfile(gt) else files_by_stem(gt)
    stems = stems_of(place)
    for path in choose(place, names, num):
        lq, sample = read_image(path), {}
        if gt is not None:
            original = gt if os.path.isfile(gt) and os.path.isfile(place) else find_image(originals, stem_of(path), stems)
            if original is None:
                raise ValueError(f'{gt} holds no HR image of {path}: give it the same name')
            image = read_image(original)
            if image.shape[:2] != tuple(scale * n for n in lq.shape[:2]):
                raise ValueError(f'{original} has {size_text(image)} pixels, not {scale} times those of {path} '
                                 f'({size_text(lq)}): set --scale, or cut it')
            sample['gt'] = to_tensor(image[None])[0]
        scenes.append(Scene(stem_of(path), {'lq': to_tensor(lq[None])[0], **sample}, stems))
    return scenes


def stems_of(place: str) -> tuple[str, ...]:
    """Names without suffix of the images of a file or folder."""
    return (stem_of(place),) if os.path.isfile(place) else tuple(map(stem_of, list_images(place)))


def choose(place: str, names: Sequence[str] = (), num: int = 3) -> list[str]:
    """Paths: the file itself; those of a folder that bear the names, with or without suffix; or the first `num`.

    Raises:
        ValueError: no such file, folder or name.
    """
    if os.path.isfile(place):
        return [place]
    found = list_images(place)
    if not names:
        return [os.path.join(place, name) for name in found[:num]]
    known = {key: name for name in reversed(found) for key in (stem_of(name), os.path.basename(name), name)}
    for name in names:
        if name not in known:
            raise ValueError(f'{place} holds no image {name}{suggest(name, list(known))}')
    return [os.path.join(place, known[name]) for name in names]


def size_text(image: np.ndarray) -> str:
    return f'{image.shape[1]}x{image.shape[0]}'


# ---------------------------------------------------------------------------------------------- methods
def load_candidates(sources: Mapping[str, str], scale: int) -> list[Candidate]:
    """Bicubic interpolation, and by label the network of a file of weights or the images of a folder.

    Raises:
        ValueError: no such file or folder, weights that do not name their network, a label that the picture uses itself.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    candidates: list[Candidate] = [load_method(BICUBIC, {'network': {'type': 'Bicubic', 'scale': scale}})]
    for label, source in sources.items():
        if label in (LR, BICUBIC, GT):
            raise ValueError(f'{label} is in the picture already: give {source} another label')
        is_folder = os.path.isdir(source)
        candidates.append(FinishedImages(label, source, files_by_stem(source)) if is_folder else
                          load_method(label, source, device))
    return candidates


def restore(candidate: Candidate, scene: Scene, scale: int) -> np.ndarray:
    """What a method makes of a scene: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: an image that is missing or of another size; a teacher without the HR image and kernel.
    """
    if isinstance(candidate, FinishedImages):
        path = find_image(candidate.files, scene.stem, scene.stems)
        if path is None:
            raise ValueError(f'{candidate.label}: {candidate.folder} holds no image named {scene.stem}')
        image = read_image(path)
    else:
        if candidate.section['type'].endswith('Teacher') and not {'gt', 'kernel'} <= scene.sample.keys():
            raise ValueError(f'{candidate.label}: a {candidate.section["type"]} is given the HR image or the blur kernel '
                             'besides: compare it on --gt with --degradation')
        image, path = as_image(candidate.super_resolve(scene.sample)), candidate.weights
    height, width = (scale * n for n in scene.lq.shape[:2])
    if image.shape[:2] != (height, width):
        raise ValueError(f'{candidate.label}: {scene.stem} has {size_text(image)} pixels ({path}), but {width}x{height} '
                         f'are {scale} times the LR image: another --scale, or another image?')
    return image


# ---------------------------------------------------------------------------------------------- rows
def compare(scene: Scene, candidates: Sequence[Candidate], scale: int, box: Optional[Box] = None, size: int = 80,
            remark: str = '') -> Row:
    """Restores a scene by each method and cuts the same region from all.

    Args:
        box: The region; by default the square of `size` HR pixels that tells the methods best apart.
        remark: Stands after the image's name.

    Raises:
        ValueError: as `restore`; a region that leaves the image.
    """
    lq, gt = scene.lq, scene.gt
    restored = {candidate.label: restore(candidate, scene, scale) for candidate in candidates}
    pixels = lq.repeat(scale, 0).repeat(scale, 1)
    whole = pixels if gt is None else gt
    if box is None:
        box = telling_region(list(restored.values()), size, scale)
    check_box(box, whole, scene.stem)
    panels = {LR: pixels, **restored, **({} if gt is None else {GT: gt})}
    scores = {} if gt is None else {label: score(image, gt, scale) for label, image in restored.items()}
    return Row(f'{scene.stem}{remark}', whole, box, {label: cut(image, box) for label, image in panels.items()}, scores)


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    left, top, width, height = box
    return image[top:top + height, left:left + width]


def check_box(box: Box, image: np.ndarray, name: str) -> None:
    """Raises a ValueError for a region that leaves the image."""
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > image.shape[1] or top + height > image.shape[0]:
        raise ValueError(f'--box {",".join(map(str, box))} (left, top, width, height) leaves {name}, which has '
                         f'{size_text(image)} pixels')


def telling_region(images: Sequence[np.ndarray], size: int, step: int) -> Box:
    """Where several images differ most (variance of their luma), or one has most gradient energy: the first such square.

    Args:
        images: (H, W, 3) uint8 RGB, of one size.
        size: Edge of the square, made smaller where the image is and a multiple of `step` where possible.
        step: Left and top are multiples of it, so that whole LR pixels are shown; and the image's outermost ones, in
            which networks err for want of context, are left out where there is room.
    """
    luma = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in images]
    telling = np.var(luma, axis=0) if len(luma) > 1 else sum(g**2 for g in np.gradient(luma[0]))
    height, width = (max(min(size, n) // step * step, 1) for n in telling.shape)
    sums = cv2.integral(telling)
    tops, lefts = (np.arange(0, n - length + 1, step) for n, length in zip(telling.shape, (height, width)))
    tops, lefts = (starts[1:-1] if len(starts) > 2 else starts for starts in (tops, lefts))
    energy = (sums[np.ix_(tops + height, lefts + width)] - sums[np.ix_(tops, lefts + width)]
              - sums[np.ix_(tops + height, lefts)] + sums[np.ix_(tops, lefts)])
    row, column = np.unravel_index(np.argmax(energy), energy.shape)
    return int(lefts[column]), int(tops[row]), width, height
