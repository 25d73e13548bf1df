"""Reading option files: safe YAML in which 1e-4 is a number; differences from another file; overrides."""
from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class ValueLoader(yaml.SafeLoader):
    """Runs no code; 1e-4 is a number, which YAML 1.1 takes for a text."""


ValueLoader.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+$'),
                                  list('-+0123456789'))


class OptionLoader(ValueLoader):
    """A file with `base: OTHER.yml` (relative to itself) holds the differences from that one, see `merge`."""

    def get_single_data(self) -> Any:
        try:
            content = super().get_single_data()
        except yaml.YAMLError as error:
            raise ValueError(f'{self.name} is not valid YAML: {" ".join(str(error).split())}') from error
        if not isinstance(content, dict) or 'base' not in content:
            return content
        base = os.path.join(os.path.dirname(self.name), str(content.pop('base')))
        try:
            return merge(read(base), content)
        except (OSError, RecursionError) as error:
            raise ValueError(f'{self.name}: base: cannot read {base}: {getattr(error, "strerror", "it leads in a circle")}'
                             ) from None
        except (IndexError, TypeError) as error:
            raise ValueError(f'{self.name}: {error}') from None


def read(path: str | os.PathLike[str]) -> Any:
    """An option file, complete with what its `base:` says.

    Raises:
        ValueError: no valid YAML, or a base that cannot be read. OSError: no such file.
    """
    with open(path, encoding='utf-8') as file:
        try:
            return yaml.load(file, OptionLoader)
        except UnicodeDecodeError as error:
            raise ValueError(f'{path} is not valid YAML: {error}') from error


def merge(base: Any, changes: Any) -> Any:
    """`base` with `changes`; neither is changed itself.

    Sections are merged key by key, but one that names another `type` replaces the old one. In the place of a list, a
    section with numbers as keys changes those entries, counted from 0, and `~` removes one. All else is replaced.

    Raises:
        IndexError, TypeError: a list has no such entry.
    """
    if isinstance(base, list) and isinstance(changes, Mapping):
        return _merge_entries(base, changes)
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    if 'type' in changes and changes['type'] != base.get('type'):
        return changes
    return {**base, **{key: merge(base.get(key), value) for key, value in changes.items()}}


def _merge_entries(entries: list[Any], changes: Mapping[Any, Any]) -> list[Any]:
    for key in changes:
        if not isinstance(key, int):
            raise TypeError(f'a list is changed by the numbers of its entries, got {key!r}')
        if not 0 <= key < len(entries):
            raise IndexError(f'there is no entry {key} in a list of {len(entries)}')
    merged = [merge(entry, changes[i]) if i in changes else entry for i, entry in enumerate(entries)]
    return [entry for i, entry in enumerate(merged) if not (i in changes and changes[i] is None)]


def override(options: Any, overrides: Iterable[str]) -> Any:
    """`options` with what `--force_yml` says, as `train:stages:0:lr=1e-3`; they are not changed themselves.

    Entries of lists are numbered from 0. New keys may be set in sections that are there. Values are YAML.

    Raises:
        ValueError: a section or entry that is not there, or a value that is no YAML; the message names the key.
    """
    for text in overrides:
        key, mark, value = text.partition('=')
        if not mark or not key.strip():
            raise ValueError(f'--force_yml: {text!r} must look like train:ema_decay=0.999')
        keys = [part.strip() for part in key.split(':')]
        try:
            options = _put(options, keys, _value(value.strip()))
        except (LookupError, TypeError) as error:
            raise ValueError(f'--force_yml {key.strip()}: {error.args[0]}') from None
        except yaml.YAMLError as error:
            raise ValueError(f'--force_yml {key.strip()}: {value!r} is not valid YAML: '
                             f'{" ".join(str(error).split())}') from None
    return options


def _value(text: str) -> Any:
    return None if text.lower() == 'none' else yaml.load(text, ValueLoader)


def _put(section: Any, keys: list[str], value: Any, where: str = 'the option file') -> Any:
    """A copy of a section or list with a value at `keys`."""
    if isinstance(section, list):
        if not (keys[0].isdigit() and int(keys[0]) < len(section)):
            raise LookupError(f'{where} is a list of {len(section)} entries, numbered from 0, and has no {keys[0]!r}')
        key, content = int(keys[0]), dict(enumerate(section))
    elif isinstance(section, Mapping):
        key, content = keys[0], dict(section)
        if len(keys) > 1 and key not in content:
            raise LookupError(f'{where} has no section {key!r}')
    else:
        raise TypeError(f'{where} is not a section with keys, but {section!r}')
    content[key] = value if len(keys) == 1 else _put(content[key], keys[1:], value, keys[0])
    return list(content.values()) if isinstance(section, list) else content
