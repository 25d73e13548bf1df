"""A few steps of each stage, as a run would take them, for what they cost; nothing is written."""
from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from .output import reset_logger

Options = dict[str, Any]
MAX_STEPS, ENOUGH = 5, 1.0  # seconds


@dataclass(frozen=True)
class StageCost:
    """What a stage costs.

    computing: Seconds of a step on a batch that is there.
    loading: Seconds in which one process loads a batch.
    num_worker: Loading processes that the run will have.
    memory: Bytes; on a GPU the most that was allocated, else the most that the process has held so far.
    """

    trains: str
    iterations: int
    computing: float
    loading: float
    num_worker: int
    memory: int

    @property
    def seconds(self) -> float:
        """Of a step: workers load beside the computation."""
        if self.num_worker == 0:
            return self.computing + self.loading
        return max(self.computing, self.loading / min(self.num_worker, os.cpu_count() or 1))

    @property
    def waits_for_data(self) -> bool:
        return self.seconds > 1.2 * self.computing


@contextlib.contextmanager
def warnings_alone() -> Iterator[list[str]]:
    """Collects what BasicSR's logger is warned of, each once, and keeps it off the terminal with all else."""
    from basicsr.utils import logger
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in messages:
                messages.append(record.getMessage())

    logger.initialized_logger['basicsr'] = True
    logging.getLogger('basicsr').addHandler(Collector(logging.WARNING))
    try:
        yield messages
    finally:
        reset_logger()


def stages(opt: Options) -> list[tuple[str, int]]:
    """What trains, and iterations; BasicSR's own models have one stage."""
    sections = opt['train'].get('stages') or [{'trains': 'all', 'iterations': int(opt['train']['total_iter'])}]
    return [(section['trains'], section['iterations']) for section in sections]


def dry_run(opt: Options) -> Iterator[StageCost]:
    """Builds loader and model as the run would, and takes two to five steps of each stage; the first is not timed.

    Raises:
        ValueError: too little memory on the GPU.
    """
    import basicsr.train
    num_worker = opt['datasets']['train']['num_worker_per_gpu'] * max(1, opt['num_gpu'])
    opt = copy.deepcopy(opt)
    opt['datasets']['train'] |= {'num_worker_per_gpu': 0, 'persistent_workers': False, 'prefetch_mode': None}
    loader = basicsr.train.create_train_val_dataloader(opt, logging.getLogger('basicsr'))[0]
    model = basicsr.train.build_model(opt)
    model.save = lambda *args, **kwargs: None
    first = 1
    for number, (trains, iterations) in enumerate(stages(opt), 1):
        try:
            times = take_steps(model, loader, first, iterations)
        except torch.cuda.OutOfMemoryError as error:
            raise ValueError(f'stage {number} needs more memory than the GPU has: lower '
                             'datasets.train.batch_size_per_gpu, or raise train.accumulate where the model has it'
                             ) from error
        yield StageCost(trains, iterations, *times, num_worker, peak_memory())
        first += iterations


def take_steps(model: Any, loader: DataLoader, first: int, iterations: int) -> tuple[float, float]:
    """Seconds of a step on a loaded batch, and of loading one."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    computing, loading = [], []
    for step in range(MAX_STEPS):
        begin = time.perf_counter()
        data = next(batches)
        loaded = time.perf_counter()
        current_iter = first + min(step, iterations - 1)
        model.update_learning_rate(current_iter, warmup_iter=model.opt['train'].get('warmup_iter', -1))
        model.feed_data(data)
        model.optimize_parameters(current_iter)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        loading.append(loaded - begin)
        computing.append(time.perf_counter() - loaded)
        if sum(computing[1:]) > ENOUGH:
            break
    return statistics.median(computing[1:]), statistics.median(loading[1:])


def peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024
