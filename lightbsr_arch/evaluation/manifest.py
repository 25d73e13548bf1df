"""What a test was made of: hashes of weights and images, degradations, versions. Equal ones give equal figures."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Optional

from .. import __version__
from ..data.blind_degradation_dataset import list_images

SEEDING = ('white Gaussian noise; for each image and degradation, numpy.random.default_rng(zlib.crc32("STEM LABEL")) '
           'draws the seed of a torch.Generator; STEM is the name of the image without folder and suffix, LABEL that of '
           'the degradation')


def manifest(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Of a test, as it is written to `manifest.json`.

    Args:
        opt: Its option file, parsed, with a data set for each pair of test set and degradation.
    """
    path = opt['path'].get('pretrain_network_g')
    weights = {'file': path, 'sha256': sha256(path), 'param_key': opt['path'].get('param_key_g')} if path else None
    return {
        'network': opt['network_g'], 'model_type': opt['model_type'], 'scale': opt['scale'], 'weights': weights,
        'metrics': (opt.get('val') or {}).get('metrics'), 'test_sets': _test_sets(opt), 'noise': SEEDING,
        'versions': versions()}


def versions() -> dict[str, str]:
    """Of what decides on figures."""
    return {'lightbsr_arch': __version__, **{name: version(name) for name in ('torch', 'numpy', 'basicsr')}}


def _test_sets(opt: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Folders, images and degradations of each test set by name; a folder is hashed once."""
    test_sets: dict[str, dict[str, Any]] = {}
    for section in opt['datasets'].values():
        name = section.get('benchmark') or section['name']
        if name not in test_sets:
            folders = {key: section[key] for key in ('dataroot_gt', 'dataroot_lq') if section.get(key)}
            images = {key: image_hashes(section, folder) for key, folder in folders.items()}
            crop = {'center_crop': section['center_crop']} if section.get('center_crop') else {}
            test_sets[name] = {'folders': folders, 'degradations': [], 'images': images, **crop}
        if 'degradation' in section:
            test_sets[name]['degradations'].append(section['degradation'])
    return test_sets


def image_hashes(section: Mapping[str, Any], folder: str) -> dict[str, str]:
    """SHA-256 by name relative to one of a data set's folders; an LMDB folder is one file."""
    names = ['data.mdb'] if folder.rstrip('/').endswith('.lmdb') else image_names(section, folder)
    return {name: sha256(os.path.join(folder, name)) for name in names}


def main_folder(section: Mapping[str, Any]) -> Optional[str]:
    """Where a data set's HR images are, or for want of them its LR images."""
    return section.get('dataroot_gt') or section.get('dataroot_lq')


def image_names(section: Mapping[str, Any], folder: str) -> list[str]:
    """A data set's images in one of its folders, relative to it.

    A list names HR images, where there are any. BasicSR's own data sets read its lines up to the first space; of clips, they
    name folders. What other plugins' data sets read may be unknown: no images.
    """
    listing = section.get('meta_info_file') if folder == main_folder(section) else None
    if 'degradation' in section:
        return list_images(folder, listing)
    try:
        names = list_images(folder)
        if not listing or folder.rstrip('/').endswith('.lmdb'):  # BasicSR's LMDB folders have a list of their own
            return names
        with open(listing, encoding='utf-8') as file:
            listed = {line.split(' ')[0].strip() for line in file if line.strip()}
    except (OSError, ValueError):
        return []
    return [name for name in names if name in listed or os.path.dirname(name) in listed]


def sha256(path: str) -> str:
    """Raises a ValueError if there is no such file."""
    if not os.path.isfile(path):
        raise ValueError(f'there is no file {path}')
    stat = os.stat(path)
    return _sha256(os.path.realpath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=None)
def _sha256(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def covers(earlier: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a test has already measured what another one would; files may have moved."""
    earlier, wanted = _without_places(earlier), _without_places(wanted)
    earlier_sets, wanted_sets = earlier.pop('test_sets'), wanted.pop('test_sets')
    return earlier == wanted and all(earlier_sets.get(name) == test_set for name, test_set in wanted_sets.items())


def _without_places(content: Mapping[str, Any]) -> dict[str, Any]:
    weights = {k: v for k, v in (content['weights'] or {}).items() if k != 'file'}
    test_sets = {name: {k: v for k, v in test_set.items() if k != 'folders'}
                 for name, test_set in content['test_sets'].items()}
    return {**content, 'weights': weights, 'test_sets': test_sets}
