"""What an installation is made of: constraints.txt, and the files of a wheel."""
from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12'])
def test_each_python_that_is_promised_has_the_versions(python: str) -> None:
    installed = {dist.name.lower().replace('_', '-'): dist.metadata for dist in metadata.distributions()}
    asked = [Requirement(line) for line in (ROOT / 'constraints.txt').read_text().splitlines() if not line.startswith('#')]
    asked = [r for r in asked if r.name in installed and (r.marker is None or r.marker.evaluate({'python_version': python}))]
    refused = [r.name for r in asked
               if not SpecifierSet(installed[r.name]['Requires-Python'] or '').contains(f'{python}.13')]
    assert len(asked) > 20 and not refused


def test_a_wheel_holds_all_files_of_the_package_the_option_files_and_both_commands(tmp_path: Path) -> None:
    source, records = tmp_path / 'source', ('logs', 'curves.png')  # of how the bundled weights were trained
    for folder in ('lightbsr_arch', 'options'):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns('__pycache__', *records))
    for name in ('setup.py', 'pyproject.toml', 'README.md'):
        shutil.copy(ROOT / name, source)
    expected = {str(path.relative_to(source)) for folder in ('lightbsr_arch', 'options')
                for path in (source / folder).rglob('*') if path.is_file()}
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--no-index',
                    '--wheel-dir', tmp_path, source], check=True)
    wheel, = tmp_path.glob('*.whl')
    held = {name.removeprefix('lightbsr_arch/') if name.startswith('lightbsr_arch/options/') else name
            for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name}
    assert held == expected and len(expected) > 100
    built, = metadata.distributions(path=[str(wheel)])
    assert {command.name: command.value for command in built.entry_points} == dict.fromkeys(
        ('basicsr', 'lightbsr'), 'lightbsr_arch.cli.main:main')
