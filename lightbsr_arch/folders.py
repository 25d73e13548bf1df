"""Folders: of images, and for temporary files."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Optional


def scratch_folder() -> str:
    """Where large temporary files go: where TMPDIR, TEMP or TMP says, or /var/tmp, which unlike /tmp is hardly ever a part of the
    memory."""
    chosen = {'TMPDIR', 'TEMP', 'TMP'} & os.environ.keys() or not os.access('/var/tmp', os.W_OK)
    return tempfile.gettempdir() if chosen else '/var/tmp'


def walk(root: str, onerror: Optional[Callable[[OSError], None]] = None) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in order, through links, but into no folder twice and to none that holds `root`.

    Args:
        onerror: Is called with the error of a folder that cannot be read; by default it is left out.
    """
    home = os.path.realpath(root)
    seen = {home}
    for place, folders, files in os.walk(root, onerror=onerror, followlinks=True):
        names, folders[:] = sorted(folders), []
        for name in names:
            path = os.path.realpath(os.path.join(place, name))
            if path not in seen and os.path.commonpath([path, home]) != path:
                folders.append(name)
                seen.add(path)
        yield place, folders, sorted(files)
