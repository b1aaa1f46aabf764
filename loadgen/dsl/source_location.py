"""The place in a scenario where an object was created.

The objects of a scenario (plans, loads, feeds, objectives) never raise when they are
created. Each keeps its place and its errors; the loader collects all errors and reports
them at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

from loadgen.errors import Fault

__all__ = ["Origin", "here"]

_OURS = "loadgen.dsl"


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of a user's file. `line` counts from 1; 0 if unknown."""

    file: str
    line: int

    def fault(self, message: str, hint: str = "") -> Fault:
        return Fault(self.file, self.line, message, hint)

    def beside(self, path: object) -> Path | None:
        """Return a path that the user's file names, relative to its folder; None if it is not a text or a PathLike, or
        if it is empty.
        """
        given = fspath(path) if isinstance(path, str | PathLike) else ""
        return Path(self.file).parent / given if isinstance(given, str) and given else None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def here(depth: int = 0) -> Origin:
    """Return the file and line of the user's code that called into `loadgen.dsl`, however deep the present call is.

    depth: go this many frames further out, for helpers that call the DSL on behalf of their own caller.
    """
    frame = sys._getframe(1)
    while _is_ours(frame.f_globals.get("__name__", "")) and frame.f_back is not None:
        frame = frame.f_back
    while depth > 0 and frame.f_back is not None:
        frame, depth = frame.f_back, depth - 1
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def _is_ours(module: str) -> bool:
    return module == _OURS or module.startswith(_OURS + ".")
