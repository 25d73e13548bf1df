"""Validation and testing of SR models: shared by all processes, seen in TensorBoard, and the best weights kept."""
from __future__ import annotations

import functools
import logging
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Subset

Options = dict[str, Any]


def validate_together() -> None:
    """Of several processes one validates, through the wrapper that waits for the others; images of one name in two
    validation sets overwrite each other; nothing is to be seen before the end; the best weights are lost.
    """
    from basicsr.models.sr_model import SRModel

    def dist_validation(self: SRModel, dataloader: DataLoader, current_iter: int | str, tb_logger: Any,
                        save_img: bool) -> None:
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    SRModel.nondist_validation = validate
    SRModel.dist_validation = dist_validation


def validate_where_a_run_goes_on() -> None:
    """The best figures lack those of the iteration that a run is resumed from: a state is saved before it is validated.

    Such an iteration is validated again when the run goes on; that changes nothing where it was finished before.
    """
    import basicsr.train
    create, init, build = (getattr(basicsr.train, name) for name in (
        'create_train_val_dataloader', 'init_tb_loggers', 'build_model'))
    made: Options = {}

    @functools.wraps(create)
    def create_train_val_dataloader(opt: Options, logger: logging.Logger) -> tuple:
        made['result'] = create(opt, logger)
        return made['result']

    def init_tb_loggers(opt: Options) -> Any:
        made['tb_logger'] = init(opt)
        return made['tb_logger']

    def build_model(opt: Options) -> Any:
        model = build(opt)
        resume = model.resume_training

        def resume_training(state: Options) -> None:
            resume(state)
            if opt.get('val') and 0 < state['iter'] < opt['train']['total_iter'] and state['iter'] % opt['val']['val_freq'] == 0:
                for loader in made['result'][2]:
                    model.validation(loader, state['iter'], made['tb_logger'], opt['val']['save_img'])

        model.resume_training = resume_training
        return model

    basicsr.train.create_train_val_dataloader, basicsr.train.init_tb_loggers, basicsr.train.build_model = (
        create_train_val_dataloader, init_tb_loggers, build_model)


def validate(self: Any, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Super-resolves a data set's images, of which each process takes its part, and logs the means of the metrics."""
    from basicsr.utils import tensor2img
    from tqdm import tqdm
    name, metrics = dataloader.dataset.opt['name'], self.opt['val'].get('metrics') or {}
    if self.opt['is_train']:  # the last validation comes an iteration late
        current_iter = min(current_iter, self.opt['train']['total_iter'])
    if metrics:
        self._initialize_best_metric_results(name)
    agree_on_buffers(self)
    totals = torch.zeros(len(metrics) + 1, dtype=torch.float64)
    own = own_part(self.opt, dataloader)
    for i, data in enumerate(tqdm(own, desc=name, unit='image', disable=not self.opt['val'].get('pbar', False))):
        if 'gt' not in data and hasattr(self, 'gt'):
            del self.gt  # the last training batch's
        self.feed_data(data)
        self.test()
        visuals = self.get_current_visuals()
        images = {key: tensor2img([visuals[key]]) for key in ('result', 'gt') if key in visuals}
        if save_img:
            save_image(self.opt, name, data['lq_path'][0], current_iter, images['result'])
        if i == 0 and tb_logger and self.opt['is_train']:
            show(tb_logger, name, visuals, data.get('kernel'), current_iter)
        totals += torch.tensor([1, *measure(metrics, images, data['lq_path'][0])], dtype=torch.float64)
        for key in ('lq', 'output', *(['gt'] if 'gt' in visuals else [])):  # a GPU's memory is short
            delattr(self, key)
    if self.opt['dist']:
        totals = totals.to(self.device)
        distributed.all_reduce(totals)
    means = (totals[1:] / totals[0]).tolist()
    finish(self, name, dict(zip(metrics, means)), current_iter, tb_logger)


def own_part(opt: Options, dataloader: DataLoader) -> DataLoader:
    """The images that this process takes: every n-th."""
    if not opt['dist']:
        return dataloader
    own = range(opt['rank'], len(dataloader.dataset), opt['world_size'])
    return DataLoader(Subset(dataloader.dataset, own), batch_size=1)


def agree_on_buffers(self: Any) -> None:
    """Each process has its own BatchNorm statistics; those of the first, which are the ones saved, are validated."""
    if self.opt['dist'] and self.opt['is_train']:
        for net in (self.net_g, getattr(self, 'net_g_ema', self.net_g)):
            for buffer in self.get_bare_model(net).buffers():
                distributed.broadcast(buffer, 0)


def measure(metrics: Options, images: Options, path: str) -> list[float]:
    """Raises a ValueError where an image cannot be measured, as by NIQE or SSIM one that is smaller than their blocks."""
    from basicsr.metrics import calculate_metric
    pair = {'img': images['result']} | ({'img2': images['gt']} if 'gt' in images else {})
    values = []
    for key, section in metrics.items():
        try:
            values.append(float(calculate_metric(pair, section)))
            if math.isnan(values[-1]):  # SSIM, of less than its window
                raise ValueError('the result is not a number')
        except (RuntimeError, ValueError, AssertionError) as error:  # LinAlgError is a ValueError
            height, width = images['result'].shape[:2]
            raise ValueError(f'val.metrics.{key} cannot measure the image of {width}x{height} pixels made of {path}: '
                             f'{error}') from error
    return values


def save_image(opt: Options, dataset: str, lq_path: str, current_iter: int | str, image: Any) -> None:
    """Testing: visualization/<data set>/<image>_<suffix>.png; training: .../<data set>/<image>/<image>_<iteration>.png."""
    from basicsr.utils import imwrite
    stem = Path(lq_path).stem
    place = (stem, f'{stem}_{current_iter}') if opt['is_train'] else (f'{stem}_{opt["val"]["suffix"] or opt["name"]}',)
    imwrite(image, os.path.join(opt['path']['visualization'], dataset, *place) + '.png')


def show(tb_logger: Any, dataset: str, visuals: dict[str, Tensor], kernel: Tensor | None, current_iter: int) -> None:
    """LR, SR, GT and four times their difference in a row, and the blur kernel, in TensorBoard.

    An LR input of other channels, or of several frames, is left out.
    """
    panels = [visuals[key][0].float().clamp(0, 1) for key in ('result', 'gt') if key in visuals]
    if 'gt' in visuals:
        panels.append(((panels[0] - panels[1]).abs() * 4).clamp(0, 1))
    *channels, height, width = panels[0].shape
    lq = visuals['lq'].float().clamp(0, 1)
    if [*lq.shape[1:-2]] == channels:
        panels.insert(0, torch.nn.functional.interpolate(lq[:1], (height, width), mode='nearest')[0])
    tb_logger.add_image(f'{dataset}/LR SR GT error', torch.cat(panels, 2), current_iter)
    if kernel is not None:
        tb_logger.add_image(f'{dataset}/kernel', kernel[:1] / kernel[0].max(), current_iter)


def finish(self: Any, name: str, results: dict[str, float], current_iter: int | str, tb_logger: Any) -> None:
    """Logs a data set's results, and after the last data set keeps the weights if they are the best."""
    self.metric_results = results
    for metric, value in results.items():
        self._update_best_metric_result(name, metric, value, current_iter)
    if results:
        self._log_validation_metric_values(current_iter, name, tb_logger)
    wanted = self.opt['logger'].get('save_best') if self.opt['is_train'] else None
    if not wanted:
        return
    if wanted not in results:
        raise ValueError(f'logger.save_best is {wanted!r}, but val.metrics has only: {", ".join(results) or "none"}')
    self.validated = {**getattr(self, 'validated', {}), name: results[wanted]}
    names = {section['name'] for section in self.opt['datasets'].values() if section['phase'] == 'val'}
    if names <= self.validated.keys():
        keep_best(self, wanted, sum(self.validated.values()) / len(self.validated), current_iter)
        self.validated = {}


def keep_best(self: Any, metric: str, mean: float, current_iter: int) -> None:
    """Writes net_g_best.pth where the mean over the validation sets is the best so far."""
    name = 'mean of all'
    self._initialize_best_metric_results(name)
    self._update_best_metric_result(name, metric, mean, current_iter)
    if self.best_metric_results[name][metric]['iter'] == current_iter:
        has_average = hasattr(self, 'net_g_ema')
        self.save_network([self.net_g, self.net_g_ema] if has_average else self.net_g, 'net_g', 'best',
                          ['params', 'params_ema'] if has_average else 'params')
