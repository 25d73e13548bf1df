from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from basicsr.archs import build_network

from lightbsr_arch import checkpoints
from lightbsr_arch.cli import table as verb
from lightbsr_arch.cli.table import Candidate, find, measure, measure_network
from lightbsr_arch.degradations import benchmark_degradations
from lightbsr_arch.evaluation.formats import as_csv, as_json, cell, escape, latex, markdown
from lightbsr_arch.evaluation.manifest import covers, sha256
from lightbsr_arch.evaluation.paper_tables import PAPER_TABLES, Column, Comparison, compare, counterpart, paper_table
from tests import tiny_options as tiny

Results = dict[str, Any]


Figures = dict[tuple[str, str], dict[str, float]]


def results(figures: Figures, network: dict[str, Any] | None = None, **others: Any) -> Results:
    """A parsed table.json of metrics by test set and degradation."""
    rows = [{'dataset': name, 'degradation': label, **values, 'missing': None} for (name, label), values in figures.items()]
    return {'name': 'run', 'network': network or {'type': 'EDSR'}, 'scale': 4, 'rows': rows} | others


def column(table: str, test_set: str, label: str = 'average', metric: str = 'psnr') -> Column:
    known = {name for name in paper_table(table).known_test_sets if name == test_set}
    return next(c for c in paper_table(table).columns(list(known)) if (c.label, c.metric) == (label, metric))


def cells(comparison: Comparison, kind: str) -> dict[str, dict[tuple[str, str, str], float]]:
    return {line.name: {(c.test_set, c.label, c.metric): value for c, value in line.values.items()}
            for line in comparison.lines if line.kind == kind}


# ---------------------------------------------------------------------------------------------- what is printed
@pytest.mark.parametrize('table, row, place, expected', [
    ('lightbsr-1', 'T1_no_drp_no_cl', ('Set5',), 31.60), ('lightbsr-1', 'T4_drp_cl', ('Urban100',), 26.02),
    ('lightbsr-2', 'M2_spatial_only', ('B100',), 27.46), ('lightbsr-2', 'M5_error_idrs', ('Set14',), 25.89),
    ('lightbsr-3', 'Bicubic', ('Set5', 'sigma1.2'), 27.69), ('lightbsr-3', 'LightBSR', ('Set14', 'sigma3.6'), 27.79),
    ('lightbsr-3', 'DASR', ('Urban100', 'sigma2.4'), 25.44),
    ('lightbsr-4', 'DnCNN+DAN', ('B100', 'theta0_lambda2x0.5_noise5'), 26.18),
    ('lightbsr-4', 'LightBSR', ('B100', 'theta180_lambda4x4_noise10'), 24.53),
    ('lightbsr-4', 'KDSR', ('B100', 'theta10_lambda2x1_noise10'), 26.05),
    ('kdsr-1', 'KDSR-M', ('B100',), 27.52), ('kdsr-1', 'KDSR-M', ('Urban100', 'average', 'ssim'), 0.7760),
    ('kdsr-1', 'ZSSR', ('Manga109', 'average', 'ssim'), 0.724), ('kdsr-2', 'KDSR', ('Set14', 'kernel 1, noise 0'), 27.67),
    ('kdsr-2', 'KDSR', ('Set14', 'kernel 9, noise 20'), 23.84), ('kdsr-2', 'DASR', ('Set14', 'kernel 2, noise 10'), 25.57),
    ('kdsr-3', 'KDSR-GAN', ('AIM2019', '', 'lpips'), 0.3758), ('kdsr-3', 'ESRGAN', ('NTIRE2020', '', 'psnr'), 21.14),
    ('kdsr-3', 'ESRGAN', ('NTIRE2020', '', 'ssim'), 0.3119), ('kdsr-4', 'S3_oracle', ('Urban100',), 26.08),
    ('kdsr-5', 'l2', ('Urban100',), 25.88)])
def test_printed_figures_are_in_their_columns(table: str, row: str, place: tuple[str, ...], expected: float) -> None:
    assert paper_table(table).printed()[row].values[column(table, *place)] == expected


@pytest.mark.parametrize('table, num_rows, num_columns', [
    ('lightbsr-1', 4, 4), ('lightbsr-2', 7, 4), ('lightbsr-3', 11, 12), ('lightbsr-4', 8, 18), ('kdsr-1', 11, 10),
    ('kdsr-2', 5, 27), ('kdsr-3', 5, 6), ('kdsr-4', 5, 1), ('kdsr-5', 3, 1)])
def test_tables_are_complete(table: str, num_rows: int, num_columns: int) -> None:
    printed = paper_table(table).printed()
    assert [len(line.values) for line in printed.values()] == [num_columns] * num_rows


@pytest.mark.parametrize('table, row, expected', [
    ('lightbsr-3', 'IKC', {'params_m': '5.3', 'gflops': '2876.30'}), ('lightbsr-3', 'Bicubic', {}),
    ('lightbsr-4', 'DnCNN+DCLS', {'params_m': '0.65+13.63'}), ('kdsr-2', 'KDSR', {'params_m': '5.80', 'ms': '38.74'}),
    ('kdsr-4', 'T', {'params_m': '5.82', 'gflops': '192.77', 'ms': '39.05'}), ('lightbsr-1', 'T2_drp', {})])
def test_printed_costs_are_kept(table: str, row: str, expected: dict[str, str]) -> None:
    assert paper_table(table).printed()[row].costs == expected


@pytest.mark.parametrize('table, setting', [('lightbsr-1', 'setting1'), ('lightbsr-3', 'setting1'),
                                            ('lightbsr-4', 'setting2'), ('kdsr-1', 'gaussian8'),
                                            ('kdsr-2', 'kdsr_setting2'), ('kdsr-5', 'gaussian8')])
def test_columns_cover_the_settings_degradations(table: str, setting: str) -> None:
    columns = [c for c in paper_table(table).columns() if c.metric == 'psnr']
    labels = [label for c in columns if c.test_set == columns[0].test_set for label in c.degradations]
    assert labels == [d.label for d in benchmark_degradations(setting, 4)]


def test_an_unknown_table_or_test_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no table 'lightbsr3'; did you mean 'lightbsr-3'"):
        paper_table('lightbsr3')
    with pytest.raises(ValueError, match="no test set 'Set4'; did you mean 'Set"):
        compare('lightbsr-3', {}, ['Set4'])
    with pytest.raises(ValueError, match="no test set 'Set5'.* AIM2019, NTIRE2020"):
        compare('kdsr-3', {}, ['Set5'])


# ---------------------------------------------------------------------------------------------- rows of ours
@pytest.mark.parametrize('label, network, table, expected', [
    ('T1_no_drp_no_cl', {'type': 'LightBSR'}, 'lightbsr-1', 'T1_no_drp_no_cl'),
    ('T1', {'type': 'X'}, 'lightbsr-1', 'T1_no_drp_no_cl'),
    ('T4_drp_cl teacher', {'type': 'X'}, 'lightbsr-1', 'T4_drp_cl'), ('m4', {'type': 'X'}, 'lightbsr-2', 'M4_full'),
    ('M4_error_idrs', {'type': 'X'}, 'lightbsr-2', 'M4_error_idrs'),
    ('D4 teacher', {'type': 'LightBSR'}, 'lightbsr-1', None),
    ('mine', {'type': 'LightBSR'}, 'lightbsr-3', 'LightBSR'), ('mine', {'type': 'KDSR'}, 'lightbsr-3', 'KDSR'),
    ('mine', {'type': 'KDSR'}, 'kdsr-1', 'KDSR-M'), ('mine', {'type': 'KDSR'}, 'kdsr-4', None),
    ('S4', {'type': 'KDSR'}, 'kdsr-4', 'S4_student'),
    ('T', {'type': 'KDSRTeacher'}, 'kdsr-4', 'T'), ('mine', {'type': 'LightBSR', 'correction': False}, 'lightbsr-3', None),
    ('DASR', {'type': 'LightBSR'}, 'lightbsr-3', 'DASR'), ('EDSR', {'type': 'EDSR'}, 'lightbsr-3', None)])
def test_a_row_is_compared_with_its_label_else_its_method(label: str, network: dict[str, Any], table: str,
                                                           expected: str | None) -> None:
    assert counterpart(label, network, list(paper_table(table).printed())) == expected


def test_a_row_stands_below_its_printed_one_with_the_difference() -> None:
    figures = {('Set5', f'sigma{width}'): {'psnr': psnr} for width, psnr in (('1.2', 32.5), ('2.4', 32.0), ('3.6', 31.06))}
    comparison = compare('lightbsr-3', {'mine': results(figures, {'type': 'LightBSR'}, parameters=3_259_947)}, ['Set5'])
    kinds = [(line.name, line.kind) for line in comparison.lines]
    assert kinds[kinds.index(('LightBSR', 'printed')) + 1:] == [('mine', 'ours'), ('mine', 'difference')]
    assert list(cells(comparison, 'difference')['mine'].values()) == pytest.approx([0.03, -0.17, 0])
    assert '| **mine** (ours)          | 3.26       |         | 32.50    | 32.00    | 31.06    |' in markdown(comparison)
    assert '| *difference to LightBSR* |            |         | +0.03    | -0.17    | +0.00    |' in markdown(comparison)


def test_what_is_not_like_for_like_is_said_of_every_row() -> None:
    figures = {('Set5', f'sigma{width}'): {'psnr': 30.0, 'center_crop': 48, 'num_images': 5} for width in ('1.2', '2.4', '3.6')}
    own = {'type': 'LightBSR', 'num_feat': 32, 'idr_noise': 1.0}  # no row of the paper's, and of a size of its own
    assert compare('lightbsr-3', {'mine': results(figures, own)}, ['Set5']).notes == (
        'mine: Set5: only the middle of each image was tested, 48 pixels wide.',)


def test_means_are_over_the_tables_own_degradations() -> None:
    figures = {('Set5', f'sigma{width}'): {'psnr': psnr} for width, psnr in (('1.2', 33.0), ('2.4', 32.0), ('3.6', 28.0))}
    extra = {('Set5', 'sigma2'): {'psnr': 99.0}, ('Set5', 'average'): {'psnr': 77.0}}
    comparison = compare('lightbsr-1', {'T2_drp': results(figures | extra)}, ['Set5'])
    assert cells(comparison, 'ours')['T2_drp'] == {('Set5', 'average', 'psnr'): 31.0}
    assert cells(comparison, 'difference')['T2_drp'] == {('Set5', 'average', 'psnr'): pytest.approx(31.0 - 31.96)}
    partial = compare('lightbsr-1', {'T2_drp': results(dict(list(figures.items())[:2]))}, ['Set5'])
    assert cells(partial, 'ours') == {'T2_drp': {}} and '–' in markdown(partial)
    assert partial.notes == ('T2_drp: its results do not hold all of this table: Set5 PSNR.',)


def gaussian8(psnr: float, ssim: float) -> dict[tuple[str, str], dict[str, float]]:
    return {('Set5', d.label): {'psnr': psnr, 'ssim': ssim} for d in benchmark_degradations('gaussian8', 4)}


def test_figures_of_other_lr_images_are_quoted_without_a_difference() -> None:
    rows = {'Bicubic': results(gaussian8(25.87, 0.7), {'type': 'Bicubic'}),
            'mine': results(gaussian8(32.0, 0.89), {'type': 'KDSR'})}
    comparison = compare('kdsr-1', rows, ['Set5'])
    assert cells(comparison, 'difference') == {'mine': {
        ('Set5', 'average', 'psnr'): pytest.approx(-0.02), ('Set5', 'average', 'ssim'): pytest.approx(0.0008)}}
    assert 'bicubic row was measured on other LR images' in markdown(comparison) and '+0.0008' in markdown(comparison)
    nine = {('Set14', d.label): {'psnr': 25.0} for d in benchmark_degradations('kdsr_setting2', 4)}
    comparison = compare('kdsr-2', {'mine': results(nine, {'type': 'KDSR'})})
    assert len(cells(comparison, 'ours')['mine']) == 27 and cells(comparison, 'difference') == {}
    assert 'Ours are others (angle; two widths): 1 (0°; 2, 0.5); 2 (10°; 2, 1);' in comparison.notes[0]


def test_test_sets_that_the_paper_does_not_print_may_be_measured() -> None:
    comparison = compare('kdsr-5', {'kl': results(gaussian8(28.0, 0.8))}, ['Set5'])
    assert cells(comparison, 'printed') == {'l1': {}, 'l2': {}, 'kl': {}} and cells(comparison, 'difference') == {}
    assert cells(comparison, 'ours') == {'kl': {('Set5', 'average', 'psnr'): 28.0}}


def test_several_rows_of_one_method_stand_together() -> None:
    rows = {name: results({('Set5', 'sigma1.2'): {'psnr': 32.0}}, {'type': 'LightBSR'}) for name in 'ab'}
    lines = compare('lightbsr-3', rows | {'other': results({})}).lines
    assert [line.name for line in lines[-6:]] == ['LightBSR', 'a', 'a', 'b', 'b', 'other']


def test_results_of_another_scale_are_refused() -> None:
    with pytest.raises(ValueError, match='mine: these results are of scale 2'):
        compare('lightbsr-3', {'mine': results({}, scale=2)})


# ---------------------------------------------------------------------------------------------- formats
@pytest.fixture
def example() -> Comparison:
    row = results({('Set5', 'sigma1.2'): {'psnr': 32.456789}, ('Set5', 'sigma2.4'): {'psnr': 31.0}}, {'type': 'LightBSR'})
    row['rows'].append({'dataset': 'Urban100', 'degradation': '', 'missing': 'gone/Urban_100'})
    return compare('lightbsr-3', {'50%_mine': row}, ['Set5', 'Urban100'])


def test_missing_test_sets_are_named_with_their_folder(example: Comparison) -> None:
    line = next(line for line in markdown(example).splitlines() if line.startswith('| **50%_mine'))
    assert [cell.strip() for cell in line.split('|')[4:10]] == ['32.46', '31.00', '–', 'missing', 'missing', 'missing']
    assert f'missing: Urban100 (there is no {Path("gone/Urban_100").absolute()})' in markdown(example)
    assert example.notes == ('50%_mine: its results do not hold all of this table: Set5 PSNR.',)


def test_a_test_set_is_missing_only_where_it_was_looked_for() -> None:
    lacking = results({})
    lacking['rows'].append({'dataset': 'Set5', 'degradation': '', 'missing': 'gone/Set5'})
    comparison = compare('lightbsr-1', {'lacking': lacking, 'untested': results({})}, ['Set5'])
    records = {record['row']: record['value'] for record in csv.DictReader(io.StringIO(as_csv(comparison)))}
    shown = {line.name: cell(line, comparison.columns[0]) for line in comparison.lines}
    assert [records[name] for name in ('lacking', 'untested')] == ['missing', '']
    assert [shown[name] for name in ('lacking', 'untested')] == ['missing', '–']


def test_csv_and_json_have_a_record_for_each_figure(example: Comparison) -> None:
    records = [tuple(record.values()) for record in csv.DictReader(io.StringIO(as_csv(example)))]
    assert ('LightBSR', 'printed', 'Set5', 'sigma1.2', 'psnr', '32.47') in records
    assert ('LightBSR', 'printed', '', '', 'gflops', '206.16') in records
    assert [record for record in records if record[0] == '50%_mine'] == [
        ('50%_mine', 'ours', 'Set5', 'sigma1.2', 'psnr', '32.456789'),
        ('50%_mine', 'ours', 'Set5', 'sigma2.4', 'psnr', '31.0'),
        ('50%_mine', 'ours', 'Set5', 'sigma3.6', 'psnr', ''), *(
            ('50%_mine', 'ours', 'Urban100', f'sigma{width}', 'psnr', 'missing') for width in ('1.2', '2.4', '3.6')),
        ('50%_mine', 'difference', 'Set5', 'sigma1.2', 'psnr', str(32.456789 - 32.47)),
        ('50%_mine', 'difference', 'Set5', 'sigma2.4', 'psnr', str(31.0 - 32.17))]
    content = json.loads(as_json(example))
    assert (content['table'], content['missing'], content['compared_with']) == (
        'lightbsr-3', {'Urban100': 'gone/Urban_100'}, {'50%_mine': 'LightBSR'})
    assert {'row': '50%_mine', 'kind': 'ours', 'test_set': 'Set5', 'degradation': 'sigma3.6', 'metric': 'psnr', 'value': None
            } in content['cells'] and len(content['cells']) == len(records)


def test_latex_is_escaped_and_even(example: Comparison) -> None:
    text = latex(example)
    lines = text.splitlines()
    assert r' & params (M) & GFLOPs & \multicolumn{3}{c}{Set5} & \multicolumn{3}{c}{Urban100} \\' in lines
    assert r'\cmidrule(lr){4-6}\cmidrule(lr){7-9}' in lines
    assert r' &  &  & 1.2 & 2.4 & 3.6 & 1.2 & 2.4 & 3.6 \\' in lines
    assert r'\textbf{50\%\_mine} (ours) &  &  & 32.46 & 31.00 & -- & missing & missing & missing \\' in lines
    assert r'\textit{difference to LightBSR} &  &  & $-0.01$ & $-1.17$ &  &  &  &  \\' in lines
    assert r'\begin{tabular}{lcccccccc}' in lines and r'gone/Urban\_100)}' in text
    for environment in ('table*', 'tabular'):
        assert text.count(rf'\begin{{{environment}}}') == text.count(rf'\end{{{environment}}}') == 1
    assert escape('a_b & 5% \\ {x} ~^ 30°') == (
        r'a\_b \& 5\% \textbackslash{} \{x\} \textasciitilde{}\textasciicircum{} 30$^\circ$')


@pytest.mark.parametrize('table', PAPER_TABLES)
def test_every_table_is_printed_in_every_format(table: str) -> None:
    comparison = compare(table, {})
    lines = [line for line in latex(comparison).splitlines() if line.endswith(r'\\') and 'multicolumn' not in line]
    assert len({line.count('&') for line in lines}) == 1 and latex(comparison).count('{') == latex(comparison).count('}')
    num_blocks = {'lightbsr-4': 2, 'kdsr-2': 3}.get(table, 1)
    head = [line for line in markdown(comparison).splitlines() if line.startswith('| --')]
    assert len(head) == num_blocks == latex(comparison).count(r'\toprule')
    figures = sum(len(line.values) + len(line.costs) for line in comparison.lines)
    assert len(as_csv(comparison).splitlines()) == 1 + figures == 1 + len(json.loads(as_json(comparison))['cells'])


# ---------------------------------------------------------------------------------------------- sources
@pytest.fixture
def data(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with two small images as Set5, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in ('image_0.png', 'image_1.png'):
        (tmp_path / 'data/benchmarks/Set5/HR').mkdir(parents=True, exist_ok=True)
        shutil.copy(images / name, tmp_path / 'data/benchmarks/Set5/HR')
    return tmp_path / 'data'


def weights(path: Path, **network: Any) -> Path:
    section = {'type': 'LightBSR', **tiny.TINY, **network}
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write({'params': build_network(dict(section)).state_dict(), 'network': section}, str(path))
    return path


def test_sources_are_told_apart(data: Path, tmp_path: Path) -> None:
    assert find('bicubic') == ('Bicubic', Candidate('Bicubic', {'type': 'Bicubic', 'scale': 4}))
    path = weights(tmp_path / 'experiments/small/models/net_g_latest.pth')
    assert find(str(path)) == ('small', Candidate('small', {'type': 'LightBSR', **tiny.TINY}, str(path)))
    assert find(f'T1={path}')[0] == 'T1'
    odd = weights(tmp_path / 'lr=1e-4.pth')
    assert find(f'mine={odd.name}')[1].weights == find(odd.name)[1].weights == odd.name and find(odd.name)[0] == 'lr=1e-4'
    opt = tiny.benchmark(data, network_g={'type': 'LightBSR', **tiny.TINY}, model_type='LightBSRStudentModel')
    opt['path'] = {'pretrain_network_g': str(path), 'param_key_g': 'params'}
    assert find(str(tiny.write(opt, tmp_path))) == ('test', Candidate(
        'test', opt['network_g'], str(path), 'LightBSRStudentModel', {'param_key_g': 'params'}))
    (tmp_path / 'table.json').write_text(json.dumps(results({})))
    assert find(str(tmp_path)) == find(str(tmp_path / 'table.json')) == ('run', results({}))


@pytest.mark.parametrize('source, message', [
    ('gone.pth', 'there is no gone.pth'), ('mine=gone.pth', 'there is no gone.pth'),
    ('data', 'cannot read the results data/table.json'),
    ('other.json', 'other.json holds no results'), ('broken.json', 'broken.json holds no results'),
    ('nameless.pth', 'nameless.pth does not say which network it holds: give an option file'),
    ('x2.pth', 'x2.pth holds a network of scale 2'), ('x2.yml', 'x2.yml: scale is 2'),
    ('weightless.yml', 'there is no file gone.pth'),
    ('training.yml', 'is an option file for training')])
def test_a_wrong_source_is_refused(source: str, message: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / 'other.json').write_text('[]')
    (tmp_path / 'broken.json').write_text('{')
    checkpoints.write({'params': {'weight': torch.zeros(1)}}, 'nameless.pth')
    weights(tmp_path / 'x2.pth', scale=2)
    tiny.write(tiny.benchmark(data, 'x2', scale=2), tmp_path)
    tiny.write(tiny.benchmark(data, 'weightless', path={'pretrain_network_g': 'gone.pth'}), tmp_path)
    tiny.write(tiny.student(data, 'teacher.pth', 'training'), tmp_path)
    with pytest.raises(ValueError, match=message):
        measure('lightbsr-3', [source], str(data))


def test_rows_need_labels_of_their_own(data: Path) -> None:
    with pytest.raises(ValueError, match='several rows would be called Bicubic'):
        measure('lightbsr-3', ['bicubic', 'bicubic'], str(data))
    with pytest.raises(ValueError, match='several rows would be called a b'):  # they would share a folder
        measure('lightbsr-3', ['a b=bicubic', 'a_b=bicubic'], str(data))


# ---------------------------------------------------------------------------------------------- measuring
@pytest.fixture
def tests_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the option files that are tested, as it happens."""
    names: list[str] = []
    test = verb._test

    def counted(opt: dict[str, Any]) -> None:
        names.append(opt['name'])
        for archive in Path('results').glob('*_archived_*'):  # named by the second, and these tests are faster
            shutil.rmtree(archive)
        test(opt)

    monkeypatch.setattr(verb, '_test', counted)
    return names


def test_the_verb_tests_and_prints(data: Path, run_cli: Callable[..., int], capsys: pytest.CaptureFixture[str],
                                   tmp_path: Path) -> None:
    path = weights(tmp_path / 'net.pth')
    assert run_cli('table', 'lightbsr-1', 'bicubic', f'T2={path}', '--data-root', data, '--only', 'Set5', 'Set14') == 0
    out = capsys.readouterr().out
    assert out.startswith('# LightBSR, Table 1') and out == (tmp_path / 'results/lightbsr-1.md').read_text() + '\n'
    rows = json.loads((tmp_path / 'results/lightbsr-1_T2/table.json').read_text())['rows']
    mean = sum(row['psnr'] for row in rows[:3]) / 3
    network = build_network({'type': 'LightBSR', **tiny.TINY})
    millions = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in out.splitlines() if line.startswith('|')]
    assert ['**T2** (ours)', f'{millions:.2f}', f'{mean:.2f}', 'missing'] in lines
    assert ['*difference to T2_drp*', '', f'{mean - 31.96:+.2f}', ''] in lines
    assert f'missing: Set14 (there is no {data}/benchmarks/Set14/HR)' in out
    assert {p.suffix for p in (tmp_path / 'results').glob('lightbsr-1.*')} == {'.md', '.csv', '.json', '.tex'}


def test_files_go_where_they_are_asked_to(run_cli: Callable[..., int], tmp_path: Path) -> None:
    assert run_cli('table', 'kdsr-5', '-o', 'paper/t5') == 0
    assert (tmp_path / 'paper/t5.tex').is_file() and not (tmp_path / 'results').exists()
    assert run_cli('table', 'kdsr-6') == 1


def test_a_test_is_reused_until_something_changes(data: Path, tmp_path: Path, tests_run: list[str]) -> None:
    candidate = Candidate('mine', {'type': 'LightBSR', **tiny.TINY}, str(weights(tmp_path / 'net.pth')))
    rows = measure_network('lightbsr-3', candidate, str(data))['rows']
    assert [row['dataset'] for row in rows if row['missing']] == ['Set14', 'B100', 'Urban100']
    assert measure_network('lightbsr-3', candidate, str(data))['rows'] == rows and len(tests_run) == 1
    shutil.move(data, tmp_path / 'moved')
    data = tmp_path / 'moved'
    assert measure_network('lightbsr-3', candidate, str(data), ['Set5'])['rows'] == rows[:4] and len(tests_run) == 1
    image = data / 'benchmarks/Set5/HR/image_0.png'
    cv2.imwrite(str(image), 255 - cv2.imread(str(image)))
    assert measure_network('lightbsr-3', candidate, str(data))['rows'] != rows and len(tests_run) == 2
    weights(tmp_path / 'net.pth', layer_scale=0.1)
    measure_network('lightbsr-3', candidate, str(data))
    assert len(tests_run) == 3
    noisy = Candidate('mine', {**candidate.network, 'idr_noise': 1.0}, candidate.weights)
    assert measure_network('lightbsr-3', noisy, str(data))['network']['idr_noise'] == 1.0 and len(tests_run) == 4


def test_nothing_is_tested_where_all_test_sets_are_missing(data: Path, tests_run: list[str]) -> None:
    rows = measure('kdsr-4', ['bicubic'], str(data))
    assert rows['Bicubic']['rows'] == [
        {'dataset': 'Urban100', 'degradation': '', 'missing': str(data / 'benchmarks/Urban100/HR')}] and tests_run == []


def test_real_pairs_are_tested(images: Path, data: Path, tmp_path: Path) -> None:
    for name in ('image_0', 'image_1'):
        gt = cv2.imread(str(images / f'{name}.png'))
        for folder, image in (('valid-gt-clean', gt), ('valid-input-noisy', cv2.resize(gt, (24, 20)))):
            (data / 'AIM2019' / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(data / 'AIM2019' / folder / f'{name}.png'), image)
    student = Candidate('mine', {'type': 'KDSR', 'num_feat': 8, 'num_block': 1, 'num_estimator_block': 1})
    checkpoints.write({'params': build_network(dict(student.network)).state_dict()}, 'net.pth')
    rows = {'mine': measure_network('kdsr-3', Candidate('mine', student.network, 'net.pth'), str(data))}
    comparison = compare('kdsr-3', rows)
    assert set(cells(comparison, 'ours')['mine']) == {('AIM2019', '', 'psnr'), ('AIM2019', '', 'ssim')}
    assert comparison.missing == {'NTIRE2020': str(data / 'NTIRE2020/track1-valid-gt')}
    content = json.loads((tmp_path / 'results/kdsr-3_mine/manifest.json').read_text())
    assert set(content['test_sets']['AIM2019']['images']) == {'dataroot_gt', 'dataroot_lq'}


def test_bicubic_is_the_papers(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = measure('lightbsr-3', ['bicubic'], str(shared / 'data'), ['Set5'])
    difference = '| *difference to Bicubic* |            |         | +0.00    | +0.00    | +0.00    |'
    assert difference in markdown(compare('lightbsr-3', rows, ['Set5']))


# ---------------------------------------------------------------------------------------------- manifest
def test_a_manifest_says_what_was_tested(data: Path, tmp_path: Path) -> None:
    path = weights(tmp_path / 'net.pth')
    measure_network('lightbsr-1', Candidate('mine', {'type': 'LightBSR', **tiny.TINY}, str(path)), str(data))
    content = json.loads((tmp_path / 'results/lightbsr-1_mine/manifest.json').read_text())
    folder = data / 'benchmarks/Set5/HR'
    assert content['test_sets'] == {'Set5': {
        'folders': {'dataroot_gt': str(folder)}, 'degradations': [{'sigma': s, 'noise': 0.0} for s in (1.2, 2.4, 3.6)],
        'images': {'dataroot_gt': {name: sha256(str(folder / name)) for name in ('image_0.png', 'image_1.png')}}}}
    assert content['weights'] == {'file': str(path), 'sha256': sha256(str(path)), 'param_key': None}
    assert set(content['versions']) == {'lightbsr_arch', 'torch', 'numpy', 'basicsr'} and 'crc32' in content['noise']


def test_hashes_are_of_the_contents(tmp_path: Path) -> None:
    (tmp_path / 'abc').write_bytes(b'abc')
    assert sha256(str(tmp_path / 'abc')) == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    with pytest.raises(ValueError, match='there is no file gone'):
        sha256('gone')


@pytest.mark.parametrize('changes, expected', [
    ({}, True), ({'weights': {'file': 'elsewhere.pth', 'sha256': 'a'}}, True), ({'test_sets': {}}, True),
    ({'test_sets': {'Set5': {'folders': 'elsewhere', 'images': 1}}}, True),
    ({'weights': {'file': 'x', 'sha256': 'b'}}, False),
    ({'test_sets': {'Set5': {'images': 2}}}, False), ({'test_sets': {'Set14': {'images': 1}}}, False),
    ({'weights': None}, False), ({'versions': 2}, False)])
def test_an_earlier_test_covers_the_same_and_less(changes: dict[str, Any], expected: bool) -> None:
    earlier = {'weights': {'file': 'x', 'sha256': 'a'}, 'versions': 1,
               'test_sets': {'Set5': {'folders': 'here', 'images': 1}}}
    assert covers(earlier, {**earlier, **changes}) is expected
