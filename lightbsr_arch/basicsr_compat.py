"""Every workaround for BasicSR 1.4.2 beside today's torch and torchvision, one function each.

`prepare_import` runs before BasicSR's first import, `apply` after it; both may be called any number of times.
Each function says what it mends (symptom), where it was seen, and when it can go. "Seen" is BasicSR 1.4.2 with
torch 2.13 and torchvision 0.28 unless it says otherwise; all can go with a BasicSR release that mends them.
"""
from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import math
import os
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy as np
import torch
import yaml
from torch import nn

from . import checkpoints, option_files
from .config import suggest

Options = dict[str, Any]


# ---------------------------------------------------------------------------------------------- before the import
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


# ----------------------------------------------------------------------------------------------- after the import
def apply(prepare_options: Callable[[Options], None] = lambda opt: None) -> None:
    """Patches BasicSR, once.

    Args:
        prepare_options: Called with the parsed option file before the run, to complete and check it in place.
    """
    import basicsr.train
    if getattr(basicsr.train, '_lightbsr_arch', False):
        return
    for patch in (read_option_files, suggest_registered_names, position_samples, count_whole_batches, reseed_workers,
                  forward_prefetch_errors, share_lmdb, average_buffers, reach_warmup_rate, save_whole_files,
                  load_named_weights, refuse_untrained_test, resume_anywhere, rehearse_before_archiving,
                  blur_any_strides):
        patch()
    hook_options(prepare_options)
    basicsr.train._lightbsr_arch = True


def read_option_files() -> None:
    """`lr: 1e-4` is read as a string (YAML 1.1 wants 1.0e-4), and an option file or --force_yml can run code.

    Our reader also knows `base:`; the run's folder gets a copy that is complete without its base.
    """
    import basicsr.train
    from basicsr.utils import options
    copy = basicsr.train.copy_opt_file

    def copy_opt_file(opt_file: str, experiments_root: str) -> None:
        copy(opt_file, experiments_root)
        with open(opt_file, encoding='utf-8') as file:
            if 'base' not in yaml.load(file, yaml.SafeLoader):
                return
        with open(os.path.join(experiments_root, os.path.basename(opt_file)), 'w', encoding='utf-8') as file:
            yaml.safe_dump(option_files.read(opt_file), file, sort_keys=False)

    options.ordered_yaml = lambda: (option_files.OptionLoader, yaml.SafeDumper)
    options._postprocess_yml_value = lambda v: None if v.lower() == 'none' else yaml.load(v, option_files.OptionLoader)
    basicsr.train.copy_opt_file = copy_opt_file


def hook_options(prepare_options: Callable[[Options], None]) -> None:
    """No place to complete or check options before a run acts on them; `num_gpu: 1` fails on a machine without GPU."""
    import basicsr.test
    import basicsr.train
    parse = basicsr.train.parse_options

    @functools.wraps(parse)
    def parse_options(root_path: str, is_train: bool = True) -> tuple[Options, Any]:
        try:
            opt, args = parse(root_path, is_train)
        except KeyError as error:  # the file's own sections were checked before
            raise ValueError(f'--force_yml: the option file has no section {error}') from error
        if opt['num_gpu'] and not torch.cuda.is_available():
            print(f'num_gpu is {opt["num_gpu"]}, but there is no CUDA device: running on the CPU.', file=sys.stderr)
            opt['num_gpu'] = 0
        prepare_options(opt)
        return opt, args

    basicsr.train.parse_options = basicsr.test.parse_options = parse_options


def suggest_registered_names() -> None:
    """KeyError: "No object named 'LigthBSR' found in 'arch' registry!", without a hint."""
    from basicsr.utils.registry import Registry

    def get(self: Registry, name: str, suffix: str = 'basicsr') -> Any:
        found = self._obj_map.get(name, self._obj_map.get(f'{name}_{suffix}'))
        if found is None:
            raise ValueError(f'there is no {self._name} named {name!r}{suggest(name, list(self._obj_map))}')
        return found

    Registry.get = get


class SampleIndex(int):
    """An image's index that also tells its place in the run: the epoch and the position in the enlarged epoch."""

    epoch: int
    position: int

    def __new__(cls, index: int, epoch: int, position: int) -> SampleIndex:
        self = super().__new__(cls, index)
        self.epoch, self.position = epoch, position
        return self

    def __getnewargs__(self) -> tuple[int, int, int]:
        return int(self), self.epoch, self.position


def position_samples() -> None:
    """A data set is told the image's index alone, so it cannot draw another crop in each epoch without global state.

    Also, a resumed run begins its epoch anew; `done` (epoch, samples) lets it go on behind the samples it has seen.
    """
    import basicsr.train
    from basicsr.data.data_sampler import EnlargedSampler

    class PositionedSampler(EnlargedSampler):
        done = 0, 0

        def __iter__(self) -> Iterator[SampleIndex]:
            generator = torch.Generator().manual_seed(self.epoch)
            positions = torch.randperm(self.total_size, generator=generator).tolist()
            start = self.done[1] if self.epoch == self.done[0] else 0
            for position in positions[self.rank::self.num_replicas][start:]:
                yield SampleIndex(position % len(self.dataset), self.epoch, position)

    basicsr.train.EnlargedSampler = PositionedSampler


def count_whole_batches() -> None:
    """Training stops before total_iter, or trains nothing, and reports success.

    The epochs are counted in batches rounded up, but the loader drops the last, incomplete one.
    """
    import basicsr.train
    create = basicsr.train.create_train_val_dataloader

    @functools.wraps(create)
    def create_train_val_dataloader(opt: Options, logger: logging.Logger) -> tuple:
        try:
            train_loader, sampler, val_loaders, _, total_iters = create(opt, logger)
        except ZeroDivisionError:
            raise ValueError('datasets.train holds no images') from None
        if len(train_loader) == 0:
            raise ValueError(f'{len(sampler)} training samples per epoch and process do not fill one batch of '
                             f'{train_loader.batch_size}: lower datasets.train.batch_size_per_gpu or raise '
                             'datasets.train.dataset_enlarge_ratio')
        epoch, done = opt.get('resumed_at', (0, 0))
        sampler.done = epoch, max(0, done - epoch * len(train_loader)) * train_loader.batch_size
        total_epochs = epoch + math.ceil((total_iters - done) / len(train_loader))
        return train_loader, sampler, val_loaders, total_epochs, total_iters

    basicsr.train.create_train_val_dataloader = create_train_val_dataloader


def reseed_workers() -> None:
    """Crops and flips repeat every epoch: workers are seeded to the same value each time they start.

    For BasicSR's own data sets; torch gives each worker of each epoch its own seed.
    """
    import basicsr.data
    basicsr.data.worker_init_fn = seed_worker


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Makes a loading process ready; one that was spawned, not forked, has a BasicSR without workarounds."""
    apply()
    worker_seed = (torch.initial_seed() + rank) % 2**32
    np.random.seed(worker_seed)
    random.seed(worker_seed)


def forward_prefetch_errors() -> None:
    """With `prefetch_mode: cpu` an unreadable image hangs the run for ever: the reading thread dies unnoticed."""
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def run(self: PrefetchGenerator) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
            self.queue.put(None)
        except Exception as error:
            self.queue.put(error)

    def following(self: PrefetchGenerator) -> Any:
        item = self.queue.get()
        if item is None:
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        return item

    PrefetchGenerator.run, PrefetchGenerator.__next__ = run, following


def share_lmdb() -> None:
    """lmdb.Error: The environment is already open in this process, when two data sets read one LMDB folder.

    Also in a loading process, when the main process had read from it: an environment may not cross a fork.
    """
    import lmdb
    from basicsr.utils import file_client
    environments: dict[tuple[int, str], lmdb.Environment] = {}

    class SharedLmdbBackend(file_client.LmdbBackend):
        def __init__(self, db_paths: str | list[str], client_keys: str | list[str] = 'default', readonly: bool = True,
                     lock: bool = False, readahead: bool = False) -> None:
            self.db_paths = [db_paths] if isinstance(db_paths, str) else db_paths
            client_keys = [client_keys] if isinstance(client_keys, str) else client_keys
            self._client = {}
            for inherited in [place for place in environments if place[0] != os.getpid()]:
                environments.pop(inherited).close()
            for client, path in zip(client_keys, self.db_paths, strict=True):
                place = os.getpid(), os.path.realpath(path)
                if place not in environments:
                    environments[place] = lmdb.open(path, readonly=readonly, lock=lock, readahead=readahead)
                self._client[client] = environments[place]

    file_client.FileClient._backends['lmdb'] = SharedLmdbBackend


def average_buffers() -> None:
    """The averaged (EMA) network keeps BatchNorm's statistics of its first day: only parameters are averaged."""
    from basicsr.models.base_model import BaseModel

    @torch.no_grad()
    def model_ema(self: BaseModel, decay: float = 0.999) -> None:
        source = self.get_bare_model(self.net_g)
        for average, current in zip(self.net_g_ema.parameters(), source.parameters(), strict=True):
            average.lerp_(current, 1 - decay)
        for average, current in zip(self.net_g_ema.buffers(), source.buffers(), strict=True):
            average.copy_(current)

    BaseModel.model_ema = model_ema


def reach_warmup_rate() -> None:
    """Warm-up with MultiStepLR never arrives: the scheduler goes on from the rate of the last warm-up step."""
    from basicsr.models.base_model import BaseModel

    def update_learning_rate(self: BaseModel, current_iter: int, warmup_iter: int = -1) -> None:
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group in groups:
            group['lr'] = group.get('nominal_lr', group['lr'])
        if current_iter > 1:
            for scheduler in self.schedulers:
                scheduler.step()
        for group in groups:
            group['nominal_lr'] = group['lr']
            if current_iter < warmup_iter:
                group['lr'] = group['initial_lr'] * current_iter / warmup_iter

    BaseModel.update_learning_rate = update_learning_rate


def save_whole_files() -> None:
    """Errors while saving are swallowed and leave broken files. Also names the network in its file."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    def checkpoint_notes(self: BaseModel, net_label: str) -> Options:
        """What a file of weights says besides the weights: the network's name and arguments."""
        return {'network': plain(self.opt.get(net_label.replace('net_', 'network_', 1), {}))}

    @master_only
    def save_network(self: BaseModel, net: nn.Module | list[nn.Module], net_label: str, current_iter: int,
                     param_key: str | list[str] = 'params') -> None:
        nets, keys = (v if isinstance(v, list) else [v] for v in (net, param_key))
        content = {key: {name.removeprefix('module.'): value.cpu()
                         for name, value in self.get_bare_model(n).state_dict().items()}
                   for n, key in zip(nets, keys, strict=True)}
        name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        checkpoints.write(content | self.checkpoint_notes(net_label), os.path.join(self.opt['path']['models'], name))

    @master_only
    def save_training_state(self: BaseModel, epoch: int, current_iter: int) -> None:
        if current_iter == -1:
            return
        state = {'epoch': epoch, 'iter': current_iter, 'optimizers': [o.state_dict() for o in self.optimizers],
                 'schedulers': [s.state_dict() for s in self.schedulers]}
        checkpoints.write(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    BaseModel.checkpoint_notes = checkpoint_notes
    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


def plain(value: Any) -> Any:
    """Ordered dictionaries and the like as plain ones, which a file may hold and a reader may allow."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def load_named_weights() -> None:
    """A wrong param_key_g silently becomes `params`; another network's file gives pages of keys. Reads releases too."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import get_root_logger

    def load_network(self: BaseModel, net: nn.Module, load_path: str, strict: bool = True,
                     param_key: Optional[str] = 'params') -> None:
        net = self.get_bare_model(net)
        arch = type(net).__name__
        if net is getattr(self, 'net_g_ema', None):  # the average may start from a file that has none
            param_key = None
        loaded = checkpoints.read(load_path, param_key)
        if strict and loaded.arch not in (None, arch):
            raise checkpoints.CheckpointError(f'{load_path} holds a {loaded.arch}, but the option file asks for a '
                                              f'{arch}: change the path or the network section')
        own = net.state_dict()
        fitting = {k: v for k, v in loaded.state_dict.items() if k in own and v.shape == own[k].shape}
        odd = sorted((own.keys() | loaded.state_dict.keys()) - fitting.keys())
        if strict and odd:
            trained_as = f' It was saved as {arch} with {loaded.kwargs}.' if loaded.kwargs else ''
            raise checkpoints.CheckpointError(
                f'{load_path} does not fit the {arch} of the option file: {len(odd)} tensors are missing, '
                f'superfluous or of another shape, such as {odd[0]}.{trained_as} Make the network section agree')
        net.load_state_dict(fitting, strict=False)
        get_root_logger().info(f'{arch}: loaded {len(fitting)} of {len(own)} tensors from {load_path}'
                               + (f'; not loaded: {", ".join(odd)}' if odd else ''))

    BaseModel.load_network = load_network


def refuse_untrained_test() -> None:
    """`basicsr test` without weights tests a random network and reports its figures. Parameterless ones are exempt."""
    from basicsr.models.sr_model import SRModel
    init = SRModel.__init__

    @functools.wraps(init)
    def checked_init(self: SRModel, opt: Options) -> None:
        init(self, opt)
        is_random = opt['path'].get('pretrain_network_g') is None and any(True for _ in self.net_g.parameters())
        if is_random and not self.is_train:
            raise ValueError('path.pretrain_network_g is missing: a test of random weights would say nothing')

    SRModel.__init__ = checked_init


def resume_anywhere() -> None:
    """Resuming needs CUDA; `--auto_resume` looks beside the current directory; a frozen teacher's path is overwritten;
    a state of another experiment is joined with weights of this one.
    """
    import basicsr.train
    basicsr.train.load_resume_state = load_resume_state


def load_resume_state(opt: Options) -> Optional[Options]:
    """The state to resume from, or None; sets the networks' paths to the files saved with it.

    Raises:
        ValueError: an unreadable state, or one without its weights.
    """
    path = opt['path']
    if opt['auto_resume'] and os.path.isdir(path['training_states']):
        steps = [int(name[:-6]) for name in os.listdir(path['training_states'])
                 if name.endswith('.state') and name[:-6].isdigit()]
        path['resume_state'] = os.path.join(path['training_states'], f'{max(steps)}.state') if steps else None
    if not path.get('resume_state'):
        return None
    try:
        state = torch.load(path['resume_state'], map_location='cpu', weights_only=True)
    except Exception as error:
        raise ValueError(f'cannot resume from {path["resume_state"]}, delete it to resume from the state before: '
                         f'{" ".join(str(error).split())}') from error
    models = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(path['resume_state']))), 'models')
    never_saved = {'network_t', *(path.get('ignore_resume_networks') or ())}
    for label in [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in never_saved]:
        saved = os.path.join(models, f'net_{label}_{state["iter"]}.pth')
        if not os.path.isfile(saved):
            raise ValueError(f'cannot resume from {path["resume_state"]}: its weights {saved} are not there')
        path[f'pretrain_network_{label}'], path[f'param_key_{label}'] = saved, 'params'
    for folder in ('experiments_root', 'models', 'training_states', 'visualization'):
        os.makedirs(path[folder], exist_ok=True)
    opt['resumed_at'] = state['epoch'], state['iter']
    return state


def rehearse_before_archiving() -> None:
    """A typo in the option file archives the finished experiment of that name before it is noticed.

    Builds everything that the run will build first, and only then lets BasicSR archive and start.
    """
    import basicsr.test
    import basicsr.train
    make = basicsr.train.make_exp_dirs

    @functools.wraps(make)
    def make_exp_dirs(opt: Options) -> None:
        rehearse(opt)
        make(opt)

    basicsr.train.make_exp_dirs = basicsr.test.make_exp_dirs = make_exp_dirs


def blur_any_strides() -> None:
    """RuntimeError: view size is not compatible, in the real-world degradation, with the strides that torch 2.13 gives."""
    from basicsr.models import realesrgan_model, realesrnet_model
    from basicsr.utils.img_process_util import filter2D

    def blur(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return filter2D(image.contiguous(), kernel)

    realesrnet_model.filter2D = realesrgan_model.filter2D = blur


def rehearse(opt: Options) -> None:
    """Builds data sets, loaders, networks, losses and optimisers as the run will, reads a sample, and drops them.

    Raises:
        ValueError: what is wrong with the options; BasicSR itself has bare KeyErrors and the like.
    """
    import basicsr.test
    import basicsr.train
    from basicsr.utils import set_random_seed
    try:
        if opt['is_train']:
            quiet = logging.getLogger('basicsr')
            train_loader, _, val_loaders, _, _ = basicsr.train.create_train_val_dataloader(opt, quiet)
            for loader in (train_loader, *val_loaders):
                loader.dataset[0]
            basicsr.train.build_model(opt)
        else:
            for dataset in opt['datasets'].values():
                basicsr.test.build_dataset(dataset)
            basicsr.test.build_model(opt)
    except KeyError as error:
        raise ValueError(f'the option file lacks the key {error}') from error
    except (AssertionError, NotImplementedError) as error:
        raise ValueError(str(error)) from error
    finally:
        reset_logger()
        set_random_seed(opt['manual_seed'] + opt['rank'])


def reset_logger() -> None:
    """A second run in one process has no log file: the logger is set up once. Lets the next run set it up anew."""
    from basicsr.utils import logger
    logger.initialized_logger.pop('basicsr', None)
    root = logging.getLogger('basicsr')
    root.setLevel(logging.NOTSET)
    for handler in list(root.handlers):
        handler.close()
        root.removeHandler(handler)


def run_test(root_path: str) -> Any:
    """BasicSR's `test_pipeline` keeps its results to itself: runs it and returns the model that it made."""
    import basicsr.test
    models = []
    build = basicsr.test.build_model

    def build_model(opt: Options) -> Any:
        models.append(build(opt))
        return models[-1]

    basicsr.test.build_model = build_model
    try:
        basicsr.test.test_pipeline(root_path)
    finally:
        basicsr.test.build_model = build
    return models[-1]


def show_progress() -> None:
    """Training and testing print a wall of log lines and no progress. For the demo: a bar; the file keeps all lines."""
    import basicsr.test
    import basicsr.train
    from basicsr.utils.logger import MessageLogger, get_root_logger
    from tqdm import tqdm

    def quiet_logger(*args: Any, **kwargs: Any) -> logging.Logger:
        logger = get_root_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
        return logger

    class ProgressLogger(MessageLogger):
        def __call__(self, log_vars: Options) -> None:
            step = log_vars['iter']
            if not hasattr(self, 'bar'):
                self.bar = tqdm(total=self.max_iters, initial=self.start_iter, unit='step', desc=self.exp_name)
            self.bar.set_postfix({k: f'{v:.3g}' for k, v in log_vars.items() if k.startswith('l_')}, refresh=False)
            self.bar.update(step - self.bar.n)
            if step >= self.max_iters:
                self.bar.close()
            super().__call__(log_vars)

    basicsr.train.get_root_logger = basicsr.test.get_root_logger = quiet_logger
    basicsr.train.MessageLogger = ProgressLogger
