"""`basicsr demo`: the whole way on photographs that come with scikit-image and scikit-learn."""
from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .arguments import make_parser

TRAIN_PHOTOGRAPHS = ('skimage/data/astronaut.png', 'skimage/data/coffee.png', 'skimage/data/motorcycle_left.png',
                     'skimage/data/camera.png', 'sklearn/datasets/images/china.jpg')
TEST_PHOTOGRAPHS = ('skimage/data/chelsea.png', 'skimage/data/rocket.jpg', 'sklearn/datasets/images/flower.jpg')
METHODS = {'lightbsr': 'LightBSR', 'kdsr': 'KDSR'}
SHOWN = 'chelsea', 'sigma2.4', (110, 60, 270, 220)  # photograph, degradation, region
DESCRIPTION = """\
Trains a small LightBSR (or KDSR) teacher and student on five photographs and tests the student and bicubic interpolation
on three others, in about five minutes on two CPU cores. Fails if the student is not better than bicubic.

Everything lands in one folder, ./demo/lightbsr: photographs, option files, weights, tables, and picture.png. Option
files that are there already are kept. To go on with your own images, follow the lines that it prints at the end.
"""


def run(arguments: list[str]) -> int:
    parser = make_parser('demo', DESCRIPTION)
    parser.add_argument('--method', choices=METHODS, default='lightbsr', help='default: lightbsr')
    parser.add_argument('--folder', default='demo', help='where to make the folder of the method (default: ./demo)')
    parsed = parser.parse_args(arguments)
    folder = Path(parsed.folder).absolute() / parsed.method
    (folder / 'options').mkdir(parents=True, exist_ok=True)
    for path in option_files(parsed.method).glob('*.yml'):
        if not (folder / 'options' / path.name).exists():
            shutil.copy(path, folder / 'options')
    previous = os.getcwd()
    os.chdir(folder)
    try:
        prepare_photographs()
        train_and_test()
        return report(folder, METHODS[parsed.method])
    finally:
        os.chdir(previous)


def option_files(method: str) -> Path:
    """A method's option files: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(p for p in (root / 'options/demo' / method for root in (package, package.parent)) if p.is_dir())


def prepare_photographs() -> None:
    """Collects the photographs, and cuts those for training into an LMDB folder."""
    from . import prepare
    for kind, names in (('train', TRAIN_PHOTOGRAPHS), ('test', TEST_PHOTOGRAPHS)):
        Path('photographs', kind).mkdir(parents=True, exist_ok=True)
        for name in names:
            package, _, path = name.partition('/')
            shutil.copy(Path(find_spec(package).origin).parent / path, Path('photographs', kind))
    shutil.rmtree('photographs/train.lmdb', ignore_errors=True)
    if prepare.run(['photographs/train', 'photographs/train.lmdb', '--size', '160', '--step', '120']):
        raise ValueError('the photographs could not be prepared')


def train_and_test() -> None:
    from .. import basicsr_compat, plugin
    from . import test, train
    plugin.register()
    basicsr_compat.show_progress()
    for verb, name in ((train, 'train_teacher'), (train, 'train_student'), (test, 'test_bicubic'),
                       (test, 'test_student')):
        print(f'\n== basicsr {verb.__name__.rpartition(".")[2]} -opt options/{name}.yml', flush=True)
        try:
            verb.run(['-opt', f'options/{name}.yml'])
        finally:
            basicsr_compat.reset_logger()


def report(folder: Path, title: str) -> int:
    """Draws the picture, prints the gain; 0 if the student is better than bicubic under each degradation."""
    bicubic, student = ({(row['dataset'], row['degradation']): row['psnr'] for row in
                         json.loads(Path(f'results/test_{name}/table.json').read_text())['rows']}
                        for name in ('bicubic', 'student'))
    picture(title).save('picture.png')
    gains = {degradation: psnr - bicubic[dataset, degradation] for (dataset, degradation), psnr in student.items()}
    print('\nThe student against bicubic, on photographs that neither has seen:')
    for degradation, gain in gains.items():
        print(f'  {degradation}: {gain:+.2f} dB')
    print(f'\nPicture: {folder / "picture.png"}\n'
          f'To go on with your own images, in {folder}:\n'
          '  basicsr prepare MY_IMAGES my_images.lmdb --size 160 --step 120\n'
          '  set dataroot_gt: my_images.lmdb in options/train_teacher.yml and options/train_student.yml\n'
          '  basicsr train -opt options/train_teacher.yml\n'
          '  basicsr train -opt options/train_student.yml\n'
          '  basicsr test -opt options/test_student.yml')
    if min(gains.values()) <= 0:
        print('basicsr demo: error: the student is not better than bicubic', file=sys.stderr)
        return 1
    return 0


def picture(title: str) -> Image.Image:
    """LR, bicubic, student and HR of one photograph."""
    from ..data.blind_degradation_dataset import BlindDegradationDataset
    from ..evaluation.picture import side_by_side
    name, degradation, box = SHOWN
    dataset = BlindDegradationDataset({
        'name': 'picture', 'type': 'BlindDegradationDataset', 'phase': 'test', 'scale': 4,
        'dataroot_gt': 'photographs/test', 'degradation': {'sigma': float(degradation.removeprefix('sigma'))}})
    sample = next(s for s in dataset if Path(s['gt_path']).stem == name)
    lq, gt = (np.ascontiguousarray((sample[k] * 255).round().byte().permute(1, 2, 0)) for k in ('lq', 'gt'))
    results = {caption: cv2.imread(f'results/{run}/visualization/photographs_{degradation}/{name}_{run}.png')[..., ::-1]
               for caption, run in (('bicubic', 'test_bicubic'), (f'{title} (demo)', 'test_student'))}
    return side_by_side({f'LR, {degradation}': lq, **results, 'HR': gt}, box)
