"""`basicsr robustness`: maps over grids of degradations."""
from __future__ import annotations

import copy
import csv
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import yaml

from lightbsr_arch import archs, checkpoints
from lightbsr_arch.degradations import Degradation
from lightbsr_arch.evaluation import manifest, plots, robustness
from lightbsr_arch.evaluation.plots import heat_maps
from lightbsr_arch.evaluation.robustness import Panel
from lightbsr_arch.evaluation.robustness_tables import summaries
from tests import tiny_options as tiny
from tests.conftest import ROOT

Options = dict[str, Any]
BICUBIC = {'network': {'type': 'Bicubic', 'scale': 4}}
STRIP = {'name': 'one', 'columns': {'sigma': [1.2, 5]}, 'fixed': {'noise': 5}}


def options(**changes: Any) -> Options:
    return {'name': 'maps', 'scale': 4, 'images': {'Set5': 'images'}, 'num_images': 2, 'center_crop': None,
            'methods': {'Bicubic': BICUBIC}, 'trained_on': 'setting1', 'maps': [STRIP]} | changes


def write(opt: Options, folder: Path) -> Path:
    path = folder / 'robustness.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return path


def record(folder: Path) -> Options:
    return json.loads((folder / 'results/maps/robustness.json').read_text())


def save_weights(path: Path, seed: int = 0) -> str:
    net = archs.LightBSR(**tiny.TINY)
    for parameter in net.parameters():
        parameter.data += 1e-3 * seed
    checkpoints.write({'params': net.state_dict(), 'network': {'type': 'LightBSR', **tiny.TINY}}, str(path))
    return str(path)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods whose figures are computed, one entry for each image of each cell."""
    labels: list[str] = []

    def score(method: Any, sample: Any, options: Any) -> dict[str, float]:
        labels.append(method.label)
        return {'psnr': 30.0}
    monkeypatch.setattr(robustness, 'score', score)
    monkeypatch.setattr(heat_maps, 'draw_all', lambda options, panels: [])
    return labels


# ---------------------------------------------------------------------------------------------- figures
def test_a_cell_is_what_basicsr_test_measures(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    degradations = [{'sigma': 1.2, 'noise': 5}, {'sigma': 5, 'noise': 5}]
    opt = tiny.benchmark(images, val={'save_img': False, 'suffix': None, 'metrics': {
        'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True},
        'ssim': {'type': 'calculate_ssim', 'crop_border': 4, 'test_y_channel': True}}})
    opt['datasets']['test']['degradations'] = degradations
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    expected = json.loads((tmp_path / 'results/test/table.json').read_text())['rows'][:2]
    assert run_cli('robustness', '-opt', write(options(num_images=None, metrics=['psnr', 'ssim']), tmp_path)) == 0
    panel, = record(tmp_path)['maps'][0]['panels']
    for metric in ('psnr', 'ssim'):
        assert panel[metric] == [pytest.approx([row[metric] for row in expected], abs=1e-4)]
    assert record(tmp_path)['maps'][0]['degradations'] == [['sigma1.2_noise5', 'sigma5_noise5']]


def test_images_are_the_first_ones_and_their_middle(images: Path, tmp_path: Path, run_cli: Callable) -> None:
    def psnr(**changes: Any) -> float:
        opt = options(maps=[STRIP | {'columns': {'sigma': [1.2]}}], **changes)
        assert run_cli('robustness', '-opt', write(opt, tmp_path)) == 0
        return record(tmp_path)['maps'][0]['panels'][0]['psnr'][0][0]
    other = tmp_path / 'other'
    other.mkdir()
    for name in ('image_0', 'image_1'):
        image = cv2.imread(str(images / f'{name}.png'))
        cv2.imwrite(str(other / f'{name}.png'), image[16:64, 24:72])
    first, second = psnr(num_images=1), psnr(num_images=2)
    assert first != second
    assert psnr(images={'a': 'other'}) == pytest.approx(psnr(center_crop=48)) != second


# ---------------------------------------------------------------------------------------------- worst case and range
GRID = {'name': 'grid', 'rows': {'sigma': [1, 5]}, 'columns': {'noise': [0, 5, 30]}}


def parsed(tmp_path: Path, **changes: Any) -> robustness.RobustnessOptions:
    return robustness.read_options(str(write(options(**changes), tmp_path)))


def test_the_worst_case_is_found_and_named(tmp_path: Path) -> None:
    opt = parsed(tmp_path, maps=[GRID], methods=dict.fromkeys('ABC', BICUBIC),
                 trained_on={'sigma': [0.2, 4], 'noise': [0, 25]})
    values = {'A': [[30, 28, 22], [26, 25, 20]], 'B': [[31, 29, 23], [27, 18, 21]], 'C': [[25, 25, 25], [25, 25, 25]]}
    panels = [Panel(opt.maps[0], label, '', {'psnr': np.array(array, dtype=float)}) for label, array in values.items()]
    a, b, c = summaries(opt, panels)
    assert (a.worst, a.worst_case, a.best_other, a.gap) == (20, 'sigma5_noise30', 'C', 5)
    assert (b.worst, b.worst_case, b.best_other, b.gap) == (18, 'sigma5_noise5', 'A', 7)
    assert (c.worst, c.worst_case, c.best_other, c.gap) == (25, 'sigma1', 'B', 6)
    assert (a.in_range, a.out_of_range, a.mean) == (29, 93 / 4, 151 / 6)  # of the first row, the first two cells
    assert a.line == ['grid', 'A', 'PSNR', '25.17', '29.00', '23.25', '20.00', 'sigma5_noise30', 'C', '+5.00']


@pytest.mark.parametrize('trained_on, expected', [
    ('setting1', [[True, False, False], [False, False, False]]), ('setting2', [[True, True, False], [False, False, False]]),
    ({'sigma': [0.2, 8], 'noise': [5, 30]}, [[False, True, True], [False, True, True]])], ids=str)
def test_cells_in_range_are_flagged(tmp_path: Path, trained_on: Any, expected: list[list[bool]]) -> None:
    opt = parsed(tmp_path, maps=[GRID], trained_on=trained_on)
    assert opt.maps[0].is_covered(opt.trained_on).tolist() == expected


def test_maps_without_cells_in_range_have_no_mean_there(tmp_path: Path) -> None:
    opt = parsed(tmp_path)
    summary, = summaries(opt, [Panel(opt.maps[0], 'Bicubic', '', {'psnr': np.array([[2.0, 1.0]])})])
    assert (summary.in_range, summary.out_of_range, summary.best_other, summary.gap) == (None, 1.5, None, None)


# ---------------------------------------------------------------------------------------------- going on
def test_what_is_finished_is_not_computed_again(images: Path, tmp_path: Path, run_cli: Callable, scored: list[str]) -> None:
    opt = options(methods={'Bicubic': BICUBIC, 'L': save_weights(tmp_path / 'w.pth')}, maps=[STRIP, GRID])

    def computed(**changes: Any) -> list[str]:
        scored.clear()
        assert run_cli('robustness', '-opt', write(opt | changes, tmp_path)) == 0
        return sorted(set(scored))
    assert computed() == ['Bicubic', 'L'] and len(scored) == 2 * 2 * (2 + 6)
    assert computed() == computed(trained_on='setting2') == computed(reference='L') == []
    assert computed(maps=[STRIP, GRID | {'columns': {'noise': [0]}}]) == ['Bicubic', 'L'] and len(scored) == 2 * 2 * 2
    save_weights(tmp_path / 'w.pth', seed=1)
    assert computed(maps=[STRIP]) == ['L']
    (tmp_path / 'w.pth').rename(tmp_path / 'away.pth')
    assert run_cli('robustness', '-opt', write(opt | {'maps': [STRIP]}, tmp_path), '--skip-missing') == 0
    assert [panel['method'] for panel in record(tmp_path)['maps'][0]['panels']] == ['Bicubic']
    (tmp_path / 'away.pth').rename(tmp_path / 'w.pth')
    assert computed(maps=[STRIP]) == []
    assert computed(maps=[STRIP], num_images=1) == ['Bicubic', 'L']
    cv2.imwrite(str(images / 'image_0.png'), np.zeros((80, 96, 3), np.uint8))
    assert computed(maps=[STRIP], num_images=1) == ['Bicubic', 'L']


def test_cells_of_another_version_are_computed_again(images: Path, tmp_path: Path, run_cli: Callable, scored: list[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(options(), tmp_path)
    for version in ('1', '2', '2'):
        monkeypatch.setattr(manifest, '__version__', version)
        assert run_cli('robustness', '-opt', path) == 0
    assert len(scored) == 2 * 2 * 2  # computed twice, two images of two cells


def test_an_interrupted_run_goes_on(images: Path, tmp_path: Path, run_cli: Callable, scored: list[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    path, score = write(options(maps=[STRIP, GRID]), tmp_path), robustness.score

    def interrupted(*arguments: Any) -> dict[str, float]:
        if len(scored) == 7:
            raise KeyboardInterrupt
        return score(*arguments)
    monkeypatch.setattr(robustness, 'score', interrupted)
    assert run_cli('robustness', '-opt', path) == 130
    assert [len(chart['panels']) for chart in record(tmp_path)['maps']] == [1, 0]
    scored.clear()
    monkeypatch.setattr(robustness, 'score', score)
    assert run_cli('robustness', '-opt', path) == 0 and len(scored) == 2 * 6
    assert [len(chart['panels']) for chart in record(tmp_path)['maps']] == [1, 1]


# ---------------------------------------------------------------------------------------------- the verb
def test_everything_is_written(images: Path, tmp_path: Path, run_cli: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    opt = options(reference='Bicubic', methods={'L': save_weights(tmp_path / 'w.pth'), 'Bicubic': BICUBIC},
                  maps=[GRID, {'name': 'JPEG + angle', 'columns': {'theta': [0, 90]}, 'fixed': {'motion': 9, 'jpeg': 40}}])
    assert run_cli('robustness', '-opt', write(opt, tmp_path)) == 0
    folder = tmp_path / 'results/maps'
    figures = [f'{stem}_psnr{kind}.{suffix}' for stem in ('grid', 'jpeg_angle') for kind in ('', '_difference')
               for suffix in ('pdf', 'png')]
    tables = ['robustness.csv', 'robustness.json', 'robustness.md']
    assert sorted(path.name for path in folder.iterdir()) == sorted([*figures, *tables])
    assert cv2.imread(str(folder / 'grid_psnr.png')).std() > 20
    with open(folder / 'robustness.csv') as file:
        rows = list(csv.DictReader(file))
    assert [(row['map'], row['method']) for row in rows] == [(m, n) for m in ('grid', 'JPEG + angle') for n in ('L', 'Bicubic')]
    assert rows[3]['worst case'] in ('theta0_motion9_jpeg40', 'theta90_motion9_jpeg40') and rows[3]['best other there'] == 'L'
    markdown = (folder / 'robustness.md').read_text()
    assert markdown in capsys.readouterr().out and '## JPEG + angle' in markdown


@pytest.mark.parametrize('num, shape', [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3))])
def test_panels_share_one_colour_scale(tmp_path: Path, num: int, shape: tuple[int, int],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(heat_maps, 'save', lambda figure, path: drawn.append(figure) or path)
    opt = parsed(tmp_path, maps=[GRID])
    chart, rng = opt.maps[0], np.random.default_rng(0)
    values = {f'method {i}': 20 + i + rng.random((2, 3)) for i in range(num)}
    heat_maps.draw(chart, values, chart.is_covered(opt.trained_on), 'psnr', 'x')
    panels = [axis for axis in drawn[0].axes if axis.images and axis.get_visible() and axis.get_title()]
    assert panels[0].get_subplotspec().get_gridspec().get_geometry() == shape and len(panels) == num
    limits = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    assert {axis.images[0].get_clim() for axis in panels} == {limits}
    row, column = np.unravel_index(values['method 0'].argmin(), (2, 3))
    assert panels[0].get_title() == (f'method 0\nworst: {values["method 0"].min():.2f} dB at σ {[1, 5][row]}, '
                                     f'noise {[0, 5, 30][column]}')


@pytest.mark.parametrize('edges', [{'columns': {'jpeg': [None, 90]}, 'fixed': {'sigma': 1}},
                                   {'rows': {'jpeg': [None, 90]}, 'columns': {'sigma': [1, 5]}}], ids=['columns', 'rows'])
def test_no_compression_is_a_value_of_an_axis(edges: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(heat_maps, 'save', lambda figure, path: drawn.append(figure) or path)
    opt = parsed(tmp_path, maps=[{'name': 'JPEG', **edges}])
    chart = opt.maps[0]
    heat_maps.draw(chart, {'L': np.arange(20.0, 20 + np.prod(chart.shape)).reshape(chart.shape)},
                   chart.is_covered(opt.trained_on), 'psnr', 'x')
    axis = drawn[0].axes[0]
    labels = axis.get_yticklabels() if chart.rows else axis.get_xticklabels()
    assert [label.get_text() for label in labels] == ['none', '90']
    assert 'dB at JPEG none' in axis.get_title() + axis.get_title('left')


def test_missing_weights_are_named_or_skipped(images: Path, tmp_path: Path, run_cli: Callable, scored: list[str],
                                              capsys: pytest.CaptureFixture[str]) -> None:
    path = write(options(methods={'Bicubic': BICUBIC, 'Ours': 'gone/w.pth'}), tmp_path)
    assert run_cli('robustness', '-opt', path) == 1
    assert 'methods: Ours: there is no file gone/w.pth: train it' in capsys.readouterr().err and not scored
    assert run_cli('robustness', '-opt', path, '--skip-missing') == 0
    assert 'Ours is left out: there is no file gone/w.pth' in capsys.readouterr().out and set(scored) == {'Bicubic'}
    for source, message in (({**BICUBIC, 'param_key': 'params'}, "A: unknown key 'param_key'"),
                            ({'network': {'scale': 4}}, "A: network must be a section with a type")):
        assert run_cli('robustness', '-opt', write(options(methods={'A': source}), tmp_path)) == 1
        assert message in capsys.readouterr().err
    path = write(options(methods={'Ours': 'gone/w.pth'}), tmp_path)
    assert run_cli('robustness', '-opt', path, '--skip-missing') == 1
    assert 'no method is left' in capsys.readouterr().err


def test_a_missing_matplotlib_is_told_at_once(images: Path, tmp_path: Path, run_cli: Callable, scored: list[str],
                                              capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(plots, 'heat_maps')
    monkeypatch.delitem(sys.modules, 'lightbsr_arch.evaluation.plots.heat_maps')
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert run_cli('robustness', '-opt', write(options(), tmp_path)) == 1
    assert 'figures need matplotlib: pip install lightbsr_arch[eval]' in capsys.readouterr().err and not scored


@pytest.mark.parametrize('path, value, message', [
    ('maps:0:colums', {}, r"maps\[0\]: unknown key 'colums'; did you mean 'columns'"),
    ('maps:0:columns', {'sgima': [1]}, r"maps\[0\].columns: unknown key 'sgima'; did you mean 'sigma'"),
    ('maps:0:columns', {'sigma': [1], 'noise': [1]}, 'must be one key of a degradation'),
    ('maps:0:columns', {'sigma': 1}, 'must be a list of different values'),
    ('maps:0:columns', {'sigma': [1, 1]}, 'must be a list of different values'),
    ('maps:0:columns', {'noise': [1]}, 'noise and noise: each key .* one of rows, columns and fixed'),
    ('maps:0:columns', {'sigma': [-1]}, r'maps\[0\] \(one\): degradation.sigma must be'),
    ('maps:0:columns', {'jpeg': [50]}, 'needs either sigma'),
    ('maps:0:fixed', {'noise': [0, 5]}, 'fixed takes single values'),
    ('maps:1', STRIP, 'figures are named after their maps'),
    ('maps', [], 'maps is empty'), ('maps:0:fixed', 3, r'fixed must be a section such as'),
    ('images', {'hr': 5}, "images: 'hr': 5 must be a name and a folder"), ('methods', {1: 'a.pth'}, 'a label must be a text, got 1'),
    ('maps', {}, 'maps must be a list'), ('maps:0', 'blur', 'must be a section'),
    ('trained_on', 'setting3', "trained_on: unknown degradation 'setting3'"),
    ('reference', 'bicubic', "reference: there is no method 'bicubic'; did you mean 'Bicubic'"),
    ('metrics', ['psnr', 'lpips'], 'metrics must be a list of psnr and ssim'), ('num_images', 0, 'num_images must be'),
    ('center_crop', '96', 'center_crop must be'), ('images', 'Set5', 'images must be a section'), ('methods', {}, 'methods must be a section'),
    ('methods:Bicubic', {'network': {'type': 'Bicubic', 'scale': 2}}, 'Bicubic makes 48x40 pixels of an LR image of 24x20, not x4'),
    ('images', {'Set5': 'nowhere'}, 'there is no folder .*nowhere'), ('sclae', 4, "unknown key 'sclae'; did you mean 'scale'"),
    ('name', 'a/b', 'name must be a text without a slash')])
def test_a_wrong_option_is_named(path: str, value: Any, message: str, images: Path, tmp_path: Path, run_cli: Callable,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    opt = copy.deepcopy(options())
    *parents, last = (int(key) if key.isdigit() else key for key in path.split(':'))
    section: Any = opt
    for key in parents:
        section = section[key]
    if isinstance(section, list) and last == len(section):
        section.append(value)
    else:
        section[last] = value
    assert run_cli('robustness', '-opt', write(opt, tmp_path)) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize('name', ['setting1', 'setting2'])
def test_the_packages_option_files_are_right(name: str) -> None:
    opt = robustness.read_options(str(ROOT / f'options/robustness_{name}.yml'))
    assert list(opt.methods) == ['Bicubic', 'LightBSR', 'KDSR-M'] and opt.reference == 'Bicubic'
    assert [m.name for m in opt.maps] == ['blur and noise', 'widths', 'angle', 'JPEG', 'motion blur']
    covered = [m.is_covered(opt.trained_on) for m in opt.maps]
    assert all(c.any() and not c.all() for c in covered[:2]) and not covered[3].any() and not covered[4].any()
    assert covered[2].all() == (name == 'setting2')
    assert opt.trained_on.noise == (0 if name == 'setting1' else (0, 25))
    assert opt.maps[2].cells[0][0] == Degradation(theta=0, lambda_1=3.5, lambda_2=1.0, noise=0 if name == 'setting1' else 10)
