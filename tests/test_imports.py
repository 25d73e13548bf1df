"""The direction of imports: read from the sources, never by importing."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'lightbsr_arch'
ALLOWED = {
    'cli': {'allocator', 'option_files', 'option_notes', 'config', 'evaluation', 'inference', 'checkpoints', 'plugin', 'degradations', 'data', 'basicsr_compat'},
    'plugin': {'basicsr_compat', 'archs', 'data', 'losses', 'models', 'option_checks', 'metrics.perceptual'},
    'option_checks': {'config', 'models'},
    'models': {'metrics.idr_statistics', 'archs', 'losses', 'degradations', 'checkpoints', 'config', 'basicsr_compat'},
    'data': {'degradations', 'config', 'basicsr_compat', 'folders'},
    'inference': {'allocator', 'archs', 'checkpoints', 'folders'},
    'evaluation': {'allocator', 'metrics', 'option_files', 'data', 'degradations', 'checkpoints', 'inference', 'config'},
    'option_notes': {'basicsr_compat'},
    'basicsr_compat': {'checkpoints', 'config', 'option_files'},
    'archs': {'degradations.resize'},
    'spandrel_support': {'archs', 'checkpoints', 'basicsr_compat.imports'},
    'allocator': set(), 'losses': set(), 'metrics': set(), 'degradations': set(), 'config': set(), 'folders': set(), 'option_files': set(), 'checkpoints': set(), '__init__': set(),
}
WITHOUT_BASICSR = {'allocator', 'archs', 'losses', 'metrics', 'degradations', 'config', 'folders', 'option_files', 'checkpoints', 'inference', 'spandrel_support', '__init__'}


def imported(module: str, source: str) -> Iterator[str]:
    """Full names of what a module imports, wherever in it; `from x import y` gives x.y."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split('.')[:-node.level] if node.level else []
            yield from ('.'.join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def violations(module: str, source: str) -> list[str]:
    """What a module imports and may not.

    Args:
        module: Its full name; a package's is `lightbsr_arch.archs.__init__`.
    """
    part = module.split('.')[1]
    wrong = []
    for name in imported(module, source):
        root, _, inside = name.partition('.')
        if root == 'lightbsr_arch':
            own = inside.split('.')[0] == part or inside == '__version__'
            fine = own or any(f'{inside}.'.startswith(f'{target}.') for target in ALLOWED[part])
        else:
            fine = (root != 'basicsr' or part not in WITHOUT_BASICSR) and (
                root != 'matplotlib' or module.startswith('lightbsr_arch.evaluation.plots'))
        if not fine:
            wrong.append(f'{module} imports {name}')
    return wrong


def sources() -> dict[str, str]:
    return {'.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts): path.read_text()
            for path in sorted(PACKAGE.rglob('*.py'))}


def test_no_import_goes_the_wrong_way() -> None:
    modules = sources()
    assert len(modules) > 30
    assert [line for module, source in modules.items() for line in violations(module, source)] == []


@pytest.mark.parametrize('module, source, is_wrong', [
    ('archs.layers', 'from ..losses import ContrastiveLoss', True),
    ('archs.layers', 'def f():\n    from .. import losses', True),
    ('archs.layers', 'import lightbsr_arch.models.stages', True),
    ('archs.layers', 'from ..degradations import degrade', True),
    ('archs.layers', 'from ..degradations.resize import imresize', False),
    ('archs.layers', 'from .momentum_encoder import MomentumEncoder', False),
    ('archs.layers', 'from basicsr.utils import registry', True),
    ('archs.__init__', 'from . import layers', False),
    ('archs.__init__', 'from .. import plugin', True),
    ('models.stages', 'from ..config import build', False),
    ('models.stages', 'from ..data import test_sets', True),
    ('models.stages', 'from ..config_of_another import build', True),
    ('evaluation.tables', 'import matplotlib.pyplot as plt', True),
    ('evaluation.plots', 'import matplotlib.pyplot as plt', False),
    ('evaluation.plots', 'from ..archs import LightBSR', True),
    ('data.stores', 'from basicsr.utils import FileClient', False),
    ('data.stores', 'if True:\n    from ..models import stages', True),
    ('basicsr_compat', 'from . import archs', True),
    ('basicsr_compat', 'from . import checkpoints', False),
    ('inference.export', 'from basicsr.archs import build_network', True),
    ('spandrel_support', 'from .inference import export', True),
    ('config', 'from .degradations import degrade', True),
    ('__init__', 'from . import plugin', True),
])
def test_the_checker_finds_a_wrong_import(module: str, source: str, is_wrong: bool) -> None:
    assert bool(violations(f'lightbsr_arch.{module}', source)) == is_wrong
