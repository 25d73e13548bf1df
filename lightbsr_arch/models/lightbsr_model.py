"""Training of LightBSR's teacher and student (https://arxiv.org/abs/2506.22710, Sections 3.2 to 3.4 and 4.1)."""
from __future__ import annotations

import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from .. import checkpoints
from ..basicsr_compat import gather
from ..config import Stage
from ..degradations import fit_pca_basis, release_pca_kernels
from ..losses import contrastive_statistics
from .blind_sr_model import BlindSRModel
from .student_model import StudentModel

NUM_PCA_KERNELS = 5000


class LightBSRTeacherModel(BlindSRModel):
    """Stage `idr`: contrastive loss alone, the SR network is not run. Stage `all`: pixel and contrastive loss.

    `train.prior_fit`: `setting` (default) fits the prior's PCA on the run's own kernels, `release` on the release's.
    """

    takes_patches = True
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
        if self.training_degradation is None:
            raise ValueError('LightBSRTeacherModel needs datasets.train of type BlindDegradationDataset, which tells the '
                             'blur kernels')
        if net.prior_dim and not net.noise_prior and self.training_degradation.noise != 0:
            get_root_logger().warning('The training images are noisy, but network_g has noise_prior: false: the teacher is '
                                      'not told the noise level.')
        fit = self.opt['train'].get('prior_fit', 'setting')
        if fit not in ('setting', 'release'):
            raise ValueError(f"train.prior_fit must be 'setting' or 'release', got {fit!r}")
        if net.prior_dim and self.is_fresh:
            net.pca_basis.copy_(self._fit_prior(net.prior_dim, fit))
        elif net.prior_dim and not net.pca_basis.any():  # its estimator knows another basis than would be fitted here
            raise checkpoints.CheckpointError(
                f'{self.opt["path"]["pretrain_network_g"]} holds no PCA basis, so its training cannot go on: convert it with '
                '`basicsr convert --pca-basis`')
        elif net.prior_dim:
            get_root_logger().info(f'Prior: the PCA basis of {self.opt["path"]["pretrain_network_g"]} is kept.')

    def _fit_prior(self, prior_dim: int, fit: str) -> Tensor:
        rng = np.random.default_rng(0)
        kernels = (release_pca_kernels(rng, NUM_PCA_KERNELS) if fit == 'release' else
                   self.training_degradation.sample_kernels(rng, NUM_PCA_KERNELS))
        basis = fit_pca_basis(kernels, prior_dim)
        flat = kernels.flatten(1)
        error = ((flat @ basis.T @ basis - flat).norm(dim=1) / flat.norm(dim=1)).mean().item()
        get_root_logger().info(f'Prior: {prior_dim} PCA values reconstruct {NUM_PCA_KERNELS} kernels ({fit}) with a '
                               f'mean error of {error:.2%}.')
        return basis

    def moved_by_a_step(self) -> list[Tensor]:
        encoder = self.get_bare_model(self.net_g).encoder
        if encoder.key is None:
            return super().moved_by_a_step()
        buffers = [buffer for buffer in super().moved_by_a_step() if buffer is not encoder.queue]  # it moves after the step
        return buffers + list(encoder.key.parameters())

    def before_step(self) -> None:
        encoder = self.get_bare_model(self.net_g).encoder
        self.new_keys: list[Tensor] = []
        if encoder.key is not None:
            encoder.update_key_encoder()

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        net = self.get_bare_model(self.net_g)
        step = self.stepper.forward(self.net_g, self.lq, *self.side_inputs(net), idr_only=stage.trains == 'idr')
        losses, statistics = {}, {}
        if stage.trains == 'all':
            losses['l_pix'] = self.losses['pixel_opt'](step.sr, self.gt[:, 0])
        if step.key is not None:
            contrast = step.query, step.key, net.encoder.queue
            losses['l_contrastive'] = self.losses['contrastive_opt'](*contrast)
            statistics = contrastive_statistics(*contrast)
            self.new_keys.append(step.key[:, 0])
        return losses, statistics

    def after_step(self) -> None:
        encoder = self.get_bare_model(self.net_g).encoder
        if encoder.key is not None:
            encoder.enqueue(gather(torch.cat(self.new_keys)))

    def evaluate_idr(self, net: nn.Module) -> dict[str, Tensor]:
        """Contrastive accuracy between the image's four quadrants, against the queue."""
        height, width = (size // 2 for size in self.lq.shape[-2:])
        quadrants = torch.stack([self.lq[..., y:y + height, x:x + width] for y in (0, height) for x in (0, width)], 1)
        step = net(quadrants, *self.side_inputs(net), idr_only=True)
        return contrastive_statistics(step.query, step.key, net.encoder.queue)


class LightBSRStudentModel(StudentModel):
    """Distils R_C and R_S (Section 3.4); see `StudentModel`."""

    teacher_arch = 'LightBSRTeacher'
    distilled = {'channel_distill_opt': 'channel', 'spatial_distill_opt': 'spatial'}

    @property
    def idr_modules(self) -> tuple[str, ...]:
        """The estimator, and of the converter what a loss reads."""
        return 'estimator', *(f'converter.{form}' for key, form in self.distilled.items() if self.opt['train'].get(key))

    def check_distillation(self) -> None:
        """A representation that no gate reads is not built, and one of another width cannot be compared."""
        if self.teacher.prior_dim and not self.teacher.pca_basis.any():
            raise checkpoints.CheckpointError(
                f'{self.opt["path"]["pretrain_network_t"]} holds no PCA basis, so it cannot teach: train the teacher here, '
                'or convert it with `basicsr convert --pca-basis`')
        for key, form in self.distilled.items():
            layers = [getattr(net.converter, form, None) for net in (self.get_bare_model(self.net_g), self.teacher)]
            if self.opt['train'].get(key) and (None in layers or layers[0].weight.shape != layers[1].weight.shape):
                raise ValueError(f'train.{key} is set, but student and teacher have no {form} representation of the same '
                                 f'size: give both {form}_gate: true and the same num_feat, or remove the loss')

    def weights_for_student(self) -> dict[str, Tensor]:
        return {k.replace('encoder.query.estimator.', 'estimator.'): v for k, v in self.teacher.state_dict().items()}
