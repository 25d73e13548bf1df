"""Figures: the only place that imports matplotlib."""
from __future__ import annotations

import importlib
from types import ModuleType


def load(name: str) -> ModuleType:
    """A module of this package; called before minutes of work, as matplotlib is optional.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        return importlib.import_module(f'.{name}', __name__)
    except ModuleNotFoundError as error:
        raise ValueError(f'figures need {error.name}: pip install lightbsr_arch[eval]') from None
