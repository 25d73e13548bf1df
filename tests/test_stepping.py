"""How a step is computed: precision, parts, clipping, and steps that are not finite. One step at a time, outside the loop."""
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from torch import nn

from lightbsr_arch import checkpoints
from lightbsr_arch.models.blind_sr_model import BlindSRModel
from lightbsr_arch.models.stepping import Memory, Stepper, in_float32
from tests import tiny_options as tiny

Options = dict[str, Any]
ALL = [{'trains': 'all', 'iterations': 4, 'lr': 1e-3}]


def kdsr(images: Path, **train: Any) -> Options:
    """A teacher without BatchNorm."""
    opt = tiny.training(images, 'kdsr', model_type='KDSRTeacherModel')
    opt['network_g'] = {'type': 'KDSRTeacher', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1}
    opt['train'] |= {'stages': ALL} | train
    return opt


def lightbsr(images: Path, **train: Any) -> Options:
    opt = tiny.teacher(images)
    opt['train'] |= {'stages': ALL, 'ema_decay': 0.5} | train
    return opt


def gradients(model: BlindSRModel) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.net_g.named_parameters() if p.grad is not None}


def everything(model: BlindSRModel) -> dict[str, torch.Tensor]:
    """All that a step may move."""
    nets = {'net': model.net_g, **({'average': model.net_g_ema} if hasattr(model, 'net_g_ema') else {})}
    state = {f'{label}.{key}': value.clone() for label, net in nets.items() for key, value in net.state_dict().items()}
    for i, values in enumerate(model.optimizer_g.state.values()):
        state |= {f'optimiser.{i}.{key}': value.clone() for key, value in values.items()}
    return state


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [key for key in after if key not in before or not torch.equal(before[key], after[key])]


# ---------------------------------------------------------------------------------------------- precision
@pytest.mark.parametrize('amp, tolerance', [('bf16', 0.05), ('fp16', 0.02)])
@pytest.mark.parametrize('options', [kdsr, lightbsr])
def test_half_precision_is_the_forward_passes_alone(options: Callable, amp: str, tolerance: float, images: Path,
                                                    make: Callable) -> None:
    full, _ = make(options(images))
    full.optimize_parameters(1)
    half, _ = make(options(images, amp=amp))
    if amp == 'fp16':
        half.stepper.scaler = torch.amp.GradScaler('cpu', init_scale=128.0)  # as it finds itself after a few steps
    seen = []
    half.net_g.trunk.head.register_forward_hook(lambda module, inputs, sr: seen.append(sr.dtype))
    half.optimize_parameters(1)
    assert seen == [torch.bfloat16 if amp == 'bf16' else torch.float16]
    assert all(value.dtype == torch.float32 for value in half.net_g.state_dict().values() if value.is_floating_point())
    assert half.log_dict['l_pix'] == pytest.approx(full.log_dict['l_pix'], rel=tolerance)
    assert half.log_dict['l_pix'] != full.log_dict['l_pix'] and half.net_g.state_dict().keys() == full.net_g.state_dict().keys()


def test_fp16_finds_its_scale_without_counting_a_step(images: Path, make: Callable, caplog: pytest.LogCaptureFixture) -> None:
    model, _ = make(kdsr(images, amp='fp16'))
    model.stepper.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**60)
    before = everything(model)
    model.optimize_parameters(1)
    assert changed(before, everything(model)) == [] and model.stepper.num_skipped == 0
    assert model.stepper.scaler.get_scale() == 2.0**59


def test_the_scale_is_part_of_the_state(images: Path, make: Callable) -> None:
    model, _ = make(kdsr(images, amp='fp16'))
    model.stepper.scaler.update(new_scale=8.0) if model.stepper.scaler._scale is not None else None
    model.stepper.scaler = torch.amp.GradScaler('cpu', init_scale=8.0)
    state = model.further_state()
    other, _ = make(kdsr(images, amp='fp16'))
    other.take_further_state(state)
    assert other.stepper.scaler.get_scale() == 8.0


def test_outputs_become_float32_in_any_tuple() -> None:
    from lightbsr_arch.archs import IDR
    half = torch.ones(2, dtype=torch.bfloat16)
    out = in_float32((half, IDR(half, None, torch.ones(1, dtype=torch.int64)), None))
    assert [out[0].dtype, out[1].estimate.dtype, out[1].spatial.dtype] == [torch.float32, torch.float32, torch.int64]
    assert isinstance(out[1], IDR) and out[1].channel is None and out[2] is None


# ---------------------------------------------------------------------------------------------- parts, clipping, the rest
@pytest.mark.parametrize('num_part', [2, 4])
def test_parts_of_a_batch_have_its_gradient(num_part: int, images: Path, make: Callable) -> None:
    found = []
    for accumulate in (1, num_part):
        opt = kdsr(images, accumulate=accumulate)
        opt['datasets']['train']['batch_size_per_gpu'] = 4
        model, _ = make(opt)
        passes = []
        model.net_g.register_forward_hook(lambda module, inputs, sr: passes.append(len(sr)))
        model.optimize_parameters(1)
        assert passes == [4 // accumulate] * accumulate and len(model.lq) == 4
        found.append((gradients(model), model.log_dict['l_pix']))
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    for name, gradient in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_the_queue_takes_the_keys_of_all_parts(images: Path, make: Callable) -> None:
    model, _ = make(lightbsr(images, accumulate=2))
    model.optimize_parameters(1)
    encoder = model.net_g.encoder
    assert encoder.queue_pointer.item() == 2 and torch.equal(encoder.queue[:, :2].T, torch.cat(model.new_keys))


@pytest.mark.parametrize('amp', [None, 'fp16'])
def test_gradients_are_clipped_to_a_norm(amp: str | None, images: Path, make: Callable) -> None:
    """Of the losses' gradients, not of what fp16's scale makes of them."""
    free, model = (make(kdsr(images, amp=amp, **clip))[0] for clip in ({}, {'clip_grad_norm': 0.5}))
    for one in (free, model):
        one.stepper.scaler = torch.amp.GradScaler('cpu', init_scale=128.0, enabled=amp == 'fp16')
        one.optimize_parameters(1)
    norms = [torch.stack([g.norm() for g in gradients(m).values()]).norm().item() for m in (free, model)]
    assert norms[0] > 1 and norms[1] == pytest.approx(0.5, rel=1e-4)
    for name, gradient in gradients(free).items():
        torch.testing.assert_close(gradients(model)[name], gradient * 0.5 / norms[0], rtol=1e-3, atol=1e-7)


def test_a_network_of_several_gpus_is_not_compiled(images: Path, make: Callable) -> None:
    model, _ = make(kdsr(images, compile=True))
    model.net_g = nn.DataParallel(model.net_g)
    with pytest.raises(ValueError, match='train.compile is for one GPU a process: use torchrun'):
        model._prepare_network(model.opt['datasets']['train'])


@pytest.mark.parametrize('options, recompute', [(kdsr, False), (kdsr, True), (lightbsr, False)])
def test_compiled_blocks_have_the_same_names_and_results(options: Callable, recompute: bool, images: Path, make: Callable,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """And one compilation serves all."""
    graphs, compile_module = [], nn.Module.compile

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Callable:
        graphs.append(graph)
        return graph.forward
    monkeypatch.setattr(nn.Module, 'compile', lambda self: compile_module(self, backend=backend))
    torch._dynamo.reset()
    opt = options(images, recompute=recompute)
    opt['network_g']['num_block'] = 3
    plain, _ = make(copy.deepcopy(opt))
    opt['train']['compile'] = True
    model, _ = make(opt)
    for one in (plain, model):
        one.optimize_parameters(1)
    assert len(graphs) == 1 and model.net_g.state_dict().keys() == plain.net_g.state_dict().keys()
    for name, value in plain.net_g.state_dict().items():
        torch.testing.assert_close(model.net_g.state_dict()[name], value)


@pytest.mark.parametrize('channels_last', [True, False])
def test_the_memory_layout_is_an_option(channels_last: bool, images: Path, make: Callable) -> None:
    model, _ = make(kdsr(images, channels_last=channels_last))
    assert model.net_g.trunk.head.weight.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.parametrize('options', [kdsr, lightbsr])
def test_recomputing_keeps_less_and_changes_nothing(options: Callable, images: Path, make: Callable) -> None:
    results, kept = [], []
    for recompute in (False, True):
        model, _ = make(options(images, recompute=recompute))
        sizes: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
            model.optimize_parameters(1)
        results.append(everything(model))
        kept.append(sum(sizes.values()))
    assert changed(*results) == [] and kept[1] < kept[0]


@pytest.mark.parametrize('optimizer, fused', [
    ({'type': 'AdamW', 'weight_decay': 0.1}, True), ({'type': 'Adam', 'fused': False}, False),
    ({'type': 'Adam', 'foreach': True}, None)])
def test_optimizers_are_fused_unless_the_options_choose(optimizer: Options, fused: bool | None, images: Path,
                                                        make: Callable) -> None:
    model, _ = make(kdsr(images, optim_g=optimizer))
    assert type(model.optimizer_g).__name__ == optimizer['type'] and model.optimizer_g.defaults['fused'] is fused
    before = everything(model)
    model.optimize_parameters(1)
    assert changed(before, everything(model))


@pytest.mark.parametrize('channels_last', [True, False])
def test_a_run_goes_on_in_the_other_memory_layout(channels_last: bool, images: Path, make: Callable) -> None:
    """A fused step pairs parameters and moments as they lie in memory."""
    model, _ = make(kdsr(images, channels_last=channels_last))
    for _ in range(3):
        model.optimize_parameters(1)
    other, _ = make(kdsr(images, channels_last=not channels_last))
    other.net_g.load_state_dict(model.net_g.state_dict())
    other.optimizer_g.load_state_dict(copy.deepcopy(model.optimizer_g.state_dict()))
    for one in (model, other):
        one.optimize_parameters(1)
    torch.testing.assert_close(everything(other), everything(model), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('train, message', [
    ({'amp': 'half'}, "train: amp must be 'bf16', 'fp16' or left out"), ({'accumulate': 0}, 'train: accumulate must be 1 or more'),
    ({'accumulate': 3}, r'train.accumulate \(3\) must divide datasets.train.batch_size_per_gpu \(2\)'),
    ({'clip_grad_norm': -1}, 'clip_grad_norm must be a positive'), ({'compile': 'yes'}, 'compile must be true or false'),
    ({'sync_bn': True}, 'train.sync_bn is for several processes on GPUs'), ({'max_skipped': 0}, 'max_skipped must be 1')])
def test_wrong_options(train: Options, message: str, images: Path, make: Callable) -> None:
    with pytest.raises(ValueError, match=message):
        make(kdsr(images, **train))


# ---------------------------------------------------------------------------------------------- not finite
def spoil_loss(model: BlindSRModel) -> None:
    loss = model.losses['pixel_opt']
    model.losses['pixel_opt'] = lambda sr, gt: loss(sr, gt) * float('nan')


def spoil_gradient(model: BlindSRModel) -> None:
    next(model.net_g.trunk.parameters()).register_hook(lambda gradient: gradient * float('inf'))


@pytest.mark.parametrize('options', [kdsr, lightbsr])
@pytest.mark.parametrize('spoil, named', [(spoil_loss, 'l_pix'), (spoil_gradient, 'gradient')])
def test_a_step_that_is_not_finite_leaves_no_trace(options: Callable, spoil: Callable, named: str, images: Path, make: Callable,
                                                   capfd: pytest.CaptureFixture) -> None:
    model, batch = make(options(images))
    model.optimize_parameters(1)
    before, loss = everything(model), model.losses['pixel_opt']
    spoil(model)
    model.feed_data(batch)
    model.optimize_parameters(2)
    assert changed(before, everything(model)) == [] and model.stepper.num_skipped == 1
    line = next(line for line in capfd.readouterr().err.splitlines() if 'skipped' in line)
    assert 'Step 2 is skipped' in line and named in line and 'image_0.png' in line and 'image_1.png' in line
    model.losses['pixel_opt'] = loss
    if spoil is spoil_loss:
        model.optimize_parameters(3)
        assert changed(before, everything(model)) and model.stepper.num_skipped == 0


def test_one_part_that_is_not_finite_makes_a_step_not_count(images: Path, make: Callable) -> None:
    """Its keys are forgotten as well, and those of the sound part."""
    model, batch = make(lightbsr(images, accumulate=2))
    model.optimize_parameters(1)
    before, loss = everything(model), model.losses['pixel_opt']
    spoilt = iter([1.0, float('nan')])
    model.losses['pixel_opt'] = lambda sr, gt: loss(sr, gt) * next(spoilt)
    model.feed_data(batch)
    model.optimize_parameters(2)
    assert next(spoilt, None) is None and changed(before, everything(model)) == [] and model.stepper.num_skipped == 1
    model.losses['pixel_opt'] = loss
    model.feed_data(batch)
    model.optimize_parameters(3)
    encoder = model.net_g.encoder
    assert encoder.queue_pointer.item() == 4 and torch.equal(encoder.queue[:, 2:4].T, torch.cat(model.new_keys))


def test_too_many_in_a_row_end_the_run_with_a_state_from_before(images: Path, make: Callable) -> None:
    model, batch = make(lightbsr(images, max_skipped=3))
    model.optimize_parameters(1)
    before = everything(model)
    spoil_loss(model)
    for i in (2, 3):
        model.optimize_parameters(i)
    with pytest.raises(ValueError, match='3 steps in a row .* 4.state'):
        model.optimize_parameters(4)
    path = model.opt['path']
    saved = checkpoints.read(f'{path["models"]}/net_g_4.pth', 'params').state_dict
    assert all(torch.equal(saved[key], before[f'net.{key}']) for key in saved)
    assert torch.load(f'{path["training_states"]}/4.state')['iter'] == 4


def test_a_whole_run_skips_and_goes_on(images: Path, tmp_path: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch,
                                       capfd: pytest.CaptureFixture) -> None:
    backward = Stepper.backward
    steps = []

    def spoiled(self: Stepper, losses: dict[str, torch.Tensor], share: float = 1.0) -> None:
        steps.append(len(steps))
        backward(self, {key: value * float('nan') if len(steps) == 2 else value for key, value in losses.items()}, share)
    monkeypatch.setattr(Stepper, 'backward', spoiled)
    assert run_cli('train', '-opt', tiny.write(kdsr(images), tmp_path)) == 0
    assert 'Step 2 is skipped: gradient not finite' in capfd.readouterr().err and len(steps) == 4
    monkeypatch.setattr(Stepper, 'backward', lambda self, losses, share=1.0: backward(self, {'l': sum(losses.values()) * float('nan')}))
    assert run_cli('train', '-opt', tiny.write(kdsr(images, max_skipped=2) | {'name': 'lost'}, tmp_path)) == 1
    assert '2 steps in a row' in capfd.readouterr().err
    assert (tmp_path / 'experiments/lost/training_states/2.state').exists()


def test_memory_puts_back_what_it_kept() -> None:
    tensors = [torch.arange(3.0), torch.ones(2, dtype=torch.int64)]
    memory = Memory(tensors)
    for tensor in tensors:
        tensor.mul_(5).add_(1)
    memory.restore()
    assert tensors[0].tolist() == [0, 1, 2] and tensors[1].tolist() == [1, 1]
