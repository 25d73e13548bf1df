"""Registers this package in BasicSR."""
from __future__ import annotations

from typing import Any

from . import basicsr_compat


def register() -> None:
    """Mends BasicSR and registers archs, data sets, losses, models and metrics; calling it again changes nothing.

    Ours replace classes of BasicSR's that bear the same name.
    """
    basicsr_compat.prepare_import()
    from basicsr.utils import registry

    from . import archs, losses
    from .data.blind_degradation_dataset import BlindDegradationDataset
    from .metrics.perceptual import calculate_dists, calculate_lpips
    from .models.kdsr_model import KDSRGANStudentModel, KDSRStudentModel, KDSRTeacherModel
    from .models.lightbsr_model import LightBSRStudentModel, LightBSRTeacherModel
    basicsr_compat.apply(prepare_options)
    for where, classes in (
        (registry.ARCH_REGISTRY, (archs.LightBSR, archs.LightBSRTeacher, archs.KDSR, archs.KDSRTeacher, archs.Bicubic)),
        (registry.DATASET_REGISTRY, (BlindDegradationDataset,)),
        (registry.LOSS_REGISTRY, (losses.ContrastiveLoss, losses.ChannelDistillationLoss,
                                  losses.SpatialDistillationLoss)),
        (registry.MODEL_REGISTRY, (LightBSRTeacherModel, LightBSRStudentModel, KDSRTeacherModel, KDSRStudentModel,
                                    KDSRGANStudentModel)),
        (registry.METRIC_REGISTRY, (calculate_lpips, calculate_dists)),
    ):
        where._obj_map.update({cls.__name__: cls for cls in classes})


def prepare_options(opt: dict[str, Any]) -> None:
    """Checks a parsed option file and completes it in place: data sets by folder and degradation, total_iter."""
    from .data.test_sets import expand_datasets
    from .metrics.perceptual import prepare_metrics
    from .models.stages import complete_total_iter
    from .option_checks import check_names, check_options
    check_options(opt)
    prepare_metrics((opt.get('val') or {}).get('metrics') or {})
    expand_datasets(opt)
    check_names(opt)
    complete_total_iter(opt)
