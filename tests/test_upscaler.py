"""`Upscaler`: exact pixels of known networks, and what surrounds them."""
from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.archs.layers import ConvNeXtBody, Upsampler
from lightbsr_arch.degradations import imresize
from lightbsr_arch.inference import Upscaler, bundled, memory, upscaler as upscaler_module, views, workspace
from lightbsr_arch.inference.alpha import fill_hidden
from lightbsr_arch.inference.devices import computing_in, pick_dtype, pick_layout
from lightbsr_arch.inference.memory import parse_size
from lightbsr_arch.inference.noise import NOISY, noise_level
from lightbsr_arch.inference.resizing import resize

TINY = {'LightBSR': {'num_feat': 8, 'num_group': 1, 'num_block': 1},
        'KDSR': {'num_feat': 4, 'num_block': 1, 'num_estimator_block': 1}}
KINDS = {'gray': (), 'gray and alpha': (2,), 'rgb': (3,), 'rgba': (4,)}


def noise_image(shape: tuple[int, ...], dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def smooth_image(size: tuple[int, int] = (24, 20), seed: int = 0) -> np.ndarray:
    small = Image.fromarray(noise_image((4, 4, 3), seed=seed))
    return np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC))


def tiny(arch: str = 'LightBSR', seed: int = 0, **kwargs: Any) -> nn.Module:
    """Gamma and gates are large enough for the network to matter."""
    torch.manual_seed(seed)
    network = getattr(archs, arch)(**TINY[arch], **kwargs).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith('gamma'):
                value.fill_(0.5)
    return network


def save(network: nn.Module, path: Path, arch: str, **kwargs: Any) -> str:
    checkpoints.write({'params': network.state_dict(), 'network': {'type': arch, **kwargs}}, str(path))
    return str(path)


def planar(image: np.ndarray) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    rgb = image if image.ndim == 3 else np.dstack([image] * 3)
    return torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32) / np.iinfo(image.dtype).max)[None]


def whole(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) in float64, in the image's units."""
    with torch.no_grad():
        sr = network(planar(image))[0].clamp(0, 1)
    return sr.permute(1, 2, 0).double().numpy() * np.iinfo(image.dtype).max


# ---------------------------------------------------------------------------------------------- pixels
def test_merged_weights_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = tiny(), smooth_image((48, 40))
    upscale = Upscaler(save(network, tmp_path / 'net.pth', 'LightBSR', **TINY['LightBSR']), device='cpu')
    upscale(image)
    for layer in (ConvNeXtBody, Upsampler):
        monkeypatch.setattr(layer, 'merge', lambda self: pytest.fail('they are made again'))
    sr = upscale(image)
    monkeypatch.undo()
    assert np.abs(sr - whole(network, image)).max() < 0.51


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('kind', KINDS)
def test_pixels_of_a_known_network(kind: str, dtype: type) -> None:
    image = noise_image((13, 17, *KINDS[kind]), dtype)
    if image.ndim == 3 and image.shape[2] in (2, 4):
        image[..., -1] |= 1  # nothing is hidden
    sr = Upscaler('Bicubic')(image)
    assert sr.dtype == dtype and sr.shape == (52, 68, *KINDS[kind])
    full = np.iinfo(dtype).max
    expected = imresize(torch.from_numpy(np.atleast_3d(image).astype(np.float64)).permute(2, 0, 1), 4).permute(1, 2, 0)
    error = np.abs(np.atleast_3d(sr).astype(float) - expected.numpy().clip(0, full))
    colours = error if KINDS[kind] in ((), (3,)) else error[..., :-1]
    assert colours.max() <= 0.5 + full * 1e-6
    assert kind in ('gray', 'rgb') or error[8:-8, 8:-8, -1].max() <= 0.5 + full * 1e-6  # Pillow cuts the kernel at edges


@pytest.mark.parametrize('arch, scale', [('LightBSR', 4), ('LightBSR', 2), ('KDSR', 3)])
def test_pixels_of_networks_from_files(tmp_path: Path, arch: str, scale: int) -> None:
    network = tiny(arch, scale=scale)
    path = save(network, tmp_path / 'net.pth', arch, scale=scale, **TINY[arch])
    image = smooth_image()
    sr = Upscaler(path, device='cpu')(image)
    assert sr.shape == (24 * scale, 20 * scale, 3) and np.abs(sr - whole(network, image)).max() <= 0.51
    assert (Upscaler(network)(image) == sr).all() and (Upscaler(tmp_path / 'net.pth')(image) == sr).all()


def test_a_release_file(tmp_path: Path) -> None:
    network = tiny()
    torch.save(checkpoints.to_upstream('LightBSR', network.state_dict()), tmp_path / 'model.pth')
    assert (Upscaler(str(tmp_path / 'model.pth'))(smooth_image()) == Upscaler(network)(smooth_image())).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(12, 9, 3), (12, 9)])
def test_the_ensemble_is_the_mean_of_eight(shape: tuple[int, ...], dtype: type) -> None:
    network, image = tiny(), noise_image(shape, dtype)
    total = np.zeros((48, 36, 3))
    for turns in range(4):
        for mirrored in (False, True):
            seen = np.rot90(image, turns)
            seen = np.fliplr(seen) if mirrored else seen
            sr = whole(network, np.ascontiguousarray(seen))
            total += np.rot90(np.fliplr(sr) if mirrored else sr, -turns)
    expected = total / 8 if image.ndim == 3 else total.mean(2) / 8
    sr = Upscaler(network, ensemble=True)(image)
    assert sr.dtype == dtype and sr.shape == expected.shape
    assert np.abs(sr - expected).max() <= (0.54 if dtype == np.uint8 else 0.75)
    assert np.abs(sr.astype(int) - Upscaler(network)(image)).max() > 2  # it is not one view


def test_the_eight_views_differ_and_write_into_their_image() -> None:
    image = np.arange(6).reshape(1, 2, 3)
    assert len({view.of(image).tobytes() + bytes(view.of(image).shape) for view in views.ALL}) == 8
    for view in views.ALL:
        target = np.zeros_like(image)
        view.of(target)[...] = view.of(image)
        assert (target == image).all()


@pytest.mark.parametrize('outscale, size', [(4, (52, 68)), (2, (26, 34)), (1, (13, 17)), (1.5, (20, 26)), (8, (104, 136)),
                                            (0.01, (1, 1)), (None, (52, 68))])
def test_outscale(outscale: float | None, size: tuple[int, int]) -> None:
    image = noise_image((13, 17, 4))
    sr = Upscaler('Bicubic', outscale=outscale)(image)
    assert sr.shape == (*size, 4)
    four = Upscaler('Bicubic')(image)
    for i in range(3):
        plane = Image.fromarray(four[..., i].astype(np.float32)).resize(size[::-1], Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(plane).clip(0, 255) - sr[..., i]).max() <= 0.51


@pytest.mark.parametrize('method', [Image.Resampling.LANCZOS, Image.Resampling.BICUBIC])
@pytest.mark.parametrize('size', [(1500, 7), (700, 40), (300, 9), (611, 20)])
def test_bands_do_not_show(method: Image.Resampling, size: tuple[int, int]) -> None:
    image = noise_image((611, 20), np.uint16)
    expected = np.asarray(Image.fromarray(image.astype(np.float32)).resize(size[::-1], method)).clip(0, 65535)
    assert np.abs(resize(image, *size, method) - expected).max() <= 1.5  # of 65535: coordinates are float32
    flat = np.full((300, 5, 2), 255, np.uint8)
    assert (resize(flat, 777, 13, method) == 255).all()


# ---------------------------------------------------------------------------------------------- alpha
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_hidden_colours_do_not_bleed(dtype: type) -> None:
    image = np.zeros((16, 16, 4), dtype)
    full = np.iinfo(dtype).max
    image[:, :8] = (full // 2, full // 3, full // 4, full)
    others = image.copy()
    others[:, 8:] = (full, 0, full, 0)
    network = tiny()
    sr = Upscaler(network)(image)
    assert (Upscaler(network)(others) == sr).all()
    flat = np.broadcast_to(image[:1, :1], (16, 16, 4))
    assert (sr[..., :3] == Upscaler(network)(np.ascontiguousarray(flat))[..., :3]).all()
    assert (sr[:, :24, 3] == full).all() and (sr[:, 40:, 3] == 0).all()  # flat areas stay so to the last bit


def test_hidden_pixels_take_the_nearest_colour() -> None:
    colours, alpha = np.array([[10, 20, 30, 40, 50]], np.uint8), np.array([[0, 1, 0, 0, 255]], np.uint8)
    assert fill_hidden(colours, alpha).tolist() in ([[20, 20, 20, 50, 50]],)
    for value in (0, 255):
        assert (fill_hidden(colours, np.full_like(alpha, value)) == colours).all()


# ---------------------------------------------------------------------------------------------- parts, memory, precision
@pytest.mark.parametrize('ensemble', [False, True])
@pytest.mark.parametrize('shape', [(11, 14, 3), (11, 14)])
def test_parts_land_in_their_places(monkeypatch: pytest.MonkeyPatch, ensemble: bool, shape: tuple[int, ...]) -> None:
    network, image, asked, shares = tiny(), noise_image(shape), [], []
    expected = Upscaler(network, ensemble=ensemble)(image)

    def tiles(network: nn.Module, lq: np.ndarray, memory: int, device: Any = None,
              dtype: Any = None) -> Iterator[tuple[slice, slice, Tensor]]:
        assert lq.dtype == np.uint8 and lq.shape[0] == 3 and dtype == torch.float32
        with torch.no_grad():
            sr = network(torch.from_numpy(lq.astype(np.float32))[None] / 255)[0]
        for rows in (slice(0, 17), slice(17, sr.shape[1])):
            for columns in (slice(0, 5), slice(5, sr.shape[2])):
                yield rows, columns, sr[:, rows, columns]
    monkeypatch.setattr(upscaler_module, 'needs_tiles', lambda net, h, w, memory: asked.append((h, w, memory)) or True)
    monkeypatch.setattr(upscaler_module, 'tiles', tiles)
    sr = Upscaler(network, ensemble=ensemble, memory='1MB')(image, shares.append)
    assert (sr == expected).all()
    assert asked[0] == (11, 14, 2**20 - sr.size * (3 if ensemble else 1)) and len(asked) == (8 if ensemble else 1)
    assert shares == sorted(shares) and len(shares) == 4 * len(asked) and shares[-1] == 1


def test_too_little_memory_is_said() -> None:
    with pytest.raises(ValueError, match='its result alone takes 3 MiB, and 2 MiB of memory are allowed'):
        Upscaler('Bicubic', memory='2MB')(noise_image((256, 256, 3)))


@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                                   torch.OutOfMemoryError('CUDA out of memory')])
def test_out_of_memory(error: Exception) -> None:
    with pytest.raises(MemoryError, match='cpu has too little memory for an image of 6x5'):
        Upscaler(failing(error))(noise_image((5, 6, 3)))


def test_other_errors_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match='sizes do not match'):
        Upscaler(failing(RuntimeError('sizes do not match')))(noise_image((5, 6, 3)))


def failing(error: Exception) -> nn.Module:
    class Failing(archs.Bicubic):
        def forward(self, lq: Tensor) -> Tensor:
            raise error
    return Failing()


class Overflowing(archs.Bicubic):
    """Overflows where the precision is low."""

    def forward(self, lq: Tensor) -> Tensor:
        return super().forward(lq) / (0 if torch.is_autocast_enabled('cpu') else 1)


def test_an_overflow_is_done_again_in_full_precision() -> None:
    image = noise_image((5, 6, 3))
    assert (Upscaler(Overflowing(), precision='fp16')(image) == Upscaler('Bicubic')(image)).all()


def test_a_network_that_adds_noise_to_its_idr_upscales_what_needs_no_parts() -> None:
    network, image = tiny(idr_noise=1.0), smooth_image()
    assert np.abs(Upscaler(network, device='cpu')(image) - whole(network, image)).max() <= 0.51


def test_values_that_are_not_finite_are_said() -> None:
    network = tiny()
    network.trunk.fusion.weight.data[0] = float('nan')
    with pytest.raises(ValueError, match='not finite: its weights are damaged'):
        Upscaler(network)(noise_image((8, 8, 3)))


@pytest.mark.parametrize('precision, error', [('bf16', 6), ('fp16', 1), ('fp32', 0)])
def test_precisions(precision: str, error: int) -> None:
    network, image = tiny(), smooth_image()
    difference = np.abs(Upscaler(network, precision=precision)(image).astype(int) - Upscaler(network)(image))
    assert difference.max() <= error and (precision != 'bf16' or difference.max() > 0)


@pytest.mark.parametrize('text, size', [('4GB', 4 * 2**30), ('4g', 4 * 2**30), ('1.5 GiB', 3 * 2**29), ('512MB', 2**29),
                                        ('2000000', 2000000), ('2048kB', 2**21)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize('text', ['', 'much', '-1GB', '0', '4', '4XB', 'GB'])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match='must be such as 4GB or 512MB, and at least 1MB'):
        parse_size(text)


def test_the_default_budget_is_a_share_of_what_there_is() -> None:
    budget = memory.default_budget(torch.device('cpu'))
    assert 2**24 < budget < 2**44 and budget <= memory.SHARE * memory._free_in_system() * 1.2


def group(limit: str, use: int, prefix: str = '') -> dict[str, str]:
    """The files of a control group of version 2, or 1 with 'total_': 1000 bytes are of files that are kept in memory."""
    limit_name, use_name = ('limit_in_bytes', 'usage_in_bytes') if prefix else ('max', 'current')
    local = 'inactive_file 5\nactive_file 6\n' if prefix else ''
    return {limit_name: f'{limit}\n', use_name: f'{use}\n',
            'stat': f'{local}{prefix}inactive_anon 7\n{prefix}inactive_file 800\n{prefix}active_file 200\n'}


@pytest.mark.parametrize('own, tree, free', [
    ('0::/\n', {'': group('9000', 8000)}, 2000),  # a container
    ('0::/job/step\n', {'job': group('9000', 8000), 'job/step': group('max', 8000)}, 2000),  # Slurm, a scope of systemd
    ('0::/job/step\n', {'job': group('90000', 8000), 'job/step': group('7000', 5000)}, 3000),
    ('0::/of/the/host\n', {'': group('9000', 8000)}, 2000),
    ('2:cpu:/else\n1:memory:/job\n0::/\n', {'memory/job': group('9000', 8000, 'total_'), 'else': group('2', 1)}, 2000),
    ('0::/\n', {'': group('9000', 20000)}, 0), ('0::/job\n', {'job': group('max', 8000)}, math.inf), (None, {}, math.inf)])
def test_what_control_groups_leave(own: str | None, tree: dict[str, dict[str, str]], free: float, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {'proc/self/cgroup': own} if own else {}
    texts |= {f'sys/fs/cgroup/{folder}/memory.{name}': text for folder, told in tree.items() for name, text in told.items()}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, 'open', lambda path, **how: open(f'{tmp_path}{path}', **how), raising=False)
    assert memory._free_in_container() == free


@pytest.mark.parametrize('arch, device, layout', [
    ('LightBSR', 'cpu', torch.channels_last), ('LightBSR', 'cuda', torch.channels_last),
    ('KDSR', 'cpu', torch.channels_last), ('KDSR', 'cuda', torch.contiguous_format)])
def test_layouts(arch: str, device: str, layout: torch.memory_format) -> None:
    assert pick_layout(tiny(arch), device) == layout


@pytest.mark.parametrize('device, bits, dtype', [
    ('cuda', 8, torch.float16), ('cuda', 16, torch.float32), ('cpu', 8, torch.float32)])
def test_default_precisions(device: str, bits: int, dtype: torch.dtype) -> None:
    assert pick_dtype(None, torch.device(device), bits) == dtype


@pytest.mark.parametrize('dtype, allowed', [(torch.float32, False), (torch.float16, True)])
def test_full_precision_on_cuda_is_more_than_tf32(dtype: torch.dtype, allowed: bool) -> None:
    before = torch.backends.cudnn.allow_tf32
    with computing_in(dtype, torch.device('cuda'), own=dtype):
        assert torch.backends.cudnn.allow_tf32 == allowed
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize('budget', [None, 3_000_000])
@pytest.mark.parametrize('precision, dtype', [
    ('fp32', torch.float32), ('fp16', torch.float16), ('bf16', torch.bfloat16)])
def test_the_whole_and_its_parts_are_computed_in_the_precision_asked_for(precision: str, dtype: torch.dtype, budget: int | None,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()

    def computing(dtype: torch.dtype, device: torch.device, own: torch.dtype = torch.float32) -> Any:
        asked.add(dtype)
        return computing_in(dtype, device, own)
    for module in (upscaler_module, workspace):
        monkeypatch.setattr(module, 'computing_in', computing)
    Upscaler(tiny(), device='cpu', precision=precision, memory=budget)(smooth_image((90, 90)))
    assert asked == {dtype}


# ---------------------------------------------------------------------------------------------- which weights
@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, nn.Module]:
    """Tiny networks in place of the bundled ones."""
    networks = {name: tiny(seed=i) for i, name in enumerate(bundled.MODELS.values())}
    files = {name: save(net, tmp_path / f'{name}.pth', 'LightBSR', **TINY['LightBSR']) for name, net in networks.items()}
    monkeypatch.setattr(bundled, 'path', files.__getitem__)
    return networks


def noisy(image: np.ndarray, level: float) -> np.ndarray:
    values = image + np.random.default_rng(1).normal(0, level, image.shape)
    return np.rint(values.clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize('level, model', [(0, 'clean'), (1, 'clean'), (5, 'noisy'), (20, 'noisy')])
def test_the_network_suits_the_image(shipped: dict[str, nn.Module], level: float, model: str) -> None:
    image = noisy(smooth_image((64, 64)), level)
    name = bundled.MODELS[model]
    upscaler = Upscaler()
    own = shipped[name].to(memory_format=torch.channels_last)  # as those are that are loaded, to the last bit
    assert upscaler.weights_for(image) == name and (upscaler(image) == Upscaler(own)(image)).all()
    assert (Upscaler(name)(image) == upscaler(image)).all()
    other = bundled.MODELS['clean' if model == 'noisy' else 'noisy']
    assert Upscaler(other).weights_for(image) == other and (Upscaler(other)(image) != upscaler(image)).any()


def test_bundled_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, 'FOLDER', str(tmp_path))
    for weights in (None, 'LightBSR-compact-x4'):
        with pytest.raises(ValueError, match=f'LightBSR-compact-x4 are not in this installation: there is no {tmp_path}/Light'):
            Upscaler(weights)


def test_noise_is_told_from_texture() -> None:
    smooth = smooth_image((80, 80))
    texture = smooth.copy()
    texture[:, :60] = noisy(texture[:, :60], 30)  # three quarters
    assert noise_level(texture) < 1.5 < NOISY
    for level in (5, 15):
        image = noisy(smooth, level)
        assert 0.75 * level < noise_level(image) < level
        assert noise_level(image.astype(np.uint16) * 257) == pytest.approx(noise_level(image), rel=1e-5)
        assert noise_level(np.dstack([image, image[..., :1] * 0])) == noise_level(image)
    assert noise_level(np.zeros((3, 50), np.uint8)) == 0


@pytest.mark.parametrize('value', [0, 255])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_bars_and_margins_do_not_hide_noise(value: int, dtype: type) -> None:
    image = noisy(smooth_image((200, 200)), 10)
    padded = np.pad(image, ((80, 80), (0, 0), (0, 0)), constant_values=value)
    scale = np.iinfo(dtype).max // 255
    assert 0.8 * noise_level(image) < noise_level(padded.astype(dtype) * scale) < 1.1 * noise_level(image)


def test_clean_text_on_white_is_not_noise() -> None:
    page = Image.new('L', (600, 500), 255)
    for top in range(20, 140, 20):
        ImageDraw.Draw(page).text((20, top), 'The quick brown fox jumps over the lazy dog. ' * 2, fill=0,
                                  font=ImageFont.load_default(12))
    assert noise_level(np.asarray(page.resize((300, 250), Image.Resampling.BICUBIC))) < NOISY


# ---------------------------------------------------------------------------------------------- onnx
class OnnxNetwork(archs.Bicubic):
    """Stands in for one that onnxruntime runs."""

    def __init__(self, path: str, device: torch.device) -> None:
        super().__init__()
        assert path == 'net.onnx'


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those of a stand-in for onnxruntime."""
    providers = ['CPUExecutionProvider']
    monkeypatch.setitem(sys.modules, 'onnxruntime', SimpleNamespace(get_available_providers=lambda: providers))
    monkeypatch.setattr(upscaler_module, 'OnnxNetwork', OnnxNetwork)
    return providers


def test_onnx(providers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise_image((5, 6, 3))
    assert (Upscaler('net.onnx', 'cpu', backend='onnx')(image) == Upscaler('Bicubic')(image)).all()
    with pytest.raises(ValueError, match='needs an .onnx file'):
        Upscaler(backend='onnx')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ValueError, match=r'needs onnxruntime: pip install lightbsr_arch\[onnx\]'):
        Upscaler('net.onnx', backend='onnx')


@pytest.mark.parametrize('gpu, provider, device', [
    (torch.cuda, [], 'cpu'), (torch.cuda, ['CUDAExecutionProvider'], 'cuda'), (torch.backends.mps, [], 'cpu')])
def test_onnx_runs_where_onnxruntime_can(gpu: Any, provider: list[str], device: str, providers: list[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    providers += provider
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu is torch.cuda)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: gpu is torch.backends.mps)
    monkeypatch.setattr(upscaler_module, 'pick_device', lambda name: torch.device(name or 'the best of torch'))
    assert Upscaler('net.onnx', backend='onnx').device.type == device


# ---------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize('options, message', [
    ({'outscale': 0}, 'outscale must be positive'), ({'outscale': float('nan')}, 'outscale must be positive'),
    ({'outscale': float('inf')}, 'outscale must be positive'), ({'backend': 'tensorflow'}, 'backend must be torch or onnx'),
    ({'precision': 'int8'}, 'precision must be fp32, fp16, bf16'), ({'memory': 'much'}, 'must be such as 4GB'),
    ({'device': 'cuda:99'}, 'the device cuda:99 cannot be used'), ({'device': 'toaster'}, 'the device toaster cannot be used'),
    ({'device': 'meta'}, 'the device meta cannot be used'), ({'memory': 0}, 'memory must be positive, got 0'),
    ({'backend': 'onnx', 'memory': '1GB'}, 'leave precision and memory out'),
    ({'backend': 'onnx', 'precision': 'fp16'}, 'leave precision and memory out'),
    ({'weights': 'nowhere.pth'}, 'there is no file nowhere.pth'),
])
def test_arguments_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Upscaler(**{'weights': 'Bicubic', **options})


@pytest.mark.parametrize('image, got', [
    ('photo.jpg', 'str'), (np.zeros((4, 4, 3), np.float32), 'float32'), (np.zeros((4, 4, 5), np.uint8), r'\(4, 4, 5\)'),
    (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'), (np.zeros((1, 3, 4, 4), np.uint8), r'\(1, 3, 4, 4\)'),
    (np.zeros(4, np.uint8), r'\(4,\)'),
])
def test_images_that_are_none(image: Any, got: str) -> None:
    with pytest.raises(ValueError, match=f'must be an array .* got .*{got}'):
        Upscaler('Bicubic')(image)


@pytest.mark.parametrize('arch, kwargs, message', [
    ('LightBSRTeacher', TINY['LightBSR'] | {'prior_dim': 0, 'queue_size': 8}, 'blur kernel .* use the weights of the student'),
    ('KDSRTeacher', TINY['KDSR'], 'original .* use the weights of the student'),
])
def test_teachers(tmp_path: Path, arch: str, kwargs: dict[str, Any], message: str) -> None:
    path = save(getattr(archs, arch)(**kwargs), tmp_path / 'teacher.pth', arch, **kwargs)
    with pytest.raises(ValueError, match=f'{path} holds a {arch}, which must be given the {message}'):
        Upscaler(path)


def test_weights_of_others(tmp_path: Path) -> None:
    path = save(nn.Linear(1, 1), tmp_path / 'net.pth', 'EDSR')
    with pytest.raises(ValueError, match=f'{path} holds a EDSR: LightBSR and KDSR can upscale here'):
        Upscaler(path)
    path = save(tiny(), tmp_path / 'net.pth', 'LightBSR', **TINY['LightBSR'] | {'num_block': 2})
    with pytest.raises(ValueError, match=f'{path} does not fit LightBSR: .*[Mm]issing key'):
        Upscaler(path)
    path = save(tiny(), tmp_path / 'net.pth', 'LightBSR', depth=3)
    with pytest.raises(ValueError, match=f'{path} does not fit LightBSR: .*depth'):
        Upscaler(path)
