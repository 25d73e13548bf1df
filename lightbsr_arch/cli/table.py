"""`basicsr table`: a paper's table with one's own rows beside the printed ones."""
from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

import yaml

from .. import option_files
from .arguments import make_parser

if TYPE_CHECKING:
    from ..evaluation.paper_tables import PaperTable

SCALE = 4  # of both papers
PAIRS = {'AIM2019': ('AIM2019/valid-gt-clean', 'AIM2019/valid-input-noisy'),
         'NTIRE2020': ('NTIRE2020/track1-valid-gt', 'NTIRE2020/track1-valid-input')}
MODELS = {'LightBSR': 'LightBSRStudentModel', 'LightBSRTeacher': 'LightBSRTeacherModel', 'KDSR': 'KDSRStudentModel',
          'KDSRTeacher': 'KDSRTeacherModel', 'SwinIR': 'SwinIRModel'}
METRICS = {'psnr': {'type': 'calculate_psnr', 'crop_border': SCALE, 'test_y_channel': True},
           'ssim': {'type': 'calculate_ssim', 'crop_border': SCALE, 'test_y_channel': True}}
LPIPS = {'type': 'calculate_lpips', 'crop_border': SCALE, 'better': 'lower'}

DESCRIPTION = """\
Prints a table of LightBSR's or KDSR's paper with rows of your own below the printed ones that they belong to, and the
difference."""
EPILOG = """\
Tables: lightbsr-1 to lightbsr-4 and kdsr-1 to kdsr-5, as numbered in the papers.
A SOURCE is the table.json (or its folder) that `basicsr test` wrote, a file of weights that names its network (this
package's and the releases' do), a name of bundled weights (LightBSR-compact-x4), an option file for testing (its network and
weights are taken), or the word bicubic.
Networks are tested on the table's test sets; the results land in ./results/<table>_<label> and are taken from there as
long as weights, images and versions stay the same. A LABEL that is a printed row's name, such as M4_full or M4, is set
below that row; otherwise the network decides.
The table is also written to ./results/<table>.md, .csv, .json and .tex.

  basicsr table lightbsr-3                                               only what is printed
  basicsr table lightbsr-3 bicubic mine=net_g_latest.pth --only Set5 Set14
  basicsr table kdsr-1 results/test_KDSR_gaussian8 EDSR=options/test_EDSR_setting1.yml -o paper/table1
"""
Results = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A network to be tested.

    label: Its row's name. network, model_type: As in an option file. weights: The file; None for a network without.
    path: Further keys of `path:`, such as param_key_g.
    """

    label: str
    network: Mapping[str, Any]
    weights: Optional[str] = None
    model_type: str = ''
    path: Mapping[str, Any] = field(default_factory=dict)


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    from .. import plugin
    plugin.register()
    from ..evaluation import formats
    from ..evaluation.paper_tables import compare, paper_table
    paper_table(parsed.table).columns(parsed.only)
    rows = measure(parsed.table, parsed.sources, parsed.data_root, parsed.only)
    comparison = compare(parsed.table, rows, parsed.only)
    formats.write(comparison, parsed.output or os.path.join('results', parsed.table))
    print(formats.markdown(comparison))
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('table', DESCRIPTION, EPILOG)
    parser.add_argument('table', metavar='TABLE', help='lightbsr-3, say')
    parser.add_argument('sources', nargs='*', metavar='[LABEL=]SOURCE', help='a row of your own')
    parser.add_argument('--data-root', default='datasets', metavar='FOLDER',
                        help='where the test sets are, as in option files (default: datasets)')
    parser.add_argument('--only', nargs='+', metavar='SET', help='test sets (default: those of the table)')
    parser.add_argument('-o', '--output', metavar='PREFIX',
                        help='files to write, without suffix (default: results/TABLE)')
    return parser.parse_args(arguments)


# ---------------------------------------------------------------------------------------------- sources
def measure(table: str, sources: Sequence[str], data_root: str = 'datasets',
            only: Optional[Sequence[str]] = None) -> dict[str, Results]:
    """Results by label, read or measured, of `[LABEL=]SOURCE` texts.

    Raises:
        ValueError: a source that is not there or does not tell what is needed; two of one label.
    """
    rows: dict[str, Results] = {}
    found = [find(source) for source in sources]  # a wrong one is told before the others are tested
    labels = [label for label, _ in found]
    for label in labels:
        if [_file_name(other) for other in labels].count(_file_name(label)) > 1:
            raise ValueError(f'several rows would be called {label}: give them names, as in mine=FILE')
    for label, row in found:
        rows[label] = measure_network(table, row, data_root, only) if isinstance(row, Candidate) else row
    return rows


def split_label(word: str) -> tuple[str, str]:
    """`LABEL=SOURCE` -> the two; an empty label without one, or if all of it is a file's name."""
    label, mark, source = word.partition('=')
    return (label, source) if mark and not os.path.exists(word) else ('', word)


def find(source: str) -> tuple[str, Candidate | Results]:
    """A source's label, and its results or the network that is to be tested."""
    from ..inference import bundled
    label, path = split_label(source)
    if path.lower() == 'bicubic':
        return label or 'Bicubic', Candidate(label or 'Bicubic', {'type': 'Bicubic', 'scale': SCALE})
    path = bundled.find(path)
    if not os.path.exists(path):
        raise ValueError(f'there is no {path}: a row is a table.json or its folder, weights, an option file, or the word '
                         'bicubic')
    if os.path.isdir(path) or path.endswith('.json'):
        from ..evaluation.tables import read_results
        results = read_results(path)
        return label or results['name'], results
    candidate = _from_options(label, path) if path.endswith(('.yml', '.yaml')) else _from_weights(label, path)
    return candidate.label, candidate


def _from_options(label: str, path: str) -> Candidate:
    from .. import checkpoints
    from .pipeline import check_outline
    check_outline(path, 'test')
    opt = option_files.read(path)
    if 'train' in opt:
        raise ValueError(f'{path} is an option file for training: give one for testing, or the weights')
    if opt['scale'] != SCALE:
        raise ValueError(f'{path}: scale is {opt["scale"]}, the papers have {SCALE} alone')
    further = dict(opt['path'])
    weights = os.path.expanduser(further.pop('pretrain_network_g', None) or '')
    if weights:
        checkpoints.require(weights, f'{path}: path.pretrain_network_g')
    return Candidate(label or opt['name'], opt['network_g'], weights or None, opt['model_type'], further)


def _from_weights(label: str, path: str) -> Candidate:
    from .. import checkpoints
    weights = checkpoints.read(path)
    if weights.arch is None:
        raise ValueError(f'{path} does not say which network it holds: give an option file for testing it instead')
    scale = weights.kwargs.get('scale', weights.kwargs.get('upscale', SCALE))
    if scale != SCALE:
        raise ValueError(f'{path} holds a network of scale {scale}, the papers have {SCALE} alone')
    experiment = re.search(r'([^/]+)/models/[^/]+$', os.path.abspath(path))
    name = experiment[1] if experiment else os.path.splitext(os.path.basename(path))[0]
    return Candidate(label or name, {'type': weights.arch, **weights.kwargs}, path)


# ---------------------------------------------------------------------------------------------- testing
def measure_network(table: str, candidate: Candidate, data_root: str = 'datasets',
                    only: Optional[Sequence[str]] = None) -> Results:
    """Tests a network on a table's test sets, unless an earlier test of the same is there.

    Test sets that are not on the disk are rows that name their folder under `missing`.
    """
    from ..evaluation.paper_tables import paper_table
    from ..evaluation.tables import read_results
    description = paper_table(table)
    test_sets = list(dict.fromkeys(column.test_set for column in description.columns(only)))
    data_root = os.path.expanduser(data_root)
    places = [(name, os.path.join(data_root, folder)) for name in test_sets for folder in reversed(folders(name))]
    missing = {name: folder for name, folder in places if not os.path.isdir(folder)}
    present = [name for name in test_sets if name not in missing]
    name = f'{table}_{_file_name(candidate.label)}'
    results: Results = {'name': name, 'network': candidate.network, 'scale': SCALE, 'rows': []}
    if present:
        opt = test_options(name, description, candidate, present, data_root)
        if not _is_measured(opt):
            _test(opt)
        results = read_results(os.path.join('results', name))
    measured = {row['dataset'] for row in results['rows']}
    gaps = [{'dataset': test_set, 'degradation': '', 'missing': folder}
            for test_set, folder in missing.items() if test_set not in measured]
    return {**results, 'rows': [*results['rows'], *gaps]}


def folders(test_set: str) -> tuple[str, ...]:
    """HR images, and for real pairs LR images, relative to `data_root`."""
    return PAIRS.get(test_set, (f'benchmarks/{test_set}/HR',))


def _file_name(label: str) -> str:
    return re.sub(r'[^\w.-]+', '_', label)


def test_options(name: str, table: PaperTable, candidate: Candidate, test_sets: Sequence[str], data_root: str) -> Results:
    """An option file for `basicsr test`."""
    if table.setting:
        datasets = {'test': {'type': 'BlindDegradationDataset', 'degradations': table.setting,
                             'benchmarks': {key: folders(key)[0] for key in test_sets}}}
    else:
        datasets = {f'test_{i}': {'name': key, 'type': 'PairedImageDataset', 'dataroot_gt': folders(key)[0],
                                  'dataroot_lq': folders(key)[1], 'io_backend': {'type': 'disk'}}
                    for i, key in enumerate(test_sets, 1)}
    weights = {'pretrain_network_g': candidate.weights} if candidate.weights else {}
    lpips = {'lpips': LPIPS} if 'lpips' in table.metrics and importlib.util.find_spec('pyiqa') else {}
    return {'name': name, 'model_type': candidate.model_type or MODELS.get(candidate.network['type'], 'SRModel'),
            'scale': SCALE, 'num_gpu': 'auto', 'manual_seed': 0, 'data_root': data_root, 'datasets': datasets,
            'network_g': dict(candidate.network), 'path': {**weights, **candidate.path},
            'val': {'save_img': False, 'suffix': None, 'metrics': copy.deepcopy(METRICS | lpips)}}


def _is_measured(opt: Results) -> bool:
    """Whether the results of this option file are there, of the same weights, images and versions."""
    from ..data.test_sets import expand_datasets
    from ..evaluation.manifest import covers, manifest
    expanded = {**copy.deepcopy(opt), 'is_train': False}
    for section in expanded['datasets'].values():
        section |= {'phase': 'test', 'scale': SCALE}
    expand_datasets(expanded)
    wanted = json.loads(json.dumps(manifest(expanded)))
    path = os.path.join('results', opt['name'], 'manifest.json')
    if not os.path.isfile(path):
        return False
    with open(path, encoding='utf-8') as file:
        try:
            return covers(json.load(file), wanted)
        except (ValueError, KeyError, TypeError, AttributeError):  # damaged, and written anew
            return False


def _test(opt: Results) -> None:
    """Tests as `basicsr test` does, with an option file beside the results; BasicSR prints to the standard error."""
    from .. import basicsr_compat
    from .test import test_and_report
    path = os.path.join('results', f'{opt["name"]}.yml')
    os.makedirs('results', exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        yaml.safe_dump(opt, file, sort_keys=False)
    arguments = sys.argv
    try:
        with contextlib.redirect_stdout(sys.stderr):
            test_and_report(['-opt', path])
    finally:
        basicsr_compat.reset_logger()
        sys.argv = arguments
