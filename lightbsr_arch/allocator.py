"""What this process takes of the machine's memory.

A network takes and frees maps of megabytes all the time; glibc gives such blocks back to the system at once and takes them
anew, page by page, for a tenth of a network's time on a CPU or more. Without glibc nothing is changed.
"""
from __future__ import annotations

import ctypes
import os
import sys
from typing import Optional

LIBC = ctypes.CDLL(None) if os.name == 'posix' else None
GLIBC = LIBC if hasattr(LIBC, 'malloc_trim') else None  # which other libraries that have mallopt lack
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> None:
    """From now on this process keeps what it frees, for its next maps; `return_freed_memory` gives it back."""
    if GLIBC is not None:
        GLIBC.mallopt(M_MMAP_MAX, 0)
        GLIBC.mallopt(M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Gives the system what this process has freed and kept."""
    if GLIBC is not None:
        GLIBC.malloc_trim(0)


def resident_memory(key: str) -> Optional[int]:
    """Bytes that this process holds (VmRSS), or held at its peak (VmHWM); None where there is no Linux."""
    if not sys.platform.startswith('linux'):
        return None
    with open('/proc/self/status', encoding='ascii') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f'{key}:'))
