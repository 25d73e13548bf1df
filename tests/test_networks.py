from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network

from lightbsr_arch import checkpoints
from lightbsr_arch.degradations import degrade, imresize, isotropic_kernel
from lightbsr_arch.evaluation.networks import load_method
from tests import tiny_options as tiny

SWINIR = {'type': 'SwinIR', 'upscale': 4, 'in_chans': 3, 'img_size': 8, 'window_size': 8, 'img_range': 1., 'depths': [2],
          'embed_dim': 12, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffle', 'resi_connection': '1conv'}
NETWORKS = [{'type': 'LightBSR', **tiny.TINY}, {'type': 'LightBSRTeacher', **tiny.TINY, 'queue_size': 16},
            {'type': 'KDSR', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1},
            {'type': 'KDSRTeacher', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1, 'oracle': True}, SWINIR]


def sample(height: int = 40, width: int = 52) -> dict[str, Any]:
    gt = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return {'gt': gt[0], 'lq': degrade(gt, isotropic_kernel(2.0), 4)[0], 'kernel': isotropic_kernel(2.0)[0],
            'noise': torch.tensor(0.)}


def write(section: dict[str, Any], path: Path, named: bool = True) -> str:
    torch.manual_seed(0)
    network = build_network(dict(section))
    if getattr(network, 'pca_basis', None) is not None:
        network.pca_basis.normal_()
    checkpoints.write({'params': network.state_dict()} | ({'network': section} if named else {}), str(path))
    return str(path)


@pytest.mark.parametrize('section', NETWORKS, ids=lambda section: section['type'])
def test_any_network_restores_a_sample_of_any_size(section: dict[str, Any], tmp_path: Path) -> None:
    method = load_method('mine', write(section, tmp_path / 'net.pth'))
    sr = method.super_resolve(sample())
    assert sr.shape == (3, 40, 52) and 0 <= sr.min() and sr.max() <= 1 and not method.network.training
    assert dict(method.section) == section and torch.equal(sr, method.super_resolve(sample()))
    assert not torch.equal(sr, method.super_resolve(sample() | {'lq': sample()['lq'].flip(1)}))


def test_a_network_without_parameters_needs_no_weights() -> None:
    sr = load_method('bicubic', {'network': {'type': 'Bicubic', 'scale': 4}}).super_resolve(sample())
    torch.testing.assert_close(sr, imresize(sample()['lq'][None], 4)[0].clamp(0, 1))


@pytest.mark.parametrize('source, message', [
    ({}, 'mine: give a file of weights, or a section'), ({'network': {'type': 'LightBSR'}}, 'LightBSR has no weights: add weights'),
    ('gone.pth', 'there is no file gone.pth'), ('unnamed.pth', 'does not say which network'),
    ({'network': {'type': 'LightBSR'}, 'weights': 'unnamed.pth'}, 'mine: unnamed.pth: .*Missing key'),
    ({'network': {'type': 'LigthBSR'}}, "mine: .*there is no arch named 'LigthBSR'; did you mean"),
    ({'network': {'type': 'LightBSR', 'num_faet': 8}}, 'mine: .*num_faet')], ids=str)
def test_what_cannot_be_loaded(source: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(SWINIR, tmp_path / 'unnamed.pth', named=False)
    with pytest.raises(ValueError, match=message):
        load_method('mine', source)
