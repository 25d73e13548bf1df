"""Files of weights: reading, writing, and conversion from and to the releases' layout."""
from .errors import CheckpointError
from .files import Checkpoint, load, read, read_file, write
from .upstream import from_upstream, to_upstream

__all__ = ['Checkpoint', 'CheckpointError', 'from_upstream', 'load', 'read', 'read_file', 'to_upstream', 'write']
