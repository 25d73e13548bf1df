"""Data sets that a model can train on, and that do not get in each other's way."""
from __future__ import annotations

import torch

from .sections import REAL_WORLD, Options, is_blind, is_real_world


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


def check_crops(opt: Options) -> None:
    """BasicSR's data sets search the current folder for want of a dataroot (of optical flow there may be none); other crops
    fail in the loss.
    """
    for key, section in opt['datasets'].items():
        for root in [name for name in section if str(name).startswith('dataroot')]:
            if section[root] is None and root != 'dataroot_flow':
                raise ValueError(f'datasets.{key}: {root} is empty: name a folder')
        most = section.get('max_unreadable', 0)
        if not isinstance(most, int) or most < 0:
            raise ValueError(f'datasets: {key}: max_unreadable must be 0 or more, got {most!r}')
        gt_size = section.get('gt_size', 0)
        if 'dataroot_lq' in section and not isinstance(gt_size, int):
            raise ValueError(f'datasets.{key}: gt_size must be a whole number, got {gt_size!r}')
        if 'dataroot_lq' in section and gt_size % opt['scale']:
            raise ValueError(f'datasets.{key}: gt_size ({gt_size}) must be a multiple of the scale ({opt["scale"]})')


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
