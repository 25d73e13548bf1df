"""For test_distributed.py: trains option files one after another in the processes of torchrun, and records each step, and the
buffers that are validated after the last one.

Of a run of `spoilt.yml`, the second process finds its first loss not a number, and no gradient. Who waits two minutes for the
other process, as where one of them alone takes a step, fails.

    torchrun --nproc_per_node=2 distributed_run.py OUT -- train -opt A.yml --launcher pytorch -- train -opt B.yml ...
"""
from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from lightbsr_arch import basicsr_compat, plugin

Runs = list[list[dict[str, Any]]]


def buffers(model: Any) -> dict[str, torch.Tensor]:
    """Of the network and of its average, where there is one."""
    nets = [model.get_bare_model(model.net_g), getattr(model, 'net_g_ema', torch.nn.Module())]
    return {name: buffer.clone() for name, buffer in torch.nn.ModuleList(nets).named_buffers()}


def recorded(step: Callable, runs: Runs) -> Callable:
    """A training step that appends to the last run the gradients, what must be the same in all processes, and the buffers."""
    def recorded_step(self: Any, iteration: int) -> None:
        step(self, iteration)
        net = self.get_bare_model(self.net_g)
        average = getattr(self, 'net_g_ema', torch.nn.Module())
        runs[-1].append({'gradients': {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None},
                         'parameters': {n: p.detach().clone() for n, p in net.named_parameters()},
                         'average': {n: p.clone() for n, p in average.named_parameters()},
                         'queue': {n: b.clone() for n, b in net.named_buffers() if 'queue' in n},
                         'buffers': buffers(self)})

    return recorded_step


def validated(finish: Callable, runs: Runs) -> Callable:
    """The end of a validation, which adds the buffers to the last step of the run; a test has no step."""
    def recorded_finish(self: Any, *arguments: Any) -> None:
        finish(self, *arguments)
        for step in runs[-1][-1:]:
            step['validated'] = buffers(self)

    return recorded_finish


def spoil_first_loss() -> None:
    """Of the second process, once, after the backward pass, which would tell the other one by its gradients."""
    from lightbsr_arch.models.stepping import Stepper
    step = Stepper.step

    def spoilt(self: Stepper, optimizer: torch.optim.Optimizer, losses: dict[str, torch.Tensor]) -> None:
        Stepper.step = step
        factor = float('nan') if distributed.get_rank() == 1 else 1
        step(self, optimizer, {key: value * factor for key, value in losses.items()})

    Stepper.step = spoilt


def main(out: str, runs: list[list[str]]) -> None:
    from lightbsr_arch.basicsr_compat import distributed as processes, validation
    from lightbsr_arch.cli.main import main as basicsr
    torch.set_num_threads(1)
    plugin.register()
    start = processes.start_process_group
    distributed.init_process_group = functools.partial(distributed.init_process_group, timeout=timedelta(minutes=2))
    from basicsr.models.sr_model import SRModel
    from basicsr.utils import options

    from lightbsr_arch.models.blind_sr_model import BlindSRModel
    options.init_dist = lambda *args, **kwargs: None if distributed.is_initialized() else start(*args, **kwargs)
    runs_steps: Runs = []
    for model in (SRModel, BlindSRModel):
        model.optimize_parameters = recorded(model.optimize_parameters, runs_steps)
    validation.finish = validated(validation.finish, runs_steps)
    for arguments in runs:
        runs_steps.append([])
        if 'spoilt.yml' in arguments:
            spoil_first_loss()
        status = basicsr(arguments)
        basicsr_compat.reset_logger()
        if status:
            sys.exit(status)
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.save(runs_steps, f'{out}.{rank}')


if __name__ == '__main__':
    groups = ' '.join(sys.argv[2:]).split('-- ')
    main(sys.argv[1], [group.split() for group in groups if group.strip()])
