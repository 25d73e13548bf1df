"""What a run prints: what matters, a bar on a terminal, all of it in the log file."""
from __future__ import annotations

import functools
import logging
import sys
import warnings
from typing import Any

import torch
from torch import nn

from .loading import batch_size

Options = dict[str, Any]


def hush() -> None:
    """Two hundred lines before the first iteration: a banner, the network layer by layer, and notices that mean nothing."""
    import basicsr.test
    import basicsr.train
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import get_root_logger, options

    def print_network(self: BaseModel, net: nn.Module) -> None:
        net = self.get_bare_model(net)
        num_trained = sum(param.numel() for param in net.parameters() if param.requires_grad)
        get_root_logger().info(f'Network: {type(net).__name__}, {num_trained:,d} parameters to train')

    def versions() -> str:
        import basicsr.version
        import torchvision
        return f'BasicSR {basicsr.version.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}'

    def means_something(record: logging.LogRecord) -> bool:
        return 'are *only* supported by SRModel' not in record.getMessage()

    warnings.filterwarnings('ignore', 'torch.meshgrid: in an upcoming release')  # of SwinIR
    options.print = lambda *args, **kwargs: None  # 'Disable distributed.'
    BaseModel.print_network = print_network
    basicsr.train.get_env_info = basicsr.test.get_env_info = versions
    logging.getLogger('basicsr').addFilter(means_something)


def keep_tracebacks() -> None:
    """The traceback of an unforeseen error is seen on the terminal alone, and a run of days has none. Also logs it."""
    import basicsr.train
    train = basicsr.train.train_pipeline

    @functools.wraps(train)
    def train_pipeline(root_path: str) -> None:
        try:
            train(root_path)
        except (ValueError, OSError):  # said in one line, by the command
            raise
        except Exception:
            record = logging.LogRecord('basicsr', logging.ERROR, __file__, 0, 'the run has failed', (), sys.exc_info())
            for handler in logging.getLogger('basicsr').handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handle(record)
            raise

    basicsr.train.train_pipeline = train_pipeline


def start_wandb() -> None:
    """AttributeError: module 'wandb.util' has no attribute 'generate_id': wandb makes up a run's name itself."""
    import basicsr.train
    from basicsr.utils import dist_util

    def init_wandb_logger(opt: Options) -> None:
        import wandb
        section = opt['logger']['wandb']
        wandb.init(project=section['project'], name=opt['name'], id=section.get('resume_id'), resume='allow', config=opt,
                   sync_tensorboard=True)

    basicsr.train.init_wandb_logger = dist_util.master_only(init_wandb_logger)


def reset_logger() -> None:
    """A second run in one process has no log file: the logger is set up once. Lets the next run set it up anew."""
    from basicsr.utils import logger
    logger.initialized_logger.pop('basicsr', None)
    root = logging.getLogger('basicsr')
    root.setLevel(logging.NOTSET)
    for handler in list(root.handlers):
        handler.close()
        root.removeHandler(handler)


def show_progress() -> None:
    """Training prints log lines and no progress. Shows a bar with the stage and the losses; the log file keeps all lines."""
    import basicsr.test
    import basicsr.train
    from basicsr.utils.logger import MessageLogger, get_root_logger
    build = basicsr.train.build_model
    if getattr(build, 'has_bar', False):
        return

    def quiet_logger(*args: Any, **kwargs: Any) -> logging.Logger:
        logger = get_root_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
        return logger

    def build_model(opt: Options) -> Any:
        model = build(opt)
        bars.append(ProgressBar(opt, model))
        return model

    def log_beside_bar(self: MessageLogger, log_vars: Options) -> None:
        bars[-1].tell(log_vars)
        log(self, log_vars)

    bars: list[ProgressBar] = []
    log = MessageLogger.__call__
    build_model.has_bar = True
    basicsr.train.get_root_logger = basicsr.test.get_root_logger = quiet_logger
    basicsr.train.build_model = build_model
    MessageLogger.__call__ = log_beside_bar


class ProgressBar:
    """A bar on the terminal that each training step moves on; the first process alone has one."""

    def __init__(self, opt: Options, model: Any) -> None:
        self.opt, self.model, self.bar = opt, model, None
        self.num_images = batch_size(opt) * opt['world_size']
        step = model.optimize_parameters

        @functools.wraps(step)
        def optimize_parameters(current_iter: int) -> None:
            step(current_iter)
            if opt['rank'] == 0:
                self.move(current_iter)

        model.optimize_parameters = optimize_parameters

    def move(self, current_iter: int) -> None:
        from tqdm import tqdm
        if self.bar is None:
            self.bar = tqdm(total=self.opt['train']['total_iter'], initial=current_iter - 1, unit='step', file=sys.stderr)
        stage = getattr(self.model, 'stage', None)
        self.bar.set_description(self.opt['name'] + (f' [{stage.trains}]' if stage else ''), refresh=False)
        self.bar.update(current_iter - self.bar.n)
        if current_iter >= self.bar.total:
            self.bar.close()

    def tell(self, log_vars: Options) -> None:
        """Shows losses and speed beside the bar."""
        figures = {key: f'{value:.3g}' for key, value in log_vars.items() if key.startswith('l_')}
        if self.bar is not None and log_vars.get('time'):
            self.bar.set_postfix({'images/s': f'{self.num_images / log_vars["time"]:.1f}', **figures}, refresh=False)
