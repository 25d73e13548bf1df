"""By hand: kills a training over and over at random, and compares it with an undisturbed one. Works on what is there.

    python tests/killed_run.py OPTION_FILE FOLDER --kills 20 --every 300
    python tests/killed_run.py OPTION_FILE FOLDER --compare OTHER_FOLDER

Runs take place in FOLDER. Only kills that hit the run after it has begun to train count.
"""
from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('options', type=Path)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--every', type=float, default=300, help='mean seconds of training between two kills')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--compare', type=Path, metavar='OTHER_FOLDER')
    parsed = parser.parse_args()
    if parsed.compare:
        return compare(*(newest(folder, parsed.options) for folder in (parsed.folder, parsed.compare)))
    rng = random.Random(parsed.seed)
    for number in range(1, parsed.kills + 1):
        kill_once(parsed.options, parsed.folder, rng.uniform(0, 2 * parsed.every), number)
    return start(parsed.options, parsed.folder).wait()


def start(options: Path, folder: Path) -> subprocess.Popen:
    with open(folder / 'output.txt', 'a') as output:
        return subprocess.Popen([sys.executable, '-m', 'lightbsr_arch.cli.main', 'train', '-opt', str(options.resolve()),
                                 '--auto_resume'], cwd=folder, stdout=output, stderr=subprocess.STDOUT)


def kill_once(options: Path, folder: Path, seconds: float, number: int) -> None:
    """Kills the run some seconds after it has begun to train.

    Raises:
        RuntimeError: it ended by itself.
    """
    size = os.path.getsize(folder / 'output.txt') if (folder / 'output.txt').exists() else 0
    run = start(options, folder)
    while run.poll() is None and 'Start training' not in (folder / 'output.txt').read_text()[size:]:
        time.sleep(0.1)
    time.sleep(seconds)
    if run.poll() is not None:
        raise RuntimeError(f'the run ended by itself with status {run.returncode} before kill {number}')
    run.send_signal(signal.SIGKILL)
    run.wait()
    print(f'{time.strftime("%X")} kill {number} after {seconds:.1f} s, at {newest(folder, options)}', flush=True)


def newest(folder: Path, options: Path) -> Path | None:
    states = folder / 'experiments' / yaml.safe_load(options.read_text())['name'] / 'training_states'
    return max(states.glob('*.state'), key=lambda path: int(path.stem), default=None)


def compare(*states: Path) -> int:
    """Of both runs' newest states with their weights: prints what differs, and how much; returns an exit status."""
    print(*states)
    one, other = (flat({'state': torch.load(path), 'weights': torch.load(
        path.parents[1] / f'models/net_g_{path.stem}.pth')}) for path in states)
    different = [key for key in one.keys() | other.keys() if key not in one or key not in other
                 or not torch.equal(torch.as_tensor(one[key]), torch.as_tensor(other[key]))]
    print(f'{len(one)} values and tensors, {len(different)} differ', *sorted(different)[:20], sep='\n')
    return bool(different)


def flat(content: object, name: str = '') -> dict[str, object]:
    """Tensors and numbers of nested sections, by their paths; texts by their hash."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, (list, tuple)) else None
    if entries is None:
        return {name: content if isinstance(content, (torch.Tensor, int, float)) else hash(content)}
    return {key: value for part, entry in entries for key, value in flat(entry, f'{name}.{part}').items()}


if __name__ == '__main__':
    sys.exit(main())
