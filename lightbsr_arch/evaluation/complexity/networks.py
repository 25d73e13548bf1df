"""Networks by their sections of an option file, with random weights, and what they take."""
from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...config import suggest

Section = Mapping[str, Any]  # as `network_g` in an option file
Size = tuple[int, int]  # height and width of an LR image

PRESETS: dict[str, Section] = {
    'LightBSR': {'type': 'LightBSR'},
    'KDSR-M': {'type': 'KDSR'},
    'KDSR-L': {'type': 'KDSR', 'num_feat': 128, 'num_block': 28, 'num_estimator_block': 5},
    'KDSR-GAN': {'type': 'KDSR', 'num_feat': 128, 'num_block': 42, 'num_estimator_block': 6},
    'RCAN': {'type': 'RCAN', 'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 20},
    'ESRGAN': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3},
}


def complete(section: Section) -> dict[str, Any]:
    """The section with its arch's defaults filled in.

    Raises:
        ValueError: no such arch, an argument that it does not have, or one that it needs.
    """
    arch = ARCH_REGISTRY.get(section['type'])
    given = {key: value for key, value in section.items() if key != 'type'}
    parameters = inspect.signature(arch).parameters
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for key in given:
        if key not in named and len(named) == len(parameters):
            raise ValueError(f'{section["type"]} has no {key!r}{suggest(key, list(named))}')
    missing = [name for name, p in named.items() if p.default is p.empty and name not in given]
    if missing:
        raise ValueError(f'{section["type"]} needs {" and ".join(f"{name}=..." for name in missing)}')
    return {'type': section['type'], **{name: p.default for name, p in named.items()}, **given}


def build(section: Section) -> nn.Module:
    """The network in evaluation mode, with random weights.

    Raises:
        ValueError: as `complete`, or arguments that the arch refuses.
    """
    arguments = complete(section)
    kind = arguments.pop('type')
    try:
        return ARCH_REGISTRY.get(kind)(**arguments).eval()
    except Exception as error:  # of any arch that is registered
        raise ValueError(f'{kind} cannot be built: {_reason(error)}') from error


def inputs(network: nn.Module, section: Section, size: Size) -> tuple[Optional[Tensor], ...]:
    """An LR image (1, C, H, W) of zeros, and what a teacher sees besides: prior, HR image or kernel.

    For an arch with windows (SwinIR) the image is enlarged to whole ones, as it must be to be super-resolved.
    """
    arguments = complete(section)
    window = arguments.get('window_size', 1)
    size = tuple(-(-n // window) * window for n in size)
    channels = next((arguments[key] for key in ('num_in_ch', 'in_chans', 'in_channels') if key in arguments), 3)
    lq = torch.zeros(1, channels, *size)
    if hasattr(network, 'prior'):
        prior_dim = network.prior_dim + 3 * network.noise_prior
        return lq, torch.zeros(1, prior_dim) if prior_dim else None
    if hasattr(network, 'oracle'):
        return lq, torch.zeros(1, 21, 21) if network.oracle else torch.zeros(1, 3, *(network.scale * n for n in size))
    return lq,


def preset_name(section: Section) -> Optional[str]:
    """The papers' name for a network of exactly that size at x4, or None."""
    return next((name for name, preset in PRESETS.items()
                 if preset['type'] == section['type'] and complete(preset) == complete(section)), None)


def on_device(device: torch.device, network: nn.Module, section: Section, size: Size) -> tuple[Any, ...]:
    tensors = inputs(network, section, size)
    return network.to(device), *(None if t is None else t.to(device) for t in tensors)


@contextmanager
def named(section: Section, size: Size) -> Iterator[None]:
    """Says which network failed; what an arch raises for images that it does not take is up to the arch."""
    try:
        yield
    except Exception as error:
        raise ValueError(f'{section["type"]} does not super-resolve one image of {size[0]}x{size[1]} pixels: '
                         f'{_reason(error)}') from error


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split())[:300] or type(error).__name__
