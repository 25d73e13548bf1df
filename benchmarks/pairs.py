"""Two ways of doing the same thing, checked against each other and timed in turn: what the benchmarks share.

On a CPU each way has a process of its own, as two programs would: the memory that one of them keeps, gives back and takes
anew, page by page, would slow down or speed up the other.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from lightbsr_arch import allocator
from lightbsr_arch.evaluation.writing import aligned

WAYS, CLOCKS = ('plain', 'ours'), ('wall', 'cpu')
DTYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
MIB = 2**20
TURN = 1.0  # seconds at least, so that what the other way left in the caches does not count
Work = Callable[[], Any]
Measure = Callable[[Work, torch.device], Any]
Ask = Callable[[Measure], Any]  # has the work of a way measured, here or in another process


@dataclass(frozen=True)
class Pair:
    """Two ways of doing the same.

    plain, ours: Do it once. Without `plain`, which has no room in memory, ours is timed alone and compared with nothing.
    disagreement: Does it in both ways and says by how much they differ, as a share of the plain results.
    tolerance: How much they may.
    num_image: Images that are done at once.
    multiply_adds: Counts those of each way; left out where they are beside the point.
    """

    name: str
    plain: Optional[Work]
    ours: Work
    disagreement: Callable[[], float]
    tolerance: float
    num_image: int
    multiply_adds: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True)
class Settings:
    """What all benchmarks are asked; None stands for the benchmark's own choice.

    dtype: Precision of our way; the plain way has float32.
    compile: Mode of torch.compile for our way.
    quick: Tiny networks, both ways in this process, to see that a benchmark runs.
    """

    device: torch.device
    dtype: torch.dtype
    compile: Optional[str]
    repeats: int
    quick: bool
    sizes: Optional[list[tuple[int, int]]]
    batches: Optional[list[int]]
    only: str
    json: Optional[str]

    def tolerance(self, exact: float, half: float) -> float:
        """In float32, and in half precision."""
        return exact if self.dtype == torch.float32 else half


# --------------------------------------------------------------------------------------------------- the command line
def parser(description: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=description)
    options.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    options.add_argument('--threads', type=int, metavar='N', help="CPU threads (default: torch's)")
    options.add_argument('--dtype', choices=DTYPES, default='fp32', help='precision of our way (default: fp32)')
    options.add_argument('--compile', nargs='?', const='default', metavar='MODE',
                         help='compile our way; reduce-overhead brings CUDA graphs')
    options.add_argument('--repeats', type=int, default=7, metavar='N', help='timed rounds of each pair (default: 7)')
    options.add_argument('--size', type=_size, action='append', metavar='HxW', help='LR size; may be repeated')
    options.add_argument('--batch', type=int, action='append', metavar='N', help='batch size; may be repeated')
    options.add_argument('--only', default='', metavar='TEXT', help='pairs whose name contains this text')
    options.add_argument('--quick', action='store_true', help='tiny networks, once: does it run?')
    options.add_argument('--json', metavar='FILE', help='also write the figures, all digits, to FILE')
    return options


def _size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split('x'))
    return height, width


def settings(parsed: argparse.Namespace) -> Settings:
    """What was asked for; sets torch's threads."""
    if parsed.threads:
        torch.set_num_threads(parsed.threads)
    device = torch.device(parsed.device)
    if device.type == 'cuda':
        torch.cuda.set_device(device)  # whose stream the events stand in
    return Settings(device, DTYPES[parsed.dtype], parsed.compile, 1 if parsed.quick else parsed.repeats,
                    parsed.quick, parsed.size, parsed.batch, parsed.only, parsed.json)


# ---------------------------------------------------------------------------------------------------------- measuring
def run(script: str, make_pairs: Callable[[Settings], Iterator[Pair]], asked: Settings,
        rows: Optional[list[dict[str, Any]]] = None) -> dict[str, Any]:
    """Measures pair after pair, prints a table, writes JSON (after each, so that an end loses none); returns what it holds.

    Args:
        make_pairs: Also called in the plain way's process, which gets a copy of it.
        rows: Where the figures of each pair are put as soon as they are there, for those who want them before the next.

    Raises:
        ValueError: the two ways of a pair disagree.
    """
    allocator.keep_freed_memory()
    rates = {'plain': matmul_rate(asked, torch.float32), 'ours': matmul_rate(asked, asked.dtype)}
    rows = [] if rows is None else rows
    report = {'script': script, **surroundings(asked), 'matmul_multiply_adds_per_s': rates, 'rows': rows}
    with plain_ways(make_pairs, asked) as plain_way:
        for pair in make_pairs(asked):
            if asked.only in pair.name:
                rows.append(measure(pair, asked, rates, plain_way(pair)))
                _write(report, asked)
                print(f'{pair.name}: {text(rows[-1]["wall_ratio"], 1, "x", 2)}', file=sys.stderr, flush=True)
    print(f'\n{table(rows)}\n\n{remark(report)}')
    _write(report, asked)
    return report


@contextlib.contextmanager
def plain_ways(make_pairs: Callable[[Settings], Iterator[Pair]], asked: Settings) -> Iterator[Callable[[Pair], Ask]]:
    """Who has the plain way of a pair measured: a process that makes the same pairs, or on CUDA and if quick, this one."""
    if asked.quick or asked.device.type != 'cpu':
        yield lambda pair: here(pair.plain, asked)
        return
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    context.Process(target=_serve, args=(make_pairs, asked, torch.get_num_threads(), theirs), daemon=True).start()
    theirs.close()

    def plain_way(pair: Pair) -> Ask:
        def ask(measure: Measure) -> Any:
            try:
                ours.send((pair.name, measure))
                return ours.recv()
            except (EOFError, ConnectionError):
                raise RuntimeError(f'{pair.name}: the process of the plain way has ended, see its message above') from None
        return ask
    with ours:
        yield plain_way


def here(work: Work, asked: Settings) -> Ask:
    """Measures in this process."""
    return lambda measure: measure(work, asked.device)


def _serve(make_pairs: Callable[[Settings], Iterator[Pair]], asked: Settings, num_threads: int, pipe: Any) -> None:
    """Answers until nobody asks any more; the pairs are asked for in their order, some not at all."""
    torch.set_num_threads(num_threads)
    pairs = make_pairs(asked)
    pair = next(pairs)
    with contextlib.suppress(EOFError):
        while True:
            name, measure = pipe.recv()
            while pair.name != name:
                pair = next(pairs)
            pipe.send(here(pair.plain, asked)(measure))


def _write(report: Mapping[str, Any], asked: Settings) -> None:
    if asked.json:
        with open(asked.json, 'w', encoding='utf-8') as file:
            json.dump(report, file, indent=2)


def measure(pair: Pair, asked: Settings, rates: Mapping[str, Mapping[str, float]], plain_way: Ask) -> dict[str, Any]:
    """Checks that the two ways agree, then times them in turn: plain, ours, plain, ours, ..."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=asked.dtype != torch.float32):  # 10 bits would hide differences
        disagreement = pair.disagreement() if pair.plain else None
    if pair.plain and not disagreement <= pair.tolerance:  # NaN, too
        raise ValueError(f'{pair.name}: the two ways disagree by {disagreement:.2g}, more than {pair.tolerance:g}')
    multiply_adds = pair.multiply_adds()
    ways: dict[str, Ask] = {'plain': plain_way} if pair.plain else {}
    ways['ours'] = here(pair.ours, asked)
    unmeasured = [] if asked.quick else list(ways.values())
    for ask in unmeasured:  # what a first run alone takes, as libraries' pages and gradients, does not count
        ask(timed)
    peaks = {way: ask(peak_memory) for way, ask in ways.items()}
    for ask in 2 * unmeasured:  # until what each keeps of the memory has settled
        ask(timed)
    rounds = [{way: ask(timed if asked.quick else turn) for way, ask in ways.items()} for _ in range(asked.repeats)]
    row: dict[str, Any] = {'name': pair.name, 'disagreement': disagreement, 'tolerance': pair.tolerance,
                           'repeats': asked.repeats, 'num_image': pair.num_image}
    for way in WAYS:
        row[f'{way}_peak_bytes'] = peaks.get(way)
        for clock in CLOCKS:
            seconds = statistics.median(times[way][clock] for times in rounds) if way in ways else None
            row |= _speed(f'{way}_{clock}', seconds, pair.num_image, multiply_adds.get(way), rates[way][clock])
    for clock in CLOCKS:
        row[f'{clock}_ratio'] = pair.plain and statistics.median(times['plain'][clock] / times['ours'][clock] for times in rounds)
    return row


def _speed(prefix: str, seconds: Optional[float], num_image: int, multiply_adds: Optional[float],
           matmul: float) -> dict[str, Optional[float]]:
    rate = seconds and multiply_adds and multiply_adds / seconds
    return {f'{prefix}_seconds': seconds, f'{prefix}_images_per_s': seconds and num_image / seconds,
            f'{prefix}_multiply_adds_per_s': rate, f'{prefix}_share_of_matmul': rate and rate / matmul}


def turn(work: Work, device: torch.device) -> dict[str, float]:
    """Medians of runs one after another, as steps and images follow one another."""
    runs: list[dict[str, float]] = []
    while sum(times['wall'] for times in runs) < TURN:
        runs.append(timed(work, device))
    return {clock: statistics.median(times[clock] for times in runs) for clock in CLOCKS}


def timed(work: Work, device: torch.device) -> dict[str, float]:
    """Seconds on the clock (on CUDA between two events), and CPU seconds of this thread.

    With one thread on a CPU the latter does not count what other programs take; on CUDA it is the time to launch.
    """
    if device.type != 'cuda':
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        return {'wall': time.perf_counter() - wall, 'cpu': time.thread_time() - cpu}
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    cpu = time.thread_time()
    start.record()
    work()
    end.record()
    cpu = time.thread_time() - cpu
    end.synchronize()
    return {'wall': start.elapsed_time(end) / 1000, 'cpu': cpu}


def matmul_rate(asked: Settings, dtype: torch.dtype) -> dict[str, float]:
    """Multiply-adds per second of a product of large square matrices, the best of a few: what the machine can do."""
    size = 256 if asked.quick else 8192 if asked.device.type == 'cuda' else 2048
    a, b = (torch.rand(size, size, device=asked.device, dtype=dtype) for _ in range(2))
    times = [timed(lambda: a @ b, asked.device) for _ in range(10)]
    return {clock: size**3 / min(t[clock] for t in times) for clock in CLOCKS}


def count_multiply_adds(work: Work) -> float:
    """Half of what torch's counter finds in one run, backward pass included."""
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _of_convolution_backward})
    with counter:
        work()
    return counter.get_total_flops() / 2


def _of_convolution_backward(grad: list[int], x: list[int], weight: list[int], *others: Any, out_shape: Any) -> int:
    """As many operations as the convolution for each gradient; torch's own formula takes each group for all channels."""
    *_, transposed, _, _, (of_input, of_weight, _) = others
    return conv_flop_count(x, weight, grad, transposed) * (of_input + of_weight)


def peak_memory(work: Work, device: torch.device) -> Optional[int]:
    """Bytes by which memory grows at most while `work` runs; on a CPU of Linux alone.

    Memory that was freed before is given back first, as else it could hide what is taken.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    if not sys.platform.startswith('linux'):
        work()
        return None
    allocator.return_freed_memory()
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # the peak starts anew
    before = allocator.resident_memory('VmRSS')
    work()
    return allocator.resident_memory('VmHWM') - before


# ---------------------------------------------------------------------------------------------------------- agreement
def spread_error(ours: Tensor, plain: Tensor) -> float:
    """Largest difference as a share of the plain results' standard deviation."""
    return ((ours.float() - plain).abs().max() / plain.std()).item()


def norm_error(ours: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> float:
    """Of tensors by name, the largest norm of a difference as a share of the plain tensor's norm.

    Raises:
        ValueError: they are not the same tensors.
    """
    if ours.keys() != plain.keys():
        raise ValueError(f'only one of the ways has {", ".join(sorted(ours.keys() ^ plain.keys()))}')
    return max(((ours[name].float() - plain[name]).norm() / plain[name].norm().clamp(min=1e-12)).item() for name in plain)


# ---------------------------------------------------------------------------------------------------------- reporting
def surroundings(asked: Settings) -> dict[str, Any]:
    """What the figures depend on."""
    device = torch.cuda.get_device_name(asked.device) if asked.device.type == 'cuda' else 'CPU'
    return {'device': device, 'threads': torch.get_num_threads(), 'cores': os.cpu_count(), 'torch': torch.__version__,
            'load': os.getloadavg()[0], 'dtype': str(asked.dtype).removeprefix('torch.'), 'compile': asked.compile,
            'quick': asked.quick}


def table(rows: list[dict[str, Any]]) -> str:
    """A row a pair; of matmul: our multiply-adds per second as a share of a large matrix product's."""
    head = ['', 'plain (ms)', 'ours (ms)', 'faster', 'faster, CPU time', 'images/s', 'of matmul', 'of matmul, CPU time',
            'plain (MiB)', 'ours (MiB)', 'disagreement']
    return aligned([head, *(
        [row['name'], *(text(row[f'{way}_wall_seconds'], 1000, digits=2) for way in WAYS),
         *(text(row[f'{clock}_ratio'], 1, digits=2) for clock in CLOCKS), f'{row["ours_wall_images_per_s"]:.1f}',
         *(text(row[f'ours_{clock}_share_of_matmul'], 100, ' %') for clock in CLOCKS),
         *(text(row[f'{way}_peak_bytes'], 1 / MIB) for way in WAYS), _disagreement(row)] for row in rows)])


def text(value: Optional[float], factor: float, unit: str = '', digits: int = 0) -> str:
    """A figure times `factor`, or a dash where there is none."""
    return '–' if value is None else f'{factor * value:.{digits}f}{unit}'


def _disagreement(row: Mapping[str, Any]) -> str:
    return '–' if row['disagreement'] is None else f'{row["disagreement"]:.1e}'


def remark(report: Mapping[str, Any]) -> str:
    rate = report['matmul_multiply_adds_per_s']['ours']['wall'] / 1e9
    return (f'{report["device"]}, {report["threads"]} threads of {report["cores"]} cores (load {report["load"]:.1f}), torch '
            f'{report["torch"]}; ours: {report["dtype"]}, {"compiled" if report["compile"] else "not compiled"}; a matrix '
            f'product makes {rate:.0f} G multiply-adds/s. Medians of rounds in turn.')
