"""Every option file is read and rehearsed as a run would, at full size, on small data in place of its folders."""
from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import basicsr.train
import cv2
import lmdb
import numpy as np
import pytest
from basicsr.archs import build_network

from lightbsr_arch import basicsr_compat, checkpoints, option_files
from lightbsr_arch.cli.pipeline import check_outline

Options = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[1] / 'options'
NUM_IMAGES, SIZE = 64, 288  # a full batch of the largest crop


@lru_cache
def read(path: Path) -> Options:
    return option_files.read(path)


FILES = sorted(path for path in FOLDER.rglob('*.yml') if 'model_type' in read(path))  # the others are not BasicSR's


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `images`, and the same images in `images.lmdb`."""
    folder = tmp_path_factory.mktemp('data')
    (folder / 'images').mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    content = cv2.imencode('.png', cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))[1].tobytes()
    names = [f'image_{i}' for i in range(NUM_IMAGES)]
    with lmdb.open(str(folder / 'images.lmdb'), map_size=2**26) as environment, environment.begin(write=True) as write:
        for name in names:
            (folder / f'images/{name}.png').write_bytes(content)
            write.put(name.encode(), content)
    (folder / 'images.lmdb/meta_info.txt').write_text(''.join(f'{name}.png ({SIZE},{SIZE},3) 1\n' for name in names))
    return folder


def data_folders(opt: Options) -> Iterator[str]:
    """Of the data sets, relative to the current folder."""
    for section in opt['datasets'].values():
        named = [*section.get('benchmarks', {}).values(), section.get('dataroot_gt'), section.get('dataroot_lq')]
        yield from (os.path.join(opt.get('data_root', ''), folder) for folder in named if folder)


def make_weights(opt: Options) -> None:
    """Random weights for the files under `path:`, of the network that the option file of that experiment trains; those
    of BasicSR's model zoo fit the file itself.
    """
    trainings = {(path.parent, read(path)['name']): read(path) for path in FILES if 'train' in read(path)}
    for key, path in opt['path'].items():
        if not key.startswith('pretrain_network_') or path is None:
            continue
        if path.startswith('experiments/pretrained_models/'):
            Path(path).parent.mkdir(parents=True)
            checkpoints.write({'params': build_network(opt['network_g']).state_dict()}, path)
            continue
        source = trainings.get((opt['file'].parent, Path(path).parts[1]))
        assert source, f'{opt["file"]}: path.{key}: no option file beside it trains {path}'
        Path(path).parent.mkdir(parents=True)
        weights = build_network(source['network_g']).state_dict()
        if 'pca_basis' in weights:
            weights['pca_basis'].fill_(1)
        with_average = {'params_ema': weights} if source['train'].get('ema_decay') else {}
        notes = {'network': source['network_g'], 'degradation': source['datasets']['train'].get('degradation', 'real-world')}
        checkpoints.write({'params': weights, **with_average, **notes}, path)


@pytest.mark.filterwarnings('ignore:This DataLoader will create')  # more workers than this machine has cores
@pytest.mark.filterwarnings('ignore:torch.meshgrid')  # SwinIR's
@pytest.mark.parametrize('path', FILES, ids=[str(path.relative_to(FOLDER)) for path in FILES])
def test_an_option_file_can_be_run(path: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_train = 'train' in read(path)
    monkeypatch.chdir(tmp_path)
    for folder in data_folders(read(path)):
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        Path(folder).symlink_to(data / ('images.lmdb' if folder.endswith('.lmdb') else 'images'))
    make_weights(read(path) | {'file': path})
    check_outline(str(path), 'train' if is_train else 'test')
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(path)])
    opt, _ = basicsr.train.parse_options(str(tmp_path), is_train)
    opt.get('train', {}).pop('perceptual_opt', None)  # its weights of VGG19 would be downloaded
    basicsr_compat.rehearse(opt)
    psnr = opt['val']['metrics']['psnr']
    assert (psnr['crop_border'], psnr['test_y_channel']) == (opt['scale'], True)  # the papers' protocol
    shutil.rmtree('experiments', ignore_errors=True)  # up to 170 MB, which pytest would keep


def test_names_do_not_collide() -> None:
    """Runs of two option files in a folder must not share theirs, and a file is found by its run's name."""
    for folder in {path.parent for path in FILES}:
        names = [read(path)['name'] for path in FILES if path.parent == folder]
        assert len(set(names)) == len(names)
    assert [path for path in FOLDER.glob('*.yml') if read(path)['name'] != path.stem] == []
