"""Networks as files that other programs run, ONNX and TorchScript, for any batch, height and width.

A written file has been run and compared with the network at odd sizes; one that differs is not left behind.
"""
from __future__ import annotations

import io
import itertools
import json
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..archs import KDSR, LightBSR
from .onnx_backend import OnnxNetwork, require

# The first with GELU as one operator: half as many nodes as with 18. onnxruntime knows it since 1.17.
OPSET = 20
SIZES, BATCHES = ((17, 23), (40, 31), (33, 64)), (1, 2)
# Of an output's largest value, or of 1, white, if that is more. fp16 has 11 binary digits and passes through all layers.
BOUND, BOUND_FP16 = 1e-4, 1e-2
Notes = dict[str, Any]


def write_onnx(network: nn.Module, path: str, notes: Notes, fp16: bool = False) -> float:
    """Writes an ONNX file: input `lq` (N, 3, H, W), RGB in [0, 1], output `sr` (N, 3, sH, sW), both float32; H, W >= 1.

    Args:
        network: A LightBSR or KDSR, in evaluation mode, on the CPU, in float32.
        path: The file; what stands there is replaced.
        notes: `Checkpoint.notes`; they and the scale go into the file's metadata.
        fp16: Weights and computation in float16, pooling in float32. Meant for GPUs: CPUs compute it many times slower.

    Returns:
        The largest difference to torch's output, relative to white.

    Raises:
        ValueError: it is another network, the file does not compute what torch does, or a package is missing.
        OSError: it cannot be written.
    """
    check_kind(network)
    onnx = require('onnx')
    model = onnx.load_model_from_string(_onnx_bytes(network))
    if fp16:
        model = _in_fp16(model)
    onnx.helper.set_model_props(model, {checkpoints.NOTES_KEY: json.dumps(notes | {'scale': network.scale})})
    with checkpoints.replacing(path) as temporary:
        onnx.save(model, temporary)
        return checked(network, OnnxNetwork(temporary), BOUND_FP16 if fp16 else BOUND)


def write_torchscript(network: nn.Module, path: str, notes: Notes) -> float:
    """Writes a TorchScript file, which torch.jit.load runs without this package; otherwise as `write_onnx`.

    Not torch.export: that of torch 2.13 cannot prove that the IDR's map, enlarged fourfold and cropped, is as large as the
    image, and ties LightBSR's program to sizes like the example's, all multiples of 4 or none.
    """
    check_kind(network)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # of its age, and of branches on sizes; `checked` sees what matters
        traced = torch.jit.trace(network, _example(), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, {checkpoints.NOTES_KEY: json.dumps(notes | {'scale': network.scale})})
    with checkpoints.replacing(path) as temporary:
        with open(temporary, 'wb') as file:
            file.write(buffer.getvalue())
        return checked(network, torch.jit.load(temporary), BOUND)


def check_kind(network: nn.Module) -> None:
    """Raises ValueError for other networks than LightBSR and KDSR; a teacher needs more than the LR image."""
    if not isinstance(network, (LightBSR, KDSR)):
        raise ValueError(f'LightBSR and KDSR can be exported, not a {type(network).__name__}')


@torch.no_grad()
def checked(network: nn.Module, exported: Callable[[Tensor], Tensor], bound: float) -> float:
    """The largest difference between two networks' outputs, for each of SIZES and BATCHES.

    Raises:
        ValueError: it exceeds `bound`, or sizes differ.
    """
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch, size in itertools.product(BATCHES, SIZES):
        lq = torch.rand(batch, 3, *size, generator=generator)
        expected, found = network(lq), exported(lq)
        same_shape = expected.shape == found.shape
        difference = ((found - expected).abs().max() / expected.abs().max().clamp(min=1)).item() if same_shape else None
        if not same_shape or not difference <= bound:  # NaN compares with nothing
            what = f'differs by {difference:.1e}, allowed are {bound:.0e}' if same_shape else f'is {tuple(found.shape)}'
            raise ValueError(f'the exported network is wrong: its output for {batch} images of {size[0]}x{size[1]} {what}. '
                             'Nothing was written')
        largest = max(largest, difference)
    return largest


def _example() -> Tensor:
    """A batch of two: tracing may take a dimension of 1 for one that never changes."""
    return torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(0))


def _onnx_bytes(network: nn.Module) -> bytes:
    """By the tracing exporter: the one of torch.export takes 70 times as long for LightBSR, to the same end."""
    buffer = io.BytesIO()
    axes = {0: 'batch', 2: 'height', 3: 'width'}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of its age, and of branches on sizes; `checked` sees what matters
        torch.onnx.export(network, (_example(),), buffer, dynamo=False, opset_version=OPSET, input_names=['lq'],
                          output_names=['sr'], dynamic_axes={'lq': axes, 'sr': {0: 'batch', 2: 'sr_height', 3: 'sr_width'}})
    return buffer.getvalue()


def _in_fp16(model: Any) -> Any:
    """Half the size; means over a large image leave fp16's range on the way, and so stay in float32."""
    float16 = require('onnxruntime.transformers.float16')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that numbers below 6e-8 become 6e-8
        return float16.convert_float_to_float16(model, keep_io_types=True,
                                                op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, 'ReduceMean'])
