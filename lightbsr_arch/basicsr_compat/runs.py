"""The course of a run: rehearsed before anything is archived, never of random weights, its results handed out."""
from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, TextIO

from .distributed import largest_of_all
from .loading import current_epoch
from .output import reset_logger

Options = dict[str, Any]


def refuse_untrained_test() -> None:
    """`basicsr test` without weights tests a random network and reports its figures. Parameterless ones are exempt."""
    from basicsr.models.sr_model import SRModel
    init = SRModel.__init__

    @functools.wraps(init)
    def checked_init(self: SRModel, opt: Options) -> None:
        init(self, opt)
        is_random = opt['path'].get('pretrain_network_g') is None and any(True for _ in self.net_g.parameters())
        if is_random and not self.is_train:
            raise ValueError('path.pretrain_network_g is missing: a test of random weights would say nothing')

    SRModel.__init__ = checked_init


def keep_other_runs_out() -> None:
    """Two runs of one name at once write over each other's files. A run locks its name from its start to its end."""
    import basicsr.train
    train, load = basicsr.train.train_pipeline, basicsr.train.load_resume_state
    with_lock = contextlib.ExitStack()

    @functools.wraps(train)
    def train_pipeline(root_path: str) -> None:
        with with_lock:
            train(root_path)

    @functools.wraps(load)
    def load_resume_state(opt: Options) -> Any:
        if opt['rank'] == 0:
            with_lock.enter_context(lock(opt['path']['experiments_root']))
        return load(opt)

    basicsr.train.train_pipeline, basicsr.train.load_resume_state = train_pipeline, load_resume_state


@contextlib.contextmanager
def lock(folder: str) -> Iterator[None]:
    """Keeps other processes out of a run's folder by a file beside it, `.<name>.lock`: archiving renames the folder.

    A process that dies gives the lock up, and none inherits it.

    Raises:
        ValueError: another process has it.
    """
    parent, name = os.path.split(folder)
    path = os.path.join(parent, f'.{name}.lock')
    os.makedirs(parent, exist_ok=True)
    with open(path, 'w') as file:
        if not is_alone(file):
            raise ValueError(f'another run is writing to {folder}: wait for it, or give this one another name')
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
                os.rmdir(parent)  # if nothing came of the run


def is_alone(file: TextIO) -> bool:
    """Locks an open file. One that its owner has deleted in the meantime counts for nothing: a third may have made anew."""
    try:
        import fcntl
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except ImportError:  # Windows: nobody is kept out
        return True
    except (BlockingIOError, FileNotFoundError):
        return False


def archive_under_unused_names() -> None:
    """OSError: Directory not empty, at the third run of a name within a second: archives are named by the second."""
    import basicsr.train
    from basicsr.utils import misc

    def mkdir_and_rename(path: str) -> None:
        if os.path.exists(path):
            archive = f'{path}_archived_{misc.get_time_str()}'
            names = itertools.chain([archive], (f'{archive}_{i}' for i in itertools.count(2)))
            unused = next(name for name in names if not os.path.exists(name))
            print(f'Path already exists. Rename it to {unused}', flush=True)
            os.rename(path, unused)
        os.makedirs(path, exist_ok=True)

    misc.mkdir_and_rename = basicsr.train.mkdir_and_rename = mkdir_and_rename


def save_before_stopping() -> None:
    """SIGTERM, which a cluster sends before it takes a machine back, and Ctrl-C lose all since the last saved state.

    A run finishes its step and saves first; of several processes all do as soon as one is told to stop.
    """
    import basicsr.train
    train = basicsr.train.train_pipeline

    @functools.wraps(train)
    def train_pipeline(root_path: str) -> None:
        build, signals = basicsr.train.build_model, StopSignals()
        basicsr.train.build_model = lambda opt: stopping(build(opt), signals)
        try:
            train(root_path)
        finally:
            signals.release()
            basicsr.train.build_model = build

    basicsr.train.train_pipeline = train_pipeline


def stopping(model: Any, signals: StopSignals) -> Any:
    """A model that catches signals from its first step on, and saves and ends the run after the one in which one came."""
    step, largest = model.optimize_parameters, largest_of_all(model.opt)

    def optimize_parameters(current_iter: int) -> None:
        signals.catch()
        step(current_iter)
        number = largest(signals.received or 0)
        if number:
            model.save(current_epoch(), current_iter)
            if model.opt['rank'] == 0:
                print(f'basicsr train: {signal.Signals(number).name}: stopped after iteration {current_iter}, which is '
                      'saved; --auto_resume goes on from there', file=sys.stderr)
            sys.exit(128 + number)

    model.optimize_parameters = optimize_parameters
    return model


class StopSignals:
    """Remembers the first SIGTERM or Ctrl-C. A second one of its kind acts at once: launchers send the other kind too."""

    def __init__(self) -> None:
        self.received: Optional[signal.Signals] = None
        self.handlers: dict[signal.Signals, Any] = {}  # of before

    def catch(self) -> None:
        """Signals reach the main thread alone."""
        if not (self.handlers or self.received) and threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}

    def release(self) -> None:
        while self.handlers:
            signal.signal(*self.handlers.popitem())

    def _receive(self, number: int, frame: Any) -> None:
        self.received = self.received or signal.Signals(number)
        signal.signal(number, self.handlers.pop(number))


def rehearse_before_archiving() -> None:
    """A typo in the option file archives the finished experiment of that name before it is noticed.

    Builds everything that the run will build first, and only then lets BasicSR archive and start.
    """
    import basicsr.test
    import basicsr.train
    make = basicsr.train.make_exp_dirs

    @functools.wraps(make)
    def make_exp_dirs(opt: Options) -> None:
        rehearse(opt)
        make(opt)

    basicsr.train.make_exp_dirs = basicsr.test.make_exp_dirs = make_exp_dirs


def rehearse(opt: Options) -> None:
    """Builds data sets, loaders, networks, losses and optimisers as the run will, reads a sample, and drops them.

    Raises:
        ValueError: what is wrong with the options; BasicSR itself has bare KeyErrors and the like.
    """
    from basicsr.utils import set_random_seed
    try:
        with plain_errors():
            _build_all(opt)
    finally:
        reset_logger()
        set_random_seed(opt['manual_seed'] + opt['rank'])


def _build_all(opt: Options) -> None:
    import basicsr.test
    import basicsr.train
    if opt['is_train']:
        quiet = logging.getLogger('basicsr')
        train_loader, _, val_loaders, _, _ = basicsr.train.create_train_val_dataloader(opt, quiet)
        train_loader.dataset[0]
        tested = [loader.dataset for loader in val_loaders]
    else:
        tested = [basicsr.test.build_dataset(section) for section in opt['datasets'].values()]
    for dataset in tested:
        check_metrics(opt, dataset)
        check_saved_names(opt, dataset)
    model = (basicsr.train if opt['is_train'] else basicsr.test).build_model(opt)
    if hasattr(model, 'check_validation'):
        model.check_validation(tested)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """BasicSR's errors in what it builds, as ValueErrors that say what is wrong."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f'the option file lacks the key {error}') from error
    except FileNotFoundError as error:
        if error.filename is None:
            raise
        raise ValueError(f'there is no {os.path.abspath(error.filename)}: set data_root at the top of the option file, or on the '
                         'command line: --force_yml data_root=FOLDER (datasets/README.md tells how to prepare data)') from error
    except (AssertionError, NotImplementedError) as error:
        raise ValueError(str(error)) from error


def check_metrics(opt: Options, dataset: Any) -> None:
    """Raises a ValueError where a metric compares with HR images that a data set has not, or where there are no images."""
    from basicsr.utils.registry import METRIC_REGISTRY
    if len(dataset) == 0:
        raise ValueError(f'datasets: {dataset.opt["name"]} holds no images')
    has_gt = 'gt' in dataset[0]
    for key, section in ((opt.get('val') or {}).get('metrics') or {}).items():
        if not has_gt and 'img2' in inspect.signature(METRIC_REGISTRY.get(section['type'])).parameters:
            raise ValueError(f'val.metrics.{key}: {section["type"]} compares with HR images, but datasets: '
                             f'{dataset.opt["name"]} has none: remove it, or give the data set its gt images')


def check_saved_names(opt: Options, dataset: Any) -> None:
    """Raises a ValueError where the results of two images, saved under their names alone, would overwrite each other."""
    if not (opt.get('val') or {}).get('save_img'):
        return
    taken: dict[str, str] = {}
    for entry in getattr(dataset, 'names', getattr(dataset, 'paths', [])):  # ours, BasicSR's
        path = entry['lq_path'] if isinstance(entry, dict) else entry
        other = taken.setdefault(Path(path).stem, path)
        if other != path:
            raise ValueError(f'datasets: {dataset.opt["name"]}: the results of {other} and {path} would overwrite each other: '
                             'rename one of the two, or set val.save_img to false')


def run_test(root_path: str) -> Any:
    """BasicSR's `test_pipeline` keeps its results to itself: runs it and returns the model that it made."""
    import basicsr.test
    models = []
    build = basicsr.test.build_model

    def build_model(opt: Options) -> Any:
        models.append(build(opt))
        return models[-1]

    basicsr.test.build_model = build_model
    try:
        basicsr.test.test_pipeline(root_path)
    finally:
        basicsr.test.build_model = build
    return models[-1]
