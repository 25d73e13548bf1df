"""For test_distributed.py: trains option files one after another in the processes of torchrun, and records each step.

Of a run of `spoilt.yml`, the second process's first loss is not a number.

    torchrun --nproc_per_node=2 distributed_run.py OUT -- train -opt A.yml --launcher pytorch -- train -opt B.yml ...
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from lightbsr_arch import basicsr_compat, plugin


def recorded(step: Callable, steps: list[dict[str, Any]]) -> Callable:
    """A training step that appends the gradients and what must be the same in all processes."""
    def recorded_step(self: Any, iteration: int) -> None:
        step(self, iteration)
        net = self.get_bare_model(self.net_g)
        average = getattr(self, 'net_g_ema', torch.nn.Module())
        steps.append({'gradients': {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None},
                      'parameters': {n: p.detach().clone() for n, p in net.named_parameters()},
                      'average': {n: p.clone() for n, p in average.named_parameters()},
                      'queue': {n: b.clone() for n, b in net.named_buffers() if 'queue' in n}})

    return recorded_step


def spoil_first_loss() -> None:
    """Of the second process, once."""
    from lightbsr_arch.models.stepping import Stepper
    backward = Stepper.backward

    def spoilt(self: Stepper, losses: dict[str, torch.Tensor], share: float = 1.0) -> None:
        first, Stepper.backward = distributed.get_rank() == 1, backward
        backward(self, {key: value * float('nan') if first else value for key, value in losses.items()}, share)

    Stepper.backward = spoilt


def main(out: str, runs: list[list[str]]) -> None:
    from lightbsr_arch.basicsr_compat import distributed as processes
    from lightbsr_arch.cli.main import main as basicsr
    torch.set_num_threads(1)
    plugin.register()
    start = processes.start_process_group
    from basicsr.models.sr_model import SRModel
    from basicsr.utils import options

    from lightbsr_arch.models.blind_sr_model import BlindSRModel
    options.init_dist = lambda *args, **kwargs: None if distributed.is_initialized() else start(*args, **kwargs)
    runs_steps: list[list[dict[str, Any]]] = []
    for arguments in runs:
        steps: list[dict[str, Any]] = []
        runs_steps.append(steps)
        originals = {model: model.optimize_parameters for model in (SRModel, BlindSRModel)}
        for model, step in originals.items():
            model.optimize_parameters = recorded(step, steps)
        if 'spoilt.yml' in arguments:
            spoil_first_loss()
        status = basicsr(arguments)
        for model, step in originals.items():
            model.optimize_parameters = step
        basicsr_compat.reset_logger()
        if status:
            sys.exit(status)
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.save(runs_steps, f'{out}.{rank}')


if __name__ == '__main__':
    groups = ' '.join(sys.argv[2:]).split('-- ')
    main(sys.argv[1], [group.split() for group in groups if group.strip()])
