from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric, calculate_niqe
from torch import Tensor

from lightbsr_arch.metrics import perceptual
from tests import tiny_options as tiny

METRICS = [('calculate_lpips', 'lpips'), ('calculate_dists', 'dists')]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    perceptual.load.cache_clear()
    yield
    perceptual.load.cache_clear()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Tensor, Tensor]]:
    """What a stand-in for pyiqa is given; its distance is the mean absolute difference."""
    calls: list[tuple[str, Tensor, Tensor]] = []

    def create_metric(name: str) -> Callable[[Tensor, Tensor], Tensor]:
        def distance(a: Tensor, b: Tensor) -> Tensor:
            calls.append((name, a, b))
            return (a - b).abs().mean().reshape(1, 1)
        return distance

    monkeypatch.setitem(sys.modules, 'pyiqa', types.SimpleNamespace(create_metric=create_metric))
    return calls


@pytest.mark.parametrize('metric, name', METRICS)
def test_pyiqa_sees_rgb_from_0_to_1_without_the_border(metric: str, name: str, seen: list) -> None:
    img = np.zeros((40, 50, 3), np.uint8)
    img[..., 0], img[..., 2] = 255, 51  # blue and red, as OpenCV orders them
    img[:3], img[-3:], img[:, :3], img[:, -3:] = 9, 9, 9, 9  # the border
    img[3, 4] = 0, 255, 0  # one green pixel
    value = calculate_metric({'img': img, 'img2': np.zeros_like(img)}, {'type': metric, 'crop_border': 3})
    (called, a, b), = seen
    assert called == name and a.shape == b.shape == (1, 3, 34, 44) and a.dtype == torch.float32 and not b.any()
    assert a[0, :, 0, 1].tolist() == [0, 1, 0]
    torch.testing.assert_close(a[0, :, 5, 5], torch.tensor([0.2, 0, 1]))
    assert isinstance(value, float) and value == pytest.approx(((34 * 44 - 1) * 1.2 + 1) / (3 * 34 * 44), abs=1e-6)


def test_the_whole_image_is_compared_without_a_border_and_the_network_is_made_once(seen: list) -> None:
    img = np.full((32, 33, 3), 7, np.uint8)
    assert [perceptual.calculate_lpips(img, img) for _ in range(2)] == [0, 0]
    assert seen[0][1].shape == (1, 3, 32, 33) and perceptual.load.cache_info().misses == 1


@pytest.mark.parametrize('shapes, message', [
    (((39, 60, 3), (39, 60, 3)), 'needs 32 pixels each way inside the border of 4, got an image of 60x39'),
    (((64, 64, 3), (64, 60, 3)), 'compares images of the same size'),
    (((64, 64), (64, 64)), 'expected a colour image')])
def test_unfit_images(shapes: tuple, message: str, seen: list) -> None:
    with pytest.raises(ValueError, match=message):
        perceptual.calculate_dists(*(np.zeros(shape, np.uint8) for shape in shapes), crop_border=4)


# ---------------------------------------------------------------------------------------------- in a run
def options(images: Path, **metrics: dict[str, Any]) -> dict[str, Any]:
    opt = tiny.benchmark(images)
    opt['val'] = {'save_img': False, 'suffix': None, 'metrics': metrics}
    return opt


def test_a_test_run_prints_them(images: Path, tmp_path: Path, run_cli: Callable, seen: list) -> None:
    opt = options(images, lpips={'type': 'calculate_lpips'}, dists={'type': 'calculate_dists', 'crop_border': 0})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    row, = json.loads((tmp_path / 'results/test/table.json').read_text())['rows']
    values = {name: [float((a - b).abs().mean()) for called, a, b in seen if called == name]
              for name in ('lpips', 'dists')}
    assert len(values['lpips']) == 6
    assert all(row[name] == pytest.approx(np.mean(values[name])) for name in values)
    borders = {name: {(96 - a.shape[3]) // 2 for called, a, _ in seen if called == name} for name in values}
    assert borders == {'lpips': {4}, 'dists': {0}}  # the protocol's border, and the option file's


def without_pyiqa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pyiqa', None)


def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_metric(name: str) -> None:
        raise OSError('<urlopen error\n name not known>')
    monkeypatch.setitem(sys.modules, 'pyiqa', types.SimpleNamespace(create_metric=create_metric))
    monkeypatch.setenv('TORCH_HOME', '/home/of/torch')


@pytest.mark.parametrize('spoil, kind, message', [
    (without_pyiqa, 'calculate_lpips', 'val.metrics.x: LPIPS needs pyiqa, which cannot be imported'),
    (without_weights, 'calculate_lpips',
     'LPIPS: pyiqa cannot load its weights (<urlopen error name not known>). It looks for /home/of/torch/hub/'
     'checkpoints/alexnet-owt-7be5be79.pth and /home/of/torch/hub/pyiqa/LPIPS_v0.1_alex-df73285e.pth: copy them'),
    (without_weights, 'calculate_dists', 'vgg16-397923af.pth and /home/of/torch/hub/pyiqa/DISTS_weights-f5e65c96.pth'),
])
@pytest.mark.parametrize('verb', ['train', 'test'])
def test_a_run_that_cannot_measure_does_not_start(verb: str, spoil: Callable, kind: str, message: str, images: Path,
                                                  tmp_path: Path, run_cli: Callable, capfd: pytest.CaptureFixture,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    opt = tiny.teacher(images) if verb == 'train' else tiny.benchmark(images)
    opt['val'] = {**opt['val'], 'metrics': {'x': {'type': kind}}}
    assert run_cli(verb, '-opt', tiny.write(opt, tmp_path)) == 1
    errors = capfd.readouterr().err
    assert message in errors and 'Traceback' not in errors
    assert not (tmp_path / 'experiments').exists() and not (tmp_path / 'results').exists()


def test_a_run_without_them_needs_no_pyiqa(images: Path, tmp_path: Path, run_cli: Callable,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    without_pyiqa(monkeypatch)
    assert run_cli('test', '-opt', tiny.write(tiny.benchmark(images), tmp_path)) == 0


@pytest.mark.parametrize('section, message', [
    ({'type': 'calculate_lpip'}, "did you mean 'calculate_lpips'"),
    ({'type': 'calculate_lpips', 'test_y_channel': True}, "calculate_lpips has no 'test_y_channel'")])
def test_wrong_options(section: dict[str, Any], message: str, images: Path, tmp_path: Path, run_cli: Callable,
                       capfd: pytest.CaptureFixture, seen: list) -> None:
    assert run_cli('test', '-opt', tiny.write(options(images, x=section), tmp_path)) == 1
    assert message in capfd.readouterr().err


def test_basicsr_is_told_that_lower_is_better() -> None:
    metrics = {'niqe': {'type': 'calculate_niqe'}, 'psnr': {'type': 'calculate_psnr'},
               'mine': {'type': 'calculate_niqe', 'better': 'higher'}}
    perceptual.prepare_metrics(metrics)
    assert [section.get('better') for section in metrics.values()] == ['lower', None, 'higher']


# ---------------------------------------------------------------------------------------------- NIQE
def test_niqe_of_a_photograph_is_plausible_and_blur_worsens_it(shared: Path) -> None:
    photograph = cv2.imread(str(sorted((shared / 'data/benchmarks/B100/HR').iterdir())[0]))
    blurry = cv2.GaussianBlur(photograph, (0, 0), 2.4)
    sharp, blurred = (calculate_niqe(image, crop_border=4) for image in (photograph, blurry))
    assert 1.5 < sharp < 6 < blurred
