from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from torch import Tensor

from lightbsr_arch.degradations import (Degradation, anisotropic_kernel, benchmark_degradations, compress_jpeg, degrade,
                                        fit_pca_basis, imresize, isotropic_kernel, motion_kernel, parse_degradation,
                                        release_pca_kernels, training_degradation)
from lightbsr_arch.degradations import kernels, resize
from lightbsr_arch.degradations.pipeline import blur
from tests import upstream_weights

GOLDEN = upstream_weights.golden('degradation_x4')
GOLDEN_KERNELS = sorted(name.removesuffix('_kernel') for name in GOLDEN if name.endswith('_kernel'))
NINE = [(0, 2.0, 0.5), (10, 2.0, 1.0), (30, 3.5, 1.5), (45, 3.5, 2.0), (90, 3.5, 2.0), (120, 4.0, 1.5), (135, 4.0, 2.0),
        (165, 4.0, 3.0), (180, 4.0, 4.0)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def golden_kernel(name: str) -> Tensor:
    kind, *values = name.split('_')
    if kind == 'iso':
        return isotropic_kernel(float(values[0]))
    theta, lambda_1, lambda_2 = map(float, values)
    return anisotropic_kernel(lambda_1, lambda_2, math.radians(theta))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# ---------------------------------------------------------------------------------------------- golden values
def test_golden_files_hold_all_kinds_of_kernels() -> None:
    assert len(GOLDEN_KERNELS) == 14 and sum(name.startswith('aniso') for name in GOLDEN_KERNELS) == 9


@pytest.mark.parametrize('name', GOLDEN_KERNELS)
def test_kernels_are_the_release_s(name: str) -> None:
    torch.testing.assert_close(golden_kernel(name)[0], GOLDEN[f'{name}_kernel'], rtol=0, atol=1e-7)


@pytest.mark.parametrize('name', GOLDEN_KERNELS)
def test_lr_images_are_the_release_s_to_the_last_bit(name: str) -> None:
    lq = degrade(GOLDEN['gt'][None].float() / 255, golden_kernel(name), 4)
    assert torch.equal((lq[0] * 255).round().byte(), GOLDEN[f'{name}_lq'])


# ---------------------------------------------------------------------------------------------- kernels
@pytest.mark.parametrize('lambda_1, lambda_2, theta', [(0.2, 0.2, 0), (4, 4, 1), (3.5, 0.5, 0.7), (0.3, 4, 3), (1e-3, 1e-3, 0)])
def test_kernels_are_normalised_and_symmetric_about_the_centre(lambda_1: float, lambda_2: float, theta: float) -> None:
    kernel = anisotropic_kernel(lambda_1, lambda_2, theta)
    assert kernel.shape == (1, 21, 21) and kernel.dtype == torch.float32 and (kernel >= 0).all()
    assert kernel.double().sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(kernel, kernel.flip(1, 2), rtol=0, atol=1e-9)
    assert kernel.argmax() == 220


@pytest.mark.parametrize('theta, width, height, diagonal', [
    (0, 3.0, 1.0, 0), (math.pi / 2, 1.0, 3.0, 0), (math.pi / 4, math.sqrt(5), math.sqrt(5), 4),
    (3 * math.pi / 4, math.sqrt(5), math.sqrt(5), -4), (math.pi, 3.0, 1.0, 0)])
def test_kernels_have_the_covariance_asked_for(theta: float, width: float, height: float, diagonal: float) -> None:
    kernel = anisotropic_kernel(3.0, 1.0, theta, 41)[0].double()
    y, x = torch.meshgrid(torch.arange(-20.0, 21), torch.arange(-20.0, 21), indexing='ij')
    moments = [(kernel * product).sum().item() for product in (x * x, y * y, x * y)]
    assert moments == pytest.approx([width**2, height**2, diagonal], abs=2e-3)


def test_a_batch_of_kernels_is_the_single_ones() -> None:
    lambdas, theta = torch.tensor([[1.0, 2.0, 3.0], [0.5, 2.0, 1.0]]), torch.tensor([0.1, 0.2, 0.3])
    single = [anisotropic_kernel(a, b, t) for (a, b), t in zip(lambdas.T.tolist(), theta.tolist())]
    torch.testing.assert_close(anisotropic_kernel(*lambdas, theta), torch.cat(single))
    torch.testing.assert_close(isotropic_kernel(lambdas[0]), anisotropic_kernel(lambdas[0], lambdas[0], 1.0))


@pytest.mark.parametrize('arguments', [(0.0, 1.0, 0.0), (1.0, -1.0, 0.0), (float('nan'), 1.0, 0.0), (1.0, 1.0, 0.0, 20)])
def test_impossible_kernels_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match='must be (odd|positive)'):
        anisotropic_kernel(*arguments)


@pytest.mark.parametrize('theta', [0, 0.3, math.pi / 4, 2.0])
def test_a_motion_of_one_pixel_is_none(theta: float) -> None:
    assert torch.equal(motion_kernel(1, theta)[0].flatten().nonzero(), torch.tensor([[220]]))
    assert motion_kernel(1, theta).sum() == 1


@pytest.mark.parametrize('length, row', [(5, [1 / 5] * 5), (2, [1 / 4, 1 / 2, 1 / 4]), (21, [1 / 21] * 21),
                                         (3.5, [1 / 14, 4 / 14, 4 / 14, 4 / 14, 1 / 14])])
def test_a_horizontal_motion_is_its_row_worked_out_by_hand(length: float, row: list[float]) -> None:
    """Length 3.5 ends 1.25 pixels from the centre, so that the pixels at 2 have 1 - 0.75 = 1/4 of a full one."""
    expected, half = torch.zeros(21, 21), len(row) // 2
    expected[10, 10 - half:11 + half] = torch.tensor(row)
    torch.testing.assert_close(motion_kernel(length, 0)[0], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(motion_kernel(length, math.pi / 2)[0], expected.T, rtol=0, atol=1e-7)


@pytest.mark.parametrize('theta', [0.3, math.pi / 4, 1.2, 2.5, 4.0])
def test_a_motion_goes_in_the_direction_asked_for(theta: float) -> None:
    kernel = motion_kernel(15, theta)[0].double()
    y, x = torch.meshgrid(torch.arange(-10.0, 11), torch.arange(-10.0, 11), indexing='ij')
    xx, yy, xy = ((kernel * product).sum().item() for product in (x * x, y * y, x * y))
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    assert [(kernel * x).sum().item(), (kernel * y).sum().item()] == pytest.approx([0, 0], abs=1e-6)
    assert math.atan2(2 * xy, xx - yy) / 2 % math.pi == pytest.approx(theta % math.pi, abs=0.02)
    assert xx + yy == pytest.approx((15**2 - 1) / 12, rel=0.1)  # the variance of 15 equal pixels


def test_a_batch_of_motions_is_the_single_ones() -> None:
    lengths, theta = torch.tensor([3.0, 9.0]), torch.tensor([0.1, 2.0])
    torch.testing.assert_close(motion_kernel(lengths, theta), torch.cat([motion_kernel(3, 0.1), motion_kernel(9, 2.0)]))


@pytest.mark.parametrize('arguments', [(0.5, 0), (22, 0), (float('nan'), 0), (8, 0, 7), (5, 0, 20)])
def test_impossible_motions_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match='must (be odd|lie between 1 and)'):
        motion_kernel(*arguments)


# ---------------------------------------------------------------------------------------------- JPEG
def test_jpeg_loses_more_at_lower_quality() -> None:
    image = (imresize(torch.rand(1, 3, 12, 16), 4).clamp(0, 1)[0] * 255).round() / 255
    before = image.clone()
    errors = [(compress_jpeg(image, quality) - image).square().mean().item() for quality in (100, 90, 70, 40, 10)]
    assert errors == sorted(errors) and 0 < errors[0] < 3e-3 < errors[-1]
    assert torch.equal(image, before)


@pytest.mark.parametrize('size', [(8, 8), (7, 13)])
def test_jpeg_keeps_grays_and_channel_order(size: tuple[int, int]) -> None:
    gray = torch.full((3, *size), 128 / 255)
    assert torch.equal(compress_jpeg(gray, 75), gray)
    red = torch.zeros(3, *size)
    red[0] = 200 / 255
    compressed = compress_jpeg(red, 95)
    torch.testing.assert_close(compressed, red, rtol=0, atol=3 / 255)
    assert torch.equal(compressed, (compressed * 255).round() / 255) and compressed.dtype == torch.float32


# ---------------------------------------------------------------------------------------------- imresize
def cubic(x: float) -> float:
    """Keys' kernel, a = -1/2."""
    x = abs(x)
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slow_resize(row: Tensor, scale: float) -> list[float]:
    """One line of pixels, by a loop over the output and every input pixel from far outside the image."""
    n, out, stretch = len(row), [], min(scale, 1)
    for i in range(math.ceil(n * scale - 1e-9)):
        center = (i + 0.5) / scale - 0.5
        weights = {j: cubic((center - j) * stretch) for j in range(-40, n + 40)}
        total = sum(weights.values())
        out.append(sum(w / total * row[min(max(j, 0), n - 1)].item() for j, w in weights.items()))
    return out


@pytest.mark.parametrize('scale, output, first, weights', [
    (1 / 2, 4, 5, [-3 / 256, -9 / 256, 29 / 256, 111 / 256, 111 / 256, 29 / 256, -9 / 256, -3 / 256]),
    (2, 8, 2, [-3 / 128, 29 / 128, 111 / 128, -9 / 128]), (1, 8, 8, [1])], ids=['1/2', '2', '1'])
def test_weights_are_those_worked_out_by_hand(scale: float, output: int, first: int, weights: list[float]) -> None:
    """The cubic at 1/4, 3/4, 5/4, 7/4 is 111/128, 29/128, -9/128, -3/128."""
    impulses = torch.eye(16, dtype=torch.float64)[:, None]  # 16 images of one row
    expected = torch.zeros(16, dtype=torch.float64)
    expected[first:first + len(weights)] = torch.tensor(weights, dtype=torch.float64)
    torch.testing.assert_close(imresize(impulses, scale)[:, 0, output], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('size', [1, 2, 5, 16, 17])
@pytest.mark.parametrize('scale', [1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4, 1.5])
def test_resizing_equals_a_loop_with_replicated_edges(scale: float, size: int) -> None:
    row = torch.rand(size, dtype=torch.float64)
    expected = slow_resize(row, scale)
    image = row.expand(1, 3, 1, size)
    assert imresize(image, scale)[0, 0].tolist() == [pytest.approx(expected, abs=1e-9)] * math.ceil(scale - 1e-9)
    assert imresize(image.transpose(2, 3), scale)[0, 2, :, 0].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('scale', [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
def test_resizing_equals_basicsr_inside_and_not_at_the_edge(scale: float) -> None:
    image = torch.rand(3, 48, 60)
    ours, theirs = imresize(image, scale), basicsr_imresize(image, scale)
    border = 2 if scale < 1 else 2 * int(scale)
    inside = slice(border, -border)
    torch.testing.assert_close(ours[:, inside, inside], theirs[:, inside, inside], rtol=0, atol=1e-5)
    assert (ours - theirs).abs().max() > 1e-3


def test_resizing_keeps_constants_and_ramps() -> None:
    ramp = torch.arange(64, dtype=torch.float64).expand(1, 64, 64)
    smaller = imresize(ramp, 1 / 4)
    torch.testing.assert_close(smaller[0, 5, 2:-2], torch.arange(16, dtype=torch.float64)[2:-2] * 4 + 1.5)
    torch.testing.assert_close(imresize(torch.full((1, 9, 7), 0.3), 3), torch.full((1, 27, 21), 0.3))


@pytest.mark.parametrize('scale', [0, -1])
def test_resizing_refuses_scales_that_are_not_positive(scale: float) -> None:
    with pytest.raises(ValueError, match='scale must be positive'):
        imresize(torch.rand(1, 4, 4), scale)


# ---------------------------------------------------------------------------------------------- degrade
MIXED = torch.cat([isotropic_kernel(1.0), anisotropic_kernel(3.0, 0.7, 0.6), isotropic_kernel(3.6)])


def test_blur_is_correlation_with_reflected_edges() -> None:
    image, kernel = torch.rand(2, 3, 13, 15), torch.rand(2, 21, 21)
    y, x = 2, 14
    mirrored = lambda i, n: -i if i < 0 else 2 * (n - 1) - i if i >= n else i  # noqa: E731
    expected = sum(kernel[1, 10 + dy, 10 + dx] * image[1, 2, mirrored(y + dy, 13), mirrored(x + dx, 15)]
                   for dy in range(-10, 11) for dx in range(-10, 11))
    torch.testing.assert_close(blur(image, kernel)[1, 2, y, x], expected)


@pytest.mark.parametrize('kernel', [isotropic_kernel(0.2), isotropic_kernel(2.4), isotropic_kernel(4.0),
                                    anisotropic_kernel(3.0, 1.0, 0.0)], ids=['0.2', '2.4', '4.0', 'axis-aligned'])
def test_separable_kernels_give_what_the_whole_kernel_gives(kernel: Tensor) -> None:
    image = 255 * torch.rand(1, 3, 40, 33, dtype=torch.float64)
    padded = F.pad(image, (10,) * 4, mode='reflect').transpose(0, 1)
    expected = F.conv2d(padded, kernel[None].double()).transpose(0, 1)
    torch.testing.assert_close(blur(image, kernel), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('kernel', [MIXED, isotropic_kernel(torch.tensor([0.5, 2.0, 3.9]))], ids=['mixed', 'isotropic'])
def test_a_batch_is_degraded_as_its_images_one_by_one(kernel: Tensor, scale: int) -> None:
    gt, noise = torch.rand(3, 3, 36, 48), torch.tensor([0.0, 12.0, 25.0])
    together = degrade(gt, kernel, scale, noise, generators(1, 2, 3))
    alone = [degrade(gt[i:i + 1], kernel[i:i + 1], scale, noise[i], generators(i + 1)[0]) for i in range(3)]
    differences = ((together - torch.cat(alone)) * 255).round().abs()
    assert differences.max() <= 1 and differences.mean() < 1e-3  # values on the verge of rounding


def test_images_of_a_batch_are_independent() -> None:
    gt = torch.rand(2, 3, 32, 32)
    other = gt.clone()
    other[1] = torch.rand(3, 32, 32)
    a, b = (degrade(images, MIXED[:2], 4, torch.tensor([10.0, 20.0]), generators(5, 6)) for images in (gt, other))
    assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


def test_noise_depends_on_neither_the_batch_nor_the_global_random_state() -> None:
    gt = torch.full((3, 3, 32, 32), 0.5)
    kernel = isotropic_kernel(torch.ones(3))
    first = degrade(gt, kernel, 2, 10, generators(1, 2, 3))
    torch.randn(7)
    second = degrade(gt[1:2], kernel[1:2], 2, torch.tensor([10.0]), generators(2))
    assert torch.equal(first[1:2], second)


def test_one_generator_draws_image_by_image() -> None:
    gt, kernel = torch.full((2, 3, 24, 24), 0.5), isotropic_kernel(torch.ones(2))
    together = degrade(gt, kernel, 2, 10, generators(4)[0])
    generator = generators(4)[0]
    alone = torch.cat([degrade(gt[:1], kernel[:1], 2, 10, generator) for _ in range(2)])
    assert torch.equal(together, alone) and not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize('level', [5.0, 10.0, 25.0])
def test_noise_is_white_with_the_level_asked_for(level: float) -> None:
    gt = torch.full((1, 3, 512, 512), 128 / 255)
    noise = degrade(gt, isotropic_kernel(1.0), 2, level, generators(0)[0])[0].double() * 255 - 128
    assert noise.mean().item() == pytest.approx(0, abs=0.01 * level)
    assert noise.std().item() == pytest.approx(math.sqrt(level**2 + 1 / 12), rel=0.01)  # 1/12 from rounding
    for a, b in ((noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1]), (noise[0], noise[1])):
        assert abs((a * b).mean().item()) < 0.015 * level**2


@pytest.mark.parametrize('noise', [0, 0.0, torch.zeros(2)], ids=['int', 'float', 'tensor'])
def test_without_noise_nothing_is_drawn(noise: float | Tensor) -> None:
    generator = generators(0)[0]
    before = generator.get_state()
    degrade(torch.rand(2, 3, 24, 24), MIXED[:2], 4, noise, generator)
    assert torch.equal(generator.get_state(), before)


def test_lr_images_are_8_bit_values_within_range() -> None:
    gt = (torch.rand(1, 3, 48, 48) > 0.5).float()
    lq = degrade(gt, isotropic_kernel(0.2), 4, 50, generators(0)[0])
    assert torch.equal(lq, (lq * 255).round() / 255) and lq.min() == 0 and lq.max() == 1


def test_a_callers_autocast_changes_no_lr_image() -> None:
    gt = torch.rand(2, 3, 48, 48)
    lq = degrade(gt, MIXED[:2], 4)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(degrade(gt, MIXED[:2], 4), lq)


def test_resizing_without_values() -> None:
    assert imresize(torch.empty(1, 3, 8, 6, device='meta'), 2).shape == (1, 3, 16, 12)


def test_images_of_many_sizes_leave_few_matrices_in_memory() -> None:
    for size in range(20, 40):
        imresize(torch.zeros(1, size, size), 0.5)
    assert resize._resize_matrix.cache_info().currsize <= 4


def test_kernels_are_made_where_the_first_tensor_lies() -> None:
    width = torch.empty(2, device='meta')
    assert all(vector.device == width.device and vector.shape == (2,) for vector in kernels._vectors(0.5, width, 0.0))


@pytest.mark.parametrize('size, scale', [((12, 15), 3), ((11, 11), 1), ((14, 34), 2), ((12, 20), 4)])
def test_odd_and_small_sizes_are_degraded(size: tuple[int, int], scale: int) -> None:
    lq = degrade(torch.full((2, 3, *size), 0.2), MIXED[:2], scale)
    assert torch.equal(lq, torch.full((2, 3, size[0] // scale, size[1] // scale), 51 / 255))


def test_small_kernels_take_small_images() -> None:
    assert degrade(torch.rand(1, 3, 4, 4), isotropic_kernel(1.0, size=7), 4).shape == (1, 3, 1, 1)


@pytest.mark.parametrize('size, kernels, noise, generator, message', [
    ((30, 32), 1, 0, None, '32x30 pixels cannot be downsampled by 4'),
    ((32, 30), 1, 0, None, '30x32 pixels cannot be downsampled by 4'),
    ((8, 32), 1, 0, None, '32x8 pixels is too small.*more than 10 pixels'),
    ((32, 8), 1, 0, None, '8x32 pixels is too small'),
    ((32, 32), 1, 5, [0, 1], '2 generators for 1 images'),
    ((32, 32), 2, 0, None, '2 kernels and 1 noise levels for 1 images'),
    ((32, 32), 1, [1.0, 2.0], None, '1 kernels and 2 noise levels for 1 images')])
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, int], kernels: int, noise: float | list[float],
                                           generator: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        degrade(torch.rand(1, 3, *size), MIXED[:kernels], 4, torch.tensor(noise),
                generator and generators(*generator))


# ---------------------------------------------------------------------------------------------- distributions
@pytest.mark.parametrize('values', [
    {}, {'noise': 5}, {'sigma': 1.0, 'theta': 0}, {'sigma': 1.0, 'lambda_1': 1, 'lambda_2': 1, 'theta': 0},
    {'lambda_1': 1, 'theta': 0}, {'sigma': 0}, {'sigma': -1.0}, {'sigma': (2, 1)}, {'sigma': (1, 2, 3)}, {'sigma': ()},
    {'sigma': '1.2'}, {'sigma': (0.2, '4')}, {'sigma': float('nan')}, {'sigma': float('inf')}, {'sigma': (0, 4)},
    {'sigma': 1, 'noise': -1}, {'sigma': 1, 'noise': None}, {'sigma': 1, 'noise': (25, 0)},
    {'motion': 5}, {'motion': 5, 'theta': 0, 'sigma': 1}, {'motion': 5, 'theta': 0, 'lambda_1': 1, 'lambda_2': 1},
    {'motion': 0.5, 'theta': 0}, {'motion': (1, 22), 'theta': 0}, {'motion': '5', 'theta': 0}, {'jpeg': 50},
    {'sigma': 1, 'jpeg': 0}, {'sigma': 1, 'jpeg': 101}, {'sigma': 1, 'jpeg': (90, 30)}, {'sigma': 1, 'jpeg': (90, 101)},
    {'lambda_1': 0, 'lambda_2': 1, 'theta': 0}, {'lambda_1': 1, 'lambda_2': 1, 'theta': (180, 0)}], ids=str)
def test_impossible_degradations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='degradation'):
        Degradation(**values)


@pytest.mark.parametrize('values, label, is_point', [
    ({'sigma': 1.2}, 'sigma1.2', True), ({'sigma': 2}, 'sigma2', True), ({'sigma': (0.2, 4.0)}, 'sigma0.2-4', False),
    ({'sigma': 1.2, 'noise': 10.0}, 'sigma1.2_noise10', True), ({'sigma': 1.2, 'noise': (0, 25)}, 'sigma1.2_noise0-25', False),
    ({'theta': 45, 'lambda_1': 3.5, 'lambda_2': 2.0, 'noise': 5}, 'theta45_lambda3.5x2_noise5', True),
    ({'theta': (0, 180), 'lambda_1': 3.5, 'lambda_2': 2.0}, 'theta0-180_lambda3.5x2', False),
    ({'motion': 9, 'theta': 45}, 'theta45_motion9', True), ({'motion': (1, 21), 'theta': 0}, 'theta0_motion1-21', False),
    ({'sigma': 1.2, 'jpeg': 40}, 'sigma1.2_jpeg40', True),
    ({'motion': 9, 'theta': 0, 'noise': 5, 'jpeg': (30, 95)}, 'theta0_motion9_noise5_jpeg30-95', False)], ids=str)
def test_degradations_have_short_names(values: dict[str, Any], label: str, is_point: bool) -> None:
    degradation = Degradation(**values)
    assert (degradation.label, degradation.is_point) == (label, is_point)


def test_samples_fill_their_range_and_repeat() -> None:
    degradation = Degradation(lambda_1=(0.2, 4), lambda_2=(0.2, 4), theta=(0, 180), noise=(5, 25))
    first, second = (degradation.sample_kernels(np.random.default_rng(7), 50) for _ in range(2))
    noise = degradation.sample_noise(np.random.default_rng(7), 1000)
    assert torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert 5 <= noise.min() < 5.2 and 24.8 < noise.max() <= 25 and noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(15, abs=0.6)


def test_sampled_widths_lie_within_their_range() -> None:
    kernels = Degradation(sigma=(1.0, 2.0)).sample_kernels(np.random.default_rng(0), 200).double()
    width = ((torch.arange(-10, 11)**2) * kernels.sum(1)).sum(1).sqrt()
    assert 0.999 < width.min() < 1.02 and 1.98 < width.max() < 2.001
    torch.testing.assert_close(kernels, kernels.transpose(1, 2), rtol=0, atol=1e-9)


def test_a_point_is_its_kernel_and_level() -> None:
    degradation, rng = Degradation(theta=30, lambda_1=3.5, lambda_2=1.5, noise=10), np.random.default_rng(0)
    torch.testing.assert_close(degradation.sample_kernels(rng, 2), anisotropic_kernel(3.5, 1.5, math.pi / 6).expand(2, -1, -1))
    assert degradation.sample_noise(rng, 2).tolist() == [10, 10]


def test_sampling_leaves_the_global_random_state_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    training_degradation('setting2', 4).sample_kernels(np.random.default_rng(0), 3)
    assert np.array_equal(before[0], np.random.get_state()[1]) and torch.equal(before[1], torch.get_rng_state())


def test_motion_and_quality_are_drawn_from_their_ranges() -> None:
    degradation, rng = Degradation(motion=(3, 7), theta=(0, 180), jpeg=(30, 40)), np.random.default_rng(0)
    assert {degradation.sample_jpeg(rng) for _ in range(200)} == set(range(30, 41))
    nonzero = (degradation.sample_kernels(rng, 100) > 0).sum((1, 2))
    assert 5 <= nonzero.min() < nonzero.max() <= 40
    state = rng.bit_generator.state
    assert Degradation(sigma=1).sample_jpeg(rng) is None and rng.bit_generator.state == state


SETTING_1, SETTING_2 = {'sigma': (0.2, 4.0)}, {'lambda_1': (0.2, 4.0), 'lambda_2': (0.2, 4.0), 'theta': (0, 180), 'noise': (0, 25)}


@pytest.mark.parametrize('point, in_setting_1, in_setting_2', [
    ({'sigma': 0.2}, True, True), ({'sigma': 4}, True, True), ({'sigma': 4.1}, False, False), ({'sigma': 0.1}, False, False),
    ({'sigma': 2, 'noise': 5}, False, True), ({'sigma': 2, 'noise': 26}, False, False),
    ({'lambda_1': 2, 'lambda_2': 2, 'theta': 77}, True, True), ({'lambda_1': 2, 'lambda_2': 1, 'theta': 0}, False, True),
    ({'lambda_1': 2, 'lambda_2': 1, 'theta': 270, 'noise': 25}, False, True),
    ({'lambda_1': 2, 'lambda_2': 5, 'theta': 0}, False, False), ({'lambda_1': 5, 'lambda_2': 5, 'theta': 0}, False, False),
    ({'motion': 3, 'theta': 0}, False, False), ({'sigma': 2, 'jpeg': 100}, False, False)], ids=str)
def test_a_setting_covers_what_it_may_draw(point: dict[str, Any], in_setting_1: bool, in_setting_2: bool) -> None:
    point = Degradation(**point)
    assert Degradation(**SETTING_1).covers(point) == in_setting_1
    assert Degradation(**SETTING_2).covers(point) == in_setting_2


@pytest.mark.parametrize('section, point, is_covered', [
    ({'lambda_1': 2, 'lambda_2': 1, 'theta': (150, 190)}, {'lambda_1': 2, 'lambda_2': 1, 'theta': 5}, True),
    ({'lambda_1': 2, 'lambda_2': 1, 'theta': (150, 190)}, {'lambda_1': 2, 'lambda_2': 1, 'theta': 20}, False),
    ({'motion': (1, 9), 'theta': 0}, {'motion': 9, 'theta': 180}, True), ({'motion': (1, 9), 'theta': 0}, {'motion': 9, 'theta': 1}, False),
    ({'motion': (1, 9), 'theta': (0, 180)}, {'sigma': 1}, False),
    ({'sigma': 1, 'jpeg': (30, 90)}, {'sigma': 1, 'jpeg': 30}, True), ({'sigma': 1, 'jpeg': (30, 90)}, {'sigma': 1}, False)], ids=str)
def test_angles_repeat_and_kinds_do_not_mix(section: dict[str, Any], point: dict[str, Any], is_covered: bool) -> None:
    assert Degradation(**section).covers(Degradation(**point)) == is_covered


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_training_settings_are_the_papers(scale: int) -> None:
    width = (0.2, scale)
    assert training_degradation('setting1', scale) == parse_degradation('setting1', scale) == Degradation(sigma=width)
    assert training_degradation('setting2', scale) == Degradation(
        lambda_1=width, lambda_2=width, theta=(0, 180), noise=(0, 25))


@pytest.mark.parametrize('setting, scale, sigmas', [
    ('setting1', 4, [1.2, 2.4, 3.6]), ('setting1', 3, [0.9, 1.8, 2.7]), ('setting1', 2, [0.6, 1.2, 1.8]),
    ('gaussian8', 4, [1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2]), ('gaussian8', 2, [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]),
    ('gaussian8', 3, [1.35, 1.5, 1.65, 1.8, 1.95, 2.1, 2.25, 2.4])])
def test_isotropic_benchmarks_are_the_papers(setting: str, scale: int, sigmas: list[float]) -> None:
    assert benchmark_degradations(setting, scale) == tuple(Degradation(sigma=sigma) for sigma in sigmas)


@pytest.mark.parametrize('setting, levels', [('setting2', [5, 10]), ('nine_kernels', [0])])
def test_anisotropic_benchmarks_are_the_nine_kernels_in_the_papers_order(setting: str, levels: list[int]) -> None:
    expected = [(noise, *kernel) for noise in levels for kernel in NINE]
    cells = benchmark_degradations(setting, 4)
    assert [(d.noise, d.theta, d.lambda_1, d.lambda_2) for d in cells] == expected
    assert len({d.label for d in cells}) == len(cells) and all(d.is_point and d.sigma is None for d in cells)


@pytest.mark.parametrize('section, expected', [
    ({'sigma': [0.2, 4.0]}, Degradation(sigma=(0.2, 4.0))), ({'sigma': 1.2, 'noise': 5}, Degradation(sigma=1.2, noise=5)),
    ({'motion': [1, 9], 'theta': 0, 'jpeg': 40}, Degradation(motion=(1, 9), theta=0, jpeg=40)),
    ({'theta': [0, 180], 'lambda_1': 1, 'lambda_2': [1, 2]}, Degradation(theta=(0, 180), lambda_1=1, lambda_2=(1, 2)))], ids=str)
def test_sections_of_option_files_are_read(section: dict[str, Any], expected: Degradation) -> None:
    assert parse_degradation(section, 4) == expected


@pytest.mark.parametrize('section, message', [
    ('setting3', 'setting3.*setting1 and setting2'), ({'sgima': 1.0}, "unknown key 'sgima'.*sigma"),
    ({'sigma': 1, 'jpg': 40}, "unknown key 'jpg'.*jpeg"), ({'sigma': 1, 'jpeg': 400}, 'jpeg must be.*from 1 to 100, got 400'),
    ({'sigma': [4, 0.2]}, r'sigma must be.*got \(4, 0.2\)'), ({}, 'either sigma'), (None, 'degradation'), (5, 'degradation'),
    (['setting1'], 'degradation')], ids=str)
def test_wrong_sections_are_refused(section: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_degradation(section, 4)


@pytest.mark.parametrize('setting', ['setting3', 'Setting1', ''])
def test_unknown_benchmarks_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match='setting1, setting2, kdsr_setting2, nine_kernels and gaussian8'):
        benchmark_degradations(setting, 4)


# ---------------------------------------------------------------------------------------------- PCA
def reconstruction_error(basis: Tensor, kernels: Tensor) -> Tensor:
    flat = kernels.flatten(1)
    return (flat @ basis.T @ basis - flat).norm(dim=1) / flat.norm(dim=1)


def fit(setting: str, num_component: int = 15) -> Tensor:
    rng = np.random.default_rng(0)
    kernels = (release_pca_kernels(rng, 5000) if setting == 'release' else
               training_degradation(setting, 4).sample_kernels(rng, 5000))
    return fit_pca_basis(kernels, num_component)


def test_isotropic_kernels_are_reconstructed_from_fifteen_values() -> None:
    assert reconstruction_error(fit('setting1'), isotropic_kernel(torch.linspace(0.2, 4, 96))).max() < 1e-5


@pytest.mark.parametrize('sigma, error', [(3.6, 0.12), (4.0, 0.19)])
def test_wide_kernels_lose_something_in_setting_2_and_more_by_the_releases_fit(sigma: float, error: float) -> None:
    ours, releases = (reconstruction_error(fit(setting), isotropic_kernel(sigma)).item() for setting in ('setting2', 'release'))
    assert ours == pytest.approx(error, abs=0.01) and error + 0.02 < releases < error + 0.1


@pytest.mark.parametrize('num_component', [1, 15, 30])
def test_basis_is_orthonormal_and_leads_with_the_largest_moments(num_component: int) -> None:
    kernels = training_degradation('setting2', 4).sample_kernels(np.random.default_rng(0), 500)
    basis = fit_pca_basis(kernels, num_component)
    moments = (kernels.flatten(1).double() @ basis.T.double()).square().sum(0)
    assert basis.shape == (num_component, 441) and basis.dtype == torch.float32
    torch.testing.assert_close(basis @ basis.T, torch.eye(num_component), rtol=0, atol=1e-5)
    assert (moments.diff() <= 0).all()


def test_basis_is_repeatable_and_its_signs_are_fixed() -> None:
    first, second = fit('setting2'), fit('setting2')
    assert torch.equal(first, second)
    assert (first.gather(1, first.abs().argmax(1, keepdim=True)) > 0).all()


def test_basis_is_not_centred() -> None:
    kernels = isotropic_kernel(torch.tensor([1.0, 1.0]))
    mean = kernels[0].flatten()
    torch.testing.assert_close(fit_pca_basis(kernels, 1)[0], mean / mean.norm(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('kernel', [isotropic_kernel(0.6), anisotropic_kernel(0.5, 2.0, 0.3)], ids=['isotropic', 'anisotropic'])
def test_taps_that_are_no_normal_numbers_are_none(kernel: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU takes many times as long for them."""
    image, weights, conv2d = torch.rand(1, 3, 40, 40), [], F.conv2d

    def record(x: Tensor, weight: Tensor, **options: Any) -> Tensor:
        weights.append(weight)
        return conv2d(x, weight, **options)
    monkeypatch.setattr(F, 'conv2d', record)
    blurred = blur(image, kernel)
    used = torch.cat([weight.flatten() for weight in weights])
    assert ((kernel != 0) & (kernel < 1e-37)).any() and not ((used != 0) & (used < 1e-37)).any()
    torch.testing.assert_close(blurred, blur(image.double(), kernel.double()).float(), rtol=0, atol=1e-6)
