"""What a user gets wrong: exit status 1, one line that names the file or key, and nothing lost."""
from __future__ import annotations

import contextlib
import copy
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import basicsr.train
import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.utils import registry

from lightbsr_arch import archs, basicsr_compat, checkpoints
from lightbsr_arch.data.test_sets import expand_datasets
from lightbsr_arch.option_checks import basicsr_keys
from lightbsr_arch.option_checks.arguments import check_arguments
from lightbsr_arch.option_checks.data_sets import check_crops, check_prefetching
from lightbsr_arch.option_checks.keys_read import SET_BY_BASICSR, dataset_keys, is_foreign
from lightbsr_arch.option_checks.training import check_keeping, check_schedule, check_wandb
from tests import tiny_options as tiny
from tests.conftest import ROOT

Options = dict[str, Any]
TEACHER = {'type': 'LightBSRTeacher', **tiny.TINY, 'queue_size': 16}
STUDENT = {'type': 'LightBSR', **tiny.TINY}


def put(opt: Options, path: str, value: Any) -> None:
    """Sets `a:b:0:c` in a nested option file."""
    *parents, last = (int(key) if key.isdigit() else key for key in path.split(':'))
    for key in parents:
        opt = opt[key]
    opt[last] = value


def one_error(capfd: pytest.CaptureFixture, verb: str) -> str:
    """The only error message; there must be no traceback."""
    text = ''.join(capfd.readouterr())
    errors = [line for line in text.splitlines() if 'error: ' in line and f'basicsr {verb}' in line]
    assert len(errors) == 1 and 'Traceback' not in text, text
    return errors[0]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The weights of a finished experiment named `teacher`."""
    path = tmp_path / 'experiments/teacher/models/net_g_latest.pth'
    path.parent.mkdir(parents=True)
    path.write_bytes(b'finished')
    return path


WRONG_OPTIONS = [
    ('logger:wandb', {'project': 'mine'}, 'wandb shows what TensorBoard is given: set use_tb_logger'),
    ('train:contrastiv_opt', {'type': 'ContrastiveLoss'}, "train: unknown key 'contrastiv_opt'; did you mean 'contrastive_opt'"),
    ('train:stages:1:warm_up', 5, "train.stages[1]: unknown key 'warm_up'; did you mean 'warmup'"),
    ('train:stages:0:trains', 'body', "train.stages[0]: trains must be 'idr' or 'all', got 'body'"),
    ('train:stages:0:iterations', 1e3, 'train.stages[0]: iterations must be a whole number'),
    ('train:stages', [], 'train.stages must be a list'),
    ('train:total_iter', 7, 'train.total_iter is 7, but the stages add up to 4'),
    ('train:optim_g', {'type': 'Adem'}, "train.optim_g: there is no optimizer named 'Adem'; did you mean 'Adam'"),
    ('train:optim_g:beta', [0.9, 0.99], "train.optim_g: Adam has no 'beta'; did you mean 'betas'"),
    ('train:pixel_opt:type', 'L1Los', "train.pixel_opt: there is no loss named 'L1Los'; did you mean 'L1Loss'"),
    ('train:pixel_opt:weight', 1.0, "train.pixel_opt: L1Loss has no 'weight'; did you mean 'loss_weight'"),
    ('train:prior_fit', 'relase', "train.prior_fit must be 'setting' or 'release', got 'relase'"),
    ('datasets:train:gt_sise', 64, "datasets: train: unknown key 'gt_sise'; did you mean 'gt_size'"),
    ('datasets:train:gt_size', '64', "datasets: train: gt_size must be a whole number, got '64'"),
    ('datasets:train:gt_size', 62, 'datasets: train: gt_size (62) must be a multiple of the scale (4)'),
    ('datasets:train:gt_size', 8, 'datasets: train: gt_size (8) must be more than 10, half a blur kernel'),
    ('datasets:train:gt_size', 128, 'the image has 96x80 pixels, less than gt_size 128'),
    ('datasets:train:type', 'BlindDegradationDatset', "did you mean 'BlindDegradationDataset'"),
    ('datasets:train:type', 'PairedImageDataset', "datasets: train: unknown key 'degradation'"),
    ('datasets:train', {'type': 'SingleImageDataset', 'name': 'a', 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0},
     "the option file lacks the key 'io_backend'"),
    ('datasets:train:max_unreadable', -1, 'datasets: train: max_unreadable must be 0 or more, got -1'),
    ('datasets:train:dataroot_gt', 'nowhere', 'nowhere: set dataroot_gt, or data_root'),
    ('datasets:train:dataroot_gt', 'void', 'void holds no images'),
    ('datasets:train:meta_info_file', 'list.txt', 'there is no list of images list.txt'),
    ('datasets:train:batch_size_per_gpu', 8, 'do not fill one batch of 8'),
    ('datasets:train:prefetch_mode', 'gpu', "datasets.train.prefetch_mode must be ~, cpu, or on a GPU cuda, got 'gpu'"),
    ('datasets:train:prefetch_mode', 'cpu', 'set num_worker_per_gpu to 1 or more, or prefetch_mode: ~'),
    ('datasets:train:prefetch_mode', 'cuda', "datasets.train.prefetch_mode must be ~, cpu, or on a GPU cuda, got 'cuda'"),
    ('datasets:val_2', {'type': 'BlindDegradationDataset', 'name': 'val_sigma1.2', 'dataroot_gt': '.', 'degradation': {'sigma': 3}},
     'several sets to validate or test with are named val_sigma1.2, and their figures and images would be mixed'),
    ('model_type', 'RealESRGANModel', 'RealESRGANModel works on a GPU alone; on a CPU, KDSRTeacherModel'),
    ('datasets:train:num_patches', 1, 'set datasets.train.num_patches to 2 or more'),
    ('datasets:train:degradation', 'setting3', "unknown degradation 'setting3'"),
    ('datasets:train:degradation', {'sigmas': 1.2}, "degradation: unknown key 'sigmas'"),
    ('datasets:train:degradation', {'sigma': [3, 1]}, 'degradation.sigma must be a number or a range [low, high]'),
    ('datasets:val:benchmarks:val', 'nowhere', 'nowhere: set dataroot_gt, or data_root'),
    ('datasets:vall', {'type': 'BlindDegradationDataset', 'name': 'v'}, "datasets: unknown key 'vall'; did you mean 'val'"),
    ('gt_usm', True, "unknown key 'gt_usm'. Valid ones: data_root, datasets"),  # RealESRGANDataset's alone
    ('use_hflip', True, "unknown key 'use_hflip'"),
    ('val:num_val_samples', 4, "val: unknown key 'num_val_samples'"),
    ('val:pbars', True, "val: unknown key 'pbars'; did you mean 'pbar'"),
    ('logger:keep', 3, "logger: unknown key 'keep'; did you mean 'keep_last'"),
    ('logger:keep_last', 0, 'logger: keep_last must be a whole number from 1 upwards, got 0'),
    ('logger:save_best', 'pnsr', "logger: save_best must be a metric of val.metrics, got 'pnsr'; did you mean 'psnr'"),
    ('logger:wandb', {'projects': 'a'}, "logger.wandb: unknown key 'projects'; did you mean 'project'"),
    ('dist_params', {'backends': 'nccl'}, "dist_params: unknown key 'backends'; did you mean 'backend'"),
    ('dist_params', 'nccl', "dist_params must be a section with keys, got 'nccl'"),
    ('network_g:type', 'LightBSRTeachr', "network_g: there is no arch named 'LightBSRTeachr'; did you mean 'LightBSRTeacher'"),
    ('network_g:num_feats', 16, "network_g: LightBSRTeacher has no 'num_feats'; did you mean 'num_feat'"),
    ('network_g:contrastive', False, 'train.contrastive_opt is set, but network_g has contrastive: false'),
    ('model_type', 'LightBSRTeacherModl', "there is no model named 'LightBSRTeacherModl'; did you mean 'LightBSRTeacherModel'"),
    ('model_type', 'SRModel', 'datasets.train: SRModel trains on finished pairs: set pairs: true'),
    ('path:pretrained_network_g', 'w.pth', "path: unknown key 'pretrained_network_g'; did you mean 'pretrain_network_g'"),
    ('path:pretrain_network_g', 'nowhere.pth', 'path.pretrain_network_g: there is no file nowhere.pth: put it there, or name another'),
    ('path:resume_state', 'nowhere.state', 'cannot resume from nowhere.state'),
    ('val:metrics:psnr:type', 'calculate_psn', "val.metrics.psnr: there is no metric named 'calculate_psn'; did you mean"),
    ('val:metrics:psnr:test_y_chanel', True,
     "val.metrics.psnr: calculate_psnr has no 'test_y_chanel'; did you mean 'test_y_channel'"),
    ('val:metrics:psnr:beter', 'lower', "val.metrics.psnr: calculate_psnr has no 'beter'; did you mean 'better'"),
    ('network_g', {'type': 'SwinIR', 'upscale': 4, 'widow_size': 8},
     "network_g: SwinIR has no 'widow_size'; did you mean 'window_size'"),
    ('val:save_imgs', True, "val: unknown key 'save_imgs'; did you mean 'save_img'"),
    ('data_rot', '/data', "unknown key 'data_rot'; did you mean 'data_root'"),
    ('scale', 2, 'network_g: scale is 4, but scale is 2 at the top: make them agree'),
    ('datasets:train:io_backend', {'type': 'lmdb'}, 'io_backend is lmdb, but dataroot_gt does not end in .lmdb'),
    ('train:stages:0:warmup', 9, 'train.stages[0]: warmup (9) must not exceed the stage (2 iterations)'),
    ('train:stages:1:lr_min', 'abc', "train.stages[1]: lr_min must be a number or left out, got 'abc'"),
    ('train:stages:0:milestones', 1, 'train.stages[0]: milestones must be a list of whole numbers, got 1'),
    ('train:stages:0:milestones', ['a'], "train.stages[0]: milestones must be a list of whole numbers, got ['a']"),
    ('train:stages:0:gamma', -1.0, 'train.stages[0]: gamma must be a positive number, got -1.0'),
    ('train:ema_decay', 1.5, 'train.ema_decay must be a number from 0 to below 1, got 1.5'),
    ('train:pixel_opt', None, 'train.pixel_opt is missing: a stage with trains: all needs it'),
    ('val:val_freq', 0, 'val: val_freq must be a number of iterations, 1 or more, got 0'),
    ('logger:save_checkpoint_freq', None, 'logger: save_checkpoint_freq must be a number of iterations, 1 or more, got None'),
    ('train:stages:1:lr_min', 1.0, 'train.stages[1]: lr_min (1.0) must not exceed lr (0.001)'),
    ('val', {'metrics': {}}, "val: 'val_freq' is missing"),
    ('logger', {'print_freq': 1}, "logger: 'save_checkpoint_freq' is missing"),
    ('logger', None, "teacher.yml: 'logger' is missing"),
    ('train', 5, 'teacher.yml: train must be a section with keys, got 5'),
    ('datasets:val', None, 'teacher.yml: datasets: val must be a section with keys, got None'),
]


@pytest.mark.parametrize('path, value, message', WRONG_OPTIONS, ids=[f'{path}={value}' for path, value, _ in WRONG_OPTIONS])
def test_a_wrong_option_stops_the_run_before_it_touches_anything(path: str, value: Any, message: str, images: Path,
                                                                 tmp_path: Path, finished: Path, run_cli: Callable,
                                                                 capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'void').mkdir()
    opt = copy.deepcopy(tiny.teacher(images))
    put(opt, path, value)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert message in one_error(capfd, 'train')
    assert finished.read_bytes() == b'finished' and len(list((tmp_path / 'experiments').iterdir())) == 1


@pytest.mark.parametrize('total', [500, 5e2])
def test_a_number_of_iterations_counts_however_it_is_written(total: float) -> None:
    opt = {'train': {'total_iter': total}}
    check_schedule(opt)
    assert list(range(opt['train']['total_iter'])) == list(range(500))


def test_wandb_must_be_installed_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(ValueError, match='wandb is not installed'):
        check_wandb({'logger': {'use_tb_logger': True, 'wandb': {'project': 'mine'}}})


@pytest.mark.parametrize('has_gpu, pin_memory, message', [
    (False, True, 'must be ~, cpu, or on a GPU cuda'), (True, False, 'prefetch_mode: cuda needs pin_memory: true'), (True, True, None)])
def test_prefetching_to_a_gpu_needs_one(has_gpu: bool, pin_memory: bool, message: str | None,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)
    opt = {'datasets': {'train': {'prefetch_mode': 'cuda', 'pin_memory': pin_memory, 'num_worker_per_gpu': 0}}}
    if message is None:
        return check_prefetching(opt)
    with pytest.raises(ValueError, match=message):
        check_prefetching(opt)


@pytest.mark.parametrize('flow, placed', [(None, None), ('flow', '/data/flow')])
def test_optical_flow_may_be_left_out_and_lies_with_the_images(flow: str | None, placed: str | None) -> None:
    section = {'phase': 'train', 'type': 'REDSDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'dataroot_flow': flow,
               'gt_size': 64}
    opt = {'scale': 4, 'is_train': True, 'manual_seed': 0, 'data_root': '/data', 'datasets': {'train': section}}
    check_crops(opt)
    expand_datasets(opt)
    assert (section['dataroot_lq'], section['dataroot_flow']) == ('/data/lq', placed)
    with pytest.raises(ValueError, match='dataroot_lq is empty'):
        check_crops({'scale': 4, 'datasets': {'train': section | {'dataroot_lq': None}}})


def test_a_rate_is_missing_or_has_no_effect(images: Path, tmp_path: Path, run_cli: Callable,
                                           capfd: pytest.CaptureFixture) -> None:
    opt = tiny.teacher(images)
    opt['train']['optim_g']['lr'] = 1e-3
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'train.optim_g.lr has no effect: each entry of train.stages has its lr' in one_error(capfd, 'train')
    opt = tiny.training(images, model_type='SRModel', network_g={'type': 'Bicubic', 'scale': 4})
    opt['datasets']['train']['pairs'] = True
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert "train.optim_g: 'lr' is missing" in one_error(capfd, 'train')


def test_the_best_weights_need_a_validation(images: Path, tmp_path: Path, run_cli: Callable,
                                            capfd: pytest.CaptureFixture) -> None:
    opt = tiny.teacher(images)
    opt['datasets'].pop('val')
    opt['logger']['save_best'] = 'psnr'
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'logger: save_best needs a validation: give datasets a val, or remove it' in one_error(capfd, 'train')


@pytest.mark.parametrize('model_type, is_refused', [
    ('VideoRecurrentModel', True), ('VideoGANModel', True), ('StyleGAN2Model', True), ('HiFaceGANModel', True),
    ('RealESRGANModel', False), ('SRModel', False)])
def test_the_best_weights_need_a_model_that_keeps_them(model_type: str, is_refused: bool) -> None:
    opt = {'model_type': model_type, 'is_train': True, 'logger': {'save_best': 'psnr'}, 'val': {'metrics': tiny.METRICS},
           'datasets': {'val': {'phase': 'val'}}}
    refused = pytest.raises(ValueError, match=f'save_best has no effect on {model_type}')
    with refused if is_refused else contextlib.nullcontext():
        check_keeping(opt)


def test_a_run_without_a_seed_has_one_that_is_the_same_when_it_is_resumed(images: Path, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    opt = tiny.teacher(images)
    del opt['manual_seed']
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(opt, tmp_path))])
    parsed, _ = basicsr.train.parse_options(str(tmp_path))
    assert (parsed['manual_seed'], parsed['datasets']['train']['seed']) == (0, 0)


def test_what_validation_asks_for_is_there(images: Path, tmp_path: Path, finished: Path, run_cli: Callable,
                                          capfd: pytest.CaptureFixture) -> None:
    """A teacher's prior needs the kernels; so does a student's while its representation is validated."""
    pairs = {'type': 'PairedImageDataset', 'name': 'pairs', 'dataroot_gt': str(images), 'dataroot_lq': str(tmp_path / 'lq'),
             'io_backend': {'type': 'disk'}}
    for path in images.glob('*.png'):
        (tmp_path / 'lq').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / 'lq' / path.name), cv2.imread(str(path))[::4, ::4])
    save(tmp_path / 'teacher.pth', TEACHER, degradation={'sigma': [0.2, 4.0]})
    for opt, is_told in ((tiny.teacher(images), False), (tiny.student(images, tmp_path / 'teacher.pth', 'teacher'), False),
                         (tiny.student(images, tmp_path / 'teacher.pth', 'later'), True)):
        opt['datasets']['val'] = pairs
        opt['val']['val_freq'] = 3 if is_told else 2  # the stage `idr` is two iterations long
        assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == (not is_told)
        if not is_told:
            assert 'datasets: pairs: this teacher needs the blur kernel of each image' in one_error(capfd, 'train')
    assert finished.exists()


def test_a_teacher_is_recognised_from_its_weights(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    save(tmp_path / 'named.pth', TEACHER)
    torch.save(torch.load(tmp_path / 'named.pth')['params'], tmp_path / 'bare.pth')
    assert run_cli('check', '-opt', tiny.write(tiny.student(images, tmp_path / 'bare.pth'), tmp_path), '--no-steps') == 0


def test_an_option_file_that_is_not_there(run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    assert run_cli('train', '-opt', 'nowhere.yml') == 1
    assert 'cannot read the option file nowhere.yml (-opt): No such file' in one_error(capfd, 'train')


@pytest.mark.parametrize('content, message', [
    (b'name: [a', 'bad.yml is not valid YAML: while parsing a flow sequence'),
    (b'name: a\n\tscale: 4', 'bad.yml is not valid YAML'),
    (b'\x89PNG\xff', 'bad.yml is not valid YAML'),
    (b'!!python/object/apply:os.mkdir [ran]', 'bad.yml is not valid YAML: could not determine a constructor'),
    (b'', "bad.yml: 'name' is missing"),
    (b'- a', "bad.yml: 'name' is missing"),
])
def test_an_option_file_that_is_none(content: bytes, message: str, tmp_path: Path, run_cli: Callable,
                                     capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'bad.yml').write_bytes(content)
    for verb in ('train', 'test'):
        assert run_cli(verb, '-opt', 'bad.yml') == 1
        assert message in one_error(capfd, verb)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('path, verb', [
    ('idr_KDSR.yml', 'idr'), ('robustness_setting2.yml', 'robustness'), ('ablations/kdsr_table4_small.yml', 'sweep')])
def test_an_option_file_of_another_command(path: str, verb: str, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    for asked in ('check', 'train', 'test'):
        assert run_cli(asked, '-opt', ROOT / 'options' / path) == 1
        assert one_error(capfd, asked).endswith(f'is a file for `basicsr {verb}`, neither a training nor a test')


@pytest.mark.parametrize('verb', ['idr', 'robustness', 'sweep'])
@pytest.mark.parametrize('path', ['train_LightBSR_student_x4.yml', 'test_setting1.yml'])
def test_a_training_or_test_is_no_study(path: str, verb: str, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    assert run_cli(verb, '-opt', ROOT / 'options' / path) == 1
    assert one_error(capfd, verb).endswith(f'{path}: model_type belongs to an option file for `basicsr train` or `basicsr test`')


def test_a_test_is_no_training(run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    assert run_cli('train', '-opt', ROOT / 'options/test_setting1.yml') == 1
    assert one_error(capfd, 'train').endswith('is a file for `basicsr test`, not for a training')


def test_a_misspelt_verb(run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as status:
        run_cli('trian', '-opt', 'x.yml')
    assert status.value.code == 2 and "there is no verb 'trian'; did you mean 'train'" in capfd.readouterr().err


def test_an_lmdb_beside_a_missing_folder_is_named(images: Path, tmp_path: Path, run_cli: Callable,
                                                  capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'sub.lmdb').mkdir()
    path = tiny.write(tiny.teacher(tmp_path / 'sub'), tmp_path)
    assert run_cli('train', '-opt', path) == 1
    assert f'there is no folder {tmp_path}/sub, but {tmp_path}/sub.lmdb: name that in dataroot_gt' in one_error(capfd, 'train')


def test_a_missing_list_of_images_is_no_news_from_the_system(run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    for verb, flags in (('check', ['--no-steps']), ('train', [])):
        path = ROOT / 'options/train_KDSR_GAN_teacher_x4.yml'
        assert run_cli(verb, '-opt', path, *flags, '--force_yml', 'data_root=/nowhere') == 1
        assert 'there is no /nowhere/DF2K/HR_sub.lmdb/meta_info.txt: set data_root at the top' in one_error(capfd, verb)


@pytest.mark.parametrize('name', ['a/b', 1])
def test_a_name_that_is_no_folder(name: Any, images: Path, tmp_path: Path, run_cli: Callable,
                                  capfd: pytest.CaptureFixture) -> None:
    path = tiny.write(tiny.teacher(images), tmp_path)
    path.write_text(path.read_text().replace('name: teacher', f'name: {name}', 1))
    assert run_cli('train', '-opt', path) == 1
    assert f'name must be a text without a slash, got {name!r}' in one_error(capfd, 'train')


@pytest.mark.parametrize('override, status, message', [
    ('trian:ema_decay=0.9', 1, "--force_yml trian:ema_decay: the option file has no section 'trian'"),
    ('train:ema_decay=[', 1, "--force_yml train:ema_decay: '[' is not valid YAML"),
    ('train:stages:7:lr=1e-3', 1, '--force_yml train:stages:7:lr: stages is a list of 2 entries, numbered from 0, and has no'),
    ('scale:a=1', 1, '--force_yml scale:a: scale is not a section with keys, but 4'),
    ('name=a/b', 1, "name must be a text without a slash, got 'a/b'"),
    ('train=1', 1, 'train must be a section with keys, got 1'),
    ('train:pixel_opt:type=!!python/object/apply:os.mkdir [ran]', 1, 'could not determine a constructor'),
    ('train', 2, "'train' must look like train:ema_decay=0.999"),
    ('x"];import os;os.mkdir("ran");opt["y=1', 2, 'must look like'),
    ('datasets:train:gt_size=[__import__("os").mkdir("ran")]', 1, 'gt_size must be a whole number, got [\'__import__'),
])
def test_a_wrong_override(override: str, status: int, message: str, images: Path, tmp_path: Path, run_cli: Callable,
                          capfd: pytest.CaptureFixture, finished: Path) -> None:
    arguments = 'train', '-opt', tiny.write(tiny.teacher(images), tmp_path), '--force_yml', override
    if status == 2:
        with pytest.raises(SystemExit, match='2'):
            run_cli(*arguments)
        assert message in capfd.readouterr().err
    else:
        assert run_cli(*arguments) == 1
        assert message in one_error(capfd, 'train')
    assert finished.exists() and not (tmp_path / 'ran').exists()


# ------------------------------------------------------------------------------------------------------------ images
def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how.startswith('tiny'):
        cv2.imwrite(str(path), np.zeros((int(how[4:]), 96, 3), np.uint8))
    else:
        path.write_bytes({'empty': b'', 'cut off': content[:len(content) // 2], 'text': b'no image'}[how])


MAIN, WORKER, THREAD = {}, {'num_worker_per_gpu': 1}, {'num_worker_per_gpu': 1, 'prefetch_mode': 'cpu'}
UNREADABLE = 'cannot be read as an image: it is empty, cut off or of another format. Replace or remove it'
SMALL = 'the image has 96x40 pixels, less than gt_size 64: remove it or lower gt_size'


def student_alone(images: Path, **loader: Any) -> Options:
    """A training without a teacher and without validation, which sees all images in its first step."""
    opt = tiny.training(images, 'teacher', model_type='LightBSRStudentModel', network_g=STUDENT)
    opt['train']['stages'] = tiny.STAGES[1:]
    opt['datasets'].pop('val')
    opt['datasets']['train'] |= {'batch_size_per_gpu': 6, **loader}
    return opt


@pytest.mark.parametrize('how, loader, message', [
    ('empty', MAIN, UNREADABLE), ('text', MAIN, UNREADABLE), ('tiny40', MAIN, SMALL),
    ('cut off', WORKER, UNREADABLE), ('tiny40', WORKER, SMALL), ('cut off', THREAD, UNREADABLE)])
def test_an_unusable_training_image_is_named_and_replaced(how: str, loader: Options, message: str, images: Path,
                                                          tmp_path: Path, run_cli: Callable,
                                                          capfd: pytest.CaptureFixture) -> None:
    spoil(images / 'image_2.png', how)
    opt = student_alone(images, dataset_enlarge_ratio=4, **loader)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    err = capfd.readouterr().err
    assert 1 <= err.count('Another image takes its place.') <= (1 if loader is MAIN else 3)  # a process each for two epochs
    assert message in next(line for line in err.splitlines() if 'Another image' in line and 'image_2.png' in line)
    assert (tmp_path / 'experiments/teacher/models/net_g_latest.pth').exists()


@pytest.mark.parametrize('how, num, loader, message', [
    ('text', 6, MAIN, '6 of 6 images cannot be used: '), ('text', 2, MAIN, '2 of 6 images cannot be used: '),
    ('cut off', 2, MAIN, 'more than 1 images (max_unreadable) cannot be used: '),
    ('cut off', 2, WORKER, 'more than 1 images (max_unreadable) cannot be used: '),
    ('cut off', 6, {'max_unreadable': 6}, 'none of the images can be used: ')])
def test_too_many_unusable_training_images_stop_the_run(how: str, num: int, loader: Options, message: str, images: Path,
                                                        tmp_path: Path, finished: Path, run_cli: Callable,
                                                        capfd: pytest.CaptureFixture) -> None:
    paths = sorted(images.rglob('*.png'))[-num:]
    for path in paths:
        spoil(path, how)
    assert run_cli('train', '-opt', tiny.write(student_alone(images, **{'max_unreadable': 1, **loader}), tmp_path)) == 1
    error = one_error(capfd, 'train')
    assert message in error and all(str(path) in error for path in paths)
    assert len(list(tmp_path.glob('experiments/teacher*/models/net_g_latest.pth'))) == 1  # may be renamed, still there


def test_an_unusable_validation_image_is_found_before_the_run(images: Path, tmp_path: Path, finished: Path, run_cli: Callable,
                                                              capfd: pytest.CaptureFixture) -> None:
    opt = tiny.teacher(images)
    opt['datasets']['train']['meta_info_file'] = str(tmp_path / 'list.txt')
    (tmp_path / 'list.txt').write_text('image_0.png\nimage_1.png\n')
    spoil(images / 'image_2.png', 'text')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert f'datasets: val_sigma1.2: 1 of 6 images cannot be used: {images}/image_2.png cannot' in one_error(capfd, 'train')
    assert finished.exists() and len(list((tmp_path / 'experiments').iterdir())) == 1


@pytest.mark.parametrize('how, message', [
    ('empty', 'image_2.png cannot be read as an image'), ('cut off', 'image_2.png cannot be read as an image'),
    ('tiny8', 'image_2.png: an image of 96x8 pixels is too small to be blurred with a 21x21 kernel'),
    ('tiny3', 'image_2.png: an image of 96x3 pixels is too small')])
def test_an_unusable_test_image(how: str, message: str, images: Path, tmp_path: Path, run_cli: Callable,
                                capfd: pytest.CaptureFixture) -> None:
    spoil(images / 'image_2.png', how)
    assert run_cli('test', '-opt', tiny.write(tiny.benchmark(images), tmp_path)) == 1
    assert message in one_error(capfd, 'test')


def test_every_kind_of_image_trains_and_tests(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    color = cv2.imread(str(images / 'image_0.png'))
    kinds = {'gray': color[..., 0], 'rgba': np.dstack([color, color[..., 0]]), 'bits16': color.astype(np.uint16) * 257}
    folder = tmp_path / 'mixed'
    for name, image in kinds.items():
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / f'{name}.png'), image)
    names = tmp_path / 'list.txt'
    names.write_text('gray/gray.png (80,96,1)\nrgba/rgba.png (80,96,4)\n\nbits16/bits16.png (80,96,3)\n')
    opt = tiny.teacher(folder)
    opt['datasets']['train'] |= {'meta_info_file': str(names), 'batch_size_per_gpu': 3}
    opt['train']['stages'] = [{'trains': 'idr', 'iterations': 1, 'lr': 1e-3}]
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    opt = tiny.benchmark(folder)
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0


# ------------------------------------------------------------------------------------------------- files of weights
SETTING2 = {'lambda_1': [0.2, 4.0], 'lambda_2': [0.2, 4.0], 'theta': [0, 180], 'noise': [0, 25]}


def save(path: Path, network: Options, **notes: Any) -> None:
    net = getattr(archs, network['type'])(**{k: v for k, v in network.items() if k != 'type'})
    if network['type'] == 'LightBSRTeacher' and not notes.pop('no_basis', False):
        net.pca_basis[0, 0] = 1
    checkpoints.write({'params': net.state_dict(), 'network': network, **notes}, str(path))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


WIDE = {**STUDENT, 'num_feat': 32}


@pytest.mark.parametrize('make, message', [
    (lambda path: save(path, TEACHER, degradation=SETTING2), 'w.pth is a teacher of another setting: it was trained with '
     'theta0-180_lambda0.2-4x0.2-4_noise0-25 at x4, this run has sigma0.2-4 at x4'),
    (lambda path: save(path, {**TEACHER, 'scale': 2}), 'w.pth is a teacher of another setting'),
    (lambda path: save(path, {**TEACHER, 'num_feat': 32}), 'train.channel_distill_opt is set, but student and teacher have '
     'no channel representation of the same size'),
    (lambda path: save(path, {**TEACHER, 'spatial_gate': False}), 'student and teacher have no spatial representation'),
    (lambda path: save(path, TEACHER, no_basis=True), 'w.pth holds no PCA basis, so it cannot teach'),
    (lambda path: save(path, STUDENT), 'w.pth holds LightBSR, but path.pretrain_network_t must be a LightBSRTeacher'),
    (lambda path: torch.save({'params': {'a': torch.ones(1)}}, path), 'w.pth does not say which network it holds, and its weights are not of'),
    (lambda path: (save(path, TEACHER), cut(path)), 'w.pth cannot be read as a file of weights, it may be cut off'),
    (lambda path: path.write_bytes(b''), 'w.pth cannot be read as a file of weights, it may be cut off'),
    (lambda path: torch.save([1], path), 'w.pth holds a list, not a dictionary of weights'),
    (lambda path: None, 'there is no file'),
], ids=['setting', 'scale', 'width', 'gates', 'basis', 'student', 'nameless', 'cut off', 'empty', 'list', 'missing'])
def test_a_wrong_teacher(make: Callable[[Path], Any], message: str, images: Path, tmp_path: Path, run_cli: Callable,
                         capfd: pytest.CaptureFixture) -> None:
    make(tmp_path / 'w.pth')
    assert run_cli('train', '-opt', tiny.write(tiny.student(images, tmp_path / 'w.pth'), tmp_path)) == 1
    assert message in one_error(capfd, 'train')
    assert not (tmp_path / 'experiments').exists()


def test_a_teacher_without_a_basis_is_not_trained_on_with_another(images: Path, tmp_path: Path, run_cli: Callable,
                                                                  capfd: pytest.CaptureFixture) -> None:
    save(tmp_path / 'w.pth', TEACHER, no_basis=True)
    opt = tiny.teacher(images)
    opt['path'] = {'pretrain_network_g': str(tmp_path / 'w.pth')}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'w.pth holds no PCA basis, so its training cannot go on' in one_error(capfd, 'train')


@pytest.mark.parametrize('make, message', [
    (lambda path: save(path, TEACHER), 'w.pth holds a LightBSRTeacher, but the option file asks for a LightBSR: '),
    (lambda path: save(path, WIDE), "w.pth does not fit the LightBSR of the option file: .* saved as LightBSR with "
     "{'num_feat': 32, .* Make the network section agree"),
    (lambda path: (save(path, STUDENT), cut(path)), 'w.pth cannot be read as a file of weights, it may be cut off'),
    (lambda path: None, 'there is no file .*w.pth'),
], ids=['network', 'width', 'cut off', 'missing'])
@pytest.mark.parametrize('verb', ['train', 'test'])
def test_wrong_weights(verb: str, make: Callable[[Path], Any], message: str, images: Path, tmp_path: Path,
                       run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    weights = tmp_path / 'w.pth'
    make(weights)
    opt = (tiny.benchmark(images, model_type='LightBSRStudentModel', network_g=STUDENT) if verb == 'test' else
           tiny.training(images, model_type='LightBSRStudentModel', network_g=STUDENT))
    if verb == 'train':
        opt['train']['stages'] = tiny.STAGES[1:]
    opt['path'] = {'pretrain_network_g': str(weights)}
    assert run_cli(verb, '-opt', tiny.write(opt, tmp_path)) == 1
    assert re.search(message, one_error(capfd, verb))
    assert not (tmp_path / 'experiments').exists() and not (tmp_path / 'results').exists()


@pytest.mark.parametrize('strict, status', [(True, 1), (False, 0)])
def test_weights_that_fit_in_part_start_a_training_with_an_average(strict: bool, status: int, images: Path, tmp_path: Path,
                                                                   run_cli: Callable) -> None:
    opt = tiny.teacher(images)
    opt['train']['ema_decay'] = 0.9
    save(tmp_path / 'w.pth', {**opt['network_g'], 'num_feat': 32})
    opt['path'] = {'pretrain_network_g': str(tmp_path / 'w.pth'), 'strict_load_g': strict}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == status
    assert (tmp_path / 'experiments').exists() == (not strict)


def test_weights_are_missing_in_a_test(images: Path, tmp_path: Path, run_cli: Callable,
                                       capfd: pytest.CaptureFixture) -> None:
    opt = tiny.benchmark(images, model_type='LightBSRStudentModel', network_g=STUDENT)
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'path.pretrain_network_g is missing: a test of random weights would say nothing' in one_error(capfd, 'test')


@pytest.mark.parametrize('path, value, message', [
    ('datasets:test:benchmarks', {'Set5': 'nowhere'}, 'none of the test sets is on the disk: there is no /'),
    ('datasets:test:benchmarks', {'Set5': 'void'}, 'void holds no images'),
    ('datasets:test:degradations', 'setting9', "unknown degradations 'setting9'"),
    ('datasets:test:degradations', [], 'benchmarks (name: folder) needs degradations beside it'),
    ('datasets:test:crop', 4, "datasets: test: unknown key 'crop'"),
    ('network_g:type', 'Bicubik', "network_g: there is no arch named 'Bicubik'; did you mean 'Bicubic'"),
    ('val:metrics:psnr:type', 'psnr', "val.metrics.psnr: there is no metric named 'psnr'"),
    ('val', None, "test.yml: 'val' is missing"),
    ('scale', None, "test.yml: 'scale' is missing"),
])
def test_a_wrong_option_of_a_test(path: str, value: Any, message: str, images: Path, tmp_path: Path, run_cli: Callable,
                                  capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'void').mkdir()
    (tmp_path / 'results/test').mkdir(parents=True)
    (tmp_path / 'results/test/table.md').touch()
    opt = copy.deepcopy(tiny.benchmark(images))
    put(opt, path, value)
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 1
    assert message in one_error(capfd, 'test')
    assert (tmp_path / 'results/test/table.md').exists()


@pytest.mark.parametrize('text', ['1e-3', '1.0e-3', '0.001'])
def test_a_learning_rate_may_be_written_in_any_way(text: str, images: Path, tmp_path: Path, run_cli: Callable) -> None:
    opt = tiny.teacher(images)
    opt['train']['stages'] = [{'trains': 'idr', 'iterations': 1, 'lr': 'RATE'}]
    opt['datasets'].pop('val')
    opt['logger']['save_checkpoint_freq'] = 1
    path = tiny.write(opt, tmp_path)
    path.write_text(path.read_text().replace('RATE', text))
    assert run_cli('train', '-opt', path, '--force_yml', 'train:ema_decay=9e-1') == 0
    state = torch.load(tmp_path / 'experiments/teacher/training_states/1.state')
    assert state['optimizers'][0]['param_groups'][0]['lr'] == 1e-3


def test_overrides_reach_the_run_and_its_copy(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    path = tiny.write(tiny.teacher(images), tmp_path)
    changes = ['manual_seed=7', 'train:stages:0:lr=5e-4', 'train:stages:1={trains: all, iterations: 1, lr: 1e-3}', 'name=nodebug',
               'logger:wandb={project: null, resume_id: a=b}', 'logger:keep_last=1']
    assert run_cli('train', '-opt', path, '--force_yml', *changes) == 0
    copy_of_run = (tmp_path / 'experiments/nodebug/teacher.yml').read_text()
    assert copy_of_run.startswith('# GENERATE TIME') and 'train:stages:0:lr=5e-4' in copy_of_run.split('\n\n')[0]
    kept = yaml.safe_load(copy_of_run)
    expected = tiny.teacher(images, 'nodebug') | {'manual_seed': 7}
    expected['train']['stages'] = [{'trains': 'idr', 'iterations': 2, 'lr': 5e-4}, {'trains': 'all', 'iterations': 1, 'lr': 1e-3}]
    expected['logger'] |= {'wandb': {'project': None, 'resume_id': 'a=b'}, 'keep_last': 1}
    assert kept == expected


def test_a_copy_keeps_the_comments_where_nothing_was_overridden(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    path = tiny.write(tiny.teacher(images), tmp_path)
    path.write_text(path.read_text() + '# a remark\n')
    assert run_cli('train', '-opt', path) == 0
    assert (tmp_path / 'experiments/teacher/teacher.yml').read_text().endswith('# a remark\n')


@pytest.mark.parametrize('name, arguments, val_freq', [('nodebugging', [], 100), ('debug_it', [], 8), ('plain', ['--debug'], 8)])
def test_debugging_is_a_leading_word(name: str, arguments: list[str], val_freq: int, images: Path, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write(tiny.teacher(images, name), tmp_path)
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path), *arguments])
    opt, _ = basicsr.train.parse_options(str(tmp_path))
    assert opt['val']['val_freq'] == val_freq and ('debug' in opt['name']) == (val_freq == 8)


def test_an_overridden_seed_seeds_the_network(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for seed, override in ((3, []), (0, ['--force_yml', 'manual_seed=3']), (0, [])):
        path = tiny.write(tiny.teacher(images) | {'manual_seed': seed}, tmp_path)
        monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path), *override])
        basicsr.train.parse_options(str(tmp_path))
        drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize('keys', ['x"];import os;os.mkdir("ran");opt["y', '__class__:__init__:__globals__:x', 'train:__import__("os")'])
def test_keys_of_overrides_run_no_code(keys: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the command line's own check, as from Python."""
    monkeypatch.chdir(tmp_path)
    path = tiny.write(tiny.teacher(images), tmp_path)
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path), '--force_yml', f'{keys}=1'])
    with pytest.raises(ValueError):
        basicsr_compat.rehearse(basicsr.train.parse_options(str(tmp_path))[0])  # our models check the keys of train:
    assert not (tmp_path / 'ran').exists()


def test_what_another_plugin_registers_may_have_keys_of_its_own(images: Path, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.models.sr_model import SRModel
    foreign = type('ForeignModel', (SRModel,), {'__module__': 'another.plugin'})
    monkeypatch.setitem(registry.MODEL_REGISTRY._obj_map, 'ForeignModel', foreign)
    opt = tiny.training(images, model_type='ForeignModel', network_g={'type': 'Bicubic', 'scale': 4})
    opt['datasets']['train']['pairs'] = True
    opt['train'] |= {'optim_g': {'type': 'Lion', 'rate': 1}, 'scheduler': {'type': 'OneCycle'},
                     'mix_opt': {'type': 'Own'}, 'cut_opt': 3}
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(opt | {'own_key': 1}, tmp_path))])
    assert basicsr.train.parse_options(str(tmp_path))[0]['own_key'] == 1
    for key, section, message in (('pixel_opt', {'type': 'L1Loss', 'weight': 1}, "L1Loss has no 'weight'"),
                                  ('optim_g', {'type': 'Adam', 'beta': 1}, "Adam has no 'beta'")):
        monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(opt | {'train': {key: section}}, tmp_path))])
        with pytest.raises(ValueError, match=f'train.{key}: {message}'):
            basicsr.train.parse_options(str(tmp_path))
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(opt | {'manual_sed': 1}, tmp_path))])
    with pytest.raises(ValueError, match="unknown key 'manual_sed'; did you mean 'manual_seed'"):
        basicsr.train.parse_options(str(tmp_path))


@pytest.mark.parametrize('module, is_refused', [('basicsr.metrics', True), ('another.plugin', False)])
def test_another_plugins_metric_may_hand_keys_on(module: str, is_refused: bool) -> None:
    def measure(img: np.ndarray, **kwargs: Any) -> float:
        return 0.
    measure.__module__ = module
    check_arguments('val.metrics.mine', {'type': 'measure', 'better': 'lower'}, lambda name: measure)
    with pytest.raises(ValueError, match="measure has no 'net'") if is_refused else contextlib.nullcontext():
        check_arguments('val.metrics.mine', {'type': 'measure', 'net': 'vgg'}, lambda name: measure)


@pytest.mark.parametrize('cls, keys', [
    ('RealESRGANDataset', {'dataroot_gt', 'meta_info', 'kernel_list2', 'final_sinc_prob', 'persistent_workers'}),
    ('Vimeo90KRecurrentDataset', {'flip_sequence', 'num_frame', 'batch_size_per_gpu'}),
    ('BlindDegradationDataset', {'degradation', 'benchmarks', 'max_unreadable', 'pin_memory'})])
def test_data_sets_know_their_keys(cls: str, keys: set[str]) -> None:
    assert keys <= set(dataset_keys(registry.DATASET_REGISTRY.get(cls)))


def test_the_tables_name_classes_that_exist() -> None:
    """A class that BasicSR renames would lose its keys."""
    models = {base.__name__ for _, model in registry.MODEL_REGISTRY for base in model.__mro__}
    datasets = {base.__name__ for _, dataset in registry.DATASET_REGISTRY for base in dataset.__mro__}
    for table in (basicsr_keys.TOP, basicsr_keys.TRAIN, basicsr_keys.VAL, basicsr_keys.LOGGER):
        assert table.keys() <= models
    assert basicsr_keys.DATASETS.keys() <= datasets


def test_the_tables_hold_what_basicsrs_sources_read() -> None:
    """Of the sections that its data sets get, and of the top level in the real-world models."""
    for name, dataset in registry.DATASET_REGISTRY:
        if not is_foreign(dataset) and dataset.__module__.startswith('basicsr'):
            source = inspect.getsource(dataset)
            read = set(re.findall(r"(?<![\w_])(?:self\.)?opt(?:\[|\.get\()'(\w+)'", source))
            assert read <= set(dataset_keys(dataset)), name
    for name in ('RealESRNetModel', 'RealESRGANModel'):
        model = registry.MODEL_REGISTRY.get(name)
        read = set(re.findall(r"self\.opt(?:\[|\.get\()'(\w+)'", inspect.getsource(model)))
        assert read <= {*basicsr_keys.of(model, basicsr_keys.TOP), 'network_d', *SET_BY_BASICSR}, name


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in `basicsr table lightbsr-3 bicubic | head`."""
    code = ("import sys, lightbsr_arch.cli.degrade as verb; from lightbsr_arch.cli.main import main; "
            "verb.run = lambda arguments: print('x' * 10**6) or 0; sys.exit(main(['degrade']))")
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == '' and process.wait(60) == 1
