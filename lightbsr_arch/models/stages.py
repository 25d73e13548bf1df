"""From an iteration to what trains and at which learning rate: pure functions of the option file's `train.stages`."""
from __future__ import annotations

import math
from typing import Any, Sequence

from ..config import Stage, build


def parse_stages(sections: Any) -> tuple[Stage, ...]:
    """The entries of `train.stages`, in order.

    Raises:
        ValueError: no list, or a wrong entry.
    """
    if not isinstance(sections, (list, tuple)) or not sections:
        raise ValueError('train.stages must be a list of stages, each with trains, iterations and lr')
    return tuple(build(Stage, section, f'train.stages[{i}]') for i, section in enumerate(sections))


def complete_total_iter(opt: dict[str, Any]) -> None:
    """Sets `train.total_iter` to the stages' sum, in place.

    Raises:
        ValueError: the option file says another number.
    """
    train = opt.get('train') or {}
    if not opt['is_train'] or 'stages' not in train:
        return
    total = sum(stage.iterations for stage in parse_stages(train['stages']))
    if train.setdefault('total_iter', total) != total:
        raise ValueError(f'train.total_iter is {train["total_iter"]}, but the stages add up to {total}: leave '
                         'total_iter out')


def locate(stages: Sequence[Stage], iteration: int) -> tuple[Stage, int]:
    """The stage of an iteration, both counted from 1, and the iteration within it; the last stage has no end."""
    for stage in stages[:-1]:
        if iteration <= stage.iterations:
            return stage, iteration
        iteration -= stage.iterations
    return stages[-1], iteration


def learning_rate(stages: Sequence[Stage], iteration: int) -> float:
    """Linear warm-up, then a constant rate, a cosine to `lr_min`, or steps (LightBSR Section 4.1)."""
    stage, iteration = locate(stages, iteration)
    if iteration <= stage.warmup:
        return stage.lr * iteration / stage.warmup
    if stage.lr_min is None:
        return stage.lr * stage.gamma**sum(iteration > milestone for milestone in stage.milestones)
    progress = min(1.0, (iteration - stage.warmup) / max(1, stage.iterations - stage.warmup))
    return stage.lr_min + 0.5 * (stage.lr - stage.lr_min) * (1 + math.cos(math.pi * progress))
