"""Each workaround against the behaviour that it mends; every test fails without its workaround."""
from __future__ import annotations

import copy
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any, Callable

import basicsr.test
import basicsr.train
import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.data import build_dataloader, build_dataset, degradations
from basicsr.data.prefetch_dataloader import PrefetchDataLoader
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.models.sr_model import SRModel
from basicsr.utils import misc, registry
from basicsr.utils.file_client import FileClient
from basicsr.utils.logger import get_root_logger
from torch import nn
from torch.utils.data import DataLoader

from lightbsr_arch import archs, basicsr_compat, checkpoints, option_files, plugin
from lightbsr_arch.basicsr_compat import loading, output, runs
from lightbsr_arch.basicsr_compat import saving as saving_module
from tests import tiny_options as tiny

Options = dict[str, Any]
SMALL_EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 4}


def edsr(images: Path, total_iter: int = 4, **train: Any) -> Options:
    """BasicSR's own model and network on this package's pairs, with EMA."""
    opt = tiny.training(images, 'edsr', model_type='SRModel', network_g=dict(SMALL_EDSR))
    opt['datasets']['train'] |= {'pairs': True, 'gt_size': 16}
    opt['train'] |= {'total_iter': total_iter, 'ema_decay': 0.5, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
                     'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.5}, **train}
    return opt


def model(is_train: bool = True, **opt: Any) -> BaseModel:
    return BaseModel({'num_gpu': 0, 'path': {}, 'is_train': is_train, 'dist': False, **opt})


# ------------------------------------------------------------------------------------------------------ the import
FAKE_TORCHVISION = {
    '__init__.py': 'import torch\n{check}',
    'transforms/__init__.py': '',
    'transforms/functional.py': 'rgb_to_grayscale = "from functional"',
}
NO_OPERATORS = '''
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
torch.ops.torchvision.nms, torch.ops.torchvision.qnms
'''


@pytest.mark.parametrize('check, files, expected', [
    (NO_OPERATORS, {}, 'from functional'),
    ('', {'transforms/functional_tensor.py': 'rgb_to_grayscale = "own"'}, 'own'),
    ('raise RuntimeError("broken installation")', {}, 'RuntimeError: broken installation'),
], ids=['no operators, no functional_tensor', 'both', 'another error'])
def test_basicsr_finds_what_it_imports_of_torchvision(check: str, files: dict[str, str], expected: str,
                                                      tmp_path: Path) -> None:
    for name, text in (FAKE_TORCHVISION | files).items():
        path = tmp_path / 'torchvision' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace('{check}', check))
    script = ('import sys; sys.path.insert(0, sys.argv[1])\nfrom lightbsr_arch import basicsr_compat as compat\n'
              'compat.prepare_import(); compat.prepare_import()\n'
              'from torchvision.transforms.functional_tensor import rgb_to_grayscale; print(rgb_to_grayscale)')
    run = subprocess.run([sys.executable, '-c', script, tmp_path], capture_output=True, text=True)
    assert (run.stdout + run.stderr).strip().splitlines()[-1] == expected


def test_importing_the_package_is_cheap() -> None:
    script = 'import sys, lightbsr_arch; print([m for m in ("torch", "basicsr", "numpy", "cv2") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True).stdout == '[]\n'


def test_registering_twice_changes_nothing() -> None:
    def patched() -> tuple:
        return (basicsr.train.parse_options, basicsr.train.make_exp_dirs, SRModel.__init__,
                dict(iter(registry.ARCH_REGISTRY)))

    before = patched()
    plugin.register()
    assert patched() == before


def test_ours_replace_classes_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ARCH_REGISTRY._obj_map, 'LightBSR', nn.Identity)
    plugin.register()
    assert registry.ARCH_REGISTRY.get('LightBSR') is archs.LightBSR


# ------------------------------------------------------------------------------------------------- the option file
@pytest.mark.parametrize('text, expected', [
    ('1e-4', 1e-4), ('-2E+3', -2e3), ('1.e2', 100.0), ('1.0e-4', 1e-4), ('12', 12), ('1.5', 1.5), ('[1, 2]', [1, 2]),
    ('~', None), ('None', None), ('true', True), ('net_1e4.pth', 'net_1e4.pth'), ('1e4x', '1e4x')])
def test_numbers_of_option_files_and_overrides(text: str, expected: Any, images: Path, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    opt = tiny.teacher(images)
    opt['val'] |= {'suffix': 'VALUE', 'pbar': 0}  # keys that may hold anything, here
    path = tiny.write(opt, tmp_path)
    path.write_text(path.read_text().replace('VALUE', '~' if text == 'None' else text))
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path), '--force_yml', f'val:pbar={text}'])
    parsed, _ = basicsr.train.parse_options(str(tmp_path))
    in_file, overridden = (parsed['val'][key] for key in ('suffix', 'pbar'))
    assert (in_file, overridden) == (expected, expected) and type(in_file) is type(overridden) is type(expected)


def test_a_gpu_is_asked_for_where_there_is_none(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    path = tiny.write(tiny.teacher(images) | {'num_gpu': 1}, tmp_path)
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path)])
    opt, _ = basicsr.train.parse_options(str(tmp_path))
    assert opt['num_gpu'] == 0 and 'there is no CUDA device' in capsys.readouterr().err
    assert opt['train']['total_iter'] == 4  # plugin.prepare_options was called


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="there is no arch named 'LigthBSR'; did you mean 'LightBSR'"):
        registry.ARCH_REGISTRY.get('LigthBSR')
    assert registry.ARCH_REGISTRY.get('EDSR') is EDSR
    with_suffix = registry.Registry('arch')
    with_suffix.register(EDSR, suffix='basicsr')
    assert with_suffix.get('EDSR') is EDSR


# --------------------------------------------------------------------------------------------------------- the data
class Numbers(list):
    """A data set of numbers with a section."""

    opt: Options = {}


def sampler(num_images: int = 5, num_ranks: int = 1, rank: int = 0, ratio: int = 1, epoch: int = 0, **section: Any) -> Any:
    data = Numbers(range(num_images))
    data.opt = section
    made = basicsr.train.EnlargedSampler(data, num_ranks, rank, ratio)
    made.set_epoch(epoch)
    return made


def places(samples: Any) -> list[tuple[int, int, int]]:
    return [(int(s), s.epoch, s.position) for s in samples]


def test_samples_know_their_place() -> None:
    first, second = places(sampler(ratio=3)), places(sampler(ratio=3, epoch=1))
    assert sorted(position for _, _, position in first) == list(range(15))
    assert all(index == position % 5 and epoch == 0 for index, epoch, position in first)
    assert {epoch for _, epoch, _ in second} == {1} and [s[2] for s in first] != [s[2] for s in second]
    assert places(pickle.loads(pickle.dumps(list(sampler())))) == places(sampler())
    assert places(sampler(ratio=3)) == first


def test_shuffling_can_be_left_out() -> None:
    in_order = [(index, 2, position) for position, index in enumerate([*range(5), *range(5)])]
    assert places(sampler(ratio=2, epoch=2, use_shuffle=False)) == in_order
    assert places(sampler(ratio=2, epoch=2, use_shuffle=True)) == places(sampler(ratio=2, epoch=2)) != in_order


def test_ranks_share_an_epoch() -> None:
    ranks = [places(sampler(num_ranks=2, rank=rank, ratio=2)) for rank in (0, 1)]
    assert sorted(position for rank in ranks for _, _, position in rank) == list(range(10))


def test_a_resumed_epoch_goes_on_behind_the_seen_samples() -> None:
    resumed = sampler(epoch=3)
    resumed.done = 3, 2
    assert places(resumed) == places(sampler(epoch=3))[2:]
    resumed.set_epoch(4)
    assert places(resumed) == places(sampler(epoch=4))


def test_training_reaches_its_last_iteration(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    opt = edsr(images, 8)
    opt['datasets']['train'] |= {'dataset_enlarge_ratio': 2, 'batch_size_per_gpu': 8}  # 12 samples: one batch, 4 left over
    opt['datasets'].pop('val')
    opt['logger']['save_checkpoint_freq'] = 8
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    assert (tmp_path / 'experiments/edsr/training_states/8.state').exists()


@pytest.mark.parametrize('batch_size, enlarge', [(7, 1), (13, 2)])
def test_less_than_a_batch_is_an_error(batch_size: int, enlarge: int, images: Path, tmp_path: Path, run_cli: Callable,
                                       capfd: pytest.CaptureFixture) -> None:
    opt = edsr(images)
    opt['datasets']['train'] |= {'dataset_enlarge_ratio': enlarge, 'batch_size_per_gpu': batch_size}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert f'{6 * enlarge} training samples per epoch and process do not fill one batch' in capfd.readouterr().err


def paired_options(images: Path, folder: Path, num_images: int) -> Options:
    """BasicSR's own data set on copies of an image."""
    gt = cv2.imread(str(images / 'image_0.png'))
    for name, image in (('gt', gt), ('lq', cv2.resize(gt, None, fx=0.25, fy=0.25))):
        (folder / name).mkdir()
        for i in range(num_images):
            cv2.imwrite(str(folder / name / f'{i}.png'), image)
    return {'type': 'PairedImageDataset', 'name': 'paired', 'phase': 'train', 'scale': 4, 'gt_size': 32,
            'dataroot_gt': str(folder / 'gt'), 'dataroot_lq': str(folder / 'lq'), 'io_backend': {'type': 'disk'},
            'use_hflip': True, 'use_rot': True, 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 2}


def test_crops_of_basicsrs_data_sets_differ_between_epochs(images: Path, tmp_path: Path) -> None:
    options = paired_options(images, tmp_path, 1)
    loader = build_dataloader(build_dataset(options), options, 0, False, sampler(1, ratio=4), seed=0)
    torch.manual_seed(0)
    epochs = [{batch['lq'].numpy().tobytes() for batch in loader} for _ in range(2)]
    assert epochs[0].isdisjoint(epochs[1]) and len(epochs[0] | epochs[1]) == 8


class Broken(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index == 1:
            raise ValueError('unreadable')
        return index


def test_an_error_in_the_prefetching_thread_arrives() -> None:
    caught: list[BaseException] = []

    def read() -> None:
        try:
            list(PrefetchDataLoader(2, dataset=Broken()))
        except ValueError as error:
            caught.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=20)  # without an answer it waits for ever
    assert [str(error) for error in caught] == ['unreadable']
    assert list(PrefetchDataLoader(1, dataset=torch.arange(3))) == [0, 1, 2]


def test_an_epoch_starts_its_loading_processes_once() -> None:
    class Loader(list):
        num_start = 0

        def __iter__(self) -> Any:
            self.num_start += 1
            return super().__iter__()

    loader = Loader([1, 2])
    prefetcher = basicsr.train.CPUPrefetcher(loader)
    prefetcher.reset()
    assert [prefetcher.next() for _ in range(3)] == [1, 2, None] and loader.num_start == 1


def test_samples_are_the_same_however_they_are_loaded(pairs: Options, tmp_path: Path, run_cli: Callable) -> None:
    """By the training's process, by one of their own, or ahead in a thread."""
    weights = []
    for loading in ({}, {'num_worker_per_gpu': 1}, {'num_worker_per_gpu': 1, 'prefetch_mode': 'cpu'}):
        opt = pairs | {'datasets': {'train': pairs['datasets']['train'] | loading}}
        assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
        weights.append(torch.load(tmp_path / 'experiments/edsr/models/net_g_latest.pth')['params'])
    for other in weights[1:]:
        assert all(torch.equal(other[key], value) for key, value in weights[0].items())


def test_luma_is_that_of_bgr(images: Path) -> None:
    section = {'name': 'photos', 'type': 'SingleImageDataset', 'phase': 'val', 'dataroot_lq': str(images), 'color': 'y'}
    luma = build_dataset(section | {'io_backend': {'type': 'disk'}})[0]['lq'][0].numpy()
    blue, green, red = np.moveaxis(cv2.imread(str(images / 'image_0.png')) / 255, 2, 0)
    assert abs(luma - (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255).max() < 1e-6


def test_one_lmdb_serves_two_data_sets(tmp_path: Path) -> None:
    path = str(tmp_path / 'images.lmdb')
    with lmdb.open(path) as environment, environment.begin(write=True) as transaction:
        transaction.put(b'name', b'content')
    clients = [FileClient('lmdb', db_paths=[path], client_keys=['gt']),
               FileClient('lmdb', db_paths=[path, f'{path}/.'], client_keys=['lq', 'gt'])]
    assert [client.get('name', 'gt') for client in clients] == [b'content', b'content']


# -------------------------------------------------------------------------------------------------------- the models
def test_the_average_has_the_networks_statistics() -> None:
    torch.manual_seed(0)
    own = model()
    own.net_g, own.net_g_ema = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.constant_(own.net_g.weight, 5)
    own.net_g(torch.randn(8, 3) + 7)
    own.model_ema(0.75)
    for name, buffer in own.net_g.named_buffers():
        assert torch.equal(own.net_g_ema.get_buffer(name), buffer) and buffer.any()
    assert own.net_g_ema.weight.tolist() == [0.75 * 1 + 0.25 * 5] * 3


def rates(own: BaseModel, iterations: range, warmup: int) -> list[float]:
    seen = []
    for i in iterations:
        own.update_learning_rate(i, warmup)
        seen.append(own.optimizers[0].param_groups[0]['lr'])
        own.optimizers[0].step()
    return seen


def scheduled(milestones: list[int]) -> BaseModel:
    own = model()
    own.optimizers = [torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)]
    own.schedulers = [MultiStepRestartLR(own.optimizers[0], milestones, gamma=0.5)]
    return own


@pytest.mark.parametrize('warmup, milestones, expected', [
    (4, [6], [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5]),
    (4, [2], [0.25, 0.5, 0.75, 0.5, 0.5, 0.5, 0.5, 0.5]),
    (-1, [2, 4], [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])])
@pytest.mark.parametrize('interrupted', [2, 4, 7])
def test_warm_up_ends_at_the_schedules_rate(warmup: int, milestones: list[int], expected: list[float],
                                            interrupted: int) -> None:
    first, second = scheduled(milestones), scheduled(milestones)
    seen = rates(first, range(1, interrupted + 1), warmup)
    second.resume_training(copy.deepcopy({'optimizers': [first.optimizers[0].state_dict()],
                                          'schedulers': [first.schedulers[0].state_dict()]}))
    assert seen + rates(second, range(interrupted + 1, 9), warmup) == expected


# --------------------------------------------------------------------------------------------------------- the files
@pytest.fixture
def saving(tmp_path: Path) -> BaseModel:
    """A model whose files go to `tmp_path`."""
    own = model(path={'models': str(tmp_path), 'training_states': str(tmp_path)}, network_g={'type': 'Linear', 'n': (1, 2)},
                rank=0, world_size=1, dist=False, logger={})
    own.optimizers = [torch.optim.Adam([nn.Parameter(torch.zeros(1))])]
    return own


def test_a_file_of_weights_names_its_network(saving: BaseModel, tmp_path: Path) -> None:
    nets = [nn.Linear(2, 1), nn.Linear(2, 1)]
    saving.save_network(nets, 'net_g', -1, ['params', 'params_ema'])
    content = torch.load(tmp_path / 'net_g_latest.pth')
    assert content['network'] == {'type': 'Linear', 'n': [1, 2]}
    assert torch.equal(content['params_ema']['weight'], nets[1].weight)
    saving.save_training_state(3, 7)
    state = torch.load(tmp_path / '7.state')
    assert (state['epoch'], state['iter'], len(state['optimizers'])) == (3, 7, 1)


@pytest.mark.parametrize('save, name', [
    (lambda own: own.save_network(nn.Linear(2, 1), 'net_g', 5), 'net_g_5.pth'),
    (lambda own: own.save_training_state(0, 5), '5.state')])
def test_a_failing_write_is_an_error_and_leaves_the_old_file(save: Callable, name: str, saving: BaseModel, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(content: Any, file: Any) -> None:
        (open(file, 'wb') if isinstance(file, str) else file).write(b'half')
        raise OSError('No space left on device')

    (tmp_path / name).write_bytes(b'old')
    monkeypatch.setattr(torch, 'save', disk_full)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with pytest.raises(OSError, match='No space left'):
        save(saving)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b'old'}


def weights(net: nn.Module, key: str | None, network: Options | None = None) -> Options:
    content = {key: net.state_dict()} if key else dict(net.state_dict())
    return content | ({'network': network} if network else {})


def small_edsr(num_feat: int = 4) -> EDSR:
    torch.manual_seed(0)
    return EDSR(**{k: v for k, v in SMALL_EDSR.items() if k not in ('type', 'num_feat')}, num_feat=num_feat)


@pytest.mark.parametrize('content, param_key, error', [
    (lambda: weights(small_edsr(), 'params'), 'params', None),
    (lambda: weights(small_edsr(), 'params_ema', dict(SMALL_EDSR)), 'params_ema', None),
    (lambda: weights(nn.ModuleDict({'module': small_edsr()}), 'params'), 'params', None),
    (lambda: weights(small_edsr(), None), 'params', None),
    (lambda: weights(small_edsr(), 'params'), 'params_ema', "has no weights under 'params_ema', only under params: change"),
    (lambda: weights(small_edsr(8), 'params', SMALL_EDSR | {'num_feat': 8}), 'params',
     "does not fit the EDSR of the option file: .* It was saved as EDSR with {.*'num_feat': 8"),
    (lambda: weights(small_edsr(8), 'params'), 'params', r'does not fit the EDSR of the option file: \d+ tensors'),
    (lambda: weights(archs.LightBSR(**tiny.TINY), 'params', {'type': 'LightBSR', **tiny.TINY}), 'params',
     'holds a LightBSR, but the option file asks for a EDSR'),
], ids=['stock', 'named', 'module.', 'bare', 'param_key', 'width', 'nameless width', 'network'])
@pytest.mark.parametrize('is_train', [True, False])
def test_weights_load_only_where_they_belong(is_train: bool, content: Callable[[], Options], param_key: str,
                                             error: str | None, tmp_path: Path) -> None:
    path = tmp_path / 'w.pth'
    torch.save(content(), path)
    own, net = model(is_train), small_edsr()
    expected = copy.deepcopy(net.state_dict())
    nn.init.zeros_(net.conv_first.weight)
    if error:
        with pytest.raises(checkpoints.CheckpointError, match=f'^{path} {error}'):
            own.load_network(net, str(path), True, param_key)
    else:
        own.load_network(net, str(path), True, param_key)
        assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_lenient_loading_takes_what_fits_and_an_average_starts_without_one(tmp_path: Path) -> None:
    path = tmp_path / 'w.pth'
    torch.save(weights(small_edsr(8), 'params'), path)
    own, net = model(), small_edsr()
    own.net_g_ema = net
    nn.init.zeros_(net.conv_last.bias)
    own.load_network(net, str(path), False, 'params_ema')
    assert torch.equal(net.conv_last.bias, small_edsr(8).conv_last.bias)


@pytest.mark.parametrize('network, refused', [
    ({'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1}, True), ({'type': 'Bicubic', 'scale': 4}, False)])
def test_random_weights_are_not_tested(network: Options, refused: bool) -> None:
    opt = {'model_type': 'SRModel', 'network_g': network, 'is_train': False, 'num_gpu': 0, 'dist': False, 'path': {}}
    if refused:
        with pytest.raises(ValueError, match='path.pretrain_network_g is missing'):
            build_model(opt)
    else:
        assert isinstance(build_model(opt), SRModel)


# ------------------------------------------------------------------------------------------------------- whole runs
def student_of_a_file(images: Path, tmp_path: Path) -> Options:
    network = {'type': 'LightBSRTeacher', **tiny.TINY, 'queue_size': 16}
    torch.manual_seed(0)
    net = archs.LightBSRTeacher(**tiny.TINY, queue_size=16)
    net.pca_basis.normal_()
    checkpoints.write({'params': net.state_dict(), 'network': network}, str(tmp_path / 'teacher.pth'))
    opt = tiny.student(images, tmp_path / 'teacher.pth', 'run')
    opt['train'] |= {'ema_decay': 0.5, 'stages': [{'trains': 'idr', 'iterations': 4, 'lr': 1e-3},
                                                  {'trains': 'all', 'iterations': 4, 'lr': 1e-3, 'warmup': 3}]}
    return opt | {'network_t': network}


def edsr_run(images: Path, tmp_path: Path) -> Options:
    return edsr(images, 8, warmup_iter=3) | {'name': 'run'}


@pytest.mark.parametrize('make, interrupted', [(edsr_run, 6), (student_of_a_file, 2)])
def test_a_resumed_run_is_the_same_run(make: Callable, interrupted: int, images: Path, tmp_path: Path, run_cli: Callable,
                                       capfd: pytest.CaptureFixture) -> None:
    opt = make(images, tmp_path)
    opt['datasets'].pop('val')
    path, run = tiny.write(opt, tmp_path), tmp_path / 'experiments/run'
    assert run_cli('train', '-opt', path) == 0
    whole = torch.load(run / 'models/net_g_8.pth')
    for i in range(interrupted + 2, 9, 2):  # as if interrupted there
        (run / f'training_states/{i}.state').unlink()
        (run / f'models/net_g_{i}.pth').unlink()
    (run / 'training_states/best.state').touch()  # is none of the loop's
    capfd.readouterr()
    assert run_cli('train', '-opt', path, '--auto_resume') == 0
    log = capfd.readouterr().err
    assert f'iter: {interrupted}.' in log and f'iter:{interrupted + 1:8,d}' in log and f'iter:{interrupted:8,d}' not in log
    resumed = torch.load(run / 'models/net_g_8.pth')
    for key in ('params', 'params_ema'):
        for name, value in whole[key].items():
            torch.testing.assert_close(resumed[key][name], value, rtol=0, atol=0, msg=f'{key} {name}')
    assert any(not torch.equal(whole['params'][name], value) for name, value in whole['params_ema'].items())
    assert len(list(run.parent.iterdir())) == 1


def test_a_state_of_another_experiment_brings_its_weights(images: Path, tmp_path: Path, run_cli: Callable,
                                                          capfd: pytest.CaptureFixture) -> None:
    opt = edsr(images, 2)
    opt['datasets'].pop('val')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    opt |= {'name': 'longer', 'path': {'resume_state': 'experiments/edsr/training_states/2.state'}}
    opt['train']['total_iter'] = 4
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    assert f'tensors from {tmp_path}/experiments/edsr/models/net_g_2.pth' in capfd.readouterr().err
    assert (tmp_path / 'experiments/longer/models/net_g_4.pth').exists()
    (tmp_path / 'experiments/edsr/models/net_g_2.pth').unlink()
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'models/net_g_2.pth are not there' in capfd.readouterr().err


@pytest.mark.parametrize('ignored', ['network_d', ['network_d']], ids=str)
def test_a_network_that_is_not_resumed_needs_no_weights(ignored: str | list[str], tmp_path: Path) -> None:
    for folder, name in (('models', 'net_g_2.pth'), ('training_states', '2.state')):
        checkpoints.write({'epoch': 0, 'iter': 2}, str(tmp_path / name))
        (tmp_path / folder).mkdir()
        (tmp_path / name).rename(tmp_path / folder / name)
    path = {'resume_state': str(tmp_path / 'training_states/2.state'), 'ignore_resume_networks': ignored,
            **dict.fromkeys(('experiments_root', 'models', 'training_states', 'visualization'), str(tmp_path))}
    opt = {'path': path, 'network_g': {}, 'network_d': {}, 'auto_resume': False, 'rank': 0, 'world_size': 1}
    assert basicsr.train.load_resume_state(opt)['iter'] == 2
    assert path['pretrain_network_g'].endswith('net_g_2.pth') and 'pretrain_network_d' not in path


@pytest.mark.parametrize('flags', [[], ['--auto_resume']])
def test_a_named_state_is_taken_where_the_run_has_none(flags: list[str], images: Path, tmp_path: Path, run_cli: Callable,
                                                       capfd: pytest.CaptureFixture) -> None:
    opt = edsr(images, 4)
    opt['datasets'].pop('val')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    opt |= {'name': 'other', 'path': {'resume_state': 'experiments/edsr/training_states/2.state'}}
    for own in (False, True):
        capfd.readouterr()
        assert run_cli('train', '-opt', tiny.write(opt, tmp_path), *flags) == 0
        assert f'iter: {4 if own and flags else 2}.' in capfd.readouterr().err


def test_a_run_that_was_set_back_goes_on_from_there(images: Path, tmp_path: Path, run_cli: Callable,
                                                    capfd: pytest.CaptureFixture) -> None:
    opt, states, models = edsr(images, 6), *(tmp_path / 'experiments/edsr' / name for name in ('training_states', 'models'))
    opt['datasets'].pop('val')
    path = tiny.write(opt, tmp_path)
    assert run_cli('train', '-opt', path) == 0
    left = {file.name: file.read_bytes() for file in (states / '4.state', states / '6.state', models / 'net_g_4.pth')}
    assert run_cli('train', '-opt', path, '--force_yml', f'path:resume_state={states}/2.state', 'train:total_iter=4') == 0
    assert f'set back to iteration 2: 2 later state(s) in {states}, and their weights, are kept as *.left' in capfd.readouterr().err
    assert {file.name for file in states.iterdir()} == {'2.state', '4.state', '4.state.left', '6.state.left'}
    assert {name: next(states.parent.glob(f'*/{name}.left')).read_bytes() for name in left} == left
    assert (models / 'net_g_4.pth').exists() and not (models / 'net_g_6.pth').exists()
    assert run_cli('train', '-opt', path, '--auto_resume') == 0
    assert 'iter: 4.' in capfd.readouterr().err


def test_resuming_names_what_has_changed(images: Path, tmp_path: Path, run_cli: Callable,
                                         capfd: pytest.CaptureFixture) -> None:
    opt = edsr(images, 2)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    opt['train'] |= {'total_iter': 3, 'optim_g': {'type': 'Adam', 'lr': 1e-4}}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path), '--auto_resume', '--force_yml', 'logger:keep_last=2') == 0
    assert ('changed since this run began: train:optim_g:lr 0.001 -> 0.0001; train:total_iter 2 -> 3; logger:keep_last None -> 2 '
            "(optimisers, and schedulers of BasicSR's own models, go on as saved)") in capfd.readouterr().err
    assert run_cli('train', '-opt', tmp_path / 'edsr.yml', '--auto_resume', '--force_yml', 'logger:keep_last=2') == 0
    assert 'changed since' not in capfd.readouterr().err


@pytest.mark.parametrize('flags, num_folder', [(['--auto_resume'], 1), ([], 3)])
def test_a_run_may_be_started_from_its_own_copy_of_the_options(flags: list[str], num_folder: int, images: Path, tmp_path: Path,
                                                               run_cli: Callable) -> None:
    """To go on, and anew, with the older run archived."""
    experiments, copied = tmp_path / 'experiments', tmp_path / 'experiments/edsr/edsr.yml'
    opt = edsr(images, 2)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    for further in ([], ['--force_yml', 'train:total_iter=3']):
        assert run_cli('train', '-opt', copied, *flags, *further) == 0
        opt['train']['total_iter'] += bool(further)
        assert option_files.read(copied) == opt
    assert len(list(experiments.iterdir())) == num_folder and (experiments / 'edsr/models/net_g_2.pth').exists()


def test_a_metric_may_be_added_when_a_run_goes_on(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    """And the weights kept by it."""
    opt, states = edsr(images, 4), tmp_path / 'experiments/edsr/training_states'
    opt['val']['val_freq'] = 1
    opt['logger']['save_best'] = 'psnr'
    path = tiny.write(opt, tmp_path)
    assert run_cli('train', '-opt', path) == 0
    (states / '4.state').unlink()
    before = torch.load(states / '2.state')['best']
    assert run_cli('train', '-opt', path, '--auto_resume', '--force_yml', 'logger:save_best=ssim',
                   'val:metrics:ssim={type: calculate_ssim}') == 0
    after = torch.load(states / '4.state')['best']
    assert before.keys() == after.keys() == {'val_sigma1.2', 'mean of all'}
    for name, record in after.items():
        assert record['psnr']['val'] >= before[name]['psnr']['val'] and 2 <= record['ssim']['iter'] <= 4


OCCUPY = """
import fcntl, sys
file = open(sys.argv[1], 'w')
fcntl.lockf(file, fcntl.LOCK_EX)
print('locked', flush=True)
sys.stdin.read()
"""


def test_a_second_run_of_the_name_is_kept_out(images: Path, tmp_path: Path, run_cli: Callable,
                                              capfd: pytest.CaptureFixture) -> None:
    path, folder = tiny.write(edsr(images, 2), tmp_path), tmp_path / 'experiments/edsr'
    assert run_cli('train', '-opt', path) == 0
    assert [path.name for path in folder.parent.iterdir()] == ['edsr']
    other = subprocess.Popen([sys.executable, '-c', OCCUPY, str(folder.parent / '.edsr.lock')], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    other.stdout.readline()
    before = sorted(folder.parent.rglob('*'))
    for flags in ([], ['--auto_resume']):
        assert run_cli('train', '-opt', path, *flags) == 1
        assert f'another run is writing to {folder}' in capfd.readouterr().err
    assert sorted(folder.parent.rglob('*')) == before
    other.communicate()
    assert run_cli('train', '-opt', path) == 0


def test_a_run_is_locked_before_it_is_rehearsed_and_archives(images: Path, tmp_path: Path, run_cli: Callable,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = tiny.write(edsr(images, 1), tmp_path), tmp_path / 'experiments/edsr'
    rehearse, tries = runs.rehearse, []

    def other_run(opt: Options) -> None:
        tries.append(subprocess.run([sys.executable, '-c', OCCUPY.replace('LOCK_EX', 'LOCK_EX | fcntl.LOCK_NB'),
                                     str(folder.parent / '.edsr.lock')], stdin=subprocess.DEVNULL).returncode)
        rehearse(opt)

    monkeypatch.setattr(runs, 'rehearse', other_run)
    assert run_cli('train', '-opt', path) == 0
    assert tries == [1] and [path.name for path in folder.parent.iterdir()] == ['edsr']


def test_a_lock_that_its_owner_has_deleted_counts_for_nothing(tmp_path: Path) -> None:
    with open(tmp_path / '.run.lock', 'w') as late:
        assert runs.is_alone(late)
        (tmp_path / '.run.lock').unlink()
        assert not runs.is_alone(late)
        with runs.lock(str(tmp_path / 'run')):  # a third run has made it anew
            assert not runs.is_alone(late)


def test_runs_within_a_second_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misc, 'get_time_str', lambda: 'now')
    for number in range(4):
        misc.mkdir_and_rename(str(tmp_path / 'run'))
        (tmp_path / f'run/{number}').touch()
    assert {path.name: next(path.iterdir()).name for path in tmp_path.iterdir()} == {
        'run': '3', 'run_archived_now': '0', 'run_archived_now_2': '1', 'run_archived_now_3': '2'}


def test_a_run_is_found_from_anywhere(images: Path, tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch,
                                      capfd: pytest.CaptureFixture) -> None:
    """With `output_root`; without it, from another directory, a run that starts anew says so."""
    opt = edsr(images, 2) | {'output_root': str(tmp_path / 'far')}
    opt['logger']['use_tb_logger'] = True
    path = tiny.write(opt, tmp_path)
    assert run_cli('train', '-opt', path) == 0
    assert {path.name for path in (tmp_path / 'far').iterdir()} == {'experiments', 'tb_logger'}
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    capfd.readouterr()
    assert run_cli('train', '-opt', path, '--auto_resume') == 0
    assert 'iter: 2.' in capfd.readouterr().err and not list((tmp_path / 'elsewhere').iterdir())
    assert run_cli('train', '-opt', path, '--auto_resume', '--force_yml', 'output_root=~') == 0
    assert f'there is no state in {tmp_path}/elsewhere/experiments/edsr/training_states: starting anew' in capfd.readouterr().err


def test_pruning_spares_what_was_just_written(tmp_path: Path) -> None:
    """A run that was set back behind its newest states goes on to save."""
    path = {'training_states': str(tmp_path), 'models': str(tmp_path)}
    for step in (2, 4, 6, 8, 10):
        (tmp_path / f'{step}.state').touch()
    saving_module.prune(path, 2, 6)
    assert basicsr_compat.saved_steps(str(tmp_path)) == [10, 8, 6, 4]


def test_pruning_takes_what_a_killed_pruning_left(tmp_path: Path) -> None:
    """Weights whose state is gone; but nothing as long as there are fewer states than are to be kept."""
    path = {'training_states': str(tmp_path), 'models': str(tmp_path)}
    for name in ('net_g_2.pth', 'net_d_2.pth', '2.rank1', '2.state.left', 'net_g_2.pth.left', '4.state', '6.state', 'net_g_4.pth',
                 'net_g_latest.pth', 'net_g_best.pth'):
        (tmp_path / name).touch()
    saving_module.prune(path, 3, 6)
    assert (tmp_path / 'net_g_2.pth').exists()
    saving_module.prune(path, 2, 6)
    assert {file.name for file in tmp_path.iterdir()} == {'4.state', '6.state', 'net_g_4.pth', 'net_g_latest.pth', 'net_g_best.pth'}


ENDING = """
import atexit, signal
from torch.utils.data import DataLoader
from lightbsr_arch.basicsr_compat import loading
atexit.register(loading.kill_workers)
batches = iter(DataLoader(range(9), num_workers=1, worker_init_fn=lambda i: signal.signal(signal.SIGTERM, loading.pass_once)))
next(batches)
print('ends', flush=True)
"""


def test_loading_processes_do_not_hold_up_the_end() -> None:
    """They let their first signal pass, for the run to save."""
    run = subprocess.Popen([sys.executable, '-c', ENDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout.readline() == 'ends\n'
    _, errors = run.communicate(timeout=25)
    assert (run.returncode, errors) == (0, '')


class Told(Numbers):
    """Its loading process is told to stop at the first sample; a sample is the seconds until an alarm would end it."""

    def __getitem__(self, index: int) -> float:
        if index == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return signal.getitimer(signal.ITIMER_REAL)[0]


def test_a_loading_process_that_is_told_to_stop_serves_the_run_however_long_it_takes() -> None:
    loader = torch.utils.data.DataLoader(Told(range(3)), num_workers=1,
                                         worker_init_fn=lambda worker_id: loading.prepare_worker(worker_id, 1, 0, 0))
    assert torch.cat(list(loader)).tolist() == [0, 0, 0]


def test_a_mistake_leaves_the_finished_experiment_where_it_was(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    opt = edsr(images, 1)
    finished = tmp_path / 'experiments/edsr/models/net_g_latest.pth'
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    content = finished.read_bytes()
    opt['datasets']['val']['benchmarks'] = {'val': 'nowhere'}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert finished.read_bytes() == content and [path.name for path in finished.parents[2].iterdir()] == ['edsr']


def test_a_rehearsal_leaves_no_trace(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(edsr(images), tmp_path))])
    opt, _ = basicsr.train.parse_options(str(tmp_path))
    before = copy.deepcopy(opt), torch.get_rng_state()
    basicsr_compat.rehearse(opt)
    assert opt == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert not logging.getLogger('basicsr').handlers and not (tmp_path / 'experiments').exists()


def test_each_run_has_its_log(tmp_path: Path) -> None:
    for name in ('first', 'second'):
        get_root_logger(log_file=str(tmp_path / name)).info(f'this is the {name}')
        basicsr_compat.reset_logger()
    assert [(tmp_path / name).read_text().endswith(f'this is the {name}\n') for name in ('first', 'second')] == [True, True]


def test_a_traceback_is_in_the_log_file(images: Path, tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: SRModel, iteration: int) -> None:
        raise TypeError('unforeseen')

    monkeypatch.setattr(SRModel, 'optimize_parameters', fail)
    with pytest.raises(TypeError, match='unforeseen'):
        run_cli('train', '-opt', tiny.write(edsr(images), tmp_path))
    log = next((tmp_path / 'experiments/edsr').glob('*.log')).read_text()
    assert 'ERROR: the run has failed\nTraceback' in log and log.endswith('TypeError: unforeseen\n')


def test_swinir_is_built_without_a_warning() -> None:
    script = ('from lightbsr_arch import plugin; plugin.register()\nfrom basicsr.archs.swinir_arch import SwinIR\n'
              'SwinIR(img_size=8, depths=(1,), num_heads=(1,), embed_dim=4, window_size=4)')
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert run.returncode == 0 and 'meshgrid' not in run.stderr


def test_progress_is_a_bar_and_the_log_file_keeps_all(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    for module, name in ((basicsr.train, 'get_root_logger'), (basicsr.test, 'get_root_logger'), (basicsr.train, 'build_model'),
                         (basicsr.train.MessageLogger, '__call__')):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    opt = tiny.teacher(images)
    opt['datasets'].pop('val')
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    console, log = capfd.readouterr().err, next((tmp_path / 'experiments/teacher').glob('*.log')).read_text()
    for words in ('teacher [all]', '4/4', 'l_contrastive=', 'images/s='):
        assert words in console and words not in log
    assert 'iter:       4' in log and 'INFO' not in console


@pytest.mark.parametrize('dist, num_gpu, world_size, num_images', [
    (False, 0, 1, 16), (False, 4, 1, 64), (True, 4, 4, 64), (True, 0, 2, 32)])
def test_the_bar_counts_each_image_once(dist: bool, num_gpu: int, world_size: int, num_images: int) -> None:
    """`num_gpu: auto` is the number of a machine's GPUs in each of its processes."""
    opt = {'datasets': {'train': {'batch_size_per_gpu': 16}}, 'dist': dist, 'num_gpu': num_gpu, 'world_size': world_size}
    model = types.SimpleNamespace(optimize_parameters=lambda current_iter: None)
    assert output.ProgressBar(opt, model).num_images == num_images


def test_a_run_says_what_matters(images: Path, tmp_path: Path, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    opt = edsr(images)
    opt['datasets']['train']['pin_memory'] = True
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    out, err = capfd.readouterr()
    assert out == '' and len(err.splitlines()) < 150
    for words in ('Disable', 'pin_memory', 'Multiple validation', 'Conv2d', '____'):
        assert words not in err.replace('pin_memory: ', '')
    assert 'Network: EDSR, ' in err and 'BasicSR 1.4.2, torch ' in err


def test_a_test_run_gives_its_model(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = basicsr.test.build_model
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(tiny.benchmark(images), tmp_path))])
    own = basicsr_compat.run_test(str(tmp_path))
    basicsr_compat.reset_logger()
    assert own.best_metric_results['Set5_sigma1.2']['psnr']['val'] > 20 and basicsr.test.build_model is build
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tmp_path / 'nowhere.yml')])
    with pytest.raises(FileNotFoundError):
        basicsr_compat.run_test(str(tmp_path))
    assert basicsr.test.build_model is build


def test_edsr_trains_on_pairs_of_this_package(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    opt = edsr(images, 3)
    opt['datasets']['train']['num_worker_per_gpu'] = 1
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    path = tmp_path / 'experiments/edsr/models/net_g_latest.pth'
    content = torch.load(path)
    assert content['network'] == SMALL_EDSR
    moved = content['params_ema']['conv_first.weight'] - content['params']['conv_first.weight']
    assert 0 < moved.abs().max() < 3e-3
    test = tiny.benchmark(images, network_g=dict(SMALL_EDSR), path={'pretrain_network_g': str(path), 'param_key_g': 'params_ema'})
    assert run_cli('test', '-opt', tiny.write(test, tmp_path)) == 0


def test_models_that_validate_without_their_synthesis_keep_the_best_weights(images: Path, tmp_path: Path, run_cli: Callable,
                                                                            monkeypatch: pytest.MonkeyPatch,
                                                                            capfd: pytest.CaptureFixture) -> None:
    """RealESRNetModel, here on a CPU, sets its `is_train` to False for as long; it must be told of finished pairs."""
    monkeypatch.setattr('lightbsr_arch.option_checks.check_device', lambda opt: None)
    monkeypatch.setattr(nn.Module, 'cuda', lambda self: self)
    opt = edsr(images, 2) | {'model_type': 'RealESRNetModel'}
    opt['datasets']['train']['gt_size'], opt['logger']['save_best'] = 64, 'psnr'  # sharpening pads by 25
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'error: add high_order_degradation: false at the top' in capfd.readouterr().err
    opt['high_order_degradation'] = False
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    assert (tmp_path / 'experiments/edsr/models/net_g_best.pth').exists()
    assert '@ 2 iter' in next((tmp_path / 'experiments/edsr').glob('*.log')).read_text()  # the last, not one later


@pytest.mark.parametrize('shape, num_panels', [((3, 8, 8), 4), ((5, 8, 8), 3), ((2, 3, 8, 8), 3)],
                         ids=['RGB', 'RGB and more', 'frames'])
def test_lr_inputs_that_are_no_image_are_validated(shape: tuple[int, ...], num_panels: int,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    class FirstThree(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1, -3)[:, :3]

    class Samples(list):
        opt = {'name': 'odd'}

    monkeypatch.setitem(registry.ARCH_REGISTRY._obj_map, 'FirstThree', FirstThree)
    opt = {'model_type': 'SRModel', 'network_g': {'type': 'FirstThree'}, 'is_train': False, 'num_gpu': 0, 'dist': False,
           'path': {}, 'name': 'run', 'val': {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}}
    model, shown = build_model(opt), []
    model.opt |= {'is_train': True, 'train': {'total_iter': 1}, 'logger': {}, 'datasets': {}}
    writer = types.SimpleNamespace(add_image=lambda name, image, step: shown.append(image.shape), add_scalar=lambda *_: None)
    samples = Samples([{'lq': torch.rand(shape), 'gt': torch.rand(3, 8, 8), 'lq_path': 'a.png'}])
    model.validation(DataLoader(samples), 1, writer)
    assert shown == [(3, 8, 8 * num_panels)] and model.metric_results['psnr'] > 0


def test_real_world_blur_takes_any_strides() -> None:
    from basicsr.models import realesrgan_model, realesrnet_model
    from basicsr.utils.img_process_util import filter2D
    torch.manual_seed(0)
    image, kernel = torch.rand(2, 3, 24, 24), torch.rand(2, 21, 21)
    last = image.to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match='view size is not compatible'):
        filter2D(last, kernel)
    for module in (realesrnet_model, realesrgan_model):
        assert torch.equal(module.filter2D(last, kernel), filter2D(image, kernel))


def test_a_loss_that_is_no_number_ends_a_run(images: Path, tmp_path: Path, run_cli: Callable,
                                             capfd: pytest.CaptureFixture) -> None:
    opt = edsr(images, 8, optim_g={'type': 'Adam', 'lr': 1e30})
    opt['logger']['save_checkpoint_freq'] = 1
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'l_pix is ' in capfd.readouterr().err
    saved = basicsr_compat.saved_steps(str(tmp_path / 'experiments/edsr/training_states'))
    assert saved and saved[0] < 8 and not (tmp_path / 'experiments/edsr/models/net_g_latest.pth').exists()


def test_spoilt_weights_are_not_saved(images: Path, tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch,
                                      capfd: pytest.CaptureFixture) -> None:
    """An infinite gradient: the loss of that step is finite."""
    forward = EDSR.forward

    def spoilt(self: EDSR, lq: torch.Tensor) -> torch.Tensor:
        sr = forward(self, lq)
        if sr.requires_grad:
            sr.register_hook(lambda gradient: gradient * float('inf'))
        return sr

    monkeypatch.setattr(EDSR, 'forward', spoilt)
    opt = edsr(images, 8)
    opt['logger']['save_checkpoint_freq'] = 1
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert 'tensors of net_g, such as ' in error and 'are not finite at iteration 1 and are not saved: look for flawed' in error
    assert list((tmp_path / 'experiments/edsr/models').iterdir()) == list((tmp_path / 'experiments/edsr/training_states').iterdir()) == []


def test_jpeg_quality_may_be_a_fraction() -> None:
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    compressed = degradations.add_jpg_compression(image, 30.4)
    assert np.array_equal(compressed, degradations.add_jpg_compression(image, 30)) and 0.02 < abs(compressed - image).mean() < 0.5
    assert degradations.random_add_jpg_compression(image, (30, 90)).shape == image.shape


@pytest.mark.parametrize('resume_id', [None, 'abc'])
def test_wandb_gets_the_run(resume_id: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setitem(sys.modules, 'wandb', types.SimpleNamespace(init=lambda **arguments: calls.append(arguments)))
    opt = {'name': 'run', 'logger': {'use_tb_logger': False, 'wandb': {'project': 'mine', 'resume_id': resume_id}}}
    basicsr.train.init_wandb_logger(opt)
    assert calls == [{'project': 'mine', 'name': 'run', 'id': resume_id, 'resume': 'allow', 'config': opt, 'sync_tensorboard': True}]


@pytest.fixture
def pairs(images: Path, tmp_path: Path) -> Options:
    """A training of EDSR on BasicSR's own data set of pairs."""
    for path in images.rglob('*.png'):
        target = tmp_path / 'lq' / path.name
        target.parent.mkdir(exist_ok=True)
        image = cv2.imread(str(path))
        path.unlink()
        cv2.imwrite(str(images / path.name), image)
        cv2.imwrite(str(target), cv2.resize(image, None, fx=0.25, fy=0.25))
    opt = edsr(images, 2)
    opt['datasets']['train'] = {
        'name': 'pairs', 'type': 'PairedImageDataset', 'dataroot_gt': str(images), 'dataroot_lq': str(tmp_path / 'lq'),
        'io_backend': {'type': 'disk'}, 'gt_size': 16, 'use_hflip': True, 'use_rot': True, 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0}
    return opt


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == 'of another size':
        cv2.imwrite(str(path), np.zeros((20, 28, 3), np.uint8))
    else:
        path.write_bytes({'empty': b'', 'cut off': content[:len(content) // 2], 'text': b'no image'}[how])


UNREADABLE, ODD = 'cannot be read as an image', 'Scale mismatches. GT (80, 96) is not 4x multiplication of LQ (20, 28)'


@pytest.mark.parametrize('how, num_worker, message', [
    ('empty', 0, UNREADABLE), ('cut off', 0, UNREADABLE), ('cut off', 1, UNREADABLE), ('of another size', 0, ODD)])
def test_an_unusable_image_of_basicsrs_data_sets_is_named_and_replaced(how: str, num_worker: int, message: str, pairs: Options,
                                                                       tmp_path: Path, run_cli: Callable,
                                                                       capfd: pytest.CaptureFixture) -> None:
    pairs['datasets'] = {'train': pairs['datasets']['train'] | {'batch_size_per_gpu': 6, 'num_worker_per_gpu': num_worker}}
    spoil(tmp_path / 'lq/image_2.png', how)
    assert run_cli('train', '-opt', tiny.write(pairs, tmp_path)) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if 'Another image takes its place' in line]
    named = 'images/image_2.png' if message is ODD else 'lq/image_2.png'  # pairs are known by their GT
    assert 1 <= len(lines) <= 4 and named in lines[0] and message in lines[0]
    spoil(tmp_path / 'lq/image_3.png', how)
    opt = pairs | {'datasets': {'train': pairs['datasets']['train'] | {'max_unreadable': 1}}}
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert 'image_2.png' in error and 'image_3.png' in error and ('max_unreadable' in error or '2 of 6 images' in error)


def test_images_come_in_the_order_of_their_names(pairs: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the disk's is."""
    scan = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: sorted(scan(path), key=lambda entry: entry.name, reverse=True))
    dataset = basicsr.train.build_dataset(pairs['datasets']['train'] | {'phase': 'train', 'scale': 4, 'seed': 0})
    assert [Path(entry['lq_path']).name for entry in dataset.dataset.paths] == [f'image_{i}.png' for i in range(6)]


def test_the_replacement_is_drawn_as_at_its_own_place(pairs: Options, tmp_path: Path) -> None:
    section = pairs['datasets']['train'] | {'phase': 'train', 'scale': 4, 'seed': 0}
    index = basicsr_compat.SampleIndex
    whole = basicsr.train.build_dataset(section)[index(3, 1, 7)]
    spoil(tmp_path / 'lq/image_2.png', 'cut off')
    flawed = basicsr.train.build_dataset(section)
    for _ in range(2):  # at the second time without reading the flawed one
        assert torch.equal(flawed[index(2, 1, 7)]['lq'], whole['lq'])


@pytest.mark.parametrize('how, message', [
    ('text', '1 of 6 images cannot be used: {}/photos/image_2.png'),
    ('cut off', '{}/photos/image_2.png cannot be read'), ('none', 'datasets: photos holds no images')])
def test_an_unusable_validation_image_of_basicsrs_data_sets_is_named(how: str, message: str, pairs: Options, tmp_path: Path,
                                                                     run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    """What can be seen without decoding all images is said before the run."""
    photos = tmp_path / 'photos'
    pairs['datasets']['val'], pairs['val'] = LR_ALONE | {'dataroot_lq': str(photos)}, {'val_freq': 1}
    if how == 'none':
        photos.mkdir()
    else:
        shutil.copytree(tmp_path / 'lq', photos)
        spoil(photos / 'image_2.png', how)
    assert run_cli('train', '-opt', tiny.write(pairs, tmp_path)) == 1
    assert message.format(tmp_path) in capfd.readouterr().err.splitlines()[-1]
    assert (tmp_path / 'experiments').exists() == (how == 'cut off')


LR_ALONE = {'name': 'photos', 'type': 'SingleImageDataset', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}
SSIM = {'ssim': {'type': 'calculate_ssim', 'crop_border': 36}}  # leaves 24 x 8 pixels, less than its window
NIQE = {'niqe': {'type': 'calculate_niqe', 'crop_border': 0}}


@pytest.mark.parametrize('section, change, message', [
    ('datasets:train', {'gt_size': 18}, 'datasets.train: gt_size (18) must be a multiple of the scale (4)'),
    ('datasets:train', {'dataroot_gt': None}, 'datasets.train: dataroot_gt is empty: name a folder'),
    ('datasets', {'val': LR_ALONE}, 'val.metrics.psnr: calculate_psnr compares with HR images, but datasets: photos has none'),
    ('train', {'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [1], 'restart_weights': [1]}},
     'train.scheduler: the periods add up to 1 iterations, fewer than total_iter (2)'),
    ('datasets:train', {'gt_size': None}, 'datasets.train: gt_size must be a whole number, got None'),
    ('train', {'total_iter': 'many'}, "train: total_iter must be a whole number, got 'many'"),
    ('val', {'metrics': NIQE}, 'val.metrics.niqe cannot measure the image of 96x80 pixels'),
    ('val', {'metrics': SSIM}, 'val.metrics.ssim cannot measure the image of 96x80 pixels')])
def test_what_would_fail_late_is_said_in_one_line(section: str, change: Options, message: str, pairs: Options, tmp_path: Path,
                                                  run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    place = pairs
    for key in section.split(':'):
        place = place[key]
    place |= change
    assert run_cli('train', '-opt', tiny.write(pairs, tmp_path)) == 1
    assert f'basicsr train: error: {message}' in capfd.readouterr().err
    assert 'cannot measure' in message or not (tmp_path / 'experiments').exists()


def test_photos_without_hr_images_are_validated_alone(pairs: Options, tmp_path: Path, run_cli: Callable) -> None:
    pairs['datasets']['val'], pairs['val'] = LR_ALONE, {'val_freq': 1, 'save_img': True}
    assert run_cli('train', '-opt', tiny.write(pairs, tmp_path)) == 0
    assert len(list((tmp_path / 'experiments/edsr/visualization/photos').rglob('*_2.png'))) == 6


def test_results_that_would_overwrite_each_other_are_refused(images: Path, pairs: Options, tmp_path: Path, run_cli: Callable,
                                                             capfd: pytest.CaptureFixture) -> None:
    """Of this package's data set, which searches subfolders, and of one of BasicSR's; those that are not saved may."""
    shutil.copy(images / 'image_0.png', images / 'nested')
    shutil.copy(tmp_path / 'lq/image_1.png', tmp_path / 'lq/image_1.jpg')
    pairs['datasets'] = {'train': tiny.training(images)['datasets']['train'] | {'pairs': True}, 'val': LR_ALONE}
    pairs['val'] = {'val_freq': 1, 'save_img': True}
    opt = tiny.benchmark(images)
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    opt['val']['save_img'] = True
    shutil.rmtree(tmp_path / 'results')
    for verb, options, names in (('test', opt, 'image_0.png and nested/image_0.png'),
                                 ('train', pairs, 'lq/image_1.jpg and lq/image_1.png')):
        assert run_cli(verb, '-opt', tiny.write(options, tmp_path)) == 1
        assert f'the results of {names} would overwrite each other: rename one' in capfd.readouterr().err
    assert not (tmp_path / 'results').exists() and not (tmp_path / 'experiments').exists()
