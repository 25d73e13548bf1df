"""An ONNX file as a network: what `export.write_onnx` wrote, run by onnxruntime."""
from __future__ import annotations

import importlib
import json
import os
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .. import checkpoints

PROVIDERS = {'cpu': ['CPUExecutionProvider'], 'cuda': ['CUDAExecutionProvider', 'CPUExecutionProvider']}


class OnnxNetwork:
    """RGB in [0, 1], float (N, 3, H, W) -> float32 (N, 3, sH, sW), where the input lies; nothing is clipped.

    Args:
        path: The file.
        device: 'cpu', 'cuda' or 'cuda:1', where it is computed.

    Attributes:
        scale: s. notes: `Checkpoint.notes` of the weights.

    Raises:
        ValueError: onnxruntime or its CUDA provider is missing, or the file is no ONNX file of this package's; when called,
            onnxruntime fails.
    """

    def __init__(self, path: str, device: str | torch.device = 'cpu') -> None:
        self._session = _session(path, torch.device(device))
        self.notes = _notes(path, self._session)
        self.scale: int = self.notes.pop('scale')

    def __call__(self, lq: Tensor) -> Tensor:
        image = lq.detach().cpu().float().numpy()
        try:
            sr, = self._session.run(None, {'lq': image})
        except Exception as error:  # its own exceptions have no common base
            reason = ' '.join(str(error).split())[:200]
            raise ValueError(f'onnxruntime could not run an image of {lq.shape[-1]}x{lq.shape[-2]}: {reason}') from error
        return torch.from_numpy(sr).to(lq.device)


def best_device() -> str:
    """cuda where torch and onnxruntime both have it, else cpu.

    Raises:
        ValueError: onnxruntime is not installed.
    """
    providers = require('onnxruntime').get_available_providers()
    return 'cuda' if torch.cuda.is_available() and PROVIDERS['cuda'][0] in providers else 'cpu'


def require(name: str) -> ModuleType:
    """A module of an optional package.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f'ONNX needs {error.name}: pip install lightbsr_arch[onnx]') from None


def _session(path: str, device: torch.device) -> Any:
    onnxruntime = require('onnxruntime')
    if device.type not in PROVIDERS:
        raise ValueError(f'ONNX files run on cpu or cuda, not on {device}')
    providers = PROVIDERS[device.type]
    if providers[0] not in onnxruntime.get_available_providers():
        raise ValueError(f'this onnxruntime cannot use {device}, it has no {providers[0]}: pip install onnxruntime-gpu in '
                         'place of onnxruntime, or choose cpu')
    if not os.path.isfile(path):
        raise ValueError(f'there is no file {path}')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone
    settings = [{'device_id': device.index or 0} if device.type == 'cuda' else {}, {}][:len(providers)]
    try:
        return onnxruntime.InferenceSession(path, options, providers, settings)
    except Exception as error:  # its own exceptions have no common base
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(f'{path} cannot be read as an ONNX file: {reason}') from error


def _notes(path: str, session: Any) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(checkpoints.NOTES_KEY)
    notes = json.loads(text or '{}')
    if 'scale' not in notes:
        raise ValueError(f'{path} does not say which network it holds: it is an ONNX file, but was not written by '
                         '`basicsr convert`')
    return notes
