"""A run that goes on where it stopped, bit for bit."""
from __future__ import annotations

import functools
import glob
import os
import random
import sys
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np
import torch
from torch.utils.data import Dataset

from .. import checkpoints
from .distributed import told_by_first
from .images import Replacements, UnusableImage, max_unreadable
from .loading import SampleIndex
from .saving import leave_later, saved_steps

Options = dict[str, Any]


def resume_anywhere() -> None:
    """Resuming needs CUDA; `--auto_resume` looks beside the current directory; a frozen teacher's path is overwritten;
    a state of another experiment is joined with weights of this one; a broken newest state ends it; best figures are lost.
    """
    import basicsr.train
    from basicsr.models.base_model import BaseModel
    resume = BaseModel.resume_training

    def resume_training(self: BaseModel, state: Options) -> None:
        resume(self, state)
        _take_best(self, state.get('best', {}))
        self.take_further_state(state.get('further', {}))

    basicsr.train.load_resume_state = load_resume_state
    BaseModel.resume_training = resume_training


def _take_best(self: Any, best: Options) -> None:
    """Takes the best figures so far; of metrics that `val.metrics` has got since, there are none."""
    self.best_metric_results = {}
    for name, record in best.items():
        if (self.opt.get('val') or {}).get('metrics'):
            self._initialize_best_metric_results(name)
        self.best_metric_results.setdefault(name, {}).update(record)


def load_resume_state(opt: Options) -> Optional[Options]:
    """The state to resume from, or None; sets the networks' paths to the files saved with it.

    `--auto_resume` takes the newest state that is whole, in all processes the same, and says which ones are not; where a
    run has none yet, it takes `path.resume_state`.

    Raises:
        ValueError: an unreadable state, or one without its weights; with `--auto_resume`, if none is whole.
    """
    path = opt['path']
    chosen = told_by_first(opt, lambda: newest_whole(opt)) if opt['auto_resume'] else path.get('resume_state')
    if not chosen:
        return None
    state = _check(opt, chosen, [opt['rank']])
    path['resume_state'] = chosen
    for label, file in _weights(opt, chosen, state).items():
        path[f'pretrain_network_{label}'], path[f'param_key_{label}'] = file, 'params'
    if opt['rank'] == 0:
        _tidy(path)
        if os.path.samefile(os.path.dirname(os.path.abspath(chosen)), path['training_states']):
            leave_later(path, state['iter'])
    opt['resumed_at'] = state['epoch'], state['iter']
    return state


def newest_whole(opt: Options) -> Optional[str]:
    """The newest state of this run that is whole, with its weights and the parts of all processes; or `path.resume_state`.

    Raises:
        ValueError: there are states, but none is whole.
    """
    folder = opt['path']['training_states']
    steps = saved_steps(folder)
    for step in steps:
        state_path = os.path.join(folder, f'{step}.state')
        try:
            _check(opt, state_path, range(opt['world_size']))
            return state_path
        except ValueError as error:
            print(f'basicsr train: {error}', file=sys.stderr)
    if steps:
        raise ValueError(f'none of the states in {folder} is whole: restore one, or leave out --auto_resume to start anew '
                         '(the folder is kept under another name)')
    given = opt['path'].get('resume_state')
    print(f'basicsr train: there is no state in {folder}: starting {f"from {given}" if given else "anew"}', file=sys.stderr)
    return given


def _check(opt: Options, state_path: str, ranks: Iterable[int]) -> Options:
    """Reads a state, with what the last of `ranks` saved for itself, and sees that the other files can be read.

    Raises:
        ValueError: one of them is missing or not whole.
    """
    state = _read(state_path)
    for file in _weights(opt, state_path, state).values():
        if not os.path.isfile(file):
            raise ValueError(f'cannot resume from {state_path}: its weights {file} are not there')
        _read(file)
    for rank in ranks if state.get('world_size', 1) == opt['world_size'] else []:
        if rank:
            state['further'] = _read(f'{os.path.splitext(state_path)[0]}.rank{rank}')
    return state


def _weights(opt: Options, state_path: str, state: Options) -> dict[str, str]:
    """The files of weights that were saved with a state, by the networks' labels; a teacher's never is."""
    models = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(state_path))), 'models')
    ignored = opt['path'].get('ignore_resume_networks') or ()
    never_saved = {'network_t', *([ignored] if isinstance(ignored, str) else ignored)}
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in never_saved]
    return {label: os.path.join(models, f'net_{label}_{state["iter"]}.pth') for label in labels}


def _read(file: str) -> Options:
    try:
        return checkpoints.read_file(file)
    except checkpoints.CheckpointError as error:
        raise ValueError(f'cannot resume from {file}, it is not whole: {error}') from error


def _tidy(path: Options) -> None:
    """Makes the folders of a run that goes on from another's state, and sweeps up what a killed process left half-written."""
    for folder in ('experiments_root', 'models', 'training_states', 'visualization'):
        os.makedirs(path[folder], exist_ok=True)
        for leftover in glob.glob(os.path.join(glob.escape(path[folder]), '.*.tmp')):
            os.remove(leftover)


def seed_each_step() -> None:
    """A resumed run draws other random numbers: their state is not saved, and loaders and validation move it as well.

    Each training step begins with a seed of its own, made of the run's seed, the process and the iteration.
    """
    import basicsr.train
    build = basicsr.train.build_model

    def build_model(opt: Options) -> Any:
        model = build(opt)
        update = model.update_learning_rate

        def update_learning_rate(current_iter: int, warmup_iter: int = -1) -> None:
            seed_all(opt['manual_seed'], opt['rank'], current_iter)
            update(current_iter, warmup_iter=warmup_iter)

        model.update_learning_rate = update_learning_rate
        return model

    basicsr.train.build_model = build_model


def seed_all(*numbers: int) -> None:
    """Seeds Python, numpy and torch by all of the numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class SeededSamples(Dataset):
    """A data set whose random draws depend on the sample's place in the run alone, and which leaves the global state.

    The next image takes the place of one that cannot be used, up to the section's `max_unreadable`.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.opt = dataset.opt
        self.replacements = Replacements(self.opt['name'], max_unreadable(dataset))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: SampleIndex | int) -> Any:
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        place = getattr(index, 'epoch', 0), getattr(index, 'position', int(index))
        try:
            return self.replacements.find(functools.partial(self._draw, place), index, len(self))
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])

    def _draw(self, place: tuple[int, int], index: int) -> Any:
        seed_all(self.seed, *place)
        try:
            return self.dataset[index]
        except OSError as error:
            raise UnusableImage(f'{error.filename} cannot be read: {error.strerror or error}') from error


def seed_samples() -> None:
    """Crops and flips repeat every epoch, and a resumed run draws others: BasicSR's data sets draw from global state."""
    import basicsr.train
    build = basicsr.train.build_dataset

    def build_dataset(opt: Options) -> Dataset:
        dataset = build(opt)
        return SeededSamples(dataset, opt['seed']) if opt['phase'] == 'train' else dataset

    basicsr.train.build_dataset = build_dataset
