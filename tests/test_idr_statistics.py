"""Every statistic of IDRs on data whose answer is known."""
from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from lightbsr_arch.degradations import Degradation
from lightbsr_arch.evaluation import idr_analysis
from lightbsr_arch.metrics import idr_statistics as statistics

NUM_CLASS, NUM_IMAGE, NUM_FEATURE = 4, 20, 8
LABELS = np.repeat(np.arange(NUM_CLASS), NUM_IMAGE)
IMAGES = np.tile(np.arange(NUM_IMAGE), NUM_CLASS)


def noise(seed: int = 0, num_feature: int = NUM_FEATURE, num_row: int = len(LABELS)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_row, num_feature))


def clusters(groups: np.ndarray, spread: float = 0.01) -> np.ndarray:
    """Rows that are their group's random centre, and a little noise."""
    return noise(1, num_row=groups.max() + 1)[groups] + spread * noise(2, num_row=len(groups))


SHUFFLED = np.random.default_rng(3).permutation(LABELS)


# ---------------------------------------------------------------------------------------------- classes
def test_separated_degradations_get_the_best_figures() -> None:
    values = clusters(LABELS)
    assert statistics.silhouette(values, LABELS) > 0.97
    assert statistics.davies_bouldin(values, LABELS) < 0.05
    assert statistics.knn_accuracy(values, LABELS, IMAGES) == statistics.probe_accuracy(values, LABELS, IMAGES) == 1
    assert statistics.alignment(values, LABELS) < 1e-3


def test_shuffled_labels_get_chance() -> None:
    values = clusters(LABELS)
    assert abs(statistics.silhouette(values, SHUFFLED)) < 0.15
    assert statistics.davies_bouldin(values, SHUFFLED) > 2
    assert statistics.knn_accuracy(values, SHUFFLED, IMAGES) < 0.4
    assert statistics.probe_accuracy(values, SHUFFLED, IMAGES) < 0.4


def test_silhouette_and_davies_bouldin_by_hand() -> None:
    values, labels = np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    assert statistics.silhouette(values, labels) == pytest.approx((9 / 11 + 7 / 9) / 2)  # 1 - 2 / 11 and 1 - 2 / 9
    assert statistics.davies_bouldin(values, labels) == pytest.approx(0.2)  # spreads 1 and 1, centres 10 apart


@pytest.mark.parametrize('values', [
    np.full((len(LABELS), 3), 0.1), clusters(IMAGES, 0), clusters(LABELS // 2, 0), clusters(LABELS // 2, 0) + IMAGES[:, None]],
    ids=['all rows equal', 'the image alone', 'two pairs of equal rows', 'two pairs of equal centres'])
def test_degradations_with_one_centre_are_the_worst_for_davies_bouldin(values: np.ndarray) -> None:
    assert statistics.davies_bouldin(values, LABELS) == math.inf


def test_the_unit_of_a_feature_does_not_matter() -> None:
    values, scale = clusters(LABELS, 0.5), np.logspace(-3, 3, NUM_FEATURE)
    for figure in (statistics.silhouette, statistics.davies_bouldin):
        assert figure(values * scale + 7, LABELS) == pytest.approx(figure(values, LABELS))
    for accuracy in (statistics.knn_accuracy, statistics.probe_accuracy, statistics.content_leakage):
        assert accuracy(values * scale + 7, LABELS, IMAGES) == pytest.approx(accuracy(values, LABELS, IMAGES), abs=0.03)


# ---------------------------------------------------------------------------------------------- content
def test_features_that_are_the_image_leak_it_and_say_nothing_of_the_degradation() -> None:
    values = clusters(IMAGES)
    assert statistics.content_leakage(values, LABELS, IMAGES) == 1
    assert statistics.probe_accuracy(values, LABELS, IMAGES) < 0.4
    assert statistics.knn_accuracy(values, LABELS, IMAGES) < 0.4


def test_features_that_are_the_degradation_leak_no_image() -> None:
    assert statistics.content_leakage(clusters(LABELS), LABELS, IMAGES) < 3 / NUM_IMAGE


def test_leakage_shows_through_a_degradation_that_outweighs_it() -> None:
    assert statistics.content_leakage(100 * clusters(LABELS, 0) + clusters(IMAGES), LABELS, IMAGES) == 1


def test_recognising_images_does_not_help_to_name_the_degradation() -> None:
    """Each row alone has its place, next to rows of its image: learning by heart fails on images not seen."""
    values = clusters(IMAGES, 0) + 1e-3 * noise(5)[IMAGES * NUM_CLASS + LABELS]
    assert statistics.knn_accuracy(values, LABELS, IMAGES) < 0.45


# ---------------------------------------------------------------------------------------------- regression
def test_linear_targets_are_found_and_noise_is_not() -> None:
    values = noise()
    assert statistics.regression_r2(values, values @ np.arange(8.0), IMAGES) == pytest.approx(1, abs=1e-4)
    assert statistics.regression_r2(values, values[:, :2] * [1, 9], IMAGES) == pytest.approx(1, abs=1e-4)
    assert statistics.regression_r2(values, noise(4)[:, 0], IMAGES) <= 0.02


def test_r2_of_half_the_variance() -> None:
    values, other = noise(num_row=4000), noise(4, num_row=4000)
    target = values[:, 0] + other[:, 0]
    assert statistics.regression_r2(values, target, np.arange(4000) % 20) == pytest.approx(0.5, abs=0.05)


def test_angles_wrap_at_180_degrees() -> None:
    np.testing.assert_allclose(statistics.axes(np.array([0.0, 180.0, 360.0])), [[0, 1]] * 3, atol=1e-12)
    np.testing.assert_allclose(statistics.axes(np.array([45.0, 135.0])), [[1, 0], [-1, 0]], atol=1e-12)
    theta = np.random.default_rng(0).uniform(0, 180, 200)
    values = np.stack([np.cos(np.radians(2 * theta + 1)), np.sin(np.radians(2 * theta + 1))], 1)  # seamless at 0 = 180
    images = np.arange(200) % 10
    assert statistics.regression_r2(values, statistics.axes(theta), images) == pytest.approx(1, abs=1e-4)
    assert statistics.regression_r2(values, theta, images) < 0.8


def test_a_kernel_has_one_description() -> None:
    pairs = [Degradation(theta=20, lambda_1=3, lambda_2=1, noise=5),
             Degradation(theta=110, lambda_1=1, lambda_2=3, noise=6),
             Degradation(theta=50, lambda_1=2, lambda_2=0.5, noise=7)]
    found = idr_analysis.targets(pairs)
    assert list(found) == ['R2 lambda_1', 'R2 lambda_2', 'R2 theta', 'R2 noise']
    assert found['R2 lambda_1'].tolist() == [3, 3, 2] and found['R2 lambda_2'].tolist() == [1, 1, 0.5]
    np.testing.assert_allclose(found['R2 theta'][0], found['R2 theta'][1])
    pairs = [Degradation(sigma=1.0, noise=5), Degradation(sigma=2.0, noise=5)]
    assert list(idr_analysis.targets(pairs)) == ['R2 sigma']


# ---------------------------------------------------------------------------------------------- geometry
def test_alignment_and_uniformity_by_hand() -> None:
    """Unit vectors at right angles are sqrt 2 apart."""
    values = np.array([[2.0, 0.0], [0.0, 5.0]])
    assert statistics.alignment(values, np.array([0, 0])) == pytest.approx(2)
    assert statistics.uniformity(values) == pytest.approx(-4)
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert statistics.alignment(opposite, np.array([0, 0])) == pytest.approx(4)
    assert statistics.uniformity(opposite) == pytest.approx(-8)
    assert statistics.uniformity(np.ones((5, 3))) == pytest.approx(0)


def test_alignment_counts_pairs_of_one_degradation_alone() -> None:
    values = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert statistics.alignment(values, np.array([0, 0, 1, 1])) == 0
    assert statistics.alignment(values, np.array([0, 1, 0, 1])) == pytest.approx(2)


def test_cka_of_equal_turned_and_unrelated_features() -> None:
    values = noise()
    rotation = special_ortho_group.rvs(NUM_FEATURE, random_state=0)
    assert statistics.linear_cka(values, values) == pytest.approx(1)
    assert statistics.linear_cka(values, 3 * values @ rotation + 5) == pytest.approx(1)
    many = noise(num_row=2000)
    assert statistics.linear_cka(many, noise(9, 30, 2000)) < 0.05
    assert statistics.linear_cka(many, np.ones((2000, 3))) == 0


def test_cka_by_hand() -> None:
    """Of two columns of equal norm at right angles, one is shared: |y'x|^2 / (|x'x| |y'y|) = 1 / sqrt 2."""
    one = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    both = np.concatenate([one, [[1.0], [1.0], [-1.0], [-1.0]]], 1)
    assert statistics.linear_cka(one, both) == pytest.approx(1 / math.sqrt(2))


@pytest.mark.parametrize('values, expected', [
    (np.arange(6.0)**3, 1), (-np.exp(np.arange(6.0)), -1), (np.ones(6), 0)])
def test_rank_correlation(values: np.ndarray, expected: float) -> None:
    assert statistics.rank_correlation(np.arange(6.0), values) == pytest.approx(expected)


def test_degradation_distance() -> None:
    degradations = [Degradation(sigma=1.0), Degradation(sigma=2.0), Degradation(sigma=2.0, noise=25),
                    Degradation(theta=0, lambda_1=2.0, lambda_2=1.0),
                    Degradation(theta=180, lambda_1=2.0, lambda_2=1.0),
                    Degradation(theta=90, lambda_1=2.0, lambda_2=1.0)]
    rng = np.random.default_rng(0)
    samples = [{'kernel': d.sample_kernels(rng, 1)[0], 'noise': d.noise} for d in degradations]
    points = idr_analysis.coordinates(samples)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert apart[0, 1] == pytest.approx(math.sqrt(2), abs=1e-3) and apart[1, 2] == pytest.approx(4)
    assert apart[0, 3] == pytest.approx(1, abs=1e-3) and apart[3, 4] == pytest.approx(0, abs=1e-6)
    assert apart[3, 5] == pytest.approx(math.sqrt(2), abs=1e-3)


@pytest.mark.parametrize('method', ['pca', 'tsne'])
def test_projections_keep_clusters_and_repeat(method: str) -> None:
    values = clusters(LABELS)
    points = statistics.project(values, method)
    assert points.shape == (len(LABELS), 2) and statistics.silhouette(points, LABELS) > 0.6
    np.testing.assert_array_equal(points, statistics.project(values, method))


@pytest.mark.parametrize('method', ['pca', 'tsne'])
def test_equal_rows_are_projected_to_one_point(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('PCA', 'TSNE'):
        monkeypatch.setattr(statistics, name, None)  # TSNE would take all memory
    np.testing.assert_array_equal(statistics.project(np.full((len(LABELS), 3), 0.1), method), np.zeros((len(LABELS), 2)))


# ---------------------------------------------------------------------------------------------- too little data
def test_the_least_data_and_less() -> None:
    values, labels, images = np.array([[0.0], [1.0], [0.1], [1.1]]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    assert statistics.knn_accuracy(values, labels, images) == statistics.probe_accuracy(values, labels, images) == 1
    with pytest.raises(ValueError, match='two images'):
        statistics.probe_accuracy(values, labels, np.zeros(4))
    with pytest.raises(ValueError, match='1 classes among 4 rows'):
        statistics.silhouette(values, np.zeros(4))
