"""Weights and states: written whole, read by name, resumed anywhere."""
from __future__ import annotations

import os
from typing import Any, Optional

import torch
from torch import nn

from .. import checkpoints

Options = dict[str, Any]


def save_whole_files() -> None:
    """Errors while saving are swallowed and leave broken files. Also names the network in its file."""
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

    @master_only
    def save_training_state(self: BaseModel, epoch: int, current_iter: int) -> None:
        if current_iter == -1:
            return
        state = {'epoch': epoch, 'iter': current_iter, 'optimizers': [o.state_dict() for o in self.optimizers],
                 'schedulers': [s.state_dict() for s in self.schedulers]}
        checkpoints.write(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    BaseModel.checkpoint_notes = checkpoint_notes
    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


def plain(value: Any) -> Any:
    """Ordered dictionaries and the like as plain ones, which a file may hold and a reader may allow."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def load_named_weights() -> None:
    """A wrong param_key_g silently becomes `params`; another network's file gives pages of keys. Reads releases too."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import get_root_logger

    def load_network(self: BaseModel, net: nn.Module, load_path: str, strict: bool = True,
                     param_key: Optional[str] = 'params') -> None:
        net = self.get_bare_model(net)
        arch = type(net).__name__
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


def resume_anywhere() -> None:
    """Resuming needs CUDA; `--auto_resume` looks beside the current directory; a frozen teacher's path is overwritten;
    a state of another experiment is joined with weights of this one.
    """
    import basicsr.train
    basicsr.train.load_resume_state = load_resume_state


def load_resume_state(opt: Options) -> Optional[Options]:
    """The state to resume from, or None; sets the networks' paths to the files saved with it.

    Raises:
        ValueError: an unreadable state, or one without its weights.
    """
    path = opt['path']
    if opt['auto_resume'] and os.path.isdir(path['training_states']):
        steps = [int(name[:-6]) for name in os.listdir(path['training_states'])
                 if name.endswith('.state') and name[:-6].isdigit()]
        path['resume_state'] = os.path.join(path['training_states'], f'{max(steps)}.state') if steps else None
    if not path.get('resume_state'):
        return None
    try:
        state = torch.load(path['resume_state'], map_location='cpu', weights_only=True)
    except Exception as error:
        raise ValueError(f'cannot resume from {path["resume_state"]}, delete it to resume from the state before: '
                         f'{" ".join(str(error).split())}') from error
    models = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(path['resume_state']))), 'models')
    never_saved = {'network_t', *(path.get('ignore_resume_networks') or ())}
    for label in [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in never_saved]:
        saved = os.path.join(models, f'net_{label}_{state["iter"]}.pth')
        if not os.path.isfile(saved):
            raise ValueError(f'cannot resume from {path["resume_state"]}: its weights {saved} are not there')
        path[f'pretrain_network_{label}'], path[f'param_key_{label}'] = saved, 'params'
    for folder in ('experiments_root', 'models', 'training_states', 'visualization'):
        os.makedirs(path[folder], exist_ok=True)
    opt['resumed_at'] = state['epoch'], state['iter']
    return state
