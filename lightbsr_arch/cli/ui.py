"""`basicsr ui`: a page in the browser on which one tries an image."""
from __future__ import annotations

import argparse
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .arguments import make_parser

if TYPE_CHECKING:
    import gradio

DESCRIPTION = """\
Opens a page on this machine: drop an image, compare before and after with a slider, download the result. Nothing leaves
the machine. Needs gradio: pip install "lightbsr_arch[ui]"."""
EPILOG = """\
For many images, and to keep transparency and 16 bits, take `basicsr upscale`.

  basicsr ui
  basicsr ui --weights net_g_latest.pth --port 8000
  basicsr ui --host 0.0.0.0                              (for other machines, too)
"""
MODELS = {'chosen by its noise': 'auto', 'for clean images': 'clean', 'for noisy images': 'noisy'}
MAX_SHOWN = 2048  # pixels; browsers are slow with more
Restore = Callable[[np.ndarray, str, float], np.ndarray]  # image, model, outscale -> image; (H, W, 3) uint8 RGB


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    load_gradio()
    restore = restorer(parsed.weights)
    launch(build(restore, with_models=parsed.weights is None), parsed.host, parsed.port)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('ui', DESCRIPTION, EPILOG)
    parser.add_argument('--weights', metavar='FILE', help='weights of your own (default: the bundled ones)')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: 127.0.0.1, this machine alone)')
    parser.add_argument('--port', type=int, default=7860, help='default: 7860')
    return parser.parse_args(arguments)


def load_gradio() -> ModuleType:
    """Raises a ValueError if it is not installed."""
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when it is imported
    os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
    os.environ['no_proxy'] = '*'  # gradio asks its own page whether it is there; a proxy knows another machine by that name
    try:
        import gradio
    except ImportError as error:
        raise ValueError(f'the page needs gradio ({error}): pip install "lightbsr_arch[ui]"') from None
    return gradio


def restorer(weights: str | None) -> Restore:
    """Upscalers by model and size, of which the latest stay loaded.

    Raises:
        ValueError: weights that are not there or cannot be used.
    """
    from ..inference import Upscaler, bundled

    @functools.lru_cache(maxsize=4)
    def upscaler(model: str, outscale: float) -> Any:
        return Upscaler(weights or bundled.MODELS.get(model), outscale=outscale)

    upscaler('auto', 4.0)
    return lambda image, model, outscale: upscaler(model, outscale)(image)


# ---------------------------------------------------------------------------------------------- the page
def build(restore: Restore, with_models: bool = True) -> gradio.Blocks:
    """The page.

    Args:
        restore: Makes an image larger.
        with_models: Whether there are several to choose from.
    """
    gr = load_gradio()
    with gr.Blocks(title='basicsr ui', analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown('# Blind image super-resolution')
        with gr.Row():
            with gr.Column(scale=1):
                image = gr.Image(type='filepath', image_mode=None, sources=['upload', 'clipboard'], label='Image')
                image.preprocess = lambda file: file and file.path  # gradio's opens it, before `show` can answer for it
                model = gr.Radio(list(MODELS), value=next(iter(MODELS)), label='Network', visible=with_models)
                outscale = gr.Slider(1, 4, value=4, step=0.5, label='Enlargement')
                button = gr.Button('Upscale', variant='primary')
            with gr.Column(scale=2):
                result = gr.ImageSlider(label='Before (bicubic) and after', format='png', interactive=False, max_height=720)
                download = gr.DownloadButton('Download', interactive=False)

        def show(path: str | None, name: str, factor: float) -> Iterator[tuple[Any, Any]]:
            with tempfile.TemporaryDirectory(prefix='basicsr_ui_') as folder:  # gradio offers a copy, which it removes in time
                try:
                    pair, file = upscale(path, MODELS[name], factor, restore, folder)
                except (ValueError, OSError, MemoryError) as error:
                    raise gr.Error(str(error), print_exception=False) from None
                yield pair, gr.DownloadButton(f'Download {os.path.basename(file)}', value=file, interactive=True)

        button.click(show, [image, model, outscale], [result, download], concurrency_limit=1)
    return page


def upscale(path: str | None, model: str, outscale: float, restore: Restore,
            folder: str) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Before and after, of one size and not larger than `MAX_SHOWN`, and the file of the whole result, a PNG in `folder`.

    Raises:
        ValueError: no image was given, or none that can be read, or what `restore` raises.
    """
    from ..inference import image_files
    if path is None:
        raise ValueError('Choose an image first')
    photo = image_files.fit(image_files.read(path), 'jpg')  # 8 bits, on white
    before = Image.fromarray(photo.pixels).convert('RGB')
    after = Image.fromarray(restore(np.asarray(before), model, outscale))
    stem = os.path.splitext(os.path.basename(path))[0]
    file = os.path.join(folder, f'{stem}_x{outscale:g}.png')
    image_files.write(replace(photo, pixels=np.asarray(after)), file, 'png')
    size = tuple(max(1, round(n * min(1, MAX_SHOWN / max(after.size)))) for n in after.size)
    shown = [np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in (before, after)]
    return (shown[0], shown[1]), file


def launch(page: gradio.Blocks, host: str, port: int) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        ValueError: the port is taken or none, or the address is not this machine's.
    """
    start(page, host, port)
    print(f'http://{host}:{port}   (Ctrl-C ends it)', flush=True)
    page.block_thread()


def start(page: gradio.Blocks, host: str, port: int) -> None:
    """Serves the page in the background; raises as `launch`."""
    gr = load_gradio()
    import httpx  # by which gradio asks the page whether it is there
    fonts = {'font': ['system-ui', 'sans-serif'], 'font_mono': ['ui-monospace', 'monospace']}  # none from elsewhere
    try:
        page.launch(server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, ssr_mode=False,
                    footer_links=[], theme=gr.themes.Default(**fonts))
    except (OSError, OverflowError, httpx.HTTPError, httpx.InvalidURL) as error:  # the second for a port that is none
        raise ValueError(f'{host}:{port} cannot be listened on: choose another --port or --host ({error})') from None
