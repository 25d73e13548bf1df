"""State dicts of the authors' releases: their keys beside ours, as tables of prefixes."""
from __future__ import annotations

from typing import Any, Mapping, Optional

import torch
from torch import Tensor

from .errors import CheckpointError

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
STUDENT = {'E.E.': 'estimator.'}
TEACHER = {'E.encoder_q.E.': 'encoder.query.estimator.', 'E.encoder_q.mlp.': 'encoder.query.projector.',
           'E.encoder_k.E.': 'encoder.key.estimator.', 'E.encoder_k.mlp.': 'encoder.key.projector.',
           'E.queue_ptr': 'encoder.queue_pointer', 'E.queue': 'encoder.queue'}
TRUNK = {'G.head.0.': 'trunk.head.', 'G.compress.0.': 'converter.channel.', 'G.afterpixshuffle.0.': 'converter.spatial.'}
GROUP = {'ca_change.avgafter.': 'correction.channel.', 'xk_change.sig1.': 'correction.spatial.'}
BLOCK = {'spatial_mixing.spatial_attention.': 'spatial_gate.', 'spatial_mixing.partial_conv3.': 'spatial_conv.',
         'spatial_mixing.loc.avgafter.': 'channel_gate.'}
CONVNEXT = {'gamma': 'gamma', 'dwconv.': 'depthwise.', 'norm.': 'norm.', 'pwconv1.': 'expand.', 'pwconv2.': 'project.'}


def is_upstream(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of LightBSR's release."""
    return 'G.head.0.weight' in state_dict and 'G.compress.0.weight' in state_dict


def key_table(arch: str, num_group: int, num_block: int, scale: int) -> dict[str, str]:
    """Prefixes of the release's keys beside ours, for one size of network."""
    table = {**TRUNK, **(STUDENT if arch == 'LightBSR' else TEACHER)}
    for g in range(num_group):
        theirs, ours = f'G.body.{g}.', f'trunk.groups.{g}.'
        table |= {theirs + a: ours + b for a, b in GROUP.items()}
        for k in range(num_block):
            table |= {f'{theirs}body.{k}.{a}': f'{ours}blocks.{k}.{b}' for a, b in BLOCK.items()}
            table |= {f'{theirs}body.{k}.{a}': f'{ours}blocks.{k}.body.{b}' for a, b in CONVNEXT.items()}
        table |= {f'{theirs}body.{num_block}.{a}': f'{ours}convnext.{b}' for a, b in CONVNEXT.items()}
        table[f'{theirs}body.{num_block + 1}.'] = f'{ours}conv.'
    table[f'G.body.{num_group}.'] = 'trunk.fusion.'
    num_shuffle = 2 if scale == 4 else 1
    table |= {f'G.tail.0.{2 * i}.': f'trunk.upsampler.{2 * i}.' for i in range(num_shuffle)}
    table['G.tail.1.'] = f'trunk.upsampler.{2 * num_shuffle}.'
    return table


def from_upstream(state_dict: Mapping[str, Tensor],
                  pca_basis: Optional[Tensor] = None) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Converts a state dict of LightBSR's release.

    Args:
        state_dict: The release's student or teacher.
        pca_basis: For a teacher, (t, 441): the basis that the release keeps in a loose file. Without it the network
            takes given priors, but makes none of a kernel.

    Returns:
        Arch name, its keyword arguments, a state dict that loads strictly.

    Raises:
        CheckpointError: not such a state dict, or a basis of another shape.
    """
    if not is_upstream(state_dict):
        raise CheckpointError('this is no state dict of LightBSR\'s release: it has no G.head.0.weight')
    arch = 'LightBSRTeacher' if 'E.queue' in state_dict else 'LightBSR'
    try:
        kwargs = _read_size(state_dict)
    except (KeyError, IndexError, ValueError):
        raise CheckpointError('this state dict is incomplete, or of another network than LightBSR\'s release') from None
    table = key_table(arch, kwargs['num_group'], kwargs['num_block'], kwargs['scale'])
    converted = _rename({k: v for k, v in state_dict.items() if '_mean.' not in k}, table)
    if arch == 'LightBSRTeacher':
        kwargs |= _read_prior(state_dict)
        converted |= _basis_entry(pca_basis, kwargs['prior_dim'])
    return arch, kwargs, converted


def to_upstream(arch: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_upstream`; the mean shift's fixed layers are added, the PCA basis is left out.

    Raises:
        CheckpointError: the release has no such network.
    """
    if arch not in ('LightBSR', 'LightBSRTeacher'):
        raise CheckpointError(f'LightBSR\'s release has no {arch}: only LightBSR and LightBSRTeacher can be converted')
    num_group = 1 + max(int(k.split('.')[2]) for k in state_dict if k.startswith('trunk.groups.'))
    num_block = 1 + max(int(k.split('.')[4]) for k in state_dict if k.startswith('trunk.groups.0.blocks.'))
    scale = 4 if 'trunk.upsampler.4.weight' in state_dict else 2
    table = {ours: theirs for theirs, ours in key_table(arch, num_group, num_block, scale).items()}
    mean = torch.tensor(DIV2K_MEAN)
    fixed = {f'G.{name}.{key}': value for name, bias in (('sub_mean', -mean), ('add_mean', mean))
             for key, value in (('weight', torch.eye(3).view(3, 3, 1, 1)), ('bias', bias))}
    return fixed | _rename({k: v for k, v in state_dict.items() if k != 'pca_basis'}, table)


def _rename(state_dict: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """Replaces each key's prefix by the longest that the table has."""
    renamed = {}
    for key, value in state_dict.items():
        prefixes = [key[:n] for n in range(len(key), 0, -1) if key[:n] in table]
        if not prefixes:
            raise CheckpointError(f'unexpected key {key!r}: the network is not one of LightBSR\'s release')
        renamed[table[prefixes[0]] + key[len(prefixes[0]):]] = value
    return renamed


def _read_size(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    num_feat = state_dict['G.head.0.weight'].shape[0]
    factor = state_dict['G.tail.0.0.weight'].shape[0] // num_feat
    return {'scale': 3 if factor == 9 else 4 if 'G.tail.0.2.weight' in state_dict else 2,
            'num_feat': num_feat,
            'num_group': max(int(k.split('.')[2]) for k in state_dict if k.startswith('G.body.')),
            'num_block': max(int(k.split('.')[4]) for k in state_dict if k.startswith('G.body.0.body.')) - 1}


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
