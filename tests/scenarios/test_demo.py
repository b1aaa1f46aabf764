"""The last lines of `make demo`: what the result means, and what to do next."""

from __future__ import annotations

from typing import Any

from loadgen.report.summary_reader import read
from tests.report.test_tables import summary
from tools.demo import ending


def said(code: int, **changes: Any) -> str:
    return "\n".join(ending(code, read(summary(exit_code=code, **changes))))


def test_demo_that_was_invalid_explains_exit_code_4_and_what_to_do() -> None:
    text = said(4, result="invalid")
    assert "Exit code 4 means INVALID" in text
    assert "Close other programs and run `make demo` again" in text


def test_demo_that_was_suspect_does_not_only_say_that_it_passed() -> None:
    assert "SUSPECT means" in said(0, validity={"verdict": "suspect"})
    assert "The demo passed" in said(0)


def test_demo_ends_with_the_next_commands_whatever_happened() -> None:
    for text in (said(0), said(4, result="invalid"), "\n".join(ending(5, None)), "\n".join(ending(130, None))):
        assert "\nnext: " in text
        assert "loadgen report last" in text
    assert "exit code 130" in "\n".join(ending(130, None))
