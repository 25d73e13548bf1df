"""Speed and memory, run by hand: README.md tells how."""
from lightbsr_arch import plugin

plugin.register()  # before anything imports BasicSR
