"""From an image to a larger one: tiles that give what the whole image gives."""
from .tiling import needs_tiles, tiles

__all__ = ['needs_tiles', 'tiles']
