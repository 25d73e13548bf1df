"""`basicsr sweep`: the trainings and tests of an ablation, one after another, and its table."""
from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import yaml

from .. import option_files
from ..config import suggest
from .arguments import make_parser
from .pipeline import parse_options
from .table import Candidate, measure_network

if TYPE_CHECKING:
    from ..evaluation.sweep import Run, SweepOptions, Training

DESCRIPTION = """\
Trains and tests the rows of an ablation, one after another, and prints them beside the paper's. Each row is a
difference from common option files; rows that share a training train it once."""
EPILOG = """\
After an interruption the same command goes on where it stopped: finished trainings are not repeated, and an unfinished
one resumes from its newest state. A training that fails does not hold up the others; the exit status is 1 then.
The complete option file of each training is written to ./results/<name>/options, for `basicsr train` too.

  basicsr sweep -opt options/ablations/lightbsr_table1.yml
  basicsr sweep -opt options/ablations/lightbsr_table1_small.yml          (small networks on BSDS400, two CPU cores)
  basicsr sweep -opt options/ablations/lightbsr_table2.yml --list         (what would be trained, and what is there)
  basicsr sweep -opt options/ablations/kdsr_table4.yml --run S2_no_kd S4_student
"""


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    from .. import plugin
    plugin.register()
    from ..evaluation.complexity import complete
    from ..evaluation.paper_tables import paper_table
    from ..evaluation.sweep import plan
    sweep, runs = plan(parsed.opt)
    paper_table(sweep.table).columns(parsed.only)  # a wrong test set is told before days of training
    runs = _chosen(runs, parsed.run)
    trainings = {training.experiment: training for row in runs for training in row.trainings.values()}
    for training in trainings.values():
        check_copy(training)
    for row in runs:  # before days of training, too
        try:
            for step in row.reported:
                complete(row.network(step))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f'{parsed.opt}: runs: {row.label}: test: {error}') from None
    if parsed.list:
        print(*(f'{row.label}: ' + ', '.join(f'{step} {_state(t)}' for step, t in row.trainings.items()) for row in runs),
              sep='\n')
        return 0
    folder = os.path.join('results', sweep.name, 'options')
    failed = [] if parsed.no_train else train_all(list(trainings.values()), folder, parsed.data_root)
    print(fill_table(sweep, runs, parsed.data_root, parsed.only))
    if failed:
        raise ValueError(f'these trainings failed, see the messages above: {", ".join(failed)}. The same command tries them '
                         'again')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('sweep', DESCRIPTION, EPILOG)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file of the sweep (yml)')
    parser.add_argument('--run', nargs='+', metavar='NAME', help='only these rows')
    parser.add_argument('--list', action='store_true', help='say what would be trained, and stop')
    parser.add_argument('--no-train', action='store_true', help='fill the table with what is trained already')
    parser.add_argument('--data-root', metavar='FOLDER', help="where all data sets start (default: the option files' own)")
    parser.add_argument('--only', nargs='+', metavar='SET', help="test sets, such as Set5 (default: the table's)")
    return parser.parse_args(arguments)


def _chosen(runs: list[Run], names: list[str] | None) -> list[Run]:
    labels = [row.label for row in runs]
    for name in names or []:
        if name not in labels:
            raise ValueError(f'--run: there is no run {name!r}{suggest(name, labels)}')
    return [row for row in runs if names is None or row.label in names]


def check_copy(training: Training) -> None:
    """Weights that were trained with other options under the same name must not become a row.

    Raises:
        ValueError: the option file kept beside them differs, other than in where the data lies.
    """
    if not os.path.isfile(training.own_copy):
        return
    ours, theirs = ({**options, 'data_root': None} for options in (training.options, option_files.read(training.own_copy)))
    if ours != theirs:
        odd = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        raise ValueError(f'{os.path.dirname(training.own_copy)} was trained with other options than the sweep asks for (see '
                         f'{", ".join(odd)}): rename that folder to train anew, or restore the option files')


def check_origins(trainings: Collection[Training]) -> None:
    """A student must not become a row beside a teacher that is yet to be trained, and that it was not distilled from.

    Raises:
        ValueError: a training is done, but one whose weights it started from or learnt from is not.
    """
    to_be_trained = {training.weights for training in trainings if not training.is_trained}
    for training in (training for training in trainings if training.is_trained):
        for origin in to_be_trained & training.origins:
            raise ValueError(f'experiments/{training.experiment} was trained from weights that are no longer there, '
                             f'{origin}: rename it to train both anew, restore them, or fill the table with --no-train')


def _state(training: Training) -> str:
    if training.is_trained:
        return f'{training.experiment} (trained)'
    begun = os.path.isdir(os.path.dirname(training.weights))
    return f'{training.experiment} ({"unfinished" if begun else "to be trained"})'


def train_all(trainings: list[Training], folder: str, data_root: str | None) -> list[str]:
    """Trains what is not trained, each in a process of its own; returns the experiments that failed.

    Raises:
        ValueError: as `check_origins`, or a mistake in the options of one of them, before the first begins.
    """
    check_origins(trainings)
    os.makedirs(folder, exist_ok=True)
    paths = {t.experiment: write_options(t, folder, data_root) for t in trainings if not t.is_trained}
    failed: list[str] = []
    for number, training in enumerate(trainings, 1):
        print(f'\n== {number} of {len(trainings)}: {_state(training)}', flush=True)
        path = paths.get(training.experiment)
        if path is None:
            continue
        status = run_to_its_end([sys.executable, '-m', 'lightbsr_arch.cli.main', 'train', '-opt', path, '--auto_resume'])
        if status == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        if status == 128 + signal.SIGTERM:
            raise SystemExit(status)
        if status != 0:
            failed.append(training.experiment)
    return failed


def write_options(training: Training, folder: str, data_root: str | None) -> str:
    """Writes a training's complete option file, checks it, and returns its path."""
    path = os.path.join(folder, f'{training.experiment}.yml')
    moved = {'data_root': data_root} if data_root else {}
    with open(path, 'w', encoding='utf-8') as file:
        yaml.safe_dump({**training.options, **moved}, file, sort_keys=False)
    try:
        parse_options('train', path, [])
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return path


def run_to_its_end(command: list[str]) -> int:
    """Runs a program; what ends the sweep is passed on to it, once, and waited for: a training saves before it ends.

    Returns:
        The exit status, 128 and its number for a signal.
    """
    with subprocess.Popen(command, start_new_session=True) as child:  # else a terminal's Ctrl-C would reach it a second time
        passed_on = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
        if hasattr(signal, 'SIGHUP'):  # unlike Windows
            passed_on[signal.SIGHUP] = signal.SIGTERM
        before = {number: signal.signal(number, lambda number, _: child.send_signal(passed_on[number])) for number in passed_on}
        try:
            status = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def fill_table(sweep: SweepOptions, runs: list[Run], data_root: str | None, only: list[str] | None) -> str:
    """Tests what is trained, writes the table, and returns it as markdown, followed by the rows that have no weights."""
    from ..evaluation import formats
    from ..evaluation.paper_tables import compare
    rows, missing = {}, []
    for row in runs:
        for step in row.reported:
            training = row.trainings[step]
            label = row.label if len(row.reported) == 1 else f'{row.label} {step}'
            if not training.is_trained:
                missing.append(f'not trained: {label} ({training.weights})')
                continue
            folder = data_root or training.options.get('data_root', '')
            rows[label] = measure_network(sweep.table, Candidate(label, row.network(step), training.weights), folder, only)
    comparison = compare(sweep.table, rows, only)
    formats.write(comparison, os.path.join('results', sweep.name))
    return '\n\n'.join([formats.markdown(comparison), *missing])
