"""`basicsr report`: tables, curves and images of runs on one page."""
from __future__ import annotations

import argparse
import os
import sys

from .arguments import make_parser, positive

DESCRIPTION = """\
Writes one HTML page from what tests and trainings left in their folders, with everything inside: it can be sent by mail
and opened offline."""
EPILOG = """\
RESULTS are folders that `basicsr test` (./results/<name>) or `basicsr train` (./experiments/<name>) wrote. The page has
  figures    of all tests beside each other and the papers', and the papers' tables with them
  images     bicubic interpolation, results and HR images one above the other with a boundary to be moved; of tests that
             saved images (val: save_img: true), with the HR images where they are still on the disk
  curves     validation, losses and learning rate, from the log
  options, versions and dates

  basicsr report results/test_bicubic_setting1 results/test_setting1 experiments/train_LightBSR_student_x4 -o report.html
"""


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    from .. import plugin
    plugin.register()
    from ..evaluation.report.page import write_report
    size = write_report(_runs(parsed.results) or parsed.results, parsed.output, parsed.title, parsed.images)
    print(f'{parsed.output}: {size / 2**20:.1f} MB')
    return 0


def _runs(paths: list[str]) -> list[str]:
    """Of what stands in a folder of results, the runs; other things are named."""
    from ..evaluation.report.runs import holds_run
    runs = [path for path in paths if holds_run(path) or not os.path.exists(path)]
    others = [path for path in paths if path not in runs]
    if runs and others:
        print(f'left out, no results of `basicsr test` or `basicsr train`: {" ".join(others)}', file=sys.stderr)
    return runs


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('report', DESCRIPTION, EPILOG)
    parser.add_argument('results', nargs='+', metavar='RESULTS', help='folder of a test or a training')
    parser.add_argument('-o', '--output', default='report.html', metavar='FILE', help='default: report.html')
    parser.add_argument('--title', help="default: the runs' names")
    parser.add_argument('--images', type=positive, default=12, metavar='NUM', help='images at most (default: 12)')
    return parser.parse_args(arguments)
