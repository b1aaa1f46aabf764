"""`import loadgen` gives the language and nothing else, and imports each name when it is first used."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import loadgen

SOURCE = Path(loadgen.__file__)


def test_programs_get_the_names_that_type_checkers_see() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert seen == loadgen._MODULES
    assert set(seen) == set(loadgen.__all__) <= set(dir(loadgen))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'loadgen' has no attribute 'jurney'"):
        loadgen.jurney  # noqa: B018


def test_all_is_sorted_and_there() -> None:
    assert list(loadgen.__all__) == sorted(loadgen.__all__)
    assert all(hasattr(loadgen, name) for name in loadgen.__all__)


def test_no_public_name_is_also_a_submodule() -> None:
    """Else `loadgen.x` would be the function or the module, by the order of imports."""
    submodules = {module.name for module in pkgutil.iter_modules([str(SOURCE.parent)])}

    assert not submodules & set(loadgen.__all__)


def test_only_feed_is_a_module() -> None:
    """Another one would need a test of its own that it can be imported first, see tests/cli/test_lean.py."""
    assert [name for name in loadgen.__all__ if isinstance(getattr(loadgen, name), ModuleType)] == ["feed"]
