"""State dicts of the authors' releases, from and to their layout."""
from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, Optional

import torch
from torch import Tensor

from .detection import count, our_arch, our_arguments
from .errors import CheckpointError
from .key_tables import kdsr_table, lightbsr_table

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def upstream_arch(state_dict: Iterable[str]) -> Optional[str]:
    """The network whose release has such keys, or None."""
    if 'G.head.0.weight' not in state_dict:
        return None
    if 'G.compress.0.weight' in state_dict:
        return 'LightBSRTeacher' if 'E.queue' in state_dict else 'LightBSR'
    if 'G.body.0.body.0.da_conv1.kernel.0.weight' in state_dict:
        return 'KDSR' if 'E_st.E.0.weight' in state_dict else 'KDSRTeacher'
    return None


def from_upstream(state_dict: Mapping[str, Tensor],
                  pca_basis: Optional[Tensor] = None) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Converts a state dict of LightBSR's or KDSR's release.

    Args:
        state_dict: A release's student or teacher.
        pca_basis: For LightBSR's teacher, (t, 441): the basis that the release keeps in a loose file. Without it the
            network takes given priors, but makes none of a kernel.

    Returns:
        Arch name, its keyword arguments, a state dict that loads strictly.

    Raises:
        CheckpointError: not such a state dict, or a basis of another shape.
    """
    arch = upstream_arch(state_dict)
    if arch is None:
        raise CheckpointError('this is no state dict of LightBSR\'s or KDSR\'s release: it has no G.head.0.weight, or no '
                              'block that is known')
    try:
        kwargs = {'scale': _read_scale(state_dict), 'num_feat': state_dict['G.head.0.weight'].shape[0],
                  **(_read_lightbsr if arch.startswith('LightBSR') else _read_kdsr)(state_dict)}
    except (KeyError, IndexError, ValueError):
        raise CheckpointError(f'this state dict is incomplete, or of another network than the release\'s {arch}') from None
    converted = _rename({k: v for k, v in state_dict.items() if '_mean.' not in k}, _key_table(arch, kwargs))
    if arch == 'LightBSRTeacher':
        kwargs |= _read_prior(state_dict)
        converted |= _basis_entry(pca_basis, kwargs['prior_dim'])
    return arch, kwargs, converted


def to_upstream(arch: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_upstream`; the mean shift's fixed layers are added, the PCA basis is left out.

    Raises:
        CheckpointError: the releases have no such network, as an ablation is.
    """
    if arch not in ('LightBSR', 'LightBSRTeacher', 'KDSR', 'KDSRTeacher'):
        raise CheckpointError(f'the releases have no {arch}: LightBSR, LightBSRTeacher, KDSR and KDSRTeacher can be '
                              'converted')
    if our_arch(state_dict) != arch:
        raise CheckpointError(f'this state dict is incomplete, or no {arch}')
    kwargs = our_arguments(arch, state_dict)
    table = {ours: theirs for theirs, ours in _key_table(arch, kwargs).items()}
    mean = torch.tensor(DIV2K_MEAN)
    fixed = {f'G.{name}.{key}': value for name, bias in (('sub_mean', -mean), ('add_mean', mean))
             for key, value in (('weight', torch.eye(3).view(3, 3, 1, 1)), ('bias', bias))}
    converted = fixed | _rename({k: v for k, v in state_dict.items() if k != 'pca_basis'}, table)
    if upstream_arch(converted) != arch or from_upstream(converted)[1] != kwargs:
        raise CheckpointError(f'the releases have no such {arch}, with {kwargs}: it is one of this package alone')
    return converted


def _key_table(arch: str, sizes: Mapping[str, Any]) -> dict[str, str]:
    if arch.startswith('LightBSR'):
        return lightbsr_table(arch, sizes['scale'], sizes['num_group'], sizes['num_block'])
    return kdsr_table(arch, sizes['scale'], sizes['num_block'], sizes.get('num_estimator_block', 0))  # no estimator


def _rename(state_dict: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """Replaces each key's prefix by the longest that the table has."""
    renamed = {}
    for key, value in state_dict.items():
        prefixes = [key[:n] for n in range(len(key), 0, -1) if key[:n] in table]
        if not prefixes:
            raise CheckpointError(f'unexpected key {key!r}: the network is not one of the releases')
        renamed[table[prefixes[0]] + key[len(prefixes[0]):]] = value
    return renamed


def _read_scale(state_dict: Mapping[str, Tensor]) -> int:
    factor = state_dict['G.tail.0.0.weight'].shape[0] // state_dict['G.head.0.weight'].shape[0]
    return 3 if factor == 9 else 4 if 'G.tail.0.2.weight' in state_dict else 2


def _read_lightbsr(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Behind the groups stands a convolution, behind a group's blocks a ConvNeXt block and a convolution."""
    return {'num_group': count(state_dict, r'G\.body\.(\d+)\.') - 1,
            'num_block': count(state_dict, r'G\.body\.0\.body\.(\d+)\.') - 2}


def _read_kdsr(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    return {'num_block': count(state_dict, r'G\.body\.0\.body\.(\d+)\.'),
            'num_estimator_block': len([k for k in state_dict if re.fullmatch(r'E(_st)?\.E\.\d+\.body\.0\.weight', k)])}


def _read_prior(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """The release always has 15 values for the kernel; 3 more stand for the noise."""
    num_prior = state_dict['E.encoder_q.E.0.weight'].shape[1] - 3
    noise_prior = num_prior in (3, 18)
    return {'prior_dim': num_prior - 3 * noise_prior, 'noise_prior': noise_prior,
            'queue_size': state_dict['E.queue'].shape[1]}


def _basis_entry(pca_basis: Optional[Tensor], prior_dim: int) -> dict[str, Tensor]:
    if not prior_dim:
        return {}
    shape = (prior_dim, 441)
    if pca_basis is not None and tuple(pca_basis.shape) != shape:
        raise CheckpointError(f'pca_basis must have shape {shape}, one row a component, got {tuple(pca_basis.shape)}')
    return {'pca_basis': torch.zeros(shape) if pca_basis is None else pca_basis.float()}
