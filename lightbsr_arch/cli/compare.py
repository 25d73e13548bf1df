"""`basicsr compare`: one picture of what methods make of the same images."""
from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arguments import make_parser, positive
from .degrade import parse_values
from .table import split_label

if TYPE_CHECKING:
    from ..evaluation.comparison import Box, Row, Scene

DESCRIPTION = """\
Draws one picture for a paper or README: for each image the whole of it and crops of one region, enlarged pixel by
pixel, of the LR image, bicubic interpolation, each method and the HR image, with PSNR and SSIM below."""
EPILOG = """\
A SOURCE is a file of weights that names its network (this package's and the releases' do), a name of bundled weights, or
a folder with finished images of the same names, whatever made them (results/<name>/visualization/<set>, say).
HR images (--gt) are degraded as by `basicsr degrade`, whose words --degradation takes, or come with LR images of the
same names (--lq). LR images alone are compared without figures.
PSNR and SSIM are of the Y channel of whole images, a border of SCALE pixels cut, as in the papers; the best are bold.
Without --box, the region is where the methods differ most (bicubic alone: where the image has most edges).

  basicsr compare LightBSR-compact-x4 --gt Set5/HR --degradation sigma=2.4
  basicsr compare LightBSR=net_g_latest.pth --gt Set5/HR --degradation sigma=2.4 --images butterfly bird
  basicsr compare Mine=net_g_latest.pth DASR=dasr/Set5 --gt Set5/HR --degradation sigma=2.4 --box 120,60,64,64
  basicsr compare LightBSR=net_g_latest.pth --lq photographs -o figure.pdf
"""


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    sources = _sources(parsed.methods)
    from .. import plugin
    plugin.register()
    from ..evaluation import plots
    crops = plots.load('crops')
    from ..evaluation.comparison import compare, load_candidates
    scenes, remark = _scenes(parsed)
    boxes = _boxes(parsed.box, len(scenes))
    candidates = load_candidates(sources, parsed.scale)
    rows = [compare(scene, candidates, parsed.scale, box, parsed.size, remark) for scene, box in zip(scenes, boxes)]
    width, height = crops.draw(rows, parsed.output, parsed.zoom)
    print(table(rows))
    print(f'\n{parsed.output}: {width}x{height} pixels, crops enlarged {parsed.zoom} times')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('compare', DESCRIPTION, EPILOG)
    parser.add_argument('methods', nargs='*', metavar='LABEL=SOURCE', help='a method, besides bicubic interpolation')
    parser.add_argument('--gt', metavar='HR', help='HR image, or folder of them')
    parser.add_argument('--lq', metavar='LR', help='LR image, or folder of them')
    parser.add_argument('--degradation', nargs='+', metavar='KEY=VALUE', help='what makes LR images of --gt')
    parser.add_argument('--images', nargs='+', default=(), metavar='NAME', help='which of a folder (default: the first 3)')
    parser.add_argument('--scale', type=int, choices=(2, 3, 4), default=4, help='default: 4')
    parser.add_argument('--box', action='append', default=[], metavar='X,Y,W,H', help='region in HR pixels: left, top, '
                        'width, height; once for all images, or once for each')
    parser.add_argument('--size', type=positive, default=80, metavar='PIXELS', help='edge of a region that is found '
                        '(default: 80 HR pixels)')
    parser.add_argument('--zoom', type=positive, default=3, help='how often crops are enlarged (default: 3)')
    parser.add_argument('-o', '--output', default='comparison.png', metavar='FILE', help='.png or .pdf (default: '
                        'comparison.png)')
    parsed = parser.parse_args(arguments)
    if not parsed.output.lower().endswith(('.png', '.pdf')):
        raise ValueError(f'-o {parsed.output}: the picture is written as .png or .pdf')
    return parsed


def _sources(words: Sequence[str]) -> dict[str, str]:
    """`LABEL=SOURCE` words; without a label the file's name is one."""
    from ..inference import bundled
    sources: dict[str, str] = {}
    for word in words:
        label, source = split_label(word)
        source = bundled.find(source)
        label = label or os.path.splitext(os.path.basename(source.rstrip('/')))[0]
        if label in sources:
            raise ValueError(f'two methods are called {label}: give them different labels, as in mine=FILE')
        if not os.path.exists(source):
            raise ValueError(f'{label}: there is no file or folder {source}')
        sources[label] = source
    return sources


def _scenes(parsed: argparse.Namespace) -> tuple[list[Scene], str]:
    """The images to be restored, and a remark about the degradation."""
    from ..degradations import parse_degradation
    from ..evaluation.comparison import degraded_scenes, real_scenes
    if parsed.degradation is not None and parsed.gt is None:
        raise ValueError('--degradation needs the HR images that it is to degrade: --gt FILE_OR_FOLDER')
    if (parsed.lq is None) == (parsed.degradation is None):
        raise ValueError('give --gt with --degradation KEY=VALUE ..., or --gt with --lq, or --lq alone')
    if parsed.lq is not None:
        return real_scenes(parsed.lq, parsed.scale, parsed.gt, parsed.images), ''
    degradation = parse_degradation(parse_values(parsed.degradation), parsed.scale)
    return degraded_scenes(parsed.gt, degradation, parsed.scale, parsed.images), f', {degradation.symbols}'


def _boxes(texts: Sequence[str], num: int) -> list[Box | None]:
    """One for each of `num` images; None where it is to be found."""
    boxes = []
    for text in texts:
        numbers = text.split(',')
        if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
            raise ValueError(f'--box must be left,top,width,height in pixels, such as 120,60,64,64, got {text!r}')
        boxes.append(tuple(map(int, numbers)))
    if len(boxes) not in (0, 1, num):
        raise ValueError(f'--box is given {len(boxes)} times for {num} images: give it once, or once for each image')
    return boxes if len(boxes) == num else (boxes or [None]) * num


def table(rows: Sequence[Row]) -> str:
    """Regions, and PSNR and SSIM where there are HR images, as markdown."""
    from ..evaluation.writing import aligned
    labels = list(rows[0].scores)
    lines = [['image', 'region', *labels]]
    for row in rows:
        figures = [f'{row.scores[label].psnr:.2f} / {row.scores[label].ssim:.4f}' for label in labels]
        lines.append([row.title, ','.join(map(str, row.box)), *figures])
    return aligned(lines)
