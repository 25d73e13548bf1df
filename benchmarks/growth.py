"""Time and peak memory of inference as images and batches grow. `python -m benchmarks.growth --help`.

Squares from 64x64 to 2048x2048 one at a time, and batches of 64x64; `--size` and `--batch` choose others. Both time and memory
should grow with the number of pixels. What would need more memory than is free, going by the one before, is left out, the plain
way first.
"""
from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from lightbsr_arch.evaluation import plots
from lightbsr_arch.evaluation.writing import aligned

from . import pairs
from .inference import NETWORKS, make_pair
from .pairs import MIB, WAYS, Pair, Settings

EDGES = (64, 128, 192, 256, 384, 512, 1024, 2048)
BATCHES = (1, 2, 4, 8, 16, 32)
MEASURES = {'wall_seconds': ('ns a pixel', 1e9), 'peak_bytes': ('bytes a pixel', 1.0)}
Row = dict[str, Any]
Case = tuple[tuple[int, int], int]  # LR size and batch


def cases(asked: Settings) -> dict[str, list[Case]]:
    """Growing images, and growing batches."""
    sizes = asked.sizes or [(edge, edge) for edge in ((8, 16) if asked.quick else EDGES)]
    batches = asked.batches or ((1, 2) if asked.quick else BATCHES)
    return {'size': [(size, 1) for size in sizes], 'batch': [(sizes[0], batch) for batch in batches]}


def all_pairs(asked: Settings, rows: list[Row]) -> Iterator[Pair]:
    """Adds to each of `rows`, as soon as it is there, which case it was."""
    for network in NETWORKS:
        for grows, growing in cases(asked).items():
            need = dict.fromkeys(WAYS, 0.0)  # bytes a pixel
            for size, batch in growing:
                pixels, done, pair = size[0] * size[1] * batch, len(rows), make_pair(network, size, batch, asked)
                missing = [way for way in WAYS if need[way] * pixels > free_memory(asked.device)]
                for way in missing:
                    print(f'{pair.name}, {way}, is left out: it would need about {need[way] * pixels / 2**30:.0f} GiB')
                if 'ours' in missing:
                    continue
                yield replace(pair, plain=None) if missing else pair
                for row in rows[done:]:
                    row |= {'network': network, 'grows': grows, 'pixels': pixels}
                    need |= {way: row[f'{way}_peak_bytes'] / pixels for way in WAYS if row[f'{way}_peak_bytes']}


def free_memory(device: torch.device) -> float:
    """Bytes; infinite on a system that does not tell."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    if not sys.platform.startswith('linux'):
        return math.inf
    with open('/proc/meminfo', encoding='ascii') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith('MemAvailable'))


def table(rows: Sequence[Row]) -> str:
    """Time and memory a pixel: the same all the way down, where growth is linear."""
    head = ['', *(f'{way}, {unit}' for unit, _ in MEASURES.values() for way in WAYS)]
    return aligned([head, *([row['name'], *(pairs.text(row[f'{way}_{key}'], factor / row['pixels'])
                                            for key, (_, factor) in MEASURES.items() for way in WAYS)] for row in rows)])


def draw(rows: Sequence[Row], path: str) -> None:
    """Time and memory against pixels, on logarithmic axes: a straight line of slope 1 where growth is linear."""
    plots.load('style')  # of the package's figures
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 6))
    axes = figure.subplots(2, 2)
    for column, grows in zip(axes.T, ('size', 'batch')):
        for axis, (key, label) in zip(column, (('wall_seconds', 'seconds'), ('peak_bytes', 'MiB'))):
            for network in NETWORKS:
                for way, line in zip(WAYS, ('--', '-')):
                    some = [row for row in rows if (row['network'], row['grows']) == (network, grows)]
                    axis.loglog([row['pixels'] for row in some],
                                [(row[f'{way}_{key}'] or math.nan) / (MIB if label == 'MiB' else 1) for row in some],
                                line, marker='.', label=f'{network}, {way}')
            axis.set(xlabel=f'LR pixels ({"images of one size" if grows == "batch" else "one image"})', ylabel=label)
    axes[0, 0].legend()
    figure.savefig(path)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    parser = pairs.parser(__doc__)
    parser.add_argument('--plot', metavar='FILE', help='draw time and memory against pixels (.png, .pdf or .svg)')
    parsed = parser.parse_args(arguments)
    asked, rows = pairs.settings(parsed), []
    report = pairs.run('growth', partial(all_pairs, rows=rows), asked, rows)
    print(f'\n{table(rows)}')
    if parsed.plot:
        draw(rows, parsed.plot)
    return report


if __name__ == '__main__':
    main(sys.argv[1:])
