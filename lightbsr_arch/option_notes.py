"""What an option file may well mean, but rarely does."""
from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

from basicsr.utils import registry

from .basicsr_compat import batch_size

Options = dict[str, Any]
MOST_LEFT = 0.02


def notes(opt: Options, num_images: int) -> Iterator[str]:
    """Sentences on the options of a training, checked and complete.

    Args:
        opt: The options.
        num_images: Of the training data.
    """
    yield from _on_lengths(opt)
    yield from _on_batches(opt, num_images)
    yield from _on_the_queue(opt)


def _on_lengths(opt: Options) -> Iterator[str]:
    train, total = opt['train'], int(opt['train']['total_iter'])
    if opt['logger']['save_checkpoint_freq'] > total:
        yield (f'logger.save_checkpoint_freq ({opt["logger"]["save_checkpoint_freq"]}) is longer than the run ({total} '
               'iterations): an interrupted run cannot be resumed')
    if (opt.get('val') or {}).get('val_freq', 0) > total:
        yield (f'val.val_freq ({opt["val"]["val_freq"]}) is longer than the run ({total} iterations): '
               'only its end is validated')
    if train.get('warmup_iter', -1) > total:
        yield f'train.warmup_iter ({train["warmup_iter"]}) is longer than the run ({total} iterations)'
    yield from _on_the_average(train, total)


def _on_the_average(train: Options, total: int) -> Iterator[str]:
    """It begins at the first weights, which are random; a small part of them spoils it."""
    decay = train.get('ema_decay') or 0
    length = sum(stage['iterations'] for stage in train.get('stages') or () if stage['trains'] == 'all') or total
    left = min(decay, 1)**length
    if left > MOST_LEFT:
        yield (f'train.ema_decay ({decay}): after {length} iterations of all weights, {left:.0%} of the average is still what '
               f'they began with: take {MOST_LEFT**(1 / length):.4g} or less')


def _on_batches(opt: Options, num_images: int) -> Iterator[str]:
    section = opt['datasets']['train']
    if batch_size(opt) > num_images:
        yield (f'a batch of {batch_size(opt)} is larger than the data set ({num_images} images), which are repeated in '
               'it')
    num_worker, cores = section['num_worker_per_gpu'] * max(1, opt['num_gpu']), os.cpu_count() or 1
    if num_worker > cores:
        yield f'datasets.train.num_worker_per_gpu: {num_worker} loading processes share {cores} CPU cores'


def _on_the_queue(opt: Options) -> Iterator[str]:
    """A batch gives one key an image."""
    arch = inspect.signature(registry.ARCH_REGISTRY.get(opt['network_g']['type'])).parameters
    if 'queue_size' not in arch or not opt['train'].get('contrastive_opt'):
        return
    size, batch = opt['network_g'].get('queue_size', arch['queue_size'].default), batch_size(opt)
    samples = opt['train']['stages'][0]['iterations'] * batch
    if size < batch:
        yield f'network_g.queue_size ({size}) is smaller than the keys of one batch ({batch})'
    if size > samples:
        yield (f'network_g.queue_size ({size}) is larger than the samples of stage 1 ({samples}): to its end, some '
               'negatives are random numbers')
