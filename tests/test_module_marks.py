"""Which modules pytest does not import: for a marker expression, and on the second Python of CI."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.first_python import LISTED, is_for_the_first_python
from tests.support.module_marks import has_no_test, missing

# In two parts, so that this file does not name the marks itself.
MARK = "@pytest." + "mark."


def module(folder: Path, text: str) -> Path:
    path = folder / "test_it.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_module_without_the_mark_has_no_test_of_it_and_all_of_the_others(tmp_path: Path) -> None:
    path = module(tmp_path, "def test_it(): ...")

    assert has_no_test(path, "quiet and not slow")
    assert has_no_test(path, "slow or peers")
    assert not has_no_test(path, "not process and not quiet and not slow")


def test_a_module_that_names_the_mark_may_have_tests_with_and_without_it(tmp_path: Path) -> None:
    path = module(tmp_path, f"{MARK}slow\ndef test_it(): ...\n\n\ndef test_that(): ...")

    assert not has_no_test(path, "slow")
    assert not has_no_test(path, "not slow")


@pytest.mark.parametrize(("folder", "text"), [("integration", ""), ("cli", "import sub" + "process")])
def test_all_tests_of_a_module_that_starts_processes_start_some(folder: str, text: str, tmp_path: Path) -> None:
    path = module(tmp_path / folder, text)

    assert has_no_test(path, "not process")
    assert not has_no_test(path, "process and not slow")


@pytest.mark.parametrize("expression", ["", "hypothesis", "not hypothesis", "fault(row='F12')", "not ("])
def test_a_module_is_imported_if_nothing_is_known_of_the_expression(expression: str, tmp_path: Path) -> None:
    assert not has_no_test(module(tmp_path, "def test_it(): ..."), expression)


def test_a_mark_that_the_text_does_not_name_is_missing(tmp_path: Path) -> None:
    path = module(tmp_path, f"{MARK}quiet\ndef test_it(): ...")

    assert not missing(path, "quiet")
    assert missing(path, "slow")


@pytest.mark.parametrize(
    ("holder", "name", "arguments"),
    [("sub" + "process", "run", (["true"],)), ("os", "fork", ()), ("os", "posix_spawn", ("/bin/true", ["true"], {}))],
    ids=["run", "fork", "spawn"],
)
def test_a_test_without_the_mark_cannot_start_a_process(holder: str, name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(AssertionError, match="starts a process: mark it with"):
        getattr(import_module(holder), name)(*arguments)


@pytest.mark.parametrize("name", LISTED)
def test_a_module_for_the_first_python_alone_uses_nothing_that_differs_between_versions(name: str) -> None:
    path = Path(__file__).parents[1] / name
    text = path.read_text(encoding="utf-8")

    assert is_for_the_first_python(path)
    assert re.findall(r"\b(?:asyncio|async def|CliRunner|import (?:ssl|socket|threading|inspect))\b", text) == []


def test_a_module_that_is_not_listed_runs_on_both_pythons() -> None:
    assert not is_for_the_first_python(Path(__file__))
