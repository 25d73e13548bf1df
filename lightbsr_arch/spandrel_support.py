"""LightBSR and KDSR for spandrel, the model loader of chaiNNer, ComfyUI and others (https://github.com/chaiNNer-org/spandrel).

    from lightbsr_arch import spandrel_support
    spandrel_support.install()
    model = spandrel.ModelLoader().load_from_file('lightbsr_x4.safetensors')

Files of this package and of the releases are recognised from their weights. Teachers are not: they need the blur kernel or
the HR image as well, which spandrel has no place for.
"""
from __future__ import annotations

from typing import Any

from torch import Tensor

from . import checkpoints
from .archs import KDSR, LightBSR
from .basicsr_compat.imports import declare_missing_operators

try:
    declare_missing_operators()  # spandrel imports torchvision
    from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, ModelTiling
except ImportError as error:
    raise ImportError(f'spandrel cannot be imported ({error}): pip install lightbsr_arch[spandrel]') from error

StateDict = dict[str, Tensor]


def install() -> None:
    """Adds both networks to spandrel's main registry; calling it again changes nothing."""
    MAIN_REGISTRY.add(*(ArchSupport.from_architecture(BlindArchitecture(cls, tags)) for cls, tags in (
        (LightBSR, {'num_feat': 'nf', 'num_group': 'ng', 'num_block': 'nb'}),
        (KDSR, {'num_feat': 'nf', 'num_block': 'nb', 'num_estimator_block': 'ne'}))), ignore_duplicates=True)


class BlindArchitecture(Architecture):
    """A student network of this package as spandrel sees it.

    Args:
        network: Its class.
        tags: Argument -> unit, of what tells models of different size apart: {'num_feat': 'nf'} makes `64nf`.
    """

    def __init__(self, network: type[LightBSR | KDSR], tags: dict[str, str]) -> None:
        name = network.__name__
        super().__init__(id=name, detect=lambda state_dict: name in (
            checkpoints.our_arch(state_dict), checkpoints.upstream_arch(state_dict)))
        self._network = network
        self._tags = tags

    def load(self, state_dict: StateDict) -> ImageModelDescriptor:
        """Raises CheckpointError for weights that are incomplete."""
        kwargs, state_dict = self._in_our_layout(state_dict)
        return ImageModelDescriptor(
            self._network(**kwargs).eval(), state_dict, architecture=self, purpose='SR',
            tags=[f'{kwargs[key]}{unit}' for key, unit in self._tags.items() if key in kwargs],
            supports_half=True, supports_bfloat16=True, scale=kwargs['scale'], input_channels=3, output_channels=3,
            # the degradation and every channel gate are averages over the image: tiles would see other ones each
            tiling=ModelTiling.DISCOURAGED)

    def _in_our_layout(self, state_dict: StateDict) -> tuple[dict[str, Any], StateDict]:
        if checkpoints.upstream_arch(state_dict):
            return checkpoints.from_upstream(state_dict)[1:]
        weights = {key: value for key, value in state_dict.items() if key != 'trunk.mean_shift.mean'}  # TorchScript keeps it
        return checkpoints.our_arguments(self.id, weights), weights
