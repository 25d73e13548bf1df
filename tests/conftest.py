"""Shared fixtures: seeded, small, on the CPU, without network."""
from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

os.environ['CUDA_VISIBLE_DEVICES'] = ''  # of the programs that tests start, too; before torch is imported

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from lightbsr_arch import plugin
from tests import tiny_options as tiny

plugin.register()
torch.set_num_threads(1)  # networks this small lose time to threads

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'
GOLDEN = Path(__file__).parent / 'golden'


@pytest.fixture
def shared() -> Path:
    """The folder of benchmark images and large golden files, which is not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f'needs the images and golden files in {SHARED}, which are not part of the repository')
    return SHARED


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of six smooth colour images of 96 x 80 pixels, two of them in a subfolder."""
    folder = tmp_path / 'images'
    (folder / 'nested').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        image = cv2.resize(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8), (96, 80), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / ('nested' if i > 3 else '') / f'image_{i}.png'), image)
    return folder


@pytest.fixture
def run_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `basicsr ...` in this process and in an empty folder; returns the exit status."""
    from lightbsr_arch import basicsr_compat
    from lightbsr_arch.cli.main import main
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['basicsr'])

    def run(*arguments: Any) -> int:
        try:
            return main([str(a) for a in arguments])
        finally:
            basicsr_compat.reset_logger()
    return run


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]]]:
    """Makes a model as the training loop builds it, and its first batch, already fed."""
    import basicsr.train

    from lightbsr_arch import basicsr_compat

    def build(opt: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(tiny.write(opt, tmp_path))])
        parsed, _ = basicsr.train.parse_options(str(tmp_path))
        for key in ('models', 'training_states'):
            Path(parsed['path'][key]).mkdir(parents=True, exist_ok=True)
        loader = basicsr.train.create_train_val_dataloader(parsed, logging.getLogger('quiet'))[0]
        torch.manual_seed(0)
        model = basicsr.train.build_model(parsed)
        batch = default_collate([loader.dataset[i] for i in range(parsed['datasets']['train']['batch_size_per_gpu'])])
        model.update_learning_rate(1)
        model.feed_data(batch)
        return model, batch
    yield build
    basicsr_compat.reset_logger()
