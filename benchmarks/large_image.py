"""Time and peak memory of super-resolving one large image in tiles; by hand, on Linux.

    python -m benchmarks.large_image 3000 4000 --memory 2000
    python -m benchmarks.large_image 300 400 --memory 100 --network KDSR-M --compare

The image is random, which does not change what it costs.
"""
from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from torch import nn

from lightbsr_arch.allocator import keep_freed_memory
from lightbsr_arch.archs import KDSR, LightBSR
from lightbsr_arch.inference import bundled, needs_tiles, tiles
from lightbsr_arch.inference.devices import ready
from lightbsr_arch.inference.networks import load_network

NETWORKS = {
    'compact': lambda: load_network(bundled.MODELS['clean']),
    'LightBSR': lambda: LightBSR(layer_scale=0.1),
    'KDSR-M': KDSR,
}


def main() -> None:
    parsed = parse()
    torch.manual_seed(0)
    keep_freed_memory()
    network = ready(NETWORKS[parsed.network]().eval(), parsed.device)
    lq = np.random.default_rng(0).integers(0, 256, (3, parsed.height, parsed.width), dtype=np.uint8)
    print(f'{parsed.network}, LR {parsed.width} x {parsed.height}, tiles in {parsed.memory} MB, '
          f'needed: {needs_tiles(network, parsed.height, parsed.width, parsed.memory * 10**6)}')
    print(f'before: {peak():.2f} GB', flush=True)
    start, worked = time.perf_counter(), time.process_time()
    sr = super_resolve(network, lq, parsed.memory * 10**6, start)
    print(f'{time.perf_counter() - start:.0f} s, CPU time {time.process_time() - worked:.0f} s, peak {peak():.2f} GB, of '
          f'which the output takes {sr.nbytes / 1e9:.2f} GB')
    if parsed.compare:
        compare(network, lq, parsed.memory * 10**6)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('height', type=int, help='of the LR image')
    parser.add_argument('width', type=int)
    parser.add_argument('--memory', type=int, default=2000, metavar='MB', help='for tiles and feature maps (default: 2000)')
    parser.add_argument('--network', choices=NETWORKS, default='compact')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--compare', action='store_true', help='also run the whole image at once')
    return parser.parse_args()


def super_resolve(network: nn.Module, lq: np.ndarray, memory: int, start: float) -> np.ndarray:
    """The output (3, 4H, 4W) in 8 bits."""
    sr = np.zeros((3, *(4 * n for n in lq.shape[1:])), np.uint8)
    for i, (rows, columns, tile) in enumerate(tiles(network, lq, memory)):
        if i == 0:
            print(f'first tile after {time.perf_counter() - start:.0f} s, peak {peak():.2f} GB', flush=True)
        sr[:, rows, columns] = tile.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    return sr


@torch.no_grad()
def compare(network: nn.Module, lq: np.ndarray, memory: int) -> None:
    """Prints what the whole image takes and how far tiles are from it."""
    start, device = time.perf_counter(), next(network.parameters()).device
    whole = network(torch.from_numpy(lq)[None].to(device) / 255)[0].cpu()
    print(f'at once: {time.perf_counter() - start:.0f} s, peak {peak():.2f} GB')
    difference = max(float((whole[:, rows, columns] - tile).abs().max()) for rows, columns, tile in tiles(network, lq, memory))
    print(f'largest difference {difference:.1e}, spread of the output {float(whole.std()):.3f}')


def peak() -> float:
    """GB of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == '__main__':
    main()
