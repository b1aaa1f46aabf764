"""Read the lines that `loadgen run` prints of each interval, if its output is no terminal."""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["EACH_SECOND", "second_of"]

EACH_SECOND: Final = {**os.environ, "LOADGEN_LINE_EVERY_S": "0"}
"""The environment in which a run prints a line of each interval, and not each 10 s."""
_LINE: Final = re.compile(r"(\d+):(\d\d) to \S+, (\d+) of (\d+) agents? reported, ")


def second_of(line: str) -> int | None:
    """Return the start of the interval of this line, in s after T0; None if not all agents have reported it, or if this
    is another line.
    """
    found = _LINE.match(line)
    if found is None or found[3] != found[4]:
        return None
    return 60 * int(found[1]) + int(found[2])
