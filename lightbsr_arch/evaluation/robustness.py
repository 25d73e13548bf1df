"""Maps of PSNR and SSIM over two keys of a degradation, for several methods, in and out of their training range.

Figures are the papers': on Y, `scale` pixels cut at each border, mean over images. Images are degraded as by
`basicsr test`, the same in every run.
"""
from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Optional

import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from tqdm import tqdm

from .. import config
from ..degradations import Degradation, parse_degradation
from . import writing
from .manifest import sha256, versions
from .networks import Method, Sample
from .study import Study, read_section

METRICS = {'psnr': calculate_psnr, 'ssim': calculate_ssim}
RECORD = 'robustness'


@dataclass(frozen=True)
class Axis:
    """A key of a degradation and its values along a map's edge; None for no JPEG compression."""

    key: str
    values: tuple[Optional[float], ...]

    @property
    def texts(self) -> list[str]:
        """The values as figures show them."""
        return ['none' if value is None else f'{value:g}' for value in self.values]


@dataclass(frozen=True)
class Map:
    """A grid of degradations of single values; without rows, a strip of one row.

    cells: Rows of degradations. fixed: What all of them share.
    """

    name: str
    columns: Axis
    rows: Optional[Axis]
    fixed: Mapping[str, float]
    cells: tuple[tuple[Degradation, ...], ...]

    @property
    def file_name(self) -> str:
        return writing.slug(self.name).lower()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.cells), len(self.columns.values)

    def is_covered(self, trained_on: Degradation) -> np.ndarray:
        """(rows, columns), which cells lie in the training range."""
        return np.array([[trained_on.covers(cell) for cell in row] for row in self.cells])


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(Study):
    """An option file of `basicsr robustness`.

    maps: Sections with name, columns, rows (may be left out) and fixed.
    trained_on: What the methods were trained on, as in the `degradation:` of a data set; cells are marked by it.
    reference: A method; the others' differences from it are drawn as well.
    metrics: psnr, ssim.
    """

    maps: tuple[Map, ...]
    trained_on: Degradation
    num_images: Optional[int] = 20
    center_crop: Optional[int] = 192
    metrics: tuple[str, ...] = ('psnr',)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.metrics, tuple) or not self.metrics or not set(self.metrics) <= set(METRICS):
            raise ValueError(f'metrics must be a list of {" and ".join(METRICS)}, got {self.metrics!r}')


@dataclass(frozen=True)
class Panel:
    """A map of one method.

    values: Metric -> (rows, columns).
    fingerprint: Of the weights, images, degradations, metrics and versions that led to them.
    """

    map: Map
    method: str
    fingerprint: str
    values: Mapping[str, np.ndarray]


# ---------------------------------------------------------------------------------------------- option files
def read_options(path: str, data_root: Optional[str] = None) -> RobustnessOptions:
    """Reads and checks an option file.

    Raises:
        ValueError: no such file, or a key that is missing, unknown or wrong; the message names it.
    """
    section = read_section(path, data_root)
    scale = section.get('scale', RobustnessOptions.scale)
    if not isinstance(section.get('maps', []), list):
        raise ValueError(f'{path}: maps must be a list of sections, got {section["maps"]!r}')
    if 'maps' in section:
        if not section['maps']:
            raise ValueError(f'{path}: maps is empty: give a map')
        section['maps'] = [_map(s, f'{path}: maps[{i}]', scale) for i, s in enumerate(section['maps'])]
        _check_names(section['maps'], f'{path}: maps')
    if 'trained_on' in section:
        try:
            section['trained_on'] = parse_degradation(section['trained_on'], scale)
        except ValueError as error:
            raise ValueError(f'{path}: trained_on: {error}') from None
    return config.build(RobustnessOptions, section, path)


@dataclass(frozen=True)
class _MapSection:
    name: str
    columns: Mapping[str, Any]
    rows: Optional[Mapping[str, Any]] = None
    fixed: Optional[Mapping[str, Any]] = None


def _map(section: Any, where: str, scale: int) -> Map:
    parsed = config.build(_MapSection, section, where)
    columns, rows = _axis(parsed.columns, f'{where}.columns'), parsed.rows and _axis(parsed.rows, f'{where}.rows')
    if not isinstance(parsed.fixed, (Mapping, type(None))):
        raise ValueError(f'{where}.fixed must be a section such as {{noise: 5}}, got {parsed.fixed!r}')
    fixed = dict(parsed.fixed or {})
    axes = [axis for axis in (rows, columns) if axis]
    keys = [axis.key for axis in axes] + list(fixed)
    if len(set(keys)) < len(keys):
        raise ValueError(f'{where}: {" and ".join(keys)}: each key of a degradation may be in one of rows, columns and '
                         'fixed')
    try:
        cells = tuple(tuple(parse_degradation({**fixed, **row, columns.key: value}, scale) for value in columns.values)
                      for row in ([{rows.key: value} for value in rows.values] if rows else [{}]))
    except ValueError as error:
        raise ValueError(f'{where} ({parsed.name}): {error}') from None
    if not all(cell.is_point for cell in itertools.chain(*cells)):
        raise ValueError(f'{where}.fixed takes single values, got {fixed}')
    return Map(parsed.name, columns, rows, fixed, cells)


def _axis(section: Any, where: str) -> Axis:
    if not isinstance(section, Mapping) or len(section) != 1:
        raise ValueError(f'{where} must be one key of a degradation with a list of values, such as '
                         f'{{sigma: [1, 2, 3]}}, got {section!r}')
    (key, values), = section.items()
    known = [f.name for f in fields(Degradation)]
    if key not in known:
        raise ValueError(f'{where}: unknown key {key!r}{config.suggest(key, known)}')
    if not isinstance(values, list) or not values or len(set(map(str, values))) < len(values):
        raise ValueError(f'{where}.{key} must be a list of different values, got {values!r}')
    return Axis(key, tuple(values))


def _check_names(maps: list[Map], where: str) -> None:
    names = [m.file_name for m in maps]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f'{where}: figures are named after their maps: give each a name of its own, got '
                         f'{", ".join(repr(m.name) for m in maps)}')


# ---------------------------------------------------------------------------------------------- cells
def run(options: RobustnessOptions, methods: list[Method]) -> list[Panel]:
    """Computes what is not in the study's robustness.json yet, and writes that file after each panel.

    Raises:
        ValueError: images that are missing or unreadable, a method of another scale, a damaged robustness.json.
    """
    path = os.path.join(options.folder, RECORD)
    prints, known = _fingerprints(options, methods), _read_record(f'{path}.json')
    todo = [(chart, method) for chart in options.maps for method in methods
            if prints[chart.name, method.label] not in known]
    panels = {key: _panel(options, key, print_, known[print_]) for key, print_ in prints.items() if print_ in known}
    labels = {method.label for method in methods}
    others = [panel for panel in known.values() if panel['method'] in options.methods.keys() - labels]  # left out this time
    with tqdm(total=sum(math.prod(chart.shape) for chart, _ in todo), unit='cell', disable=not todo) as bar:
        for chart, method in todo:
            bar.set_description(f'{chart.name}, {method.label}')
            key = chart.name, method.label
            panels[key] = _panel(options, key, prints[key], _measure(options, chart, method, bar))
            writing.write(path, {'json': as_json(options, [panels[key] for key in prints if key in panels], others)})
    writing.write(path, {'json': as_json(options, [panels[key] for key in prints], others)})
    return [panels[key] for key in prints]


def _panel(options: RobustnessOptions, key: tuple[str, str], fingerprint: str, values: Mapping[str, Any]) -> Panel:
    chart, = (chart for chart in options.maps if chart.name == key[0])
    return Panel(chart, key[1], fingerprint, {metric: np.array(values[metric]) for metric in options.metrics})


def _measure(options: RobustnessOptions, chart: Map, method: Method, bar: tqdm) -> dict[str, np.ndarray]:
    values = {metric: np.empty(chart.shape) for metric in options.metrics}
    for (row, column), degradation in np.ndenumerate(np.array(chart.cells, dtype=object)):
        figures = [score(method, sample, options) for sample in options.degraded(degradation)]
        for metric in options.metrics:
            values[metric][row, column] = np.mean([figure[metric] for figure in figures])
        bar.update()
    return values


def score(method: Method, sample: Sample, options: RobustnessOptions) -> dict[str, float]:
    """A method's metrics on one sample."""
    sr = method.super_resolve(sample)
    if sr.shape != sample['gt'].shape:
        raise ValueError(f'methods: {method.label} makes {sr.shape[2]}x{sr.shape[1]} pixels of an LR image of '
                         f'{sample["lq"].shape[2]}x{sample["lq"].shape[1]}, not x{options.scale}: correct its network, '
                         'or scale')
    images = tensor2img(sr), tensor2img(sample['gt'])
    figures = {metric: float(METRICS[metric](*images, crop_border=options.scale, test_y_channel=True))
               for metric in options.metrics}
    for metric in [metric for metric, value in figures.items() if math.isnan(value)]:  # SSIM, of less than its window
        raise ValueError(f'{sample["gt_path"]}: {metric} cannot be measured on {sr.shape[2]}x{sr.shape[1]} pixels')
    return figures


def _fingerprints(options: RobustnessOptions, methods: list[Method]) -> dict[tuple[str, str], str]:
    """(map, method) -> a checksum of all that decides on its values."""
    images = hashlib.sha256()
    for sample in options.degraded(options.maps[0].cells[0][0]):
        images.update(sample['gt'].numpy().tobytes() + os.path.basename(sample['gt_path']).encode())  # noise: by name

    def fingerprint(chart: Map, method: Method) -> str:
        decisive = [versions(), images.hexdigest(), options.scale, options.metrics, dict(method.section),
                    method.weights and sha256(method.weights), [[cell.section for cell in row] for row in chart.cells]]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return {(chart.name, method.label): fingerprint(chart, method) for chart in options.maps for method in methods}


# ---------------------------------------------------------------------------------------------- the record
def as_json(options: RobustnessOptions, panels: list[Panel], left_out: Sequence[Mapping[str, Any]] = ()) -> str:
    """All cells, and what they were computed from; `left_out` is kept for when its methods' weights are there again."""
    return writing.json_text({
        **options.facts, 'trained_on': options.trained_on.section, 'metrics': options.metrics,
        'maps': [_map_record(options, chart, [p for p in panels if p.map == chart]) for chart in options.maps],
        'left_out': list(left_out)})


def _map_record(options: RobustnessOptions, chart: Map, panels: list[Panel]) -> dict[str, Any]:
    return {
        'name': chart.name, 'rows': chart.rows and {chart.rows.key: chart.rows.values},
        'columns': {chart.columns.key: chart.columns.values}, 'fixed': chart.fixed,
        'degradations': [[cell.label for cell in row] for row in chart.cells],
        'in_range': chart.is_covered(options.trained_on).tolist(),
        'panels': [{'method': panel.method, 'fingerprint': panel.fingerprint,
                    **{metric: values.tolist() for metric, values in panel.values.items()}} for panel in panels]}


def _read_record(path: str) -> dict[str, dict[str, Any]]:
    """Fingerprint -> the panel's record."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding='utf-8') as file:
        try:
            content = json.load(file)
            return {panel['fingerprint']: panel for panels in (*(chart['panels'] for chart in content['maps']),
                                                               content.get('left_out', [])) for panel in panels}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f'{path} was not written by `basicsr robustness`, or is damaged: move it away') from None
