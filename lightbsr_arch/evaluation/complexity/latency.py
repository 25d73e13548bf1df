"""Time and peak memory of a forward pass."""
from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Optional

import torch

from ...allocator import keep_freed_memory, resident_memory
from ...inference.devices import ready
from .networks import Section, Size, build, named, on_device


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a forward pass (median, lower and upper quartile), and peak memory in bytes.

    memory: On CUDA, of tensors, weights and input included. On a CPU, how far a process of its own grows from before it
    builds the network; None where the system is not Linux.
    """

    median: float
    lower: float
    upper: float
    memory: Optional[int]


def measure(section: Section, size: Size, device: str = 'cpu', repeats: int = 10,
            threads: Optional[int] = None) -> Timing:
    """Times `repeats` passes of one image after a few that warm up, as the verbs run networks (see `ready`): float32
    without TF32, the faster layout, merged weights, freed memory kept, without gradients.

    On a CPU call it through `in_fresh_process`, where memory that this process holds already cannot hide any.

    Raises:
        ValueError: as `count`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    place = torch.device(device)
    on_cuda = place.type == 'cuda'
    keep_freed_memory()
    _load_kernels()
    before = 0 if on_cuda else resident_memory('VmRSS')
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
    with named(section, size), torch.no_grad(), flags:
        network, *tensors = on_device(place, ready(build(section), place), section, size)
        for _ in range(max(1, repeats // 5)):
            network(*tensors)
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(place)
        times = [_milliseconds(lambda: network(*tensors), place) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated(place) if on_cuda else resident_memory('VmHWM')
    lower, median, upper = statistics.quantiles(times, n=4, method='inclusive') if repeats > 1 else times * 3
    return Timing(median, lower, upper, None if peak is None or before is None else peak - before)


def _milliseconds(work: Callable[[], object], device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda _: None
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return 1000 * (time.perf_counter() - start)


def _load_kernels() -> None:
    """Lets torch load its code for convolutions, which is no memory of the network's."""
    torch.nn.functional.conv2d(torch.zeros(1, 16, 16, 16), torch.zeros(16, 16, 3, 3))


def in_fresh_process(prepare: Callable[[], None], *arguments: Any) -> Timing:
    """`measure(*arguments)` in a new process, after `prepare`, which registers the archs there.

    Raises:
        ValueError: as `measure`, or the process was killed.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise ValueError(f'{arguments[0]["type"]}: the measuring process was killed, which happens where memory '
                             'runs out: choose a smaller --size') from None


def describe(device: str, threads: Optional[int]) -> str:
    """Where latency and memory were measured, and how."""
    place = torch.device(device)
    where = (torch.cuda.get_device_name(place) if place.type == 'cuda' else
             f'CPU ({threads or torch.get_num_threads()} of {os.cpu_count()} cores)')
    return (f'Latency: median (quartiles) of one image, {where}, torch {torch.__version__}, float32 without TF32, in the '
            "faster layout. The papers' times are of their authors' GPUs.")
