"""Tables of `basicsr idr` as markdown, CSV and JSON."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from . import writing
from .study import Study
from .writing import aligned, csv_text, json_text


@dataclass(frozen=True)
class Table:
    """A table of figures.

    keys: What a row is about, such as method. columns: Statistic -> the direction that is better, an arrow or nothing.
    rows: The keys' texts and the figures by column; a missing one is left blank. notes: Lines below the table.
    """

    title: str
    keys: tuple[str, ...]
    columns: Mapping[str, str]
    rows: Sequence[tuple[tuple[str, ...], Mapping[str, Optional[float]]]]
    notes: str = ''


def write(study: Study, stem: str, tables: Sequence[Table], facts: Mapping[str, Any]) -> str:
    """Writes STEM.md, .csv and .json into the study's folder.

    Args:
        facts: What the JSON says besides: networks, images, degradations.

    Returns:
        The markdown.
    """
    text = f'# {study.name}\n\n' + '\n\n'.join(map(markdown, tables)) + '\n'
    content = {**facts, 'tables': [_plain(table) for table in tables]}
    writing.write(os.path.join(study.folder, stem), {'md': text, 'csv': as_csv(tables), 'json': json_text(content)})
    return text


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
    lines: list[Sequence[object]] = [('table', *tables[0].keys, 'statistic', 'value')]
    for table in tables:
        for row, values in table.rows:
            lines += [(table.title, *row, column, value) for column, value in values.items()]
    return csv_text(lines)


def _plain(table: Table) -> dict[str, Any]:
    """Without figures that are infinite, for which JSON has no word."""
    rows = [dict(zip(table.keys, keys)) | {name: None if value == math.inf else value for name, value in values.items()}
            for keys, values in table.rows]
    return {'title': table.title, 'better': dict(table.columns), 'rows': rows}
