"""`basicsr complexity`: what networks cost, beside what the papers print; and their Fig. 1."""
from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import yaml

from .. import option_files
from ..config import suggest
from .arguments import make_parser, positive
from .table import split_label

if TYPE_CHECKING:
    from ..evaluation.complexity import Point, Row, Section, Size

DESCRIPTION = """\
Prints parameters, multiply-adds, activations, latency and peak memory of networks at given LR sizes, beside what the
papers print, and draws their cost against PSNR."""
EPILOG = """\
NETWORK is LightBSR, KDSR-M, KDSR-L, KDSR-GAN, RCAN or ESRGAN; a file of weights (.pth, .safetensors); an option file
(.yml), whose network_g is taken; or the table.json of `basicsr test`. LABEL=NETWORK gives it another name.

Multiply-adds are half of the operations that torch's own counter finds. Activations are the numbers that the
convolutions put out. Latency is of one image, in float32. Memory is the peak of all tensors on a GPU; on a CPU it is
what a process of its own grows by (Linux). A teacher that keeps a frozen copy of itself has more parameters than
trainable ones.

--plot draws the methods of LightBSR's Table 3 and each table.json among the networks; all costs are of 256x256.

  basicsr complexity LightBSR KDSR-M
  basicsr complexity net_g_latest.pth --size 360x640 --device cuda -o results/cost
  basicsr complexity --no-latency --arch EDSR num_in_ch=3 num_out_ch=3 --arch SwinIR upscale=4 upsampler=pixelshuffle
  basicsr complexity ours=results/test_setting1/table.json --no-latency --plot figure1 --cell Urban100_2.4
"""


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    from .. import plugin
    plugin.register()
    from ..evaluation import plots, writing
    from ..evaluation.complexity import describe
    figure = plots.load('cost') if parsed.plot else None
    networks = [_network(word) for word in parsed.networks] + [_arch(words) for words in parsed.arch]
    points = _points(parsed.networks, parsed.cell) if parsed.plot else []
    if networks:
        device = _device(parsed.device)
        rows = _rows(networks, parsed, device)
        remark = '' if parsed.no_latency else f'\n{describe(device, parsed.threads)}\n'
        text = f'{writing.aligned([list(rows[0].cells), *(list(row.cells.values()) for row in rows)])}\n{remark}'
        print(text, end='')
        if parsed.output:
            values = [row.values for row in rows]
            writing.write(parsed.output, {'md': text, 'json': writing.json_text(values),
                                          'csv': writing.csv_text([list(values[0]), *(row.values() for row in values)])})
    if figure:
        print(f'wrote {figure.draw(points, parsed.cell, parsed.plot)} and .pdf')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('complexity', DESCRIPTION, EPILOG)
    parser.add_argument('networks', nargs='*', metavar='NETWORK', help='a name or a file, see below')
    parser.add_argument('--arch', nargs='+', action='append', default=[], metavar=('NAME', 'KEY=VALUE'),
                        help="a registered arch, BasicSR's own too, and its arguments; may be repeated")
    parser.add_argument('--size', type=_size, action='append', metavar='HxW',
                        help='LR size; may be repeated (default: 256x256 and 180x320)')
    parser.add_argument('--no-latency', action='store_true', help='do not measure latency and memory')
    parser.add_argument('--device',
                        help='where latency and memory are measured (default: cuda if there is one, else cpu)')
    parser.add_argument('--threads', type=positive, metavar='N', help="CPU threads (default: torch's)")
    parser.add_argument('--repeats', type=positive, default=10, metavar='N', help='timed passes (default: 10)')
    parser.add_argument('-o', '--output', metavar='PREFIX', help='also write PREFIX.md, .csv and .json')
    parser.add_argument('--plot', metavar='PREFIX', help='write PREFIX.png and .pdf: cost against PSNR')
    parser.add_argument('--cell', default='Set5_2.4', metavar='SET_WIDTH',
                        help="which of Table 3's columns to plot (default: Set5_2.4)")
    parsed = parser.parse_args(arguments)
    if not (parsed.networks or parsed.arch or parsed.plot):
        parser.error('name a NETWORK, an --arch or a --plot')
    return parsed


def _size(text: str) -> Size:
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(f'{text!r} must be HEIGHTxWIDTH in LR pixels, such as 180x320')
    height, width = text.split('x')
    return int(height), int(width)


def _device(name: str | None) -> str:
    import torch
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        torch.zeros(1, device=name)
        if torch.device(name).type not in ('cpu', 'cuda'):
            raise RuntimeError('only cpu and cuda are measured')
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {name} cannot be used: {str(error).splitlines()[0]}') from None
    return name


# ---------------------------------------------------------------------------------------------- networks
def _network(word: str) -> tuple[str, Section]:
    """Label and section of a NETWORK.

    Raises:
        ValueError: neither a name nor a file, or a file that names no network.
    """
    from .. import checkpoints
    from ..evaluation.complexity import PRESETS
    from ..evaluation.tables import read_results
    from ..inference import bundled
    label, source = split_label(word)
    if source in PRESETS:
        return label or source, PRESETS[source]
    path = bundled.find(source)
    if not os.path.isfile(path):
        raise ValueError(f'{source} is neither a file nor a network of the papers{suggest(source, list(PRESETS))}. '
                         'Other archs are given by --arch NAME')
    if source.endswith('.json'):
        results = read_results(source)
        return label or results['name'], results['network']
    if source.endswith(('.yml', '.yaml')):
        return label or os.path.splitext(os.path.basename(source))[0], _network_g(source)
    arch, kwargs, _ = checkpoints.load(path)
    return label or source, {'type': arch, **kwargs}


def _network_g(path: str) -> Section:
    options = option_files.read(path)
    section = options.get('network_g') if isinstance(options, dict) else None
    if not isinstance(section, dict) or not isinstance(section.get('type'), str):
        raise ValueError(f'{path} has no network_g with a type')
    return section


def _arch(words: list[str]) -> tuple[str, Section]:
    """`['EDSR', 'num_in_ch=3']` -> label and section.

    Raises:
        ValueError: a word of another form.
    """
    section: dict[str, Any] = {'type': words[0]}
    for word in words[1:]:
        key, equals, text = word.partition('=')
        if not equals or not key.isidentifier() or key == 'type':
            raise ValueError(f'--arch takes NAME KEY=VALUE ..., such as EDSR num_in_ch=3; got {word!r}')
        try:
            section[key] = yaml.load(text, option_files.OptionLoader)
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f'--arch {words[0]}: the value of {word!r} is not valid YAML') from error
    return words[0], section


# ---------------------------------------------------------------------------------------------- table and figure
def _rows(networks: list[tuple[str, Section]], parsed: argparse.Namespace, device: str) -> list[Row]:
    from .. import plugin
    from ..evaluation.complexity import PAPER_SIZES, Row, count, in_fresh_process, measure, preset_name, printed_cost
    sizes = parsed.size or PAPER_SIZES
    costs = [(label, section, size, count(section, size)) for label, section in networks for size in sizes]
    rows = []
    for label, section, size, cost in costs:
        timing = None
        if not parsed.no_latency:
            print(f'measuring {label} at {size[0]}x{size[1]} on {device}', file=sys.stderr)
            arguments = section, size, device, parsed.repeats, parsed.threads
            timing = measure(*arguments) if device.startswith('cuda') else in_fresh_process(plugin.register, *arguments)
        rows.append(Row(label, size, cost, timing, printed_cost(preset_name(section), size)))
    return rows


def _points(words: list[str], cell: str) -> list[Point]:
    """The printed methods, and each table.json among the networks."""
    from ..evaluation.complexity import measured_point, printed_points
    from ..evaluation.tables import read_results
    points = printed_points(cell)
    for label, source in map(split_label, words):
        if source.endswith('.json'):
            results = read_results(source)
            points.append(measured_point(label or results['name'], results, cell))
    return points
