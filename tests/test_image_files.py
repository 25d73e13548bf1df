"""Image files: what is read is what was meant, and what is written keeps all that its format can hold."""
from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from lightbsr_arch.inference.formats import FORMATS
from lightbsr_arch.inference.image_files import ImageError, Photo, decode, encode, read, write
from lightbsr_arch.inference.metadata import EXIF_IFD, GPS_IFD, INTEROP_IFD, ORIENTATION

MAKE, SOFTWARE, TAKEN, WIDTH_TAG, EXPOSURE, COMMENT = 0x10F, 0x131, 0x9003, 0xA002, 0x829A, 0x9286
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
GRAY_ICC = ICC[:16] + b'GRAY' + ICC[20:]
SHAPES = {'gray': (), 'gray and alpha': (2,), 'rgb': (3,), 'rgba': (4,)}
AS = {  # what a format makes of what it cannot hold
    ('jpg', 'gray and alpha'): 'gray', ('jpg', 'rgba'): 'rgb', ('webp', 'gray'): 'rgb', ('webp', 'gray and alpha'): 'rgba',
    ('bmp', 'gray and alpha'): 'gray', ('bmp', 'rgba'): 'rgb'}


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[MAKE] = 'Acme'
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD).update({TAKEN: '2020:02:03 04:05:06', WIDTH_TAG: 99, COMMENT: b'ASCII\0\0\0hello',
                                   EXPOSURE: TiffImagePlugin.IFDRational(1, 125)})
    exif.get_ifd(EXIF_IFD)[INTEROP_IFD] = {1: 'R98'}
    exif.get_ifd(GPS_IFD).update({1: 'N', 2: (48.0, 1.5, 2.0)})
    return exif.tobytes()


def pixels_of(mode: str, dtype: type = np.uint8, size: tuple[int, int] = (23, 31)) -> np.ndarray:
    """Smooth, so that lossy formats stay near; all samples differ."""
    shape = SHAPES[mode]
    small = np.random.default_rng(1).random((4, 5, *(shape or (1,))))
    planes = [cv2.resize(small[..., i], size[::-1], interpolation=cv2.INTER_CUBIC) for i in range(small.shape[2])]
    image = np.stack(planes, -1)
    image = np.rint(image.clip(0.05, 0.95) * np.iinfo(dtype).max).astype(dtype)
    return image if shape else image[..., 0]


def as_rgba(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4) in 8-bit units."""
    full = np.iinfo(pixels.dtype).max
    image = np.atleast_3d(pixels).astype(float) * 255 / full
    alpha = image[..., -1:] if image.shape[2] in (2, 4) else np.full_like(image[..., :1], 255)
    return np.concatenate([image[..., [0, 0, 0]] if image.shape[2] < 3 else image[..., :3], alpha], 2)


def file_of(photo: Photo, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    encode(photo, file, kind, **options)
    return file.getvalue()


def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# ---------------------------------------------------------------------------------------------- there and back
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('mode', SHAPES)
@pytest.mark.parametrize('kind', FORMATS)
def test_what_is_written_is_read_again(kind: str, mode: str, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    icc = GRAY_ICC if mode.startswith('gray') else ICC
    photo = Photo(pixels_of(mode, dtype), icc, exif_block())
    again = decode(file_of(photo, kind, quality=100), 'x')
    kept_mode = AS.get((kind, mode), mode)
    if (mode, bits) == ('gray and alpha', 16) and kind in ('png', 'tiff'):
        kept_mode, icc = 'rgba', b''
    assert again.pixels.shape[2:] == SHAPES[kept_mode] and again.pixels.shape[:2] == (23, 31)
    assert again.pixels.dtype == (dtype if FORMATS[kind].sixteen else np.uint8)
    if kind == 'webp' and mode.startswith('gray'):
        icc = b''  # a profile for gray does not suit RGB
    if kind != 'bmp':
        assert again.icc == icc
        exif = Image.Exif()
        exif.load(again.exif)
        assert exif[MAKE] == 'Acme' and exif.get_ifd(GPS_IFD)[2] == (48.0, 1.5, 2.0) and ORIENTATION not in exif
        details = exif.get_ifd(EXIF_IFD)
        assert details[TAKEN] == '2020:02:03 04:05:06' and details[EXPOSURE] == 1 / 125
        assert details[COMMENT] == b'ASCII\0\0\0hello' and WIDTH_TAG not in details
        assert exif.get_ifd(INTEROP_IFD)[1] == 'R98'
    if kind in ('png', 'tiff', 'webp') or mode in ('gray', 'rgb'):  # setting on white has its own test
        error = np.abs(as_rgba(again.pixels) - as_rgba(photo.pixels))
        assert error.mean() <= 5 if kind in ('jpg', 'webp') else error.max() <= (0 if again.pixels.dtype == dtype else 0.5)


@pytest.mark.parametrize('mode', SHAPES)
@pytest.mark.parametrize('bits', [8, 16])
def test_other_programs_read_our_tiff_and_png(mode: str, bits: int) -> None:
    image = pixels_of(mode, np.uint8 if bits == 8 else np.uint16, (2100, 300))  # several strips
    photo = Photo(image, ICC, exif_block())
    content = file_of(photo, 'tiff')
    seen = tifffile.imread(io.BytesIO(content))
    assert ((seen[..., [0, 3]] if (mode, bits) == ('gray and alpha', 16) else seen) == image).all()
    for kind in ('tiff', 'png'):
        seen = cv2.imdecode(np.frombuffer(file_of(photo, kind), np.uint8), cv2.IMREAD_UNCHANGED)
        assert seen.dtype == image.dtype
        if mode in ('gray', 'rgb'):
            assert (seen == (image if mode == 'gray' else image[..., ::-1])).all()
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.info['icc_profile'] == ICC and opened.getexif()[MAKE] == 'Acme'
        assert opened.getexif().get_ifd(EXIF_IFD)[TAKEN] == '2020:02:03 04:05:06'


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_goes_into_the_pixels(kind: str, orientation: int) -> None:
    content = pillow(Image.fromarray(pixels_of('rgb')), kind, exif=exif_block(orientation))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert('RGB'))
    photo = decode(content, 'x')
    assert (photo.pixels == upright).all()
    assert photo.pixels.shape[:2] == ((31, 23) if orientation > 4 else (23, 31))
    with Image.open(io.BytesIO(file_of(photo, FORMAT_NAMES[kind]))) as again:
        assert again.getexif().get(ORIENTATION, 1) == 1 and again.size == photo.pixels.shape[1::-1]
        assert again.getexif()[MAKE] == 'Acme'


FORMAT_NAMES = {'PNG': 'png', 'JPEG': 'jpg', 'WEBP': 'webp', 'TIFF': 'tiff'}


@pytest.mark.parametrize('kind', ['png', 'tiff'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_16_bits(kind: str, orientation: int) -> None:
    image = pixels_of('rgb', np.uint16)
    content = file_of(Photo(image, b'', exif_block(orientation)), kind)
    as_eight = Image.fromarray((image >> 8).astype(np.uint8))
    as_eight.getexif()[ORIENTATION] = orientation
    photo = decode(content, 'x')
    assert photo.pixels.dtype == np.uint16
    assert (photo.pixels >> 8 == np.asarray(ImageOps.exif_transpose(as_eight))).all()


# ---------------------------------------------------------------------------------------------- kinds of files
def palette(transparency: Any = None) -> bytes:
    image = Image.fromarray(pixels_of('rgb')).quantize(16)
    return pillow(image, 'PNG', **({} if transparency is None else {'transparency': transparency}))


def test_palette_images_become_colours() -> None:
    content = palette()
    assert (decode(content, 'x').pixels == np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))).all()
    pixels = decode(palette(3), 'x').pixels
    assert pixels.shape == (23, 31, 4) and set(np.unique(pixels[..., 3])) == {0, 255}


@pytest.mark.parametrize('image, shape', [
    (Image.fromarray(pixels_of('gray')).convert('1'), (23, 31)),
    (Image.fromarray(pixels_of('rgb')).convert('RGBX'), (23, 31, 3)),
    (Image.fromarray(pixels_of('rgb')).convert('LAB'), (23, 31, 3)),
])
def test_rarer_modes_of_tiff(image: Image.Image, shape: tuple[int, ...]) -> None:
    pixels = decode(pillow(image, 'TIFF'), 'x').pixels
    assert pixels.shape == shape and pixels.dtype == np.uint8
    expected = pixels_of('rgb') if len(shape) == 3 else np.asarray(image.convert('L'))
    assert np.abs(pixels.astype(int) - expected).mean() <= 2


def test_cmyk_becomes_rgb_without_a_cmyk_profile() -> None:
    image = Image.fromarray(pixels_of('rgb')).convert('CMYK')
    for icc in (None, b'no profile', ICC[:16] + b'CMYK' + ICC[20:]):
        photo = decode(pillow(image, 'JPEG', quality=100, subsampling=0, icc_profile=icc), 'x')
        assert photo.icc == b'' and np.abs(photo.pixels.astype(int) - pixels_of('rgb')).max() <= 6


def test_a_colour_that_stands_for_transparent() -> None:
    image = pixels_of('rgb')
    image[3, 4] = (1, 2, 3)
    photo = decode(pillow(Image.fromarray(image), 'PNG', transparency=(1, 2, 3)), 'x')
    assert photo.pixels.shape[2] == 4 and photo.pixels[3, 4, 3] == 0 and (photo.pixels[..., 3] == 255).sum() == 23 * 31 - 1


@pytest.mark.parametrize('kind, num_channels', [('unspecified', 3), ('unassalpha', 4)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_fourth_channel_of_tiff_is_alpha_where_it_says_so(dtype: type, kind: str, num_channels: int) -> None:
    image, content = pixels_of('rgba', dtype), io.BytesIO()
    tifffile.imwrite(content, image, photometric='rgb', extrasamples=[kind])
    np.testing.assert_array_equal(decode(content.getvalue(), 'x').pixels, image[..., :num_channels])


def test_bigtiff_gives_exif_that_all_formats_hold() -> None:
    content = io.BytesIO()
    tifffile.imwrite(content, pixels_of('rgb'), photometric='rgb', bigtiff=True, software='Acme')
    photo = decode(content.getvalue(), 'x')
    assert (photo.pixels == pixels_of('rgb')).all()
    for kind in ('png', 'jpg', 'webp', 'tiff'):
        with Image.open(io.BytesIO(file_of(photo, kind))) as again:
            assert again.getexif()[SOFTWARE] == 'Acme'


def test_the_place_on_earth_of_the_old_pixels_is_left_out() -> None:
    tags = [(33550, 12, 3, (10., 10., 0.)), (33922, 12, 6, (0., 0., 0., 1., 2., 0.)), (34264, 12, 16, tuple(range(16))),
            (34735, 3, 4, (1, 1, 0, 0)), (34736, 12, 1, 1.), (34737, 2, 0, 'WGS 84|'), (50844, 12, 92, tuple(range(92)))]
    content = io.BytesIO()
    tifffile.imwrite(content, pixels_of('rgb'), photometric='rgb', extratags=[(*tag, True) for tag in tags], software='Acme')
    with Image.open(io.BytesIO(file_of(decode(content.getvalue(), 'x'), 'tiff'))) as again:
        assert again.getexif()[SOFTWARE] == 'Acme' and not {tag for tag, *_ in tags} & set(again.tag_v2)


@pytest.mark.parametrize('content, num', [
    (pillow(Image.fromarray(pixels_of('gray')), 'GIF', save_all=True,
            append_images=[Image.fromarray(pixels_of('gray') // i) for i in (2, 3)]), 3),
    (pillow(Image.fromarray(pixels_of('gray')), 'TIFF', save_all=True,
            append_images=[Image.fromarray(255 - pixels_of('gray'))]), 2),
    (pillow(Image.fromarray(pixels_of('rgb')), 'WEBP', save_all=True, lossless=True,
            append_images=[Image.fromarray(255 - pixels_of('rgb'))]), 2),
])
def test_the_first_of_several_images(content: bytes, num: int) -> None:
    photo = decode(content, 'x')
    assert photo.remarks == (f'holds {num} images, the first is taken',)
    first = pixels_of('rgb' if content[:4] == b'RIFF' else 'gray')
    assert np.abs(as_rgba(photo.pixels) - as_rgba(first)).max() <= 1


def test_what_a_format_cannot_hold_is_said() -> None:
    image = pixels_of('rgba', np.uint16)
    image[..., 3] = 0
    image[:5, :, 3] = 65535
    file = io.BytesIO()
    remarks = encode(Photo(image, remarks=('read so',)), file, 'jpg', 100)
    assert [remark.split(':')[0] for remark in remarks] == ['jpg holds no transparency', 'jpg holds 8 bits a sample, not 16']
    pixels = decode(file.getvalue(), 'x').pixels.astype(int)
    assert (pixels[8:] >= 254).all() and np.abs(pixels[:4] - image[:4, :, :3] / 257).max() < 6
    assert encode(Photo(pixels_of('rgb')), io.BytesIO(), 'webp') == ()


def test_quality() -> None:
    rng = np.random.default_rng(0)
    photo = Photo(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for kind in ('jpg', 'webp'):
        assert len(file_of(photo, kind, quality=20)) < len(file_of(photo, kind)) / 2


# ---------------------------------------------------------------------------------------------- what is not read
TWELVE_BITS = b'II*\0' + struct.pack('<IH', 8, 9) + b''.join(struct.pack('<HHII', *tag) for tag in (
    (256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 122), (277, 3, 1, 1),
    (278, 3, 1, 4), (279, 4, 1, 24))) + bytes(4) + b'\xff' * 24  # TIFF, 4x4
GOOD = [*((kind, np.uint8) for kind in FORMATS), ('png', np.uint16), ('tiff', np.uint16)]


@pytest.mark.parametrize('share', [0.02, 0.5, 0.9])
@pytest.mark.parametrize('kind, dtype', GOOD)
def test_files_that_are_cut_off_are_named(tmp_path: Path, kind: str, dtype: type, share: float) -> None:
    content = file_of(Photo(pixels_of('rgb', dtype)), kind)
    assert decode(content, 'whole').pixels.shape == (23, 31, 3)
    (tmp_path / 'cut').write_bytes(content[:int(share * len(content))])
    with pytest.raises(ImageError, match=f'{tmp_path}/cut (cannot be read as an image: .|is no image)'):
        read(str(tmp_path / 'cut'))


@pytest.mark.parametrize('content, message', [
    (b'', 'is empty'),
    (b'Dear diary', 'is no image'),
    (b'\xff\xd8\xff' + b'x' * 100, 'is no image|cannot be read'),
    (pillow(Image.fromarray(np.ones((4, 4), np.float32)), 'TIFF'), 'more than 8 bits a sample are read of PNG and TIFF'),
    (pillow(Image.fromarray(np.ones((4, 4), np.int32)), 'TIFF'), 'more than 8 bits'),
    (pillow(Image.fromarray(np.full((4, 4), 3000, np.uint16)), 'JPEG2000'), 'more than 8 bits'),
    (pillow(Image.fromarray(np.full((4, 4), 3000, np.uint16)), 'PPM'), 'more than 8 bits'),
    (TWELVE_BITS, 'more than 8 bits'),
])
def test_files_that_are_no_images_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / 'diary').write_bytes(content)
    with pytest.raises(ImageError, match=f'{tmp_path}/diary .*({message})'):
        read(str(tmp_path / 'diary'))


@pytest.mark.parametrize('kind, options', [
    ('PNG', {}), ('WEBP', {'lossless': True}), ('JPEG', {'quality': 100, 'subsampling': 0, 'dpi': (72, 72)})])
def test_exif_that_is_none_does_not_cost_the_picture(kind: str, options: dict[str, Any]) -> None:
    photo = decode(pillow(Image.fromarray(pixels_of('rgb')), kind, exif=b'Exif\0\0garbage!!', **options), 'x')
    assert photo.exif == b'' and photo.remarks == ('its EXIF is damaged and left out',)
    assert np.abs(photo.pixels.astype(int) - pixels_of('rgb')).max() <= 6


def test_exif_that_cannot_be_written_again_does_not_cost_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pillow(Image.fromarray(pixels_of('rgb')), 'PNG', exif=exif_block(6))

    def fail(*_: Any) -> bytes:
        raise TypeError('a value of another type')
    monkeypatch.setattr(Image.Exif, 'tobytes', fail)
    photo = decode(content, 'x')
    assert photo.exif == b'' and photo.remarks == ('its EXIF is damaged and left out',) and photo.pixels.shape == (31, 23, 3)


# ---------------------------------------------------------------------------------------------- whole or not at all
@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              error: type[BaseException]) -> None:
    (tmp_path / 'x.png').write_bytes(b'precious')

    def fail(self: Image.Image, file: io.BufferedWriter, *_: Any, **__: Any) -> None:
        file.write(b'half')
        raise error('now')
    monkeypatch.setattr(Image.Image, 'save', fail)
    with pytest.raises(error, match='now'):
        write(Photo(pixels_of('rgb')), str(tmp_path / 'x.png'), 'png')
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [('x.png', b'precious')]
    monkeypatch.undo()
    write(Photo(pixels_of('rgb')), str(tmp_path / 'x.png'), 'png')
    assert (read(str(tmp_path / 'x.png')).pixels == pixels_of('rgb')).all()


@pytest.mark.parametrize('kind, size', [('webp', (3, 16384)), ('jpg', (65536, 2))])
def test_an_image_too_large_for_a_format(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    with pytest.raises((ValueError, OSError), match='.'):
        write(Photo(np.zeros((*size, 3), np.uint8)), str(tmp_path / f'x.{kind}'), kind)
    assert not list(tmp_path.iterdir())


def test_planes_of_16_bits_are_refused_and_not_garbled() -> None:
    content = io.BytesIO()
    tifffile.imwrite(content, np.zeros((3, 24, 20), np.uint16), photometric='rgb', planarconfig='separate')
    with pytest.raises(ImageError, match='x cannot be read as an image: .* plane by plane'):
        decode(content.getvalue(), 'x')


@pytest.mark.parametrize('kind, exif, remark', [
    ('jpg', b'x' * 70000, 'jpg holds 65533 bytes of EXIF, not 70000: left out'),
    ('bmp', b'x', 'bmp holds neither EXIF nor a colour profile: left out')])
def test_metadata_that_a_format_cannot_hold_is_left_out_with_a_remark(kind: str, exif: bytes, remark: str) -> None:
    file = io.BytesIO()
    assert encode(Photo(np.zeros((8, 9, 3), np.uint8), exif=exif), file, kind) == (remark,)
    assert decode(file.getvalue(), 'x').pixels.shape == (8, 9, 3)
