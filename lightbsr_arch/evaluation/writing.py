"""Tables as texts, and files of results, which are whole or not there."""
from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import checkpoints


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A markdown table of a head and lines, with columns as wide as their widest cell."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    head, *body = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |' for line in lines]
    return '\n'.join([head, '| ' + ' | '.join('-' * width for width in widths) + ' |', *body])


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator='\n').writerows(lines)
    return buffer.getvalue()


def json_text(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def slug(*words: str) -> str:
    """A name fit for a file."""
    return '_'.join(re.sub(r'\W+', '_', word).strip('_') for word in words)


def write(prefix: str, texts: Mapping[str, str]) -> None:
    """Writes `prefix`.md and the like from texts by suffix, each whole or not at all."""
    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    for suffix, text in texts.items():
        with (checkpoints.replacing(f'{prefix}.{suffix}') as temporary,
              open(temporary, 'w', encoding='utf-8', newline='') as file):
            file.write(text)
