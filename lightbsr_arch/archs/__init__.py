"""Networks: tensors in, tensors out."""
from .bicubic_arch import Bicubic
from .kdsr_arch import KDSR, KDSRIDR, KDSRTeacher
from .lightbsr_arch import IDR, LightBSR, LightBSRTeacher, TeacherStep

__all__ = ['Bicubic', 'IDR', 'KDSR', 'KDSRIDR', 'KDSRTeacher', 'LightBSR', 'LightBSRTeacher', 'TeacherStep']
