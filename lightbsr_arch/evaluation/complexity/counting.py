"""Parameters, multiply-adds and activations."""
from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .networks import Section, Size, build, inputs, named, on_device


@dataclass(frozen=True)
class Cost:
    """Of one image through a network.

    parameters: All of them. trainable: Those that are not frozen, such as a teacher's key encoder.
    multiply_adds: Half of what torch's counter finds: convolutions, linear layers, matrix products, attention.
    activations: Numbers that the convolutions put out, as the efficiency challenges count them.
    """

    parameters: int
    trainable: int
    multiply_adds: float
    activations: int


def count(section: Section, size: Size) -> Cost:
    """Counts a forward pass over shapes, which takes neither time nor memory; an arch that looks at its input's values,
    and so cannot run on shapes, is run on the CPU.

    Raises:
        ValueError: the network cannot be built, or does not take one such image.
    """
    network = build(section)
    try:
        multiply_adds, activations = _count_pass(*on_device(torch.device('meta'), copy.deepcopy(network), section, size))
    except Exception:  # an arch may fail in any way there; a mistake of the user's fails on the CPU, too
        with named(section, size):
            multiply_adds, activations = _count_pass(network, *inputs(network, section, size))
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return Cost(sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained), multiply_adds, activations)


@torch.no_grad()
def _count_pass(network: nn.Module, *tensors: Optional[Tensor]) -> tuple[float, int]:
    convolution = torch.ops.aten.convolution
    flops = FlopCounterMode(display=False)
    outputs = FlopCounterMode(display=False, custom_mapping={convolution: _output_numbers})
    with flops, outputs:
        network(*tensors)
    return flops.get_total_flops() / 2, outputs.get_flop_counts().get('Global', {}).get(convolution, 0)


def _output_numbers(*_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
    return torch.Size(out_shape).numel()
