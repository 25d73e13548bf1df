"""Image files in and out: pixels as they are meant, with the metadata that stays true.

Pillow reads and writes, OpenCV what has 16 bits a sample, which Pillow cuts to 8 in colour.
"""
from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import putchunk

from .. import checkpoints
from .alpha import flatten
from .formats import FORMATS
from .metadata import ORIENTATION, is_gray, kept_exif, upright
from .tiff_files import write_tiff

PILLOW_NAMES = {'png': 'PNG', 'jpg': 'JPEG', 'webp': 'WEBP', 'bmp': 'BMP'}
DEFAULT_QUALITY = 95
PNG_HEADER = 33  # bytes: signature and IHDR
Image.MAX_IMAGE_PIXELS = None  # Pillow's guard against files of strangers stops large panoramas


class ImageError(ValueError):
    """A file that is no image, or none that can be read; the message names it."""


@dataclass(frozen=True)
class Photo:
    """An image with its metadata.

    pixels: (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16; alpha is straight.
    icc, exif: The colour profile, and EXIF without orientation; empty where there is none.
    remarks: What was lost on the way, to be told.
    """

    pixels: np.ndarray
    icc: bytes = b''
    exif: bytes = b''
    remarks: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- reading
def read(path: str) -> Photo:
    """Reads a file.

    Raises:
        ImageError: empty, cut off, no image, or of a kind that is not read.
        OSError: not there or not readable.
    """
    with open(path, 'rb') as file:
        return decode(file.read(), path)


def decode(content: bytes, name: str) -> Photo:
    """The image in a file's content, set upright as its EXIF says; the first one of several.

    Args:
        content: The file, in any format that Pillow knows.
        name: For messages.

    Raises:
        ImageError: as `read`.
    """
    if not content:
        raise ImageError(f'{name} is empty')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of damaged metadata and large images
            with Image.open(io.BytesIO(content)) as image:
                return _decode(image, content)
    except UnidentifiedImageError:
        raise ImageError(f'{name} is no image, or of a format that is not known') from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's many readers raise all kinds
        raise ImageError(f'{name} cannot be read as an image: {error or type(error).__name__}') from error


def _decode(image: Image.Image, content: bytes) -> Photo:
    num_frames = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)  # a phone's MPO is one photograph
    remarks = () if num_frames == 1 else (f'holds {num_frames} images, the first is taken',)
    image.load()
    icc = image.info.get('icc_profile') or b''
    if image.mode in ('CMYK', 'LAB'):
        pixels, icc = np.asarray(_to_srgb(image, icc)), b''
    elif _is_sixteen(image, content):
        pixels = _decode_sixteen(image, content)
    else:
        pixels = np.asarray(image.convert(_eight_bit_mode(image)))
    orientation = 1
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
        exif = kept_exif(image)
    except Exception:  # what cannot be written again has to go, the picture has not
        exif, remarks = b'', (*remarks, 'its EXIF is damaged and left out')
    return Photo(upright(pixels, orientation), icc, exif, remarks)


def _eight_bit_mode(image: Image.Image) -> str:
    """The mode of Pillow's that holds an image of its other modes."""
    if image.mode[0] in 'IF':  # Pillow would clip them at 255
        raise ValueError('more than 8 bits a sample are read of PNG and TIFF with 16 alone, save it as one of them')
    transparent = image.has_transparency_data
    if image.mode in ('1', 'L', 'LA', 'La'):
        return 'LA' if transparent else 'L'
    return 'RGBA' if transparent else 'RGB'


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Of CMYK by its profile, where it has one that works; of Lab."""
    profile = io.BytesIO(icc) if icc else ImageCms.createProfile('LAB') if image.mode == 'LAB' else None
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError):
            return ImageCms.profileToProfile(image, profile, ImageCms.createProfile('sRGB'), outputMode='RGB')
    return image.convert('RGB')


def _is_sixteen(image: Image.Image, content: bytes) -> bool:
    if image.format == 'PNG':
        return content[24] == 16
    return image.format == 'TIFF' and 16 in image.tag_v2.get(258, ())


def _decode_sixteen(image: Image.Image, content: bytes) -> np.ndarray:
    if image.format == 'TIFF' and (image.tag_v2.get(262) not in (1, 2) or image.tag_v2.get(338) == (1,)
                                   or image.tag_v2.get(284, 1) != 1):  # OpenCV garbles planes
        raise ValueError('of TIFF with 16 bits a sample only gray and RGB with straight alpha are read, pixel by pixel and '
                         'not plane by plane')
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError('OpenCV does not read its 16 bits a sample')
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if image.format == 'TIFF' and image.mode == 'RGB':
        pixels = pixels[..., :3]  # OpenCV gives a fourth channel whatever it is, such as a scanner's infrared
    return pixels[..., 2:] if image.mode == 'LA' else pixels


# ---------------------------------------------------------------------------------------------- writing
def write(photo: Photo, path: str, kind: str, quality: int = DEFAULT_QUALITY) -> tuple[str, ...]:
    """Writes a file whole or not at all; returns remarks on what the format cannot hold.

    Args:
        kind: A key of `FORMATS`.
        quality: Of JPEG and WebP, 1 to 100.

    Raises:
        OSError: the folder is missing or not writable, or the disk full.
        ValueError: the format cannot hold an image of this size.
    """
    with checkpoints.replacing(path) as temporary, open(temporary, 'w+b') as file:
        return encode(photo, file, kind, quality)


def encode(photo: Photo, file: BinaryIO, kind: str, quality: int = DEFAULT_QUALITY) -> tuple[str, ...]:
    """As `write`, into an open file."""
    photo = fit(photo, kind)
    if kind == 'tiff':
        write_tiff(file, photo.pixels, photo.icc, photo.exif)
    elif photo.pixels.dtype == np.uint16:
        file.write(_png_sixteen(photo))
    else:
        _save(photo, file, kind, quality)
    return photo.remarks


def fit(photo: Photo, kind: str) -> Photo:
    """What the format can hold of it, with remarks on the rest alone."""
    pixels, icc, remarks, limits = photo.pixels, photo.icc, [], FORMATS[kind]
    if pixels.ndim == 3 and pixels.shape[2] != 3 and not limits.alpha:
        pixels = flatten(pixels)
        remarks.append(f'{kind} holds no transparency: set on white')
    if pixels.dtype == np.uint16 and not limits.sixteen:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        remarks.append(f'{kind} holds 8 bits a sample, not 16')
    if pixels.ndim == 3 and pixels.shape[2] == 2 and not (limits.gray_alpha and pixels.dtype == np.uint8):
        pixels = pixels[..., [0, 0, 0, 1]]  # with 16 bits there are few who read it
    exif = photo.exif
    if len(exif) > limits.max_exif:
        exif = b''
        remarks.append(f'{kind} holds {limits.max_exif} bytes of EXIF, not {len(photo.exif)}: left out')
    if not limits.metadata and (icc or exif):
        icc = exif = b''
        remarks.append(f'{kind} holds neither EXIF nor a colour profile: left out')
    if is_gray(icc) and (kind == 'webp' or pixels.ndim == 3 and pixels.shape[2] > 2):
        icc = b''  # for pixels that are no longer gray
    return replace(photo, pixels=pixels, icc=icc, exif=exif, remarks=tuple(remarks))


def _save(photo: Photo, file: BinaryIO, kind: str, quality: int) -> None:
    options = {'quality': quality, 'subsampling': 0} if kind == 'jpg' else {'quality': quality} if kind == 'webp' else {}
    Image.fromarray(photo.pixels).save(file, PILLOW_NAMES[kind], exif=photo.exif, icc_profile=photo.icc or None, **options)


def _png_sixteen(photo: Photo) -> bytes:
    """OpenCV's file, with the metadata behind its header."""
    pixels = photo.pixels
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    content = cv2.imencode('.png', pixels)[1].tobytes()
    blocks = io.BytesIO()
    if photo.icc:
        putchunk(blocks, b'iCCP', b'ICC Profile\0\0' + zlib.compress(photo.icc))
    if photo.exif:
        putchunk(blocks, b'eXIf', photo.exif.removeprefix(b'Exif\0\0'))
    return content[:PNG_HEADER] + blocks.getvalue() + content[PNG_HEADER:]
