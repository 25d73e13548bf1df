from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

from lightbsr_arch import option_files
from lightbsr_arch.option_files import merge
from tests import tiny_options as tiny


@pytest.mark.parametrize('base, changes, expected', [
    ({'a': 1, 'b': 2}, {'b': 3, 'c': 4}, {'a': 1, 'b': 3, 'c': 4}),
    ({'a': {'x': 1, 'y': 2}}, {'a': {'y': 3}}, {'a': {'x': 1, 'y': 3}}),
    ({'a': {'x': 1}}, {'a': None}, {'a': None}),
    ({'a': None}, {'a': {'x': 1}}, {'a': {'x': 1}}),
    ({'a': 1}, {'a': {'x': 1}}, {'a': {'x': 1}}),
    ({'a': [1, 2]}, {'a': [3]}, {'a': [3]}),
    ({'a': [1, 2]}, {'a': {1: 5}}, {'a': [1, 5]}),
    ({'a': [{'x': 1, 'y': 2}, {'x': 3}]}, {'a': {0: {'y': 5}}}, {'a': [{'x': 1, 'y': 5}, {'x': 3}]}),
    ({'a': [1, 2, 3]}, {'a': {0: None, 2: 9}}, {'a': [2, 9]}),
    ({'a': [None, 2]}, {'a': {1: 3}}, {'a': [None, 3]}),
    ({'n': {'type': 'Bicubic', 'scale': 4}}, {'n': {'type': 'EDSR', 'upscale': 4}}, {'n': {'type': 'EDSR', 'upscale': 4}}),
    ({'n': {'type': 'EDSR', 'num_feat': 64}}, {'n': {'type': 'EDSR', 'num_block': 8}},
     {'n': {'type': 'EDSR', 'num_feat': 64, 'num_block': 8}}),
], ids=str)
def test_differences_are_merged(base: Any, changes: Any, expected: Any) -> None:
    before = yaml.safe_dump([base, changes])
    assert merge(base, changes) == expected
    assert yaml.safe_dump([base, changes]) == before


@pytest.mark.parametrize('changes, message', [({'a': {2: 1}}, 'no entry 2 in a list of 2'), ({'a': {'x': 1}}, "got 'x'"),
                                              ({'a': {-1: 1}}, 'no entry -1')])
def test_a_list_has_no_such_entry(changes: Any, message: str) -> None:
    with pytest.raises((IndexError, TypeError), match=message):
        merge({'a': [1, 2]}, changes)


def test_a_base_is_found_beside_its_file_and_may_have_one_itself(tmp_path: Path) -> None:
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'one.yml').write_text('name: one\nlr: 1e-4\ntrain: {stages: [{iterations: 1}, {iterations: 2}]}')
    (tmp_path / 'sub/two.yml').write_text('base: ../one.yml\nname: two\ntrain: {stages: {0: ~}}')
    (tmp_path / 'three.yml').write_text('base: sub/two.yml\nname: three')
    assert option_files.read(tmp_path / 'three.yml') == {'name': 'three', 'lr': 1e-4, 'train': {'stages': [{'iterations': 2}]}}


@pytest.mark.parametrize('content, message', [
    ('base: gone.yml', r'a.yml: base: cannot read .*gone.yml: No such file'), ('base: a.yml', 'it leads in a circle'),
    ('base: b.yml\nl: {7: ~}', r'a.yml: there is no entry 7 in a list of 1'), ('base: c.yml', r'c.yml is not valid YAML')])
def test_a_base_that_does_not_fit_is_named(content: str, message: str, tmp_path: Path, run_cli: Callable[..., int],
                                           capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'a.yml').write_text(content)
    (tmp_path / 'b.yml').write_text('l: [1]')
    (tmp_path / 'c.yml').write_text('l: [1')
    with pytest.raises(ValueError, match=message):
        option_files.read(tmp_path / 'a.yml')
    assert run_cli('train', '-opt', 'a.yml') == 1
    assert capfd.readouterr().err.startswith('basicsr train: error: ')


def test_an_option_file_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / 'a.yml').write_text('a: !!python/object/apply:os.getcwd []')
    with pytest.raises(ValueError, match='a.yml is not valid YAML'):
        option_files.read(tmp_path / 'a.yml')


def test_a_run_keeps_a_copy_that_needs_no_base(images: Path, tmp_path: Path, run_cli: Callable[..., int]) -> None:
    base = tiny.teacher(images, 'base')
    tiny.write(base, tmp_path)
    path = tiny.write({'base': 'base.yml', 'name': 'other', 'train': {'stages': {0: {'iterations': 1}, 1: None}}}, tmp_path)
    assert run_cli('train', '-opt', path) == 0
    first = {**base['train']['stages'][0], 'iterations': 1}
    expected = {**base, 'name': 'other', 'train': {**base['train'], 'stages': [first]}}
    assert option_files.read(tmp_path / 'experiments/other/other.yml') == expected
