"""Inference: our networks as the package runs them, against the plain way. `python -m benchmarks.inference --help`."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.evaluation import complexity
from lightbsr_arch.inference.devices import ready

from . import pairs, plain
from .pairs import Pair, Settings, spread_error

SIZES, BATCHES = [(64, 64), (180, 320), (256, 256)], [1, 8]
NETWORKS = {'LightBSR': {'type': 'LightBSR', 'layer_scale': 0.3},  # large enough for each layer to show in the result
            'KDSR-M': {'type': 'KDSR'}}
TINY = {'LightBSR': {'num_feat': 16, 'num_group': 2, 'num_block': 1},
        'KDSR-M': {'num_feat': 8, 'num_block': 2, 'num_estimator_block': 1}}


def plain_lightbsr(net: plain.Layers, lq: Tensor) -> Tensor:
    return plain.lightbsr(net, lq, plain.estimate_idr(net, 'estimator', lq))[0]


PLAIN = {'LightBSR': plain_lightbsr, 'KDSR-M': plain.kdsr}


def ours(net: nn.Module, asked: Settings) -> Callable[[Tensor], Tensor]:
    """The network as the package runs it: made ready, without gradients, in half precision by autocast."""
    net = ready(net, asked.device)
    if asked.compile:
        net = torch.compile(net, mode=asked.compile)

    def upscale(lq: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(lq.device.type, asked.dtype, enabled=asked.dtype != torch.float32):
            return net(lq)
    return upscale


def make_pair(name: str, size: tuple[int, int], batch: int, asked: Settings) -> Pair:
    """A network with random weights, on random images."""
    section = {**NETWORKS[name], **(TINY[name] if asked.quick else {})}
    torch.manual_seed(0)
    net = complexity.build(section).to(asked.device)
    layers, upscale = plain.Layers.of(net), ours(net, asked)
    lq = torch.rand(batch, 3, *size, device=asked.device)

    def plainly() -> Tensor:
        with torch.no_grad():
            return PLAIN[name](layers, lq)
    return Pair(f'{name} {size[0]}x{size[1]} batch {batch}', plainly, lambda: upscale(lq),
                lambda: spread_error(upscale(lq), plainly()), asked.tolerance(1e-4, 0.1), batch,
                lambda: dict.fromkeys(pairs.WAYS, batch * complexity.count(section, size).multiply_adds))


def all_pairs(asked: Settings) -> Iterator[Pair]:
    sizes, batches = ([(16, 16)], [2]) if asked.quick else (SIZES, BATCHES)
    for name in NETWORKS:
        for size in asked.sizes or sizes:
            for batch in asked.batches or batches:
                yield make_pair(name, size, batch, asked)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    asked = pairs.settings(pairs.parser(__doc__).parse_args(arguments))
    return pairs.run('inference', all_pairs, asked)


if __name__ == '__main__':
    main(sys.argv[1:])
