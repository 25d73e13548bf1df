"""`basicsr idr --swap`: does the SR network use its IDR? PSNR with the IDR of something else in its place."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from torch import Tensor
from tqdm import tqdm

from ..degradations import Degradation
from . import plots
from .idr_analysis import facts
from .idr_report import Table, write
from .idr_samples import BATCH, IDROptions, represent
from .networks import Method, Sample, batched
from .writing import slug

COLUMNS = {'own IDR (dB)': '', 'other degradation': '', 'other image': '', 'mean IDR': '', 'error IDR': ''}
NOTES = """\
PSNR on Y with the image's own IDR, and what it changes by, in dB, with another one: of the same image under the grid's
other degradations (averaged); of the next image under the same degradation; the mean over the grid's images and
degradations; its own with noise U[0, 1) in the estimator's output (the paper's "error IDR")."""


@dataclass(frozen=True)
class Swap:
    """Mean PSNR on Y in dB of one method under K degradations.

    matrix: (K, K), row: the LR images' degradation, column: whose IDR they are given. Others: (K,).
    """

    matrix: np.ndarray
    other_image: np.ndarray
    mean_idr: np.ndarray
    error_idr: np.ndarray

    @property
    def changes(self) -> list[np.ndarray]:
        """In the order of the table's columns: PSNR with the own IDR, and differences from it, (K,) each."""
        own, num = self.matrix.diagonal(), len(self.matrix)
        other_degradation = (self.matrix.sum(1) - own) / (num - 1)
        return [own, *(psnr - own for psnr in (other_degradation, self.other_image, self.mean_idr, self.error_idr))]


def run(options: IDROptions, methods: Sequence[Method]) -> str:
    """Swaps the IDRs of methods; writes tables and figures into ./results/<name>.

    Returns:
        The tables as markdown.

    Raises:
        ValueError: as for the analysis.
    """
    draws, tables, matrices = plots.load('idr'), [], {}
    for name, grid in options.grids.items():
        samples = [list(options.degraded(d)) for d in grid]
        swaps = {m.label: swap(m, samples, options.scale) for m in tqdm(methods, desc=name, unit='method')}
        tables.append(_table(name, grid, swaps))
        matrices[name] = {label: found.matrix.tolist() for label, found in swaps.items()}
        draws.swaps({label: found.matrix for label, found in swaps.items()}, grid,
                    os.path.join(options.folder, slug('swap', name)))
    tables[-1] = replace(tables[-1], notes=NOTES)
    return write(options, 'idr_swap', tables, facts(options, methods) | {'matrices': matrices})


def _table(name: str, grid: Sequence[Degradation], swaps: Mapping[str, Swap]) -> Table:
    rows = []
    for method, found in swaps.items():
        columns = {degradation.label: [column[i] for column in found.changes] for i, degradation in enumerate(grid)}
        columns['average'] = [column.mean() for column in found.changes]
        rows += [((method, label), dict(zip(COLUMNS, map(float, values)))) for label, values in columns.items()]
    return Table(f'IDR swap, {name}', ('method', 'degradation'), COLUMNS, rows)


@torch.no_grad()
def swap(method: Method, samples: Sequence[Sequence[Sample]], scale: int) -> Swap:
    """All swaps of a method.

    Args:
        samples: For each of K degradations the same images, of one size.
    """
    own = [all_idrs(method, row) for row in samples]
    following = [_map(lambda member: member.roll(-1, 0), idr) for idr in own]
    mean = _map(lambda *members: torch.cat(members).mean(0, keepdim=True).expand_as(members[0]), *own)
    wrong = [error_idrs(method, row) for row in samples]
    others = ([psnr(method, row, idr, scale) for row, idr in zip(samples, idrs)]
              for idrs in (following, [mean] * len(own), wrong))
    matrix = [[psnr(method, row, idr, scale) for idr in own] for row in samples]
    return Swap(np.array(matrix), *map(np.array, others))


def psnr(method: Method, samples: Sequence[Sample], idr: NamedTuple, scale: int) -> float:
    """The mean over images that are super-resolved with given IDRs, one each."""
    values = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start:start + BATCH]
        sr = method.network.super_resolve(batched(method.network, batch, 'lq'), _map(lambda member: member[start:start + BATCH], idr))
        pairs = [(tensor2img([image]), tensor2img([sample['gt']])) for image, sample in zip(sr, batch)]
        values += [calculate_psnr(*pair, crop_border=scale, test_y_channel=True) for pair in pairs]
    return float(np.mean(values))


def all_idrs(method: Method, samples: Sequence[Sample]) -> NamedTuple:
    """The IDR of all samples, of one size."""
    return _map(lambda *members: torch.cat(members), *represent(method, samples))


def error_idrs(method: Method, samples: Sequence[Sample]) -> NamedTuple:
    """IDRs from a wrong estimate: LightBSR's with noise U[0, 1) added before the converter, KDSR's D with the same."""
    net = method.network
    if not hasattr(net, 'idr_noise'):
        idr, generator = all_idrs(method, samples), torch.Generator().manual_seed(0)
        return idr._replace(guide=idr.guide + torch.rand(idr.guide.shape[1], generator=generator).to(idr.guide))
    kept, net.idr_noise = net.idr_noise, 1.0
    try:
        return all_idrs(method, samples)
    finally:
        net.idr_noise = kept


def _map(function: Callable[..., Tensor], *idrs: NamedTuple) -> NamedTuple:
    """An IDR whose members are a function of those of IDRs; one that was not built stays None."""
    return type(idrs[0])(*(None if members[0] is None else function(*members) for members in zip(*idrs)))
