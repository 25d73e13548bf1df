"""Figures: the only place that imports matplotlib."""
