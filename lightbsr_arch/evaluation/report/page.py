"""The page: sections in a template, with style and script inside."""
from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from ... import __version__, checkpoints
from . import sections
from .markup import Markup, element, join
from .pictures import collect
from .runs import TestRun, TrainingRun, read_runs


def write_report(folders: Sequence[str], path: str, title: str | None = None, num_images: int = 12) -> int:
    """Writes the page, whole or not at all; returns its size in bytes.

    Args:
        folders: Of results that `basicsr test` and `basicsr train` wrote.
        title: By default the runs' names.
        num_images: Sliders at most.

    Raises:
        ValueError: a folder that is no result, damaged files.
    """
    content = page(read_runs(folders), title, num_images).encode()
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with checkpoints.replacing(path) as temporary, open(temporary, 'wb') as file:
        file.write(content)
    return len(content)


def page(runs: Sequence[TestRun | TrainingRun], title: str | None = None, num_images: int = 12) -> str:
    """The HTML; all that comes from the runs is escaped."""
    parts = {suffix: (files(__package__) / f'page.{suffix}').read_text(encoding='utf-8') for suffix in ('html', 'css', 'js')}
    outline = _outline(runs, num_images)
    return Template(parts['html']).substitute(
        title=join([title or ', '.join(run.label for run in runs)]), style=parts['css'], script=parts['js'],
        contents=join(element('a', name, href=f'#{anchor}') for anchor, name, _ in outline),
        body=join(element('section', element('h2', name), *content, id=anchor) for anchor, name, content in outline),
        made=join([f'basicsr report, lightbsr_arch {__version__}, {datetime.date.today():%d %B %Y}']))


def _outline(runs: Sequence[TestRun | TrainingRun], num_images: int) -> list[tuple[str, str, list[Markup]]]:
    """Anchor, heading and parts of each section that there is something for."""
    tests = [run for run in runs if isinstance(run, TestRun)]
    outline = [('figures', 'Figures', sections.figures(tests))] if tests else []
    if shown := sections.images(collect(runs, num_images), tests):
        outline.append(('images', 'Images', shown))
    trainings = [run for run in runs if isinstance(run, TrainingRun)]
    outline += [(f'training-{i}', f'Training of {run.label}', sections.training(run)) for i, run in enumerate(trainings)]
    return [*outline, ('made-with', 'Made with', [sections.made_with(run) for run in runs])]
