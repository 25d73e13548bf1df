"""`basicsr train`: BasicSR's training loop with this package's parts."""
from __future__ import annotations

import os
import sys

from .pipeline import check_arguments

DESCRIPTION = 'Trains the network that an option file describes.'
EPILOG = """\
Runs land in ./experiments/<name> (weights, states, log) and ./tb_logger/<name>. An older run of the same name is
renamed, and only after the new one's data and networks were built without an error.

  basicsr train -opt options/train_LightBSR_teacher_x4.yml
  basicsr train -opt options/train_LightBSR_student_x4.yml     (needs the teacher)
  basicsr train -opt ... --auto_resume                         (goes on after an interruption)
"""


def run(arguments: list[str]) -> int:
    check_arguments('train', DESCRIPTION, EPILOG, arguments)
    from .. import basicsr_compat, plugin
    plugin.register()
    if sys.stderr.isatty():
        basicsr_compat.show_progress()
    from basicsr.train import train_pipeline
    train_pipeline(os.getcwd())
    return 0
