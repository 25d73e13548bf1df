from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest

from lightbsr_arch import basicsr_compat
from lightbsr_arch.cli.main import main
from lightbsr_arch.evaluation.report.charts import binned, line_chart, log_ticks, number, ticks
from lightbsr_arch.evaluation.report.logs import LEARNING_RATE, Log, read_logs
from lightbsr_arch.evaluation.report.markup import element
from lightbsr_arch.evaluation.report.page import page
from lightbsr_arch.evaluation.report.pictures import MAX_EDGE, collect, data_uri, middle
from lightbsr_arch.evaluation.report.runs import TrainingRun, read_runs
from lightbsr_arch.evaluation.report.sections import training
from lightbsr_arch.evaluation.tables import report
from tests import tiny_options as tiny
from tests.browser import Browser
from tests.test_compare import noise, save

NAME = 'mine <b>&"x"'  # what HTML must not take for its own
TEST, BICUBIC, TRAINING = f'results/{NAME}', 'results/bicubic', 'experiments/teacher'


@pytest.fixture(scope='module')
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a network and bicubic interpolation were tested, and a teacher was trained."""
    folder = tmp_path_factory.mktemp('runs')
    for i in range(3):
        small = np.random.default_rng(i).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        (folder / 'images').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'images/image_{i}.png'), cv2.resize(small, (96, 80), interpolation=cv2.INTER_CUBIC))
    weights = save({'type': 'LightBSR', **tiny.TINY}, folder / 'net.pth')
    both = tiny.benchmark(Path('images'), 'bicubic')
    both['datasets']['test']['degradations'] = [{'sigma': 1.2}, {'sigma': 2.4}]
    both['val'] |= {'save_img': True, 'metrics': tiny.METRICS | {'ssim': {**tiny.METRICS['psnr'], 'type': 'calculate_ssim'}}}
    mine = {**both, 'name': NAME, 'model_type': 'LightBSRStudentModel', 'network_g': {'type': 'LightBSR', **tiny.TINY},
            'path': {'pretrain_network_g': str(weights)}}
    teacher = tiny.teacher(folder / 'images', 'teacher')
    teacher['val'] |= {'val_freq': 1, 'save_img': True}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr('sys.argv', ['basicsr'])
        for verb, opt in (('test', both), ('test', mine), ('train', teacher)):
            path = folder / f'{opt["name"]}.yml'
            tiny.write(opt, folder)
            try:
                assert main([verb, '-opt', str(path)]) == 0
            finally:
                basicsr_compat.reset_logger()
    return folder


@pytest.fixture
def there(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the place where the test runs."""
    shutil.copytree(runs, tmp_path / 'runs')
    monkeypatch.chdir(tmp_path / 'runs')
    return tmp_path / 'runs'


class Outline(HTMLParser):
    """Checks that elements are closed in order; collects texts by the element around them, addresses and tags."""

    VOID = {'meta', 'img', 'input'}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else '', []).append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


# ---------------------------------------------------------------------------------------------- the page
def test_the_page_has_it_all_and_asks_for_nothing(there: Path) -> None:
    assert main(['report', TEST, BICUBIC, TRAINING, '-o', 'out/page.html', '--images', '2']) == 0
    text = Path('out/page.html').read_text(encoding='utf-8')
    outline = Outline(text)
    assert outline.texts['h2'] == ['Figures', 'Images', 'Training of teacher', 'Made with']
    assert outline.texts['h1'] == [f'{NAME}, bicubic, teacher'] and '<b>&' not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text) and 'url(' not in text and '@import' not in text
    assert len(list(outline.all('img'))) == 2 * 3 and all(image['alt'] for image in outline.all('img'))
    assert {f'{row["psnr"]:.2f}' for row in json.loads(Path(BICUBIC, 'table.json').read_text())['rows']} <= set(
        outline.texts['td'] + outline.texts['b'])
    assert any('LightBSR, Table 3' in summary for summary in outline.texts['summary'])
    assert '32.47' in outline.texts['td']  # the paper's
    assert {'psnr in validation', 'l_pix', 'l_contrastive', LEARNING_RATE} <= set(outline.texts['figcaption'])
    assert any('contrastive_opt:' in pre for pre in outline.texts['pre']) and any('torch: ' in pre for pre in outline.texts['pre'])
    assert not list(Path('out').glob('.*.tmp'))


def test_one_slider_for_each_image_and_bicubic_first(there: Path) -> None:
    pictures = collect(read_runs([TEST, BICUBIC, TRAINING]), 100)
    assert len(pictures) == 3 * 2 + 3  # images x degradations, and the training's
    assert [p.title for p in pictures[:2]] == ['Set5 ×4, σ = 1.2: image_0', 'Set5 ×4, σ = 2.4: image_1']
    assert list(pictures[0].layers) == ['bicubic', NAME, 'GT']
    assert list(pictures[2].layers) == ['iteration 3', 'iteration 4']  # the first stage validates no images
    rows = json.loads(Path(BICUBIC, 'table.json').read_text())['rows']
    tested = [p.psnr['bicubic'] for p in pictures if 'σ = 1.2' in p.title]
    assert np.mean(tested) == pytest.approx(rows[0]['psnr'], abs=1e-6)


def test_bicubic_is_computed_where_it_was_not_tested(there: Path) -> None:
    with_run = collect(read_runs([TEST, BICUBIC]), 1)[0]
    without = collect(read_runs([TEST]), 1)[0]
    assert list(without.layers) == ['bicubic', NAME, 'GT']
    np.testing.assert_array_equal(without.layers['bicubic'], with_run.layers['bicubic'])


def test_lr_images_alone_are_shown_without_figures(images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    photos = {'name': 'photos', 'type': 'SingleImageDataset', 'dataroot_lq': str(images / 'nested'), 'io_backend': {'type': 'disk'}}
    opt = tiny.benchmark(images, datasets={'test': photos}, val={'save_img': True, 'suffix': None})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0 == run_cli('report', 'results/test')
    pictures = collect(read_runs(['results/test']), 100)
    assert [(p.title, list(p.layers), p.psnr) for p in pictures] == [(f'photos ×4: image_{i}', ['test'], {}) for i in (4, 5)]


@pytest.mark.parametrize('scale, crop, title', [
    (2, None, 'Set5 ×2, σ = 1.2: image_0'), (4, 64, 'Set5 ×4, σ = 1.2, middle 64×64: image_0'), (4, None, 'Set5 ×4, σ = 1.2: image_0')])
def test_runs_of_another_scale_or_crop_have_pictures_of_their_own(scale: int, crop: int | None, title: str,
                                                                  run_cli: Callable[..., int], there: Path) -> None:
    opt = tiny.benchmark(Path('images'), 'other', scale=scale, network_g={'type': 'Bicubic', 'scale': scale})
    opt['datasets']['test']['center_crop'] = crop
    opt['val'] = {'save_img': True, 'suffix': None, 'metrics': {'psnr': {'type': 'calculate_psnr', 'test_y_channel': True}}}
    assert run_cli('test', '-opt', tiny.write(opt, there)) == 0
    pictures = [p for p in collect(read_runs([BICUBIC, 'results/other']), 100) if 'other' in p.layers]
    assert title in [p.title for p in pictures] and {'bicubic' in p.layers for p in pictures} == {(scale, crop) == (4, None)}
    tested = json.loads(Path('results/other/table.json').read_text())['rows'][0]['psnr']
    assert np.mean([p.psnr['other'] for p in pictures]) == pytest.approx(tested, abs=1e-6)


def test_hr_images_of_pairs_are_cut_as_they_were_tested(run_cli: Callable[..., int], there: Path) -> None:
    Path('lq').mkdir()
    for path in Path('images').iterdir():
        cv2.imwrite(f'lq/{path.name}', cv2.resize(cv2.imread(str(path)), (23, 19)))
    opt = tiny.benchmark(Path('images'), 'pairs', datasets={'test': {
        'name': 'pairs', 'type': 'PairedImageDataset', 'dataroot_gt': 'images', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}})
    opt['val']['save_img'] = True
    assert run_cli('test', '-opt', tiny.write(opt, there)) == 0
    pictures = collect(read_runs(['results/pairs']), 100)
    tested = json.loads(Path('results/pairs/table.json').read_text())['rows'][0]['psnr']
    assert [p.layers['GT'].shape for p in pictures] == [(76, 92, 3)] * 3
    assert np.mean([p.psnr['pairs'] for p in pictures]) == pytest.approx(tested, abs=1e-6)


def test_frames_of_clips_are_told_by_their_folders(run_cli: Callable[..., int], there: Path) -> None:
    """As VideoBaseModel saves them: <data set>/<clip>/<frame>_<run>.png."""
    frames = {}
    for clip, source in (('000', 'image_0'), ('011', 'image_1')):
        for path in (there / f'clips/{clip}/00000000.png',
                     there / f'results/reds/visualization/REDS4/{clip}/00000000_reds.png'):
            path.parent.mkdir(parents=True)
            shutil.copy(there / f'images/{source}.png', path)
        frames[f'{clip}/00000000'] = cv2.imread(str(path))[..., ::-1]
    section = {'name': 'REDS4', 'dataroot_gt': 'clips'}
    report({**tiny.benchmark(there, 'reds'), 'path': {'results_root': 'results/reds'}, 'datasets': {'test': section}}, {})
    assert run_cli('report', 'results/reds') == 0
    pictures = collect(read_runs(['results/reds']), 100)
    assert [picture.title for picture in pictures] == [f'REDS4 ×4: {name}' for name in frames]
    for picture, frame in zip(pictures, frames.values()):
        np.testing.assert_array_equal(picture.layers['reds'], frame)


@pytest.mark.parametrize('metric, best', [
    ('psnr', '5.0000'), ('probe_accuracy', '5.0000'), ('positive_similarity', '5.0000'), ('negative_similarity', '0.1000'),
    ('l_channel', '0.1000'), ('lpips', '0.1000'), ('my_lpips', '0.1000')])
def test_the_best_validation_is_the_smallest_loss_or_distance(metric: str, best: str) -> None:
    run = TrainingRun('', 'run', Log(validation={metric: {'Set5': {100: 5.0, 200: 0.1}}}, last=200), None)
    assert Outline(''.join(training(run))).texts['td'] == [metric, best, '100' if best == '5.0000' else '200', '0.1000']


@pytest.mark.parametrize('better, bold', [({}, '0.3000'), ({'better': 'higher'}, '0.3000'), ({'better': 'lower'}, '0.2000')])
def test_the_best_result_is_told_by_the_metrics_options(better: dict[str, str], bold: str, tmp_path: Path) -> None:
    for label, value in (('a', 0.3), ('b', 0.2)):
        results = {'name': label, 'network': {'type': 'EDSR'}, 'scale': 2, 'metrics': {'mine': {'type': 'm', **better}},
                   'rows': [{'dataset': 'Set5', 'degradation': '', 'mine': value}]}
        (tmp_path / label).mkdir()
        (tmp_path / label / 'table.json').write_text(json.dumps(results))
    assert Outline(page(read_runs([str(tmp_path / label) for label in 'ab']))).texts['b'] == [bold]


def damage_gt() -> None:
    for path in Path('images').iterdir():
        cv2.imwrite(str(path), noise(80, 96))


@pytest.mark.parametrize('change, layers', [
    (damage_gt, ['bicubic', NAME]), (lambda: shutil.rmtree('images'), ['bicubic', NAME]),
    (lambda: shutil.rmtree(f'{BICUBIC}/visualization'), ['bicubic', NAME, 'GT']), (lambda: None, ['bicubic', NAME, 'GT'])])
def test_hr_images_that_are_gone_or_others_are_left_out(change: Callable[[], None], layers: list[str], there: Path) -> None:
    change()
    assert list(collect(read_runs([TEST, BICUBIC]), 1)[0].layers) == layers


@pytest.mark.parametrize('gone, expected', [
    (f'{TEST}/visualization', 'no images (test with val: save_img: true)'),
    (f'{TEST}/manifest.json', 'manifest.json is missing: images and versions are unknown'),
    (f'{TRAINING}/teacher.yml', 'teacher: no option file beside the log')])
def test_missing_parts_are_noted(gone: str, expected: str, there: Path) -> None:
    shutil.rmtree(gone) if Path(gone).is_dir() else Path(gone).unlink()
    notes = Outline(page(read_runs([TEST, TRAINING])))
    assert any(expected in text for text in notes.texts['p'])


def test_runs_of_one_name_are_told_apart(there: Path) -> None:
    shutil.copytree(BICUBIC, 'results/again')
    assert [run.label for run in read_runs([BICUBIC, 'results/again'])] == ['bicubic (results/bicubic)', 'bicubic (results/again)']


def test_what_stands_beside_runs_is_left_out(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path('results/table.csv').touch()
    Path('results/idr').mkdir()
    assert main(['report', BICUBIC, 'results/idr', 'results/table.csv']) == 0 and Path('report.html').exists()
    assert capsys.readouterr().err.splitlines() == [
        'left out, no results of `basicsr test` or `basicsr train`: results/idr results/table.csv']
    assert main(['report', 'results/table.csv']) == 1
    assert 'results/table.csv holds no result: ' in (err := capsys.readouterr().err) and err.endswith(': it is a file\n')


@pytest.mark.parametrize('arguments, message', [
    (['gone'], 'gone holds no result: .*there is no such folder'),
    (['images'], "images holds no result: neither the table.json of `basicsr test` nor the train_.*.log of `basicsr train`"),
    (['results'], r'Did you mean results/bicubic results/mine'), (['damaged'], 'damaged/table.json holds no results'),
    (['halved'], 'halved/manifest.json was not written by `basicsr test`, or is damaged')], ids=str)
def test_what_is_no_result_is_an_error(arguments: list[str], message: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path('damaged').mkdir()
    Path('damaged/table.json').write_text('{"name": ')
    shutil.copytree(BICUBIC, 'halved')
    Path('halved/manifest.json').write_text('{"test_sets"')
    assert main(['report', *arguments]) == 1
    assert re.search(f'basicsr report: error: .*{message}', capsys.readouterr().err)
    assert not Path('report.html').exists()


def test_large_images_are_cut_to_their_middle() -> None:
    large = noise(40, MAX_EDGE + 100)
    np.testing.assert_array_equal(middle(large), large[:, 50:-50])
    assert data_uri(noise(8, 8)).startswith('data:image/webp;base64,')


# ---------------------------------------------------------------------------------------------- in a browser
def test_the_page_in_chromium(there: Path, tmp_path: Path) -> None:
    assert main(['report', TEST, BICUBIC, TRAINING]) == 0
    address = Path('report.html').absolute().as_uri()
    with Browser(tmp_path / 'profile') as browser:
        colours = []
        for width, is_dark in ((1280, False), (1280, True), (400, False)):
            browser.open(address, width, is_dark=is_dark)
            assert browser.run('document.documentElement.scrollWidth') <= width
            colours.append(browser.run('getComputedStyle(document.body).backgroundColor'))
        assert colours[0] == colours[2] != colours[1]
        assert all(image > 0 for image in browser.run('[...document.images].map((image) => image.naturalWidth)'))
        assert {request for request in browser.requests if not request.startswith('data:')} == {address}
        assert browser.messages == []


def test_the_boundary_moves(there: Path, tmp_path: Path) -> None:
    assert main(['report', TEST, BICUBIC, '--images', '1']) == 0
    left_edge = "getComputedStyle(document.querySelector('.stage .right')).clipPath.match(/([\\d.]+)%\\)$/)[1]"
    shown = "[...document.querySelectorAll('.stage img')].map((i) => getComputedStyle(i).visibility === 'visible')"
    with Browser(tmp_path / 'profile') as browser:
        browser.open(Path('report.html').absolute().as_uri(), 400)
        browser.run("document.querySelector('.compare').scrollIntoView({behavior: 'instant'})")
        box = browser.run("(({x, y, width, height}) => [x, y, width, height])(document.querySelector('.stage').getBoundingClientRect())")
        assert float(browser.run(left_edge)) == 50 and browser.run(shown) == [True, True, False]
        browser.run("document.querySelector('.compare input').focus()")
        browser.press('ArrowLeft', 10)
        assert float(browser.run(left_edge)) == 45
        browser.press('End')
        assert float(browser.run(left_edge)) == 100
        at = lambda part: (box[0] + part * box[2], box[1] + box[3] / 2)  # noqa: E731
        browser.drag(at(0.5), at(0.25))
        assert float(browser.run(left_edge)) == pytest.approx(25, abs=1)
        browser.touch(at(0.3), at(0.8))
        assert float(browser.run(left_edge)) == pytest.approx(80, abs=1)
        assert float(browser.run("document.querySelector('.compare input').value")) == pytest.approx(80, abs=1)
        browser.run("(() => { const s = document.querySelector('select.right'); s.value = 2; s.dispatchEvent(new Event('change')); })()")
        assert browser.run(shown) == [True, False, True]
        assert browser.messages == []


# ---------------------------------------------------------------------------------------------- logs
HEAD = """\
2026-01-01 10:00:00,000 INFO: BasicSR 1.4.2, torch 2.5.0, torchvision 0.20.0
2026-01-01 10:00:00,001 INFO: 
  train:[
    total_iter: {total}
  ]
  val:[
    val_freq: {every}
  ]
"""


def step(iteration: int, figures: str = 'l_pix: 1.0e+00 ', rate: str = '1.000e-03') -> str:
    return (f'2026-01-01 10:00:{iteration % 60:02d},000 INFO: [teach..][epoch:  0, iter:{iteration:8,d}, lr:({rate},)] '
            f'[eta: 1 day, 0:02:14, time (data): 0.439 (0.048)] {figures}\n')


def validation(psnr: float, name: str = 'Set5_sigma2.4') -> str:
    return f'2026-01-01 11:00:00,000 INFO: Validation {name}\n\t # psnr: {psnr:.4f}\tBest: {psnr:.4f} @ 1 iter\n\n'


def test_a_log_is_read() -> None:
    log = read_logs([HEAD.format(total=3000, every='1000.0') + "2026-01-01 10:00:00,002 INFO: Stage: Stage(trains='idr', iterations=1)\n"
                     + step(500, 'l_pix: 2.5000e+00 l_idr: nan contrastive_accuracy: 5.0e-01 learning_rate: 1.0e-03 ')
                     + step(1000) + "2026-01-01 10:00:00,002 INFO: Stage: Stage(trains='all', iterations=2)\n" + validation(30.5)
                     + '2026-01-01 12:00:00,000 INFO: Validation Set5, stage idr: accuracy 0.25\n'])
    assert log.steps == {'l_pix': {500: 2.5, 1000: 1.0}, 'contrastive_accuracy': {500: 0.5}, 'l_idr': {},
                         LEARNING_RATE: {500: 1e-3, 1000: 1e-3}}
    assert log.validation == {'psnr': {'Set5_sigma2.4': {1000: 30.5}}, 'accuracy': {'Set5, stage idr': {1000: 0.25}}}
    assert log.stage_names == {0: 'idr', 1000: 'all'} and log.skipped == 1
    assert (log.begun, log.ended) == ('2026-01-01 10:00:00', '2026-01-01 12:00:00')
    assert (log.last, log.total_iter, log.versions) == (1000, 3000, 'BasicSR 1.4.2, torch 2.5.0, torchvision 0.20.0')


@pytest.mark.parametrize('total, every, events, expected', [
    (400, 100, [100, 'v', 200, 'v'], [100, 200]), (400, 150, [100, 'v', 200, 300, 'v'], [150, 300]),
    (450, 200, [200, 'v', 400, 'v', 'v'], [200, 400, 450]), (400, 200, [200, 'v', 400, 'v', 'v'], [200, 400]),
    (1000, 10, ['v', 100, 'v'], [0, 100])])
def test_the_iteration_of_a_validation(total: int, every: int, events: list[Any], expected: list[int]) -> None:
    lines = ''.join(validation(30) if event == 'v' else step(event) for event in events)
    log = read_logs([HEAD.format(total=total, every=every) + lines])
    assert list(log.validation['psnr']['Set5_sigma2.4']) == expected


def stage(trains: str) -> str:
    return f"2026-01-01 10:00:00,002 INFO: Stage: Stage(trains='{trains}', iterations=2, lr=0.001)\n"


@pytest.mark.parametrize('state, again, stages', [(200, 'all', {0: 'idr', 100: 'all'}), (50, 'idr', {0: 'idr'}),
                                                  (100, 'all', {0: 'idr', 100: 'all'})])
def test_a_resumed_run_goes_on_from_its_state(state: int, again: str, stages: dict[int, str]) -> None:
    first = (HEAD.format(total=400, every=100) + stage('idr') + step(100) + validation(30) + stage('all') + step(200)
             + step(300, 'l_pix: 9.0e+00 '))
    second = (f'2026-01-01 13:00:00,000 INFO: Resuming training from epoch: 0, iter: {state}.\n' + stage(again)
              + step(300, 'l_pix: 5.0e-01 ') + validation(31))
    log = read_logs([first, second])
    kept = {i: value for i, value in {100: 1.0, 200: 1.0}.items() if i <= state}
    assert log.steps['l_pix'] == kept | {300: 0.5} and log.stage_names == stages
    assert log.validation['psnr']['Set5_sigma2.4'] == ({100: 30} if state >= 100 else {}) | {300: 31}
    assert read_logs([first, second.split('\n')[0]]).last == state


# ---------------------------------------------------------------------------------------------- charts
def test_a_chart_puts_values_where_they_belong() -> None:
    chart = line_chart('loss <l>', {'a': {0: 0.0, 50: 1.0, 100: 2.0}, 'b': {100: 1.0}}, 100, {0: 'idr', 50: 'all'}, with_points=True)
    x, y = np.array([point.split(',') for point in re.findall(r'polyline points="([^"]+)"', chart)[0].split()], float).T
    assert x.tolist() == [52, 226, 400] and y[0] > y[1] > y[2] and y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2)
    assert 'loss &lt;l&gt;' in chart and '<li class="c1">b</li>' in chart and 'a, iteration 50: 1' in chart
    assert chart.count('class="stage"') == 1 and '>all</text>' in chart


def test_values_far_apart_are_drawn_logarithmically() -> None:
    chart = line_chart('loss', {'a': {0: 1000.0, 50: 10.0, 100: 0.1}}, 100)
    y = [float(point.split(',')[1]) for point in re.findall(r'polyline points="([^"]+)"', chart)[0].split()]
    assert y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.2)


def test_long_curves_are_drawn_as_means_in_a_band() -> None:
    points = [(i, math.sin(i)) for i in range(5000)]
    x, mean, low, high = binned(points, 100)
    assert len(x) == 100 and (low <= mean).all() and (mean <= high).all() and low.min() < -0.99 and high.max() > 0.99
    assert 'polygon' in line_chart('long', {'a': dict(points)}, 5000) and 'polygon' not in line_chart('short', {'a': {0: 1.0, 5: 2.0}}, 5)


@pytest.mark.parametrize('values, expected', [
    (ticks(0, 450), [0, 100, 200, 300, 400]), (ticks(28.5, 29.9), [28.5, 29, 29.5]), (ticks(-0.15, 0.17), [-0.1, 0, 0.1]),
    (log_ticks(-5, -3), [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]),
    (log_ticks(0, 1), [1, 2, 5, 10]), (log_ticks(-10, 10), [1e-10, 1e-6, 1e-2, 1e2, 1e6, 1e10])])
def test_ticks_are_round(values: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize('value, text', [(0, '0'), (250_000, '250k'), (1_500_000, '1.5M'), (1e-5, '1e-5'), (0.0003, '0.0003'),
                                         (29.5, '29.5'), (-0.1, '-0.1'), (2000, '2000')])
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_texts_are_escaped_and_elements_are_not() -> None:
    inner = element('b', 'a<b & "c"')
    assert element('td', inner, '<i>', class_='x"y', data_n=None, hidden=True) == (
        '<td class="x&quot;y" hidden><b>a&lt;b &amp; &quot;c&quot;</b>&lt;i&gt;</td>')
