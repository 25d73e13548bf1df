"""For test_distributed.py: trains option files one after another in the processes of torchrun, and records each step.

    torchrun --nproc_per_node=2 distributed_run.py OUT -- train -opt A.yml --launcher pytorch -- train -opt B.yml ...
"""
from __future__ import annotations

import sys
from typing import Any

import torch
from torch import distributed

from lightbsr_arch import basicsr_compat, plugin


def record(steps: list[dict[str, Any]]) -> None:
    """Lets each training step append the gradients and what must be the same in all processes."""
    from lightbsr_arch.models.blind_sr_model import BlindSRModel
    step = BlindSRModel.optimize_parameters

    def recorded_step(self: BlindSRModel, iteration: int) -> None:
        step(self, iteration)
        net = self.get_bare_model(self.net_g)
        steps.append({'gradients': {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None},
                      'parameters': {n: p.detach().clone() for n, p in net.named_parameters()},
                      'queue': {n: b.clone() for n, b in net.named_buffers() if 'queue' in n}})

    BlindSRModel.optimize_parameters = recorded_step


def main(out: str, runs: list[list[str]]) -> None:
    from lightbsr_arch.basicsr_compat import distributed as processes
    from lightbsr_arch.cli.main import main as basicsr
    torch.set_num_threads(1)
    plugin.register()
    start = processes.start_process_group
    from basicsr.utils import options
    options.init_dist = lambda *args, **kwargs: None if distributed.is_initialized() else start(*args, **kwargs)
    recorded: list[list[dict[str, Any]]] = []
    for arguments in runs:
        steps: list[dict[str, Any]] = []
        recorded.append(steps)
        from lightbsr_arch.models.blind_sr_model import BlindSRModel
        original = BlindSRModel.optimize_parameters
        record(steps)
        status = basicsr(arguments)
        BlindSRModel.optimize_parameters = original
        basicsr_compat.reset_logger()
        if status:
            sys.exit(status)
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.save(recorded, f'{out}.{rank}')


if __name__ == '__main__':
    groups = ' '.join(sys.argv[2:]).split('-- ')
    main(sys.argv[1], [group.split() for group in groups if group.strip()])
