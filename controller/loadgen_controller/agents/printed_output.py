"""Finds what a scenario printed in a run: in the log files of the agents on this machine, beside their own lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loadgen.units import quantity

__all__ = ["printed_in", "printed_text"]

_READ_BYTES: Final = 1 << 20
_OWN: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d agent |worker (?:\d+ of )?\S.*?: |  ")
"""The beginning of a line that an agent or worker logged; and of a further line of such an entry."""


def printed_in(run_dir: Path) -> list[tuple[Path, int]]:
    """Return each log file of the run's agents that has lines of the scenario, and their number, the most first.

    Of each file the first 1 MiB is read. Files that cannot be read are left out.
    """
    found = []
    for path in sorted((run_dir / "agents").glob("*.log")):
        if lines := sum(1 for _ in _lines_of_scenario(path)):
            found.append((path, lines))
    return sorted(found, key=lambda one: -one[1])


def printed_text(run_dir: Path) -> str:
    """Return the line that names the file with the output of the scenario; "" if it printed nothing."""
    found = printed_in(run_dir)
    if not found:
        return ""
    path, lines = found[0]
    more = f", and {quantity(len(found) - 1, 'more file')} beside it" if found[1:] else ""
    return f"Output of the scenario (print): {path}, {quantity(lines, 'line')}{more}"


def _lines_of_scenario(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        if line.strip() and not _OWN.match(line):
            yield line
