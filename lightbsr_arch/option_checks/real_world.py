"""BasicSR's second-order degradation for real photographs, whose settings it takes from the top of an option file."""
from __future__ import annotations

from basicsr.utils import registry

from . import basicsr_keys
from .keys_read import is_foreign
from .sections import REAL_WORLD, Options, is_blind, is_real_world

NEED_A_GPU = ('RealESRNetModel', 'RealESRGANModel')
NUM_VALUES = {'resize_prob': 3} | dict.fromkeys(('resize_range', 'noise_range', 'poisson_scale_range', 'jpeg_range'), 2)
CROP = 400  # BasicSR's RealESRGANDataset cuts or pads all images to it


def check_device(opt: Options) -> None:
    """AssertionError: Torch not compiled with CUDA enabled."""
    if opt['model_type'] in NEED_A_GPU and opt['num_gpu'] == 0:
        raise ValueError(f'model_type: {opt["model_type"]} works on a GPU alone; on a CPU, KDSRTeacherModel, '
                         f'KDSRStudentModel and KDSRGANStudentModel train on {REAL_WORLD}, and SRModel tests such networks')


def check_finished_pairs(opt: Options) -> None:
    """KeyError: 'kernel1', or of sharpening, at the first step. Another plugin's data set may give what degrades images."""
    section = opt['datasets'].get('train')
    if (opt['model_type'] not in NEED_A_GPU or not section or is_real_world(opt)
            or is_foreign(registry.DATASET_REGISTRY.get(section['type']))):
        return
    if opt.get('high_order_degradation', True):
        raise ValueError(f'add high_order_degradation: false at the top: {section["type"]} gives finished pairs, which '
                         f'{opt["model_type"]} would degrade')
    for key in basicsr_keys.of(registry.MODEL_REGISTRY.get(opt['model_type']), basicsr_keys.TOP):
        if key.endswith('_gt_usm') and key not in opt:
            raise ValueError(f'{key!r} is missing at the top of the option file: {opt["model_type"]} needs it, true or false')


def check_real_world(opt: Options) -> None:
    """BasicSR looks these keys up at the first step; its own models need a GPU, and are told so before."""
    if not is_real_world(opt) or not (is_blind(opt) or opt['model_type'] in NEED_A_GPU):
        return
    model = registry.MODEL_REGISTRY.get(opt['model_type'])
    if not opt.get('high_order_degradation', True):
        raise ValueError(f'high_order_degradation: false is for finished pairs, but {REAL_WORLD} has none: remove it')
    usm = [key for key in basicsr_keys.of(model, basicsr_keys.TOP) if key.endswith('gt_usm')] or ['gt_usm']
    for key in (*basicsr_keys.DEGRADATION, *usm):
        if key not in opt:
            raise ValueError(f'{key!r} is missing at the top of the option file: {REAL_WORLD} leaves the degradation to '
                             'the model, see options/train_KDSR_GAN_teacher_x4.yml')
        num, value = NUM_VALUES.get(key.removesuffix('2')), opt[key]
        if num and not (isinstance(value, list) and len(value) == num and all(isinstance(v, (int, float)) for v in value)):
            raise ValueError(f'{key} must be a list of {num} numbers, got {value!r}')
        if 'prob' in key and not num and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ValueError(f'{key} must be a number from 0 to 1, got {value!r}')
    gt_size = opt['gt_size']
    if not isinstance(gt_size, int) or not 0 < gt_size <= CROP or gt_size % opt['scale']:
        raise ValueError(f'gt_size at the top must be a multiple of the scale ({opt["scale"]}) up to {CROP}, got '
                         f'{gt_size!r}')
