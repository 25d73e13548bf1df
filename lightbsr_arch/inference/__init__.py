"""Image in, image out: the networks for those who have a picture, and no data set."""
from .upscaler import Upscaler

__all__ = ['Upscaler']
