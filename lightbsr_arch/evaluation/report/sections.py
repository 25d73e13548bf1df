"""The parts of the page: figures, curves, images, and what they were made with."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import yaml

from .. import formats
from ..paper import SCALE, departures
from ..paper_tables import PAPER_TABLES, Comparison, compare, measured
from .charts import line_chart
from .logs import LEARNING_RATE
from .markup import EMPTY, Markup, element, facts, folded, note, table
from .pictures import MAX_EDGE, QUALITY, Picture
from .runs import TestRun, TrainingRun
from .sliders import slider

MAIN_TABLES = ('lightbsr-3', 'lightbsr-4', 'kdsr-1', 'kdsr-2', 'kdsr-3')  # the others are ablations
LOWER_IS_BETTER = re.compile('^l_|^negative_similarity$|lpips|dists|niqe')  # a log has names alone; l_ are losses
Row = Mapping[str, Any]


# ---------------------------------------------------------------------------------------------- figures
def figures(runs: Sequence[TestRun]) -> list[Markup]:
    """A table of all runs, what must be known about it, and the papers' tables with these runs in them."""
    cells = {run.label: {(row['dataset'], row['degradation']): row for row in run.results['rows']} for run in runs}
    places = list(dict.fromkeys(place for rows in cells.values() for place in rows))
    metrics = {metric: section.get('better', 'higher') for run in runs
               for metric, section in (run.results.get('metrics') or {}).items()}
    remarks = [f'{run.label}: not like for like with the paper: {text}' for run in runs for text in _departures(run)]
    missing = dict.fromkeys(f'{row["dataset"]} is missing: there was no {row["missing"]}' for run in runs
                            for row in run.results['rows'] if row.get('missing'))
    return [_overview(runs), _results(cells, places, metrics), *map(note, [*remarks, *missing]),
            *(folded(comparison.title, _paper_table(comparison)) for comparison in _comparisons(runs))]


def _departures(run: TestRun) -> list[str]:
    compared = [row['dataset'] for row in run.results['rows'] if row.get('difference') is not None]
    return departures(run.results, list(dict.fromkeys(compared))) if compared else []


def _overview(runs: Sequence[TestRun]) -> Markup:
    head = _head('run', 'network', 'weights', 'tested on', 'scale', 'parameters', num_texts=4)
    lines = []
    for run in runs:
        parameters = run.results.get('parameters')
        texts = run.results['network']['type'], os.path.basename(run.results.get('weights') or ''), run.date
        numbers = f'×{run.results["scale"]}', '' if parameters is None else f'{parameters:,d}'
        cells = [*(element('td', text, class_='text') for text in texts), *(element('td', number) for number in numbers)]
        lines.append(element('tr', element('th', run.label, scope='row'), *cells))
    return table(head, lines, 'What was tested')


def _head(*texts: str, num_texts: int = 1) -> Markup:
    """A line of headings, the first ones of columns of texts, the others of figures."""
    return element('tr', *(element('th', text, scope='col', class_='text' if i < num_texts else None)
                           for i, text in enumerate(texts)))


def _results(cells: Mapping[str, Mapping[tuple[str, str], Row]], places: Sequence[tuple[str, str]],
             metrics: Mapping[str, str]) -> Markup:
    """A line for each test set and degradation; for each run its metrics, and the paper's PSNR where it prints one.

    metrics: Name -> whether `higher` or `lower` is better.
    """
    papers = {label: any(row.get('paper_psnr') is not None for row in rows.values()) for label, rows in cells.items()}
    heads = {label: [*map(_heading, metrics), *(['paper', 'difference'] * papers[label])] for label in cells}
    first = element('tr', *(element('th', text, scope='col', rowspan=2, class_='text')
                            for text in ('test set', 'degradation')),
                    *(element('th', label, scope='colgroup', colspan=len(heads[label])) for label in cells))
    second = element('tr', *(element('th', text, scope='col') for texts in heads.values() for text in texts))
    lines = []
    for place in places:
        rows = {label: rows.get(place, {}) for label, rows in cells.items()}
        best = {metric: _best([row.get(metric) for row in rows.values()], metric, better)
                for metric, better in metrics.items()}
        values = [cell for label, row in rows.items() for cell in _cells(row, metrics, best, papers[label])]
        names = element('th', place[0], scope='row'), element('td', place[1], class_='text')
        lines.append(element('tr', *names, *values))
    return table(Markup(first + second), lines, 'Results; the best of a line is bold')


def _heading(metric: str) -> str:
    return f'{metric.upper()} (dB)' if metric == 'psnr' else metric.upper()


def _best(values: Sequence[Optional[float]], metric: str, better: str) -> Optional[str]:
    """As it is shown, so that equal texts are equally good; None where there is nothing to compare."""
    known = [value for value in values if value is not None]
    return _text((min if better == 'lower' else max)(known), metric) if len(known) > 1 else None


def _cells(row: Row, metrics: Sequence[str], best: Mapping[str, Optional[str]], with_paper: bool) -> list[Markup]:
    gap = 'missing' if row.get('missing') else ''
    texts = [_text(row.get(metric), metric) or gap for metric in metrics]
    cells = [element('td', element('b', text) if text and text == best[metric] else text)
             for text, metric in zip(texts, metrics)]
    difference = row.get('difference')
    paper = [_text(row.get('paper_psnr'), 'psnr'), '' if difference is None else f'{round(difference, 2) + 0.0:+.2f}']
    return cells + [element('td', text, class_='paper') for text in paper * with_paper]


def _text(value: Optional[float], metric: str) -> str:
    return '' if value is None else f'{value:.{2 if metric == "psnr" else 4}f}'


def _comparisons(runs: Sequence[TestRun]) -> list[Comparison]:
    """The papers' main tables, cut to the test sets that any run was tested on."""
    rows = {run.label: run.results for run in runs if run.results['scale'] == SCALE}
    comparisons = []
    for name in MAIN_TABLES:
        columns = PAPER_TABLES[name].columns()
        places = {(label, column.test_set) for label, results in rows.items() for column in columns
                  if measured(results, column) is not None}
        if places:
            found = {label: results for label, results in rows.items() if label in {label for label, _ in places}}
            comparisons.append(compare(name, found, sorted({test_set for _, test_set in places})))
    return comparisons


def _paper_table(comparison: Comparison) -> Markup:
    """Its lines with those of the runs below the printed ones that they belong to."""
    headings = [f'{column.group} {column.heading}'.strip() for column in comparison.columns]
    lines = []
    for line in comparison.lines:
        name = f'difference to {line.compared_with}' if line.kind == 'difference' else line.name
        cells = [element('td', formats.cell(line, column)) for column in comparison.columns]
        lines.append(element('tr', element('th', name, scope='row'), *cells, class_=line.kind))
    return element('div', table(_head('', *headings), lines, comparison.title), *map(note, comparison.notes))


# ---------------------------------------------------------------------------------------------- images
def images(pictures: Sequence[Picture], runs: Sequence[TestRun]) -> list[Markup]:
    """Sliders, and notes about runs that left no images."""
    reasons = {run.label: 'manifest.json is missing' if run.manifest is None else 'test with val: save_img: true'
               for run in runs if run.manifest is None or not os.path.isdir(run.images)}
    without = [note(f'{label}: no images ({reason})') for label, reason in reasons.items()]
    if not pictures:
        return without
    how = note(f'The images are compressed (WebP, quality {QUALITY}); of images above {MAX_EDGE} pixels the middle is '
               'shown. PSNR is of the whole, uncompressed images, Y channel. Move the boundary with the slider, the arrow '
               'keys, or on the image.')
    return [how, element('div', *(slider(picture) for picture in pictures), class_='grid'), *without]


# ---------------------------------------------------------------------------------------------- trainings
def training(run: TrainingRun) -> list[Markup]:
    """Curves of validation, losses and learning rate, and the best and last of each validation."""
    log = run.log
    curves = [line_chart(f'{metric} in validation', by_set, log.last, log.stage_names, with_points=True)
              for metric, by_set in log.validation.items() if any(len(curve) > 1 for curve in by_set.values())]
    names = sorted(log.steps, key=lambda name: (not name.startswith('l_'), name == LEARNING_RATE))
    curves += [line_chart(name, {name: log.steps[name]}, log.last, log.stage_names) for name in names if log.steps[name]]
    iterations = f'{log.last:,d}' + (f' of {log.total_iter:,d}' if log.total_iter else '')
    about = facts({'iterations': iterations, 'from': log.begun, 'to': log.ended, 'with': log.versions})
    parts = [about, _validations(log.validation), element('div', *curves, class_='grid charts') if curves else
             note('The log holds no curves yet.')]
    if log.skipped:
        parts.append(note(f'{log.skipped} values are not finite; the curves leave them out.'))
    return parts


def _validations(validation: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Markup:
    lines = []
    for metric, by_set in validation.items():
        for data_set, curve in by_set.items():
            if curve:
                best = (min if LOWER_IS_BETTER.search(metric) else max)(curve, key=curve.get)
                numbers = f'{curve[best]:.4f}', f'{best:,d}', f'{curve[max(curve)]:.4f}'
                lines.append(element('tr', element('th', data_set, scope='row'), element('td', metric, class_='text'),
                                     *(element('td', number) for number in numbers)))
    head = _head('validation', 'metric', 'best', 'at iteration', 'last', num_texts=2)
    return table(head, lines, 'Validation') if lines else EMPTY


# ---------------------------------------------------------------------------------------------- made with
def made_with(run: TestRun | TrainingRun) -> Markup:
    """The options of a run, folded away."""
    if isinstance(run, TrainingRun):
        text = run.options
        missing = 'no option file beside the log'
    else:
        text = run.manifest and yaml.safe_dump(_shortened(run.manifest), sort_keys=False, allow_unicode=True)
        missing = 'manifest.json is missing: images and versions are unknown'
    return note(f'{run.label}: {missing}') if text is None else folded(run.label, element('pre', text))


def _shortened(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """With numbers of images instead of their hashes."""
    test_sets = {name: {**test_set, 'images': {key: len(hashes) for key, hashes in test_set['images'].items()}}
                 for name, test_set in manifest['test_sets'].items()}
    return {**manifest, 'test_sets': test_sets}
