"""What goes wrong with a file of weights."""


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one of another network; the message says what to do."""
