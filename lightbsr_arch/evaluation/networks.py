"""Networks to be compared: from weights or an option file's section, and how each super-resolves a sample."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
import torch.nn.functional as F
from basicsr.archs import build_network
from torch import Tensor, nn

from .. import checkpoints
from ..config import suggest
from ..inference.devices import ready

Sample = Mapping[str, Any]  # of a BlindDegradationDataset: lq, gt (3, H, W), kernel (21, 21), noise (); a real image: lq


@dataclass(frozen=True)
class Method:
    """A network in evaluation mode, with what the file of its weights says about it.

    label: What tables and figures call it. section: Its `network_g`. weights: The file, None for a network without.
    """

    label: str
    network: nn.Module
    section: Mapping[str, Any]
    weights: Optional[str] = None

    @torch.no_grad()
    def super_resolve(self, sample: Sample) -> Tensor:
        """(3, sH, sW) on the CPU, clipped to [0, 1], of one sample; a teacher is also given what it is made to see."""
        lq = on_device(self.network, sample['lq'])
        height, width = lq.shape[-2:]
        window = self.section.get('window_size', 1) if self.section['type'] == 'SwinIR' else 1
        padded = F.pad(lq, (0, -width % window, 0, -height % window), mode='reflect')  # to whole windows
        sr = self.network(padded, *side_inputs(self.network, [sample]))
        scale = sr.shape[-1] // padded.shape[-1]
        return sr[0, :, :height * scale, :width * scale].clamp(0, 1).cpu()


def load_method(label: str, source: str | Mapping[str, Any], device: torch.device | str = 'cpu') -> Method:
    """Builds a network and loads its weights (averaged ones where there are any).

    Args:
        label: Its name in tables and figures.
        source: A file of weights that names its network (this package's and the releases' do); or a section with
            `network` (as `network_g` in an option file) and `weights` (left out for a network without parameters).
        device: Where it runs.

    Raises:
        ValueError: no such file, a file that does not name its network or does not fit it, an incomplete section.
    """
    section, weights = (source.get('network'), source.get('weights')) if isinstance(source, Mapping) else (None, source)
    for key in source if isinstance(source, Mapping) else ():
        if key not in ('network', 'weights'):
            raise ValueError(f'{label}: unknown key {key!r}{suggest(key, ["network", "weights"])}')
    if section is not None and (not isinstance(section, Mapping) or not isinstance(section.get('type'), str)):
        raise ValueError(f'{label}: network must be a section with a type, as network_g in an option file, got {section!r}')
    if section is None and weights is None:
        raise ValueError(f'{label}: give a file of weights, or a section with network: and weights:')
    state_dict: dict[str, Tensor] = {}
    if section is None:
        arch, kwargs, state_dict = checkpoints.load(weights)
        section = {'type': arch, **kwargs}
    elif weights is not None:
        state_dict = checkpoints.read(weights).state_dict
    try:
        network = build_network(dict(section)).eval()
        if weights is None and any(True for _ in network.parameters()):
            raise ValueError(f'{section["type"]} has no weights: add weights: FILE')
        network.load_state_dict(state_dict)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f'{label}: {weights or section}: {" ".join(str(error).split())[:300]}') from None
    return Method(label, ready(network, device), section, weights)


def on_device(network: nn.Module, value: Tensor) -> Tensor:
    """A sample's tensor as a batch of one, where the network's weights are."""
    parameter = next(network.parameters(), value)
    return value[None].to(parameter.device)


def batched(network: nn.Module, samples: Sequence[Sample], key: str) -> Tensor:
    """(N, ...): a tensor of samples of one size, where the network's weights are."""
    return torch.cat([on_device(network, torch.as_tensor(sample[key])) for sample in samples])


def side_inputs(network: nn.Module, samples: Sequence[Sample]) -> tuple[Optional[Tensor], ...]:
    """What a teacher sees besides the LR images of samples of one size; BasicSR's own networks see nothing."""
    if not hasattr(network, 'side_inputs'):
        return ()
    return network.side_inputs(*(batched(network, samples, key) if key in samples[0] else None
                                 for key in ('gt', 'kernel', 'noise')))
