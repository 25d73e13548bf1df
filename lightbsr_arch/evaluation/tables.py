"""The table that ends a test run: test sets x degradations, beside the paper's figures."""
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Mapping, Optional

from torch import nn

from ..degradations import parse_degradation
from .manifest import image_names, main_folder, manifest
from .paper import departures, method, printed_average, printed_psnr, printed_real_psnr
from .writing import aligned, csv_text, json_text, write


@dataclass(frozen=True)
class Row:
    """One test set under one degradation.

    values: Metrics by name; empty where the test set is missing. paper: The paper's PSNR in dB, if it prints one.
    missing: The folder that is not there. num_images, center_crop: How many images, None if unknown, and the edge of
    their crops.
    """

    dataset: str
    degradation: str
    values: Mapping[str, float]
    paper: Optional[float] = None
    missing: Optional[str] = None
    num_images: Optional[int] = None
    center_crop: Optional[int] = None

    @property
    def difference(self) -> Optional[float]:
        """PSNR less the paper's."""
        return self.values['psnr'] - self.paper if self.paper is not None and 'psnr' in self.values else None


def report(opt: Mapping[str, Any], results: Mapping[str, Mapping[str, Mapping[str, Any]]],
           network: Optional[nn.Module] = None) -> str:
    """Writes `table.md`, `.csv`, `.json` and `manifest.json` into the run's folder.

    Args:
        opt: The option file that BasicSR ran.
        results: BasicSR's `best_metric_results`: data set -> metric -> {val}.
        network: What was tested, to count its parameters.

    Returns:
        The table as markdown, with a title.
    """
    rows = [_row(opt, section, results.get(section['name'], {})) for section in opt['datasets'].values()]
    rows += _averages(opt, rows)
    rows += [_row(opt, section, {}, missing=True) for section in opt.get('missing_test_sets', [])]
    content = record(opt, rows, network)
    compared = dict.fromkeys(row.dataset for row in rows if row.difference is not None)
    remarks = [f'Not like for like: {text}' for text in departures(content, list(compared)) if compared]
    text = '\n\n'.join([f'# {opt["name"]}', markdown(rows), *remarks]) + '\n'
    folder = opt['path']['results_root']
    write(os.path.join(folder, 'table'), {'md': text, 'csv': csv_text(_cells(rows)), 'json': json_text(content)})
    write(os.path.join(folder, 'manifest'), {'json': json_text(manifest(opt))})
    return text


def read_results(path: str) -> dict[str, Any]:
    """What a test run wrote into `table.json`.

    Args:
        path: The file, or its folder.

    Raises:
        ValueError: no such file, or one of another kind.
    """
    path = os.path.join(path, 'table.json') if os.path.isdir(path) else path
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except OSError as error:
        raise ValueError(f'cannot read the results {path}: {error.strerror}') from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not {'name', 'network', 'scale', 'rows'} <= content.keys():
        raise ValueError(f'{path} holds no results of `basicsr test`: give the table.json that it writes')
    return content


def _row(opt: Mapping[str, Any], section: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]],
         missing: bool = False) -> Row:
    name, label = section.get('benchmark') or section['name'], ''
    paper = printed_real_psnr(method(opt['network_g']), name, opt['scale'])
    if 'degradation' in section:
        degradation = parse_degradation(section['degradation'], opt['scale'])
        label = degradation.label
        paper = printed_psnr(method(opt['network_g']), name, degradation, opt['scale'])
    values = {metric: float(result['val']) for metric, result in results.items()}
    if missing:
        return Row(name, label, values, paper, section['dataroot_gt'])
    folder = main_folder(section)
    num_images = (len(image_names(section, folder)) or None) if folder else None
    return Row(name, label, values, paper, None, num_images, section.get('center_crop'))


def _averages(opt: Mapping[str, Any], rows: list[Row]) -> list[Row]:
    """The mean over a test set's degradations, for each set that is tested under several."""
    sections = [s for s in opt['datasets'].values() if s.get('benchmark')]
    averages = []
    for name in dict.fromkeys(section['benchmark'] for section in sections):
        values = [row.values for row in rows if row.dataset == name]
        degradations = [parse_degradation(s['degradation'], opt['scale']) for s in sections if s['benchmark'] == name]
        if len(values) > 1 and all(values):
            paper = printed_average(method(opt['network_g']), name, degradations, opt['scale'])
            means = {metric: sum(v[metric] for v in values) / len(values) for metric in values[0]}
            averages.append(Row(name, 'average', means, paper))
    return averages


def _cells(rows: list[Row]) -> list[list[str]]:
    """A head and a line per row, as text."""
    metrics = list(next((row.values for row in rows if row.values), {}))
    with_paper = any(row.paper is not None for row in rows)
    lines = [['test set', 'degradation', *(m.upper() for m in metrics), *(['paper', 'difference'] * with_paper)]]
    for row in rows:
        values = [f'{row.values[m]:.{2 if m == "psnr" else 4}f}' if m in row.values else '' for m in metrics]
        if row.missing and values:
            values[0] = 'missing'
        paper = ['' if row.paper is None else f'{row.paper:.2f}',
                 '' if row.difference is None else f'{round(row.difference, 2) + 0.0:+.2f}']
        lines.append([row.dataset, row.degradation, *values, *(paper * with_paper)])
    return lines


def markdown(rows: list[Row]) -> str:
    """An aligned markdown table, and a line for each folder that is missing."""
    folders = sorted({os.path.abspath(row.missing) for row in rows if row.missing})
    return aligned(_cells(rows)) + ''.join(f'\n\nmissing: {folder}' for folder in folders)


def record(opt: Mapping[str, Any], rows: list[Row], network: Optional[nn.Module] = None) -> dict[str, Any]:
    """What `table.json` holds: all digits, and what was tested."""
    parameters = network and sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {
        'name': opt['name'], 'network': opt['network_g'], 'weights': opt['path'].get('pretrain_network_g'),
        'scale': opt['scale'], 'parameters': parameters, 'metrics': (opt.get('val') or {}).get('metrics'),
        'rows': [{'dataset': row.dataset, 'degradation': row.degradation, **row.values, 'paper_psnr': row.paper,
                  'difference': row.difference, 'missing': row.missing, 'num_images': row.num_images,
                  'center_crop': row.center_crop} for row in rows]}
