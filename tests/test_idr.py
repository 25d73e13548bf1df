"""`basicsr idr` on networks of one block and on images of 96 x 80 pixels, and IDR statistics during training."""
from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from torch import nn

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.data.blind_degradation_dataset import BlindDegradationDataset
from lightbsr_arch.degradations import Degradation
from lightbsr_arch.evaluation import idr_report, idr_samples, idr_swap
from lightbsr_arch.metrics import idr_statistics
from lightbsr_arch.evaluation.networks import load_method
from lightbsr_arch.models.blind_sr_model import BlindSRModel
from tests import tiny_options as tiny

Options = dict[str, Any]
RunCli = Callable[..., int]
OPTIONS = Path(__file__).resolve().parents[1] / 'options'
KDSR = {'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}
STUDENT = {**tiny.TINY, 'layer_scale': 0.5}
TEACHER = {**STUDENT, 'queue_size': 8, 'prior_dim': 4}
BLUR = [{'sigma': 0.5}, {'sigma': 3.5}]


def build(arch: str, seed: int = 0, **kwargs: Any) -> nn.Module:
    """With weights that let the IDR show."""
    torch.manual_seed(seed)
    net = getattr(archs, arch)(**kwargs).eval()
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=2 / parameter[0].numel()**0.5)
    if arch == 'LightBSRTeacher':
        net.pca_basis.normal_()
    return net


def save(folder: Path, arch: str, net: nn.Module | None = None, **kwargs: Any) -> str:
    """A file of weights; returns its path."""
    path = str(folder / f'{arch}.pth')
    state_dict = (net or build(arch, **kwargs)).state_dict()
    checkpoints.write({'params': state_dict, 'network': {'type': arch, **kwargs}}, path)
    return path


def options(images: Path, methods: dict[str, Any], **changes: Any) -> Options:
    return {'name': 'idr', 'scale': 4, 'images': {'val': str(images)}, 'center_crop': 64, 'methods': methods,
            'grids': {'blur': BLUR}} | changes


@pytest.fixture
def lightbsr(tmp_path: Path) -> dict[str, str]:
    return {'teacher': save(tmp_path, 'LightBSRTeacher', **TEACHER), 'student': save(tmp_path, 'LightBSR', **STUDENT)}


@pytest.fixture
def kdsr(tmp_path: Path) -> dict[str, str]:
    return {'teacher': save(tmp_path, 'KDSRTeacher', **KDSR), 'student': save(tmp_path, 'KDSR', **KDSR)}


# ---------------------------------------------------------------------------------------------- networks
@pytest.mark.parametrize('arch, kwargs, side', [
    ('LightBSR', STUDENT, None), ('LightBSRTeacher', TEACHER, (2, 4)), ('KDSR', KDSR, None),
    ('KDSRTeacher', KDSR, (2, 3, 36, 52))])
def test_forward_is_to_represent_and_to_super_resolve(arch: str, kwargs: Options, side: tuple[int, ...] | None) -> None:
    net, lq = build(arch, **kwargs), torch.rand(2, 3, 9, 13)
    sides = () if side is None else (torch.rand(side),)
    idr = net.represent(lq, *sides)
    assert torch.equal(net.super_resolve(lq, idr), net(lq, *sides))
    others = type(idr)(*(None if member is None else member.flip(0) for member in idr))
    assert (net.super_resolve(lq, others) - net(lq, *sides)).abs().max() > 1e-4


def test_features_are_what_the_sr_network_reads_or_a_member() -> None:
    idr = build('LightBSR', **STUDENT).represent(torch.rand(2, 3, 9, 13))
    assert torch.equal(idr.features(), torch.cat([idr.channel, idr.spatial.mean((2, 3))], 1))
    torch.testing.assert_close(idr.features('estimate'), idr.estimate.mean((2, 3)))
    idr = build('KDSR', **KDSR).represent(torch.rand(2, 3, 9, 13))
    assert torch.equal(idr.features(), idr.guide) and torch.equal(idr.features('distill'), idr.distill)


# ---------------------------------------------------------------------------------------------- the analysis
def test_analysis_of_lightbsr(lightbsr: dict[str, str], images: Path, tmp_path: Path, run_cli: RunCli,
                              capsys: pytest.CaptureFixture) -> None:
    opt = options(images, lightbsr, reference='teacher', features=['read', 'estimate'], num_regression=12,
                  regression={'lambda_1': [0.5, 4], 'lambda_2': [0.5, 4], 'theta': [0, 180], 'noise': [0, 9]})
    assert run_cli('idr', '-opt', tiny.write(opt, tmp_path)) == 0
    folder, text = tmp_path / 'results/idr', capsys.readouterr().out
    assert {path.stem for path in folder.glob('*.png')} == {path.stem for path in folder.glob('*.pdf')} == {
        f'{kind}_{member}' for kind in ('tsne_blur', 'pca_blur', 'distance') for member in ('read', 'estimate')}
    assert (folder / 'idr.md').read_text() in text and '## blur: 2 degradations x 6 images' in text
    assert re.search(r'\| method +\| feature +\| silhouette ↑ \| Davies-Bouldin ↓ .* \| CKA +\|', text)
    grid, regression = json.loads((folder / 'idr.json').read_text())['tables']
    rows = {(row['method'], row['feature']): row for row in grid['rows']}
    assert rows['teacher', 'read']['CKA'] == pytest.approx(1) and rows['student', 'read']['CKA'] < 0.999
    assert rows['chance', ''] == {'method': 'chance', 'feature': '', 'silhouette': 0, 'k-NN': 0.5, 'probe': 0.5,
                                  'content leakage': pytest.approx(1 / 6)}
    assert regression['rows'][0].keys() == {'method', 'feature', 'R2 lambda_1', 'R2 lambda_2', 'R2 theta', 'R2 noise',
                                            'distance'}
    with open(folder / 'idr.csv', newline='') as file:
        lines = list(csv.DictReader(file))
    found = [line for line in lines if line['method'] == 'student' and line['statistic'] == 'silhouette']
    assert [float(line['value']) for line in found] == [rows['student', m]['silhouette'] for m in ('read', 'estimate')]


def test_analysis_of_kdsr_repeats(kdsr: dict[str, str], images: Path, tmp_path: Path, run_cli: RunCli,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('lightbsr_arch.evaluation.plots.idr.save', lambda figure, path: path)  # slow
    opt = tiny.write(options(images, kdsr, regression='setting1', num_regression=8), tmp_path)
    assert run_cli('idr', '-opt', opt) == 0
    first = (tmp_path / 'results/idr/idr.json').read_text()
    assert run_cli('idr', '-opt', opt) == 0 and (tmp_path / 'results/idr/idr.json').read_text() == first
    assert 'CKA' not in first and 'R2 sigma' in first


@pytest.mark.parametrize('regression', [{'sigma': [0.2, 4], 'jpeg': [30, 95]}, {'sigma': 1, 'jpeg': [30, 95]}], ids=str)
def test_no_distance_is_told_where_jpeg_varies(regression: Options, kdsr: dict[str, str], images: Path, tmp_path: Path,
                                               run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[str] = []
    monkeypatch.setattr('lightbsr_arch.evaluation.plots.idr.save', lambda figure, path: figures.append(Path(path).name))
    opt = options(images, {'student': kdsr['student']}, regression=regression, num_regression=8)
    assert run_cli('idr', '-opt', tiny.write(opt, tmp_path)) == 0
    table = json.loads((tmp_path / 'results/idr/idr.json').read_text())['tables'][1]
    varying = {f'R2 {key}' for key, value in regression.items() if isinstance(value, list)}
    assert all(row.keys() == {'method', 'feature', *varying} for row in table['rows']) and table['better'].keys() == varying
    assert figures == ['tsne_blur_read', 'pca_blur_read']


def test_features_are_those_of_basicsr_test(kdsr: dict[str, str], images: Path, tmp_path: Path) -> None:
    """Image by image, from the data set that `basicsr test` reads; noise included."""
    opt = idr_samples.read_options(str(tiny.write(options(images, kdsr, center_crop=80), tmp_path)))
    degradation = {'theta': 30, 'lambda_1': 3.5, 'lambda_2': 1.5, 'noise': 20}
    samples = list(opt.degraded(Degradation(**degradation)))
    dataset = BlindDegradationDataset({'name': 'x', 'type': 'BlindDegradationDataset', 'phase': 'test', 'scale': 4,
                                       'dataroot_gt': str(images), 'degradation': degradation, 'center_crop': 80})
    method = load_method('teacher', kdsr['teacher'])
    found = idr_samples.features(method, samples, ['read'])['read']
    for sample, row in zip(dataset, found, strict=True):
        with torch.no_grad():
            expected = method.network(sample['lq'][None], sample['gt'][None], idr_only=True).guide
        np.testing.assert_allclose(row, expected[0], rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------------------------------- the swap
def test_what_is_infinite_is_nothing_in_json(tmp_path: Path) -> None:
    table = idr_report.Table('t', ('method',), {'a': '↓', 'b': '↓'}, [(('m',), {'a': np.inf, 'b': 0.5})])
    assert '| inf' in idr_report.write(SimpleNamespace(name='s', folder=str(tmp_path)), 'idr', [table], {})

    def strict(constant: str) -> None:
        raise AssertionError(f'{constant} is no JSON')
    content = json.loads((tmp_path / 'idr.json').read_text(), parse_constant=strict)
    assert content['tables'][0]['rows'] == [{'method': 'm', 'a': None, 'b': 0.5}]


def test_swap_writes_tables_and_figures(lightbsr: dict[str, str], kdsr: dict[str, str], images: Path, tmp_path: Path,
                                        run_cli: RunCli, capsys: pytest.CaptureFixture) -> None:
    methods = lightbsr | {f'KDSR {label}': path for label, path in kdsr.items()}
    assert run_cli('idr', '--swap', '-opt', tiny.write(options(images, methods, num_images=3), tmp_path)) == 0
    assert '## IDR swap, blur' in capsys.readouterr().out
    folder = tmp_path / 'results/idr'
    assert {path.name for path in folder.iterdir()} == {'idr_swap.md', 'idr_swap.csv', 'idr_swap.json', 'swap_blur.png',
                                                        'swap_blur.pdf'}
    content = json.loads((folder / 'idr_swap.json').read_text())
    rows = {(row['method'], row['degradation']): row for row in content['tables'][0]['rows']}
    assert len(rows) == 4 * 3
    for label in methods:
        matrix, average = np.array(content['matrices']['blur'][label]), rows[label, 'average']
        assert average['own IDR (dB)'] == pytest.approx(matrix.diagonal().mean())
        changes = matrix[0, 1] - matrix[0, 0], matrix[1, 0] - matrix[1, 1]
        assert average['other degradation'] == pytest.approx(sum(changes) / 2)
        assert all(abs(average[column]) > 1e-4 for column in idr_swap.COLUMNS)


def swap(path: str, images: Path, tmp_path: Path) -> tuple[Any, list[list[Any]], idr_swap.Swap]:
    opt = idr_samples.read_options(str(tiny.write(options(images, {'net': path}), tmp_path)))
    samples = [list(opt.degraded(d)) for d in opt.grids['blur']]
    (method,), _ = opt.load_methods()
    return method, samples, idr_swap.swap(method, samples, 4)


def test_swaps_are_exactly_nothing_to_a_network_that_ignores_its_idr(images: Path, tmp_path: Path) -> None:
    net = build('LightBSR', **STUDENT)
    for gate in (net.trunk.groups[0].blocks[0].spatial_gate, net.trunk.groups[0].blocks[0].channel_gate):
        nn.init.zeros_(gate[2].weight)
    _, _, found = swap(save(tmp_path, 'LightBSR', net, **STUDENT), images, tmp_path)
    assert all((change == 0).all() for change in found.changes[1:]) and (found.changes[0] > 0).all()


@pytest.mark.parametrize('arch, kwargs', [('LightBSR', STUDENT), ('KDSR', KDSR)])
def test_swaps_by_hand(arch: str, kwargs: Options, images: Path, tmp_path: Path) -> None:
    method, samples, found = swap(save(tmp_path, arch, **kwargs), images, tmp_path)
    net, last = method.network, samples[1]

    def psnr(idrs: list[Any]) -> float:
        pairs = [(tensor2img(net.super_resolve(sample['lq'][None], idr)), tensor2img(sample['gt']))
                 for sample, idr in zip(last, idrs, strict=True)]
        return np.mean([calculate_psnr(*pair, crop_border=4, test_y_channel=True) for pair in pairs])
    with torch.no_grad():
        own, others = ([net.represent(sample['lq'][None]) for sample in row] for row in (last, samples[0]))
        assert found.matrix[1] == pytest.approx([psnr(others), psnr(own)], abs=0.01)
        assert found.other_image[1] == pytest.approx(psnr([*own[1:], own[0]]), abs=0.01)
        mean = type(own[0])(*(None if m[0] is None else torch.stack(m).mean(0) for m in zip(*own, *others)))
        assert found.mean_idr[1] == pytest.approx(psnr([mean] * 6), abs=0.01)
        if arch == 'LightBSR':
            assert net.idr_noise == 0
            net.idr_noise = 1.0
            wrong = [net.represent(sample['lq'][None]) for sample in last]
        else:
            noise = torch.rand(8, generator=torch.Generator().manual_seed(0))
            wrong = [idr._replace(guide=idr.guide + noise) for idr in own]
        assert found.error_idr[1] == pytest.approx(psnr(wrong), abs=0.01)


# ---------------------------------------------------------------------------------------------- what a user gets wrong
WRONG = [
    ({'methods': {'student': 'nowhere.pth'}}, 'methods: student: there is no file nowhere.pth'),
    ({'methods': {'bicubic': {'network': {'type': 'Bicubic', 'scale': 4}}}}, 'methods: bicubic: Bicubic has no IDR'),
    ({'methods': {'x2': {'network': {'type': 'Bicubic', 'scale': 2}}}}, 'methods: x2: Bicubic has no IDR'),
    ({'methods': {}}, 'methods must be a section such as {LightBSR: net_g_latest.pth}'),
    ({'refrence': 'student'}, "idr.yml: unknown key 'refrence'; did you mean 'reference'"),
    ({'reference': 'tutor'}, "reference: there is no method 'tutor'"),
    ({'features': ['reed']}, "methods: student: LightBSR: its IDR has no 'reed', but estimate, channel, spatial"),
    ({'features': ['embedding']}, 'methods: student: LightBSR: it builds no IDR (embedding)'),
    ({'features': 'read'}, "idr.yml: features must be a list, such as [read, estimate], got 'read'"),
    ({'grids': {'blur': [{'sigma': 1.2}]}}, 'idr.yml: grids: blur: give two or more different degradations'),
    ({'grids': {'blur': [{'sigma': 1.2}, {'sigmas': 1}]}}, "idr.yml: degradation: unknown key 'sigmas'"),
    ({'grids': {'blur': 'gaussian9'}}, "unknown degradations 'gaussian9'"),
    ({'grids': {'blur': 3}}, 'grids: blur must be a list of degradations, got 3'),
    ({'regression': {'sigma': 2}}, 'regression: give ranges'),
    ({'num_regression': 1}, 'num_regression must be 4 or more, got 1'),
    ({'center_crop': 100}, 'image_0.png is smaller than center_crop (100)'),
    ({'center_crop': 62}, 'center_crop must be a multiple of the scale (4)'),
    ({'num_images': 1}, 'images: 2 images are the least'),
    ({'num_images': 2, 'regression': 'setting1'}, 'images: 3 images are the least'),
    ({'images': {'val': 'nowhere'}}, 'nowhere: set dataroot_gt, or data_root'),
    ({'scale': 2}, 'methods: student: it super-resolves x4, but scale is 2 at the top'),
    ({'name': 'a/b'}, "name must be a text without a slash, got 'a/b'"),
]


@pytest.mark.parametrize('changes, message', WRONG, ids=[str(changes) for changes, _ in WRONG])
def test_a_wrong_option_file_is_one_clear_error(changes: Options, message: str, images: Path, tmp_path: Path,
                                                run_cli: RunCli, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / 'idr.yml'
    path.write_text(yaml.safe_dump(options(images, {'student': save(tmp_path, 'LightBSR', **STUDENT)}) | changes))
    assert run_cli('idr', '-opt', path) == 1
    text = ''.join(capfd.readouterr())
    assert message in text and text.count('basicsr idr: error: ') == 1 and 'Traceback' not in text
    assert not (tmp_path / 'results').exists()


@pytest.mark.parametrize('arguments', [[], ['--swap']])
def test_a_network_whose_gates_are_off_is_named(arguments: list[str], images: Path, tmp_path: Path, run_cli: RunCli,
                                                capfd: pytest.CaptureFixture) -> None:
    methods = {'M3': save(tmp_path, 'LightBSR', **STUDENT, channel_gate=False, spatial_gate=False)}
    assert run_cli('idr', '-opt', tiny.write(options(images, methods), tmp_path), *arguments) == 1
    assert 'methods: M3: LightBSR: it builds no IDR' in capfd.readouterr().err


def test_without_matplotlib(kdsr: dict[str, str], images: Path, tmp_path: Path, run_cli: RunCli,
                            monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    for name in [name for name in sys.modules if name.startswith('lightbsr_arch.evaluation.plots')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.delattr('lightbsr_arch.evaluation.plots', raising=False)
    assert run_cli('idr', '-opt', tiny.write(options(images, kdsr), tmp_path)) == 1
    assert 'figures need matplotlib: pip install lightbsr_arch[eval]' in capfd.readouterr().err


def test_images_lie_elsewhere_and_weights_are_missing(kdsr: dict[str, str], images: Path, tmp_path: Path, run_cli: RunCli,
                                                      capfd: pytest.CaptureFixture) -> None:
    methods = {'gone': 'gone.pth', 'student': kdsr['student']}
    path = tiny.write(options(Path(images.name), methods, reference='gone'), tmp_path)
    arguments = 'idr', '-opt', path, '--swap', '--data-root', images.parent
    assert run_cli(*arguments) == 1
    assert 'methods: gone: there is no file gone.pth' in capfd.readouterr().err
    assert run_cli(*arguments, '--skip-missing') == 0
    assert 'gone is left out' in capfd.readouterr().out


def test_an_option_file_that_is_not_there(run_cli: RunCli, capfd: pytest.CaptureFixture) -> None:
    assert run_cli('idr', '-opt', 'nowhere.yml') == 1
    assert 'cannot read the option file nowhere.yml (-opt): No such file' in capfd.readouterr().err


@pytest.mark.parametrize('path', sorted(OPTIONS.glob('idr_*.yml')), ids=lambda path: path.name)
def test_option_files(path: Path) -> None:
    found = idr_samples.read_options(str(path))
    assert found.name == path.stem and found.regression is not None and len(idr_samples.draw(found)) == 500


# ---------------------------------------------------------------------------------------------- during training
@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """What goes to TensorBoard: name, value, iteration."""
    scalars: list[tuple[str, float, int]] = []

    class Recorder:
        def add_scalar(self, *scalar: Any) -> None:
            scalars.append(scalar)
    log = BlindSRModel._log_figures
    monkeypatch.setattr(BlindSRModel, '_log_figures', lambda self, *a: log(self, *a[:-1], Recorder()))
    return scalars


def training_options(images: Path, **network: Any) -> Options:
    opt = tiny.teacher(images, **network)
    opt['datasets']['val'] |= {'degradations': BLUR,
                               'benchmarks': {'val': str(images), 'nested': str(images / 'nested')}}
    opt['val'] |= {'val_freq': 2, 'idr_statistics': True}
    return opt


def test_statistics_at_validation(images: Path, tmp_path: Path, run_cli: RunCli,
                                  logged: list[tuple[str, float, int]]) -> None:
    """In a stage of either kind, over four validation sets of two degradations; the last ones computed anew."""
    opt = training_options(images)
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 0
    scalars = [scalar for scalar in logged if scalar[0].startswith('metrics/idr/')]
    assert [name for name, _, _ in scalars] == ['metrics/idr/silhouette', 'metrics/idr/probe_accuracy'] * 3
    assert [iteration for _, _, iteration in scalars[::2]][:2] == [2, 4]
    method = load_method('teacher', str(tmp_path / 'experiments/teacher/models/net_g_latest.pth'))
    rows = []
    for folder in (images, images / 'nested'):
        for degradation in BLUR:
            dataset = BlindDegradationDataset({'name': 'x', 'type': 'BlindDegradationDataset', 'phase': 'val',
                                               'scale': 4, 'dataroot_gt': str(folder), 'degradation': degradation})
            rows += [(idr_samples.features(method, [s], ['read'])['read'][0], str(degradation['sigma']), s['lq_path'])
                     for s in dataset]
    features, labels, paths = (np.array(column) for column in zip(*rows))
    assert scalars[-2][1] == pytest.approx(idr_statistics.silhouette(features, labels), abs=1e-3)
    assert scalars[-1][1] == pytest.approx(idr_statistics.probe_accuracy(features, labels, paths), abs=0.07)
    log = next((tmp_path / 'experiments/teacher').glob('*.log')).read_text()
    assert len(re.findall(r'Validation of the IDR: (?:silhouette|probe_accuracy) -?\d\.\d{4}', log)) == 6


@pytest.mark.parametrize('path, value, message', [
    ('idr_statistics', 1, 'val: idr_statistics must be true or false, got 1'),
    ('idr_statistic', True, "val: unknown key 'idr_statistic'; did you mean 'idr_statistics'"),
    ('degradations', BLUR[:1], 'val.idr_statistics tells degradations apart: give datasets.val two of them or more'),
    ('benchmarks', 1, 'val.idr_statistics learns from some images and is tested on others: give datasets.val two images'),
    ('gates', False, 'val.idr_statistics is set, but nothing in network_g reads an IDR')])
def test_wrong_options_of_the_statistics(path: str, value: Any, message: str, images: Path, tmp_path: Path,
                                         run_cli: RunCli, capfd: pytest.CaptureFixture) -> None:
    opt = training_options(images, **({'channel_gate': False, 'spatial_gate': False} if path == 'gates' else {}))
    if path == 'degradations':
        opt['datasets']['val'][path] = value
    elif path == 'benchmarks':
        (tmp_path / 'one').mkdir()
        shutil.copy(images / 'image_0.png', tmp_path / 'one')
        opt['datasets']['val'][path] = {'one': str(tmp_path / 'one')}
    elif path != 'gates':
        opt['val'][path] = value
    assert run_cli('train', '-opt', tiny.write(opt, tmp_path)) == 1
    assert message in ''.join(capfd.readouterr())


def test_basicsrs_own_models_have_no_idr(images: Path, tmp_path: Path, run_cli: RunCli,
                                         capfd: pytest.CaptureFixture) -> None:
    opt = tiny.benchmark(images)
    opt['val']['idr_statistics'] = True
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 1
    assert 'val: idr_statistics is for the models of LightBSR and KDSR, not for SRModel' in ''.join(capfd.readouterr())
