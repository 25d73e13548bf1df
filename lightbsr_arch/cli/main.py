"""The program `basicsr`, also named `lightbsr`: one verb a file."""
from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys

from ..allocator import keep_freed_memory
from ..config import suggest

VERBS = {
    'upscale': 'super-resolve images of your own',
    'check': 'whether an option file can be run, and what a training will cost',
    'train': 'train a network from an option file',
    'test': 'test a network from an option file and print a table',
    'demo': 'train and test a small LightBSR or KDSR on photographs, in minutes',
    'prepare': 'cut HR images into sub-images and write LMDB',
    'table': "print a paper's table with one's own rows beside",
    'sweep': 'train and test the rows of an ablation, one after another',
    'idr': 'how well degradation representations tell degradations apart, and whether they are used',
    'robustness': 'maps of PSNR over blur and noise, in and out of the training range',
    'complexity': 'parameters, multiply-adds, latency and memory of networks',
    'compare': 'draw a picture of crops of LR, methods and HR, with PSNR',
    'report': 'one HTML page of tables, curves and before/after sliders',
    'ui': 'a page in the browser to try an image on',
    'convert': "weights to safetensors, BasicSR's or a release's layout; networks to ONNX and TorchScript",
    'degrade': 'write the LR images of a setting for a folder of HR images',
}
NEXT_STEPS = """\
new here?   basicsr demo                                            see it work
            basicsr train -opt options/train_LightBSR_teacher_x4.yml   then the student
            basicsr test -opt options/test_setting1.yml                the paper's table
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0, 1 for an error that a message explains, 2 for wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog='basicsr', description='Blind image super-resolution with LightBSR and KDSR, on BasicSR.',
        epilog='verbs:\n' + ''.join(f'  {verb:10} {text}\n' for verb, text in VERBS.items()) + '\n' + NEXT_STEPS
        + '\n`basicsr VERB --help` tells more.', formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('verb', choices=VERBS, metavar='VERB', help='what to do')
    parser.add_argument('rest', nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not arguments:
        parser.print_help()
        return 2
    if arguments[0] not in VERBS and not arguments[0].startswith('-'):
        parser.error(f'there is no verb {arguments[0]!r}{suggest(arguments[0], list(VERBS))}')
    chosen = parser.parse_args(arguments[:1])
    keep_freed_memory()
    run = importlib.import_module(f'.{chosen.verb}', __package__).run
    try:
        status = run(arguments[1:])
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as in `basicsr table lightbsr-3 bicubic | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        report(chosen.verb, error)
        return 1
    except KeyboardInterrupt:
        print(f'basicsr {chosen.verb}: interrupted', file=sys.stderr)
        return 130


def report(verb: str, error: Exception) -> None:
    """One line on the terminal, and in the run's log file where there is one."""
    message = str(error)
    if message.startswith('Caught '):  # a loading process's error: torch puts its traceback into the text
        message = message.strip().splitlines()[-1].partition(': ')[2]
    logger = logging.getLogger('basicsr')
    if any(isinstance(handler, logging.FileHandler) for handler in logger.handlers):
        logger.error(f'basicsr {verb}: error: {message}')
    else:
        print(f'basicsr {verb}: error: {message}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
