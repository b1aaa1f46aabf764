"""Errors are collected one by one, also those of a group; anything else is raised at once."""

from __future__ import annotations

import pytest

from loadgen.errors import UsageError
from loadgen_controller.collect_option_errors import CollectedErrors


def raising(*errors: Exception) -> None:
    raise ExceptionGroup("several", errors)


def test_errors_of_a_group_are_added_one_by_one() -> None:
    errors = CollectedErrors()
    errors.add("first")
    assert errors.catch(lambda: raising(UsageError("second"), UsageError("third"))) is None
    assert [error.message for error in errors.found] == ["first", "second", "third"]


def test_a_group_with_another_exception_is_raised() -> None:
    errors = CollectedErrors()
    with pytest.raises(ExceptionGroup):
        errors.catch(lambda: raising(UsageError("ours"), ZeroDivisionError()))
    assert errors.found == []
