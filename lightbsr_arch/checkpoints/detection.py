"""Which of this package's networks a state dict is of, and its arguments: read off keys and shapes.

What the weights cannot tell is left out of the arguments, and so at its default: `layer_scale` and `detail_init`
(the start), `idr_noise`, `momentum` and `patch_by_patch`, which change how a network is trained or probed; `correction` where
no gate reads the IDR; `queue_size` without a queue; `num_estimator_block` without an estimator.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from torch import Tensor

from .errors import CheckpointError

ENDS = {'trunk.head.weight', 'trunk.fusion.weight', 'trunk.upsampler.0.weight', 'trunk.upsampler.2.weight'}
PARTS = r'(trunk|estimator|converter|encoder)\.|pca_basis$'


def our_arch(state_dict: Mapping[str, Tensor]) -> Optional[str]:
    """The network of this package whose state dict this is, in its own layout, or None."""
    if not ENDS <= state_dict.keys() or not all(re.match(PARTS, key) for key in state_dict):
        return None
    if 'trunk.groups.0.blocks.0.body.gamma' in state_dict:
        return 'LightBSRTeacher' if 'encoder.query.estimator.0.weight' in state_dict else 'LightBSR'
    if 'trunk.blocks.0.conv.weight' in state_dict:
        first = state_dict.get('estimator.features.0.weight')
        return 'KDSR' if first is None or first.shape[1] == 3 else 'KDSRTeacher'
    return None


def our_arguments(arch: str, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a network that `our_arch` named; those that only an ablation changes, where it did.

    Raises:
        CheckpointError: tensors are missing, or of a shape that the network does not have.
    """
    try:
        kwargs = {'scale': _scale(state_dict), 'num_feat': state_dict['trunk.head.weight'].shape[0]}
        if arch in ('KDSR', 'KDSRTeacher'):
            return kwargs | _kdsr(arch, state_dict, kwargs['scale'])
        return kwargs | _lightbsr(state_dict) | (_teacher(state_dict) if arch == 'LightBSRTeacher' else {})
    except (KeyError, IndexError, ValueError):
        raise CheckpointError(f'this state dict is incomplete, or no {arch}') from None


def count(keys: Iterable[str], pattern: str) -> int:
    """One more than the largest index that `pattern` finds.

    Raises:
        ValueError: it finds none.
    """
    return 1 + max(int(match[1]) for match in (re.match(pattern, key) for key in keys) if match)


def _scale(state_dict: Mapping[str, Tensor]) -> int:
    """A convolution widens C channels to 4C (x2, twice for x4) or 9C (x3)."""
    num_out, num_feat = state_dict['trunk.upsampler.0.weight'].shape[:2]
    twice = 'trunk.upsampler.4.weight' in state_dict
    return {(4, False): 2, (9, False): 3, (4, True): 4}[num_out // num_feat, twice]


def _lightbsr(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    block = 'trunk.groups.0.blocks.0.'
    gates = {gate: f'{block}{gate}.0.weight' in state_dict for gate in ('channel_gate', 'spatial_gate')}
    correction = any(key.startswith('trunk.groups.0.correction.') for key in state_dict) or not any(gates.values())
    parts = gates | {'correction': correction}
    return {'num_group': count(state_dict, r'trunk\.groups\.(\d+)\.'),
            'num_block': count(state_dict, r'trunk\.groups\.0\.blocks\.(\d+)\.'),
            **{name: False for name, there in parts.items() if not there}}


def _teacher(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """The estimator sees the image, the kernel's values and, if it is told the noise, 3 values for it."""
    num_prior = state_dict['encoder.query.estimator.0.weight'].shape[1] - 3
    prior_dim = state_dict['pca_basis'].shape[0] if 'pca_basis' in state_dict else 0
    noise_prior = {0: False, 3: True}[num_prior - prior_dim]
    contrast = {'queue_size': state_dict['encoder.queue'].shape[1]} if 'encoder.queue' in state_dict else {'contrastive': False}
    return {'prior_dim': prior_dim, 'noise_prior': noise_prior, **contrast}


def _kdsr(arch: str, state_dict: Mapping[str, Tensor], scale: int) -> dict[str, Any]:
    num_block = count(state_dict, r'trunk\.blocks\.(\d+)\.')
    if 'trunk.blocks.0.ordinary.weight' in state_dict:
        return {'num_block': num_block, 'dynamic': False}
    seen = state_dict['estimator.features.0.weight'].shape[1]
    oracle = {3: {}, 3 + 3 * scale**2: {}, 1: {'oracle': True}}[seen]
    residual_blocks = [key for key in state_dict if re.fullmatch(r'estimator\.features\.\d+\.0\.weight', key)]
    return {'num_block': num_block, 'num_estimator_block': len(residual_blocks), **oracle}
