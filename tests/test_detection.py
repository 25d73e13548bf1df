"""Networks recognised from their weights alone."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.checkpoints import CheckpointError, our_arch, our_arguments
from tests import upstream_weights
from tests.small_networks import SIZES, build
from tests.upstream_weights import same

NO_GATE = {'channel_gate': False, 'spatial_gate': False}
TEACHER = {'prior_dim': 15, 'noise_prior': False}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ('LightBSR', {}), ('LightBSR', {'num_feat': 24, 'num_group': 3, 'num_block': 1}), ('LightBSR', {'num_group': 1, 'num_block': 11}),
    ('LightBSR', {'channel_gate': False}), ('LightBSR', {'spatial_gate': False}), ('LightBSR', NO_GATE),
    ('LightBSR', {'correction': False}), ('LightBSR', {'channel_gate': False, 'correction': False}),
    ('LightBSRTeacher', TEACHER), ('LightBSRTeacher', {'prior_dim': 15, 'noise_prior': True}),
    ('LightBSRTeacher', {'prior_dim': 18, 'noise_prior': False}), ('LightBSRTeacher', {'prior_dim': 3, 'noise_prior': False}),
    ('LightBSRTeacher', {'prior_dim': 0, 'noise_prior': False}), ('LightBSRTeacher', {'prior_dim': 0, 'noise_prior': True}),
    ('LightBSRTeacher', TEACHER | {'queue_size': 7}), ('LightBSRTeacher', TEACHER | {'contrastive': False}),
    ('LightBSRTeacher', TEACHER | NO_GATE), ('LightBSRTeacher', TEACHER | {'spatial_gate': False, 'correction': False}),
    ('KDSR', {}), ('KDSR', {'num_feat': 12, 'num_block': 11, 'num_estimator_block': 0}), ('KDSR', {'dynamic': False}),
    ('KDSRTeacher', {}), ('KDSRTeacher', {'num_estimator_block': 3}), ('KDSRTeacher', {'oracle': True})]


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('arch, changes', VARIANTS, ids=str)
def test_every_variant_is_recognised(tmp_path: Path, arch: str, changes: dict[str, Any], scale: int) -> None:
    net = build(arch, scale=scale, **changes)
    expected = {'scale': scale} | SIZES[arch] | changes
    if not expected.get('contrastive', True):
        del expected['queue_size']  # there is none
    if not expected.get('dynamic', True):
        del expected['num_estimator_block']
    checkpoints.write({'params': net.state_dict()}, str(tmp_path / 'net.pth'))
    found, kwargs, state_dict = checkpoints.load(str(tmp_path / 'net.pth'))
    assert (found, kwargs) == (arch, expected) and same(state_dict, net.state_dict())
    getattr(archs, found)(**kwargs).load_state_dict(state_dict)


def test_what_a_file_says_goes_before_what_its_weights_tell(tmp_path: Path) -> None:
    kwargs = {'scale': 4, **SIZES['LightBSR'], 'idr_noise': 1.0}
    checkpoints.write({'params': build('LightBSR').state_dict(), 'network': {'type': 'LightBSR', **kwargs}}, str(tmp_path / 'a.pth'))
    assert checkpoints.load(str(tmp_path / 'a.pth'))[:2] == ('LightBSR', kwargs)
    assert checkpoints.read_named(str(tmp_path / 'a.pth')).kwargs == kwargs


@pytest.mark.parametrize('arch, kwargs', [
    ('EDSR', {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2}),
    ('RRDBNet', {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}),
    ('MSRResNet', {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2}),
    ('RCAN', {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_group': 1, 'num_block': 1}),
    ('SRVGGNetCompact', {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2}),
    ('SwinIR', {'img_size': 8, 'window_size': 4, 'embed_dim': 8, 'depths': [1], 'num_heads': [2], 'upsampler': 'pixelshuffle'}),
    ('VGGStyleDiscriminator', {'num_in_ch': 3, 'num_feat': 4})])
def test_other_networks_are_refused(tmp_path: Path, arch: str, kwargs: dict[str, Any]) -> None:
    state_dict = ARCH_REGISTRY.get(arch)(**kwargs).state_dict()
    assert our_arch(state_dict) is None and checkpoints.upstream_arch(state_dict) is None
    checkpoints.write({'params': state_dict}, str(tmp_path / 'net.pth'))
    with pytest.raises(CheckpointError, match='net.pth does not say which network it holds, and its weights are not of'):
        checkpoints.load(str(tmp_path / 'net.pth'))


@pytest.mark.parametrize('arch', ['LightBSR', 'KDSR'])
@pytest.mark.parametrize('key', ['neck.weight', 'module.trunk.head.weight', 'head.weight'])
def test_a_foreign_key_makes_a_foreign_network(arch: str, key: str) -> None:
    assert our_arch(build(arch).state_dict() | {key: torch.zeros(1)}) is None


@pytest.mark.parametrize('arch, part', [
    ('LightBSR', 'trunk.head.'), ('LightBSR', 'trunk.fusion.'), ('LightBSR', 'trunk.groups.'), ('KDSR', 'trunk.blocks.'),
    ('KDSR', 'trunk.upsampler.')])
def test_half_a_network_is_refused(tmp_path: Path, arch: str, part: str) -> None:
    state_dict = {k: v for k, v in build(arch).state_dict().items() if not k.startswith(part)}
    checkpoints.write(state_dict, str(tmp_path / 'net.pth'))
    with pytest.raises(CheckpointError, match='net.pth does not say which'):
        checkpoints.load(str(tmp_path / 'net.pth'))


@pytest.mark.parametrize('arch, key, shape', [
    ('LightBSRTeacher', 'encoder.query.estimator.0.weight', (32, 4, 3, 3)), ('LightBSRTeacher', 'pca_basis', (10, 441)),
    ('KDSRTeacher', 'estimator.features.0.weight', (8, 15, 3, 3)), ('LightBSR', 'trunk.upsampler.0.weight', (40, 8, 3, 3))])
def test_shapes_that_no_network_has_are_refused(tmp_path: Path, arch: str, key: str, shape: tuple[int, ...]) -> None:
    checkpoints.write(build(arch).state_dict() | {key: torch.zeros(shape)}, str(tmp_path / 'net.pth'))
    with pytest.raises(CheckpointError, match=f'net.pth: this state dict is incomplete, or no {arch}'):
        checkpoints.load(str(tmp_path / 'net.pth'))


@pytest.mark.parametrize('network', ['lightbsr_student_x4', 'lightbsr_teacher_setting2_x4', 'kdsr_student_m_x4', 'kdsr_teacher_l_x4'])
def test_the_releases_arguments_are_the_same_in_both_layouts(network: str) -> None:
    theirs = upstream_weights.state_dict(network)
    arch, kwargs, ours = checkpoints.from_upstream(theirs)
    assert our_arch(theirs) is None and checkpoints.upstream_arch(ours) is None
    assert our_arch(ours) == arch and our_arguments(arch, ours) == kwargs


@pytest.mark.parametrize('arch, changes', [
    ('LightBSR', {'channel_gate': False}), ('LightBSR', {'correction': False}), ('LightBSR', NO_GATE),
    ('LightBSRTeacher', {'contrastive': False}), ('LightBSRTeacher', {'prior_dim': 18}), ('KDSR', {'dynamic': False}),
    ('KDSRTeacher', {'oracle': True})], ids=str)
def test_ablations_have_no_upstream_layout(arch: str, changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match='the releases have no such|is not one of the releases'):
        checkpoints.to_upstream(arch, build(arch, **changes).state_dict())
