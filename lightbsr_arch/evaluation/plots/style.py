"""What all figures share: a backend without a screen, sizes readable in print, files in PNG and PDF."""
from __future__ import annotations

import os

import matplotlib
from matplotlib.figure import Figure

matplotlib.use('Agg')
COLUMN, PAGE = 3.35, 6.9  # widths in inches of a column and of a page of two columns
matplotlib.rcParams.update({
    'font.size': 8, 'axes.titlesize': 8, 'axes.labelsize': 8, 'legend.fontsize': 7, 'xtick.labelsize': 7,
    'ytick.labelsize': 7, 'figure.dpi': 200, 'savefig.dpi': 200, 'figure.constrained_layout.use': True,
    'pdf.fonttype': 42})
# Okabe and Ito's colours, which people who do not see red or green apart can tell; and markers for black-and-white print
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#F0E442')
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X', '*')


def save(figure: Figure, path_without_suffix: str) -> str:
    """Writes PATH.png and PATH.pdf; returns the former."""
    os.makedirs(os.path.dirname(path_without_suffix) or '.', exist_ok=True)
    figure.savefig(f'{path_without_suffix}.pdf', metadata={'CreationDate': None})
    figure.savefig(f'{path_without_suffix}.png')
    return f'{path_without_suffix}.png'
