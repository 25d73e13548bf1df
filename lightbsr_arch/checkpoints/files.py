"""Reading and writing files of weights: allow-listed contents only, whole or not at all."""
from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Callable, Optional

import safetensors.torch
import torch
from torch import Tensor

from .detection import our_arch, our_arguments
from .errors import CheckpointError
from .upstream import from_upstream, upstream_arch

NOTES_KEY = 'lightbsr_arch'  # in the metadata of formats that hold texts alone, as JSON


@dataclass(frozen=True)
class Checkpoint:
    """A file's contents: arch name and arguments where the file names them, weights, and what it was trained on.

    degradation: The `degradation:` section of that run, or 'real-world' for BasicSR's RealESRGANDataset.
    """

    state_dict: dict[str, Tensor]
    arch: Optional[str] = None
    kwargs: Optional[dict[str, Any]] = None
    degradation: Optional[dict[str, Any] | str] = None

    @property
    def notes(self) -> dict[str, Any]:
        """What a file says besides the weights: `network` (type and arguments) and `degradation`, where known."""
        network = {} if self.arch is None else {'network': {'type': self.arch, **self.kwargs}}
        return network | ({} if self.degradation is None else {'degradation': self.degradation})


def load(path: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint of this package or of a release; averaged (EMA) weights where there are any.

    Returns:
        Arch name, its keyword arguments, state dict.

    Raises:
        CheckpointError: as `read_named`.
    """
    checkpoint = read_named(path)
    return checkpoint.arch, checkpoint.kwargs, checkpoint.state_dict


def read_named(path: str, param_key: Optional[str] = None) -> Checkpoint:
    """As `read`, and a network of this package that the file does not name is recognised from its weights.

    Raises:
        CheckpointError: as `read`, or weights of an unnamed network that is none of this package's.
    """
    checkpoint = read(path, param_key)
    if checkpoint.arch is not None:
        return checkpoint
    arch = our_arch(checkpoint.state_dict)
    if arch is None:
        raise CheckpointError(f'{path} does not say which network it holds, and its weights are not of LightBSR or KDSR, '
                              'nor of their releases. Name the network in an option file (network_g) to load it')
    try:
        return replace(checkpoint, arch=arch, kwargs=our_arguments(arch, checkpoint.state_dict))
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from None


def read(path: str, param_key: Optional[str] = None) -> Checkpoint:
    """Reads a file of weights: this package's, BasicSR's, or a release's.

    Args:
        path: The file.
        param_key: Where in the file the weights are; None takes the averaged ones (`params_ema`) where there are any, or
            those under `params`. A file that holds nothing else may have its weights under no key.

    Raises:
        CheckpointError: unreadable, or without that key.
    """
    content = read_file(path)
    keys = [key for key, value in content.items() if _is_state_dict(value)]
    if param_key is None:
        param_key = next((key for key in ('params_ema', 'params') if key in keys), None)
    elif keys and param_key not in keys:
        raise CheckpointError(f'{path} has no weights under {param_key!r}, only under {" and ".join(map(str, keys))}: '
                              'change its param_key in the path section')
    state_dict = content[param_key] if param_key in keys else content
    if not _is_state_dict(state_dict):
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


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def require(path: str, key: str) -> None:
    """Looks whether an option file's weights are there.

    Args:
        path: The file.
        key: Where the option file names it, such as path.pretrain_network_t.

    Raises:
        CheckpointError: they are not; the message says what to do.
    """
    if not os.path.isfile(path):
        experiment = re.search(r'([^/]+)/models/[^/]+$', path)
        todo = f'train {experiment[1]} first' if experiment else 'put it there'
        raise CheckpointError(f'{key}: there is no file {path}: {todo}, or name another file')


def read_file(path: str) -> dict[str, Any]:
    """A dictionary that torch wrote, of allow-listed contents; or the like of a .safetensors file.

    Raises:
        CheckpointError: no such file, unreadable, or no dictionary.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f'there is no file {path}')
    try:
        if path.lower().endswith('.safetensors'):
            return _read_safetensors(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch's reader has many ways to stumble
        raise CheckpointError(f'{path} cannot be read as a file of weights, {_reason(path, error)}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a dictionary of weights')
    return content


def _reason(path: str, error: Exception) -> str:
    if path.lower().endswith('.onnx'):
        return 'it is an ONNX file, which --backend onnx runs'
    if 'TorchScript' in str(error):
        return 'it is a TorchScript file; give what it was made from'
    if isinstance(error, pickle.UnpicklingError):
        return 'it may be cut off, or hold objects besides tensors'
    return f'it may be cut off: {str(error).splitlines()[0] if str(error) else type(error).__name__}'


def _read_safetensors(path: str) -> dict[str, Any]:
    with safetensors.safe_open(path, framework='pt') as file:
        notes = json.loads((file.metadata() or {}).get(NOTES_KEY, '{}'))
        return {**notes, 'params': {key: file.get_tensor(key) for key in file.keys()}}


PAUSES = (1, 5)  # seconds before another try


def write(content: dict[str, Any], path: str) -> None:
    """Writes a file with `torch.save`, whole or not at all: temporary file, fsync, rename. Tries three times.

    Raises:
        OSError: the disk is full, or the folder missing or not writable. What stood there before still stands.
    """
    _write(lambda file: torch.save(content, file), path)


def write_safetensors(checkpoint: Checkpoint, path: str) -> None:
    """As `write`, in the safetensors format, with the notes in its metadata. The same content gives the same bytes.

    Raises:
        OSError: as `write`.
    """
    # one entry alone: safetensors writes several in a random order
    metadata = {NOTES_KEY: json.dumps(checkpoint.notes, sort_keys=True)} if checkpoint.notes else None
    content = safetensors.torch.save({k: v.contiguous() for k, v in checkpoint.state_dict.items()}, metadata)
    _write(lambda file: file.write(content), path)


def _write(save: Callable[[BinaryIO], Any], path: str) -> None:
    for pause in (*PAUSES, None):
        try:
            with replacing(path) as temporary, open(temporary, 'wb') as file:
                save(file)
            return
        except (OSError, RuntimeError) as error:  # torch turns some of the former into the latter
            if pause is None:
                raise OSError(f'{path} could not be written, what was saved before is kept: {error}') from error
            time.sleep(pause)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """The name of a temporary file, to be written; at the end it takes the place of `path`, after an error it goes."""
    folder, name = os.path.split(os.path.abspath(path))
    # not tempfile's, which only its owner may read; 50 characters are 200 bytes at most, and names may have 255
    temporary = os.path.join(folder, f'.{name[:50]}.{threading.get_native_id()}.tmp')
    try:
        yield temporary
        with open(temporary, 'r+b') as file:  # to read alone does not do on Windows
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
