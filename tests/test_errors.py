"""A group of exceptions is walked in one place."""

from __future__ import annotations

from loadgen.errors import UsageError, errors_in


def test_exceptions_in_groups_within_groups_come_one_by_one_in_order() -> None:
    one, two, three = UsageError("one"), ValueError("two"), KeyboardInterrupt()
    inner = BaseExceptionGroup("inner", [two, three])
    assert list(errors_in(BaseExceptionGroup("outer", [one, inner]))) == [one, two, three]
    assert list(errors_in(one)) == [one]
