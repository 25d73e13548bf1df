from __future__ import annotations

import os
import socket
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from lightbsr_arch.cli import ui
from tests.browser import Browser
from tests.test_compare import noise, write_image
from tests.test_image_files import GRAY_ICC, ICC

RunCli = Callable[..., int]


def enlarge(image: np.ndarray, model: str, outscale: float) -> np.ndarray:
    """Stands in for an upscaler."""
    if model == 'noisy':
        raise ValueError('the bundled weights are not there')
    return np.asarray(Image.fromarray(image).resize([round(outscale * n) for n in image.shape[1::-1]], Image.Resampling.NEAREST))


@pytest.fixture
def upscalers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Weights and outscale of each upscaler that is made, in place of those of the package."""
    made = []

    class Upscaler:
        def __init__(self, weights: str | None = None, outscale: float | None = None) -> None:
            if weights == 'gone.pth':
                raise ValueError('there is no file gone.pth')
            made.append((weights, outscale))
            self.outscale = outscale

        def __call__(self, image: np.ndarray) -> np.ndarray:
            return enlarge(image, 'auto', self.outscale)

    module = types.ModuleType('lightbsr_arch.inference')
    module.Upscaler, module.bundled = Upscaler, types.SimpleNamespace(MODELS={'clean': 'A', 'noisy': 'B'})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


# ---------------------------------------------------------------------------------------------- the work behind the button
@pytest.mark.parametrize('outscale, size', [(4.0, (48, 40)), (1.5, (18, 15))])
def test_before_and_after_are_of_one_size_and_the_file_is_the_result(outscale: float, size: tuple[int, int], tmp_path: Path) -> None:
    image = noise(10, 12)
    path = write_image(tmp_path / 'photo.png', image)
    (before, after), file = ui.upscale(str(path), 'auto', outscale, enlarge, str(tmp_path))
    assert before.shape == after.shape == (*size[::-1], 3) and not np.array_equal(before, after)
    assert os.path.basename(file) == f'photo_x{outscale:g}.png'
    np.testing.assert_array_equal(np.asarray(Image.open(file)), enlarge(image, 'auto', outscale))


def test_large_results_are_shown_smaller_and_downloaded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, 'MAX_SHOWN', 20)
    (before, after), file = ui.upscale(str(write_image(tmp_path / 'a.png', noise(10, 12))), 'auto', 4, enlarge, str(tmp_path))
    assert before.shape == after.shape == (17, 20, 3) and Image.open(file).size == (48, 40)


def test_orientation_and_transparency_are_taken_into_account(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(noise(10, 12)).save(tmp_path / 'turned.jpg', exif=exif)
    Image.fromarray(np.dstack([noise(10, 12), np.zeros((10, 12, 1), np.uint8)])).save(tmp_path / 'alpha.png')
    assert Image.open(ui.upscale(str(tmp_path / 'turned.jpg'), 'auto', 2, enlarge, str(tmp_path))[1]).size == (20, 24)
    with Image.open(ui.upscale(str(tmp_path / 'alpha.png'), 'auto', 2, enlarge, str(tmp_path))[1]) as result:
        assert result.mode == 'RGB' and result.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize('mode, kept', [('RGB', True), ('L', False)])
def test_a_colour_profile_goes_into_the_download(mode: str, kept: bool, tmp_path: Path) -> None:
    Image.fromarray(noise(10, 12)).convert(mode).save(tmp_path / 'a.png', icc_profile=ICC if mode == 'RGB' else GRAY_ICC)
    with Image.open(ui.upscale(str(tmp_path / 'a.png'), 'auto', 2, enlarge, str(tmp_path))[1]) as result:
        assert result.mode == 'RGB' and result.info.get('icc_profile') == (ICC if kept else None)


def test_images_of_16_bits_get_8(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 12), 100 * 257, np.uint16)).save(tmp_path / 'a.png')
    (before, after), _ = ui.upscale(str(tmp_path / 'a.png'), 'auto', 2, enlarge, str(tmp_path))
    assert (before == 100).all() and (after == 100).all()


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    Image.fromarray(noise(10, 12)).save(tmp_path / 'a.png', exif=b'Exif\0\0garbage!!')
    (before, _), _ = ui.upscale(str(tmp_path / 'a.png'), 'auto', 1, enlarge, str(tmp_path))
    assert (before == noise(10, 12)).all()


def test_no_image_is_answered() -> None:
    with pytest.raises(ValueError, match='Choose an image first'):
        ui.upscale(None, 'auto', 4, enlarge, '')


@pytest.mark.parametrize('weights, calls, made', [
    (None, [('auto', 4), ('clean', 2), ('noisy', 4), ('clean', 2)], [(None, 4), ('A', 2), ('B', 4)]),
    ('mine.pth', [('auto', 4), ('auto', 3)], [('mine.pth', 4), ('mine.pth', 3)])])
def test_upscalers_stay_loaded(weights: str | None, calls: list[Any], made: list[Any], upscalers: list[Any]) -> None:
    restore = ui.restorer(weights)
    assert [restore(noise(4, 4), *call).shape[0] for call in calls] == [4 * factor for _, factor in calls]
    assert upscalers == made


# ---------------------------------------------------------------------------------------------- mistakes
def test_without_gradio_it_says_what_to_install(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert run_cli('ui') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'pip install "lightbsr_arch[ui]"' in error


def test_wrong_weights_are_told_before_the_page_opens(upscalers: list[Any], run_cli: RunCli,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('gradio', reason='needs gradio: pip install "lightbsr_arch[ui]"')
    assert run_cli('ui', '--weights', 'gone.pth') == 1
    assert 'basicsr ui: error: there is no file gone.pth' in capsys.readouterr().err


def test_a_taken_port_is_an_error(upscalers: list[Any], run_cli: RunCli, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('gradio', reason='needs gradio: pip install "lightbsr_arch[ui]"')
    with socket.create_server(('127.0.0.1', 0)) as server:
        assert run_cli('ui', '--port', server.getsockname()[1]) == 1
    assert 'cannot be listened on: choose another --port' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [('--port', 99999), ('--port', 0), ('--host', '::1', '--port', 7999)])
def test_an_address_that_is_none_is_an_error(arguments: tuple[Any, ...], upscalers: list[Any], run_cli: RunCli,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('gradio', reason='needs gradio: pip install "lightbsr_arch[ui]"')
    assert run_cli('ui', *arguments) == 1
    assert 'cannot be listened on: choose another --port or --host' in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- served
@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the page."""
    pytest.importorskip('gradio', reason='needs gradio: pip install "lightbsr_arch[ui]"')
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'gradio'))
    page = ui.build(enlarge)
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    try:
        ui.start(page, '127.0.0.1', port)
        yield f'http://127.0.0.1:{port}'
    finally:
        page.close()


def press(address: str, path: Path) -> dict[str, Any]:
    """What becomes of the button for the download; raises gradio_client's AppError with the page's answer."""
    from gradio_client import Client, handle_file
    client = Client(address, verbose=False, download_files=False, analytics_enabled=False)
    return client.predict(handle_file(str(path)), 'for clean images', 2, api_name='/show')[1]


@pytest.mark.parametrize('content, answer', [(b'Dear diary', 'is no image, or of a format'), (b'', 'is empty')])
def test_a_file_that_is_no_image_is_answered_with_our_sentence(content: bytes, answer: str, served: str, tmp_path: Path,
                                                               capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'diary.png').write_bytes(content)
    with pytest.raises(Exception, match=f'/diary.png {answer}'):
        press(served, tmp_path / 'diary.png')
    assert 'Traceback' not in capfd.readouterr().err


def test_a_file_above_the_limit_of_pillow_is_upscaled(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    monkeypatch.delitem(sys.modules, 'lightbsr_arch.inference.image_files')  # lifts it when it is imported
    monkeypatch.delattr('lightbsr_arch.inference.image_files')
    assert press(served, write_image(tmp_path / 'panorama.png', noise(10, 12)))['label'] == 'Download panorama_x2.png'


@pytest.mark.parametrize('variable, proxy', [('HTTP_PROXY', 'http://127.0.0.1:9'), ('ALL_PROXY', 'socks5://127.0.0.1:9')])
def test_a_proxy_is_not_asked_for_the_page(variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch,
                                           request: pytest.FixtureRequest) -> None:
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, proxy)
    assert request.getfixturevalue('served')  # starting it asks for it


# ---------------------------------------------------------------------------------------------- in a browser
def test_the_page_in_chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image is chosen, upscaled, compared and offered; nothing outside this machine is asked for."""
    pytest.importorskip('gradio', reason='needs gradio: pip install "lightbsr_arch[ui]"')
    contacted, connect = [], socket.socket.connect

    def note(self: socket.socket, address: Any) -> Any:
        contacted.append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, 'connect', note)
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    page = ui.build(enlarge)
    with Browser(tmp_path / 'profile') as browser:
        ui.start(page, '127.0.0.1', port)
        try:
            browser.open(f'http://127.0.0.1:{port}')
            texts = "[...document.querySelectorAll('button, a')].map((e) => e.textContent.trim())"
            browser.wait_for(f"{texts}.includes('Upscale')")
            browser.choose_file('input[type=file]', write_image(tmp_path / 'photo.png', noise(10, 12)))
            browser.wait_for("document.querySelector('img') !== null")
            press = "[...document.querySelectorAll('button')].find((e) => e.textContent.trim() === 'Upscale').click()"
            browser.run(press)
            browser.wait_for(f"{texts}.includes('Download photo_x4.png')")
            browser.wait_for('[...document.images].filter((i) => i.naturalWidth === 48 && i.naturalHeight === 40).length === 2')
            browser.run('HTMLAnchorElement.prototype.click = function () { window.offered = this.href }')
            browser.run(press.replace("'Upscale'", "'Download photo_x4.png'"))
            browser.wait_for('window.offered')
            assert browser.run('fetch(offered).then((r) => r.blob()).then(createImageBitmap).then((i) => i.width)') == 48
            browser.run("[...document.querySelectorAll('label')].find((e) => e.textContent.includes('noisy')).click()")
            browser.run(press)
            browser.wait_for("document.body.textContent.includes('the bundled weights are not there')")
            assert not list(tmp_path.glob('basicsr_ui_*'))  # what is offered is gradio's copy, which it removes in time
        finally:
            page.close()
    outside = [r for r in browser.requests if not r.startswith((f'http://127.0.0.1:{port}', 'data:', 'blob:'))]
    assert outside == []
    assert {address[0] for address in contacted if isinstance(address, tuple)} <= {'127.0.0.1', 'localhost', '::1'}
