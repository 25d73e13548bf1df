"""The figures that the papers print, by test set and degradation; `paper_tables.yml` holds them."""
from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any, Mapping, Optional

import yaml

from ..degradations import Degradation, benchmark_degradations

SCALE = 4  # the papers' only scale


@lru_cache(maxsize=1)
def tables() -> dict[str, Any]:
    return yaml.safe_load((files(__package__) / 'paper_tables.yml').read_text())


ABLATIONS = {'channel_gate': True, 'spatial_gate': True, 'correction': True, 'idr_noise': 0}


def method(network: Mapping[str, Any]) -> str:
    """The papers' row for an option file's `network_g`: its type, and none of them for an ablation."""
    ablated = any(network.get(key, full) != full for key, full in ABLATIONS.items())
    return f'{network["type"]}{" (ablation)" * ablated}'


def printed_psnr(method: str, benchmark: str, degradation: Degradation, scale: int) -> Optional[float]:
    """What LightBSR's Table 3 (setting 1) or Table 4 (setting 2) prints, or None where it has no such cell.

    Args:
        method: The row, such as `LightBSR` or `Bicubic`.
        benchmark: Set5, Set14, B100, Urban100.
        degradation: A single blur kernel and noise level.
        scale: The papers have x4 alone.
    """
    if scale != SCALE:
        return None
    if degradation in benchmark_degradations('setting1', SCALE):
        table = tables()['lightbsr_table3_setting1']
        column, row = f'{benchmark}_{degradation.sigma:g}', table['rows'].get(method)
        return row['psnr'][table['columns'].index(column)] if row and column in table['columns'] else None
    cells = benchmark_degradations('setting2', SCALE)
    if benchmark == 'B100' and degradation in cells:
        row = tables()['lightbsr_table4_setting2_b100'][f'noise_{degradation.noise:g}'].get(method)
        return row[cells.index(degradation) % len(row)] if row else None
    return None
