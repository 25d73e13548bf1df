"""The sections whose `type` names a class or function: their keys are its arguments."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils import registry

from ..config import check_types, suggest
from .keys_read import is_foreign
from .sections import Options, is_blind, require

OPTIMIZERS = {'Adam': torch.optim.Adam, 'AdamW': torch.optim.AdamW}
SCHEDULERS = {'MultiStepLR': lr_scheduler.MultiStepRestartLR, 'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
              'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR}
GIVEN_BY_THE_RUN = {'params', 'optimizer', 'img', 'img2'}  # arguments that no option file sets


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


def typed_sections(opt: Options) -> Iterator[tuple[str, Any, Callable[[str], Callable]]]:
    """The sections whose `type` names a class or function: where, the section, and what finds it by name."""
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    is_basicsrs = model.__module__.startswith('basicsr.')
    for key, section in opt.items():
        if key.startswith('network_'):
            yield key, section, registry.ARCH_REGISTRY.get
    for key, section in (opt.get('train') or {}).items():
        if is_foreign(model) and not has_known_type(section):  # another plugin's model makes it itself
            continue
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


def has_known_type(section: Any) -> bool:
    return isinstance(section, dict) and any(
        section.get('type') in makers for makers in (registry.LOSS_REGISTRY, OPTIMIZERS, SCHEDULERS))


def one_of(kind: str, makers: dict[str, Callable]) -> Callable[[str], Callable]:
    """Finds in a dictionary as `Registry.get` does in a registry."""
    def find(name: str) -> Callable:
        if name not in makers:
            raise ValueError(f'there is no {kind} named {name!r}{suggest(name, list(makers))}')
        return makers[name]
    return find


def check_arguments(where: str, section: Any, find: Callable[[str], Callable]) -> None:
    """Compares a section's keys with the arguments of what its `type` names. BasicSR itself does nothing with what it takes as
    `**kwargs`, but for a metric's `better`; other plugins may hand them on.

    Raises:
        ValueError: no such type, an unknown or a missing key.
    """
    require(where, section, 'type')
    kind = section['type']
    try:
        made = find(kind)
        parameters = inspect.signature(made).parameters.values()
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from None
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
             and p.name not in GIVEN_BY_THE_RUN]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = [p.name for p in named] + ['better'] * (takes_any and where.startswith('val.metrics.'))
    unknown = [key for key in section if key not in ('type', *known)]
    if unknown and not (takes_any and is_foreign(made)):
        raise ValueError(f'{where}: {kind} has no {unknown[0]!r}{suggest(unknown[0], known)}')
    missing = [p.name for p in named if p.default is p.empty and p.name not in section]
    if missing:
        raise ValueError(f'{where}: {kind} needs {missing[0]!r}')
    check_types({p.name: p.annotation for p in named}, section, where)  # BasicSR annotates next to nothing
