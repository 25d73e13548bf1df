"""constraints.txt, which `make` installs by."""
from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CONSTRAINTS = Path(__file__).resolve().parents[1] / 'constraints.txt'


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12'])
def test_each_python_that_is_promised_has_the_versions(python: str) -> None:
    installed = {dist.name.lower().replace('_', '-'): dist.metadata for dist in metadata.distributions()}
    asked = [Requirement(line) for line in CONSTRAINTS.read_text().splitlines() if not line.startswith('#')]
    asked = [r for r in asked if r.name in installed and (r.marker is None or r.marker.evaluate({'python_version': python}))]
    refused = [r.name for r in asked
               if not SpecifierSet(installed[r.name]['Requires-Python'] or '').contains(f'{python}.13')]
    assert len(asked) > 20 and not refused
