"""Option files: how they are read, completed and answered."""
from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import torch
import yaml

from .. import checkpoints, option_files
from ..config import suggest

Options = dict[str, Any]


class RunName(str):
    """A run's name, which BasicSR asks whether it contains `debug` to mean a debugging run: only if it begins so."""

    def __contains__(self, part: object) -> bool:
        return self.startswith('debug') if part == 'debug' else super().__contains__(part)


class OptionFile(str):
    """The path of an option file, and its text, complete without base and overrides: archiving a run moves its own copy."""

    text: str

    def __new__(cls, path: str, overrides: list[str]) -> OptionFile:
        self = super().__new__(cls, path)
        with open(path, encoding='utf-8') as file:
            self.text = file.read()
        if overrides or 'base' in yaml.load(self.text, yaml.SafeLoader):
            self.text = yaml.safe_dump(option_files.override(option_files.read(path), overrides), sort_keys=False)
        return self


def read_option_files() -> None:
    """`lr: 1e-4` is read as a string (YAML 1.1 wants 1.0e-4), and an option file or --force_yml can run code.

    Our reader also knows `base:`, and applies overrides before anything is made of the options, such as the seed. The
    run's folder gets a copy that is complete without base and overrides, and from which a run may be started; what differs
    from it is named on resuming.
    """
    import basicsr.train
    from basicsr.utils import dist_util

    @dist_util.master_only
    def copy_opt_file(opt_file: OptionFile, experiments_root: str) -> None:
        target = os.path.join(experiments_root, os.path.basename(opt_file))
        if os.path.isfile(target):
            name_changes(option_files.read(target), yaml.load(opt_file.text, option_files.OptionLoader))
        with checkpoints.replacing(target) as temporary, open(temporary, 'w', encoding='utf-8') as file:
            file.write(f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {" ".join(sys.argv)}\n\n{opt_file.text}')

    basicsr.train.copy_opt_file = copy_opt_file


class OverriddenLoader(option_files.OptionLoader):
    """Reads an option file with what `--force_yml` says."""

    def __init__(self, overrides: list[str], stream: TextIO) -> None:
        super().__init__(stream)
        self.overrides = overrides

    def get_single_data(self) -> Any:
        options = option_files.override(super().get_single_data(), self.overrides)
        options['manual_seed'] = options.get('manual_seed') or 0  # BasicSR draws one, and another when the run is resumed
        return {**options, 'name': RunName(options['name'])} if isinstance(options.get('name'), str) else options


def split_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What `--force_yml` says, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--force_yml', nargs='+', action='extend', default=[])
    parsed, others = parser.parse_known_args(arguments)
    return parsed.force_yml, others


@contextlib.contextmanager
def overriding() -> Iterator[None]:
    """BasicSR reads option files by our loader, and sees nothing of `--force_yml`."""
    from basicsr.utils import options
    before = sys.argv
    overrides, others = split_overrides(before[1:])
    options.ordered_yaml = lambda: (functools.partial(OverriddenLoader, overrides), yaml.SafeDumper)
    sys.argv = [before[0], *others]
    try:
        yield
    finally:
        sys.argv = before


def name_changes(before: Options, now: Options) -> None:
    """Optimisers, and BasicSR's schedulers, go on as saved, whatever the option file says now."""
    changes = list(differences(before, now))
    if changes:
        saved = ' (optimisers, and schedulers of BasicSR\'s own models, go on as saved)' if any(
            change.startswith(('train:optim', 'train:scheduler')) for change in changes) else ''
        print(f'basicsr train: changed since this run began: {"; ".join(changes)}{saved}', file=sys.stderr)


def differences(before: Any, now: Any, where: str = '') -> Iterator[str]:
    """Lines such as `train:total_iter 100 -> 200`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from differences(before.get(key), now.get(key), f'{where}:{key}' if where else str(key))
    elif before != now:
        yield f'{where} {before} -> {now}'


def hook_options(prepare_options: Callable[[Options], None]) -> None:
    """No place to complete or check options before a run acts on them; `num_gpu: 1` fails on a machine without GPU."""
    import basicsr.test
    import basicsr.train
    parse = basicsr.train.parse_options

    @functools.wraps(parse)
    def parse_options(root_path: str, is_train: bool = True) -> tuple[Options, Any]:
        try:
            with overriding():
                opt, args = parse(root_path, is_train)
        except KeyError as error:
            raise ValueError(f'the option file lacks the key {error}') from error
        if opt['num_gpu'] and not torch.cuda.is_available():
            print(f'num_gpu is {opt["num_gpu"]}, but there is no CUDA device: running on the CPU.', file=sys.stderr)
            opt['num_gpu'] = 0
        if not torch.cuda.is_available():
            for section in opt['datasets'].values():
                section['pin_memory'] = False  # torch warns of it, and nothing is pinned
        prepare_options(opt)
        args.opt = OptionFile(args.opt, split_overrides(sys.argv[1:])[0])
        return opt, args

    basicsr.train.parse_options = basicsr.test.parse_options = parse_options


def suggest_registered_names() -> None:
    """KeyError: "No object named 'LigthBSR' found in 'arch' registry!", without a hint."""
    from basicsr.utils.registry import Registry

    def get(self: Registry, name: str, suffix: str = 'basicsr') -> Any:
        found = self._obj_map.get(name, self._obj_map.get(f'{name}_{suffix}'))
        if found is None:
            raise ValueError(f'there is no {self._name} named {name!r}{suggest(name, list(self._obj_map))}')
        return found

    Registry.get = get
