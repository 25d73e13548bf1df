from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
import yaml

from lightbsr_arch import option_files
from lightbsr_arch.cli.sweep import check_origins
from lightbsr_arch.evaluation.paper import tables
from lightbsr_arch.evaluation.sweep import plan
from tests import tiny_options as tiny

ABLATIONS = Path(__file__).resolve().parents[1] / 'options/ablations'
SWEEPS = sorted(path for path in ABLATIONS.glob('*.yml') if 'runs' in option_files.read(path))
TEACHER, STUDENT = 'experiments/base_teacher/models/net_g_latest.pth', 'base_student'


def write_sweep(folder: Path, runs: dict[str, Any], taught_by: str = TEACHER, **further: Any) -> Path:
    """A sweep over two small option files beside it."""
    tiny.write({'name': 'base_teacher', 'path': {}, 'network_g': {'type': 'A', 'x': 1}, 'train': {'lr': [1, 2]}}, folder)
    tiny.write({'name': 'base_student', 'path': {'pretrain_network_t': taught_by, 'resume_state': None}}, folder)
    return tiny.write({'name': 'sweep', 'table': 'lightbsr-1', 'runs': runs, 'steps': {
        'teacher': 'base_teacher.yml', 'student': 'base_student.yml'}} | further, folder)


# ---------------------------------------------------------------------------------------------- the plan
@pytest.mark.parametrize('section, teacher, student, taught_by', [
    ({}, 'base_teacher', 'base_student', 'base_teacher'), (None, 'base_teacher', 'base_student', 'base_teacher'),
    ({'teacher': {'network_g': {'x': 2}}}, 'base_teacher_r', 'base_student_r', 'base_teacher_r'),
    ({'student': {'scale': 2}}, 'base_teacher', 'base_student_r', 'base_teacher'),
    ({'teacher': {'network_g': {'x': 1}}}, 'base_teacher', 'base_student', 'base_teacher'),
    ({'test': {'y': 1}}, 'base_teacher', 'base_student', 'base_teacher')], ids=str)
def test_a_run_trains_anew_only_what_differs(section: Any, teacher: str, student: str, taught_by: str, tmp_path: Path) -> None:
    _, (run,) = plan(str(write_sweep(tmp_path, {'r': section})))
    assert {step: t.experiment for step, t in run.trainings.items()} == {'teacher': teacher, 'student': student}
    path = run.trainings['student'].options['path']
    assert path == {'pretrain_network_t': f'experiments/{taught_by}/models/net_g_latest.pth', 'resume_state': None}
    assert run.trainings['teacher'].weights == f'experiments/{teacher}/models/net_g_latest.pth'


SPELLINGS = [TEACHER, f'./{TEACHER}', TEACHER.replace('/', '//'), f'else/../{TEACHER}', f'~/{TEACHER}', f'{{here}}/{TEACHER}']


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_a_student_follows_its_teacher_however_the_path_is_spelt(spelling: str, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    taught_by = spelling.format(here=tmp_path)
    _, (base, run) = plan(str(write_sweep(tmp_path, {'base': {}, 'r': {'teacher': {'network_g': {'x': 2}}}}, taught_by)))
    assert run.trainings['student'].options == {'name': 'base_student_r', 'path': {
        'pretrain_network_t': 'experiments/base_teacher_r/models/net_g_latest.pth', 'resume_state': None}}
    assert base.trainings['student'].options == {'name': 'base_student', 'path': {
        'pretrain_network_t': taught_by, 'resume_state': None}}


@pytest.mark.parametrize('section, report, reported', [
    ({}, ['teacher', 'student'], ('teacher', 'student')), ({}, [], ('student',)), ({'student': None}, ['student'], ('teacher',)),
    ({'teacher': None}, [], ('student',)), ({'student': None}, ['teacher', 'student'], ('teacher',))])
def test_rows_are_the_reported_steps_or_the_last(section: Any, report: list[str], reported: tuple[str, ...],
                                                 tmp_path: Path) -> None:
    _, (run,) = plan(str(write_sweep(tmp_path, {'r': section}, report=report)))
    assert run.reported == reported
    assert set(run.trainings) == {'teacher', 'student'} - {step for step, value in section.items() if value is None}


def test_a_run_can_share_anothers_networks(tmp_path: Path) -> None:
    runs = {'a': {'teacher': {'network_g': {'x': 2}, 'train': {'lr': {0: None}}}}, 'b': {'like': 'a', 'test': {'noise': 1}}}
    _, (first, second) = plan(str(write_sweep(tmp_path, runs)))
    assert second.trainings == first.trainings and first.trainings['teacher'].experiment == 'base_teacher_a'
    assert first.trainings['teacher'].options['train'] == {'lr': [2]}
    assert (first.tested_with, second.tested_with) == ({}, {'noise': 1})


@pytest.mark.parametrize('dropped, left', [('teacher', 'student'), ('student', 'teacher')])
@pytest.mark.parametrize('student', [{}, {'scale': 2}], ids=str)
def test_a_run_can_share_one_of_anothers_networks(dropped: str, left: str, student: dict[str, Any], tmp_path: Path) -> None:
    runs = {'a': {'teacher': {'network_g': {'x': 2}}, 'student': student}, 'b': {'like': 'a', dropped: None, 'test': {'y': 1}}}
    _, (first, second) = plan(str(write_sweep(tmp_path, runs)))
    assert second.trainings == {left: first.trainings[left]}


@pytest.mark.parametrize('runs, further, message', [
    ({'r': {'teachr': {}}}, {}, r"runs: r: unknown key 'teachr'; did you mean 'teacher'"),
    ({'r/s': {}}, {}, 'a label is part of file names'), ({'r': {'like': ['q']}}, {}, 'r: like must be the label of another run'),
    ({'q': {'like': 'p'}, 'p': {}, 'r': {'like': 'q'}}, {}, 'runs: r: like: q is itself like another run'),
    ({'r': {}}, {'steps': {'teacher': None}}, 'steps: teacher must be an option file for training, got None'),
    ({'r': {}}, {'report': 'student'}, "report must be a list of steps, got 'student'"),
    ({'r': {'student': {'path': None}}}, {}, 'runs: r: student: path must be a section with keys'),
    ({'r': {'student': {'output_root': 'away'}}}, {}, 'runs: r: student: path must be .* and output_root left out'),
    ({'q': {}, 'r': {'like': 'q', 'student': {'scale': 2}}}, {}, 'runs: r: student: a run like q has its networks'),
    ({'r': {'like': 'q'}}, {}, "like: there is no run 'q'"), ({'r': {'teacher': {'train': {'lr': {5: 1}}}}}, {}, 'no entry 5'),
    ({'r': {}}, {'report': ['pupil']}, "report: there is no step 'pupil'"),
    ({}, {'tabel': 1}, "unknown key 'tabel'; did you mean 'table'"), ({}, {}, 'runs must be a section with a key for each'),
    ({'r': {}}, {'steps': {'teacher': 'gone.yml'}}, 'cannot read the option file .*gone.yml'),
    ({'r': {}}, {'table': 'lightbsr-9'}, "sweep.yml: there is no table 'lightbsr-9'"),
    ({'r': {}}, {'steps': ['base_teacher.yml']}, 'steps must be a section'), ({'r': 3}, {}, 'runs: r: differences must be'),
    ({'r': {'teacher': 3}}, {}, 'runs: r: teacher: differences must be a section with keys, got 3'),
    ({'r': {'teacher': None, 'student': None}}, {}, 'runs: r: it does without all steps'),
    ({'r': {}}, {'steps': {'teacher': 'sweep.yml'}}, "sweep.yml is no option file for training: 'path' is missing")])
def test_a_sweep_that_cannot_be_planned(runs: dict[str, Any], further: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        plan(str(write_sweep(tmp_path, runs, **further)))


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_what_was_learnt_from_other_weights_is_no_row(spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    _, (run,) = plan(str(write_sweep(tmp_path, {'r': {}}, spelling.format(here=tmp_path))))
    for steps, is_fine in (([], True), (['student'], False), (['teacher', 'student'], True)):
        for step in steps:
            Path(run.trainings[step].weights).parent.mkdir(parents=True, exist_ok=True)
            Path(run.trainings[step].weights).touch()
        if is_fine:
            check_origins(run.trainings.values())
        else:
            with pytest.raises(ValueError, match=f'experiments/base_student was trained from .* no longer there, {TEACHER}'):
                check_origins(run.trainings.values())


def test_what_a_row_is_tested_with_is_checked_before_the_trainings(images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                                   capfd: pytest.CaptureFixture) -> None:
    tiny.write(tiny.teacher(images), tmp_path)
    path = tiny.write({'name': 'sweep', 'table': 'lightbsr-1', 'steps': {'teacher': 'teacher.yml'},
                       'runs': {'r': {'test': {'idr_noize': 1}}}}, tmp_path)
    assert run_cli('sweep', '-opt', path) == 1
    assert "runs: r: test: LightBSRTeacher has no 'idr_noize'; did you mean 'idr_noise'" in capfd.readouterr().err
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.parametrize('sent, passed_on', [(signal.SIGINT, 'SIGINT'), (signal.SIGTERM, 'SIGTERM'), (signal.SIGHUP, 'SIGTERM')])
def test_a_signal_reaches_the_training_once_and_is_waited_for(sent: signal.Signals, passed_on: str, tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text('import pathlib, signal, sys, time\n'
                     'def stop(number, frame):\n'
                     '    time.sleep(1)\n'
                     '    pathlib.Path("saved").open("a").write(signal.Signals(number).name)\n'
                     '    sys.exit(128 + number)\n'
                     'for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, stop)\n'
                     'pathlib.Path("begun").touch()\n'
                     'time.sleep(60)\n')
    code = 'import sys; from lightbsr_arch.cli.sweep import run_to_its_end; print(run_to_its_end([sys.executable, "child.py"]))'
    sweep = subprocess.Popen([sys.executable, '-c', code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / 'begun').exists():
        assert sweep.poll() is None
        time.sleep(0.05)
    os.killpg(sweep.pid, sent)  # as a terminal does
    assert sweep.communicate(timeout=30)[0] == f'{128 + signal.Signals[passed_on]}\n'
    assert (tmp_path / 'saved').read_text() == passed_on


# ---------------------------------------------------------------------------------------------- the papers' ablations
PRINTED = {'lightbsr_table1': 'lightbsr_table1_training', 'lightbsr_table2': 'lightbsr_table2_adaptation',
           'kdsr_table4': 'kdsr_table4_urban100_gaussian8', 'kdsr_table5': 'kdsr_table5_kd_loss_urban100'}


@pytest.mark.parametrize('name, printed', PRINTED.items())
def test_every_printed_row_has_a_run(name: str, printed: str) -> None:
    assert set(option_files.read(ABLATIONS / f'{name}.yml')['runs']) == set(tables()[printed])


@pytest.mark.parametrize('path', SWEEPS, ids=lambda path: path.stem)
def test_every_run_can_be_trained(path: Path, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch,
                                  run_cli: Callable[..., int]) -> None:
    """Checks and builds what each training of each sweep will, teachers first; nothing is trained."""
    from lightbsr_arch import basicsr_compat, checkpoints
    import basicsr.train
    from basicsr.archs import build_network
    monkeypatch.chdir(tmp_path)
    trainings = {t.experiment: t for run in plan(str(path))[1] for t in run.trainings.values()}
    for training in trainings.values():
        options = yaml.safe_load(yaml.safe_dump(training.options))
        options['datasets']['train'] |= {'dataroot_gt': str(images), 'gt_size': 64, 'batch_size_per_gpu': 2,
                                         'num_worker_per_gpu': 0, 'persistent_workers': False}
        options['datasets']['val']['benchmarks'] = {'Set5': str(images)}
        options['network_g'] |= {k: 1 for k in ('num_group', 'num_block', 'num_estimator_block') if k in options['network_g']}
        monkeypatch.setattr('sys.argv', ['basicsr', '-opt', str(tiny.write(options, tmp_path))])
        opt, _ = basicsr.train.parse_options(str(tmp_path))
        basicsr_compat.rehearse(opt)
        weights = build_network(options['network_g']).state_dict()
        if weights.get('pca_basis') is not None:
            weights['pca_basis'] = torch.ones_like(weights['pca_basis'])
        Path(training.weights).parent.mkdir(parents=True)
        checkpoints.write({'params': weights, 'params_ema': weights, 'network': options['network_g'],
                           'degradation': 'setting1'}, training.weights)


# ---------------------------------------------------------------------------------------------- a sweep
@pytest.fixture
def small_sweep(images: Path, tmp_path: Path) -> Path:
    """A teacher and two students to be trained in a step or two, on a table whose test set is `images`."""
    (tmp_path / 'data/benchmarks/Set5').mkdir(parents=True)
    (tmp_path / 'data/benchmarks/Set5/HR').symlink_to(images)
    stages = [{'trains': 'all', 'iterations': 1, 'lr': 1e-3}]
    teacher = tiny.teacher(images, 'base_teacher')
    student = tiny.student(images, TEACHER, 'base_student')
    for opt in (teacher, student):
        opt['train']['stages'] = stages
        opt['network_g']['layer_scale'] = 0.5  # else the IDR changes no pixel by 1/255
        tiny.write(opt, tmp_path)
    return tiny.write({'name': 'sweep', 'table': 'lightbsr-1', 'report': ['teacher', 'student'], 'steps': {
        'teacher': 'base_teacher.yml', 'student': 'base_student.yml'}, 'runs': {
        'T4_drp_cl': {}, 'T1': {'student': None}, 'again': {'like': 'T4_drp_cl', 'test': {'idr_noise': 1.0}}}}, tmp_path)


def test_a_sweep_trains_once_goes_on_and_fills_the_table(small_sweep: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                         capfd: pytest.CaptureFixture) -> None:
    where = '--data-root', tmp_path / 'data', '--only', 'Set5'
    assert run_cli('sweep', '-opt', small_sweep, '--list') == 0
    assert 'T4_drp_cl: teacher base_teacher (to be trained), student base_student (to be trained)' in capfd.readouterr().out
    assert run_cli('sweep', '-opt', small_sweep, '--run', 'T1', *where) == 0
    trained = Path('experiments/base_teacher/models/net_g_latest.pth').stat().st_mtime_ns
    assert run_cli('sweep', '-opt', small_sweep, *where) == 0
    assert Path('experiments/base_teacher/models/net_g_latest.pth').stat().st_mtime_ns == trained
    assert sorted(path.name for path in Path('experiments').iterdir()) == ['base_student', 'base_teacher']
    cells = json.loads(Path('results/sweep.json').read_text())['cells']
    psnr = {cell['row']: cell['value'] for cell in cells if (cell['kind'], cell['metric']) == ('ours', 'psnr')}
    assert set(psnr) == {'T1', 'T4_drp_cl teacher', 'T4_drp_cl student', 'again teacher', 'again student'}
    assert psnr['T1'] == psnr['T4_drp_cl teacher'] != psnr['again teacher']
    out = capfd.readouterr().out
    assert all(f'**{name}** (ours)' in out for name in psnr)


def test_a_failing_training_holds_up_no_other(small_sweep: Path, tmp_path: Path, run_cli: Callable[..., int],
                                              capfd: pytest.CaptureFixture) -> None:
    opt = option_files.read(small_sweep)
    opt['runs'] = {'bad': {'teacher': {'network_g': {'num_feat': 7}}, 'student': None}, 'T1': {'student': None}}
    assert run_cli('sweep', '-opt', tiny.write(opt, tmp_path), '--data-root', tmp_path / 'data', '--only', 'Set5') == 1
    out, err = capfd.readouterr()
    assert err.splitlines()[-1].startswith('basicsr sweep: error: these trainings failed, see the messages above: base_teacher_bad')
    assert 'not trained: bad (experiments/base_teacher_bad/models/net_g_latest.pth)' in out and '**T1** (ours)' in out


def test_a_mistake_is_told_before_the_first_training(small_sweep: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                     capfd: pytest.CaptureFixture) -> None:
    opt = option_files.read(small_sweep)
    opt['runs'] = {'T1': {'student': None}, 'bad': {'teacher': {'networkg': {'num_feat': 8}}, 'student': None}}
    assert run_cli('sweep', '-opt', tiny.write(opt, tmp_path), '--data-root', tmp_path / 'data', '--only', 'Set5') == 1
    assert "base_teacher_bad.yml: unknown key 'networkg'" in capfd.readouterr().err and not Path('experiments').exists()


def test_weights_of_other_options_do_not_become_a_row(small_sweep: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                      capfd: pytest.CaptureFixture) -> None:
    kept = Path('experiments/base_teacher/base_teacher.yml')
    kept.parent.mkdir(parents=True)
    theirs = {**option_files.read('base_teacher.yml'), 'data_root': 'elsewhere'}
    kept.write_text(yaml.safe_dump(theirs))
    assert run_cli('sweep', '-opt', small_sweep, '--list') == 0  # where the data lies makes no difference
    kept.write_text(yaml.safe_dump({**theirs, 'manual_seed': 1}))
    assert run_cli('sweep', '-opt', small_sweep, '--list') == 1
    assert 'experiments/base_teacher was trained with other options than the sweep asks for (see manual_seed)' in capfd.readouterr().err
