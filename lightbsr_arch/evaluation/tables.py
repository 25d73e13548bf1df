"""The table that ends a test run: test sets x degradations, beside the paper's figures."""
from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from typing import Any, Mapping, Optional

from torch import nn

from ..degradations import parse_degradation
from .manifest import manifest
from .paper import method, printed_average, printed_psnr, printed_real_psnr


@dataclass(frozen=True)
class Row:
    """One test set under one degradation.

    values: Metrics by name; empty where the test set is missing. paper: The paper's PSNR in dB, if it prints one.
    missing: The folder that is not there.
    """

    dataset: str
    degradation: str
    values: Mapping[str, float]
    paper: Optional[float] = None
    missing: Optional[str] = None

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
    texts = {'table.md': f'# {opt["name"]}\n\n{markdown(rows)}\n', 'table.csv': as_csv(rows),
             'table.json': as_json(opt, rows, network), 'manifest.json': json.dumps(manifest(opt), indent=2) + '\n'}
    for name, text in texts.items():
        with open(os.path.join(opt['path']['results_root'], name), 'w', newline='') as file:
            file.write(text)
    return texts['table.md']


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
    return Row(name, label, {metric: float(result['val']) for metric, result in results.items()}, paper,
               section['dataroot_gt'] if missing else None)


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


def aligned(lines: list[list[str]]) -> str:
    """A markdown table of a head and lines, with columns as wide as their widest cell."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    head, *body = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |' for line in lines]
    return '\n'.join([head, '| ' + ' | '.join('-' * width for width in widths) + ' |', *body])


def as_csv(rows: list[Row]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator='\n').writerows(_cells(rows))
    return buffer.getvalue()


def as_json(opt: Mapping[str, Any], rows: list[Row], network: Optional[nn.Module] = None) -> str:
    """All digits, and what was tested."""
    parameters = network and sum(p.numel() for p in network.parameters() if p.requires_grad)
    return json.dumps({
        'name': opt['name'], 'network': opt['network_g'], 'weights': opt['path'].get('pretrain_network_g'),
        'scale': opt['scale'], 'parameters': parameters,
        'rows': [{'dataset': row.dataset, 'degradation': row.degradation, **row.values, 'paper_psnr': row.paper,
                  'difference': row.difference, 'missing': row.missing} for row in rows]}, indent=2) + '\n'
