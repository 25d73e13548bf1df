"""Freed memory: kept, then given back."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lightbsr_arch import allocator

RESIDENT = """
import torch
from lightbsr_arch import allocator

def resident():
    return allocator.resident_memory('VmRSS') // 2**20

before = resident()
allocator.keep_freed_memory()
torch.ones(64, 2**18)
print(resident() - before)
allocator.return_freed_memory()
print(resident() - before)
"""


@pytest.mark.skipif(allocator.GLIBC is None, reason='glibc alone keeps and returns memory')
def test_freed_memory_is_kept_until_it_is_returned() -> None:
    answer = subprocess.run([sys.executable, '-c', RESIDENT], capture_output=True, text=True, check=True,
                            cwd=Path(__file__).resolve().parents[1])
    kept, returned = map(int, answer.stdout.split())
    assert kept > 60 and returned < 10


FLAGS = """
from lightbsr_arch import allocator

def flags():
    regions = open('/proc/self/smaps').read().split('VmFlags:')
    return {flag for region, after in zip(regions, regions[1:]) if '[heap]' in region
            for flag in after.splitlines()[0].split()}

for step in (allocator.return_freed_memory, allocator.keep_freed_memory, allocator.return_freed_memory):
    step()
    print('hg' in flags())
"""


@pytest.mark.skipif(allocator.GLIBC is None or not Path('/sys/kernel/mm/transparent_hugepage').exists(),
                    reason='this system has no huge pages to ask for')
def test_huge_pages_are_asked_for_where_memory_is_kept_and_again_after_it_was_returned() -> None:
    answer = subprocess.run([sys.executable, '-c', FLAGS], capture_output=True, text=True, check=True,
                            cwd=Path(__file__).resolve().parents[1])
    assert answer.stdout.split() == ['False', 'True', 'True']


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, 'GLIBC', None)
    allocator.keep_freed_memory()
    allocator.return_freed_memory()
