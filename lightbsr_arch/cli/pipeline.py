"""What `train` and `test` share: BasicSR's flags and its habit of reading `sys.argv`."""
from __future__ import annotations

import argparse
import sys


def check_arguments(verb: str, description: str, epilog: str, arguments: list[str]) -> argparse.Namespace:
    """Parses BasicSR's flags for the sake of help and messages, and hands them on in `sys.argv`."""
    parser = argparse.ArgumentParser(prog=f'basicsr {verb}', description=description, epilog=epilog,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (yml)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='how the processes of a distributed run are started')
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest saved state of this run')
    parser.add_argument('--debug', action='store_true', help='validate and save every few iterations')
    parser.add_argument('--local_rank', type=int, default=0, help='set by launchers')
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE',
                        help='override keys of the option file, as in train:ema_decay=0.999')
    parsed = parser.parse_args(arguments)
    with open(parsed.opt):  # a missing file is named before anything else happens
        pass
    sys.argv = [f'basicsr {verb}', *arguments]
    return parsed
