"""Collects the errors of a command line, so that a user sees all of them at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from loadgen.errors import LoadgenError, ScenarioError, UsageError

__all__ = ["CollectedErrors"]

T = TypeVar("T")


@dataclass(slots=True)
class CollectedErrors:
    """The errors found so far in a command line; `check` raises all of them together."""

    found: list[LoadgenError] = field(default_factory=list)

    def add(self, message: str, hint: str = "") -> None:
        """Add a usage error: what is wrong, and what to do."""
        self.found.append(UsageError(message, hint=hint))

    def parse(self, option: str, text: str | None, parser: Callable[[str], T]) -> T | None:
        """Return `parser(text)`; None if there is no text or if it raises ValueError, which is added as an error.

        option: the name of the option, with which the error begins. Advice in the error ("...; write 2m") is its hint.
        """
        if text is None:
            return None
        try:
            return parser(text)
        except ValueError as wrong:
            message, has_advice, advice = str(wrong).partition("; write ")
            self.add(f"{option}: {message}", f"write {advice}" if has_advice else f"--help describes {option}")
            return None

    def catch(self, action: Callable[[], T]) -> T | None:
        """Return `action()`; None if it raises a LoadgenError or a group of them, which are added.

        The same errors in a scenario or `loadgen.toml` are added only once, since those files are read several times.
        """
        try:
            return action()
        except LoadgenError as error:
            self._add(error)
        except ExceptionGroup as group:
            ours, others = group.split(LoadgenError)
            if ours is None or others is not None:
                raise
            for one in ours.exceptions:
                self._add(one)
        return None

    def _add(self, error: Exception) -> None:
        assert isinstance(error, LoadgenError)
        if not isinstance(error, ScenarioError) or str(error) not in map(str, self.found):
            self.found.append(error)

    def check_file(self, option: str, path: Path | None) -> None:
        """Add an error if no file can be written at `path`, before any work is done. "-" (stdout) is always fine."""
        if path is None or str(path) == "-":
            return
        if path.is_dir():
            self.add(f"{option}: {path} is a folder", "name a file in it")
        elif not path.parent.is_dir():
            self.add(f"{option}: there is no folder {path.parent}", f"create it first: mkdir -p {path.parent}")
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            self.add(
                f"{option}: {path} cannot be written: no permission", "name a file in a folder that you can write to"
            )

    def check(self) -> None:
        """Raise the collected errors: a single one as it is, several as an ExceptionGroup.

        Without errors, do nothing.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ExceptionGroup("several things are wrong", self.found)
