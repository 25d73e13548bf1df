"""The keys that BasicSR 1.4.2 reads of an option file, class by class; a class has its parents' too.

Keys of networks, losses, optimisers, schedulers and metrics are their arguments, which `arguments` looks up itself.
"""
from __future__ import annotations

SECONDS = ('resize_prob', 'resize_range', 'gaussian_noise_prob', 'noise_range', 'poisson_scale_range', 'gray_noise_prob',
           'jpeg_range')  # each is read of the first and, ending in 2, of the second degradation
DEGRADATION = (*SECONDS, *(f'{key}2' for key in SECONDS), 'second_blur_prob', 'gt_size')
REAL_WORLD = (*DEGRADATION, 'queue_size', 'high_order_degradation')
KERNELS = ('kernel_list', 'kernel_prob', 'blur_kernel_size', 'blur_sigma', 'betag_range', 'betap_range', 'sinc_prob')
CROPS = ('gt_size', 'use_hflip', 'use_rot')
VIDEO = ('dataroot_gt', 'dataroot_lq', 'meta_info_file', 'io_backend', 'num_frame')

TOP = {
    'BaseModel': ('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'data_root', 'output_root', 'datasets', 'path',
                  'train', 'val', 'logger', 'dist_params', 'find_unused_parameters'),
    'RealESRNetModel': (*REAL_WORLD, 'gt_usm'),
    'RealESRGANModel': (*REAL_WORLD, 'l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')}
TRAIN = {
    'BaseModel': ('total_iter', 'warmup_iter', 'ema_decay', 'optim_g', 'scheduler'),
    'SRModel': ('pixel_opt', 'perceptual_opt'),
    'SRGANModel': ('ldl_opt', 'gan_opt', 'optim_d', 'net_d_iters', 'net_d_init_iters'),
    'HiFaceGANModel': ('gan_opt', 'optim_d', 'net_d_iters', 'net_d_init_iters', 'feature_matching_opt'),
    'StyleGAN2Model': ('gan_opt', 'optim_d', 'r1_reg_weight', 'path_reg_weight', 'path_batch_shrink', 'net_g_reg_every',
                       'net_d_reg_every', 'mixing_prob'),
    'EDVRModel': ('dcn_lr_mul', 'tsa_iter'),
    'VideoRecurrentModel': ('fix_flow', 'flow_lr_mul'),
    'VideoRecurrentGANModel': ('lr_flow', 'gan_opt', 'optim_d', 'net_d_iters', 'net_d_init_iters')}
VAL = {
    'BaseModel': ('val_freq', 'save_img', 'suffix', 'metrics', 'pbar'),
    'StyleGAN2Model': ('num_val_samples',),
    'VideoRecurrentModel': ('center_frame_only', 'flip_seq')}
LOGGER = {'BaseModel': ('print_freq', 'save_checkpoint_freq', 'use_tb_logger', 'wandb', 'keep_last', 'save_best')}
FIXED = {'dist_params': ('backend', 'port'), 'logger.wandb': ('project', 'resume_id')}

DATASETS = {
    'Dataset': ('name', 'type', 'phase', 'scale', 'batch_size_per_gpu', 'num_worker_per_gpu', 'dataset_enlarge_ratio',
                'use_shuffle', 'prefetch_mode', 'num_prefetch_queue', 'pin_memory', 'persistent_workers', 'max_unreadable'),
    'PairedImageDataset': ('dataroot_gt', 'dataroot_lq', 'io_backend', 'meta_info_file', 'filename_tmpl', 'mean', 'std',
                           'color', *CROPS),
    'SingleImageDataset': ('dataroot_lq', 'io_backend', 'meta_info_file', 'mean', 'std', 'color'),
    'FFHQDataset': ('dataroot_gt', 'io_backend', 'mean', 'std', 'use_hflip'),
    'RealESRGANDataset': ('dataroot_gt', 'meta_info', 'io_backend', *KERNELS, *(f'{key}2' for key in KERNELS),
                          'final_sinc_prob', *CROPS),
    'RealESRGANPairedDataset': ('dataroot_gt', 'dataroot_lq', 'io_backend', 'meta_info', 'filename_tmpl', 'mean', 'std',
                                *CROPS),
    'REDSDataset': (*VIDEO, *CROPS, 'dataroot_flow', 'val_partition', 'interval_list', 'random_reverse'),
    'REDSRecurrentDataset': (*VIDEO, *CROPS, 'val_partition', 'interval_list', 'random_reverse', 'test_mode'),
    'Vimeo90KDataset': (*VIDEO, *CROPS, 'random_reverse'),
    'Vimeo90KRecurrentDataset': ('flip_sequence',),
    'VideoTestDataset': (*VIDEO, 'cache_data', 'padding', 'use_duf_downsampling'),
    'VideoTestVimeo90KDataset': (*VIDEO, 'cache_data', 'padding')}


def of(cls: type, table: dict[str, tuple[str, ...]]) -> list[str]:
    """What a class and its parents read."""
    return [key for parent in cls.__mro__ for key in table.get(parent.__name__, ())]
