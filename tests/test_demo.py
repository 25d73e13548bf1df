"""The demo with trainings of a few steps: it goes the whole way, and fails where the student is no better than bicubic."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

import basicsr.test
import basicsr.train
import pytest
import yaml
from PIL import Image

from lightbsr_arch.cli import demo


@pytest.fixture(params=demo.METHODS)
def short_options(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A method's option files in the demo's folder, edited to train two steps a stage."""
    folder = tmp_path / 'demo' / request.param / 'options'
    shutil.copytree(demo.option_files(request.param), folder)
    for path in folder.glob('train_*.yml'):
        opt = yaml.safe_load(path.read_text())
        opt['train']['stages'] = [stage | {'iterations': 2, 'warmup': 0, 'lr': 1e-5} for stage in opt['train']['stages']]
        opt['datasets']['train'] |= {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0, 'persistent_workers': False}
        path.write_text(yaml.safe_dump(opt))
    return folder


def test_demo_ends_with_table_picture_and_verdict(short_options: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                  monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    for module, name in ((basicsr.train, 'MessageLogger'), (basicsr.train, 'get_root_logger'), (basicsr.test, 'get_root_logger')):
        monkeypatch.setattr(module, name, getattr(module, name))  # what the demo replaces is put back
    before = {path.name: path.read_text() for path in short_options.iterdir()}
    assert run_cli('demo', '--method', short_options.parent.name) == 1
    output = capfd.readouterr()
    assert 'the student is not better than bicubic' in output.err
    assert '| photographs | sigma2.4    |' in output.out and 'basicsr prepare MY_IMAGES' in output.out
    assert Image.open(short_options.parent / 'picture.png').size == (4 * 320, 320 + 18)
    assert {path.name: path.read_text() for path in short_options.iterdir()} == before  # edited files are kept


@pytest.mark.parametrize('method', demo.METHODS)
def test_own_images_are_named_where_the_demo_says(method: str) -> None:
    for name in ('train_teacher.yml', 'train_student.yml'):
        assert yaml.safe_load((demo.option_files(method) / name).read_text())['datasets']['train']['dataroot_gt'].endswith('.lmdb')
