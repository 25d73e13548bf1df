"""`basicsr prepare`: sub-images for training, as PNG files or LMDB."""
from __future__ import annotations

import argparse
import os
import sys

from .arguments import make_parser, positive

DESCRIPTION = """\
Cuts HR images into overlapping square sub-images, which load faster than whole photographs, as PNG files or as LMDB.
INPUT folders are searched with their subfolders. An OUTPUT that ends in .lmdb becomes an LMDB folder in BasicSR's
layout, any other a folder of PNGs; `dataroot_gt:` in an option file takes either."""
EPILOG = """\
After an interruption the same command goes on where it stopped. An image that cannot be read is named and left out;
the exit status is 1 then, and the same command adds it once it is replaced. Images that changed are cut again.

  basicsr prepare datasets/DF2K/HR datasets/DF2K/HR_sub
  basicsr prepare DIV2K_train_HR Flickr2K_HR datasets/DF2K/HR_sub.lmdb
  basicsr prepare datasets/DF2K/HR datasets/DF2K/HR.lmdb --no-crop                 (whole, for LightBSR's teacher)
  basicsr prepare datasets/train/BSDS400 datasets/train/BSDS400.lmdb --no-crop      (small images, as they are)
"""


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    from .. import plugin
    plugin.register()
    from ..data.preparation import Cutting, prepare
    cutting = Cutting(None) if parsed.no_crop else Cutting(parsed.size, parsed.step)
    summary, errors = prepare(parsed.inputs, parsed.output, cutting, parsed.workers)
    print(summary)
    if errors:
        print(*errors, sep='\n', file=sys.stderr)
        raise ValueError(f'{len(errors)} images could not be read and are left out (see above). Replace or remove them and '
                         'call again')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('prepare', DESCRIPTION, EPILOG)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='folder of HR images')
    parser.add_argument('output', metavar='OUTPUT', help='folder to write, NAME or NAME.lmdb')
    parser.add_argument('--size', type=positive, metavar='N',
                        help='edge of the squares in pixels (default: 480); smaller images are kept whole')
    parser.add_argument('--step', type=positive, metavar='N',
                        help='distance from one square to the next (default: half the size)')
    parser.add_argument('--no-crop', action='store_true', help='keep the images whole')
    parser.add_argument('--workers', type=positive, default=os.cpu_count() or 1, metavar='N',
                        help='images that are worked on at once (default: one for each processor core)')
    parsed = parser.parse_args(arguments)
    if parsed.no_crop and (parsed.size or parsed.step):
        parser.error('--no-crop keeps the images whole: leave out --size and --step')
    parsed.size = parsed.size or 480
    parsed.step = parsed.step or max(parsed.size // 2, 1)
    return parsed
