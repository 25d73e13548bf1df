"""`basicsr degrade`: the LR images of a setting as files, for other software."""
from __future__ import annotations

import argparse
import os
from collections import Counter
from typing import TYPE_CHECKING

from .arguments import make_parser

if TYPE_CHECKING:
    from ..data.blind_degradation_dataset import BlindDegradationDataset
    from ..degradations import Degradation

DESCRIPTION = """\
Writes the LR images that `basicsr test` makes of a folder of HR images, pixel for pixel, for use with other software."""
EPILOG = """\
OUTPUT then holds
  HR/...                   the HR images, cut at the bottom and right to a multiple of the scale
  <degradation>/LR/...     the LR images, under the same names, for each degradation
  <degradation>/kernel.npy the blur kernel, (21, 21); with ranges, kernels.npz holds what was drawn for each image:
                           names (N), kernels (N, 21, 21), noise (N), and jpeg (N) where images are compressed

Settings: setting1 (isotropic, widths 1.2, 2.4, 3.6 at x4), setting2 (nine anisotropic kernels x noise 5 and 10),
kdsr_setting2 (the same x noise 0, 10, 20), nine_kernels (those without noise), gaussian8 (eight isotropic kernels).
A degradation is sigma (isotropic), or lambda_1, lambda_2 and theta (anisotropic), or motion and theta (a straight
motion blur); noise and jpeg (the quality of a compression) are optional. Widths are standard deviations in HR pixels,
motion is a length in HR pixels, theta is in degrees, noise in 8-bit units. LOW:HIGH is a range to draw from, for each
image.

  basicsr degrade datasets/benchmarks/Set5/HR Set5_LR
  basicsr degrade datasets/benchmarks/Set5/HR Set5_LR --setting setting2 --scale 2
  basicsr degrade datasets/benchmarks/Set5/HR Set5_LR --degradation sigma=2.4
  basicsr degrade datasets/benchmarks/Set5/HR Set5_LR --degradation theta=30 lambda_1=3.5 lambda_2=1.5 noise=0:25
  basicsr degrade datasets/benchmarks/Set5/HR Set5_LR --degradation motion=15 theta=45 jpeg=40
"""
SETTINGS = ('setting1', 'setting2', 'kdsr_setting2', 'nine_kernels', 'gaussian8')


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    _check_folders(parsed.input, parsed.output, parsed.force)
    from .. import plugin
    plugin.register()
    from ..basicsr_compat import list_some
    from ..data.inspection import inspect
    from ..degradations import benchmark_degradations, parse_degradation
    degradations = (benchmark_degradations(parsed.setting, parsed.scale) if parsed.degradation is None else
                    (parse_degradation(parse_values(parsed.degradation), parsed.scale),))
    datasets = [_dataset(parsed.input, degradation, parsed.scale) for degradation in degradations]
    _check_names(datasets[0].names)
    problems = list(inspect(datasets[0], thorough=True))  # half an OUTPUT is of no use
    if problems:
        raise ValueError(f'{len(problems)} of {len(datasets[0])} images cannot be used: {list_some(problems)}')
    for dataset in datasets:
        _write(dataset, parsed.output)
    folders = '\n'.join(f'  {os.path.join(parsed.output, degradation.label, "LR")}' for degradation in degradations)
    print(f'{len(datasets[0])} HR images:\n  {os.path.join(parsed.output, "HR")}\nand their LR images:\n{folders}')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('degrade', DESCRIPTION, EPILOG)
    parser.add_argument('input', metavar='INPUT', help='folder of HR images, searched with its subfolders')
    parser.add_argument('output', metavar='OUTPUT', help='folder to write')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--setting', choices=SETTINGS, default='setting1',
                      help="a setting's test degradations (default: setting1)")
    what.add_argument('--degradation', nargs='+', metavar='KEY=VALUE', help='a degradation of your own')
    parser.add_argument('--scale', type=int, choices=(2, 3, 4), default=4, help='downsampling factor (default: 4)')
    parser.add_argument('--force', action='store_true', help='write into an OUTPUT that holds files already')
    return parser.parse_args(arguments)


def parse_values(words: list[str]) -> dict[str, float | tuple[float, ...]]:
    """`['sigma=2.4', 'noise=0:25']` -> `{'sigma': 2.4, 'noise': (0.0, 25.0)}`.

    Raises:
        ValueError: a word of another form.
    """
    values: dict[str, float | tuple[float, ...]] = {}
    for word in words:
        key, _, text = word.partition('=')
        try:
            numbers = tuple(map(float, text.split(':')))
        except ValueError:
            raise ValueError('--degradation takes KEY=NUMBER or KEY=LOW:HIGH, such as sigma=2.4 or noise=0:25, got '
                             f'{word!r}') from None
        values[key] = numbers if len(numbers) > 1 else numbers[0]
    return values


def _check_folders(source: str, output: str, force: bool) -> None:
    if not os.path.isdir(source):
        raise ValueError(f'there is no folder {os.path.abspath(source)}')
    places = [os.path.realpath(source), os.path.realpath(output)]
    if os.path.commonpath(places) in places:
        raise ValueError(f'{places[0]} and {places[1]} lie one in the other, where LR images could be taken for HR images '
                         'or overwrite them: choose another OUTPUT')
    if os.path.exists(output) and os.listdir(output) and not force:
        raise ValueError(f'{output} holds files already: choose another OUTPUT, or overwrite files of the same names with '
                         '--force')


def _dataset(source: str, degradation: Degradation, scale: int) -> BlindDegradationDataset:
    from ..data.blind_degradation_dataset import BlindDegradationDataset
    return BlindDegradationDataset({
        'name': degradation.label, 'type': 'BlindDegradationDataset', 'phase': 'test', 'scale': scale,
        'dataroot_gt': source, 'degradation': degradation.section})


def _check_names(names: list[str]) -> None:
    twins = [png for png, num in Counter(map(_png, names)).items() if num > 1]
    if twins:
        raise ValueError(f'several images would become {twins[0]}: rename all but one')


def _png(name: str) -> str:
    return f'{os.path.splitext(name)[0]}.png'


def _write(dataset: BlindDegradationDataset, output: str) -> None:
    """Writes the HR and LR images and the kernels of a degradation."""
    import numpy as np
    from basicsr.utils import imwrite, tensor2img
    from tqdm import tqdm
    folder = os.path.join(output, dataset.degradation.label)
    names = [_png(name) for name in dataset.names]
    kernels, noise, qualities = [], [], []
    for name, sample in zip(names, tqdm(dataset, desc=dataset.degradation.label, unit='image')):
        imwrite(tensor2img(sample['gt']), os.path.join(output, 'HR', name))
        imwrite(tensor2img(sample['lq']), os.path.join(folder, 'LR', name))
        kernels.append(sample['kernel'].numpy())
        noise.append(float(sample['noise']))
        qualities.append(sample.get('jpeg'))
    if dataset.degradation.is_point:
        np.save(os.path.join(folder, 'kernel.npy'), kernels[0])
    else:
        compression = {} if dataset.degradation.jpeg is None else {'jpeg': qualities}
        np.savez(os.path.join(folder, 'kernels.npz'), names=names, kernels=kernels, noise=noise, **compression)
