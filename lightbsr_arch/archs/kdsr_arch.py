"""KDSR: Knowledge Distillation based Degradation Estimation for Blind Super-Resolution.

ICLR 2023, https://arxiv.org/abs/2211.16928. KD-IDE is its estimator of the implicit degradation representation (IDR),
IDR-DCRB its block with a dynamic convolution.

One difference to the paper: without dynamic convolutions (Table 4, S1) nothing reads the IDR, and no estimator is built.
"""
from __future__ import annotations

from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .idr_features import pooled
from .layers import MeanShift, Residual, Trunk, Upsampler, known

AT_ONCE = 7  # blocks that `Trunk.recompute` computes again at a time, the square root of KDSR-M's 53


class KDSRIDR(NamedTuple):
    """The implicit degradation representation of B images; None where it was not built.

    guide: (B, C), D of the paper, which guides the dynamic convolutions.
    distill: (B, 4C), D' of the paper, which distillation compares.
    """

    guide: Optional[Tensor]
    distill: Optional[Tensor]

    def features(self, member: str = 'read') -> Tensor:
        """(B, n): a member, or with `read` what the SR network reads: D.

        Raises:
            ValueError: it was not built.
        """
        return pooled(self, ('guide',) if member == 'read' else (member,))


def _leaky_relu() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.1, True)


def _residual_block(num_feat: int) -> Residual:
    return Residual(nn.Conv2d(num_feat, num_feat, 3, padding=1), _leaky_relu(),
                    nn.Conv2d(num_feat, num_feat, 3, padding=1))


class KDSREstimator(nn.Module):
    """KD-IDE: (B, in, H, W) -> IDR (Section 3.2)."""

    def __init__(self, in_channels: int, num_feat: int, num_block: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, num_feat, 3, padding=1), _leaky_relu()]
        layers += [_residual_block(num_feat) for _ in range(num_block)]
        for num_in, num_out in ((1, 2), (2, 2), (2, 4)):
            layers += [nn.Conv2d(num_in * num_feat, num_out * num_feat, 3, padding=1), _leaky_relu()]
        self.features = nn.Sequential(*layers)
        self.distill = nn.Sequential(nn.Linear(4 * num_feat, 4 * num_feat), _leaky_relu(),
                                     nn.Linear(4 * num_feat, 4 * num_feat), _leaky_relu())
        self.guide = nn.Sequential(nn.Linear(4 * num_feat, num_feat), _leaky_relu())

    def forward(self, x: Tensor) -> KDSRIDR:
        return self.represent(self.features(x).mean((2, 3)))

    def represent(self, mean: Tensor) -> KDSRIDR:
        """The IDR, given the mean (B, 4C) of `features` over the image."""
        distill = self.distill(mean)
        return KDSRIDR(self.guide(distill), distill)


class KDSRBlock(nn.Module):
    """IDR-DCRB: a depthwise convolution with kernels made from the IDR, a convolution, the input added (Section 3.3).

    With `dynamic` False an ordinary convolution takes the dynamic one's place (Table 4, S1).
    """

    def __init__(self, num_feat: int, dynamic: bool) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Linear(num_feat, num_feat, bias=False), _leaky_relu(),
                                    nn.Linear(num_feat, 9 * num_feat, bias=False)) if dynamic else None
        self.ordinary = None if dynamic else nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.act = _leaky_relu()
        self.conv = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor, guide: Optional[Tensor]) -> Tensor:
        y = self.ordinary(x) if self.kernel is None else dynamic_convolution(x, self.kernel(guide))
        return x + self.conv(self.act(y))


def dynamic_convolution(x: Tensor, weights: Tensor) -> Tensor:
    """Convolves each channel of each image of (B, C, H, W) with its own 3x3 kernel of (B, 9C)."""
    if torch.jit.is_tracing():  # for export: a trace, and ONNX, fix the number of groups and so the batch
        return shifted_products(x, weights)
    batch, channels, height, width = x.shape
    if batch == 1:
        return F.conv2d(x, weights.reshape(channels, 1, 3, 3), padding=1, groups=channels)
    if x.device.type == 'cpu':  # a batch as the groups of one image is copied out of channels_last and back again
        return torch.cat([dynamic_convolution(*one) for one in zip(x.split(1), weights.split(1))])
    y = F.conv2d(x.reshape(1, batch * channels, height, width), weights.reshape(batch * channels, 1, 3, 3), padding=1,
                 groups=batch * channels)
    return y.reshape(x.shape)


def shifted_products(x: Tensor, weights: Tensor) -> Tensor:
    """`dynamic_convolution` as a sum over the kernel's 9 places, slower and without a group for each image."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    kernels = weights.unflatten(1, (-1, 9))[..., None, None]
    return sum(kernels[:, :, 3 * i + j] * padded[:, :, i:i + height, j:j + width] for i in range(3) for j in range(3))


class KDSRTrunk(Trunk):
    """The super-resolution network of teacher and student: LR features, blocks, fusion, upscaler."""

    block = KDSRBlock

    def __init__(self, scale: int, num_feat: int, num_block: int, dynamic: bool) -> None:
        super().__init__()
        self.mean_shift = MeanShift()
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.blocks = nn.ModuleList(KDSRBlock(num_feat, dynamic) for _ in range(num_block))
        self.fusion = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsampler = Upsampler(scale, num_feat)

    def forward(self, lq: Tensor, guide: Optional[Tensor]) -> Tensor:
        x = features = self.features(lq)
        for start in range(0, len(self.blocks), AT_ONCE):
            x = self.run(self._some_blocks, x, guide, start)
        return self.reconstruct(features, x)

    def _some_blocks(self, x: Tensor, guide: Optional[Tensor], start: int) -> Tensor:
        for block in self.blocks[start:start + AT_ONCE]:
            x = block(x, guide)
        return x


class KDSR(nn.Module):
    """The student: super-resolves from the LR image alone. RGB in [0, 1], (B, 3, H, W) -> (B, 3, sH, sW), H, W >= 1.

    Args:
        scale: 2, 3 or 4.
        num_feat, num_block, num_estimator_block: Feature width C, dynamic blocks, the estimator's residual blocks:
            64, 53, 9 for KDSR-M; 128, 28, 5 for KDSR-L; 128, 42, 6 for KDSR-GAN.
        dynamic: False takes ordinary convolutions and builds no estimator (Table 4, S1).
    """

    def __init__(self, scale: int = 4, num_feat: int = 64, num_block: int = 53, num_estimator_block: int = 9,
                 dynamic: bool = True) -> None:
        super().__init__()
        _check_size(num_feat, num_block, num_estimator_block)
        self.scale = scale
        self.estimator = KDSREstimator(3, num_feat, num_estimator_block) if dynamic else None
        self.trunk = KDSRTrunk(scale, num_feat, num_block, dynamic)

    def side_inputs(self, gt: Tensor, kernel: Optional[Tensor], noise: Optional[Tensor]) -> tuple[()]:
        """What `forward` takes besides `lq`: nothing."""
        return ()

    def represent(self, lq: Tensor) -> KDSRIDR:
        """The IDR of `lq`, without super-resolving it."""
        return self.estimator(lq) if self.estimator is not None else KDSRIDR(None, None)

    def super_resolve(self, lq: Tensor, idr: KDSRIDR) -> Tensor:
        """sr of `lq`, guided by a given IDR, which may be that of other images."""
        return self.trunk(lq, idr.guide)

    def forward(self, lq: Tensor, return_idr: bool = False,
                idr_only: bool = False) -> Tensor | KDSRIDR | tuple[Tensor, KDSRIDR]:
        """Returns sr; (sr, IDR) with `return_idr`; the IDR with `idr_only`, which does not run the SR network."""
        return _answer(self, lq, self.represent(lq), return_idr, idr_only)


class KDSRTeacher(nn.Module):
    """The teacher: its estimator also sees the HR image, pixel-unshuffled to the LR size (Section 3.2).

    Args:
        oracle: The estimator sees the true blur kernel instead of the images (Table 4, S3). The paper does not describe
            that network; here the kernel is a one-channel image, scaled to a mean of 1, for the same layers.
        The others are those of `KDSR`.
    """

    def __init__(self, scale: int = 4, num_feat: int = 64, num_block: int = 53, num_estimator_block: int = 9,
                 oracle: bool = False) -> None:
        super().__init__()
        _check_size(num_feat, num_block, num_estimator_block)
        self.scale = scale
        self.oracle = oracle
        self.estimator = KDSREstimator(1 if oracle else 3 + 3 * scale**2, num_feat, num_estimator_block)
        self.trunk = KDSRTrunk(scale, num_feat, num_block, dynamic=True)

    def side_inputs(self, gt: Tensor, kernel: Optional[Tensor], noise: Optional[Tensor]) -> tuple[Tensor]:
        """What `forward` takes besides `lq`: the HR images, or for an oracle the blur kernels (B, 21, 21).

        Raises:
            ValueError: the HR images, or an oracle's kernels, are not known.
        """
        if gt is None and not self.oracle:
            raise ValueError('a KDSRTeacher needs the HR image of each LR image: use a data set that has both')
        return (known(kernel) if self.oracle else gt),

    def represent(self, lq: Tensor, truth: Tensor) -> KDSRIDR:
        """The IDR of `lq` (B, 3, H, W), without super-resolving it; `truth` as for `forward`."""
        if self.oracle:
            return self.estimator(truth[:, None] * truth[0].numel())
        return self.estimator(torch.cat([lq, F.pixel_unshuffle(truth, self.scale)], 1))

    def super_resolve(self, lq: Tensor, idr: KDSRIDR) -> Tensor:
        """As for `KDSR`."""
        return self.trunk(lq, idr.guide)

    def forward(self, lq: Tensor, truth: Tensor, return_idr: bool = False,
                idr_only: bool = False) -> Tensor | KDSRIDR | tuple[Tensor, KDSRIDR]:
        """As `KDSR`, given the HR image (B, 3, sH, sW), or the blur kernel (B, 21, 21) for an oracle."""
        return _answer(self, lq, self.represent(lq, truth), return_idr, idr_only)


def _answer(net: KDSR | KDSRTeacher, lq: Tensor, idr: KDSRIDR, return_idr: bool,
            idr_only: bool) -> Tensor | KDSRIDR | tuple[Tensor, KDSRIDR]:
    if idr_only:
        return idr
    sr = net.super_resolve(lq, idr)
    return (sr, idr) if return_idr else sr


def _check_size(num_feat: int, num_block: int, num_estimator_block: int) -> None:
    if min(num_feat, num_block) < 1 or num_estimator_block < 0:
        raise ValueError('num_feat and num_block must be 1 or more and num_estimator_block 0 or more, got '
                         f'{num_feat}, {num_block} and {num_estimator_block}')
