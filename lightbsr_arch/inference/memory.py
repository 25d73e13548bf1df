"""How many bytes an image may take."""
from __future__ import annotations

import contextlib
import os
import re

import torch

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
SHARE = 0.5  # of what is free now: other programs live here too
FALLBACK = 2 * 2**30  # where the system does not tell


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
    """What a control group leaves, which the system's figure does not know of; files that are kept in memory give way."""
    with contextlib.suppress(OSError, ValueError):
        texts = []
        for name in ('max', 'current', 'stat'):
            with open(f'/sys/fs/cgroup/memory.{name}', encoding='ascii') as file:
                texts.append(file.read())
        files = sum(map(int, re.findall(r'^(?:in)?active_file (\d+)$', texts[2], re.MULTILINE)))
        return max(int(texts[0]) - int(texts[1]) + files, 0)
    return float('inf')
