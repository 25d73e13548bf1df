"""`Upscaler`: an image in, a larger one out."""
from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..allocator import keep_freed_memory, return_freed_memory
from ..archs import KDSR, LightBSR
from . import bundled, memory as memory_sizes, views
from .alpha import fill_hidden, split_alpha
from .devices import computing_in, pick_device, pick_dtype, ready
from .networks import load_network
from .noise import NOISY, noise_level
from .onnx_backend import OnnxNetwork, best_device
from .resizing import resize
from .tiling import needs_tiles, tiles

Progress = Callable[[float], None]
BACKENDS = ('torch', 'onnx')


class _NotFinite(ArithmeticError):
    """A network gave infinite values or none."""


class Upscaler:
    """Super-resolves images with LightBSR or KDSR.

    Args:
        weights: A bundled name (`bundled.MODELS`), `Bicubic`, a file of weights, with the backend onnx an .onnx file, or a
            network of one's own, (1, 3, H, W) to `scale` times as much. By default the bundled network for clean or for
            noisy images, whichever suits each image (`noise.noise_level`).
        device: Such as cuda, cuda:1, mps or cpu; by default the best that there is, for the backend.
        precision: fp32, fp16 or bf16; by default fp16 for 8-bit images on CUDA, else fp32. Should a network overflow,
            the image is done again in fp32.
        outscale: Result's size over the image's; by default the network's scale. Others are reached by resizing its
            result (Lanczos).
        ensemble: The mean over the eight views of the image by turns and mirroring: eight times the work.
        memory: Bytes that an image may take besides the program itself (about half a GB), such as 4 * 2**30 or '4GB';
            on a GPU those of the GPU. By default half of what is free. LightBSR and KDSR do larger images in parts, with
            the same result; other networks, and onnx, do every image at once.
        backend: torch or onnx.

    Raises:
        ValueError: an argument that cannot be used, weights that are not there or cannot upscale.
    """

    def __init__(self, weights: Optional[str | os.PathLike[str] | nn.Module] = None, device: Optional[str] = None,
                 precision: Optional[str] = None, outscale: Optional[float] = None, ensemble: bool = False,
                 memory: Optional[int | str] = None, backend: str = 'torch') -> None:
        if outscale is not None and not 0 < outscale < math.inf:
            raise ValueError(f'outscale must be positive, got {outscale}')
        if backend not in BACKENDS:
            raise ValueError(f'backend must be {" or ".join(BACKENDS)}, got {backend!r}')
        if backend == 'onnx' and (precision or memory):
            raise ValueError('the backend onnx runs at the precision of its file and does every image at once: leave precision '
                             'and memory out')
        self.device = pick_device(best_device() if backend == 'onnx' and device is None else device)
        pick_dtype(precision, self.device, 8)
        self._precision = precision
        self._outscale = outscale
        self._views = views.ALL if ensemble else views.PLAIN
        self._memory = memory_sizes.parse_size(memory) if isinstance(memory, str) else memory
        if self._memory is not None and self._memory <= 0:
            raise ValueError(f'memory must be positive, got {memory}')
        self._backend = backend
        self._networks: dict[str, Any] = {}
        keep_freed_memory()
        self._choices = self._load(weights)

    def _load(self, weights: Optional[str | os.PathLike[str] | nn.Module]) -> dict[str, str]:
        """Loads what was asked for; returns the names of the networks for clean and for noisy images."""
        if self._backend == 'onnx':
            if not isinstance(weights, (str, os.PathLike)):
                raise ValueError('the backend onnx needs an .onnx file as weights, see `basicsr convert --help`')
            name = os.fspath(weights)
            self._networks[name] = OnnxNetwork(name, self.device)
        elif isinstance(weights, nn.Module):
            name = type(weights).__name__
            self._networks[name] = weights.eval().to(self.device)
        elif weights is None:
            for name in bundled.MODELS.values():
                bundled.path(name)  # both are there before work begins
            return bundled.MODELS
        else:
            name = os.fspath(weights)
            self._network(name)
        return dict.fromkeys(bundled.MODELS, name)

    def _network(self, name: str) -> Any:
        if name not in self._networks:
            self._networks[name] = ready(load_network(name), self.device)
        return self._networks[name]

    def weights_for(self, image: np.ndarray) -> str:
        """The name of the weights that upscale an image: those asked for, or the bundled ones that suit it."""
        clean, noisy = self._choices['clean'], self._choices['noisy']
        return clean if clean == noisy or noise_level(image) < NOISY else noisy

    def result_size(self, image: np.ndarray, weights: str) -> tuple[int, int]:
        """Height and width of what an image becomes with the weights of `weights_for`."""
        factor = self._outscale or self._network(weights).scale
        height, width = (max(round(factor * side), 1) for side in image.shape[:2])
        return height, width

    def __call__(self, image: np.ndarray, progress: Optional[Progress] = None) -> np.ndarray:
        """Super-resolves an image.

        Args:
            image: (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA, with straight alpha; uint8 or
                uint16.
            progress: Is called with the share that is done, up to 1.

        Returns:
            Of the same kind and type, outscale times as high and wide (rounded, at least 1). Alpha is resized
            (bicubic), and colours of wholly transparent pixels, which mean nothing, are replaced.

        Raises:
            ValueError: no such image, too little `memory`, or a network that gives no finite values.
            MemoryError: the machine or GPU has less than `memory`.
        """
        check_image(image)
        weights = self.weights_for(image)
        network = self._network(weights)
        colours, alpha = split_alpha(image)
        if alpha is not None:
            colours = fill_hidden(colours, alpha)
        try:
            sr = self._super_resolve(network, colours, progress or (lambda share: None))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(f'{self.device} has too little memory for an image of {image.shape[1]}x{image.shape[0]}: '
                              'allow less than is free with `memory`, so that it is done in parts') from error
        finally:
            return_freed_memory()
        size = self.result_size(image, weights)
        if sr.shape[:2] != size:
            sr = resize(sr, *size)
        return sr if alpha is None else np.dstack([sr, resize(alpha, *size, Image.Resampling.BICUBIC)])

    def _super_resolve(self, network: Any, colours: np.ndarray, progress: Progress) -> np.ndarray:
        """(H, W) or (H, W, 3) -> the same, `scale` times as large."""
        dtype = pick_dtype(self._precision, self.device, 8 * colours.itemsize)
        try:
            return self._sum(network, colours, dtype, progress)
        except _NotFinite:
            if dtype == torch.float32:
                raise ValueError('the network gives values that are not finite: its weights are damaged') from None
            return self._sum(network, colours, torch.float32, progress)

    def _sum(self, network: Any, colours: np.ndarray, dtype: torch.dtype, progress: Progress) -> np.ndarray:
        """The mean over the views: tiles are added up in their places, and no result is held in float."""
        num_views = len(self._views)
        sum_type, one = views.sum_type(colours.dtype, num_views)
        height, width = (network.scale * side for side in colours.shape[:2])
        total = np.zeros((height, width, *colours.shape[2:]), sum_type)
        budget = self._budget(total.nbytes + (num_views > 1) * total.size * colours.itemsize)
        done = 0
        for view in self._views:
            target = view.of(np.atleast_3d(total).transpose(2, 0, 1))
            lq = np.ascontiguousarray(view.of(np.atleast_3d(colours).transpose(2, 0, 1)))
            for rows, columns, tile in self._tiles(network, np.broadcast_to(lq, (3, *lq.shape[1:])), budget, dtype):
                if not torch.isfinite(tile).all():
                    raise _NotFinite
                tile = tile.clamp(0, 1)
                tile = tile if len(target) == 3 else tile.mean(0, keepdim=True)
                target[:, rows, columns] += (tile * one).round().numpy().astype(sum_type)
                done += tile.shape[1] * tile.shape[2]
                progress(done / (height * width * num_views))
        return views.mean_of(total, colours.dtype, num_views, one)

    def _budget(self, result_bytes: int) -> int:
        """Bytes that a network may take, besides the result's, which lie in the computer's memory."""
        budget = self._memory or memory_sizes.default_budget(self.device)
        if self.device.type == 'cuda':
            return budget
        if budget <= result_bytes:
            raise ValueError(f'its result alone takes {result_bytes / 2**20:.0f} MiB, and {budget / 2**20:.0f} MiB of '
                             'memory are allowed: allow more, where there is more')
        return budget - result_bytes

    def _tiles(self, network: Any, lq: np.ndarray, budget: int,
               dtype: torch.dtype) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and values (3, h, w) of the result, in float32 on the CPU; at once or in parts."""
        height, width = lq.shape[1:]
        if isinstance(network, (LightBSR, KDSR)) and needs_tiles(network, height, width, budget):
            yield from tiles(network, lq, budget, self.device, dtype)
            return
        image = torch.from_numpy(lq.astype(np.float32) / np.iinfo(lq.dtype).max)[None].to(self.device)
        with torch.inference_mode(), computing_in(dtype, self.device):
            sr = network(image)[0].float().cpu()
        yield slice(0, sr.shape[1]), slice(0, sr.shape[2]), sr


def check_image(image: np.ndarray) -> None:
    """Raises ValueError for what is no image of ours."""
    fine = isinstance(image, np.ndarray) and image.dtype in (np.uint8, np.uint16) and image.size > 0 and (
        image.ndim == 2 or image.ndim == 3 and image.shape[2] in (2, 3, 4))
    if not fine:
        got = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError('an image must be an array (H, W) or (H, W, C) of uint8 or uint16, with C of 2 (gray and alpha), '
                         f'3 (RGB) or 4 (RGBA), got {got}')


def is_out_of_memory(error: BaseException) -> bool:
    """Of Python, of a GPU, or of torch's allocator on the CPU, which has no type of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or 'allocate memory' in str(error) or (
        'not enough memory' in str(error))
