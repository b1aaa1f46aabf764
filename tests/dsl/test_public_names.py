"""The names of `import loadgen`, which are imported when they are first used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import loadgen


@pytest.mark.parametrize("name", loadgen.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(loadgen, name) is not None
    assert name in dir(loadgen)


def test_programs_get_the_names_that_type_checkers_see() -> None:
    tree = ast.parse(Path(loadgen.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: str(node.module).removeprefix("loadgen.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert seen == loadgen._MODULES
    assert sorted(seen) == sorted(loadgen.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'loadgen' has no attribute 'jurney'"):
        loadgen.jurney  # noqa: B018
