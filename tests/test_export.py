"""Exported networks compute what torch does, for any batch, height and width."""
from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn

from lightbsr_arch import checkpoints
from lightbsr_arch.archs.kdsr_arch import KDSRBlock, dynamic_convolution, shifted_products
from lightbsr_arch.inference import export
from lightbsr_arch.inference.export import write_onnx, write_torchscript
from lightbsr_arch.inference.onnx_backend import OnnxNetwork
from tests.small_networks import build

onnx = pytest.importorskip('onnx', reason='needs lightbsr_arch[onnx]')
pytest.importorskip('onnxruntime', reason='needs lightbsr_arch[onnx]')

NETWORKS = [('LightBSR', {}), ('LightBSR', {'scale': 3, 'channel_gate': False}), ('LightBSR', {'scale': 2, 'spatial_gate': False}),
            ('KDSR', {}), ('KDSR', {'scale': 3, 'dynamic': False})]
SIZES = [(1, 1), (1, 6), (4, 4), (18, 27)]  # none of those that are checked after writing
Write = Callable[[nn.Module, str, dict[str, Any]], float]


def runner(path: Path) -> Callable[[Tensor], Tensor]:
    return OnnxNetwork(str(path)) if path.suffix == '.onnx' else torch.jit.load(path)


@pytest.mark.parametrize('write, name', [(write_onnx, 'net.onnx'), (write_torchscript, 'net.pt')])
@pytest.mark.parametrize('arch, changes', NETWORKS, ids=str)
def test_any_batch_and_size(tmp_path: Path, arch: str, changes: dict[str, Any], write: Write, name: str) -> None:
    net = build(arch, **changes)
    assert write(net, str(tmp_path / name), {}) < 1e-5
    exported = runner(tmp_path / name)
    for batch in (1, 3):
        for size in SIZES:
            lq = torch.rand(batch, 3, *size)
            with torch.no_grad():
                torch.testing.assert_close(exported(lq), net(lq), rtol=0, atol=1e-5)
    assert os.listdir(tmp_path) == [name]


def test_fp16_halves_the_file_and_keeps_float32_images(tmp_path: Path) -> None:
    net = build('LightBSR', num_feat=32)
    write_onnx(net, str(tmp_path / 'net.onnx'), {})
    assert 1e-6 < write_onnx(net, str(tmp_path / 'half.onnx'), {}, fp16=True) < 1e-2
    sizes = [os.path.getsize(tmp_path / name) for name in ('net.onnx', 'half.onnx')]
    assert sizes[1] < 0.6 * sizes[0]
    graph = onnx.load(tmp_path / 'half.onnx').graph
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    weights = {w.data_type for w in graph.initializer if len(w.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT} and weights == {onnx.TensorProto.FLOAT16}
    lq = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(OnnxNetwork(str(tmp_path / 'half.onnx'))(lq), net(lq), rtol=0, atol=1e-2)


def test_fp16_pools_large_images_in_float32(tmp_path: Path) -> None:
    write_onnx(build('LightBSR'), str(tmp_path / 'half.onnx'), {}, fp16=True)
    graph = onnx.load(tmp_path / 'half.onnx').graph
    made_by = {output: node for node in graph.node for output in node.output}
    means = [node for node in graph.node if node.op_type == 'ReduceMean']
    casts = [made_by[node.input[0]] for node in means]
    assert len(means) == 5 and all(c.op_type == 'Cast' and c.attribute[0].i == onnx.TensorProto.FLOAT for c in casts)


@pytest.mark.parametrize('arch', ['LightBSR', 'KDSR'])
def test_files_say_what_they_hold(tmp_path: Path, arch: str) -> None:
    notes = {'network': {'type': arch, 'scale': 2}, 'degradation': {'sigma': [0.2, 4.0]}}
    net = build(arch, scale=2)
    write_onnx(net, str(tmp_path / 'net.onnx'), notes)
    found = OnnxNetwork(str(tmp_path / 'net.onnx'))
    assert (found.scale, found.notes) == (2, notes)
    graph = onnx.load(tmp_path / 'net.onnx').graph
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (graph.input[0], graph.output[0])]
    assert dims[0] == ['batch', 3, 'height', 'width'] and dims[1][0] == 'batch' and all(isinstance(d, str) for d in dims[1][2:])
    write_torchscript(net, str(tmp_path / 'net.pt'), notes)
    with zipfile.ZipFile(tmp_path / 'net.pt') as file:
        name, = (n for n in file.namelist() if n.endswith('extra/lightbsr_arch'))
        assert json.loads(file.read(name)) == notes | {'scale': 2}


@pytest.mark.parametrize('write, name', [(write_onnx, 'net.onnx'), (write_torchscript, 'net.pt')])
@pytest.mark.parametrize('bound, message', [('wrong weights', r'differs by .*, allowed are 1e-04'), ('nan', 'differs by nan'),
                                            ('scale', r'is \(1, 3, 34, 46\)')])
def test_a_wrong_file_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, name: str,
                                         bound: str, message: str) -> None:
    (tmp_path / name).write_text('what stood there')
    exported, net = build('KDSR', scale=2 if bound == 'scale' else 4), build('KDSR')
    if bound != 'scale':
        exported.trunk.head.bias.data[0] += float('nan') if bound == 'nan' else 0.01
    check = export.checked
    monkeypatch.setattr(export, 'checked', lambda network, *rest: check(net, *rest))
    with pytest.raises(ValueError, match=f'the exported network is wrong: its output for 1 images of 17x23 {message}'):
        write(exported, str(tmp_path / name), {})
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == 'what stood there'


@pytest.mark.parametrize('write', [write_onnx, write_torchscript])
@pytest.mark.parametrize('network', [build('LightBSRTeacher'), build('KDSRTeacher'), nn.Conv2d(3, 3, 1)], ids=lambda n: type(n).__name__)
def test_other_networks_are_refused(tmp_path: Path, network: nn.Module, write: Write) -> None:
    with pytest.raises(ValueError, match=f'LightBSR and KDSR can be exported, not a {type(network).__name__}'):
        write(network, str(tmp_path / 'net'), {})
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------------------------------------- KDSR's convolution
@pytest.mark.parametrize('size', [(1, 1), (1, 4), (7, 5)])
def test_the_exported_convolution_is_the_dynamic_one(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weights = torch.randn(3, 4, *size), torch.randn(3, 36)
    torch.testing.assert_close(shifted_products(x, weights), dynamic_convolution(x, weights), rtol=0, atol=1e-5)


def test_only_a_trace_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr('lightbsr_arch.archs.kdsr_arch.shifted_products', lambda x, weights: called.append(1) or x)
    block, x, guide = KDSRBlock(4, dynamic=True), torch.rand(2, 4, 5, 6), torch.rand(2, 4)
    block(x, guide)
    assert not called
    torch.jit.trace(block, (x, guide), check_trace=False)
    assert called


# ---------------------------------------------------------------------------------------------- the backend
@pytest.fixture(scope='module')
def kdsr_onnx(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp('onnx') / 'net.onnx')
    write_onnx(build('KDSR'), path, {})
    return path


def test_the_backend_takes_other_types_and_strides(kdsr_onnx: str) -> None:
    net, lq = OnnxNetwork(kdsr_onnx), torch.rand(2, 3, 8, 6)
    expected = net(lq)
    assert expected.dtype == torch.float32 and expected.shape == (2, 3, 32, 24)
    assert torch.equal(net(lq.to(memory_format=torch.channels_last).requires_grad_()), expected)
    torch.testing.assert_close(net(lq.double()), expected)


def test_a_run_that_fails_is_a_mistake_that_is_named(kdsr_onnx: str) -> None:
    with pytest.raises(ValueError, match='onnxruntime could not run an image of 6x8: .*dimension') as error:
        OnnxNetwork(kdsr_onnx)(torch.rand(1, 5, 8, 6))
    assert '\n' not in str(error.value)


def no_metadata(path: Path) -> None:
    node = onnx.helper.make_node('Identity', ['x'], ['y'])
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in 'xy')
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], 'g', [x], [y]), opset_imports=[onnx.helper.make_opsetid('', 20)],
                                     ir_version=9), path)


def no_scale(path: Path) -> None:
    no_metadata(path)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {checkpoints.NOTES_KEY: '{"arch": "LightBSR"}'})
    onnx.save(model, path)


@pytest.mark.parametrize('make, message', [
    (no_scale, 'does not say which network it holds'), (lambda path: None, 'there is no file'), (lambda path: path.mkdir(), 'there is no file'),
    (lambda path: path.write_bytes(b''), 'cannot be read as an ONNX file'),
    (lambda path: path.write_bytes(b'\x89PNG' * 50), 'cannot be read as an ONNX file'),
    (lambda path: torch.save({'params': {}}, path), 'cannot be read as an ONNX file'),
    (no_metadata, 'does not say which network it holds: .* not written by `basicsr convert`')],
    ids=['no scale', 'missing', 'folder', 'empty', 'image', 'weights', 'foreign'])
def test_wrong_files_are_refused_by_name(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / 'wrong.onnx')
    with pytest.raises(ValueError, match=f'.*wrong.onnx.*{message}|{message}.*wrong.onnx') as error:
        OnnxNetwork(str(tmp_path / 'wrong.onnx'))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('device, message', [('mps', 'run on cpu or cuda, not on mps'), ('cuda', 'onnxruntime-gpu in place')])
def test_devices_that_it_cannot_use_are_named(kdsr_onnx: str, device: str, message: str) -> None:
    if device == 'cuda' and 'CUDAExecutionProvider' in sys.modules['onnxruntime'].get_available_providers():
        pytest.skip('this onnxruntime has CUDA')
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(kdsr_onnx, device)


@pytest.mark.parametrize('missing, call', [
    ('onnxruntime', lambda path: OnnxNetwork(path)), ('onnx', lambda path: write_onnx(build('KDSR'), path, {}))])
def test_missing_packages_are_named(kdsr_onnx: str, monkeypatch: pytest.MonkeyPatch, missing: str, call: Callable[[str], Any]) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=rf'ONNX needs {missing}: pip install lightbsr_arch\[onnx\]'):
        call(kdsr_onnx)
