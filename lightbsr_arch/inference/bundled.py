"""The weights that ship with the package: `LightBSR-compact-x4` and the like, a file each."""
from __future__ import annotations

import os

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'weights')
MODELS = {'clean': 'LightBSR-compact-x4', 'noisy': 'LightBSR-compact-noisy-x4'}


def find(weights: str) -> str:
    """The file of bundled weights for their name, in upper or lower case; any other text as it is.

    Raises:
        ValueError: the installation lacks it.
    """
    name = {name.lower(): name for name in MODELS.values()}.get(weights.lower())
    return path(name) if name else weights


def path(name: str) -> str:
    """The file of bundled weights.

    Raises:
        ValueError: the installation lacks it.
    """
    file = os.path.join(FOLDER, f'{name}.safetensors')
    if not os.path.isfile(file):
        raise ValueError(f'the bundled weights {name} are not in this installation: there is no {file}. Install the '
                         'package again, or name a file of weights of your own')
    return file
