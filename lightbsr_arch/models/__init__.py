"""Training steps: the only code that knows BasicSR's SRModel."""
