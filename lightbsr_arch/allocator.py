"""The C library's allocator. A network takes and frees maps of megabytes all the time; glibc gives such blocks back to the
system at once and takes them anew, page by page, for a tenth of a network's time on a CPU or more.

Nothing happens here where there is no glibc.
"""
from __future__ import annotations

import ctypes
import os

LIBC = ctypes.CDLL(None) if os.name == 'posix' else None
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> None:
    """From now on this process keeps what it frees, for its next maps; `return_freed_memory` gives it back."""
    if hasattr(LIBC, 'malloc_trim'):  # glibc alone, also of those with mallopt
        LIBC.mallopt(M_MMAP_MAX, 0)
        LIBC.mallopt(M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Gives the system what this process has freed and kept."""
    if hasattr(LIBC, 'malloc_trim'):
        LIBC.malloc_trim(0)
