"""The weights that ship with the package."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage import data, metrics
from skimage.transform import rescale

from lightbsr_arch import checkpoints
from lightbsr_arch.cli import table
from lightbsr_arch.inference import Upscaler, bundled


@pytest.mark.parametrize('name', bundled.MODELS.values())
def test_bundled_weights_name_their_network(name: str) -> None:
    arch, kwargs, state_dict = checkpoints.load(bundled.path(name))
    assert (arch, kwargs['scale']) == ('LightBSR', 4) and all(value.isfinite().all() for value in state_dict.values())


@pytest.mark.parametrize('kind, noise', [('clean', 0), ('noisy', 10)])
def test_bundled_weights_beat_bicubic_interpolation(kind: str, noise: float) -> None:
    """On a photograph that none of them has seen, blurred, made smaller, and for the noisy one with noise."""
    gt = data.chelsea()[:288, :384]
    lq = 255 * rescale(gt / 255, 1 / 4, channel_axis=2, anti_aliasing=True)
    lq = np.rint(lq + np.random.default_rng(0).normal(0, noise, lq.shape)).clip(0, 255).astype(np.uint8)
    ours, bicubic = (metrics.peak_signal_noise_ratio(gt, Upscaler(weights)(lq)) for weights in (bundled.MODELS[kind], 'Bicubic'))
    assert ours > bicubic + 0.3


@pytest.mark.parametrize('name', bundled.MODELS.values())
def test_bundled_weights_go_by_their_name_in_all_verbs(name: str, images: Path, run_cli: Callable,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert bundled.find(name.lower()) == bundled.path(name) and bundled.find('net_g.pth') == 'net_g.pth'
    assert run_cli('complexity', name, '--no-latency', '--size', '8x8') == 0 and f'| {name}' in capsys.readouterr().out
    assert run_cli('compare', name, '--gt', images, '--degradation', 'sigma=2', '--images', 'image_0', '--size', '20') == 0
    assert name in capsys.readouterr().out
    assert table.find(name)[1].label == name
