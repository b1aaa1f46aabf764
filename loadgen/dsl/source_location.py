"""Where in the scenario something was written.

What a scenario builds (plans, loads, feeds, objectives) never raises: it keeps
the place where it was built and what is wrong with it, and the loader collects
all faults and reports them at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from loadgen.errors import Fault

__all__ = ["Origin", "here"]

_OURS = "loadgen.dsl"


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of a user's file. `line` counts from 1; 0 where none is known."""

    file: str
    line: int

    def fault(self, message: str, hint: str = "") -> Fault:
        return Fault(self.file, self.line, message, hint)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def here(depth: int = 0) -> Origin:
    """The line that called into `loadgen.dsl`, however deep inside of it we are by now.

    `depth`: that many frames further out, for helpers that call the language on behalf of their own caller.
    """
    frame = sys._getframe(1)
    while _is_ours(frame.f_globals.get("__name__", "")) and frame.f_back is not None:
        frame = frame.f_back
    while depth > 0 and frame.f_back is not None:
        frame, depth = frame.f_back, depth - 1
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def _is_ours(module: str) -> bool:
    return module == _OURS or module.startswith(_OURS + ".")
