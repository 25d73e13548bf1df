"""During training: does the representation tell the validation sets' degradations apart? (`val.idr_statistics`)"""
from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from ..basicsr_compat import gather_objects
from ..degradations import parse_degradation

T = TypeVar('T')


class IDRValidation:
    """Collects IDRs over the validation sets; their degradations are the classes, their images the groups.

    Of several processes, each adds those of every n-th image.

    Raises:
        ValueError: fewer than two degradations.
    """

    def __init__(self, datasets: Mapping[str, Mapping[str, Any]], scale: int) -> None:
        sections = [s for s in datasets.values() if s['phase'] == 'val' and 'degradation' in s]
        self.labels = {s['name']: parse_degradation(s['degradation'], scale).label for s in sections}
        if len(set(self.labels.values())) < 2:
            raise ValueError('val.idr_statistics tells degradations apart: give datasets.val two of them or more')
        self.rows: dict[str, list[tuple[np.ndarray, str, str]]] = {}

    def check(self, datasets: Sequence[Any]) -> None:
        """Raises a ValueError where the data sets hold fewer than two images, which the probe cannot be fitted on."""
        images = {dataset.path(name) for dataset in datasets if dataset.opt['name'] in self.labels for name in dataset.names}
        if len(images) < 2:
            raise ValueError('val.idr_statistics learns from some images and is tested on others: give datasets.val two '
                             'images or more, or set it to false')

    def begin(self, dataset: str) -> None:
        """Says which data set the next images are of."""
        self.dataset, self.rows[dataset] = dataset, []

    def add(self, image: str, features: Tensor) -> None:
        """Takes the IDR (1, n) of an image."""
        self.rows[self.dataset].append((features[0].float().cpu().numpy(), self.labels.get(self.dataset, ''), image))

    def finish(self) -> dict[str, float]:
        """The figures, once all data sets are through; nothing before."""
        if not self.labels.keys() <= self.rows.keys():
            return {}
        from ..metrics import idr_statistics  # here, as scikit-learn takes a second to import
        rows = [row for dataset in self.labels for row in in_turn(gather_objects(self.rows[dataset]))]
        features, labels, images = (np.array(column) for column in zip(*rows))
        self.rows = {}
        return {'silhouette': idr_statistics.silhouette(features, labels),
                'probe_accuracy': idr_statistics.probe_accuracy(features, labels, images)}


def in_turn(parts: list[list[T]]) -> list[T]:
    """The first of each part, the second of each, and so on: what was dealt out, in its order."""
    return [row for rows in itertools.zip_longest(*parts) for row in rows if row is not None]
