"""How well degradation representations (IDRs) tell degradations apart, and what else is in them: numpy in, numbers out.

Features are (N, n), one row an image under a degradation; labels (N,) name the degradation, images (N,) the image.
Where it says "standardised", each feature is brought to mean 0 and variance 1 first, so that its unit does not matter;
a classifier or regression takes mean and variance from the rows that it learns from.
"""
from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.manifold import TSNE
from sklearn.metrics import davies_bouldin_score, silhouette_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NUM_FOLD = 5
NUM_NEIGHBOUR = 5
RIDGE_STRENGTHS = 10.0**np.arange(-3, 5, 2)


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
    """Rousseeuw 1987: how much nearer a row is to its own class than to the next one. -1 to 1, higher is better.

    Standardised.

    Raises:
        ValueError: fewer than two classes, or no class of two rows.
    """
    _check_classes(labels)
    return float(silhouette_score(standardised(features), labels))


def davies_bouldin(features: np.ndarray, labels: np.ndarray) -> float:
    """Davies and Bouldin 1979: spread of classes against the distance of their centres. From 0, lower is better.

    Standardised. Infinite where two classes have one centre, for which scikit-learn counts nothing.
    """
    _check_classes(labels)
    values = standardised(features)
    centres = np.stack([values[labels == label].mean(0) for label in np.unique(labels)])
    return np.inf if np.isclose(pdist(centres), 0).any() else float(davies_bouldin_score(values, labels))


def knn_accuracy(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> float:
    """Accuracy of the five nearest rows of other images in naming the degradation. 0 to 1, higher is better.

    Standardised; cross-validated over images, so that recognising the image is of no help.
    """
    num_learnt = len(np.unique(images)) * (_num_fold(images) - 1) // _num_fold(images)  # images, so rows of a class
    return _accuracy(KNeighborsClassifier(min(NUM_NEIGHBOUR, num_learnt)), features, labels, images)


def probe_accuracy(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> float:
    """Accuracy of a linear probe (Alain and Bengio 2017; logistic regression) in naming the degradation.

    0 to 1, higher is better; chance is one over the number of classes. Standardised; cross-validated over images.
    """
    return _accuracy(LogisticRegression(max_iter=1000), features, labels, images)


def content_leakage(features: np.ndarray, labels: np.ndarray, images: np.ndarray) -> float:
    """Accuracy of a linear probe in naming the image under degradations from which it has not learnt.

    0 to 1, lower is better; chance is one over the number of images. The mean of each degradation is subtracted first,
    so that what distinguishes degradations does not hide what distinguishes images. Standardised.
    """
    centred = features.astype(np.float64)
    for label in np.unique(labels):
        centred[labels == label] -= centred[labels == label].mean(0)
    return _accuracy(LogisticRegression(max_iter=1000), centred, images, labels)


def regression_r2(features: np.ndarray, targets: np.ndarray, images: np.ndarray) -> float:
    """R2 of a linear (ridge) regression to targets (N,) or (N, k). At most 1, higher is better; 0 for a constant guess.

    Standardised; cross-validated over images, of which three are the least, as is the ridge's strength among the images
    that are learnt from. The errors of k targets are added up, as are their variances.
    """
    targets = targets.reshape(len(targets), -1).astype(np.float64)
    guess = np.empty_like(targets)
    for learnt, tested in GroupKFold(_num_fold(images)).split(features, groups=images):
        folds = list(GroupKFold(_num_fold(images[learnt])).split(features[learnt], groups=images[learnt]))
        model = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {'ridge__alpha': RIDGE_STRENGTHS}, cv=folds,
                             scoring='neg_mean_squared_error')
        model.fit(features[learnt], targets[learnt])
        guess[tested] = model.predict(features[tested]).reshape(-1, targets.shape[1])
    return float(1 - ((targets - guess)**2).sum() / ((targets - targets.mean(0))**2).sum())


def axes(theta: np.ndarray) -> np.ndarray:
    """(N, 2): sin 2 theta and cos 2 theta of angles in degrees, as a kernel at 180 degrees is the one at 0."""
    return np.stack([np.sin(np.radians(2 * theta)), np.cos(np.radians(2 * theta))], 1)


def alignment(features: np.ndarray, labels: np.ndarray) -> float:
    """Wang and Isola 2020 (alpha 2): mean squared distance of two images under one degradation.

    0 to 4, lower is better. Of features scaled to unit length, not standardised: read it beside `uniformity`, as a
    constant IDR has 0.
    """
    unit = unit_length(features)
    distances = [pdist(unit[labels == label], 'sqeuclidean') for label in np.unique(labels)]
    return float(np.concatenate(distances).mean())


def uniformity(features: np.ndarray) -> float:
    """Wang and Isola 2020 (t 2): log of the mean of exp(-2 d^2) over all pairs. -8 to 0, lower (spread out) is better.

    Of features scaled to unit length, not standardised.
    """
    return float(np.log(np.exp(-2 * pdist(unit_length(features), 'sqeuclidean')).mean()))


def linear_cka(features: np.ndarray, others: np.ndarray) -> float:
    """Kornblith et al. 2019: likeness of two networks' features (N, n) and (N, m) of the same rows. 0 to 1.

    1 for features that are equal but for a rotation and a factor; centred, not standardised.
    """
    x, y = (values - values.mean(0) for values in (features.astype(np.float64), others.astype(np.float64)))
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y)**2 / scale) if scale else 0.0


def distances(values: np.ndarray) -> np.ndarray:
    """Euclidean distances of all pairs of rows, in one order for all inputs."""
    return pdist(values)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, of two lists of distances: do alike degradations have alike IDRs? -1 to 1, higher is better.

    0 where all distances of a list are equal.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def standardised(features: np.ndarray) -> np.ndarray:
    """Each column with mean 0 and variance 1; a constant one becomes 0."""
    return StandardScaler().fit_transform(features.astype(np.float64))


def unit_length(features: np.ndarray) -> np.ndarray:
    values = features.astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12)


def project(features: np.ndarray, method: Literal['pca', 'tsne']) -> np.ndarray:
    """(N, 2): the two leading principal components, or t-SNE (van der Maaten and Hinton 2008), seeded. Standardised.

    Zeros where all rows are equal: t-SNE would divide by their spread, and its tree never end.
    """
    values = standardised(features)
    if not np.ptp(values, 0).any():
        return np.zeros((len(values), 2))
    if method == 'pca':
        return PCA(2, random_state=0).fit_transform(values)
    return TSNE(2, init='pca', perplexity=min(30, (len(values) - 1) / 3), random_state=0).fit_transform(values)


def _accuracy(classifier: BaseEstimator, features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """Of predictions for rows whose group the classifier has not seen."""
    _check_classes(labels)
    model = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)  # a probe that is nearly done is a probe
        guess = cross_val_predict(model, features, labels, groups=groups, cv=GroupKFold(_num_fold(groups)))
    return float((guess == labels).mean())


def _num_fold(groups: np.ndarray) -> int:
    num_group = len(np.unique(groups))
    if num_group < 2:
        raise ValueError('the statistics are cross-validated: two images and two degradations are the least')
    return min(NUM_FOLD, num_group)


def _check_classes(labels: np.ndarray) -> None:
    num_class = len(np.unique(labels))
    if not 2 <= num_class < len(labels):
        raise ValueError(f'{num_class} classes among {len(labels)} rows cannot be told apart: two classes and two rows '
                         'in one are the least')
