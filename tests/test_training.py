"""Teacher and student of two blocks through `basicsr train` and `basicsr test`, four iterations each."""
from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import basicsr.train
import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from torch import Tensor
from torch.utils.data import default_collate

from lightbsr_arch import basicsr_compat, checkpoints
from lightbsr_arch.archs import LightBSR, LightBSRTeacher
from lightbsr_arch.archs.lightbsr_arch import SRTrunk
from lightbsr_arch.cli.main import main
from lightbsr_arch.degradations import degrade, fit_pca_basis, release_pca_kernels, training_degradation
from lightbsr_arch.losses import ContrastiveLoss
from lightbsr_arch.models.blind_sr_model import BlindSRModel
from lightbsr_arch.models.lightbsr_model import LightBSRStudentModel, LightBSRTeacherModel
from tests import tiny_options as tiny

State = dict[str, Tensor]
NUM_NEGATIVE = 7  # four steps of two images wrap around the queue
MOMENTUM = 0.9
DECAY = 0.75


@dataclass
class Step:
    """The model around one training step."""

    before: State
    after: State
    gradients: dict[str, Tensor | None]
    optimizer: dict[str, dict[str, Tensor]]
    rate: float
    new_keys: Tensor | None
    average: State | None
    teacher: State | None


@dataclass
class Run:
    folder: Path
    steps: list[Step] = field(default_factory=list)
    trunks: list[tuple[int, int]] = field(default_factory=list)  # (steps done, id of the SR network) of each pass
    model: Any = None

    def file(self, iteration: int | str) -> str:
        return str(self.folder / f'models/net_g_{iteration}.pth')

    @property
    def log(self) -> str:
        return next(self.folder.glob('*.log')).read_text()


def snapshot(net: torch.nn.Module | None) -> State | None:
    return None if net is None else {k: v.clone() for k, v in net.state_dict().items()}


def train(opt: dict[str, Any], folder: Path) -> Run:
    """Trains in a folder and records each step."""
    run = Run(folder / 'experiments' / opt['name'])
    step, trunk = BlindSRModel.optimize_parameters, SRTrunk.forward

    def recorded_step(self: BlindSRModel, iteration: int) -> None:
        run.model, before = self, snapshot(self.net_g)
        step(self, iteration)
        names = {p: n for n, p in self.net_g.named_parameters()}
        run.steps.append(Step(
            before, snapshot(self.net_g), {n: copy.deepcopy(p.grad) for p, n in names.items()},
            {names[p]: copy.deepcopy(s) for p, s in self.optimizer_g.state.items()}, self.optimizer_g.param_groups[0]['lr'],
            torch.cat(self.new_keys) if getattr(self, 'new_keys', None) else None, snapshot(getattr(self, 'net_g_ema', None)), snapshot(getattr(self, 'teacher', None))))

    def recorded_trunk(self: SRTrunk, *arguments: Any) -> Tensor:
        run.trunks.append((len(run.steps), id(self)))
        return trunk(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr('sys.argv', ['basicsr'])
        patch.setattr(BlindSRModel, 'optimize_parameters', recorded_step)
        patch.setattr(SRTrunk, 'forward', recorded_trunk)
        try:
            assert main(['train', '-opt', str(tiny.write(opt, folder))]) == 0
        finally:
            basicsr_compat.reset_logger()
    return run


def teacher_options(folder: Path, name: str = 'teacher', **network: Any) -> dict[str, Any]:
    opt = tiny.teacher(folder / 'images', name, **{'queue_size': NUM_NEGATIVE, 'momentum': MOMENTUM} | network)
    opt['val']['val_freq'] = 2
    return opt


def student_options(folder: Path, weights: str, name: str = 'student', **network: Any) -> dict[str, Any]:
    opt = tiny.student(folder / 'images', weights, name, **network)
    opt['val']['val_freq'] = 2
    opt['train']['ema_decay'] = DECAY
    return opt


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With four smooth images in `images`."""
    folder, rng = tmp_path_factory.mktemp('training'), np.random.default_rng(0)
    (folder / 'images').mkdir()
    for i in range(4):
        image = cv2.resize(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8), (96, 80), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'images/image_{i}.png'), image)
    return folder


@pytest.fixture(scope='module')
def teacher(folder: Path) -> Run:
    return train(teacher_options(folder), folder)


@pytest.fixture(scope='module')
def student(folder: Path, teacher: Run) -> Run:
    return train(student_options(folder, teacher.file('latest')), folder)


def changed(step: Step, *prefixes: str) -> set[str]:
    """Which tensors below the prefixes (default: all) a step has changed."""
    return {k for k, v in step.after.items() if k.startswith(prefixes or '') and not torch.equal(v, step.before[k])}


def parameters(net: torch.nn.Module, *prefixes: str) -> set[str]:
    """Names, without the biases that BatchNorm cancels: their gradient is rounding error."""
    cancelled = re.compile(r'estimator\.(0|3|6|9|12|15)\.bias$')
    return {k for k, _ in net.named_parameters() if k.startswith(prefixes or '') and not cancelled.search(k)}


def learning(run: Run) -> set[str]:
    """Parameters that an optimiser moves."""
    return {name for name in parameters(run.model.net_g) if not name.startswith('encoder.key.')}


# ---------------------------------------------------------------------------------------------- the teacher
@pytest.mark.parametrize('step', [0, 1])
def test_teachers_first_stage_trains_the_query_encoder_alone(teacher: Run, step: int) -> None:
    record, net = teacher.steps[step], teacher.model.net_g
    assert changed(record, 'trunk', 'converter', 'pca_basis') == set()
    assert changed(record) >= parameters(net, 'encoder.query')
    assert all(record.gradients[k] is None for k in parameters(net, 'trunk', 'converter', 'encoder.key'))


@pytest.mark.parametrize('step', [2, 3])
def test_teachers_second_stage_trains_everything(teacher: Run, step: int) -> None:
    assert changed(teacher.steps[step]) >= learning(teacher)


@pytest.mark.parametrize('step', range(4))
def test_key_encoder_follows_the_query_encoder_of_before_the_step(teacher: Run, step: int) -> None:
    before, after = teacher.steps[step].before, teacher.steps[step].after
    for name in parameters(teacher.model.net_g, 'encoder.key'):
        expected = MOMENTUM * before[name] + (1 - MOMENTUM) * before[name.replace('.key.', '.query.')]
        torch.testing.assert_close(after[name], expected)
    if step:
        assert changed(teacher.steps[step]) >= parameters(teacher.model.net_g, 'encoder.key')


@pytest.mark.parametrize('step, places', [(0, [0, 1]), (1, [2, 3]), (2, [4, 5]), (3, [6, 0])])
def test_queue_takes_one_key_of_each_image_at_its_pointer(teacher: Run, step: int, places: list[int]) -> None:
    record = teacher.steps[step]
    before, after = record.before['encoder.queue'], record.after['encoder.queue']
    assert record.new_keys.shape == (2, 128) and torch.equal(after[:, places], record.new_keys.T)
    others = [i for i in range(NUM_NEGATIVE) if i not in places]
    assert torch.equal(after[:, others], before[:, others])
    assert record.after['encoder.queue_pointer'].tolist() == [(places[-1] + 1) % NUM_NEGATIVE]


@pytest.mark.parametrize('kind', ['teacher', 'student'])
def test_first_stage_runs_no_sr_network_even_to_validate(kind: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    assert min(done for done, _ in run.trunks) == 2


@pytest.mark.parametrize('kind, module', [('teacher', 'encoder.query'), ('student', 'estimator')])
def test_adams_moments_are_carried_into_the_second_stage(kind: str, module: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    last, first = run.steps[1], run.steps[2]
    for name in parameters(run.model.net_g, module):
        expected = 0.9 * last.optimizer[name]['exp_avg'] + 0.1 * first.gradients[name]
        torch.testing.assert_close(first.optimizer[name]['exp_avg'], expected)
        assert first.optimizer[name]['step'] == 3
    assert {int(first.optimizer[name]['step']) for name in parameters(run.model.net_g, 'trunk')} == {1}


def test_teachers_first_step_computed_anew_has_the_same_loss_and_enqueues_first_patches(teacher: Run) -> None:
    opt = teacher.model.opt
    data = build_dataset(opt['datasets']['train'])
    batch = default_collate([data[index] for index in list(basicsr.train.EnlargedSampler(data, 1, 0))[:2]])
    model = object.__new__(LightBSRTeacherModel)
    model.device, model.opt = torch.device('cpu'), opt
    model.feed_data(batch)
    net = LightBSRTeacher(**{k: v for k, v in opt['network_g'].items() if k != 'type'})
    net.load_state_dict(teacher.steps[0].before)
    net.encoder.update_key_encoder()
    step = net(model.lq, net.prior(model.kernel, model.noise))
    loss = ContrastiveLoss()(step.query, step.key, net.encoder.queue).item()
    assert logged(teacher, 1)['l_contrastive'] == pytest.approx(loss, rel=2e-4)
    torch.testing.assert_close(teacher.steps[0].new_keys, step.key[:, 0], rtol=0, atol=1e-5)
    assert (step.key[:, 0] - step.key[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize('train_options, draw', [
    ({}, training_degradation('setting2', 4).sample_kernels), ({'prior_fit': 'release'}, release_pca_kernels)])
def test_prior_is_fitted_on_the_runs_own_kernels_or_the_releases(train_options: dict[str, Any], draw: Callable[..., Tensor],
                                                                 folder: Path, make: Callable) -> None:
    opt = teacher_options(folder)
    opt['datasets']['train']['degradation'] = 'setting2'
    opt['train'] |= train_options
    basis = make(opt)[0].net_g.pca_basis
    torch.testing.assert_close(basis, fit_pca_basis(draw(np.random.default_rng(0), 5000), len(basis)))


# ---------------------------------------------------------------------------------------------- the student
def test_student_starts_from_the_teacher_but_for_the_first_convolution(teacher: Run, student: Run) -> None:
    taught = checkpoints.read(teacher.file('latest')).state_dict
    before = student.steps[0].before
    for name, value in before.items():
        if name != 'estimator.0.weight':
            assert torch.equal(value, taught[re.sub('^estimator', 'encoder.query.estimator', name)]), name
    assert before['estimator.0.weight'].shape[1] == 3 and before['estimator.0.weight'].std() > 0


@pytest.mark.parametrize('step', [0, 1])
def test_students_first_stage_trains_estimator_and_converter_alone(student: Run, step: int) -> None:
    net = student.model.net_g
    assert changed(student.steps[step], 'trunk') == set()
    assert changed(student.steps[step]) >= parameters(net, 'estimator', 'converter')


@pytest.mark.parametrize('step', [2, 3])
def test_students_second_stage_trains_everything(student: Run, step: int) -> None:
    assert changed(student.steps[step]) >= learning(student)


def test_teacher_is_frozen_and_its_sr_network_never_runs(teacher: Run, student: Run) -> None:
    saved, net = checkpoints.read(teacher.file('latest')).state_dict, student.model.teacher
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    for step in student.steps:
        assert step.teacher.keys() == saved.keys() and all(torch.equal(step.teacher[k], saved[k]) for k in saved)
    assert student.trunks and id(net.trunk) not in {trunk for _, trunk in student.trunks}


def test_average_follows_parameters_and_copies_batch_statistics(student: Run) -> None:
    previous = student.steps[0].before
    for step in student.steps:
        for name in step.average:
            if name in dict(student.model.net_g.named_parameters()):
                torch.testing.assert_close(step.average[name], DECAY * previous[name] + (1 - DECAY) * step.after[name])
            else:
                assert torch.equal(step.average[name], step.after[name]), name
        previous = step.average
    saved = torch.load(student.file('latest'), weights_only=True)
    assert torch.equal(saved['params_ema']['estimator.1.running_mean'], saved['params']['estimator.1.running_mean'])
    assert not torch.equal(saved['params_ema']['estimator.0.weight'], saved['params']['estimator.0.weight'])


# ---------------------------------------------------------------------------------------------- logs
def logged(run: Run, iteration: int) -> dict[str, float]:
    """The figures that a training step has logged."""
    line = next(line for line in run.log.splitlines() if re.search(rf'iter: +{iteration}, ', line))
    return {k: float(v) for k, v in re.findall(r'(\w+): (-?[\d.]+e[+-]\d+|nan|inf)', line.split('] ')[-1])}


STATISTICS = {'contrastive_accuracy', 'positive_similarity', 'negative_similarity'}


@pytest.mark.parametrize('kind, iteration, names', [
    ('teacher', 1, {'l_contrastive'} | STATISTICS), ('teacher', 3, {'l_pix', 'l_contrastive'} | STATISTICS),
    ('student', 1, {'l_channel', 'l_spatial'}), ('student', 3, {'l_pix', 'l_channel', 'l_spatial'})])
def test_losses_are_logged_by_name_and_finite(kind: str, iteration: int, names: set[str], request: pytest.FixtureRequest) -> None:
    figures = logged(request.getfixturevalue(kind), iteration)
    assert figures.pop('learning_rate') == 1e-3
    assert figures.keys() == names and all(np.isfinite(v) for v in figures.values())
    assert all(v > 0 for k, v in figures.items() if k.startswith('l_'))
    assert 'l_pix' not in names or figures['l_pix'] > 1  # weighed by 255


@pytest.mark.parametrize('kind, figures', [('teacher', STATISTICS), ('student', {'l_channel', 'l_spatial'})])
def test_first_stage_validates_the_representation_and_no_psnr(kind: str, figures: set[str], request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    first, second = re.split(r'\n.*iter: +3, ', run.log)
    found = dict(re.findall(r'Validation val_sigma1.2, stage idr: (\w+) (-?[\d.]+)', first))
    assert found.keys() == figures and '# psnr' not in first
    assert 'stage idr' not in second and len(re.findall(r'# psnr: \d', second)) == 2
    assert run.model.best_metric_results['val_sigma1.2']['psnr']['iter'] >= 4


@pytest.mark.parametrize('kind', ['teacher', 'student'])
def test_learning_rate_is_the_stages(kind: str, request: pytest.FixtureRequest) -> None:
    assert [step.rate for step in request.getfixturevalue(kind).steps] == [1e-3] * 4


def test_learning_rate_changes_within_and_between_stages(folder: Path) -> None:
    opt = teacher_options(folder, 'rates')
    opt['train']['stages'] = [{'trains': 'idr', 'iterations': 1, 'lr': 2e-4},
                              {'trains': 'all', 'iterations': 3, 'lr': 1e-4, 'warmup': 2, 'lr_min': 1e-6}]
    assert [step.rate for step in train(opt, folder).steps] == pytest.approx([2e-4, 5e-5, 1e-4, 1e-6])


def test_validation_is_seen_in_tensorboard_and_in_files(folder: Path) -> None:
    """Of two sets of the same images; none overwrites another's."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    opt = teacher_options(folder, 'seen')
    opt['train']['stages'] = [{'trains': 'all', 'iterations': 2, 'lr': 1e-3}]
    opt['datasets']['val']['degradations'] = [{'sigma': 1.2}, {'sigma': 4.0}]
    opt['val']['save_img'] = opt['logger']['use_tb_logger'] = True
    run = train(opt, folder)
    events = EventAccumulator(str(folder / 'tb_logger/seen')).Reload()
    names = ('val_sigma1.2', 'val_sigma4')
    assert set(events.Tags()['images']) == {f'{name}/{what}' for name in names for what in ('LR SR GT error', 'kernel')}
    assert {'losses/l_pix', 'metrics/val_sigma4/psnr'} <= set(events.Tags()['scalars'])
    for name in names:
        (row, *_), (kernel, *_) = (events.Images(f'{name}/{what}') for what in ('LR SR GT error', 'kernel'))
        row, kernel = (cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR) for image in (row, kernel))
        lq, sr, gt, error = np.split(row.astype(int), 4, 1)
        assert row.shape == (80, 4 * 96, 3) and kernel.shape == (21, 21, 3) and kernel.max() == 255
        assert abs(gt - cv2.imread(str(folder / 'images/image_0.png'))).max() <= 1 and (lq[::4, ::4] == lq[3::4, 3::4]).all()
        assert abs(error - np.clip(4 * abs(sr - gt), 0, 255)).max() <= 8  # both were rounded
        saved = cv2.imread(str(run.folder / f'visualization/{name}/image_0/image_0_2.png'))
        assert abs(saved - sr).max() <= 1
    files = [[path.read_bytes() for path in sorted((run.folder / 'visualization' / name).rglob('*.png'))] for name in names]
    assert [len(contents) for contents in files] == [4, 4] and not set(files[0]) & set(files[1])


# ---------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize('iteration', [2, 4, 'latest'])
def test_teachers_file_says_what_it_holds_and_carries_the_prior(teacher: Run, iteration: int | str) -> None:
    arch, kwargs, state_dict = checkpoints.load(teacher.file(iteration))
    assert arch == 'LightBSRTeacher'
    assert kwargs.items() >= {**tiny.TINY, 'queue_size': NUM_NEGATIVE, 'momentum': MOMENTUM}.items()
    basis = state_dict['pca_basis']
    torch.testing.assert_close(basis @ basis.T, torch.eye(15), rtol=0, atol=1e-5)
    assert checkpoints.read(teacher.file(iteration)).degradation == {'sigma': [0.2, 4.0], 'noise': 0.0}
    LightBSRTeacher(**kwargs).load_state_dict(state_dict)
    if iteration != 2:
        assert all(torch.equal(state_dict[k], v) for k, v in teacher.steps[-1].after.items())


def test_students_file_is_a_student(student: Run) -> None:
    arch, kwargs, state_dict = checkpoints.load(student.file('latest'))
    assert arch == 'LightBSR' and kwargs.items() >= tiny.TINY.items()
    LightBSR(**kwargs).load_state_dict(state_dict)
    assert all(torch.equal(state_dict[k], v) for k, v in student.steps[-1].average.items())


@pytest.mark.parametrize('kind, arch', [('teacher', 'LightBSRTeacher'), ('student', 'LightBSR')])
def test_testing_needs_no_teacher_and_uses_the_saved_prior(kind: str, arch: str, folder: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                           monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    weights = tmp_path / 'alone.pth'
    weights.write_bytes(Path(run.file('latest')).read_bytes())

    def fail(*_: Any) -> None:
        raise AssertionError('testing must not prepare a training')
    monkeypatch.setattr(f'lightbsr_arch.models.lightbsr_model.LightBSR{kind.title()}Model.prepare_networks', fail)
    section = {'type': arch, **tiny.TINY} | ({'queue_size': NUM_NEGATIVE, 'momentum': MOMENTUM} if kind == 'teacher' else {})
    opt = tiny.benchmark(folder / 'images', model_type=f'LightBSR{kind.title()}Model', network_g=section,
                         path={'pretrain_network_g': str(weights), 'param_key_g': 'params_ema' if kind == 'student' else 'params'})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    psnr = json.loads((tmp_path / 'results/test/table.json').read_text())['rows'][0]['psnr']
    best = run.model.metric_results['psnr']  # the end of training has validated the same weights on the same images
    assert psnr == pytest.approx(best, abs=1e-4)


# ---------------------------------------------------------------------------------------------- repeatability
@pytest.mark.parametrize('kind', ['teacher', 'student'])
def test_two_runs_of_one_seed_give_the_same_weights(kind: str, folder: Path, teacher: Run, request: pytest.FixtureRequest) -> None:
    first = request.getfixturevalue(kind)
    torch.manual_seed(99), np.random.seed(99)
    again, other = ((teacher_options(folder, f'{kind}_{name}') if kind == 'teacher' else
                     student_options(folder, teacher.file('latest'), f'{kind}_{name}')) for name in ('again', 'other'))
    again['datasets']['train']['num_worker_per_gpu'] = 1
    other['manual_seed'] = 1
    weights = [checkpoints.read(run.file('latest'), 'params').state_dict for run in (first, train(again, folder), train(other, folder))]
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    assert any(not torch.equal(v, weights[2][k]) for k, v in weights[0].items())


# ---------------------------------------------------------------------------------------------- degrading on the device
def feed(kind: type[BlindSRModel], folder: Path, train: dict[str, Any], **section: Any) -> tuple[BlindSRModel, dict[str, Any]]:
    """A model that was fed the first four samples of setting 2, and these."""
    data = build_dataset({'name': 'train', 'type': 'BlindDegradationDataset', 'dataroot_gt': str(folder / 'images'),
                          'phase': 'train', 'degradation': 'setting2', 'scale': 4, 'gt_size': 64, 'seed': 3} | section)
    batch = default_collate([data[i] for i in range(4)])
    model = object.__new__(kind)
    model.device, model.opt = torch.device('cpu'), {'scale': 4, 'train': train}
    model.feed_data(batch)
    return model, batch


def same_to_8_bits(found: Tensor, expected: Tensor) -> bool:
    """But for values on the verge of rounding."""
    differences = ((found - expected) * 255).round().abs()
    return found.shape == expected.shape and differences.max() <= 1 and differences.mean() < 1e-3


@pytest.mark.parametrize('degradation', ['setting1', 'setting2'])
def test_device_degrades_as_the_data_set_does(folder: Path, degradation: str) -> None:
    raw, pairs = (feed(LightBSRStudentModel, folder, {}, degradation=degradation, pairs=pairs)[0] for pairs in (False, True))
    assert raw.lq.shape == pairs.lq.shape == (4, 3, 16, 16) and torch.equal(raw.gt, pairs.gt)
    assert same_to_8_bits(raw.lq, pairs.lq)


@pytest.mark.parametrize('one_per_batch, sources', [(False, [0, 1, 2, 3]), (True, [0, 0, 0, 0])])
def test_patches_share_their_images_degradation_or_the_batchs(folder: Path, one_per_batch: bool, sources: list[int]) -> None:
    """Each image has its own noise, which runs on from patch to patch."""
    model, batch = feed(LightBSRTeacherModel, folder, {'one_degradation_per_batch': one_per_batch}, num_patches=3)
    kernels, levels = batch['kernel'][sources], batch['noise'][sources]
    assert torch.equal(model.gt, batch['gt']) and torch.equal(model.kernel, kernels) and torch.equal(model.noise, levels)
    for lq, gt, kernel, level, seed in zip(model.lq, batch['gt'], kernels, levels, batch['noise_seed'].tolist()):
        generator = torch.Generator().manual_seed(seed)
        assert same_to_8_bits(lq, degrade(gt, kernel.expand(3, -1, -1), 4, level.expand(3), generator))


# ---------------------------------------------------------------------------------------------- the papers' ablations
ALL = [{'trains': 'all', 'iterations': 1, 'lr': 1e-3}]
BOTH = [{'trains': 'idr', 'iterations': 1, 'lr': 1e-3}, *ALL]
T = {  # network, whether the contrastive loss is on
    'T1': {'prior_dim': 0, 'contrastive': False}, 'T2': {'contrastive': False}, 'T3': {'prior_dim': 0},
    'noise': {'noise_prior': True}, 'by patch': {'patch_by_patch': True}, 'M1': {'channel_gate': False, 'spatial_gate': False},
    'M2': {'channel_gate': False}, 'M3': {'spatial_gate': False}, 'M5': {'correction': False}}


@pytest.mark.parametrize('network', T.values(), ids=T.keys())
def test_teachers_of_the_ablations_train(folder: Path, tmp_path: Path, network: dict[str, Any]) -> None:
    opt = teacher_options(folder, **network)
    opt['train']['stages'] = BOTH
    if network.get('contrastive') is False:
        opt['train'] = {k: v for k, v in opt['train'].items() if k != 'contrastive_opt'} | {'stages': ALL}
    if 'noise_prior' in network:
        opt['datasets']['train']['degradation'] = 'setting2'
    run = train(opt, tmp_path)
    assert all(run.steps[-1].gradients[name].any() for name in learning(run))


@pytest.mark.parametrize('network, losses', [
    ({'channel_gate': False, 'spatial_gate': False}, ()),
    ({'channel_gate': False}, ('spatial',)),
    ({'spatial_gate': False}, ('channel',)), ({'correction': False}, ('channel', 'spatial')), ({}, ())],
    ids=['M1', 'M2', 'M3', 'M5', 'no distillation'])
def test_students_of_the_ablations_train(folder: Path, tmp_path: Path, teacher: Run, network: dict[str, Any],
                                         losses: tuple[str, ...]) -> None:
    opt = student_options(folder, teacher.file('latest'), **network)
    for kind in {'channel', 'spatial'} - set(losses):
        del opt['train'][f'{kind}_distill_opt']
    opt['train']['stages'] = BOTH if losses else ALL
    run = train(opt, tmp_path)
    assert all(run.steps[-1].gradients[name].any() for name in learning(run))
    taught = checkpoints.read(teacher.file('latest')).state_dict['trunk.head.weight']
    assert torch.equal(run.steps[0].before['trunk.head.weight'], taught)  # also without distillation
