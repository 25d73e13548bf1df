"""LightBSR and KDSR the plain way, as their releases run them: NCHW, eager, layer after layer.

The yardstick of the benchmarks: written apart from the package, so that it stays as it is when the package gets faster.
They read the package's weights, by the names in its state dicts. LightBSR: https://arxiv.org/abs/2506.22710, KDSR:
https://arxiv.org/abs/2211.16928.
"""
from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.4488, 0.4371, 0.4040)


class Layers:
    """The layers of a network by their names; `frozen` keeps BatchNorm's statistics."""

    def __init__(self, weights: Mapping[str, Tensor], frozen: bool = True) -> None:
        self.weights, self.frozen = weights, frozen
        self.names = {key[:i] for key in weights for i, letter in enumerate(key) if letter == '.'}

    @classmethod
    def of(cls, net: nn.Module) -> Layers:
        """Copies of a network's weights, NCHW; those that it trains require gradients."""
        trained = {name for name, p in net.named_parameters() if p.requires_grad}
        return cls({name: tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_(name in trained)
                    for name, tensor in net.state_dict().items()})

    @property
    def trained(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.weights.items() if tensor.requires_grad}

    def conv(self, name: str, x: Tensor, **options: int) -> Tensor:
        weight = self.weights[f'{name}.weight']
        return F.conv2d(x, weight, self.weights.get(f'{name}.bias'), padding=weight.shape[-1] // 2, **options)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f'{name}.weight'], self.weights.get(f'{name}.bias'))

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (self.weights[f'{name}.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias'))
        return F.batch_norm(x, mean, var, weight, bias, training=not self.frozen)

    def repeated(self, pattern: str) -> list[str]:
        """The names `pattern` with 0, 1, ... in it, as many as there are."""
        names = (pattern.format(i) for i in itertools.count())
        return list(itertools.takewhile(self.names.__contains__, names))


def mean_shift(image: Tensor, sign: int) -> Tensor:
    """A 1x1 convolution."""
    return F.conv2d(image, torch.eye(3, device=image.device)[:, :, None, None], sign * torch.tensor(MEAN, device=image.device))


def upsample(net: Layers, x: Tensor) -> Tensor:
    """Two convolutions with pixel shuffles, x4, and one to RGB."""
    for i in (0, 2):
        x = F.pixel_shuffle(net.conv(f'trunk.upsampler.{i}', x), 2)
    return mean_shift(net.conv('trunk.upsampler.4', x), 1)


# ----------------------------------------------------------------------------------------------------------- LightBSR
def lightbsr(net: Layers, lq: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sr, R_C and R_S of lq (B, 3, H, W), given the estimator's output."""
    channel, spatial = convert(net, estimate)
    features = x = net.conv('trunk.head', mean_shift(lq, -1))
    r_c, r_s = channel, spatial
    for name in net.repeated('trunk.groups.{}'):
        x, r_c, r_s = group(net, name, x, r_c, r_s)
    return upsample(net, features + net.conv('trunk.fusion', x)), channel, spatial


def estimate_idr(net: Layers, name: str, x: Tensor) -> Tensor:
    for i, stride in enumerate((1, 1, 2, 1, 2, 1)):
        x = F.leaky_relu(net.norm(f'{name}.{3 * i + 1}', net.conv(f'{name}.{3 * i}', x, stride=stride)), 0.1)
    return x


def convert(net: Layers, estimate: Tensor) -> tuple[Tensor, Tensor]:
    """R_C and R_S; H and W are multiples of 4."""
    channel = F.gelu(net.linear('converter.channel', estimate.mean((2, 3))))
    return channel, F.gelu(net.conv('converter.spatial', F.pixel_shuffle(estimate, 4)))


def group(net: Layers, name: str, x: Tensor, r_c: Tensor, r_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = r_c
    for i in (0, 2):
        y = F.gelu(net.linear(f'{name}.correction.channel.{i}', y))
    z = r_s
    for i in (0, 2):
        z = F.gelu(net.conv(f'{name}.correction.spatial.{i}', z))
    r_c, r_s = r_c + y, r_s + z
    y = x
    for block in net.repeated(f'{name}.blocks.{{}}'):
        y = adaptation_block(net, block, y, r_c, r_s)
    y = y + convnext_body(net, f'{name}.convnext', y)
    return x + net.conv(f'{name}.conv', y), r_c, r_s


def adaptation_block(net: Layers, name: str, x: Tensor, r_c: Tensor, r_s: Tensor) -> Tensor:
    num_spatial = x.shape[1] // 4
    f_s, f_c = x[:, :num_spatial], x[:, num_spatial:]
    gate = F.gelu(net.conv(f'{name}.spatial_gate.0', torch.cat([r_s, f_s], 1)))
    f_s = f_s * torch.sigmoid(net.conv(f'{name}.spatial_gate.2', gate))
    f_s = net.conv(f'{name}.spatial_conv', f_s)
    gate = F.gelu(net.linear(f'{name}.channel_gate.0', torch.cat([F.adaptive_avg_pool2d(f_c, 1).flatten(1), r_c], 1)))
    f_c = f_c * torch.sigmoid(net.linear(f'{name}.channel_gate.2', gate))[:, :, None, None]
    return x + convnext_body(net, f'{name}.body', F.gelu(torch.cat([f_s, f_c], 1)))


def convnext_body(net: Layers, name: str, x: Tensor) -> Tensor:
    y = net.conv(f'{name}.depthwise', x, groups=x.shape[1]).permute(0, 2, 3, 1)
    y = F.layer_norm(y, y.shape[-1:], net.weights[f'{name}.norm.weight'], net.weights[f'{name}.norm.bias'], 1e-6)
    y = net.linear(f'{name}.project', F.gelu(net.linear(f'{name}.expand', y)))
    return (net.weights[f'{name}.gamma'] * y).permute(0, 3, 1, 2)


# --------------------------------------------------------------------------------------------------------------- KDSR
def kdsr(net: Layers, lq: Tensor) -> Tensor:
    guide = kdsr_guide(net, lq)
    features = x = net.conv('trunk.head', mean_shift(lq, -1))
    for name in net.repeated('trunk.blocks.{}'):
        x = x + net.conv(f'{name}.conv', F.leaky_relu(dynamic_convolution(net, name, x, guide), 0.1))
    return upsample(net, features + net.conv('trunk.fusion', x))


def kdsr_guide(net: Layers, x: Tensor) -> Tensor:
    """D, (B, C)."""
    x = F.leaky_relu(net.conv('estimator.features.0', x), 0.1)
    residual = [name for i in range(2, 99) if f'{(name := f"estimator.features.{i}")}.0' in net.names]
    for name in residual:
        x = x + net.conv(f'{name}.2', F.leaky_relu(net.conv(f'{name}.0', x), 0.1))
    for i in (2, 4, 6):
        x = F.leaky_relu(net.conv(f'estimator.features.{len(residual) + i}', x), 0.1)
    x = x.mean((2, 3))
    for name in ('distill.0', 'distill.2', 'guide.0'):
        x = F.leaky_relu(net.linear(f'estimator.{name}', x), 0.1)
    return x


def dynamic_convolution(net: Layers, name: str, x: Tensor, guide: Tensor) -> Tensor:
    """Depthwise, with a 3x3 kernel for each channel of each image."""
    batch, channels, height, width = x.shape
    kernel = net.linear(f'{name}.kernel.2', F.leaky_relu(net.linear(f'{name}.kernel.0', guide), 0.1))
    y = F.conv2d(x.reshape(1, -1, height, width), kernel.reshape(-1, 1, 3, 3), padding=1, groups=batch * channels)
    return y.reshape(x.shape)
