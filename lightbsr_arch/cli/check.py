"""`basicsr check`: what a run would stumble over, and what it will cost, before it is started."""
from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from .. import option_files
from .arguments import make_parser
from .pipeline import add_override, parse_options

DESCRIPTION = 'Checks an option file, its data and weights, and estimates what a training will cost. Writes nothing.'
EPILOG = """\
The exit status is 0 if the run can be started, whatever the notes say. `basicsr train` does the cheap part by itself.

  basicsr check -opt options/train_LightBSR_teacher_x4.yml
  basicsr check -opt options/train_LightBSR_teacher_x4.yml --thorough     (decodes all images)
  basicsr check -opt options/test_setting1.yml --no-steps
"""
Options = dict[str, Any]


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    verb = _verb(parsed.opt)
    opt = parse_options(verb, parsed.opt, parsed.force_yml)
    report = Report()
    report('options', f'{parsed.opt}: all keys are known; {opt["model_type"]}, {verb}ing {opt["network_g"]["type"]}')
    num_images = check_data(opt, parsed.thorough, report)
    check_weights(opt, report)
    if not report.errors:
        check_building(opt, report)
    if verb == 'train' and not report.errors:
        describe_training(opt, num_images, report)
        if not parsed.no_steps:
            estimate(opt, report)
    report.conclude(parsed.opt)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('check', DESCRIPTION, EPILOG)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (yml) of a training or a test')
    parser.add_argument('--thorough', action='store_true', help='decode all images, not a few')
    parser.add_argument('--no-steps', action='store_true', help='leave out the steps that tell time and memory')
    add_override(parser)
    return parser.parse_args(arguments)


def _verb(path: str) -> str:
    """A file that cannot be read is named later."""
    try:
        content = option_files.read(path)
    except OSError:
        return 'train'
    return 'train' if isinstance(content, dict) and 'train' in content else 'test'


class Report:
    """Prints as it goes, and remembers errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, topic: str, text: str) -> None:
        print(f'{topic:9}{text}', flush=True)

    def error(self, text: str) -> None:
        self.errors.append(text)
        self('  wrong', text)

    def notes(self, texts: Iterable[str]) -> None:
        for text in texts:
            self('  note', text)

    def conclude(self, path: str) -> None:
        """Raises a ValueError if there were errors."""
        if self.errors:
            others = f' (and {len(self.errors) - 1} more, see above)' if len(self.errors) > 1 else ''
            raise ValueError(f'{path} cannot be run: {self.errors[0]}{others}')
        self('ready', f'{path} can be run')


# ------------------------------------------------------------------------------------------------------------- data
def check_data(opt: Options, thorough: bool, report: Report) -> int:
    """Reports on each folder of images once; returns the number of images for training."""
    num_images, seen = 0, set()
    for section in opt['datasets'].values():
        place = tuple(str(section.get(key)) for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file', 'phase'))
        num = check_dataset(section, thorough, report) if place not in seen else 0
        seen.add(place)
        num_images += num if section['phase'] == 'train' else 0
    missing = sorted({section['dataroot_gt'] for section in opt['missing_test_sets']})
    report.notes(f'{folder} is not there: its test sets will be left out' for folder in missing)
    return num_images


def check_dataset(section: Options, thorough: bool, report: Report) -> int:
    """Returns the number of images; 0 if they cannot be found."""
    from basicsr.data import build_dataset

    from .. import basicsr_compat
    from ..data.inspection import inspect, is_error
    folder = section.get('dataroot_gt') or section.get('dataroot_lq')
    report('data', f'{section["phase"]}: {folder}')
    with basicsr_compat.warnings_alone() as messages:
        dataset = attempt(report, build_dataset, section)
        problems = list(inspect(dataset, thorough)) if dataset is not None else []
    report.notes(messages)
    if dataset is None:
        return 0
    report('', f'{len(dataset)} images')
    if is_error(dataset, len(problems)):
        for problem in problems:
            report.error(problem)
    else:
        report.notes(f'{problem}. Another image takes its place' for problem in problems)
    return len(dataset)


def attempt(report: Report, step: Callable[..., Any], *arguments: Any) -> Any:
    """What a step gives, or None and an error in the report."""
    from ..basicsr_compat import plain_errors
    try:
        with plain_errors():
            return step(*arguments)
    except OSError as error:
        report.error(f'{error.filename}: {error.strerror}' if error.filename else str(error))
    except ValueError as error:
        report.error(str(error))
    return None


# --------------------------------------------------------------------------------------------------------- networks
def check_weights(opt: Options, report: Report) -> None:
    """Whether they are there, whatever the data are."""
    from .. import checkpoints
    for key, path in opt['path'].items():
        if key.startswith('pretrain_network_') and path:
            attempt(report, checkpoints.require, path, f'path.{key}')


def check_building(opt: Options, report: Report) -> None:
    from .. import basicsr_compat
    with basicsr_compat.warnings_alone() as messages, warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'This DataLoader will create')  # more workers than cores: a note says so
        attempt(report, basicsr_compat.rehearse, opt)
    report.notes(messages)
    if report.errors:
        return
    for key, path in opt['path'].items():
        if key.startswith('pretrain_network_') and path:
            which = 'of the same setting, ' if key.endswith('_t') else ''
            report('weights', f'{key}: {path}, {which}fits its network')


# --------------------------------------------------------------------------------------------------------- training
def describe_training(opt: Options, num_images: int, report: Report) -> None:
    from .. import basicsr_compat, option_notes
    batch = basicsr_compat.batch_size(opt)
    for number, (trains, iterations) in enumerate(basicsr_compat.stages(opt), 1):
        samples = iterations * batch
        report(f'stage {number}', f'{trains}: {iterations:,} iterations of {batch} images, {samples:,} samples, '
                                  f'{samples / num_images:.3g} passes over the images')
    report.notes(option_notes.notes(opt, num_images))


def estimate(opt: Options, report: Report) -> None:
    from .. import basicsr_compat
    total = 0.0
    with basicsr_compat.warnings_alone() as messages:
        for number, cost in enumerate(basicsr_compat.dry_run(opt), 1):
            total += cost.seconds * cost.iterations
            report('cost', f'stage {number}: {cost.seconds:.3g} s a step, {duration(1000 * cost.seconds)} per 1000, '
                           f'{duration(cost.seconds * cost.iterations)} in all; '
                           f'{cost.memory / 2**30:.2f} GiB at its peak')
            if cost.waits_for_data:
                report.notes([f'it waits for its data: one process loads a batch in {cost.loading:.3g} s, and '
                              f'datasets.train.num_worker_per_gpu is {opt["datasets"]["train"]["num_worker_per_gpu"]}'])
    report.notes(messages)
    report('', f'{duration(total)} for the whole run, without validation')


def duration(seconds: float) -> str:
    return f'{seconds / 3600:.2f} h' if seconds > 360 else f'{seconds / 60:.1f} min'
