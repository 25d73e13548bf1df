"""Option files: how they are read, completed and answered."""
from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import yaml

from .. import option_files
from ..config import suggest

Options = dict[str, Any]


def read_option_files() -> None:
    """`lr: 1e-4` is read as a string (YAML 1.1 wants 1.0e-4), and an option file or --force_yml can run code.

    Our reader also knows `base:`; the run's folder gets a copy that is complete without its base.
    """
    import basicsr.train
    from basicsr.utils import options
    copy = basicsr.train.copy_opt_file

    def copy_opt_file(opt_file: str, experiments_root: str) -> None:
        copy(opt_file, experiments_root)
        with open(opt_file, encoding='utf-8') as file:
            if 'base' not in yaml.load(file, yaml.SafeLoader):
                return
        with open(os.path.join(experiments_root, os.path.basename(opt_file)), 'w', encoding='utf-8') as file:
            yaml.safe_dump(option_files.read(opt_file), file, sort_keys=False)

    options.ordered_yaml = lambda: (option_files.OptionLoader, yaml.SafeDumper)
    options._postprocess_yml_value = lambda v: None if v.lower() == 'none' else yaml.load(v, option_files.OptionLoader)
    basicsr.train.copy_opt_file = copy_opt_file


def hook_options(prepare_options: Callable[[Options], None]) -> None:
    """No place to complete or check options before a run acts on them; `num_gpu: 1` fails on a machine without GPU."""
    import basicsr.test
    import basicsr.train
    parse = basicsr.train.parse_options

    @functools.wraps(parse)
    def parse_options(root_path: str, is_train: bool = True) -> tuple[Options, Any]:
        try:
            opt, args = parse(root_path, is_train)
        except KeyError as error:  # the file's own sections were checked before
            raise ValueError(f'--force_yml: the option file has no section {error}') from error
        if opt['num_gpu'] and not torch.cuda.is_available():
            print(f'num_gpu is {opt["num_gpu"]}, but there is no CUDA device: running on the CPU.', file=sys.stderr)
            opt['num_gpu'] = 0
        if not torch.cuda.is_available():
            for section in opt['datasets'].values():
                section['pin_memory'] = False  # torch warns of it, and nothing is pinned
        prepare_options(opt)
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
