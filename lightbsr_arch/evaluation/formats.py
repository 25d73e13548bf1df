"""A comparison with a paper's table as markdown, CSV, JSON and LaTeX."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from . import writing
from .paper_tables import COSTS, Column, Comparison, Line
from .writing import aligned, csv_text, json_text

SPECIAL = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}', '°': r'$^\circ$',
           **{character: f'\\{character}' for character in '&%$#_{}'}}
WIDE = 8  # columns; more are shrunk to the page's width
SPLIT = 15  # columns; more are cut into a table for each group


def write(comparison: Comparison, prefix: str) -> None:
    """Writes `prefix`.md, .csv, .json and .tex."""
    texts = {'md': markdown, 'csv': as_csv, 'json': as_json, 'tex': latex}
    writing.write(prefix, {suffix: text(comparison) for suffix, text in texts.items()})


def cell(line: Line, column: Column) -> str:
    """A figure, `missing` (no such test set on the disk), a dash (not in our results), or nothing (not printed)."""
    value = line.values.get(column)
    if line.kind == 'difference':
        return '' if value is None else f'{round(value, column.digits) + 0.0:+.{column.digits}f}'
    if value is not None:
        return f'{value:.{column.digits}f}'
    return '' if line.kind == 'printed' else 'missing' if column.test_set in line.missing else '–'


def _costs(comparison: Comparison) -> list[str]:
    """The cost columns that any row fills."""
    return [key for key in COSTS if any(key in line.costs for line in comparison.lines)]


def _blocks(comparison: Comparison) -> list[tuple[Column, ...]]:
    """The columns, a group at a time where there are many."""
    if len(comparison.columns) <= SPLIT:
        return [comparison.columns]
    return [tuple(members) for _, members in groupby(comparison.columns, lambda column: column.group)]


def _body(comparison: Comparison, columns: tuple[Column, ...], name: Callable[[Line], str]) -> list[list[str]]:
    costs = _costs(comparison)
    return [[name(line), *(line.costs.get(key, '') for key in costs), *(cell(line, c) for c in columns)]
            for line in comparison.lines]


def remarks(comparison: Comparison) -> list[str]:
    """What stands below the table."""
    return [*comparison.notes, *(f'missing: {name} (there is no {os.path.abspath(folder)})'
                                 for name, folder in comparison.missing.items())]


def markdown(comparison: Comparison) -> str:
    names: dict[str, Callable[[Line], str]] = {
        'printed': lambda line: line.name, 'ours': lambda line: f'**{line.name}** (ours)',
        'difference': lambda line: f'*difference to {line.compared_with}*'}
    blocks, text = _blocks(comparison), f'# {comparison.title}\n'
    for columns in blocks:
        is_part = len(blocks) > 1
        headings = [c.heading if is_part else f'{c.group} {c.heading}'.strip() for c in columns]
        head = ['', *(COSTS[key] for key in _costs(comparison)), *headings]
        lines = [head, *_body(comparison, columns, lambda line: names[line.kind](line))]
        text += (f'\n## {columns[0].group}\n' if is_part else '') + f'\n{aligned(lines)}\n'
    return text + ''.join(f'\n{remark}\n' for remark in remarks(comparison))


def records(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Each figure with its place; None for one of ours that is not measured."""
    for line in comparison.lines:
        place = {'row': line.name, 'kind': line.kind}
        for key, text in line.costs.items():
            yield {**place, 'test_set': '', 'degradation': '', 'metric': key, 'value': text}
        for column in comparison.columns:
            if column in line.values or line.kind == 'ours':
                yield {**place, 'test_set': column.test_set, 'degradation': column.label, 'metric': column.metric,
                       'value': line.values.get(column)}


def as_csv(comparison: Comparison) -> str:
    """One figure a line, all digits; `missing` or nothing for one of ours that is not measured."""
    lines: list[Sequence[Any]] = [('row', 'kind', 'test_set', 'degradation', 'metric', 'value')]
    missing = {line.name: line.missing for line in comparison.lines if line.kind == 'ours'}
    for record in records(comparison):
        *place, value = record.values()
        gap = 'missing' if record['test_set'] in missing.get(record['row'], ()) else ''
        lines.append([*place, gap if value is None else value])
    return csv_text(lines)


def as_json(comparison: Comparison) -> str:
    ours = {line.name: line.compared_with for line in comparison.lines if line.kind == 'ours'}
    return json_text({'table': comparison.name, 'title': comparison.title, 'compared_with': ours,
                      'cells': list(records(comparison)), 'notes': comparison.notes, 'missing': comparison.missing})


# ---------------------------------------------------------------------------------------------- LaTeX
def latex(comparison: Comparison) -> str:
    """A floating table, ready to paste."""
    names: dict[str, Callable[[Line], str]] = {
        'printed': lambda line: escape(line.name), 'ours': lambda line: rf'\textbf{{{escape(line.name)}}} (ours)',
        'difference': lambda line: rf'\textit{{difference to {escape(line.compared_with)}}}'}
    tabulars = '\n\n\\medskip\n'.join(
        _tabular(_head(comparison, columns), _body(comparison, columns, lambda line: names[line.kind](line)))
        for columns in _blocks(comparison))
    below = ''.join(f'\n\n\\smallskip{{\\footnotesize {escape(remark)}}}' for remark in remarks(comparison))
    return ('% needs the packages booktabs and graphicx\n\\begin{table*}[t]\n\\centering\n'
            f'\\caption{{{escape(comparison.title)}.}}\n\\label{{tab:{comparison.name}}}\n'
            f'{tabulars}{below}\n\\end{{table*}}\n')


def _tabular(head: str, body: list[list[str]]) -> str:
    rows = '\n'.join(' & '.join([name, *map(_figure, figures)]) + r' \\' for name, *figures in body)
    columns = 'l' + 'c' * (len(body[0]) - 1)
    text = f'\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}'
    return f'\\resizebox{{\\textwidth}}{{!}}{{%\n{text}}}' if len(body[0]) > WIDE else text


def escape(text: str) -> str:
    return ''.join(SPECIAL.get(character, character) for character in text)


def _figure(text: str) -> str:
    """A difference's sign is set as mathematics; a hyphen would stand for its minus."""
    return f'${text}$' if text.startswith(('+', '-')) else text.replace('–', '--')


def _head(comparison: Comparison, columns: tuple[Column, ...]) -> str:
    """The groups of columns with rules below, then the headings where there are any."""
    costs = [escape(COSTS[key]) for key in _costs(comparison)]
    first, rules, start = ['', *costs], [], len(costs) + 2
    for group, members in groupby(columns, lambda column: column.group):
        width = len(list(members))
        first.append(rf'\multicolumn{{{width}}}{{c}}{{{escape(group)}}}')
        rules.append(rf'\cmidrule(lr){{{start}-{start + width - 1}}}')
        start += width
    if not any(column.heading for column in columns):
        return ' & '.join(first) + r' \\'
    second = ' & '.join(['', *[''] * len(costs), *(escape(column.heading) for column in columns)])
    return ' & '.join(first) + ' \\\\\n' + ''.join(rules) + '\n' + second + r' \\'
