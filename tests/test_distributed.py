"""Two processes on the CPU, by gloo: as a user starts them, with torchrun."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightbsr_arch.basicsr_compat import distributed as processes
from tests import tiny_options as tiny
from tests.test_kdsr import gan_options

SCRIPT = Path(__file__).with_name('distributed_run.py')
ROOT = SCRIPT.parents[1]
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
Steps = list[dict[str, Any]]


def launcher(num_process: int) -> list[str]:
    return [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={num_process}']


def launch(num_process: int, folder: Path, out: str, *runs: str) -> list[list[Steps]]:
    """Runs `basicsr RUN` for each, in processes of its own; for each process, the recorded steps of each run."""
    start = launcher(num_process) if num_process > 1 else [sys.executable]
    words = [word for run in runs for word in ('--', *run.split(), *(['--launcher', 'pytorch'] if num_process > 1 else []))]
    done = subprocess.run([*start, str(SCRIPT), out, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f'{out}.{rank}') for rank in range(num_process)]


def kdsr_student(images: Path) -> dict[str, Any]:
    """Of a teacher of 8 features; no BatchNorm anywhere. A stage of the estimator comes first."""
    opt = tiny.training(images, 'kdsr_student', model_type='KDSRStudentModel')
    opt['network_g'] = {'type': 'KDSR', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}
    opt['path'] = {'pretrain_network_t': 'experiments/kdsr_teacher/models/net_g_latest.pth'}
    opt['train'] |= {'stages': tiny.STAGES, 'distill_opt': {'type': 'ChannelDistillationLoss', 'l1_weight': 0}}
    return opt


def kdsr_teacher(images: Path) -> dict[str, Any]:
    """Without BatchNorm too; one stage, of all, in two parts of a batch."""
    opt = tiny.training(images, 'kdsr_teacher', model_type='KDSRTeacherModel')
    opt['network_g'] = {'type': 'KDSRTeacher', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}
    opt['train'] |= {'stages': tiny.STAGES[1:], 'accumulate': 2}
    return opt


def edsr(images: Path) -> dict[str, Any]:
    """BasicSR's own model, of one batch at a time."""
    opt = tiny.training(images, 'edsr', model_type='SRModel')
    opt['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 4}
    opt['datasets']['train'] |= {'pairs': True, 'gt_size': 16}
    opt['train'] |= {'total_iter': 4, 'ema_decay': 0.5, 'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'warmup_iter': 3,
                     'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5}}
    return opt


def gan(images: Path) -> dict[str, Any]:
    """KDSR's, on real-world degradations."""
    opt = gan_options(images, images.parent) | {'name': 'gan'}
    opt['datasets']['train'] |= {'num_worker_per_gpu': 0, 'dataset_enlarge_ratio': 4}
    return opt


def idr(images: Path) -> dict[str, Any]:
    """Learns nothing, and validates the IDR on five images in each of its two stages."""
    opt = kdsr_student(images) | {'name': 'idr'}
    names = images.parent / 'five.txt'
    names.write_text('\n'.join(f'image_{i}.png' for i in range(5)))
    opt['datasets']['val'] |= {'degradations': [{'sigma': 0.4}, {'sigma': 4.0}], 'meta_info_file': str(names)}
    opt['train']['stages'] = [{**stage, 'iterations': 1, 'lr': 1e-30} for stage in tiny.STAGES]
    opt['val'] |= {'val_freq': 1, 'idr_statistics': True}
    return opt


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Option files, and six images."""
    import cv2
    import numpy as np
    folder, rng = tmp_path_factory.mktemp('distributed'), np.random.default_rng(0)
    images = folder / 'images'
    images.mkdir()
    for i in range(6):
        image = cv2.resize(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8), (96, 80), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(images / f'image_{i}.png'), image)
    teacher = tiny.teacher(images) | {'val': {'val_freq': 4, 'save_img': False, 'metrics': tiny.METRICS}}
    teacher['train']['ema_decay'] = 0.5
    student = tiny.student(images, 'experiments/teacher/models/net_g_latest.pth')
    spoilt = kdsr_teacher(images) | {'name': 'spoilt'}
    spoilt['train'] |= {'accumulate': 1}
    for opt in (teacher, student, kdsr_teacher(images), kdsr_student(images), edsr(images), gan(images), idr(images), spoilt):
        opt['datasets']['train'] |= {'batch_size_per_gpu': opt['train'].get('accumulate', 1), 'dataset_enlarge_ratio': 2}
        tiny.write(opt, folder)
    for opt, batch_size in ((kdsr_student(images), 2), (kdsr_teacher(images), 4)):
        opt['datasets']['train'] |= {'batch_size_per_gpu': batch_size, 'dataset_enlarge_ratio': 2}
        opt['train'] |= {'accumulate': 1}
        tiny.write(opt | {'name': f'double_{opt["name"]}'}, folder)
    return folder


@pytest.fixture(scope='module')
def two(folder: Path) -> list[dict[str, Steps]]:
    """Teachers and students through both stages; by process and run."""
    names = ['teacher', 'student', 'kdsr_teacher', 'kdsr_student', 'edsr', 'gan', 'idr', 'spoilt']
    recorded = launch(2, folder, 'two', *(f'train -opt {name}.yml' for name in names))
    return [dict(zip(names, runs)) for runs in recorded]


@pytest.mark.parametrize('name, num_step', [('teacher', 4), ('student', 4), ('kdsr_teacher', 2), ('kdsr_student', 4),
                                            ('edsr', 4), ('gan', 4), ('spoilt', 2)])
def test_all_processes_take_the_same_step(two: list[dict[str, Steps]], name: str, num_step: int) -> None:
    """In each stage: gradients, parameters (the key branch's too), their average and the queue. Or none takes it."""
    first, second = (runs[name] for runs in two)
    assert len(first) == len(second) == num_step
    for one, other in zip(first, second):
        for kind in ('gradients', 'parameters', 'average', 'queue'):
            assert one[kind].keys() == other[kind].keys()
            assert [key for key in one[kind] if not torch.equal(one[kind][key], other[kind][key])] == []
    assert (len(first[0]['gradients']) < len(first[-1]['gradients'])) == (name in ('teacher', 'student', 'kdsr_student'))
    assert (len(first[0]['queue']) == 2) == (name == 'teacher')
    assert bool(first[0]['average']) == (name in ('teacher', 'edsr'))


def test_the_queue_takes_the_keys_of_all_processes(two: list[dict[str, Steps]]) -> None:
    steps = two[0]['teacher']
    assert [step['queue']['encoder.queue_pointer'].item() for step in steps] == [2, 4, 6, 8]
    new = steps[0]['queue']['encoder.queue'][:, :2]
    assert torch.allclose(new.norm(dim=0), torch.ones(2)) and not torch.allclose(new[:, 0], new[:, 1])


def test_gradients_are_those_of_one_process_with_the_double_batch(folder: Path, two: list[dict[str, Steps]]) -> None:
    """In a stage of the estimator and, in parts, in one of all; Adam's first step turns rounding errors into whole steps."""
    names = ['kdsr_student', 'kdsr_teacher']
    one, = launch(1, folder, 'one', *(f'train -opt double_{name}.yml' for name in names))
    for name, steps in zip(names, one):
        single, double = (first['gradients'] for first in (steps[0], two[0][name][0]))
        assert single.keys() == double.keys()
        for key, gradient in single.items():
            torch.testing.assert_close(double[key], gradient, rtol=2e-3, atol=2e-6 + 2e-3 * float(gradient.abs().max()))


def test_a_resumed_run_of_two_processes_is_the_same_run(folder: Path, two: list[dict[str, Steps]]) -> None:
    """Interrupted, the teacher in the first stage, and resumed, the teacher into the second."""
    files = {name: sorted((folder / f'experiments/{name}/models').glob('net_?_4.pth')) for name in ('teacher', 'edsr', 'gan')}
    assert [len(paths) for paths in files.values()] == [1, 1, 2]
    whole = {path: torch.load(path) for paths in files.values() for path in paths}
    for name in files:
        states = folder / f'experiments/{name}/training_states'
        assert sorted(path.name for path in states.iterdir()) == ['2.rank1', '2.state', '4.rank1', '4.state']
        (states / '4.state').unlink()
    for path in whole:
        path.unlink()
    resumed = launch(2, folder, 'resumed', *(f'train -opt {name}.yml --auto_resume' for name in files))
    assert [len(steps) for steps in resumed[0]] == [2, 2, 2]
    for path, content in whole.items():
        again = torch.load(path)
        for key in {'params', 'params_ema'} & content.keys():
            assert [name for name, value in content[key].items() if not torch.equal(again[key][name], value)] == []


def test_all_processes_go_on_from_the_same_state(folder: Path, two: list[dict[str, Steps]]) -> None:
    """The newest one lacks what the second process needs."""
    states = folder / 'experiments/student/training_states'
    (states / '4.rank1').write_bytes(b'cut off')
    resumed = launch(2, folder, 'set_back', 'train -opt student.yml --auto_resume')
    assert [len(runs[0]) for runs in resumed] == [2, 2]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_processes_told_to_stop_save_first(number: signal.Signals, folder: Path, two: list[dict[str, Steps]]) -> None:
    """By a cluster, which tells the launcher; or by Ctrl-C, which the launcher's processes get twice."""
    opt = yaml.safe_load((folder / 'kdsr_teacher.yml').read_text()) | {'name': f'told_{number.name}'}
    opt['train']['stages'][0]['iterations'] = 100_000
    opt['logger'] |= {'save_checkpoint_freq': 100_000}
    opt['datasets'].pop('val')
    tiny.write(opt, folder)
    run = subprocess.Popen([*launcher(2), '-m', 'lightbsr_arch.cli.main', 'train', '-opt', f'{opt["name"]}.yml', '--launcher',
                            'pytorch'], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           start_new_session=True)
    next(line for line in run.stdout if 'lr:(' in line)
    (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
    output = run.communicate(timeout=120)[0]
    assert f'{number.name}: stopped after iteration' in output, output[-3000:]
    saved = {path.suffix for path in (folder / f'experiments/{opt["name"]}/training_states').iterdir()}
    assert saved == {'.state', '.rank1'}


def test_validation_is_shared_and_complete(folder: Path, two: list[dict[str, Steps]], tmp_path: Path) -> None:
    """Its mean over the images equals that of a test in one process."""
    log = next((folder / 'experiments/kdsr_student').glob('*.log')).read_text()
    validated = float(log.rpartition('# psnr: ')[2].split()[0])
    opt = tiny.benchmark(folder / 'images', 'alone', model_type='KDSRStudentModel', network_g=kdsr_student(folder)['network_g'],
                         path={'pretrain_network_g': 'experiments/kdsr_student/models/net_g_latest.pth'})
    tiny.write(opt, folder)
    launch(1, folder, 'alone', 'test -opt alone.yml')
    table = (folder / 'results/alone/table.md').read_text()
    assert f'{validated:.2f}' in table


@pytest.mark.parametrize('name, moved', [('teacher', '1.encoder.query.estimator.1.running_mean'),  # the average's
                                         ('student', '0.estimator.1.running_mean')])
def test_the_buffers_of_the_first_process_are_validated(two: list[dict[str, Steps]], name: str, moved: str) -> None:
    """After a step each process has its own."""
    first, second = (runs[name][-1] for runs in two)
    assert not torch.equal(first['buffers'][moved], second['buffers'][moved])
    for last in (first, second):
        assert [key for key, value in first['buffers'].items() if not torch.equal(value, last['validated'][key])] == []


def test_the_idr_is_validated_on_the_images_of_all_processes(folder: Path, two: list[dict[str, Steps]]) -> None:
    """In both stages as in one process."""
    tiny.write(idr(folder / 'images') | {'name': 'idr_alone'}, folder)
    launch(1, folder, 'idr_alone', 'train -opt idr_alone.yml')
    logs = [next((folder / f'experiments/{name}').glob('*.log')).read_text() for name in ('idr', 'idr_alone')]
    shared, alone = (re.findall(r'Validation (of the IDR|.*stage idr): (\w+) (-?[\d.]+)', log) for log in logs)
    assert len(alone) == 8 and [line[:2] for line in shared] == [line[:2] for line in alone]
    assert [float(line[2]) for line in shared] == pytest.approx([float(line[2]) for line in alone], abs=2e-4)


def test_a_skipped_step_names_the_images_of_all_processes(folder: Path, two: list[dict[str, Steps]]) -> None:
    log = next((folder / 'experiments/spoilt').glob('*.log')).read_text()
    line = next(line for line in log.splitlines() if 'Step 1 is skipped' in line)
    assert 'l_pix not finite' in line and len(set(re.findall(r'image_\d.png', line))) == 2 and 'Step 2' not in log


def test_slurm_tells_each_process_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && printf "node1\\nnode2\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for key in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'LOCAL_RANK'):
        monkeypatch.setenv(key, 'to be put back')
        monkeypatch.delenv(key)
    for key, value in {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_LOCALID': '1', 'SLURM_NODELIST': 'node[1-2]'}.items():
        monkeypatch.setenv(key, value)
    processes.read_slurm_place(None)
    assert [os.environ[key] for key in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')] == [
        '3', '4', '1', 'node1', '29500']


@pytest.mark.parametrize('launcher, message', [('pytorch', 'torchrun --nproc_per_node'), ('slurm', 'SLURM_PROCID')])
def test_a_launcher_that_did_not_launch(launcher: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(ValueError, match=message):
        processes.start_process_group(launcher)
