"""What the checks share: sections of an option file, and whose model it is for."""
from __future__ import annotations

from typing import Any

from basicsr.utils import registry

Options = dict[str, Any]
REAL_WORLD = 'RealESRGANDataset'


def require(where: str, section: Any, *keys: str) -> None:
    if not isinstance(section, dict):
        raise ValueError(f'{where} must be a section with keys, got {section!r}')
    for key in keys:
        if key not in section:
            raise ValueError(f'{where}: {key!r} is missing')


def is_real_world(opt: Options) -> bool:
    """Whether BasicSR's second-order degradation makes the images for training."""
    return (opt['datasets'].get('train') or {}).get('type') == REAL_WORLD


def is_blind(opt: Options) -> bool:
    """Whether the model is one of this package's."""
    from ..models.blind_sr_model import BlindSRModel
    return issubclass(registry.MODEL_REGISTRY.get(opt['model_type']), BlindSRModel)
