"""What a user gets wrong: exit status 1, one line that names the file or key, and nothing lost."""
from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch

from lightbsr_arch import archs, checkpoints
from tests import tiny_options as tiny

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
    ('datasets:train:type', 'PairedImageDataset', "the option file lacks the key 'io_backend'"),
    ('datasets:train:dataroot_gt', 'nowhere', 'nowhere: set dataroot_gt, or data_root'),
    ('datasets:train:dataroot_gt', 'void', 'void holds no images'),
    ('datasets:train:meta_info_file', 'list.txt', 'there is no list of images list.txt'),
    ('datasets:train:batch_size_per_gpu', 8, 'do not fill one batch of 8'),
    ('datasets:train:prefetch_mode', 'gpu', "datasets.train.prefetch_mode must be ~, cpu, or on a GPU cuda, got 'gpu'"),
    ('datasets:train:num_patches', 1, 'set datasets.train.num_patches to 2 or more'),
    ('datasets:train:degradation', 'setting3', "unknown degradation 'setting3'"),
    ('datasets:train:degradation', {'sigmas': 1.2}, "degradation: unknown key 'sigmas'"),
    ('datasets:train:degradation', {'sigma': [3, 1]}, 'degradation.sigma must be a number or a range [low, high]'),
    ('datasets:val:benchmarks:val', 'nowhere', 'nowhere: set dataroot_gt, or data_root'),
    ('datasets:vall', {'type': 'BlindDegradationDataset', 'name': 'v'}, 'vall'),
    ('network_g:type', 'LightBSRTeachr', "network_g: there is no arch named 'LightBSRTeachr'; did you mean 'LightBSRTeacher'"),
    ('network_g:num_feats', 16, "network_g: LightBSRTeacher has no 'num_feats'; did you mean 'num_feat'"),
    ('network_g:contrastive', False, 'train.contrastive_opt is set, but network_g has contrastive: false'),
    ('model_type', 'LightBSRTeacherModl', "there is no model named 'LightBSRTeacherModl'; did you mean 'LightBSRTeacherModel'"),
    ('model_type', 'SRModel', 'datasets.train: SRModel trains on finished pairs: set pairs: true'),
    ('path:pretrained_network_g', 'w.pth', "path: unknown key 'pretrained_network_g'; did you mean 'pretrain_network_g'"),
    ('path:pretrain_network_g', 'nowhere.pth', 'there is no file nowhere.pth'),
    ('path:resume_state', 'nowhere.state', 'cannot resume from nowhere.state'),
    ('val:metrics:psnr:type', 'calculate_psn', "val.metrics.psnr: there is no metric named 'calculate_psn'; did you mean"),
    ('val:save_imgs', True, "val: unknown key 'save_imgs'; did you mean 'save_img'"),
    ('data_rot', '/data', "unknown key 'data_rot'; did you mean 'data_root'"),
    ('scale', 2, 'network_g: scale is 4, but scale is 2 at the top: make them agree'),
    ('datasets:train:io_backend', {'type': 'lmdb'}, 'io_backend is lmdb, but dataroot_gt does not end in .lmdb'),
    ('train:stages:0:warmup', 9, 'train.stages[0]: warmup (9) must not exceed the stage (2 iterations)'),
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


@pytest.mark.parametrize('name', ['a/b', 1])
def test_a_name_that_is_no_folder(name: Any, images: Path, tmp_path: Path, run_cli: Callable,
                                  capfd: pytest.CaptureFixture) -> None:
    path = tiny.write(tiny.teacher(images), tmp_path)
    path.write_text(path.read_text().replace('name: teacher', f'name: {name}', 1))
    assert run_cli('train', '-opt', path) == 1
    assert f'name must be a text without a slash, got {name!r}' in one_error(capfd, 'train')


@pytest.mark.parametrize('override, status, message', [
    ('trian:ema_decay=0.9', 1, "--force_yml: the option file has no section 'trian'"),
    ('train:ema_decay=[', 1, 'is not valid YAML'),
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


MAIN, WORKER, THREAD = {}, {'num_worker_per_gpu': 1}, {'prefetch_mode': 'cpu'}
UNREADABLE = 'image_2.png cannot be read as an image: it is empty, cut off or of another format. Replace or remove it'
SMALL = 'image_2.png: the image has 96x40 pixels, less than gt_size 64: remove it or lower gt_size'


@pytest.mark.parametrize('how, loader, message', [
    ('empty', MAIN, UNREADABLE), ('cut off', MAIN, UNREADABLE), ('text', MAIN, UNREADABLE), ('tiny40', MAIN, SMALL),
    ('cut off', WORKER, UNREADABLE), ('tiny40', WORKER, SMALL), ('cut off', THREAD, UNREADABLE)])
def test_an_unusable_training_image(how: str, loader: Options, message: str, images: Path, tmp_path: Path,
                                    finished: Path, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    opt = tiny.training(images, 'teacher', model_type='LightBSRStudentModel', network_g=STUDENT)
    opt['train']['stages'] = tiny.STAGES[1:]
    opt['datasets'].pop('val')
    opt['datasets']['train'] |= {'batch_size_per_gpu': 6, **loader}
    spoil(images / 'image_2.png', how)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert message in one_error(capfd, 'train')
    assert len(list(tmp_path.glob('experiments/teacher*/models/net_g_latest.pth'))) == 1  # renamed, still there


@pytest.mark.parametrize('how, message', [
    ('empty', 'image_2.png cannot be read as an image'), ('cut off', 'image_2.png cannot be read as an image'),
    ('tiny8', 'image_2.png: an image of 96x8 pixels is too small to be blurred with a 21x21 kernel'),
    ('tiny3', 'image_2.png: an image of 96x0 pixels is too small')])
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
    (lambda path: torch.save({'params': {'a': torch.ones(1)}}, path), 'w.pth holds a network without a name, but'),
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
    ('datasets:test:crop', 4, "datasets: Set5_sigma1.2: unknown key 'crop'"),
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
