"""Small networks in which every part matters: no part is near zero or the identity, as untrained ones are."""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightbsr_arch import archs

SIZES = {'LightBSR': {'num_feat': 8, 'num_group': 2, 'num_block': 2}, 'KDSR': {'num_feat': 8, 'num_block': 2, 'num_estimator_block': 1}}
SIZES |= {'LightBSRTeacher': SIZES['LightBSR'] | {'queue_size': 5}, 'KDSRTeacher': SIZES['KDSR']}


def build(arch: str, **changes: Any) -> nn.Module:
    """In evaluation mode; `changes` to the small size."""
    torch.manual_seed(0)
    layer_scale = {'layer_scale': 0.5} if arch.startswith('LightBSR') else {}
    net = getattr(archs, arch)(**SIZES[arch] | layer_scale | changes).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith('.bias'):
                value.normal_(0, 0.1)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return net


def arguments(arch: str, **changes: Any) -> dict[str, Any]:
    """What a file says of it: `scale` and its size."""
    return {'scale': 4} | SIZES[arch] | changes
