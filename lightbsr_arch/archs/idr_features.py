"""A degradation representation (IDR) as one vector an image, whatever its members: what statistics are taken of."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def pooled(idr: NamedTuple, members: tuple[str, ...]) -> Tensor:
    """(B, n): the named members side by side, maps averaged over H x W; those that were not built are left out.

    Raises:
        ValueError: no such member, or none of them was built.
    """
    for name in members:
        if name not in idr._fields:
            raise ValueError(f'its IDR has no {name!r}, but {", ".join(idr._fields)}')
    built = [value for value in (getattr(idr, name) for name in members) if value is not None]
    if not built:
        raise ValueError(f'it builds no IDR ({", ".join(members)}): nothing in this network reads one')
    return torch.cat([value.flatten(2).mean(2) if value.dim() > 2 else value for value in built], 1)
