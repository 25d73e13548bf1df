"""`basicsr convert`: weights from one format to another, and networks to ONNX and TorchScript."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .arguments import make_parser

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..checkpoints import Checkpoint

DESCRIPTION = """\
Converts a file of weights. INPUT is one of this package, of BasicSR or of a release (.pth, .pt, .safetensors); a network
that it does not name is recognised from the weights. OUTPUT's ending decides what is written:

  .safetensors   weights, the network's name and arguments
  .pth           the same as BasicSR and this package read it
  .onnx          the network for onnxruntime and the like, for any batch, height and width
  .pt            the network as TorchScript, likewise: runs in PyTorch without this package

With --to upstream, the first two and .pt are weights for the authors' own code."""
EPILOG = """\
.onnx and .pt files are run after writing and compared with the network at odd sizes; a wrong one is not left behind.
The differences are allowed to be 1e-4 of white, with --fp16 1e-2.

  basicsr convert net_g_latest.pth -o lightbsr_x4.safetensors
  basicsr convert net_g_latest.pth -o lightbsr_x4.onnx --fp16
  basicsr convert released_teacher.pt -o teacher.pth --pca-basis pca_matrix.npy
  basicsr convert net_g_latest.pth -o student.pt --to upstream
"""
Write = Callable[['Checkpoint', 'nn.Module', str], str]


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    write = _writer(parsed)
    if os.path.exists(parsed.output) and not parsed.force:
        raise ValueError(f'{parsed.output} is there already: give another name, or --force to replace it')
    folder = os.path.dirname(os.path.abspath(parsed.output))
    if not os.path.isdir(folder):
        raise ValueError(f'there is no folder {folder}')
    from .. import checkpoints, plugin
    plugin.register()
    checkpoint = checkpoints.read_named(parsed.input, parsed.param_key)
    if parsed.pca_basis:
        checkpoint = with_basis(checkpoint, _read_basis(parsed.pca_basis))
    network = _build(parsed.input, checkpoint)
    arguments_text = ', '.join(f'{key}={value!r}' for key, value in checkpoint.kwargs.items())
    print(f'{parsed.input}: {checkpoint.arch}({arguments_text}), {sum(p.numel() for p in network.parameters()):,} '
          'parameters')
    what = write(checkpoint, network, parsed.output)
    basis = checkpoint.state_dict.get('pca_basis')
    if basis is not None and not basis.any():
        print(f'note: {parsed.input} holds no PCA basis: without --pca-basis this teacher can neither be tested nor teach',
              file=sys.stderr)
    print(f'wrote {parsed.output}: {what}, {os.path.getsize(parsed.output) / 1e6:.2f} MB')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('convert', DESCRIPTION, EPILOG)
    parser.add_argument('input', metavar='INPUT', help='file of weights')
    parser.add_argument('-o', '--output', required=True, metavar='OUTPUT', help='file to write')
    parser.add_argument('--to', choices=['upstream'], help="the layout of the authors' release")
    parser.add_argument('--param-key', choices=['params', 'params_ema'],
                        help='which weights of a BasicSR file (default: averaged ones, params_ema, where there are any)')
    parser.add_argument('--pca-basis', metavar='FILE',
                        help="for a release's LightBSR teacher: its PCA basis, t x 441 (.npy, .mat, or a tensor of torch)")
    parser.add_argument('--fp16', action='store_true', help='ONNX that computes in half precision; images stay float32')
    parser.add_argument('--force', action='store_true', help='replace OUTPUT if it is there')
    return parser.parse_args(arguments)


def _writer(parsed: argparse.Namespace) -> Write:
    """Raises ValueError for an ending or flags that do not go together."""
    suffix = os.path.splitext(parsed.output)[1].lower()
    if parsed.fp16 and suffix != '.onnx':
        raise ValueError(f'--fp16 is for .onnx, not for {parsed.output}')
    if parsed.to == 'upstream':
        writers = {'.pt': upstream, '.pth': upstream, '.safetensors': upstream}
    else:
        writers = {'.safetensors': safetensors, '.pth': pth, '.onnx': onnx_fp16 if parsed.fp16 else onnx, '.pt': torchscript}
    if suffix not in writers:
        raise ValueError(f'{parsed.output} must end in {", ".join(writers)}' + ' with --to upstream' * bool(parsed.to))
    return writers[suffix]


# ---------------------------------------------------------------------------------------------- reading
def with_basis(checkpoint: Checkpoint, basis: Tensor) -> Checkpoint:
    """Raises ValueError: the network takes no basis, or one of another shape."""
    own = checkpoint.state_dict.get('pca_basis')
    if own is None:
        raise ValueError(f'--pca-basis is for a LightBSRTeacher that is given the kernel, not for this {checkpoint.arch}')
    if basis.shape != own.shape:
        raise ValueError(f'the PCA basis must be of shape {tuple(own.shape)}, one row a component, not {tuple(basis.shape)}')
    return replace(checkpoint, state_dict=checkpoint.state_dict | {'pca_basis': basis.float()})


def _read_basis(path: str) -> Tensor:
    """(t, 441) from either orientation.

    Raises:
        ValueError: no such file, or none with one matrix.
    """
    import numpy as np
    import scipy.io
    import torch
    suffix = os.path.splitext(path)[1]
    try:
        if suffix == '.npy':
            found = [np.load(path, allow_pickle=False)]
        elif suffix == '.mat':
            found = [value for key, value in scipy.io.loadmat(path).items() if not key.startswith('__')]
        else:
            found = [torch.load(path, map_location='cpu', weights_only=True)]
        basis, = (torch.as_tensor(value) for value in found)
        return (basis.T if basis.shape[0] == 441 else basis).contiguous()
    except Exception as error:  # three readers, each with errors of its own
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(f'--pca-basis {path} cannot be read as one matrix (.npy, .mat, or a tensor of torch): '
                         f'{reason}') from error


def _build(path: str, checkpoint: Checkpoint) -> nn.Module:
    from basicsr.utils.registry import ARCH_REGISTRY
    try:
        network = ARCH_REGISTRY.get(checkpoint.arch)(**checkpoint.kwargs).eval().requires_grad_(False)
        network.load_state_dict(checkpoint.state_dict)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(f'{path} does not fit {checkpoint.arch}, its network: {reason}') from None
    return network


# ---------------------------------------------------------------------------------------------- writing
def safetensors(checkpoint: Checkpoint, network: nn.Module, path: str) -> str:
    from .. import checkpoints
    checkpoints.write_safetensors(checkpoint, path)
    return 'safetensors of this package'


def pth(checkpoint: Checkpoint, network: nn.Module, path: str) -> str:
    from .. import checkpoints
    checkpoints.write({'params': checkpoint.state_dict, **checkpoint.notes}, path)
    return 'BasicSR .pth'


def upstream(checkpoint: Checkpoint, network: nn.Module, path: str) -> str:
    from .. import checkpoints
    state_dict = checkpoints.to_upstream(checkpoint.arch, checkpoint.state_dict)
    if path.lower().endswith('.safetensors'):
        checkpoints.write_safetensors(checkpoints.Checkpoint(state_dict), path)
    else:
        checkpoints.write(state_dict, path)
    left_out = ' (without the PCA basis, which has no place there)' if 'pca_basis' in checkpoint.state_dict else ''
    return f"the release's layout{left_out}"


def onnx(checkpoint: Checkpoint, network: nn.Module, path: str, fp16: bool = False) -> str:
    from ..inference.export import OPSET, write_onnx
    difference = write_onnx(network, path, checkpoint.notes, fp16)
    return f'ONNX opset {OPSET}, {"fp16" if fp16 else "fp32"}, within {difference:.1e} of torch'


def onnx_fp16(checkpoint: Checkpoint, network: nn.Module, path: str) -> str:
    return onnx(checkpoint, network, path, fp16=True)


def torchscript(checkpoint: Checkpoint, network: nn.Module, path: str) -> str:
    from ..inference.export import write_torchscript
    return f'TorchScript, within {write_torchscript(network, path, checkpoint.notes):.1e} of torch'
