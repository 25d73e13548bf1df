"""LightBSR: Towards Lightweight Blind Super-Resolution via Discriminative Implicit Degradation Representation Learning.

ICCV 2025, https://arxiv.org/abs/2506.22710. Symbols of the paper: IDR, implicit degradation representation;
R_C and R_S, its channel and spatial form.

Where this differs from the paper, it follows the authors' release:
- the spatial gate is a 1x1 and a 3x3 convolution (the paper writes two 3x3, which its own GFLOPs rule out);
- 3.26 M parameters (the paper prints 3.09 M).
And one difference to both: a branch that an ablation leaves unread is not built.
"""
from __future__ import annotations

from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .idr_features import pooled
from .layers import ConvNeXtBlock, ConvNeXtBody, MeanShift, Residual, Trunk, Upsampler, known, spatial_mean
from .momentum_encoder import MomentumEncoder

ESTIMATE_CHANNELS = 128
SPATIAL_CHANNELS = 8
KERNEL_SIZE = 21


class IDR(NamedTuple):
    """The implicit degradation representation of B images of H x W; a member is None where it was not built.

    estimate: (B, 128, ceil(H / 4), ceil(W / 4)), the estimator's output.
    channel: (B, 3C/4), R_C as the converter gives it, before any correction.
    spatial: (B, 8, H, W), R_S likewise.
    embedding: (B, 128), the teacher's projection before normalisation; None for a student.
    """

    estimate: Optional[Tensor]
    channel: Optional[Tensor]
    spatial: Optional[Tensor]
    embedding: Optional[Tensor] = None

    def features(self, member: str = 'read') -> Tensor:
        """(B, n): a member averaged over H x W, or with `read` what the SR network reads: R_C and R_S.

        Raises:
            ValueError: it was not built.
        """
        return pooled(self, ('channel', 'spatial') if member == 'read' else (member,))


class TeacherStep(NamedTuple):
    """What the teacher's training step gives for B images with D patches each.

    sr: (B, 3, sH, sW) of the first patch, or None. idr: of the first patch.
    query, key: (B, D, 128), unit length, or None without the contrastive branch; `key` has no gradient.
    """

    sr: Optional[Tensor]
    idr: IDR
    query: Optional[Tensor]
    key: Optional[Tensor]


class IDREstimator(nn.Sequential):
    """Six convolutions with BatchNorm and LeakyReLU, (B, in, H, W) -> (B, 128, ceil(H/4), ceil(W/4)) (Section 3.2)."""

    def __init__(self, in_channels: int = 3) -> None:
        layers: list[nn.Module] = []
        for num_out, stride in ((32, 1), (32, 1), (64, 2), (64, 1), (ESTIMATE_CHANNELS, 2), (ESTIMATE_CHANNELS, 1)):
            layers += [nn.Conv2d(in_channels, num_out, 3, stride, 1), nn.BatchNorm2d(num_out), nn.LeakyReLU(0.1, True)]
            in_channels = num_out
        super().__init__(*layers)


class IDRConverter(nn.Module):
    """Turns the estimate into a vector R_C and a map R_S for the gates (Section 3.3)."""

    def __init__(self, num_channel: int, channel: bool = True, spatial: bool = True) -> None:
        super().__init__()
        self.channel = nn.Linear(ESTIMATE_CHANNELS, num_channel, bias=False) if channel else None
        self.spatial = nn.Conv2d(SPATIAL_CHANNELS, SPATIAL_CHANNELS, 3, padding=1) if spatial else None

    def forward(self, estimate: Tensor, size: tuple[int, int]) -> tuple[Optional[Tensor], Optional[Tensor]]:
        return (self.as_vector(estimate.mean((2, 3))),
                self.as_map(F.pixel_shuffle(estimate, 4)[..., :size[0], :size[1]]))

    def as_vector(self, mean: Tensor) -> Optional[Tensor]:
        """R_C of the estimate's mean over the image, (B, 128)."""
        return F.gelu(self.channel(mean)) if self.channel is not None else None

    def as_map(self, estimate: Tensor) -> Optional[Tensor]:
        """R_S of the estimate at the image's size, (B, 8, H, W)."""
        return F.gelu(self.spatial(estimate)) if self.spatial is not None else None


class IDRCorrection(nn.Module):
    """Corrects R_C and R_S for one group, each by a residual of two layers (Section 3.3)."""

    def __init__(self, num_channel: int, channel: bool = True, spatial: bool = True) -> None:
        super().__init__()
        self.channel = Residual(
            nn.Linear(num_channel, 2 * num_channel), nn.GELU(),
            nn.Linear(2 * num_channel, num_channel), nn.GELU()) if channel else None
        self.spatial = Residual(
            nn.Conv2d(SPATIAL_CHANNELS, 2 * SPATIAL_CHANNELS, 3, padding=1), nn.GELU(),
            nn.Conv2d(2 * SPATIAL_CHANNELS, SPATIAL_CHANNELS, 3, padding=1), nn.GELU()) if spatial else None

    def forward(self, channel: Optional[Tensor], spatial: Optional[Tensor]) -> tuple[Optional[Tensor], Optional[Tensor]]:
        if self.channel is not None:
            channel = self.channel(channel)
        if self.spatial is not None:
            spatial = self.spatial(spatial)
        return channel, spatial


class IDRAdaptationBlock(nn.Module):
    """Gates a quarter of the features by R_S and the rest by R_C, runs a ConvNeXt body, adds its input (Section 3.3)."""

    def __init__(self, num_feat: int, layer_scale: float, channel_gate: bool, spatial_gate: bool) -> None:
        super().__init__()
        self.split = (num_feat // 4, num_feat - num_feat // 4)
        num_spatial, num_channel = self.split
        self.spatial_gate = nn.Sequential(
            nn.Conv2d(SPATIAL_CHANNELS + num_spatial, num_spatial, 1, bias=False), nn.GELU(),
            nn.Conv2d(num_spatial, num_spatial, 3, padding=1, bias=False), nn.Sigmoid()) if spatial_gate else None
        self.spatial_conv = nn.Conv2d(num_spatial, num_spatial, 5, padding=2, bias=False)
        self.channel_gate = nn.Sequential(
            nn.Linear(2 * num_channel, num_channel // 2, bias=False), nn.GELU(),
            nn.Linear(num_channel // 2, num_channel, bias=False), nn.Sigmoid()) if channel_gate else None
        self.act = nn.GELU()
        self.body = ConvNeXtBody(num_feat, layer_scale)

    def forward(self, x: Tensor, channel: Optional[Tensor], spatial: Optional[Tensor],
                mean: Optional[Tensor] = None) -> Tensor:
        """`mean` (B, C) is that over the whole image where x is a tile of one; by default that of x."""
        f_s, f_c = x.split(self.split, 1)
        if self.spatial_gate is not None:
            f_s = f_s * self.spatial_gate(torch.cat([spatial, f_s], 1))
        f_s = self.spatial_conv(f_s)
        if self.channel_gate is not None:
            mean = (spatial_mean(x) if mean is None else mean)[:, self.split[0]:]
            f_c = f_c * self.channel_gate(torch.cat([mean, channel], 1))[..., None, None]
        return x + self.body(self.act(torch.cat([f_s, f_c], 1)))


class IDRAdaptationGroup(nn.Module):
    """IDR correction, adaptation blocks, a plain ConvNeXt block and a convolution, with a residual (Section 3.3)."""

    def __init__(self, num_feat: int, num_block: int, layer_scale: float, channel_gate: bool, spatial_gate: bool,
                 correction: bool) -> None:
        super().__init__()
        num_channel = num_feat - num_feat // 4
        self.correction = IDRCorrection(num_channel, channel_gate, spatial_gate) if correction else None
        self.blocks = nn.ModuleList(
            IDRAdaptationBlock(num_feat, layer_scale, channel_gate, spatial_gate) for _ in range(num_block))
        self.convnext = ConvNeXtBlock(num_feat, layer_scale)
        self.conv = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor, channel: Optional[Tensor],
                spatial: Optional[Tensor]) -> tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        if self.correction is not None:
            channel, spatial = self.correction(channel, spatial)
        y = x
        for block in self.blocks:
            y = block(y, channel, spatial)
        return self.close(x, y), channel, spatial

    def close(self, x: Tensor, y: Tensor) -> Tensor:
        """The group's output, given its input and what its blocks made of it."""
        return x + self.conv(self.convnext(y))


def check_size(num_feat: int, num_group: int, num_block: int) -> None:
    """Raises ValueError where the SR network cannot have this size."""
    if num_feat < 8 or num_feat % 8:
        raise ValueError(f'num_feat must be a positive multiple of 8, got {num_feat}')
    if min(num_group, num_block) < 1:
        raise ValueError(f'num_group and num_block must be 1 or more, got {num_group} and {num_block}')


class SRTrunk(Trunk):
    """The super-resolution network of teacher and student: LR features, adaptation groups, fusion, upscaler."""

    block = IDRAdaptationBlock

    def __init__(self, scale: int, num_feat: int, num_group: int, num_block: int, layer_scale: float,
                 channel_gate: bool, spatial_gate: bool, correction: bool, detail_init: bool) -> None:
        super().__init__()
        self.mean_shift = MeanShift()
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.groups = nn.ModuleList(
            IDRAdaptationGroup(num_feat, num_block, layer_scale, channel_gate, spatial_gate,
                               correction and (channel_gate or spatial_gate)) for _ in range(num_group))
        self.fusion = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsampler = Upsampler(scale, num_feat)
        if detail_init:
            self._start_with_details()

    @torch.no_grad()
    def _start_with_details(self) -> None:
        for module in self.modules():
            if isinstance(module, ConvNeXtBody):
                module.start_with_details()
            elif isinstance(module, IDRAdaptationGroup):
                module.conv.weight *= 0.1
                module.conv.bias.zero_()

    def forward(self, lq: Tensor, channel: Optional[Tensor], spatial: Optional[Tensor]) -> Tensor:
        x = features = self.features(lq)
        for group in self.groups:
            x, channel, spatial = self.run(group, x, channel, spatial)
        return self.reconstruct(features, x)


class LightBSR(nn.Module):
    """The student: super-resolves from the LR image alone. RGB in [0, 1], (B, 3, H, W) -> (B, 3, sH, sW), H, W >= 1.

    Args:
        scale: 2, 3 or 4.
        num_feat: Feature width C, a multiple of 8; 3C/4 channels take the channel gate, C/4 the spatial one.
        num_group: IDR adaptation groups.
        num_block: Adaptation blocks in each group.
        layer_scale: Start value of LayerScale's gamma.
        channel_gate, spatial_gate, correction: False leaves that part out (the paper's Table 2, M1 to M5). Without
            both gates nothing reads the IDR and no estimator is built.
        idr_noise: Adds uniform [0, idr_noise) noise to the estimate, the same for an image in each run ("error IDR").
        detail_init: A start for short trainings, unlike the paper's: depthwise kernels have zero mean, so that LayerNorm
            passes on details rather than the brightness (`ConvNeXtBody.start_with_details`), and each group's last
            convolution a tenth of its usual size, so that a deep network starts near the identity.
    """

    def __init__(self, scale: int = 4, num_feat: int = 64, num_group: int = 8, num_block: int = 8,
                 layer_scale: float = 1e-6, channel_gate: bool = True, spatial_gate: bool = True,
                 correction: bool = True, idr_noise: float = 0.0, detail_init: bool = False) -> None:
        super().__init__()
        check_size(num_feat, num_group, num_block)
        adaptive = channel_gate or spatial_gate
        self.scale = scale
        self.idr_noise = idr_noise
        self.estimator = IDREstimator() if adaptive else None
        self.converter = IDRConverter(num_feat - num_feat // 4, channel_gate, spatial_gate) if adaptive else None
        self.trunk = SRTrunk(scale, num_feat, num_group, num_block, layer_scale, channel_gate, spatial_gate, correction,
                             detail_init)

    def side_inputs(self, gt: Tensor, kernel: Optional[Tensor], noise: Optional[Tensor]) -> tuple[()]:
        """What `forward` takes besides `lq`: nothing."""
        return ()

    def represent(self, lq: Tensor) -> IDR:
        """The IDR of `lq`, without super-resolving it."""
        if self.estimator is None:
            return IDR(None, None, None)
        estimate = add_idr_noise(self.estimator(lq), self.idr_noise)
        return IDR(estimate, *self.converter(estimate, lq.shape[-2:]))

    def super_resolve(self, lq: Tensor, idr: IDR) -> Tensor:
        """sr of `lq`, guided by a given IDR, which may be that of other images of this size."""
        return self.trunk(lq, idr.channel, idr.spatial)

    def forward(self, lq: Tensor, return_idr: bool = False, idr_only: bool = False) -> Tensor | IDR | tuple[Tensor, IDR]:
        """Returns sr; (sr, IDR) with `return_idr`; the IDR with `idr_only`, which does not run the SR network."""
        idr = self.represent(lq)
        if idr_only:
            return idr
        sr = self.super_resolve(lq, idr)
        return (sr, idr) if return_idr else sr


class LightBSRTeacher(nn.Module):
    """The teacher: its estimator also sees the degradation reference prior (DRP), and learns by contrast (Section 3.2).

    It owns the query and the key branch, the queue of negatives and the PCA basis of the prior.

    Args:
        prior_dim: Values t that stand for the blur kernel; 0 for a teacher without DRP (Table 1, T1 and T3).
        noise_prior: Append the noise level (8-bit units) three times to the prior (setting 2).
        contrastive: False leaves out projector, key branch and queue (Table 1, T1 and T2).
        queue_size, momentum: N negatives; decay of the key branch.
        patch_by_patch: Encode the D patches one index after another, as the release does; this changes the batch over
            which BatchNorm takes its statistics. By default one pass takes all.
        The others are those of `LightBSR`.
    """

    def __init__(self, scale: int = 4, num_feat: int = 64, num_group: int = 8, num_block: int = 8,
                 prior_dim: int = 15, noise_prior: bool = False, contrastive: bool = True, queue_size: int = 8192,
                 momentum: float = 0.999, patch_by_patch: bool = False, layer_scale: float = 1e-6,
                 channel_gate: bool = True, spatial_gate: bool = True, correction: bool = True,
                 idr_noise: float = 0.0, detail_init: bool = False) -> None:
        super().__init__()
        check_size(num_feat, num_group, num_block)
        if not 0 <= prior_dim <= KERNEL_SIZE**2:
            raise ValueError(f'prior_dim must lie between 0 and {KERNEL_SIZE**2}, got {prior_dim}')
        self.scale = scale
        self.prior_dim = prior_dim
        self.noise_prior = noise_prior
        self.contrastive = contrastive
        self.idr_noise = idr_noise
        adaptive = channel_gate or spatial_gate
        if not (adaptive or contrastive):
            raise ValueError('a teacher without gates and without the contrastive branch has nothing to teach')
        in_channels = 3 + prior_dim + 3 * noise_prior
        self.encoder = MomentumEncoder(
            lambda: IDREstimator(in_channels), ESTIMATE_CHANNELS, contrastive, queue_size, momentum, patch_by_patch)
        self.converter = IDRConverter(num_feat - num_feat // 4, channel_gate, spatial_gate) if adaptive else None
        self.trunk = SRTrunk(scale, num_feat, num_group, num_block, layer_scale, channel_gate, spatial_gate, correction,
                             detail_init)
        self.register_buffer('pca_basis', torch.zeros(prior_dim, KERNEL_SIZE**2) if prior_dim else None)

    def prior(self, kernel: Tensor, noise: Tensor) -> Optional[Tensor]:
        """The DRP of kernels (B, 21, 21) and noise levels (B,) in 8-bit units: (B, P), or None for a teacher without.

        Raises:
            ValueError: the network holds no PCA basis.
        """
        if self.prior_dim and not self.pca_basis.any():
            raise ValueError('this LightBSRTeacher holds no PCA basis, so no prior can be made of a blur kernel: train '
                             'it here, or convert it with checkpoints.from_upstream(state_dict, pca_basis=...)')
        parts = [kernel.flatten(1) @ self.pca_basis.T] if self.prior_dim else []
        if self.noise_prior:
            parts.append(noise.to(kernel).view(-1, 1).expand(-1, 3))
        return torch.cat(parts, 1) if parts else None

    def side_inputs(self, gt: Tensor, kernel: Optional[Tensor], noise: Optional[Tensor]) -> tuple[Optional[Tensor]]:
        """What `forward` takes besides `lq`: the prior of kernels (B, 21, 21) and noise levels (B,).

        Raises:
            ValueError: the kernels are not known, or as `prior`.
        """
        return (self.prior(known(kernel), noise) if self.prior_dim or self.noise_prior else None),

    def represent(self, lq: Tensor, prior: Optional[Tensor] = None) -> IDR:
        """The IDR of `lq` by the principal (query) branch, without super-resolving it."""
        estimate = self.encoder.query.estimator(with_prior(lq, prior))
        return self._convert(estimate, lq, self.encoder.query.project(estimate) if self.contrastive else None)

    def super_resolve(self, lq: Tensor, idr: IDR) -> Tensor:
        """As for `LightBSR`."""
        return self.trunk(lq, idr.channel, idr.spatial)

    def forward(self, lq: Tensor, prior: Optional[Tensor] = None, return_idr: bool = False,
                idr_only: bool = False) -> Tensor | IDR | tuple[Tensor, IDR] | TeacherStep:
        """Super-resolves, or makes a training step's forward pass.

        Args:
            lq: (B, 3, H, W), or (B, D, 3, H, W) for a training step with D patches of each image.
            prior: (B, P), from `prior`.
            return_idr, idr_only: As for `LightBSR`.

        Returns:
            As `LightBSR`; for a training step, a `TeacherStep` whose `sr` is None with `idr_only`.
        """
        if lq.dim() == 5:
            return self._train_step(lq, prior, idr_only)
        idr = self.represent(lq, prior)
        if idr_only:
            return idr
        sr = self.super_resolve(lq, idr)
        return (sr, idr) if return_idr else sr

    def _train_step(self, patches: Tensor, prior: Optional[Tensor], idr_only: bool) -> TeacherStep:
        if prior is not None:
            prior = prior[:, None].expand(-1, patches.shape[1], -1)
        estimate, embedding, query, key = self.encoder(with_prior(patches, prior))
        idr = self._convert(estimate, patches[:, 0], embedding)
        sr = None if idr_only else self.super_resolve(patches[:, 0], idr)
        return TeacherStep(sr, idr, query, key)

    def _convert(self, estimate: Tensor, lq: Tensor, embedding: Optional[Tensor]) -> IDR:
        estimate = add_idr_noise(estimate, self.idr_noise)
        channel, spatial = self.converter(estimate, lq.shape[-2:]) if self.converter is not None else (None, None)
        return IDR(estimate, channel, spatial, embedding)


def with_prior(image: Tensor, prior: Optional[Tensor]) -> Tensor:
    """Spreads `prior` (..., P) over H x W and appends it to `image` (..., 3, H, W)."""
    if prior is None:
        return image
    return torch.cat([image, prior[..., None, None].expand(*prior.shape, *image.shape[-2:])], -3)


def add_idr_noise(estimate: Tensor, amplitude: float) -> Tensor:
    """Adds uniform [0, amplitude) noise, the same for each call with this shape: the paper's "error IDR" (Table 2)."""
    if not amplitude:
        return estimate
    noise = torch.rand(estimate.shape[1:], generator=torch.Generator().manual_seed(0))
    return estimate + amplitude * noise.to(estimate)
