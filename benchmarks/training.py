"""Training steps of LightBSR: the package's own models against the plain way. `python -m benchmarks.training --help`.

The plain way of the releases: NCHW float32, the patches of an image one after another through the encoders and, in stage
`all`, the first one once more for the SR network; the contrastive loss pair by pair; in a student's step the whole teacher
runs, and in stage `idr` both SR networks for nothing.

A step ends with the optimiser's. Losses and gradients are compared with BatchNorm's statistics frozen, as over one pass
and over D passes they differ by design.
"""
from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from basicsr.models import build_model
from torch import Tensor, nn

from lightbsr_arch.config import Stage
from lightbsr_arch.degradations import fit_pca_basis, isotropic_kernel
from lightbsr_arch.models.blind_sr_model import BlindSRModel

from . import pairs, plain
from .pairs import Pair, Settings, norm_error

NUM_PATCH, BATCH, SIZE = 4, 8, (64, 64)
TEMPERATURE, DISTILL_TEMPERATURE, L1_WEIGHT, PIXEL_WEIGHT = 0.07, 0.15, 0.1, 255
MOMENTUM, RATE, BETAS = 0.999, 2e-4, (0.9, 0.99)
STAGES = [Stage('idr', 1, RATE), Stage('all', 1, RATE)]
Losses = dict[str, Tensor]


class Batch(NamedTuple):
    """lq (B, D, 3, H, W), gt (B, D, 3, 4H, 4W) in [0, 1], kernel (B, 21, 21), noise (B,)."""

    lq: Tensor
    gt: Tensor
    kernel: Tensor
    noise: Tensor


def random_batch(size: int, image_size: tuple[int, int], device: torch.device) -> Batch:
    height, width = image_size
    lq, gt = (torch.rand(size, NUM_PATCH, 3, factor * height, factor * width) for factor in (1, 4))
    return Batch(*(t.to(device) for t in (lq, gt, isotropic_kernel(torch.linspace(0.2, 4.0, size)), torch.zeros(size))))


# ----------------------------------------------------------------------------------------------------------- plain way
class PlainTeacher:
    """The teacher's training, from the weights of ours."""

    def __init__(self, net: nn.Module) -> None:
        self.net = plain.Layers.of(net)
        self.optimizer = torch.optim.Adam(self.net.trained.values(), RATE, BETAS)

    def step(self, batch: Batch, stage: Stage) -> None:
        self.follow()
        self.gradients(batch, stage, frozen=False)
        self.optimizer.step()
        self.enqueue(self.keys[0])

    def gradients(self, batch: Batch, stage: Stage, frozen: bool) -> Losses:
        self.net.frozen = frozen
        self.optimizer.zero_grad()
        patches = with_prior(self.net, batch)
        queries = [self.embed('query', patch) for patch in patches]
        with torch.no_grad():
            self.keys = [self.embed('key', patch) for patch in patches]
        losses = {'l_contrastive': self.contrast(queries)}
        if stage.trains == 'all':
            sr = plain.lightbsr(self.net, batch.lq[:, 0], plain.estimate_idr(self.net, 'encoder.query.estimator', patches[0]))[0]
            losses['l_pix'] = PIXEL_WEIGHT * F.l1_loss(sr, batch.gt[:, 0])
        sum(losses.values()).backward()
        return losses

    def embed(self, branch: str, patch: Tensor) -> Tensor:
        x = plain.estimate_idr(self.net, f'encoder.{branch}.estimator', patch).mean((2, 3))
        x = F.leaky_relu(self.net.linear(f'encoder.{branch}.projector.0', x), 0.1)
        return F.normalize(self.net.linear(f'encoder.{branch}.projector.2', x), dim=1)

    def contrast(self, queries: list[Tensor]) -> Tensor:
        """Pair by pair of different patches, as a classification among the key and the negatives."""
        losses = []
        for (i, query), (j, key) in itertools.product(enumerate(queries), enumerate(self.keys)):
            if i != j:
                scores = torch.cat([(query * key).sum(1, keepdim=True), query @ self.net.weights['encoder.queue']], 1)
                losses.append(F.cross_entropy(scores / TEMPERATURE, scores.new_zeros(len(scores), dtype=torch.long)))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the key branch towards the query branch."""
        for name, query in self.net.trained.items():
            if name.startswith('encoder.query.'):
                key = self.net.weights[name.replace('query', 'key', 1)]
                key.copy_(MOMENTUM * key + (1 - MOMENTUM) * query)

    def enqueue(self, keys: Tensor) -> None:
        queue, pointer = (self.net.weights[f'encoder.{name}'] for name in ('queue', 'queue_pointer'))
        start = int(pointer)
        queue[:, start:start + len(keys)] = keys.T[:, :queue.shape[1] - start]
        pointer[0] = (start + len(keys)) % queue.shape[1]


def with_prior(net: plain.Layers, batch: Batch) -> list[Tensor]:
    """The patches with the prior as further channels."""
    prior = (batch.kernel.flatten(1) @ net.weights['pca_basis'].T)[:, :, None, None].expand(-1, -1, *batch.lq.shape[-2:])
    return [torch.cat([patch, prior], 1) for patch in batch.lq.unbind(1)]


class PlainStudent:
    """The student's training: student and teacher run whole, whatever the losses need."""

    def __init__(self, net: nn.Module, teacher: nn.Module) -> None:
        self.net, self.teacher = plain.Layers.of(net), plain.Layers.of(teacher)
        self.optimizer = torch.optim.Adam(self.net.trained.values(), RATE, BETAS)

    def step(self, batch: Batch, stage: Stage) -> None:
        self.gradients(batch, stage, frozen=False)
        self.optimizer.step()

    def gradients(self, batch: Batch, stage: Stage, frozen: bool) -> Losses:
        self.net.frozen = frozen
        self.optimizer.zero_grad()
        lq, gt = batch.lq[:, 0], batch.gt[:, 0]
        sr, *idr = plain.lightbsr(self.net, lq, plain.estimate_idr(self.net, 'estimator', lq))
        with torch.no_grad():
            estimate = plain.estimate_idr(self.teacher, 'encoder.query.estimator', with_prior(self.teacher, batch)[0])
            _, *target = plain.lightbsr(self.teacher, lq, estimate)
        losses = distillation(idr, target)
        if stage.trains == 'all':
            losses['l_pix'] = PIXEL_WEIGHT * F.l1_loss(sr, gt)
        sum(losses.values()).backward()
        return losses


def distillation(idr: list[Tensor], target: list[Tensor]) -> Losses:
    """Of R_C and R_S."""
    shares = [F.softmax(x / DISTILL_TEMPERATURE, 1) for x in (idr[0], target[0])]
    divergence = F.kl_div(shares[0].log(), shares[1], reduction='batchmean')
    return {'l_channel': divergence + L1_WEIGHT * F.l1_loss(idr[0], target[0]), 'l_spatial': F.mse_loss(idr[1], target[1])}


# ------------------------------------------------------------------------------------------------------------ our way
def our_model(kind: str, network: dict[str, Any], train: dict[str, Any], asked: Settings,
              teacher: str | None = None) -> BlindSRModel:
    """The package's model, as an option file makes it; layer_scale is large enough for each layer to show."""
    step = {'amp': {'float32': None, 'bfloat16': 'bf16', 'float16': 'fp16'}[str(asked.dtype).removeprefix('torch.')],
            'compile': bool(asked.compile)}
    stages = [{'trains': s.trains, 'iterations': s.iterations, 'lr': s.lr} for s in STAGES]
    data = {'type': 'BlindDegradationDataset', 'degradation': 'setting1', 'batch_size_per_gpu': 1,
            'num_patches': NUM_PATCH if kind == 'Teacher' else 1}
    return build_model({
        'model_type': f'LightBSR{kind}Model', 'scale': 4, 'num_gpu': int(asked.device.type == 'cuda'), 'is_train': True,
        'dist': False, 'rank': 0, 'world_size': 1, 'manual_seed': 0, 'path': {'pretrain_network_t': teacher},
        'datasets': {'train': data}, 'network_g': {**network, 'layer_scale': 0.3},
        'train': {'stages': stages, 'optim_g': {'type': 'Adam', 'betas': BETAS},
                  'pixel_opt': {'type': 'L1Loss', 'loss_weight': PIXEL_WEIGHT}, **step, **train}})


def our_teacher(sizes: dict[str, Any], asked: Settings) -> BlindSRModel:
    model = our_model('Teacher', {'type': 'LightBSRTeacher', **sizes},
                      {'contrastive_opt': {'type': 'ContrastiveLoss', 'temperature': TEMPERATURE}}, asked)
    model.get_bare_model(model.net_g).pca_basis.copy_(fit_pca_basis(isotropic_kernel(torch.linspace(0.2, 4.0, 99)), 15))
    return model


def our_student(sizes: dict[str, Any], teacher: BlindSRModel, asked: Settings) -> BlindSRModel:
    """It reads its teacher from a file; its own weights are others, so that there is something to distil."""
    with tempfile.TemporaryDirectory() as folder:
        teacher.opt['path']['models'] = folder
        teacher.save_network(teacher.get_bare_model(teacher.net_g), 'net_g', 0)
        return our_model('Student', {'type': 'LightBSR', **sizes}, {
            'channel_distill_opt': {'type': 'ChannelDistillationLoss', 'temperature': DISTILL_TEMPERATURE,
                                    'l1_weight': L1_WEIGHT},
            'spatial_distill_opt': {'type': 'SpatialDistillationLoss'}, 'start_from_teacher': 'sr_network'},
            asked, os.path.join(folder, 'net_g_0.pth'))


def feed(model: BlindSRModel, batch: Batch) -> None:
    """What `feed_data` leaves, without degrading."""
    model.images = None
    model.kernel, model.noise = batch.kernel, batch.noise
    model.lq, model.gt = (batch.lq, batch.gt) if model.takes_patches else (batch.lq[:, 0], batch.gt[:, 0])


def our_gradients(model: BlindSRModel, batch: Batch, stage: Stage) -> tuple[Losses, Losses]:
    """Losses and gradients of a step, BatchNorm frozen."""
    feed(model, batch)
    model.enter(stage)
    model.before_step()
    for module in model.net_g.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    losses, _ = model.compute_gradients(stage)
    return losses, with_gradient(model.get_bare_model(model.net_g).named_parameters())


def plain_gradients(reference: PlainTeacher | PlainStudent, batch: Batch, stage: Stage) -> tuple[Losses, Losses]:
    return reference.gradients(batch, stage, frozen=True), with_gradient(reference.net.trained.items())


def with_gradient(params: Iterable[tuple[str, Tensor]]) -> Losses:
    """Gradients by name; a parameter that was not trained has none, or zeros."""
    return {name: p.grad for name, p in params if p.grad is not None and p.grad.any()}


# -------------------------------------------------------------------------------------------------------------- pairs
def make_pair(name: str, model: BlindSRModel, reference: PlainTeacher | PlainStudent, batch: Batch, number: int,
              asked: Settings) -> Pair:
    """Stage `number` of a training."""
    stage = STAGES[number]

    def ours() -> None:
        feed(model, batch)
        model.optimize_parameters(number + 1)

    gradients = {'plain': lambda: plain_gradients(reference, batch, stage),
                 'ours': lambda: our_gradients(model, batch, stage)}

    def disagreement() -> float:
        losses, grads = zip(*(work() for work in gradients.values()))
        return max(norm_error(ours, plain) for plain, ours in (losses, grads))

    def multiply_adds() -> dict[str, float]:
        return {} if asked.compile else {way: pairs.count_multiply_adds(work) for way, work in gradients.items()}
    model.update_learning_rate(number + 1)
    size = 'x'.join(map(str, batch.lq.shape[-2:]))
    return Pair(f'{name} stage {number + 1} {size} batch {len(batch.lq)}', lambda: reference.step(batch, stage), ours,
                disagreement, asked.tolerance(1e-3, 0.3), len(batch.lq), multiply_adds)


def all_pairs(asked: Settings) -> Iterator[Pair]:
    """All four stages start from the same weights."""
    sizes = {'num_feat': 16, 'num_group': 1, 'num_block': 1} if asked.quick else {}
    for size, count in itertools.product(asked.sizes or [(16, 16) if asked.quick else SIZE],
                                         asked.batches or [2 if asked.quick else BATCH]):
        batch = random_batch(count, size, asked.device)
        for number, kind in itertools.product((0, 1), ('teacher', 'student')):
            torch.manual_seed(0)
            teacher = our_teacher(sizes, asked)
            net = teacher.get_bare_model(teacher.net_g)
            if kind == 'teacher':
                yield make_pair(kind, teacher, PlainTeacher(net), batch, number, asked)
            else:
                student = our_student(sizes, teacher, asked)
                yield make_pair(kind, student, PlainStudent(student.get_bare_model(student.net_g), net), batch, number, asked)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    asked = pairs.settings(pairs.parser(__doc__).parse_args(arguments))
    return pairs.run('training', all_pairs, asked)


if __name__ == '__main__':
    main(sys.argv[1:])
