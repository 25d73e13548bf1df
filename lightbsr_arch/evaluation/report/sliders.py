"""Two images one above the other, and a boundary that is moved: by a slider, the keyboard, a mouse or a finger."""
from __future__ import annotations

from collections.abc import Sequence

from .markup import Markup, element
from .pictures import GT, Picture, data_uri, middle

SMALL = 320  # pixels; images not wider are shown twice as large


def slider(picture: Picture) -> Markup:
    """A figure; the first layer is on the left and the last but the HR image on the right."""
    labels, uris = list(picture.layers), [data_uri(image) for image in picture.layers.values()]
    height, width = middle(picture.layers[labels[0]]).shape[:2]
    shown_width = 2 * width if width <= SMALL else width
    left, right = 0, max(i for i, label in enumerate(labels) if label != GT or len(labels) <= 2)
    images = [element('img', src=uri, alt=f'{picture.title}, {label}', class_=' '.join(
        side for side, chosen in (('left', left), ('right', right)) if i == chosen), width=width, height=height)
        for i, (label, uri) in enumerate(zip(labels, uris))]
    controls = [] if len(labels) == 1 else [
        element('input', type='range', min=0, max=100, step=0.5, value=50,
                aria_label=f'Boundary between the images of {picture.title}'),
        element('div', _choice('left', labels, left), _choice('right', labels, right), class_='choice')]
    stage = element('div', *images, class_='stage', style=f'aspect-ratio:{width}/{height}')
    return element('figure', element('figcaption', _caption(picture)), stage, *controls, class_='compare',
                   style=f'max-width:{shown_width}px')


def _caption(picture: Picture) -> str:
    figures = ', '.join(f'{label} {psnr:.2f}' for label, psnr in picture.psnr.items())
    return picture.title + (f'. PSNR in dB: {figures}' if figures else '')


def _choice(side: str, labels: Sequence[str], chosen: int) -> Markup:
    """Which layer is on a side."""
    options = [element('option', label, value=i, selected=i == chosen) for i, label in enumerate(labels)]
    return element('label', side, element('select', *options, class_=side))
