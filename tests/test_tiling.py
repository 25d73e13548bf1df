from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightbsr_arch.archs import KDSR, Bicubic, LightBSR, LightBSRTeacher
from lightbsr_arch.folders import scratch_folder
from lightbsr_arch.inference import needs_tiles, tiles
from lightbsr_arch.inference.boxes import Box, grid, padded_area
from lightbsr_arch.inference.sources import FeatureMap

LIGHTBSR = {'num_feat': 16, 'num_group': 2, 'num_block': 2, 'layer_scale': 0.5}
KDSR_SIZE = {'num_feat': 16, 'num_block': 3, 'num_estimator_block': 2}
TIGHT, AMPLE = 2_200_000, 100_000_000  # bytes: tiles of about 32 pixels and files; one tile in memory
CPU = torch.device('cpu')


def eventful(net: nn.Module) -> nn.Module:
    """With biases, BatchNorm statistics and a use of pooled values that show what an untrained network hides."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    for name, parameter in net.named_parameters():
        if name.endswith('bias'):
            parameter.data.normal_(0, 0.1, generator=generator)
        if any(part in name for part in ('channel', 'distill', 'guide')):
            parameter.data.mul_(4)
    return net.eval()


def lightbsr(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return eventful(LightBSR(**LIGHTBSR | changes))


def kdsr(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return eventful(KDSR(**KDSR_SIZE | changes))


def picture(height: int, width: int) -> Tensor:
    """Noise that brightens from one corner to the other, so that tiles' means differ."""
    ramp = torch.linspace(0, 0.7, height)[:, None] * torch.linspace(0.2, 1, width)
    return ramp + 0.3 * torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def whole(net: nn.Module, lq: Tensor) -> Tensor:
    return net(lq[None])[0]


def assembled(net: nn.Module, lq: Tensor, memory: int, **options: Any) -> tuple[Tensor, int]:
    """The output made of tiles, and their number; each pixel must come once."""
    sr, times = (torch.zeros(c, *(net.scale * n for n in lq.shape[1:])) for c in (3, 1))
    num = 0
    for rows, columns, tile in tiles(net, lq, memory, **options):
        sr[:, rows, columns] = tile
        times[:, rows, columns] += 1
        num += 1
    assert bool((times == 1).all())
    return sr, num


def error(sr: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the spread of what is expected."""
    return float((sr - expected).abs().max() / expected.std())


# ---------------------------------------------------------------------------------------------- tiles equal the whole
@pytest.mark.parametrize('size', [(1, 1), (1, 150), (150, 1), (3, 2), (33, 32), (71, 97)])
@pytest.mark.parametrize('build', [lightbsr, kdsr])
def test_tiles_equal_the_whole_at_any_size(build: Any, size: tuple[int, int]) -> None:
    net, lq = build(), picture(*size)
    expected = whole(net, lq)
    (in_files, num), (in_memory, one) = assembled(net, lq, TIGHT), assembled(net, lq, AMPLE)
    assert error(in_files, expected) < 1e-5 and error(in_memory, expected) < 1e-5
    assert one == 1 and (num > 1) == (max(size) > 32)


@pytest.mark.parametrize('build, changes', [
    (lightbsr, {'scale': 2}), (lightbsr, {'scale': 3}), (lightbsr, {'num_block': 1}), (lightbsr, {'num_block': 3}),
    (lightbsr, {'channel_gate': False}), (lightbsr, {'spatial_gate': False}), (lightbsr, {'correction': False}),
    (lightbsr, {'channel_gate': False, 'spatial_gate': False}),
    (lightbsr, {'channel_gate': False, 'correction': False}),
    (lightbsr, {'spatial_gate': False, 'correction': False}),
    (kdsr, {'scale': 2}), (kdsr, {'scale': 3}), (kdsr, {'dynamic': False}), (kdsr, {'num_estimator_block': 0}),
    (kdsr, {'num_block': 9}),
], ids=lambda value: getattr(value, '__name__', str(value)))
def test_tiles_equal_the_whole_for_any_variant(build: Any, changes: dict[str, Any]) -> None:
    net, lq = build(**changes), picture(67, 90)
    sr, num = assembled(net, lq, TIGHT)
    assert num > 1
    assert error(sr, whole(net, lq)) < 1e-5


@pytest.mark.parametrize('build', [lightbsr, kdsr])
def test_tiles_on_their_own_would_differ(build: Any) -> None:
    net, lq = build(), picture(64, 96)
    halves = torch.cat([whole(net, lq[:, :, :64])[..., :192], whole(net, lq[:, :, 32:])[..., 64:]], 2)  # 16 pixels of halo
    assert error(halves, whole(net, lq)) > 2e-4  # 20 times what is asked of tiles


def test_double_precision_leaves_no_difference() -> None:
    for net in (lightbsr().double(), kdsr().double()):
        lq = picture(41, 53).double()
        sr, num = assembled(net, lq, 2 * TIGHT)
        assert num > 1 and error(sr, whole(net, lq).float()) < 5e-7  # tiles are float32


@pytest.mark.parametrize('cast', [lambda x: x, lambda x: x.numpy(), lambda x: x.numpy()[::-1].copy()[::-1]],
                         ids=['torch', 'numpy', 'flipped view'])
@pytest.mark.parametrize('dtype, peak', [(torch.uint8, 255), (torch.uint16, 65535), (torch.float32, 1), (torch.float16, 1)])
def test_images_of_any_type(dtype: torch.dtype, peak: int, cast: Any) -> None:
    net, lq = kdsr(), (picture(20, 30) * peak).to(dtype)
    assert error(assembled(net, cast(lq), AMPLE)[0], whole(net, lq.float() / peak)) < 1e-5


@pytest.mark.parametrize('build', [lightbsr, kdsr])
def test_half_precision(build: Any) -> None:
    net, lq = build(), picture(36, 40)
    with torch.autocast('cpu', torch.bfloat16):
        expected = whole(net, lq).float()
    sr, _ = assembled(net, lq, TIGHT, dtype=torch.bfloat16)
    assert 1e-4 < error(sr, whole(net, lq)) < 0.1 and error(sr, expected) < 0.1
    assert next(net.parameters()).dtype is torch.float32
    sr, _ = assembled(net.bfloat16(), lq, TIGHT)
    assert error(sr, whole(net, lq.bfloat16()).float()) < 0.1


# ---------------------------------------------------------------------------------------------- memory
MEASURE = """
import sys
import numpy as np, torch
from lightbsr_arch.allocator import keep_freed_memory, resident_memory
from lightbsr_arch.archs import LightBSR
from lightbsr_arch.inference import needs_tiles, tiles

way, height, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
keep_freed_memory()
net = LightBSR(num_feat=16, num_group=1, num_block=2).eval()
with torch.no_grad():
    net(torch.rand(1, 3, 8, 8))
lq, sr = np.zeros((3, height, 120), np.uint8), np.ones((3, 4 * height, 480), np.uint8)
print(needs_tiles(net, height, 120, memory))
before = resident_memory('VmHWM')  # ru_maxrss would begin with the parent's
if way == 'whole':
    with torch.no_grad():
        sr[:] = net(torch.from_numpy(lq)[None] / 255)[0].mul(255).round().clamp(0, 255).to(torch.uint8)
else:
    for rows, columns, tile in tiles(net, lq, memory):
        sr[:, rows, columns] = tile.mul(255).round().clamp(0, 255).to(torch.uint8)
print(resident_memory('VmHWM') - before)
"""


def grown(way: str, height: int, memory: int) -> tuple[bool, int]:
    """Whether tiles were said to be needed, and by how many bytes a process of its own grew."""
    answer = subprocess.run([sys.executable, '-c', MEASURE, way, str(height), str(memory)], capture_output=True, text=True,
                            cwd=Path(__file__).resolve().parents[1], check=True)
    needed, grown_by = answer.stdout.split()
    return needed == 'True', int(grown_by)


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_peak_memory_is_the_options_whatever_the_images_height() -> None:
    memory, overhead = 40_000_000, 12_000_000
    needed, at_once = grown('whole', 2000, memory)
    assert needed and at_once > 4 * memory
    _, short = grown('tiles', 1000, memory)
    _, tall = grown('tiles', 2000, memory)
    assert short < memory + overhead and tall < memory + overhead
    assert tall < short + 12_000_000  # the whole image grows ten times as much


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_estimate_of_a_whole_image_is_one_to_two_times_what_it_takes() -> None:
    needed, at_once = grown('whole', 600, 10**12)
    assert not needed
    net = lightbsr(num_group=1)
    assert needs_tiles(net, 600, 120, int(0.9 * at_once)) and not needs_tiles(net, 600, 120, 2 * at_once)


# ---------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize('net, lq, memory, message', [
    (Bicubic(), picture(8, 8), AMPLE, 'LightBSR and KDSR can be run in tiles, Bicubic cannot'),
    (LightBSRTeacher(num_feat=8, num_group=1, num_block=1).eval(), picture(8, 8), AMPLE, 'LightBSRTeacher cannot'),
    (lightbsr(idr_noise=0.1), picture(8, 8), AMPLE, 'idr_noise'),
    (lightbsr().train(), picture(8, 8), AMPLE, r'network\.eval\(\)'),
    (lightbsr(), picture(8, 8)[None], AMPLE, r'\(3, height, width\) is needed, got \(1, 3, 8, 8\)'),
    (lightbsr(), torch.zeros(3, 0, 8), AMPLE, r'\(3, 0, 8\)'),
    (lightbsr(), torch.zeros(3, 8, 8, dtype=torch.int32), AMPLE, 'got int32'),
], ids=str)
def test_bad_input_is_answered_before_the_first_tile(net: nn.Module, lq: Tensor, memory: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiles(net, lq, memory)


def test_too_little_memory_is_told_with_what_is_needed() -> None:
    net, lq = lightbsr(), picture(60, 60)
    with pytest.raises(ValueError, match='1 MiB of memory are too few .* allow [0-9]+ MiB') as caught:
        tiles(net, lq, 2**20)
    enough = int(str(caught.value).split()[-4]) * 2**20
    assert error(assembled(net, lq, enough)[0], whole(net, lq)) < 1e-5


def test_too_little_disk_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = scratch_folder(), type('usage', (), {'free': 1000})
    monkeypatch.setattr('shutil.disk_usage', lambda folder: usage[1] if folder == usage[0] else None)
    tiles(kdsr(), picture(60, 60), AMPLE)
    with pytest.raises(OSError, match='TMPDIR'):
        tiles(kdsr(), picture(60, 60), TIGHT)


def test_a_disk_that_fills_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    features = FeatureMap(16, 64, 64, torch.float32, CPU, in_file=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # a file of more is refused, as by a full disk
    try:
        with pytest.raises(OSError, match='does not fit into .* TMPDIR'):
            features.write(Box(0, 64, 0, 64), torch.zeros(1, 16, 64, 64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# ---------------------------------------------------------------------------------------------- the pieces
@pytest.mark.parametrize('in_file', [False, True])
def test_feature_map_keeps_what_is_written_and_its_mean(in_file: bool) -> None:
    values = torch.rand(1, 5, 37, 23) - 0.3
    features = FeatureMap(5, 37, 23, torch.float32, CPU, in_file)
    for box in grid(37, 23, 8):
        features.write(box, values[..., box.rows, box.columns])
    for box in (Box(0, 37, 0, 23), Box(5, 6, 22, 23), Box(7, 31, 3, 19)):
        tile = features.read(box)
        assert torch.equal(tile, values[..., box.rows, box.columns])
        assert tile.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features.mean, values.mean((2, 3)))


@pytest.mark.parametrize('height, width, side', [(1, 1, 4), (100, 7, 32), (33, 32, 32), (5, 1000, 64), (64, 64, 64)])
def test_grid_covers_every_pixel_once_by_boxes_of_like_size(height: int, width: int, side: int) -> None:
    boxes, times = list(grid(height, width, side)), np.zeros((height, width), int)
    for box in boxes:
        times[box.rows, box.columns] += 1
        assert max(box.bottom - box.top, box.right - box.left) <= side and box.top % 4 == box.left % 4 == 0
    assert (times == 1).all()
    assert len(boxes) == -(-height // side) * -(-width // side)
    extended = [box.extended(3, height, width) for box in boxes]
    assert padded_area(height, width, side, 3) == sum((b.bottom - b.top) * (b.right - b.left) for b in extended)
