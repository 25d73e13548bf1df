"""Option files name benchmarks and degradations; BasicSR wants one section for each pair. This writes them out."""
from __future__ import annotations

import os
from typing import Any, Mapping

from ..degradations import benchmark_degradations, parse_degradation

Options = dict[str, Any]


def expand_datasets(opt: Options) -> None:
    """Completes `opt['datasets']` in place.

    - A section with `benchmarks` (name: folder) and `degradations` (a list, or a name that `benchmark_degradations`
      knows) becomes one section for each pair, named `<benchmark>_<degradation>`.
    - Relative folders and lists of images start at `data_root`, where the option file has one.
    - The run's `manual_seed` becomes the training data's seed.
    - When testing, sections without their folder move to `opt['missing_test_sets']`.

    Raises:
        ValueError: a wrong section; no test set on the disk.
    """
    sections: dict[str, Options] = {}
    for key, section in opt['datasets'].items():
        sections.update(_expand(key, section) if 'benchmarks' in section else {key: section})
    for section in sections.values():
        _place(section, opt.get('data_root'))
        if section['phase'] == 'train':
            section.setdefault('seed', opt['manual_seed'])
    opt['missing_test_sets'] = []
    if not opt['is_train']:
        sections, opt['missing_test_sets'] = _split_off_missing(sections)
    opt['datasets'] = sections


def _expand(key: str, section: Options) -> dict[str, Options]:
    shared = {k: v for k, v in section.items() if k not in ('benchmarks', 'degradations', 'name')}
    degradations = section.get('degradations')
    if isinstance(degradations, str):
        degradations = benchmark_degradations(degradations, section['scale'])
    elif isinstance(degradations, list):
        degradations = [parse_degradation(d, section['scale']) for d in degradations]
    if not degradations or isinstance(degradations, Mapping) or not isinstance(section['benchmarks'], Mapping):
        raise ValueError(f'datasets: {key}: benchmarks (name: folder) needs degradations beside it, a list or one of '
                         'setting1, setting2, kdsr_setting2, nine_kernels, gaussian8')
    pairs = [(name, folder, d) for name, folder in section['benchmarks'].items() for d in degradations]
    return {f'{key}_{i:03d}': shared | {
        'name': f'{name}_{d.label}', 'benchmark': name, 'dataroot_gt': folder,
        'degradation': d.section} for i, (name, folder, d) in enumerate(pairs)}


def _place(section: Options, data_root: str | None) -> None:
    for key in ('dataroot_gt', 'dataroot_lq', 'dataroot_flow', 'meta_info_file', 'meta_info'):
        if section.get(key):
            section[key] = os.path.join(os.path.expanduser(data_root or ''), os.path.expanduser(section[key]))


def _split_off_missing(sections: dict[str, Options]) -> tuple[dict[str, Options], list[Options]]:
    missing = [s for s in sections.values() if s.get('dataroot_gt') and not os.path.isdir(s['dataroot_gt'])]
    if len(missing) == len(sections):
        folders = sorted({os.path.abspath(s['dataroot_gt']) for s in missing})
        raise ValueError(f'none of the test sets is on the disk: there is no {", no ".join(folders)}. Set data_root at '
                         'the top of the option file, or on the command line: --force_yml data_root=FOLDER')
    return {k: s for k, s in sections.items() if s not in missing}, missing
