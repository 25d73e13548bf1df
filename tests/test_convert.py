"""`basicsr convert`: from every layout to every other, and what it refuses."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import scipy.io
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch import checkpoints
from lightbsr_arch.checkpoints import Checkpoint
from tests.small_networks import SIZES, build
from tests.upstream_weights import same

DEGRADATION = {'sigma': [0.2, 4.0]}
BASIS = torch.arange(15 * 441.).view(15, 441)
EDSR = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2}


def arguments(arch: str) -> dict[str, Any]:
    return {'scale': 3} | SIZES[arch] | ({'prior_dim': 15, 'noise_prior': False} if arch == 'LightBSRTeacher' else {})


def named(net: torch.nn.Module, arch: str) -> dict[str, Any]:
    return {'params': net.state_dict(), 'network': {'type': arch, **arguments(arch)}, 'degradation': DEGRADATION}


INPUTS: dict[str, Callable[[torch.nn.Module, str, str], Any]] = {
    'named.pth': lambda net, arch, path: checkpoints.write(named(net, arch), path),
    'bare.pth': lambda net, arch, path: torch.save(net.state_dict(), path),
    'named.safetensors': lambda net, arch, path: checkpoints.write_safetensors(
        Checkpoint(net.state_dict(), arch, arguments(arch), DEGRADATION), path),
    'release.pt': lambda net, arch, path: torch.save(checkpoints.to_upstream(arch, net.state_dict()), path)}


@pytest.mark.parametrize('arch', ['LightBSR', 'LightBSRTeacher', 'KDSR', 'KDSRTeacher'])
@pytest.mark.parametrize('source', INPUTS)
def test_every_layout_becomes_every_other(tmp_path: Path, run_cli: Callable[..., int], capsys: pytest.CaptureFixture[str],
                                          arch: str, source: str) -> None:
    net = build(arch, scale=3)
    INPUTS[source](net, arch, str(tmp_path / source))
    for target, flags in (('a.pth', []), ('a.safetensors', []), ('r.pt', ['--to', 'upstream']), ('r.pth', ['--to', 'upstream']),
                          ('r.safetensors', ['--to', 'upstream'])):
        assert run_cli('convert', source, '-o', target, *flags) == 0
        read = checkpoints.read_named(target)
        assert (read.arch, read.kwargs) == (arch, arguments(arch)) and same(read.state_dict, net.state_dict())
        assert read.degradation == (DEGRADATION if 'named' in source and not flags else None)
        num_parameter = sum(p.numel() for p in net.parameters())
        first, last = capsys.readouterr().out.splitlines()
        assert first.startswith(f'{source}: {arch}(') and first.endswith(f'), {num_parameter:,} parameters')
        assert all(f'{key}={value}' in first for key, value in arguments(arch).items())
        assert last.startswith(f'wrote {target}: ') and last.endswith(f', {os.path.getsize(target) / 1e6:.2f} MB')
        assert ('without the PCA basis' in last) == (arch == 'LightBSRTeacher' and bool(flags))
    content = torch.load('a.pth', weights_only=True)  # as the training writes it
    assert content.keys() - {'degradation'} == {'params', 'network'}
    assert torch.load('r.pt', weights_only=True).keys() == checkpoints.to_upstream(arch, net.state_dict()).keys()


@pytest.mark.parametrize('arch', ['LightBSR', 'KDSR'])
def test_exports(tmp_path: Path, run_cli: Callable[..., int], capsys: pytest.CaptureFixture[str], arch: str) -> None:
    pytest.importorskip('onnxruntime', reason='needs lightbsr_arch[onnx]')
    from lightbsr_arch.inference.onnx_backend import OnnxNetwork
    net, lq = build(arch, scale=3), torch.rand(1, 3, 6, 7)
    checkpoints.write(named(net, arch), str(tmp_path / 'net.pth'))
    for target, flags, what in (('net.onnx', [], 'ONNX opset 20, fp32'), ('half.onnx', ['--fp16'], 'ONNX opset 20, fp16'),
                                ('net.pt', [], 'TorchScript')):
        assert run_cli('convert', 'net.pth', '-o', target, *flags) == 0
        assert f'wrote {target}: {what}, within ' in capsys.readouterr().out
    exported = OnnxNetwork('net.onnx')
    assert exported.notes == {'network': {'type': arch, **arguments(arch)}, 'degradation': DEGRADATION} and exported.scale == 3
    with torch.no_grad():
        for run, bound in ((exported, 1e-5), (OnnxNetwork('half.onnx'), 1e-2), (torch.jit.load('net.pt'), 1e-5)):
            torch.testing.assert_close(run(lq), net(lq), rtol=0, atol=bound)


@pytest.mark.parametrize('flags, expected', [([], 2.0), (['--param-key', 'params_ema'], 2.0), (['--param-key', 'params'], 1.0)])
def test_averaged_or_last_weights(tmp_path: Path, run_cli: Callable[..., int], flags: list[str], expected: float) -> None:
    last, average = ({k: torch.full_like(v, value) for k, v in build('KDSR').state_dict().items()} for value in (1, 2))
    checkpoints.write({'params': last, 'params_ema': average}, str(tmp_path / 'net.pth'))
    assert run_cli('convert', 'net.pth', '-o', 'net.safetensors', *flags) == 0
    assert checkpoints.read('net.safetensors').state_dict['trunk.head.bias'][0] == expected


def test_networks_of_basicsr_that_a_file_names(tmp_path: Path, run_cli: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    state_dict = ARCH_REGISTRY.get('EDSR')(**EDSR).state_dict()
    checkpoints.write({'params': state_dict, 'network': {'type': 'EDSR', **EDSR}}, str(tmp_path / 'net.pth'))
    assert run_cli('convert', 'net.pth', '-o', 'net.safetensors') == 0
    arch, kwargs, found = checkpoints.load('net.safetensors')
    assert (arch, kwargs) == ('EDSR', EDSR) and same(found, dict(state_dict))
    for target, flags in (('net.onnx', []), ('net.pt', []), ('net.pt', ['--to', 'upstream'])):
        assert run_cli('convert', 'net.pth', '-o', target, *flags) == 1
        assert 'EDSR' in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- the PCA basis
@pytest.mark.parametrize('name, write', [
    ('b.npy', lambda path: np.save(path, BASIS.numpy())), ('b.npy', lambda path: np.save(path, BASIS.double().numpy().T)),
    ('b.mat', lambda path: scipy.io.savemat(path, {'pca': BASIS.numpy()})), ('b.pth', lambda path: torch.save(BASIS, path))])
def test_a_releases_teacher_gets_its_basis(tmp_path: Path, run_cli: Callable[..., int], name: str, write: Callable[[str], None],
                                           capsys: pytest.CaptureFixture[str]) -> None:
    INPUTS['release.pt'](build('LightBSRTeacher'), 'LightBSRTeacher', str(tmp_path / 'release.pt'))
    write(str(tmp_path / name))
    assert run_cli('convert', 'release.pt', '-o', 'net.safetensors', '--pca-basis', name) == 0
    basis = checkpoints.load('net.safetensors')[2]['pca_basis']
    assert torch.equal(basis, BASIS) and basis.dtype == torch.float32
    assert 'note:' not in capsys.readouterr().err
    assert run_cli('convert', 'release.pt', '-o', 'bare.safetensors') == 0
    assert 'release.pt holds no PCA basis: without --pca-basis this teacher can' in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- refusals
def test_nothing_is_overwritten_without_force(tmp_path: Path, run_cli: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    INPUTS['named.pth'](build('KDSR', scale=3), 'KDSR', str(tmp_path / 'net.pth'))
    (tmp_path / 'there.safetensors').write_text('mine')
    assert run_cli('convert', 'net.pth', '-o', 'there.safetensors') == 1
    assert 'there.safetensors is there already' in capsys.readouterr().err
    assert (tmp_path / 'there.safetensors').read_text() == 'mine'
    assert run_cli('convert', 'net.pth', '-o', 'there.safetensors', '--force') == 0
    assert checkpoints.load('there.safetensors')[0] == 'KDSR'
    assert run_cli('convert', 'net.pth', '-o', 'net.pth', '--force') == 0 and checkpoints.load('net.pth')[0] == 'KDSR'


@pytest.mark.parametrize('words, message', [
    ('gone.pth -o a.pth', 'there is no file gone.pth'), ('text.pth -o a.pth', 'text.pth cannot be read as a file of weights'),
    ('edsr.pth -o a.pth', 'edsr.pth does not say which network it holds, and its weights are not of LightBSR or KDSR'),
    ('cut.pth -o a.safetensors', 'cut.pth does not fit KDSR, its network: '),
    ('odd.pth -o a.safetensors', "odd.pth does not fit Foo, its network: "),
    ('kdsr.pth -o a.bin', 'a.bin must end in .safetensors, .pth, .onnx, .pt'), ('kdsr.pth -o a', 'a must end in'),
    ('kdsr.pth -o a.onnx --to upstream', 'a.onnx must end in .pt, .pth, .safetensors with --to upstream'),
    ('kdsr.pth -o a.pth --fp16', '--fp16 is for .onnx, not for a.pth'),
    ('kdsr.pth -o nowhere/a.pth', 'there is no folder'), ('kdsr.pth -o a.pth --param-key params_ema', "no weights under 'params_ema'"),
    ('teacher.pth -o a.onnx', 'LightBSR and KDSR can be exported, not a LightBSRTeacher'),
    ('ablated.pth -o a.pt --to upstream', 'the releases have no such LightBSR'),
    ('kdsr.pth -o a.pth --pca-basis basis.npy', '--pca-basis is for a LightBSRTeacher that is given the kernel, not for this KDSR'),
    ('teacher.pth -o a.pth --pca-basis small.npy', 'the PCA basis must be of shape (15, 441), one row a component, not (3, 441)'),
    ('teacher.pth -o a.pth --pca-basis gone.npy', '--pca-basis gone.npy cannot be read as one matrix'),
    ('teacher.pth -o a.pth --pca-basis text.mat', '--pca-basis text.mat cannot be read as one matrix'),
    ('teacher.pth -o a.pth --pca-basis kdsr.pth', '--pca-basis kdsr.pth cannot be read as one matrix')])
def test_bad_input_is_answered_in_one_line(tmp_path: Path, run_cli: Callable[..., int], capsys: pytest.CaptureFixture[str],
                                           words: str, message: str) -> None:
    kdsr = build('KDSR', scale=3)
    INPUTS['named.pth'](kdsr, 'KDSR', str(tmp_path / 'kdsr.pth'))
    checkpoints.write({'params': build('LightBSRTeacher').state_dict()}, str(tmp_path / 'teacher.pth'))
    torch.save(build('LightBSR', channel_gate=False).state_dict(), tmp_path / 'ablated.pth')
    torch.save(ARCH_REGISTRY.get('EDSR')(**EDSR).state_dict(), tmp_path / 'edsr.pth')
    torch.save({'params': {'w': torch.zeros(1)}, 'network': {'type': 'Foo'}}, tmp_path / 'odd.pth')
    state_dict = kdsr.state_dict()
    del state_dict['trunk.blocks.1.conv.bias']
    torch.save(state_dict, tmp_path / 'cut.pth')
    for name in ('text.pth', 'text.mat'):
        (tmp_path / name).write_text('text')
    np.save(tmp_path / 'small.npy', BASIS[:3].numpy())
    np.save(tmp_path / 'basis.npy', BASIS.numpy())
    before = sorted(os.listdir(tmp_path))
    assert run_cli('convert', *words.split()) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith('basicsr convert: error: ') and error.count('\n') == 1
    assert sorted(os.listdir(tmp_path)) == before
