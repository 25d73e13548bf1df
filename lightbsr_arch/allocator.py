"""What this process takes of the machine's memory.

A network takes and frees maps of megabytes all the time; glibc gives such blocks back to the system at once and takes them
anew, page by page, for a tenth of a network's time on a CPU or more; and pages of 2 MiB instead of 4 KiB, where the system has
them for programs that ask, are worth another tenth. Without glibc nothing is changed.
"""
from __future__ import annotations

import ctypes
import os
import sys
from typing import Optional

LIBC = ctypes.CDLL(None) if os.name == 'posix' else None
GLIBC = LIBC if hasattr(LIBC, 'malloc_trim') else None  # which other libraries that have mallopt lack
if GLIBC is not None:
    GLIBC.malloc.restype = ctypes.c_void_p
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
MADV_HUGEPAGE, HUGE_PAGE = 14, 2**21  # of sys/mman.h, and its size
keeps = False  # what is freed


def keep_freed_memory() -> None:
    """From now on this process keeps what it frees, for its next maps; `return_freed_memory` gives it back."""
    global keeps
    keeps = True
    if GLIBC is not None:
        GLIBC.mallopt(M_MMAP_MAX, 0)
        GLIBC.mallopt(M_TRIM_THRESHOLD, -1)
        _ask_for_huge_pages()


def return_freed_memory() -> None:
    """Gives the system what this process has freed and kept."""
    if GLIBC is not None:
        GLIBC.malloc_trim(0)
        if keeps:
            _ask_for_huge_pages()


def _ask_for_huge_pages() -> None:
    """For the addresses that glibc will use next, as long as the process has less than three quarters of the machine's memory;
    none of it is taken yet."""
    size = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') * 3 // 4 - (resident_memory('VmRSS') or 0)
    if size > 0 and (block := GLIBC.malloc(ctypes.c_size_t(size))):
        start = -(-block // HUGE_PAGE) * HUGE_PAGE
        GLIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(block + size - start), MADV_HUGEPAGE)
        GLIBC.free(ctypes.c_void_p(block))


def resident_memory(key: str) -> Optional[int]:
    """Bytes that this process holds (VmRSS), or held at its peak (VmHWM); None where there is no Linux."""
    if not sys.platform.startswith('linux'):
        return None
    with open('/proc/self/status', encoding='ascii') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f'{key}:'))
