"""Figures of images and of degradation representations."""
