from __future__ import annotations

import csv
import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any, Callable

import cv2
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightbsr_arch import allocator, checkpoints
from lightbsr_arch.archs import LightBSR
from lightbsr_arch.archs.layers import Merging
from lightbsr_arch.evaluation import complexity
from lightbsr_arch.evaluation.complexity import PRESETS, Point, Printed, count, preset_name, printed_cost
from tests import tiny_options as tiny

# convolutions 3->8, 8->8, 8->12 of 3x3 with biases, and two PReLU of 8 slopes, at the LR size
COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 1, 'upscale': 2}
SMALL = {'num_feat': 16, 'num_group': 1, 'num_block': 1}
SWINIR = {'type': 'SwinIR', 'upscale': 2, 'upsampler': 'pixelshuffledirect', 'img_size': 16, 'window_size': 8,
          'depths': [1], 'num_heads': [2], 'embed_dim': 8}


# ---------------------------------------------------------------------------------------------- counting
def test_a_network_of_three_convolutions_is_counted_as_by_hand() -> None:
    cost = count(COMPACT, (5, 7))
    assert cost.parameters == cost.trainable == (216 + 8) + 8 + (576 + 8) + 8 + (864 + 12)
    assert cost.multiply_adds == 5 * 7 * (216 + 576 + 864)
    assert cost.activations == 5 * 7 * (8 + 8 + 12)


@pytest.mark.parametrize('name, size, parameters, multiply_adds', [
    ('LightBSR', (256, 256), 3_259_947, 205.9), ('KDSR-M', (256, 256), 5_795_075, 260.1),
    ('KDSR-M', (180, 320), 5_795_075, 228.6), ('KDSR-L', (180, 320), 14_190_979, 625.5),
    ('KDSR-GAN', (180, 320), 18_846_083, 762.3),
    ('ESRGAN', (180, 320), 16_697_987, 1032.59)])  # printed in KDSR's Table 1 for AdaTarget, which has that network
def test_the_papers_networks(name: str, size: tuple[int, int], parameters: int, multiply_adds: float) -> None:
    cost = count(PRESETS[name], size)
    assert cost.parameters == parameters and cost.multiply_adds / 1e9 == pytest.approx(multiply_adds, abs=0.05)


@pytest.mark.parametrize('changes, extra', [
    # what the estimator's first convolution takes besides, for 32 channels, and the projector
    ({}, 9 * 32 * 15 * 80 + 2 * 128**2),
    ({'noise_prior': True}, 9 * 32 * 18 * 80 + 2 * 128**2), ({'prior_dim': 0, 'contrastive': False}, 0),
])
def test_a_teacher_costs_what_it_sees_besides(changes: dict[str, Any], extra: int) -> None:
    teacher = count({'type': 'LightBSRTeacher', 'queue_size': 8, **SMALL, **changes}, (8, 10))
    student = count({'type': 'LightBSR', **SMALL}, (8, 10))
    assert teacher.multiply_adds - student.multiply_adds == extra
    assert (teacher.trainable < teacher.parameters) == changes.get('contrastive', True)


def test_kdsr_teachers_see_the_image_or_the_kernel() -> None:
    sizes = {'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}
    student, teacher, oracle = (count({'type': kind, **sizes, **more}, (8, 10)).multiply_adds for kind, more in (
        ('KDSR', {}), ('KDSRTeacher', {}), ('KDSRTeacher', {'oracle': True})))
    first, rest = 9 * 8, 9 * (64 + 64 + 8 * 16 + 16 * 16 + 16 * 32)  # the estimator's convolutions, per pixel
    assert teacher - student == 80 * 48 * first
    assert oracle - student == 441 * (first + rest) - 80 * (3 * first + rest)


def test_windows_are_padded() -> None:
    assert count(SWINIR, (9, 15)).multiply_adds == count(SWINIR, (16, 16)).multiply_adds


class Peeking(nn.Module):
    """Computes with its input's values, so that it cannot run on shapes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if x.mean().item() == 0 else x


def test_an_arch_that_looks_at_values_is_counted_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Peeking', Peeking)
    assert count({'type': 'Peeking'}, (3, 5)).multiply_adds == 15 * 9 * 3 * 4


# ---------------------------------------------------------------------------------------------- the papers
@pytest.mark.parametrize('section, name', [
    ({'type': 'LightBSR', 'scale': 4, 'num_block': 8}, 'LightBSR'), ({'type': 'LightBSR', 'scale': 2}, None),
    ({'type': 'LightBSR', 'num_feat': 32}, None), ({'type': 'LightBSR', 'correction': False}, None),
    ({'type': 'KDSR', 'num_feat': 128, 'num_block': 42, 'num_estimator_block': 6}, 'KDSR-GAN'), (COMPACT, None)])
def test_a_preset_is_recognised_by_all_its_arguments(section: dict[str, Any], name: str | None) -> None:
    assert preset_name(section) == name


@pytest.mark.parametrize('method, size, expected', [
    ('LightBSR', (256, 256), Printed(3.09, 206.16)), ('LightBSR', (180, 320), Printed(3.09)),
    ('KDSR-M', (256, 256), Printed(5.8, 258.14)), ('KDSR-M', (180, 320), Printed(5.8, 191.42, 38.74)),
    ('KDSR-L', (180, 320), Printed(14.19, 623.61, 149.14)), ('KDSR-GAN', (180, 320), Printed(18.85, 640.84, 154.62)),
    ('KDSR-GAN', (64, 64), Printed(18.85)), (None, (256, 256), Printed())])
def test_printed_costs(method: str | None, size: tuple[int, int], expected: Printed) -> None:
    assert printed_cost(method, size) == expected


# ---------------------------------------------------------------------------------------------- measuring
def test_latency_and_memory_are_measured_and_written(tmp_path: Path, run_cli: Callable,
                                                     capfd: pytest.CaptureFixture) -> None:
    words = [f'{key}={value}' for key, value in {**COMPACT, 'num_feat': 64}.items() if key != 'type']
    assert run_cli('complexity', '--arch', 'SRVGGNetCompact', *words, '--size', '128x256', '--device', 'cpu',
                   '--threads', 1, '--repeats', 3, '-o', 'out/cost') == 0
    row, = json.loads((tmp_path / 'out/cost.json').read_text())
    assert row['multiply_adds'] == 128 * 256 * 9 * 64 * (3 + 64 + 12) and row['paper_gflops'] is None
    assert 0 < row['latency_lower_quartile_ms'] <= row['latency_ms'] <= row['latency_upper_quartile_ms']
    if sys.platform.startswith('linux'):
        features = 4 * 64 * 128 * 256  # bytes; two such tensors are alive at once
        assert features < row['peak_memory_bytes'] < 8 * features
    assert list(csv.DictReader((tmp_path / 'out/cost.csv').open()))[0]['height'] == '128'
    printed = capfd.readouterr().out
    assert printed == (tmp_path / 'out/cost.md').read_text() and '| SRVGGNetCompact | 128x256 |' in printed


def test_quartiles_of_known_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5.0, 1.0, 2.0, 4.0, 3.0])
    monkeypatch.setattr(complexity.latency, '_milliseconds', lambda work, device: next(times))
    timing = complexity.measure(COMPACT, (4, 4), repeats=5)
    assert (timing.lower, timing.median, timing.upper) == (2, 3, 4)


@pytest.mark.parametrize('section', [
    {'type': 'LightBSR', **SMALL}, {'type': 'KDSR', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}, COMPACT],
    ids=lambda section: section['type'])
def test_a_network_is_measured_as_the_verbs_run_it(section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network, tf32 = complexity.build(section), []
    monkeypatch.setattr(complexity.latency, 'build', lambda _: network)
    monkeypatch.setattr(complexity.latency, '_milliseconds', lambda *_: tf32.append(torch.backends.cudnn.allow_tf32) or 1.0)
    monkeypatch.setattr(allocator, 'keeps', False)
    complexity.measure(section, (8, 8), repeats=1)
    assert tf32 == [False] and allocator.keeps
    assert all(hasattr(module, 'frozen_weight') for module in network.modules() if isinstance(module, Merging))
    weights = [p for p in network.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


# ---------------------------------------------------------------------------------------------- the command
def write_results(path: Path, name: str, **changes: Any) -> Path:
    """A `table.json` as a test writes it."""
    content = {'name': name, 'network': {'type': 'LightBSR'}, 'weights': None, 'scale': 4, 'rows': [
        {'dataset': 'Set5', 'degradation': 'sigma1.2', 'psnr': 1.0},
        {'dataset': 'Set5', 'degradation': 'sigma2.4', 'psnr': 32.1},
        {'dataset': 'Set5', 'degradation': 'average', 'psnr': 2.0},
        {'dataset': 'B100', 'degradation': 'sigma2.4'}], **changes}
    path.write_text(json.dumps(content))
    return path


def test_networks_from_all_kinds_of_files(tmp_path: Path, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    small = {'type': 'LightBSR', **SMALL}
    checkpoints.write({'params': LightBSR(**SMALL).state_dict(), 'network': small}, str(tmp_path / 'w.pth'))
    tiny.write({'name': 'test', 'network_g': small}, tmp_path)
    write_results(tmp_path / 'table.json', 'result', network=small)
    assert run_cli('complexity', 'w.pth', 'ours=test.yml', 'table.json', 'LightBSR', '--no-latency', '--size', '8x8',
                   '--arch', 'LightBSR', 'num_feat=16', 'num_group=1', 'num_block=1') == 0
    lines = capfd.readouterr().out.splitlines()[2:]
    labels, others = zip(*((line.split('|')[1].strip(), line.split('|')[2:]) for line in lines))
    assert labels == ('w.pth', 'ours', 'result', 'LightBSR', 'LightBSR')
    assert others[0] == others[1] == others[2] == others[4] != others[3] and '3.09' in others[3][2]


@pytest.mark.parametrize('arguments, message', [
    (['LigthBSR'], "LigthBSR is neither a file nor a network of the papers; did you mean 'LightBSR'?"),
    (['--arch', 'LigthBSR'], "there is no arch named 'LigthBSR'; did you mean 'LightBSR'?"),
    (['--arch', 'EDSR'], 'EDSR needs num_in_ch=... and num_out_ch=...'),
    (['--arch', 'KDSR', 'num_feet=8'], "KDSR has no 'num_feet'; did you mean 'num_feat'?"),
    (['--arch', 'EDSR', 'type=RCAN'], "--arch takes NAME KEY=VALUE ..., such as EDSR num_in_ch=3; got 'type=RCAN'"),
    (['--arch', 'KDSR', 'num_feat'], "--arch takes NAME KEY=VALUE ..., such as EDSR num_in_ch=3; got 'num_feat'"),
    (['--arch', 'KDSR', 'num_feat=[8'], "the value of 'num_feat=[8' is not valid YAML"),
    (['--arch', 'LightBSR', 'num_feat=7'], 'LightBSR cannot be built: num_feat must be a positive multiple of 8'),
    (['--arch', 'VGGStyleDiscriminator', 'num_in_ch=3', 'num_feat=8'], 'does not super-resolve one image of 256x256'),
    (['LightBSR', '--device', 'nowhere'], '--device nowhere cannot be used'),
    (['LightBSR', '--device', 'meta'], '--device meta cannot be used: only cpu and cuda are measured'),
    (['images'], 'images is neither a file nor'), (['empty.yml'], 'empty.yml has no network_g with a type'),
    (['list.json'], 'list.json holds no results of `basicsr test`'), (['cut.json'], 'cut.json holds no results'),
    (['good.json', '--plot', 'p', '--cell', 'Set5_2.5'], "no cell 'Set5_2.5' in LightBSR's Table 3; did you mean"),
    (['good.json', '--plot', 'p', '--cell', 'B100_2.4'], 'good: no PSNR of B100 sigma2.4 at x4, only Set5 sigma1.2, '),
    (['x2.json', '--plot', 'p'], 'x2: no PSNR of Set5 sigma2.4 at x4')], ids=lambda value: ' '.join(value)[:40])
def test_what_a_user_gets_wrong(arguments: list[str], message: str, tmp_path: Path, run_cli: Callable,
                                capfd: pytest.CaptureFixture) -> None:
    for name, text in (('empty.yml', ''), ('list.json', '[]'), ('cut.json', '{')):
        (tmp_path / name).write_text(text)
    write_results(tmp_path / 'good.json', 'good')
    write_results(tmp_path / 'x2.json', 'x2', scale=2)
    assert run_cli('complexity', *arguments, '--no-latency', '--size', '256x256') == 1
    error = capfd.readouterr().err
    assert message in error and 'Traceback' not in error and not list(tmp_path.glob('p*'))


@pytest.mark.parametrize('arguments, message', [
    (['LightBSR', '--size', '256'], "'256' must be HEIGHTxWIDTH"), (['LightBSR', '--size', '0x4'], "'0x4' must be"),
    (['LightBSR', '--repeats', '0'], 'must be a whole number from 1'), ([], 'name a NETWORK')], ids=str)
def test_wrong_usage(arguments: list[str], message: str, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match='2'):
        run_cli('complexity', *arguments)
    assert message in capfd.readouterr().err


# ---------------------------------------------------------------------------------------------- the figure
def test_points_are_the_printed_figures_and_ours() -> None:
    points = {point.label: point for point in complexity.printed_points('Set5_2.4')}
    assert points['LightBSR'] == Point('LightBSR', 206.16, 32.17, 3.1, False)
    assert 'Bicubic' not in points and 'IDMBSR' not in points and len(points) == 9  # those two have no cost
    table = {'network': COMPACT, 'scale': 4, 'rows': [{'dataset': 'Set5', 'degradation': 'sigma2.4', 'psnr': 32.1}]}
    ours = complexity.measured_point('mine', table, 'Set5_2.4')
    assert ours == Point('mine', 256**2 * (216 + 576 + 864) / 1e9, 32.1, (224 + 8 + 584 + 8 + 876) / 1e6, True)


@pytest.mark.parametrize('cell', ['Set5_2.4', 'Urban100_3.6'])
def test_no_label_covers_another_or_leaves_the_figure(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = pytest.importorskip('lightbsr_arch.evaluation.plots.cost')
    figures = []
    monkeypatch.setattr(cost, 'save', lambda figure, path: figures.append(figure))
    points = complexity.printed_points(cell)
    points += [Point('LightBSR', 205.9, points[-1].psnr - 0.05, 3.26, True), Point('small', 25.8, 25, 0.5, True)]
    cost.draw(points, cell, 'x')
    texts = [text for text in figures[0].axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    inside = figures[0].axes[0].get_window_extent()
    assert len(texts) == len(points)
    assert all(not a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(inside.x0 <= b.x0 and b.x1 <= inside.x1 and inside.y0 <= b.y0 and b.y1 <= inside.y1 for b in boxes)


def test_the_figure_is_written(tmp_path: Path, run_cli: Callable, capfd: pytest.CaptureFixture) -> None:
    pytest.importorskip('matplotlib')
    write_results(tmp_path / 'table.json', 'mine', network=COMPACT)
    assert run_cli('complexity', 'ours=table.json', '--no-latency', '--size', '8x8', '--plot', 'figures/cost') == 0
    assert 'wrote figures/cost.png and .pdf' in capfd.readouterr().out
    assert cv2.imread(str(tmp_path / 'figures/cost.png')).std() > 0
    assert (tmp_path / 'figures/cost.pdf').stat().st_size > 1000


def test_a_plot_without_matplotlib(run_cli: Callable, capfd: pytest.CaptureFixture,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'lightbsr_arch.evaluation.plots.cost', raising=False)
    monkeypatch.delitem(sys.modules, 'lightbsr_arch.evaluation.plots.style', raising=False)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert run_cli('complexity', '--plot', 'p') == 1
    assert 'figures need matplotlib: pip install lightbsr_arch[eval]' in capfd.readouterr().err
