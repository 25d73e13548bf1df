"""What the verbs' command lines have in common."""
from __future__ import annotations

import argparse


def make_parser(verb: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Of `basicsr VERB`; the texts are shown as they are written."""
    return argparse.ArgumentParser(prog=f'basicsr {verb}', description=description, epilog=epilog,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)


def add_study(parser: argparse.ArgumentParser) -> None:
    """The flags of the verbs that compare methods on images, see `evaluation.study`."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (yml)')
    parser.add_argument('--data-root', metavar='FOLDER', help="where the images are (default: the option file's own)")
    parser.add_argument('--skip-missing', action='store_true', help='leave out methods whose weights are not there')


def positive(text: str) -> int:
    """The type of a flag that is a whole number from 1 upwards."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number from 1 upwards, got {text!r}')
    return int(text)
