"""This package's own sections of an option file, as frozen dataclasses; a key they don't know is an error."""
from __future__ import annotations

import difflib
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Mapping, Optional, TypeVar

T = TypeVar('T')


def build(cls: type[T], section: Mapping[str, Any], where: str) -> T:
    """Makes a dataclass of a section.

    Args:
        cls: The dataclass.
        section: What the option file says; lists become tuples.
        where: The section's name, for messages.

    Raises:
        ValueError: not a section, an unknown key (the message names the nearest valid one), a missing one, or values
            that the class refuses.
    """
    if not isinstance(section, Mapping):
        raise ValueError(f'{where} must be a section with keys, got {section!r}')
    known = [f.name for f in fields(cls)]
    if 'model_type' in section:
        raise ValueError(f'{where}: model_type belongs to an option file for `basicsr train` or `basicsr test`')
    for key in section:
        if key not in known:
            raise ValueError(f'{where}: unknown key {key!r}{suggest(key, known)}')
    missing = [f.name for f in fields(cls)
               if f.name not in section and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ValueError(f'{where}: {missing[0]!r} is missing')
    check_types({f.name: f.type for f in fields(cls)}, section, where)
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in section.items()})
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from None


def check_types(types: Mapping[str, Any], section: Mapping[str, Any], where: str) -> None:
    """Raises a ValueError for a text where a number belongs, and the like.

    Args:
        types: Annotations by key, as text; other types than these few are not looked at.
    """
    simple = {'int': (int, 'a whole number'), 'float': ((int, float), 'a number'), 'bool': (bool, 'true or false'),
              'str': (str, 'a text'), 'tuple[int, ...]': ((list, tuple), 'a list of whole numbers'),
              'Optional[float]': ((int, float, type(None)), 'a number or left out')}
    for key, annotation in types.items():
        kind, words = simple.get(annotation, (object, ''))
        if key in section and not isinstance(section[key], kind):
            raise ValueError(f'{where}: {key} must be {words}, got {section[key]!r}')


def suggest(word: object, known: list[str]) -> str:
    """The end of an error message: the nearest valid word and all of them."""
    near = difflib.get_close_matches(str(word), known, 1)
    return (f'; did you mean {near[0]!r}?' if near else '.') + f' Valid ones: {", ".join(sorted(known))}'


@dataclass(frozen=True)
class Stage:
    """An entry of `train.stages`.

    trains: `idr` (estimator and what belongs to it, by the representation losses alone) or `all`.
    iterations: Length.
    lr: Learning rate after the warm-up.
    warmup: Iterations of linear warm-up from 0.
    lr_min: Where a cosine ends at the stage's last iteration; left out, the rate stays.
    milestones, gamma: Iterations of this stage after which the rate is multiplied by gamma.
    """

    trains: Literal['idr', 'all']
    iterations: int
    lr: float
    warmup: int = 0
    lr_min: Optional[float] = None
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if self.trains not in ('idr', 'all'):
            raise ValueError(f"trains must be 'idr' or 'all', got {self.trains!r}")
        for name, least in (('iterations', 1), ('warmup', 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f'{name} must be a whole number from {least} upwards, got {value!r}')
        for name in ('lr', 'gamma'):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or value <= 0:
                raise ValueError(f'{name} must be a positive number, got {value!r}')
        if not all(isinstance(milestone, int) for milestone in self.milestones):
            raise ValueError(f'milestones must be a list of whole numbers, got {list(self.milestones)}')
        if self.warmup > self.iterations:
            raise ValueError(f'warmup ({self.warmup}) must not exceed the stage ({self.iterations} iterations)')
        if self.lr_min is not None and self.lr_min > self.lr:
            raise ValueError(f'lr_min ({self.lr_min}) must not exceed lr ({self.lr})')
        if self.lr_min is not None and self.milestones:
            raise ValueError('lr_min (cosine) and milestones (steps) exclude each other')


@dataclass(frozen=True)
class StepOptions:
    """Keys of `train:` that say how a step is computed, not what is learnt.

    amp: Precision of the networks' forward pass, `bf16` or `fp16` (with loss scaling); left out, float32. Losses are
        always computed in float32.
    channels_last: Memory layout; the same results, mostly faster.
    compile: Compile the SR network's blocks with torch.compile at their first step.
    recompute: Keep only every few blocks' output for the gradient and compute the others again: less memory, more time.
    accumulate: Parts in which a batch is worked through, for less memory. BatchNorm sees each part alone.
    clip_grad_norm: Largest norm of the gradient; left out, gradients are not clipped.
    sync_bn: BatchNorm over the batches of all processes (GPUs only).
    max_skipped: Steps skipped in a row, for a loss or gradient that is not finite, that end the run.
    """

    amp: Optional[Literal['bf16', 'fp16']] = None
    channels_last: bool = True
    compile: bool = False
    recompute: bool = False
    accumulate: int = 1
    clip_grad_norm: Optional[float] = None
    sync_bn: bool = False
    max_skipped: int = 10

    def __post_init__(self) -> None:
        if self.amp not in (None, 'bf16', 'fp16'):
            raise ValueError(f"amp must be 'bf16', 'fp16' or left out, got {self.amp!r}")
        for name in ('accumulate', 'max_skipped'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be 1 or more, got {getattr(self, name)}')
        if self.clip_grad_norm is not None and not (isinstance(self.clip_grad_norm, (int, float)) and self.clip_grad_norm > 0):
            raise ValueError(f'clip_grad_norm must be a positive number or left out, got {self.clip_grad_norm!r}')


@dataclass(frozen=True)
class DatasetOptions:
    """A `datasets:` entry of type BlindDegradationDataset; the loader's keys are BasicSR's.

    dataroot_gt: Folder of HR images (searched with its subfolders), or an LMDB folder ending in .lmdb.
    meta_info_file: A list of image names, one a line, relative to dataroot_gt; what follows ` (` or a tab is ignored.
    gt_size: Edge of the HR crops, a multiple of the scale; for training.
    num_patches: Crops D of one image, which share one degradation.
    degradation: A section (see `Degradation`), or the papers' `setting1` or `setting2`.
    pairs: Train on finished pairs (lq, gt), made on the CPU, as BasicSR's own models expect.
    center_crop: Edge of the square that is cut from the middle of each HR image before it is degraded; for testing.
    seed: Sample i of epoch e is a function of (seed, e, i); by default the run's `manual_seed`.
    max_unreadable: Training images that may be unreadable or too small; each is named and replaced by the next one, and
        more of them, counted by each loading process, stop the run.
    """

    name: str
    type: str
    dataroot_gt: str
    degradation: Any
    phase: Literal['train', 'val', 'test']
    scale: int
    meta_info_file: Optional[str] = None
    io_backend: Optional[Mapping[str, Any]] = None
    gt_size: int = 256
    num_patches: int = 1
    use_hflip: bool = True
    use_rot: bool = True
    pairs: bool = False
    center_crop: Optional[int] = None
    seed: int = 0
    max_unreadable: int = 10
    benchmark: Optional[str] = None
    use_shuffle: bool = True
    num_worker_per_gpu: int = 0
    batch_size_per_gpu: int = 1
    dataset_enlarge_ratio: int = 1
    prefetch_mode: Optional[str] = None
    num_prefetch_queue: int = 1
    pin_memory: bool = False
    persistent_workers: bool = False

    def __post_init__(self) -> None:
        if self.phase == 'train' and self.gt_size % self.scale:
            raise ValueError(f'gt_size ({self.gt_size}) must be a multiple of the scale ({self.scale})')
        if self.num_patches < 1:
            raise ValueError(f'num_patches must be 1 or more, got {self.num_patches}')
        if self.max_unreadable < 0:
            raise ValueError(f'max_unreadable must be 0 or more, got {self.max_unreadable}')
        if self.pairs and self.num_patches != 1:
            raise ValueError(f'pairs: true needs num_patches: 1, got {self.num_patches}')
        if self.center_crop is not None and (not isinstance(self.center_crop, int) or self.center_crop < 1):
            raise ValueError(f'center_crop must be a whole number from 1 upwards, got {self.center_crop!r}')
        if self.center_crop is not None and self.phase == 'train':
            raise ValueError('center_crop is for testing; crops for training have gt_size')
