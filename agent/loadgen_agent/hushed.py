"""A worker's output without secrets: what scenario code prints and logs goes to the agent's log, masked.

Only what goes through `sys.stdout` and `sys.stderr` is seen: a library that writes to
the descriptor itself is not. Text is masked line by line, so a secret that is printed
in two pieces within one line is found, and one that is spread over lines is not.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TextIO

from loadgen.outside_text import block

__all__ = ["Hushed", "hush"]

_LONGEST = 64 * 1024
"""Characters of a line that are held back until it ends."""


class Hushed(io.TextIOBase):
    """Writes to `out` what `mask` makes of each line."""

    def __init__(self, out: TextIO, mask: Callable[[str], str]) -> None:
        self._out, self._mask = out, mask
        self._held = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._out.fileno()

    def write(self, text: str) -> int:
        self._held += text
        whole, newline, rest = self._held.rpartition("\n")
        if newline:
            self._held = rest
            self._out.write(self._shown(whole) + "\n")
        if len(self._held) > _LONGEST:
            self._say_held()
        return len(text)

    def flush(self) -> None:
        """What is whole is written at once; a line that has not ended is held until it has, or until `close`."""
        self._out.flush()

    def close(self) -> None:
        self._say_held()
        self._out.flush()

    def _say_held(self) -> None:
        held, self._held = self._held, ""
        if held:
            self._out.write(self._shown(held))

    def _shown(self, text: str) -> str:
        """Without secrets, and unable to steer the terminal that the agent's log may be."""
        return "\n".join(block(self._mask(text)))


def hush(mask: Callable[[str], str]) -> None:
    """From now on this process's standard output and error are hushed. Call it before logging is set up."""
    sys.stdout = Hushed(sys.stdout, mask)
    sys.stderr = Hushed(sys.stderr, mask)
