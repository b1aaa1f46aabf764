"""Collects the faults of one file, so that all of them are reported at once."""

from __future__ import annotations

from typing import Final

from loadgen.errors import UsageError
from loadgen.outside_text import one_line

__all__ = ["FaultList"]

_MOST: Final = 20
_TEXT_MOST: Final = 200


class FaultList:
    """The faults of one file: each with its place and what to write. Of more than 20, the rest is counted."""

    def __init__(self, name: str) -> None:
        self.name = one_line(name, _TEXT_MOST)
        self.count = 0
        self._errors: list[UsageError] = []

    def add(self, place: object, problem: str, hint: str) -> None:
        """Add a fault. place: a line number, or the path of a field such as "spec.maxReplicas"."""
        self.count += 1
        if len(self._errors) < _MOST:
            text = one_line(f"{place}: {problem}", _TEXT_MOST * 2)
            self._errors.append(UsageError(f"{self.name}:{text}", hint=one_line(hint, _TEXT_MOST * 2)))

    def check(self) -> None:
        """Raise the faults: a single one as it is, several as an ExceptionGroup. Without faults, do nothing."""
        errors = list(self._errors)
        if self.count > _MOST:
            errors.append(
                UsageError(f"{self.name}: {self.count - _MOST} more errors", hint="correct those above, and try again")
            )
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"{self.name} has {self.count} errors", errors)
