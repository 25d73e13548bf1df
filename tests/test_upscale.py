"""`basicsr upscale`: what goes where, what is refused, and what is said."""
from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import numpy as np
import pytest
from PIL import Image

from lightbsr_arch import checkpoints
from lightbsr_arch.archs import LightBSR
from lightbsr_arch.inference import Upscaler, bundled, image_files
from tests.conftest import ROOT

RunCli = Callable[..., int]
NAMES = ['image_0.png', 'image_1.png', 'image_2.png', 'image_3.png', 'nested/image_4.png', 'nested/image_5.png']
BICUBIC = ('--weights', 'Bicubic')


def pixels(path: Path) -> np.ndarray:
    return image_files.read(str(path)).pixels


def expected(path: Path, **options: Any) -> np.ndarray:
    return Upscaler('Bicubic', **options)(pixels(path))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    return file.getvalue()


# ---------------------------------------------------------------------------------------------- what goes where
def test_folders_keep_names(images: Path, tmp_path: Path, run_cli: RunCli, capsys: pytest.CaptureFixture[str]) -> None:
    (images / 'notes.txt').touch()
    (images / '.hidden.png').touch()
    assert run_cli('upscale', images, '-o', 'out', *BICUBIC) == 0
    assert files(tmp_path / 'out') == NAMES
    for name in NAMES:
        assert (pixels(tmp_path / 'out' / name) == expected(images / name)).all()
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.splitlines()[0] == (
        f'{images}/image_0.png -> out/image_0.png (384x320, Bicubic)') and len(captured.err.splitlines()) == 6


@pytest.mark.parametrize('inputs, output, arguments, result', [
    (['images/image_0.png'], 'big.png', [], ['big.png']),
    (['images/image_0.png'], 'new/deep/big.jpeg', [], ['new/deep/big.jpeg']),
    (['images/image_0.png'], 'out', [], ['out/image_0.png']),
    (['images/image_0.png'], 'out.d/', [], ['out.d/image_0.png']),
    (['images/image_0.png', 'images/nested'], 'out', [], ['out/image_0.png', 'out/image_4.png', 'out/image_5.png']),
    (['images/nested'], 'out', ['--format', 'webp'], ['out/image_4.webp', 'out/image_5.webp']),
    (['photo.JPG'], 'out', [], ['out/photo.JPG']),
    (['photo.JPG'], 'out', ['--format', 'jpg'], ['out/photo.JPG']),
    (['photo.JPG'], 'out', ['--format', 'tiff'], ['out/photo.tif']),
    (['moving.gif'], 'out', [], ['out/moving.png']),
])
def test_names(images: Path, tmp_path: Path, run_cli: RunCli, inputs: list[str], output: str, arguments: list[str],
               result: list[str]) -> None:
    for name in ('photo.JPG', 'moving.gif'):
        Image.open(images / 'image_0.png').save(tmp_path / name)
    before = files(tmp_path)
    assert run_cli('upscale', *inputs, '-o', output, *BICUBIC, *arguments) == 0
    assert sorted(set(files(tmp_path)) - set(before)) == result
    for name in result:
        with Image.open(tmp_path / name) as opened:
            wanted = {'jpeg': 'JPEG', 'jpg': 'JPEG', 'webp': 'WEBP', 'tif': 'TIFF', 'png': 'PNG'}[name.lower().split('.')[-1]]
            assert opened.format == wanted and opened.size == (384, 320)


def test_options_reach_the_upscaler(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    source = images / 'image_0.png'
    assert run_cli('upscale', source, '-o', 'big.png', *BICUBIC, '--outscale', 1.5, '--ensemble', '--precision', 'fp32',
                   '--device', 'cpu', '--memory', '1GB') == 0
    assert (pixels(tmp_path / 'big.png') == expected(source, outscale=1.5, ensemble=True)).all()
    assert run_cli('upscale', source, '-o', 'low.jpg', *BICUBIC, '--quality', 10) == 0
    assert run_cli('upscale', source, '-o', 'high.jpg', *BICUBIC, '--quality', 99) == 0
    assert (tmp_path / 'low.jpg').stat().st_size < (tmp_path / 'high.jpg').stat().st_size / 2


@pytest.mark.parametrize('name, limit', [('big.webp', 16383), ('big.jpg', 65500)])
def test_a_result_that_its_format_cannot_hold_is_refused_before_the_work(name: str, limit: int, tmp_path: Path, run_cli: RunCli,
                                                                         monkeypatch: pytest.MonkeyPatch,
                                                                         capsys: pytest.CaptureFixture[str]) -> None:
    Image.new('L', (limit // 4 + 1, 1)).save(tmp_path / 'wide.png')
    monkeypatch.setattr(Upscaler, '__call__', lambda *_: pytest.fail('it was computed'))
    assert run_cli('upscale', 'wide.png', '-o', name, *BICUBIC) == 1
    assert f'wide.png: {name[4:]} holds at most {limit} pixels a side' in capsys.readouterr().err


def test_streams(images: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str]) -> None:
    source = images / 'image_0.png'
    for arguments, kind in (([], 'PNG'), (['--format', 'tiff'], 'TIFF')):
        monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
        monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO()))
        assert run_cli('upscale', '-', '-o', '-', *BICUBIC, *arguments) == 0
        content = sys.stdout.buffer.getvalue()
        assert Image.open(io.BytesIO(content)).format == kind
        assert (image_files.decode(content, 'x').pixels == expected(source)).all()
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
    assert run_cli('upscale', '-', '-o', 'out/', *BICUBIC) == 0 and files(tmp_path / 'out') == ['stdin.png']
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(b'')))
    assert run_cli('upscale', '-', '-o', 'big.png', *BICUBIC) == 1
    assert 'stdin is empty' in capsys.readouterr().err and not (tmp_path / 'big.png').exists()


@pytest.mark.parametrize('name, kind', [('photo.jpg', 'JPEG'), ('photo.TIF', 'TIFF'), ('photo.gif', 'PNG')])
def test_stdout_gets_the_format_of_the_input(name: str, kind: str, images: Path, tmp_path: Path, run_cli: RunCli,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    Image.open(images / 'image_0.png').save(tmp_path / name)
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO()))
    assert run_cli('upscale', name, '-o', '-', *BICUBIC) == 0
    assert Image.open(sys.stdout.buffer).format == kind


def test_a_pipe_is_binary_clean_and_basicsr_is_not_imported(images: Path) -> None:
    code = ("import sys; from lightbsr_arch.cli.main import main; status = main(sys.argv[1:]); "
            "print([name for name in ('basicsr', 'torchvision', 'matplotlib') if name in sys.modules], file=sys.stderr); "
            "sys.exit(status)")
    done = subprocess.run([sys.executable, '-c', code, 'upscale', '-', '-o', '-', *BICUBIC], capture_output=True,
                          input=(images / 'image_0.png').read_bytes(), cwd=ROOT, check=True)
    assert (image_files.decode(done.stdout, 'x').pixels == expected(images / 'image_0.png')).all()
    assert done.stderr.decode().splitlines() == ['- -> - (384x320, Bicubic)', '[]']


def test_the_model_is_chosen_for_each_image(images: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    size = {'num_feat': 8, 'num_group': 1, 'num_block': 1}
    checkpoints.write({'params': LightBSR(**size).state_dict(), 'network': {'type': 'LightBSR', **size}},
                      str(tmp_path / 'net.pth'))
    monkeypatch.setattr(bundled, 'path', lambda name: str(tmp_path / 'net.pth'))
    clean = pixels(images / 'image_0.png')
    grainy = np.rint((clean + np.random.default_rng(0).normal(0, 15, clean.shape)).clip(0, 255)).astype(np.uint8)
    Image.fromarray(grainy).save(images / 'grainy.png')
    for arguments, names in (([], ('compact-x4', 'compact-noisy-x4')), (['--model', 'noisy'], ('compact-noisy-x4',) * 2),
                             (['--model', 'clean'], ('compact-x4',) * 2)):
        sources = [images / 'image_0.png', images / 'grainy.png']
        assert run_cli('upscale', *sources, '-o', 'out', '--force', *arguments) == 0
        lines = capsys.readouterr().err.splitlines()
        assert [line.split('LightBSR-')[1] for line in lines] == [f'{name})' for name in names]


def test_a_folder_inside_the_input_is_not_read_again(images: Path, run_cli: RunCli) -> None:
    for arguments in ([], ['--force']):
        assert run_cli('upscale', images, '-o', images / 'big', *BICUBIC, *arguments) == 0
        assert files(images / 'big') == NAMES
        assert pixels(images / 'big/image_0.png').shape == (320, 384, 3)


def test_links_are_followed_but_nothing_is_done_twice(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / 'album').mkdir()
    for name, target in {'photos': images, 'again': images, 'loop': tmp_path / 'album', 'up': tmp_path}.items():
        (tmp_path / 'album' / name).symlink_to(target)
    assert run_cli('upscale', 'album', '-o', 'big', *BICUBIC) == 0
    assert files(tmp_path / 'big') == [f'again/{name}' for name in NAMES]


# ---------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize('arguments, message', [
    (['images', '-o', 'big.png'], 'big.png is the name of a file, but several images would be written'),
    (['images/image_0.png', 'images/image_1.png', '-o', 'old.png'], 'old.png is the name of a file'),
    (['images', '-o', '-'], '-o - writes one image to stdout'),
    (['images/image_0.png', '-o', 'old.png'], 'old.png exists already'),
    (['images', '-o', 'old'], 'old/image_0.png (and 1 more) exists already'),
    (['images/image_0.png', '-o', 'images/image_0.png', '--force'], 'images/image_0.png would be overwritten, but is an input'),
    (['images', '-o', 'images', '--force'], 'images/image_0.png (and 5 more) would be overwritten, but is an input'),
    (['images', 'images/image_0.png', '-o', 'out'], 'several images would become {tmp}/out/image_0.png'),
    (['images/image_0.png', 'photo/image_0.jpg', '-o', 'out', '--format', 'png'], 'several images would become'),
    (['images/image_0.png', '-o', 'big.gif'], 'big.gif: the formats .png, .jpg, .jpeg, .webp, .tif, .tiff, .bmp can be written'),
    (['images/image_0.png', '-o', 'big.png', '--format', 'jpg'], 'big.png is no name for the format jpg'),
    (['images/image_0.png', '-o', 'old.png/'], "File exists: '{tmp}/old.png'"),
    (['images/image_0.png', '-o', 'old.png/big.png'], "old.png"),
    (['images', '-o', 'out', '--outscale', '-1'], 'outscale must be positive'),
    (['images', '-o', 'out', '--memory', 'much'], 'must be such as 4GB'),
    (['images', '-o', 'out', '--device', 'cuda:99'], 'the device cuda:99 cannot be used'),
    (['images', '-o', 'out', '--weights', 'nowhere.pth'], 'there is no file nowhere.pth'),
])
def test_refuses_before_work_begins(images: Path, tmp_path: Path, run_cli: RunCli, arguments: list[str], message: str,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'old').mkdir()
    for path in ('old.png', 'old/image_0.png', 'old/image_3.png'):
        (tmp_path / path).write_bytes(b'precious')
    (tmp_path / 'photo').mkdir()
    Image.open(images / 'image_0.png').save(tmp_path / 'photo/image_0.jpg')
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    weights = () if '--weights' in arguments else BICUBIC
    assert run_cli('upscale', *arguments, *weights) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and message.format(tmp=tmp_path) in errors[0]
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before and not (tmp_path / 'out').exists()


def test_an_input_by_another_name_is_not_overwritten(images: Path, tmp_path: Path, run_cli: RunCli,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    """As photo.JPG and photo.jpg are one file on disks that do not tell case."""
    os.link(images / 'image_0.png', tmp_path / 'other.png')
    assert run_cli('upscale', images / 'image_0.png', '-o', 'other.png', *BICUBIC, '--force') == 1
    assert 'other.png would be overwritten, but is an input' in capsys.readouterr().err


def test_force_overwrites(images: Path, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / 'big.png').write_bytes(b'precious')
    assert run_cli('upscale', images / 'image_0.png', '-o', 'big.png', *BICUBIC, '--force') == 0
    assert pixels(tmp_path / 'big.png').shape == (320, 384, 3)


@pytest.mark.parametrize('arguments', [['--quality', '0'], ['--quality', '101'], ['--quality', 'good'], ['--format', 'gif'],
                                       ['--model', 'noisy', *BICUBIC], ['--backend', 'tensorflow']])
def test_wrong_usage(images: Path, run_cli: RunCli, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        run_cli('upscale', images, '-o', 'out', *arguments)


# ---------------------------------------------------------------------------------------------- what goes wrong on the way
def test_what_cannot_be_read_is_named_and_the_rest_goes_on(images: Path, tmp_path: Path, run_cli: RunCli,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    (images / 'empty.png').touch()
    (images / 'cut.png').write_bytes((images / 'image_0.png').read_bytes()[:300])
    (images / 'diary.jpg').write_text('Dear diary')
    (tmp_path / 'bare').mkdir()
    assert run_cli('upscale', images, 'nowhere.png', 'bare', '-o', 'out', *BICUBIC) == 1
    errors = capsys.readouterr().err.splitlines()
    for message in ('there is no file or folder nowhere.png', 'bare holds no images', f'{images}/empty.png is empty',
                    f'{images}/cut.png cannot be read as an image', f'{images}/diary.jpg is no image'):
        assert sum(line.startswith(message) for line in errors) == 1, message
    assert errors[-1] == 'basicsr upscale: error: 5 of 11 could not be upscaled, see above'
    assert files(tmp_path / 'out') == NAMES


@pytest.mark.parametrize('inputs', [['nowhere.png'], ['nowhere.png', 'bare']])
def test_nothing_to_do(tmp_path: Path, run_cli: RunCli, inputs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bare').mkdir()
    for output in ('out.png', 'out') if len(inputs) == 1 else ('out',):
        assert run_cli('upscale', *inputs, '-o', output) == 1
        assert 'there is no file or folder nowhere.png' in capsys.readouterr().err and not (tmp_path / output).exists()


def test_a_folder_that_is_not_writable(images: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, 'access', lambda path, mode: path != f'{tmp_path}/out')  # root may write everywhere
    assert run_cli('upscale', images, '-o', 'out', *BICUBIC) == 1
    assert f'the folder {tmp_path}/out is not writable' in capsys.readouterr().err


@pytest.mark.parametrize('error, status, message', [
    (MemoryError(), 1, 'image_1.png: out of memory; allow less than is free, such as --memory 1GB'),
    (OSError('No space left on device'), 1, 'image_1.png: No space left on device'),
    (KeyboardInterrupt(), 130, 'basicsr upscale: interrupted'),
])
def test_one_image_fails(images: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch,
                         error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    encode = image_files.encode
    calls: list[int] = []

    def failing(photo: image_files.Photo, file: Any, *arguments: Any) -> tuple[str, ...]:
        calls.append(1)
        if len(calls) == 2:
            file.write(b'half')
            raise error
        return encode(photo, file, *arguments)
    monkeypatch.setattr(image_files, 'encode', failing)
    assert run_cli('upscale', images, '-o', 'out', *BICUBIC) == status
    assert message in capsys.readouterr().err
    done = NAMES[:1] if status == 130 else [name for name in NAMES if name != 'image_1.png']
    assert files(tmp_path / 'out') == done


def test_losses_are_said(images: Path, run_cli: RunCli, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((5, 6, 4), np.uint8)).save(images / 'clear.png')
    assert run_cli('upscale', images / 'clear.png', '-o', 'clear.jpg', *BICUBIC) == 0
    assert 'clear.jpg: jpg holds no transparency: set on white' in capsys.readouterr().err


def test_a_bar_on_a_terminal(images: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, 'stderr', screen)
    (images / 'empty.png').touch()
    assert run_cli('upscale', images, '-o', 'out', *BICUBIC) == 1
    shown = screen.getvalue()
    assert '100%|' in shown and 'nested/image_5.png' in shown and f'{images}/empty.png is empty' in shown and '->' not in shown
