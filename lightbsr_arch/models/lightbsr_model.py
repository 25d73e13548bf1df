"""Training of LightBSR's teacher and student (https://arxiv.org/abs/2506.22710, Sections 3.2 to 3.4 and 4.1)."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from .. import checkpoints
from ..archs import IDR
from ..config import Stage
from ..degradations import fit_pca_basis, parse_degradation, release_pca_kernels
from ..losses import contrastive_statistics
from .blind_sr_model import BlindSRModel

NUM_PCA_KERNELS = 5000


class LightBSRTeacherModel(BlindSRModel):
    """Stage `idr`: contrastive loss alone, the SR network is not run. Stage `all`: pixel and contrastive loss.

    `train.prior_fit`: `setting` (default) fits the prior's PCA on the run's own kernels, `release` on the release's.
    """

    loss_keys = ('contrastive_opt',)
    other_keys = ('prior_fit',)
    idr_modules = ('encoder.query',)

    def prepare_networks(self) -> None:
        net = self.get_bare_model(self.net_g)
        contrastive = self.opt['train'].get('contrastive_opt') is not None
        if contrastive != net.contrastive:
            raise ValueError(f'train.contrastive_opt is {"set" if contrastive else "missing"}, but network_g has '
                             f'contrastive: {str(net.contrastive).lower()}: make them agree')
        if self.opt['datasets']['train'].get('pairs'):
            raise ValueError('LightBSRTeacherModel degrades the patches itself: remove pairs: true from datasets.train')
        if contrastive and self.opt['datasets']['train'].get('num_patches', 1) < 2:
            raise ValueError('the contrastive loss compares patches of one image: set datasets.train.num_patches to 2 '
                             'or more (the paper has 4)')
        if not contrastive and any(stage.trains == 'idr' for stage in self.stages):
            raise ValueError("a stage with trains: idr has only the contrastive loss: set train.contrastive_opt or "
                             "remove the stage")
        if net.prior_dim and not net.noise_prior and self.training_degradation.noise != 0:
            get_root_logger().warning('The training images are noisy, but network_g has noise_prior: false: the teacher is '
                                      'not told the noise level.')
        if net.prior_dim and not net.pca_basis.any():
            net.pca_basis.copy_(self._fit_prior(net.prior_dim))

    def _fit_prior(self, prior_dim: int) -> Tensor:
        fit = self.opt['train'].get('prior_fit', 'setting')
        rng = np.random.default_rng(0)
        if fit == 'release':
            kernels = release_pca_kernels(rng, NUM_PCA_KERNELS)
        elif fit == 'setting':
            kernels = self.training_degradation.sample_kernels(rng, NUM_PCA_KERNELS)
        else:
            raise ValueError(f"train.prior_fit must be 'setting' or 'release', got {fit!r}")
        basis = fit_pca_basis(kernels, prior_dim)
        flat = kernels.flatten(1)
        error = ((flat @ basis.T @ basis - flat).norm(dim=1) / flat.norm(dim=1)).mean().item()
        get_root_logger().info(f'Prior: {prior_dim} PCA values reconstruct {NUM_PCA_KERNELS} kernels ({fit}) with a '
                               f'mean error of {error:.2%}.')
        return basis

    def before_step(self) -> None:
        encoder = self.get_bare_model(self.net_g).encoder
        if encoder.key is not None:
            encoder.update_key_encoder()

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        net = self.get_bare_model(self.net_g)
        step = self.net_g(self.lq, self.prior_of(net), idr_only=stage.trains == 'idr')
        losses, statistics = {}, {}
        if stage.trains == 'all':
            losses['l_pix'] = self.losses['pixel_opt'](step.sr, self.gt[:, 0])
        if step.key is not None:
            contrast = step.query, step.key, net.encoder.queue
            losses['l_contrastive'] = self.losses['contrastive_opt'](*contrast)
            statistics = contrastive_statistics(*contrast)
            self.new_keys = step.key[:, 0]
        return losses, statistics

    def after_step(self) -> None:
        encoder = self.get_bare_model(self.net_g).encoder
        if encoder.key is not None:
            encoder.enqueue(self.new_keys)

    def super_resolve(self, net: nn.Module) -> Tensor:
        return net(self.lq, self.prior_of(net))

    def evaluate_idr(self, net: nn.Module) -> dict[str, Tensor]:
        """Contrastive accuracy between the image's four quadrants, against the queue."""
        height, width = (size // 2 for size in self.lq.shape[-2:])
        quadrants = torch.stack([self.lq[..., y:y + height, x:x + width] for y in (0, height) for x in (0, width)], 1)
        step = net(quadrants, self.prior_of(net), idr_only=True)
        return contrastive_statistics(step.query, step.key, net.encoder.queue)


class LightBSRStudentModel(BlindSRModel):
    """Stage `idr`: distillation alone, no SR network is run. Stage `all`: pixel and distillation losses.

    The frozen teacher is `path.pretrain_network_t`; its SR network never runs. Testing needs none.
    """

    distilled = {'channel_distill_opt': 'channel', 'spatial_distill_opt': 'spatial'}
    loss_keys = tuple(distilled)
    idr_modules = ('estimator', 'converter')

    def prepare_networks(self) -> None:
        distils = any(self.opt['train'].get(key) for key in self.loss_keys)
        if not distils and any(stage.trains == 'idr' for stage in self.stages):
            raise ValueError('a stage with trains: idr has only the distillation losses: set '
                             f'{" and ".join("train." + key for key in self.loss_keys)}, or remove the stage')
        self.teacher = None
        if distils or self.opt['path'].get('pretrain_network_t'):
            self.teacher = self._load_teacher()
            self._check_distillation()
            if self.is_fresh:
                self._start_from_teacher()

    def _load_teacher(self) -> nn.Module:
        path = self.opt['path'].get('pretrain_network_t')
        if path is None:
            raise ValueError('path.pretrain_network_t is missing: train a teacher first (train_LightBSR_teacher_x4.yml) '
                             'and give its net_g_....pth')
        loaded = checkpoints.read(path, self.opt['path'].get('param_key_t'))
        section = self.opt.get('network_t') or {'type': loaded.arch, **(loaded.kwargs or {})}
        if section['type'] != 'LightBSRTeacher':
            raise checkpoints.CheckpointError(f'{path} holds {section["type"] or "a network without a name"}, but '
                                              'path.pretrain_network_t must be a LightBSRTeacher')
        self._check_setting(path, loaded, section)
        teacher = build_network(section).to(self.device, memory_format=torch.channels_last)
        self.load_network(teacher, path, True, self.opt['path'].get('param_key_t'))
        if teacher.prior_dim and not teacher.pca_basis.any():
            raise checkpoints.CheckpointError(f'{path} holds no PCA basis, so it cannot teach: train the teacher here, or '
                                              'convert it with checkpoints.from_upstream(state_dict, pca_basis=...)')
        return teacher.requires_grad_(False).eval()

    def _check_setting(self, path: str, loaded: checkpoints.Checkpoint, section: dict[str, Any]) -> None:
        own = self.training_degradation
        theirs = parse_degradation(loaded.degradation, self.opt['scale']) if loaded.degradation else own
        scale = section.get('scale', 4)
        if theirs != own or scale != self.opt['scale']:
            raise checkpoints.CheckpointError(
                f'{path} is a teacher of another setting: it was trained with {theirs.label} at x{scale}, this run has '
                f'{own.label} at x{self.opt["scale"]}. Give a teacher of the same setting or change '
                'datasets.train.degradation')

    def _check_distillation(self) -> None:
        """A representation that no gate reads is not built, and one of another width cannot be compared."""
        for key, form in self.distilled.items():
            layers = [getattr(net.converter, form, None) for net in (self.get_bare_model(self.net_g), self.teacher)]
            if self.opt['train'].get(key) and (None in layers or layers[0].weight.shape != layers[1].weight.shape):
                raise ValueError(f'train.{key} is set, but student and teacher have no {form} representation of the same '
                                 f'size: give both {form}_gate: true and the same num_feat, or remove the loss')

    def _start_from_teacher(self) -> None:
        """Copies what fits: estimator, converter and SR network (Section 3.4)."""
        renamed = {k.replace('encoder.query.estimator.', 'estimator.'): v for k, v in self.teacher.state_dict().items()}
        own = self.get_bare_model(self.net_g).state_dict()
        copied = {k: v for k, v in renamed.items() if k in own and v.shape == own[k].shape}
        self.get_bare_model(self.net_g).load_state_dict(copied, strict=False)
        left = [k for k in own if k not in copied]
        get_root_logger().info(f'Student: {len(copied)} of {len(own)} tensors start from the teacher '
                               f'({", ".join(sorted({k.split(".")[0] for k in copied}))}); '
                               f'at random: {", ".join(left) or "none"}.')

    def feed_data(self, data: dict[str, Any]) -> None:
        super().feed_data(data)
        if self.lq.dim() == 5:
            self.lq, self.gt = self.lq[:, 0], self.gt[:, 0]

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses = {}
        if stage.trains == 'idr':
            idr = self.net_g(self.lq, idr_only=True)
        else:
            sr, idr = self.net_g(self.lq, return_idr=True)
            losses['l_pix'] = self.losses['pixel_opt'](sr, self.gt)
        return losses | self._distill(idr), {}

    def _distill(self, idr: IDR) -> dict[str, Tensor]:
        """The distillation losses that the option file names, of an IDR against the teacher's."""
        if not any(key in self.losses for key in self.distilled):
            return {}
        with torch.no_grad():
            target = self.teacher(self.lq, self.prior_of(self.teacher), idr_only=True)
        return {f'l_{form}': self.losses[key](getattr(idr, form), getattr(target, form))
                for key, form in self.distilled.items() if key in self.losses}

    def evaluate_idr(self, net: nn.Module) -> dict[str, Tensor]:
        """The distillation losses."""
        return self._distill(net(self.lq, idr_only=True))
