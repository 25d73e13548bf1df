"""What a network costs: parameters, multiply-adds, activations, latency, peak memory; and what the papers print."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from .counting import Cost, count
from .latency import Timing, describe, in_fresh_process, measure
from .networks import PRESETS, Section, Size, build, complete, preset_name
from .printed import PAPER_SIZES, Point, Printed, measured_point, printed_cost, printed_points

__all__ = ['PAPER_SIZES', 'PRESETS', 'Cost', 'Point', 'Printed', 'Row', 'Section', 'Size', 'Timing', 'build', 'complete',
           'count', 'describe', 'in_fresh_process', 'measure', 'measured_point', 'preset_name', 'printed_cost',
           'printed_points']
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """A network at a size. timing: None if it was not measured."""

    label: str
    size: Size
    cost: Cost
    timing: Optional[Timing]
    printed: Printed

    @property
    def values(self) -> dict[str, Any]:
        """What `.csv` and `.json` hold: all digits, units in the names."""
        timing = self.timing
        return {
            'network': self.label, 'height': self.size[0], 'width': self.size[1], 'parameters': self.cost.parameters,
            'trainable_parameters': self.cost.trainable, 'multiply_adds': self.cost.multiply_adds,
            'activations': self.cost.activations,
            'latency_ms': timing and timing.median, 'latency_lower_quartile_ms': timing and timing.lower,
            'latency_upper_quartile_ms': timing and timing.upper, 'peak_memory_bytes': timing and timing.memory,
            'paper_params_m': self.printed.params_m, 'paper_gflops': self.printed.gflops, 'paper_ms': self.printed.ms}

    @property
    def cells(self) -> dict[str, str]:
        """What markdown shows; a dash for what was not measured, nothing for what is not printed."""
        cost, timing, printed = self.cost, self.timing, self.printed
        frozen = f' ({cost.trainable / 1e6:.3f} trainable)' if cost.trainable != cost.parameters else ''
        return {
            'network': self.label, 'LR size': '{}x{}'.format(*self.size),
            'parameters (M)': f'{cost.parameters / 1e6:.3f}{frozen}', 'paper (M)': _text(printed.params_m),
            'multiply-adds (G)': f'{cost.multiply_adds / 1e9:.2f}', 'paper (G)': _text(printed.gflops),
            'activations (M)': f'{cost.activations / 1e6:.1f}',
            'latency (ms)': f'{timing.median:.1f} ({timing.lower:.1f} to {timing.upper:.1f})' if timing else '–',
            'paper (ms)': _text(printed.ms),
            'memory (MiB)': f'{timing.memory / MIB:.0f}' if timing and timing.memory is not None else '–'}


def _text(value: Optional[float]) -> str:
    return '' if value is None else f'{value:.2f}'
