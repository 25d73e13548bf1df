"""KDSR: networks against the release, and training through `basicsr train`."""
from __future__ import annotations

import contextlib
import re
import urllib.error
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import softplus
from torch.utils.flop_counter import FlopCounterMode

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.archs.kdsr_arch import dynamic_convolution, shifted_products
from lightbsr_arch.models.kdsr_model import KDSRGANStudentModel
from lightbsr_arch.models.real_world import RealWorldSynthesis
from lightbsr_arch.models.stepping import Stepper
from lightbsr_arch.option_checks.real_world import check_finished_pairs
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


@pytest.mark.parametrize('batch', [1, 3])
def test_dynamic_convolution_keeps_channels_last(batch: int) -> None:
    """Copies out of it and back took half of the time."""
    x, weights = torch.rand(batch, 8, 6, 5).to(memory_format=torch.channels_last), torch.rand(batch, 72)
    y = dynamic_convolution(x, weights)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, shifted_products(x, weights))


def test_dynamic_convolution_by_hand() -> None:
    torch.manual_seed(0)
    x, weights = torch.rand(2, 3, 4, 5), torch.rand(2, 27)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    expected = sum(weights.view(2, 3, 9)[:, :, 3 * i + j, None, None] * padded[:, :, i:i + 4, j:j + 5]
                   for i in range(3) for j in range(3))
    torch.testing.assert_close(dynamic_convolution(x, weights), expected)


@pytest.mark.parametrize('arch, changes', [
    ('KDSR', {}), ('KDSR', {'dynamic': False}), ('KDSRTeacher', {}), ('KDSRTeacher', {'oracle': True})])
def test_every_parameter_gets_a_gradient(arch: str, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net, lq = getattr(archs, arch)(**SMALL, **changes), torch.rand(2, 3, 8, 8)
    truth = torch.rand(2, 21, 21) if 'oracle' in changes else torch.rand(2, 3, 32, 32)
    net(lq, *[truth][:arch == 'KDSRTeacher']).square().mean().backward()
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
    moved = {k for k in taught if first[k].shape == taught[k].shape and not torch.equal(first[k], taught[k])}
    assert {'.'.join(k.split('.')[:2]) for k in moved} == {'estimator.features', 'estimator.distill'}  # by stage idr
    changed = {k for k in last if not torch.equal(first[k], last[k])}
    assert {k.split('.')[0] for k in changed} == {'trunk', 'estimator'}
    assert 'l_distill' in next((tmp_path / 'experiments/Student').glob('*.log')).read_text()
    opt = tiny.benchmark(images, 'KDSR', model_type='KDSRStudentModel', network_g=options(images, 'Student')['network_g'],
                         path={'pretrain_network_g': str(models / 'net_g_latest.pth')})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0


def test_oracle_is_given_the_kernel(images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    opt = options(images, 'Teacher')
    opt['network_g']['oracle'] = True
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    weights = tmp_path / 'experiments/Teacher/models/net_g_latest.pth'
    opt = tiny.benchmark(images, 'oracle', model_type='KDSRTeacherModel', network_g=opt['network_g'],
                         path={'pretrain_network_g': str(weights)})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    arch, kwargs, state_dict = checkpoints.load(str(weights))
    net = getattr(archs, arch)(**kwargs)
    net.load_state_dict(state_dict)
    lq, kernels = torch.rand(1, 3, 8, 8), torch.stack([torch.full((21, 21), 1 / 441), torch.eye(21) / 21])
    assert not torch.equal(net(lq, kernels[:1]), net(lq, kernels[1:]))


def test_multiply_adds_are_the_releases() -> None:
    with torch.device('meta'):
        net, lq = archs.KDSR(), torch.zeros(1, 3, 256, 256)
        with FlopCounterMode(display=False) as counter:
            net(lq)
    assert counter.get_total_flops() / 2e9 == pytest.approx(260.1, abs=0.1)


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


# --------------------------------------------------------------------------------------------------------- real world
REAL = yaml.safe_load((Path(__file__).resolve().parents[1] / 'options/train_KDSR_GAN_teacher_x4.yml').read_text())


def real_options(images: Path, model: str, paths: dict[str, str], **train: Any) -> dict[str, Any]:
    """A small run of the real-world chain: a batch of two, a pool of two batches."""
    meta_info = images.parent / 'names.txt'
    meta_info.write_text('\n'.join(f'image_{i}.png' for i in range(4)))
    opt = {k: v for k, v in REAL.items() if k not in ('data_root', 'train', 'datasets', 'val', 'logger', 'dist_params')}
    tiny_opt = options(images, 'Teacher' if 'Teacher' in model else 'Student')
    opt |= {k: tiny_opt[k] for k in ('datasets', 'network_g', 'val', 'logger', 'train')}
    section = REAL['datasets']['train'] | {'dataroot_gt': str(images), 'meta_info': str(meta_info), 'io_backend': {'type': 'disk'},
                                           'gt_size': 32, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 1,
                                           'dataset_enlarge_ratio': 10, 'persistent_workers': False}
    opt['datasets'] = tiny_opt['datasets'] | {'train': section}
    opt['train'] = tiny_opt['train'] | {'stages': [{'trains': 'all', 'iterations': 4, 'lr': 1e-3}]} | train
    return opt | {'name': model, 'model_type': model, 'path': paths, 'gt_size': 32, 'queue_size': 4}


def test_real_world_chain_runs_and_resumes(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                           capfd: pytest.CaptureFixture) -> None:
    weights = '{}/experiments/{}/models/net_g_latest.pth'.format
    teacher = {'pretrain_network_t': weights(tmp_path, 'KDSRTeacherModel')}
    student = teacher | {'pretrain_network_g': weights(tmp_path, 'KDSRStudentModel')}
    distil = {'distill_opt': {'type': 'ChannelDistillationLoss', 'l1_weight': 0}}
    gan = distil | {'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 1.0},
                    'optim_d': {'type': 'Adam', 'lr': 1e-3}}
    network_d = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
    chain = [real_options(images, 'KDSRTeacherModel', {}), real_options(images, 'KDSRStudentModel', teacher, **distil),
             real_options(images, 'KDSRGANStudentModel', student, **gan) | {'network_d': network_d}]
    for opt in chain:
        assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    models = tmp_path / 'experiments/KDSRGANStudentModel/models'
    assert not torch.equal(params(models / 'net_d_2.pth')['conv0.weight'], params(models / 'net_d_4.pth')['conv0.weight'])
    log = next(models.parent.glob('*.log')).read_text()
    assert all(name in log for name in ('l_pix', 'l_distill', 'l_gan', 'l_d_real', 'l_d_fake'))
    whole = {name: params(models / name) for name in ('net_g_4.pth', 'net_d_4.pth')}
    (models.parent / 'training_states/4.state').unlink()  # as if it had been stopped
    assert run_cli('train', '-opt', tmp_path / 'KDSRGANStudentModel.yml', '--auto_resume') == 0
    assert 'Resuming training from epoch: 0, iter: 2' in capfd.readouterr().err
    for name, weights_of in whole.items():  # the pool of pairs and the synthesis' draws go on as well
        again = params(models / name)
        assert [key for key in weights_of if not torch.equal(again[key], weights_of[key])] == []
    classic = options(images, 'Student', Path(teacher['pretrain_network_t']), distill_opt={'type': 'L1Loss'})
    assert run_cli('train', '-opt', tiny.write(classic, tmp_path)) == 1
    assert "was trained with BasicSR's real-world degradation" in capfd.readouterr().err


def gan_options(images: Path, tmp_path: Path, **train: Any) -> dict[str, Any]:
    """A student's training with a discriminator, of a teacher that has learnt nothing."""
    network = {'type': 'KDSRTeacher', **SMALL}
    checkpoints.write({'params': archs.KDSRTeacher(**SMALL).state_dict(), 'network': network, 'degradation': 'real-world'},
                      str(tmp_path / 'teacher.pth'))
    train = {'distill_opt': {'type': 'L1Loss'}, 'optim_d': {'type': 'Adam', 'lr': 1e-3}, **train,
             'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 1.0}}
    opt = real_options(images, 'KDSRGANStudentModel', {'pretrain_network_t': str(tmp_path / 'teacher.pth')}, **train)
    opt['datasets'].pop('val')
    return opt | {'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}}


def test_student_and_discriminator_are_opponents(images: Path, tmp_path: Path, make: Callable,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KDSRGANStudentModel, '_build_perceptual',
                        lambda self, section: lambda sr, gt: ((sr - gt).mean(), None))
    opt = gan_options(images, tmp_path, perceptual_opt={'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 1}})
    opt['train']['gan_opt']['loss_weight'] = 0.1
    model, _ = make(opt)
    seen = []
    model.net_d.register_forward_hook(lambda net, images, logits: seen.append((images[0].clone(), logits.detach().clone())))
    model.optimize_parameters(1)
    (shown, judged), (gt, real), (sr, fake) = seen
    assert torch.equal(shown, model.output) and torch.equal(gt, model.gt) and torch.equal(sr, model.output)
    log, expected = model.get_current_log(), {
        'l_gan': 0.1 * softplus(-judged).mean(), 'l_d_real': softplus(-real).mean(), 'l_d_fake': softplus(fake).mean(),
        'l_percep': (sr - gt).mean()}
    assert {key: log[key] for key in expected} == pytest.approx({key: loss.item() for key, loss in expected.items()}, 1e-4)


def test_fp16_may_be_switched_on_when_a_run_goes_on(images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    path = tiny.write(gan_options(images, tmp_path), tmp_path)
    state = tmp_path / 'experiments/KDSRGANStudentModel/training_states/4.state'
    assert run_cli('train', '-opt', path) == 0
    state.unlink()  # as if it had been stopped
    assert run_cli('train', '-opt', path, '--auto_resume', '--force_yml', 'train:amp=fp16') == 0
    further = torch.load(state)['further']
    assert further['scaler'] and further['scaler_d']


def spoil_steps(monkeypatch: pytest.MonkeyPatch, spoiled: Callable[[bool, int], bool]) -> None:
    """Makes losses NaN: says it of a step by whose it is (the discriminator's?) and by its number of that one, from 1."""
    backward, steps = Stepper.backward, {True: 0, False: 0}

    def spoil(self: Stepper, losses: dict[str, torch.Tensor], share: float = 1.0) -> None:
        is_d = 'l_d_real' in losses
        steps[is_d] += 1
        backward(self, {k: v * float('nan') if spoiled(is_d, steps[is_d]) else v for k, v in losses.items()}, share)

    monkeypatch.setattr(Stepper, 'backward', spoil)


def test_a_first_step_that_is_skipped_has_no_discriminators_figures(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_steps(monkeypatch, lambda is_d, number: not is_d and number == 1)
    assert run_cli('train', '-opt', tiny.write(gan_options(images, tmp_path), tmp_path)) == 0
    lines = next((tmp_path / 'experiments/KDSRGANStudentModel').glob('*.log')).read_text().splitlines()
    steps = [line for line in lines if 'iter: ' in line and 'l_gan' in line]
    assert ['l_d_real' in line for line in steps] == [False, True, True, True]


def test_a_discriminator_that_is_not_finite_ends_the_run(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                         monkeypatch: pytest.MonkeyPatch,
                                                         capfd: pytest.CaptureFixture) -> None:
    """Its steps count apart from the student's; one that is finite begins the count anew."""
    spoil_steps(monkeypatch, lambda is_d, number: is_d and number != 2)
    path = tiny.write(gan_options(images, tmp_path, max_skipped=2), tmp_path)
    assert run_cli('train', '-opt', path) == 1
    err = capfd.readouterr().err
    assert [f"discriminator's step {i} is skipped: gradient not finite. Images: {images}/image_" in err for i in (1, 2, 3, 4)] == [
        True, False, True, True]
    assert '2 steps in a row' in err and (tmp_path / 'experiments/KDSRGANStudentModel/training_states/4.state').exists()


def test_a_broken_image_is_replaced_in_real_world_training(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                           capfd: pytest.CaptureFixture) -> None:
    content = (images / 'image_2.png').read_bytes()
    (images / 'image_2.png').write_bytes(content[:len(content) // 2])
    opt = real_options(images, 'KDSRTeacherModel', {})
    opt['datasets'].pop('val')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    assert f'{images}/image_2.png cannot be read as an image' in capfd.readouterr().err
    opt['datasets']['train']['max_unreadable'] = 0
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'more than 0 images (max_unreadable) cannot be used: ' in capfd.readouterr().err.splitlines()[-1]


def test_patches_that_would_be_thrown_away_are_refused(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                       capfd: pytest.CaptureFixture) -> None:
    network = {'type': 'KDSRTeacher', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}
    opt = tiny.training(images, model_type='KDSRTeacherModel', network_g=network)
    opt['train']['stages'] = tiny.STAGES[1:]
    opt['datasets']['train']['num_patches'] = 2
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'KDSRTeacherModel takes one patch of an image: remove num_patches' in capfd.readouterr().err


def test_a_teacher_that_is_given_no_hr_image_says_so() -> None:
    with pytest.raises(ValueError, match='a KDSRTeacher needs the HR image of each LR image'):
        archs.KDSRTeacher(num_feat=8, num_block=1, num_estimator_block=1).side_inputs(None, None, None)


def test_pool_keeps_pairs_together_and_its_size() -> None:
    torch.manual_seed(0)
    opt = {'queue_size': 4, 'datasets': {'train': {'batch_size_per_gpu': 2}}, 'dist': False, 'num_gpu': 0}
    pool = RealWorldSynthesis(opt, torch.device('cpu'))
    seen = []
    for step in range(10):
        pool.lq = torch.arange(2 * step, 2 * step + 2.).view(2, 1, 1, 1)
        pool.gt, pool.images = 10 * pool.lq, [str(x) for x in pool.lq.flatten().tolist()]
        pool._dequeue_and_enqueue()
        assert torch.equal(pool.gt, 10 * pool.lq) and list(pool.images) == [str(x) for x in pool.lq.flatten().tolist()]
        assert len(pool.pool) == min(4, 2 * step + 2)
        seen += pool.lq.flatten().tolist()
        assert all(image.untyped_storage().nbytes() == image.nbytes for *pair, _ in pool.pool for image in pair)
    assert seen[:4] == [0, 1, 2, 3] and len(set(seen[4:])) == len(seen[4:]) and set(seen) <= set(range(20))


def test_a_skipped_step_names_the_images_that_came_from_the_pool(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                                 monkeypatch: pytest.MonkeyPatch,
                                                                 capfd: pytest.CaptureFixture) -> None:
    """Of a pool of one batch, the second step gets the first one's images, and so on; also when the run is resumed."""
    def named() -> dict[int, list[str]]:
        found = re.findall(r'Step (\d) is skipped.*Images: (.*)', capfd.readouterr().err)
        return {int(step): sorted(names.split(', ')) for step, names in found}

    spoil_steps(monkeypatch, lambda is_d, number: True)
    opt = real_options(images, 'KDSRTeacherModel', {}) | {'queue_size': 2}
    opt['datasets'].pop('val')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    whole = named()
    assert whole[1] == whole[2] != whole[3] != whole[4]
    (tmp_path / 'experiments/KDSRTeacherModel/training_states/4.state').unlink()  # as if it had been stopped
    assert run_cli('train', '-opt', tmp_path / 'KDSRTeacherModel.yml', '--auto_resume') == 0
    assert named() == {step: whole[step] for step in (3, 4)}


def test_a_pool_that_the_batch_of_all_gpus_does_not_divide_is_refused() -> None:
    opt = {'queue_size': 4, 'datasets': {'train': {'batch_size_per_gpu': 2}}, 'dist': True, 'num_gpu': 4}
    RealWorldSynthesis(opt, torch.device('cpu'))  # a process for each GPU
    with pytest.raises(ValueError, match=r'queue_size \(4\).* must be a multiple of the batch of 8 images'):
        RealWorldSynthesis(opt | {'dist': False}, torch.device('cpu'))


@pytest.mark.parametrize('key, value, message', [
    ('jpeg_range2', None, "'jpeg_range2' is missing at the top of the option file"),
    ('gt_usm', None, "'gt_usm' is missing at the top of the option file"),
    ('resize_prob', [0.5, 0.5], 'resize_prob must be a list of 3 numbers, got [0.5, 0.5]'),
    ('noise_range2', 5, 'noise_range2 must be a list of 2 numbers, got 5'),
    ('second_blur_prob', 80, 'second_blur_prob must be a number from 0 to 1, got 80'),
    ('gt_size', 30, 'gt_size at the top must be a multiple of the scale (4) up to 400, got 30'),
    ('gt_size', 404, 'gt_size at the top must be a multiple of the scale (4) up to 400, got 404'),
    ('high_order_degradation', False, 'RealESRGANDataset has none: remove it'),
    ('model_type', 'SRModel', 'SRModel trains on finished pairs, which RealESRGANDataset does not give'),
    ('train:one_degradation_per_batch', True, 'train.one_degradation_per_batch is for a BlindDegradationDataset without pairs'),
    ('train:gan_opt', None, 'train: gan_opt is missing: KDSRGANStudentModel trains a discriminator'),
    ('train:optim_d', None, 'train: optim_d is missing'),
    ('train:optim_d', {'type': 'Adam'}, "train.optim_d: 'lr' is missing")])
def test_wrong_options_of_the_real_world(key: str, value: Any, message: str, images: Path, tmp_path: Path,
                                         run_cli: Callable[..., int], capfd: pytest.CaptureFixture) -> None:
    opt = gan_options(images, tmp_path)
    section, key = (opt['train'], key.removeprefix('train:')) if key.startswith('train:') else (opt, key)
    section[key] = value
    if value is None:
        del section[key]
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert message in capfd.readouterr().err


USM = {'l1_gt_usm': True, 'percep_gt_usm': True, 'gan_gt_usm': False}


@pytest.mark.parametrize('model_type, top, message', [
    ('RealESRNetModel', {}, 'add high_order_degradation: false at the top: PairedImageDataset gives finished pairs'),
    ('RealESRNetModel', {'high_order_degradation': False}, None),
    ('RealESRGANModel', USM, 'add high_order_degradation: false'),
    ('RealESRGANModel', {'high_order_degradation': False, 'l1_gt_usm': True, 'gan_gt_usm': True},
     "'percep_gt_usm' is missing"),
    ('RealESRGANModel', {'high_order_degradation': False, **USM}, None), ('SRModel', {}, None)])
def test_basicsrs_real_world_models_are_told_of_finished_pairs(model_type: str, top: dict[str, bool],
                                                                message: str | None) -> None:
    opt = {'model_type': model_type, 'datasets': {'train': {'type': 'PairedImageDataset'}}, **top}
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        check_finished_pairs(opt)
    check_finished_pairs(opt | {'datasets': {'test': {'type': 'PairedImageDataset'}}})
    check_finished_pairs(opt | {'datasets': {'train': {'type': 'RealESRGANDataset'}}})


def test_vgg_weights_that_cannot_be_had(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                        capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', offline)
    train = {'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'}, 'optim_d': {'type': 'Adam', 'lr': 1e-3},
             'perceptual_opt': {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 1}}}
    opt = real_options(images, 'KDSRGANStudentModel', {}, **train)
    opt['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert "put torchvision's file at experiments/pretrained_models/vgg19-dcbb9e9d.pth" in capfd.readouterr().err
