"""How many bytes an image may take."""
from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path

import torch

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
SHARE = 0.5  # of what is free now: other programs live here too
FALLBACK = 2 * 2**30  # where the system does not tell
GROUP_FILES = {  # by version of control groups: files of the limit and the use, and what sums over those below begin with
    '': ('memory.max', 'memory.current', ''), 'memory': ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_')}


def parse_size(text: str) -> int:
    """'4GB', '4G', '512MiB' or '1000000' -> bytes.

    Raises:
        ValueError: of another form, or less than 1 MB.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?', text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if size < 2**20:  # what is meant with 4 has a unit
        raise ValueError(f'a size in memory must be such as 4GB or 512MB, and at least 1MB, got {text!r}')
    return size


def default_budget(device: torch.device) -> int:
    """A share of the bytes that are free now where `device` keeps its tensors."""
    if device.type == 'cuda':
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for its next tensors
        return int(SHARE * (torch.cuda.mem_get_info(device)[0] + kept))
    return int(SHARE * min(_free_in_system(), _free_in_container()))


def _free_in_system() -> int:
    with contextlib.suppress(OSError, ValueError, TypeError):  # Linux
        with open('/proc/meminfo', encoding='ascii') as file:
            return 1024 * int(re.search(r'MemAvailable:\s*(\d+) kB', file.read())[1])
    with contextlib.suppress(OSError, ValueError, AttributeError):  # macOS tells what it has, not what is free
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2
    return FALLBACK


def _free_in_container() -> float:
    """What control groups leave, which the system's figure does not know of; the limit of each holds for those below it."""
    groups = []
    with contextlib.suppress(OSError, ValueError), open('/proc/self/cgroup', encoding='utf-8') as file:
        groups = re.findall(r'^\d+:(memory|):/(.*)$', file.read(), re.MULTILINE)  # of version 1, of version 2
    places = [(version, Path('/sys/fs/cgroup', version, path)) for version, path in groups]
    return min((_left(version, folder) for version, place in places for folder in (place, *place.parents)), default=math.inf)


def _left(version: str, folder: Path) -> float:
    """What one leaves; files that are kept in memory give way."""
    limit, use, total = GROUP_FILES[version]
    with contextlib.suppress(OSError, ValueError):  # 'max' is no number
        texts = []
        for name in (limit, use, 'memory.stat'):
            with open(folder / name, encoding='ascii') as file:
                texts.append(file.read())
        files = sum(map(int, re.findall(rf'^{total}(?:in)?active_file (\d+)$', texts[2], re.MULTILINE)))
        return max(int(texts[0]) - int(texts[1]) + files, 0)
    return math.inf
