"""`basicsr robustness`: maps of PSNR over blur and noise, in and out of the training range."""
from __future__ import annotations

import os

from .arguments import add_study, make_parser

DESCRIPTION = """\
Tests methods over grids of degradations, such as blur width x noise level, within the range they were trained on and
beyond it, and draws heat maps with one colour scale in which the training range is framed and the worst case named."""
EPILOG = """\
It writes to ./results/<name>/
  <map>_<metric>.png, .pdf  a figure for each map and metric, and one of differences if the option file has a reference
  robustness.md, .csv       for each map and method: the means in and out of range, the worst case, and how much better
                            the best other method is there
  robustness.json           all cells

After an interruption the same command goes on where it stopped: what was computed with the same weights, images,
degradations and versions is kept. A GPU is used where there is one.

The option file names folders of images, methods (files of weights, or network: and weights:) and maps, whose rows and
columns are keys of a degradation: sigma, lambda_1, lambda_2, theta, noise, motion (length of a straight motion blur)
and jpeg (quality; ~ for none). options/robustness_setting1.yml shows all keys.

  basicsr robustness -opt options/robustness_setting1.yml
  basicsr robustness -opt options/robustness_setting2.yml --skip-missing
"""


def run(arguments: list[str]) -> int:
    parser = make_parser('robustness', DESCRIPTION, EPILOG)
    add_study(parser)
    parsed = parser.parse_args(arguments)
    from .. import plugin
    plugin.register()
    from ..evaluation import plots, robustness, writing
    from ..evaluation import robustness_tables as tables
    heat_maps = plots.load('heat_maps')
    options = robustness.read_options(parsed.opt, parsed.data_root)
    methods, skipped = options.load_methods(parsed.skip_missing)
    print(*skipped, sep='\n', end='\n' * bool(skipped))
    panels = robustness.run(options, methods)
    rows = tables.summaries(options, panels)
    text = tables.markdown(options, rows)
    writing.write(os.path.join(options.folder, robustness.RECORD), {'md': text, 'csv': tables.as_csv(rows)})
    print(text, *heat_maps.draw_all(options, panels), sep='\n')
    return 0
