"""`basicsr check`, and the notes on options."""
from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Callable

import pytest
import torch

from lightbsr_arch import archs, checkpoints, option_notes
from lightbsr_arch.cli.check import duration
from lightbsr_arch.cli.pipeline import parse_options
from lightbsr_arch.models.blind_sr_model import BlindSRModel
from tests import tiny_options as tiny
from tests.test_bad_input import put

Options = dict[str, Any]
Lines = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def check(tmp_path: Path, run_cli: Callable, capfd: pytest.CaptureFixture) -> Lines:
    """Checks an option file; returns the exit status, the report line by line, and what stderr got."""
    def run(opt: Options, *arguments: str) -> tuple[int, list[str], str]:
        path = tiny.write(opt, tmp_path)
        before = set(tmp_path.rglob('*'))
        status = run_cli('check', '-opt', path, *arguments)
        assert set(tmp_path.rglob('*')) == before, 'something was written'
        out, err = capfd.readouterr()
        return status, out.splitlines(), err
    return run


def teacher_file(path: Path, degradation: Options) -> Path:
    network = {'type': 'LightBSRTeacher', **tiny.TINY, 'queue_size': 16}
    net = archs.LightBSRTeacher(**tiny.TINY, queue_size=16)
    net.pca_basis[0, 0] = 1
    checkpoints.write({'params': net.state_dict(), 'network': network, 'degradation': degradation}, str(path))
    return path


def quiet(opt: Options) -> Options:
    """Without anything to remark."""
    opt['logger']['save_checkpoint_freq'] = opt['val']['val_freq'] = 1
    if 'queue_size' in opt['network_g']:
        opt['network_g']['queue_size'] = 4
    return opt


def test_a_training_that_can_be_run(images: Path, check: Lines) -> None:
    status, lines, err = check(quiet(tiny.teacher(images)))
    lines = [line for line in lines if 'waits for its data' not in line]  # may be, on so small a network
    topics = [line[:8].strip() for line in lines]
    assert status == 0 and err == ''
    assert topics == ['options', 'data', '', 'data', '', 'stage 1', 'stage 2', 'cost', 'cost', '', 'ready']
    assert lines[1:5] == [f'data     train: {images}', '         6 images', f'data     val: {images}', '         6 images']
    assert lines[5] == 'stage 1  idr: 2 iterations of 2 images, 4 samples, 0.667 passes over the images'
    seconds = [float(line.split(': ')[1].split(' s a step')[0]) for line in lines[7:9]]
    memory = [float(line.split('; ')[1].split(' GiB')[0]) for line in lines[7:9]]
    assert all(0 < s < 5 for s in seconds) and 0.1 < memory[0] <= memory[1] < 20


def test_a_student_of_the_right_and_of_another_teacher(images: Path, tmp_path: Path, check: Lines) -> None:
    setting1 = {'sigma': [0.2, 4.0]}
    path = teacher_file(tmp_path / 'w.pth', setting1)
    status, lines, _ = check(quiet(tiny.student(images, path)), '--no-steps')
    assert status == 0 and f'weights  pretrain_network_t: {path}, of the same setting, fits its network' in lines
    assert not [line for line in lines if line.startswith('cost')]
    teacher_file(path, {'sigma': 1.2})
    status, lines, err = check(tiny.student(images, path), '--no-steps')
    assert status == 1 and f'{path} is a teacher of another setting' in err and len(err.splitlines()) == 1
    status, _, err = check(tiny.student(images, tmp_path / 'nowhere.pth'), '--no-steps')
    assert status == 1 and f'path.pretrain_network_t: there is no file {tmp_path}/nowhere.pth: put it there' in err
    gone = tiny.student(images, 'experiments/gone/models/w.pth')
    gone['datasets']['train']['dataroot_gt'] = 'nowhere'
    status, lines, _ = check(gone, '--no-steps')
    wrong = [line for line in lines if line.startswith('  wrong')]
    assert status == 1 and len(wrong) == 2 and 'gone/models/w.pth: train gone first, or name another file' in wrong[1]


def test_basicsrs_own_model_and_a_test(images: Path, check: Lines) -> None:
    opt = tiny.training(images, 'edsr', model_type='SRModel', network_g={
        'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 4})
    opt['datasets']['train'] |= {'pairs': True, 'gt_size': 16}
    opt['train'] |= {'total_iter': 1, 'optim_g': {'type': 'AdamW', 'lr': 1e-3, 'fused': False},
                     'scheduler': {'type': 'MultiStepLR', 'milestones': [1], 'gamma': 0.5}}
    status, lines, _ = check(opt)
    assert status == 0 and [line for line in lines if line.startswith('cost     stage 1')]
    status, lines, _ = check(tiny.benchmark(images))
    assert status == 0 and lines[0].endswith('all keys are known; SRModel, testing Bicubic') and len(lines) == 4
    opt = tiny.benchmark(images)
    opt['datasets']['test']['benchmarks']['Set14'] = 'nowhere'
    assert '  note   nowhere is not there: its test sets will be left out' in check(opt)[1]


def test_several_stages_of_one_iteration(images: Path, check: Lines) -> None:
    opt = tiny.teacher(images)
    opt['train']['stages'] = [{**stage, 'iterations': 1} for stage in tiny.STAGES]
    assert check(opt)[0] == 0


def test_flawed_images_are_notes_in_training_and_errors_in_testing(images: Path, check: Lines) -> None:
    (images / 'nested/image_4.png').write_bytes(b'text')
    opt = tiny.teacher(images)
    del opt['datasets']['val']
    status, lines, _ = check(opt, '--no-steps')
    assert status == 0 and any(line.startswith(f'  note   {images}/nested/image_4.png cannot be read') for line in lines)
    (images / 'image_0.png').write_bytes(b'text')
    status, lines, err = check(tiny.benchmark(images))
    assert status == 1 and len([line for line in lines if line.startswith('  wrong  ')]) == 2
    assert f'test.yml cannot be run: {images}/image_0.png cannot be read' in err and 'it (and 1 more, see above)' in err


def test_thorough_decodes_all(images: Path, check: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightbsr_arch.data import inspection
    monkeypatch.setattr(inspection.inspect, '__defaults__', (False, 0))
    content = (images / 'image_3.png').read_bytes()
    (images / 'image_3.png').write_bytes(content[:len(content) // 2])
    opt = tiny.benchmark(images)
    assert check(opt)[0] == 0 and check(opt, '--thorough')[0] == 1


@pytest.mark.parametrize('path, value, message', [
    ('val:save_imgs', True, "val: unknown key 'save_imgs'; did you mean 'save_img'"),
    ('datasets:train:dataroot_gt', 'nowhere', 'nowhere: set dataroot_gt'),
    ('datasets:train:batch_size_per_gpu', 8, 'do not fill one batch of 8'),
    ('network_g:contrastive', False, 'train.contrastive_opt is set, but network_g has contrastive: false'),
    ('train:amp', 'fp8', "train: amp must be 'bf16', 'fp16' or left out, got 'fp8'"),
    ('train:accumulates', 2, "train: unknown key 'accumulates'; did you mean 'accumulate'"),
    ('train:optim_g', {'type': 'AdamW', 'beta': 1}, "train.optim_g: AdamW has no 'beta'; did you mean 'betas'"),
    ('scale', None, "'scale' is missing"),
])
def test_one_line_says_what_is_wrong(path: str, value: Any, message: str, images: Path, check: Lines) -> None:
    opt = tiny.teacher(images)
    put(opt, path, value)
    status, _, err = check(opt, '--no-steps')
    assert status == 1 and message in err and err.startswith('basicsr check: error: ') and len(err.splitlines()) == 1


def test_overrides_are_checked(images: Path, check: Lines) -> None:
    assert check(tiny.teacher(images), '--no-steps', '--force_yml', 'train:stages:0:iterations=1', 'logger:keep_last=2')[0] == 0
    status, _, err = check(tiny.teacher(images), '--force_yml', 'logger:keep_lst=2')
    assert status == 1 and "logger: unknown key 'keep_lst'; did you mean 'keep_last'" in err


def test_a_file_that_is_not_there(run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    assert run_cli('check', '-opt', 'nowhere.yml') == 1
    assert 'cannot read the option file nowhere.yml (-opt): No such file' in capfd.readouterr().err


NOTES = [
    ('logger:save_checkpoint_freq', 9, 'logger.save_checkpoint_freq (9) is longer than the run (4 iterations)'),
    ('val:val_freq', 9, 'val.val_freq (9) is longer than the run (4 iterations)'),
    ('train:ema_decay', 0.9, 'train.ema_decay (0.9): after 2 iterations of all weights, 81% of the average is still what they began'),
    ('train:warmup_iter', 5, 'train.warmup_iter (5) is longer than the run'),
    ('datasets:train:batch_size_per_gpu', 7, 'a batch of 7 is larger than the data set (6 images)'),
    ('datasets:train:num_worker_per_gpu', 999, f'999 loading processes share {os.cpu_count()} CPU cores'),
    ('network_g:queue_size', 1, 'network_g.queue_size (1) is smaller than the keys of one batch (2)'),
    ('network_g:queue_size', 5, 'network_g.queue_size (5) is larger than the samples of stage 1 (4)')]


@pytest.mark.parametrize('path, value, message', NOTES)
def test_notes(path: str, value: Any, message: str, images: Path, tmp_path: Path) -> None:
    opt = parse_options('train', str(tiny.write(quiet(tiny.teacher(images)), tmp_path)), [])
    assert list(option_notes.notes(opt, 6)) == []
    put(opt, path, value)
    assert message in list(option_notes.notes(opt, 6))[0]


def test_memory_that_is_not_there(images: Path, check: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError('CUDA out of memory')
    monkeypatch.setattr('lightbsr_arch.models.lightbsr_model.LightBSRTeacherModel.compute_losses', fail)
    status, _, err = check(tiny.teacher(images))
    assert status == 1 and 'stage 1 needs more memory than the GPU has: lower datasets.train.batch_size_per_gpu' in err


def test_an_interrupted_check_says_nothing_of_a_saved_run(images: Path, check: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    step = BlindSRModel.optimize_parameters
    monkeypatch.setattr(BlindSRModel, 'optimize_parameters', lambda self, current_iter: (
        step(self, current_iter), signal.raise_signal(signal.SIGINT)))
    at_start = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a program in the background does not have
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert check(tiny.teacher(images))[::2] == (130, 'basicsr check: interrupted\n')
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGINT, at_start)


@pytest.mark.parametrize('seconds, text', [(3, '0.1 min'), (90, '1.5 min'), (5400, '1.50 h')])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
