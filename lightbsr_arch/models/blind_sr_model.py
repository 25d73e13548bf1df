"""What the blind methods share: degrading on the device, training in stages, averages, validation by stage."""
from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields
from statistics import fmean
from typing import Any, Optional

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..basicsr_compat import (
    agree_on_buffers, current_epoch, gather_objects, own_part, plain, share_gradients, take_weights_of_first)
from ..config import Stage, StepOptions, build, suggest
from ..degradations import degrade, parse_degradation
from . import stages
from .idr_validation import IDRValidation, in_turn
from .real_world import DATASET as REAL_WORLD
from .real_world import RealWorldSynthesis
from .stepping import Memory, Stepper, lay_out_as_parameters

TRAIN_KEYS = ['stages', 'total_iter', 'optim_g', 'ema_decay', 'pixel_opt', 'one_degradation_per_batch']
STEP_KEYS = [f.name for f in fields(StepOptions)]
BATCH = ('lq', 'gt', 'kernel', 'noise')  # what a batch is made of: (B, ...) each, or None


class BlindSRModel(SRModel):
    """A training step is `feed_data` (degrade), `compute_losses` (one forward), and an optimiser's step.

    A step whose losses or gradients are not finite is skipped, and leaves all as it was before; see `StepOptions` for what
    else an option file can say of it.

    Subclasses say what trains in a stage of `trains: idr`, prepare their networks, and compute their losses.
    """

    takes_patches = False  # D patches of an image, (B, D, 3, H, W), or one
    loss_keys: tuple[str, ...] = ()
    other_keys: tuple[str, ...] = ()
    idr_modules: tuple[str, ...] = ()
    idr_validation: Optional[IDRValidation] = None

    # ------------------------------------------------------------------ what a method defines
    def prepare_networks(self) -> None:
        """Before training: teachers, priors, initial weights."""

    def compute_losses(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses `l_...` to be summed, and statistics to be logged."""
        raise NotImplementedError

    def before_step(self) -> None:
        """Before the forward pass."""

    def after_step(self) -> None:
        """After the optimiser's step."""

    def evaluate_idr(self, net: nn.Module) -> dict[str, Tensor]:
        """Figures of the representation on the fed validation image, for stages that do not train the SR network."""
        raise NotImplementedError

    def informed_networks(self) -> list[nn.Module]:
        """Networks that validation asks for `side_inputs`."""
        return [self.net_g]

    def side_inputs(self, net: nn.Module) -> tuple[Optional[Tensor], ...]:
        """What `net` sees besides the fed LR images."""
        return self.get_bare_model(net).side_inputs(getattr(self, 'gt', None), self.kernel, self.noise)

    # ------------------------------------------------------------------ set-up
    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Channels last: the same results, and a training step takes about two thirds of the time on a CPU.

        Of several processes, each wraps its network at the start of a stage, when it is known what trains.
        """
        net = net.to(self.device, memory_format=self.memory_format)
        return net if self.opt['dist'] else super().model_to_device(net)

    @property
    def step_options(self) -> StepOptions:
        train = self.opt.get('train') or {}
        return build(StepOptions, {key: train[key] for key in STEP_KEYS if key in train}, 'train')

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.step_options.channels_last else torch.contiguous_format

    def init_training_settings(self) -> None:
        train = self.opt['train']
        known = [*TRAIN_KEYS, *STEP_KEYS, *self.loss_keys, *self.other_keys]
        for key in train:
            if key not in known:
                raise ValueError(f'train: unknown key {key!r}{suggest(key, known)}')
        self.stages = stages.parse_stages(train.get('stages'))
        if not train.get('pixel_opt') and any(stage.trains == 'all' for stage in self.stages):
            raise ValueError('train.pixel_opt is missing: a stage with trains: all needs it')
        section = self.opt['datasets']['train']
        if section.get('num_patches', 1) > 1 and not self.takes_patches:
            raise ValueError(f'{self.opt["model_type"]} takes one patch of an image: remove num_patches from datasets.train')
        if train.get('one_degradation_per_batch') and (section.get('pairs') or section['type'] != 'BlindDegradationDataset'):
            raise ValueError('train.one_degradation_per_batch is for a BlindDegradationDataset without pairs: true, whose '
                             'images the model degrades: remove it')
        self.synthesis = RealWorldSynthesis(self.opt, self.device) if section['type'] == REAL_WORLD else None
        self.training_degradation = (parse_degradation(section['degradation'], self.opt['scale'])
                                     if 'degradation' in section else None)
        self.stage: Optional[Stage] = None
        self.stepper = Stepper(self.step_options, self.device)
        self._prepare_network(section)
        if (self.opt.get('val') or {}).get('idr_statistics'):
            self.idr_validation = self._start_idr_validation()
        self.is_fresh = self.opt['path'].get('pretrain_network_g') is None
        self.prepare_networks()
        if self.opt['dist']:  # random ones differ, and the average begins at them
            take_weights_of_first(self.get_bare_model(self.net_g))
        self.ema_decay = train.get('ema_decay') or 0
        if not isinstance(self.ema_decay, (int, float)) or not 0 <= self.ema_decay < 1:
            raise ValueError(f'train.ema_decay must be a number from 0 to below 1, got {self.ema_decay!r}')
        if self.ema_decay > 0:
            self._start_average()
        self.losses = {key: build_loss(train[key]).to(self.device)
                       for key in ('pixel_opt', *self.loss_keys) if train.get(key)}
        self.setup_optimizers()

    def _start_idr_validation(self) -> IDRValidation:
        net = self.get_bare_model(self.net_g)
        if None in (getattr(net, 'estimator', net), getattr(net, 'converter', net)):
            raise ValueError('val.idr_statistics is set, but nothing in network_g reads an IDR, and none is built: set '
                             'it to false')
        return IDRValidation(self.opt['datasets'], self.opt['scale'])

    def _prepare_network(self, section: dict[str, Any]) -> None:
        options, batch_size = self.step_options, section['batch_size_per_gpu']
        if batch_size % options.accumulate:
            raise ValueError(f'train.accumulate ({options.accumulate}) must divide datasets.train.batch_size_per_gpu '
                             f'({batch_size})')
        if options.sync_bn:
            if self.device.type != 'cuda' or not self.opt['dist']:
                raise ValueError('train.sync_bn is for several processes on GPUs: set it to false')
            self.net_g = nn.SyncBatchNorm.convert_sync_batchnorm(self.net_g)
        trunk = self.get_bare_model(self.net_g).trunk
        trunk.recompute = options.recompute
        if options.compile:
            if isinstance(self.net_g, nn.DataParallel):  # whose copies would compute with the first GPU's weights
                raise ValueError('train.compile is for one GPU a process: use torchrun, or set it to false')
            trunk.compile_blocks()

    def _start_average(self) -> None:
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device, memory_format=self.memory_format).eval()
        self.net_g_ema.requires_grad_(False)
        self.model_ema(0)
        if not self.is_fresh:
            path = self.opt['path']
            self.load_network(self.net_g_ema, path['pretrain_network_g'], path.get('strict_load_g', True), 'params_ema')

    def setup_optimizers(self) -> None:
        """One optimiser for all stages, so that its moments carry over; the stages set its rate."""
        if 'lr' in self.opt['train']['optim_g']:
            raise ValueError('train.optim_g.lr has no effect: each entry of train.stages has its lr')
        self.optimizer_g = self.make_optimizer('optim_g', self.net_g, lr=self.stages[0].lr)

    def make_optimizer(self, key: str, net: nn.Module, **further: Any) -> torch.optim.Optimizer:
        """The optimiser of `train.<key>`, whose state is saved; fused, a fifth of the time, unless the options choose."""
        options = {**self.opt['train'][key], **further}
        if not {'fused', 'foreach'} & options.keys():
            options['fused'] = True
        optimizer = self.get_optimizer(options.pop('type'), [p for p in net.parameters() if p.requires_grad], **options)
        optimizer.register_load_state_dict_post_hook(lay_out_as_parameters)
        self.optimizers.append(optimizer)
        return optimizer

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Sets the stage's rate of this iteration; stages have their own warm-up."""
        rate = stages.learning_rate(self.stages, current_iter)
        self._set_lr([[rate] * len(self.optimizer_g.param_groups)])

    def further_state(self) -> dict[str, Any]:
        """What this process needs to go on, besides the weights and the optimisers' states."""
        pool = self.synthesis.pool if self.synthesis is not None else []
        return {'scaler': self.stepper.scaler.state_dict(), 'pool': [list(pair) for pair in pool]}

    def take_further_state(self, state: dict[str, Any]) -> None:
        if state.get('scaler'):  # that of a run without fp16 is empty
            self.stepper.scaler.load_state_dict(state['scaler'])
        if self.synthesis is not None:
            self.synthesis.pool = [(lq.to(self.device), gt.to(self.device), *(image or ['unknown']))  # older states lack it
                                   for lq, gt, *image in state.get('pool', [])]

    def checkpoint_notes(self, net_label: str) -> dict[str, Any]:
        own = self.training_degradation
        return super().checkpoint_notes(net_label) | {'degradation': plain(own.section) if own else 'real-world'}

    # ------------------------------------------------------------------ a training step
    def feed_data(self, data: dict[str, Any]) -> None:
        """Takes finished pairs, or degrades patches (B, D, 3, H, W) here, on the device, as the data set's type asks."""
        self.images = data.get('gt_path', data.get('lq_path'))
        self.kernel, self.noise = (data[k].to(self.device) if k in data else None for k in ('kernel', 'noise'))
        if 'lq' in data:
            super().feed_data(data)
            return
        if 'sinc_kernel' in data:
            self.lq, self.gt, self.images = self.synthesis(data)
            return
        if self.opt['train'].get('one_degradation_per_batch'):  # as KDSR's release
            self.kernel, self.noise = (v[:1].expand_as(v) for v in (self.kernel, self.noise))
        self.gt = data['gt'].to(self.device)
        self.lq = self.degrade(self.gt, data['noise_seed'].tolist())
        if not self.takes_patches:
            self.gt, self.lq = self.gt[:, 0], self.lq[:, 0]

    def degrade(self, patches: Tensor, noise_seeds: list[int]) -> Tensor:
        """(B, D, 3, sH, sW) -> (B, D, 3, H, W); the patches of an image share its kernel, level and noise source."""
        num_patch = patches.shape[1]
        generators = [torch.Generator().manual_seed(seed) for seed in noise_seeds]
        lq = degrade(patches.flatten(0, 1), self.kernel.repeat_interleave(num_patch, 0), self.opt['scale'],
                     self.noise.repeat_interleave(num_patch), [g for g in generators for _ in range(num_patch)])
        return lq.unflatten(0, (-1, num_patch))

    def optimize_parameters(self, current_iter: int) -> None:
        stage, _ = stages.locate(self.stages, current_iter)
        self.enter(stage)
        before = Memory(self.moved_by_a_step())
        self.before_step()
        losses, statistics = self.compute_gradients(stage)
        self.stepper.step(self.optimizer_g, losses)
        if self.stepper.unsound is None:
            self.after_step()
            if self.ema_decay > 0:
                self.model_ema(self.ema_decay)
        else:
            before.restore()
            self.skip(f'Step {current_iter}', self.stepper, current_iter)
        self.log_dict = self.reduce_loss_dict(OrderedDict(losses | statistics))

    def compute_gradients(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Works through the batch, in parts if the options say so; returns mean losses and statistics."""
        self.optimizer_g.zero_grad()
        rows = []
        for is_last in self.parts():
            alone = nullcontext() if is_last or not self.opt['dist'] else self.net_g.no_sync()
            with alone:
                losses, statistics = self.compute_losses(stage)
                self.stepper.backward(losses, 1 / self.stepper.options.accumulate)
            rows.append((losses, statistics))
        return tuple({key: torch.stack([row[i][key].detach() for row in rows]).mean() for key in rows[0][i]} for i in (0, 1))

    def parts(self) -> Iterator[bool]:
        """Feeds the parts of the batch one after another, and says which is the last; then the whole batch is back."""
        num_part = self.stepper.options.accumulate
        whole = {name: value for name in BATCH if (value := getattr(self, name)) is not None}
        for i in range(num_part):
            for name, value in whole.items():
                setattr(self, name, value.chunk(num_part)[i])
            yield i == num_part - 1
        for name, value in whole.items():
            setattr(self, name, value)

    def moved_by_a_step(self) -> list[Tensor]:
        """What forward passes change, besides the gradients: BatchNorm's statistics and the like."""
        return list(self.get_bare_model(self.net_g).buffers())

    def skip(self, name: str, stepper: Stepper, current_iter: int) -> None:
        """Reports a step that did not count; too many in a row end the run, with a state to go on from.

        Raises:
            ValueError: `train.max_skipped` steps in a row.
        """
        if stepper.is_overflow():
            return
        images = itertools.chain.from_iterable(gather_objects(self.images or ['unknown']))
        get_root_logger().warning(f'{name} is skipped: {stepper.unsound} not finite. Images: {", ".join(images)}')
        if stepper.num_skipped == self.step_options.max_skipped:
            self.save(current_epoch(), current_iter)
            raise ValueError(f'{stepper.num_skipped} steps in a row had losses or gradients that are not finite '
                             f'({stepper.unsound}): lower the learning rate or look at the images named above. The state '
                             f'before them is saved as {current_iter}.state')

    def get_current_log(self) -> dict[str, float]:
        """BasicSR writes these, but not the learning rate, to TensorBoard."""
        return self.log_dict | {'learning_rate': self.get_current_learning_rate()[0]}

    def enter(self, stage: Stage) -> None:
        """Puts the network into training mode, and at the start of a stage freezes what it does not train."""
        self.net_g.train()
        if stage is self.stage:
            return
        self.stage = stage
        net = self.get_bare_model(self.net_g)
        trained = [p for group in self.optimizer_g.param_groups for p in group['params']]
        chosen = set(trained) if stage.trains == 'all' else {
            p for name in self.idr_modules for p in net.get_submodule(name).parameters()}
        for param in trained:
            param.requires_grad_(param in chosen)
        if self.opt['dist']:
            self.net_g = share_gradients(net, self.opt)
        get_root_logger().info(f'Stage: {stage}')

    # ------------------------------------------------------------------ validation
    def check_validation(self, datasets: Sequence[Dataset]) -> None:
        """Raises a ValueError where the data sets lack what validation, or a test, will ask of them."""
        for dataset in datasets:
            sample = dataset[0]
            told = [sample[key][None].to(self.device) if key in sample else None for key in ('gt', 'kernel', 'noise')]
            for net in self.informed_networks():
                try:
                    self.get_bare_model(net).side_inputs(*told)
                except ValueError as error:
                    raise ValueError(f'datasets: {dataset.opt["name"]}: {error}') from None
        if self.idr_validation is not None:
            self.idr_validation.check(datasets)

    def evaluation_network(self) -> nn.Module:
        """The averaged network where there is one, in evaluation mode."""
        return (self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)).eval()

    @torch.no_grad()
    def test(self) -> None:
        net = self.evaluation_network()
        self.output = net(self.lq, *self.side_inputs(net))
        self._collect_idr(net)

    def nondist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any,
                           save_img: bool) -> None:
        """BasicSR's validation; in a stage that does not train the SR network, figures of the representation."""
        name = dataloader.dataset.opt['name']
        if self.idr_validation is not None:
            self.idr_validation.begin(name)
        if self.is_train and stages.locate(self.stages, current_iter)[0].trains == 'idr':
            self._log_figures(f'{name}, stage idr', name, self._validate_idr(dataloader), current_iter, tb_logger)
        else:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        if self.idr_validation is not None:
            self._log_figures('of the IDR', 'idr', self.idr_validation.finish(), current_iter, tb_logger)

    @torch.no_grad()
    def _validate_idr(self, dataloader: DataLoader) -> dict[str, float]:
        agree_on_buffers(self)
        net = self.evaluation_network()
        rows: list[dict[str, float]] = []
        for data in own_part(self.opt, dataloader):
            self.feed_data(data)
            rows.append({key: value.item() for key, value in self.evaluate_idr(net).items()})
            self._collect_idr(net)
        rows = in_turn(gather_objects(rows))
        return {key: fmean(row[key] for row in rows) for key in rows[0]}

    def _collect_idr(self, net: nn.Module) -> None:
        if self.idr_validation is not None:
            idr = net(self.lq, *self.side_inputs(net), idr_only=True)
            self.idr_validation.add(self.images[0], idr.features())

    def _log_figures(self, title: str, name: str, figures: dict[str, float], current_iter: int | str,
                     tb_logger: Any) -> None:
        for key, value in figures.items():
            get_root_logger().info(f'Validation {title}: {key} {value:.4f}')
            if tb_logger:
                tb_logger.add_scalar(f'metrics/{name}/{key}', value, current_iter)
