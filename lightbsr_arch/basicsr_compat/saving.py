"""Weights and states: written whole or not at all, with all that a run needs to go on, and pruned on request."""
from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
from torch import distributed, nn

from .. import checkpoints

Options = dict[str, Any]


def save_whole_files() -> None:
    """Errors while saving are swallowed and leave broken files; states lack the best figures, and nothing is pruned.

    Also names the network in its file, and lets a model put what it needs to go on into its state (`further_state`).
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    def checkpoint_notes(self: BaseModel, net_label: str) -> Options:
        """What a file of weights says besides the weights: the network's name and arguments."""
        return {'network': plain(self.opt.get(net_label.replace('net_', 'network_', 1), {}))}

    @master_only
    def save_network(self: BaseModel, net: nn.Module | list[nn.Module], net_label: str, current_iter: int,
                     param_key: str | list[str] = 'params') -> None:
        nets, keys = (v if isinstance(v, list) else [v] for v in (net, param_key))
        content = {key: {name.removeprefix('module.'): value.cpu()
                         for name, value in self.get_bare_model(n).state_dict().items()}
                   for n, key in zip(nets, keys, strict=True)}
        name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        checkpoints.write(content | self.checkpoint_notes(net_label), os.path.join(self.opt['path']['models'], name))

    def save_training_state(self: BaseModel, epoch: int, current_iter: int) -> None:
        """The first process writes last: a state that is there is complete, with the weights and the others' parts."""
        if current_iter == -1:
            return
        path, rank = os.path.join(self.opt['path']['training_states'], str(current_iter)), self.opt['rank']
        if self.opt['dist']:
            if rank:
                checkpoints.write(self.further_state(), f'{path}.rank{rank}')
            distributed.barrier()
        if rank == 0:
            state = {'epoch': epoch, 'iter': current_iter, 'optimizers': [o.state_dict() for o in self.optimizers],
                     'schedulers': [s.state_dict() for s in self.schedulers], 'further': self.further_state(),
                     'world_size': self.opt['world_size'], 'best': plain(getattr(self, 'best_metric_results', {}))}
            checkpoints.write(state, f'{path}.state')
            prune(self.opt['path'], self.opt['logger'].get('keep_last'), current_iter)

    BaseModel.checkpoint_notes = checkpoint_notes
    BaseModel.further_state = lambda self: {}
    BaseModel.take_further_state = lambda self, state: None
    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


def saved_steps(folder: str) -> list[int]:
    """The iterations of the states in a folder, from the newest."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted((int(match[1]) for name in names if (match := re.fullmatch(r'(\d+)\.state', name))), reverse=True)


def prune(path: Options, keep_last: Optional[int], newest: int) -> None:
    """Deletes what was saved before the last `keep_last` states up to `newest`; None keeps all.

    Where a run was set back, what is left of its later states goes once it has come past them. What a process that was killed
    while it deleted has left goes with the rest.
    """
    kept = [step for step in saved_steps(path['training_states']) if step <= newest][:keep_last]
    if keep_last and len(kept) == keep_last:
        for step, file in saved_files(path):
            if step < kept[-1]:
                os.remove(file)


def leave_later(path: Options, step: int) -> None:
    """Where a run is set back, later states are of a branch that it leaves: they, and what belongs to them, get the ending
    `.left`, or they would be taken for the newest, and their weights for those of the states to come."""
    later = sum(number > step for number in saved_steps(path['training_states']))
    if not later:
        return
    for number, file in saved_files(path):
        if number > step and not file.endswith('.left'):
            os.replace(file, f'{file}.left')
    print(f'basicsr train: set back to iteration {step}: {later} later state(s) in {path["training_states"]}, and their '
          'weights, are kept as *.left', file=sys.stderr)


def saved_files(path: Options) -> Iterator[tuple[int, str]]:
    """The iteration and name of each file saved, states first: without theirs, the others count for nothing."""
    for folder, pattern in ((path['training_states'], r'(\d+)\.state'), (path['training_states'], r'(\d+)\.rank\d+'),
                            (path['models'], r'net_\w+_(\d+)\.pth')):
        for name in sorted(os.listdir(folder)):
            if match := re.fullmatch(rf'{pattern}(\.left)?', name):
                yield int(match[1]), os.path.join(folder, name)


def plain(value: Any) -> Any:
    """Ordered dictionaries, numpy's numbers and the like as plain ones, which a file may hold and a reader may allow."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def load_named_weights() -> None:
    """A wrong param_key_g silently becomes `params`; another network's file gives pages of keys. Reads releases too."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import get_root_logger

    def load_network(self: BaseModel, net: nn.Module, load_path: str, strict: bool = True,
                     param_key: Optional[str] = 'params') -> None:
        net = self.get_bare_model(net)
        arch = type(net).__name__
        key = next((key for key, path in self.opt['path'].items() if path == load_path), 'path')
        checkpoints.require(load_path, f'path.{key}')
        if net is getattr(self, 'net_g_ema', None):  # the average may start from a file that has none
            param_key = None
        loaded = checkpoints.read(load_path, param_key)
        if strict and loaded.arch not in (None, arch):
            raise checkpoints.CheckpointError(f'{load_path} holds a {loaded.arch}, but the option file asks for a '
                                              f'{arch}: change the path or the network section')
        own = net.state_dict()
        fitting = {k: v for k, v in loaded.state_dict.items() if k in own and v.shape == own[k].shape}
        odd = sorted((own.keys() | loaded.state_dict.keys()) - fitting.keys())
        if strict and odd:
            trained_as = f' It was saved as {arch} with {loaded.kwargs}.' if loaded.kwargs else ''
            raise checkpoints.CheckpointError(
                f'{load_path} does not fit the {arch} of the option file: {len(odd)} tensors are missing, '
                f'superfluous or of another shape, such as {odd[0]}.{trained_as} Make the network section agree')
        net.load_state_dict(fitting, strict=False)
        get_root_logger().info(f'{arch}: loaded {len(fitting)} of {len(own)} tensors from {load_path}'
                               + (f'; not loaded: {", ".join(odd)}' if odd else ''))

    BaseModel.load_network = load_network
