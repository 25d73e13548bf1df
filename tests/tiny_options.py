"""Option files for tests, as dictionaries: a network of two blocks on 96 x 80 images."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TINY = {'num_feat': 16, 'num_group': 1, 'num_block': 1}
METRICS = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True}}
STAGES = [{'trains': 'idr', 'iterations': 2, 'lr': 1e-3}, {'trains': 'all', 'iterations': 2, 'lr': 1e-3}]


def training(images: Path, name: str = 'tiny', **changes: Any) -> dict[str, Any]:
    """What every training shares; `changes` replace top-level keys."""
    return {
        'name': name, 'scale': 4, 'num_gpu': 'auto', 'manual_seed': 0,
        'datasets': {
            'train': {'name': 'train', 'type': 'BlindDegradationDataset', 'dataroot_gt': str(images),
                      'degradation': 'setting1', 'gt_size': 64, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0},
            'val': {'type': 'BlindDegradationDataset', 'benchmarks': {'val': str(images)},
                    'degradations': [{'sigma': 1.2}]}},
        'path': {},
        'train': {'optim_g': {'type': 'Adam', 'betas': [0.9, 0.99]}, 'pixel_opt': {'type': 'L1Loss', 'loss_weight': 255}},
        'val': {'val_freq': 100, 'save_img': False, 'metrics': METRICS},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    } | changes


def teacher(images: Path, name: str = 'teacher', **network: Any) -> dict[str, Any]:
    """A LightBSR teacher; `network` are further arguments of its network."""
    opt = training(images, name, model_type='LightBSRTeacherModel',
                   network_g={'type': 'LightBSRTeacher', **TINY, 'queue_size': 16, **network})
    opt['datasets']['train']['num_patches'] = 3
    opt['train'] |= {'stages': STAGES, 'contrastive_opt': {'type': 'ContrastiveLoss'}}
    return opt


def student(images: Path, teacher_weights: Path | str, name: str = 'student', **network: Any) -> dict[str, Any]:
    """A LightBSR student of the teacher in a file."""
    opt = training(images, name, model_type='LightBSRStudentModel', network_g={'type': 'LightBSR', **TINY, **network})
    opt['path'] = {'pretrain_network_t': str(teacher_weights)}
    opt['train'] |= {'stages': STAGES, 'channel_distill_opt': {'type': 'ChannelDistillationLoss'},
                     'spatial_distill_opt': {'type': 'SpatialDistillationLoss'}}
    return opt


def benchmark(images: Path, name: str = 'test', **changes: Any) -> dict[str, Any]:
    """A test of bicubic interpolation under one degradation; `changes` replace top-level keys."""
    return {
        'name': name, 'model_type': 'SRModel', 'scale': 4, 'num_gpu': 'auto', 'manual_seed': 0,
        'datasets': {'test': {'type': 'BlindDegradationDataset', 'benchmarks': {'Set5': str(images)},
                              'degradations': [{'sigma': 1.2}]}},
        'network_g': {'type': 'Bicubic', 'scale': 4}, 'path': {},
        'val': {'save_img': False, 'suffix': None, 'metrics': METRICS}} | changes


def write(opt: dict[str, Any], folder: Path) -> Path:
    """Writes an option file and returns its path."""
    path = folder / f'{opt["name"]}.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path
