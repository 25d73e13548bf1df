"""The cost columns that the papers print, and the points of LightBSR's Fig. 1."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ...config import suggest
from ..paper import SCALE, tables
from .counting import count
from .networks import Size

PAPER_SIZES: tuple[Size, ...] = ((256, 256), (180, 320))  # LightBSR's and KDSR's cost columns


@dataclass(frozen=True)
class Printed:
    """A paper's cost columns; None where it has no such figure. ms: On the authors' GPU."""

    params_m: Optional[float] = None
    gflops: Optional[float] = None
    ms: Optional[float] = None


def printed_cost(method: Optional[str], size: Size) -> Printed:
    """LightBSR's Table 3 for 256x256, KDSR's Tables 1 and 3 for 180x320; of other sizes the parameters alone.

    Args:
        method: A preset's name, or another row's, such as DASR.
        size: Of the LR image.
    """
    lightbsr = tables()['lightbsr_table3_setting1']['rows'].get('KDSR' if method == 'KDSR-M' else method, {})
    kdsr = tables()['kdsr_table1_gaussian8'].get(method) or tables()['kdsr_table3_real'].get(method, {})
    row = {PAPER_SIZES[0]: lightbsr, PAPER_SIZES[1]: kdsr}.get(size, {})
    exact = tables()['lightbsr_table4_setting2_b100']['params'].get(method, '').removesuffix('M')  # with two decimals
    params = kdsr.get('params_m') or (float(exact) if exact else lightbsr.get('params_m'))
    return Printed(params, row.get('gflops'), row.get('ms'))


@dataclass(frozen=True)
class Point:
    """Of the paper's Fig. 1. multiply_adds: In G, at 256x256. psnr: In dB. parameters: In millions."""

    label: str
    multiply_adds: float
    psnr: float
    parameters: float
    is_ours: bool


def printed_points(cell: str) -> list[Point]:
    """The methods of LightBSR's Table 3 that have a cost.

    Args:
        cell: Test set and blur width, such as Set5_2.4.

    Raises:
        ValueError: the table has no such cell.
    """
    table = tables()['lightbsr_table3_setting1']
    if cell not in table['columns']:
        raise ValueError(f'there is no cell {cell!r} in LightBSR\'s Table 3{suggest(cell, table["columns"])}')
    column = table['columns'].index(cell)
    return [Point(name, row['gflops'], row['psnr'][column], row['params_m'], False)
            for name, row in table['rows'].items() if 'gflops' in row]


def measured_point(label: str, results: Mapping[str, Any], cell: str) -> Point:
    """Of a test's `table.json`: PSNR from it, the cost counted.

    Raises:
        ValueError: it was not tested on that cell, or not at x4.
    """
    dataset, sigma = cell.split('_')
    psnr = [row['psnr'] for row in results['rows']
            if (row['dataset'], row['degradation']) == (dataset, f'sigma{sigma}') and row.get('psnr') is not None]
    if not psnr or results['scale'] != SCALE:
        tested = ', '.join(f'{row["dataset"]} {row["degradation"]}' for row in results['rows'])
        raise ValueError(f'{label}: no PSNR of {dataset} sigma{sigma} at x{SCALE}, only {tested} at '
                         f'x{results["scale"]}: choose another --cell, or test on setting1')
    cost = count(results['network'], PAPER_SIZES[0])
    return Point(label, cost.multiply_adds / 1e9, psnr[0], cost.parameters / 1e6, True)
