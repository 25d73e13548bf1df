"""Samples and the processes that load them."""
from __future__ import annotations

import atexit
import functools
import logging
import math
import multiprocessing
import os
import signal
from collections.abc import Iterator
from typing import Any

import torch

Options = dict[str, Any]


def batch_size(opt: Options) -> int:
    """Images of a process's training step: of its one GPU, or of all where a single process uses them."""
    return opt['datasets']['train']['batch_size_per_gpu'] * (1 if opt['dist'] else max(1, opt['num_gpu']))


class SampleIndex(int):
    """An image's index that also tells its place in the run: the epoch and the position in the enlarged epoch."""

    epoch: int
    position: int

    def __new__(cls, index: int, epoch: int, position: int) -> SampleIndex:
        self = super().__new__(cls, index)
        self.epoch, self.position = epoch, position
        return self

    def __getnewargs__(self) -> tuple[int, int, int]:
        return int(self), self.epoch, self.position


def position_samples() -> None:
    """A data set is told the image's index alone, so it cannot draw another crop in each epoch without global state.

    Also, a resumed run begins its epoch anew; `done` (epoch, samples) lets it go on behind the samples it has seen. And
    `use_shuffle: false` is ignored.
    """
    import basicsr.train
    from basicsr.data.data_sampler import EnlargedSampler

    class PositionedSampler(EnlargedSampler):
        done = 0, 0

        def set_epoch(self, epoch: int) -> None:
            super().set_epoch(epoch)
            PositionedSampler.current_epoch = epoch

        def __iter__(self) -> Iterator[SampleIndex]:
            positions = list(range(self.total_size))
            if self.dataset.opt.get('use_shuffle', True):
                positions = torch.randperm(self.total_size, generator=torch.Generator().manual_seed(self.epoch)).tolist()
            start = self.done[1] if self.epoch == self.done[0] else 0
            for position in positions[self.rank::self.num_replicas][start:]:
                yield SampleIndex(position % len(self.dataset), self.epoch, position)

    basicsr.train.EnlargedSampler = PositionedSampler


def current_epoch() -> int:
    """The training loop's, which it tells to nobody but the sampler."""
    import basicsr.train
    return getattr(basicsr.train.EnlargedSampler, 'current_epoch', 0)


def count_whole_batches() -> None:
    """Training stops before total_iter, or trains nothing, and reports success.

    The epochs are counted in batches rounded up, but the loader drops the last, incomplete one.
    """
    import basicsr.train
    create = basicsr.train.create_train_val_dataloader

    @functools.wraps(create)
    def create_train_val_dataloader(opt: Options, logger: logging.Logger) -> tuple:
        try:
            train_loader, sampler, val_loaders, _, total_iters = create(opt, logger)
        except ZeroDivisionError:
            raise ValueError('datasets.train holds no images') from None
        if len(train_loader) == 0:
            raise ValueError(f'{len(sampler)} training samples per epoch and process do not fill one batch of '
                             f'{train_loader.batch_size}: lower datasets.train.batch_size_per_gpu or raise '
                             'datasets.train.dataset_enlarge_ratio')
        epoch, done = opt.get('resumed_at', (0, 0))
        sampler.done = epoch, max(0, done - epoch * len(train_loader)) * train_loader.batch_size
        total_epochs = epoch + math.ceil((total_iters - done) / len(train_loader))
        return train_loader, sampler, val_loaders, total_epochs, total_iters

    basicsr.train.create_train_val_dataloader = create_train_val_dataloader


def prepare_workers() -> None:
    """A loading process that was spawned, not forked, has a BasicSR without workarounds.

    And one that lets its signal pass, see `pass_once`, must not hold up the end of the run.
    """
    import basicsr.data
    basicsr.data.worker_init_fn = prepare_worker
    atexit.register(kill_workers)


def kill_workers() -> None:
    """Ends the loading processes of this one, which is ending itself; they hold nothing that could be lost."""
    if hasattr(signal, 'SIGCHLD'):  # unlike Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would take their end for an error
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def prepare_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Called in each loading process; samples are seeded one by one, see `resuming.SeededSamples`.

    Signals to stop reach all processes of a terminal or a cluster's job, but the run needs this one until it has saved,
    see `runs.save_before_stopping`. Where a run is gone without ending this one, torch's loop here does so within seconds.
    """
    from . import apply
    apply()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, pass_once)


def pass_once(number: int, frame: Any) -> None:
    """Lets a signal pass; the next one acts."""
    signal.signal(number, signal.SIG_DFL)


def start_workers_once() -> None:
    """Loading processes are started twice for the first epoch; with `prefetch_mode: cpu` the first ones stay and load as well."""
    from basicsr.data.prefetch_dataloader import CPUPrefetcher

    def init(self: CPUPrefetcher, loader: Any) -> None:
        self.ori_loader, self.loader = loader, iter(())  # each epoch begins with reset()

    CPUPrefetcher.__init__ = init


def forward_prefetch_errors() -> None:
    """With `prefetch_mode: cpu` an unreadable image hangs the run for ever: the reading thread dies unnoticed."""
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def run(self: PrefetchGenerator) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
            self.queue.put(None)
        except Exception as error:
            self.queue.put(error)

    def following(self: PrefetchGenerator) -> Any:
        item = self.queue.get()
        if item is None:
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        return item

    PrefetchGenerator.run, PrefetchGenerator.__next__ = run, following


def share_lmdb() -> None:
    """lmdb.Error: The environment is already open in this process, when two data sets read one LMDB folder.

    Also in a loading process, when the main process had read from it: an environment may not cross a fork.
    """
    import lmdb
    from basicsr.utils import file_client
    environments: dict[tuple[int, str], lmdb.Environment] = {}

    class SharedLmdbBackend(file_client.LmdbBackend):
        def __init__(self, db_paths: str | list[str], client_keys: str | list[str] = 'default', readonly: bool = True,
                     lock: bool = False, readahead: bool = False) -> None:
            self.db_paths = [db_paths] if isinstance(db_paths, str) else db_paths
            client_keys = [client_keys] if isinstance(client_keys, str) else client_keys
            self._client = {}
            for inherited in [place for place in environments if place[0] != os.getpid()]:
                environments.pop(inherited).close()
            for client, path in zip(client_keys, self.db_paths, strict=True):
                place = os.getpid(), os.path.realpath(path)
                if place not in environments:
                    try:
                        environments[place] = lmdb.open(path, readonly=readonly, lock=lock, readahead=readahead)
                    except lmdb.Error as error:
                        raise ValueError(f'{path} cannot be opened as LMDB: {error}') from error
                self._client[client] = environments[place]

    file_client.FileClient._backends['lmdb'] = SharedLmdbBackend
