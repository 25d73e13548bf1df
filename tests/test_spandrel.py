"""spandrel, and so chaiNNer and ComfyUI, load our files and the releases'."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from torch import Tensor

from lightbsr_arch import checkpoints
from tests import upstream_weights
from tests.small_networks import SIZES, build

spandrel = pytest.importorskip('spandrel', reason='needs lightbsr_arch[spandrel]')
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> spandrel.ArchRegistry:
    """spandrel's own, as it is again after the test."""
    from lightbsr_arch import spandrel_support
    for name in ('_architectures', '_ordered', '_by_id'):
        monkeypatch.setattr(spandrel.MAIN_REGISTRY, name, getattr(spandrel.MAIN_REGISTRY, name))
    spandrel_support.install()
    return spandrel.MAIN_REGISTRY


def load(path: Path) -> Any:
    return spandrel.ModelLoader().load_from_file(path)


def pth(state: dict[str, Tensor], arch: str, path: Path) -> None:
    checkpoints.write({'params': state, 'network': {'type': arch}, 'degradation': {'sigma': [0.2, 4.0]}}, str(path))


WRITERS: dict[str, Callable[[dict[str, Tensor], str, Path], None]] = {
    'net.pth': pth,
    'ema.pth': lambda state, arch, path: torch.save({'params': {k: 0 * v for k, v in state.items()}, 'params_ema': state}, path),
    'bare.pth': lambda state, arch, path: torch.save({f'module.{k}': v for k, v in state.items()}, path),
    'net.safetensors': lambda state, arch, path: checkpoints.write_safetensors(checkpoints.Checkpoint(state, arch, {}), str(path)),
    'upstream.pth': lambda state, arch, path: torch.save(checkpoints.to_upstream(arch, state), path),
    'upstream.pt': lambda state, arch, path: torch.save(checkpoints.to_upstream(arch, state), path),
    'upstream.safetensors': lambda state, arch, path: checkpoints.write_safetensors(
        checkpoints.Checkpoint(checkpoints.to_upstream(arch, state)), str(path))}


@pytest.mark.parametrize('arch', ['LightBSR', 'KDSR'])
@pytest.mark.parametrize('name', WRITERS)
def test_output_is_our_networks(tmp_path: Path, arch: str, name: str) -> None:
    net = build(arch, scale=3)
    WRITERS[name](net.state_dict(), arch, tmp_path / name)
    model = load(tmp_path / name)
    assert isinstance(model, spandrel.ImageModelDescriptor) and (model.architecture.id, model.scale) == (arch, 3)
    assert type(model.model) is type(net) and not model.model.training
    lq = torch.rand(1, 3, 11, 14)
    with torch.no_grad():
        assert torch.equal(model(lq), net(lq).clamp(0, 1)) and torch.equal(model.model(lq), net(lq))


@pytest.mark.parametrize('network, scale, tags', [('lightbsr_student_x4', 4, ['64nf', '8ng', '8nb']),
                                                  ('kdsr_student_m_x4', 4, ['64nf', '53nb', '9ne'])])
def test_the_releases_networks(network: str, scale: int, tags: list[str]) -> None:
    model = spandrel.ModelLoader().load_from_state_dict(upstream_weights.state_dict(network))
    golden = upstream_weights.golden(network)
    with torch.no_grad():
        assert (model.model(golden['lq']) - golden['sr']).abs().max() < 1e-4 * golden['sr'].std()
    assert (model.scale, model.tags, model.input_channels, model.output_channels) == (scale, tags, 3, 3)
    assert model.tiling is spandrel.ModelTiling.DISCOURAGED and model.purpose == 'SR'
    assert model.size_requirements == spandrel.SizeRequirements(minimum=0, multiple_of=1, square=False)


@pytest.mark.parametrize('arch, changes', [
    ('LightBSR', {'scale': 2, 'channel_gate': False}), ('LightBSR', {'correction': False}), ('KDSR', {'dynamic': False})], ids=str)
def test_ablations(arch: str, changes: dict[str, Any]) -> None:
    net, lq = build(arch, **changes), torch.rand(1, 3, 1, 2)
    model = spandrel.ModelLoader().load_from_state_dict(net.state_dict())
    with torch.no_grad():
        assert model.scale == net.scale and torch.equal(model(lq), net(lq).clamp(0, 1))


@pytest.mark.parametrize('arch', ['LightBSR', 'KDSR'])
@pytest.mark.parametrize('dtype, bound', [(torch.float16, 0.005), (torch.bfloat16, 0.04)])
def test_half_precision_is_supported(arch: str, dtype: torch.dtype, bound: float) -> None:
    net, lq = build(arch, num_feat=32), torch.rand(1, 3, 24, 31)
    model = spandrel.ModelLoader().load_from_state_dict(net.state_dict())
    assert model.supports_half and model.supports_bfloat16
    model.to(dtype)
    with torch.no_grad():
        sr, expected = model.model(lq.to(dtype)), net(lq)
    assert sr.dtype == dtype and 0 < (sr.float() - expected).abs().max() < bound * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize('state', [build('LightBSRTeacher').state_dict(), build('KDSRTeacher').state_dict(),
                                   checkpoints.to_upstream('LightBSRTeacher', build('LightBSRTeacher').state_dict()),
                                   checkpoints.to_upstream('KDSRTeacher', build('KDSRTeacher').state_dict())],
                         ids=['LightBSR', 'KDSR', 'LightBSR upstream', 'KDSR upstream'])
def test_teachers_are_not_loaded(state: dict[str, Tensor]) -> None:
    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.ModelLoader().load_from_state_dict(state)


def test_installing_again_changes_nothing(registry: spandrel.ArchRegistry) -> None:
    from lightbsr_arch.spandrel_support import install
    before = list(registry)
    install()
    assert list(registry) == before and [a.architecture.id for a in before[-2:]] == ['LightBSR', 'KDSR']


def test_other_networks_are_detected_as_before(registry: spandrel.ArchRegistry) -> None:
    from spandrel.architectures import ESRGAN, RCAN, SPAN, Compact, SwinIR
    networks = [Compact.Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2), ESRGAN.ESRGAN(num_filters=8, num_blocks=1), SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8),
                RCAN.RCAN(n_resgroups=1, n_resblocks=1, n_feats=16), SwinIR.SwinIR(img_size=8, window_size=4, depths=[1], num_heads=[2], embed_dim=8)]
    without = spandrel.ArchRegistry()
    without.add(*list(registry)[:-2])
    for network in networks:
        state = network.state_dict()
        found, before = registry.load(state), without.load(state)
        assert found.architecture is before.architecture and (found.scale, found.tags) == (before.scale, before.tags)
    for arch in SIZES:  # and spandrel itself takes none of ours for one of its own
        with pytest.raises(spandrel.UnsupportedModelError):
            without.load(build(arch).state_dict())


def test_without_spandrel_the_package_is_named() -> None:
    program = ("import sys; sys.modules['spandrel'] = None\n"
               "try:\n    import lightbsr_arch.spandrel_support\nexcept ImportError as error:\n    print(error)")
    answer = subprocess.run([sys.executable, '-c', program], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert 'pip install lightbsr_arch[spandrel]' in answer


def test_a_program_of_others_needs_nothing_else(tmp_path: Path) -> None:
    """Neither BasicSR nor a torchvision whose operators load."""
    pth(build('KDSR').state_dict(), 'KDSR', tmp_path / 'net.pth')
    program = ("import sys; from lightbsr_arch import spandrel_support; spandrel_support.install()\n"
               f"import spandrel; print(spandrel.ModelLoader().load_from_file({str(tmp_path / 'net.pth')!r}).architecture.id, "
               "'basicsr' in sys.modules)")
    answer = subprocess.run([sys.executable, '-c', program], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert answer == 'KDSR False\n'
