from __future__ import annotations

import math
from typing import Any

import pytest

from lightbsr_arch.config import Stage
from lightbsr_arch.models.stages import complete_total_iter, learning_rate, locate, parse_stages

WARM = Stage('idr', 100, 2e-4)
COSINE = Stage('all', 200, 2e-4, warmup=10, lr_min=1e-6)
STEPS = Stage('all', 50, 1e-3, milestones=(10, 30), gamma=0.1)


@pytest.mark.parametrize('iteration, stage, within', [
    (1, 0, 1), (100, 0, 100), (101, 1, 1), (300, 1, 200), (301, 2, 1), (350, 2, 50), (351, 2, 51), (1000, 2, 700)])
def test_stages_follow_one_another(iteration: int, stage: int, within: int) -> None:
    stages = (WARM, COSINE, STEPS)
    found, count = locate(stages, iteration)
    assert found is stages[stage] and count == within


@pytest.mark.parametrize('stages, iteration, expected', [
    ((WARM,), 1, 2e-4), ((WARM,), 100, 2e-4), ((WARM,), 101, 2e-4),
    ((COSINE,), 1, 2e-5), ((COSINE,), 5, 1e-4), ((COSINE,), 10, 2e-4),
    ((COSINE,), 105, 1.005e-4), ((COSINE,), 200, 1e-6), ((COSINE,), 201, 1e-6), ((COSINE,), 5000, 1e-6),
    ((COSINE,), 11, 1e-6 + 0.5 * 1.99e-4 * (1 + math.cos(math.pi / 190))),
    ((STEPS,), 10, 1e-3), ((STEPS,), 11, 1e-4), ((STEPS,), 30, 1e-4), ((STEPS,), 31, 1e-5), ((STEPS,), 50, 1e-5),
    ((WARM, COSINE), 100, 2e-4), ((WARM, COSINE), 101, 2e-5), ((WARM, COSINE), 110, 2e-4), ((WARM, COSINE), 300, 1e-6),
    ((COSINE, STEPS), 200, 1e-6), ((COSINE, STEPS), 201, 1e-3), ((COSINE, STEPS), 211, 1e-4),
    ((Stage('all', 4, 8e-4, lr_min=0.0),), 1, 4e-4 * (1 + math.sqrt(0.5))), ((Stage('all', 4, 8e-4, lr_min=0.0),), 2, 4e-4),
    ((Stage('all', 4, 8e-4, lr_min=0.0),), 4, 0), ((Stage('all', 1, 8e-4, lr_min=1e-4),), 1, 1e-4),
    ((Stage('all', 4, 8e-4, warmup=4, lr_min=1e-4),), 4, 8e-4), ((Stage('all', 20, 8e-4, warmup=4, milestones=(2, 10)),), 4, 8e-4),
    ((Stage('all', 20, 8e-4, warmup=4, milestones=(10,)),), 11, 4e-4)])
def test_learning_rate_is_the_one_worked_out_by_hand(stages: tuple[Stage, ...], iteration: int, expected: float) -> None:
    assert learning_rate(stages, iteration) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_papers_schedule() -> None:
    stages = parse_stages([{'trains': 'idr', 'iterations': 97000, 'lr': 2e-4},
                           {'trains': 'all', 'iterations': 582000, 'lr': 2e-4, 'warmup': 4850, 'lr_min': 1e-6}])
    rates = [learning_rate(stages, i) for i in (1, 97000, 97001, 97000 + 4850, 679000)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-4 / 4850, 2e-4, 1e-6])


def test_cosine_never_rises_after_the_warm_up() -> None:
    rates = [learning_rate((COSINE,), i) for i in range(1, 201)]
    assert all(a < b for a, b in zip(rates[:9], rates[1:10])) and all(a > b for a, b in zip(rates[9:], rates[10:]))


@pytest.mark.parametrize('sections, message', [
    (None, 'must be a list'), ([], 'must be a list'), ({'trains': 'all'}, 'must be a list'), ('all', 'must be a list'),
    (['all'], r'train.stages\[0\] must be a section'),
    ([{'trains': 'all', 'iterations': 1}], r"train.stages\[0\]: 'lr' is missing"),
    ([{'trains': 'all', 'iterations': 1, 'lr': 1e-4}, {'trains': 'both', 'iterations': 1, 'lr': 1e-4}],
     r"train.stages\[1\]: trains must be 'idr' or 'all', got 'both'"),
    ([{'trains': 'all', 'iterations': 1, 'lr': 1e-4, 'warm_up': 3}], "unknown key 'warm_up'; did you mean 'warmup'"),
    *(([{'trains': 'all', 'iterations': 10, 'lr': 1e-4} | {key: value}], key) for key, value in (
        ('iterations', 0), ('iterations', -5), ('iterations', 1.5), ('iterations', '10'), ('warmup', -1), ('warmup', 0.5),
        ('lr', 0), ('lr', -1e-4), ('lr', '2e-4'), ('lr', None), ('gamma', '0.5'))),
    ([{'trains': 'all', 'iterations': 10, 'lr': 1e-4, 'lr_min': 1e-6, 'milestones': [5]}], 'exclude each other')], ids=str)
def test_wrong_stages_are_refused(sections: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_stages(sections)


def options(**train: Any) -> dict[str, Any]:
    return {'is_train': True, 'train': train}


TWO = [{'trains': 'idr', 'iterations': 3, 'lr': 1e-4}, {'trains': 'all', 'iterations': 4, 'lr': 1e-4}]


@pytest.mark.parametrize('train', [{'stages': TWO}, {'stages': TWO, 'total_iter': 7}], ids=['left out', 'given'])
def test_length_of_the_run_is_that_of_the_stages(train: dict[str, Any]) -> None:
    opt = options(**train)
    complete_total_iter(opt)
    assert opt['train']['total_iter'] == 7


def test_another_length_is_a_conflict() -> None:
    with pytest.raises(ValueError, match='total_iter is 8, but the stages add up to 7'):
        complete_total_iter(options(stages=TWO, total_iter=8))


@pytest.mark.parametrize('opt', [
    options(total_iter=5), {'is_train': False}, {'is_train': False, 'train': {'stages': TWO}}, {'is_train': True}], ids=str)
def test_other_option_files_are_left_alone(opt: dict[str, Any]) -> None:
    before = dict(opt.get('train', {}))
    complete_total_iter(opt)
    assert opt.get('train', {}) == before
