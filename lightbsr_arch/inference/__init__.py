"""Image in, image out: the networks for those who have a picture, and no data set."""
from .tiling import needs_tiles, tiles
from .upscaler import Upscaler

__all__ = ['Upscaler', 'needs_tiles', 'tiles']
