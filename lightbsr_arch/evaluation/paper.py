"""The figures that the papers print, by test set and degradation; `paper_tables.yml` holds them."""
from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any, Mapping, Optional, Sequence

import yaml

from ..degradations import Degradation, benchmark_degradations

SCALE = 4  # the papers' only scale


@lru_cache(maxsize=1)
def tables() -> dict[str, Any]:
    return yaml.safe_load((files(__package__) / 'paper_tables.yml').read_text())


NUM_IMAGES = {'Set5': 5, 'Set14': 14, 'B100': 100, 'Urban100': 100, 'Manga109': 109, 'AIM2019': 100, 'NTIRE2020': 100}
ABLATIONS = {'channel_gate': True, 'spatial_gate': True, 'correction': True, 'idr_noise': 0, 'dynamic': True,
             'contrastive': True, 'oracle': False}
KEYS_OF_SIZE = {'LightBSR': {'num_feat': 64, 'num_group': 8, 'num_block': 8},  # and their defaults
                'KDSR': {'num_feat': 64, 'num_block': 53, 'num_estimator_block': 9},
                'RCAN': {'num_feat': 64, 'num_group': 10, 'num_block': 16}}
SIZES = {'LightBSR': {(64, 8, 8): 'LightBSR'}, 'RCAN': {(64, 10, 20): 'RCAN'},  # the papers'
         'KDSR': {(64, 53, 9): 'KDSR-M', (128, 28, 5): 'KDSR-L', (128, 42, 6): 'KDSR-GAN'}}


def method(network: Mapping[str, Any]) -> Optional[str]:
    """The papers' name for an option file's `network_g`; None for an ablation, and for a KDSR of a size that they do not
    have. A LightBSR or RCAN of any size is theirs; `departures` says if it is of another.
    """
    if any(network.get(key, full) != full for key, full in ABLATIONS.items()) or network.get('prior_dim') == 0:
        return None
    return SIZES['KDSR'].get(tuple(_size(network).values())) if network['type'] == 'KDSR' else network['type']


def _size(network: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a LightBSR, KDSR (teacher or student) or RCAN large or small; nothing for others."""
    keys = KEYS_OF_SIZE.get(network['type'].removesuffix('Teacher'), {})
    return {key: network.get(key, default) for key, default in keys.items()}


def departures(results: Mapping[str, Any], test_sets: Sequence[str], has_counterpart: bool = True) -> list[str]:
    """A sentence for each way in which a test differs from the papers', so that figures are not like for like.

    Args:
        results: A parsed `table.json`.
        test_sets: Those of interest.
        has_counterpart: Whether the papers have the network, so that its size should be theirs.
    """
    size, found = _size(results['network']), []
    if has_counterpart and size and tuple(size.values()) not in SIZES[results['network']['type'].removesuffix('Teacher')]:
        arguments = ', '.join(f'{key} {value}' for key, value in size.items())
        found.append(f'the network is of another size than the paper\'s ({arguments}).')
    for key in ('psnr', 'ssim'):
        given = (results.get('metrics') or {}).get(key)
        if given and (given.get('crop_border'), given.get('test_y_channel', False)) != (results['scale'], True):
            found.append(f'{key.upper()} is not measured on Y with {results["scale"]} pixels cut at each border, as the '
                         'papers\' is.')
    for name in test_sets:
        row = next((row for row in results['rows'] if row['dataset'] == name and row.get('num_images')), {})
        if row and row['num_images'] != NUM_IMAGES.get(name, row['num_images']):
            found.append(f'{name}: {row["num_images"]} of the {NUM_IMAGES[name]} images that the papers have were tested.')
        if row.get('center_crop'):
            found.append(f'{name}: only the middle of each image was tested, {row["center_crop"]} pixels wide.')
    return found


def printed_psnr(method: Optional[str], benchmark: str, degradation: Degradation, scale: int) -> Optional[float]:
    """What LightBSR's Table 3 (setting 1) or Table 4 (setting 2) prints, or None where it has no such cell.

    Args:
        method: The row, such as `LightBSR` or `Bicubic`; KDSR-M is the one that LightBSR's paper calls KDSR.
        benchmark: Set5, Set14, B100, Urban100.
        degradation: A single blur kernel and noise level.
        scale: The papers have x4 alone.
    """
    if scale != SCALE or method is None:
        return None
    method = 'KDSR' if method == 'KDSR-M' else method
    if degradation in benchmark_degradations('setting1', SCALE):
        table = tables()['lightbsr_table3_setting1']
        column, row = f'{benchmark}_{degradation.sigma:g}', table['rows'].get(method)
        return row['psnr'][table['columns'].index(column)] if row and column in table['columns'] else None
    cells = benchmark_degradations('setting2', SCALE)
    if benchmark == 'B100' and degradation in cells:
        row = tables()['lightbsr_table4_setting2_b100'][f'noise_{degradation.noise:g}'].get(method)
        return row[cells.index(degradation) % len(row)] if row else None
    return None


def printed_average(method: Optional[str], benchmark: str, degradations: Sequence[Degradation],
                    scale: int) -> Optional[float]:
    """What KDSR's Table 1 prints as the mean PSNR over Gaussian8, or None where it has no such cell.

    Its bicubic row, taken over from earlier papers with another LR generation, is left out.
    """
    names = {'Set5': 0, 'Set14': 1, 'B100': 2, 'Urban100': 3, 'Manga109': 4}
    if scale != SCALE or method == 'Bicubic' or tuple(degradations) != benchmark_degradations('gaussian8', SCALE):
        return None
    row = tables()['kdsr_table1_gaussian8'].get(method)
    return row['psnr'][names[benchmark]] if row and benchmark in names else None


def printed_real_psnr(method: Optional[str], benchmark: str, scale: int) -> Optional[float]:
    """What KDSR's Table 3 prints for AIM2019 or NTIRE2020, or None where it has no such cell."""
    row = tables()['kdsr_table3_real'].get(method, {}) if scale == SCALE else {}
    return row[benchmark.lower()][1] if benchmark.lower() in row else None
