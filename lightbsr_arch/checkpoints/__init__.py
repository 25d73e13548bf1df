"""Files of weights: reading, writing, recognising, and conversion from and to the releases' layout."""
from .detection import our_arch, our_arguments
from .errors import CheckpointError
from .files import (NOTES_KEY, Checkpoint, load, read, read_file, read_named, replacing, require, write,
                    write_safetensors)
from .upstream import from_upstream, to_upstream, upstream_arch

__all__ = ['NOTES_KEY', 'Checkpoint', 'CheckpointError', 'from_upstream', 'load', 'our_arch', 'our_arguments', 'read',
           'read_file', 'read_named', 'replacing', 'require', 'to_upstream', 'upstream_arch', 'write', 'write_safetensors']
