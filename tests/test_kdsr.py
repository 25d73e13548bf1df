"""KDSR: networks against the release, and training through `basicsr train`."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.archs.kdsr_arch import dynamic_convolution
from tests import tiny_options as tiny
from tests import upstream_weights

SMALL = {'num_feat': 8, 'num_block': 2, 'num_estimator_block': 1}
NETWORKS = ['kdsr_student_m_x4', 'kdsr_teacher_m_x4', 'kdsr_student_l_x4', 'kdsr_teacher_l_x4']


def agree(found: torch.Tensor, expected: np.ndarray) -> bool:
    return np.abs(found.numpy() - expected).max() < 1e-4 * expected.std()


@pytest.mark.parametrize('network', NETWORKS)
def test_outputs_are_the_releases(network: str, request: pytest.FixtureRequest) -> None:
    folder = upstream_weights.GOLDEN if '_m_' in network else request.getfixturevalue('shared') / 'reference'
    values = np.load(folder / f'{network}.npz')
    arch, kwargs, state_dict = checkpoints.from_upstream(upstream_weights.state_dict(network))
    net = getattr(archs, arch)(**kwargs).eval()
    net.load_state_dict(state_dict)
    inputs = [torch.from_numpy(values[key]) for key in ('lq', 'gt') if key in values]
    with torch.no_grad():
        sr, idr = net(*inputs, return_idr=True)
        alone = net(*inputs, idr_only=True)
        last = net.to(memory_format=torch.channels_last)(*(x.to(memory_format=torch.channels_last) for x in inputs))
    assert agree(sr, values['sr']) and agree(idr.guide, values['idr']) and agree(idr.distill, values['idr_distill'])
    assert agree(last, values['sr']) and torch.equal(alone.guide, idr.guide)
    assert upstream_weights.same(checkpoints.to_upstream(arch, state_dict), upstream_weights.state_dict(network))


@pytest.mark.parametrize('arch, sizes, num_parameter', [
    ('KDSR', (64, 53, 9), 5_795_099), ('KDSR', (128, 28, 5), 14_191_003), ('KDSR', (128, 42, 6), 18_846_107),
    ('KDSRTeacher', (64, 53, 9), 5_822_747), ('KDSRTeacher', (128, 28, 5), 14_246_299), ('KDSRTeacher', (128, 42, 6), 18_901_403)])
def test_sizes_are_the_releases(arch: str, sizes: tuple[int, int, int], num_parameter: int) -> None:
    with torch.device('meta'):
        net = getattr(archs, arch)(4, *sizes)
    assert sum(p.numel() for p in net.parameters()) == num_parameter - 24  # the release's fixed mean shift


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (7, 3)])
def test_any_size_and_batch(scale: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net, lq = archs.KDSR(scale, **SMALL).eval(), torch.rand(3, 3, *size)
    sr = net(lq)
    assert sr.shape[-2:] == (scale * size[0], scale * size[1])
    torch.testing.assert_close(sr, torch.cat([net(x[None]) for x in lq]), rtol=0, atol=1e-5)


def test_dynamic_convolution_by_hand() -> None:
    torch.manual_seed(0)
    x, weights = torch.rand(2, 3, 4, 5), torch.rand(2, 27)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    expected = sum(weights.view(2, 3, 9)[:, :, 3 * i + j, None, None] * padded[:, :, i:i + 4, j:j + 5]
                   for i in range(3) for j in range(3))
    torch.testing.assert_close(dynamic_convolution(x, weights), expected)


@pytest.mark.parametrize('arch, changes', [('KDSR', {}), ('KDSR', {'dynamic': False}), ('KDSRTeacher', {})])
def test_every_parameter_gets_a_gradient(arch: str, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net, lq = getattr(archs, arch)(**SMALL, **changes), torch.rand(2, 3, 8, 8)
    net(lq, *[torch.rand(2, 3, 32, 32)][:arch == 'KDSRTeacher']).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


# ----------------------------------------------------------------------------------------------------------- training
def options(images: Path, role: str, weights: Path | None = None, **train: Any) -> dict[str, Any]:
    opt = tiny.training(images, role, model_type=f'KDSR{role}Model',
                        network_g={'type': 'KDSR' + 'Teacher' * (role == 'Teacher'), **SMALL})
    stages = [stage for stage in tiny.STAGES if role == 'Student' or stage['trains'] == 'all']
    opt['train'] |= {'stages': stages, 'pixel_opt': {'type': 'L1Loss'}} | train
    opt['path'] = {'pretrain_network_t': str(weights)} if weights else {}
    return opt


def params(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['params']


@pytest.mark.parametrize('loss', [{'type': 'ChannelDistillationLoss', 'l1_weight': 0}, {'type': 'L1Loss'}, {'type': 'MSELoss'}])
def test_teacher_then_student(loss: dict[str, Any], images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    assert run_cli('train', '-opt', tiny.write(options(images, 'Teacher'), tmp_path)) == 0
    weights = tmp_path / 'experiments/Teacher/models/net_g_latest.pth'
    opt = options(images, 'Student', weights, distill_opt=loss, one_degradation_per_batch=True)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    models = tmp_path / 'experiments/Student/models'
    taught, first, last = params(weights), params(models / 'net_g_2.pth'), params(models / 'net_g_latest.pth')
    assert all(torch.equal(first[k], taught[k]) for k in taught if k.startswith('trunk.'))  # stage idr trains no SR network
    changed = {k for k in last if not torch.equal(first[k], last[k])}
    assert {k.split('.')[0] for k in changed} == {'trunk', 'estimator'}
    assert 'l_distill' in next((tmp_path / 'experiments/Student').glob('*.log')).read_text()
    opt = tiny.benchmark(images, 'KDSR', model_type='KDSRStudentModel', network_g=options(images, 'Student')['network_g'],
                         path={'pretrain_network_g': str(models / 'net_g_latest.pth')})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0


def test_start_from_the_sr_network_alone(images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    assert run_cli('train', '-opt', tiny.write(options(images, 'Teacher'), tmp_path)) == 0
    weights = tmp_path / 'experiments/Teacher/models/net_g_latest.pth'
    opt = options(images, 'Student', weights, distill_opt={'type': 'L1Loss'}, start_from_teacher='sr_network')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    log = next((tmp_path / 'experiments/Student').glob('*.log')).read_text()
    assert 'start from the teacher (trunk)' in log and 'estimator.features.0.weight' in log


@pytest.mark.parametrize('change, message', [
    ({'stages': tiny.STAGES}, 'KDSRTeacherModel has a pixel loss alone'),
    ({'distill_opt': {'type': 'L1Loss'}}, "train: unknown key 'distill_opt'")])
def test_wrong_teacher_options(change: dict[str, Any], message: str, images: Path, tmp_path: Path, run_cli: Callable[..., int],
                               capfd: pytest.CaptureFixture) -> None:
    assert run_cli('train', '-opt', tiny.write(options(images, 'Teacher', **change), tmp_path)) == 1
    assert message in capfd.readouterr().err
