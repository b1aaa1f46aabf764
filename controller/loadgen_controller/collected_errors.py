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
    """Collects errors of ours, so that a person sees them all and not one a try."""

    found: list[LoadgenError] = field(default_factory=list)

    def add(self, message: str, hint: str = "") -> None:
        self.found.append(UsageError(message, hint=hint))

    def parse(self, option: str, text: str | None, parser: Callable[[str], T]) -> T | None:
        """What `parser` makes of an option's text; its ValueError is noted."""
        if text is None:
            return None
        try:
            return parser(text)
        except ValueError as wrong:
            self.add(f"{option}: {wrong}")
            return None

    def catch(self, action: Callable[[], T]) -> T | None:
        """The action's value, or None where it raised an error of ours, which is noted.

        A scenario or `loadgen.toml` that is read for several ends has its faults told once.
        """
        try:
            return action()
        except LoadgenError as error:
            if not isinstance(error, ScenarioError) or str(error) not in map(str, self.found):
                self.found.append(error)
            return None

    def check_file(self, option: str, path: Path | None) -> None:
        """That a file can be written at `path`, which is known before the work and not after it; "-" is stdout."""
        if path is None or str(path) == "-":
            return
        if path.is_dir():
            self.add(f"{option}: {path} is a folder", "name a file in it")
        elif not path.parent.is_dir():
            self.add(f"{option}: there is no folder {path.parent}", "make it first")
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            self.add(f"{option}: {path} cannot be written: no permission", "name a file in a folder of yours")

    def check(self) -> None:
        """Raise what was found: itself if it is one, a group if there are several."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ExceptionGroup("several things are wrong", self.found)
