"""Checks expectations of an answer, in the client when it judges one, and in the loader for literal arguments."""

from __future__ import annotations

from collections.abc import Collection, Container
from itertools import islice
from typing import Any, Final

from loadgen.errors import UsageError

__all__ = ["check_accept", "check_max_ms", "check_status"]

_MOST_LISTED: Final = 1000
"""Only the first elements of a larger collection are checked, because a collection that large is a computed range."""


def check_status(argument: str, status: Any) -> None:
    """Raise UsageError unless `status` is None, a status from 100 to 599, or a collection of statuses.

    argument: the name of the argument, such as "expect", for the message.
    """
    if status is None:
        return
    if isinstance(status, str | bytes) or not isinstance(status, int | Container) or isinstance(status, bool):
        hint = f"write {argument}={status.strip()}" if isinstance(status, str) and _is_status(status) else ""
        raise UsageError(
            f"{argument}: {status!r} is not a status", hint=hint or f"write {argument}=200 or {argument}={{200, 404}}"
        )
    if isinstance(status, int):
        _check_number(argument, status)
    elif isinstance(status, range):
        for end in (*status[:1], *status[-1:]):
            _check_number(argument, end)
    elif isinstance(status, Collection):
        for one in islice(status, _MOST_LISTED):
            if isinstance(one, bool) or not isinstance(one, int):
                raise UsageError(f"{argument}: {one!r} is not a status", hint=f"write numbers: {argument}={{200, 404}}")
            _check_number(argument, one)


def check_accept(accept: Any) -> None:
    """Raise UsageError unless `accept` is None or a collection of statuses."""
    if isinstance(accept, int) and not isinstance(accept, bool):
        raise UsageError(f"accept: {accept} is not a collection of statuses", hint=f"write accept={{{accept}}}")
    check_status("accept", accept)


def check_max_ms(max_ms: Any) -> None:
    """Raise UsageError unless `max_ms` is None or a number of at least 0."""
    if max_ms is not None and (isinstance(max_ms, bool) or not isinstance(max_ms, int | float) or not max_ms >= 0):
        raise UsageError(
            f"max_ms: {max_ms!r} is not a number of milliseconds, 0 or more", hint="write max_ms=300, without a unit"
        )


def _check_number(argument: str, status: int) -> None:
    if not 100 <= status <= 599:
        raise UsageError(
            f"{argument}: a status must be from 100 to 599, got {status}", hint=f"write {argument}=200, for example"
        )


def _is_status(text: str) -> bool:
    return text.strip().isdecimal() and len(text.strip()) == 3
