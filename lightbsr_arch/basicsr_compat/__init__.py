"""Every workaround for BasicSR 1.4.2 beside today's torch and torchvision, one function each.

`prepare_import` runs before BasicSR's first import, `apply` after it; both may be called any number of times.
Each function says what it mends (symptom), where it was seen, and when it can go. "Seen" is BasicSR 1.4.2 with
torch 2.13 and torchvision 0.28 unless it says otherwise; all can go with a BasicSR release that mends them.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import distributed, images, loading, options, output, resuming, runs, saving, training, validation
from .distributed import gather, gather_objects, share_gradients, take_weights_of_first
from .dry_steps import dry_run, stages, warnings_alone
from .images import NO_IMAGE, Replacements, UnusableImage, decode_image, list_some, max_unreadable
from .imports import prepare_import
from .loading import SampleIndex, batch_size, current_epoch
from .output import reset_logger, show_progress
from .resuming import load_resume_state
from .runs import plain_errors, rehearse, run_test
from .saving import plain, saved_steps
from .validation import agree_on_buffers, own_part

__all__ = ['NO_IMAGE', 'Replacements', 'SampleIndex', 'UnusableImage', 'agree_on_buffers', 'apply', 'batch_size',
           'current_epoch', 'decode_image', 'dry_run', 'gather', 'gather_objects', 'list_some', 'load_resume_state',
           'max_unreadable', 'own_part', 'plain', 'plain_errors', 'prepare_import', 'rehearse', 'reset_logger', 'run_test',
           'saved_steps', 'share_gradients', 'show_progress', 'stages', 'take_weights_of_first', 'warnings_alone']


def apply(prepare_options: Callable[[dict[str, Any]], None] = lambda opt: None) -> None:
    """Patches BasicSR, once.

    Args:
        prepare_options: Called with the parsed option file before the run, to complete and check it in place.
    """
    import basicsr.train
    if getattr(basicsr.train, '_lightbsr_arch', False):
        return
    for patch in (images.name_broken_images, images.name_mismatched_pairs, images.sort_files,
                  images.take_luma_of_bgr, options.read_option_files,
                  options.suggest_registered_names, loading.position_samples,
                  loading.count_whole_batches, loading.prepare_workers, loading.start_workers_once,
                  loading.forward_prefetch_errors, loading.share_lmdb,
                  training.average_buffers, training.reach_warmup_rate, training.blur_any_strides, training.offer_adamw,
                  training.compress_by_whole_quality, training.stop_at_nan,
                  saving.save_whole_files, saving.load_named_weights, resuming.resume_anywhere, resuming.seed_each_step,
                  resuming.seed_samples, distributed.start_processes_anywhere, distributed.wrap_anywhere,
                  validation.validate_together, validation.validate_where_a_run_goes_on,
                  runs.refuse_untrained_test, runs.keep_other_runs_out, runs.archive_under_unused_names,
                  runs.save_before_stopping, runs.rehearse_before_archiving, output.hush, output.start_wandb, output.keep_tracebacks):
        patch()
    options.hook_options(prepare_options)
    basicsr.train._lightbsr_arch = True
