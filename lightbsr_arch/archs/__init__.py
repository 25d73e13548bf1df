"""Networks: tensors in, tensors out."""
from .bicubic_arch import Bicubic
from .lightbsr_arch import IDR, LightBSR, LightBSRTeacher, TeacherStep

__all__ = ['Bicubic', 'IDR', 'LightBSR', 'LightBSRTeacher', 'TeacherStep']
