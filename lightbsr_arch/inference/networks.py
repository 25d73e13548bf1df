"""Networks from names and files of weights, ready to upscale."""
from __future__ import annotations

import os

from torch import nn

from .. import archs, checkpoints
from . import bundled

STUDENTS = ('LightBSR', 'KDSR')
TEACHERS = {'LightBSRTeacher': 'blur kernel', 'KDSRTeacher': 'original'}
BASELINE = 'Bicubic'


def load_network(weights: str) -> nn.Module:
    """Builds a network in evaluation mode.

    Args:
        weights: A bundled name, `Bicubic` for the baseline, or a file that `checkpoints.load` reads.

    Raises:
        ValueError: no such name or file, a file that does not name its network, a teacher, another network.
    """
    if weights.lower() == BASELINE.lower():
        return archs.Bicubic(scale=4)
    path = bundled.find(weights)
    if not os.path.isfile(path):
        raise ValueError(f'there is no file {path}; the bundled weights are {", ".join(bundled.MODELS.values())} and {BASELINE}')
    arch, kwargs, state_dict = checkpoints.load(path)
    if arch in TEACHERS:
        raise ValueError(f'{path} holds a {arch}, which must be given the {TEACHERS[arch]} of each image and cannot '
                         'upscale: use the weights of the student that was distilled from it')
    if arch not in STUDENTS:
        raise ValueError(f'{path} holds a {arch}: {" and ".join(STUDENTS)} can upscale here')
    try:
        network = getattr(archs, arch)(**{key: value for key, value in kwargs.items() if key != 'idr_noise'})  # for probing
        network.load_state_dict(state_dict)
    except (RuntimeError, TypeError, ValueError) as error:  # torch's and Python's words for what does not fit
        raise ValueError(f'{path} does not fit {arch}: {" ".join(str(error).split())[:300]}') from None
    return network.eval()
