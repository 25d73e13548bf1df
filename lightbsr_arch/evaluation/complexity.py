"""What a network costs: parameters, multiply-adds, activations, latency, peak memory; and what the papers print."""
from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..allocator import resident_memory
from ..config import suggest
from .paper import SCALE, tables

Section = Mapping[str, Any]  # as `network_g` in an option file
Size = tuple[int, int]  # height and width of an LR image

PRESETS: dict[str, Section] = {
    'LightBSR': {'type': 'LightBSR'},
    'KDSR-M': {'type': 'KDSR'},
    'KDSR-L': {'type': 'KDSR', 'num_feat': 128, 'num_block': 28, 'num_estimator_block': 5},
    'KDSR-GAN': {'type': 'KDSR', 'num_feat': 128, 'num_block': 42, 'num_estimator_block': 6},
    'RCAN': {'type': 'RCAN', 'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 20},
    'ESRGAN': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3},
}
PAPER_SIZES: tuple[Size, ...] = ((256, 256), (180, 320))  # LightBSR's and KDSR's cost columns
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """Of one image through a network.

    parameters: All of them. trainable: Those that are not frozen, such as a teacher's key encoder.
    multiply_adds: Half of what torch's counter finds: convolutions, linear layers, matrix products, attention.
    activations: Numbers that the convolutions put out, as the efficiency challenges count them.
    """

    parameters: int
    trainable: int
    multiply_adds: float
    activations: int


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a forward pass (median, lower and upper quartile), and peak memory in bytes.

    memory: On CUDA, of tensors, weights and input included. On a CPU, how far a process of its own grows from before it
    builds the network; None where the system is not Linux.
    """

    median: float
    lower: float
    upper: float
    memory: Optional[int]


@dataclass(frozen=True)
class Printed:
    """A paper's cost columns; None where it has no such figure. ms: On the authors' GPU."""

    params_m: Optional[float] = None
    gflops: Optional[float] = None
    ms: Optional[float] = None


# ---------------------------------------------------------------------------------------------- networks
def complete(section: Section) -> dict[str, Any]:
    """The section with its arch's defaults filled in.

    Raises:
        ValueError: no such arch, an argument that it does not have, or one that it needs.
    """
    arch = ARCH_REGISTRY.get(section['type'])
    given = {key: value for key, value in section.items() if key != 'type'}
    parameters = inspect.signature(arch).parameters
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for key in given:
        if key not in named and len(named) == len(parameters):
            raise ValueError(f'{section["type"]} has no {key!r}{suggest(key, list(named))}')
    missing = [name for name, p in named.items() if p.default is p.empty and name not in given]
    if missing:
        raise ValueError(f'{section["type"]} needs {" and ".join(f"{name}=..." for name in missing)}')
    return {'type': section['type'], **{name: p.default for name, p in named.items()}, **given}


def build(section: Section) -> nn.Module:
    """The network in evaluation mode, with random weights.

    Raises:
        ValueError: as `complete`, or arguments that the arch refuses.
    """
    arguments = complete(section)
    kind = arguments.pop('type')
    try:
        return ARCH_REGISTRY.get(kind)(**arguments).eval()
    except Exception as error:  # of any arch that is registered
        raise ValueError(f'{kind} cannot be built: {_reason(error)}') from error


def inputs(network: nn.Module, section: Section, size: Size) -> tuple[Optional[Tensor], ...]:
    """An LR image (1, C, H, W) of zeros, and what a teacher sees besides: prior, HR image or kernel.

    For an arch with windows (SwinIR) the image is enlarged to whole ones, as it must be to be super-resolved.
    """
    arguments = complete(section)
    window = arguments.get('window_size', 1)
    size = tuple(-(-n // window) * window for n in size)
    channels = next((arguments[key] for key in ('num_in_ch', 'in_chans', 'in_channels') if key in arguments), 3)
    lq = torch.zeros(1, channels, *size)
    if hasattr(network, 'prior'):
        prior_dim = network.prior_dim + 3 * network.noise_prior
        return lq, torch.zeros(1, prior_dim) if prior_dim else None
    if hasattr(network, 'oracle'):
        return lq, torch.zeros(1, 21, 21) if network.oracle else torch.zeros(1, 3, *(network.scale * n for n in size))
    return lq,


def preset_name(section: Section) -> Optional[str]:
    """The papers' name for a network of exactly that size at x4, or None."""
    return next((name for name, preset in PRESETS.items()
                 if preset['type'] == section['type'] and complete(preset) == complete(section)), None)


# ---------------------------------------------------------------------------------------------- counting
def count(section: Section, size: Size) -> Cost:
    """Counts a forward pass over shapes, which takes neither time nor memory; an arch that looks at its input's values,
    and so cannot run on shapes, is run on the CPU.

    Raises:
        ValueError: the network cannot be built, or does not take one such image.
    """
    network = build(section)
    try:
        multiply_adds, activations = _count_pass(*_on(torch.device('meta'), copy.deepcopy(network), section, size))
    except Exception:  # an arch may fail in any way there; a mistake of the user's fails on the CPU, too
        with _named(section, size):
            multiply_adds, activations = _count_pass(network, *inputs(network, section, size))
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return Cost(sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained), multiply_adds, activations)


@torch.no_grad()
def _count_pass(network: nn.Module, *tensors: Optional[Tensor]) -> tuple[float, int]:
    convolution = torch.ops.aten.convolution
    flops = FlopCounterMode(display=False)
    outputs = FlopCounterMode(display=False, custom_mapping={convolution: _output_numbers})
    with flops, outputs:
        network(*tensors)
    return flops.get_total_flops() / 2, outputs.get_flop_counts().get('Global', {}).get(convolution, 0)


def _output_numbers(*_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
    return torch.Size(out_shape).numel()


def _on(device: torch.device, network: nn.Module, section: Section, size: Size) -> tuple[Any, ...]:
    tensors = inputs(network, section, size)
    return network.to(device), *(None if t is None else t.to(device) for t in tensors)


@contextmanager
def _named(section: Section, size: Size) -> Iterator[None]:
    """Says which network failed; what an arch raises for images that it does not take is up to the arch."""
    try:
        yield
    except Exception as error:
        raise ValueError(f'{section["type"]} does not super-resolve one image of {size[0]}x{size[1]} pixels: '
                         f'{_reason(error)}') from error


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split())[:300] or type(error).__name__


# ---------------------------------------------------------------------------------------------- measuring
def measure(section: Section, size: Size, device: str = 'cpu', repeats: int = 10,
            threads: Optional[int] = None) -> Timing:
    """Times `repeats` passes of one image after a few that warm up: float32, channels_last, without gradients.

    On a CPU call it through `in_fresh_process`, where memory that this process holds already cannot hide any.

    Raises:
        ValueError: as `count`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    place = torch.device(device)
    on_cuda = place.type == 'cuda'
    _load_kernels()
    before = 0 if on_cuda else resident_memory('VmRSS')
    with _named(section, size), torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=True):
        network, *tensors = _on(place, build(section).to(memory_format=torch.channels_last), section, size)
        for _ in range(max(1, repeats // 5)):
            network(*tensors)
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(place)
        times = [_milliseconds(lambda: network(*tensors), place) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated(place) if on_cuda else resident_memory('VmHWM')
    lower, median, upper = statistics.quantiles(times, n=4, method='inclusive') if repeats > 1 else times * 3
    return Timing(median, lower, upper, None if peak is None or before is None else peak - before)


def _milliseconds(work: Callable[[], object], device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda _: None
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return 1000 * (time.perf_counter() - start)


def _load_kernels() -> None:
    """Lets torch load its code for convolutions, which is no memory of the network's."""
    torch.nn.functional.conv2d(torch.zeros(1, 16, 16, 16), torch.zeros(16, 16, 3, 3))


def in_fresh_process(prepare: Callable[[], None], *arguments: Any) -> Timing:
    """`measure(*arguments)` in a new process, after `prepare`, which registers the archs there.

    Raises:
        ValueError: as `measure`, or the process was killed.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise ValueError(f'{arguments[0]["type"]}: the measuring process was killed, which happens where memory '
                             'runs out: choose a smaller --size') from None


# ---------------------------------------------------------------------------------------------- the papers
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


# ---------------------------------------------------------------------------------------------- the table
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


def describe(device: str, threads: Optional[int]) -> str:
    """Where latency and memory were measured, and how."""
    place = torch.device(device)
    where = (torch.cuda.get_device_name(place) if place.type == 'cuda' else
             f'CPU ({threads or torch.get_num_threads()} of {os.cpu_count()} cores)')
    return (f'Latency: median (quartiles) of one image, {where}, torch {torch.__version__}, float32, channels_last. '
            "The papers' times are of their authors' GPUs.")
