"""The network's scale, the schedule, the discriminator, and what is kept and shown of a training."""
from __future__ import annotations

import importlib.util
import inspect

from basicsr.utils import registry

from ..config import suggest
from . import basicsr_keys
from .sections import Options, is_blind

OWN_VALIDATION = {'VideoBaseModel', 'HiFaceGANModel', 'StyleGAN2Model'}  # by code of their own, which keeps no best weights


def check_scale(opt: Options) -> None:
    """A network of another scale than the data's fails at the first image, or is tested on images of another size."""
    for key in [key for key in opt if key.startswith('network_g')]:
        arguments = inspect.signature(registry.ARCH_REGISTRY.get(opt[key]['type'])).parameters
        for name in [name for name in ('scale', 'upscale') if name in arguments]:
            scale = opt[key].get(name, arguments[name].default)  # a missing one was refused before
            if scale != opt['scale']:
                raise ValueError(f'{key}: {name} is {scale}, but scale is {opt["scale"]} at the top: make them agree')


def check_schedule(opt: Options) -> None:
    """Makes a whole number of total_iter, which may be written 3e5. A cosine schedule that is shorter than the run would end it
    with a TypeError."""
    train = opt.get('train') or {}
    scheduler, total = train.get('scheduler') or {}, train.get('total_iter', 0)
    if isinstance(total, bool) or not isinstance(total, (int, float)) or total != int(total):
        raise ValueError(f'train: total_iter must be a whole number, got {total!r}')
    if 'total_iter' in train:
        train['total_iter'] = int(total)
    if scheduler.get('type') == 'CosineAnnealingRestartLR' and sum(scheduler['periods']) < total:
        raise ValueError(f'train.scheduler: the periods add up to {sum(scheduler["periods"])} iterations, fewer than '
                         f'total_iter ({total})')


def check_adversarial(opt: Options) -> None:
    """AttributeError at the first step otherwise."""
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    read = (*basicsr_keys.of(model, basicsr_keys.TRAIN), *getattr(model, 'other_keys', ()))
    for key in [key for key in ('gan_opt', 'optim_d') if opt['is_train'] and key in read]:
        if not (opt.get('train') or {}).get(key):
            raise ValueError(f'train: {key} is missing: {opt["model_type"]} trains a discriminator')


def check_idr_statistics(opt: Options) -> None:
    value = (opt.get('val') or {}).get('idr_statistics', False)
    if not isinstance(value, bool):
        raise ValueError(f'val: idr_statistics must be true or false, got {value!r}')
    if value and not is_blind(opt):
        raise ValueError(f'val: idr_statistics is for the models of LightBSR and KDSR, not for {opt["model_type"]}: '
                         'remove it')


def check_keeping(opt: Options) -> None:
    """What is kept of a training."""
    keep_last, save_best = ((opt.get('logger') or {}).get(key) for key in ('keep_last', 'save_best'))
    if keep_last is not None and (not isinstance(keep_last, int) or isinstance(keep_last, bool) or keep_last < 1):
        raise ValueError(f'logger: keep_last must be a whole number from 1 upwards, got {keep_last!r}')
    metrics = list((opt.get('val') or {}).get('metrics') or {})
    if save_best is not None and opt['is_train'] and not any(s['phase'] == 'val' for s in opt['datasets'].values()):
        raise ValueError('logger: save_best needs a validation: give datasets a val, or remove it')
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    if save_best is not None and OWN_VALIDATION & {parent.__name__ for parent in model.__mro__}:
        raise ValueError(f'logger: save_best has no effect on {opt["model_type"]}, which validates in a way of its own: '
                         'remove it')
    if save_best is not None and save_best not in metrics:
        raise ValueError(f'logger: save_best must be a metric of val.metrics, got {save_best!r}'
                         f'{suggest(save_best, metrics)}')


def check_wandb(opt: Options) -> None:
    """It gets what TensorBoard gets."""
    logger = opt.get('logger') or {}
    if not (logger.get('wandb') or {}).get('project'):
        return
    if not logger.get('use_tb_logger'):
        raise ValueError('logger: wandb shows what TensorBoard is given: set use_tb_logger: true as well')
    if importlib.util.find_spec('wandb') is None:
        raise ValueError('logger: wandb.project is set, but wandb is not installed: pip install wandb, or leave project empty')
