"""What BasicSR's own sections of an option file must hold. BasicSR itself finds a mistake late, or not at all."""
from __future__ import annotations

import difflib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils import registry

from . import option_keys
from .config import DatasetOptions, check_types, suggest

Options = dict[str, Any]
PACKAGE = __name__.split('.')[0]

PATHS_OF_BASICSR = {'experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'}
SET_BY_BASICSR = {'dist', 'rank', 'world_size', 'auto_resume', 'is_train'}
EXPANDED = ('benchmarks', 'degradations')  # to sections of a benchmark and a degradation each
REAL_WORLD = 'RealESRGANDataset'
NEED_A_GPU = ('RealESRNetModel', 'RealESRGANModel')
NUM_VALUES = {'resize_prob': 3} | dict.fromkeys(('resize_range', 'noise_range', 'poisson_scale_range', 'jpeg_range'), 2)
REAL_WORLD_CROP = 400  # BasicSR's RealESRGANDataset cuts or pads all images to it
OPTIMIZERS = {'Adam': torch.optim.Adam, 'AdamW': torch.optim.AdamW}
SCHEDULERS = {'MultiStepLR': lr_scheduler.MultiStepRestartLR, 'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
              'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR}
GIVEN_BY_THE_RUN = {'params', 'optimizer', 'img', 'img2'}  # arguments that no option file sets


def check_options(opt: Options) -> None:
    """Checks a parsed option file, and sets what has an obvious default, in place.

    Raises:
        ValueError: a key that is missing, unknown, or of the wrong kind; the message names section and key.
    """
    require_keys(opt)
    check_path_keys(opt)
    check_device(opt)
    check_pairs(opt)
    check_real_world(opt)
    check_adversarial(opt)
    check_idr_statistics(opt)
    refuse_unknown_keys(opt)
    follow_protocol(opt)
    for where, section, find in typed_sections(opt):
        check_arguments(where, section, find)
    check_scale(opt)
    check_crops(opt)
    check_schedule(opt)
    check_prefetching(opt)
    check_keeping(opt)
    check_wandb(opt)


def require_keys(opt: Options) -> None:
    """Keys that BasicSR looks up without saying where, some at the first validation only."""
    for key, section in opt['datasets'].items():
        require(f'datasets.{key}', section, 'type')
    if opt['is_train']:
        require('datasets', opt['datasets'], 'train')
        require('datasets.train', opt['datasets']['train'], 'name', 'batch_size_per_gpu', 'num_worker_per_gpu')
        require_frequencies('logger', opt['logger'], 'print_freq', 'save_checkpoint_freq')
        opt['logger'].setdefault('use_tb_logger', False)
    if opt.get('val') is not None:
        require_frequencies('val', opt['val'], *(['val_freq'] if opt['is_train'] else []))
        opt['val'] = {'save_img': False, 'suffix': None} | opt['val']


def require(where: str, section: Any, *keys: str) -> None:
    if not isinstance(section, dict):
        raise ValueError(f'{where} must be a section with keys, got {section!r}')
    for key in keys:
        if key not in section:
            raise ValueError(f'{where}: {key!r} is missing')


def require_frequencies(where: str, section: Any, *keys: str) -> None:
    """Some are numbers such as 5e3 in BasicSR's option files."""
    require(where, section, *keys)
    for key in keys:
        value = section[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1:
            raise ValueError(f'{where}: {key} must be a number of iterations, 1 or more, got {value!r}')


def check_path_keys(opt: Options) -> None:
    """BasicSR ignores a misspelt key of `path:`, or makes a folder of its value."""
    networks = sorted({key.removeprefix('network_') for key in opt if key.startswith('network_')} | {'t'})
    known = [f'{key}_{name}' for key in ('pretrain_network', 'param_key', 'strict_load') for name in networks
             if (key, name) != ('strict_load', 't')]  # a teacher is loaded whole
    known += ['resume_state', 'ignore_resume_networks']
    for key in opt['path'].keys() - PATHS_OF_BASICSR:
        if key not in known:
            raise ValueError(f'path: unknown key {key!r}{suggest(key, known)}')


def follow_protocol(opt: Options) -> None:
    """Defaults for testing: metrics leave out `scale` pixels at each border (the papers' protocol), and averaged weights
    are taken where the file has them, as validation does.
    """
    for section in ((opt.get('val') or {}).get('metrics') or {}).values():
        kind = section.get('type') if isinstance(section, dict) else None
        metric = registry.METRIC_REGISTRY.get(kind) if kind in registry.METRIC_REGISTRY else None
        if metric and 'crop_border' in inspect.signature(metric).parameters:
            section.setdefault('crop_border', opt['scale'])
    if not opt['is_train']:
        opt['path'].setdefault('param_key_g', None)


def refuse_unknown_keys(opt: Options) -> None:
    """What no model or data set reads is a slip of the pen. Those of other plugins may read more than is known here."""
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    for where, section, known in known_keys(opt, model):
        refuse_others(where, section, known, is_foreign(model))
    for key, section in opt['datasets'].items():
        phases = ['train', 'val'] if opt['is_train'] else ['val', 'test']
        if str(key) != 'train' and str(key).split('_')[0] not in phases:
            raise ValueError(f'datasets: unknown key {key!r}{suggest(key, phases)}, or those with an ending, as val_1')
        dataset = registry.DATASET_REGISTRY.get(section['type'])
        refuse_others(f'datasets: {key}', section, dataset_keys(dataset), is_foreign(dataset))


def known_keys(opt: Options, model: type) -> Iterator[tuple[str, Options, list[str]]]:
    """Sections, by the names for messages, and the keys that are read of them."""
    ours = {'': (*option_keys.REAL_WORLD, 'gt_usm') if is_real_world(opt) else (), 'val': ('idr_statistics',)}
    ours = ours if is_blind(opt) else {}
    top = {key for key in opt if key not in SET_BY_BASICSR and not str(key).startswith('network_')}
    yield '', dict.fromkeys(top), [*option_keys.of(model, option_keys.TOP), *ours.get('', ())]
    for name, table in (('val', option_keys.VAL), ('logger', option_keys.LOGGER), ('train', option_keys.TRAIN)):
        if opt.get(name) is not None and not (name == 'train' and is_blind(opt)):  # our models check theirs
            yield name, opt[name], [*option_keys.of(model, table), *ours.get(name, ())]
    for name, keys in option_keys.FIXED.items():
        *parents, last = name.split('.')
        section = ((opt.get(parents[0]) or {}) if parents else opt).get(last)
        if section is not None:
            yield name, section, list(keys)


def dataset_keys(dataset: type) -> list[str]:
    """The keys that a class of data sets reads."""
    ours = [f.name for f in fields(DatasetOptions)] if dataset.__module__.startswith(PACKAGE) else []
    return [*option_keys.of(dataset, option_keys.DATASETS), *ours, *(EXPANDED if ours else ())]


def is_foreign(cls: type) -> bool:
    """Whether a class is neither BasicSR's nor ours."""
    return cls.__module__.split('.')[0] not in ('basicsr', PACKAGE)


def refuse_others(where: str, section: Any, known: list[str], only_near_misses: bool) -> None:
    require(where, section)
    for key in section:
        near = difflib.get_close_matches(str(key), known, 1, 0.8)
        if key not in known and (near or not only_near_misses):
            raise ValueError(f'{where}{": " if where else ""}unknown key {key!r}{suggest(key, known)}')


def check_scale(opt: Options) -> None:
    """A network of another scale than the data's fails at the first image, or is tested on images of another size."""
    for key in [key for key in opt if key.startswith('network_g')]:
        arguments = inspect.signature(registry.ARCH_REGISTRY.get(opt[key]['type'])).parameters
        for name in [name for name in ('scale', 'upscale') if name in arguments]:
            scale = opt[key].get(name, arguments[name].default)  # a missing one was refused before
            if scale != opt['scale']:
                raise ValueError(f'{key}: {name} is {scale}, but scale is {opt["scale"]} at the top: make them agree')


def check_crops(opt: Options) -> None:
    """BasicSR's data sets search the current folder for want of a dataroot; other crops fail in the loss."""
    for key, section in opt['datasets'].items():
        for root in [name for name in section if str(name).startswith('dataroot')]:
            if section[root] is None:
                raise ValueError(f'datasets.{key}: {root} is empty: name a folder')
        most = section.get('max_unreadable', 0)
        if not isinstance(most, int) or most < 0:
            raise ValueError(f'datasets: {key}: max_unreadable must be 0 or more, got {most!r}')
        gt_size = section.get('gt_size', 0)
        if 'dataroot_lq' in section and not isinstance(gt_size, int):
            raise ValueError(f'datasets.{key}: gt_size must be a whole number, got {gt_size!r}')
        if 'dataroot_lq' in section and gt_size % opt['scale']:
            raise ValueError(f'datasets.{key}: gt_size ({gt_size}) must be a multiple of the scale ({opt["scale"]})')


def check_schedule(opt: Options) -> None:
    """A cosine schedule that is shorter than the run ends it with a TypeError."""
    train = opt.get('train') or {}
    scheduler, total = train.get('scheduler') or {}, train.get('total_iter', 0)
    if isinstance(total, bool) or not isinstance(total, (int, float)) or total != int(total):
        raise ValueError(f'train: total_iter must be a whole number, got {total!r}')
    if scheduler.get('type') == 'CosineAnnealingRestartLR' and sum(scheduler['periods']) < total:
        raise ValueError(f'train.scheduler: the periods add up to {sum(scheduler["periods"])} iterations, fewer than '
                         f'total_iter ({total})')


def typed_sections(opt: Options) -> Iterator[tuple[str, Any, Callable[[str], Callable]]]:
    """The sections whose `type` names a class or function: where, the section, and what finds it by name."""
    is_basicsrs = registry.MODEL_REGISTRY.get(opt['model_type']).__module__.startswith('basicsr.')
    for key, section in opt.items():
        if key.startswith('network_'):
            yield key, section, registry.ARCH_REGISTRY.get
    for key, section in (opt.get('train') or {}).items():
        if key.endswith('_opt') and section is not None:
            yield f'train.{key}', section, registry.LOSS_REGISTRY.get
        if key.startswith('optim_'):
            if is_basicsrs or key != 'optim_g' and is_blind(opt):  # our models have a rate for each stage
                require(f'train.{key}', section, 'lr')
            yield f'train.{key}', section, one_of('optimizer', OPTIMIZERS)
        if key == 'scheduler':
            yield f'train.{key}', section, one_of('scheduler', SCHEDULERS)
    for key, section in ((opt.get('val') or {}).get('metrics') or {}).items():
        yield f'val.metrics.{key}', section, registry.METRIC_REGISTRY.get


def one_of(kind: str, makers: dict[str, Callable]) -> Callable[[str], Callable]:
    """Finds in a dictionary as `Registry.get` does in a registry."""
    def find(name: str) -> Callable:
        if name not in makers:
            raise ValueError(f'there is no {kind} named {name!r}{suggest(name, list(makers))}')
        return makers[name]
    return find


def check_arguments(where: str, section: Any, find: Callable[[str], Callable]) -> None:
    """Compares a section's keys with the arguments of what its `type` names.

    Raises:
        ValueError: no such type, an unknown or a missing key.
    """
    require(where, section, 'type')
    kind = section['type']
    try:
        parameters = inspect.signature(find(kind)).parameters.values()
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from None
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
             and p.name not in GIVEN_BY_THE_RUN]
    known = [p.name for p in named]
    unknown = [key for key in section if key not in ('type', *known)]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ValueError(f'{where}: {kind} has no {unknown[0]!r}{suggest(unknown[0], known)}')
    missing = [p.name for p in named if p.default is p.empty and p.name not in section]
    if missing:
        raise ValueError(f'{where}: {kind} needs {missing[0]!r}')
    check_types({p.name: p.annotation for p in named}, section, where)  # BasicSR annotates next to nothing


def check_prefetching(opt: Options) -> None:
    """BasicSR answers after it has renamed the older run's folder, or not at all."""
    section = opt['datasets'].get('train', {})
    mode = section.get('prefetch_mode')
    if mode not in (None, 'cpu', 'cuda') or mode == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'datasets.train.prefetch_mode must be ~, cpu, or on a GPU cuda, got {mode!r}')
    if mode == 'cuda' and not section.get('pin_memory'):
        raise ValueError('datasets.train: prefetch_mode: cuda needs pin_memory: true')
    if mode == 'cpu' and not section['num_worker_per_gpu']:
        raise ValueError('datasets.train: with prefetch_mode: cpu, a thread would draw samples from the random numbers of the '
                         'training beside it, each time in another order: set num_worker_per_gpu to 1 or more, or '
                         'prefetch_mode: ~')


def check_device(opt: Options) -> None:
    """AssertionError: Torch not compiled with CUDA enabled."""
    if opt['model_type'] in NEED_A_GPU and opt['num_gpu'] == 0:
        raise ValueError(f'model_type: {opt["model_type"]} works on a GPU alone; on a CPU, KDSRTeacherModel, '
                         f'KDSRStudentModel and KDSRGANStudentModel train on {REAL_WORLD}, and SRModel tests such networks')


def check_names(opt: Options) -> None:
    """Figures, best weights and images are kept by the names of data sets, once benchmarks are written out."""
    names = [section.get('name') for section in opt['datasets'].values() if section['phase'] != 'train']
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'datasets: several sets to validate or test with are named {", ".join(twice)}, and their figures and '
                         'images would be mixed: give each a name of its own')


def check_pairs(opt: Options) -> None:
    """BasicSR's own models train on finished pairs; KeyError: 'lq' otherwise."""
    section = opt['datasets'].get('train') or {}
    if is_real_world(opt) and opt['model_type'] == 'SRModel':
        raise ValueError(f'datasets.train: SRModel trains on finished pairs, which {REAL_WORLD} does not give: give it '
                         f'another data set, or train with RealESRNetModel')
    if section.get('type') == 'BlindDegradationDataset' and not is_blind(opt) and not section.get('pairs'):
        raise ValueError(f'datasets.train: {opt["model_type"]} trains on finished pairs: set pairs: true')


def check_real_world(opt: Options) -> None:
    """BasicSR looks these keys up at the first step; its own models need a GPU, and are told so before."""
    if not is_real_world(opt) or not (is_blind(opt) or opt['model_type'] in NEED_A_GPU):
        return
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    if not opt.get('high_order_degradation', True):
        raise ValueError(f'high_order_degradation: false is for finished pairs, but {REAL_WORLD} has none: remove it')
    usm = [key for key in option_keys.of(model, option_keys.TOP) if key.endswith('gt_usm')] or ['gt_usm']
    for key in (*option_keys.DEGRADATION, *usm):
        if key not in opt:
            raise ValueError(f'{key!r} is missing at the top of the option file: {REAL_WORLD} leaves the degradation to '
                             'the model, see options/train_KDSR_GAN_teacher_x4.yml')
        num, value = NUM_VALUES.get(key.removesuffix('2')), opt[key]
        if num and not (isinstance(value, list) and len(value) == num and all(isinstance(v, (int, float)) for v in value)):
            raise ValueError(f'{key} must be a list of {num} numbers, got {value!r}')
        if 'prob' in key and not num and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ValueError(f'{key} must be a number from 0 to 1, got {value!r}')
    gt_size = opt['gt_size']
    if not isinstance(gt_size, int) or not 0 < gt_size <= REAL_WORLD_CROP or gt_size % opt['scale']:
        raise ValueError(f'gt_size at the top must be a multiple of the scale ({opt["scale"]}) up to {REAL_WORLD_CROP}, got '
                         f'{gt_size!r}')


def check_adversarial(opt: Options) -> None:
    """AttributeError at the first step otherwise."""
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    read = (*option_keys.of(model, option_keys.TRAIN), *getattr(model, 'other_keys', ()))
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


def is_real_world(opt: Options) -> bool:
    """Whether BasicSR's second-order degradation makes the images for training."""
    return (opt['datasets'].get('train') or {}).get('type') == REAL_WORLD


def is_blind(opt: Options) -> bool:
    """Whether the model is one of this package's."""
    from .models.blind_sr_model import BlindSRModel
    return issubclass(registry.MODEL_REGISTRY.get(opt['model_type']), BlindSRModel)
