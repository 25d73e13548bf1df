from __future__ import annotations

import os
import pickle
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.archs import LightBSR
from lightbsr_arch.checkpoints import CheckpointError
from lightbsr_arch.checkpoints.key_tables import kdsr_table, lightbsr_table
from lightbsr_arch.degradations import fit_pca_basis, isotropic_kernel
from tests import upstream_weights
from tests.upstream_weights import same

TINY = {'num_feat': 8, 'num_group': 2, 'num_block': 3}
NETWORKS = ['lightbsr_student_x4', 'lightbsr_teacher_setting1_x4', 'lightbsr_teacher_setting2_x4']


def build(arch: str, kwargs: dict[str, Any]) -> nn.Module:
    return getattr(archs, arch)(**kwargs)


# ---------------------------------------------------------------------------------------------- the release's layout
@pytest.mark.parametrize('network', NETWORKS)
def test_release_survives_the_round_trip(network: str) -> None:
    theirs = upstream_weights.state_dict(network)
    arch, _, ours = checkpoints.from_upstream(theirs)
    assert same(checkpoints.to_upstream(arch, ours), theirs)


@pytest.mark.parametrize('network, expected', [
    (NETWORKS[0], ('LightBSR', {'scale': 4, 'num_feat': 64, 'num_group': 8, 'num_block': 8})),
    (NETWORKS[1], ('LightBSRTeacher', {'scale': 4, 'num_feat': 64, 'num_group': 8, 'num_block': 8, 'prior_dim': 15,
                                       'noise_prior': False, 'queue_size': 8192})),
    (NETWORKS[2], ('LightBSRTeacher', {'scale': 4, 'num_feat': 64, 'num_group': 8, 'num_block': 8, 'prior_dim': 15,
                                       'noise_prior': True, 'queue_size': 8192}))])
def test_arguments_are_read_off_the_weights(network: str, expected: tuple[str, dict[str, Any]]) -> None:
    assert checkpoints.from_upstream(upstream_weights.state_dict(network))[:2] == expected


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('arch, changes', [
    ('LightBSR', {}), ('LightBSRTeacher', {'queue_size': 5}), ('LightBSRTeacher', {'queue_size': 5, 'noise_prior': True}),
    ('LightBSRTeacher', {'queue_size': 5, 'prior_dim': 0}),
    ('LightBSRTeacher', {'queue_size': 5, 'prior_dim': 0, 'noise_prior': True})], ids=str)
def test_our_networks_survive_the_round_trip(arch: str, changes: dict[str, Any], scale: int) -> None:
    net = build(arch, TINY | {'scale': scale} | changes)
    upstream = checkpoints.to_upstream(arch, net.state_dict())
    basis = getattr(net, 'pca_basis', None)
    found, kwargs, state_dict = checkpoints.from_upstream(upstream, pca_basis=basis)
    assert found == arch and kwargs.items() >= (TINY | {'scale': scale} | changes).items()
    assert same(state_dict, net.state_dict())
    build(found, kwargs).load_state_dict(state_dict)


def test_key_table_is_one_to_one() -> None:
    for table in (lightbsr_table('LightBSRTeacher', 4, 8, 8), kdsr_table('KDSR', 4, 53, 9)):
        assert len(set(table.values())) == len(table)


@pytest.mark.parametrize('wrong', [{}, {'conv.weight': torch.zeros(1)}, {'G.head.0.weight': torch.zeros(64, 3, 3, 3)}], ids=str)
def test_other_state_dicts_are_refused(wrong: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="no state dict of LightBSR's or KDSR's release"):
        checkpoints.from_upstream(wrong)


def test_a_key_too_many_is_named() -> None:
    with pytest.raises(CheckpointError, match="'G.neck.weight'"):
        checkpoints.from_upstream(upstream_weights.state_dict(NETWORKS[0]) | {'G.neck.weight': torch.zeros(1)})


def test_other_networks_have_no_upstream_layout() -> None:
    with pytest.raises(CheckpointError, match='have no EDSR'):
        checkpoints.to_upstream('EDSR', {})
    with pytest.raises(CheckpointError, match='is incomplete, or no LightBSR'):
        checkpoints.to_upstream('LightBSR', {})


# ---------------------------------------------------------------------------------------------- the PCA basis
def test_release_s_teacher_without_a_basis_takes_given_priors_and_makes_none() -> None:
    arch, kwargs, state_dict = checkpoints.from_upstream(upstream_weights.state_dict(NETWORKS[1]))
    net = build(arch, kwargs).eval()
    net.load_state_dict(state_dict)
    with torch.no_grad():
        assert net(torch.rand(1, 3, 4, 4), torch.zeros(1, 15), idr_only=True).channel.shape == (1, 48)
    with pytest.raises(ValueError, match='holds no PCA basis'):
        net.prior(isotropic_kernel(1.0), torch.zeros(1))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_release_s_teacher_with_a_basis_makes_priors(dtype: torch.dtype) -> None:
    kernels = isotropic_kernel(torch.linspace(0.2, 4, 50))
    basis = fit_pca_basis(kernels, 15)
    arch, kwargs, state_dict = checkpoints.from_upstream(upstream_weights.state_dict(NETWORKS[1]), pca_basis=basis.to(dtype))
    net = build(arch, kwargs)
    net.load_state_dict(state_dict)
    torch.testing.assert_close(net.prior(kernels, torch.zeros(50)) @ basis, kernels.flatten(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize('shape', [(441, 15), (18, 441), (15, 21, 21)])
def test_a_basis_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=r'\(15, 441\)'):
        checkpoints.from_upstream(upstream_weights.state_dict(NETWORKS[1]), pca_basis=torch.zeros(shape))


# ---------------------------------------------------------------------------------------------- reading
@pytest.mark.parametrize('wrap', [
    lambda s: s, lambda s: {'params': s}, lambda s: {'params_ema': s}, lambda s: {f'module.{k}': v for k, v in s.items()},
    lambda s: {'params': {f'module.{k}': v for k, v in s.items()}}],
    ids=['bare', 'params', 'params_ema', 'module', 'params and module'])
@pytest.mark.parametrize('layout', ['ours', 'release'])
def test_weights_are_found_in_any_wrapping(tmp_path: Path, wrap: Callable[[dict], dict], layout: str) -> None:
    net = LightBSR(**TINY)
    state_dict = net.state_dict() if layout == 'ours' else checkpoints.to_upstream('LightBSR', net.state_dict())
    torch.save(wrap(state_dict), tmp_path / 'net.pth')
    read = checkpoints.read(str(tmp_path / 'net.pth'))
    assert same(read.state_dict, net.state_dict()) and read.arch == (None if layout == 'ours' else 'LightBSR')


@pytest.mark.parametrize('param_key, expected', [(None, 2.0), ('params_ema', 2.0), ('params', 1.0)])
def test_averaged_weights_are_preferred(tmp_path: Path, param_key: str | None, expected: float) -> None:
    checkpoints.write({'params': {'w': torch.tensor(1.0)}, 'params_ema': {'w': torch.tensor(2.0)}}, str(tmp_path / 'net.pth'))
    assert checkpoints.read(str(tmp_path / 'net.pth'), param_key).state_dict['w'] == expected


@pytest.mark.parametrize('keys', [['params'], ['generator'], ['params', 'generator']], ids=' '.join)
def test_weights_are_under_the_key_that_is_asked_for(keys: list[str], tmp_path: Path) -> None:
    content = {key: {'w': torch.tensor(float(i))} for i, key in enumerate(keys)}
    checkpoints.write({**content, 'network': {'type': 'LightBSR'}, 'step': 1}, str(tmp_path / 'net.pth'))
    for i, key in enumerate(keys):
        assert checkpoints.read(str(tmp_path / 'net.pth'), key).state_dict['w'] == i
    with pytest.raises(CheckpointError, match=f"has no weights under 'params_ema', only under {' and '.join(keys)}: change"):
        checkpoints.read(str(tmp_path / 'net.pth'), 'params_ema')


def test_our_files_say_what_they_hold(tmp_path: Path) -> None:
    kwargs = TINY | {'scale': 2}
    net, degradation = LightBSR(**kwargs), {'sigma': [0.2, 2.0]}
    path = str(tmp_path / 'net.pth')
    checkpoints.write({'params': net.state_dict(), 'network': {'type': 'LightBSR', **kwargs}, 'degradation': degradation}, path)
    arch, found, state_dict = checkpoints.load(path)
    assert (arch, found) == ('LightBSR', kwargs) and same(state_dict, net.state_dict())
    assert checkpoints.read(path).degradation == degradation
    build(arch, found).load_state_dict(state_dict)


def test_a_file_without_a_name_is_not_loaded_by_name(tmp_path: Path) -> None:
    checkpoints.write({'params': {'w': torch.zeros(1)}}, str(tmp_path / 'net.pth'))
    with pytest.raises(CheckpointError, match='net.pth does not say which network it holds'):
        checkpoints.load(str(tmp_path / 'net.pth'))


# ---------------------------------------------------------------------------------------------- safetensors
@pytest.mark.parametrize('notes', [{}, {'arch': 'LightBSR', 'kwargs': TINY | {'scale': 2, 'idr_noise': 1.0}},
                                   {'arch': 'LightBSR', 'kwargs': TINY, 'degradation': {'sigma': [0.2, 4.0], 'theta': 'ü'}},
                                   {'arch': 'LightBSR', 'kwargs': TINY, 'degradation': 'real-world'}], ids=str)
def test_safetensors_hold_what_a_pth_holds(tmp_path: Path, notes: dict[str, Any]) -> None:
    net, path = LightBSR(**TINY | {'scale': notes.get('kwargs', {}).get('scale', 4)}), str(tmp_path / 'net.safetensors')
    checkpoints.write_safetensors(checkpoints.Checkpoint(net.state_dict(), **notes), path)
    read = checkpoints.read(path)
    assert same(read.state_dict, net.state_dict()) and os.listdir(tmp_path) == ['net.safetensors']
    assert (read.arch, read.kwargs, read.degradation) == (notes.get('arch'), notes.get('kwargs', {}), notes.get('degradation'))
    assert checkpoints.load(path)[0] == 'LightBSR'
    safetensors_torch.load_model(net, path)  # the library's own reader


def test_safetensors_of_the_same_content_are_the_same_bytes(tmp_path: Path) -> None:
    net = LightBSR(**TINY)
    contents = set()
    for order in (1, -1) * 8:
        state_dict, kwargs = (dict([*pairs.items()][::order]) for pairs in (net.state_dict(), TINY))
        checkpoint = checkpoints.Checkpoint(state_dict, 'LightBSR', kwargs, {'sigma': [0.2, 4.0]})
        checkpoints.write_safetensors(checkpoint, str(tmp_path / 'net.safetensors'))
        contents.add((tmp_path / 'net.safetensors').read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize('metadata', [None, {'format': 'pt'}, {'lightbsr_arch': '{}'}, {'lightbsr_arch': '{"network": "LightBSR"}'}], ids=str)
@pytest.mark.parametrize('layout', ['ours', 'release'])
def test_safetensors_of_other_writers_are_recognised(tmp_path: Path, metadata: dict[str, str] | None, layout: str) -> None:
    net, path = LightBSR(**TINY), str(tmp_path / 'net.safetensors')
    state_dict = net.state_dict() if layout == 'ours' else checkpoints.to_upstream('LightBSR', net.state_dict())
    safetensors_torch.save_file(state_dict, path, metadata)
    arch, kwargs, found = checkpoints.load(path)
    assert (arch, kwargs) == ('LightBSR', {'scale': 4} | TINY) and same(found, net.state_dict())


@pytest.mark.parametrize('damage', [lambda b: b'', lambda b: b[:5], lambda b: b[:200], lambda b: b[:-1], lambda b: b'x' * 500,
                                    lambda b: b.replace(b'\\"type\\":', b'\\"type\\"!')],
                         ids=['empty', 'head', 'half', 'cut', 'other', 'notes'])
def test_wrong_safetensors_are_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / 'wrong.safetensors'
    checkpoints.write_safetensors(checkpoints.Checkpoint(LightBSR(**TINY).state_dict(), 'LightBSR', TINY), str(path))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match='wrong.safetensors cannot be read'):
        checkpoints.load(str(path))


def test_safetensors_have_no_averaged_weights(tmp_path: Path) -> None:
    checkpoints.write_safetensors(checkpoints.Checkpoint({'w': torch.zeros(1)}), str(tmp_path / 'net.safetensors'))
    with pytest.raises(CheckpointError, match="has no weights under 'params_ema'"):
        checkpoints.read(str(tmp_path / 'net.safetensors'), 'params_ema')


class Malicious:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ('owned',)


def damaged(damage: Callable[[bytes], bytes], legacy: bool = False) -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        torch.save({'params': LightBSR(**TINY).state_dict()}, path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(damage(path.read_bytes()))
    return make


WRONG_FILES: dict[str, Callable[[Path], Any]] = {
    'missing': lambda path: None,
    'a folder': lambda path: path.mkdir(),
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n'),
    'html': lambda path: path.write_text('<!DOCTYPE html><html><head><title>404</title></head></html>'),
    'image': lambda path: path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(100)),
    'random bytes': lambda path: path.write_bytes(np.random.default_rng(0).bytes(1000)),
    'zeros': lambda path: path.write_bytes(bytes(1000)),
    'cut in half': damaged(lambda b: b[:len(b) // 2]),
    'cut at the end': damaged(lambda b: b[:-20]),
    'cut after the head': damaged(lambda b: b[:30]),
    'damaged inside': damaged(lambda b: b[:150] + bytes(100) + b[250:]),
    'legacy, cut in half': damaged(lambda b: b[:len(b) // 2], legacy=True),
    'legacy, cut early': damaged(lambda b: b[:300], legacy=True),
    'legacy, damaged': damaged(lambda b: b[:150] + b'\xff' * 50 + b[200:], legacy=True),
    'code': lambda path: torch.save({'params': Malicious()}, path),
    'pickled code': lambda path: path.write_bytes(pickle.dumps(Malicious())),
    'a whole module': lambda path: torch.save(LightBSR(**TINY), path),
    'list': lambda path: torch.save([torch.zeros(1)], path),
    'tensor': lambda path: torch.save(torch.zeros(1), path),
    'none': lambda path: torch.save(None, path),
    'empty dictionary': lambda path: torch.save({}, path),
    'empty params': lambda path: torch.save({'params': {}}, path),
    'numbers as keys': lambda path: torch.save({0: torch.zeros(1)}, path),
    'training state': lambda path: torch.save({'epoch': 0, 'iter': 2, 'optimizers': [], 'schedulers': []}, path),
    'nested': lambda path: torch.save({'params': {'params': {'w': torch.zeros(1)}}}, path),
    'part of a release': lambda path: torch.save({'G.head.0.weight': torch.zeros(8, 3, 3, 3),
                                                  'G.compress.0.weight': torch.zeros(6, 128)}, path),
    'a key too many': lambda path: torch.save(upstream_weights.state_dict(NETWORKS[0]) | {'G.neck': torch.zeros(1)}, path),
    'wrong network note': lambda path: torch.save({'params': {'w': torch.zeros(1)}, 'network': 'LightBSR'}, path),
}


@pytest.mark.parametrize('make', WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_wrong_files_are_refused_by_name_and_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         make: Callable[[Path], Any]) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / 'wrong.pth')
    with pytest.raises(CheckpointError, match='wrong.pth'):
        checkpoints.load(str(tmp_path / 'wrong.pth'))
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('as_zip, step', [(True, 37), (False, 3)], ids=['zip', 'before torch 1.6'])
def test_any_cut_of_a_file_is_a_checkpoint_error(as_zip: bool, step: int, tmp_path: Path) -> None:
    torch.save({'params': {'w': torch.arange(4.0)}, 'network': {'type': 'LightBSR'}}, tmp_path / 'whole.pth',
               _use_new_zipfile_serialization=as_zip)
    whole = (tmp_path / 'whole.pth').read_bytes()
    for length in range(0, len(whole), step):
        (tmp_path / 'cut.pth').write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match='cut.pth'):
            checkpoints.read(str(tmp_path / 'cut.pth'))


# ---------------------------------------------------------------------------------------------- writing
@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.files, 'PAUSES', (0, 0))


def test_a_passing_failure_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, fsync = [OSError(5, 'Input/output error'), RuntimeError('unexpected pos')], os.fsync

    def stumble(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        fsync(descriptor)
    monkeypatch.setattr(os, 'fsync', stumble)
    checkpoints.write({'params': {'w': torch.ones(1)}}, str(tmp_path / 'net.pth'))
    assert checkpoints.read(str(tmp_path / 'net.pth')).state_dict['w'].tolist() == [1] and not failures


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    checkpoints.write({'params': {'w': torch.arange(3)}}, str(tmp_path / 'net.pth'))
    checkpoints.write({'params': {'w': torch.arange(4)}}, str(tmp_path / 'net.pth'))
    assert checkpoints.read(str(tmp_path / 'net.pth')).state_dict['w'].tolist() == [0, 1, 2, 3]
    assert os.listdir(tmp_path) == ['net.pth']


def test_relative_paths_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.write({'params': {'w': torch.zeros(1)}}, 'net.pth')
    assert os.listdir(tmp_path) == ['net.pth']


@pytest.mark.parametrize('letter, num', [('a', 251), ('\u00fc', 125), ('\U0001f600', 62)])
def test_names_as_long_as_a_file_may_have_are_written(letter: str, num: int, tmp_path: Path) -> None:
    checkpoints.write({'params': {'w': torch.zeros(1)}}, str(tmp_path / f'{letter * num}.pth'))
    assert os.listdir(tmp_path) == [f'{letter * num}.pth']


def test_threads_may_write_names_that_begin_alike(tmp_path: Path) -> None:
    barrier = threading.Barrier(2, timeout=10)

    def write(name: str) -> None:
        with checkpoints.replacing(str(tmp_path / name)) as temporary:
            barrier.wait()
            Path(temporary).write_text(name)
            barrier.wait()
    names = [f'{"a" * 60}{i}' for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, names))
    assert [(tmp_path / name).read_text() for name in names] == names


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    checkpoints.write({'params': {}}, str(tmp_path / 'net.pth'))
    (tmp_path / 'usual').touch()
    assert stat.S_IMODE((tmp_path / 'net.pth').stat().st_mode) == stat.S_IMODE((tmp_path / 'usual').stat().st_mode)


@pytest.mark.parametrize('where', ['torch.save', 'os.fsync', 'os.replace'])
@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()], ids=['full', 'interrupt'])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str,
                                                             error: BaseException) -> None:
    path = tmp_path / 'net.pth'
    checkpoints.write({'params': {'w': torch.zeros(1)}}, str(path))
    before = path.read_bytes()

    def fail(content: Any = None, file: Any = None) -> None:
        if where == 'torch.save':
            file.write(b'half of it')
        raise error
    monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)):
        checkpoints.write({'params': {'w': torch.ones(1)}}, str(path))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ['net.pth']


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match='missing'):
        checkpoints.write({'params': {}}, str(tmp_path / 'missing' / 'net.pth'))
