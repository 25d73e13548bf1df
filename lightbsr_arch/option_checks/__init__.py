"""What BasicSR's own sections of an option file must hold. BasicSR itself finds a mistake late, or not at all."""
from __future__ import annotations

from .arguments import check_arguments, follow_protocol, typed_sections
from .data_sets import check_crops, check_names, check_pairs, check_prefetching
from .keys_read import check_path_keys, refuse_unknown_keys, require_keys
from .real_world import check_device, check_finished_pairs, check_real_world
from .sections import Options
from .training import check_adversarial, check_idr_statistics, check_keeping, check_scale, check_schedule, check_wandb

__all__ = ['check_names', 'check_options']


def check_options(opt: Options) -> None:
    """Checks a parsed option file, and sets what has an obvious default, in place.

    Raises:
        ValueError: a key that is missing, unknown, or of the wrong kind; the message names section and key.
    """
    require_keys(opt)
    check_path_keys(opt)
    check_device(opt)
    check_pairs(opt)
    check_finished_pairs(opt)
    check_real_world(opt)
    check_adversarial(opt)
    check_idr_statistics(opt)
    refuse_unknown_keys(opt)
    follow_protocol(opt)
    for where, section, find in typed_sections(opt):
        check_arguments(where, section, find)
    check_scale(opt)
    check_crops(opt)
    check_schedule(opt)
    check_prefetching(opt)
    check_keeping(opt)
    check_wandb(opt)
