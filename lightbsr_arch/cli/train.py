"""`basicsr train`: BasicSR's training loop with this package's parts."""
from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

from .pipeline import check_arguments, parse_options

DESCRIPTION = 'Trains the network that an option file describes.'
EPILOG = """\
Runs land in ./experiments/<name> (weights, states, log) and ./tb_logger/<name>, or below the option file's
`output_root`. An older run of the same name is renamed, and only after the new one's data and networks were built
without an error. `basicsr check` finds more.

  basicsr train -opt options/train_LightBSR_teacher_x4.yml
  basicsr train -opt options/train_LightBSR_student_x4.yml     (needs the teacher)
  basicsr train -opt ... --auto_resume                         (goes on after an interruption)
"""


def run(arguments: list[str]) -> int:
    parsed = check_arguments('train', DESCRIPTION, EPILOG, arguments)
    from .. import basicsr_compat
    with contextlib.redirect_stderr(io.StringIO()):  # the run will say it
        opt = parse_options('train', parsed.opt, parsed.force_yml)
    refuse_unusable_images(opt)
    if sys.stderr.isatty():
        basicsr_compat.show_progress()
    from basicsr.train import train_pipeline
    train_pipeline(parsed.root)
    return 0


def refuse_unusable_images(opt: dict[str, Any]) -> None:
    """The cheap part of `basicsr check` that the run itself does not do."""
    from basicsr.data import build_dataset

    from ..basicsr_compat import plain_errors, warnings_alone
    from ..data.inspection import refuse_unusable
    with plain_errors(), warnings_alone():
        refuse_unusable([build_dataset(section) for section in opt['datasets'].values()])
