"""What `train` and `test` share: BasicSR's flags and its habit of reading `sys.argv`."""
from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from .. import option_files
from .arguments import make_parser

SECTIONS = {'train': ('datasets', 'network_g', 'path', 'train', 'logger'),
            'test': ('datasets', 'network_g', 'path', 'val')}
OTHER_VERBS = {'grids': 'idr', 'maps': 'robustness', 'runs': 'sweep'}  # by a key that their files have
VALUES = ('name', 'model_type', 'scale', 'num_gpu')
PLACES = ('experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization')


def check_arguments(verb: str, description: str, epilog: str, arguments: list[str]) -> argparse.Namespace:
    """Parses BasicSR's flags for the sake of help and messages, and hands them on in `sys.argv`.

    The result also has `root`, the folder in which experiments, results and tb_logger lie.
    """
    parser = make_parser(verb, description, epilog)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (yml)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='how the processes of a distributed run are started')
    trains = verb == 'train'
    parser.add_argument('--auto_resume', action='store_true',
                        help='go on from the newest saved state of this run' if trains else argparse.SUPPRESS)
    parser.add_argument('--debug', action='store_true',
                        help='validate and save every few iterations' if trains else "put debug_ before the run's name")
    parser.add_argument('--local_rank', type=int, default=0, help='set by launchers')
    add_override(parser)
    parsed = parser.parse_args(arguments)
    parsed.root = check_outline(parsed.opt, verb, parsed.force_yml)
    sys.argv = [f'basicsr {verb}', *arguments]
    return parsed


def add_override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', type=key_and_value, action='extend', default=[],
                        help='override keys of the option file, as in train:ema_decay=0.999 or train:stages:0:lr=1e-3')


def key_and_value(text: str) -> str:
    if not re.fullmatch(r'[\w.-]+(:[\w.-]+)*=.*', text, re.DOTALL):
        raise argparse.ArgumentTypeError(f'{text!r} must look like train:ema_decay=0.999')
    return text


def check_outline(path: str, verb: str, overrides: Sequence[str] = ()) -> str:
    """Finds what is wrong with an option file and its overrides at first sight, before anything else is imported.

    Returns:
        The absolute path of its `output_root`, by default the current directory.

    Raises:
        ValueError: no such file, no valid YAML, or a section that every run needs is missing.
    """
    try:
        content = option_files.read(path)
    except OSError as error:
        raise ValueError(f'cannot read the option file {path} (-opt): {error.strerror}') from error
    opt = option_files.override(content, overrides) if isinstance(content, dict) else {}
    for key, other in OTHER_VERBS.items():
        if key in opt and 'model_type' not in opt:
            raise ValueError(f'{path} is a file for `basicsr {other}`, neither a training nor a test')
    if verb == 'train' and 'model_type' in opt and not opt.keys() & {'train', 'logger'}:
        raise ValueError(f'{path} is a file for `basicsr test`, not for a training')
    for key in (*VALUES, *SECTIONS[verb]):
        if opt.get(key) is None:
            raise ValueError(f'{path}: {key!r} is missing')
    if not isinstance(opt['name'], str) or '/' in opt['name']:
        raise ValueError(f'{path}: name must be a text without a slash, got {opt["name"]!r}')
    if not isinstance(opt.get('manual_seed', 0), int):
        raise ValueError(f'{path}: manual_seed must be a whole number, got {opt["manual_seed"]!r}')
    for key in SECTIONS[verb]:
        if not isinstance(opt[key], dict):
            raise ValueError(f'{path}: {key} must be a section with keys, got {opt[key]!r}')
    for key, section in opt['datasets'].items():
        if not isinstance(section, dict):
            raise ValueError(f'{path}: datasets: {key} must be a section with keys, got {section!r}')
        for root in ('dataroot_gt', 'dataroot_lq'):
            if not isinstance(section.get(root, ''), (str, type(None))):
                raise ValueError(f'{path}: datasets: {key}: {root} must be a folder, got {section[root]!r}')
    return output_root(path, opt)


def output_root(path: str, opt: dict[str, Any]) -> str:
    """Absolute; BasicSR itself would leave places in `path:` unread.

    Raises:
        ValueError: it is no folder, or the option file names such places.
    """
    for key in opt['path'].keys() & set(PLACES):
        raise ValueError(f'{path}: path: {key} follows from the run\'s name: remove it; output_root: FOLDER at the top moves '
                         'experiments, results and tb_logger')
    root = opt.get('output_root') or os.curdir
    if not isinstance(root, str):
        raise ValueError(f'{path}: output_root must be a folder, got {root!r}')
    return os.path.abspath(os.path.expanduser(root))


def parse_options(verb: str, path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The options as a run of one process has them, checked and completed; no process group is started.

    Args:
        verb: `train` or `test`.
    """
    root = check_outline(path, verb, overrides)
    from .. import plugin
    plugin.register()
    import basicsr.train
    before = sys.argv
    sys.argv = [f'basicsr {verb}', '-opt', path] + (['--force_yml', *overrides] if overrides else [])
    try:
        return basicsr.train.parse_options(root, verb == 'train')[0]
    finally:
        sys.argv = before
