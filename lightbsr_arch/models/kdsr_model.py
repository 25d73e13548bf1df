"""Training of KDSR's teacher and student (https://arxiv.org/abs/2211.16928, Sections 3.4, 4.1, 4.3)."""
from __future__ import annotations

from typing import Any

from basicsr.archs import build_network
from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from torch import Tensor, nn

from ..config import Stage
from .blind_sr_model import BlindSRModel
from .stepping import Memory, Stepper
from .student_model import StudentModel


class KDSRTeacherModel(BlindSRModel):
    """Pixel loss alone; the teacher sees the HR image (or the kernel), also when it is tested."""

    def prepare_networks(self) -> None:
        if any(stage.trains == 'idr' for stage in self.stages):
            raise ValueError('KDSRTeacherModel has a pixel loss alone: give its stages trains: all')

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        sr = self.stepper.forward(self.net_g, self.lq, *self.side_inputs(self.net_g))
        return {'l_pix': self.losses['pixel_opt'](sr, self.gt)}, {}


class KDSRStudentModel(StudentModel):
    """Distils D' (Section 3.4); see `StudentModel`.

    `train.distill_opt`: `ChannelDistillationLoss` with `l1_weight: 0` is the paper's KL; `L1Loss` and `MSELoss` are the
    alternatives of its Table 5.
    """

    teacher_arch = 'KDSRTeacher'
    distilled = {'distill_opt': 'distill'}
    idr_modules = ('estimator.features', 'estimator.distill')  # what D' is made by

    def check_distillation(self) -> None:
        student = self.get_bare_model(self.net_g)
        widths = [net.trunk.head.out_channels for net in (student, self.teacher)]
        if self.opt['train'].get('distill_opt') and (widths[0] != widths[1] or student.estimator is None):
            raise ValueError('train.distill_opt is set, but student and teacher have no representation of the same size: '
                             f'num_feat is {widths[0]} and {widths[1]}, and the student needs dynamic: true')


class KDSRGANStudentModel(KDSRStudentModel):
    """Adds perceptual and adversarial losses to the student's (Section 4.3).

    `path.pretrain_network_g` is the student to start from. The discriminator (`network_d`, `train.optim_d`) learns after
    each step of the student, at its own fixed rate.
    """

    other_keys = (*KDSRStudentModel.other_keys, 'perceptual_opt', 'gan_opt', 'optim_d')

    def prepare_networks(self) -> None:
        if any(stage.trains == 'idr' for stage in self.stages):
            raise ValueError('KDSRGANStudentModel trains all: give its stages trains: all')
        super().prepare_networks()
        if self.step_options.accumulate > 1:
            raise ValueError('KDSRGANStudentModel shows the discriminator whole batches: set train.accumulate to 1')
        net_d = build_network(self.opt['network_d']).to(memory_format=self.memory_format)
        self.net_d = SRModel.model_to_device(self, net_d)
        self.stepper_d = Stepper(self.step_options, self.device)
        self.discriminator_log: dict[str, float] = {}
        path = self.opt['path'].get('pretrain_network_d')
        if path is not None:
            self.load_network(self.net_d, path, self.opt['path'].get('strict_load_d', True),
                              self.opt['path'].get('param_key_d', 'params'))
        self.net_d.train()
        train = self.opt['train']
        self.gan = build_loss(train['gan_opt']).to(self.device)
        self.perceptual = self._build_perceptual(train['perceptual_opt']) if train.get('perceptual_opt') else None

    def _build_perceptual(self, section: dict[str, Any]) -> nn.Module:
        try:
            return build_loss(section).to(self.device)
        except (OSError, RuntimeError) as error:
            raise ValueError(f'the perceptual loss needs the weights of VGG19, which cannot be downloaded ({error}): put '
                             f'torchvision\'s file at {VGG_PRETRAIN_PATH} below the current folder') from error

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        self.optimizer_d = self.make_optimizer('optim_d', self.net_d)

    def moved_by_a_step(self) -> list[Tensor]:
        return super().moved_by_a_step() + list(self.net_d.buffers())

    def before_step(self) -> None:
        self.net_d.requires_grad_(False)

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, statistics = super().compute_losses(stage)
        losses['l_gan'] = self.gan(self.stepper.forward(self.get_bare_model(self.net_d), self.output), True, is_disc=False)
        if self.perceptual is not None:
            perceptual, style = self.perceptual(self.output, self.gt)
            losses |= {name: loss for name, loss in (('l_percep', perceptual), ('l_style', style)) if loss is not None}
        return losses, statistics

    def optimize_parameters(self, current_iter: int) -> None:
        """The student's step, and if it counted, the discriminator's."""
        super().optimize_parameters(current_iter)
        if self.stepper.unsound is None:
            self.train_discriminator(current_iter)

    def train_discriminator(self, current_iter: int) -> None:
        """Raises a ValueError after `train.max_skipped` steps in a row that are not finite."""
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        before = Memory(self.net_d.buffers())
        real, fake = (self.stepper_d.forward(self.net_d, images) for images in (self.gt, self.output.detach()))
        losses = {'l_d_real': self.gan(real, True, is_disc=True), 'l_d_fake': self.gan(fake, False, is_disc=True)}
        self.stepper_d.backward(losses)
        self.stepper_d.step(self.optimizer_d, losses)
        if self.stepper_d.unsound is not None:
            before.restore()
            self.skip(f"The discriminator's step {current_iter}", self.stepper_d, current_iter)
        self.discriminator_log = self.reduce_loss_dict(
            losses | {'out_d_real': real.detach().mean(), 'out_d_fake': fake.detach().mean()})

    def get_current_log(self) -> dict[str, float]:
        return super().get_current_log() | self.discriminator_log

    def further_state(self) -> dict[str, Any]:
        return super().further_state() | {'scaler_d': self.stepper_d.scaler.state_dict()}

    def take_further_state(self, state: dict[str, Any]) -> None:
        super().take_further_state(state)
        if state.get('scaler_d'):
            self.stepper_d.scaler.load_state_dict(state['scaler_d'])

    def save(self, epoch: int, current_iter: int) -> None:
        """The training state comes last: it says that the weights are there."""
        self.save_network(self.net_d, 'net_d', current_iter)
        super().save(epoch, current_iter)
