"""Before BasicSR is imported."""
from __future__ import annotations

import importlib
import importlib.util
import sys
import types

import torch


def prepare_import() -> None:
    """Makes `import basicsr` work."""
    declare_missing_operators()
    stand_in_for_functional_tensor()


def declare_missing_operators() -> None:
    """RuntimeError: operator torchvision::nms does not exist.

    A torchvision whose compiled operators do not load (a CUDA build beside a CPU torch). Declaring them lets it import;
    nothing here calls them. Can go when torchvision imports without its operators.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if 'torchvision::' not in str(error):
            raise
        for name in [n for n in sys.modules if n.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        library = torch.library.Library('torchvision', 'FRAGMENT')
        library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        _libraries.append(library)
        importlib.import_module('torchvision')


_libraries: list[torch.library.Library] = []  # a library's operators live as long as it does


def stand_in_for_functional_tensor() -> None:
    """ModuleNotFoundError: No module named 'torchvision.transforms.functional_tensor', on any import of basicsr.

    torchvision >= 0.17 has dropped the module; BasicSR needs `rgb_to_grayscale` of it.
    """
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale
    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale
    sys.modules[name] = module
