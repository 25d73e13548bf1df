"""What `train` and `test` share: BasicSR's flags and its habit of reading `sys.argv`."""
from __future__ import annotations

import argparse
import re
import sys

from .. import option_files
from .arguments import make_parser

SECTIONS = {'train': ('datasets', 'network_g', 'path', 'train', 'logger'),
            'test': ('datasets', 'network_g', 'path', 'val')}
VALUES = ('name', 'model_type', 'scale', 'num_gpu')


def check_arguments(verb: str, description: str, epilog: str, arguments: list[str]) -> argparse.Namespace:
    """Parses BasicSR's flags for the sake of help and messages, and hands them on in `sys.argv`."""
    parser = make_parser(verb, description, epilog)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (yml)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='how the processes of a distributed run are started')
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest saved state of this run')
    parser.add_argument('--debug', action='store_true', help='validate and save every few iterations')
    parser.add_argument('--local_rank', type=int, default=0, help='set by launchers')
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', type=key_and_value,
                        help='override keys of the option file, as in train:ema_decay=0.999')
    parsed = parser.parse_args(arguments)
    check_outline(parsed.opt, verb)
    sys.argv = [f'basicsr {verb}', *arguments]
    return parsed


def key_and_value(text: str) -> str:
    if not re.fullmatch(r'[\w.-]+(:[\w.-]+)*=[^=]*', text):
        raise argparse.ArgumentTypeError(f'{text!r} must look like train:ema_decay=0.999')
    return text


def check_outline(path: str, verb: str) -> None:
    """Finds what is wrong with an option file at first sight, before anything else is imported.

    Raises:
        ValueError: no such file, no valid YAML, or a section that every run needs is missing.
    """
    try:
        opt = option_files.read(path)
    except OSError as error:
        raise ValueError(f'cannot read the option file {path} (-opt): {error.strerror}') from error
    opt = opt if isinstance(opt, dict) else {}
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
