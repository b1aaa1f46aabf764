"""`import loadgen` gives the language and nothing else."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import loadgen

SOURCE = Path(loadgen.__file__)


def test_all_is_exactly_what_the_package_imports() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert set(loadgen.__all__) == imported


def test_the_package_does_nothing_but_import_names() -> None:
    docstring, *rest = ast.parse(SOURCE.read_text(encoding="utf-8")).body

    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom | ast.Assign) for node in rest)


def test_all_is_sorted_and_there() -> None:
    assert list(loadgen.__all__) == sorted(loadgen.__all__)
    assert all(hasattr(loadgen, name) for name in loadgen.__all__)


def test_no_public_name_is_also_a_submodule() -> None:
    """Else `loadgen.x` would be the function or the module, by the order of imports."""
    submodules = {module.name for module in pkgutil.iter_modules([str(SOURCE.parent)])}

    assert not submodules & set(loadgen.__all__)
