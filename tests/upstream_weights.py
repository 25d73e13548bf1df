"""State dicts of the releases, filled with the weights under which the golden outputs were computed.

`golden/upstream_state_dicts.json` holds the releases' keys and shapes; a tensor follows from its key and shape alone.
"""
from __future__ import annotations

import json
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / 'golden'
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


@lru_cache(maxsize=None)
def state_dict(network: str) -> dict[str, Tensor]:
    """Of a network that the file names, such as `lightbsr_student_x4`; not to be changed."""
    shapes = json.loads((GOLDEN / 'upstream_state_dicts.json').read_text())[network]
    return {key: torch.from_numpy(_fill(key, tuple(shape))) for key, shape in shapes.items()}


def golden(name: str) -> dict[str, Tensor]:
    """The arrays of a file of golden values."""
    with np.load(GOLDEN / f'{name}.npz') as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def _fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    if '_mean.' in key:
        identity = np.eye(3).reshape(3, 3, 1, 1)
        value = identity if key.endswith('weight') else np.array(DIV2K_MEAN) * (-1 if 'sub_mean' in key else 1)
        return value.astype(np.float32)
    if key.endswith(('num_batches_tracked', 'queue_ptr')):
        return np.zeros(shape, np.int64)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith('queue'):
        value = rng.normal(0, 1, shape)
        value /= np.linalg.norm(value, axis=0)
    elif key.endswith('running_var'):
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith('running_mean'):
        value = rng.normal(0, 0.1, shape)
    elif key.endswith('gamma'):
        value = rng.uniform(0.2, 0.6, shape)
    elif len(shape) == 1:
        value = rng.uniform(0.8, 1.2, shape) if key.endswith('weight') else rng.normal(0, 0.05, shape)
    else:
        value = rng.normal(0, 1, shape) * np.sqrt(1 / np.prod(shape[1:]))
    return np.asarray(value, np.float32).reshape(shape)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two state dicts have the same keys, types and values."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)
