"""Runs of several processes: on CPUs too, without surprises at the first forward pass."""
from __future__ import annotations

import atexit
import itertools
import os
import subprocess
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def start_processes_anywhere() -> None:
    """ZeroDivisionError with `--launcher pytorch` on a machine without GPU: devices and nccl are taken for granted.

    Also, loading processes are spawned, not forked, from then on, and import everything anew in each epoch.
    """
    from basicsr.utils import options
    options.init_dist = start_process_group


def start_process_group(launcher: str, backend: str = 'nccl', port: int | None = None) -> None:
    """Joins this process to the others, by nccl on GPUs and gloo on CPUs.

    Raises:
        ValueError: the launcher did not tell this process its place.
    """
    if launcher == 'slurm':
        read_slurm_place(port)
    if 'RANK' not in os.environ:
        raise ValueError(f'--launcher {launcher}: start the run with its launcher, such as: torchrun --nproc_per_node=2 '
                         '$(which basicsr) train -opt FILE --launcher pytorch')
    if not torch.cuda.is_available():
        backend = 'gloo'
    else:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', os.environ['RANK'])) % torch.cuda.device_count())
    distributed.init_process_group(backend)
    atexit.register(distributed.destroy_process_group)


def read_slurm_place(port: int | None) -> None:
    """Writes what slurm says of this process into the variables that torch reads.

    Raises:
        ValueError: not started by slurm.
    """
    if 'SLURM_PROCID' not in os.environ:
        raise ValueError('--launcher slurm: SLURM_PROCID is not set: start the run with srun')
    nodes = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], capture_output=True, text=True,
                           check=True).stdout.split()
    os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'], MASTER_ADDR=nodes[0],
                      LOCAL_RANK=os.environ.get('SLURM_LOCALID', os.environ['SLURM_PROCID']))
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')


def wrap_anywhere() -> None:
    """AssertionError: Torch not compiled with CUDA enabled, when a network is wrapped for several processes.

    Also, buffers of the first process overwrite those of the others at each forward pass, a queue of negatives among them.
    """
    from basicsr.models.base_model import BaseModel

    def model_to_device(self: BaseModel, net: nn.Module) -> nn.Module:
        net = net.to(self.device)
        if self.opt['dist']:
            return share_gradients(net, self.opt)
        return nn.DataParallel(net) if self.opt['num_gpu'] > 1 else net

    BaseModel.model_to_device = model_to_device


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """The tensors (N, ...) of all processes, in their order, one behind the other; the same in each."""
    if not distributed.is_initialized():
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def gather_objects(value: Any) -> list[Any]:
    """What each process gives, in their order; the same in each."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def largest_of_all(opt: dict[str, Any]) -> Callable[[int], int]:
    """A function that gives the largest of the numbers that the processes call it with; all must call it.

    It goes by gloo, beside what a GPU is doing, so that no step waits for the GPU.
    """
    if not opt['dist']:
        return lambda number: number
    group = distributed.new_group(backend='gloo')

    def largest(number: int) -> int:
        value = torch.tensor(number)
        distributed.all_reduce(value, distributed.ReduceOp.MAX, group)
        return int(value)

    return largest


def told_by_first(opt: dict[str, Any], find: Callable[[], Any]) -> Any:
    """What `find` gives in the first process, in all of them; an error of its there is raised in all."""
    if not opt['dist']:
        return find()
    told: list[Any] = [None, None]
    if opt['rank'] == 0:
        try:
            told[0] = find()
        except ValueError as error:
            told[1] = error
    distributed.broadcast_object_list(told)
    if told[1]:
        raise told[1]
    return told[0]


def take_weights_of_first(net: nn.Module) -> None:
    """Gives each of several processes the first's parameters and buffers."""
    for tensor in itertools.chain(net.parameters(), net.buffers()):
        distributed.broadcast(tensor.detach(), 0)


def share_gradients(net: nn.Module, opt: dict[str, Any]) -> nn.Module:
    """Wraps a network so that all processes have the mean gradients of what trains now; unwrapped where nothing does.

    All begin with the first process's parameters and buffers; then each has buffers of its own.
    """
    take_weights_of_first(net)
    if not any(param.requires_grad for param in net.parameters()):
        return net
    devices = [torch.cuda.current_device()] if next(net.parameters()).is_cuda else None
    return DistributedDataParallel(net, devices, broadcast_buffers=False,
                                   find_unused_parameters=opt.get('find_unused_parameters', False))
