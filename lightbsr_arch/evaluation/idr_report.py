"""Tables of `basicsr idr` as markdown, CSV and JSON."""
from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .tables import aligned


@dataclass(frozen=True)
class Table:
    """A table of figures.

    keys: What a row is about, such as model. columns: Statistic -> the direction that is better, an arrow or nothing.
    rows: The keys' texts and the figures by column; a missing one is left blank. notes: Lines below the table.
    """

    title: str
    keys: tuple[str, ...]
    columns: Mapping[str, str]
    rows: Sequence[tuple[tuple[str, ...], Mapping[str, Optional[float]]]]
    notes: str = ''


def write(name: str, stem: str, tables: Sequence[Table], facts: Mapping[str, Any]) -> str:
    """Writes STEM.md, .csv and .json into ./results/NAME.

    Args:
        facts: What the JSON says besides: networks, images, degradations.

    Returns:
        The markdown.
    """
    folder = results_folder(name)
    os.makedirs(folder, exist_ok=True)
    content = {'name': name, **facts, 'tables': [_plain(table) for table in tables]}
    texts = {'md': f'# {name}\n\n' + '\n\n'.join(map(markdown, tables)) + '\n', 'csv': as_csv(tables),
             'json': json.dumps(content, indent=2) + '\n'}
    for suffix, text in texts.items():
        with open(os.path.join(folder, f'{stem}.{suffix}'), 'w', newline='', encoding='utf-8') as file:
            file.write(text)
    return texts['md']


def results_folder(name: str) -> str:
    return os.path.join('results', name)


def markdown(table: Table) -> str:
    """A heading, an aligned table, the notes."""
    lines = [[*table.keys, *(f'{column} {arrow}'.strip() for column, arrow in table.columns.items())]]
    for keys, values in table.rows:
        lines.append([*keys, *(_text(values.get(column)) for column in table.columns)])
    return f'## {table.title}\n\n{aligned(lines)}' + (f'\n\n{table.notes}' if table.notes else '')


def _text(value: Optional[float]) -> str:
    return '' if value is None else f'{round(value, 3) + 0.0:.3f}'


def as_csv(tables: Sequence[Table]) -> str:
    """A line for each figure: table, keys of the row, statistic, value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    keys = max((table.keys for table in tables), key=len)
    writer.writerow(['table', *keys, 'statistic', 'value'])
    for table in tables:
        for row, values in table.rows:
            padding = [''] * (len(keys) - len(row))
            writer.writerows([table.title, *row, *padding, column, value] for column, value in values.items())
    return buffer.getvalue()


def _plain(table: Table) -> dict[str, Any]:
    return {'title': table.title, 'better': dict(table.columns),
            'rows': [dict(zip(table.keys, keys)) | dict(values) for keys, values in table.rows]}
