from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from PIL import Image

from lightbsr_arch import checkpoints
from lightbsr_arch.degradations import Degradation, parse_degradation
from lightbsr_arch.evaluation.comparison import cut, degraded_scenes, load_candidates, real_scenes, restore, telling_region
from lightbsr_arch.evaluation.images import Scores, as_image, files_by_stem, find_image, read_image, score
from lightbsr_arch.evaluation.plots.crops import Layout, best_texts
from tests import tiny_options as tiny

RunCli = Callable[..., int]
BLUR = ('--degradation', 'sigma=1.2')
LIGHTBSR = {'type': 'LightBSR', **tiny.TINY}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save(LIGHTBSR, tmp_path / 'net.pth')


def save(section: dict[str, Any], path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network(dict(section))
    if getattr(network, 'pca_basis', None) is not None:
        network.pca_basis.normal_()
    checkpoints.write({'params': network.state_dict(), 'network': section}, str(path))
    return path


def write_image(path: Path, image: np.ndarray) -> Path:
    """An RGB image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert('RGB'))


def find(picture: np.ndarray, part: np.ndarray) -> tuple[int, int] | None:
    """Left and top of the place where a part stands in a picture, pixel for pixel."""
    distance = cv2.matchTemplate(picture, part, cv2.TM_SQDIFF)
    top, left = np.unravel_index(np.argmin(distance), distance.shape)
    is_there = np.array_equal(picture[top:top + part.shape[0], left:left + part.shape[1]], part)
    return (int(left), int(top)) if is_there else None


# ---------------------------------------------------------------------------------------------- the picture
def test_crops_are_enlarged_pixel_by_pixel_in_order(images: Path, weights: Path, run_cli: RunCli) -> None:
    box = 8, 20, 40, 32
    assert run_cli('compare', f'Mine={weights}', '--gt', images, *BLUR, '--images', 'image_1', '--box', '8,20,40,32',
                   '--zoom', 3, '-o', 'out/picture.png') == 0
    scene, = degraded_scenes(str(images), parse_degradation({'sigma': 1.2}, 4), 4, ['image_1'])
    restored = [restore(c, scene, 4) for c in load_candidates({'Mine': str(weights)}, 4)]
    panels = [scene.lq.repeat(4, 0).repeat(4, 1), *restored, read_image(str(images / 'image_1.png'))]
    crops = [panel[box[1]:box[1] + box[3], box[0]:box[0] + box[2]] for panel in panels]
    places = [find(pixels(Path('out/picture.png')), crop.repeat(3, 0).repeat(3, 1)) for crop in crops]
    assert None not in places
    lefts, tops = zip(*places)
    assert len(set(tops)) == 1 and lefts == tuple(lefts[0] + i * (120 + 8) for i in range(4))
    assert not list(Path('out').glob('.*.tmp'))


def test_figures_are_those_that_basicsr_test_prints(images: Path, tmp_path: Path, run_cli: RunCli,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    opt = tiny.benchmark(images)
    opt['val']['metrics'] = tiny.METRICS | {'ssim': {**tiny.METRICS['psnr'], 'type': 'calculate_ssim'}}
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    tested = re.search(r'sigma1.2 +\| ([\d.]+) +\| ([\d.]+)', capsys.readouterr().out)
    names = [path.stem for path in sorted(images.rglob('*.png'))]
    assert run_cli('compare', '--gt', images, *BLUR, '--images', *names) == 0
    figures = [tuple(map(float, pair)) for pair in re.findall(r'\| ([\d.]+) / ([\d.]+) +\|', capsys.readouterr().out)]
    assert len(figures) == 6
    np.testing.assert_allclose(np.mean(figures, 0), list(map(float, tested.groups())), atol=6e-3)


def test_many_methods_take_two_lines_beside_a_larger_whole(images: Path, run_cli: RunCli) -> None:
    finished = [f'{label}={images}' for label in 'ABC']
    sizes = {}
    for num in (1, 3):
        assert run_cli('compare', *finished[:num], '--gt', images, *BLUR, '--images', 'image_0', '--size', 48) == 0
        sizes[num] = pixels(Path('comparison.png')).shape
    assert sizes[3][0] > 1.8 * sizes[1][0]


def test_a_pdf_holds_text(images: Path, run_cli: RunCli) -> None:
    assert run_cli('compare', '--gt', images, *BLUR, '-o', 'picture.PDF') == 0
    assert Path('picture.PDF').read_bytes().startswith(b'%PDF')
    assert b'/Font' in Path('picture.PDF').read_bytes()


def test_names_that_matplotlib_would_take_for_mathematics(tmp_path: Path, run_cli: RunCli) -> None:
    write_image(tmp_path / '$x^2$_$.png', noise(64, 64))
    assert run_cli('compare', '--gt', tmp_path / '$x^2$_$.png', *BLUR) == 0


def test_captions_fit_their_crops() -> None:
    from lightbsr_arch.evaluation.comparison import Row
    crop = np.zeros((40, 40, 3), np.uint8)
    row = Row('image', np.zeros((80, 80, 3), np.uint8), (0, 0, 40, 40), {'LR': crop, 'a very long label indeed': crop}, {})
    assert Layout([row], 3).font < 10 < Layout([row], 8).font <= 24


@pytest.mark.parametrize('scores, expected', [
    ({'a': Scores(27.1, 0.9), 'b': Scores(26.0, 0.91)}, ('27.10', '0.9100')),
    ({'a': Scores(27.101, 0.9), 'b': Scores(27.104, 0.9)}, ('27.10', '0.9000')), ({}, ())])
def test_the_best_are_told_by_what_is_shown(scores: dict[str, Scores], expected: tuple[str, ...]) -> None:
    assert best_texts(scores) == expected


# ---------------------------------------------------------------------------------------------- sources
def test_finished_images_of_a_test_run_are_found(images: Path, tmp_path: Path, run_cli: RunCli,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    opt = tiny.benchmark(images)
    opt['val']['save_img'] = True
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
    assert run_cli('compare', 'again=results/test/visualization/Set5_sigma1.2', '--gt', images, *BLUR, '--images', 'image_5') == 0
    row = capsys.readouterr().out.split('image_5, σ = 1.2')[1]
    bicubic, again = re.findall(r'[\d.]+ / [\d.]+', row)
    assert bicubic == again


def test_an_image_with_a_longer_name_is_not_taken_for_another(tmp_path: Path) -> None:
    for name in ('bird_b_x4.png', 'bird_b_c_x4.png'):
        write_image(tmp_path / name, noise(4, 4))
    files, stems = files_by_stem(str(tmp_path)), ('bird', 'bird_b', 'bird_b_c')
    assert [find_image(files, stem, stems) for stem in stems] == [None, *(str(tmp_path / f'{s}_x4.png') for s in stems[1:])]


@pytest.mark.parametrize('names, stem, expected', [
    (['bird.png', 'bird_2.png'], 'bird', 'bird.png'), (['bird_run.png', 'birds_run.png'], 'bird', 'bird_run.png'),
    (['nested/bird.jpg'], 'bird', 'nested/bird.jpg'), (['birds.png'], 'bird', None),
    (['bird_a.png', 'bird_b.png'], 'bird', ValueError), (['a/bird.png', 'b/bird.png'], 'bird', ValueError)])
def test_an_image_is_found_by_its_name(names: list[str], stem: str, expected: Any, tmp_path: Path) -> None:
    for name in names:
        write_image(tmp_path / name, noise(4, 4))
    if expected is ValueError:
        with pytest.raises(ValueError, match='several images could be the one of bird'):
            find_image(files_by_stem(str(tmp_path)), stem)
    else:
        found = find_image(files_by_stem(str(tmp_path)), stem)
        assert found == (expected and str(tmp_path / expected))


def test_real_images_have_no_figures_and_pairs_have(images: Path, tmp_path: Path, weights: Path, run_cli: RunCli,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    lq = write_image(tmp_path / 'lq' / 'image_0.png', noise(20, 24))
    assert run_cli('compare', f'Mine={weights}', '--lq', lq.parent, '--box', '8,20,40,32', '--zoom', 3) == 0
    assert 'Bicubic' not in capsys.readouterr().out
    scene, = real_scenes(str(lq), 4)
    panels = [scene.lq.repeat(4, 0).repeat(4, 1), *(restore(c, scene, 4) for c in load_candidates({'Mine': str(weights)}, 4))]
    crops = [cut(panel, (8, 20, 40, 32)).repeat(3, 0).repeat(3, 1) for panel in panels]
    assert None not in [find(pixels(Path('comparison.png')), crop) for crop in crops]
    for gt in (images, images / 'image_0.png'):
        assert run_cli('compare', f'Mine={weights}', '--lq', lq, '--gt', gt) == 0
        assert re.search(r'\| [\d.]+ / -?[\d.]+ +\| [\d.]+ / -?[\d.]+ +\|', capsys.readouterr().out)


def test_a_teacher_is_given_the_kernel(images: Path, tmp_path: Path, run_cli: RunCli, capsys: pytest.CaptureFixture[str]) -> None:
    section = {'type': 'LightBSRTeacher', **tiny.TINY, 'queue_size': 16}
    teacher = save(section, tmp_path / 'teacher.pth')
    assert run_cli('compare', f'T={teacher}', '--gt', images, *BLUR, '--images', 'image_0') == 0
    lq = write_image(tmp_path / 'lq.png', noise(20, 24))
    assert run_cli('compare', f'T={teacher}', '--lq', lq) == 1
    assert 'T: a LightBSRTeacher is given the HR image or the blur kernel besides' in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- regions
def test_the_region_is_where_methods_differ_most() -> None:
    flat = np.full((64, 80, 3), 128, np.uint8)
    other = flat.copy()
    other[24:40, 32:48] = 200
    assert telling_region([flat, other], 16, 4) == (32, 24, 16, 16)
    assert telling_region([other], 24, 4) in {(28, 20, 24, 24)}  # all edges of the square within


@pytest.mark.parametrize('shape, size, expected', [
    ((20, 24), 80, (0, 0, 24, 20)), ((21, 26), 80, (0, 0, 24, 20)), ((3, 3), 8, (0, 0, 1, 1)), ((40, 40), 16, None)])
def test_the_region_fits_small_images(shape: tuple[int, int], size: int, expected: Any) -> None:
    box = telling_region([noise(*shape), noise(*shape, seed=1)], size, 4)
    assert box == expected or expected is None and min(box[:2]) >= 4 and box[0] % 4 == box[1] % 4 == 0
    assert box == telling_region([noise(*shape), noise(*shape, seed=1)], size, 4)


def test_score_is_the_papers() -> None:
    gt = noise(32, 32)
    image = np.clip(gt.astype(int) + 2, 0, 255).astype(np.uint8)
    image[:4] = 0  # in the border that is cut
    assert score(gt, gt, 4) == Scores(np.inf, 1.0)
    assert 42 < score(image, gt, 4).psnr < 45 and score(image, gt, 0).psnr < 20
    assert as_image(torch.tensor([[[0.5]], [[1.2]], [[-1.0]]])).tolist() == [[[128, 255, 0]]]


# ---------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize('arguments, message', [
    (['--gt', 'images'], 'give --gt with --degradation'), ([], 'give --gt with --degradation'),
    (['--degradation', 'sigma=1'], '--degradation needs the HR images'),
    (['--degradation', 'sigma=1', '--lq', 'images'], '--degradation needs the HR images'),
    (['--gt', 'images', '--lq', 'images', *BLUR], 'give --gt with --degradation'),
    (['--gt', 'gone', *BLUR], 'there is no folder .*gone'),
    (['--gt', 'images', '--degradation', 'sigma'], 'takes KEY=NUMBER'),
    (['--gt', 'images', *BLUR, '--images', 'imag_1'], "holds no image imag_1; did you mean 'image_1'"),
    (['--gt', 'images', *BLUR, '--box', '1,2,3'], '--box must be left,top,width,height'),
    (['--gt', 'images', *BLUR, '--box', '90,0,40,40'], '90,0,40,40 .* leaves image_0, which has 96x80 pixels'),
    (['--gt', 'images', *BLUR, '--box', '0,0,9,9', '--box', '0,0,9,9'], '2 times for 3 images'),
    (['--gt', 'images', *BLUR, '-o', 'picture.jpg'], 'written as .png or .pdf'),
    (['GT=images', '--gt', 'images', *BLUR], 'GT is in the picture already'),
    (['A=images', 'A=small', '--gt', 'images', *BLUR], 'two methods are called A'),
    (['A=gone.pth', '--gt', 'images', *BLUR], 'A: there is no file or folder gone.pth'),
    (['small', '--gt', 'images', *BLUR], 'small: image_0 has 24x20 pixels .* 96x80 are 4 times the LR image'),
    (['A=other', '--gt', 'images', *BLUR], 'A: other holds no image named image_0'),
    (['--lq', 'images', '--gt', 'images'], 'has 96x80 pixels, not 4 times those of'),
    (['--lq', 'other', '--gt', 'images'], 'images holds no HR image of other/stranger.png'),
    (['--lq', 'net.pth'], 'cannot be read as an image')], ids=lambda value: ' '.join(value) if isinstance(value, list) else '')
def test_mistakes_are_answered_in_one_line(arguments: list[str], message: str, images: Path, weights: Path, tmp_path: Path,
                                           run_cli: RunCli, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / 'small' / 'image_0.png', noise(20, 24))
    write_image(tmp_path / 'other' / 'stranger.png', noise(20, 24))
    assert run_cli('compare', *arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('basicsr compare: error: ') and re.search(message, error)
    assert not Path('comparison.png').exists()


def test_symbols_of_a_degradation() -> None:
    assert Degradation(sigma=2.4).symbols == 'σ = 2.4'
    assert Degradation(theta=30, lambda_1=3.5, lambda_2=1.5, noise=5, jpeg=40).symbols == (
        'θ = 30°; λ = 3.5, 1.5; noise 5; JPEG 40')
    assert Degradation(motion=15, theta=45, noise=(0, 25)).symbols == 'θ = 45°; motion 15; noise 0–25'
