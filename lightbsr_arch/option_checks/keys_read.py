"""Keys that are missing, and keys that nobody reads."""
from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from basicsr.utils import registry

from ..config import DatasetOptions, suggest
from . import basicsr_keys
from .sections import Options, is_blind, is_real_world, require

PACKAGE = __name__.split('.')[0]
PATHS_OF_BASICSR = {'experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'}
SET_BY_BASICSR = {'dist', 'rank', 'world_size', 'auto_resume', 'is_train'}
EXPANDED = ('benchmarks', 'degradations')  # to sections of a benchmark and a degradation each


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
    ours = {'': (*basicsr_keys.REAL_WORLD, 'gt_usm') if is_real_world(opt) else (), 'val': ('idr_statistics',)}
    ours = ours if is_blind(opt) else {}
    top = {key for key in opt if key not in SET_BY_BASICSR and not str(key).startswith('network_')}
    yield '', dict.fromkeys(top), [*basicsr_keys.of(model, basicsr_keys.TOP), *ours.get('', ())]
    for name, table in (('val', basicsr_keys.VAL), ('logger', basicsr_keys.LOGGER), ('train', basicsr_keys.TRAIN)):
        if opt.get(name) is not None and not (name == 'train' and is_blind(opt)):  # our models check theirs
            yield name, opt[name], [*basicsr_keys.of(model, table), *ours.get(name, ())]
    for name, keys in basicsr_keys.FIXED.items():
        *parents, last = name.split('.')
        section = ((opt.get(parents[0]) or {}) if parents else opt).get(last)
        if section is not None:
            yield name, section, list(keys)


def dataset_keys(dataset: type) -> list[str]:
    """The keys that a class of data sets reads."""
    ours = [f.name for f in fields(DatasetOptions)] if dataset.__module__.startswith(PACKAGE) else []
    return [*basicsr_keys.of(dataset, basicsr_keys.DATASETS), *ours, *(EXPANDED if ours else ())]


def is_foreign(cls: type) -> bool:
    """Whether a class is neither BasicSR's nor ours."""
    return cls.__module__.split('.')[0] not in ('basicsr', PACKAGE)


def refuse_others(where: str, section: Any, known: list[str], only_near_misses: bool) -> None:
    require(where, section)
    for key in section:
        near = difflib.get_close_matches(str(key), known, 1, 0.8)
        if key not in known and (near or not only_near_misses):
            raise ValueError(f'{where}{": " if where else ""}unknown key {key!r}{suggest(key, known)}')
