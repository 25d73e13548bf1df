"""`basicsr idr`: how well networks' IDRs tell degradations apart, in figures and pictures.

The papers' evidence is t-SNE pictures (LightBSR, Fig. 1 and 5; KDSR, Fig. 6); here each picture has its statistics.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Optional

import numpy as np
from tqdm import tqdm

from ..degradations import Degradation
from ..metrics import idr_statistics as statistics
from . import plots
from .idr_report import Table, write
from .idr_samples import IDROptions, draw, features
from .networks import Method, Sample
from .writing import slug

COLUMNS = {'silhouette': '↑', 'Davies-Bouldin': '↓', 'k-NN': '↑', 'probe': '↑', 'content leakage': '↓',
           'alignment': '↓', 'uniformity': '↓'}
GRID_NOTES = """\
k-NN and probe: accuracy in naming the degradation of images not learnt from. Content leakage: accuracy in naming the
image under degradations not learnt from. Alignment: mean squared distance of unit-length IDRs of one degradation;
uniformity: log of the mean Gaussian potential of all pairs. CKA: likeness to {reference}."""
REGRESSION_NOTES = """\
R2 of a linear regression from the IDR, on images not learnt from; of lambda_1 >= lambda_2, and of theta as sin 2 theta
and cos 2 theta. Distance: Spearman's rank correlation of IDR distance with degradation distance, over all pairs; left
out where JPEG varies, of which that distance knows nothing."""
PIXELS_PER_NOISE_LEVEL = 4 / 25  # in degradation distance; setting 2 draws widths up to 4 pixels and levels up to 25
Features = Mapping[tuple[str, str], np.ndarray]  # (method, feature) -> (N, n)


def run(options: IDROptions, methods: Sequence[Method]) -> str:
    """Analyses methods; writes tables and figures into ./results/<name>.

    Returns:
        The tables as markdown.

    Raises:
        ValueError: no matplotlib.
    """
    draws = plots.load('idr')
    tables = [_analyse_grid(options, methods, name, grid, draws) for name, grid in options.grids.items()]
    tables[-1] = replace(tables[-1], notes=GRID_NOTES.format(reference=options.reference or 'the reference'))
    if options.regression is not None:
        tables.append(_analyse_regression(options, methods, draws))
    return write(options, 'idr', tables, facts(options, methods))


def facts(options: IDROptions, methods: Sequence[Method]) -> dict[str, Any]:
    """What was analysed."""
    return {**options.facts,
            'methods': {m.label: {'network': dict(m.section), 'weights': m.weights} for m in methods},
            'grids': {name: [degradation.section for degradation in grid] for name, grid in options.grids.items()},
            'regression': options.regression.section if options.regression else None,
            'num_regression': options.num_regression, 'seed': options.seed}


def _features(options: IDROptions, methods: Sequence[Method], samples: Sequence[Sample]) -> Features:
    return {(method.label, member): rows for method in tqdm(methods, desc='IDRs', unit='method')
            for member, rows in features(method, samples, options.features).items()}


# ---------------------------------------------------------------------------------------------- grids
def _analyse_grid(options: IDROptions, methods: Sequence[Method], name: str, grid: Sequence[Degradation],
                  draws: ModuleType) -> Table:
    samples = [sample for d in tqdm(grid, desc=name, unit='degradation') for sample in options.degraded(d)]
    num_image = len(samples) // len(grid)
    labels, groups = np.repeat(np.arange(len(grid)), num_image), np.tile(np.arange(num_image), len(grid))
    found = _features(options, methods, samples)
    rows = [(key, grid_statistics(values, labels, groups, found.get((options.reference, key[1]))))
            for key, values in found.items()]
    rows.append((('chance', ''), {'silhouette': 0.0, 'k-NN': 1 / len(grid), 'probe': 1 / len(grid),
                                  'content leakage': 1 / num_image}))
    for member in options.features:
        for method in ('tsne', 'pca'):
            panels = {label: (statistics.project(values, method), row['silhouette'])
                      for ((label, feature), values), (_, row) in zip(found.items(), rows) if feature == member}
            draws.projections(panels, labels, grid, os.path.join(options.folder, slug(method, name, member)))
    columns = COLUMNS | ({'CKA': ''} if options.reference else {})
    return Table(f'{name}: {len(grid)} degradations x {num_image} images', ('method', 'feature'), columns, rows)


def grid_statistics(values: np.ndarray, labels: np.ndarray, images: np.ndarray,
                    reference: Optional[np.ndarray] = None) -> dict[str, float]:
    """The table's figures of features (N, n); `reference` are another method's."""
    figures = {'silhouette': statistics.silhouette(values, labels),
               'Davies-Bouldin': statistics.davies_bouldin(values, labels),
               'k-NN': statistics.knn_accuracy(values, labels, images),
               'probe': statistics.probe_accuracy(values, labels, images),
               'content leakage': statistics.content_leakage(values, labels, images),
               'alignment': statistics.alignment(values, labels), 'uniformity': statistics.uniformity(values)}
    return figures if reference is None else figures | {'CKA': statistics.linear_cka(values, reference)}


# ---------------------------------------------------------------------------------------------- regression
def _analyse_regression(options: IDROptions, methods: Sequence[Method], draws: ModuleType) -> Table:
    drawn = draw(options)
    num_image = len(options.degraded(drawn[0]))
    groups = np.arange(len(drawn)) % num_image
    samples = [options.degraded(d)[i] for i, d in zip(groups, tqdm(drawn, desc='regression', unit='image'))]
    apart = statistics.distances(coordinates(samples))
    goals, rows, pairs = targets(drawn), [], {}
    columns = dict.fromkeys(goals if 'R2 jpeg' in goals else [*goals, 'distance'], '↑')
    for (label, member), values in _features(options, methods, samples).items():
        figures = {name: statistics.regression_r2(values, goal, groups) for name, goal in goals.items()}
        rows.append(((label, member), figures))
        if 'distance' in columns:
            idr_apart = statistics.distances(statistics.standardised(values))
            figures['distance'] = statistics.rank_correlation(apart, idr_apart)
            pairs.setdefault(member, {})[label] = idr_apart, figures['distance']
    for member, panels in pairs.items():
        draws.distances(panels, apart, os.path.join(options.folder, slug('distance', member)))
    rows.append((('chance', ''), dict.fromkeys(columns, 0.0)))
    return Table(f'Regression: {options.regression.label}, {len(drawn)} degradations of {num_image} images',
                 ('method', 'feature'), columns, rows, REGRESSION_NOTES)


def targets(degradations: Sequence[Degradation]) -> dict[str, np.ndarray]:
    """What varies among single degradations: name -> (N,), of theta (N, 2).

    (lambda_1, lambda_2, theta) and (lambda_2, lambda_1, theta + 90) are the same kernel: the one with
    lambda_1 >= lambda_2 is taken.
    """
    columns = {key: np.array([d.section[key] for d in degradations]) for key in degradations[0].section}
    if 'lambda_1' in columns:
        first, second = columns['lambda_1'], columns['lambda_2']
        columns['theta'] = columns['theta'] + 90 * (first < second)
        columns |= {'lambda_1': np.maximum(first, second), 'lambda_2': np.minimum(first, second)}
    varying = {key: values for key, values in columns.items() if np.ptp(values) > 0}
    return {f'R2 {key}': statistics.axes(values) if key == 'theta' else values for key, values in varying.items()}


def coordinates(samples: Sequence[Sample]) -> np.ndarray:
    """(N, 4): points whose Euclidean distance is that of degradations without JPEG compression, in HR pixels.

    Three for the square root S of the blur kernel's covariance (for Gaussians along the same axes that is their
    2-Wasserstein distance; for isotropic ones, sqrt 2 times the difference of sigma), one for the noise.
    """
    radius = samples[0]['kernel'].shape[-1] // 2
    y, x = np.mgrid[-radius:radius + 1, -radius:radius + 1]
    rows = []
    for sample in samples:
        kernel = sample['kernel'].double().numpy()
        covariance = [[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)]  # a kernel's mean is 0
        values, vectors = np.linalg.eigh(covariance)
        root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
        rows.append([root[0, 0], root[1, 1], np.sqrt(2) * root[0, 1], float(sample['noise']) * PIXELS_PER_NOISE_LEVEL])
    return np.array(rows)
