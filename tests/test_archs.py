from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightbsr_arch import checkpoints
from lightbsr_arch.archs import IDR, Bicubic, LightBSR, LightBSRTeacher, TeacherStep, layers
from lightbsr_arch.archs.layers import ConvNeXtBody, DepthwiseConv, Merging, Upsampler, pointwise
from lightbsr_arch.degradations import fit_pca_basis, imresize, isotropic_kernel
from tests import upstream_weights

SMALL = {'num_feat': 16, 'num_group': 2, 'num_block': 2, 'layer_scale': 0.5}
M = {  # the paper's Table 2
    'M1': {'channel_gate': False, 'spatial_gate': False},
    'M2': {'channel_gate': False},
    'M3': {'spatial_gate': False},
    'M4': {},
    'M5': {'correction': False},
    'M2 without correction': {'channel_gate': False, 'correction': False},
    'M3 without correction': {'spatial_gate': False, 'correction': False},
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small_student(**changes: Any) -> LightBSR:
    return LightBSR(**SMALL | changes)


def small_teacher(**changes: Any) -> LightBSRTeacher:
    return LightBSRTeacher(**SMALL | {'queue_size': 10} | changes)


def forbid(*modules: nn.Module) -> None:
    """Makes running any of the modules an error."""
    def fail(*_: Any) -> None:
        raise AssertionError('this module must not run')
    for module in modules:
        module.register_forward_pre_hook(fail)


def without_gradient(net: nn.Module) -> list[str]:
    return [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]


# ---------------------------------------------------------------------------------------------- the release
@pytest.mark.parametrize('name, takes_prior', [
    ('lightbsr_student_x4', False), ('lightbsr_teacher_setting1_x4', True), ('lightbsr_teacher_setting2_x4', True)])
def test_outputs_are_those_of_the_release(name: str, takes_prior: bool) -> None:
    arch, kwargs, state_dict = checkpoints.from_upstream(upstream_weights.state_dict(name))
    net = {'LightBSR': LightBSR, 'LightBSRTeacher': LightBSRTeacher}[arch](**kwargs).eval()
    net.load_state_dict(state_dict)
    golden = upstream_weights.golden(name)
    with torch.no_grad():
        sr, idr = net(golden['lq'], *([golden['prior']] if takes_prior else []), return_idr=True)
    ours = {'sr': sr, 'idr': idr.estimate, 'idr_channel': idr.channel, 'idr_spatial': idr.spatial,
            'embedding': idr.embedding}
    for key in golden.keys() - {'lq', 'prior'}:
        error = (ours[key] - golden[key]).abs().max() / golden[key].std()
        assert ours[key].shape == golden[key].shape and error < 1e-4, (key, error)


def test_size_is_the_papers() -> None:
    with torch.device('meta'):
        net, lq = LightBSR().eval(), torch.empty(1, 3, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(lq)
    mean_shift = 9 * 256**2 + 9 * 1024**2  # two 1x1 convolutions in the release
    assert sum(p.numel() for p in net.parameters()) == 3_259_947
    assert counter.get_total_flops() / 2 + mean_shift == pytest.approx(205.94e9, abs=5e6)


def test_idr_alone_costs_no_super_resolution() -> None:
    with torch.device('meta'):
        net, lq = LightBSR().eval(), torch.empty(1, 3, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(lq, idr_only=True)
    assert 0 < counter.get_total_flops() / 2 < 6e9


# ---------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (7, 3), (9, 13)])
def test_any_size_is_super_resolved_and_images_of_a_batch_are_independent(size: tuple[int, int], scale: int) -> None:
    net, lq = small_student(scale=scale).eval(), torch.rand(3, 3, *size)
    teacher, prior = small_teacher(scale=scale).eval(), torch.rand(3, 15)
    with torch.no_grad():
        together, idr = net(lq, return_idr=True)
        alone = torch.cat([net(image[None]) for image in lq])
        taught = teacher(lq, prior)
        taught_alone = torch.cat([teacher(image[None], p[None]) for image, p in zip(lq, prior)])
    assert together.shape == taught.shape == (3, 3, scale * size[0], scale * size[1])
    assert idr.estimate.shape == (3, 128, -(-size[0] // 4), -(-size[1] // 4))
    assert idr.channel.shape == (3, 12) and idr.spatial.shape == (3, 8, *size)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    torch.testing.assert_close(taught_alone, taught, rtol=0, atol=1e-5)


def test_spatial_idr_is_cut_at_the_top_left() -> None:
    net = small_student().eval()
    net.converter.spatial.weight.data.zero_()
    net.converter.spatial.weight.data[0, 0, 1, 1] = 1  # the first channel, unchanged
    net.converter.spatial.bias.data.zero_()
    with torch.no_grad():
        idr = net(torch.rand(1, 3, 6, 5), idr_only=True)
    expected = idr.estimate[0, :16].view(4, 4, 2, 2).permute(2, 0, 3, 1).reshape(8, 8)[:6, :5]
    torch.testing.assert_close(idr.spatial[0, 0], F.gelu(expected))


def test_network_sees_the_mean_shift() -> None:
    net = small_student().eval()
    for module in (net.trunk.head, net.trunk.fusion, net.trunk.upsampler[-1]):
        nn.init.zeros_(module.weight), nn.init.zeros_(module.bias)
    with torch.no_grad():
        mean = net(torch.rand(1, 3, 4, 4)).mean((0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor([0.4488, 0.4371, 0.4040]))
    assert not any('mean_shift' in key for key in net.state_dict())


# ---------------------------------------------------------------------------------------------- idr_only
@pytest.mark.parametrize('build', [small_student, small_teacher], ids=['student', 'teacher'])
def test_idr_only_equals_the_idr_of_return_idr_and_runs_no_sr_network(build: Callable[..., nn.Module]) -> None:
    net, lq = build().eval(), torch.rand(2, 3, 9, 7)
    arguments = (lq, torch.rand(2, 15)) if build is small_teacher else (lq,)
    with torch.no_grad():
        sr, expected = net(*arguments, return_idr=True)
        torch.testing.assert_close(net(*arguments), sr, rtol=0, atol=0)
        forbid(net.trunk)
        idr = net(*arguments, idr_only=True)
    assert isinstance(idr, IDR)
    for ours, theirs in zip(idr, expected):
        assert ours is theirs is None or torch.equal(ours, theirs)


def test_network_without_gates_has_no_idr() -> None:
    net = small_student(**M['M1'])
    assert net(torch.rand(1, 3, 4, 4), idr_only=True) == IDR(None, None, None)
    assert not any(key.startswith(('estimator', 'converter')) for key in net.state_dict())


# ---------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('changes', M.values(), ids=M.keys())
def test_each_student_parameter_gets_a_gradient(changes: dict[str, Any], scale: int) -> None:
    net = small_student(scale=scale, **changes)
    net(torch.rand(2, 3, 9, 7)).square().mean().backward()
    assert without_gradient(net) == []


def test_default_layer_scale_lets_gradients_through() -> None:
    net = LightBSR(num_feat=16, num_group=1, num_block=1)
    net(torch.rand(2, 3, 9, 7)).square().mean().backward()
    assert without_gradient(net) == []


@pytest.mark.parametrize('changes', [
    *M.values(), {'contrastive': False}, {'prior_dim': 0}, {'prior_dim': 0, 'contrastive': False}, {'noise_prior': True},
    {'prior_dim': 0, 'noise_prior': True}, {'patch_by_patch': True}, {'prior_dim': 5}], ids=str)
def test_each_teacher_parameter_but_the_key_encoders_gets_a_gradient(changes: dict[str, Any]) -> None:
    net = small_teacher(**changes)
    num_prior = changes.get('prior_dim', 15) + 3 * changes.get('noise_prior', False)
    step = net(torch.rand(3, 2, 3, 9, 7), torch.rand(3, num_prior) if num_prior else None)
    loss = step.sr.square().mean() + (0 if step.query is None else (step.query @ net.encoder.queue).square().mean())
    loss.backward()
    assert [name for name in without_gradient(net) if not name.startswith('encoder.key.')] == []
    assert all(p.grad is None for name, p in net.named_parameters() if name.startswith('encoder.key.'))


@pytest.mark.parametrize('changes', [{}, {'noise_prior': True}], ids=['setting 1', 'setting 2'])
def test_teachers_inference_reads_every_parameter_but_those_of_the_contrastive_branch(changes: dict[str, Any]) -> None:
    net = small_teacher(**changes)
    net(torch.rand(2, 3, 9, 7), torch.rand(2, 15 + 3 * len(changes))).square().mean().backward()
    assert [n for n in without_gradient(net) if not n.startswith(('encoder.key.', 'encoder.query.projector.'))] == []


# ---------------------------------------------------------------------------------------------- arguments
@pytest.mark.parametrize('build, arguments', [
    (LightBSR, {'scale': 1}), (LightBSR, {'scale': 5}), (LightBSR, {'scale': 0}), (LightBSR, {'num_feat': 12}),
    (LightBSR, {'num_feat': 0}), (LightBSR, {'num_feat': -8}), (LightBSR, {'num_group': 0}), (LightBSR, {'num_block': 0}),
    (LightBSRTeacher, {'scale': 5}), (LightBSRTeacher, {'num_feat': 20}), (LightBSRTeacher, {'num_group': -1}),
    (LightBSRTeacher, {'channel_gate': False, 'spatial_gate': False, 'contrastive': False}),
    (LightBSRTeacher, {'prior_dim': -1}), (LightBSRTeacher, {'prior_dim': 442}), (LightBSRTeacher, {'queue_size': 0}),
    (LightBSRTeacher, {'momentum': 1.5})], ids=str)
def test_invalid_arguments_are_refused(build: Callable[..., nn.Module], arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='|'.join(arguments) + '|without gates'):
        build(**{'num_feat': 8, 'num_group': 1, 'num_block': 1} | arguments)


@pytest.mark.parametrize('scale', [1, 5, 8, 2.5])
def test_upsampler_names_the_scales_that_it_has(scale: float) -> None:
    with pytest.raises(ValueError, match=f'scale must be 2, 3 or 4, got {scale}'):
        Upsampler(scale, 8)


@pytest.mark.parametrize('size', [(2, 37, 41), (1, 8, 200), (1, 200, 8)], ids=str)
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_merged_upsampler_is_its_layers(scale: int, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    net, merged = Upsampler(scale, 8).double(), []
    monkeypatch.setattr(net, 'merge', lambda: merged.append(True) or Upsampler.merge(net))
    x = torch.rand(size[0], 8, *size[1:], dtype=torch.float64, requires_grad=True)
    ours, expected = net(x), nn.Sequential.forward(net, x)
    assert merged and ours.shape == expected.shape
    for mine, theirs in [(ours, expected), *zip(*(torch.autograd.grad(sr.square().sum(), [x, *net.parameters()])
                                                  for sr in (ours, expected)))]:
        assert (mine - theirs).abs().max() < 1e-12 * theirs.abs().max()


def test_small_images_meta_tensors_and_traces_run_the_upsamplers_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Upsampler(4, 8)
    monkeypatch.setattr(net, 'merge', lambda: pytest.fail('the layers were merged'))
    assert net(torch.rand(1, 8, 7, 500)).shape == (1, 3, 28, 2000)
    assert copy.deepcopy(net).to('meta')(torch.rand(1, 8, 64, 64, device='meta')).shape == (1, 3, 256, 256)
    torch.jit.trace(net, torch.rand(1, 8, 64, 64), check_trace=False)


@pytest.mark.parametrize('make', [lambda: ConvNeXtBody(8, 0.5), lambda: Upsampler(4, 8)], ids=['body', 'upsampler'])
def test_frozen_weights_give_the_same_follow_the_network_and_are_not_saved(make: Callable[[], Merging]) -> None:
    net, x = make(), torch.rand(2, 8, 40, 48)
    names, expected = net.state_dict().keys(), net(x)
    net.freeze()
    assert not any(tensor.requires_grad for tensor in net.merged()) and net.state_dict().keys() == names
    assert torch.equal(net(x), expected)
    assert all(tensor.dtype == torch.float64 for tensor in copy.deepcopy(net).double().merged())


@pytest.mark.parametrize('num_feat, dtype', [(24, torch.float64), (12, torch.float64), (16, torch.bfloat16)], ids=str)
def test_depthwise_convolution_has_the_gradients_of_torchs(num_feat: int, dtype: torch.dtype) -> None:
    net, x = DepthwiseConv(num_feat, 7), torch.rand(2, num_feat, 11, 13, requires_grad=True)
    if dtype == torch.float64:
        net, x = net.double(), x.detach().double().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        results = net(x), nn.Conv2d.forward(net, x)
    assert type(results[0].grad_fn) is not type(results[1].grad_fn) and results[0].dtype == dtype
    assert torch.equal(*results)
    for mine, theirs in zip(*(torch.autograd.grad(y.square().sum(), [x, *net.parameters()]) for y in results)):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        assert (mine - theirs).abs().max() < (1e-12 if dtype == torch.float64 else 1e-2) * theirs.abs().max()


def test_depthwise_convolution_computes_no_gradient_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_weight(*_: Any) -> None:
        raise AssertionError('the weight is frozen')
    monkeypatch.setattr(layers, '_from_blocks', of_weight)
    net, x = DepthwiseConv(8, 7).requires_grad_(False), torch.rand(1, 8, 9, 9, requires_grad=True)
    net(x).sum().backward()
    assert x.grad.any()


def test_gradients_by_torch_func() -> None:
    net = small_student().double().eval()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    expected, = torch.autograd.grad(net(x).square().sum(), x)
    one_by_one = torch.func.vmap(torch.func.grad(lambda image: net(image[None]).square().sum()))(x.detach())
    torch.testing.assert_close(one_by_one, expected)


@pytest.mark.parametrize(('size', 'convolves'), [((2, 64, 64), True), ((1, 64, 64), False)])
def test_pointwise_layer_is_the_linear_one(size: tuple[int, int, int], convolves: bool) -> None:
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((*size, 8), (16, 8), (16,))]
    results = pointwise(*inputs), F.linear(*inputs)
    assert results[0].shape == results[1].shape and results[0].is_contiguous()
    assert (type(results[0].grad_fn) is not type(results[1].grad_fn)) == convolves
    gradients = (torch.autograd.grad(y.square().sum(), inputs) for y in results)
    for mine, theirs in zip((results[0], *next(gradients)), (results[1], *next(gradients))):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_a_network_of_any_precision_is_trained(dtype: torch.dtype) -> None:
    net = small_student().to(dtype)
    sr = net(torch.rand(1, 3, 16, 16, dtype=dtype))
    sr.sum().backward()
    assert sr.dtype == dtype and net.trunk.groups[0].convnext.norm.weight.grad.dtype == dtype


def test_half_precision_keeps_the_gradients_of_layer_norm() -> None:
    net, x = ConvNeXtBody(16, layer_scale=1.0), torch.rand(4, 16, 64, 64)
    weights = 0.1 + torch.rand(4, 16, 64, 64)
    grads = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            y = net(x)
        grads.append(torch.autograd.grad((y.float() * weights).sum(), list(net.norm.parameters())))
    for full, half in zip(*grads):
        assert (half - full).norm() < 0.02 * full.norm()


def test_detail_init_starts_depthwise_kernels_without_mean() -> None:
    for net in (small_student(detail_init=True), small_teacher(detail_init=True)):
        kernels = [m.depthwise for m in net.modules() if hasattr(m, 'depthwise')]
        assert len(kernels) == 6
        for kernel in kernels:
            assert kernel.weight.mean((2, 3)).abs().max() < 1e-8 and kernel.weight.std() > 0.05 and not kernel.bias.any()
    assert small_student().trunk.groups[0].convnext.depthwise.bias.any()


@pytest.mark.parametrize('prior', [None, torch.zeros(2, 14), torch.zeros(2, 18)], ids=['none', '14', '18'])
def test_teacher_refuses_a_prior_of_another_length(prior: Tensor | None) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        small_teacher().eval()(torch.rand(2, 3, 8, 8), prior)


# ---------------------------------------------------------------------------------------------- the teacher's step
def test_key_encoder_starts_as_the_query_encoder() -> None:
    encoder = small_teacher().encoder
    query, key = encoder.query.state_dict(), encoder.key.state_dict()
    assert query.keys() == key.keys() and all(torch.equal(query[k], key[k]) for k in query)
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(encoder.query.parameters(), encoder.key.parameters()))
    assert not any(p.requires_grad for p in encoder.key.parameters())


def test_training_step_gives_unit_vectors_and_keys_without_gradient() -> None:
    net = small_teacher()
    step = net(torch.rand(4, 3, 3, 16, 12), torch.rand(4, 15))
    assert isinstance(step, TeacherStep) and step.query.shape == step.key.shape == (4, 3, 128)
    torch.testing.assert_close(torch.stack([step.query, step.key]).norm(dim=-1), torch.ones(2, 4, 3))
    torch.testing.assert_close(net.encoder.queue.norm(dim=0), torch.ones(10))
    assert step.query.requires_grad and not step.key.requires_grad


def test_training_step_super_resolves_the_first_patch() -> None:
    net, patches, prior = small_teacher().eval(), torch.rand(2, 3, 3, 9, 7), torch.rand(2, 15)
    with torch.no_grad():
        step = net(patches, prior)
        sr, idr = net(patches[:, 0], prior, return_idr=True)
    torch.testing.assert_close(step.sr, sr)
    for ours, theirs in zip(step.idr, idr):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(step.query[:, 0], F.normalize(idr.embedding, dim=-1))


def test_training_step_of_the_idr_alone_runs_no_sr_network() -> None:
    net = small_teacher()
    forbid(net.trunk)
    step = net(torch.rand(2, 2, 3, 9, 7), torch.rand(2, 15), idr_only=True)
    assert step.sr is None and step.query is not None


def test_teacher_without_the_contrastive_branch_has_neither_queries_nor_queue() -> None:
    net = small_teacher(contrastive=False)
    step = net(torch.rand(2, 1, 3, 9, 7), torch.rand(2, 15))
    assert step.query is step.key is step.idr.embedding is None and step.sr.shape == (2, 3, 36, 28)
    assert not any('key' in name or 'queue' in name or 'projector' in name for name in net.state_dict())


@pytest.mark.parametrize('training, agree', [(False, True), (True, False)], ids=['eval', 'train'])
def test_passes_by_patch_differ_in_the_batch_statistics_alone(training: bool, agree: bool) -> None:
    one_pass = small_teacher().train(training)
    by_patch = copy.deepcopy(one_pass)
    by_patch.encoder.patch_by_patch = True
    patches = torch.rand(4, 3, 3, 16, 16) * torch.linspace(0.2, 1, 3).view(1, 3, 1, 1, 1)
    prior = torch.rand(4, 15)
    with torch.no_grad():
        a, b = (net(patches, prior, idr_only=True) for net in (one_pass, by_patch))
    differences = [(x - y).abs().max() for x, y in ((a.query, b.query), (a.key, b.key), (a.idr.estimate, b.idr.estimate))]
    assert all(difference < 1e-5 for difference in differences) if agree else min(differences) > 1e-3


def test_passes_by_patch_take_statistics_over_the_images_of_one_patch_index() -> None:
    net = small_teacher(patch_by_patch=True)
    patches, prior = torch.rand(4, 2, 3, 8, 8), torch.rand(4, 15)
    alone = copy.deepcopy(net)
    with torch.no_grad():
        step = net(patches, prior, idr_only=True)
        second = alone(patches[:, 1:], prior, idr_only=True)
    torch.testing.assert_close(step.query[:, 1], second.query[:, 0])


def test_key_branch_keeps_batch_statistics_of_its_own() -> None:
    net = small_teacher()
    for p in net.encoder.key.parameters():
        p.data.mul_(1.5)
    with torch.no_grad():
        net(torch.rand(2, 2, 3, 8, 8), torch.rand(2, 15), idr_only=True)
    query, key = (branch.estimator[4] for branch in (net.encoder.query, net.encoder.key))
    assert query.num_batches_tracked == key.num_batches_tracked == 1
    assert not torch.allclose(query.running_var, key.running_var)


def test_key_encoder_follows_by_the_momentum_formula() -> None:
    encoder = small_teacher(momentum=0.9).encoder
    for p in encoder.query.parameters():
        p.data.normal_()
    before = [p.clone() for p in encoder.key.parameters()]
    statistics = {k: v.clone() for k, v in encoder.key.named_buffers()}
    encoder.update_key_encoder()
    for new, old, query in zip(encoder.key.parameters(), before, encoder.query.parameters()):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * query)
    assert all(torch.equal(v, statistics[k]) for k, v in encoder.key.named_buffers())


@pytest.mark.parametrize('batch_sizes, places, pointer', [
    ([4], [0, 1, 2, 3], 4), ([4, 4, 4], [8, 9, 0, 1], 2), ([10], list(range(10)), 0), ([3, 10], [3, 4, 5, 6, 7, 8, 9, 0, 1, 2], 3),
    ([7, 3], [7, 8, 9], 0)], ids=str)
def test_queue_wraps_around(batch_sizes: list[int], places: list[int], pointer: int) -> None:
    encoder = small_teacher(queue_size=10).encoder
    for size in batch_sizes:
        before = encoder.queue.clone()
        keys = F.normalize(torch.randn(size, 128), dim=1)
        encoder.enqueue(keys)
    assert torch.equal(encoder.queue[:, places], keys.T) and encoder.queue_pointer.tolist() == [pointer]
    others = [i for i in range(10) if i not in places]
    assert torch.equal(encoder.queue[:, others], before[:, others])
    torch.testing.assert_close(encoder.queue.norm(dim=0), torch.ones(10))


def test_batch_larger_than_the_queue_leaves_its_last_keys() -> None:
    encoder = small_teacher(queue_size=4).encoder
    keys = F.normalize(torch.randn(6, 128), dim=1)
    encoder.enqueue(keys)
    assert torch.equal(encoder.queue.T, keys[2:])


def test_queue_and_its_pointer_are_saved() -> None:
    assert {'encoder.queue', 'encoder.queue_pointer', 'pca_basis'} <= small_teacher().state_dict().keys()


# ---------------------------------------------------------------------------------------------- the prior
def test_prior_projects_the_kernel_and_repeats_the_noise_unscaled() -> None:
    net = small_teacher(prior_dim=2, noise_prior=True)
    net.pca_basis.zero_()
    net.pca_basis[0, 220] = 1   # the kernel's centre
    net.pca_basis[1, :21] = 2   # twice its first row
    kernel = torch.zeros(2, 21, 21)
    kernel[0, 10, 10], kernel[1, 0] = 0.75, 0.5
    prior = net.prior(kernel, torch.tensor([25.0, 10.0]))
    assert prior.tolist() == [[0.75, 0, 25, 25, 25], [0, 21, 10, 10, 10]]


@pytest.mark.parametrize('changes, expected', [
    ({'prior_dim': 0}, None), ({'prior_dim': 0, 'noise_prior': True}, [[7.0, 7.0, 7.0]])], ids=['none', 'noise alone'])
def test_teacher_without_a_kernel_prior_needs_no_basis(changes: dict[str, Any], expected: list | None) -> None:
    prior = small_teacher(**changes).prior(isotropic_kernel(1.0), torch.tensor([7.0]))
    assert (prior if prior is None else prior.tolist()) == expected


def test_prior_without_a_basis_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match='holds no PCA basis.*from_upstream'):
        small_teacher().prior(isotropic_kernel(1.0), torch.zeros(1))


def test_prior_matters_to_the_teacher() -> None:
    net, lq = small_teacher().eval(), torch.rand(1, 3, 9, 7)
    net.pca_basis.copy_(fit_pca_basis(isotropic_kernel(torch.linspace(0.2, 4, 50)), 15))
    with torch.no_grad():
        narrow, wide = (net(lq, net.prior(isotropic_kernel(s), torch.zeros(1)), idr_only=True) for s in (0.5, 3.5))
    assert (narrow.estimate - wide.estimate).norm() > 0.02 * wide.estimate.norm()


# ---------------------------------------------------------------------------------------------- error IDR, bicubic
@pytest.mark.parametrize('build', [small_student, small_teacher], ids=['student', 'teacher'])
def test_idr_noise_is_uniform_and_repeats(build: Callable[..., nn.Module]) -> None:
    net, lq = build(idr_noise=1.0).eval(), torch.rand(2, 3, 64, 64)
    arguments = (lq, torch.rand(2, 15)) if build is small_teacher else (lq,)
    with torch.no_grad():
        first = net(*arguments, return_idr=True)
        torch.randn(5)  # another state of the global generator
        second = net(*arguments, return_idr=True)
        net.idr_noise = 0.0
        noise = first[1].estimate - net(*arguments, idr_only=True).estimate
    assert torch.equal(first[0], second[0]) and torch.equal(first[1].estimate, second[1].estimate)
    assert -1e-5 < noise.min() < 0.001 and 0.999 < noise.max() < 1 + 1e-5 and noise.mean() == pytest.approx(0.5, abs=5e-3)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_bicubic_is_imresize(scale: int) -> None:
    net, lq = Bicubic(scale), torch.rand(2, 3, 5, 7)
    assert list(net.parameters()) == [] and torch.equal(net(lq), imresize(lq, scale))
