"""The benchmarks run, say what they measured, and refuse to time two ways that disagree. No figure of time is tested."""
from __future__ import annotations

import importlib
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from benchmarks import pairs, plain
from benchmarks.pairs import Pair, norm_error, spread_error
from lightbsr_arch import losses
from lightbsr_arch.archs import KDSR, LightBSR
from lightbsr_arch.data import blind_degradation_dataset

COUNTED = ('inference', 'training', 'growth')  # those whose multiply-adds matter
NAMES = {
    'inference': ['LightBSR 16x16 batch 2', 'KDSR-M 16x16 batch 2'],
    'training': [f'{who} stage {i} 16x16 batch 2' for i in (1, 2) for who in ('teacher', 'student')],
    'degradation': ['setting1 16x16 batch 3', 'setting2 16x16 batch 3'],
    'loading': ['folder, 4 samples, 64x64 x 4', 'LMDB, 4 samples, 64x64 x 4', 'start with 10 images',
                'start with 100 images'],
    'growth': [f'{network} {size}' for network in ('LightBSR', 'KDSR-M')
               for size in ('8x8 batch 1', '16x16 batch 1', '8x8 batch 1', '8x8 batch 2')]}


def run(script: str, *arguments: str) -> dict[str, Any]:
    return importlib.import_module(f'benchmarks.{script}').main(['--quick', '--device', 'cpu', *arguments])


@pytest.mark.parametrize('script', NAMES)
def test_a_benchmark_measures_both_ways(script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(script, '--json', str(tmp_path / 'figures.json'))
    assert json.loads((tmp_path / 'figures.json').read_text()) == json.loads(json.dumps(report))
    assert (report['script'], report['dtype'], report['quick']) == (script, 'float32', True)
    assert [row['name'] for row in report['rows']] == NAMES[script]
    for row in report['rows']:
        assert 0 <= row['disagreement'] <= row['tolerance'] <= 1e-3
        for way, clock in (('plain', 'wall'), ('plain', 'cpu'), ('ours', 'wall'), ('ours', 'cpu')):
            seconds, rate = row[f'{way}_{clock}_seconds'], row[f'{way}_{clock}_multiply_adds_per_s']
            assert row[f'{way}_{clock}_images_per_s'] == pytest.approx(row['num_image'] / seconds)
            assert (rate is not None and rate > 0) if script in COUNTED else rate is None
        assert row['cpu_ratio'] == pytest.approx(row['plain_cpu_seconds'] / row['ours_cpu_seconds'])  # of one round
    printed = capsys.readouterr().out
    assert all(f'| {name} ' in printed for name in NAMES[script])


def test_half_precision_is_allowed_more_and_needs_it() -> None:
    row, = run('inference', '--dtype', 'bf16', '--only', 'KDSR')['rows']
    assert 1e-4 < row['disagreement'] < row['tolerance'] == 0.1


def test_growth_is_drawn(tmp_path: Path) -> None:
    report = run('growth', '--plot', str(tmp_path / 'growth.png'))
    assert (tmp_path / 'growth.png').stat().st_size > 10_000
    assert [(row['grows'], row['pixels']) for row in report['rows'][:4]] == [
        ('size', 64), ('size', 256), ('batch', 64), ('batch', 128)]


def test_what_would_not_fit_into_memory_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import growth
    monkeypatch.setattr(growth, 'free_memory', lambda device: 0)
    monkeypatch.setattr(pairs, 'peak_memory', lambda work, device: 64 * 2**30)
    report = run('growth')
    assert [row['pixels'] for row in report['rows']] == [64] * 4
    assert 'LightBSR 16x16 batch 1, ours, is left out: it would need about 256 GiB' in capsys.readouterr().out


def test_ours_is_timed_alone_where_the_plain_way_does_not_fit(monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import growth
    peaks = iter([64 * 2**30, 2**30, 4 * 2**30])  # of both ways, then of ours
    monkeypatch.setattr(growth, 'free_memory', lambda device: 100 * 2**30)
    monkeypatch.setattr(growth, 'NETWORKS', ['KDSR-M'])
    monkeypatch.setattr(growth, 'cases', lambda asked: {'size': [((8, 8), 1), ((16, 16), 1)]})
    monkeypatch.setattr(pairs, 'peak_memory', lambda work, device: next(peaks))
    whole, alone = run('growth')['rows']
    assert whole['wall_ratio'] > 0 and whole['disagreement'] is not None
    assert [alone[key] for key in ('plain_wall_seconds', 'wall_ratio', 'disagreement', 'plain_peak_bytes')] == [None] * 4
    assert alone['ours_wall_seconds'] > 0 and alone['ours_peak_bytes'] == 4 * 2**30
    out = capsys.readouterr().out
    assert 'KDSR-M 16x16 batch 1, plain, is left out: it would need about 256 GiB' in out and '| –' in out


# ---------------------------------------------------------------------------------------------- wrong results
def scaled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: 1.01 * forward(*arguments)


def wrong_gradient(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def changed(*arguments: Any) -> Tensor:
        result = forward(*arguments)
        return result + 0.01 * (result - result.detach())
    return changed


@pytest.mark.parametrize('script, only, owner, name, change', [
    ('inference', 'LightBSR', LightBSR, 'super_resolve', scaled),
    ('inference', 'KDSR', KDSR, 'super_resolve', scaled),
    ('growth', 'KDSR', KDSR, 'super_resolve', scaled),
    ('training', 'teacher stage 1', losses.ContrastiveLoss, 'forward', scaled),
    ('training', 'teacher stage 1', losses.ContrastiveLoss, 'forward', wrong_gradient),
    ('training', 'student stage 1', losses.SpatialDistillationLoss, 'forward', wrong_gradient),
    ('training', 'student stage 2', LightBSR, 'super_resolve', wrong_gradient),
    ('degradation', 'setting1', importlib.import_module('benchmarks.degradation'), 'degrade', scaled),
    ('loading', 'LMDB', blind_degradation_dataset, 'to_tensor', scaled),
])
def test_ways_that_disagree_are_not_timed(script: str, only: str, owner: Any, name: str, change: Callable,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    monkeypatch.setattr(pairs, 'timed', lambda work, device: {'wall': 1.0, 'cpu': 1.0} if 'matmul_rate' in repr(work)
                        else pytest.fail('it was timed'))
    with pytest.raises(ValueError, match=f'{only}.*: the two ways disagree by'):
        run(script, '--only', only)


def test_a_data_set_that_misses_an_image_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_degradation_dataset, 'list_images', lambda *_: ['image_000001'])
    with pytest.raises(ValueError, match='start with 10 images: the two ways disagree by inf'):
        run('loading', '--only', 'start with 10 ')


def test_errors_are_shares_of_the_plain_result() -> None:
    plain_result = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    assert spread_error(plain_result + 0.1, plain_result) == pytest.approx(0.1 / plain_result.std().item())
    small, large = torch.full((4,), 1e-6), torch.ones(4)
    assert norm_error({'a': 1.02 * small, 'b': large}, {'a': small, 'b': large}) == pytest.approx(0.02, rel=1e-3)
    with pytest.raises(ValueError, match='only one of the ways has b'):
        norm_error({'a': small}, {'a': small, 'b': large})


# ---------------------------------------------------------------------------------------------- measuring
def quick_settings() -> pairs.Settings:
    return pairs.settings(pairs.parser('').parse_args(['--device', 'cpu', '--quick']))


def test_the_ways_take_turns() -> None:
    calls: list[str] = []
    pair = Pair('turns', lambda: calls.append('plain'), lambda: calls.append('ours'), lambda: 0.0, 0.0, 1)
    asked = replace(quick_settings(), repeats=3)
    with pairs.plain_ways(lambda asked: iter([pair]), asked) as plain_way:
        pairs.measure(pair, asked, {way: dict.fromkeys(pairs.CLOCKS, 1.0) for way in pairs.WAYS}, plain_way(pair))
    assert calls == ['plain', 'ours'] * 4  # once for the memory


def processes(asked: pairs.Settings) -> Iterator[Pair]:
    for name in ('first', 'left out', 'last'):
        yield Pair(name, os.getpid, os.getpid, lambda: 0.0, 0.0, 1)


def call(work: pairs.Work, device: torch.device) -> Any:
    return work()


def end(work: pairs.Work, device: torch.device) -> None:
    os._exit(1)


def test_the_plain_way_has_a_process_of_its_own() -> None:
    asked = replace(quick_settings(), quick=False)
    with pairs.plain_ways(processes, asked) as plain_way:
        numbers = {plain_way(pair)(call) for pair in processes(asked) if pair.name != 'left out'}
        assert len(numbers) == 1 and os.getpid() not in numbers
        with pytest.raises(RuntimeError, match='last: the process of the plain way has ended'):
            plain_way(Pair('last', None, os.getpid, float, 0.0, 1))(end)


def test_a_disagreement_that_is_no_number_fails() -> None:
    pair = Pair('broken', lambda: 0, lambda: 0, lambda: math.nan, 1.0, 1)
    with pytest.raises(ValueError, match='disagree by nan'):
        pairs.measure(pair, quick_settings(), {}, lambda function: None)


def test_peak_memory_is_that_of_the_work_alone() -> None:
    def take(num_mib: int) -> None:
        torch.ones(num_mib, 2**18)
    take(256)  # a peak of before
    peak = pairs.peak_memory(lambda: take(64), torch.device('cpu'))
    assert peak is None or peak / pairs.MIB == pytest.approx(64, abs=8)


@pytest.mark.parametrize(('layer', 'size', 'forward'), [
    (nn.Linear(8, 4), (3, 8), 3 * 8 * 4),
    (nn.Conv2d(8, 4, 3, padding=1), (2, 8, 5, 5), 2 * 25 * 8 * 4 * 9),
    (nn.Conv2d(8, 8, 3, padding=1, groups=4), (2, 8, 5, 5), 2 * 25 * 8 * 2 * 9)], ids=['linear', 'convolution', 'groups'])
def test_multiply_adds_of_a_backward_pass_count(layer: nn.Module, size: tuple[int, ...], forward: int) -> None:
    x = torch.ones(size, requires_grad=True)
    assert pairs.count_multiply_adds(lambda: layer(x).sum().backward()) == 3 * forward


def test_cpu_time_is_this_threads_alone() -> None:
    import time
    times = pairs.timed(lambda: time.sleep(0.05), torch.device('cpu'))
    assert times['wall'] >= 0.05 > times['cpu']


def test_a_turn_is_long_enough_for_its_first_run_not_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([5.0, 1.0, 2.0, 2.0, 9.0])
    monkeypatch.setattr(pairs, 'TURN', 10.0)
    monkeypatch.setattr(pairs, 'timed', lambda work, device: dict.fromkeys(pairs.CLOCKS, next(runs)))
    assert pairs.turn(lambda: None, torch.device('cpu')) == {'wall': 2.0, 'cpu': 2.0} and next(runs) == 9.0


def test_plain_weights_are_copies() -> None:
    net = KDSR(num_feat=8, num_block=2, num_estimator_block=1).requires_grad_(False)
    net.trunk.fusion.requires_grad_()
    layers = plain.Layers.of(net.to(memory_format=torch.channels_last))
    assert set(layers.trained) == {'trunk.fusion.weight', 'trunk.fusion.bias'}
    assert all(w.is_contiguous() for w in layers.weights.values())
    assert not {w.data_ptr() for w in layers.weights.values()} & {p.data_ptr() for p in net.parameters()}
