"""The weights that ship with the package."""
from __future__ import annotations

import numpy as np
import pytest
from skimage import data, metrics
from skimage.transform import rescale

from lightbsr_arch import checkpoints
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
