"""Blind image super-resolution for BasicSR: LightBSR (ICCV 2025) and its baselines.

Importing this registers nothing; `lightbsr_arch.plugin.register()` does.
"""
__version__ = '0.1.0'
