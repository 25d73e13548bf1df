"""What LightBSR's and KDSR's students share: a frozen teacher, a start from its weights, distillation losses."""
from __future__ import annotations

from typing import Any, NamedTuple

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from .. import checkpoints
from ..config import Stage
from ..degradations import parse_degradation
from . import stages
from .blind_sr_model import BlindSRModel


class StudentModel(BlindSRModel):
    """Stage `idr`: distillation alone, no SR network is run. Stage `all`: pixel and distillation losses.

    The frozen teacher is `path.pretrain_network_t`; its SR network never runs. Testing needs none.
    `train.start_from_teacher`: `all` (default) copies each tensor that fits, `sr_network` those of the SR network.

    Subclasses name the teacher's class, and for each distillation loss the member of the IDR that it compares.
    """

    teacher_arch: str
    distilled: dict[str, str]
    other_keys = ('start_from_teacher',)

    @property
    def loss_keys(self) -> tuple[str, ...]:
        return tuple(self.distilled)

    # ------------------------------------------------------------------ what a method defines
    def check_distillation(self) -> None:
        """Whether student and teacher have something to compare."""

    def weights_for_student(self) -> dict[str, Tensor]:
        """The teacher's weights under the student's names."""
        return self.teacher.state_dict()

    def informed_networks(self) -> list[nn.Module]:
        """The teacher, where a validation falls into a stage `idr`."""
        frequency = int((self.opt.get('val') or {}).get('val_freq', 0)) if self.is_train else 0
        distils = frequency and any(stages.locate(self.stages, iteration)[0].trains == 'idr' for iteration in
                                    range(frequency, self.opt['train']['total_iter'] + 1, frequency))
        return super().informed_networks() + ([self.teacher] if distils else [])

    # ------------------------------------------------------------------ set-up
    def prepare_networks(self) -> None:
        part = self.opt['train'].get('start_from_teacher', 'all')
        if part not in ('all', 'sr_network'):
            raise ValueError(f"train.start_from_teacher must be 'all' or 'sr_network', got {part!r}")
        distils = any(self.opt['train'].get(key) for key in self.loss_keys)
        if not distils and any(stage.trains == 'idr' for stage in self.stages):
            raise ValueError('a stage with trains: idr has only the distillation losses: set '
                             f'{" and ".join("train." + key for key in self.loss_keys)}, or remove the stage')
        if distils or self.opt['path'].get('pretrain_network_t'):
            self.teacher = self._load_teacher()
            self.check_distillation()
            if self.is_fresh:
                self._start_from_teacher(part)

    def _load_teacher(self) -> nn.Module:
        path = self.opt['path'].get('pretrain_network_t')
        if path is None:
            raise ValueError(f'path.pretrain_network_t is missing: train a {self.teacher_arch} first and give its '
                             'net_g_....pth')
        checkpoints.require(path, 'path.pretrain_network_t')
        named = self.opt.get('network_t')
        loaded = (checkpoints.read if named else checkpoints.read_named)(path, self.opt['path'].get('param_key_t'))
        section = named or {'type': loaded.arch, **loaded.kwargs}
        if section['type'] != self.teacher_arch:
            raise checkpoints.CheckpointError(f'{path} holds {section["type"]}, but path.pretrain_network_t must be a '
                                              f'{self.teacher_arch}')
        self._check_setting(path, loaded, section)
        teacher = build_network(section).to(self.device, memory_format=self.memory_format)
        self.load_network(teacher, path, True, self.opt['path'].get('param_key_t'))
        return teacher.requires_grad_(False).eval()

    def _check_setting(self, path: str, loaded: checkpoints.Checkpoint, section: dict[str, Any]) -> None:
        own = theirs = self.training_degradation
        if loaded.degradation is not None:  # a release's file does not tell
            is_real = loaded.degradation == 'real-world'
            theirs = None if is_real else parse_degradation(loaded.degradation, self.opt['scale'])
        scale = section.get('scale', 4)
        if theirs != own or scale != self.opt['scale']:
            named = [d.label if d else "BasicSR's real-world degradation or ready pairs" for d in (theirs, own)]
            raise checkpoints.CheckpointError(
                f'{path} is a teacher of another setting: it was trained with {named[0]} at x{scale}, this run has '
                f'{named[1]} at x{self.opt["scale"]}. Give a teacher of the same setting or change datasets.train')

    def _start_from_teacher(self, part: str) -> None:
        """Copies what fits, and says what did not."""
        own = self.get_bare_model(self.net_g).state_dict()
        copied = {k: v for k, v in self.weights_for_student().items()
                  if k in own and v.shape == own[k].shape and (part == 'all' or k.startswith('trunk.'))}
        self.get_bare_model(self.net_g).load_state_dict(copied, strict=False)
        left = [k for k in own if k not in copied]
        get_root_logger().info(f'Student: {len(copied)} of {len(own)} tensors start from the teacher '
                               f'({", ".join(sorted({k.split(".")[0] for k in copied}))}); '
                               f'at random: {", ".join(left) or "none"}.')

    # ------------------------------------------------------------------ a training step
    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses = {}
        if stage.trains == 'idr':
            idr = self.stepper.forward(self.net_g, self.lq, idr_only=True)
        else:
            self.output, idr = self.stepper.forward(self.net_g, self.lq, return_idr=True)
            losses['l_pix'] = self.losses['pixel_opt'](self.output, self.gt)
        return losses | self._distill(idr), {}

    def _distill(self, idr: NamedTuple) -> dict[str, Tensor]:
        """The distillation losses that the option file names, of an IDR against the teacher's."""
        if not any(key in self.losses for key in self.distilled):
            return {}
        with torch.no_grad():
            target = self.stepper.forward(self.teacher, self.lq, *self.side_inputs(self.teacher), idr_only=True)
        return {f'l_{member}': self.losses[key](getattr(idr, member), getattr(target, member))
                for key, member in self.distilled.items() if key in self.losses}

    def evaluate_idr(self, net: nn.Module) -> dict[str, Tensor]:
        """The distillation losses."""
        return self._distill(net(self.lq, idr_only=True))
