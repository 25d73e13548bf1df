"""`basicsr upscale`: photographs in, larger and sharper ones out."""
from __future__ import annotations

import argparse
import io
import sys
from typing import TYPE_CHECKING

from .arguments import make_parser

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..inference import Upscaler
    from ..inference.batch import Job
    from ..inference.image_files import Photo

DESCRIPTION = """\
Super-resolves images: PNG, JPEG, WebP, TIFF and BMP; gray, colour and alpha, 8 and 16 bits. Orientation, EXIF and colour
profile are taken into account and kept. Works offline; the weights are included."""
EPILOG = """\
INPUT is a file, a folder (searched with its subfolders; names are kept), or - for stdin. OUT is a file for a single image,
a folder, or - for stdout. An image that cannot be read is named, the others are done, and the exit status is 1.

WEIGHTS is LightBSR-compact-x4 or LightBSR-compact-noisy-x4, Bicubic for the baseline, or a file of a LightBSR or KDSR, as
this package, BasicSR or a release saves them; with --backend onnx an .onnx file. Without it, a bundled network is chosen for
each image: by its noise (--model auto), or always the one for clean or for noisy images.

Large images are done in parts that fit into --memory, with the same result. Formats that cannot hold 16 bits or alpha get
8 bits and a white background, which is said.

  basicsr upscale photo.jpg -o big.png
  basicsr upscale holidays scans/*.tif -o big --format webp --quality 90
  basicsr upscale old.jpg -o big.jpg --model noisy --outscale 2 --ensemble
  basicsr upscale panorama.tif -o big.tif --memory 4GB
  basicsr upscale lr.png -o sr.png --weights net_g_latest.pth
  curl -s https://example.org/photo.jpg | basicsr upscale - -o - > big.png
"""


def run(arguments: list[str]) -> int:
    parsed = _parse(arguments)
    from ..inference import Upscaler, batch, bundled
    jobs, missing = batch.plan(parsed.inputs, parsed.output, parsed.format, parsed.force)
    for line in missing:
        print(line, file=sys.stderr)
    if jobs:
        upscaler = Upscaler(parsed.weights or bundled.MODELS.get(parsed.model), parsed.device, parsed.precision,
                            parsed.outscale, parsed.ensemble, parsed.memory, parsed.backend)
        batch.make_folders(jobs)
    num_failed = len(missing) + (_upscale_all(jobs, upscaler, parsed.quality) if jobs else 0)
    if num_failed:
        raise ValueError(f'{num_failed} of {len(jobs) + len(missing)} could not be upscaled, see above')
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = make_parser('upscale', DESCRIPTION, EPILOG)
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='image, folder, or -')
    parser.add_argument('-o', '--output', required=True, metavar='OUT', help='image, folder, or -')
    parser.add_argument('--format', choices=('png', 'jpg', 'webp', 'tiff', 'bmp'),
                        help="default: that of OUT's name, else the input's")
    parser.add_argument('--quality', type=_quality, default=95, metavar='1-100', help='of JPEG and WebP (default: 95)')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--weights', metavar='WEIGHTS', help='a name or a file, see below')
    what.add_argument('--model', choices=('auto', 'clean', 'noisy'), default='auto',
                      help='which bundled network (default: auto)')
    parser.add_argument('--outscale', type=float, metavar='FACTOR', help="size of the result (default: the network's)")
    parser.add_argument('--ensemble', action='store_true', help='mean of eight views: a little better, 8 times the work')
    parser.add_argument('--device', help='such as cuda, mps or cpu (default: the best that there is)')
    parser.add_argument('--precision', choices=('fp32', 'fp16', 'bf16'), help='default: fp16 on CUDA for 8-bit images')
    parser.add_argument('--memory', metavar='SIZE', help='such as 4GB, for each image (default: half of what is free)')
    parser.add_argument('--backend', choices=('torch', 'onnx'), default='torch', help='what runs it (default: torch)')
    parser.add_argument('--force', action='store_true', help='overwrite existing files')
    return parser.parse_args(arguments)


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f'must be a whole number from 1 to 100, got {text!r}')
    return int(text)


def _upscale_all(jobs: list[Job], upscaler: Upscaler, quality: int) -> int:
    """Does one after another, and says what happens on stderr; returns how many failed."""
    from tqdm import tqdm
    num_failed = 0
    with tqdm(total=len(jobs), file=sys.stderr, disable=not sys.stderr.isatty(),
              bar_format='{percentage:3.0f}%|{bar}| {desc}[{elapsed}<{remaining}]') as bar:
        for i, job in enumerate(jobs):
            try:
                _upscale(job, upscaler, quality, bar)
            except (ValueError, OSError) as error:
                num_failed += 1
                _say(bar, str(error) if job.source in str(error) else f'{job.source}: {error}')
            except MemoryError:
                num_failed += 1
                _say(bar, f'{job.source}: out of memory; allow less than is free, such as --memory 1GB, so that it is done '
                          'in parts')
            _move(bar, i + 1)
    return num_failed


def _upscale(job: Job, upscaler: Upscaler, quality: int, bar: tqdm) -> None:
    from dataclasses import replace

    from ..inference.formats import check_size
    photo = _read(job)
    for remark in photo.remarks:
        _say(bar, f'{job.source}: {remark}')
    weights = upscaler.weights_for(photo.pixels)
    check_size(job.kind, *upscaler.result_size(photo.pixels, weights))
    bar.set_description_str(f'{job.source} ({weights}) ')
    start = bar.n
    pixels = upscaler(photo.pixels, lambda share: _move(bar, start + share))
    for remark in _write(replace(photo, pixels=pixels), job, quality):
        _say(bar, f'{job.target}: {remark}')
    if bar.disable:
        _say(bar, f'{job.source} -> {job.target} ({pixels.shape[1]}x{pixels.shape[0]}, {weights})')


def _read(job: Job) -> Photo:
    from ..inference import image_files
    return image_files.decode(sys.stdin.buffer.read(), 'stdin') if job.source == '-' else image_files.read(job.source)


def _write(photo: Photo, job: Job, quality: int) -> tuple[str, ...]:
    from ..inference import image_files
    if job.target != '-':
        return image_files.write(photo, job.target, job.kind, quality)
    content = io.BytesIO()
    remarks = image_files.encode(photo, content, job.kind, quality)
    sys.stdout.buffer.write(content.getbuffer())
    sys.stdout.buffer.flush()
    return remarks


def _say(bar: tqdm, line: str) -> None:
    bar.write(line, file=sys.stderr)


def _move(bar: tqdm, done: float) -> None:
    bar.n = done
    bar.refresh()
