"""Real kills and a real full disk: runs in processes of their own."""
from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightbsr_arch import basicsr_compat, checkpoints
from lightbsr_arch.basicsr_compat import validation
from lightbsr_arch.models.blind_sr_model import BlindSRModel
from tests import tiny_options as tiny

ROOT = Path(__file__).resolve().parents[1]
NUM_STEP = 60


def start(path: Path, folder: Path, *flags: str) -> subprocess.Popen:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.Popen([sys.executable, '-m', 'lightbsr_arch.cli.main', 'train', '-opt', str(path), *flags], cwd=folder,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def long_teacher(images: Path, name: str) -> dict[str, Any]:
    """Saves at every third step; both stages, the queue, the average and loading processes."""
    opt = tiny.teacher(images, name)
    opt['train'] |= {'ema_decay': 0.9, 'stages': [{'trains': 'idr', 'iterations': NUM_STEP // 2, 'lr': 1e-3},
                                                  {'trains': 'all', 'iterations': NUM_STEP // 2, 'lr': 1e-3, 'warmup': 5}]}
    opt['datasets']['train'] |= {'num_worker_per_gpu': 1, 'dataset_enlarge_ratio': 3}
    opt['val']['val_freq'] = 10
    opt['logger'] |= {'save_checkpoint_freq': 3, 'keep_last': 3}
    return opt


def killed_at_random(path: Path, folder: Path, num_kill: int, rng: random.Random) -> int:
    """Kills the run once it has begun to save, resumes it, and so on; returns how many kills hit it at work."""
    states = folder / 'experiments' / path.stem / 'training_states'
    hits = 0
    for _ in range(num_kill):
        before = max(basicsr_compat.saved_steps(str(states)), default=0)
        run = start(path, folder, '--auto_resume')
        while run.poll() is None and max(basicsr_compat.saved_steps(str(states)), default=0) <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        hits += run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.communicate()
    run = start(path, folder, '--auto_resume')
    output = run.communicate()[0]
    assert run.returncode == 0, output[-2000:]
    return hits


def test_a_run_killed_at_random_ends_with_the_same_weights(images: Path, tmp_path: Path) -> None:
    for name in ('undisturbed', 'killed'):
        tiny.write(long_teacher(images, name), tmp_path)
    run = start(tmp_path / 'undisturbed.yml', tmp_path)
    output = run.communicate()[0]
    assert run.returncode == 0, output[-2000:]
    assert killed_at_random(tmp_path / 'killed.yml', tmp_path, 2, random.Random(0)) >= 1
    whole, killed = (torch.load(tmp_path / f'experiments/{name}/models/net_g_latest.pth') for name in ('undisturbed', 'killed'))
    for key in ('params', 'params_ema'):
        assert [name for name, value in whole[key].items() if not torch.equal(killed[key][name], value)] == []
    states = [torch.load(tmp_path / f'experiments/{name}/training_states/{NUM_STEP}.state') for name in ('undisturbed', 'killed')]
    assert states[0]['best'] == states[1]['best']
    for one, other in zip(*(state['optimizers'][0]['state'].values() for state in states)):
        assert all(torch.equal(one[key], other[key]) for key in one)
    folder = tmp_path / 'experiments/killed'
    assert basicsr_compat.saved_steps(str(folder / 'training_states')) == [NUM_STEP, NUM_STEP - 3, NUM_STEP - 6]
    names = {path.name for path in (folder / 'models').iterdir()}
    assert names == {'net_g_latest.pth', *(f'net_g_{NUM_STEP - i}.pth' for i in (0, 3, 6))}


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_run_told_to_stop_saves_first(number: signal.Signals, images: Path, tmp_path: Path) -> None:
    opt = long_teacher(images, 'told')
    opt['logger'] |= {'save_checkpoint_freq': 1000}
    opt['train']['stages'][1]['iterations'] = 100_000
    path, states = tiny.write(opt, tmp_path), tmp_path / 'experiments/told/training_states'
    seen = []
    for flags in ((), ('--auto_resume',)):
        run = start(path, tmp_path, *flags)
        begin = list(itertools.takewhile(lambda line: 'lr:(' not in line, run.stdout))  # up to the first step's line
        os.killpg(run.pid, number)  # as a terminal does: the loading process too
        output = run.communicate(timeout=60)[0]
        assert run.returncode == 128 + number, output[-2000:]
        seen.append(max(basicsr_compat.saved_steps(str(states))))
        assert f'{number.name}: stopped after iteration {seen[-1]}, which is saved' in output and 'Traceback' not in output
    assert 1 <= seen[0] < seen[1] < 1000
    assert f'iter: {seen[0]}.' in ''.join(begin)
    assert (states.parent / f'models/net_g_{seen[1]}.pth').exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of one MiB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip('needs the right to mount a file system')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_a_full_disk_is_an_error_and_keeps_the_last_good_file(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.files, 'PAUSES', (0, 0))
    path = str(small_disk / 'net.pth')
    checkpoints.write({'params': {'w': torch.ones(100_000)}}, path)
    with pytest.raises(OSError, match=r'net.pth could not be written, what was saved before is kept'):
        checkpoints.write({'params': {'w': torch.ones(200_000)}}, path)
    assert checkpoints.read(path).state_dict['w'].sum() == 100_000 and os.listdir(small_disk) == ['net.pth']


def test_a_run_on_a_full_disk_stops_with_an_error(small_disk: Path, images: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch,
                                                  capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoints.files, 'PAUSES', (0, 0))
    opt = tiny.teacher(images, 'full', queue_size=400)
    opt['logger']['save_checkpoint_freq'] = 1
    path = tiny.write(opt, tmp_path)
    monkeypatch.chdir(small_disk)
    assert run_cli('train', '-opt', path) == 1
    assert 'could not be written' in capfd.readouterr().err
    steps = basicsr_compat.saved_steps(str(small_disk / 'experiments/full/training_states'))
    for step in steps:  # what is there is whole
        torch.load(small_disk / f'experiments/full/training_states/{step}.state')
        torch.load(small_disk / f'experiments/full/models/net_g_{step}.pth')
    assert not list(small_disk.rglob('*.tmp'))


def test_a_folder_that_cannot_be_written_is_an_error(small_disk: Path, images: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch,
                                                     capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    """Not by permissions, which are nothing to an administrator."""
    monkeypatch.setattr(checkpoints.files, 'PAUSES', (0, 0))
    path = str(small_disk / 'net.pth')
    checkpoints.write({'params': {'w': torch.ones(3)}}, path)
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    with pytest.raises(OSError, match='net.pth could not be written, what was saved before is kept.*Read-only'):
        checkpoints.write({'params': {'w': torch.zeros(3)}}, path)
    assert checkpoints.read(path).state_dict['w'].tolist() == [1, 1, 1] and os.listdir(small_disk) == ['net.pth']
    options = tiny.write(tiny.teacher(images), tmp_path)
    monkeypatch.chdir(small_disk)
    assert run_cli('train', '-opt', options) == 1
    err = capfd.readouterr().err
    assert 'Read-only file system' in err.splitlines()[-1] and 'Traceback' not in err


def test_a_folder_that_vanishes_during_a_run_stops_it(images: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch,
                                                      capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoints.files, 'PAUSES', (0, 0))
    run, step = tmp_path / 'experiments/teacher', BlindSRModel.optimize_parameters

    def lose_folder(self: BlindSRModel, iteration: int) -> None:
        step(self, iteration)
        if iteration == 3:
            (run / 'models').rename(run / 'elsewhere')

    monkeypatch.setattr(BlindSRModel, 'optimize_parameters', lose_folder)
    assert run_cli('train', '-opt', tiny.write(tiny.teacher(images), tmp_path)) == 1
    assert 'net_g_4.pth could not be written, what was saved before is kept' in capfd.readouterr().err.splitlines()[-1]
    assert basicsr_compat.saved_steps(str(run / 'training_states')) == [2]  # no state without its weights


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize('spoil, resumed_from', [
    (lambda run: cut(run / 'training_states/4.state'), 2), (lambda run: (run / 'training_states/4.state').write_bytes(b''), 2),
    (lambda run: cut(run / 'models/net_g_4.pth'), 2), (lambda run: (run / 'models/net_g_4.pth').unlink(), 2),
    (lambda run: None, 4)])
def test_auto_resume_takes_the_newest_whole_state(spoil: Any, resumed_from: int, images: Path, tmp_path: Path, run_cli: Any,
                                                  capfd: pytest.CaptureFixture) -> None:
    opt = tiny.teacher(images)
    opt['datasets'].pop('val')
    path, run = tiny.write(opt, tmp_path), tmp_path / 'experiments/teacher'
    assert run_cli('train', '-opt', path) == 0
    spoil(run)
    (run / 'models/.net_g_9.pth.1.tmp').touch()  # left by a killed process
    capfd.readouterr()
    assert run_cli('train', '-opt', path, '--auto_resume') == 0
    err = capfd.readouterr().err
    assert f'iter: {resumed_from}.' in err and ('cannot resume from' in err) == (resumed_from == 2)
    assert not list(run.rglob('*.tmp')) and [path.name for path in run.parent.iterdir()] == ['teacher']


def test_auto_resume_does_not_start_over_where_no_state_is_whole(images: Path, tmp_path: Path, run_cli: Any,
                                                                 capfd: pytest.CaptureFixture) -> None:
    path, run = tiny.write(tiny.teacher(images), tmp_path), tmp_path / 'experiments/teacher'
    assert run_cli('train', '-opt', path) == 0
    for state in (run / 'training_states').iterdir():
        cut(state)
    assert run_cli('train', '-opt', path, '--auto_resume') == 1
    assert 'none of the states in' in capfd.readouterr().err
    assert (run / 'models/net_g_latest.pth').exists() and len(list(run.parent.iterdir())) == 1


def script_figures(monkeypatch: pytest.MonkeyPatch, figures: list[float]) -> None:
    """Each validation of a data set measures the next of `figures`."""
    values, coming = [], iter(figures)
    begin = validation.agree_on_buffers
    monkeypatch.setattr(validation, 'measure', lambda metrics, images, path: [values[-1]])
    monkeypatch.setattr(validation, 'agree_on_buffers', lambda self: (values.append(next(coming)), begin(self)))


def test_the_best_weights_are_kept(images: Path, tmp_path: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the mean over the validation sets; the best is not the last."""
    opt = tiny.teacher(images)
    opt['train']['stages'] = [{'trains': 'all', 'iterations': 4, 'lr': 1e-3}]
    opt['datasets']['val']['degradations'] = [{'sigma': 1.2}, {'sigma': 2.4}]
    opt['val']['val_freq'] = 1
    opt['logger'] |= {'save_best': 'psnr', 'save_checkpoint_freq': 1}
    script_figures(monkeypatch, [10, 30, 20, 30, 24, 20, 5, 5, 5, 5])  # means 20, 25, 22, 5
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    models = tmp_path / 'experiments/teacher/models'
    best, second = (torch.load(models / name)['params'] for name in ('net_g_best.pth', 'net_g_2.pth'))
    assert all(torch.equal(best[key], second[key]) for key in second)


def test_a_run_killed_while_it_validates_keeps_that_validation(images: Path, tmp_path: Path, run_cli: Any,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of iteration 2 was saved before its validation, which found the best figures of the run."""
    opt = tiny.teacher(images)
    opt['train']['stages'] = [{'trains': 'all', 'iterations': 6, 'lr': 1e-3}]
    opt['val']['val_freq'] = 2
    opt['logger'] |= {'save_best': 'psnr', 'save_checkpoint_freq': 2}
    path, run = tiny.write(opt, tmp_path), tmp_path / 'experiments/teacher'
    script_figures(monkeypatch, [40, 30, 20, 20] * 2)
    assert run_cli('train', '-opt', path) == 0
    whole = [torch.load(run / name) for name in ('models/net_g_best.pth', 'training_states/6.state')]
    for name in ('training_states/4.state', 'training_states/6.state', 'models/net_g_best.pth'):
        (run / name).unlink()
    assert run_cli('train', '-opt', path, '--auto_resume') == 0
    best, state = (torch.load(run / name) for name in ('models/net_g_best.pth', 'training_states/6.state'))
    assert state['best'] == whole[1]['best'] and state['best']['mean of all']['psnr']['iter'] == 2
    assert all(torch.equal(best['params'][key], value) for key, value in whole[0]['params'].items())
