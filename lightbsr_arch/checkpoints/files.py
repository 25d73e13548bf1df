"""Reading and writing files of weights: allow-listed contents only, whole or not at all."""
from __future__ import annotations

import contextlib
import os
import pickle
import time
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from .errors import CheckpointError
from .upstream import from_upstream, upstream_arch


@dataclass(frozen=True)
class Checkpoint:
    """A file's contents: arch name and arguments where the file names them, weights, and what it was trained on.

    degradation: The `degradation:` section of that run, or 'real-world' for BasicSR's RealESRGANDataset.
    """

    state_dict: dict[str, Tensor]
    arch: Optional[str] = None
    kwargs: Optional[dict[str, Any]] = None
    degradation: Optional[dict[str, Any] | str] = None


def load(path: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint of this package or of a release; averaged (EMA) weights where there are any.

    Returns:
        Arch name, its keyword arguments, state dict.

    Raises:
        CheckpointError: unreadable, not a checkpoint, or a file that does not name its network.
    """
    checkpoint = read(path)
    if checkpoint.arch is None:
        raise CheckpointError(f'{path} does not say which network it holds: it was not written by lightbsr_arch, nor '
                              'is it of a known release. Name the network in an option file (network_g) to load it')
    return checkpoint.arch, checkpoint.kwargs, checkpoint.state_dict


def read(path: str, param_key: Optional[str] = None) -> Checkpoint:
    """Reads a file of weights: this package's, BasicSR's, or a release's.

    Args:
        path: The file.
        param_key: `params` or `params_ema`; None takes the averaged weights where there are any.

    Raises:
        CheckpointError: unreadable, or without that key.
    """
    content = state_dict = read_file(path)
    keys = [k for k in ('params_ema', 'params') if isinstance(content.get(k), dict)]
    if keys:
        if param_key is not None and param_key not in keys:
            raise CheckpointError(f'{path} has no weights under {param_key!r}, only under {" and ".join(keys)}: '
                                  'change its param_key in the path section')
        state_dict = content[param_key or keys[0]]
    if not state_dict or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state_dict.items()):
        raise CheckpointError(f'{path} holds no weights of a network, but {", ".join(map(str, list(content)[:5]))}')
    state_dict = {k.removeprefix('module.'): v for k, v in state_dict.items()}
    if upstream_arch(state_dict):
        try:
            arch, kwargs, state_dict = from_upstream(state_dict)
        except CheckpointError as error:
            raise CheckpointError(f'{path}: {error}') from None
        return Checkpoint(state_dict, arch, kwargs)
    network = dict(content['network']) if keys and isinstance(content.get('network'), dict) else {}
    return Checkpoint(state_dict, network.pop('type', None), network, content.get('degradation') if keys else None)


def read_file(path: str) -> dict[str, Any]:
    """A dictionary that torch wrote, of allow-listed contents.

    Raises:
        CheckpointError: no such file, unreadable, or no dictionary.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f'there is no file {path}')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError,
            pickle.UnpicklingError) as error:  # torch's reader has many ways to stumble
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f'{path} cannot be read as a file of weights, it may be cut off: {reason}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a dictionary of weights')
    return content


PAUSES = (1, 5)  # seconds before another try


def write(content: dict[str, Any], path: str) -> None:
    """Writes a file with `torch.save`, whole or not at all: temporary file, fsync, rename. Tries three times.

    Raises:
        OSError: the disk is full, or the folder missing or not writable. What stood there before still stands.
    """
    for pause in (*PAUSES, None):
        try:
            _write_once(content, path)
            return
        except (OSError, RuntimeError) as error:  # torch turns some of the former into the latter
            if pause is None:
                raise OSError(f'{path} could not be written, what was saved before is kept: {error}') from error
            time.sleep(pause)


def _write_once(content: dict[str, Any], path: str) -> None:
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp')  # not tempfile's, which only its owner may read
    try:
        with open(temporary, 'wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
