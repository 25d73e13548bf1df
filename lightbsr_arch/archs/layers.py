"""The parts that LightBSR and KDSR share: mean shift, residual, depthwise convolution, ConvNeXt body and block, upsampler,
the trunk's two ends.

ConvNeXt block: "A ConvNet for the 2020s", CVPR 2022, https://arxiv.org/abs/2201.03545.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
SMALL, SMALL_ON_CUDA = 1536, 2**16  # LR pixels, below which merging an upsampler costs more than it saves
BLOCK = 4  # pixels; a CPU's convolutions take as many channels at once as such a block has pixels
LARGE = 8192  # LR pixels, from which a CPU is faster at a 1x1 convolution than at the same linear layer


class MeanShift(nn.Module):
    """Subtracts the DIV2K mean colour and adds it back; images are RGB in [0, 1], shape (B, 3, H, W).

    The mean is a constant, not a parameter, and is not in the state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)

    def subtract(self, image: Tensor) -> Tensor:
        return image - self.mean

    def add(self, image: Tensor) -> Tensor:
        return image + self.mean


class Residual(nn.Sequential):
    """Layers with their input added."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class DepthwiseConv(nn.Conv2d):
    """Depthwise convolution of odd size with zero padding, (B, C, H, W) to the same.

    On a CPU, whose convolutions take 16 channels at once, the weight's gradient is read off that of a convolution of 16
    channels with 16: the pixels of a block of 4x4 (in three fifths of the time) or, in half precision, 16 of the C (in an
    eighth). The input's gradient is the convolution with the turned kernel.
    """

    def __init__(self, num_feat: int, kernel_size: int) -> None:
        super().__init__(num_feat, num_feat, kernel_size, padding=kernel_size // 2, groups=num_feat)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != 'cpu' or not torch.is_grad_enabled() or torch.jit.is_tracing():
            return super().forward(x)
        inputs = x, self.weight, self.bias
        if torch.is_autocast_enabled('cpu'):
            inputs = (tensor.to(torch.get_autocast_dtype('cpu')) for tensor in inputs)
        return _DepthwiseOnCPU.apply(*inputs)


class _DepthwiseOnCPU(torch.autograd.Function):
    """x (B, C, H, W), weight (C, 1, k, k), bias (C,) -> (B, C, H, W)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], Optional[Tensor], Optional[Tensor]]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        read_off = _from_channels if x.dtype.itemsize == 2 else _from_blocks
        return (F.conv2d(grad, weight.flip(2, 3), padding=weight.shape[-1] // 2, groups=len(weight)) if of_x else None,
                read_off(x, grad, weight.shape[-1]).view_as(weight) if of_weight else None,
                grad.sum((0, 2, 3)) if of_bias else None)


def _from_channels(x: Tensor, grad: Tensor, size: int) -> Tensor:
    """The gradient of a depthwise weight, (C, k, k): the diagonal of that of a convolution in groups of channels."""
    num_feat = x.shape[1]
    width = math.gcd(num_feat, BLOCK**2)
    in_groups = nn.grad.conv2d_weight(x, (num_feat, width, size, size), grad, padding=size // 2, groups=num_feat // width)
    return in_groups.unflatten(0, (-1, width)).diagonal(dim1=1, dim2=2).movedim(-1, 1).flatten(0, 1)


def _from_blocks(x: Tensor, grad: Tensor, size: int) -> Tensor:
    """The gradient of a depthwise weight, (C, k x k): sums over that of a convolution whose channels are a block's pixels."""
    num_feat, reach = x.shape[1], 2 * math.ceil(size // 2 / BLOCK) + 1
    in_blocks = nn.grad.conv2d_weight(_blocks(x), (num_feat * BLOCK**2, BLOCK**2, reach, reach), _blocks(grad),
                                      padding=reach // 2, groups=num_feat)
    return in_blocks.permute(0, 2, 3, 1).reshape(num_feat, -1) @ _taps(size, reach).to(grad.dtype)


def _blocks(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 16C, H / 4, W / 4), after padding with zeros: as `F.pixel_unshuffle`, but fast in channels_last."""
    below, right = (-side % BLOCK for side in x.shape[2:])
    if below or right:
        x = F.pad(x, (0, right, 0, below))
    x = x.permute(0, 2, 3, 1).unflatten(2, (-1, BLOCK)).unflatten(1, (-1, BLOCK)).transpose(2, 3)
    return F.channel_shuffle(x.flatten(3).permute(0, 3, 1, 2), BLOCK**2)


def _taps(size: int, reach: int) -> Tensor:
    """(16 x reach x reach x 16, k x k): 1 where a tap joins a pixel of the gradient's block to one of the blocks around it."""
    pixel = torch.arange(BLOCK)
    tap = pixel + BLOCK * (torch.arange(reach)[:, None] - reach // 2) - pixel[:, None, None] + size // 2
    joins = (tap[..., None] == torch.arange(size)).float()
    return torch.einsum('jkit,JKIT->jJkKiItT', joins, joins).reshape(-1, size**2)


def spatial_mean(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C). The gradient of torch's own mean is divided pixel by pixel, this one's before it is spread."""
    if torch.jit.is_tracing() or x.dtype == torch.float16:  # in which a sum may overflow
        return x.mean((2, 3))
    return x.sum((2, 3)) / (x.shape[2] * x.shape[3])


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer, (B, H, W, C) -> (B, H, W, C').

    On a CPU torch writes a linear layer's bias to the whole result first and then adds the product; its convolution adds the
    bias as it writes.
    """
    if x.device.type != 'cpu' or x[..., 0].numel() < LARGE or torch.jit.is_tracing():
        return F.linear(x, weight, bias)
    return F.conv2d(x.permute(0, 3, 1, 2), weight[..., None, None], bias).permute(0, 2, 3, 1)


class Merging(nn.Module):
    """Computes with one weight and one bias made of its parameters: in each pass anew, so that they are trained, or once."""

    def merge(self) -> tuple[Tensor, Tensor]:
        """Makes them; differentiable."""
        raise NotImplementedError

    @torch.no_grad()
    def freeze(self) -> None:
        """Makes them for all passes to come. Parameters that change afterwards have no effect."""
        for name, tensor in zip(('frozen_weight', 'frozen_bias'), self.merge()):
            self.register_buffer(name, tensor, persistent=False)

    @property
    def is_frozen(self) -> bool:
        return hasattr(self, 'frozen_weight')

    def merged(self) -> tuple[Tensor, Tensor]:
        return (self.frozen_weight, self.frozen_bias) if self.is_frozen else self.merge()


class ConvNeXtBody(Merging):
    """Depthwise 7x7, LayerNorm over channels, two pointwise layers, LayerScale; without the residual.

    LayerScale scales the last layer's weights, not its result: a map less to write and, for the gradient, to keep.

    Args:
        num_feat: Channels C of the features (B, C, H, W).
        layer_scale: Start value of LayerScale's gamma.
    """

    def __init__(self, num_feat: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(num_feat, 7)
        self.norm = nn.LayerNorm(num_feat, eps=1e-6)
        self.expand = nn.Linear(num_feat, 2 * num_feat)
        self.act = nn.GELU()
        self.project = nn.Linear(2 * num_feat, num_feat)
        self.gamma = nn.Parameter(torch.full((num_feat,), layer_scale))

    @torch.no_grad()
    def start_with_details(self) -> None:
        """Depthwise kernels of zero mean, without bias: LayerNorm then sees details instead of the brightness."""
        self.depthwise.weight -= self.depthwise.weight.mean((2, 3), keepdim=True)
        self.depthwise.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)
        if y.requires_grad:  # in bfloat16 a CPU adds up the gradients of LayerNorm's weights in bfloat16, 80 % off
            y = y.to(self.norm.weight.dtype)
        y = self.act(pointwise(self.norm(y), self.expand.weight, self.expand.bias))
        return pointwise(y, *self.merged()).permute(0, 3, 1, 2)

    def merge(self) -> tuple[Tensor, Tensor]:
        """Weight (C, 2C) and bias (C,) of the last layer, scaled."""
        return self.gamma[:, None] * self.project.weight, self.gamma * self.project.bias


class ConvNeXtBlock(ConvNeXtBody):
    """The body with its residual."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Upsampler(Merging, nn.Sequential):
    """Convolutions and pixel shuffles up to `scale`, then a convolution to RGB, without activations.

    Being linear, they are one 5x5 convolution and one pixel shuffle, and are computed as such, in training too: a fifth to a
    tenth of the time, and no feature maps at the result's size. At the image's edge, where each layer pads anew, the pixels of
    the outermost LR pixel come from the layers themselves.

    Raises:
        ValueError: `scale` is not 2, 3 or 4.
    """

    def __init__(self, scale: int, num_feat: int) -> None:
        if scale not in (2, 3, 4):
            raise ValueError(f'scale must be 2, 3 or 4, got {scale!r}')
        layers: list[nn.Module] = []
        for factor in {2: [2], 3: [3], 4: [2, 2]}[scale]:
            layers += [nn.Conv2d(num_feat, num_feat * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        super().__init__(*layers, nn.Conv2d(num_feat, 3, 3, padding=1))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, sH, sW)."""
        if torch.jit.is_tracing() or x.is_meta:  # what is exported and counted are the layers
            return super().forward(x)
        small = SMALL_ON_CUDA if x.is_cuda and not self.is_frozen else SMALL
        if min(x.shape[2:]) < 8 or x.shape[0] * x.shape[2] * x.shape[3] < small:
            return super().forward(x)
        sr = F.pixel_shuffle(F.conv2d(x, *self.merged(), padding=2), self.scale)
        edge = slice(self.scale)
        sr[:, :, edge] = self._padded(x[:, :, :3], (1, 1, 1, 0))[:, :, edge]
        sr[:, :, -self.scale:] = self._padded(x[:, :, -3:], (1, 1, 0, 1))[:, :, -self.scale:]
        sr[..., edge] = self._padded(x[..., :3], (1, 0, 1, 1))[..., edge]
        sr[..., -self.scale:] = self._padded(x[..., -3:], (0, 1, 1, 1))[..., -self.scale:]
        return sr

    def merge(self) -> tuple[Tensor, Tensor]:
        """Weight (3s², C, 5, 5) and bias (3s²,) of the one convolution.

        The weight is the layers' adjoint on a unit impulse at each of the s² pixels and 3 colours of an LR pixel.
        """
        weight = self[0].weight
        with torch.autocast(weight.device.type, enabled=False):
            eye = torch.eye(3 * self.scale**2, dtype=weight.dtype, device=weight.device)[..., None, None]
            x = F.pad(F.pixel_shuffle(eye, self.scale), (self.scale,) * 4)
            for layer in reversed(list(self)[1:]):
                x = (F.conv_transpose2d(x, layer.weight, padding=1) if isinstance(layer, nn.Conv2d)
                     else F.pixel_unshuffle(x, layer.upscale_factor))
            bias = super().forward(x.new_zeros(1, self[0].in_channels, 3, 3))
            return F.conv_transpose2d(x, weight), F.pixel_unshuffle(bias, self.scale)[0, :, 1, 1]

    def _padded(self, x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        """The layers, padding only the given sides: left, right, top, bottom."""
        for layer in self:
            x = F.conv2d(F.pad(x, sides), layer.weight, layer.bias) if isinstance(layer, nn.Conv2d) else layer(x)
        return x


class Trunk(nn.Module):
    """What the SR networks have around their blocks; a subclass builds `mean_shift`, `head`, `fusion`, `upsampler`.

    block: What it repeats.
    recompute: Whether the gradient's pass computes the blocks' feature maps again instead of keeping them.
    """

    block: type[nn.Module]
    recompute = False

    def compile_blocks(self) -> None:
        """Compiles each block at its first pass: as they are alike, once for all, in seconds and not many minutes."""
        for module in self.modules():
            if isinstance(module, self.block):
                module.compile()

    def run(self, blocks: Callable[..., Any], *inputs: Any) -> Any:
        """The blocks' output."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(blocks, *inputs, use_reentrant=False)
        return blocks(*inputs)

    def features(self, lq: Tensor) -> Tensor:
        """The LR features (B, C, H, W)."""
        return self.head(self.mean_shift.subtract(lq))

    def reconstruct(self, features: Tensor, x: Tensor) -> Tensor:
        """sr of the LR features and of what the blocks made of them: fusion, global residual, upscaler."""
        return self.mean_shift.add(self.upsampler(features + self.fusion(x)))


def known(kernel: Optional[Tensor]) -> Tensor:
    """The blur kernels that a teacher is given.

    Raises:
        ValueError: the data set does not tell them.
    """
    if kernel is None:
        raise ValueError('this teacher needs the blur kernel of each image: use a data set of type BlindDegradationDataset')
    return kernel
