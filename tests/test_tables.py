from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch
import yaml

from lightbsr_arch import basicsr_compat
from lightbsr_arch.degradations import Degradation, benchmark_degradations, degrade, imresize, isotropic_kernel
from lightbsr_arch.evaluation.paper import departures, method, printed_average, printed_psnr, printed_real_psnr, tables
from lightbsr_arch.evaluation.tables import Row, markdown, read_results, report
from tests import tiny_options as tiny

ROOT = Path(__file__).resolve().parents[1]


def nine(index: int, noise: float) -> Degradation:
    """The index-th of the nine kernels."""
    return [d for d in benchmark_degradations('setting2', 4) if d.noise == noise][index]


# ---------------------------------------------------------------------------------------------- the papers' figures
@pytest.mark.parametrize('method, benchmark, sigma, expected', [
    ('Bicubic', 'Set5', 1.2, 27.69), ('Bicubic', 'Set5', 3.6, 24.45), ('Bicubic', 'Set14', 2.4, 24.39),
    ('Bicubic', 'B100', 1.2, 25.58), ('Bicubic', 'B100', 3.6, 23.80), ('Bicubic', 'Urban100', 2.4, 21.76),
    ('LightBSR', 'Set5', 1.2, 32.47), ('LightBSR', 'Set5', 2.4, 32.17), ('LightBSR', 'Set5', 3.6, 31.06),
    ('LightBSR', 'Set14', 1.2, 28.82), ('LightBSR', 'Set14', 3.6, 27.79), ('LightBSR', 'B100', 2.4, 27.69),
    ('LightBSR', 'Urban100', 1.2, 26.50), ('LightBSR', 'Urban100', 3.6, 25.31), ('KDSR', 'Set5', 2.4, 32.13),
    ('DASR', 'Urban100', 3.6, 24.66)])
def test_table_3_is_found(method: str, benchmark: str, sigma: float, expected: float) -> None:
    assert printed_psnr(method, benchmark, Degradation(sigma=sigma), 4) == expected


@pytest.mark.parametrize('method, index, noise, expected', [
    ('LightBSR', 0, 5, 26.82), ('LightBSR', 1, 5, 26.76), ('LightBSR', 4, 5, 25.87), ('LightBSR', 8, 5, 25.05),
    ('LightBSR', 0, 10, 26.18), ('LightBSR', 3, 10, 25.27), ('LightBSR', 8, 10, 24.53), ('KDSR', 2, 10, 25.38),
    ('DASR', 7, 5, 25.23)])
def test_table_4_is_found(method: str, index: int, noise: float, expected: float) -> None:
    assert printed_psnr(method, 'B100', nine(index, noise), 4) == expected


@pytest.mark.parametrize('network, expected', [
    ({'type': 'LightBSR', 'num_feat': 32}, 'LightBSR'), ({'type': 'LightBSR', 'channel_gate': False}, None),
    ({'type': 'LightBSR', 'idr_noise': 1.0}, None), ({'type': 'KDSR'}, 'KDSR-M'), ({'type': 'KDSR', 'num_block': 5}, None),
    ({'type': 'KDSR', 'num_feat': 128, 'num_block': 28, 'num_estimator_block': 5}, 'KDSR-L'),
    ({'type': 'KDSR', 'dynamic': False}, None), ({'type': 'LightBSRTeacher', 'prior_dim': 0}, None),
    ({'type': 'LightBSRTeacher', 'contrastive': False}, None), ({'type': 'KDSRTeacher', 'oracle': True}, None), ({'type': 'Bicubic', 'scale': 4}, 'Bicubic')], ids=str)
def test_networks_bear_the_papers_names(network: dict[str, Any], expected: str | None) -> None:
    assert method(network) == expected


@pytest.mark.parametrize('method, benchmark, scale, expected', [
    ('KDSR-M', 'Set5', 4, 32.02), ('KDSR-L', 'Manga109', 4, 30.99), ('KDSR-L', 'B100', 4, 27.64), ('KDSR-M', 'Set5', 2, None),
    ('Bicubic', 'Set5', 4, None), (None, 'Set5', 4, None), ('KDSR-M', 'Set15', 4, None)])
def test_kdsrs_table_1_is_found(method: str | None, benchmark: str, scale: int, expected: float | None) -> None:
    gaussian8 = benchmark_degradations('gaussian8', 4)
    assert printed_average(method, benchmark, gaussian8, scale) == expected
    assert printed_average(method, benchmark, gaussian8[:7], scale) is None


@pytest.mark.parametrize('method, benchmark, scale, expected', [
    ('KDSR-GAN', 'AIM2019', 4, 24.22), ('KDSR-GAN', 'NTIRE2020', 4, 27.12), ('KDSR-GAN', 'NTIRE2020', 2, None),
    ('KDSR-M', 'AIM2019', 4, None), (None, 'AIM2019', 4, None), ('KDSR-GAN', 'Set5', 4, None)])
def test_kdsrs_table_3_is_found(method: str | None, benchmark: str, scale: int, expected: float | None) -> None:
    assert printed_real_psnr(method, benchmark, scale) == expected


@pytest.mark.parametrize('method, benchmark, degradation, scale', [
    ('LightBSR', 'Set5', Degradation(sigma=1.2), 2), ('LightBSR', 'Set5', Degradation(sigma=0.6), 2),
    ('LightBSR', 'Set5', Degradation(sigma=1.8), 3), ('LightBSR', 'Set5', Degradation(sigma=1.3), 4),
    ('LightBSR', 'Set5', Degradation(sigma=1.2, noise=5), 4), ('LightBSR', 'Set5', Degradation(sigma=(1.2, 1.2)), 4),
    ('LightBSR', 'Set5', Degradation(sigma=(0.2, 4)), 4), ('LightBSR', 'Manga109', Degradation(sigma=1.2), 4),
    ('EDSR', 'Set5', Degradation(sigma=1.2), 4), ('LightBSRTeacher', 'Set5', Degradation(sigma=1.2), 4),
    ('LightBSR', 'Set14', nine(0, 5), 4), ('LightBSR', 'Set5', nine(0, 10), 4), ('LightBSR', 'B100', nine(0, 5), 2),
    ('Bicubic', 'B100', nine(0, 5), 4), ('LightBSR', 'B100', benchmark_degradations('nine_kernels', 4)[0], 4),
    ('LightBSR', 'B100', Degradation(theta=0, lambda_1=2.0, lambda_2=0.5, noise=15), 4),
    ('LightBSR', 'B100', Degradation(theta=5, lambda_1=2.0, lambda_2=0.5, noise=5), 4)], ids=str)
def test_no_figure_where_the_paper_prints_none(method: str, benchmark: str, degradation: Degradation, scale: int) -> None:
    assert printed_psnr(method, benchmark, degradation, scale) is None


def test_packaged_figures_are_the_specifications(shared: Path) -> None:
    assert tables() == yaml.safe_load((shared / 'spec/paper_tables.yml').read_text())


# ---------------------------------------------------------------------------------------------- rows and files
def options(folder: Path, network: str = 'LightBSR', scale: int = 4) -> dict[str, Any]:
    for name in ('Set5', 'own'):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / 'image.png').touch()
    section = {'dataroot_gt': str(folder / 'Set5'), 'benchmark': 'Set5', 'name': 'Set5_sigma1.2', 'degradation': {'sigma': 1.2}}
    return {'name': 'run', 'scale': scale, 'model_type': 'SRModel', 'network_g': {'type': network}, 'path': {'results_root': str(folder)},
            'datasets': {'a': section, 'b': section | {'name': 'Set5_sigma2', 'degradation': {'sigma': 2}},
                         'c': {'name': 'own', 'dataroot_gt': str(folder / 'own')}},
            'missing_test_sets': [section | {'name': 'Urban100_sigma1.2', 'benchmark': 'Urban100', 'dataroot_gt': 'gone/Urban100'}]}


RESULTS = {'Set5_sigma1.2': {'psnr': {'val': np.float64(32.4651)}, 'ssim': {'val': 0.89126}},
           'Set5_sigma2': {'psnr': {'val': 30.0}, 'ssim': {'val': 0.8}}, 'own': {'psnr': {'val': 25.125}, 'ssim': {'val': 0.7}}}


def test_markdown_lists_sets_missing_ones_and_the_papers_figures(tmp_path: Path) -> None:
    text = report(options(tmp_path), RESULTS)
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]
    assert text.startswith('# run\n') and text == (tmp_path / 'table.md').read_text()
    assert lines[0] == ['test set', 'degradation', 'PSNR', 'SSIM', 'paper', 'difference']
    assert lines[2:] == [['Set5', 'sigma1.2', '32.47', '0.8913', '32.47', '+0.00'], ['Set5', 'sigma2', '30.00', '0.8000', '', ''],
                         ['own', '', '25.12', '0.7000', '', ''], ['Set5', 'average', '31.23', '0.8456', '', ''],
                         ['Urban100', 'sigma1.2', 'missing', '', '26.50', '']]
    assert f'missing: {Path("gone/Urban100").absolute()}' in text
    assert 'Not like for like: Set5: 1 of the 5 images that the papers have were tested.' in text
    assert len({len(line) for line in text.splitlines() if line.startswith('|')}) == 1


def test_csv_has_the_cells_of_the_markdown(tmp_path: Path) -> None:
    text = report(options(tmp_path), RESULTS)
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]
    with open(tmp_path / 'table.csv', newline='') as file:
        assert list(csv.reader(file)) == [lines[0], *lines[2:]]


def test_json_has_all_digits_and_what_was_tested(tmp_path: Path) -> None:
    opt = options(tmp_path)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'net.pth')
    (tmp_path / 'net.pth').touch()
    report(opt, RESULTS, torch.nn.Linear(2, 3))
    content = json.loads((tmp_path / 'table.json').read_text())
    assert {k: content[k] for k in ('name', 'network', 'weights', 'scale', 'parameters')} == {
        'name': 'run', 'network': {'type': 'LightBSR'}, 'weights': str(tmp_path / 'net.pth'), 'scale': 4, 'parameters': 9}
    assert read_results(str(tmp_path)) == read_results(str(tmp_path / 'table.json')) == content
    first, *_, last = content['rows']
    assert first == {'dataset': 'Set5', 'degradation': 'sigma1.2', 'psnr': 32.4651, 'ssim': 0.89126, 'paper_psnr': 32.47,
                     'difference': pytest.approx(-0.0049), 'missing': None, 'num_images': 1, 'center_crop': None}
    assert last['missing'] == 'gone/Urban100' and 'psnr' not in last and last['difference'] is None


def test_columns_of_the_paper_are_left_out_where_it_prints_nothing(tmp_path: Path) -> None:
    text = report(options(tmp_path, scale=2), RESULTS)
    assert 'paper' not in text and 'difference' not in text and '| missing' in text


def test_a_run_without_metrics_still_lists_its_sets(tmp_path: Path) -> None:
    text = report(options(tmp_path, 'EDSR'), {})
    assert '| Set5     | sigma1.2    |' in text and 'missing:' in text


@pytest.mark.parametrize('psnr, shown', [(32.4649, '-0.01'), (32.4651, '+0.00'), (32.476, '+0.01'), (33.0, '+0.53'), (31.0, '-1.47')])
def test_differences_have_a_sign_and_no_negative_zero(psnr: float, shown: str) -> None:
    assert markdown([Row('Set5', 'sigma1.2', {'psnr': psnr}, 32.47)]).splitlines()[2].split()[-2] == shown


@pytest.mark.parametrize('metrics, head', [({'ssim': 0.5}, 'SSIM'), ({'niqe': 3.0, 'psnr': 20.0}, 'NIQE')])
def test_any_metrics_are_shown_in_their_order(metrics: dict[str, float], head: str) -> None:
    assert markdown([Row('Set5', '', metrics)]).splitlines()[0].split('|')[3].strip() == head


@pytest.mark.parametrize('changes, expected', [
    ({}, []), ({'network': {'type': 'LightBSRTeacher', 'num_block': 3}}, ['another size .*num_feat 64, num_group 8, num_block 3']),
    ({'network': {'type': 'KDSR', 'num_feat': 128, 'num_block': 28, 'num_estimator_block': 5}}, []),
    ({'network': {'type': 'RCAN'}}, ['another size .*num_feat 64, num_group 10, num_block 16']),
    ({'network': {'type': 'RCAN', 'num_block': 20}}, []),
    ({'network': {'type': 'EDSR', 'num_feat': 3}}, []), ({'network': {'type': 'KDSR', 'num_block': 1}}, ['another size']),
    ({'metrics': {'psnr': {'crop_border': 4}, 'ssim': {'crop_border': 4, 'test_y_channel': True}}}, ['PSNR is not measured on Y']),
    ({'rows': [{'dataset': 'Set5', 'num_images': 3, 'center_crop': 64}, {'dataset': 'B100', 'num_images': 1}]},
     ['Set5: 3 of the 5 images', 'Set5: only the middle .* 64 pixels']),
    ({'rows': [{'dataset': 'Set5', 'num_images': 5}, {'dataset': 'own', 'num_images': 5}, {'dataset': 'Set5'}]}, [])], ids=str)
def test_what_is_not_like_for_like_is_said(changes: dict[str, Any], expected: list[str]) -> None:
    found = departures({'network': {'type': 'LightBSR'}, 'scale': 4, 'rows': []} | changes, ['Set5', 'own'])
    assert len(found) == len(expected) and all(re.search(*pair) for pair in zip(expected, found))


# ---------------------------------------------------------------------------------------------- a run
def psnr_by_hand(folder: Path, sigma: float) -> float:
    """Mean over the images of PSNR on the Y channel, four pixels cut, of bicubic interpolation."""
    values = []
    for path in sorted(folder.rglob('*.png')):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        gt = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        sr = imresize(degrade(gt, isotropic_kernel(sigma), 4), 4).clamp(0, 1)
        sr = (sr[0].permute(1, 2, 0) * 255).round().numpy()
        difference = (sr.astype(np.float64) - image) @ np.array([65.481, 128.553, 24.966]) / 255  # of Y, BT.601
        values.append(10 * math.log10(255**2 / np.mean(difference[4:-4, 4:-4]**2)))
    return sum(values) / len(values)


def test_a_run_writes_the_metrics_of_its_images(images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    opt = tiny.benchmark(images, degradations=None)
    opt['datasets']['test'] |= {'benchmarks': {'Set5': str(images), 'Urban100': str(tmp_path / 'gone')},
                                'degradations': [{'sigma': 1.2}, {'sigma': 2.0}]}
    assert run_cli('test', '-opt', tiny.write({k: v for k, v in opt.items() if v is not None}, tmp_path)) == 0
    rows = json.loads((tmp_path / 'results/test/table.json').read_text())['rows']
    psnr = [psnr_by_hand(images, sigma) for sigma in (1.2, 2.0)]
    assert [row['psnr'] for row in rows[:3]] == pytest.approx([*psnr, sum(psnr) / 2], abs=2e-3)
    assert [(row['dataset'], row['paper_psnr'], row['missing'] is not None) for row in rows] == [
        ('Set5', 27.69, False), ('Set5', None, False), ('Set5', None, False), ('Urban100', 22.73, True), ('Urban100', None, True)]


@pytest.mark.parametrize('rank', [0, 1])
def test_the_first_of_several_processes_reports_alone(rank: int, images: Path, tmp_path: Path, run_cli: Callable[..., int],
                                                      capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run_test = basicsr_compat.run_test

    def run_as_process(root: str) -> Any:
        model = run_test(root)
        model.opt['rank'] = rank
        return model
    monkeypatch.setattr(basicsr_compat, 'run_test', run_as_process)
    assert run_cli('test', '-opt', tiny.write(tiny.benchmark(images), tmp_path)) == 0
    assert ('| test set' in capsys.readouterr().out) == (tmp_path / 'results/test/manifest.json').exists() == (rank == 0)


@pytest.mark.parametrize('shape', ['', ' 64 64', ' (80,96,3)'])
def test_a_run_on_lr_images_alone_is_told_by_table_and_manifest(shape: str, images: Path, tmp_path: Path,
                                                                run_cli: Callable[..., int]) -> None:
    names = ['image_1.png', 'image_3.png']
    (tmp_path / 'list.txt').write_text('\n'.join(name + shape for name in names))
    photos = {'name': 'photos', 'type': 'SingleImageDataset', 'dataroot_lq': str(images), 'io_backend': {'type': 'disk'},
              'meta_info_file': str(tmp_path / 'list.txt')}
    opt = tiny.benchmark(images, datasets={'test': photos}, val={'save_img': True, 'suffix': None})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    row, = read_results(str(tmp_path / 'results/test'))['rows']
    assert (row['dataset'], row['num_images'], row['missing']) == ('photos', 2, None)
    test_set = json.loads((tmp_path / 'results/test/manifest.json').read_text())['test_sets']['photos']
    assert test_set['folders'] == {'dataroot_lq': str(images)} and list(test_set['images']['dataroot_lq']) == names


@pytest.mark.parametrize('text, expected', [
    ('nested 2 (80,96,3)\n', ['nested/image_4.png', 'nested/image_5.png']),
    ('\nimage_0.png\n\n', ['image_0.png']), ('0 1\n', [])],
    ids=['clips', 'images', 'unknown'])
def test_lists_are_read_as_basicsr_reads_them(text: str, expected: list[str], images: Path, tmp_path: Path) -> None:
    (tmp_path / 'list.txt').write_text(text)
    section = {'name': 'clips', 'dataroot_gt': str(images), 'dataroot_lq': str(tmp_path / 'none'),
               'meta_info_file': str(tmp_path / 'list.txt')}
    opt = options(tmp_path) | {'datasets': {'test': section}, 'missing_test_sets': []}
    report(opt, {})
    manifest = json.loads((tmp_path / 'manifest.json').read_text())
    assert {key: list(names) for key, names in manifest['test_sets']['clips']['images'].items()} == {
        'dataroot_gt': expected, 'dataroot_lq': []}
    row, = read_results(str(tmp_path))['rows']
    assert row['num_images'] == (len(expected) or None)


@pytest.mark.parametrize('sets', [{}, {'Set5': 'gone/Set5'}], ids=['none', 'missing'])
def test_a_run_without_any_test_set_fails(sets: dict[str, str], images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    opt = tiny.benchmark(images)
    opt['datasets']['test']['benchmarks'] = sets
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 1
    assert not (tmp_path / 'results/test/table.json').exists()


def test_bicubic_on_set5_is_the_papers(shared: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    opt = yaml.safe_load((ROOT / 'options/test_bicubic_setting1.yml').read_text())
    opt['data_root'] = str(shared / 'data')
    opt['datasets']['test']['benchmarks'] = {'Set5': opt['datasets']['test']['benchmarks']['Set5']}
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    rows = json.loads((tmp_path / 'results' / opt['name'] / 'table.json').read_text())['rows']
    assert [row['psnr'] for row in rows[:3]] == pytest.approx([27.693, 25.994, 24.449], abs=0.01)
    assert [row['difference'] for row in rows[:3]] == pytest.approx([0, 0, 0], abs=0.01)
    assert '27.69 | 0.' in (tmp_path / 'results' / opt['name'] / 'table.md').read_text()
