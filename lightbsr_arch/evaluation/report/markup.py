"""HTML from nested elements: texts are escaped, elements are not."""
from __future__ import annotations

from html import escape


class Markup(str):
    """Finished HTML."""


EMPTY = Markup()
WITHOUT_END = {'img', 'input'}


def element(name: str, *children: object, **attributes: object) -> Markup:
    """`element('td', 'a<b', class_='best')` -> `<td class="best">a&lt;b</td>`.

    Args:
        children: `Markup` is taken as it is, anything else as a text.
        attributes: A trailing underscore is dropped, others become hyphens; those that are None or False are left out,
            True has no value.
    """
    pairs = [(key.rstrip('_').replace('_', '-'), value) for key, value in attributes.items()
             if value is not None and value is not False]
    start = name + ''.join(f' {key}' if value is True else f' {key}="{escape(str(value))}"' for key, value in pairs)
    return Markup(f'<{start}>' if name in WITHOUT_END else f'<{start}>{join(children)}</{name}>')


def join(children: object) -> Markup:
    """Of an iterable of texts and markup."""
    return Markup(''.join(child if isinstance(child, Markup) else escape(str(child)) for child in children))


def table(head: Markup, rows: list[Markup], caption: str) -> Markup:
    """A table that scrolls where the page is narrow; head and rows are finished."""
    inner = element('table', element('caption', caption), element('thead', head), element('tbody', *rows))
    return element('div', inner, class_='scroll', tabindex=0, role='region', aria_label=caption)


def note(text: str) -> Markup:
    return element('p', text, class_='note')


def folded(title: str, *children: object) -> Markup:
    return element('details', element('summary', title), *children)


def facts(pairs: dict[str, object]) -> Markup:
    """A list of names and values; those that are None are left out."""
    return element('dl', *(part for key, value in pairs.items() if value is not None
                           for part in (element('dt', key), element('dd', value))))
