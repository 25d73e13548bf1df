from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from basicsr.losses import build_loss
from torch import Tensor, nn

from lightbsr_arch.losses import (ChannelDistillationLoss, ContrastiveLoss, SpatialDistillationLoss,
                                  contrastive_statistics)
from tests import upstream_weights


def unit_vectors(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def contrast(num_image: int, num_patch: int, num_negative: int, length: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    return (unit_vectors(num_image, num_patch, length, seed=1), unit_vectors(num_image, num_patch, length, seed=2),
            unit_vectors(num_negative, length, seed=3).T)


def slow_contrastive_loss(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> float:
    """Equations 1 and 2, image by image and pair by pair."""
    losses = []
    for q, k in zip(query.tolist(), key.tolist()):
        for i in range(len(q)):
            for j in range(len(k)):
                if i == j:
                    continue
                dot = lambda b: math.exp(sum(x * y for x, y in zip(q[i], b)) / temperature)  # noqa: E731, B023
                positive = dot(k[j])
                losses.append(-math.log(positive / (positive + sum(dot(n) for n in queue.T.tolist()))))
    return sum(losses) / len(losses)


# ---------------------------------------------------------------------------------------------- contrastive loss
def test_contrastive_loss_is_the_release_s() -> None:
    golden = upstream_weights.golden('contrastive_loss')
    loss = ContrastiveLoss(golden['temperature'].item())(golden['query'], golden['key'], golden['queue'])
    torch.testing.assert_close(loss, golden['loss'], rtol=1e-5, atol=0)


@pytest.mark.parametrize('num_image, num_patch, num_negative, temperature', [
    (1, 2, 1, 0.07), (3, 2, 5, 0.07), (2, 4, 7, 0.07), (2, 3, 6, 1.0), (1, 8, 3, 0.2)])
def test_contrastive_loss_equals_a_loop(num_image: int, num_patch: int, num_negative: int, temperature: float) -> None:
    vectors = contrast(num_image, num_patch, num_negative)
    assert ContrastiveLoss(temperature)(*vectors).item() == pytest.approx(slow_contrastive_loss(*vectors, temperature))


def test_a_patch_is_no_positive_of_itself() -> None:
    query, key, queue = contrast(1, 2, 3)
    query[:, 1] = 0  # so that query 0 alone pulls at keys
    ContrastiveLoss()(query, key.requires_grad_(), queue).backward()
    assert not key.grad[0, 0].any() and key.grad[0, 1].all()


@pytest.mark.parametrize('num_negative', [1, 64, 8192])
def test_loss_is_log_of_the_candidates_where_all_look_alike(num_negative: int) -> None:
    same = F.normalize(torch.ones(2, 3, 8), dim=-1)
    loss = ContrastiveLoss()(same, same, same[0, :1].T.expand(-1, num_negative))
    assert loss.item() == pytest.approx(math.log(1 + num_negative), rel=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('sign', [1, -1], ids=['aligned', 'opposed'])
def test_gradients_are_finite_for_extreme_similarities(sign: int, dtype: torch.dtype) -> None:
    query = torch.zeros(2, 2, 8, dtype=dtype)
    query[..., 0] = 1
    query.requires_grad_()
    key, queue = sign * query.detach(), -sign * query.detach()[0].T
    loss = ContrastiveLoss(temperature=0.001)(query, key, queue)
    loss.backward()
    expected = 0 if sign == 1 else 2000 + math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-2, abs=1e-3) and query.grad.isfinite().all()


def test_a_step_along_the_gradient_lowers_the_loss() -> None:
    query, key, queue = contrast(2, 3, 5)
    query.requires_grad_()
    ContrastiveLoss()(query, key, queue).backward()
    step = query.detach() - 1e-3 * query.grad
    assert ContrastiveLoss()(step, key, queue) < ContrastiveLoss()(query, key, queue) and (query.grad != 0).all()


# ---------------------------------------------------------------------------------------------- statistics
def test_statistics_are_those_worked_out_by_hand() -> None:
    """Patch 0 of the image finds its positive (0.6 > 0), patch 1 does not (0.6 < 0.8)."""
    query = torch.tensor([[[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]])
    key = torch.tensor([[[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]])
    queue = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).T
    statistics = contrastive_statistics(query, key, queue)
    assert {k: v.item() for k, v in statistics.items()} == pytest.approx(
        {'contrastive_accuracy': 0.5, 'positive_similarity': 0.6, 'negative_similarity': 0.2})


def test_accuracy_counts_the_pairs_of_different_patches_alone() -> None:
    query, key, queue = contrast(4, 3, 6)
    wins = [(q[i] @ k[j] > (q[i] @ queue).max()).item()
            for q, k in zip(query, key) for i in range(3) for j in range(3) if i != j]
    assert contrastive_statistics(query, key, queue)['contrastive_accuracy'].item() == pytest.approx(sum(wins) / 24)


def test_statistics_carry_no_gradient() -> None:
    query, key, queue = contrast(2, 2, 3)
    assert not any(v.requires_grad for v in contrastive_statistics(query.requires_grad_(), key, queue).values())


# ---------------------------------------------------------------------------------------------- distillation
@pytest.mark.parametrize('kind', ['channel', 'spatial'])
def test_distillation_losses_are_the_release_s(kind: str) -> None:
    golden = upstream_weights.golden('lightbsr_distillation_loss')
    loss = {'channel': ChannelDistillationLoss, 'spatial': SpatialDistillationLoss}[kind]()
    torch.testing.assert_close(loss(golden[f'student_{kind}'], golden[f'teacher_{kind}']), golden[f'{kind}_loss'],
                               rtol=1e-5, atol=0)


@pytest.mark.parametrize('temperature, l1_weight', [(0.15, 0.1), (1.0, 0.0), (0.5, 2.0)])
def test_channel_loss_equals_its_formula(temperature: float, l1_weight: float) -> None:
    student, teacher = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    divergence = 0.0
    for s, t in zip(student.tolist(), teacher.tolist()):
        p, q = ([math.exp(v / temperature) for v in row] for row in (t, s))
        divergence += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q))
    expected = divergence / 3 + l1_weight * (student - teacher).abs().sum().item() / 12
    assert ChannelDistillationLoss(temperature, l1_weight)(student, teacher).item() == pytest.approx(expected)


def test_spatial_loss_is_the_mean_square() -> None:
    student, teacher = torch.zeros(2, 8, 3, 3), torch.zeros(2, 8, 3, 3)
    student[0, 0, 0, 0] = 12.0
    assert SpatialDistillationLoss()(student, teacher).item() == 1.0


@pytest.mark.parametrize('loss', [ChannelDistillationLoss(), SpatialDistillationLoss()], ids=['channel', 'spatial'])
def test_equal_representations_cost_nothing(loss: nn.Module) -> None:
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    assert loss(x, x).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize('scale', [1e3, 1e5])
def test_channel_gradients_are_finite_for_far_apart_representations(scale: float) -> None:
    student = (scale * torch.eye(3)).requires_grad_()
    loss = ChannelDistillationLoss()(student, -scale * torch.eye(3))
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all() and student.grad.any()


# ---------------------------------------------------------------------------------------------- in option files
@pytest.mark.parametrize('section, arguments', [
    ({'type': 'ContrastiveLoss', 'temperature': 0.1}, contrast(2, 2, 3)),
    ({'type': 'ChannelDistillationLoss', 'l1_weight': 0.3}, contrast(2, 2, 3)[:2]),
    ({'type': 'SpatialDistillationLoss'}, contrast(2, 2, 3)[:2])], ids=lambda v: v['type'] if isinstance(v, dict) else '')
def test_losses_are_built_by_basicsr_and_weighed(section: dict[str, Any], arguments: tuple[Tensor, ...]) -> None:
    plain, weighed = (build_loss(section | {'loss_weight': weight})(*arguments) for weight in (1.0, 2.5))
    torch.testing.assert_close(weighed, 2.5 * plain)
