"""Training of KDSR's teacher and student (https://arxiv.org/abs/2211.16928, Sections 3.4 and 4.1)."""
from __future__ import annotations

from torch import Tensor, nn

from ..archs import KDSRIDR
from ..config import Stage
from .blind_sr_model import BlindSRModel
from .student_model import StudentModel


class KDSRTeacherModel(BlindSRModel):
    """Pixel loss alone; the teacher sees the HR image, also when it is tested."""

    def prepare_networks(self) -> None:
        if any(stage.trains == 'idr' for stage in self.stages):
            raise ValueError('KDSRTeacherModel has a pixel loss alone: give its stages trains: all')

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {'l_pix': self.losses['pixel_opt'](self.net_g(self.lq, self.gt), self.gt)}, {}

    def super_resolve(self, net: nn.Module) -> Tensor:
        return net(self.lq, self.gt)


class KDSRStudentModel(StudentModel):
    """Distils D' (Section 3.4); see `StudentModel`.

    `train.distill_opt`: `ChannelDistillationLoss` with `l1_weight: 0` is the paper's KL; `L1Loss` and `MSELoss` are the
    alternatives of its Table 5.
    """

    teacher_arch = 'KDSRTeacher'
    distilled = {'distill_opt': 'distill'}
    idr_modules = ('estimator',)

    def teach(self) -> KDSRIDR:
        return self.teacher(self.lq, self.gt, idr_only=True)

    def check_distillation(self) -> None:
        student = self.get_bare_model(self.net_g)
        widths = [net.trunk.head.out_channels for net in (student, self.teacher)]
        if self.opt['train'].get('distill_opt') and (widths[0] != widths[1] or student.estimator is None):
            raise ValueError('train.distill_opt is set, but student and teacher have no representation of the same size: '
                             f'num_feat is {widths[0]} and {widths[1]}, and the student needs dynamic: true')
