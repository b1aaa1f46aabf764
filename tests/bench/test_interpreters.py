"""The names of interpreters that are measured beside each other."""

from __future__ import annotations

from bench.interpreters import distinct


def test_two_interpreters_of_the_same_build_have_different_names() -> None:
    assert distinct(["CPython 3.11.7", "CPython 3.13.5", "CPython 3.11.7", "CPython 3.11.7"]) == [
        "CPython 3.11.7",
        "CPython 3.13.5",
        "CPython 3.11.7 (2)",
        "CPython 3.11.7 (3)",
    ]
